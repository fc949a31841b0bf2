//! `get_or_load` and `get_or_load_async` on values that are old.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use scopecache::{
    Cache, Error, ErrorKind, MockClock, Options, Scope, SetOptions, Storage, StorageExt,
};

use crate::{MINUTE, SECOND, builder, peek, text};

fn load(scope: &Scope, value: &'static str) -> String {
    let item = scope.get_or_load("k", || Ok::<_, Infallible>(value)).expect("a value");
    text(&item).into()
}

/// A hit that loads nothing.
#[track_caller]
fn hit(scope: &Scope) -> String {
    let unasked = || -> Result<&str, Infallible> { panic!("a loader ran") };
    text(&scope.get_or_load("k", unasked).expect("a value")).into()
}

fn fail(scope: &Scope) -> String {
    let failing = || Err::<&str, _>("the database is away");
    text(&scope.get_or_load("k", failing).expect("the old value")).into()
}

#[test]
fn a_hit_is_refreshed_once_it_is_old_and_then_young_again() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    // By a loader and by a set, with a TTL and without.
    let stores: [fn(&Scope); 3] = [
        |scope| assert_eq!(load(scope, "old"), "old"),
        |scope| _ = scope.set("k", "old").expect("room"),
        |scope| _ = scope.set_with("k", "old", SetOptions::new().ttl(MINUTE)).expect("room"),
    ];
    for (number, store) in (1..).zip(stores) {
        let scope = cache.user("ada")?;
        scope.delete("k")?;
        store(&scope);
        clock.advance(8 * SECOND - Duration::from_nanos(1));
        assert_eq!(hit(&scope), "old");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(load(&scope, "new"), "new", "who refreshes gets what it loaded");
        assert_eq!(hit(&scope), "new");
        assert_eq!(cache.stats().refreshes, number);
        clock.advance(8 * SECOND);
        assert_eq!(peek(&scope, "k").as_deref(), Some("new"), "other reads refresh nothing");
        assert_eq!(text(&scope.get("k")?.expect("present")), "new");
    }
    assert_eq!(cache.stats().failed_refreshes, 0);
    Ok(())
}

#[test]
fn without_the_setting_nothing_is_old() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = Cache::builder().clock(clock.clone()).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(1_000_000 * MINUTE);
    assert_eq!(hit(&scope), "old");
    assert!(scope.get_refreshing("k")?.expect("present").1.is_none());
    let zero = builder(&clock).refresh_after(Duration::ZERO).build().expect_err("senseless");
    assert_eq!(zero.kind(), ErrorKind::InvalidOptions);
    Ok(())
}

#[test]
fn a_refresher_that_fails_leaves_the_old_value_and_rests() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set_with("k", "old", SetOptions::new().ttl(MINUTE))?;
    let deadline = scope.peek("k")?.expect("present").expires_at();
    clock.advance(8 * SECOND);
    for failures in 1..=3 {
        assert_eq!(fail(&scope), "old");
        assert_eq!(cache.stats().failed_refreshes, failures);
        // An eighth of eight seconds at least, a quarter at most.
        assert_eq!(hit(&scope), "old");
        clock.advance(SECOND);
        assert_eq!(hit(&scope), "old");
        clock.advance(SECOND);
    }
    assert_eq!(load(&scope, "new"), "new");
    assert_eq!((cache.stats().refreshes, cache.stats().failed_refreshes), (1, 3));
    // Until its deadline, and no longer.
    scope.set_with("k", "old", SetOptions::new().ttl(9 * SECOND))?;
    assert!(scope.peek("k")?.expect("present").expires_at() != deadline);
    clock.advance(8 * SECOND);
    assert_eq!(fail(&scope), "old");
    clock.advance(SECOND);
    let error = scope.get_or_load("k", || Err::<&str, _>("still away")).expect_err("it expired");
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert_eq!(load(&scope, "new"), "new");
    Ok(())
}

