//! Web sessions that belong to their users, for tower-sessions and what stands on it.
//!
//! # What is stored
//!
//! ```text
//!   Global             web-session:<id>       Anonymous { content }   or   Owned { user, binding } ─┐
//!                                                                                                   │
//!   Session(user, id)  web-session:<binding>  content     ◄─────────────────────────────────────────┘
//! ```
//!
//! The global entry is the session's *head*. A session that nobody has logged in to is its head alone.
//! One of a user has its content in a namespace of the user, so that deleting the user deletes it.
//! A *binding* is a random number drawn for one login and used for no other.
//!
//! A session is alive as an anonymous one while its head says so. It is **alive as the user's** while
//! its head names a binding *and* the content under that binding is there.
//!
//! # Login, log-out, and everything between
//!
//! A session that comes to be a user's (created so, or saved with a user for the first time, or with
//! another one) is bound:
//!
//! 1. Draw a binding and put the content under it, in the user's namespace.
//! 2. Make the head name it: if the head is absent, for a new session; else by compare-and-set from the
//!    version that was read before. Where that fails, take the content away again and begin anew.
//!
//! | | what it does |
//! |---|---|
//! | load | reads the head, then the content that it names |
//! | save of an anonymous session | compare-and-set of the head |
//! | save of a user's session | touches the head, then writes the content only if it is present |
//! | delete | takes the head away, then the content |
//! | log-out everywhere | deletes the user: all content in all of its sessions at one moment |
//! | sweep | reads heads, then the content that they name; ends by compare-and-set those that name none |
//!
//! Whatever is interleaved, and wherever a call is cut off:
//!
//! - *What was logged out stays so.* Step 1 is the only write that puts content under a binding
//!   without content being there, and it happens once for each binding, before step 2. So once a
//!   deletion has removed it, no save, no load, and no rest of the login brings it back: step 2 makes
//!   the head name nothing. A log-out before step 1 is one that came before the login.
//! - *No session is there twice.* The head names one binding or none, and changes by compare-and-set:
//!   the anonymous session (or the one of the user before) ends with the very write that begins the
//!   new one. Of two logins at a time one changes the head; the other sees that and begins anew.
//! - *A login cut in half is none.* Cut before step 2, its binding is in no head and never will be,
//!   since nobody else knows it; the content is seen by nobody and goes with its TTL. Cut after, it
//!   is complete.
//! - *A save cannot resurrect.* It writes over a head of the version that it has read, or over content
//!   that is there. A head that a delete took away has no version any more.
//! - *A delete cut in half is one*: without the head nothing is reached.
//! - *A load sees one state.* Between its two reads the session may be bound anew; then it finds no
//!   content, finds another head, and reads again. Where the head names the same binding, the session is dead.
//!
//! Content that no longer names a user stays in the namespace where it is: it came from that user's
//! session, and goes when the user logs out everywhere.
//!
//! Every entry has a TTL, which ends with the session's own date. A save renews that of the head, too,
//! by a touch, which brings back nothing that is gone.
//!
//! # The heads of the dead
//!
//! A log-out everywhere leaves the heads, which name nothing from then on. They would go with their TTL,
//! weeks later, and fill a store meanwhile that evicts nothing. So whoever comes by takes them away:
//!
//! - a **load or save** that finds its session dead, at once: that of a session which somebody still asks for;
//! - a **sweep** ([`sweep`](WebSessions::sweep), and `delete_expired`, which servers run at intervals) over the
//!   global keys, a part at a time: all others, whatever ended them. A log-out everywhere, the user's
//!   deletion by `Storage::delete`, an eviction, a call that was cut off: it looks alike.
//!
//! A head that names no content names none ever after, by step 1. But somebody who has seen the content alive may
//! bind the session to another user. So a head is not deleted but *ended*: written once more as it is,
//! if its version is still the one that was judged, with a TTL of an instant. That is a compare-and-delete
//! by what every storage has, and takes no room, since what it replaces is as large: it works in a full store. A
//! binding that was there first makes it do nothing; one that comes after it fails by the version that it has read,
//! reads anew, and finds the session dead. A save that began before may give an ended head its TTL back by its
//! touch; that revives nothing, and the save ends it when it looks again, or a sweep does.
//!
//! What else there is to choose: *listing the user's sessions before the deletion*, to take away their heads
//! after it, makes the log-out wait (milliseconds for ten thousand sessions, which the deletion ends in one
//! microsecond), misses who logs in between the two, and does nothing for a user deleted by other means, or by a
//! server that died half way: it would want the sweep as well. An *index of heads by user*, which outlives
//! the user, costs each login an entry and each save a touch, to save work that nobody waits for.

