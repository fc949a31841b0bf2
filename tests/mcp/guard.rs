//! Whose session it is, and when it ends: on both of two servers.

use std::sync::Arc;

use scopecache::{Options, Page, Storage};
use serde_json::json;

use crate::client::Client;
use crate::common::{
    ADA, BOB, IDLE, MAX_LIFETIME, Pair, RENEWED, block_on, entries_of, listen, post_with, status,
    until,
};
use crate::demo;

/// Both levels of the protocol, with rmcp's own client.
#[test]
fn the_demonstration_ends_as_it_should() {
    block_on(async {
        let storage = crate::app::connect("memory").await.expect("memory");
        demo::run(storage).await.expect("as it should be");
        assert!(crate::app::connect("elsewhere").await.is_err());
    });
}

#[test]
fn another_user_has_no_session() {
    block_on(async {
        let pair = Pair::start().await;
        let [ada, ada_there] = pair.at_both(ADA);
        let id = ada.initialize().await.expect("a session");
        // On the server that has it in memory, and on the one that could restore it.
        for bob in pair.at_both(BOB) {
            assert_eq!(status(&bob, &id).await, 404);
            assert_eq!(bob.delete(&id).await.expect("an answer"), 404);
        }
        for server in &pair.servers {
            assert_eq!(listen(&server.url, BOB, &id, None).await.status(), 404);
            assert_eq!(listen(&server.url, BOB, &id, Some("0")).await.status(), 404);
        }
        assert_eq!(status(&ada, &id).await, 200, "she does not notice");
        assert_eq!(status(&ada_there, &id).await, 200);
        let [renewed, renewed_there] = pair.at_both(RENEWED);
        assert_eq!(status(&renewed, &id).await, 200, "the user counts, not the token");
        assert_eq!(status(&renewed_there, &id).await, 200);
        assert_eq!(pair.sessions.each_ref().map(|it| it.local_sessions()), [1, 1], "not Bob's");
    });
}

#[test]
fn a_deleted_session_is_dead_on_every_server() {
    block_on(async {
        let pair = Pair::start().await;
        let [ada, there] = pair.at_both(ADA);
        let id = ada.initialize().await.expect("a session");
        let other = ada.initialize().await.expect("a session");
        assert_eq!(status(&there, &id).await, 200, "both have it in memory");
        assert_eq!(ada.delete(&id).await.expect("an answer"), 202);
        assert_eq!(status(&there, &id).await, 404);
        assert_eq!(status(&ada, &id).await, 404);
        assert_eq!(ada.delete(&id).await.expect("an answer"), 404, "it is no session any more");
        assert_eq!(status(&there, &other).await, 200, "that one is another");
        let ids = pair.sessions[0].sessions_of("ada", Page::new(9)).await.expect("open").ids;
        assert_eq!(ids, [other.as_str()]);
        let removed = pair.sessions[1].end("ada", &other).await.expect("open");
        assert!(removed.entries > 0);
        assert_eq!(status(&ada, &other).await, 404);
        // Nothing of either is left, in the storage and in memory.
        assert_eq!(entries_of(&pair.cache, "ada"), 0);
        assert_eq!(pair.sessions.each_ref().map(|it| it.local_sessions()), [0, 0]);
    });
}

#[test]
fn a_deleted_user_has_no_sessions() {
    block_on(async {
        let pair = Pair::start().await;
        let [ada, there] = pair.at_both(ADA);
        let [bob, _] = pair.at_both(BOB);
        let bobs = bob.initialize().await.expect("a session");
        let ids = [
            ada.initialize().await.expect("a session"),
            there.initialize().await.expect("a session"),
        ];
        let storage: Arc<dyn Storage> = Arc::new(pair.cache.clone());
        storage.delete(Options::new().with_user("ada")).await.expect("open");
        for id in &ids {
            assert_eq!([status(&ada, id).await, status(&there, id).await], [404, 404]);
        }
        assert_eq!(status(&bob, &bobs).await, 200);
        let anew = ada.initialize().await.expect("a session");
        assert_eq!(status(&there, &anew).await, 200, "she may come back");
    });
}

#[test]
fn an_unused_session_dies_and_a_used_one_later() {
    block_on(async {
        let pair = Pair::start().await;
        let [ada, there] = pair.at_both(ADA);
        let used = ada.initialize().await.expect("a session");
        let unused = ada.initialize().await.expect("a session");
        let begun = pair.clock.now();
        let mut at = [&ada, &there].into_iter().cycle();
        pair.clock.advance(IDLE * 3 / 4);
        while pair.clock.now() - begun < MAX_LIFETIME {
            let client = at.next().expect("endless");
            assert_eq!(status(client, &used).await, 200, "after {:?}", pair.clock.now() - begun);
            pair.clock.advance(IDLE * 3 / 4);
            if pair.clock.now() - begun > IDLE {
                assert_eq!(status(client, &unused).await, 404);
            }
        }
        assert_eq!(status(&ada, &used).await, 404, "however much it is used");
        assert_eq!(status(&there, &used).await, 404);
        pair.clock.advance(IDLE); // the events of the last call
        pair.cache.maintain(usize::MAX);
        assert_eq!(entries_of(&pair.cache, "ada"), 0);
    });
}

