//! The sessions of a server: how long they live, and where they are kept.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::SessionConfig;
use rmcp::transport::streamable_http_server::session::{
    SessionState, SessionStore, SessionStoreError,
};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::call::Call;
use super::caller::{Caller, Principal};
use super::events::EventLimits;
use super::guard::{Guard, GuardService};
use super::local::Locals;
use super::state::STATE_PREFIX;
use crate::error::{Error, ErrorKind, Result};
use crate::item::Removed;
use crate::namespace::MAX_ID_BYTES;
use crate::storage::{Codec, Options, Page, Serde, Storage, StorageItem};

/// Where a session's state is. While it is there, the session is alive.
const SESSION: &str = "mcp:session";

const IDLE: Duration = Duration::from_secs(30 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const WATCH: Duration = Duration::from_secs(5);
const MAX_LOCAL: usize = 4096;

/// The sessions of an MCP server on rmcp 3, in any [`Storage`]: each bound to its user, on every
/// server that shares the storage.
///
/// It is rmcp's `SessionStore` and its `SessionManager`, and makes the [`Guard`] without which neither
/// may be used; [`service`](Self::service) puts the three together. Cheap to clone. Make one for each
/// server, and give the servers one storage.
///
/// | | at first |
/// |---|---|
/// | a session dies unused for | [30 minutes](Self::with_idle) |
/// | and at the latest after | [24 hours](Self::with_max_lifetime) |
/// | events kept for resumption | [64 or 256 KiB a session](Self::with_events) |
/// | a stream of a dead session ends within | [5 seconds](Self::with_watch) |
/// | workers in memory | [4,096, the longest unused go](Self::with_max_local) |
///
/// A full cache that evicts ends sessions before their time: build it with
/// [`OnFull::Reject`](crate::OnFull::Reject) where that must not be.
///
/// # Consistency
///
/// From the moment that a session was deleted (by `DELETE`, by [`end`](Self::end), with its user), no
/// request that comes later is served, on any server. One that is under way goes on, and is answered if
/// that takes no longer than its stream lasts; nothing of it is kept.
///
/// # Errors
///
/// Where the storage fails, the client is answered 503 and keeps its session; see [`Failure`](super::Failure).
///
/// # Examples
///
/// ```
/// use scopecache::{Cache, mcp::Sessions};
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> scopecache::Result<()> {
/// let storage = Arc::new(Cache::builder().build()?);
/// let sessions = Sessions::new(storage).with_idle(Duration::from_secs(600));
/// // let mcp = sessions.service(|| Ok(MyServer::new()), StreamableHttpServerConfig::default());
/// // axum::Router::new().route_service("/mcp", mcp).layer(who_it_is)
/// # let _ = sessions;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    locals: Locals,
}

#[derive(Clone)]
struct Settings {
    storage: Arc<dyn Storage>,
    /// Whether the storage renews what is read by itself, and keeps doing so for what is written over.
    slides: bool,
    idle: Duration,
    max_lifetime: Duration,
    events: Option<EventLimits>,
    watch: Duration,
    max_local: usize,
    worker: SessionConfig,
}

/// A page of the live sessions of a user.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionsPage {
    /// The ids, in no particular order. Whoever has one *and* is the user has the session.
    pub ids: Vec<String>,
    /// Where the next page begins, to be given to [`Page::after`]; `None` after the last.
    pub next: Option<String>,
}

