//! Redis and Valkey as a storage: servers with the interface of Redis 6.2 and up.
//!
//! ```text
//!   {user}g          the incarnation of a user: eight bytes, gone with the user
//!   {user}n          hash: the user's own keys        "" ─► incarnation    key ─► item
//!   {user}s<session> hash: the keys of a session      "" ─► incarnation    key ─► item
//!   {user}x          sorted set: ids of the sessions
//!   {user}d          sorted set: sessions of deleted incarnations that wait to be unlinked
//!   {%}g, {%}n       the same of the global namespace
//!
//!   item:  version 8 | created 8 | deadline 8 | sliding TTL 8 | last deadline 8 | value
//! ```
//!
//! A prefix comes before all of it. `{`, `}` and `%` in a user id are escaped, so that what stands
//! between the braces is the user whole, and all of one user's keys lie in one cluster slot.
//! Sessions and keys are never parsed: they end a name, or are fields of a hash. Nothing is looked
//! for by a pattern.
//!
//! **An item is visible iff** its hash carries the user's present incarnation and its deadline lies
//! ahead of the server's clock. So deleting a user is the deletion of one small key, whatever the
//! user holds: 10 items or 100,000, in one session or in thousands. What has become invisible is
//! unlinked then: at once by the same script where there are at most 64 sessions, else by the caller
//! in steps of 64 before its call answers. A caller that is dropped or dies half way leaves the rest
//! to the next delete of that user; a write to a session that still waits unlinks it first.
//!
//! **Why each call is atomic.** A read is one transaction (`MULTI`, `TIME`, `GET` of the
//! incarnation, `HMGET`, `EXEC`), without a script. Every write is one script. Both run on the
//! server at one moment. A client never looks first and writes then.
//!
//! **Versions** are chosen by clients: numbers that follow each other from a random start of 64
//! bits. Two clients that ever write as many as 2^40 items meet in a number with a probability of
//! 2^-23, and nothing that happens on the server, a deletion or the loss of all data, brings one back.
//!
//! **Time** is the server's, at every step; the client's clock is never asked. Hashes, sets and
//! incarnations end by themselves with the last deadline in them, where everything in them has one.
//! Single fields end by themselves on servers that can do that (`HPEXPIREAT`: Redis 7.4); elsewhere
//! an expired item that has neighbours which last longer uses memory until it is overwritten, listed
//! past, or its session ends. It is never returned.
//!
//! **Failure.** Every call ends at its timeout, that of the client unless it has one of its own.
//! What was sent may still be carried out: see [`Options::with_timeout`]. Nothing is sent twice,
//! except a script that the server says it does not know. A connection that broke is made anew in the
//! background; calls wait for it until their timeout.

mod connect;
mod failure;
mod layout;
mod scripts;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::ConnectionManager;
use redis::{FromRedisValue, Script, ScriptInvocation, pipe};
use tokio::time::{Instant, timeout_at};

pub use self::connect::RedisOptions;
use self::failure::{CLOSED, failure, refused};
use self::layout::{Names, Stored, micros};
use self::scripts::Scripts;
use crate::error::{Error, ErrorKind, Result};
use crate::item::{Removed, Version};
use crate::namespace::{Namespace, check_key};
use crate::options::Condition;
use crate::storage::{
    Capabilities, Expiry, Listing, Operation, Options, Page, Storage, StorageItem, check_keys,
};

