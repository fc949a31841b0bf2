//! Many sessions, and clients that do not do their part.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use scopecache::mcp::{EventLimits, Principal};
use scopecache::{MockClock, Namespace, Storage};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Service;

use crate::client::{Client, SESSION_ID, initialize_request};
use crate::common::{
    ADA, BOB, IDLE, Steps, block_on, cache, sessions, soon, status, steps_request, until,
};
use crate::server::Notes;

const MANY: usize = 10_000;

#[test]
fn ten_thousand_idle_sessions_have_few_workers_and_end_on_time() {
    block_on(async {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let storage: Arc<dyn Storage> = Arc::new(cache.clone());
        let sessions = sessions(storage).with_max_local(100);
        let mut service = sessions.service(|| Ok(Notes), StreamableHttpServerConfig::default());
        let request = |user: usize, id: Option<&str>| {
            let mut request = Request::post("/mcp")
                .header("host", "localhost")
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream");
            if let Some(id) = id {
                request = request.header(SESSION_ID, id);
            }
            let message = match id {
                None => initialize_request(),
                Some(_) => crate::client::tool_request("whoami", json!({})),
            };
            let mut request = request.body(Body::from(message.to_string())).expect("a request");
            let user = Principal::new(format!("user-{user}")).expect("an id");
            request.extensions_mut().insert(user);
            request
        };
        let resident = resident_bytes();
        let mut ids = Vec::with_capacity(MANY);
        for user in 0..MANY {
            let answer = service.call(request(user, None)).await.expect("infallible");
            assert_eq!(answer.status(), 200);
            let id = answer.headers()[SESSION_ID].to_str().expect("text");
            ids.push(id.to_owned());
            assert!(sessions.local_sessions() <= 100);
        }
        let grown = resident_bytes().saturating_sub(resident);
        assert!(grown < 96 << 20, "{} KiB for {MANY} sessions", grown >> 10);
        assert!(cache.used_bytes() < 16 << 20, "{} KiB stored", cache.used_bytes() >> 10);
        // All are alive, the oldest as well, which has no worker.
        for user in [0, 1, MANY / 2, MANY - 1] {
            let answer = service.call(request(user, Some(&ids[user]))).await.expect("infallible");
            assert_eq!(answer.status(), 200);
        }
        clock.advance(IDLE);
        for (user, id) in ids.iter().enumerate() {
            let answer = service.call(request(user, Some(id))).await.expect("infallible");
            assert_eq!(answer.status(), 404, "at its time, not later");
        }
        cache.maintain(usize::MAX);
        assert!(cache.users().expect("open").is_empty());
        assert!(sessions.local_sessions() <= 100);
    });
}

/// A worker that was put away is one that nobody was using.
#[test]
fn calls_under_way_are_not_put_away() {
    block_on(async {
        let storage: Arc<dyn Storage> = Arc::new(cache(&MockClock::new()));
        let sessions = sessions(storage).with_max_local(2);
        let steps = Steps::new();
        let server = steps.start(&sessions).await;
        let ada = Client::new(&server.url, ADA);
        let mut streams = Vec::new();
        for _ in 0..5 {
            let id = ada.initialize().await.expect("a session");
            let stream = ada.send(Some(&id), &steps_request(1, 1, 10)).await.expect("an answer");
            streams.push(crate::common::Events::new(stream));
        }
        steps.go_on.add_permits(5);
        for stream in streams {
            let events = stream.rest().await;
            assert!(events.last().is_some_and(|event| event.is_answer()), "{events:?}");
        }
    });
}

/// It calls, and never reads what is answered: it holds up itself, and no more than a bounded amount.
#[test]
fn a_client_that_never_reads_holds_up_itself_alone() {
    block_on(async {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let storage: Arc<dyn Storage> = Arc::new(cache.clone());
        let limits = EventLimits { count: 16, bytes: 1 << 20 };
        let sessions =
            sessions(storage).with_events(Some(limits)).with_watch(Duration::from_millis(50));
        let steps = Steps::new();
        let server = steps.start(&sessions).await;
        let ada = Client::new(&server.url, ADA);
        let id = ada.initialize().await.expect("a session");

        let message = steps_request(2000, 0, 60_000).to_string();
        let host = server.url.trim_start_matches("http://").trim_end_matches("/mcp");
        let mut socket = TcpStream::connect(host).await.expect("it listens");
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {ADA}\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             {SESSION_ID}: {id}\r\ncontent-length: {}\r\n\r\n",
            message.len()
        );
        socket.write_all(head.as_bytes()).await.expect("open");
        socket.write_all(message.as_bytes()).await.expect("open");
        let mut some = [0; 1024];
        assert!(socket.read(&mut some).await.expect("open") > 0, "it is being answered");

        // 120 MB are to be said. Nothing moves any more once the buffers are full.
        let session = Namespace::Session { user: "ada", session: &id };
        let used = || cache.usage(session).expect("open").bytes;
        until(async || used() > 500_000).await;
        assert!(used() < 2 << 20, "{} bytes", used());
        let bob = Client::new(&server.url, BOB);
        let bobs = soon(bob.initialize()).await.expect("a session");
        assert_eq!(soon(status(&bob, &bobs)).await, 200);
        // Its session can be ended, and ends.
        assert_eq!(soon(ada.delete(&id)).await.expect("an answer"), 202);
        assert_eq!(soon(status(&ada, &id)).await, 404);
        drop(socket);
        until(async || used() == 0).await;
    });
}

/// What this process has in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    resident.expect("a number") * 4096
}
