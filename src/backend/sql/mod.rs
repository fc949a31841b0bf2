//! PostgreSQL, and MariaDB or MySQL, as a storage.
//!
//! ```text
//!   SqlStorage ──► Engine: PostgresEngine | MySqlEngine ──► Pool ──► Lease ──► server
//!    options,       the statements of each call              attempts,  one connection,
//!    versions,                                               timeouts   cut if unanswered
//!    renewals
//!
//!   usr  u            ◄── a user; '' for the global keys
//!   sess u, s         ◄── a session of it; s = '' for the user's own keys
//!   kv   u, s, k      v, version, created, deadline, sliding TTL, last deadline; when cleaning looks
//! ```
//!
//! Ids and keys are byte strings (`bytea`, `VARBINARY`), compared byte for byte, of any characters.
//!
//! **Why each call is atomic.** A read is one statement, and sees one state of the tables. A write is
//! one statement too, or it decides under the lock of its row. The deletion of a user or a session is
//! one transaction. Foreign keys are what makes it linearizable: an insert holds the row of its session
//! until it is committed, and the session that of its user, so a deletion waits for the inserts in
//! flight and takes them along, and an insert that comes later waits for the deletion and makes the
//! rows anew. Rows are locked in one order, user before session before key. Where two calls meet all
//! the same, the server undoes one of them, which is attempted again, 40 times at most, with growing
//! pauses by chance between them ([`SqlFigures::retries`]).
//!
//! **Versions** are chosen by clients: numbers that follow each other from a random start of 64
//! bits. Two clients that ever write as many as 2^40 items meet in a number with a probability of
//! 2^-23, and nothing that happens on the server, a deletion or a restored backup, brings one back.
//!
//! **Time** is the server's, in microseconds; the client's clock is never asked. Spans count from the
//! beginning of a statement. What decides whether an item has expired is the very moment, read under
//! the lock of the row where a call changes it. A read takes a row for expired only if it was so before
//! the statement looked at the table, and for alive only if it is so still; in between, which is a
//! matter of microseconds, it looks again.
//!
//! **Cleaning.** Expired rows, and the rows of users and sessions that hold nothing, are invisible; a
//! task of each storage takes them away in bounded batches and skips what others work on
//! (`FOR UPDATE SKIP LOCKED`). On PostgreSQL a deadline that moves further away leaves its place in the index
//! behind: cleaning comes by at the earlier one, finds the item alive, and moves its place then, as a timing wheel does.
//!
//! **Failure.** Every call ends at its timeout, that of the client unless it has one of its own. What
//! was sent may still be carried out: see [`Options::with_timeout`]. Nothing is sent twice, except what
//! the server says it has undone. Connections that broke are replaced when a call needs one.

mod clean;
mod engine;
mod failure;
mod figures;
mod item;
#[cfg(feature = "mysql")]
mod mysql;
mod options;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::engine::{Engine, ITEMS};
use self::figures::Meters;
pub use self::figures::SqlFigures;
use self::item::{At, Draft, State, Stored, micros};
pub use self::options::SqlOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::item::{Removed, Version};
use crate::namespace::{Namespace, check_key};
use crate::options::Condition;
use crate::storage::{
    Capabilities, Expiry, Listing, Operation, Options, Page, Storage, StorageItem, check_keys,
};

/// A timeout beyond this is as good as none, and does not reach past the end of time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Keys of one statement.
const CHUNK: usize = 500;