/// A timeout beyond this is as good as none, and does not reach past the end of time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Redis or Valkey behind the portable interface; made by [`RedisStorage::connect`].
///
/// # Complexity
///
/// One round trip a call, but for: a hit that renews a sliding TTL (one more, in `get_many` one for
/// each such hit), `set_many` (one for each item), listings (one for each 200 keys or 50 sessions,
/// whatever the page's limit), and the deletion of a user with more than 64 sessions (one more for
/// each 64).
///
/// # Consistency
///
/// On one server all calls are linearizable, deletions of users and sessions included. A failover to
/// a replica may lose the last writes that were acknowledged: Redis replicates asynchronously.
///
/// What a deletion says it removed may include items that had expired, on servers that do not end
/// single fields of a hash (before Redis 7.4).
///
/// # Errors
///
/// `Unavailable` where the server cannot be reached, is loading, or is a read-only replica;
/// `CapacityExceeded` where it has reached its `maxmemory`; `Timeout`; `Backend` for all else that it
/// refuses. The source tells the server's code, never what was sent.
///
/// # Cancel safety
///
/// A call that is dropped is carried out wholly or not at all, possibly a little later: it may have
/// been sent already.
pub struct RedisStorage {
    connection: ConnectionManager,
    scripts: Scripts,
    prefix: String,
    timeout: Duration,
    max_value_bytes: usize,
    /// Whether the server ends single fields of a hash by itself.
    fields_expire: bool,
    next_version: AtomicU64,
    is_closed: AtomicBool,
}

