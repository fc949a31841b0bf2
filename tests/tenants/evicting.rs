//! A cache: a user over its quota gives up entries of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, ErrorKind, Maintenance, MockClock, Scope, SetOptions};

use crate::pressure::{Random, settle, wait_until};
use crate::same_hash::SameHash;
use crate::{assert_refused, builder, entry_bytes, keys};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_user_at_its_quota_gives_up_entries_of_its_own_and_of_nobody_else() -> scopecache::Result<()> {
    let quota = 100 * entry_bytes(8, 50);
    let cache = builder().user_quota(quota).build()?;
    let other = cache.session("eve", "s")?;
    for key in 0..100 {
        other.set(format!("key {key:04}"), &[2; 50])?;
    }
    cache.global().set("key", vec![2; 100_000])?;
    let user = cache.user("ada")?;
    for key in 0..5_000 {
        let session = cache.session("ada", &format!("s{}", key % 11))?;
        session.set(format!("key {key:04}"), &[1; 50])?;
        assert_eq!(session.get(format!("key {key:04}"))?.expect("just set").data(), [1; 50]);
        assert!(user.usage()?.bytes <= quota);
    }
    let usage = user.usage()?;
    assert!(usage.entries > 95, "{usage:?} of {quota}: no more goes than has to");
    assert_eq!(other.usage()?.entries, 100);
    assert_eq!(keys(&other).len(), 100);
    settle(&cache);
    Ok(())
}

/// What is asked for again and again stays, what was asked for once goes.
#[test]
fn entries_that_are_asked_for_outlive_a_scan() -> scopecache::Result<()> {
    let cache = builder().user_quota(200 * entry_bytes(8, 50)).build()?;
    let user = cache.user("ada")?;
    let mut hits = 0;
    for round in 0..200 {
        for hot in 0..50 {
            let key = format!("hot {hot:04}");
            if user.get(&key)?.is_some() {
                hits += 1;
            } else {
                user.set(&key, &[1; 50])?;
            }
        }
        for once in 0..50 {
            user.set(format!("x{round:03}{once:04}"), &[1; 50])?;
        }
    }
    assert!(hits > 9_500, "{hits} hits of 10,000");
    settle(&cache);
    Ok(())
}

/// In one list of handles, in many sessions, and both.
#[test]
fn room_is_found_wherever_a_user_has_its_entries() -> scopecache::Result<()> {
    let entries = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
    let quota = entries * entry_bytes(8, 8);
    for sessions in [0, 1, 7, 1_000, entries] {
        let cache = builder().max_bytes(1 << 30).user_quota(quota).build()?;
        let user = cache.user("ada")?;
        for key in 0..3 * entries {
            let name = format!("{key:08}");
            match key.checked_rem(sessions) {
                None => user.set(&name, &[1; 8])?,
                Some(session) => cache.session("ada", &session.to_string())?.set(&name, &[1; 8])?,
            };
        }
        let usage = user.usage()?;
        assert!(usage.bytes <= quota && usage.entries > entries * 9 / 10, "{usage:?}");
        settle(&cache);
    }
    Ok(())
}

/// The hand finds by hash, and all of them have the same.
#[test]
fn keys_of_one_hash_are_told_apart() -> scopecache::Result<()> {
    let quota = 5 * entry_bytes(1, 50);
    let cache = builder().user_quota(quota).hasher(SameHash).build()?;
    let (ada, eve) = (cache.user("ada")?, cache.user("eve")?);
    for key in ["a", "b", "c", "d", "e"] {
        eve.set(key, &[2; 50])?;
    }
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        ada.set(key, &[1; 50])?;
        assert!(ada.get(key)?.is_some());
        assert!(ada.usage()?.bytes <= quota);
    }
    assert_eq!((ada.usage()?.entries, eve.usage()?.entries), (5, 5));
    settle(&cache);
    Ok(())
}

