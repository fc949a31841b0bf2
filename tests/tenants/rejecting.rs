//! A store: what would pass the quota is refused, and nothing is lost.

use std::time::Duration;

use scopecache::{Cache, MockClock, Namespace, SetOptions};

use crate::pressure::settle;
use crate::{assert_refused, entry_bytes, keys, store};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_write_that_would_pass_the_quota_is_refused_and_changes_nothing() -> scopecache::Result<()> {
    let quota = 3 * entry_bytes(3, 100);
    let cache = store().user_quota(quota).build()?;
    let (user, session) = (cache.user("ada")?, cache.session("ada", "s")?);
    user.set("one", &[1; 100])?;
    session.set("two", &[2; 100])?;
    session.set("six", &[6; 100])?;
    let usage = user.usage()?;
    assert_eq!((usage.entries, usage.bytes), (3, quota));

    assert_refused(user.set("ten", &[0; 1]));
    assert_refused(session.set("ten", &[0; 1]));
    assert_refused(session.insert("ten", &[0; 1]));
    assert_refused(cache.session("ada", "new")?.set("ten", &[0; 1]));
    assert_refused(session.set("two", &[3; 200]));
    assert_refused(session.replace("two", &[3; 200]));
    assert_refused(session.update("two", |_| vec![3; 200]));
    assert_refused(session.lease("ten"));
    assert_refused(session.get_or_load("ten", || std::io::Result::Ok("loaded")));
    assert_eq!(
        session.set_many([("two", &[4; 100]), ("ten", &[0; 100])]).map_err(|e| e.kind()),
        Err(scopecache::ErrorKind::QuotaExceeded)
    );
    assert_eq!(user.usage()?, usage);
    assert_eq!(session.get("two")?.expect("kept").data(), [4; 100], "those before are stored");
    assert_eq!(cache.sessions("ada")?, ["s"], "nothing is left of a refused session");

    // What does not grow, and what somebody else has.
    session.set("two", &[5; 100])?;
    session.set("two", &[5; 10])?;
    assert!(session.touch("two", MINUTE)?);
    cache.user("eve")?.set("one", &[1; 100])?;
    cache.global().set("one", vec![1; 10_000])?;
    // The room that this has made.
    session.delete("six")?;
    user.set("ten", &[0; 100])?;
    settle(&cache);
    Ok(())
}

#[test]
fn an_entry_larger_than_the_quota_is_refused_unless_it_shrinks_what_is_there()
-> scopecache::Result<()> {
    let cache = store().build()?;
    let user = cache.user("ada")?;
    user.set("key", &[1; 4000])?;
    cache.set_user_quota("ada", Some(1000))?;
    assert_refused(user.set("key", &[2; 4100]));
    assert_refused(user.set("other", &[2; 2000]));
    user.set("key", &[3; 4000])?;
    user.set("key", &[3; 2000])?;
    assert_refused(user.set("key", &[3; 2100]));
    user.set("key", &[4; 10])?;
    user.set("other", &[4; 10])?;
    settle(&cache);
    Ok(())
}

#[test]
fn a_quota_below_what_is_used_keeps_everything_and_refuses_growth() -> scopecache::Result<()> {
    let cache = store().build()?;
    let user = cache.user("ada")?;
    for key in 0..100 {
        cache.session("ada", &format!("s{}", key % 7))?.set(format!("key {key:02}"), &[1; 50])?;
    }
    let before = user.usage()?;
    cache.set_user_quota("ada", Some(before.bytes / 2))?;
    settle(&cache);
    assert_eq!(user.usage()?, before);
    assert_refused(user.set("more", &[1; 10]));
    let mut deleted = 0;
    while user.set("more", &[1; 10]).is_err() {
        cache.session("ada", &format!("s{}", deleted % 7))?.delete(format!("key {deleted:02}"))?;
        deleted += 1;
    }
    assert!((48..=54).contains(&deleted), "{deleted}");
    assert!(user.usage()?.bytes <= before.bytes / 2);
    settle(&cache);
    Ok(())
}

#[test]
fn zero_refuses_every_write_and_no_read_nor_delete() -> scopecache::Result<()> {
    let cache = store().build()?;
    let (user, session) = (cache.user("ada")?, cache.session("ada", "s")?);
    session.set("key", &[1; 50])?;
    cache.set_user_quota("ada", Some(0))?;
    assert_refused(session.set("key", &[1; 50]));
    assert_refused(session.set("key", &[1; 1]));
    assert_refused(session.touch("key", MINUTE));
    assert_refused(session.update("key", |old| old.to_vec()));
    assert_refused(user.set("key", ""));
    assert_refused(user.get_or_load("key", || std::io::Result::Ok("")));
    assert_eq!(session.get("key")?.expect("kept").data(), [1; 50]);
    assert!(session.take("key")?.is_some());
    assert_eq!(user.usage()?, Default::default());
    // It has no data now, and still the quota.
    assert_refused(session.set("key", &[1; 1]));
    assert_eq!((cache.stats().users, cache.stats().sessions), (0, 0));
    settle(&cache);
    Ok(())
}

#[test]
fn a_condition_that_does_not_hold_is_no_matter_of_quotas() -> scopecache::Result<()> {
    let cache = store().build()?;
    let user = cache.user("ada")?;
    let version = user.set("key", &[1; 50])?;
    user.set("key", &[1; 50])?;
    cache.set_user_quota("ada", Some(100))?;
    assert_eq!(user.insert("key", &[2; 500])?, None);
    assert_eq!(user.replace("other", &[2; 500])?, None);
    assert_eq!(user.compare_and_set("key", version, &[2; 500])?, None);
    assert_eq!(user.update("other", |_| vec![2; 500])?, None);
    Ok(())
}

