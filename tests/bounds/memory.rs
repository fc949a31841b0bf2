//! The bound on memory, and readers that stall.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use scopecache::{Blob, CacheBuilder, ErrorKind, OnFull, SetOptions};

use crate::common::{builder, fill};
use crate::pressure::{Random, settle, wait_until};
use crate::same_hash::SameHash;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn live_memory_stays_within_its_bound_while_two_threads_set_values_of_any_size()
-> scopecache::Result<()> {
    const SETS: u64 = 4000;
    const MOST: u64 = 100 << 10;
    for keep_large in [false, true] {
        let mut settings = builder().max_bytes(1 << 20);
        if keep_large {
            settings = settings.keep_large();
        }
        let cache = settings.build()?;
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..SETS {
                        let user = format!("user {}", random.below(20));
                        let scope = cache.user(&user).expect("a valid id");
                        // Sizes of all magnitudes.
                        let below = MOST >> random.below(17);
                        let value = vec![7; random.below(below.max(1)) as usize + 1];
                        let key = format!("key {}", random.below(200));
                        scope.set(&key, value).expect("something can be evicted");
                        let live = cache.stats().live_bytes;
                        assert!(live <= 1 << 20, "{live} bytes live");
                    }
                });
            }
        });
        settle(&cache);
        let mut found = 0;
        for user in cache.users()? {
            found += cache.user(&user)?.usage()?.bytes;
        }
        let live = cache.stats().live_bytes;
        assert!(found <= live && live <= 1 << 20, "{found} bytes in entries, {live} live");
        assert!(found > 1 << 19, "{found} bytes of a full cache are of use");

        cache.clear();
        settle(&cache);
        assert_eq!((cache.stats().entries, cache.stats().users), (0, 0));
        wait_until("what was retired is freed", || {
            cache.maintain(1);
            cache.stats().retired_bytes == 0
        });
        cache.user("ada")?.set("k", vec![1; 50 << 10])?;
        assert!(cache.user("ada")?.contains("k")?);
    }
    Ok(())
}

/// lance#9115 and #8013, foyer#714: a budget that is split by shards refuses what the whole has
/// room for.
#[test]
fn an_entry_of_most_of_the_budget_is_stored_though_there_are_16_shards() -> scopecache::Result<()> {
    const MAX: usize = 1 << 20;
    for percent in [60, 95] {
        let cache = builder().max_bytes(MAX as u64).shards(16).keep_large().build()?;
        let scope = cache.user("ada")?;
        let value = vec![percent as u8; MAX / 100 * percent];
        scope.set("in an empty cache", value.as_slice())?;
        assert_eq!(scope.get("in an empty cache")?.expect("stored").data(), value);
        settle(&cache);
    }
    let cache = builder().max_bytes(MAX as u64).shards(16).keep_large().build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 1000)?;
    let before = cache.stats().entries;
    let value = vec![1; MAX / 100 * 60];
    scope.set("in a full cache", value.as_slice())?;
    assert_eq!(scope.get("in a full cache")?.expect("stored").data(), value);
    let left = cache.stats().entries;
    assert!(left > before / 4, "{left} of {before} entries are left beside one of 60 %");
    settle(&cache);
    Ok(())
}

/// The same: here all entries fall into one of 16 shards.
#[test]
fn one_shard_may_use_the_whole_budget() -> scopecache::Result<()> {
    let cache = builder().max_bytes(1 << 20).shards(16).hasher(SameHash).build()?;
    let scope = cache.user("ada")?;
    for key in 0..400 {
        scope.set(format!("key {key}"), vec![7; 8 << 10])?;
    }
    let bytes = scope.usage()?.bytes;
    assert!(bytes > (1 << 20) / 10 * 9, "{bytes} bytes of 1 MiB");
    settle(&cache);
    Ok(())
}

#[test]
fn nothing_is_evicted_for_an_entry_that_exceeds_the_bound() -> scopecache::Result<()> {
    for keep_large in [false, true] {
        let mut settings = builder().max_bytes(256 << 10);
        if keep_large {
            settings = settings.keep_large();
        }
        let cache = settings.build()?;
        let scope = cache.user("ada")?;
        fill(&scope, 1000)?;
        let before = scope.keys()?.len();
        for bytes in [256 << 10, 300 << 10, 10 << 20] {
            let error = scope.set("huge", vec![1; bytes]).expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
            assert!(error.to_string().contains("larger than max_bytes"), "{error}");
        }
        assert_eq!(scope.keys()?.len(), before);
        assert!(scope.get("huge")?.is_none());
        settle(&cache);
    }
    Ok(())
}

/// With what belongs to it, such as the node of its user, the entry does not fit.
#[test]
fn nothing_is_evicted_for_an_entry_that_just_misses_the_bound() -> scopecache::Result<()> {
    const MAX: usize = 256 << 10;
    let cache = builder().max_bytes(MAX as u64).keep_large().build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 1000)?;
    let before = scope.keys()?.len();
    let error = scope.set("huge", vec![1; MAX - 200]).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    assert_eq!(scope.keys()?.len(), before, "entries left, of {before}");
    settle(&cache);
    Ok(())
}