impl Sessions {
    /// Sessions in `storage`, with the settings of the table above.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        let capabilities = storage.capabilities();
        let slides = capabilities.sliding_ttl && capabilities.keep_ttl;
        Self::from(Settings {
            storage,
            slides,
            idle: IDLE,
            max_lifetime: MAX_LIFETIME,
            events: Some(EventLimits::default()),
            watch: WATCH,
            max_local: MAX_LOCAL,
            worker: SessionConfig::default(),
        })
    }

    /// How long a session and a state handle live after their last use.
    #[must_use]
    pub fn with_idle(self, idle: Duration) -> Self {
        self.changed(|settings| settings.idle = idle)
    }

    /// How long they live at most, however much they are used.
    #[must_use]
    pub fn with_max_lifetime(self, max_lifetime: Duration) -> Self {
        self.changed(|settings| settings.max_lifetime = max_lifetime)
    }

    /// How many events a session keeps for `Last-Event-ID`; `None` keeps none in the storage, and a
    /// stream can then be resumed on the server alone that has the session in memory.
    #[must_use]
    pub fn with_events(self, limits: Option<EventLimits>) -> Self {
        self.changed(|settings| settings.events = limits)
    }

    /// How often an open stream looks whether its session is alive. That is a use of the session.
    #[must_use]
    pub fn with_watch(self, every: Duration) -> Self {
        self.changed(|settings| settings.watch = every)
    }

    /// How many sessions have a worker of rmcp in memory. Beyond it those without an open stream that
    /// were longest unused are put away; their next request restores them.
    #[must_use]
    pub fn with_max_local(self, sessions: usize) -> Self {
        self.changed(|settings| settings.max_local = sessions.max(1))
    }

    /// How rmcp runs a session's worker. One that is unused for `keep_alive`, or for as long as a session
    /// lives, is put away.
    #[must_use]
    pub fn with_worker(self, config: SessionConfig) -> Self {
        self.changed(|settings| settings.worker = config)
    }

    /// The whole server but the identity: rmcp's service with these sessions, and the guard around it.
    ///
    /// Whoever is in front of it authenticates, and puts a [`Principal`] into the
    /// extensions of the request.
    pub fn service<H: ServerHandler + Send + 'static>(
        &self,
        handler: impl Fn() -> std::io::Result<H> + Send + Sync + 'static,
        config: StreamableHttpServerConfig,
    ) -> GuardService<StreamableHttpService<H, Self>> {
        let config = self.configure(config);
        let service = StreamableHttpService::new(handler, Arc::new(self.clone()), config);
        tower_layer::Layer::layer(&self.guard(), service)
    }

    /// The configuration of rmcp with these sessions as its store.
    pub fn configure(&self, mut config: StreamableHttpServerConfig) -> StreamableHttpServerConfig {
        config.session_store = Some(Arc::new(self.clone()));
        config
    }

    /// The guard, for a service that was put together by hand.
    pub fn guard(&self) -> Guard {
        Guard::new(self.clone())
    }

    /// What a tool gets of a user where no request says who it is, such as on stdio, which has one user.
    pub fn caller(&self, principal: Principal) -> Caller {
        Caller::new(self, principal.0, None)
    }

    /// Ends a session of the user everywhere; returns how much was removed. That there is none is no error.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::delete`].
    pub async fn end(&self, user: &str, session: &str) -> Result<Removed> {
        let removed = self.storage().delete(Options::new().with_user_session(user, session)).await;
        if removed.is_ok() {
            self.locals().close(session, user);
        }
        removed
    }

    /// Returns a page of the user's live sessions, without renewing them. State handles are none.
    ///
    /// # Consistency
    ///
    /// Weak, as that of [`Storage::sessions`]; what else keeps sessions of that user in the same storage is
    /// listed too.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::sessions`].
    pub async fn sessions_of(&self, user: &str, page: Page<'_>) -> Result<SessionsPage> {
        let listing = self.storage().sessions(user, page).await?;
        let ids = listing.names.into_iter().filter(|id| !id.starts_with(STATE_PREFIX)).collect();
        Ok(SessionsPage { ids, next: listing.next })
    }

    /// How many sessions have a worker in this server's memory now.
    pub fn local_sessions(&self) -> usize {
        self.locals().len()
    }

    /// Whether the user's session is alive, which renews its life.
    pub(super) async fn is_alive(&self, user: &str, id: &str) -> Result<bool> {
        Ok(self.look_up(user, id).await?.is_some())
    }

    /// The stored state of the user's session, whose life is renewed; `None` where it is dead.
    async fn look_up(&self, user: &str, id: &str) -> Result<Option<StorageItem>> {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Ok(None);
        }
        self.renewed(SESSION, Options::new().with_user_session(user, id)).await
    }

    /// What is under a key that was written [`sliding`](Self::sliding), its life renewed.
    pub(super) async fn renewed(
        &self,
        key: &str,
        options: Options<'_>,
    ) -> Result<Option<StorageItem>> {
        let Some(item) = self.storage().get(key, options).await? else { return Ok(None) };
        if self.shared.settings.slides {
            return Ok(Some(item));
        }
        let age = SystemTime::now().duration_since(item.created_at).unwrap_or_default();
        let left = self.max_lifetime().saturating_sub(age);
        let alive = !left.is_zero()
            && self.storage().touch(key, options.with_ttl(self.idle().min(left))).await?;
        Ok(alive.then_some(item))
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.settings.storage
    }

    pub(super) fn locals(&self) -> &Locals {
        &self.shared.locals
    }

    pub(super) fn idle(&self) -> Duration {
        self.shared.settings.idle
    }

    pub(super) fn max_lifetime(&self) -> Duration {
        self.shared.settings.max_lifetime
    }

    pub(super) fn events(&self) -> Option<EventLimits> {
        self.shared.settings.events
    }

    /// Often enough that an open stream never lets its session expire.
    pub(super) fn watch(&self) -> Duration {
        self.shared.settings.watch.min(self.idle() / 4).max(Duration::from_millis(1))
    }

    pub(super) fn worker(&self) -> SessionConfig {
        let mut worker = self.shared.settings.worker.clone();
        worker.keep_alive = Some(worker.keep_alive.map_or(self.idle(), |it| it.min(self.idle())));
        worker
    }

    /// How what belongs to a session or a handle is written: it slides.
    pub(super) fn sliding<'a>(&self, options: Options<'a>) -> Options<'a> {
        let ttl = self.idle().min(self.max_lifetime());
        if self.shared.settings.slides {
            options.with_ttl(ttl).sliding(self.max_lifetime())
        } else {
            options.with_ttl(ttl)
        }
    }

    /// How it is written over. Without a storage that slides, its greatest lifetime begins anew.
    pub(super) fn still_sliding<'a>(&self, options: Options<'a>) -> Options<'a> {
        if self.shared.settings.slides { options.keep_ttl() } else { self.sliding(options) }
    }

    fn changed(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        change(&mut settings);
        Self::from(settings)
    }
}

