//! Streams that were cut off: what can be asked for again, by whom, and until when.

use std::sync::Arc;

use scopecache::mcp::{EventLimits, Principal, Sessions};
use scopecache::{Cache, MockClock, Namespace, Options, Page, Storage};
use serde_json::{Value, json};

use crate::app::Running;
use crate::client::{Client, initialize_request};
use crate::common::{
    ADA, BOB, Events, IDLE, RENEWED, Steps, block_on, cache, entries_of, listen, sessions,
    steps_request, until,
};

/// Two servers of `steps` with one storage.
struct Pair {
    cache: Cache,
    steps: Steps,
    /// Of the first server.
    sessions: Sessions,
    servers: [Running; 2],
}

impl Pair {
    async fn start(limits: EventLimits) -> Self {
        let cache = cache(&MockClock::new());
        let storage: Arc<dyn Storage> = Arc::new(cache.clone());
        let steps = Steps::new();
        let first = sessions(storage.clone()).with_events(Some(limits));
        let second = sessions(storage).with_events(Some(limits));
        let servers = [steps.start(&first).await, steps.start(&second).await];
        Self { cache, steps, sessions: first, servers }
    }

    fn url(&self, server: usize) -> &str {
        &self.servers[server].url
    }

    /// Begins a session and a call in it, at the first server.
    async fn call(&self, request: &Value) -> (String, Events) {
        let ada = Client::new(self.url(0), ADA);
        let id = ada.initialize().await.expect("a session");
        let stream = ada.send(Some(&id), request).await.expect("an answer");
        (id, Events::new(stream))
    }

    /// Reads the stream up to the first progress; returns the id of that event.
    async fn first_progress(events: &mut Events) -> String {
        loop {
            let event = events.next().await.expect("progress");
            if event.step() == Some(0) {
                return event.id.expect("an id");
            }
        }
    }

    /// What the session has under `mcp:event:`.
    async fn stored(&self, user: &str, id: &str) -> usize {
        let session = Options::new().with_user_session(user, id);
        let keys = Storage::keys(&self.cache, Page::new(10_000), session).await.expect("open");
        keys.names.iter().filter(|key| key.starts_with("mcp:event:")).count()
    }
}

#[test]
fn a_stream_that_was_cut_goes_on_at_another_server() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        let (id, mut stream) = pair.call(&steps_request(3, 2, 10)).await;
        let first = Pair::first_progress(&mut stream).await;
        drop(stream);
        // The call goes on; what it says is told where the client comes back, before and after that.
        let resumed = listen(pair.url(1), RENEWED, &id, Some(&first)).await;
        let mut resumed = Events::new(resumed);
        for step in 1..3 {
            assert_eq!(resumed.next().await.expect("an event").step(), Some(step));
        }
        pair.steps.go_on.add_permits(1);
        let rest = resumed.rest().await;
        let told: Vec<Option<u64>> = rest.iter().map(|event| event.step()).collect();
        assert_eq!(told, [Some(3), Some(4), None]);
        assert!(rest[2].is_answer(), "and then the stream ends: {rest:?}");

        // Again, at the first server, from further on; and after the last there is nothing.
        let from = rest[0].id.as_deref();
        let again = Events::new(listen(pair.url(0), ADA, &id, from).await).rest().await;
        assert_eq!(again, rest[1..]);
        let last = rest[2].id.as_deref();
        let nothing = Events::new(listen(pair.url(0), ADA, &id, last).await).rest().await;
        assert_eq!(nothing, []);
    });
}

