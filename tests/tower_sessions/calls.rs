//! What each call does by itself.

use std::sync::Arc;
use std::time::SystemTime;

use pollster::block_on;
use scopecache::{MockClock, Namespace, Options, Page, Storage, WebSessions};
use serde_json::json;
use tower_sessions_core_0_15::session::Id;
use tower_sessions_core_0_15::{ExpiredDeletion, SessionStore};

use crate::common::{
    HOUR, by_user, cache, check_once, create, listed, load, note_of, record, store, user_of,
};

#[test]
fn a_record_comes_back_as_it_was() {
    let (store, _) = store();
    for (id, user) in [(1, None), (-2, Some("ada"))] {
        let mut record = record(id, user, "first");
        record
            .data
            .insert("nested".into(), json!({"list": [1, -2.5, null, "é\0"], "big": u64::MAX}));
        create(&store, &record);
        assert_eq!(load(&store, id), Some(record.clone()));

        record.data.insert("note".into(), json!("second"));
        record.expiry_date = (SystemTime::now() + 2 * HOUR).into();
        block_on(store.save(&record)).expect("present");
        assert_eq!(load(&store, id), Some(record));

        block_on(store.delete(&Id(id))).expect("present");
        assert_eq!(load(&store, id), None);
    }
    block_on(store.delete(&Id(1))).expect("deleting what is not there succeeds");
    block_on(store.delete_expired()).expect("nothing to do");
}

#[test]
fn a_taken_id_is_not_given_again() {
    let (store, _) = store();
    for (id, user) in [(1, None), (2, Some("ada"))] {
        create(&store, &record(id, user, "first"));
        for other in [None, Some("ada"), Some("eve")] {
            let mut second = record(id, other, "second");
            block_on(store.create(&mut second)).expect("room");
            assert_ne!(second.id, Id(id));
            assert_eq!(note_of(&load(&store, id).expect("kept")), "first");
            assert_eq!(load(&store, second.id.0), Some(second));
        }
        check_once(&store, id, &["ada", "eve"]);
    }
}

#[test]
fn what_is_gone_is_not_saved() {
    for user in [None, Some("ada")] {
        let (store, cache) = store();
        for later in [None, Some("ada"), Some("eve")] {
            block_on(store.save(&record(1, later, "never created"))).expect("does nothing");
            assert_eq!(load(&store, 1), None);
        }
        create(&store, &record(1, user, "first"));
        block_on(store.delete(&Id(1))).expect("present");
        for later in [None, Some("ada"), Some("eve")] {
            block_on(store.save(&record(1, later, "late"))).expect("does nothing");
            assert_eq!(load(&store, 1), None);
        }
        cache.maintain(1000);
        assert_eq!(cache.stats().entries, 0, "nothing is left of it");
    }
}

#[test]
fn a_login_moves_the_session_to_its_user() {
    let (store, cache) = store();
    create(&store, &record(1, None, "a cart"));
    assert_eq!(cache.users().expect("open").len(), 0);

    block_on(store.save(&record(1, Some("ada"), "logged in"))).expect("present");
    assert_eq!(listed(&store, "ada"), [Id(1).to_string()]);
    assert_eq!(cache.stats().entries, 2, "a head and its content");

    // Another user, without a log-out: the first has nothing of it any more.
    block_on(store.save(&record(1, Some("eve"), "another"))).expect("present");
    assert_eq!(user_of(&load(&store, 1).expect("alive")), Some("eve"));
    check_once(&store, 1, &["ada", "eve"]);
    assert_eq!(cache.stats().entries, 2);
    block_on(store.logout_everywhere("ada")).expect("open");
    assert!(load(&store, 1).is_some());

    // Nobody: it is listed no more, and still goes with its last user.
    block_on(store.save(&record(1, None, "kept"))).expect("present");
    assert_eq!(note_of(&load(&store, 1).expect("alive")), "kept");
    check_once(&store, 1, &["ada", "eve"]);
    block_on(store.logout_everywhere("eve")).expect("open");
    assert_eq!(load(&store, 1), None);
}

