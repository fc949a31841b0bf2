//! The sessions that have a worker of rmcp in this server's memory: a bounded number.
//!
//! A worker can go at any time that it does nothing: the next request of its session restores it from
//! the storage. So the table keeps no more of them than it is told to, and puts those away that were
//! longest unused and have no stream open nor a request under way, a sixteenth at once, so that looking for
//! them costs little.
//!
//! Each session has an rmcp `LocalSessionManager` to itself, since that is where rmcp takes an event
//! store from: the events of a session then go to the store of that session.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::{
    EventStream, ServerSseMessage, SessionId, SessionManager,
};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is put away at once, where there are too many: one in so many.
const SHARE: usize = 16;

pub(super) struct Locals {
    table: Mutex<HashMap<SessionId, Arc<Local>>>,
    most: usize,
    uses: AtomicU64,
}

/// A session in memory.
pub(super) struct Local {
    user: Arc<str>,
    origin: Origin,
    /// Whether the handshake is over. Before that any other message would end the worker.
    ready: AtomicBool,
    pub(super) rmcp: LocalSessionManager,
    /// The number of its last use, of all uses of all sessions.
    used: AtomicU64,
    /// Held once by each open stream, and once here.
    streams: Arc<()>,
}

/// Where a worker comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client initializes a session; it cannot use it before that is answered.
    Client,
    /// A request of a session that has no worker here: rmcp repeats the handshake, while others may come.
    Storage,
}

/// A stream that says, by being there, that the session is in use.
struct Open {
    stream: EventStream,
    _held: Arc<()>,
}

impl Locals {
    pub(super) fn new(most: usize) -> Self {
        Self { table: Mutex::new(HashMap::new()), most, uses: AtomicU64::new(0) }
    }

    /// Puts the session in, and others away where there are too many; returns it.
    pub(super) fn insert(
        &self,
        id: SessionId,
        user: Arc<str>,
        origin: Origin,
        rmcp: LocalSessionManager,
    ) -> Arc<Local> {
        let (ready, used) = (AtomicBool::new(false), AtomicU64::new(self.next_use()));
        let local = Arc::new(Local { user, origin, ready, rmcp, used, streams: Arc::new(()) });
        let mut table = self.table.lock();
        table.insert(id, local.clone());
        let away = if table.len() > self.most { longest_unused(&mut table) } else { Vec::new() };
        drop(table);
        for (id, local) in away {
            put_away(id, local);
        }
        local
    }

    /// The session, which is a use of it.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Local>> {
        let local = self.table.lock().get(id).cloned()?;
        // Relaxed: it only orders uses, roughly.
        local.used.store(self.next_use(), Ordering::Relaxed);
        Some(local)
    }

    /// Puts the session of that user away, if it is here. Not another's, whoever names it.
    pub(super) fn close(&self, id: &str, user: &str) {
        self.close_if(id, |local| &*local.user == user);
    }

    /// Puts the session away, if it is here.
    pub(super) fn close_any(&self, id: &str) {
        self.close_if(id, |_| true);
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }

    fn close_if(&self, id: &str, condition: impl FnOnce(&Local) -> bool) {
        let mut table = self.table.lock();
        let Some((key, local)) = table.get_key_value(id) else { return };
        if !condition(local) {
            return;
        }
        let key = key.clone();
        let removed = table.remove(&key);
        drop(table);
        if let Some(local) = removed {
            put_away(key, local);
        }
    }

    fn next_use(&self) -> u64 {
        // Relaxed: see `get`.
        self.uses.fetch_add(1, Ordering::Relaxed)
    }
}

impl Local {
    /// Whether other messages than those of the handshake may come.
    pub(super) fn is_ready(&self) -> bool {
        // Acquire: pairs with `initialized` and `told`; the worker has the handshake before what comes next.
        self.ready.load(Ordering::Acquire)
    }

    /// Its `initialize` was answered.
    pub(super) fn initialized(&self) {
        if self.origin == Origin::Client {
            // Release: see `is_ready`.
            self.ready.store(true, Ordering::Release);
        }
    }

    /// It was told something that asks for no answer: the end of the handshake at the latest.
    pub(super) fn told(&self) {
        // Release: see `is_ready`.
        self.ready.store(true, Ordering::Release);
    }

    /// The same stream; while it is there, the session is in use.
    pub(super) fn open(
        &self,
        stream: impl Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    ) -> EventStream {
        Box::pin(Open { stream: Box::pin(stream), _held: self.streams.clone() })
    }
}

impl Stream for Open {
    type Item = ServerSseMessage;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().stream.as_mut().poll_next(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

/// Takes out a share of those that nobody uses now.
fn longest_unused(table: &mut HashMap<SessionId, Arc<Local>>) -> Vec<(SessionId, Arc<Local>)> {
    let mut unused: Vec<(u64, SessionId)> = table
        .iter()
        .filter(|(_, local)| {
            Arc::strong_count(local) == 1 && Arc::strong_count(&local.streams) == 1
        })
        // Relaxed: see `Locals::get`.
        .map(|(id, local)| (local.used.load(Ordering::Relaxed), id.clone()))
        .collect();
    unused.sort_unstable();
    unused.truncate((table.len() / SHARE).max(1));
    unused.into_iter().filter_map(|(_, id)| table.remove_entry(&id)).collect()
}

/// Tells the worker to end, without waiting: one whose client reads nothing may be stuck for long.
fn put_away(id: SessionId, local: Arc<Local>) {
    tokio::spawn(async move {
        // It has ended by itself, where this fails.
        let _ = local.rmcp.close_session(&id).await;
    });
}