#[test]
fn an_open_stream_keeps_its_session_alive_and_ends_with_it() {
    block_on(async {
        let pair = Pair::start().await;
        let watched = pair.sessions[0].clone().with_watch(std::time::Duration::from_millis(5));
        let storage: Arc<dyn Storage> = Arc::new(pair.cache.clone());
        let server = crate::app::start(&watched, storage, crate::app::Mode::Guarded, 0).await;
        let server = server.expect("a free port");
        let ada = Client::new(&server.url, ADA);
        let id = ada.initialize().await.expect("a session");
        let stream = crate::common::Events::new(listen(&server.url, ADA, &id, None).await);
        let namespace = Options::new().with_user_session("ada", &id);
        for _ in 0..4 {
            pair.clock.advance(IDLE / 2);
            let deadline = pair.clock.now() + IDLE / 2;
            // It has looked once the deadline has moved.
            until(async || {
                let item = Storage::get(&pair.cache, "mcp:session", namespace).await;
                let item = item.expect("open").expect("alive");
                let life = item.expires_at.expect("a TTL").duration_since(item.created_at);
                life.expect("later") > deadline
            })
            .await;
        }
        assert_eq!(pair.at_both(ADA)[1].delete(&id).await.expect("an answer"), 202);
        let rest = stream.rest().await;
        assert!(rest.iter().all(|event| event.message.is_null()), "{rest:?}");
        until(async || watched.local_sessions() == 0).await;
    });
}

#[test]
fn what_is_no_session_id_is_refused() {
    block_on(async {
        let pair = Pair::start().await;
        let url = &pair.servers[0].url;
        let bearer = ("authorization", "Bearer token-of-ada");
        let known = pair.at_both(ADA)[0].initialize().await.expect("a session");
        let long = "a".repeat(300);
        let longer = "a".repeat(4000);
        let cut = &known[1..];
        let random = "0123456789abcdef0123456789abcdef";
        let upper = known.to_uppercase();
        for id in ["", " ", "0", "*", "ada:*", "../x", &long, &longer, cut, random, &upper] {
            let answer = post_with(url, &[bearer, ("mcp-session-id", id)]).await;
            assert_eq!(answer, 404, "{id:?}");
        }
        let same = ("mcp-session-id", known.as_str());
        assert_eq!(post_with(url, &[bearer, same, same]).await, 400);
        for headers in [
            &[][..],
            &[same],
            &[("authorization", "Bearer nobody's"), same],
            &[("authorization", "Basic token-of-ada"), same],
        ] {
            assert_eq!(post_with(url, headers).await, 401);
        }
        assert_eq!(status(&pair.at_both(ADA)[1], &known).await, 200);
    });
}

/// The same probes where nobody asks whose session it is: what the guard is for.
#[test]
fn a_store_alone_lets_everybody_in() {
    use crate::app::Mode;
    block_on(async {
        let storage = crate::app::connect("memory").await.expect("memory");
        let mut servers = Vec::new();
        for mode in [Mode::StoreOnly, Mode::StoreOnly, Mode::Plain] {
            let sessions = crate::common::sessions(storage.clone());
            let server = crate::app::start(&sessions, storage.clone(), mode, 0).await;
            servers.push(server.expect("a free port"));
        }
        let [ada, bob] = [ADA, BOB].map(|token| Client::new(&servers[1].url, token));
        let here = Client::new(&servers[0].url, ADA);
        let id = here.initialize().await.expect("a session");
        let nowhere = Client::new(&servers[2].url, ADA);
        assert_eq!(status(&nowhere, &id).await, 404, "without a store it is one server's");
        assert_eq!(status(&bob, &id).await, 200, "hijacked");
        storage.delete(Options::new().with_user("ada")).await.expect("open");
        assert_eq!(status(&ada, &id).await, 200, "its user is gone");
        assert_eq!(here.delete(&id).await.expect("an answer"), 202);
        assert_eq!(status(&ada, &id).await, 200, "a zombie");
        let answer = ada.call(&id, "whoami", json!({})).await.expect("an answer");
        assert_eq!(answer.json()["user"], "ada");
    });
}
