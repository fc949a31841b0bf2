//! The engine: everything above the table and the directory.

mod builder;
mod bulk;
mod core;
mod counts;
mod delete;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod driver;
mod exit;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod gather;
mod hold;
mod lease;
mod list;
mod listener;
mod load;
mod maintenance;
mod node_cell;
mod quota;
mod read;
mod refresh;
mod resize;
mod room;
mod scope;
mod snapshot;
mod stats;
mod target;
mod upkeep;
mod validate;
mod write;
mod writer;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::builder::{CacheBuilder, Maintenance, OnFull};
use self::core::Core;
pub use self::lease::Lease;
pub use self::maintenance::Progress;
pub use self::read::EntryRef;
pub use self::refresh::Refresh;
pub use self::scope::Scope;
pub use self::snapshot::{Snapshot, UserMisses, UserUsage};
pub use self::stats::{RemovalCounts, Stats};
use self::target::Target;
pub use self::validate::Violations;
use crate::error::Result;
use crate::item::{Item, Removed, Usage, Version};
use crate::namespace::Namespace;
use crate::options::{Condition, SetOptions};
use crate::reclaim::{Guard, pin};
use crate::value::{Blob, IntoValue, Value};

/// A concurrent cache of data that belongs to somebody.
///
/// Every key lives in a [`Namespace`]: global, of a user, or of one session of a user. Deleting
/// a user or a session is atomic and takes `O(1)`, whatever it holds.
///
/// A `Cache` is a handle: clones are cheap and share everything, and the last one (scopes
/// included) closes it. `V` is what it holds: byte strings ([`Blob`]), or any
/// `T: Clone + Send + Sync + 'static`. One that is used again and again for the same namespace
/// is faster through a [`Scope`].
///
/// Calls of one key are linearizable with each other, with expiry, and with deletions of
/// sessions and users. After [`close`](Self::close) they fail with `Closed`.
///
/// ```
/// use scopecache::{Cache, Namespace, SetOptions};
/// use std::time::Duration;
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder().max_bytes(64 << 20).build()?;
///
/// let ada = Namespace::User { user: "ada" };
/// let options = SetOptions::new().ttl(Duration::from_secs(60));
/// cache.set(ada, "theme", "dark", &options)?;
/// assert_eq!(cache.get(ada, "theme")?.expect("present").data(), b"dark");
///
/// cache.delete_namespace(ada)?;
/// assert!(cache.get(ada, "theme")?.is_none());
/// # Ok(()) }
/// ```
///
/// Values of a type, without serialisation:
///
/// ```
/// use scopecache::Cache;
/// use std::sync::Arc;
///
/// # fn main() -> scopecache::Result<()> {
/// struct Profile { name: String }
///
/// let profiles = Cache::<Arc<Profile>>::builder().weigher(|profile| profile.name.len()).build()?;
/// let ada = profiles.user("ada")?;
/// ada.set("profile", Arc::new(Profile { name: "Ada Lovelace".into() }))?;
/// assert_eq!(ada.get("profile")?.expect("present").value().name, "Ada Lovelace");
/// # Ok(()) }
/// ```
pub struct Cache<V: Value = Blob, S = ahash::RandomState> {
    core: Arc<Core<V, S>>,
}

