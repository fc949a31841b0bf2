//! rmcp's `EventStore`: what a client can ask for again with `Last-Event-ID`, on any server.
//!
//! An event is put under its id first, then into the index, by compare-and-set: so what is in the
//! index is there, and order is that of the index. What is pushed out of it is deleted.
//!
//! Nothing is brought back to life. The index goes with the session, and a new one is only begun where
//! the session is alive afterwards; else all is deleted again. Who still has the stream of a call open gets
//! the rest of it, until the guard's watch ends it; nobody else can ask for it.
//!
//! An id is 128 random bits. It is looked for in the index of the session that asks, and nowhere else:
//! that of another session is as unknown as one that was made up.
//!
//! A storage that fails does not keep an answer from its client: the event is sent under an id that nobody
//! finds again, and the next one that is stored says that something is missing, so that no replay passes
//! over it.
//!
//! A replay goes on as long as the stream does: a task hands over what is there and then what comes,
//! from this server at once, from others by looking each second, until the request is answered, the
//! session is dead, or the client has gone.

mod index;

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::streamable_http_server::session::{
    EventId, EventStore, EventStoreError, EventStream, ServerSseMessage, SessionId,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use self::index::{After, Entry, Index, Stream as StreamName};
use super::sessions::Sessions;
use super::token::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::item::Version;
use crate::options::Condition;
use crate::storage::Options;
use crate::sync::Mutex;

const INDEX: &str = "mcp:events";

/// How often an append begins anew before it gives up. Each time another has succeeded.
const ATTEMPTS: u32 = 256;

/// How often a replay looks for what other servers have appended.
const LOOK: Duration = Duration::from_secs(1);

/// How many events of a replay wait for the client to read them.
const AHEAD: usize = 4;

/// How many events a session keeps to be asked for again. The oldest go first.
///
/// An event that weighs more than all may together is sent, but cannot be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// How many at most.
    pub count: usize,
    /// What they may weigh together, as they are stored.
    pub bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { count: 64, bytes: 256 << 10 }
    }
}

/// Whose events they are.
pub(super) enum Owner {
    Session {
        user: Arc<str>,
        id: SessionId,
    },
    /// Of calls without a session.
    User {
        user: Arc<str>,
    },
}

/// The events of one owner, as one server appends and replays them.
pub(super) struct Events {
    sessions: Sessions,
    owner: Owner,
    limits: EventLimits,
    /// Something was appended here.
    appended: Notify,
    /// The streams of which an event was sent and not stored, since the last that was.
    lost: Mutex<Vec<StreamName>>,
    this: Weak<Self>,
}

/// Why an event was not stored or not found.
#[derive(Debug)]
enum EventError {
    /// The session has ended.
    Ended,
    /// No such event; who asks learns no more.
    Unknown,
    Storage(Error),
}

/// What is stored of an event.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    message: Option<Cow<'a, ServerJsonRpcMessage>>,
    retry_ms: Option<u64>,
}

