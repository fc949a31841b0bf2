//! Two of tower-mcp's servers with one storage: a session that goes from one to the other, and ends on both.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use scopecache::{Cache, MockClock, Options, Storage, TowerMcpStore};
use tower::ServiceExt;
use tower_mcp::session_store::SessionStore;
use tower_mcp::{HttpTransport, McpRouter};

use crate::common::{block_on, cache, sessions_of};

const SESSION: &str = "mcp-session-id";

/// Who somebody was found to be.
#[derive(Clone)]
struct Identity(String);

async fn identify(mut request: Request<Body>, next: Next) -> Response {
    let name = request.headers().get("x-identity").and_then(|name| name.to_str().ok());
    if let Some(identity) = name.map(|name| Identity(name.to_owned())) {
        request.extensions_mut().insert(identity);
    }
    next.run(request).await
}

/// The guard of the guide: what the store does not have is not there, whatever the server has in its memory.
async fn known_sessions(
    State(store): State<TowerMcpStore>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if let Some(id) = request.headers().get(SESSION) {
        match store.load(id.to_str().unwrap_or_default()).await {
            Ok(Some(_)) => {}
            Ok(None) => return StatusCode::NOT_FOUND.into_response(),
            Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
    next.run(request).await
}

fn server(store: &TowerMcpStore, guarded: bool) -> Router {
    let transport = HttpTransport::new(McpRouter::new().server_info("shop", "1.0"))
        .disable_origin_validation()
        .bridge_extension::<Identity>()
        .session_principal_from_extension::<Identity>(|identity| identity.0.clone())
        .session_store(Arc::new(store.clone()))
        .event_store(Arc::new(store.clone()));
    let mut router = transport.into_router();
    if guarded {
        router = router.layer(from_fn_with_state(store.clone(), known_sessions));
    }
    router.layer(from_fn(identify))
}

async fn ask(server: &Router, name: &str, session: Option<&str>, body: &str) -> Response {
    let mut request = Request::post("/")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("x-identity", name);
    if let Some(session) = session {
        request = request.header(SESSION, session);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    server.clone().oneshot(request).await.expect("an answer")
}

async fn open(server: &Router, name: &str) -> String {
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"a test","version":"1.0"}}}"#;
    let answer = ask(server, name, None, initialize).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let id = answer.headers().get(SESSION).expect("a session").to_str().expect("text").to_owned();
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert!(ask(server, name, Some(&id), initialized).await.status().is_success());
    id
}

async fn list(server: &Router, name: &str, session: &str) -> StatusCode {
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    ask(server, name, Some(session), list).await.status()
}

async fn delete(server: &Router, name: &str, session: &str) {
    let request = Request::delete("/").header(SESSION, session).header("x-identity", name);
    let request = request.body(Body::empty()).expect("a request");
    assert!(server.clone().oneshot(request).await.expect("an answer").status().is_success());
}

fn setting() -> (TowerMcpStore, Cache) {
    let cache = cache(&MockClock::new());
    (TowerMcpStore::new(Arc::new(cache.clone())).created_only(), cache)
}

#[test]
fn a_session_goes_to_another_server_and_to_nobody_else() {
    block_on(async {
        let (store, cache) = setting();
        let (here, there) = (server(&store, false), server(&store, false));
        let session = open(&here, "ada").await;
        assert_eq!(sessions_of(&cache, "ada"), std::slice::from_ref(&session));
        let stored = store.load(&session).await.expect("answers").expect("alive");
        assert_eq!(stored.client_info.expect("told by initialize").name, "a test");
        for server in [&there, &here, &there] {
            assert_eq!(list(server, "ada", &session).await, StatusCode::OK);
            assert_eq!(list(server, "eve", &session).await, StatusCode::NOT_FOUND);
        }
    });
}

/// What was deleted stays so in the storage, though the servers that have it in their memory save it on.
#[test]
fn a_session_that_ended_is_restored_by_no_server() {
    block_on(async {
        for by_user in [true, false] {
            let (store, cache) = setting();
            let (here, there) = (server(&store, false), server(&store, false));
            let session = open(&here, "ada").await;
            assert_eq!(list(&there, "ada", &session).await, StatusCode::OK);
            if by_user {
                Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
            } else {
                delete(&here, "ada", &session).await;
                assert_eq!(list(&here, "ada", &session).await, StatusCode::NOT_FOUND);
            }
            for _ in 0..3 {
                // By its own memory, as tower-mcp documents; it saves the session each time.
                assert_eq!(list(&there, "ada", &session).await, StatusCode::OK);
                assert!(store.load(&session).await.expect("answers").is_none());
                assert!(sessions_of(&cache, "ada").is_empty());
                let third = server(&store, false);
                assert_eq!(list(&third, "ada", &session).await, StatusCode::NOT_FOUND);
            }
        }
    });
}

#[test]
fn with_the_guard_it_ends_on_all_servers() {
    block_on(async {
        for by_user in [true, false] {
            let (store, cache) = setting();
            let (here, there) = (server(&store, true), server(&store, true));
            let (session, other) = (open(&here, "ada").await, open(&here, "eve").await);
            assert_eq!(list(&there, "ada", &session).await, StatusCode::OK);
            if by_user {
                Storage::delete(&cache, Options::new().with_user("ada")).await.expect("open");
            } else {
                delete(&here, "ada", &session).await;
            }
            for server in [&here, &there] {
                assert_eq!(list(server, "ada", &session).await, StatusCode::NOT_FOUND);
                assert_eq!(list(server, "eve", &other).await, StatusCode::OK);
            }
            // She may come again.
            let again = open(&there, "ada").await;
            assert_eq!(list(&here, "ada", &again).await, StatusCode::OK);
            Storage::close(&cache).await.expect("closes");
            assert_eq!(list(&here, "ada", &again).await, StatusCode::SERVICE_UNAVAILABLE);
        }
    });
}
