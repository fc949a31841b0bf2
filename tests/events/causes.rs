//! Each cause, what is reported with it, and what is not reported at all.

use std::time::Duration;

use scopecache::RemovalCause::{
    Cleared, Deleted, Evicted, Expired, Replaced, SessionDeleted, UserDeleted,
};
use scopecache::{Eviction, Namespace, RemovalCause, SetOptions};

use crate::recorder::{Event, Recorder, counting, recorded};

/// A call that is about one key.
type Call<'a> = &'a dyn Fn(&str) -> scopecache::Result<()>;

const MINUTE: Duration = Duration::from_secs(60);

fn expiring() -> SetOptions {
    SetOptions::new().ttl(MINUTE)
}

fn named<const N: usize>(events: [(&str, RemovalCause); N]) -> Vec<(String, RemovalCause)> {
    events.map(|(key, cause)| (key.to_owned(), cause)).into()
}

#[test]
fn an_event_tells_whose_entry_it_was_and_which() -> scopecache::Result<()> {
    let (cache, _, recorder) = recorded();
    let key = [0xff, 0, b'k'];
    let session = cache.session("ada", "s")?;
    let version = session.set(key, "value")?;
    let bytes = session.usage()?.bytes;
    session.delete(key)?;
    let of_user = cache.user("ada")?.set("k", "v")?;
    cache.user("ada")?.take("k")?;
    let of_nobody = cache.global().set("k", "v")?;
    cache.global().delete("k")?;
    while cache.maintain(1000).pending {}
    let owner = |user: &str, session: &str| (user.to_owned(), session.to_owned());
    let [first, second, third] = &recorder.take()[..] else { panic!("three were deleted") };
    let expected =
        Event { owner: owner("ada", "s"), key: key.into(), version, bytes, cause: Deleted };
    assert_eq!(first, &expected);
    assert_eq!((&second.owner, second.version), (&owner("ada", ""), of_user));
    assert_eq!((&third.owner, third.version), (&owner("", ""), of_nobody));
    Ok(())
}

#[test]
fn an_overwrite_of_any_kind_replaces() -> scopecache::Result<()> {
    let (cache, _, recorder) = recorded();
    let scope = cache.user("ada")?;
    let mut versions = vec![scope.set("k", "1")?];
    versions.push(scope.set("k", "2")?);
    versions.extend(scope.replace("k", "3")?);
    versions.extend(scope.compare_and_set("k", versions[2], "4")?);
    versions.extend(scope.update("k", |_| "5")?);
    versions.push(scope.set_with("k", "6", SetOptions::new().keep_ttl())?);
    assert_eq!(scope.insert("k", "7")?, None);
    assert_eq!(scope.compare_and_set("k", versions[0], "7")?, None);
    while cache.maintain(1000).pending {}
    let events = recorder.take();
    assert!(events.iter().map(|event| event.version).eq(versions[..5].iter().copied()));
    assert!(events.iter().all(|event| event.cause == Replaced), "{events:?}");
    assert_eq!(scope.get("k")?.expect("present").version(), versions[5]);
    Ok(())
}

/// A touch keeps the version, and so does a hit that renews.
#[test]
fn what_lives_longer_has_not_ended() -> scopecache::Result<()> {
    let (cache, clock, recorder) = recorded();
    let scope = cache.user("ada")?;
    scope.set_with("touched", "v", expiring())?;
    scope.set_with("sliding", "v", expiring().sliding(10 * MINUTE))?;
    for _ in 0..5 {
        clock.advance(MINUTE / 2);
        assert!(scope.touch("touched", MINUTE)?);
        assert!(scope.get("sliding")?.is_some());
    }
    assert_eq!(recorder.reported(&cache), []);
    clock.advance(2 * MINUTE);
    let mut ends = recorder.reported(&cache);
    ends.sort_unstable();
    assert_eq!(ends, named([("sliding", Expired), ("touched", Expired)]));
    Ok(())
}

