//! The probes of `scripts/mcp-clients` with rmcp's client: what each is answered, one on a line.
//!
//! rmcp's client is behind a relay of its own, which presents other tokens and sessions than the client
//! knows of: a thief's client is as well-behaved as any.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::client::{Client, SESSION_ID};
use crate::sdk::{Level, Sdk};

type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const ADA: &str = "token-of-ada";
const RENEWED: &str = "renewed-token-of-ada";
const BOB: &str = "token-of-bob";
const MAX_BODY_BYTES: usize = 1 << 20;

/// Somebody at a server.
struct Somebody {
    sdk: Sdk,
    relay: Relay,
}

#[derive(Clone)]
struct Relay {
    http: reqwest::Client,
    url: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// The session that the client was given.
    id: Option<HeaderValue>,
    /// The one that is presented in its place.
    presents: Option<HeaderValue>,
    /// Of the last POST.
    status: u16,
}

pub(crate) async fn run(first: &str, second: &str, idle: Duration) -> Done {
    let there = Somebody::at(second, ADA, Level::Handles).await?;
    let ada = Somebody::at(first, ADA, Level::Handles).await?;
    let bob = Somebody::at(second, BOB, Level::Handles).await?;
    let cart: Value = serde_json::from_str(&ada.sdk.call("cart_new", json!({})).await?.0)?;
    let put = json!({ "handle": cart["handle"], "thing": "an engine" });
    told("handle-moved", served(there.sdk.call("cart_put", put).await?.1));
    let show = json!({ "handle": cart["handle"] });
    told("handle-hijacked", served(bob.sdk.call("cart_show", show).await?.1));

    let ada = Somebody::at(first, ADA, Level::Sessions).await?;
    told("own", ada.call().await);
    let there = Somebody::at(second, RENEWED, Level::Sessions).await?;
    there.presents(&ada.relay);
    told("moved", there.call().await);

    let bob = Somebody::at(second, BOB, Level::Sessions).await?;
    bob.presents(&ada.relay);
    told("hijacked", bob.call().await);

    let id = ada.id()?;
    Client::new(first, ADA).delete(id.to_str()?).await?;
    told("zombie", there.call().await);

    let phone = Somebody::at(first, ADA, Level::Sessions).await?;
    let laptop = Somebody::at(second, ADA, Level::Sessions).await?;
    let asked: Value = serde_json::from_str(&laptop.sdk.call("forget_me", json!({})).await?.0)?;
    laptop.sdk.call("forget_me_confirm", json!({ "token": asked["token"] })).await?;
    there.presents(&phone.relay);
    told("forgotten", there.call().await);

    let left = Somebody::at(first, ADA, Level::Sessions).await?;
    left.call().await;
    // It goes without a word, as one whose battery is empty.
    let gone = left.relay;
    left.sdk.close().await?;
    tokio::time::sleep(idle + Duration::from_secs(1)).await;
    // Not before: the stream that it listens on would keep the session alive.
    let back = Somebody::at(second, ADA, Level::Sessions).await?;
    back.presents(&gone);
    told("idle", back.call().await);
    Ok(())
}

impl Somebody {
    async fn at(url: &str, token: &'static str, level: Level) -> Done<Self> {
        let relay = Relay { http: reqwest::Client::new(), url: url.into(), seen: Arc::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = format!("http://{}/mcp", listener.local_addr()?);
        let router = Router::new().fallback(relayed).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { sdk: Sdk::connect(&here, token, level).await?, relay })
    }

    /// The HTTP status of a tool call.
    async fn call(&self) -> u16 {
        self.relay.seen().status = 0;
        // What the client makes of a refusal is not what is asked here.
        let _ = self.sdk.call("whoami", json!({})).await;
        self.relay.seen().status
    }

    fn id(&self) -> Done<HeaderValue> {
        self.relay.seen().id.clone().ok_or_else(|| "no session".into())
    }

    fn presents(&self, other: &Relay) {
        let id = other.seen().id.clone();
        self.relay.seen().presents = id;
    }
}

impl Relay {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_on(&self, request: Request) -> Done<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::DELETE {
            // It is for the probes to say when a session ends.
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            return Ok(response);
        }
        parts.headers.remove(header::HOST);
        let is_post = parts.method == Method::POST;
        // Not of the stream that the client listens on: it opens that when it likes.
        if is_post
            && parts.headers.contains_key(SESSION_ID)
            && let Some(other) = self.seen().presents.clone()
        {
            parts.headers.insert(SESSION_ID, other);
        }
        let body = to_bytes(body, MAX_BODY_BYTES).await?;
        let request = self.http.request(parts.method, &*self.url).headers(parts.headers).body(body);
        let answer = request.send().await?;
        let mut seen = self.seen();
        if is_post {
            seen.status = answer.status().as_u16();
        }
        if let Some(id) = answer.headers().get(SESSION_ID) {
            seen.id.get_or_insert(id.clone());
        }
        drop(seen);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(response.map(|_| Body::from_stream(answer.bytes_stream())))
    }
}

async fn relayed(State(relay): State<Relay>, request: Request) -> Response<Body> {
    relay.pass_on(request).await.unwrap_or_else(|why| {
        let mut response = Response::new(Body::from(why.to_string()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

fn told(probe: &str, answer: impl std::fmt::Display) {
    println!("{probe} {answer}");
}

fn served(is_error: bool) -> &'static str {
    if is_error { "refused" } else { "served" }
}