#[test]
fn a_value_larger_than_the_quota_costs_nothing() -> scopecache::Result<()> {
    let cache = builder().max_bytes(1 << 20).user_quota(10_000).build()?;
    let user = cache.user("ada")?;
    for key in 0..50 {
        user.set(format!("key {key}"), &[1; 50])?;
    }
    let before = user.usage()?;
    assert_refused(user.set("large", vec![1; 10_000]));
    // Large for the cache, which would refuse it in silence were it full.
    assert_refused(user.set("large", vec![1; 200_000]));
    assert_refused(user.get_or_load("large", || std::io::Result::Ok(vec![1; 200_000])));
    let after = user.usage()?;
    assert!(after.entries >= before.entries - 2, "{after:?}: a place for the load went at most");
    settle(&cache);
    Ok(())
}

#[test]
fn a_value_of_nearly_the_quota_takes_the_place_of_everything() -> scopecache::Result<()> {
    let quota = 4 << 20;
    // With little that may be retired: room is made in steps.
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Manual)
        .max_bytes(64 << 20)
        .max_retired_bytes(1 << 20)
        .user_quota(quota)
        .build()?;
    let user = cache.user("ada")?;
    for key in 0..20_000 {
        let session = cache.session("ada", &format!("s{}", key % 100))?;
        set_in_time(&session, &format!("key {key}"), &[1; 200]);
    }
    assert!(user.usage()?.bytes > quota * 9 / 10);
    set_in_time(&user, "large", &vec![1; quota as usize - 1000]);
    assert!(user.usage()?.bytes <= quota);
    assert!(user.get("large")?.is_some());
    settle(&cache);
    Ok(())
}

/// Who waits for a load would wait in vain.
#[test]
fn what_is_being_loaded_does_not_go_for_the_quota() -> scopecache::Result<()> {
    let quota = entry_bytes(5, 300);
    let cache = builder().user_quota(quota).build()?;
    let user = cache.user("ada")?;
    let lease = user.lease("key 0")?;
    assert_refused(user.set("key 1", &[1; 300]));
    assert!(lease.fulfil(&[1; 300])?.is_some());
    user.set("key 1", &[1; 300])?;
    assert_eq!(keys(&user), ["key 1"], "a value may go");
    settle(&cache);
    Ok(())
}

/// However much of it is asked for, a bounded part is looked at before something goes.
#[test]
fn a_user_whose_entries_are_all_asked_for_comes_under_its_quota_in_short_steps()
-> scopecache::Result<()> {
    let cache = builder().build()?;
    let user = cache.user("ada")?;
    for key in 0..5_000 {
        let key = format!("key {key}");
        user.set(&key, &[1; 50])?;
        (0..3).try_for_each(|_| user.get(&key).map(drop))?;
    }
    settle(&cache);
    let quota = user.usage()?.bytes;
    let idle = cache.maintain(1000);
    cache.set_user_quota("ada", Some(quota))?;
    assert_eq!(cache.maintain(1000), idle, "there is nothing to do");
    cache.set_user_quota("ada", Some(quota - 1))?;
    let step = cache.maintain(1);
    assert!(step.freed_entries == 1 && step.examined < 200, "{step:?}");
    cache.set_user_quota("ada", Some(quota / 2))?;
    let step = cache.maintain(1);
    assert!((1..=64).contains(&step.freed_entries), "{step:?}");
    settle(&cache);
    assert!(user.usage()?.bytes <= quota / 2);
    Ok(())
}

/// Sets, however long other tests hold guards.
fn set_in_time(scope: &Scope, key: &str, value: &[u8]) {
    wait_until("room", || match scope.set(key, value) {
        Err(error) if error.kind() == ErrorKind::CapacityExceeded => false,
        answer => answer.map(|_| true).expect("nothing else fails"),
    });
}

#[test]
fn a_lowered_quota_is_reached_by_maintenance() -> scopecache::Result<()> {
    let cache = builder().build()?;
    for key in 0..5_000 {
        cache.session("ada", &format!("s{}", key % 10))?.set(format!("key {key}"), &[1; 50])?;
        cache.user("eve")?.set(format!("key {key}"), &[1; 50])?;
    }
    let (ada, eve) = (cache.user("ada")?, cache.user("eve")?);
    let quota = ada.usage()?.bytes / 10;
    cache.set_user_quota("ada", Some(quota))?;
    assert_eq!(ada.usage()?.entries, 5_000, "not in the call");
    let first = cache.maintain(100);
    assert!(first.freed_entries < 1_000 && first.pending, "in steps: {first:?}");
    settle(&cache);
    let usage = ada.usage()?;
    assert!(usage.bytes <= quota && usage.bytes > quota * 9 / 10, "{usage:?} of {quota}");
    assert_eq!(eve.usage()?.entries, 5_000);
    cache.set_user_quota("ada", Some(0))?;
    settle(&cache);
    assert_eq!(ada.usage()?, Default::default());
    assert_refused(ada.set("key", &[1; 50]));
    assert_eq!(cache.stats().users, 1, "nothing is left of a user without data");
    Ok(())
}

