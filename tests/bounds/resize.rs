//! A bound that is lowered and raised while the cache is in use, and a cache that is shrunk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, ErrorKind, Eviction, MockClock, OnFull, Scope, SetOptions};

use crate::common::{builder, fill};
use crate::pressure::{Random, settle, wait_until};

/// Small, as `validate` takes time in proportion to the square of what a user holds.
const UNIT: u64 = 64 << 10;

fn live(cache: &Cache) -> u64 {
    cache.stats().live_bytes
}

/// What is left of the keys `key 0`, `key 1`, ..
fn present(scope: &Scope, keys: u64) -> scopecache::Result<u64> {
    let mut count = 0;
    for key in 0..keys {
        count += u64::from(scope.contains(format!("key {key}"))?);
    }
    Ok(count)
}

#[test]
fn beyond_a_lower_bound_maintenance_evicts_and_a_higher_one_is_filled_again()
-> scopecache::Result<()> {
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_bytes(8 * UNIT).eviction(eviction).build()?;
        let scope = cache.user("ada")?;
        for round in 0..3 {
            fill(&scope, 100)?;
            let full = live(&cache);
            assert!(full > 7 * UNIT, "round {round}: {full} of 8 units are filled");

            cache.set_max_bytes(2 * UNIT)?;
            assert_eq!(cache.capacity_bytes(), 2 * UNIT);
            assert_eq!(live(&cache), full, "the call itself evicts nothing");
            // Each round of maintenance does a bounded part of it.
            let progress = cache.maintain(1024);
            assert!(progress.pending && live(&cache) < full);
            assert!(full - live(&cache) < 3 * UNIT, "{} went at once", full - live(&cache));
            settle(&cache);
            let low = live(&cache);
            assert!(low <= 2 * UNIT && low > 2 * UNIT * 8 / 10, "{low} of 2 units are left");
            fill(&scope, 100)?;
            assert!(live(&cache) <= 2 * UNIT);
            settle(&cache);

            cache.set_max_bytes(8 * UNIT)?;
        }
    }
    Ok(())
}

#[test]
fn writes_go_on_above_a_lower_bound_and_use_does_not_grow() -> scopecache::Result<()> {
    let cache = builder().max_bytes(4 * UNIT).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 100)?;
    cache.set_max_bytes(UNIT)?;
    let mut most = live(&cache);
    for key in 0..4000 {
        // Smaller and larger ones than there are.
        scope.set(format!("key {key}"), vec![1; key % 300])?;
        let now = live(&cache);
        assert!(now <= most, "it grew from {most} to {now}");
        if key % 100 == 0 {
            let _ = cache.maintain(256);
            most = live(&cache).max(UNIT);
        }
    }
    settle(&cache);
    assert!(live(&cache) <= UNIT);
    Ok(())
}

#[test]
fn a_store_loses_nothing_under_a_lower_bound_and_grows_only_once_it_fits() -> scopecache::Result<()>
{
    let clock = MockClock::new();
    let settings = builder().max_bytes(16 * UNIT).on_full(OnFull::Reject).clock(clock.clone());
    let cache = settings.build()?;
    let scope = cache.user("ada")?;
    let options = SetOptions::new().ttl(Duration::from_secs(60));
    for key in 0..1000 {
        scope.set(format!("key {key}"), vec![7; 100])?;
        scope.set_with(format!("mortal {key}"), vec![7; 100], options)?;
    }
    let full = live(&cache);
    let bound = full / 4;
    cache.set_max_bytes(bound)?;
    let refused = |key: &str| {
        let error = scope.set(key, vec![7; 100]).expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    };
    refused("another");
    settle(&cache);
    assert_eq!((present(&scope, 1000)?, live(&cache)), (1000, full));
    // No larger: it needs no room.
    scope.set("key 0", vec![8; 100])?;
    // Room that was just made counts for nothing above the bound.
    assert!(scope.delete("key 1")? && scope.delete("key 2")? && scope.delete("key 3")?);
    refused("another");
    assert!(live(&cache) < full);

    clock.advance(Duration::from_secs(60));
    settle(&cache);
    assert!(live(&cache) > bound, "half of it never expires");
    assert_eq!(cache.shrink_to(0), live(&cache), "nor does a shrink take it");
    refused("another");
    assert_eq!(present(&scope, 1000)?, 997);
    for key in 4..900 {
        assert!(scope.delete(format!("key {key}"))?);
    }
    settle(&cache);
    assert!(live(&cache) < bound);
    scope.set("another", vec![7; 100])?;
    settle(&cache);
    Ok(())
}

#[test]
fn a_bound_of_zero_is_refused_and_shrinking_to_zero_empties() -> scopecache::Result<()> {
    for shards in [1, 16] {
        let cache = builder().max_bytes(4 * UNIT).shards(shards).build()?;
        let scope = cache.user("ada")?;
        fill(&scope, 100)?;
        let error = cache.set_max_bytes(0).expect_err("senseless");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        assert!(error.to_string().contains("shrink_to(0)"), "{error}");
        assert_eq!(cache.capacity_bytes(), 4 * UNIT);

        let left = cache.shrink_to(0);
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.users), (0, 0), "{stats:?}");
        assert_eq!(left, stats.overflow_lines * 64, "{stats:?}");
        settle(&cache);
        // The bound is what it was.
        fill(&scope, 100)?;
        assert!(live(&cache) > 3 * UNIT);
        settle(&cache);
        cache.close();
        assert_eq!(cache.set_max_bytes(1).expect_err("closed").kind(), ErrorKind::Closed);
        assert_eq!(cache.shrink_to(0), stats.overflow_lines.max(cache.stats().overflow_lines) * 64);
    }
    Ok(())
}

