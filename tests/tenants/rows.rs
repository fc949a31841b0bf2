//! Which user has which quota.

use scopecache::{Cache, ErrorKind, Namespace, Options, Storage};

use crate::pressure::settle;
use crate::{assert_refused, builder, entry_bytes, store};

#[test]
fn a_row_counts_for_its_user_with_and_without_data() -> scopecache::Result<()> {
    let small = entry_bytes(3, 50);
    let cache = store().user_quota(2 * small).build()?;
    assert_eq!(cache.user_quota("ada")?, Some(2 * small));
    cache.set_user_quota("ada", Some(3 * small))?;
    cache.set_user_quota("eve", Some(small))?;
    cache.set_user_quota("max", Some(u64::MAX))?;
    for (user, entries) in [("ada", 3), ("bob", 2), ("eve", 1)] {
        let scope = cache.user(user)?;
        for key in 0..entries {
            scope.set(format!("k {key}"), &[1; 50])?;
        }
        assert_refused(scope.set("k x", &[1; 50]));
    }
    assert_eq!(cache.user_quota("max")?, None);
    for key in 0..100 {
        cache.user("max")?.set(format!("k {key}"), &[1; 50])?;
    }
    // With data: at once.
    cache.set_user_quota("bob", Some(3 * small))?;
    cache.user("bob")?.set("k x", &[1; 50])?;
    cache.set_user_quota("bob", None)?;
    assert_eq!(cache.user_quota("bob")?, Some(2 * small));
    assert_refused(cache.user("bob")?.set("k y", &[1; 50]));
    settle(&cache);
    Ok(())
}

#[test]
fn without_a_quota_for_all_there_may_be_one_for_one() -> scopecache::Result<()> {
    let cache = store().build()?;
    assert_eq!(cache.user_quota("ada")?, None);
    cache.user("ada")?.set("key", &[1; 500])?;
    cache.set_user_quota("ada", Some(100))?;
    assert_refused(cache.user("ada")?.set("key", &[1; 600]));
    cache.user("bob")?.set("key", &[1; 600])?;
    cache.set_user_quota("ada", None)?;
    assert_eq!(cache.user_quota("ada")?, None);
    cache.user("ada")?.set("key", &[1; 600])?;
    Ok(())
}

#[test]
fn a_quota_above_the_bound_leaves_the_bound_to_rule() -> scopecache::Result<()> {
    let cache = builder().max_bytes(1 << 20).user_quota(1 << 30).build()?;
    let user = cache.user("ada")?;
    for key in 0..20_000 {
        user.set(format!("key {key}"), &[1; 50])?;
    }
    assert!(cache.stats().live_bytes <= 1 << 20);
    assert!(user.usage()?.bytes > 1 << 19);
    let store = store().max_bytes(1 << 16).user_quota(u64::MAX - 1).build()?;
    let user = store.user("ada")?;
    let refused = (0..20_000).find_map(|key| user.set(format!("key {key}"), &[1; 50]).err());
    assert_eq!(refused.expect("full").kind(), ErrorKind::CapacityExceeded);
    settle(&cache);
    settle(&store);
    Ok(())
}

#[test]
fn ids_are_checked_and_a_closed_cache_answers_nobody() -> scopecache::Result<()> {
    let cache = store().build()?;
    let long = "x".repeat(257);
    for user in ["", &long] {
        let kind = cache.set_user_quota(user, Some(1)).expect_err("not valid").kind();
        assert!(matches!(kind, ErrorKind::InvalidKey { .. }));
        assert!(matches!(
            cache.user_quota(user).expect_err("not valid").kind(),
            ErrorKind::InvalidKey { .. }
        ));
    }
    cache.close();
    assert_eq!(cache.set_user_quota("ada", None).expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(cache.user_quota("ada").expect_err("closed").kind(), ErrorKind::Closed);
    Ok(())
}

/// A quota of all takes nothing for users who have nothing, nor for those who have something.
#[test]
fn users_without_data_take_no_memory() -> scopecache::Result<()> {
    let (with, without) = (store().user_quota(1 << 20).build()?, store().build()?);
    for cache in [&with, &without] {
        for user in 0..1_000 {
            let user = format!("user {user}");
            cache.set(Namespace::User { user: &user }, "key", "value", &Default::default())?;
            cache.session(&user, "s")?.set("key", "value")?;
        }
    }
    assert_eq!(with.stats(), without.stats());
    for cache in [&with, &without] {
        cache.clear();
        settle(cache);
        assert_eq!((cache.stats().live_bytes, cache.stats().users), (0, 0));
    }
    Ok(())
}

#[test]
fn the_portable_interface_tells_that_a_quota_is_used_up() -> scopecache::Result<()> {
    let cache: Cache = store().user_quota(200).build()?;
    pollster::block_on(async {
        let storage: &dyn Storage = &cache;
        let options = Options::new().with_user_session("ada", "s");
        storage.set("key", vec![1; 50].into(), options).await?;
        assert_refused(storage.set("more", vec![1; 100].into(), options).await);
        assert_refused(storage.set("key", vec![1; 500].into(), options).await);
        storage.set("key", vec![1; 5].into(), options).await?;
        storage.set("key", vec![1; 500].into(), Options::new()).await?;
        Ok(())
    })
}