#[test]
fn what_cannot_be_stored_leaves_the_old_value() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).max_value_bytes(10).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    assert_eq!(load(&scope, "longer than ten bytes"), "old");
    assert_eq!((cache.stats().refreshes, cache.stats().failed_refreshes), (0, 1));
    assert_eq!(hit(&scope), "old");
    let zero = scope.get_or_load_with("k", SetOptions::new().ttl(Duration::ZERO), || {
        Ok::<_, Infallible>("unasked")
    });
    assert_eq!(zero.expect_err("senseless").kind(), ErrorKind::InvalidOptions);
    Ok(())
}

#[test]
fn a_refresher_that_panics_gives_the_right_back() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    let panicking = || -> Result<&str, Infallible> { panic!("a bug of the loader") };
    let panic = catch_unwind(AssertUnwindSafe(|| scope.get_or_load("k", panicking)));
    assert!(panic.is_err(), "it reaches the caller");
    assert_eq!(cache.stats().failed_refreshes, 1);
    assert_eq!(hit(&scope), "old", "it rests like any that failed");
    clock.advance(2 * SECOND);
    assert_eq!(load(&scope, "new"), "new");
    Ok(())
}

#[test]
fn a_refresher_that_hangs_holds_up_nobody_and_the_deadline_ends_it() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set_with("k", "old", SetOptions::new().ttl(MINUTE))?;
    clock.advance(8 * SECOND);
    let mut hanging = pin!(scope.get_or_load_async("k", pending::<Result<&str, Infallible>>()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(hanging.as_mut().poll(&mut context).is_pending());
    clock.advance(MINUTE - 8 * SECOND - Duration::from_nanos(1));
    assert_eq!(hit(&scope), "old");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(load(&scope, "new"), "new", "past the deadline it is a load like any other");
    assert!(hanging.as_mut().poll(&mut context).is_pending());
    Ok(())
}

#[test]
fn a_refresh_that_is_dropped_is_left_to_the_next_hit() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut call = pin!(scope.get_or_load_async("k", pending::<Result<&str, Infallible>>()));
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(hit(&scope), "old");
    }
    let mut call = pin!(scope.get_or_load_async("k", ready(Ok::<_, Infallible>("new"))));
    let Poll::Ready(item) = call.as_mut().poll(&mut context) else { panic!("it is ready") };
    assert_eq!(text(&item?), "new");
    assert_eq!((cache.stats().refreshes, cache.stats().failed_refreshes), (1, 0));
    Ok(())
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_the_old_value() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    let item = scope.get_or_load("k", || {
        let inner = scope.get_or_load("k", || -> Result<&str, Infallible> { panic!("twice") })?;
        Ok::<_, Error>(format!("{} and more", text(&inner)))
    })?;
    assert_eq!(text(&item), "old and more");
    Ok(())
}

#[test]
fn a_refresh_stores_by_its_options() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).default_ttl(MINUTE).build()?;
    let scope = cache.user("ada")?;
    let left = |scope: &Scope| {
        let item = scope.peek("k").expect("open").expect("present");
        item.expires_at().expect("a ttl").duration_since(item.created_at()).expect("later")
    };
    let refresh = |options| {
        clock.advance(8 * SECOND);
        scope.get_or_load_with("k", options, || Ok::<_, Infallible>("new"))
    };
    scope.set("k", "old")?;
    refresh(SetOptions::new())?;
    assert_eq!(left(&scope), MINUTE);
    refresh(SetOptions::new().ttl(30 * SECOND))?;
    assert_eq!(left(&scope), 30 * SECOND);
    refresh(SetOptions::new().keep_ttl())?;
    assert_eq!(left(&scope), 22 * SECOND);
    assert_eq!(cache.stats().refreshes, 3);
    Ok(())
}

#[test]
fn the_portable_interface_refreshes_too() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let options = Options::new().with_user("ada");
    pollster::block_on(async {
        let load = async |value: &'static str| {
            cache.get_or_load("k", options, async move { Ok::<_, Infallible>(value) }).await
        };
        assert_eq!(load("old").await?.data, "old");
        assert_eq!(load("unasked").await?.data, "old");
        clock.advance(8 * SECOND);
        assert_eq!(load("new").await?.data, "new");
        assert_eq!(Storage::get(&cache, "k", options).await?.expect("present").data, "new");
        Ok(())
    })
}
