//! Sessions that end, and saves that come later.

use std::time::Duration;

use scopecache::{Namespace, Options, SetOptions, Storage, TowerMcpStore};
use tower_mcp::event_store::EventStore;
use tower_mcp::session_store::{SessionStore, SessionStoreError};

use crate::common::{
    AFTERLIFE, HOUR, NONE, aged, append, block_on, create, events, owner, record, sessions_of,
    store,
};

const SECOND: Duration = Duration::from_secs(1);

/// A server that has the session in its memory saves it with each request: neither a young record nor an old one
/// brings it back, however late, whatever ended it.
#[test]
fn no_save_brings_back_what_was_deleted() {
    for principal in [Some("ada"), Some(""), None] {
        for by_user in [true, false] {
            for created_only in [true, false] {
                // Nobody's sessions go with no user.
                if !by_user || principal == Some("ada") {
                    block_on(deleted_for_good(principal, by_user, created_only));
                }
            }
        }
    }
}

async fn deleted_for_good(principal: Option<&str>, by_user: bool, created_only: bool) {
    let (mut store, cache, clock) = store();
    if created_only {
        store = store.created_only();
    }
    create(&store, "s", principal).await;
    append(&store, "s", 1).await;
    if by_user {
        Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
    } else {
        store.delete("s").await.expect("open");
        store.purge_session("s").await.expect("open");
    }
    assert_eq!(owner(&store, "s").await, None);
    // What the server says as time goes by: first the head answers for it, then its age.
    for number in 0..500 {
        let late = 10 * number * SECOND;
        store.save(&aged("s", principal, late)).await.expect("does nothing");
        append(&store, "s", u64::from(number) + 2).await;
        assert_eq!(owner(&store, "s").await, None, "after {late:?}");
        assert!(sessions_of(&cache, "ada").is_empty());
        let kept = events(&store, "s").await;
        assert!(!kept.contains(&1), "after {late:?}");
        if created_only || late < AFTERLIFE {
            assert_eq!(kept, NONE, "after {late:?}");
            assert!(cache.keys(Namespace::Global).expect("open").len() <= 1, "its head");
        }
        clock.advance(10 * SECOND);
    }
}

/// The same where the storage has forgotten what it was told.
#[test]
fn an_eviction_brings_nothing_back_of_created_sessions() {
    block_on(async {
        let (store, cache, _) = store();
        let store = store.created_only();
        create(&store, "s", Some("ada")).await;
        Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
        Storage::delete(&cache, Options::new()).await.expect("open");
        store.save(&record("s", Some("ada"))).await.expect("does nothing");
        append(&store, "s", 1).await;
        assert_eq!(owner(&store, "s").await, None);
        assert!(sessions_of(&cache, "ada").is_empty());
        assert!(cache.keys(Namespace::Global).expect("open").is_empty());
    });
}

/// What was never stored is inserted while it is young, for the contract's sake, and not when it is old.
#[test]
fn a_save_inserts_what_is_young() {
    block_on(async {
        let (store, _, _) = store();
        for (number, (age, is_stored)) in
            [(0, true), (50, true), (61, false), (7200, false)].into_iter().enumerate()
        {
            for principal in [None, Some("ada")] {
                let id = format!("{number} {principal:?}");
                let record = aged(&id, principal, age * SECOND);
                store.save(&record).await.expect("room");
                assert_eq!(owner(&store, &id).await.is_some(), is_stored, "{id}");
            }
        }
        // By a clock that was set since, nothing is known of its age.
        let mut future = record("future", None);
        future.created_at += HOUR;
        store.save(&future).await.expect("does nothing");
        assert_eq!(owner(&store, "future").await, None);
        // A head that is there is all that an old one needs.
        create(&store, "long", Some("ada")).await;
        let mut old = aged("long", Some("ada"), 24 * HOUR);
        old.protocol_version = "2025-06-18".to_owned();
        store.save(&old).await.expect("room");
        let loaded = store.load("long").await.expect("answers").expect("alive");
        assert_eq!(loaded.protocol_version, "2025-06-18");
    });
}

