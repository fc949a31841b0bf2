//! What a store answers where something is wrong, and that nothing is lost by it.

use pollster::block_on;
use scopecache::{Namespace, Page};
use tower_sessions_core_0_15::SessionStore;
use tower_sessions_core_0_15::session::Id;
use tower_sessions_core_0_15::session_store::Error;

use crate::common::{create, load, record, store};

#[test]
fn corrupt_bytes_are_an_error_and_stay() {
    for user in [None, Some("ada")] {
        let (store, cache) = store();
        create(&store, &record(1, user, "first"));
        let id = Id(1).to_string();
        let namespace = match user {
            None => Namespace::Global,
            Some(user) => Namespace::Session { user, session: &id },
        };
        let key = cache.keys(namespace).expect("open").remove(0);
        for bytes in [&b""[..], b"\x01", b"\x01{", b"\x7funknown", b"\x01\"neither\"", b"\x01{}x"] {
            cache.set(namespace, &key, bytes, &Default::default()).expect("room");
            let error = block_on(store.load(&Id(1))).expect_err("corrupt");
            let Error::Decode(words) = &error else { panic!("{error:?}") };
            assert!(words.starts_with("cannot load the session: stored data"), "{words}");
            let kept = cache.get(namespace, &key).expect("open").expect("kept");
            assert_eq!(kept.data(), bytes);
        }
        if user.is_none() {
            let saved = block_on(store.save(&record(1, user, "over it")));
            assert!(matches!(saved, Err(Error::Decode(_))), "{saved:?}");
        } else {
            assert!(block_on(store.sessions_of("ada", Page::new(9))).is_err());
        }
        // Whoever wants to be rid of it can be.
        block_on(store.delete(&Id(1))).expect("open");
        assert_eq!(load(&store, 1), None);
    }
}

#[test]
fn a_user_that_cannot_be_one_is_refused() {
    let (store, cache) = store();
    create(&store, &record(1, None, "a cart"));
    for user in [String::new(), "x".repeat(257)] {
        let error = block_on(store.save(&record(1, Some(&user), "refused"))).expect_err("too long");
        let words = error.to_string();
        assert_eq!(words, "cannot save the session: the user id must be 1 to 256 bytes long");
        let mut new = record(2, Some(&user), "refused");
        assert!(block_on(store.create(&mut new)).is_err());
    }
    assert!(load(&store, 1).is_some(), "as it was");
    assert_eq!(cache.stats().entries, 1);
}

#[test]
fn a_storage_that_refuses_is_heard_and_the_session_kept() {
    let (store, cache) = store();
    create(&store, &record(1, None, "a cart"));
    create(&store, &record(2, Some("ada"), "theirs"));
    let long = "x".repeat(5000);
    for (id, user) in [(1, None), (1, Some("ada")), (2, Some("ada")), (2, Some("eve"))] {
        let error = block_on(store.save(&record(id, user, &long))).expect_err("too long");
        assert!(matches!(&error, Error::Backend(words) if words.contains("4000 bytes")), "{error}");
        assert!(load(&store, id).is_some());
    }
    cache.close();
    let error = block_on(store.load(&Id(1))).expect_err("closed");
    assert_eq!(error.to_string(), "cannot load the session: the storage is closed");
    assert!(block_on(store.delete(&Id(1))).is_err());
    assert!(block_on(store.logout_everywhere("ada")).is_err());
}

#[test]
fn nothing_secret_is_shown() {
    let (store, _) = store();
    for id in 1..=2 {
        create(&store, &record(id, Some("ada"), "secret"));
    }
    let page = block_on(store.sessions_of("ada", Page::new(1))).expect("open");
    let swept = block_on(store.sweep(Page::new(1))).expect("open");
    assert!(page.next.is_some() && swept.next.is_some(), "there are more");
    let shown = format!("{page:?} {swept:?} {store:?}");
    assert!(!shown.contains("secret"), "{shown}");
    for id in 1..=2 {
        assert!(!shown.contains(&Id(id).to_string()), "{shown}");
    }
}
