//! What a server on tower-mcp keeps: sessions that belong to their principals, and events of cut streams.
//!
//! # What is stored
//!
//! ```text
//!   Global             tower-mcp:session:<id>               Anonymous { record }, Ended,
//!                                                           or Owned { user, binding } ───┐
//!                      tower-mcp:event:<id>:<slot>          events of a session of nobody │
//!                                                                                         │
//!   Session(user, id)  tower-mcp:session:<binding>          record      ◄─────────────────┘
//!                      tower-mcp:event:<binding>:<slot>     its events
//! ```
//!
//! The traits of tower-mcp name a session by its id alone. So the global entry, its *head*, says where the
//! session is: that of nobody in the head itself, that of a user in a namespace of the user, so that deleting
//! the user deletes it. A *binding* is a random number drawn for one time that a session comes to be a
//! user's. Such a session is **alive** while its head names a binding *and* there is a record under it.
//!
//! # A save that inserts, and yet brings nothing back
//!
//! Sessions come to be a user's, move to another one and are saved by the steps of web sessions (`web_sessions`
//! argues them): the record is put under a new binding first, then the head names it by compare-and-set; a
//! later save writes the record only if one is there. What differs is that `save` has to insert what `create`
//! never saw, where a server that has a session in its memory saves it with each request, also after
//! somebody has deleted it. Two rules tell one from the other:
//!
//! 1. **A head outlives its session** by two minutes (`AFTERLIFE`), whatever ended it. `delete` leaves it as
//!    `Ended`; a deletion of the user does not reach it, and it names what is gone; where the session expires,
//!    the head has the longer TTL. What finds such a head stores nothing.
//! 2. **Where there is no head, only a young record is inserted**: one that says of itself that it was made within
//!    the last minute (`YOUNG`).
//!
//! By cases: a server that saves a session has it from its own `create`, or from a `load` that saw it alive. Either
//! way there was a head at that moment, whose session had not ended; so the head stays for two minutes at
//! least from then on. And `created_at`, as tower-mcp fills it in, is the moment at which *this server* put the
//! session into its memory, by its own clock. So at a save
//!
//! - within two minutes of that moment the head is there and decides (rule 1);
//! - later the record is older than a minute, and nothing is inserted (rule 2).
//!
//! A minute lies between the two, for a server that stops between its `load` and what it makes of it.
//! What a save may insert is thus what nobody has stored: a session whose `create` failed for as long as it is
//! young, and one that a program saves of its own accord. It holds as long as the storage keeps what it was given:
//! a cache that evicts may drop the head of a session that was deleted within its first minute. Who gives up
//! that clause of the contract (`created_only`) needs neither rule: a save writes over what is there, or nothing.
//!
//! No tombstone stays: heads go with their TTL, two minutes after their session would have.
//!
//! # Events
//!
//! The ids of a session's events ascend. An event is written to the slot `id % n`, so the newest are kept, by one
//! write each and without an index. It is looked at where the session is before and after the write: if it has
//! ended or moved meanwhile, the event is deleted again. A replay reads all slots.

mod events;
mod sessions;
mod stored;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tower_mcp::event_store::{self, EventRecord, EventStore, EventStoreError};
use tower_mcp::session_store::{self, SessionRecord, SessionStore, SessionStoreError};

use crate::adapter::words::words;
use crate::error::{Error, ErrorKind};
use crate::storage::Storage;

/// How young a record is that a save may put where nothing is known of its session.
const YOUNG: Duration = Duration::from_secs(60);

/// How much longer than its session a head lives.
const AFTERLIFE: Duration = Duration::from_secs(120);

/// How many events of a session are kept at first.
const EVENTS: NonZero<u64> = NonZero::new(256).unwrap();

type Owner = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The sessions and events of servers on tower-mcp 0.25 in any [`Storage`]: its `SessionStore` and its `EventStore`.
///
/// A session that is bound to a principal lies in the namespace `Session(principal, id)`, with its events.
/// Whoever deletes the user from the storage deletes both, at one moment; and `storage.sessions(user, page)` lists
/// them. Sessions without a principal are in the global namespace. It is cheap to clone: give one clone to
/// `HttpTransport::session_store`, another to `event_store`.
///
/// tower-mcp serves a session that it has in its memory without asking the store. Put the guard of the guide
/// before it where a session that was deleted is to be refused by a server that has it there.
///
/// # Consistency
///
/// A session that was deleted, or whose user was, is never seen again, whatever was under way: a save of it
/// stores nothing, nor does an event of it, and such calls succeed. `save` inserts a session that was never
/// stored, as its contract wants, if its record is at most a minute old; of an older one it cannot be told whether
/// it was deleted, and nothing is stored. Events of a session that was never stored, or has ended more than two minutes
/// ago, are kept in the global namespace. [`created_only`](Self::created_only) does without both.
///
/// An id is free again two minutes after its session has ended; until then `create` draws another. What has expired
/// has ended, also where a server still has it. Of two saves of one session the later one counts, as a whole.
///
/// A full cache that evicts ends sessions before their time, and may forget within the first minute of a session
/// that it was deleted, unless it is to keep `created_only`: build it with
/// [`OnFull::Reject`](crate::OnFull::Reject). On a storage that does not delete a namespace at one moment
/// ([`Capabilities::atomic_namespace_delete`](crate::Capabilities::atomic_namespace_delete)), sessions end one
/// after another.
///
/// # Complexity
///
/// Of an owned session, in calls of the storage: `load` 2, `create` 2, `save` 3, `delete` 3, `append` 5; `replay_after` 2 and
/// a bulk read of all slots.
///
/// # Errors
///
/// `Decode` where what is stored cannot be understood; it stays where it is. `Backend` for all else, with the
/// words of the storage's error and its causes: also a user id or, of a save, a session id of no or too many
/// bytes ([`MAX_ID_BYTES`](crate::MAX_ID_BYTES)). Such an id is that of no session; `create` replaces it.
///
/// # Cancel safety
///
/// Every call can be dropped at any moment. A save or a deletion has happened or not, and creating leaves a session or
/// none.
///
/// # Examples
///
/// ```
/// use scopecache::{Cache, OnFull, TowerMcpStore};
/// use std::sync::Arc;
/// use tower_mcp::transport::http::HttpTransport;
/// use tower_mcp::McpRouter;
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder().on_full(OnFull::Reject).build()?;
/// let store = Arc::new(TowerMcpStore::new(Arc::new(cache)).created_only());
/// let transport = HttpTransport::new(McpRouter::new().server_info("shop", "1.0"))
///     .session_store(store.clone())
///     .event_store(store);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TowerMcpStore {
    storage: Arc<dyn Storage>,
    owner: Arc<Owner>,
    events: NonZero<u64>,
    created_only: bool,
}