/// Nothing is left once the time of the heads is over; the id is free then.
#[test]
fn heads_go_two_minutes_after_their_sessions() {
    block_on(async {
        let (store, cache, clock) = store();
        let left = || cache.keys(Namespace::Global).expect("open").len();
        for (id, principal) in [("of ada", Some("ada")), ("of nobody", None)] {
            create(&store, id, principal).await;
            store.delete(id).await.expect("open");
        }
        create(&store, "with its user", Some("eve")).await;
        Storage::delete(&cache, Options::new().with_user("eve")).await.expect("open");
        create(&store, "expires", Some("bob")).await;
        assert_eq!(left(), 4);
        clock.advance(AFTERLIFE - SECOND);
        for id in ["of ada", "of nobody", "with its user"] {
            let mut again = record(id, Some("eve"));
            store.create(&mut again).await.expect("room");
            assert_ne!(again.id, id, "not free yet");
            store.delete(&again.id).await.expect("open");
        }
        clock.advance(SECOND);
        create(&store, "of ada", Some("eve")).await;
        assert_eq!(owner(&store, "of ada").await, Some(Some("eve".to_owned())));
        clock.advance(HOUR - AFTERLIFE);
        assert_eq!(owner(&store, "expires").await, None);
        store.save(&record("expires", Some("bob"))).await.expect("does nothing");
        assert_eq!(owner(&store, "expires").await, None, "what has expired has ended");
        clock.advance(2 * HOUR);
        while cache.maintain(1000).freed_entries > 0 {}
        assert_eq!(left(), 0);
        assert_eq!(cache.stats().entries, 0);
    });
}

/// Saves renew the head too: a session that is used lives on.
#[test]
fn a_session_that_is_used_lives_on() {
    block_on(async {
        let (store, _, clock) = store();
        for (id, principal) in [("of ada", Some("ada")), ("of nobody", None)] {
            create(&store, id, principal).await;
            for hours in 1..10 {
                clock.advance(HOUR - SECOND);
                store.save(&aged(id, principal, hours * HOUR)).await.expect("room");
                assert!(owner(&store, id).await.is_some());
            }
        }
    });
}

/// Another principal takes the session along, with nothing left behind for who had it before.
#[test]
fn a_session_that_moves_goes_with_its_new_user_alone() {
    block_on(async {
        let (store, cache, _) = store();
        create(&store, "s", None).await;
        append(&store, "s", 1).await;
        for user in ["ada", "eve", "ada"] {
            store.save(&aged("s", Some(user), HOUR)).await.expect("room");
            assert_eq!(owner(&store, "s").await, Some(Some(user.to_owned())));
            let other = if user == "ada" { "eve" } else { "ada" };
            assert!(sessions_of(&cache, other).is_empty(), "left with {other}");
            append(&store, "s", 2).await;
            assert_eq!(events(&store, "s").await, [2], "no events of others");
            Storage::delete(&cache, Options::new().with_user(other)).await.expect("open");
        }
        // Cleared, it still is what came from her session.
        store.save(&aged("s", None, HOUR)).await.expect("room");
        assert_eq!(owner(&store, "s").await, Some(None));
        Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
        assert_eq!(owner(&store, "s").await, None);
        assert_eq!(events(&store, "s").await, NONE);
    });
}

