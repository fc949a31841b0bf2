//! The right to refresh, held by hand: who gets it, and what it may store.

use scopecache::{Condition, MockClock, Refresh, Scope, SetOptions};

use crate::{MINUTE, SECOND, builder, peek};

/// The right to refresh `k`, which is old.
fn claim(scope: &Scope) -> Refresh {
    let (_, refresh) = scope.get_refreshing("k").expect("open").expect("present");
    refresh.expect("it is due, and nobody has it")
}

#[track_caller]
fn assert_claimed(scope: &Scope) {
    assert!(scope.get_refreshing("k").expect("open").expect("present").1.is_none());
}

#[test]
fn one_at_a_time_has_it_and_gives_it_back() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    assert!(scope.get_refreshing("k")?.is_none(), "absent");
    scope.set("k", "old")?;
    assert_claimed(&scope);
    clock.advance(8 * SECOND);
    let refresh = claim(&scope);
    assert_claimed(&scope);
    drop(refresh);
    let refresh = claim(&scope);
    refresh.fail();
    assert_claimed(&scope);
    assert_eq!(cache.stats().failed_refreshes, 1);
    clock.advance(2 * SECOND);
    let version = claim(&scope).fulfil("new")?.expect("nothing came between");
    let item = scope.get("k")?.expect("present");
    assert_eq!((item.data(), item.version()), (b"new".as_slice(), version));
    cache.validate().expect("sound");
    Ok(())
}

/// What was written, deleted or evicted since is never undone, and never twice there.
#[test]
fn what_came_since_stands() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let user = cache.user("ada")?;
    let session = cache.session("ada", "laptop")?;
    type Step<'a> = (&'a str, &'a dyn Fn(&Scope), Option<&'a str>);
    let steps: [Step<'_>; 9] = [
        ("set", &|scope| _ = scope.set("k", "newer").expect("room"), Some("newer")),
        ("the same", &|scope| _ = scope.set("k", "old").expect("room"), Some("old")),
        ("update", &|scope| _ = scope.update("k", |_| "newer").expect("room"), Some("newer")),
        ("delete", &|scope| assert!(scope.delete("k").expect("open")), None),
        ("take", &|scope| assert!(scope.take("k").expect("open").is_some()), None),
        ("delete_all", &|scope| _ = scope.delete_all().expect("open"), None),
        ("the user", &|_| _ = user.delete_all().expect("open"), None),
        (
            "delete and set",
            &|scope| {
                scope.delete_all().expect("open");
                scope.set("k", "newer").expect("room");
            },
            Some("newer"),
        ),
        ("expiry", &|_| clock.advance(MINUTE), None),
    ];
    for scope in [&user, &session] {
        for (what, step, left) in steps {
            scope.set_with("k", "old", SetOptions::new().ttl(MINUTE))?;
            clock.advance(8 * SECOND);
            let refresh = claim(scope);
            step(scope);
            assert_eq!(refresh.fulfil("from before")?, None, "{what}");
            assert_eq!(peek(scope, "k").as_deref(), left, "{what}");
            user.delete_all()?;
            while cache.maintain(1000).pending {}
            cache.validate().expect("sound");
        }
    }
    assert_eq!((cache.stats().refreshes, cache.stats().failed_refreshes), (0, 0));
    Ok(())
}

/// A renewal of the TTL leaves value and version, and so who refreshes it.
#[test]
fn a_touch_keeps_the_claim_and_the_age() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set_with("k", "old", SetOptions::new().ttl(MINUTE))?;
    clock.advance(8 * SECOND);
    let refresh = claim(&scope);
    assert!(scope.touch("k", 2 * MINUTE)?);
    assert_claimed(&scope);
    assert!(refresh.fulfil("new")?.is_some());
    assert_eq!(peek(&scope, "k").as_deref(), Some("new"));
    clock.advance(7 * SECOND);
    assert!(scope.touch("k", MINUTE)?);
    clock.advance(SECOND);
    claim(&scope).fail();
    assert!(scope.touch("k", MINUTE)?);
    assert_claimed(&scope);
    Ok(())
}

#[test]
fn a_sliding_value_that_is_read_all_the_time_is_refreshed_all_the_same() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set_with("k", "old", SetOptions::new().ttl(4 * SECOND).sliding(MINUTE))?;
    for _ in 0..7 {
        clock.advance(SECOND);
        assert_claimed(&scope);
    }
    clock.advance(SECOND);
    assert!(claim(&scope).fulfil("new")?.is_some());
    Ok(())
}

#[test]
fn it_outlives_its_cache_and_its_scope_and_stores_nothing_after_a_close() -> scopecache::Result<()>
{
    let clock = MockClock::new();
    let cache = builder(&clock).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    let refresh = claim(&scope);
    drop((scope, cache.clone()));
    cache.close();
    assert_eq!(refresh.fulfil("new").expect_err("closed").kind(), scopecache::ErrorKind::Closed);
    Ok(())
}

#[test]
fn a_full_cache_refreshes_what_it_holds() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder(&clock).max_bytes(64 << 10).max_retired_bytes(1 << 30).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", "old")?;
    clock.advance(8 * SECOND);
    let mut refresh = claim(&scope);
    // Larger each time, up to what a cache judges.
    for bytes in [100, 1000, 3000, 20_000] {
        for key in 0..1000 {
            scope.set(format!("other {key}"), vec![7; 100])?;
            scope.get("k")?;
        }
        let stored = refresh.fulfil(vec![8; bytes])?;
        if stored.is_none() {
            assert_eq!(peek(&scope, "k"), None, "it was evicted");
            scope.write("k", "old", Condition::Always, SetOptions::new())?;
        }
        clock.advance(8 * SECOND);
        refresh = claim(&scope);
    }
    drop(refresh);
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}