#[test]
fn a_shrink_keeps_what_is_asked_for() -> scopecache::Result<()> {
    let cache = builder().max_bytes(8 * UNIT).shards(2).build()?;
    let scope = cache.user("ada")?;
    for key in 0..2200 {
        scope.set(format!("key {key}"), vec![7; 100])?;
    }
    for _ in 0..3 {
        for key in 0..300 {
            scope.get(format!("key {key}"))?;
        }
    }
    let before = live(&cache);
    let left = cache.shrink_to(before / 4);
    assert!(left <= before / 4 && left > before / 5, "{left} of {before} are left");
    let kept = present(&scope, 300)?;
    assert!(kept > 280, "{kept} of 300 that were read thrice are left");
    assert_eq!(cache.shrink_to(left), live(&cache), "it is there already");
    settle(&cache);
    Ok(())
}

#[test]
fn a_bound_that_is_a_little_lower_costs_little() -> scopecache::Result<()> {
    for shards in [1, 4] {
        let cache = builder().max_bytes(8 * UNIT).shards(shards).build()?;
        let scope = cache.user("ada")?;
        fill(&scope, 100)?;
        settle(&cache);
        let before = cache.stats();
        let left = cache.shrink_to(before.live_bytes - 1);
        assert!(left < before.live_bytes);
        let gone = before.entries - cache.stats().entries;
        assert!((1..=4).contains(&gone), "{gone} entries went for a byte");
        // In steps of 64 entries, as many as were asked for.
        cache.set_max_bytes(UNIT)?;
        let before = cache.stats().entries;
        assert!(cache.maintain(128).pending);
        let gone = before - cache.stats().entries;
        assert!((1..=64).contains(&gone), "{gone} entries went in a step");
        settle(&cache);
    }
    Ok(())
}

#[test]
fn an_entry_is_too_large_by_the_bound_of_now() -> scopecache::Result<()> {
    let cache = builder().max_bytes(16 * UNIT).keep_large().build()?;
    let scope = cache.user("ada")?;
    scope.set("large", vec![7; 500 << 10])?;
    cache.set_max_bytes(100 << 10)?;
    let error = scope.set("large", vec![7; 500 << 10]).expect_err("too large by now");
    assert!(error.to_string().contains("larger than max_bytes"), "{error}");
    assert!(scope.contains("large")?, "nothing was changed");
    scope.set("small", vec![7; 100])?;
    settle(&cache);
    assert!(live(&cache) <= 100 << 10 && !scope.contains("large")?);
    cache.set_max_bytes(16 * UNIT)?;
    scope.set("large", vec![7; 500 << 10])?;
    settle(&cache);
    Ok(())
}

#[test]
fn a_bound_of_two_kilobytes_a_shard_is_kept_by_many_shards() -> scopecache::Result<()> {
    let cache = builder().max_bytes(4 * UNIT).shards(16).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 100)?;
    cache.set_max_bytes(32 << 10)?;
    settle(&cache);
    assert!(live(&cache) <= 32 << 10, "{}", live(&cache));
    fill(&scope, 100)?;
    settle(&cache);
    Ok(())
}

/// Three that write and read beside one that moves the bound and shrinks: nobody is refused, nothing
/// is broken, and in the end all of it is below the bound.
#[test]
fn reads_and_writes_beside_a_bound_that_moves() -> scopecache::Result<()> {
    let cache =
        Cache::builder().max_bytes(16 * UNIT).shards(4).max_retired_bytes(1 << 30).build()?;
    let stop = AtomicBool::new(false);
    thread::scope(|threads| -> scopecache::Result<()> {
        let workers: Vec<_> = (0..3)
            .map(|number| {
                let scope = cache.user(&format!("user {number}"));
                let stop = &stop;
                threads.spawn(move || -> scopecache::Result<u64> {
                    let (scope, mut random, mut writes) = (scope?, Random(number), 0);
                    // Relaxed: it orders nothing. Each has its turn, on however busy a machine.
                    while writes < 100 || !stop.load(Ordering::Relaxed) {
                        let key = format!("key {}", random.below(6000));
                        if scope.get(&key)?.is_none() {
                            scope.set(&key, vec![7; random.below(400) as usize])?;
                            writes += 1;
                        }
                    }
                    Ok(writes)
                })
            })
            .collect();
        let mut random = Random(99);
        for round in 0..60 {
            let bound = 4 * UNIT + random.below(16 * UNIT);
            cache.set_max_bytes(bound)?;
            if round % 3 == 0 {
                let bytes = random.below(bound);
                let left = cache.shrink_to(bytes);
                assert!(left <= 20 * UNIT, "{left}");
            }
            thread::yield_now();
        }
        cache.set_max_bytes(UNIT)?;
        // The cache's own thread does it.
        wait_until("use is below the bound", || live(&cache) <= UNIT);
        // Relaxed: as above.
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            assert!(worker.join().expect("no panic")? >= 100);
        }
        Ok(())
    })?;
    assert!(live(&cache) <= UNIT);
    wait_until("it is whole", || cache.validate().is_ok());
    Ok(())
}
