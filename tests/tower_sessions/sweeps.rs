//! What is left of sessions that have ended, and that it goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use bytes::Bytes;
use pollster::block_on;
use scopecache::{
    Cache, ErrorKind, Maintenance, MockClock, Namespace, OnFull, Options, Page, SetOptions, Storage,
};
use tower_sessions_core_0_15::session::Id;
use tower_sessions_core_0_15::session_store::Error;
use tower_sessions_core_0_15::{ExpiredDeletion, SessionStore};

use crate::common::{
    HOUR, INSTANT, Step, Stopping, by_user, cache, create, global_keys, load, note_of, record,
    sweep, user_of,
};
use crate::every::{Call, poll};

/// Drives a call that stops to its end.
fn drive(mut call: Call) {
    while !poll(&mut call) {}
}

/// Whatever ends sessions, a sweep leaves the global keys as they were before them.
#[test]
fn nothing_is_left_of_sessions_that_ended() {
    type End = fn(&Cache, &MockClock);
    let log_out: End = |cache, _| {
        block_on(by_user(Arc::new(cache.clone())).logout_everywhere("ada")).expect("open");
    };
    let delete_user: End = |cache, _| {
        block_on(Storage::delete(cache, Options::new().with_user("ada"))).expect("open");
    };
    let delete_sessions: End = |cache, _| {
        for id in 1..=300 {
            let id = Id(id).to_string();
            let session = Options::new().with_user_session("ada", &id);
            block_on(Storage::delete(cache, session)).expect("open");
        }
    };
    let delete_each: End = |cache, _| {
        for id in 1..=300 {
            block_on(by_user(Arc::new(cache.clone())).delete(&Id(id))).expect("open");
        }
    };
    // As an eviction does.
    let drop_contents: End = |cache, _| {
        for session in cache.sessions("ada").expect("open") {
            let namespace = Namespace::Session { user: "ada", session: &session };
            for key in cache.keys(namespace).expect("open") {
                assert!(cache.delete(namespace, &key).expect("open"));
            }
        }
    };
    let expire: End = |_, clock| clock.advance(2 * HOUR);
    for end in [log_out, delete_user, delete_sessions, delete_each, drop_contents, expire] {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let store = by_user(Arc::new(cache.clone()));
        let forever = SetOptions::new();
        for key in ["a key of the application", "web-session:", "web-session:of another kind"] {
            cache.set(Namespace::Global, key, "theirs", &forever).expect("room");
        }
        // These live longer than what ends.
        for (id, user) in [(1001, None), (1002, Some("eve"))] {
            let mut lasting = record(id, user, "lives");
            lasting.expiry_date += 9 * HOUR;
            create(&store, &lasting);
        }
        let before = (global_keys(&cache), cache.stats().entries);
        for id in 1..=300 {
            create(&store, &record(id, Some("ada"), "ends"));
        }
        assert_eq!(global_keys(&cache).len(), before.0.len() + 300);

        end(&cache, &clock);
        sweep(&store, &clock);
        assert_eq!(global_keys(&cache), before.0);
        while cache.maintain(1000).freed_entries > 0 {}
        clock.advance(2 * HOUR);
        while cache.maintain(1000).freed_entries > 0 {}
        assert_eq!((global_keys(&cache), cache.stats().entries), before);
        for id in 1..=300 {
            assert_eq!(load(&store, id), None);
        }
        for (id, user) in [(1001, None), (1002, Some("eve"))] {
            assert_eq!(user_of(&load(&store, id).expect("lives")), user);
        }
    }
}