/// Deleting a session or a user leaves all others, and an application's own data, as they are.
#[test]
fn others_are_left_alone() {
    block_on(async {
        let (store, cache, _) = store();
        for (id, principal) in [("1", "ada"), ("2", "ada"), ("3", "eve"), ("4", "eve")] {
            create(&store, id, Some(principal)).await;
            append(&store, id, 7).await;
        }
        create(&store, "5", None).await;
        append(&store, "5", 7).await;
        cache.set(Namespace::Global, "tower-mcp:", "theirs", &SetOptions::new()).expect("room");
        store.delete("1").await.expect("open");
        Storage::delete(&cache, Options::new().with_user("eve")).await.expect("open");
        for (id, is_there) in [("1", false), ("2", true), ("3", false), ("4", false), ("5", true)] {
            assert_eq!(owner(&store, id).await.is_some(), is_there, "{id}");
            assert_eq!(events(&store, id).await == [7], is_there, "{id}");
        }
        assert!(cache.contains(Namespace::Global, "tower-mcp:").expect("open"));
    });
}

/// What cannot be an id is that of no session; a create gets another.
#[test]
fn ids_that_are_none() {
    block_on(async {
        let (store, _, _) = store();
        for id in ["", &"i".repeat(257)] {
            assert_eq!(owner(&store, id).await, None);
            assert_eq!(events(&store, id).await, NONE);
            store.delete(id).await.expect("there is none");
            store.purge_session(id).await.expect("there is none");
            let refused = store.save(&record(id, None)).await;
            let Err(SessionStoreError::Backend(words)) = refused else { panic!("{refused:?}") };
            assert!(
                words.starts_with("cannot save the session: ") && words.contains("256"),
                "{words}"
            );
            let mut created = record(id, Some("ada"));
            store.create(&mut created).await.expect("room");
            assert_eq!(created.id.len(), 32);
            assert!(owner(&store, &created.id).await.is_some());
        }
        let longest = "i".repeat(256);
        create(&store, &longest, Some("ada")).await;
        append(&store, &longest, u64::MAX).await;
        assert_eq!(events(&store, &longest).await, [u64::MAX]);
    });
}

/// A principal that is no user id is refused, unless somebody says whose session it is.
#[test]
fn principals_and_users() {
    block_on(async {
        let (store, cache, _) = store();
        let long = "https://issuer.example/".repeat(20);
        let refused = store.create(&mut record("s", Some(&long))).await;
        let Err(SessionStoreError::Backend(words)) = refused else { panic!("{refused:?}") };
        assert!(words.contains("user id"), "{words}");
        assert_eq!(owner(&store, "s").await, None);
        let cut = |principal: &str| Some(principal.chars().take(23).collect());
        let store = store.with_owner(cut);
        create(&store, "s", Some(&long)).await;
        assert_eq!(owner(&store, "s").await, Some(Some(long)), "it comes back as it was");
        assert_eq!(sessions_of(&cache, "https://issuer.example/").len(), 1);
    });
}

/// What cannot be understood is an error of its own, stays, and can be deleted.
#[test]
fn what_cannot_be_understood() {
    block_on(async {
        let (store, cache, _) = store();
        let spoil = |namespace, key: &[u8]| {
            cache.set(namespace, key, "spoilt", &SetOptions::new()).expect("room");
        };
        create(&store, "head", Some("ada")).await;
        spoil(Namespace::Global, b"tower-mcp:session:head");
        create(&store, "record", Some("ada")).await;
        let theirs = Namespace::Session { user: "ada", session: "record" };
        spoil(theirs, &cache.keys(theirs).expect("open")[0]);
        for id in ["head", "record"] {
            let loaded = store.load(id).await;
            assert!(matches!(&loaded, Err(SessionStoreError::Decode(_))), "{loaded:?}");
            store.delete(id).await.expect("open");
            assert_eq!(owner(&store, id).await, None);
        }
    });
}

/// Two servers share what one of them stored.
#[test]
fn a_clone_is_the_same_store() {
    block_on(async {
        let (here, _, _) = store();
        let there: TowerMcpStore = here.clone();
        create(&here, "s", Some("ada")).await;
        append(&here, "s", 1).await;
        assert_eq!(events(&there, "s").await, [1]);
        there.delete("s").await.expect("open");
        assert_eq!(owner(&here, "s").await, None);
    });
}