impl RedisStorage {
    /// Returns a client of the server at `redis://[user:password@]host[:port][/database]`, or
    /// `rediss://` for TLS, once it has answered.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where the address cannot be understood; `Unavailable` where nobody answers
    /// there; `Backend` where the credentials are refused. None of them shows the address.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn connect(url: &str) -> Result<Self> {
        RedisOptions::new().connect(url).await
    }

    fn new(connection: ConnectionManager, options: RedisOptions, fields_expire: bool) -> Self {
        Self {
            connection,
            scripts: Scripts::new(),
            prefix: options.prefix,
            timeout: options.timeout,
            max_value_bytes: options.max_value_bytes,
            fields_expire,
            next_version: AtomicU64::new(RandomState::new().hash_one("versions")),
            is_closed: AtomicBool::new(false),
        }
    }

    fn names(&self, namespace: Namespace<'_>) -> Names {
        Names::new(&self.prefix, namespace)
    }

    /// A number that no client has handed out, in the bytes that are stored.
    fn fresh(&self) -> [u8; 8] {
        // Relaxed: only uniqueness is asked for.
        self.next_version.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }

    /// When a call ends that begins now.
    fn end_of(&self, timeout: Option<Duration>) -> Instant {
        let now = Instant::now();
        // A timeout past the end of time is that of the client.
        let end = timeout.and_then(|timeout| now.checked_add(timeout));
        end.unwrap_or_else(|| now + self.timeout.min(LONGEST))
    }

    /// Drives a step of a call until the end of the call.
    async fn within<T>(
        &self,
        end: Instant,
        call: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T> {
        // SeqCst: calls that begin after `close` has answered are refused, on every thread.
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Error::new(CLOSED));
        }
        match timeout_at(end, call).await {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => Err(Error::new(ErrorKind::Timeout)),
        }
    }

    async fn run<T: FromRedisValue>(
        &self,
        end: Instant,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let mut connection = self.connection.clone();
        self.within(end, script.invoke_async(&mut connection)).await
    }

    /// The items of some keys at one moment, and the time of that moment.
    async fn read(
        &self,
        names: &Names,
        keys: &[&str],
        end: Instant,
    ) -> Result<(Vec<Option<Stored>>, u64)> {
        let mut connection = self.connection.clone();
        let mut read = pipe();
        read.atomic().cmd("TIME").cmd("GET").arg(names.incarnation());
        read.cmd("HMGET").arg(names.hash()).arg("");
        for key in keys {
            read.arg(key);
        }
        let answer = self.within(end, read.query_async(&mut connection)).await?;
        type Read = ((u64, u64), Option<Vec<u8>>, Vec<Option<Vec<u8>>>);
        let ((seconds, rest_us), present, fields): Read = answer;
        let now_us = seconds * 1_000_000 + rest_us;
        let mut fields = fields.into_iter();
        let incarnation = fields.next().flatten();
        let is_of_present = present.is_some() && present == incarnation;
        let items = fields.map(|item| match item {
            Some(item) if is_of_present => {
                Ok(Some(Stored::decode(item)?).filter(|item| !item.is_over(now_us)))
            }
            _ => Ok(None),
        });
        Ok((items.collect::<Result<_>>()?, now_us))
    }

    /// The item, its TTL renewed where it slides and that is worth a write.
    async fn hit(
        &self,
        names: &Names,
        key: &str,
        item: Stored,
        now_us: u64,
        end: Instant,
    ) -> Result<StorageItem> {
        if !item.is_worth_renewing(now_us) {
            return Ok(item.into_item());
        }
        let mut renew = self.of_hash(&self.scripts.renew, names);
        renew.arg(key).arg(u8::from(self.fields_expire)).arg(&item.version);
        let deadline_us: u64 = self.run(end, &renew).await?;
        // Zero: it was written, deleted or expired meanwhile; what was read was true when it was.
        Ok(if deadline_us == 0 { item } else { item.renewed(deadline_us) }.into_item())
    }

    /// A script for the hash of a namespace, its first argument given.
    fn of_hash<'s>(&self, script: &'s Script, names: &Names) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(names.incarnation()).key(names.sessions()).key(names.own()).key(names.hash());
        call.arg(&names.session);
        call
    }

    /// A script for a user with all sessions.
    fn of_user<'s>(&self, script: &'s Script, names: &Names) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(names.incarnation()).key(names.sessions()).key(names.own()).key(names.base());
        call.key(names.waiting());
        call
    }

    fn write_of(
        &self,
        names: &Names,
        key: &str,
        data: &[u8],
        condition: Condition,
        expiry: Expiry,
    ) -> (ScriptInvocation<'_>, Version) {
        let version = self.fresh();
        let mut write = self.of_hash(&self.scripts.write, names);
        write.arg(key).arg(u8::from(self.fields_expire)).arg(&self.fresh()).arg(&version).arg(data);
        let (condition, fits) = match condition {
            Condition::Always => ("always", [0; 8]),
            Condition::Absent => ("absent", [0; 8]),
            Condition::Present => ("present", [0; 8]),
            Condition::Version(version) => ("version", version.as_u64().to_be_bytes()),
        };
        write.arg(condition).arg(&fits);
        match expiry {
            Expiry::Default => write.arg("never"),
            Expiry::Keep => write.arg("keep"),
            Expiry::Ttl(ttl) => write.arg("ttl").arg(micros(ttl)),
            Expiry::Sliding { ttl, max_lifetime } => {
                write.arg("sliding").arg(micros(ttl)).arg(micros(max_lifetime))
            }
        };
        (write, Version::from_u64(u64::from_be_bytes(version)))
    }

    fn check_value(&self, data: &Bytes) -> Result<()> {
        let limit = self.max_value_bytes;
        if data.len() > limit {
            return Err(Error::new(ErrorKind::ValueTooLarge { limit }));
        }
        Ok(())
    }

    /// Follows a listing's cursor to its end.
    async fn list<'s>(
        &self,
        list: impl Fn(&[u8]) -> ScriptInvocation<'s> + Send + Sync,
        end: Instant,
    ) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let (next, part): (Vec<u8>, Vec<Vec<u8>>) = self.run(end, &list(&cursor)).await?;
            // A part may name again what an earlier one did.
            names.extend(part.into_iter().filter_map(|name| String::from_utf8(name).ok()));
            if next == b"0" {
                return Ok(names);
            }
            cursor = next;
        }
    }
}