impl<V: Value> Cache<V> {
    /// Starts to make a cache.
    pub fn builder() -> CacheBuilder<V> {
        CacheBuilder::new()
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Cache<V, S> {
    /// The global namespace.
    pub fn global(&self) -> Scope<V, S> {
        Scope::new(self.clone(), Namespace::Global)
    }

    /// The namespace of a user.
    ///
    /// # Errors
    ///
    /// `InvalidKey` for an id that is empty or longer than 256 bytes.
    pub fn user(&self, user: &str) -> Result<Scope<V, S>> {
        self.scope(Namespace::User { user })
    }

    /// The namespace of a session of a user.
    ///
    /// # Errors
    ///
    /// `InvalidKey` for an id that is empty or longer than 256 bytes.
    pub fn session(&self, user: &str, session: &str) -> Result<Scope<V, S>> {
        self.scope(Namespace::Session { user, session })
    }

    /// Any namespace.
    ///
    /// # Errors
    ///
    /// `InvalidKey` for an id that is empty or longer than 256 bytes.
    pub fn scope(&self, namespace: Namespace<'_>) -> Result<Scope<V, S>> {
        namespace.check()?;
        Ok(Scope::new(self.clone(), namespace))
    }

    /// As [`Scope::get`].
    ///
    /// # Errors
    ///
    /// As for `Scope::get`, and `InvalidKey` for an id, as for all calls that take a namespace.
    pub fn get(&self, namespace: Namespace<'_>, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core.get(&self.target(namespace, key.as_ref())?)
    }

    /// As [`Scope::peek`].
    ///
    /// # Errors
    ///
    /// As for `Scope::peek`.
    pub fn peek(&self, namespace: Namespace<'_>, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core.peek(&self.target(namespace, key.as_ref())?)
    }

    /// As [`Scope::contains`].
    ///
    /// # Errors
    ///
    /// As for `Scope::contains`.
    pub fn contains(&self, namespace: Namespace<'_>, key: impl AsRef<[u8]>) -> Result<bool> {
        self.core.contains(&self.target(namespace, key.as_ref())?)
    }

    /// As [`Scope::set_with`].
    ///
    /// # Errors
    ///
    /// As for `Scope::set_with`.
    pub fn set(
        &self,
        namespace: Namespace<'_>,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
        options: &SetOptions,
    ) -> Result<Version> {
        let version = self.write(namespace, key, value, Condition::Always, options)?;
        Ok(version.expect("an unconditional write happens"))
    }

    /// As [`Scope::write`].
    ///
    /// # Errors
    ///
    /// As for `Scope::write`.
    pub fn write(
        &self,
        namespace: Namespace<'_>,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
        condition: Condition,
        options: &SetOptions,
    ) -> Result<Option<Version>> {
        let target = self.target(namespace, key.as_ref())?;
        value.with_input(|input| self.core.write(&target, input, condition, options))
    }

    /// As [`Scope::take`].
    ///
    /// # Errors
    ///
    /// As for `Scope::take`.
    pub fn take(&self, namespace: Namespace<'_>, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core.take(&self.target(namespace, key.as_ref())?)
    }

    /// As [`Scope::touch`].
    ///
    /// # Errors
    ///
    /// As for `Scope::touch`.
    pub fn touch(
        &self,
        namespace: Namespace<'_>,
        key: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<bool> {
        self.core.touch(&self.target(namespace, key.as_ref())?, ttl)
    }

    /// As [`Scope::delete`].
    ///
    /// # Errors
    ///
    /// As for `Scope::delete`.
    pub fn delete(&self, namespace: Namespace<'_>, key: impl AsRef<[u8]>) -> Result<bool> {
        self.core.delete(&self.target(namespace, key.as_ref())?)
    }

    /// As [`Scope::delete_all`].
    ///
    /// # Errors
    ///
    /// As for `Scope::delete_all`.
    pub fn delete_namespace(&self, namespace: Namespace<'_>) -> Result<Removed> {
        self.core.delete_namespace(namespace)
    }

    /// As [`Scope::keys`].
    ///
    /// # Errors
    ///
    /// As for `Scope::keys`.
    pub fn keys(&self, namespace: Namespace<'_>) -> Result<Vec<Bytes>> {
        let keys = self.core.keys(namespace, None, usize::MAX)?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    /// Returns the sessions of a user that hold anything, in ascending order; see
    /// [`Scope::sessions`].
    ///
    /// # Errors
    ///
    /// As for `Scope::sessions`.
    pub fn sessions(&self, user: &str) -> Result<Vec<String>> {
        self.core.sessions(user)
    }

    /// Returns the users that hold anything, in ascending order.
    ///
    /// # Complexity
    ///
    /// `O(users + sessions)`.
    ///
    /// # Consistency
    ///
    /// Weak: who is there throughout the call is listed, once.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn users(&self) -> Result<Vec<String>> {
        self.core.users()
    }

    /// As [`Scope::usage`].
    ///
    /// # Errors
    ///
    /// As for `Scope::usage`.
    pub fn usage(&self, namespace: Namespace<'_>) -> Result<Usage> {
        self.core.usage(namespace)
    }

    /// Walks over everything and checks every invariant; for tests and fuzzing.
    ///
    /// # Complexity
    ///
    /// At least `O(entries + table)`.
    ///
    /// # Errors
    ///
    /// What is broken. Nobody else may use the cache during the call: what others are in the
    /// middle of would be reported. Maintenance, by a driver or [`maintain`](Self::maintain), waits.
    pub fn validate(&self) -> std::result::Result<(), Violations> {
        self.core.validate()
    }

    fn target<'a>(&self, namespace: Namespace<'a>, key: &'a [u8]) -> Result<Target<'a>> {
        Target::new(namespace, key, &self.core.hasher)
    }
}

impl<V: Value, S> Cache<V, S> {
    fn new(core: Arc<Core<V, S>>) -> Self {
        Self { core }
    }

    fn core(&self) -> &Core<V, S> {
        &self.core
    }

    /// The cache without keeping it alive.
    #[cfg(all(target_os = "linux", not(any(scopecache_loom, scopecache_shuttle))))]
    pub(crate) fn downgrade(&self) -> WeakCache<V, S> {
        WeakCache(Arc::downgrade(&self.core))
    }

    /// Takes a guard, for [`Scope::get_ref`] or around several calls in a row.
    pub fn pin(&self) -> Guard {
        pin()
    }

    /// Deletes every namespace, each atomically, not all at one moment; returns how much there
    /// was.
    ///
    /// # Complexity
    ///
    /// `O(users)`.
    pub fn clear(&self) -> Removed {
        self.core.clear()
    }

    /// Refuses all calls from now on and frees everything. Closing again does nothing.
    ///
    /// Removals that are still to be reported are reported by this call, or by whoever is at it;
    /// what the cache still holds goes without a report.
    ///
    /// # Complexity
    ///
    /// `O(entries)`.
    pub fn close(&self) {
        self.core.close();
    }

    /// Returns whether the cache was closed.
    pub fn is_closed(&self) -> bool {
        self.core.directory.is_closed()
    }

    /// Returns what the cache holds at present.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Returns all figures, the `top` users that hold the most bytes, and as many that miss most.
    ///
    /// # Complexity
    ///
    /// `O(users)`: about 0.1 us for each, under a guard.
    ///
    /// # Consistency
    ///
    /// Weak, as for [`stats`](Self::stats): each user is looked at at a moment of its own.
    pub fn snapshot(&self, top: usize) -> Snapshot {
        self.core.snapshot(top)
    }

    /// Reclaims what was deleted, and looks for expired entries with what is left of `budget`,
    /// a number of handles and buckets to look at; returns what it did.
    ///
    /// Only one thread does this at a time; others return at once. At the end it calls the
    /// [removal listener](CacheBuilder::on_removal), up to `budget` times, unless somebody is in it.
    pub fn maintain(&self, budget: usize) -> Progress {
        self.core.maintain(budget, usize::MAX).progress
    }

    /// Maintains without looking through the table, which would hide a missing event or handle.
    #[cfg(scopecache_loom)]
    pub fn tend(&self, budget: usize) -> Progress {
        self.core.maintain(budget, 0).progress
    }

    /// Returns the bound on the memory in use, in bytes; see [`set_max_bytes`](Self::set_max_bytes).
    pub fn capacity_bytes(&self) -> u64 {
        self.core.budget.max()
    }

    /// Returns the memory in use, in bytes: live, and deleted but not yet freed.
    pub fn used_bytes(&self) -> u64 {
        self.core.live_bytes() + self.core.retired_bytes()
    }
}

/// A cache that somebody else keeps alive, or nobody does.
#[cfg(all(target_os = "linux", not(any(scopecache_loom, scopecache_shuttle))))]
pub(crate) struct WeakCache<V: Value, S>(std::sync::Weak<Core<V, S>>);

#[cfg(all(target_os = "linux", not(any(scopecache_loom, scopecache_shuttle))))]
impl<V: Value, S> WeakCache<V, S> {
    pub(crate) fn upgrade(&self) -> Option<Cache<V, S>> {
        self.0.upgrade().map(Cache::new)
    }
}

impl<V: Value, S> Clone for Cache<V, S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<V: Value, S> fmt::Debug for Cache<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