#[test]
fn event_ids_are_random_and_of_their_session_alone() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        pair.steps.go_on.add_permits(2);
        let (id, stream) = pair.call(&steps_request(2, 0, 10)).await;
        let events = stream.rest().await;
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_deref().expect("one")).collect();
        let all: std::collections::HashSet<&str> = ids.iter().copied().collect();
        assert_eq!(all.len(), 4, "the priming, two steps, the answer: {events:?}");
        assert!(ids.iter().all(|id| id.len() == 32 && u128::from_str_radix(id, 16).is_ok()));

        let (other, _) = pair.call(&steps_request(0, 0, 0)).await;
        let bob = Client::new(pair.url(0), BOB).initialize().await.expect("a session");
        let (cut, long) = (&ids[0][1..], format!("{}0", ids[0]));
        let longer = "0".repeat(8000);
        for server in 0..2 {
            // Another session of the same user, and of another one.
            for (token, session) in [(ADA, &other), (BOB, &bob)] {
                let stream = listen(pair.url(server), token, session, Some(ids[0])).await;
                assert_eq!(Events::new(stream).rest().await, []);
            }
            let random = "0123456789abcdef0123456789abcdef";
            for forged in [cut, &long, &longer, random, "0", "*", "0/0", "mcp:events"] {
                let stream = listen(pair.url(server), ADA, &id, Some(forged)).await;
                assert_eq!(Events::new(stream).rest().await, [], "{forged}");
            }
            let stream = listen(pair.url(server), BOB, &id, Some(ids[0])).await;
            assert_eq!(stream.status(), 404, "not his session");
        }
    });
}

#[test]
fn what_a_session_keeps_is_bounded_by_number_and_by_bytes() {
    block_on(async {
        let limits = EventLimits { count: 8, bytes: 20_000 };
        let pair = Pair::start(limits).await;
        pair.steps.go_on.add_permits(3);
        let (id, stream) = pair.call(&steps_request(50, 0, 10)).await;
        let events = stream.rest().await;
        assert_eq!(events.len(), 52, "all are sent");
        assert_eq!(pair.stored("ada", &id).await, 8);
        // Asked for an event that is no longer there: nothing rather than a part.
        let gone = events[1].id.as_deref();
        assert_eq!(Events::new(listen(pair.url(1), ADA, &id, gone).await).rest().await, []);
        let kept = events[45].id.as_deref();
        let rest = Events::new(listen(pair.url(1), ADA, &id, kept).await).rest().await;
        assert_eq!(rest, events[46..]);

        let ada = Client::new(pair.url(0), ADA);
        let stream = ada.send(Some(&id), &steps_request(20, 0, 6000)).await.expect("an answer");
        assert_eq!(Events::new(stream).rest().await.len(), 22);
        let session = Namespace::Session { user: "ada", session: &id };
        let bytes = pair.cache.usage(session).expect("open").bytes;
        assert!(bytes < 30_000, "{bytes} bytes, with ids, keys and what an entry costs");
        // One that alone is too much is sent all the same.
        let stream = ada.send(Some(&id), &steps_request(1, 0, 50_000)).await.expect("an answer");
        let events = Events::new(stream).rest().await;
        assert_eq!(events.len(), 3);
        let before = events[0].id.as_deref();
        let rest = Events::new(listen(pair.url(1), ADA, &id, before).await).rest().await;
        assert_eq!(
            rest,
            [],
            "but it cannot be asked for, nor what came after it as if it had not been"
        );
    });
}

#[test]
fn nothing_is_kept_of_a_call_whose_user_was_deleted() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        let (id, mut stream) = pair.call(&steps_request(1, 3, 10)).await;
        let first = Pair::first_progress(&mut stream).await;
        let resumed = Events::new(listen(pair.url(1), ADA, &id, Some(&first)).await);
        Storage::delete(&pair.cache, Options::new().with_user("ada")).await.expect("open");
        assert_eq!(listen(pair.url(1), ADA, &id, Some(&first)).await.status(), 404);
        pair.steps.go_on.add_permits(1);
        assert_eq!(resumed.rest().await, [], "who comes back hears of its end");
        let rest = stream.rest().await;
        assert!(rest.last().is_some_and(|event| event.is_answer()), "who has stayed is answered");
        // The ids that came with it are good for nothing.
        let id = Client::new(pair.url(0), ADA).initialize().await.expect("a session");
        let from = rest[0].id.as_deref();
        assert_eq!(Events::new(listen(pair.url(0), ADA, &id, from).await).rest().await, []);
        assert_eq!(Client::new(pair.url(1), ADA).delete(&id).await.expect("an answer"), 202);
        assert_eq!(entries_of(&pair.cache, "ada"), 0, "the call has left nothing behind");
    });
}

