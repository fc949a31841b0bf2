//! Listeners that panic, block, and call the cache; and who calls them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, Maintenance, RemovalCause, Result};

use crate::recorder::{Recorder, counting, recorded};

/// After this a test that waits for another thread gives up.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_panic_of_the_listener_harms_nothing() -> Result<()> {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let (builder, _) = counting();
    let cache = builder
        .on_removal(move |_| {
            // Relaxed: a count, read by the thread that maintains.
            if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                std::panic::resume_unwind(Box::new("a listener's"));
            }
        })
        .build()?;
    let scope = cache.user("ada")?;
    for key in 0..100 {
        scope.set(format!("{key}"), "v")?;
        scope.delete(format!("{key}"))?;
    }
    while cache.maintain(10).pending {}
    // Relaxed: as above.
    assert_eq!(calls.load(Ordering::Relaxed), 100);
    assert_eq!(cache.stats().listener_panics, 50);
    scope.set("k", "v")?;
    cache.validate().expect("sound");
    Ok(())
}

/// Whoever runs the listener waits; nobody else does, and what finds no place is counted.
#[test]
fn a_listener_that_blocks_costs_events_and_no_more() -> Result<()> {
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let released = Mutex::new(released);
    let (builder, _) = counting();
    let cache = builder
        .removal_queue(8)
        .on_removal(move |_| {
            let _ = entered.send(());
            // Disconnected: from then on it does not block.
            let _ = released.lock().expect("no panic").recv();
            // Relaxed: read after the thread was joined.
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .build()?;
    let scope = cache.user("ada")?;
    scope.set("first", "v")?;
    scope.delete("first")?;
    let blocked = thread::spawn({
        let cache = cache.clone();
        move || cache.maintain(1000).reported
    });
    has_entered.recv_timeout(PATIENCE).expect("the listener is called");
    for key in 0..1000 {
        scope.set(format!("{key}"), "v")?;
        scope.delete(format!("{key}"))?;
    }
    // The others go on: they find somebody at it, and nothing to do.
    let progress = cache.maintain(1000);
    assert_eq!((progress.reported, progress.pending), (0, false));
    let stats = cache.stats();
    assert!((980..=992).contains(&stats.removals_dropped), "{stats:?}");
    assert_eq!(stats.removals.deleted, 1001);
    drop(release);
    let reported = blocked.join().expect("no panic");
    while cache.maintain(1000).pending {}
    // Relaxed: as above.
    let calls = calls.load(Ordering::Relaxed);
    assert_eq!(calls + cache.stats().removals_dropped, 1001, "{reported} by the thread");
    assert!(scope.get("0")?.is_none());
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn a_listener_may_call_the_cache() -> Result<()> {
    let slot: Arc<Mutex<Option<Cache>>> = Arc::default();
    let recorder = Recorder::default();
    let record = recorder.listener();
    let inner = Arc::clone(&slot);
    let (builder, _) = counting();
    let cache = builder
        .on_removal(move |event| {
            record(event);
            let cache = inner.lock().expect("no panic").clone().expect("set before");
            // What it removes is reported later, and not by a call inside this one.
            if event.namespace().user() == Some("ada") && cache.stats().removals.total() < 50 {
                let bob = cache.user("bob").expect("a valid id");
                bob.set(event.key(), "copied").expect("there is room");
                assert!(bob.get(event.key()).expect("open").is_some());
                bob.delete(event.key()).expect("open");
                let ada = cache.user("ada").expect("a valid id");
                ada.set("again", "v").expect("there is room");
                ada.delete_all().expect("open");
                assert_eq!(cache.maintain(1000).reported, 0, "not twice at once");
            }
        })
        .build()?;
    *slot.lock().expect("no panic") = Some(cache.clone());
    cache.user("ada")?.set("k", "v")?;
    cache.user("ada")?.delete("k")?;
    while cache.maintain(3).pending {}
    let events = recorder.take();
    let stats = cache.stats();
    assert_eq!(events.len() as u64, stats.removals.total());
    assert!(stats.removals.total() >= 50 && stats.removals_dropped == 0, "{stats:?}");
    assert_eq!(stats.removals.user_deleted + stats.removals.deleted, stats.removals.total());
    assert_eq!(stats.listener_panics, 0);
    cache.validate().expect("sound");
    *slot.lock().expect("no panic") = None;
    Ok(())
}

#[test]
fn a_listener_may_close_the_cache() -> Result<()> {
    let slot: Arc<Mutex<Option<Cache>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let recorder = Recorder::default();
    let record = recorder.listener();
    let (builder, _) = counting();
    let cache = builder
        .on_removal(move |event| {
            record(event);
            if let Some(cache) = inner.lock().expect("no panic").take() {
                cache.close();
            }
        })
        .build()?;
    *slot.lock().expect("no panic") = Some(cache.clone());
    let scope = cache.user("ada")?;
    for key in 0..10 {
        scope.set(format!("{key}"), "v")?;
        scope.delete(format!("{key}"))?;
    }
    scope.set("held", "v")?;
    // More than it was asked for: nobody comes for the rest.
    assert_eq!(cache.maintain(1).reported, 10);
    assert_eq!(recorder.take().len(), 10);
    assert!(cache.is_closed() && scope.get("held").is_err());
    Ok(())
}

#[test]
fn a_thread_of_the_cache_reports_by_itself() -> Result<()> {
    let (sender, events) = mpsc::channel();
    let cache: Cache = Cache::builder()
        .on_removal(move |event| {
            let name = thread::current().name().map(str::to_owned);
            let _ = sender.send((event.key().to_vec(), event.cause(), name));
        })
        .build()?;
    for round in 0..3 {
        let key = format!("{round}");
        cache.user("ada")?.set(&key, "v")?;
        cache.user("ada")?.delete(&key)?;
        let (of, cause, name) = events.recv_timeout(PATIENCE).expect("nobody has to ask");
        assert_eq!((of, cause), (key.into_bytes(), RemovalCause::Deleted));
        assert_eq!(name.as_deref(), Some("scopecache"));
    }
    Ok(())
}

#[test]
fn the_last_handle_reports_what_is_left() -> Result<()> {
    let (cache, _, recorder) = recorded();
    let scope = cache.user("ada")?;
    scope.set("k", "v")?;
    scope.delete("k")?;
    drop(cache);
    assert_eq!(recorder.take(), []);
    drop(scope);
    assert_eq!(recorder.take().len(), 1);
    Ok(())
}

#[test]
fn values_of_any_type_are_reported_and_dropped() -> Result<()> {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&causes);
    let cache = Cache::<Arc<u64>>::builder()
        .maintenance(Maintenance::Manual)
        .weigher(|_| 1000)
        .on_removal(move |event| {
            seen.lock().expect("no panic").push((event.cause(), event.bytes() > 1000));
        })
        .build()?;
    let value = Arc::new(7);
    let scope = cache.session("ada", "s")?;
    scope.set("k", Arc::clone(&value))?;
    scope.set("k", Arc::clone(&value))?;
    scope.take("k")?;
    scope.set("k", Arc::clone(&value))?;
    scope.delete_all()?;
    cache.close();
    let causes = causes.lock().expect("no panic");
    let expected = [RemovalCause::Replaced, RemovalCause::Deleted, RemovalCause::SessionDeleted];
    assert_eq!(*causes, expected.map(|cause| (cause, true)));
    Ok(())
}

#[test]
fn a_queue_of_no_length_is_refused() {
    for removals in [0, usize::MAX] {
        let built: Result<Cache> = Cache::builder().removal_queue(removals).build();
        let error = built.expect_err("senseless");
        assert!(error.to_string().contains("removal_queue"), "{error}");
    }
    let built: Result<Cache> = Cache::builder().removal_queue(1).on_removal(|_| {}).build();
    assert!(built.is_ok());
}
