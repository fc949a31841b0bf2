//! Many threads on few keys that become old: one load for each key and period.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Barrier, Mutex};
use std::thread;

use scopecache::MockClock;

use crate::{SECOND, builder};

/// In each period every thread asks for every key, over and over; each key is loaded once, by one
/// thread, and nobody gets anything but the value of this period or of the one before.
#[test]
fn one_load_for_each_key_and_period() -> scopecache::Result<()> {
    const THREADS: usize = 4;
    const KEYS: usize = 8;
    const PERIODS: u64 = 50;
    const ROUNDS: usize = 20;
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let loads: Mutex<HashMap<(u64, usize), u64>> = Mutex::default();
    let barrier = Barrier::new(THREADS);
    let ask = |thread: usize, period: u64, key: usize| -> scopecache::Result<u64> {
        let scope = cache.user("ada")?;
        let item = scope.get_or_load(key.to_be_bytes(), || {
            *loads.lock().expect("no panic").entry((period, key)).or_default() += 1;
            // Others come in between.
            (0..thread).for_each(|_| thread::yield_now());
            Ok::<_, Infallible>(period.to_be_bytes().to_vec())
        })?;
        Ok(u64::from_be_bytes(item.data().try_into().expect("eight bytes")))
    };
    thread::scope(|threads| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, clock, ask) = (&barrier, &clock, &ask);
                threads.spawn(move || -> scopecache::Result<()> {
                    for period in 0..PERIODS {
                        for _ in 0..ROUNDS {
                            for key in 0..KEYS {
                                let found = ask(thread, period, (key + thread) % KEYS)?;
                                assert!(
                                    found == period || found + 1 == period,
                                    "{found} in period {period}"
                                );
                            }
                        }
                        if barrier.wait().is_leader() {
                            clock.advance(8 * SECOND);
                        }
                        barrier.wait();
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let loads = loads.into_inner().expect("no panic");
    assert_eq!(loads.len() as u64, PERIODS * KEYS as u64);
    assert!(loads.values().all(|&count| count == 1), "{loads:?}");
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.failed_refreshes), ((PERIODS - 1) * KEYS as u64, 0));
    cache.validate().expect("sound");
    Ok(())
}