#[test]
fn a_lowered_quota_is_reached_by_the_thread_of_a_cache() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder().build()?;
    let user = cache.user("ada")?;
    for key in 0..1_000 {
        user.set(format!("key {key}"), &[1; 50])?;
    }
    let quota = user.usage()?.bytes / 2;
    cache.set_user_quota("ada", Some(quota))?;
    wait_until("the quota", || user.usage().expect("open").bytes <= quota);
    Ok(())
}

/// The user's next write need not wait for maintenance.
#[test]
fn a_lowered_quota_is_reached_by_a_write() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Manual)
        .max_retired_bytes(1 << 20)
        .max_bytes(1 << 30)
        .build()?;
    let user = cache.user("ada")?;
    for key in 0..30_000 {
        set_in_time(&user, &format!("key {key}"), &[1; 200]);
    }
    cache.set_user_quota("ada", Some(10_000))?;
    set_in_time(&user, "key", &[1; 200]);
    assert!(user.usage()?.bytes <= 10_000);
    settle(&cache);
    Ok(())
}

#[test]
fn what_has_expired_goes_first() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = builder().user_quota(20 * entry_bytes(6, 50)).clock(clock.clone()).build()?;
    let user = cache.user("ada")?;
    for key in 0..10 {
        user.set_with(format!("old {key:02}"), &[1; 50], SetOptions::new().ttl(MINUTE))?;
        user.set(format!("key {key:02}"), &[1; 50])?;
        // However often they were asked for.
        (0..3).try_for_each(|_| user.get(format!("old {key:02}")).map(drop))?;
        user.get(format!("key {key:02}"))?;
    }
    clock.advance(MINUTE);
    for key in 10..20 {
        user.set(format!("key {key:02}"), &[1; 50])?;
    }
    assert_eq!(keys(&user).len(), 20);
    settle(&cache);
    Ok(())
}

/// Two writers of one user, others beside them: the quota is never passed.
#[test]
fn writers_of_one_user_together_never_pass_its_quota() -> scopecache::Result<()> {
    let rounds = if cfg!(debug_assertions) { 20_000 } else { 300_000 };
    for entries in [1, 3, 50] {
        let quota = entries * entry_bytes(6, 60);
        let cache = builder().user_quota(quota).build()?;
        let (stop, samples) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|threads| -> scopecache::Result<()> {
            let sampler = threads.spawn(|| -> scopecache::Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    let usage = cache.user("ada")?.usage()?;
                    assert!(usage.bytes <= quota, "{usage:?} of {quota}");
                    samples.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let writers: Vec<_> = (0..2)
                .map(|seed| {
                    let cache = &cache;
                    threads.spawn(move || -> scopecache::Result<()> {
                        let mut random = Random(seed);
                        for _ in 0..rounds {
                            let session = format!("s{}", random.below(4));
                            let scope = cache.session("ada", &session)?;
                            let key = format!("key {:02}", random.below(60));
                            let answer = match random.below(8) {
                                0 => scope.delete(&key).map(drop),
                                1 => scope.delete_all().map(drop),
                                2 => scope.update(&key, |old| [old, b"x"].concat()).map(drop),
                                _ => scope.set(&key, vec![1; random.below(61) as usize]).map(drop),
                            };
                            match answer {
                                // Where it is full of what the other is about to store.
                                Err(error) if error.kind() == ErrorKind::QuotaExceeded => {}
                                answer => answer?,
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("no panic"))?;
            stop.store(true, Ordering::Relaxed);
            sampler.join().expect("no panic")
        })?;
        assert!(samples.into_inner() > 0);
        assert!(cache.user("ada")?.usage()?.bytes <= quota);
        settle(&cache);
    }
    Ok(())
}