#[test]
fn what_has_expired_makes_room() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let quota = 10 * entry_bytes(5, 50);
    let cache = store().user_quota(quota).clock(clock.clone()).build()?;
    for key in 0..10 {
        let session = cache.session("ada", &format!("s{}", key % 3))?;
        session.set_with(format!("key {key}"), &[1; 50], SetOptions::new().ttl(MINUTE))?;
    }
    let user = cache.user("ada")?;
    assert_eq!(user.usage()?.bytes, quota);
    assert_refused(user.set("key x", &[1; 50]));
    clock.advance(MINUTE);
    user.set("key x", &[1; 50])?;
    assert!(user.usage()?.bytes <= quota);
    assert_eq!(keys(&user), ["key x"]);
    clock.advance(MINUTE);
    settle(&cache);
    assert_eq!(user.usage()?.entries, 1);
    Ok(())
}

#[test]
fn a_value_that_slides_goes_on_at_its_quota() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let options = SetOptions::new().ttl(MINUTE).sliding(10 * MINUTE);
    let cache = store().clock(clock.clone()).build()?;
    let user = cache.user("ada")?;
    user.set_with("key", &[1; 50], options)?;
    cache.set_user_quota("ada", Some(user.usage()?.bytes))?;
    for _ in 0..15 {
        clock.advance(MINUTE / 2);
        assert!(user.get("key")?.is_some(), "renewed");
    }
    assert_refused(user.set("other", &[1; 50]));
    clock.advance(MINUTE);
    user.set("other", &[1; 50])?;
    settle(&cache);
    Ok(())
}

/// A load holds a place, and what it brings has to fit.
#[test]
fn leases_count_and_a_value_that_does_not_fit_gives_them_up() -> scopecache::Result<()> {
    let quota = entry_bytes(3, 300);
    let cache = store().user_quota(quota).build()?;
    let user = cache.user("ada")?;
    let lease = user.lease("key")?;
    let held = user.usage()?;
    assert!(held.entries == 1 && held.bytes > 0);
    assert_refused(lease.fulfil(&[1; 400]));
    assert_eq!(user.usage()?, Default::default());
    assert!(user.lease("key")?.fulfil(&[1; 300])?.is_some());
    assert_eq!(user.usage()?.bytes, quota);
    user.delete("key")?;
    assert_refused(user.get_or_load("key", || std::io::Result::Ok(vec![1; 400])));
    assert_eq!(user.usage()?, Default::default());
    assert_eq!(user.get_or_load("key", || std::io::Result::Ok(vec![1; 300]))?.data(), [1; 300]);
    settle(&cache);
    Ok(())
}

#[test]
fn a_deleted_user_comes_back_with_all_of_its_quota() -> scopecache::Result<()> {
    let quota = 5 * entry_bytes(5, 50);
    let cache = store().build()?;
    cache.set_user_quota("ada", Some(quota))?;
    for round in 0..3 {
        let (user, session) = (cache.user("ada")?, cache.session("ada", "s")?);
        for key in 0..5 {
            let scope = if key % 2 == 0 { &user } else { &session };
            scope.set(format!("key {key}"), &[round; 50])?;
        }
        assert_refused(session.set("key x", &[round; 50]));
        assert_eq!(user.usage()?.bytes, quota);
        // What was deleted is reclaimed only at the end.
        assert_eq!(user.delete_all()?.bytes, quota);
        assert_eq!(user.usage()?, Default::default());
    }
    settle(&cache);
    assert_eq!(cache.user_quota("ada")?, Some(quota));
    Ok(())
}

/// What a scope remembers of its user's former life is not asked.
#[test]
fn a_scope_from_before_a_deletion_keeps_to_the_quota_of_now() -> scopecache::Result<()> {
    let cache = store().build()?;
    cache.set_user_quota("ada", Some(1000))?;
    let user = cache.user("ada")?;
    user.set("key", &[1; 50])?;
    user.delete_all()?;
    cache.set_user_quota("ada", Some(10_000))?;
    user.set("key", &[1; 5000])?;
    assert_refused(user.set("other", &[1; 6000]));
    settle(&cache);
    Ok(())
}

#[test]
fn a_deleted_session_leaves_its_part_to_the_others() -> scopecache::Result<()> {
    let quota = 4 * entry_bytes(5, 50);
    let cache = store().user_quota(quota).build()?;
    let (one, two) = (cache.session("ada", "1")?, cache.session("ada", "2")?);
    for key in 0..4 {
        one.set(format!("key {key}"), &[1; 50])?;
    }
    assert_refused(two.set("key 0", &[2; 50]));
    one.delete_all()?;
    for key in 0..4 {
        two.set(format!("key {key}"), &[2; 50])?;
    }
    assert_eq!(cache.usage(Namespace::User { user: "ada" })?.bytes, quota);
    settle(&cache);
    Ok(())
}

#[test]
fn typed_values_count_what_their_weigher_says() -> scopecache::Result<()> {
    let cache = Cache::<Box<str>>::builder()
        .on_full(scopecache::OnFull::Reject)
        .weigher(|text| text.len())
        .user_quota(1000)
        .build()?;
    let user = cache.user("ada")?;
    user.set("key", "x".repeat(600).into_boxed_str())?;
    assert_refused(user.set("key", "x".repeat(1001).into_boxed_str()));
    assert_refused(user.set("other", "x".repeat(400).into_boxed_str()));
    user.set("key", "x".repeat(100).into_boxed_str())?;
    user.set("other", "x".repeat(400).into_boxed_str())?;
    Ok(())
}
