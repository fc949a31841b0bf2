//! What the tests share: two servers with one storage, a tool that waits to be told, and streams read
//! event by event.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
    ProgressNotificationParam, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use scopecache::mcp::Sessions;
use scopecache::{Cache, Maintenance, MockClock, Namespace, OnFull, Storage};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::app::{self, Mode, Running};
use crate::client::{Client, SESSION_ID, initialize_request};

pub(crate) const ADA: &str = "token-of-ada";
pub(crate) const RENEWED: &str = "renewed-token-of-ada";
pub(crate) const BOB: &str = "token-of-bob";

pub(crate) const IDLE: Duration = Duration::from_secs(600);
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(6000);

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("threads").block_on(test)
}

/// What must come, or the test fails.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes within half a minute")
}

/// Asks again and again until it is so.
pub(crate) async fn until(mut so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(crate) fn cache(clock: &MockClock) -> Cache {
    Cache::builder()
        .max_bytes(64 << 20)
        .on_full(OnFull::Reject)
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        .build()
        .expect("these options go together")
}

/// How much there is of a user.
pub(crate) fn entries_of(cache: &Cache, user: &str) -> u64 {
    cache.usage(Namespace::User { user }).expect("open").entries
}

pub(crate) fn sessions(storage: Arc<dyn Storage>) -> Sessions {
    Sessions::new(storage).with_idle(IDLE).with_max_lifetime(MAX_LIFETIME)
}

/// Two servers with the example's tools, and what they share.
pub(crate) struct Pair {
    pub(crate) clock: MockClock,
    pub(crate) cache: Cache,
    pub(crate) sessions: [Sessions; 2],
    pub(crate) servers: [Running; 2],
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let clock = MockClock::new();
        let cache = cache(&clock);
        let storage: Arc<dyn Storage> = Arc::new(cache.clone());
        let sessions = [sessions(storage.clone()), sessions(storage.clone())];
        let first = app::start(&sessions[0], storage.clone(), Mode::Guarded, 0).await;
        let second = app::start(&sessions[1], storage, Mode::Guarded, 0).await;
        let servers = [first.expect("a free port"), second.expect("a free port")];
        Self { clock, cache, sessions, servers }
    }

    /// Somebody at both servers.
    pub(crate) fn at_both(&self, token: &str) -> [Client; 2] {
        self.servers.each_ref().map(|server| Client::new(&server.url, token))
    }
}

/// The status of a harmless call.
pub(crate) async fn status(client: &Client, session: &str) -> u16 {
    client.call(session, "note_list", json!({})).await.expect("an answer").status
}

/// A server whose tool `steps` tells its progress `before` times, waits for a permit, tells it `after`
/// times, and ends. Each message has `bytes` bytes. Any other tool ends at once.
#[derive(Clone)]
pub(crate) struct Steps {
    pub(crate) go_on: Arc<Semaphore>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { go_on: Arc::new(Semaphore::new(0)) }
    }

    /// A server of it.
    pub(crate) async fn start(&self, sessions: &Sessions) -> Running {
        let (handler, config) = (self.clone(), StreamableHttpServerConfig::default());
        let service = sessions.service(move || Ok(handler.clone()), config.clone());
        let router = Router::new().route_service("/mcp", service);
        app::listen(router, config, 0).await.expect("a free port")
    }
}

impl ServerHandler for Steps {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if params.name != "steps" {
            return Ok(CallToolResult::success(Vec::new()).into());
        }
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        let number = |name: &str| arguments[name].as_u64().unwrap_or(0);
        let words = "x".repeat(usize::try_from(number("bytes")).expect("few"));
        let token = context.meta.get_progress_token();
        let tell = async |step: u64| {
            let Some(token) = token.clone() else { return };
            let told = ProgressNotificationParam::new(token, step as f64).with_message(&words);
            // Nobody may be there to hear it.
            let _ = context.peer.notify_progress(told).await;
        };
        for step in 0..number("before") {
            tell(step).await;
        }
        self.go_on.acquire().await.expect("open").forget();
        for step in 0..number("after") {
            tell(number("before") + step).await;
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
    }
}

/// A call of `steps`, in a session, with this progress token.
pub(crate) fn steps_request(before: u64, after: u64, bytes: u64) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {
            "name": "steps",
            "arguments": { "before": before, "after": after, "bytes": bytes },
            "_meta": { "progressToken": "p" },
        },
    })
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) message: Value,
}

impl Event {
    /// Of a progress notification, which step it tells.
    pub(crate) fn step(&self) -> Option<u64> {
        let progress = self.message["params"]["progress"].as_f64()?;
        Some(progress as u64)
    }

    pub(crate) fn is_answer(&self) -> bool {
        self.message["result"]["content"][0]["text"] == "done"
    }
}

/// A stream of events that is open.
pub(crate) struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        Self { response, buffer: String::new() }
    }

    /// The next event, `None` at the end. Comments, which keep the connection alive, are none.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.find("\n\n") {
                let text: String = self.buffer.drain(..end + 2).collect();
                let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                let id = line("id:").map(|id| id.trim().to_owned());
                let data = line("data:").map(str::trim).unwrap_or_default();
                let message = serde_json::from_str(data).unwrap_or_default();
                if id.is_some() || line("data:").is_some() {
                    return Some(Event { id, message });
                }
            }
            let more = soon(self.response.chunk()).await.ok()??;
            self.buffer += std::str::from_utf8(&more).expect("text");
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// What the probes send that a client would not: the status of a POST with these headers.
pub(crate) async fn post_with(url: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = reqwest::Client::new()
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .body(initialize_request().to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer").status().as_u16()
}

/// Opens a stream of the session, from after an event where one is named.
pub(crate) async fn listen(
    url: &str,
    token: &str,
    session: &str,
    last: Option<&str>,
) -> reqwest::Response {
    let mut request = reqwest::Client::new()
        .get(url)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(ACCEPT, "text/event-stream")
        .header(SESSION_ID, session);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.expect("an answer")
}