/// A PostgreSQL, MariaDB or MySQL server behind the portable interface; made by
/// [`SqlStorage::connect`].
///
/// # Complexity
///
/// Statements of each call, each a round trip once its connection has prepared it:
///
/// | call | PostgreSQL | MariaDB, MySQL |
/// |---|---|---|
/// | `get`; `get_many` for each 500 keys | 1 | 1 |
/// | a hit that renews a sliding TTL, besides | 1 | 1 |
/// | `set`, `write` | 1; 2 for a `set` that is the first of its session | 1; 6 for the first key of a session |
/// | `write` if absent, where an expired item is in the way | 1 | 3 |
/// | `take` | 1 | 2 |
/// | `touch`, a page of `keys` or `sessions` | 1 | 1 |
/// | `delete` of a key; `delete_many` for each 500 keys | 1 | 1 |
/// | `delete` of a session | 4 | 5 |
/// | `delete` of a user | 4 | 5 |
/// | `set_many` for each 64 items, or each MiB | 1 | 1; 6 for the first of a session |
///
/// The deletion of a namespace takes the server time in proportion to what it held, though it takes
/// effect at one moment, and others wait for it only where they write to the same user.
///
/// # Consistency
///
/// On one server all calls are linearizable, deletions of users and sessions included. Whether a
/// failover to a replica loses writes that were acknowledged is up to how the server replicates. A
/// server that takes no writes is not read from either: it may be a replica, whose data are out of date;
/// one that is demoted without losing its connections is left within a second. A connection pooler in between must keep sessions whole (PgBouncer:
/// `pool_mode = session`).
///
/// # Errors
///
/// `Unavailable` where the server cannot be reached, takes no more connections or is read-only;
/// `CapacityExceeded` where its disk is full (reads and deletions go on); `Conflict` where the server undid a call for others'
/// sake again and again, and nothing was changed; `Timeout`; `Backend` for all else that it refuses.
/// The source tells the server's code, never what was sent.
///
/// # Cancel safety
///
/// A call that is dropped is carried out wholly or not at all, possibly a little later: it may have
/// been sent already. Its connection is cut.
pub struct SqlStorage {
    engine: Arc<dyn Engine>,
    meters: Arc<Meters>,
    timeout: Duration,
    max_value_bytes: usize,
    next_version: AtomicU64,
    is_closed: AtomicBool,
    cleaner: Option<JoinHandle<()>>,
}

impl SqlStorage {
    /// Returns a client of the server at `postgres://[user[:password]@]host[:port]/database` or
    /// `mysql://[user[:password]@]host[:port]/database`, once its tables are made or up to date.
    ///
    /// Further parameters as the servers' own tools know them, such as `?sslmode=verify-full`; TLS
    /// needs the feature `sql-tls`. What a `postgres://` URL leaves out is taken from `PGHOST` and its
    /// kin. For `mysql://` the database must be named.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where the address cannot be understood, or the feature of its server is not on;
    /// `Unavailable` where nobody answers there, or who does takes no writes; `Backend` where the credentials are refused, the
    /// database is not there, the user may not make tables, or a newer version of this library made
    /// them. None of them shows the address.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn connect(url: &str) -> Result<Self> {
        SqlOptions::new().connect(url).await
    }

    fn new(
        engine: Arc<dyn Engine>,
        meters: Arc<Meters>,
        options: SqlOptions,
        most_bytes: usize,
    ) -> Self {
        let timeout = options.timeout.min(LONGEST);
        let spawn = |every| clean::spawn(&engine, &meters, every, timeout);
        Self {
            cleaner: options.clean_every.map(spawn),
            engine,
            meters,
            timeout,
            max_value_bytes: options.max_value_bytes.min(most_bytes),
            next_version: AtomicU64::new(RandomState::new().hash_one("versions")),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Returns what this storage has done so far.
    pub fn figures(&self) -> SqlFigures {
        self.meters.read()
    }

    /// Takes away everything that has expired, and the rows of users and sessions that hold nothing,
    /// but for what others work on meanwhile; returns how many rows went.
    ///
    /// There is no need to call it where [`SqlOptions::clean_every`] is set, here or in another
    /// instance.
    ///
    /// # Errors
    ///
    /// Those of any call; each batch has the timeout of the client. What went before stays gone.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has taken away some of it.
    pub async fn clean(&self) -> Result<u64> {
        self.check_open()?;
        clean::clean_all(&*self.engine, &self.meters, self.timeout).await
    }

    /// When a call ends that begins now.
    ///
    /// # Errors
    ///
    /// `Closed`.
    fn begin(&self, timeout: Option<Duration>) -> Result<Instant> {
        self.check_open()?;
        let now = Instant::now();
        // A timeout past the end of time is that of the client.
        let end = timeout.and_then(|timeout| now.checked_add(timeout));
        Ok(end.unwrap_or_else(|| now + self.timeout))
    }

    fn check_open(&self) -> Result<()> {
        // SeqCst: calls that begin after `close` has answered are refused, on every thread.
        match self.is_closed.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Closed)),
            false => Ok(()),
        }
    }

    /// A version that no client has handed out.
    fn fresh(&self) -> Version {
        // Relaxed: only uniqueness is asked for.
        Version::from_u64(self.next_version.fetch_add(1, Ordering::Relaxed))
    }

    fn check_value(&self, data: &Bytes) -> Result<()> {
        let limit = self.max_value_bytes;
        if data.len() > limit {
            return Err(Error::new(ErrorKind::ValueTooLarge { limit }));
        }
        Ok(())
    }

    async fn read(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<StorageItem>> {
        loop {
            let Some(item) = self.engine.get(at, key, end).await? else { return Ok(None) };
            match item.state() {
                State::Alive => return self.hit(at, key.as_bytes(), item, end).await.map(Some),
                State::Over => return Ok(None),
                State::Unclear => {}
            }
        }
    }

    /// The item, its TTL renewed where it slides and that is worth a write.
    async fn hit(&self, at: At<'_>, key: &[u8], item: Stored, end: Instant) -> Result<StorageItem> {
        let Some(deadline_us) = item.renewed_us() else { return item.into_item() };
        let is_renewed = self.engine.renew(at, key, &item, deadline_us, end).await?;
        // If not, it was written, deleted, touched or renewed meanwhile; what was read was true then.
        if is_renewed { item.with_deadline(deadline_us) } else { item }.into_item()
    }
}

