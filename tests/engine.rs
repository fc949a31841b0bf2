//! The engine's edges: full memory, long-held guards, closing, loaders that misbehave, scopes
//! that outlive what they name, and threads that do everything at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use scopecache::{
    Blob, Cache, CacheBuilder, Error, ErrorKind, Maintenance, MockClock, Namespace, OnFull,
    SetOptions, Version,
};

const MINUTE: Duration = Duration::from_secs(60);

fn builder() -> CacheBuilder<Blob> {
    Cache::builder().maintenance(Maintenance::Manual)
}

fn cache() -> Cache {
    builder().build().expect("valid settings")
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("must fail").kind()
}

#[test]
fn a_full_cache_rejects_and_loses_nothing() -> scopecache::Result<()> {
    let cache = builder().max_bytes(64 << 10).on_full(OnFull::Reject).build()?;
    let scope = cache.user("ada")?;
    let mut stored = 0;
    let refused = loop {
        match scope.set(format!("key {stored}"), [7; 100].as_slice()) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
    assert!(refused.to_string().contains("raise max_bytes"), "{refused}");
    assert!(stored > 200, "only {stored} entries in 64 KiB");
    assert!(cache.stats().live_bytes <= cache.capacity_bytes());
    for key in 0..stored {
        assert!(scope.contains(format!("key {key}"))?, "key {key} was lost");
    }
    // An overwrite of the same size needs no room; what is deleted makes room.
    scope.set("key 0", [8; 100].as_slice())?;
    scope.delete_many(&["key 1", "key 2", "key 3", "key 4", "key 5", "key 6"])?;
    scope.set("another", [9; 100].as_slice())?;
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn what_has_expired_or_was_deleted_makes_room_for_a_set() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache =
        builder().max_bytes(64 << 10).on_full(OnFull::Reject).clock(clock.clone()).build()?;
    let fill = |user: &str| -> scopecache::Result<()> {
        let scope = cache.user(user)?;
        let options = SetOptions::new().ttl(MINUTE);
        for key in 0.. {
            match scope.set_with(format!("key {key}"), [7; 100].as_slice(), options) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::CapacityExceeded => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    fill("ada")?;
    clock.advance(MINUTE);
    cache.user("bob")?.set("k", [1; 1000].as_slice())?;
    fill("bob")?;
    cache.user("bob")?.delete_all()?;
    cache.user("eve")?.set("k", [1; 1000].as_slice())?;
    cache.validate().expect("sound");
    Ok(())
}

/// The wheel frees an entry at the tick after its deadline; whoever needs room does not wait for it.
#[test]
fn what_has_just_expired_makes_room_before_its_tick() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache =
        builder().max_bytes(64 << 10).on_full(OnFull::Reject).clock(clock.clone()).build()?;
    let scope = cache.user("ada")?;
    for key in 0.. {
        if cache.used_bytes() > 48 << 10 {
            break;
        }
        let options = SetOptions::new().ttl(MINUTE);
        scope.set_with(format!("key {key}"), [7; 100].as_slice(), options)?;
    }
    while cache.maintain(1000).pending {}
    let large = vec![1; 24 << 10];
    let refused = scope.set("large", &*large).expect_err("all of it is needed");
    assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
    clock.advance(MINUTE);
    scope.set("large", &*large)?;
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn an_entry_larger_than_everything_is_refused_in_words() -> scopecache::Result<()> {
    let cache = builder().max_bytes(4096).build()?;
    let error = cache.global().set("k", vec![0; 8192]).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    assert!(error.to_string().contains("larger than max_bytes"), "{error}");
    let cache = builder().max_value_bytes(10).build()?;
    assert_eq!(
        kind(cache.global().set("k", [0; 11].as_slice())),
        ErrorKind::ValueTooLarge { limit: 10 }
    );
    cache.global().set("k", [0; 10].as_slice())?;
    Ok(())
}

#[test]
fn senseless_settings_are_refused_in_words() {
    let words = |builder: CacheBuilder<Blob>| builder.build().expect_err("senseless").to_string();
    assert!(words(builder().max_bytes(0)).contains("max_bytes"));
    assert!(words(builder().shards(0)).contains("shards"));
    assert!(words(builder().default_ttl(Duration::ZERO)).contains("ttl"));
    assert!(words(builder().expected_entries(usize::MAX)).contains("expected_entries"));
    assert!(words(builder().max_value_bytes(usize::MAX)).contains("max_value_bytes"));
    builder().max_bytes(u64::MAX).expected_entries(10).build().expect("no bound in effect");
}

#[test]
fn a_guard_held_for_long_stops_writes_and_not_reads() -> scopecache::Result<()> {
    let cache = builder().max_retired_bytes(64 << 10).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", [1; 500].as_slice())?;
    let guard = cache.pin();
    let old = scope.get_ref("k", &guard)?.expect("present");
    let refused = loop {
        if let Err(error) = scope.set("k", [2; 500].as_slice()) {
            break error;
        }
        assert!(cache.stats().retired_bytes < 1 << 20, "nothing stops it");
    };
    assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
    assert!(refused.to_string().contains("guard"), "{refused}");
    assert_eq!(old.data(), [1; 500], "what is borrowed stays as it was");
    assert_eq!(scope.get("k")?.expect("present").data(), [2; 500]);
    assert!(scope.delete("k")?, "a deletion never fails");
    drop(guard);
    // The epochs are those of the process: another test may be in the middle of a read.
    for _ in 0..1_000_000 {
        match scope.set("k", "all is well again") {
            Err(error) if error.kind() == ErrorKind::CapacityExceeded => thread::yield_now(),
            other => return other.map(drop),
        }
    }
    panic!("nothing was ever freed");
}

#[test]
fn a_scope_outlives_the_deletion_the_retirement_and_the_return_of_its_user()
-> scopecache::Result<()> {
    let cache = cache();
    let kept = cache.session("ada", "s")?;
    kept.set("k", "first")?;
    cache.user("ada")?.delete_all()?;
    assert!(kept.get("k")?.is_none());
    assert_eq!(kept.insert("k", "second")?.map(|_| ()), Some(()));
    assert!(kept.delete("k")?, "the last entry: the node is retired");
    assert_eq!(cache.stats().sessions, 0);
    let other = cache.session("ada", "s")?;
    other.set("k", "third")?;
    assert_eq!(kept.get("k")?.expect("present").data(), b"third");
    kept.set("k", "fourth")?;
    assert_eq!(other.get("k")?.expect("present").data(), b"fourth");
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn closing_frees_everything_and_refuses_the_rest() -> scopecache::Result<()> {
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            // SeqCst, here and below: whoever frees counts too, and tests need no cleverness.
            self.0.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(&self.0))
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            // SeqCst: as in `clone`.
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let make = || {
        // SeqCst: as in `clone`.
        alive.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(&alive))
    };
    let cache = Cache::<Counted>::builder().build()?;
    for user in 0..20 {
        let scope = cache.session(&format!("user {user}"), "s")?;
        for key in 0..50 {
            scope.set(format!("key {}", key % 30), make())?;
        }
    }
    cache.global().set("k", make())?;
    let scope = cache.user("late")?;
    let lease = scope.lease("loading")?;
    cache.close();
    cache.close();
    assert!(cache.is_closed());
    assert_eq!(kind(scope.get("k").map(|_| ())), ErrorKind::Closed);
    assert_eq!(kind(scope.set("k", make())), ErrorKind::Closed);
    assert_eq!(kind(scope.delete_all()), ErrorKind::Closed);
    assert_eq!(kind(scope.keys()), ErrorKind::Closed);
    assert_eq!(kind(lease.fulfil(make())), ErrorKind::Closed);
    assert_eq!(cache.stats().entries, 0);
    drop((scope, cache));
    // Other tests of this process may hold guards for a moment.
    let other = Cache::<u8>::builder().maintenance(Maintenance::Manual).build()?;
    for _ in 0..1_000_000 {
        // SeqCst: counted down by whoever frees.
        if alive.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        other.maintain(1);
        thread::yield_now();
    }
    // SeqCst: as in the loop.
    panic!("{} values were never dropped", alive.load(Ordering::SeqCst));
}

#[test]
fn of_a_stampede_one_loads_and_all_get_the_value() -> scopecache::Result<()> {
    const THREADS: usize = 8;
    let cache = cache();
    let loads = AtomicUsize::new(0);
    thread::scope(|threads| {
        let (release, wait) = mpsc::channel();
        let (started, loading) = mpsc::channel();
        let (loads, cache) = (&loads, &cache);
        let leader = threads.spawn(move || {
            cache.user("ada")?.get_or_load("k", || {
                // SeqCst, here and below: a count of several threads; tests need no cleverness.
                loads.fetch_add(1, Ordering::SeqCst);
                started.send(()).expect("listens");
                wait.recv().expect("released");
                Ok::<_, Error>("loaded")
            })
        });
        loading.recv().expect("the leader loads");
        let others: Vec<_> = (1..THREADS)
            .map(|_| {
                threads.spawn(move || {
                    cache.user("ada")?.get_or_load("k", || {
                        // SeqCst: as in the leader.
                        loads.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Error>("a second load")
                    })
                })
            })
            .collect();
        assert!(!cache.user("ada").expect("valid").contains("k").expect("open"));
        release.send(()).expect("waits");
        for thread in others.into_iter().chain([leader]) {
            let item = thread.join().expect("no panic").expect("loaded");
            assert_eq!(item.data(), b"loaded");
        }
    });
    // SeqCst: a count; who made it has been joined.
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn loaders_that_misbehave_leave_the_key_loadable() -> scopecache::Result<()> {
    let cache = cache();
    let scope = cache.user("ada")?;
    let error = scope
        .get_or_load("k", || Err::<&str, _>(std::io::Error::other("disk on fire")))
        .expect_err("the loader failed");
    assert_eq!(error.kind(), ErrorKind::Loader);
    let source = std::error::Error::source(&error).expect("kept");
    assert_eq!(source.to_string(), "disk on fire");

    let panicked = thread::scope(|threads| {
        threads
            .spawn(|| scope.get_or_load("k", || -> Result<&str, Error> { panic!("on purpose") }))
            .join()
    });
    assert!(panicked.is_err());

    let nested = scope.get_or_load("k", || {
        assert_eq!(kind(scope.lease("k")), ErrorKind::Conflict);
        scope.get_or_load("k", || Ok::<_, Error>("never")).map(|item| item.data().to_vec())
    });
    let error = nested.expect_err("a loader that asks for its own key");
    assert_eq!(error.kind(), ErrorKind::Loader);
    let source = std::error::Error::source(&error).expect("kept").to_string();
    assert!(source.contains("the key that it is loading"), "{source}");

    // A loader may write the key itself: then its answer is out of date.
    let item = scope.get_or_load("k", || {
        scope.set("k", "written meanwhile")?;
        Ok::<_, Error>("loaded")
    })?;
    assert_eq!(item.data(), b"loaded");
    assert_eq!(scope.get("k")?.expect("present").data(), b"written meanwhile");
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn a_load_overtaken_by_the_deletion_of_its_user_is_not_stored() -> scopecache::Result<()> {
    let cache = cache();
    let session = cache.session("ada", "s")?;
    let lease = session.lease("k")?;
    cache.user("ada")?.delete_all()?;
    assert_eq!(lease.fulfil("of the deleted user")?, None);
    assert!(session.get("k")?.is_none());
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn versions_of_other_entries_never_match() -> scopecache::Result<()> {
    let cache = cache();
    let (ada, bob) = (cache.user("ada")?, cache.user("bob")?);
    let of_ada = ada.set("k", "a")?;
    let of_bob = bob.set("k", "b")?;
    assert_eq!(bob.compare_and_set("k", of_ada, "stolen")?, None);
    assert_eq!(bob.compare_and_set("k", Version::from_u64(0), "stolen")?, None);
    assert_eq!(bob.get("k")?.expect("present").data(), b"b");
    bob.delete("k")?;
    bob.set("k", "b")?;
    assert_eq!(bob.compare_and_set("k", of_bob, "stale")?, None);
    Ok(())
}

#[test]
fn handles_of_a_key_that_comes_and_goes_do_not_pile_up() -> scopecache::Result<()> {
    let cache = cache();
    let scope = cache.user("ada")?;
    scope.set("stays", "here")?;
    for _ in 0..20_000 {
        scope.set("k", "v")?;
        scope.delete("k")?;
    }
    let live = cache.stats().live_bytes;
    assert!(live < 8 << 10, "{live} bytes for one entry");
    assert_eq!(scope.keys()?, ["stays"]);
    cache.validate().expect("sound");
    Ok(())
}

/// In the middle of a turn it has memory booked that is neither used nor given back.
#[test]
fn maintenance_may_go_on_while_everything_is_checked() -> scopecache::Result<()> {
    let cache = builder().max_bytes(1 << 20).shards(4).expected_entries(200).build()?;
    let scope = cache.user("ada")?;
    for key in 0..100 {
        scope.set(format!("k{key}"), "1")?;
        scope.touch(format!("k{key}"), MINUTE)?;
    }
    while cache.maintain(1000).pending {}
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            // Relaxed: it ends the loop, it orders nothing.
            while !over.load(Ordering::Relaxed) {
                cache.maintain(1000);
            }
        });
        let broken = (0..1000).find_map(|_| cache.validate().err());
        // Relaxed: as above.
        over.store(true, Ordering::Relaxed);
        assert_eq!(broken, None);
    });
    Ok(())
}

#[test]
fn threads_that_do_everything_leave_a_sound_cache() -> scopecache::Result<()> {
    const THREADS: u64 = 4;
    const STEPS: u64 = 30_000;
    let cache = Cache::builder().max_bytes(1 << 20).shards(4).expected_entries(200).build()?;
    let cache: &Cache = &cache;
    thread::scope(|threads| {
        for thread in 0..THREADS {
            threads.spawn(move || {
                // Splitmix64.
                let mut state = thread;
                let mut random = move |below: u64| {
                    state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                    (z ^ (z >> 31)) % below
                };
                for _ in 0..STEPS {
                    let (user, session) = (format!("u{}", random(3)), format!("s{}", random(3)));
                    let namespace = match random(8) {
                        0 => Namespace::Global,
                        1..3 => Namespace::User { user: &user },
                        _ => Namespace::Session { user: &user, session: &session },
                    };
                    let scope = cache.scope(namespace).expect("valid");
                    let key = format!("k{}", random(6));
                    let owner = format!("{namespace:?}");
                    let mine = |bytes: &[u8]| {
                        assert!(bytes.starts_with(owner.as_bytes()), "another's data");
                    };
                    let value = format!("{owner} {}", "x".repeat(random(2000) as usize));
                    let done = match random(16) {
                        0..4 => scope.get(&key).map(|item| {
                            item.iter().for_each(|item| mine(item.data()));
                        }),
                        4..8 => scope.set(&key, value).map(drop),
                        8 => scope.insert(&key, value).map(drop),
                        9 => scope.take(&key).map(drop),
                        10 => scope.update(&key, <[u8]>::to_vec).map(drop),
                        11 => scope.touch(&key, MINUTE).map(drop),
                        12 => scope.delete(&key).map(drop),
                        13 => scope.delete_all().map(drop),
                        14 => scope.get_or_load(&key, || Ok::<_, Error>(value)).map(|item| {
                            mine(item.data());
                        }),
                        _ => scope.keys().map(drop),
                    };
                    match done.map_err(|error| error.kind()) {
                        Ok(()) | Err(ErrorKind::CapacityExceeded) => {}
                        Err(kind) => panic!("{kind:?}"),
                    }
                    assert!(cache.stats().live_bytes <= cache.capacity_bytes());
                }
            });
        }
    });
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    cache.clear();
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    assert_eq!(cache.stats().entries, 0);
    assert_eq!((cache.stats().users, cache.stats().sessions), (0, 0));
    Ok(())
}
