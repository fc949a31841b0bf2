//! A reader that never leaves, and maintenance that does not come.

use std::sync::mpsc;
use std::thread;

use scopecache::{Cache, ErrorKind, Maintenance, MockClock, SetOptions};
use std::time::Duration;

use crate::pressure::{settle, wait_until};

/// Sets come to a stop at the bound of what is retired; reads, deletes and figures go on. When
/// the reader leaves at last, so do they.
#[test]
fn a_reader_pinned_for_ever_stops_sets_at_a_bound_and_nothing_else() -> scopecache::Result<()> {
    const MOST_RETIRED: u64 = 64 << 10;
    const VALUE: [u8; 500] = [7; 500];
    let cache: Cache = Cache::builder()
        .max_bytes(32 << 10)
        .max_retired_bytes(MOST_RETIRED)
        .maintenance(Maintenance::Manual)
        .build()?;
    let scope = cache.user("ada")?;
    scope.set("borrowed", &VALUE)?;
    thread::scope(|threads| -> scopecache::Result<()> {
        let (leave, stay) = mpsc::channel::<()>();
        let (tell, pinned) = mpsc::channel();
        let reader = scope.clone();
        threads.spawn(move || {
            let guard = reader.cache().pin();
            let entry = reader.get_ref("borrowed", &guard).expect("open").expect("present");
            tell.send(()).expect("waited for");
            // Until the other end is dropped, whatever becomes of the test.
            let _ = stay.recv();
            assert_eq!(entry.data(), VALUE, "what is borrowed stays as it was");
        });
        pinned.recv().expect("the reader is there");
        let mut stored = 0_u64;
        let refused = loop {
            match scope.set(format!("key {stored}"), &VALUE) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 10_000, "nothing stops it");
        };
        assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
        let stats = cache.stats();
        assert!(stats.retired_bytes <= MOST_RETIRED + 1024, "{stats:?}");
        assert!(stats.live_bytes <= cache.capacity_bytes(), "{stats:?}");
        // Reads and deletes do not need the reader to leave.
        let newest = format!("key {}", stored - 1);
        let present = scope.get(&newest)?;
        assert!(present.is_none_or(|item| item.data() == VALUE));
        scope.delete_all()?;
        assert!(scope.get(&newest)?.is_none());
        assert!(scope.get("borrowed")?.is_none(), "deleted, though it is still borrowed");
        settle(&cache);
        drop(leave);
        Ok(())
    })?;
    wait_until("sets go on when the reader has left", || scope.set("k", &VALUE).is_ok());
    settle(&cache);
    Ok(())
}

/// Nobody maintains, for as long as it takes to fill the cache many times over: setters keep the
/// bounds by themselves. Then somebody does, and all that was left is found.
#[test]
fn maintenance_that_comes_late_finds_everything() -> scopecache::Result<()> {
    const USERS: u64 = 2_000;
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .max_bytes(256 << 10)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .max_retired_bytes(1 << 30)
        .build()?;
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    for number in 0..USERS {
        let scope = cache.session(&format!("user {number}"), "s")?;
        for key in 0..8 {
            scope.set_with(format!("key {key}"), [7_u8; 100].as_slice(), hour)?;
        }
        if number % 3 == 0 {
            cache.user(&format!("user {number}"))?.delete_all()?;
        }
        assert!(cache.stats().live_bytes <= cache.capacity_bytes());
    }
    assert!(cache.stats().entries < USERS * 8 / 4, "the cache was filled many times over");
    settle(&cache);
    clock.advance(Duration::from_secs(3601 + 1));
    settle(&cache);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{stats:?}");
    Ok(())
}