#[async_trait]
impl Storage for SqlStorage {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Get)?;
        check_key(key.as_bytes())?;
        let end = self.begin(call.timeout)?;
        self.read(call.namespace.into(), key, end).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let version = self.write(key, data, Condition::Always, options).await?;
        let refused = || {
            let words = "an unconditional write was refused";
            Error::with_detail(ErrorKind::Backend, words)
        };
        version.ok_or_else(refused)
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::Delete)?;
        let end = self.begin(call.timeout)?;
        let at = At::from(call.namespace);
        let entries = match (call.key, call.namespace) {
            (Some(key), _) => self.engine.delete_keys(at, &[key], end).await?,
            (None, Namespace::User { .. }) => self.engine.delete_user(at.user, end).await?,
            (None, _) => self.engine.delete_session(at, end).await?,
        };
        Ok(Removed { entries, bytes: 0 })
    }

    /// Ends idle connections, and the cleaning. Calls that have a connection still answer; those that wait
    /// for one are `Closed`.
    async fn close(&self) -> Result<()> {
        // SeqCst: as in `check_open`.
        self.is_closed.store(true, Ordering::SeqCst);
        self.cleaner.as_ref().inspect(|cleaner| cleaner.abort());
        self.engine.close().await;
        Ok(())
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let call = options.check(Operation::Write)?;
        check_key(key.as_bytes())?;
        self.check_value(&data)?;
        let end = self.begin(call.timeout)?;
        let version = self.fresh();
        let draft = Draft::new(&data, version, condition, call.expiry);
        let is_stored = self.engine.write(call.namespace.into(), key, &draft, end).await?;
        Ok(is_stored.then_some(version))
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Take)?;
        check_key(key.as_bytes())?;
        let end = self.begin(call.timeout)?;
        let item = self.engine.take(call.namespace.into(), key, end).await?;
        item.map(Stored::into_item).transpose()
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = options.check(Operation::Touch)?;
        check_key(key.as_bytes())?;
        let end = self.begin(call.timeout)?;
        let Expiry::Ttl(ttl) = call.expiry else { unreachable!("a touch has a TTL") };
        self.engine.touch(call.namespace.into(), key, micros(ttl), end).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let call = options.check(Operation::List)?;
        page.check()?;
        let end = self.begin(call.timeout)?;
        let (after, limit) = bounds(page);
        let names = self.engine.keys(call.namespace.into(), after, limit, end).await?;
        Ok(page.cut(texts(names)))
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Namespace::User { user }.check()?;
        page.check()?;
        let end = self.begin(None)?;
        let (after, limit) = bounds(page);
        let names = self.engine.sessions(user.as_bytes(), after, limit, end).await?;
        Ok(page.cut(texts(names)))
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::none();
        can.atomic_namespace_delete = true;
        can.exact_expiry = true;
        can.linearizable = true;
        can.versions = true;
        can.keep_ttl = true;
        can.sliding_ttl = true;
        can.lists_keys = true;
        can.lists_sessions = true;
        can.counts_removed_entries = true;
        can.durable = true;
        can.shared = true;
        can
    }

    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        let call = options.check(Operation::Get)?;
        check_keys(keys)?;
        let end = self.begin(call.timeout)?;
        let at = At::from(call.namespace);
        let mut found = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(CHUNK) {
            for (key, item) in self.engine.get_many(at, keys, end).await? {
                let item = match item.state() {
                    State::Alive => Some(self.hit(at, &key, item, end).await?),
                    State::Over => None,
                    State::Unclear => {
                        // Its bytes are those of one of the keys.
                        let asked = keys.iter().find(|asked| asked.as_bytes() == key);
                        match asked {
                            Some(key) => self.read(at, key, end).await?,
                            None => None,
                        }
                    }
                };
                found.insert(key, item);
            }
        }
        Ok(keys.iter().map(|key| found.get(key.as_bytes()).cloned().flatten()).collect())
    }

    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        let call = options.check(Operation::Write)?;
        items.iter().try_for_each(|(key, _)| check_key(key.as_bytes()))?;
        let end = self.begin(call.timeout)?;
        let fits = |(_, data): &(&str, Bytes)| self.check_value(data);
        // Those before one that is too large are stored.
        let fitting = items.iter().position(|item| fits(item).is_err()).unwrap_or(items.len());
        let mut versions = Vec::with_capacity(items.len());
        let mut left = &items[..fitting];
        while !left.is_empty() {
            let (part, rest) = left.split_at(part_of(left));
            let mut drafts = BTreeMap::new();
            for (key, data) in part {
                let version = self.fresh();
                versions.push(version);
                // Of a key that is there twice the last one counts. Sorted, two calls lock alike.
                let draft = Draft::new(data, version, Condition::Always, call.expiry);
                drafts.insert(*key, draft);
            }
            let drafts: Vec<_> = drafts.into_iter().collect();
            self.engine.write_many(call.namespace.into(), &drafts, end).await?;
            left = rest;
        }
        items.get(fitting).map_or(Ok(()), fits)?;
        Ok(versions)
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::DeleteMany)?;
        check_keys(keys)?;
        let end = self.begin(call.timeout)?;
        let mut removed = Removed::default();
        for keys in keys.chunks(CHUNK) {
            removed.entries += self.engine.delete_keys(call.namespace.into(), keys, end).await?;
        }
        Ok(removed)
    }
}

impl Drop for SqlStorage {
    fn drop(&mut self) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.abort();
        }
    }
}

impl fmt::Debug for SqlStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStorage")
            .field("timeout", &self.timeout)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("figures", &self.figures())
            .finish_non_exhaustive()
    }
}

/// How many of the items one statement writes: as many as it may, of no more than a mebibyte together,
/// but one at least.
fn part_of(items: &[(&str, Bytes)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, data): &&(&str, Bytes)| {
        bytes += data.len();
        bytes <= 1 << 20
    };
    items.iter().take(ITEMS).take_while(fits).count().max(1)
}

/// After which name a page begins, and how many names tell whether it is the last.
fn bounds(page: Page<'_>) -> (&str, i64) {
    let limit = i64::try_from(page.limit()).unwrap_or(i64::MAX);
    (page.token().unwrap_or_default(), limit.saturating_add(1))
}

/// A name that is not UTF-8 was written by something else: no call could ask for it.
fn texts(names: Vec<Vec<u8>>) -> impl Iterator<Item = String> {
    names.into_iter().filter_map(|name| String::from_utf8(name).ok())
}
