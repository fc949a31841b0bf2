//! Takes away the heads of sessions that have ended; how and why tells the module above.

use std::fmt;
use std::time::Duration;

use super::WebSessions;
use super::stored::{Head, content_key, decode, head_key, id_of};
use crate::error::{ErrorKind, Result};
use crate::options::Condition;
use crate::storage::{Deadline, Options, Page, StorageItem};

/// How many keys `delete_expired` lists at a time. A page costs some storages as much as the whole listing,
/// so there should be few; and 4 MiB of names at most are held.
const NAMES: usize = 1 << 16;

/// How many heads are read at a time, before others may run.
const HEADS: usize = 128;

/// What a head that is ended has yet to live.
const INSTANT: Duration = Duration::from_millis(1);

/// What [`WebSessions::sweep`] did.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSessionsSweep {
    /// How many sessions it looked at, living ones and anonymous ones included.
    pub sessions: u64,
    /// Of how many, which had ended, it took away what was left.
    pub removed: u64,
    /// Where the next page begins, to be given to [`Page::after`]; `None` after the last. It may hold a
    /// session id, which is a secret.
    pub next: Option<String>,
}

impl WebSessions {
    /// Takes away what sessions have left behind that were logged out, whose user was deleted by whatever
    /// means, or whose content was evicted; returns how many there were.
    ///
    /// It is one step of `delete_expired`, which goes over all pages: `page` is one of the global keys, other
    /// keys than those of sessions included. Nobody waits for it, since what has ended is not seen
    /// anyway; it gives back its room, some 200 bytes a session, which would stay until the session's own date. A
    /// storage that evicts when it is full does not need it: sweeping reads every session once, and so
    /// looks like use to an eviction that goes by it.
    ///
    /// # Complexity
    ///
    /// A listing of [`Storage::keys`](crate::Storage::keys), a bulk read for each 128 sessions, a read for each one
    /// of a user, and a write for each that has ended. On the embedded engine others may run after each bulk
    /// read, but the listing is `O(keys)` within one poll, whatever the page.
    ///
    /// # Consistency
    ///
    /// A session that lives is not touched, whoever logs in to it meanwhile. What ends while it
    /// runs may be left to the next. What it takes away is gone within a millisecond.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::keys`](crate::Storage::keys), [`Storage::get`](crate::Storage::get) and
    /// [`Storage::write`](crate::Storage::write); a part may be done then, and no session has ended by it. What
    /// cannot be understood is passed over.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any moment it has done a part.
    ///
    /// # Examples
    ///
    /// All pages, with room for others between:
    ///
    /// ```
    /// use scopecache::{Cache, Page, WebSessions};
    /// use std::sync::Arc;
    ///
    /// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
    /// let cache: Cache = Cache::builder().build()?;
    /// let sessions = WebSessions::new(Arc::new(cache));
    /// let (mut removed, mut next) = (0, None);
    /// loop {
    ///     let swept = sessions.sweep(Page::new(10_000).after(next.as_deref())).await?;
    ///     removed += swept.removed;
    ///     next = swept.next;
    ///     if next.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(removed, 0);
    /// # Ok(()) }) }
    /// ```
    pub async fn sweep(&self, page: Page<'_>) -> Result<WebSessionsSweep> {
        let listing = self.storage.keys(page, Options::new()).await?;
        let mut swept = WebSessionsSweep { next: listing.next, ..Default::default() };
        let ids: Vec<&str> = listing.names.iter().filter_map(|key| id_of(key)).collect();
        for ids in ids.chunks(HEADS) {
            for (id, item) in ids.iter().zip(self.items(ids).await?) {
                let Some(item) = item else { continue };
                swept.sessions += 1;
                if self.is_dead(id, &item).await? && self.end(id, &item).await? {
                    swept.removed += 1;
                }
            }
            // A storage in memory is never waited for.
            Deadline::after(None).yield_now().await?;
        }
        Ok(swept)
    }

    pub(super) async fn sweep_all(&self) -> Result<()> {
        if !self.storage.capabilities().lists_keys {
            return Ok(());
        }
        let mut next = None;
        loop {
            next = self.sweep(Page::new(NAMES).after(next.as_deref())).await?.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Ends the head of a session that was found dead. Where that fails, a sweep does it: what the
    /// caller has to tell of the session is known.
    pub(super) async fn end_if_possible(&self, id: &str, head: &StorageItem) {
        let _ = self.end(id, head).await;
    }

    /// Ends a dead head if it still is what was read; whether it was.
    async fn end(&self, id: &str, head: &StorageItem) -> Result<bool> {
        let (data, condition) = (head.data.clone(), Condition::Version(head.version));
        let soon = Options::new().with_ttl(INSTANT);
        Ok(self.storage.write(&head_key(id), data, condition, soon).await?.is_some())
    }

    /// Whether the head names content that is not there, and so never will be.
    async fn is_dead(&self, id: &str, head: &StorageItem) -> Result<bool> {
        let Ok(Head::Owned { user, binding }) = decode(&head.data) else { return Ok(false) };
        let content = Options::new().with_user_session(&user, id);
        match self.storage.get(&content_key(binding), content).await {
            Err(why) if why.kind() == ErrorKind::Corrupt => Ok(false), // there is something
            content => Ok(content?.is_none()),
        }
    }

    /// The stored heads of sessions, without those that the storage itself cannot understand.
    async fn items(&self, ids: &[&str]) -> Result<Vec<Option<StorageItem>>> {
        let keys: Vec<String> = ids.iter().map(|id| head_key(id)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match self.storage.get_many(&keys, Options::new()).await {
            Err(why) if why.kind() == ErrorKind::Corrupt => {}
            items => return items,
        }
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            items.push(match self.storage.get(key, Options::new()).await {
                Err(why) if why.kind() == ErrorKind::Corrupt => None,
                item => item?,
            });
        }
        Ok(items)
    }
}

impl fmt::Debug for WebSessionsSweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSessionsSweep")
            .field("sessions", &self.sessions)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}
