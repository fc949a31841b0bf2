//! The server around the tools: who it is, where sessions are, and the HTTP.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use scopecache::mcp::{Failure, Principal, Sessions};
use scopecache::{Cache, OnFull, Storage};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::server::Notes;
use crate::unguarded::{Unguarded, with_caller};

/// Tokens of a demonstration and whom they stand for; yours are verified with the keys of your identity
/// provider. Ada has two, as after a renewal: it is the user that counts, not the token.
pub(crate) const TOKENS: [(&str, &str); 3] =
    [("token-of-ada", "ada"), ("renewed-token-of-ada", "ada"), ("token-of-bob", "bob")];

/// How sessions are kept; the probes and the measurement compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it should be.
    Guarded,
    /// rmcp with a session store, and nothing that asks whose session it is.
    StoreOnly,
    /// rmcp by itself: sessions in the memory of one server.
    Plain,
}

/// A server that listens on a port of the loopback.
pub(crate) struct Running {
    pub(crate) url: String,
    config: StreamableHttpServerConfig,
    task: JoinHandle<std::io::Result<()>>,
}

/// Opens the storage that `--storage` names. No other place knows which there are.
pub(crate) async fn connect(storage: &str) -> Result<Arc<dyn Storage>, Box<dyn Error>> {
    match storage {
        // A session that is there must not make room for another: a full store refuses new ones.
        "memory" => {
            let cache: Cache =
                Cache::builder().max_bytes(256 << 20).on_full(OnFull::Reject).build()?;
            Ok(Arc::new(cache))
        }
        url => Ok(scopecache::connect(url).await?),
    }
}

/// Serves the notes on the port, any free one for 0.
pub(crate) async fn start(
    sessions: &Sessions,
    storage: Arc<dyn Storage>,
    mode: Mode,
    port: u16,
) -> std::io::Result<Running> {
    let mut config = StreamableHttpServerConfig::default();
    let router = match mode {
        Mode::Guarded => {
            Router::new().route_service("/mcp", sessions.service(|| Ok(Notes), config.clone()))
        }
        Mode::StoreOnly | Mode::Plain => {
            if mode == Mode::StoreOnly {
                config.session_store = Some(Arc::new(Unguarded(storage)));
            }
            let local = Arc::<LocalSessionManager>::default();
            let service = StreamableHttpService::new(|| Ok(Notes), local, config.clone());
            with_caller(Router::new().route_service("/mcp", service), sessions.clone())
        }
    };
    listen(router, config, port).await
}

/// Serves whatever is at `/mcp` to those who have a token.
pub(crate) async fn listen(
    router: Router,
    config: StreamableHttpServerConfig,
    port: u16,
) -> std::io::Result<Running> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    // Events are small: without this each could wait for the client to acknowledge the last.
    let listener = listener.tap_io(|stream| {
        if let Err(why) = stream.set_nodelay(true) {
            eprintln!("a connection will be slow: {why}");
        }
    });
    let router = router.layer(from_fn(who_it_is));
    let stop = config.cancellation_token.clone();
    let task = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    });
    Ok(Running { url, config, task })
}

impl Running {
    /// Takes no more requests, ends streams, lets what is under way end, and stops. Sessions stay in the
    /// storage.
    pub(crate) async fn stop(self) -> Result<(), Box<dyn Error>> {
        self.config.cancellation_token.cancel();
        Ok(self.task.await??)
    }
}

/// The bearer's user for the guard, and the guard's failures for the log.
async fn who_it_is(mut request: Request, next: Next) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "Unauthorized")
            .into_response();
    };
    request.extensions_mut().insert(user);
    let response = next.run(request).await;
    if let Some(Failure(why)) = response.extensions().get() {
        eprintln!("a session could not be reached: {why}");
    }
    response
}

fn bearer(headers: &HeaderMap) -> Option<Principal> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let (_, user) = TOKENS.iter().find(|(known, _)| *known == token)?;
    Principal::new(*user).ok()
}
