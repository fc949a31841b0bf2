//! State behind handles, and states that are used up.

use std::sync::Arc;
use std::time::Duration;

use scopecache::mcp::{Caller, Principal, Sessions, StateError, StateHandle};
use scopecache::{Cache, MockClock, Options, Page, Storage};

use crate::common::{IDLE, MAX_LIFETIME, block_on, cache, entries_of, sessions};

fn caller(sessions: &Sessions, user: &str) -> Caller {
    sessions.caller(Principal::new(user).expect("a user id"))
}

fn storage() -> (MockClock, Cache, Sessions) {
    let clock = MockClock::new();
    let cache = cache(&clock);
    (clock.clone(), cache.clone(), sessions(Arc::new(cache)))
}

fn is_gone<T>(answer: Result<T, StateError>) -> bool {
    matches!(answer, Err(StateError::Gone))
}

#[test]
fn a_handle_is_its_users_alone() {
    block_on(async {
        let (_, cache, sessions) = storage();
        let [ada, bob] = ["ada", "bob"].map(|user| caller(&sessions, user));
        let state = ada.mint(&1).await.expect("room");
        assert_eq!(state.ttl(), IDLE);
        let bobs = bob.open(state.handle());
        assert!(is_gone(bobs.read::<u32>().await));
        assert!(is_gone(bobs.write(&2).await) && is_gone(bobs.update(|n: u32| n).await));
        assert!(!bobs.destroy().await.expect("open"));
        assert_eq!(state.read::<u32>().await.expect("Ada's"), 1);
        assert_eq!(entries_of(&cache, "bob"), 0, "and his attempts left nothing");
        assert!(bob.handles(Page::new(9)).await.expect("open").handles.is_empty());
        let listed = ada.handles(Page::new(9)).await.expect("open").handles;
        assert!(listed == [state.handle()]);
        // No session of the protocol, and none is a handle.
        assert!(sessions.sessions_of("ada", Page::new(9)).await.expect("open").ids.is_empty());
    });
}

#[test]
fn what_is_no_handle_does_not_parse() {
    for text in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32), &"A".repeat(32)] {
        assert!(text.parse::<StateHandle>().is_err(), "{text}");
        assert!(serde_json::from_value::<StateHandle>(text.into()).is_err());
    }
    assert!("x".repeat(100_000).parse::<StateHandle>().is_err());
    let handle: StateHandle = "00112233445566778899aabbccddeeff".parse().expect("a handle");
    let json = serde_json::to_value(handle).expect("a text");
    assert!(json == "00112233445566778899aabbccddeeff");
    assert!(serde_json::from_value::<StateHandle>(json).expect("the same") == handle);
    assert!(!format!("{handle:?}").contains("0011"), "it is a secret");
}

#[test]
fn a_handle_dies_unused_and_at_the_latest_after_its_lifetime() {
    block_on(async {
        let (clock, cache, sessions) = storage();
        let ada = caller(&sessions, "ada");
        let (read, written) =
            (ada.mint(&0).await.expect("room"), ada.mint(&0).await.expect("room"));
        let unused = ada.mint(&0).await.expect("room");
        let mut passed = Duration::ZERO;
        while passed + IDLE * 3 / 4 < MAX_LIFETIME {
            clock.advance(IDLE * 3 / 4);
            passed += IDLE * 3 / 4;
            read.read::<u32>().await.expect("used");
            written.update(|number: u32| number + 1).await.expect("used");
        }
        assert!(is_gone(unused.read::<u32>().await));
        assert!(is_gone(unused.write(&1).await), "no write brings it back");
        clock.advance(MAX_LIFETIME - passed);
        assert!(is_gone(read.read::<u32>().await), "however much it is used");
        assert!(is_gone(written.read::<u32>().await));
        cache.maintain(usize::MAX);
        assert_eq!(entries_of(&cache, "ada"), 0);
    });
}