#[test]
fn whoever_notices_an_expiry_reports_it_as_one() -> scopecache::Result<()> {
    let (cache, clock, recorder) = recorded();
    let scope = cache.user("ada")?;
    let calls: [(&str, Call<'_>); 8] = [
        ("get", &|key| scope.get(key).map(|found| assert!(found.is_none()))),
        ("set", &|key| scope.set(key, "new").map(drop)),
        ("insert", &|key| scope.insert(key, "new").map(|done| assert!(done.is_some()))),
        ("delete", &|key| scope.delete(key).map(|done| assert!(!done))),
        ("take", &|key| scope.take(key).map(|found| assert!(found.is_none()))),
        ("touch", &|key| scope.touch(key, MINUTE).map(|done| assert!(!done))),
        ("update", &|key| scope.update(key, |_| "new").map(|done| assert!(done.is_none()))),
        ("load", &|key| scope.get_or_load(key, || Ok::<_, std::fmt::Error>("new")).map(drop)),
    ];
    for (name, call) in calls {
        scope.set_with(name, "old", expiring())?;
        clock.advance(MINUTE);
        call(name)?;
        assert_eq!(recorder.reported(&cache), named([(name, Expired)]));
        cache.user("ada")?.delete(name)?;
        recorder.reported(&cache);
    }
    scope.set_with("nobody", "old", expiring())?;
    clock.advance(2 * MINUTE);
    assert_eq!(recorder.reported(&cache), named([("nobody", Expired)]));
    Ok(())
}

#[test]
fn a_deletion_of_many_names_what_was_deleted() -> scopecache::Result<()> {
    let (cache, clock, recorder) = recorded();
    let fill = || -> scopecache::Result<()> {
        cache.global().set("global", "v")?;
        cache.user("ada")?.set("ada", "v")?;
        cache.session("ada", "s")?.set("ada s", "v")?;
        cache.session("ada", "t")?.set("ada t", "v")?;
        cache.user("bob")?.set("bob", "v").map(drop)
    };
    let ends = || {
        let mut ends = recorder.reported(&cache);
        ends.sort_unstable();
        ends
    };
    fill()?;
    cache.session("ada", "s")?.delete_all()?;
    // The session went before its user, whenever it is reclaimed.
    cache.user("ada")?.delete_all()?;
    assert_eq!(
        ends(),
        named([("ada", UserDeleted), ("ada s", SessionDeleted), ("ada t", UserDeleted)])
    );
    cache.delete_namespace(Namespace::Global)?;
    assert_eq!(ends(), named([("global", Cleared)]));
    cache.user("bob")?.delete_all()?;
    ends();
    fill()?;
    cache.clear();
    let all = ["ada", "ada s", "ada t", "bob", "global"].map(|key| (key, Cleared));
    assert_eq!(ends(), named(all));
    // What nobody noticed was still there to be deleted, as `Removed` says.
    cache.user("ada")?.set_with("late", "v", expiring())?;
    clock.advance(MINUTE);
    assert_eq!(cache.user("ada")?.delete_all()?.entries, 1);
    assert_eq!(ends(), named([("late", UserDeleted)]));
    Ok(())
}

/// Whoever comes after a deletion may find the dead before they are reclaimed.
#[test]
fn who_takes_the_place_of_the_dead_does_not_replace_them() -> scopecache::Result<()> {
    let (cache, _, recorder) = recorded();
    let scope = cache.session("ada", "s")?;
    let ends = |delete: &dyn Fn() -> scopecache::Result<()>| -> scopecache::Result<_> {
        scope.set("k", "old")?;
        delete()?;
        scope.set("k", "new")?;
        let ends = recorder.reported(&cache);
        assert_eq!(scope.get("k")?.expect("present").data(), b"new");
        Ok(ends[ends.len() - 1].clone())
    };
    let old = |cause| ("k".to_owned(), cause);
    assert_eq!(ends(&|| scope.delete_all().map(drop))?, old(SessionDeleted));
    assert_eq!(ends(&|| cache.user("ada")?.delete_all().map(drop))?, old(UserDeleted));
    let clear = || {
        let _ = cache.clear();
        Ok(())
    };
    assert_eq!(ends(&clear)?, old(Cleared));
    Ok(())
}

#[test]
fn what_a_full_cache_drops_is_evicted() -> scopecache::Result<()> {
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let recorder = Recorder::default();
        let (builder, clock) = counting();
        let builder = builder.max_entries(10).eviction(eviction);
        let cache = builder.on_removal(recorder.listener()).build()?;
        let scope = cache.user("ada")?;
        for key in 0..100 {
            scope.set_with(format!("{key}"), "v", expiring())?;
        }
        let ends = recorder.reported(&cache);
        assert_eq!(ends.len() as u64, 100 - cache.stats().entries);
        assert!(ends.iter().all(|(_, cause)| *cause == Evicted), "{ends:?}");
        // What has expired goes as that, also where room is what it goes for.
        clock.advance(MINUTE);
        for key in 0..100 {
            scope.set(format!("new {key}"), "v")?;
        }
        let ends = recorder.reported(&cache);
        let (old, new): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(key, _)| key.len() < 3);
        assert!(old.iter().all(|(_, cause)| *cause == Expired), "{old:?}");
        assert!(new.iter().all(|(_, cause)| *cause == Evicted), "{new:?}");
    }
    Ok(())
}

