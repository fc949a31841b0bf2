//! A close in the middle of everything, on real threads. Its models are
//! `loom-tests/tests/close.rs`, its histories those of the topic `Closing`.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use scopecache::{Cache, Error, ErrorKind, Maintenance, Result, SetOptions};

use crate::pressure::Random;

const THREADS: u64 = 4;
const LINE_BYTES: u64 = 64;

/// Some call; `Err` once the cache is closed.
fn call(cache: &Cache, random: &mut Random) -> Result<()> {
    let user = format!("user {}", random.below(4));
    let scope = match random.below(4) {
        0 => cache.global(),
        1 => cache.user(&user)?,
        _ => cache.session(&user, "s")?,
    };
    let key = format!("key {}", random.below(8));
    let ttl = SetOptions::new().ttl(Duration::from_millis(1 + random.below(50)));
    let done = match random.below(14) {
        0..=2 => scope.set(&key, [7; 300].as_slice()).map(drop),
        3 => scope.set_with(&key, "short", ttl).map(drop),
        4..=5 => scope.get(&key).map(drop),
        6 => scope.update(&key, <[u8]>::to_vec).map(drop),
        7 => scope.take(&key).map(drop),
        8 => scope.delete(&key).map(drop),
        9 => scope.get_or_load(&key, || Ok::<_, Error>("loaded")).map(drop),
        10 => match scope.lease(&key) {
            Ok(lease) => lease.fulfil("leased").map(drop),
            Err(error) => Err(error),
        },
        11 => scope.keys().map(drop),
        12 => scope.delete_all().map(drop),
        _ => {
            cache.maintain(16);
            cache.clear();
            Ok(())
        }
    };
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::Closed) => Err(error),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::CapacityExceeded) => {
            Ok(())
        }
        Err(error) => panic!("{error}"),
        Ok(()) => Ok(()),
    }
}

#[test]
fn a_close_races_every_call_and_leaves_nothing() -> Result<()> {
    const ROUNDS: u64 = 300;
    for round in 0..ROUNDS {
        let driven = round % 2 == 0;
        let cache: Cache = Cache::builder()
            .max_bytes(32 << 10)
            .shards(2)
            .expected_entries(64)
            .tick(Duration::from_millis(10))
            .max_retired_bytes(1 << 30)
            .maintenance(if driven { Maintenance::Thread } else { Maintenance::Manual })
            .build()?;
        let start = Barrier::new(THREADS as usize + 1);
        thread::scope(|threads| {
            let (cache, start) = (&cache, &start);
            for thread in 0..THREADS {
                threads.spawn(move || {
                    let mut random = Random(round << 8 | thread);
                    start.wait();
                    // Clearing goes on being allowed: it ends with the first refusal of another.
                    while call(cache, &mut random).is_ok() {}
                });
            }
            threads.spawn(move || {
                start.wait();
                let mut random = Random(round);
                for _ in 0..random.below(200) {
                    let _ = call(cache, &mut random);
                }
                cache.close();
                assert!(cache.is_closed());
                let refused = cache.global().set("k", "v").expect_err("closed");
                assert_eq!(refused.kind(), ErrorKind::Closed);
            });
        });
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{round}: {stats:?}");
        if !driven {
            let bytes = stats.live_bytes - stats.overflow_lines * LINE_BYTES;
            assert_eq!(bytes, 0, "{round}: {stats:?}");
            assert!(!stats.reclaim_pending, "{round}: {stats:?}");
            cache.validate().expect("sound");
        }
    }
    Ok(())
}
