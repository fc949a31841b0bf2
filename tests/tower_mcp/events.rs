//! Events: how many are kept, where, and for how long.

use std::num::NonZero;

use scopecache::{Namespace, Options, Storage};
use tower_mcp::event_store::{EventRecord, EventStore, EventStoreError};
use tower_mcp::session_store::SessionStore;

use crate::common::{
    AFTERLIFE, HOUR, NONE, aged, append, block_on, create, events, owner, sessions_of, store,
};

/// The newest are kept, in order, whatever gaps their ids have; old slots are not mistaken for new ones.
#[test]
fn the_newest_are_kept() {
    block_on(async {
        let (store, cache, _) = store();
        let store = store.with_events(NonZero::new(8).expect("some"));
        create(&store, "s", Some("ada")).await;
        for id in 0..100 {
            append(&store, "s", id).await;
        }
        assert_eq!(events(&store, "s").await, (92..100).collect::<Vec<_>>());
        for id in [103, 104, 130, 131, u64::MAX] {
            append(&store, "s", id).await;
        }
        let kept = events(&store, "s").await;
        assert!(kept.is_sorted() && kept.ends_with(&[130, 131, u64::MAX]), "{kept:?}");
        let session = Namespace::Session { user: "ada", session: "s" };
        assert!(cache.keys(session).expect("open").len() <= 8 + 1);
        let late = store.replay_after("s", 131).await.expect("answers");
        assert_eq!(late.len(), 1);
        store.purge_session("s").await.expect("open");
        assert_eq!(cache.keys(session).expect("open").len(), 1, "the record");
        assert!(owner(&store, "s").await.is_some());
    });
}

/// An event lives as long as its session does without being used, and ends with it.
#[test]
fn they_end_with_their_session() {
    block_on(async {
        let (store, cache, clock) = store();
        for (id, principal) in [("of ada", Some("ada")), ("of nobody", None)] {
            create(&store, id, principal).await;
            append(&store, id, 1).await;
            clock.advance(HOUR / 2);
            store.save(&aged(id, principal, HOUR)).await.expect("room");
            append(&store, id, 2).await;
            clock.advance(HOUR / 2);
            assert_eq!(events(&store, id).await, [2]);
            clock.advance(HOUR / 2);
            assert_eq!(events(&store, id).await, NONE);
            // A new session under this id has none of them.
            clock.advance(AFTERLIFE);
            create(&store, id, principal).await;
            assert_eq!(events(&store, id).await, NONE);
        }
        Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
        append(&store, "of ada", 9).await;
        assert!(sessions_of(&cache, "ada").is_empty(), "nothing of the deleted user");
    });
}

/// A storage that takes no more says so, and the session stays.
#[test]
fn one_that_is_too_large_is_an_error() {
    block_on(async {
        let (store, _, _) = store();
        create(&store, "s", Some("ada")).await;
        let refused = store.append("s", EventRecord::new(1, "x".repeat(9000))).await;
        let Err(EventStoreError::Backend(words)) = refused else { panic!("{refused:?}") };
        assert!(words.starts_with("cannot append the event: "), "{words}");
        append(&store, "s", 2).await;
        assert_eq!(events(&store, "s").await, [2]);
    });
}
