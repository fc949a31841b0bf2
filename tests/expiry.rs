//! The timing wheel from outside: what has expired is freed, with traffic or without, and not a
//! moment too early.
//!
//! `maintain` also searches some buckets that nothing points to. Where a test is about the wheel
//! alone, the table is so large that this search gets nowhere.

#[path = "support/same_hash.rs"]
mod same_hash;

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{Blob, Cache, CacheBuilder, Maintenance, MockClock, Scope, SetOptions};

use same_hash::SameHash;

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// After this a test that waits for another thread gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Buckets that no test searches: a million.
const WIDE: usize = 4 << 20;
/// Steps of maintenance that lead to its end, budgets of 1000 each.
const MOST_STEPS: usize = 10_000;

fn builder(clock: &MockClock) -> CacheBuilder<Blob> {
    let builder = Cache::builder().maintenance(Maintenance::Manual).clock(clock.clone());
    // Guards of other tests in this process shall fail no set here.
    builder.max_retired_bytes(1 << 30)
}

fn expiring(ttl: Duration) -> SetOptions {
    SetOptions::new().ttl(ttl)
}

fn fill(scope: &Scope, entries: u64, ttl: Duration) -> scopecache::Result<()> {
    (0..entries)
        .try_for_each(|key| scope.set_with(format!("key {key}"), "v", expiring(ttl)).map(drop))
}

/// Does what is pending; answers what it freed.
#[track_caller]
fn finish<S>(cache: &Cache<Blob, S>) -> u64 {
    let mut freed = 0;
    for _ in 0..MOST_STEPS {
        let progress = cache.maintain(1000);
        freed += progress.freed_entries;
        if !progress.pending {
            return freed;
        }
    }
    panic!("maintenance comes to no end");
}

#[track_caller]
fn assert_sound<S: BuildHasher<Hasher: Clone>>(cache: &Cache<Blob, S>) {
    if let Err(broken) = cache.validate() {
        panic!("{broken}");
    }
}

/// Garnet#610 and #1097: what has expired is never freed unless it is asked for.
#[test]
fn the_wheel_frees_what_has_expired_without_any_read_and_not_before() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).expected_entries(WIDE).build()?;
    let scope = cache.session("ada", "s")?;
    let empty = cache.stats().live_bytes;
    fill(&scope, 1000, HOUR)?;
    finish(&cache);
    clock.advance(HOUR - NANO);
    assert_eq!(finish(&cache), 0, "too early");
    assert_eq!(scope.keys()?.len(), 1000);
    // Its tick is over one second after the deadline at the latest.
    clock.advance(SECOND + NANO);
    assert_eq!(finish(&cache), 1000);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.sessions, stats.users), (0, 0, 0));
    let left = stats.live_bytes - empty;
    assert!(left < 64 << 10, "{left} bytes are left");
    assert!(!cache.maintain(1).pending);
    Ok(())
}

/// moka PR#248: the wheel loops for ever on some deadlines.
#[test]
fn the_shortest_and_the_longest_ttl_are_kept() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).tick(Duration::from_millis(10)).build()?;
    let scope = cache.user("ada")?;
    scope.set_with("nano", "v", expiring(NANO))?;
    scope.set_with("centuries", "v", expiring(400 * YEAR))?;
    scope.set_with("for ever but not quite", "v", expiring(Duration::MAX))?;
    scope.set("for ever", "v")?;
    assert!(scope.contains("nano")?);
    finish(&cache);
    assert_eq!(cache.stats().entries, 4);
    clock.advance(NANO);
    assert!(!scope.contains("nano")?);
    clock.advance(Duration::from_millis(10));
    finish(&cache);
    assert_eq!(cache.stats().entries, 3);
    assert_sound(&cache);
    clock.advance(400 * YEAR);
    finish(&cache);
    assert!(!scope.contains("centuries")?);
    assert_eq!(scope.keys()?.len(), 2);
    assert_sound(&cache);
    // The end of time: the clock saturates.
    clock.advance(Duration::MAX);
    finish(&cache);
    assert_eq!(scope.keys()?, ["for ever"]);
    assert_sound(&cache);
    Ok(())
}

/// The same, for TTLs of all magnitudes and a clock that jumps.
#[test]
fn deadlines_of_all_magnitudes_are_kept_however_the_clock_jumps() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).tick(Duration::from_millis(10)).build()?;
    let scope = cache.user("ada")?;
    for bits in 0..63 {
        for extra in [0, 1] {
            let ttl = Duration::from_nanos((1 << bits) + extra);
            scope.set_with(format!("{bits} {extra}"), "v", expiring(ttl))?;
        }
    }
    // Longer and longer jumps, some of no length at all.
    for bits in 0..63 {
        clock.advance(Duration::from_nanos(1 << bits) - clock.now());
        for _ in 0..2 {
            finish(&cache);
            // Due are those of fewer bits, and the first of these.
            let left = scope.keys()?.len();
            assert_eq!(left, (63 - bits) * 2 - 1, "at {:?}", clock.now());
        }
        assert_sound(&cache);
    }
    clock.advance(YEAR);
    finish(&cache);
    assert_eq!(cache.stats().entries, 0);
    Ok(())
}