#[test]
fn no_update_is_lost_on_two_servers() {
    block_on(async {
        let (_, _, first) = storage();
        let second = sessions(caller(&first, "ada").storage().clone());
        let handle = caller(&first, "ada").mint(&0_u32).await.expect("room").handle();
        let tasks = (0..8).map(|number| {
            let sessions = if number % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move {
                let state = caller(&sessions, "ada").open(handle);
                for _ in 0..50 {
                    state.update(|number: u32| number + 1).await.expect("alive");
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no panic");
        }
        let state = caller(&second, "ada").open(handle);
        assert_eq!(state.read::<u32>().await.expect("alive"), 400);
    });
}

#[test]
fn what_was_destroyed_stays_so() {
    block_on(async {
        let (_, cache, sessions) = storage();
        let ada = caller(&sessions, "ada");
        let state = ada.mint(&vec!["a"]).await.expect("room");
        let beside = state.options().with_ttl(IDLE);
        ada.storage().set("attachment", "b".into(), beside).await.expect("room");
        assert!(state.destroy().await.expect("open"));
        assert!(!state.destroy().await.expect("open"), "it was gone");
        assert!(is_gone(state.read::<Vec<String>>().await) && is_gone(state.write(&1).await));
        assert_eq!(entries_of(&cache, "ada"), 0, "what was beside it too");
        // With the user.
        let state = ada.mint(&1).await.expect("room");
        let token = ada.issue(&2, IDLE).await.expect("room");
        cache.delete_namespace(scopecache::Namespace::User { user: "ada" }).expect("open");
        assert!(is_gone(state.read::<u32>().await) && is_gone(state.write(&1).await));
        assert!(is_gone(ada.redeem::<u32>(&token).await));
    });
}

#[test]
fn a_token_is_redeemed_once_by_its_user_in_time() {
    block_on(async {
        let (clock, _, sessions) = storage();
        let [ada, bob] = ["ada", "bob"].map(|user| caller(&sessions, user));
        let token = ada.issue(&"step two", IDLE).await.expect("room");
        assert!(is_gone(bob.redeem::<String>(&token).await));
        let tasks = (0..16).map(|_| {
            let (ada, token) = (ada.clone(), token.clone());
            tokio::spawn(async move { ada.redeem::<String>(&token).await })
        });
        let mut redeemed = 0;
        for task in tasks.collect::<Vec<_>>() {
            match task.await.expect("no panic") {
                Ok(state) => {
                    assert_eq!(state, "step two");
                    redeemed += 1;
                }
                Err(why) => assert!(matches!(why, StateError::Gone), "{why}"),
            }
        }
        assert_eq!(redeemed, 1);
        let late = ada.issue(&1, IDLE).await.expect("room");
        clock.advance(IDLE);
        assert!(is_gone(ada.redeem::<u32>(&late).await));
        for token in ["", "x", &"0".repeat(32), &"0".repeat(100_000)] {
            assert!(is_gone(ada.redeem::<u32>(token).await));
        }
    });
}

#[test]
fn errors_tell_a_client_what_to_do_and_nothing_else() {
    let gone = rmcp::ErrorData::from(StateError::Gone);
    assert!(gone.message.contains("begin a new one"), "{}", gone.message);
    let why = scopecache::Error::with_source(scopecache::ErrorKind::Unavailable, "10.0.0.1");
    let failed = rmcp::ErrorData::from(StateError::from(why));
    assert!(failed.message.contains("try again"), "{}", failed.message);
    assert!(!format!("{failed:?}").contains("10.0.0.1"));
}

#[test]
fn a_principal_is_a_user_id() {
    assert!(Principal::new("").is_err() && Principal::new("x".repeat(257)).is_err());
    assert_eq!(Principal::new("auth0|ada").expect("an id").subject(), "auth0|ada");
    // Any storage will do that has what it takes.
    let storage: Arc<dyn Storage> = Arc::new(cache(&MockClock::new()));
    let sessions = Sessions::new(storage);
    let ada = caller(&sessions, "ada");
    assert_eq!(ada.user_options(), Options::new().with_user("ada"));
    assert!(ada.session().is_none() && ada.session_options().is_none());
}
