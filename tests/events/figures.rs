//! What `stats` counts, and what `snapshot` shows.

use std::time::Duration;

use scopecache::{Cache, Maintenance, SetOptions};

use crate::recorder::counting;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn hits_misses_and_loads_are_counted_once_a_call() -> scopecache::Result<()> {
    let (builder, _) = counting();
    let cache = builder.build()?;
    let scope = cache.session("ada", "s")?;
    let asked = || (cache.stats().hits, cache.stats().misses);
    scope.set("k", "v")?;
    scope.get("k")?;
    scope.get("absent")?;
    assert_eq!(asked(), (1, 1));
    scope.get_ref("k", &cache.pin())?;
    assert_eq!(scope.get_many(&["k", "absent", "k"])?.len(), 3);
    assert_eq!(asked(), (4, 2));
    scope.get_or_load("k", || Ok::<_, std::fmt::Error>("unused"))?;
    scope.get_or_load("loaded", || Ok::<_, std::fmt::Error>("v"))?;
    assert!(scope.get_or_load("failed", || Err::<&str, _>("no")).is_err());
    pollster::block_on(scope.get_or_load_async("loaded", async { Ok::<_, std::fmt::Error>("v") }))?;
    assert_eq!(asked(), (6, 4));
    assert_eq!((cache.stats().load_successes, cache.stats().load_failures), (1, 1));
    // What leaves no trace, and what is no question, is not counted.
    scope.peek("k")?;
    scope.contains("absent")?;
    scope.keys()?;
    scope.update("k", |_| "w")?;
    scope.touch("k", MINUTE)?;
    scope.take("k")?;
    assert_eq!(asked(), (6, 4));
    assert_eq!(cache.stats().hit_ratio(), Some(0.6));
    Ok(())
}

#[test]
fn a_loader_that_panics_or_is_dropped_has_failed() -> scopecache::Result<()> {
    let (builder, _) = counting();
    let cache = builder.build()?;
    let scope = cache.user("ada")?;
    let panicking = std::panic::AssertUnwindSafe(|| {
        let loader = || -> Result<&str, std::fmt::Error> {
            std::panic::resume_unwind(Box::new("a loader's"))
        };
        drop(scope.get_or_load("k", loader));
    });
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(cache.stats().load_failures, 1);
    {
        let never = std::future::pending::<Result<&str, std::fmt::Error>>();
        let mut load = std::pin::pin!(scope.get_or_load_async("k", never));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(load.as_mut().poll(&mut context).is_pending());
        assert_eq!(cache.stats().load_failures, 1);
    }
    let stats = cache.stats();
    assert_eq!((stats.load_failures, stats.load_successes, stats.misses), (2, 0, 2));
    Ok(())
}

#[test]
fn nothing_is_counted_unless_asked_for() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder().maintenance(Maintenance::Manual).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "v")?;
    scope.get("k")?;
    scope.get("absent")?;
    scope.delete("k")?;
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.removals.total()), (0, 0, 0));
    assert_eq!(stats.hit_ratio(), None);
    assert!(cache.snapshot(10).top_by_misses.is_empty());
    Ok(())
}

#[test]
fn what_was_deleted_is_pending_until_it_is_reclaimed() -> scopecache::Result<()> {
    let (builder, _) = counting();
    let cache = builder.build()?;
    for session in 0..4 {
        let scope = cache.session("ada", &format!("{session}"))?;
        for key in 0..100 {
            scope.set(format!("{key}"), "v")?;
        }
    }
    let pending = || cache.stats().pending_reclaim_bytes;
    assert_eq!(pending(), 0);
    let session = cache.session("ada", "0")?.delete_all()?.bytes;
    assert_eq!(pending(), session);
    let user = cache.user("ada")?.delete_all()?.bytes;
    assert_eq!(pending(), session + user);
    let (mut before, mut freed) = (pending(), 0);
    loop {
        let progress = cache.maintain(50);
        freed += progress.freed_entries;
        assert!(pending() <= before);
        before = pending();
        if !progress.pending {
            break;
        }
    }
    assert_eq!((pending(), freed), (0, 400));
    let removals = cache.stats().removals;
    assert_eq!((removals.session_deleted, removals.user_deleted), (100, 300));
    assert_eq!(removals.total(), 400);
    Ok(())
}

#[test]
fn the_lag_of_expiry_is_how_long_it_has_been_due() -> scopecache::Result<()> {
    let (builder, clock) = counting();
    let cache = builder.build()?;
    let scope = cache.user("ada")?;
    let lag = || cache.stats().expiry_lag;
    for key in 0..1000 {
        scope.set_with(format!("{key}"), "v", SetOptions::new().ttl(MINUTE))?;
    }
    while cache.maintain(1000).pending {}
    assert_eq!(lag(), Duration::ZERO);
    clock.advance(MINUTE - Duration::from_secs(1));
    while cache.maintain(1000).pending {}
    assert_eq!(lag(), Duration::ZERO);
    // Nobody maintains it for ten minutes.
    clock.advance(10 * MINUTE);
    assert!((9 * MINUTE..=10 * MINUTE).contains(&lag()), "{:?}", lag());
    while cache.maintain(1000).pending {}
    assert_eq!((lag(), cache.stats().removals.expired), (Duration::ZERO, 1000));
    Ok(())
}

#[test]
fn a_snapshot_shows_who_holds_and_who_misses_most() -> scopecache::Result<()> {
    let (builder, _) = counting();
    let cache = builder.build()?;
    for user in 0..50_usize {
        let scope = cache.session(&format!("user {user:02}"), "s")?;
        for key in 0..=user {
            scope.set(format!("{key}"), "v")?;
        }
    }
    let thirsty = cache.user("thirsty")?;
    for _ in 0..8000 {
        assert!(thirsty.get("absent")?.is_none());
    }
    cache.user("user 49")?.get("absent")?;
    let snapshot = cache.snapshot(3);
    let users: Vec<_> = snapshot.top_by_bytes.iter().map(|top| (&*top.user, top.entries)).collect();
    assert_eq!(users, [("user 49", 50), ("user 48", 49), ("user 47", 48)]);
    assert_eq!(snapshot.top_by_bytes[0].bytes, cache.user("user 49")?.usage()?.bytes);
    let first = &snapshot.top_by_misses[0];
    assert_eq!(first.user, "thirsty");
    assert!((6000..10_000).contains(&first.misses), "{first:?}");
    assert_eq!(snapshot.stats, cache.stats());
    assert_eq!((snapshot.hit_ratio, snapshot.capacity_bytes), (Some(0.0), cache.capacity_bytes()));
    // Who was deleted holds nothing, and everybody fits.
    cache.user("user 49")?.delete_all()?;
    assert_eq!(cache.snapshot(100).top_by_bytes.len(), 49);
    assert!(cache.snapshot(0).top_by_bytes.is_empty());
    Ok(())
}