#[test]
fn a_bound_below_one_entry_refuses_every_set_in_words_and_answers_reads() -> scopecache::Result<()>
{
    for max_bytes in [1, 64, 100] {
        for on_full in [OnFull::Evict, OnFull::Reject] {
            let cache = builder().max_bytes(max_bytes).on_full(on_full).build()?;
            let scope = cache.session("ada", "s")?;
            let error = scope.set("k", [7; 20].as_slice()).expect_err("no room");
            assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
            assert!(error.to_string().contains("max_bytes"), "{error}");
            assert!(scope.get("k")?.is_none());
            assert_eq!(scope.delete_all()?.entries, 0);
            settle(&cache);
            assert_eq!(cache.stats().entries, 0);
        }
    }
    Ok(())
}

#[test]
fn the_greatest_bound_is_none() -> scopecache::Result<()> {
    for on_full in [OnFull::Evict, OnFull::Reject] {
        let settings = builder().max_bytes(u64::MAX).max_entries(u64::MAX).on_full(on_full);
        let cache = settings.expected_entries(100).build()?;
        let scope = cache.user("ada")?;
        for key in 0..500 {
            scope.set_with(format!("key {key}"), "v", SetOptions::new().ttl(MINUTE))?;
        }
        assert_eq!(cache.stats().entries, 500);
        settle(&cache);
    }
    // As many lines as are ever guessed.
    let cache = builder().max_bytes(u64::MAX).build()?;
    cache.user("ada")?.set("k", "v")?;
    assert!(cache.user("ada")?.contains("k")?);
    Ok(())
}

#[test]
fn senseless_bounds_are_refused_in_words() {
    let refused = |settings: CacheBuilder<Blob>, word: &str| {
        let error = settings.build().expect_err("senseless");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(builder().max_bytes(0), "max_bytes");
    refused(builder().max_entries(0), "max_entries");
    refused(builder().tick(Duration::ZERO), "tick");
    refused(builder().tick(Duration::from_micros(9999)), "tick");
    builder().tick(Duration::from_millis(10)).build().expect("the shortest tick");
    builder().tick(Duration::MAX).build().expect("the longest tick");
}

/// quick_cache#98: what a reader holds on to blocks eviction for good.
#[test]
fn a_reader_that_stalls_stops_writes_at_the_bound_and_reads_go_on() -> scopecache::Result<()> {
    const VALUE: usize = 4000;
    const MOST_RETIRED: u64 = 256 << 10;
    let cache = builder().max_bytes(1 << 20).max_retired_bytes(MOST_RETIRED).build()?;
    let scope = cache.user("ada")?;
    for key in 0..300 {
        // Guards of other tests delay it.
        wait_until("a set", || scope.set(format!("filler {key}"), vec![7; VALUE]).is_ok());
    }
    wait_until("a set", || scope.set("read", "by the one who stalls").is_ok());
    for overwrites in [true, false] {
        thread::scope(|threads| {
            let (leave, left) = mpsc::channel::<()>();
            let (came, come) = mpsc::channel();
            let stalled = scope.clone();
            threads.spawn(move || {
                let guard = stalled.cache().pin();
                let item = stalled.get_ref("read", &guard).expect("open").expect("present");
                came.send(()).expect("listens");
                // An error: the test has failed, and its end of the channel is gone.
                let _ = left.recv();
                assert_eq!(item.data(), b"by the one who stalls");
            });
            come.recv().expect("the reader reads");
            let mut sets = 0;
            let refused = loop {
                let key = if overwrites { "k".into() } else { format!("new {sets}") };
                let set = scope.set(&key, vec![7; VALUE]);
                let retired = cache.stats().retired_bytes;
                let limit = MOST_RETIRED + VALUE as u64 + 200;
                assert!(retired <= limit, "{retired} bytes retired, {limit} allowed");
                assert!(cache.stats().live_bytes <= 1 << 20);
                match set {
                    Err(error) => break error,
                    Ok(_) => sets += 1,
                }
                assert!(sets < 1000, "nothing stops it");
            };
            assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
            assert!(refused.to_string().contains("guard"), "{refused}");
            let retired = cache.stats().retired_bytes;
            assert!(retired > MOST_RETIRED / 2, "stopped at {retired} bytes");
            // Any of them may have been evicted by now, but what is there is read and deleted.
            let keys = scope.keys().expect("open");
            assert!(keys.len() > 100, "{} entries are left", keys.len());
            for key in &keys {
                assert!(scope.get(key).expect("open").is_some());
            }
            assert!(scope.delete(&keys[0]).expect("a deletion never fails"));
            leave.send(()).expect("the reader waits");
        });
        wait_until("sets succeed again", || scope.set("read", "by the one who stalls").is_ok());
        settle(&cache);
    }
    wait_until("everything retired is freed", || {
        cache.maintain(1);
        cache.stats().retired_bytes == 0
    });
    Ok(())
}