#[test]
fn while_the_clock_stands_nothing_expires() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 500, NANO)?;
    for _ in 0..100 {
        assert_eq!(finish(&cache), 0);
    }
    assert_eq!(scope.keys()?.len(), 500);
    clock.advance(YEAR);
    assert_eq!(scope.keys()?.len(), 0);
    finish(&cache);
    assert_eq!(cache.stats().entries, 0);
    assert_sound(&cache);
    Ok(())
}

/// stretto#55: the buckets of ticks that were missed are never looked at.
#[test]
fn ticks_that_were_missed_for_an_hour_are_made_up_for() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).expected_entries(WIDE).build()?;
    let scope = cache.user("ada")?;
    for secs in 1..=2 * 3600 {
        scope.set_with(format!("key {secs}"), "v", expiring(SECOND * secs))?;
    }
    finish(&cache);
    clock.advance(HOUR);
    // One by one from here on: none was lost on the way down the wheel's levels. The wheel frees an
    // entry at the tick after its deadline; the net under it may find one in the second before.
    let mut freed = 0;
    for second in 3600..=3700 {
        clock.advance(SECOND);
        freed += finish(&cache);
        assert!((second..=second + 1).contains(&freed), "{freed} freed after {second} seconds");
        assert_eq!(cache.stats().entries, 2 * 3600 - freed);
    }
    clock.advance(HOUR);
    assert_eq!(freed + finish(&cache), 2 * 3600);
    Ok(())
}

/// moka#498, Dragonfly#6822 and #1362, KeyDB#187: mass expiry stops everything else.
#[test]
fn a_hundred_thousand_entries_with_one_deadline_go_in_bounded_steps() -> scopecache::Result<()> {
    const ENTRIES: u64 = 100_000;
    const STEP: usize = 1000;
    let clock = MockClock::new();
    let cache = builder(&clock).expected_entries(WIDE).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, ENTRIES, HOUR)?;
    finish(&cache);
    clock.advance(HOUR + SECOND);
    let (mut freed, mut steps, mut most) = (0, 0, 0);
    loop {
        let progress = cache.maintain(STEP);
        most = most.max(progress.examined);
        freed += progress.freed_entries;
        steps += 1;
        assert!(steps < 1000, "{freed} freed");
        if !progress.pending {
            break;
        }
        assert!(progress.examined > 0, "no progress, though something is pending");
    }
    println!("{steps} steps, at most {most} handles each");
    assert!(most <= STEP + 64, "{most} handles in one step");
    assert_eq!((freed, cache.stats().entries), (ENTRIES, 0));
    assert_eq!(cache.stats().users, 0);
    Ok(())
}

/// stretto 0.9: the old TTL of a key deletes its new entry.
#[test]
fn the_ttl_of_an_overwritten_or_deleted_entry_takes_nothing_along() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 6, SECOND)?;
    finish(&cache);
    scope.set("key 0", "for ever")?;
    scope.set_with("key 1", "longer", expiring(HOUR))?;
    scope.delete("key 2")?;
    scope.set("key 2", "for ever")?;
    scope.delete("key 3")?;
    scope.set_with("key 3", "longer", expiring(HOUR))?;
    assert!(scope.touch("key 4", HOUR)?);
    scope.set_with("key 5", "sooner", expiring(SECOND / 2))?;
    clock.advance(SECOND / 2);
    assert!(!scope.contains("key 5")?);
    clock.advance(SECOND * 3);
    finish(&cache);
    for key in 0..5 {
        assert!(scope.contains(format!("key {key}"))?, "key {key} went with an old deadline");
    }
    assert_eq!(cache.stats().entries, 5);
    assert_sound(&cache);
    clock.advance(HOUR);
    finish(&cache);
    assert_eq!(cache.stats().entries, 2);
    assert_sound(&cache);
    Ok(())
}

#[test]
fn a_ttl_that_becomes_shorter_is_kept_by_the_wheel() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).expected_entries(WIDE).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 100, HOUR)?;
    finish(&cache);
    for key in 0..100 {
        assert!(scope.touch(format!("key {key}"), SECOND)?);
    }
    finish(&cache);
    clock.advance(SECOND * 2);
    assert_eq!(finish(&cache), 100);
    Ok(())
}

