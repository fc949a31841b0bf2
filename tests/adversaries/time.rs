//! Clocks that stand, and leap by years.
//!
//! A cache's clock cannot go backwards: `MockClock` has no way to, and that of the system is
//! monotonic (`clock::tests::the_system_clock_does_not_run_backwards`); the date of the machine
//! shows in `created_at` and `expires_at` alone. A deadline is in no case later than asked for.

use std::time::Duration;

use scopecache::{Cache, Maintenance, MockClock, SetOptions};

use crate::pressure::{Random, settle};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn while_time_stands_still_everything_else_goes_on() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .max_bytes(64 << 10)
        .maintenance(Maintenance::Manual)
        .clock(clock)
        .max_retired_bytes(1 << 30)
        .build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(1);
    for number in 0..20_000_u64 {
        let key = format!("key {}", random.below(2_000));
        let ttl = Duration::from_nanos(1 + random.below(1 << 40));
        // All of one moment: versions differ, the last one stands, none expires.
        let version = scope.set_with(&key, "v", SetOptions::new().ttl(ttl))?;
        let item = scope.get(&key)?.expect("what was just set is there");
        assert_eq!(item.version(), version);
        if number % 100 == 0 {
            scope.delete(&key)?;
            assert!(!scope.contains(&key)?);
            cache.maintain(64);
        }
    }
    settle(&cache);
    Ok(())
}

/// Each leap passes millions of ticks; what is over is gone at once, what is not stays.
#[test]
fn leaps_of_years_expire_what_is_over_and_nothing_else() -> scopecache::Result<()> {
    const ENTRIES: u32 = 500;
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .max_retired_bytes(1 << 30)
        .build()?;
    let scope = cache.session("ada", "s")?;
    for years in 1..=ENTRIES {
        let ttl = YEAR / 10 * years;
        scope.set_with(format!("{years}"), "v", SetOptions::new().ttl(ttl))?;
    }
    scope.set("for ever", "v")?;
    let mut over = 0;
    // 0, 1, 6, 27, .. tenths of a year, and then to the end of time.
    for leap in [0, 1, 5, 21, 85, 341] {
        clock.advance(YEAR / 10 * leap);
        over += leap;
        for years in [over.max(1), over + 1, over + 7].map(|it| it.min(ENTRIES)) {
            let present = scope.contains(format!("{years}"))?;
            assert_eq!(present, years > over, "{years} tenths after {over}");
        }
        settle(&cache);
        assert_eq!(cache.stats().entries, u64::from(ENTRIES - over) + 1);
    }
    clock.advance(Duration::MAX);
    settle(&cache);
    assert_eq!(scope.keys()?, ["for ever"]);
    // At the end of time the clock stands: a TTL ends in the moment in which it begins.
    scope.set_with("late", "v", SetOptions::new().ttl(YEAR))?;
    assert!(scope.get("late")?.is_none());
    settle(&cache);
    Ok(())
}