mod stored;
mod sweep;
mod tower;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use self::stored::{Content, Head, content_key, decode, encode, head_key};
pub use self::sweep::WebSessionsSweep;
use crate::adapter::binding::Binding;
use crate::error::{Error, ErrorKind, Result};
use crate::item::Removed;
use crate::options::Condition;
use crate::storage::{Options, Page, Storage, StorageItem};

/// How often a save begins anew before it gives up. Each time somebody else has succeeded.
const ATTEMPTS: u32 = 256;

/// Where axum-login keeps the user, unless it is told otherwise.
const AXUM_LOGIN: &str = "axum-login.data";

type Owner = dyn Fn(&HashMap<String, Value>) -> Option<String> + Send + Sync;

/// A session store for web frameworks that knows whose session it is: it lists a user's sessions, and
/// logs a user out everywhere in one atomic call.
///
/// It implements `SessionStore` and `ExpiredDeletion` of tower-sessions 0.15 (feature
/// `tower_sessions_0_15`) and of 0.14 (`tower_sessions_0_14`), which axum-login 0.18 uses. Sessions live
/// in any [`Storage`], shared by as many servers as share that. It is cheap to clone.
///
/// Whose session it is, is read off its data whenever it is saved: at first where axum-login puts
/// the user, see [`with_owner`](Self::with_owner). A session of a user is kept in that user's namespace:
/// whoever deletes the user ends its sessions, and [`logout_everywhere`](Self::logout_everywhere) deletes
/// what else the storage holds of the user. Keep what is to outlive a log-out in another storage, or
/// under another id. A full cache that evicts ends sessions before their time: build it with
/// [`OnFull::Reject`](crate::OnFull::Reject) where that must not be.
///
/// # Consistency
///
/// A session that was deleted or logged out is never seen again, whatever was under way: a save of it
/// stores nothing, and a login that had begun ends logged out. Such calls succeed, as they would
/// have a moment earlier. Of two saves of one session the later one counts, as a whole. On a storage
/// that does not delete a namespace at one moment
/// ([`Capabilities::atomic_namespace_delete`](crate::Capabilities::atomic_namespace_delete)), sessions end
/// one after another.
///
/// # Errors
///
/// `Decode` where a stored session cannot be understood; it stays where it is. `Backend` for all else,
/// with the words of the storage's error and its causes.
///
/// # Cancel safety
///
/// Every call can be dropped at any moment. A save has happened or not; a login that is cut off leaves the
/// session as it was, and creating one leaves none.
///
/// # Examples
///
/// ```
/// use scopecache::{Cache, WebSessions};
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder().build()?;
/// let sessions = WebSessions::new(Arc::new(cache))
///     .with_owner(|data| Some(data.get("user")?.as_str()?.to_owned()));
/// // tower_sessions::SessionManagerLayer::new(sessions.clone())
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WebSessions {
    storage: Arc<dyn Storage>,
    owner: Arc<Owner>,
}

/// A session of a user, as [`WebSessions::sessions_of`] lists it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct WebSession {
    /// The session id in its textual form, as it stands in the cookie: who has it has the session.
    pub id: String,
    /// What the session holds.
    pub data: HashMap<String, Value>,
    /// From when on it is no longer there.
    pub expires_at: SystemTime,
}

/// A page of the sessions of a user.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct WebSessionsPage {
    /// The sessions, in no particular order.
    pub sessions: Vec<WebSession>,
    /// Where the next page begins, to be given to [`Page::after`]; `None` after the last. It may hold a
    /// session id, which is a secret.
    pub next: Option<String>,
}

