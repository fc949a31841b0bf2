//! Redis and Valkey as a storage: servers with the interface of Redis 6.2 and up, alone, as a cluster, or
//! behind sentinels.
//!
//! ```text
//!   {user}g          the incarnation of a user: eight bytes, gone with the user
//!   {user}n          hash: the user's own keys        "" ─► incarnation    key ─► item
//!   {user}s<session> hash: the keys of a session      "" ─► incarnation    key ─► item
//!   {user}x          sorted set: ids of the sessions, by when their hashes end
//!   {user}d<8 bytes> what {user}x was when that incarnation was deleted: waits to be unlinked
//!   {%}g, {%}n       the same of the global namespace
//!   {%}w             sorted set: names of all {user}d.., by when somebody last worked on them; on a
//!                    cluster {%w<number>}w, of the users of one slot
//!
//!   item:  version 8 | created 8 | deadline 8 | sliding TTL 8 | last deadline 8 | value
//! ```
//!
//! A prefix comes before all of it. `{`, `}` and `%` in a user id are escaped, so that what stands
//! between the braces is the user whole. Sessions and keys are never parsed: they end a name, or are
//! fields of a hash. Nothing is looked for by a pattern.
//!
//! **An item is visible iff** its hash carries the user's present incarnation and its deadline lies
//! ahead of the server's clock. So deleting a user is the deletion of one small key, whatever the
//! user holds: 10 items or 100,000, in one session or in thousands.
//!
//! **What has become invisible is unlinked in steps**, each of so many sessions: the first by the
//! script that deletes, the others by the caller before its call answers. A caller that is dropped,
//! fails or dies half way leaves a list that is known to all: once nobody has worked on it for ten
//! seconds, every script that begins a user's incarnation, or deletes a user or session, does a step
//! of the oldest. On a cluster there is such a list for each slot: see [`lists`]. A write to a session that
//! still waits unlinks it first.
//!
//! **Why each call is atomic.** Every write is one script, which runs on the server at one moment. A
//! client never looks first and writes then. Reads need no script: see [`read`].
//!
//! **A cluster** moves slots between nodes, key by key. A script names keys of its user's slot alone, and one
//! that never exists: while the slot is on its way, the server refuses it before it begins. A read
//! names two keys in two commands, each of which is refused once its key has gone, or never was there.
//! What was refused waits and is sent again. No redirection is followed to a node that does not own the
//! slot yet: what is not there yet would look absent.
//!
//! **Versions** are chosen by clients: numbers that follow each other from a random start of 64
//! bits. Two clients that ever write as many as 2^40 items meet in a number with a probability of
//! 2^-23, and nothing that happens on the server, a deletion or the loss of all data, brings one back.
//!
//! **Time** is the server's, at every step; the client's clock is never asked. Hashes, sets and
//! incarnations end by themselves shortly after the last deadline in them, unless there ever was an
//! item without one in them. Single fields end by themselves on servers that can do that
//! (`HPEXPIREAT`: Redis 7.4); elsewhere an expired item uses memory until it is overwritten, listed
//! past, or its hash ends. It is never returned.
//!
//! **Failure.** Every call ends at its timeout, that of the client unless it has one of its own.
//! What was sent may still be carried out: see [`Options::with_timeout`]. Nothing is sent twice,
//! except a script that the server says it does not know, and what a cluster's node says it did not do. A
//! connection that broke is made anew by the
//! calls that follow; they fail at once where that cannot be done.

mod address;
mod call;
mod connect;
mod failure;
mod layout;
mod list;
mod lists;
mod read;
mod remove;
mod scripts;
mod wire;
mod write;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Cmd;

use self::call::{Line, call};
pub use self::connect::RedisOptions;
use self::layout::{Names, Stored, micros};
use self::lists::Lists;
use self::scripts::{Script, Scripts};
use self::write::{How, Numbers};
use crate::error::{Error, ErrorKind, Result};
use crate::item::{Removed, Version};
use crate::namespace::{Namespace, check_key};
use crate::options::Condition;
use crate::storage::{
    Capabilities, Expiry, Listing, Operation, Options, Page, Storage, StorageItem, check_keys,
};

/// Redis or Valkey behind the portable interface; made by [`RedisStorage::connect`].
///
/// # Complexity
///
/// One round trip a call, whatever it holds, but for: reads with hits that renew a sliding TTL (one
/// more, for all of them), `set_many` (one for each 16 MiB), `delete_many` (one for each 16,000 keys),
/// the deletion of a user with more than 64 sessions (one for each 64, or 1,500 items in small ones), and
/// listings: every page reads through the whole namespace, in steps of up to 512 names and about 256 KiB
/// of items. On a cluster `set_many` and `delete_many` take one for each 64 items or 250 keys, and each
/// deletion of a user or session has a look at other slots beside its own call.
///
/// # Consistency
///
/// All calls are linearizable, deletions of users and sessions included: a user is on one server, also of
/// a cluster, and while it moves from one to another. A failover to
/// a replica may lose the last writes that were acknowledged, deletions too: Redis replicates
/// asynchronously.
///
/// What a deletion says it removed includes items that had expired but still used memory, as
/// [`Removed`] has it: on servers that do not end single fields of a hash (before Redis 7.4) all that
/// had not been overwritten or listed past, on others those that the server had not reclaimed yet. It
/// is short where the call could not finish unlinking
/// within its time; the deletion is whole then as well.
///
/// # Errors
///
/// `Unavailable` where the server cannot be reached, is loading, or is a read-only replica, and where a
/// cluster's slot moves for longer than the call may take;
/// `CapacityExceeded` where it has reached its `maxmemory`; `Timeout`; `Backend` for all else that it
/// refuses. The source tells the server's code, never what was sent.
///
/// # Cancel safety
///
/// A call that is dropped is carried out wholly or not at all, possibly a little later: it may have
/// been sent already. What a dropped deletion of a user leaves to be unlinked others unlink.
pub struct RedisStorage {
    line: Arc<Line>,
    scripts: Arc<Scripts>,
    numbers: Numbers,
    prefix: String,
    max_value_bytes: usize,
    /// Whether the server ends single fields of a hash by itself.
    fields_expire: bool,
    /// Where deleted incarnations are known that wait to be unlinked.
    lists: Lists,
}