#[test]
fn logging_out_everywhere_ends_all_sessions_of_the_user_alone() {
    let (store, _) = store();
    for id in 1..=5 {
        create(&store, &record(id, Some("ada"), "theirs"));
    }
    create(&store, &record(6, Some("eve"), "another's"));
    create(&store, &record(7, None, "nobody's"));
    let removed = block_on(store.logout_everywhere("ada")).expect("open");
    assert_eq!(removed.entries, 5);
    for id in 1..=5 {
        assert_eq!(load(&store, id), None);
        block_on(store.save(&record(id, Some("ada"), "late"))).expect("does nothing");
        block_on(store.save(&record(id, Some("eve"), "as another"))).expect("does nothing");
        block_on(store.save(&record(id, None, "as nobody"))).expect("does nothing");
        assert_eq!(load(&store, id), None);
    }
    assert!(listed(&store, "ada").is_empty());
    assert!(load(&store, 6).is_some() && load(&store, 7).is_some());
    create(&store, &record(8, Some("ada"), "logged in again"));
    assert_eq!(listed(&store, "ada"), [Id(8).to_string()]);
}

#[test]
fn sessions_are_listed_in_pages_with_their_data() {
    let (store, cache) = store();
    for id in 1..=7 {
        create(&store, &record(id, Some("ada"), &id.to_string()));
    }
    // Sessions that are none of the web are passed over.
    let other = Namespace::Session { user: "ada", session: "0 of another kind" };
    cache.set(other, "state", "1", &Default::default()).expect("room");
    let (mut notes, mut token, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = Page::new(3).after(token.as_deref());
        let page = block_on(store.sessions_of("ada", page)).expect("open");
        notes.extend(page.sessions.iter().map(|it| it.data["note"].as_str().unwrap().to_owned()));
        pages += 1;
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    notes.sort();
    assert_eq!((notes.join(""), pages), ("1234567".to_owned(), 3));
}

#[test]
fn what_has_expired_is_absent() {
    let clock = MockClock::new();
    let cache = cache(&clock);
    let store = by_user(Arc::new(cache.clone()));
    let past = SystemTime::now() - HOUR;
    for user in [None, Some("ada")] {
        // By its own date, whatever the storage says.
        let mut record = record(1, user, "late");
        record.expiry_date = past.into();
        block_on(store.create(&mut record)).expect("valid");
        assert_eq!(load(&store, 1), None);
        create(&store, &crate::common::record(1, user, "alive"));
        block_on(store.save(&record)).expect("ends it");
        assert_eq!(load(&store, 1), None);
        // By the storage's clock.
        create(&store, &crate::common::record(2, user, "alive"));
        clock.advance(2 * HOUR);
        assert_eq!(load(&store, 2), None);
        block_on(store.save(&crate::common::record(2, user, "late"))).expect("does nothing");
        assert_eq!(load(&store, 2), None);
    }
    assert!(listed(&store, "ada").is_empty());
    cache.maintain(1000);
    assert_eq!(cache.stats().entries, 0, "no entry is without an end");
}

#[test]
fn a_session_that_is_saved_in_time_never_ends() {
    let clock = MockClock::new();
    let cache = cache(&clock);
    let store = by_user(Arc::new(cache));
    let mut record = record(1, Some("ada"), "sliding");
    create(&store, &record);
    for _ in 0..50 {
        clock.advance(HOUR / 2);
        // An hour from now by the storage's clock: as the date of a save would be.
        record.expiry_date = (SystemTime::now() + HOUR).into();
        block_on(store.save(&record)).expect("present");
        assert!(load(&store, 1).is_some());
    }
    clock.advance(HOUR);
    assert_eq!(load(&store, 1), None);
}

#[test]
fn the_user_of_axum_login_is_found() {
    let (_, cache) = store();
    let store = WebSessions::new(Arc::new(cache.clone()));
    for (id, user_id, user) in
        [(1, json!("ada"), Some("ada")), (2, json!(42), Some("42")), (3, json!(null), None)]
    {
        let mut record = record(id, None, "theirs");
        record.data.insert("axum-login.data".into(), json!({"user_id": user_id, "auth_hash": [1]}));
        create(&store, &record);
        let there = user.map(|user| listed(&store, user));
        assert_eq!(there, user.map(|_| vec![Id(id).to_string()]));
    }
    let nobody = block_on(Storage::sessions(&cache, "null", Page::new(9))).expect("open");
    assert!(nobody.names.is_empty());
    block_on(Storage::delete(&cache, Options::new().with_user("ada"))).expect("open");
    assert_eq!(load(&store, 1), None, "who deletes the user ends the sessions");
}
