//! Loads in a full cache.

use std::sync::mpsc;
use std::thread;

use scopecache::ErrorKind;

use crate::PATIENCE;
use crate::common::builder;
use crate::pressure::settle;

#[test]
fn a_load_is_never_evicted() -> scopecache::Result<()> {
    for most in [2, 20, 1000] {
        let cache = builder().max_entries(most).build()?;
        let scope = cache.user("ada")?;
        let lease = scope.lease("loading")?;
        for key in 0..10 * most {
            scope.set(format!("key {key}"), "v")?;
            assert!(cache.stats().entries <= most);
        }
        assert!(!lease.is_cancelled());
        assert!(lease.fulfil("loaded")?.is_some());
        assert_eq!(scope.get("loading")?.expect("stored").data(), b"loaded");
        settle(&cache);
    }
    Ok(())
}

#[test]
fn a_set_beside_the_only_entry_and_its_running_load_fails_and_does_not_hang()
-> scopecache::Result<()> {
    let cache = builder().max_entries(1).build()?;
    let scope = cache.user("ada")?;
    let lease = scope.lease("loading")?;
    let (done, wait) = mpsc::channel();
    let other = scope.clone();
    let setter = thread::spawn(move || {
        // An error: nobody waits any more.
        let _ = done.send(other.set("k", "v").map(|_| ()).map_err(|error| error.kind()));
    });
    match wait.recv_timeout(PATIENCE).expect("an answer in time") {
        Ok(()) => assert!(lease.is_cancelled(), "two in one place"),
        Err(kind) => {
            assert_eq!(kind, ErrorKind::CapacityExceeded);
            assert!(lease.fulfil("loaded")?.is_some());
        }
    }
    setter.join().expect("no panic");
    scope.set("k", "v")?;
    assert_eq!(scope.keys()?, ["k"]);
    settle(&cache);
    Ok(())
}

/// quick_cache#120: the place of a load that was given up is never freed.
#[test]
fn loads_that_are_given_up_leave_nothing() -> scopecache::Result<()> {
    let cache = builder().max_entries(10).build()?;
    let scope = cache.session("ada", "s")?;
    for key in 0..1000 {
        let key = format!("key {key}");
        drop(scope.lease(&key)?);
        let failed = scope.get_or_load(&key, || Err::<&str, _>(std::io::Error::other("failed")));
        assert_eq!(failed.expect_err("failed").kind(), ErrorKind::Loader);
    }
    settle(&cache);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.sessions, stats.users), (0, 0, 0));
    let leases = (0..10).map(|key| scope.lease(format!("key {key}"))).collect::<Vec<_>>();
    assert!(leases.iter().all(Result::is_ok), "all places are free");
    assert_eq!(scope.lease("key 10").expect_err("full").kind(), ErrorKind::CapacityExceeded);
    drop(leases);
    settle(&cache);
    Ok(())
}
