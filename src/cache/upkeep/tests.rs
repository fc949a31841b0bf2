//! Wheel and queues from inside: that handles do not multiply, and that lost events do no harm.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::cache::Cache;
use crate::cache::core::{Core, Settings};
use crate::clock::{Clock, MockClock, nanos};
use crate::directory::Shortcuts;
use crate::error::Result;
use crate::options::SetOptions;
use crate::policy::{Eviction, Policy};
use crate::table::Table;

const SECOND: Duration = Duration::from_secs(1);
/// Many more buckets than `maintain` searches in these tests.
const WIDE_LINES: usize = 1 << 16;

/// A cache of one shard whose ring holds so many events.
fn cache(events: usize, lines: usize, clock: &MockClock) -> Cache {
    cache_of(64 << 20, events, lines, clock)
}

/// The same with room for so many bytes.
fn cache_of(max_bytes: u64, events: usize, lines: usize, clock: &MockClock) -> Cache {
    let settings = Settings {
        expiry: None,
        refreshing: None,
        max_value_bytes: 1 << 20,
        max_retired_bytes: 1 << 30,
        weigher: None,
        eviction: Some(Eviction::default()),
        judges_large: true,
        huge_pages: true,
        max_entries: None,
        user_quota: None,
        tick: nanos(SECOND),
        events,
        counts: None,
        listener: None,
    };
    let clock = Clock::mock(clock.clone());
    let (table, budget) = (Table::new(lines), Budget::new(max_bytes, 1));
    let core =
        Core::new(table, Shortcuts::new(1), budget, 1, clock, ahash::RandomState::new(), settings);
    Cache::new(Arc::new(core))
}

fn expiring(secs: u64) -> SetOptions {
    SetOptions::new().ttl(Duration::from_secs(secs))
}

/// Handles in the wheel, and in the queues.
fn handles(cache: &Cache) -> (usize, usize) {
    let upkeep = cache.core().shards[0].upkeep.lock();
    (upkeep.wheel.len(), upkeep.policy.as_ref().map_or(0, Policy::len))
}

#[track_caller]
fn finish(cache: &Cache) {
    assert!((0..10_000).any(|_| !cache.maintain(1000).pending), "maintenance comes to no end");
    if let Err(broken) = cache.validate() {
        panic!("{broken}");
    }
}

#[test]
fn a_key_whose_ttl_alternates_has_three_handles_at_most() -> Result<()> {
    let clock = MockClock::new();
    let cache = cache(super::EVENTS, 16, &clock);
    let scope = cache.user("ada")?;
    let mut most = 0;
    for step in 0..100_000_u64 {
        scope.set_with("k", "v", expiring(if step % 2 == 0 { 60 } else { 30 }))?;
        if step % 100 == 0 {
            clock.advance(SECOND * 7);
        }
        if step % 10 == 0 {
            cache.maintain(100);
            let (wheel, queued) = handles(&cache);
            most = most.max(wheel);
            assert!(wheel <= 3, "{wheel} handles at step {step}");
            assert_eq!(queued, 1);
        }
    }
    assert!(most > 0, "the wheel never had a handle");
    finish(&cache);
    clock.advance(SECOND * 100);
    finish(&cache);
    assert_eq!(cache.stats().entries, 0);
    Ok(())
}

#[test]
fn a_key_that_comes_and_goes_takes_no_more_memory_than_at_first() -> Result<()> {
    let clock = MockClock::new();
    let cache = cache(super::EVENTS, 16, &clock);
    let scope = cache.user("ada")?;
    scope.set("stays", "v")?;
    let mut most = [0; 2];
    for step in 0..100_000_u64 {
        scope.set_with("k", "v", expiring(1000 + step % 1000))?;
        scope.delete("k")?;
        if step % 1000 == 999 {
            cache.maintain(10_000);
            let (wheel, queued) = handles(&cache);
            let limit = 1000 + 2 * super::FEW_STALE as usize;
            assert!(wheel <= limit && queued <= limit, "{wheel} and {queued} at step {step}");
            let half = &mut most[(step / 50_000) as usize];
            *half = cache.stats().live_bytes.max(*half);
        }
    }
    let [first, second] = most;
    assert!(second <= first + first / 4, "{second} bytes at most, in the first half {first}");
    assert!(second < 32 << 10, "{second} bytes for two entries");
    finish(&cache);
    Ok(())
}

