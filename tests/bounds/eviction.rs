//! What eviction leaves behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, Error, Maintenance, MockClock, SetOptions};

use crate::common::builder;
use crate::pressure::{Random, settle, wait_until};
use crate::same_hash::SameHash;

#[test]
fn an_eviction_is_a_delete_that_nobody_asked_for() -> scopecache::Result<()> {
    let cache = builder().max_entries(500).build()?;
    let mut random = Random(7);
    let mut versions = HashMap::new();
    for step in 0..20_000 {
        let user = format!("user {}", random.below(10));
        let session = format!("session {}", random.below(20));
        let scope = match random.below(4) {
            0 => cache.user(&user)?,
            _ => cache.session(&user, &session)?,
        };
        let key = format!("key {}", random.below(10));
        let version = scope.set(&key, format!("value {step}"))?;
        versions.insert((format!("{:?}", scope.namespace()), key), version);
    }
    settle(&cache);
    let mut entries = 0;
    for user in cache.users()? {
        let scope = cache.user(&user)?;
        let (mut of_user, own) = (scope.keys()?.len() as u64, scope.usage()?);
        let mut scopes = vec![scope];
        for session in cache.sessions(&user)? {
            let scope = cache.session(&user, &session)?;
            let keys = scope.keys()?.len() as u64;
            assert_eq!(scope.usage()?.entries, keys);
            assert!(keys > 0, "an empty session is left");
            of_user += keys;
            scopes.push(scope);
        }
        assert_eq!(own.entries, of_user);
        for scope in scopes {
            for key in scope.keys()? {
                let item = scope.get(&key)?.expect("listed");
                let key = String::from_utf8(key.to_vec()).expect("text");
                let last = versions.remove(&(format!("{:?}", scope.namespace()), key));
                assert_eq!(last, Some(item.version()), "the last that was set");
            }
        }
        entries += of_user;
    }
    assert_eq!(entries, 500);
    Ok(())
}

#[test]
fn sessions_that_lose_their_last_entry_to_eviction_are_retired() -> scopecache::Result<()> {
    let cache = builder().max_entries(1000).build()?;
    for session in 0..100_000 {
        let user = format!("user {}", session % 777);
        cache.session(&user, &format!("session {session}"))?.set("k", "v")?;
        if session % 1000 == 0 {
            let stats = cache.stats();
            assert!(stats.sessions <= 1000, "{} sessions", stats.sessions);
            assert!(stats.users <= 777, "{} users", stats.users);
        }
    }
    let stats = cache.stats();
    assert_eq!(stats.entries, stats.sessions);
    assert!((980..=1000).contains(&stats.sessions), "{} sessions", stats.sessions);
    let live = cache.stats().live_bytes;
    assert!(live < 1_000_000, "{live} bytes for 1000 sessions");
    settle(&cache);
    Ok(())
}

/// moka#590: a key that comes back while it is being evicted leaves a node that nobody can
/// evict, and in the end nothing can be evicted any more.
#[test]
fn keys_that_are_evicted_and_come_back_never_stall_eviction() -> scopecache::Result<()> {
    let cache = builder().max_bytes(256 << 10).build()?;
    let mut highest = [0; 4];
    for highest in &mut highest {
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let mut random = Random(thread);
                    let scope = cache.user("ada").expect("a valid id");
                    for _ in 0..5000 {
                        let key = format!("key {}", random.below(600));
                        match random.below(8) {
                            0 => drop(scope.delete(&key).expect("open")),
                            1 => drop(scope.get(&key).expect("open")),
                            _ => {
                                let set = scope.set(&key, vec![7; 800]);
                                assert!(set.is_ok(), "{set:?}: {:?}", cache.stats());
                            }
                        }
                    }
                });
            }
        });
        settle(&cache);
        *highest = cache.user("ada")?.usage()?.entries;
    }
    let scope = cache.user("ada")?;
    let least = (256 << 10) / 1000 * 6 / 10;
    assert!(highest.iter().all(|&entries| entries > least), "{highest:?} entries, not {least}");
    for key in 0..600 {
        scope.set(format!("other {key}"), vec![7; 800])?;
    }
    assert!(scope.contains("other 599")?);
    settle(&cache);
    Ok(())
}

/// stretto#57 and #13: what was just set is not there; under pressure nothing is stored any more.
#[test]
fn a_full_cache_shows_each_thread_what_it_has_just_set() -> scopecache::Result<()> {
    let cache = builder().max_bytes(128 << 10).build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(3);
    for step in 0..20_000 {
        let key = format!("key {}", random.below(2000));
        let value = format!("{step} {}", "x".repeat(random.below(500) as usize));
        scope.set(&key, value.as_str())?;
        assert_eq!(scope.get(&key)?.expect("just set").data(), value.as_bytes());
    }
    settle(&cache);
    Ok(())
}

/// A value that is counted while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        // SeqCst, here and below: whoever frees counts too, and tests need no cleverness.
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // SeqCst: as in `new`.
        let before = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "dropped twice");
    }
}

/// moka#64, #176 and #329: values that were evicted, overwritten or expired are never dropped.
#[test]
fn every_value_is_dropped_once_however_it_left() -> scopecache::Result<()> {
    let alive = Arc::new(AtomicUsize::new(0));
    let clock = MockClock::new();
    let cache = Cache::<Counted>::builder()
        .maintenance(Maintenance::Manual)
        .max_entries(200)
        .clock(clock.clone())
        .build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(5);
    for step in 0..10_000 {
        let key = format!("key {}", random.below(600));
        let options = SetOptions::new().ttl(Duration::from_secs(1 + random.below(100)));
        scope.set_with(&key, Counted::new(&alive), options)?;
        match step % 7 {
            0 => drop(scope.delete(&key)?),
            1 => drop(scope.take(&key)?),
            2 => drop(scope.set(&key, Counted::new(&alive))?),
            3 => drop(scope.get_or_load(&key, || Ok::<_, Error>(Counted::new(&alive)))?),
            4 => clock.advance(Duration::from_secs(1)),
            _ => {}
        }
    }
    wait_until("no value is alive but those in the cache", || {
        cache.maintain(100);
        // SeqCst: counted down by whoever frees.
        alive.load(Ordering::SeqCst) as u64 == cache.stats().entries
    });
    drop((scope, cache));
    let other = builder().build()?;
    wait_until("no value outlives the cache", || {
        other.maintain(1);
        // SeqCst: as above.
        alive.load(Ordering::SeqCst) == 0
    });
    Ok(())
}

/// pingora#406: another key's value on a collision of hashes.
#[test]
fn eviction_is_right_though_all_keys_collide() -> scopecache::Result<()> {
    let cache = builder().max_entries(50).hasher(SameHash).build()?;
    let scope = cache.session("ada", "s")?;
    for key in 0..500 {
        let value = format!("value {key}");
        scope.set(format!("key {key}"), value.as_str())?;
        assert_eq!(scope.get(format!("key {key}"))?.expect("just set").data(), value.as_bytes());
        assert_eq!(cache.stats().entries, 50.min(key + 1));
    }
    let keys = scope.keys()?;
    assert_eq!(keys.len(), 50);
    for key in keys {
        let item = scope.get(&key)?.expect("listed");
        assert_eq!(item.data()[6..], key[4..], "another's value");
    }
    settle(&cache);
    assert_eq!(scope.delete_all()?.entries, 50);
    settle(&cache);
    assert_eq!(cache.stats().entries, 0);
    Ok(())
}