/// A sweep goes on where the page before ended, and tells what it did.
#[test]
fn a_sweep_in_pages() {
    let clock = MockClock::new();
    let cache = cache(&clock);
    let store = by_user(Arc::new(cache.clone()));
    for id in 1..=50 {
        create(&store, &record(id, Some("ada"), "ends"));
        create(&store, &record(id + 50, Some("eve"), "lives"));
        create(&store, &record(id + 100, None, "lives"));
        cache.set(Namespace::Global, format!("k{id}"), "", &SetOptions::new()).expect("room");
    }
    block_on(store.logout_everywhere("ada")).expect("open");
    let (mut sessions, mut removed, mut pages, mut next) = (0, 0, 0, None::<String>);
    loop {
        let page = Page::new(7).after(next.as_deref());
        let swept = block_on(store.sweep(page)).expect("open");
        assert!(swept.sessions <= 7 && swept.removed <= swept.sessions);
        (sessions, removed, pages) =
            (sessions + swept.sessions, removed + swept.removed, pages + 1);
        next = swept.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((sessions, removed, pages), (150, 50, 200_u32.div_ceil(7)));
    clock.advance(INSTANT);
    assert_eq!(global_keys(&cache).len(), 150);
    let again = block_on(store.sweep(Page::new(1000))).expect("open");
    assert_eq!((again.sessions, again.removed, again.next), (100, 0, None));
    assert!(block_on(store.sweep(Page::new(0))).is_err());
}

/// Whoever asks for a session that was logged out needs no sweep.
#[test]
fn what_is_found_dead_goes_at_once() {
    for later in [None, Some(None), Some(Some("ada")), Some(Some("eve"))] {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let store = by_user(Arc::new(cache.clone()));
        create(&store, &record(1, Some("ada"), "ends"));
        block_on(store.logout_everywhere("ada")).expect("open");
        assert_eq!(global_keys(&cache).len(), 1);
        match later {
            None => assert_eq!(load(&store, 1), None),
            Some(user) => block_on(store.save(&record(1, user, "late"))).expect("does nothing"),
        }
        clock.advance(INSTANT);
        assert!(global_keys(&cache).is_empty());
        // An id that is free again is nobody's, and not taken from whoever gets it.
        create(&store, &record(1, Some("eve"), "new"));
        sweep(&store, &clock);
        assert_eq!(note_of(&load(&store, 1).expect("alive")), "new");
    }
}

/// A store that is full to the last byte, which refuses what is new, has room again after a sweep.
#[test]
fn a_full_store_gets_its_room_back() {
    let clock = MockClock::new();
    let cache: Cache = Cache::builder()
        .max_bytes(128 << 10)
        .expected_entries(64)
        .shards(1)
        .on_full(OnFull::Reject)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .build()
        .expect("these options go together");
    let store = by_user(Arc::new(cache.clone()));
    let fill = |first: i128, user: Option<&str>| {
        let mut records = (first..).map(|id| record(id, user, "fills"));
        records.position(|mut record| block_on(store.create(&mut record)).is_err()).expect("full")
    };
    let theirs = fill(1, Some("ada"));
    assert!(theirs > 50, "{theirs}");
    block_on(store.logout_everywhere("ada")).expect("open");
    // The room of their content is taken by others: their heads are all that can go.
    let others = fill(100_000, None);
    // And what is smaller than a session.
    let mut small = 0;
    while cache.set(Namespace::Global, format!("{small}"), "", &SetOptions::new()).is_ok() {
        small += 1;
    }
    let heads = global_keys(&cache).len() - others - small;
    // Of some that began in the end there was no room for the content's head.
    assert!((theirs..=theirs + 1).contains(&heads), "{heads} of {theirs}");

    sweep(&store, &clock);
    assert_eq!(global_keys(&cache).len(), others + small);
    while cache.maintain(1000).freed_entries > 0 {}
    let again = fill(200_000, None);
    assert!(again * 3 > theirs, "{again} anonymous sessions where {theirs} heads were");
    for id in 100_000..100_000 + others {
        assert!(load(&store, id as i128).is_some(), "{id}");
    }
}

/// Whichever call of the storage fails: a log-out that was told is one, nobody else is logged out, and the
/// next sweep does what this one could not.
#[test]
fn a_storage_that_fails_leaves_it_to_the_next_sweep() {
    let mut failures = 0;
    for after in 0.. {
        let storage = Stopping::new(false);
        let plain = by_user(Arc::new(storage.cache.clone()));
        for id in 1..=3 {
            create(&plain, &record(id, Some("ada"), "ends"));
            create(&plain, &record(id + 3, Some("eve"), "lives"));
        }
        let stopping = by_user(storage.clone());
        let store = stopping.clone();
        drive(Box::pin(async move {
            store.logout_everywhere("ada").await.expect("open");
        }));
        storage.refuse(after, ErrorKind::Unavailable);
        drive(Box::pin(async move {
            match stopping.delete_expired().await {
                Ok(()) => {}
                Err(Error::Backend(words)) => {
                    assert!(words.starts_with("cannot sweep the sessions: "), "{words}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }));
        if !storage.has_refused() {
            break;
        }
        failures += 1;
        for id in 1..=3 {
            assert!(load(&plain, id + 3).is_some(), "failed after {after}");
        }
        sweep(&plain, &storage.clock);
        assert_eq!(global_keys(&storage.cache).len(), 3, "failed after {after}");
    }
    assert!(failures > 12, "{failures}");
}

/// That the session is over is known, whatever comes of what is left of it.
#[test]
fn a_load_that_cannot_take_it_away_still_says_that_it_is_dead() {
    for step in [Step::Load, Step::Save(Some("ada")), Step::Save(Some("eve"))] {
        let storage = Stopping::new(false);
        let plain = by_user(Arc::new(storage.cache.clone()));
        create(&plain, &record(1, Some("ada"), "ends"));
        block_on(plain.logout_everywhere("ada")).expect("open");
        // Its last call.
        let mut calls = 0;
        let mut counted = step.begin(by_user(storage.clone()));
        while !poll(&mut counted) {
            calls += 1;
        }
        create(&plain, &record(2, Some("ada"), "ends"));
        block_on(plain.logout_everywhere("ada")).expect("open");
        storage.refuse(calls - 1, ErrorKind::CapacityExceeded);
        let store = by_user(storage.clone());
        drive(Box::pin(async move {
            match step {
                Step::Save(user) => store.save(&record(2, user, "late")).await.expect("as dead"),
                _ => assert_eq!(store.load(&Id(2)).await.expect("is dead"), None),
            }
        }));
        assert!(storage.has_refused());
        storage.clock.advance(INSTANT);
        assert_eq!(global_keys(&storage.cache).len(), 1, "{step:?}: left");
        sweep(&plain, &storage.clock);
        assert!(global_keys(&storage.cache).is_empty());
    }
}

/// What cannot be understood, by us or by the storage, stays, and keeps nobody from sweeping the rest.
#[test]
fn what_cannot_be_understood_is_passed_over() {
    let clock = MockClock::new();
    let cache = cache(&clock);
    let store = by_user(Arc::new(cache.clone()));
    for id in 1..=9 {
        create(&store, &record(id, Some(if id < 6 { "ada" } else { "eve" }), "first"));
    }
    let id = Id(9).to_string();
    let content = Namespace::Session { user: "eve", session: &id };
    let key = cache.keys(content).expect("open").remove(0);
    cache.set(content, &key, "spoilt", &SetOptions::new()).expect("room");
    let head = format!("web-session:{}", Id(8));
    cache.set(Namespace::Global, &head, "spoilt", &SetOptions::new()).expect("room");
    block_on(store.logout_everywhere("ada")).expect("open");
    sweep(&store, &clock);
    assert_eq!(global_keys(&cache).len(), 4, "6 and 7, and both that are spoilt");

    // Whichever item the storage calls corrupt, the dead that it reads go.
    for after in 1..30 {
        let storage = Stopping::new(false);
        let plain = by_user(Arc::new(storage.cache.clone()));
        for id in 1..=4 {
            create(&plain, &record(id, Some(if id < 3 { "ada" } else { "eve" }), "first"));
        }
        block_on(plain.logout_everywhere("ada")).expect("open");
        storage.refuse(after, ErrorKind::Corrupt);
        let store = by_user(storage.clone());
        let mut swept: Call = Box::pin(async move {
            // A write is never answered so; it is an error then.
            let _ = store.delete_expired().await;
        });
        while !poll(&mut swept) {}
        storage.clock.advance(INSTANT);
        let left = global_keys(&storage.cache).len();
        assert!((2..=4).contains(&left), "{left}");
        if after < 5 {
            assert_eq!(left, 2, "read one by one where many cannot be: {after}");
        }
        for id in 3..=4 {
            assert!(load(&plain, id).is_some());
        }
    }
}

/// Where keys are not listed there is no sweep, nor an error that ends the task which asks for it.
#[test]
fn a_storage_that_lists_nothing_is_not_swept() {
    let storage = Stopping::without_lists();
    let plain = by_user(Arc::new(storage.cache.clone()));
    create(&plain, &record(1, Some("ada"), "ends"));
    block_on(plain.logout_everywhere("ada")).expect("open");
    let mut swept = Step::Sweep.begin(by_user(storage.clone()));
    assert!(poll(&mut swept), "it asks for nothing");
    assert_eq!(global_keys(&storage.cache).len(), 1);
}

/// A sweep of a storage that is never waited for lets others run, many times.
#[test]
fn a_sweep_lets_others_run() {
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            // Relaxed: one thread.
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cache = cache(&MockClock::new());
    let store = by_user(Arc::new(cache));
    for id in 1..=1000 {
        create(&store, &record(id, Some("ada"), "lives"));
    }
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Arc::clone(&woken).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut swept = Step::Sweep.begin(store);
    let mut polls = 1;
    while swept.as_mut().poll(&mut context).is_pending() {
        assert_eq!(woken.0.load(Ordering::Relaxed), polls, "it asks to be polled again");
        polls += 1;
    }
    assert!(polls > 1000 / 128, "{polls}");
}

/// The keys of other sessions are the very same ones after any number of log-outs.
#[test]
fn log_outs_leave_others_keys_alone() {
    let clock = MockClock::new();
    let cache = cache(&clock);
    let store = by_user(Arc::new(cache.clone()));
    for id in 1..=20 {
        create(&store, &record(id, Some("eve"), "lives"));
    }
    let before: BTreeSet<Bytes> = global_keys(&cache).into_iter().collect();
    for round in 0..20 {
        for id in 100..110 {
            create(&store, &record(id + 100 * round, Some("ada"), "ends"));
        }
        block_on(store.logout_everywhere("ada")).expect("open");
        sweep(&store, &clock);
        let now: BTreeSet<Bytes> = global_keys(&cache).into_iter().collect();
        assert_eq!(now, before);
    }
}