/// Sessions and their events, those of a call without a session, handles and single-use states: all of it is
/// the user's, and nothing is kept in the global namespace.
#[test]
fn nothing_is_left_of_a_deleted_user() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        let fill = async |user: &str, token: &str| {
            pair.steps.go_on.add_permits(1);
            let client = Client::new(pair.url(0), token);
            let id = client.initialize().await.expect("a session");
            let stream = client.send(Some(&id), &steps_request(2, 1, 10)).await.expect("an answer");
            assert!(Events::new(stream).rest().await.len() >= 4);
            assert!(pair.stored(user, &id).await >= 4);
            let caller = pair.sessions.caller(Principal::new(user).expect("a user id"));
            caller.mint(&"a cart").await.expect("room");
            caller.issue(&"a state", IDLE).await.expect("room");
            pair.steps.go_on.add_permits(1);
            Events::new(call_without_session(pair.url(0), token).await).rest().await;
            id
        };
        let bobs = fill("bob", BOB).await;
        let of_others = pair.cache.stats().entries;
        let adas = fill("ada", ADA).await;
        assert!(entries_of(&pair.cache, "ada") >= 12);
        assert_eq!(pair.sessions.local_sessions(), 2);
        let global = || pair.cache.keys(Namespace::Global).expect("open");
        assert!(global().is_empty(), "{:?}", global());

        Storage::delete(&pair.cache, Options::new().with_user("ada")).await.expect("open");
        assert!(global().is_empty());
        assert_eq!(entries_of(&pair.cache, "ada"), 0);
        while pair.cache.maintain(1000).pending {}
        assert_eq!(pair.cache.stats().entries, of_others, "of others, and they have it still");
        // What a server has in memory goes with the next request, or with the time that a session lives.
        assert_eq!(listen(pair.url(0), ADA, &adas, None).await.status(), 404);
        assert_eq!(pair.sessions.local_sessions(), 1);
        assert_eq!(listen(pair.url(0), BOB, &bobs, None).await.status(), 200);
    });
}

#[test]
fn events_go_with_their_session() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        pair.steps.go_on.add_permits(1);
        let (id, stream) = pair.call(&steps_request(5, 0, 10)).await;
        let events = stream.rest().await;
        assert!(pair.stored("ada", &id).await >= 7);
        let ada = Client::new(pair.url(1), ADA);
        assert_eq!(ada.delete(&id).await.expect("an answer"), 202);
        assert_eq!(entries_of(&pair.cache, "ada"), 0);
        let from = events[0].id.as_deref();
        assert_eq!(listen(pair.url(0), ADA, &id, from).await.status(), 404);
    });
}

/// Protocol 2026-07-28: no session, but who asks is known all the same.
#[test]
fn a_call_without_a_session_is_resumed_by_its_user_alone() {
    block_on(async {
        let pair = Pair::start(EventLimits::default()).await;
        let http = reqwest::Client::new();
        let mut stream = Events::new(call_without_session(pair.url(0), ADA).await);
        let first = Pair::first_progress(&mut stream).await;
        drop(stream);
        let resume = async |server: usize, token: &str| {
            let get = http
                .get(pair.url(server))
                .header("authorization", format!("Bearer {token}"))
                .header("accept", "text/event-stream")
                .header("mcp-protocol-version", "2026-07-28")
                .header("last-event-id", &first);
            Events::new(get.send().await.expect("an answer"))
        };
        pair.steps.go_on.add_permits(1);
        until(async || {
            let user = Options::new().with_user("ada");
            let keys = Storage::keys(&pair.cache, Page::new(99), user).await.expect("open");
            keys.names.iter().filter(|key| key.starts_with("mcp:event:")).count() >= 5
        })
        .await;
        assert_eq!(resume(1, BOB).await.rest().await, []);
        let rest = resume(1, RENEWED).await.rest().await;
        assert_eq!(
            rest.iter().map(|event| event.step()).collect::<Vec<_>>(),
            [Some(1), Some(2), None]
        );
        assert!(rest[2].is_answer(), "{rest:?}");
    });
}

/// A call of `steps`, which tells of two steps before its permit and of one after, as protocol 2026-07-28 has it.
async fn call_without_session(url: &str, token: &str) -> reqwest::Response {
    let mut request = steps_request(2, 1, 10);
    request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    request["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] =
        initialize_request()["params"]["clientInfo"].clone();
    request["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let post = reqwest::Client::new()
        .post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "steps")
        .body(request.to_string());
    post.send().await.expect("an answer")
}
