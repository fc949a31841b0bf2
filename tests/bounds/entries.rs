//! The bound on the number of entries, and which of them stay.

use std::thread;

use scopecache::{ErrorKind, Eviction, Scope};

use crate::common::builder;
use crate::pressure::settle;

/// quick_cache#106: a cache of one entry stores nothing.
#[test]
fn the_number_of_entries_reaches_its_bound_exactly_and_never_passes_it() -> scopecache::Result<()> {
    for most in [1, 2, 20, 1000] {
        for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
            let cache = builder().max_entries(most).eviction(eviction).build()?;
            let scope = cache.user("ada")?;
            for key in 0..3 * most + 10 {
                scope.set(format!("key {key}"), format!("value {key}"))?;
                let entries = cache.stats().entries;
                // Where there are many, a 64th may stand idle as the credits of shards.
                let least = (key + 1).min(most - most / 64);
                assert!((least..=most).contains(&entries), "{entries} of {most} at key {key}");
                let item = scope.get(format!("key {key}"))?.expect("just set");
                assert_eq!(item.data(), format!("value {key}").as_bytes());
            }
            let keys = scope.keys()?;
            // An overwrite needs no place.
            scope.set(&keys[0], "again")?;
            assert_eq!(scope.keys()?.len(), keys.len());
            settle(&cache);
        }
    }
    Ok(())
}

#[test]
fn two_threads_fill_the_places_and_take_no_more() -> scopecache::Result<()> {
    for most in [1, 2, 20, 300] {
        let cache = builder().max_entries(most).shards(4).expected_entries(100).build()?;
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let scope = cache.user(&format!("user {thread}")).expect("a valid id");
                    for key in 0..3000 {
                        match scope.set(format!("key {key}"), "v") {
                            // The other one's entry is on its way, and there are no more places.
                            Err(error) if most < 3 => {
                                assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
                            }
                            set => assert!(set.is_ok(), "{set:?} of {most}"),
                        }
                    }
                });
            }
        });
        assert!(cache.stats().entries <= most, "{} of {most}", cache.stats().entries);
        settle(&cache);
        cache.user("eve")?.set("another", "v")?;
        assert_eq!(cache.stats().entries, most);
    }
    Ok(())
}

#[test]
fn a_scan_of_ten_times_the_bound_leaves_what_is_read_all_the_time() -> scopecache::Result<()> {
    const MOST: u64 = 1000;
    const HOT: u64 = 100;
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_entries(MOST).eviction(eviction).build()?;
        let scope = |key| cache.user(&format!("user {}", key % 20));
        for key in 0..HOT {
            scope(key)?.set(format!("hot {key}"), "v")?;
        }
        let mut hits = 0;
        for key in 0..10 * MOST {
            scope(key)?.set(format!("scanned {key}"), "v")?;
            hits += u64::from(scope(key % HOT)?.get(format!("hot {}", key % HOT))?.is_some());
        }
        let share = hits as f64 / (10 * MOST) as f64;
        println!("{eviction:?}: {share:.4} of the hot reads hit");
        assert!(share > 0.99, "{eviction:?}: {share}");
        assert!(cache.stats().entries <= MOST);
        settle(&cache);
    }
    Ok(())
}

/// The same where the bound is one on bytes.
#[test]
fn a_scan_of_ten_times_the_memory_leaves_what_is_read_all_the_time() -> scopecache::Result<()> {
    const SCANNED: u64 = 10_000;
    const HOT: u64 = 100;
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_bytes(512 << 10).eviction(eviction).build()?;
        // Not all of one owner, whose handles `validate` reads again for each entry.
        let scope = |key| cache.user(&format!("user {}", key % 20));
        for key in 0..HOT {
            scope(key)?.set(format!("hot {key}"), vec![7; 300])?;
        }
        let mut hits = 0;
        for key in 0..SCANNED {
            scope(key)?.set(format!("scanned {key}"), vec![7; 300])?;
            hits += u64::from(scope(key % HOT)?.get(format!("hot {}", key % HOT))?.is_some());
        }
        let share = hits as f64 / SCANNED as f64;
        println!("{eviction:?}: {share:.4} of the hot reads hit");
        assert!(share > 0.99, "{eviction:?}: {share}");
        settle(&cache);
    }
    Ok(())
}

#[test]
fn a_get_counts_as_a_hit_and_a_peek_or_contains_does_not() -> scopecache::Result<()> {
    let survivors = |look: &dyn Fn(&Scope) -> scopecache::Result<()>| -> scopecache::Result<_> {
        let cache = builder().max_entries(10).shards(1).build()?;
        let scope = cache.user("ada")?;
        for key in 0..10 {
            scope.set(format!("old {key}"), "v")?;
        }
        (0..4).try_for_each(|_| look(&scope))?;
        for key in 0..10 {
            scope.set(format!("new {key}"), "v")?;
        }
        let mut keys = scope.keys()?;
        keys.sort();
        Ok(keys)
    };
    // The first one of all: what is set while there is room goes to the main queue after it.
    const FIRST: &str = "old 0";
    let unseen = survivors(&|_| Ok(()))?;
    assert!(!unseen.iter().any(|key| key == FIRST), "{unseen:?}");
    assert_eq!(survivors(&|scope| scope.peek(FIRST).map(drop))?, unseen);
    assert_eq!(survivors(&|scope| scope.contains(FIRST).map(drop))?, unseen);
    let read = survivors(&|scope| scope.get(FIRST).map(drop))?;
    assert!(read.iter().any(|key| key == FIRST), "{read:?}");
    let borrowed = survivors(&|scope| {
        let guard = scope.cache().pin();
        scope.get_ref(FIRST, &guard).map(drop)
    })?;
    assert_eq!(borrowed, read);
    assert_eq!(survivors(&|scope| scope.get_many(&[FIRST]).map(drop))?, read);
    Ok(())
}