impl WebSessions {
    /// A store of sessions in `storage`, whose users are those of axum-login:
    /// `data["axum-login.data"]["user_id"]`, a string or a number.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, owner: Arc::new(axum_login_user) }
    }

    /// Tells whose session it is by its data; `None` is a session that nobody has logged in to.
    ///
    /// The answer is the user id of the [`Storage`], 1 to 256 bytes; saving fails with any other. Change
    /// it only together with the sessions: an existing one is moved to its new owner when it is saved next.
    #[must_use]
    pub fn with_owner(
        mut self,
        owner: impl Fn(&HashMap<String, Value>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.owner = Arc::new(owner);
        self
    }

    /// Returns a page of the live sessions that the user is logged in to.
    ///
    /// A page may hold fewer sessions than asked for while others follow: what has just ended, and
    /// sessions of the user that are none of the web, are passed over.
    ///
    /// # Complexity
    ///
    /// One listing, one bulk read, and one read for each session.
    ///
    /// # Consistency
    ///
    /// Weak, as that of [`Storage::sessions`]: what is there throughout is listed, once.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::sessions`] and [`Storage::get`]; `Corrupt` where a session cannot be understood.
    pub async fn sessions_of(&self, user: &str, page: Page<'_>) -> Result<WebSessionsPage> {
        let listing = self.storage.sessions(user, page).await?;
        let keys: Vec<String> = listing.names.iter().map(|id| head_key(id)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let heads = match keys[..] {
            [] => Vec::new(),
            _ => self.storage.get_many(&keys, Options::new()).await?,
        };
        let mut sessions = Vec::with_capacity(heads.len());
        for (id, head) in listing.names.into_iter().zip(heads) {
            let Some(head) = head else { continue };
            let Head::Owned { user: owner, binding } = decode(&head.data)? else { continue };
            if owner != user {
                continue;
            }
            let Some(content) = self.content(user, &id, binding).await? else { continue };
            if (self.owner)(&content.data).as_deref() == Some(user) {
                let Content { data, expires_at } = content;
                sessions.push(WebSession { id, data, expires_at });
            }
        }
        Ok(WebSessionsPage { sessions, next: listing.next })
    }

    /// Ends all sessions of the user at one moment, by deleting the user from the storage; returns
    /// how much was removed, as far as the storage knows.
    ///
    /// Logins of this user that have begun, and saves that are under way, end logged out. The session
    /// that asks for it is ended as well: `flush` it, so that its cookie goes.
    ///
    /// # Complexity
    ///
    /// Of the embedded engine: O(1), about a microsecond, for any number of sessions. What else was stored
    /// of each session, which is no longer seen, goes with the next [sweep](Self::sweep).
    ///
    /// # Errors
    ///
    /// Those of [`Storage::delete`].
    pub async fn logout_everywhere(&self, user: &str) -> Result<Removed> {
        self.storage.delete(Options::new().with_user(user)).await
    }

    /// Whether the session is stored now; `false` where the id is taken.
    async fn create_as(&self, id: &str, content: &Content) -> Result<bool> {
        let Some(ttl) = content.ttl() else { return Ok(true) }; // created, and expired
        let Some(user) = (self.owner)(&content.data) else {
            return self.put_head(id, content, Condition::Absent, ttl).await;
        };
        self.bind(id, &user, content, Condition::Absent, ttl).await
    }

    async fn save_as(&self, id: &str, content: &Content) -> Result<()> {
        let Some(ttl) = content.ttl() else { return self.remove(id).await };
        let owner = (self.owner)(&content.data);
        let mut dead = None;
        for _ in 0..ATTEMPTS {
            let Some((head, item)) = self.head(id).await? else { return Ok(()) };
            let condition = Condition::Version(item.version);
            let saved = match (head, &owner) {
                (Head::Anonymous(_), None) => self.put_head(id, content, condition, ttl).await?,
                (Head::Anonymous(_), Some(user)) => {
                    self.bind(id, user, content, condition, ttl).await?
                }
                (Head::Owned { binding, .. }, _) if dead == Some(binding) => {
                    self.end_if_possible(id, &item).await;
                    return Ok(());
                }
                (Head::Owned { user, binding }, Some(new)) if *new != user => {
                    let alive = self.content(&user, id, binding).await?.is_some();
                    let moved = alive && self.bind(id, new, content, condition, ttl).await?;
                    if moved {
                        let key = content_key(binding);
                        let old = Options::new().with_user_session(&user, id).with_key(&key);
                        self.storage.delete(old).await?;
                    } else if !alive {
                        dead = Some(binding);
                    }
                    moved
                }
                (Head::Owned { user, binding }, _) => {
                    // Before the content: cut off in between, no head ends before its content.
                    self.storage.touch(&head_key(id), Options::new().with_ttl(ttl)).await?;
                    let options = Options::new().with_user_session(&user, id).with_ttl(ttl);
                    let (key, data) = (content_key(binding), encode(content)?);
                    let saved = self.storage.write(&key, data, Condition::Present, options).await?;
                    dead = Some(binding);
                    saved.is_some()
                }
            };
            if saved {
                return Ok(());
            }
        }
        Err(Error::with_detail(ErrorKind::Conflict, "others kept saving the session"))
    }

    async fn load_as(&self, id: &str) -> Result<Option<Content>> {
        let mut dead = None;
        for _ in 0..ATTEMPTS {
            let Some((head, item)) = self.head(id).await? else { return Ok(None) };
            let found = match head {
                Head::Anonymous(content) => Some(content),
                Head::Owned { binding, .. } if dead == Some(binding) => {
                    self.end_if_possible(id, &item).await;
                    return Ok(None);
                }
                Head::Owned { user, binding } => {
                    dead = Some(binding);
                    self.content(&user, id, binding).await?
                }
            };
            if let Some(content) = found {
                return Ok(content.ttl().map(|_| content));
            }
        }
        Err(Error::with_detail(ErrorKind::Conflict, "the session kept changing hands"))
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let Some(head) = self.storage.take(&head_key(id), Options::new()).await? else {
            return Ok(());
        };
        // A head that cannot be understood is gone all the same, and what it named with it.
        if let Ok(Head::Owned { user, .. }) = decode(&head.data) {
            self.storage.delete(Options::new().with_user_session(&user, id)).await?;
        }
        Ok(())
    }

    /// Both steps of a login; whether the head was as `condition` wants it.
    async fn bind(
        &self,
        id: &str,
        user: &str,
        content: &Content,
        condition: Condition,
        ttl: Duration,
    ) -> Result<bool> {
        let binding = Binding::draw()?;
        let (key, options) = (content_key(binding), Options::new().with_user_session(user, id));
        let data = encode(content)?;
        self.storage.write(&key, data, Condition::Absent, options.with_ttl(ttl)).await?;
        let head = encode(&Head::Owned { user: user.to_owned(), binding })?;
        let named = Options::new().with_ttl(ttl);
        let bound = self.storage.write(&head_key(id), head, condition, named).await?.is_some();
        if !bound {
            self.storage.delete(options.with_key(&key)).await?;
        }
        Ok(bound)
    }

    /// Writes the head of an anonymous session; whether the condition held.
    async fn put_head(
        &self,
        id: &str,
        content: &Content,
        condition: Condition,
        ttl: Duration,
    ) -> Result<bool> {
        let head = encode(&Head::Anonymous(content.clone()))?;
        let options = Options::new().with_ttl(ttl);
        Ok(self.storage.write(&head_key(id), head, condition, options).await?.is_some())
    }

    /// The head, and as what it is stored.
    async fn head(&self, id: &str) -> Result<Option<(Head, StorageItem)>> {
        let item = self.storage.get(&head_key(id), Options::new()).await?;
        item.map(|item| Ok((decode(&item.data)?, item))).transpose()
    }

    async fn content(&self, user: &str, id: &str, binding: Binding) -> Result<Option<Content>> {
        let options = Options::new().with_user_session(user, id);
        let item = self.storage.get(&content_key(binding), options).await?;
        item.map(|item| decode(&item.data)).transpose()
    }
}

fn axum_login_user(data: &HashMap<String, Value>) -> Option<String> {
    match data.get(AXUM_LOGIN)?.get("user_id")? {
        Value::Null => None,
        Value::String(user) => Some(user.clone()),
        other => Some(other.to_string()),
    }
}

impl fmt::Debug for WebSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSessions").finish_non_exhaustive()
    }
}

impl fmt::Debug for WebSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id is a secret, and the data may hold others.
        f.debug_struct("WebSession").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebSessionsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSessionsPage").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
