//! A client that shows what the protocol's own clients hide: ids, statuses, and other people's tokens.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

pub(crate) const SESSION_ID: &str = "mcp-session-id";

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Somebody with a token, at a server. Protocol 2025-11-25.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// What a call was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The JSON-RPC message, or null.
    pub(crate) message: Value,
}

impl Client {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned(), token: token.to_owned() }
    }

    /// Begins a session; returns its id.
    pub(crate) async fn initialize(&self) -> Result<String> {
        let response = self.send(None, &initialize_request()).await?;
        let status = response.status();
        let id = response.headers().get(SESSION_ID).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| format!("no session, but {status}"))?.to_owned();
        response.bytes().await?;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let status = self.send(Some(&id), &initialized).await?.status();
        if !status.is_success() {
            return Err(format!("the session was begun, and then answered {status}").into());
        }
        Ok(id)
    }

    /// Calls a tool in a session.
    pub(crate) async fn call(&self, session: &str, tool: &str, arguments: Value) -> Result<Answer> {
        let response = self.send(Some(session), &tool_request(tool, arguments)).await?;
        let status = response.status().as_u16();
        let body = response.text().await?;
        let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
        let message = events.filter_map(|data| serde_json::from_str(data.trim()).ok()).next_back();
        Ok(Answer { status, message: message.unwrap_or_default() })
    }

    /// Ends a session; returns the status.
    pub(crate) async fn delete(&self, session: &str) -> Result<u16> {
        let request = self.http.delete(&self.url).header(SESSION_ID, session);
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        Ok(request.send().await?.status().as_u16())
    }

    pub(crate) async fn send(&self, session: Option<&str>, message: &Value) -> Result<Response> {
        let mut request = self.http.post(&self.url).body(message.to_string());
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header(ACCEPT, "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header(SESSION_ID, session);
        }
        Ok(request.send().await?)
    }
}

impl Answer {
    /// What the tool said, of a call that succeeded.
    pub(crate) fn text(&self) -> &str {
        self.message["result"]["content"][0]["text"].as_str().unwrap_or_default()
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }
}

pub(crate) fn initialize_request() -> Value {
    let client = json!({ "name": "probe", "version": "1" });
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

pub(crate) fn tool_request(tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    // Of requests under way in one session no two may have the same id.
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}