#[async_trait]
impl Storage for RedisStorage {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Get)?;
        let end = self.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let names = self.names(call.namespace);
        let (mut items, now_us) = self.read(&names, &[key], end).await?;
        match items.pop().flatten() {
            Some(item) => Ok(Some(self.hit(&names, key, item, now_us, end).await?)),
            None => Ok(None),
        }
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let version = self.write(key, data, Condition::Always, options).await?;
        version.ok_or_else(|| refused("an unconditional write was refused"))
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::Delete)?;
        let end = self.end_of(call.timeout);
        let names = self.names(call.namespace);
        let entries = |entries| Removed { entries, bytes: 0 };
        if let Some(key) = call.key {
            let mut delete = self.of_hash(&self.scripts.delete_keys, &names);
            return self.run(end, delete.arg(key)).await.map(entries);
        }
        if !names.session.is_empty() {
            let delete = self.of_hash(&self.scripts.delete_session, &names);
            return self.run(end, &delete).await.map(entries);
        }
        let delete = self.of_user(&self.scripts.delete_user, &names);
        let (mut removed, mut waiting): (u64, u64) = self.run(end, &delete).await?;
        while waiting > 0 {
            let sweep = self.of_user(&self.scripts.sweep, &names);
            let (swept, left): (u64, u64) = self.run(end, &sweep).await?;
            removed += swept;
            waiting = left;
        }
        Ok(entries(removed))
    }

    /// The connection itself ends when the storage is dropped; calls that are under way still answer.
    async fn close(&self) -> Result<()> {
        // SeqCst: as in `within`.
        self.is_closed.store(true, Ordering::SeqCst);
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
        let end = self.end_of(call.timeout);
        check_key(key.as_bytes())?;
        self.check_value(&data)?;
        let names = self.names(call.namespace);
        let (write, version) = self.write_of(&names, key, &data, condition, call.expiry);
        let stored: bool = self.run(end, &write).await?;
        Ok(stored.then_some(version))
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Take)?;
        let end = self.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let mut take = self.of_hash(&self.scripts.take, &self.names(call.namespace));
        let item: Option<Vec<u8>> = self.run(end, take.arg(key)).await?;
        item.map(|item| Stored::decode(item).map(Stored::into_item)).transpose()
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = options.check(Operation::Touch)?;
        let end = self.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let Expiry::Ttl(ttl) = call.expiry else { unreachable!("a touch has a TTL") };
        let mut touch = self.of_hash(&self.scripts.renew, &self.names(call.namespace));
        touch.arg(key).arg(u8::from(self.fields_expire)).arg("").arg(micros(ttl));
        let deadline_us: u64 = self.run(end, &touch).await?;
        Ok(deadline_us != 0)
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let call = options.check(Operation::List)?;
        let end = self.end_of(call.timeout);
        page.check()?;
        let names = self.names(call.namespace);
        let list = |cursor: &[u8]| {
            let mut list = self.of_hash(&self.scripts.list_keys, &names);
            list.arg(cursor);
            list
        };
        Ok(page.cut(self.list(list, end).await?))
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        let namespace = Namespace::User { user };
        namespace.check()?;
        page.check()?;
        let names = self.names(namespace);
        let list = |cursor: &[u8]| {
            let mut list = self.of_user(&self.scripts.list_sessions, &names);
            list.arg("").arg(cursor);
            list
        };
        Ok(page.cut(self.list(list, self.end_of(None)).await?))
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
        let end = self.end_of(call.timeout);
        check_keys(keys)?;
        let names = self.names(call.namespace);
        let (stored, now_us) = self.read(&names, keys, end).await?;
        let mut items = Vec::with_capacity(keys.len());
        for (key, item) in keys.iter().zip(stored) {
            items.push(match item {
                Some(item) => Some(self.hit(&names, key, item, now_us, end).await?),
                None => None,
            });
        }
        Ok(items)
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::DeleteMany)?;
        let end = self.end_of(call.timeout);
        check_keys(keys)?;
        let mut removed = Removed::default();
        // Lua takes so many values at once.
        for keys in keys.chunks(1000) {
            let mut delete = self.of_hash(&self.scripts.delete_keys, &self.names(call.namespace));
            for key in keys {
                delete.arg(key);
            }
            let entries: u64 = self.run(end, &delete).await?;
            removed.entries += entries;
        }
        Ok(removed)
    }
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage")
            .field("timeout", &self.timeout)
            .field("fields_expire", &self.fields_expire)
            .finish_non_exhaustive()
    }
}