impl From<Settings> for Sessions {
    fn from(settings: Settings) -> Self {
        let locals = Locals::new(settings.max_local);
        Self { shared: Arc::new(Shared { settings, locals }) }
    }
}

/// What rmcp stores after a client has initialized, and asks for where it does not know a session.
#[async_trait]
impl SessionStore for Sessions {
    async fn load(&self, id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let call = Call::current()?;
        let found = self.look_up(call.user(), id).await;
        let state = found.and_then(|item| {
            let state = item.map(|item| Serde::json().decode(&item.data)).transpose();
            state.map_err(|why| Error::with_source(ErrorKind::Corrupt, why))
        });
        state.map_err(|why| call.failed(why))
    }

    async fn store(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let call = Call::current()?;
        let session = self.sliding(Options::new().with_user_session(call.user(), id));
        let data = Serde::json().encode(state);
        let stored = match data {
            Ok(data) => self.storage().set(SESSION, data, session).await,
            Err(why) => Err(Error::with_source(ErrorKind::Backend, why)),
        };
        stored.map(drop).map_err(|why| call.failed(why))
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        let call = Call::current()?;
        let session = Options::new().with_user_session(call.user(), id);
        self.storage().delete(session).await.map(drop).map_err(|why| call.failed(why))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("idle", &self.idle())
            .field("max_lifetime", &self.max_lifetime())
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids are secrets.
        f.debug_struct("SessionsPage").field("ids", &self.ids.len()).finish_non_exhaustive()
    }
}