#[test]
fn a_large_cache_has_as_many_shards_as_short_handles_need() -> Result<()> {
    for (shards, expected) in [(1, 4), (16, 16)] {
        let clock = MockClock::new();
        let cache = Cache::builder()
            .shards(shards)
            .expected_entries(1 << 20)
            .maintenance(crate::Maintenance::Manual)
            .clock(clock.clone())
            .build()?;
        assert_eq!(cache.core().shards.len(), expected);
        let scope = cache.user("ada")?;
        for key in 0..2000 {
            scope.set_with(format!("key {key}"), "v", expiring(1 + 2 * (key % 2)))?;
        }
        finish(&cache);
        clock.advance(SECOND * 2);
        // Too little to search the table for them.
        while cache.maintain(100).pending {}
        assert_eq!(cache.stats().entries, 1000);
    }
    Ok(())
}

#[test]
fn lost_events_are_made_up_for_by_maintenance_alone() -> Result<()> {
    const ENTRIES: u64 = 2000;
    let clock = MockClock::new();
    let cache = cache(1, 1000, &clock);
    let scope = cache.user("ada")?;
    for key in 0..ENTRIES {
        scope.set_with(format!("key {key}"), "v", expiring(60 + key % 10))?;
    }
    let (wheel, queued) = handles(&cache);
    assert!(wheel < 10 && queued < 10, "{wheel} and {queued}: no event was lost");
    finish(&cache);
    assert_eq!(handles(&cache), (ENTRIES as usize, ENTRIES as usize));
    assert!(!cache.core().shards[0].events.is_pending(), "so `validate` has looked at the tracks");
    clock.advance(SECOND * 71);
    finish(&cache);
    assert_eq!(cache.stats().entries, 0);
    assert_eq!(handles(&cache).0, 0);
    Ok(())
}

/// As above, but what `maintain` searches by itself is next to nothing.
#[test]
fn what_a_repair_has_armed_is_freed_by_the_wheel() -> Result<()> {
    let clock = MockClock::new();
    let cache = cache(1, WIDE_LINES, &clock);
    let scope = cache.user("ada")?;
    for key in 0..500 {
        scope.set_with(format!("key {key}"), "v", expiring(60))?;
    }
    let mut rounds = 0;
    while cache.maintain(100_000).pending {
        rounds += 1;
        assert!(rounds < 100, "the repair comes to no end");
    }
    assert_eq!(handles(&cache).0, 500);
    clock.advance(SECOND * 61);
    while cache.maintain(100).pending {}
    assert_eq!(cache.stats().entries, 0);
    Ok(())
}

/// A fuzz target found a cache of 12 KiB that used a kilobyte more than it counted.
#[test]
fn a_small_full_cache_evicts_for_the_levels_of_its_wheel() -> Result<()> {
    let clock = MockClock::new();
    let cache = cache_of(12 << 10, super::EVENTS, 16, &clock);
    let scope = cache.global();
    let timed = || (0..4).map(|key| format!("timed {key}"));
    for key in timed() {
        scope.set_with(key, "v", expiring(3600))?;
    }
    finish(&cache);
    for key in 0..200 {
        scope.set(format!("key {key}"), vec![0; 40])?;
        // Asked for, so that they stay.
        timed().try_for_each(|key| scope.get(key).map(drop))?;
    }
    assert!(handles(&cache).0 > 0, "the wheel has something to move");
    for _ in 0..60 {
        clock.advance(SECOND * 59);
        cache.maintain(1000);
        let upkeep = cache.core().shards[0].upkeep.lock();
        assert!(upkeep.bytes() <= upkeep.booked, "{} of {}", upkeep.booked, upkeep.bytes());
    }
    Ok(())
}