#[test]
fn a_large_entry_that_is_refused_counts_as_evicted() -> scopecache::Result<()> {
    let recorder = Recorder::default();
    let (builder, _) = counting();
    let cache = builder.max_bytes(256 << 10).on_removal(recorder.listener()).build()?;
    let scope = cache.user("ada")?;
    for key in 0..2000 {
        scope.set(format!("{key}"), [7; 200].as_slice())?;
    }
    recorder.reported(&cache);
    let version = scope.set("huge", vec![7; 64 << 10])?;
    assert!(scope.get("huge")?.is_none());
    while cache.maintain(1000).pending {}
    let events = recorder.take();
    let huge: Vec<_> = events.iter().filter(|event| event.key == b"huge").collect();
    assert_eq!(huge.len(), 1, "{events:?}");
    assert_eq!((huge[0].version, huge[0].cause), (version, Evicted));
    assert!(huge[0].bytes > 64 << 10);
    Ok(())
}

#[test]
fn what_was_never_stored_is_not_reported() -> scopecache::Result<()> {
    let (cache, _, recorder) = recorded();
    let scope = cache.user("ada")?;
    drop(scope.lease("given up")?);
    let lease = scope.lease("overtaken")?;
    scope.set("overtaken", "v")?;
    assert_eq!(lease.fulfil("late")?, None);
    let lease = scope.lease("deleted")?;
    scope.delete("deleted")?;
    assert_eq!(lease.fulfil("late")?, None);
    let lease = scope.lease("dead")?;
    cache.user("ada")?.delete_all()?;
    assert_eq!(lease.fulfil("late")?, None);
    assert!(scope.get_or_load("failed", || Err::<&str, _>("no")).is_err());
    // What stood at "overtaken" went with the user.
    assert_eq!(recorder.reported(&cache), named([("overtaken", UserDeleted)]));
    let version = scope.lease("loaded")?.fulfil("v")?.expect("nobody came between");
    scope.delete("loaded")?;
    while cache.maintain(1000).pending {}
    let [event] = &recorder.take()[..] else { panic!("one was stored and deleted") };
    assert_eq!((event.version, event.cause), (version, Deleted));
    Ok(())
}

#[test]
fn a_close_reports_what_had_gone_before_and_no_more() -> scopecache::Result<()> {
    let (cache, _, recorder) = recorded();
    let scope = cache.user("ada")?;
    scope.set("deleted", "v")?;
    scope.delete("deleted")?;
    cache.user("bob")?.set("with bob", "v")?;
    cache.user("bob")?.delete_all()?;
    scope.set("held", "v")?;
    cache.close();
    let mut ends: Vec<_> =
        recorder.take().into_iter().map(|event| (event.key, event.cause)).collect();
    ends.sort_unstable();
    assert_eq!(ends, [(b"deleted".to_vec(), Deleted), (b"with bob".to_vec(), UserDeleted)]);
    drop((cache, scope));
    assert_eq!(recorder.take(), []);
    Ok(())
}