/// pingora#406: keys whose hashes collide.
#[test]
fn each_entry_expires_at_its_own_time_though_all_keys_collide() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).max_entries(50).hasher(SameHash).build()?;
    let scope = cache.user("ada")?;
    for secs in 1..=50 {
        scope.set_with(format!("key {secs}"), "v", expiring(SECOND * secs))?;
    }
    finish(&cache);
    assert_sound(&cache);
    for gone in 1..=50_u64 {
        clock.advance(SECOND);
        assert!(!scope.contains(format!("key {gone}"))?);
        finish(&cache);
        assert_eq!(cache.stats().entries, 50 - gone);
        assert_eq!(scope.keys()?.len() as u64, 50 - gone);
        assert_sound(&cache);
    }
    Ok(())
}

/// moka#524 and #565: an entry whose expiry changes is used by the wheel after it was freed.
#[test]
fn keys_are_rearmed_removed_and_expired_by_three_threads_at_once() -> scopecache::Result<()> {
    const STEPS: u64 = 20_000;
    let clock = MockClock::new();
    let cache = builder(&clock).tick(Duration::from_millis(10)).max_entries(40).build()?;
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let setters: Vec<_> = (0..2_u64)
            .map(|thread| {
                let cache = &cache;
                threads.spawn(move || {
                    let scope = cache.user("ada").expect("a valid id");
                    for step in 0..STEPS {
                        let key = format!("key {}", (step * 7 + thread * 3) % 50);
                        let ttl = Duration::from_millis(1 + step * 31 % 200);
                        let done = match (step + thread) % 4 {
                            0 => scope.touch(&key, ttl).map(drop),
                            1 => scope.delete(&key).map(drop),
                            _ => scope.set_with(&key, "v", expiring(ttl)).map(drop),
                        };
                        done.expect("room can be made");
                    }
                })
            })
            .collect();
        threads.spawn(|| {
            // Relaxed, here and below: a sign to stop, which orders nothing.
            while !done.load(Ordering::Relaxed) {
                clock.advance(Duration::from_millis(7));
                cache.maintain(100);
            }
        });
        let joined: Vec<_> = setters.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Relaxed: as in the loop that it ends.
        done.store(true, Ordering::Relaxed);
        joined.into_iter().for_each(|setter| setter.expect("no panic"));
    });
    finish(&cache);
    assert_sound(&cache);
    clock.advance(SECOND);
    finish(&cache);
    assert_eq!((cache.stats().entries, cache.stats().users), (0, 0));
    assert_sound(&cache);
    Ok(())
}

/// moka#125 and #349: expiry needs traffic.
#[test]
fn an_idle_cache_frees_what_expires_by_itself() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder().tick(Duration::from_millis(10)).build()?;
    let scope = cache.session("ada", "s")?;
    scope.set("stays", "v")?;
    fill(&scope, 2000, Duration::from_millis(50))?;
    let start = Instant::now();
    // Looks at counters alone.
    while cache.stats().entries > 1 {
        let left = cache.stats().entries;
        assert!(start.elapsed() < PATIENCE, "{left} entries are left after {PATIENCE:?}");
        thread::yield_now();
    }
    println!("gone {:?} after the last was set", start.elapsed());
    assert!(scope.contains("stays")?);
    Ok(())
}

#[test]
fn what_a_thread_retired_is_freed_by_others_when_it_idles_or_ends() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder().max_bytes(256 << 20).max_retired_bytes(1 << 30).build()?;
    for ends in [false, true] {
        thread::scope(|threads| {
            let (leave, left) = mpsc::channel::<()>();
            let (idles, idle) = mpsc::channel();
            let cache = &cache;
            let thread = threads.spawn(move || {
                let scope = cache.user("ada").expect("a valid id");
                for key in 0..60 {
                    let key = format!("key {key}");
                    scope.set(&key, vec![7; 1 << 20]).expect("room");
                    assert!(scope.delete(&key).expect("open"));
                }
                idles.send(cache.stats().retired_bytes).expect("listens");
                if !ends {
                    let _ = left.recv();
                }
            });
            let retired = idle.recv().expect("the thread comes to its end");
            let start = Instant::now();
            while cache.stats().retired_bytes > 0 {
                let left = cache.stats().retired_bytes;
                assert!(start.elapsed() < PATIENCE, "{left} of {retired} bytes after {PATIENCE:?}");
                thread::yield_now();
            }
            println!("ends: {ends}; {retired} bytes were freed within {:?}", start.elapsed());
            drop(leave);
            thread.join().expect("no panic");
        });
    }
    Ok(())
}

/// It reads nothing, so it keeps nothing alive. (Found by a fuzz target.)
#[test]
fn a_lease_that_is_refused_renews_nothing() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let scope = builder(&clock).build()?.global();
    scope.set_with("k", "v", expiring(HOUR).sliding(YEAR))?;
    clock.advance(HOUR - NANO);
    assert!(scope.lease("k").is_err());
    clock.advance(NANO);
    assert!(scope.get("k")?.is_none());
    Ok(())
}