impl RedisStorage {
    /// Returns a client of the server at `redis://[user:password@]host[:port][/database]`, once it has
    /// answered; of the cluster with nodes at `redis+cluster://[user:password@]host[:port][,host[:port]..]`;
    /// or of the primary that sentinels know, at
    /// `redis+sentinel://[user:password@]host[:port][,host[:port]..]/name[/database]`, with
    /// `?sentinel=[user]:password` where they want that. `rediss` instead of `redis` is for TLS.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where the address cannot be understood; `Unavailable` where nobody answers
    /// there, or a replica does, or sentinels know no primary of that name that is up; `Backend` where the
    /// credentials are refused, or the server is older than Redis 6.2, or not of the kind that the address
    /// names. None of them shows the address.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub async fn connect(url: &str) -> Result<Self> {
        RedisOptions::new().connect(url).await
    }

    fn new(line: Line, options: RedisOptions, fields_expire: bool) -> Self {
        let lists = if line.is_of_cluster() { Lists::of_slots } else { Lists::of_server };
        Self {
            line: Arc::new(line),
            scripts: Arc::new(Scripts::new(fields_expire)),
            numbers: Numbers::new(),
            lists: lists(&options.prefix),
            prefix: options.prefix,
            max_value_bytes: options.max_value_bytes,
            fields_expire,
        }
    }

    fn names(&self, namespace: Namespace<'_>) -> Names {
        Names::new(&self.prefix, namespace)
    }

    /// A call of a script for a namespace; `base` is its hash, or what those of the user's sessions
    /// begin with.
    fn call(&self, script: &Script, names: &Names, base: &[u8]) -> Cmd {
        call(script, names, base, &self.lists.keys(names))
    }
}

#[async_trait]
impl Storage for RedisStorage {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Get)?;
        let end = self.line.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let items = self.read(&self.names(call.namespace), &[key], end).await?;
        Ok(items.into_iter().next().flatten())
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let version = self.write(key, data, Condition::Always, options).await?;
        version.ok_or_else(|| {
            Error::with_detail(ErrorKind::Backend, "an unconditional write was refused")
        })
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::Delete)?;
        let end = self.line.end_of(call.timeout);
        let names = self.names(call.namespace);
        let entries = match (call.key, call.namespace) {
            (Some(key), _) => self.remove_keys(&names, &[key], end).await?,
            (None, Namespace::Session { .. }) => self.remove_session(&names, end).await?,
            (None, _) => self.remove_user(&names, end).await?,
        };
        Ok(Removed { entries, bytes: 0 })
    }

    /// Calls that are under way still answer; the connection ends with the last of them.
    async fn close(&self) -> Result<()> {
        self.line.close();
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
        let end = self.line.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let how = How { condition, expiry: call.expiry };
        self.store(&self.names(call.namespace), (key, &data), how, end).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = options.check(Operation::Take)?;
        let end = self.line.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let names = self.names(call.namespace);
        let mut take = self.call(&self.scripts.take, &names, &names.hash());
        let item: Option<Vec<u8>> = self.line.run(end, &self.scripts.take, take.arg(key)).await?;
        item.map(|item| Stored::decode(item).map(Stored::into_item)).transpose()
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = options.check(Operation::Touch)?;
        let end = self.line.end_of(call.timeout);
        check_key(key.as_bytes())?;
        let Expiry::Ttl(ttl) = call.expiry else { unreachable!("a touch has a TTL") };
        let names = self.names(call.namespace);
        let mut touch = self.call(&self.scripts.touch, &names, &names.hash());
        touch.arg(key).arg(micros(ttl));
        self.line.run(end, &self.scripts.touch, &touch).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let call = options.check(Operation::List)?;
        let end = self.line.end_of(call.timeout);
        page.check()?;
        Ok(page.cut(self.all_keys(&self.names(call.namespace), end).await?))
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        let namespace = Namespace::User { user };
        namespace.check()?;
        page.check()?;
        let end = self.line.end_of(None);
        Ok(page.cut(self.all_sessions(&self.names(namespace), end).await?))
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
        let end = self.line.end_of(call.timeout);
        check_keys(keys)?;
        self.read(&self.names(call.namespace), keys, end).await
    }

    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        let call = options.check(Operation::Write)?;
        let end = self.line.end_of(call.timeout);
        items.iter().try_for_each(|(key, _)| check_key(key.as_bytes()))?;
        self.store_all(&self.names(call.namespace), items, call.expiry, end).await
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::DeleteMany)?;
        let end = self.line.end_of(call.timeout);
        check_keys(keys)?;
        let entries = self.remove_keys(&self.names(call.namespace), keys, end).await?;
        Ok(Removed { entries, bytes: 0 })
    }
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage")
            .field("timeout", &self.line.timeout())
            .field("fields_expire", &self.fields_expire)
            .finish_non_exhaustive()
    }
}