impl Events {
    pub(super) fn new(sessions: Sessions, owner: Owner, limits: EventLimits) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            sessions,
            owner,
            limits,
            appended: Notify::new(),
            lost: Mutex::new(Vec::new()),
            this: this.clone(),
        })
    }

    /// Stores the event under this id.
    async fn append(
        &self,
        id: Token,
        stream: StreamName,
        event: &ServerSseMessage,
    ) -> Result<(), EventError> {
        let data = encode(event)?;
        let bytes = u32::try_from(data.len()).ok().filter(|_| data.len() <= self.limits.bytes);
        if bytes.is_some() {
            let options = self.namespace().with_ttl(self.sessions.idle());
            self.sessions.storage().set(&event_key(id), data, options).await?;
        }
        let entry = Entry {
            id,
            bytes: bytes.unwrap_or(0),
            last: matches!(
                event.message.as_deref(),
                Some(ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))
            ),
            stream,
        };
        for gone in self.add(entry).await? {
            if gone.bytes > 0 {
                let key = event_key(gone.id);
                self.sessions.storage().delete(self.namespace().with_key(&key)).await?;
            }
        }
        self.appended.notify_waiters();
        Ok(())
    }

    /// Puts the entry into the index; returns what had to go for it.
    async fn add(&self, entry: Entry) -> Result<Vec<Entry>, EventError> {
        let lost = self.lost.lock().clone();
        for _ in 0..ATTEMPTS {
            let (mut index, condition) = match self.index().await? {
                Some((index, version)) => (index, Condition::Version(version)),
                None if self.is_alive().await? => (Index::default(), Condition::Absent),
                None => return Err(self.forget().await),
            };
            let mut gone = Vec::new();
            for &stream in &lost {
                let missing = Entry { id: Token::draw()?, bytes: 0, last: true, stream };
                gone.extend(index.push(missing, self.limits));
            }
            gone.extend(index.push(entry, self.limits));
            let options = self.namespace().with_ttl(self.sessions.idle());
            let storage = self.sessions.storage();
            if storage.write(INDEX, index.encode(), condition, options).await?.is_none() {
                tokio::task::yield_now().await;
                continue;
            }
            if condition == Condition::Absent && !self.is_alive().await? {
                return Err(self.forget().await);
            }
            self.lost.lock().retain(|stream| !lost.contains(stream));
            return Ok(gone);
        }
        Err(Error::with_detail(ErrorKind::Conflict, "others kept appending events").into())
    }

    /// The events after this one, and whether more may come; `None` where that is not known.
    async fn after(&self, id: Token) -> Result<Option<(Vec<ServerSseMessage>, Option<Token>)>> {
        let Some((index, _)) = self.index().await? else { return Ok(None) };
        let entries = match index.after(id) {
            After::Unknown => return Ok(None),
            After::Nothing => return Ok(Some((Vec::new(), None))),
            After::Events(entries) => entries,
        };
        let keys: Vec<String> = entries.iter().map(|entry| event_key(entry.id)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let items = match keys[..] {
            [] => Vec::new(),
            _ => self.sessions.storage().get_many(&keys, self.namespace()).await?,
        };
        let mut events = Vec::with_capacity(items.len());
        let mut next = Some(id);
        for (entry, item) in entries.into_iter().zip(items) {
            // One that is missing would leave a hole: what comes after it is not sent.
            let Some(item) = item else { return Ok(Some((events, None))) };
            events.push(decode(entry.id, &item.data)?);
            next = (!entry.last).then_some(entry.id);
        }
        Ok(Some((events, next)))
    }

    async fn index(&self) -> Result<Option<(Index, Version)>> {
        let item = self.sessions.storage().get(INDEX, self.namespace()).await?;
        let Some(item) = item else { return Ok(None) };
        let index = Index::decode(&item.data).ok_or(ErrorKind::Corrupt)?;
        Ok(Some((index, item.version)))
    }

    async fn is_alive(&self) -> Result<bool> {
        match &self.owner {
            Owner::Session { user, id } => self.sessions.is_alive(user, id).await,
            Owner::User { .. } => Ok(true),
        }
    }

    /// Removes what was written for a session that has ended.
    async fn forget(&self) -> EventError {
        match self.sessions.storage().delete(self.namespace()).await {
            Ok(_) => EventError::Ended,
            Err(why) => why.into(),
        }
    }

    fn namespace(&self) -> Options<'_> {
        match &self.owner {
            Owner::Session { user, id } => Options::new().with_user_session(user, id),
            Owner::User { user } => Options::new().with_user(user),
        }
    }

    /// Hands over what comes after `id`, until nothing can come any more.
    async fn replay(&self, mut id: Token, client: mpsc::Sender<ServerSseMessage>) {
        loop {
            let appended = self.appended.notified();
            // Where the storage fails, the client comes again with the last id it has seen.
            let Ok(Some((events, next))) = self.after(id).await else { return };
            for event in events {
                if client.send(event).await.is_err() {
                    return;
                }
            }
            let Some(next) = next else { return };
            id = next;
            tokio::select! {
                () = appended => {}
                () = tokio::time::sleep(LOOK) => {}
                () = client.closed() => return,
            }
        }
    }
}

#[async_trait]
impl EventStore for Events {
    async fn store_event(
        &self,
        stream: &str,
        event: &ServerSseMessage,
    ) -> Result<EventId, EventStoreError> {
        let (id, stream) = (Token::draw()?, StreamName::named(stream));
        if let Err(EventError::Storage(_)) = self.append(id, stream, event).await {
            let mut lost = self.lost.lock();
            if !lost.contains(&stream) && lost.len() < self.limits.count {
                lost.push(stream);
            }
        }
        // Sent in any case. Of a session that has just ended this is the rest of a call that began before,
        // such as the answer of the one that has ended it.
        Ok(id.to_string())
    }

    async fn replay_events_after(&self, last: &str) -> Result<EventStream, EventStoreError> {
        let id = Token::parse(last).ok_or(EventError::Unknown)?;
        let events = self.this.upgrade().ok_or(EventError::Ended)?;
        if events.after(id).await?.is_none() {
            return Err(EventError::Unknown.into());
        }
        let (client, stream) = mpsc::channel(AHEAD);
        tokio::spawn(async move { events.replay(id, client).await });
        Ok(Box::pin(Replay(stream)))
    }
}

struct Replay(mpsc::Receiver<ServerSseMessage>);

impl Stream for Replay {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

fn event_key(id: Token) -> String {
    format!("mcp:event:{id}")
}

fn encode(event: &ServerSseMessage) -> Result<Bytes> {
    let stored = Stored {
        message: event.message.as_deref().map(Cow::Borrowed),
        retry_ms: event.retry.map(|retry| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX)),
    };
    let data = serde_json::to_vec(&stored);
    data.map(Bytes::from).map_err(|why| Error::with_source(ErrorKind::Backend, why))
}

fn decode(id: Token, data: &[u8]) -> Result<ServerSseMessage> {
    let stored: Stored<'_> =
        serde_json::from_slice(data).map_err(|why| Error::with_source(ErrorKind::Corrupt, why))?;
    let mut event = ServerSseMessage::default();
    event.event_id = Some(id.to_string());
    event.message = stored.message.map(|message| Arc::new(message.into_owned()));
    event.retry = stored.retry_ms.map(Duration::from_millis);
    Ok(event)
}

impl From<Error> for EventError {
    fn from(why: Error) -> Self {
        Self::Storage(why)
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the session has ended",
            Self::Unknown => "no such event",
            Self::Storage(_) => "the storage of events failed",
        })
    }
}

impl std::error::Error for EventError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(why) => Some(why),
            Self::Ended | Self::Unknown => None,
        }
    }
}
