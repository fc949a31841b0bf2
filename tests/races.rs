//! What other caches got wrong and no other test here is named after; the whole list with its
//! tests is in `docs/verification.md`.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use scopecache::{Cache, ErrorKind, Maintenance, MockClock, Result, SetOptions};

fn cache() -> Result<Cache> {
    Cache::builder().maintenance(Maintenance::Manual).max_retired_bytes(1 << 30).build()
}

/// moka #155: a clear misses what was inserted just before it.
#[test]
fn a_clear_takes_what_was_inserted_just_before() -> Result<()> {
    const ROUNDS: usize = 500;
    let cache = cache()?;
    for round in 0..ROUNDS {
        let scopes = [cache.global(), cache.user("ada")?, cache.session("ada", "s")?];
        for scope in &scopes {
            scope.set("k", "v")?;
        }
        let removed = cache.clear();
        assert_eq!(removed.entries, 3, "round {round}");
        for scope in &scopes {
            assert!(scope.get("k")?.is_none(), "round {round}");
        }
    }
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}

/// Race 2: a clear that iterates passes over loads in flight.
#[test]
fn a_clear_ends_the_loads_in_flight() -> Result<()> {
    let cache = cache()?;
    let scopes = [cache.global(), cache.user("ada")?, cache.session("ada", "s")?];
    let leases = [scopes[0].lease("k")?, scopes[1].lease("k")?, scopes[2].lease("k")?];
    cache.clear();
    for (scope, lease) in scopes.iter().zip(leases) {
        // Who comes after it does not join the older load.
        scope.get_or_load("k", || std::io::Result::Ok("newer"))?;
        assert_eq!(lease.fulfil("from before the clear")?, None);
        assert_eq!(scope.get("k")?.expect("present").data(), b"newer");
    }
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}

/// Race 3: the marker of a deletion is evicted or expires, and what was deleted returns. There is
/// no marker here that could go: neither a full turnover of the cache nor years bring it back.
#[test]
fn what_was_deleted_stays_so_whatever_is_evicted_and_however_late_it_is() -> Result<()> {
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .max_bytes(64 << 10)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .max_retired_bytes(1 << 30)
        .build()?;
    let (user, session) = (cache.user("ada")?, cache.session("ada", "s")?);
    user.set("k", "old")?;
    session.set("k", "old")?;
    let (lease, version) = (session.lease("loading")?, user.set("k", "old")?);
    user.delete_all()?;
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    for number in 0..2_000 {
        let name = format!("other {number}");
        cache.user(&name)?.set_with("k", [7_u8; 200].as_slice(), hour)?;
        if number % 500 == 0 {
            clock.advance(Duration::from_secs(365 * 24 * 3600));
            while cache.maintain(1000).pending {}
        }
    }
    assert!(user.get("k")?.is_none() && session.get("k")?.is_none());
    assert_eq!(user.compare_and_set("k", version, "returned")?, None);
    assert_eq!(lease.fulfil("returned")?, None);
    assert!(session.get("loading")?.is_none());
    cache.validate().expect("sound");
    Ok(())
}

/// Race 6: the path that deletes adds the thing again. Nor does one that only looks.
#[test]
fn who_deletes_or_looks_at_what_is_absent_leaves_no_trace() -> Result<()> {
    let cache = cache()?;
    let before = cache.stats();
    let together = Barrier::new(2);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                together.wait();
                for number in 0..2_000 {
                    let user = format!("user {}", number % 7);
                    let scopes = [cache.user(&user), cache.session(&user, "s")];
                    for scope in scopes.map(|scope| scope.expect("valid")) {
                        assert!(scope.get("k").expect("open").is_none());
                        assert!(!scope.delete("k").expect("open"));
                        assert!(scope.take("k").expect("open").is_none());
                        assert!(!scope.touch("k", Duration::from_secs(1)).expect("open"));
                        assert_eq!(scope.replace("k", "v").expect("open"), None);
                        assert_eq!(scope.update("k", <[u8]>::to_vec).expect("open"), None);
                        // It counts the lease of the other thread, if that has one just now.
                        assert!(scope.delete_all().expect("open").entries <= 1);
                        // A lease is a trace while it is held.
                        match scope.lease("loading") {
                            Ok(lease) => drop(lease),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                    }
                }
            });
        }
    });
    while cache.maintain(1000).pending {}
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{stats:?}");
    let lines = (stats.overflow_lines - before.overflow_lines) * 64;
    assert_eq!(stats.live_bytes - lines, before.live_bytes, "{stats:?}");
    assert!(cache.users()?.is_empty());
    cache.validate().expect("sound");
    Ok(())
}