impl TowerMcpStore {
    /// A store in `storage`, whose users are the principals; an empty one is nobody.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        let owner = |principal: &str| (!principal.is_empty()).then(|| principal.to_owned());
        Self { storage, owner: Arc::new(owner), events: EVENTS, created_only: false }
    }

    /// Tells whose session it is by its principal: the user id of the [`Storage`], 1 to 256 bytes. `None` keeps it
    /// in the global namespace.
    ///
    /// The principal itself is stored and comes back as it was.
    #[must_use]
    pub fn with_owner(
        mut self,
        owner: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.owner = Arc::new(owner);
        self
    }

    /// Keeps the newest events of each session, so many; at first 256. All servers must say the same.
    #[must_use]
    pub fn with_events(mut self, count: NonZero<u32>) -> Self {
        self.events = count.into();
        self
    }

    /// Keeps what belongs to sessions that [`create`](SessionStore::create) has stored, and nothing else: a save
    /// of any other does nothing, nor does an event.
    ///
    /// It is what a server wants that gives this store to both `session_store` and `event_store`. Nothing that was
    /// deleted comes back then, whatever the storage evicts; and nothing of a deleted user comes to lie in the
    /// global namespace, however long a stream stays open. tower-mcp's contracts ask for the contrary: that `save`
    /// inserts, and that events of unknown sessions are kept. A session whose `create` failed stays with its server.
    #[must_use]
    pub fn created_only(mut self) -> Self {
        self.created_only = true;
        self
    }
}

#[async_trait]
impl SessionStore for TowerMcpStore {
    /// Stores a new session under its id, or under another one where that is taken or none.
    async fn create(&self, record: &mut SessionRecord) -> session_store::Result<()> {
        self.create_as(record).await.map_err(|why| session_error("create the session", &why))
    }

    /// Stores the session; does nothing where it has ended or may have: see [`TowerMcpStore`].
    async fn save(&self, record: &SessionRecord) -> session_store::Result<()> {
        self.save_as(record).await.map_err(|why| session_error("save the session", &why))
    }

    /// Returns the session, or `None` where it has ended or never was.
    async fn load(&self, id: &str) -> session_store::Result<Option<SessionRecord>> {
        self.load_as(id).await.map_err(|why| session_error("load the session", &why))
    }

    /// Ends the session, and whatever else is in its namespace.
    async fn delete(&self, id: &str) -> session_store::Result<()> {
        self.end(id).await.map_err(|why| session_error("delete the session", &why))
    }
}

#[async_trait]
impl EventStore for TowerMcpStore {
    /// Keeps the event for as long as the session lives without being used; does nothing where it has ended.
    ///
    /// An event of a session that was never stored is kept for half an hour, in the global namespace, unless the
    /// store is to keep [`created_only`](TowerMcpStore::created_only).
    async fn append(&self, session_id: &str, event: EventRecord) -> event_store::Result<()> {
        let appended = self.append_as(session_id, &event).await;
        appended.map_err(|why| event_error("append the event", &why))
    }

    /// Returns what is kept of the later events, in ascending order.
    async fn replay_after(
        &self,
        session_id: &str,
        after_id: u64,
    ) -> event_store::Result<Vec<EventRecord>> {
        let replayed = self.replay(session_id, after_id).await;
        replayed.map_err(|why| event_error("replay the events", &why))
    }

    /// Deletes the events of the session, and nothing else.
    async fn purge_session(&self, session_id: &str) -> event_store::Result<()> {
        self.purge(session_id).await.map_err(|why| event_error("purge the events", &why))
    }
}

fn session_error(call: &str, why: &Error) -> SessionStoreError {
    match why.kind() {
        ErrorKind::Corrupt => SessionStoreError::Decode(words(call, why)),
        _ => SessionStoreError::Backend(words(call, why)),
    }
}

fn event_error(call: &str, why: &Error) -> EventStoreError {
    match why.kind() {
        ErrorKind::Corrupt => EventStoreError::Decode(words(call, why)),
        _ => EventStoreError::Backend(words(call, why)),
    }
}

impl fmt::Debug for TowerMcpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerMcpStore").field("events", &self.events).finish_non_exhaustive()
    }
}
