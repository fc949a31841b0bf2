//! A namespace resolved once: the fast path.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;

use crate::cache::Cache;
use crate::cache::core::Core;
use crate::cache::node_cell::NodeCell;
use crate::cache::read::EntryRef;
use crate::cache::target::Target;
use crate::error::Result;
use crate::item::{Item, Removed, Usage, Version};
use crate::namespace::{Namespace, OwnedNamespace};
use crate::options::{Condition, SetOptions};
use crate::reclaim::{Guard, pin};
use crate::value::{Blob, IntoValue, Value};

/// A namespace of a [`Cache`], resolved once: ids checked, prefix hashed, node at hand.
///
/// It is how one works with a cache: calls through a scope are faster than those that name the
/// namespace each time. Making one costs about a read; it stays valid for ever, also over
/// deletions of its namespace, and keeps the cache alive.
///
/// Every call is linearizable, costs `O(1)` unless it says otherwise, and fails with `Closed`
/// once the cache is closed and with `InvalidKey` for a key that is empty or longer than 512
/// bytes.
///
/// ```
/// use scopecache::Cache;
///
/// # fn main() -> scopecache::Result<()> {
/// let cache: Cache = Cache::builder().build()?;
/// let session = cache.session("user123", "session456")?;
/// session.set("state", br#"{"last_action":"connect"}"#)?;
/// assert_eq!(session.get("state")?.expect("present").data(), br#"{"last_action":"connect"}"#);
///
/// cache.user("user123")?.delete_all()?; // the user, all sessions included
/// assert!(session.get("state")?.is_none());
/// # Ok(()) }
/// ```
// With the default hasher all of it stands in one cache line: the first that a get waits for.
#[repr(align(64))]
pub struct Scope<V: Value = Blob, S: BuildHasher<Hasher: Clone> = ahash::RandomState> {
    cache: Cache<V, S>,
    namespace: Box<OwnedNamespace>,
    prefix: S::Hasher,
    prefix_hash: u64,
    cell: NodeCell,
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Scope<V, S> {
    /// The ids are valid.
    pub(super) fn new(cache: Cache<V, S>, namespace: Namespace<'_>) -> Self {
        let prefix = namespace.prefix(&cache.core().hasher);
        let cell = NodeCell::new(cache.core().directory.find(namespace, &pin()));
        let prefix_hash = prefix.finish();
        Self { cache, namespace: Box::new(namespace.into()), prefix, prefix_hash, cell }
    }

    pub(super) fn core(&self) -> &Core<V, S> {
        self.cache.core()
    }

    #[inline(always)]
    pub(super) fn target<'a>(&'a self, key: &'a [u8]) -> Result<Target<'a>> {
        Target::in_scope(&self.namespace, &self.prefix, self.prefix_hash, &self.cell, key)
    }

    /// The namespace.
    pub fn namespace(&self) -> Namespace<'_> {
        self.namespace.get()
    }

    /// The cache.
    pub fn cache(&self) -> &Cache<V, S> {
        &self.cache
    }

    /// Returns a copy of the live item, or `None` where it is absent, expired or deleted.
    ///
    /// # Complexity
    ///
    /// Two dependent memory accesses, and a copy of the value; byte strings up to 94 bytes need
    /// no allocation, those above 1 KiB are shared.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`. A miss is none.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core().get(&self.target(key.as_ref())?)
    }

    /// Returns the live entry itself, borrowed under a guard: nothing is copied or counted.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// # let cache: scopecache::Cache = scopecache::Cache::builder().build()?;
    /// let scope = cache.global();
    /// scope.set("k", "value")?;
    /// let guard = cache.pin();
    /// let entry = scope.get_ref("k", &guard)?.expect("present");
    /// assert_eq!(entry.data(), b"value");
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get_ref<'g>(
        &'g self,
        key: impl AsRef<[u8]>,
        guard: &'g Guard,
    ) -> Result<Option<EntryRef<'g, V>>> {
        self.core().get_ref(&self.target(key.as_ref())?, guard)
    }

    /// Returns a copy of the live item and leaves no trace: it does not count as a
    /// hit in eviction, and a sliding TTL is not renewed.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`.
    pub fn peek(&self, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core().peek(&self.target(key.as_ref())?)
    }

    /// Returns whether there is a live item, and leaves no trace.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.core().contains(&self.target(key.as_ref())?)
    }

    /// Stores a value, whatever was there, and returns its version. Its TTL is that of the cache's
    /// [`ExpiryPolicy`](crate::ExpiryPolicy), if it has one.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `ValueTooLarge`, `CapacityExceeded`, `Closed`, and `InvalidOptions` where the
    /// function of the policy gives a TTL of zero; nothing was changed then.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl IntoValue<V>) -> Result<Version> {
        self.set_with(key, value, SetOptions::new())
    }

    /// Stores a value, whatever was there, and returns its version.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set), and `InvalidOptions` where the options contradict each other.
    pub fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
        options: SetOptions,
    ) -> Result<Version> {
        let version = self.write(key, value, Condition::Always, options)?;
        Ok(version.expect("an unconditional write happens"))
    }

    /// Stores a value if the condition holds; returns its version, or `None` if it did not.
    ///
    /// # Errors
    ///
    /// As for [`set_with`](Self::set_with).
    pub fn write(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
        condition: Condition,
        options: SetOptions,
    ) -> Result<Option<Version>> {
        let target = self.target(key.as_ref())?;
        value.with_input(|input| self.core().write(&target, input, condition, &options))
    }

    /// Stores a value if the key is absent; returns its version, or `None` if there was one.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn insert(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
    ) -> Result<Option<Version>> {
        self.write(key, value, Condition::Absent, SetOptions::new())
    }

    /// Stores a value if the key is present; returns its version, or `None` if it was absent.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn replace(
        &self,
        key: impl AsRef<[u8]>,
        value: impl IntoValue<V>,
    ) -> Result<Option<Version>> {
        self.write(key, value, Condition::Present, SetOptions::new())
    }

    /// Stores a value if the key is present in this version; returns the new one, or `None`
    /// where somebody else was faster.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        version: Version,
        value: impl IntoValue<V>,
    ) -> Result<Option<Version>> {
        self.write(key, value, Condition::Version(version), SetOptions::new())
    }

    /// Replaces the value by what `change` makes of it, keeping its TTL; returns the new
    /// version, or `None` where the key is absent.
    ///
    /// The change is atomic. Where others write the key meanwhile, `change` runs again on what
    /// they wrote. It runs under a guard: it should be short, and must not wait.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// # use scopecache::Cache;
    /// let counters: Cache<u64> = Cache::builder().build()?;
    /// let scope = counters.user("ada")?;
    /// scope.set("visits", 1)?;
    /// scope.update("visits", |visits| visits + 1)?;
    /// assert_eq!(scope.get("visits")?.expect("present").value(), &2);
    /// # Ok(()) }
    /// ```
    pub fn update<I: IntoValue<V>>(
        &self,
        key: impl AsRef<[u8]>,
        change: impl FnMut(&V::Borrowed) -> I,
    ) -> Result<Option<Version>> {
        self.core().update(&self.target(key.as_ref())?, change)
    }

    /// Removes the item and returns it; of several callers one gets it.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`.
    pub fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<Item<V>>> {
        self.core().take(&self.target(key.as_ref())?)
    }

    /// Gives the item a new TTL from now on, value and version kept; returns whether there is
    /// one. A sliding TTL stays sliding and within its maximum lifetime.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `InvalidOptions` for a TTL of zero, `CapacityExceeded`, `Closed`.
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        self.core().touch(&self.target(key.as_ref())?, ttl)
    }

    /// Removes the item; returns whether there was one.
    ///
    /// A load of the key that is under way loses the right to store.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`. Absence is none.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.core().delete(&self.target(key.as_ref())?)
    }

    /// Deletes the whole namespace; a user goes with all its sessions.
    ///
    /// Atomic: at one moment within the call everything becomes invisible, and no set or load
    /// that began before it brings anything back.
    ///
    /// # Complexity
    ///
    /// `O(1)`, whatever it held. The memory is reclaimed afterwards, see
    /// [`Maintenance`](crate::Maintenance).
    ///
    /// # Errors
    ///
    /// `Closed`. Absence is none.
    pub fn delete_all(&self) -> Result<Removed> {
        self.core().delete_namespace(self.namespace())
    }

    /// Returns the live items of many keys, in their order.
    ///
    /// Each item is read atomically, not all at one moment. The memory accesses of the keys
    /// overlap: out of cache this is several times as fast as as many gets.
    ///
    /// # Errors
    ///
    /// `InvalidKey` if any key is invalid, `Closed`.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Item<V>>>> {
        let targets = self.targets(keys)?;
        self.core().get_many(&targets)
    }

    /// Stores many values as [`set`](Self::set) does; returns their versions in order.
    ///
    /// Each is stored atomically, not all at one moment.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set); the values before the one that failed are stored.
    pub fn set_many<K: AsRef<[u8]>, I: IntoValue<V>>(
        &self,
        items: impl IntoIterator<Item = (K, I)>,
    ) -> Result<Vec<Version>> {
        items.into_iter().map(|(key, value)| self.set(key, value)).collect()
    }

    /// Removes many items; returns how many there were.
    ///
    /// Each is removed atomically, not all at one moment.
    ///
    /// # Errors
    ///
    /// `InvalidKey` if any key is invalid (nothing is removed then), `Closed`.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<u64> {
        let mut removed = 0;
        for target in self.targets(keys)? {
            removed += u64::from(self.core().delete(&target)?);
        }
        Ok(removed)
    }

    fn targets<'a, K: AsRef<[u8]>>(&'a self, keys: &'a [K]) -> Result<Vec<Target<'a>>> {
        // Not collected: the iterator of a `Result` does not tell its length in advance.
        let mut targets = Vec::with_capacity(keys.len());
        for key in keys {
            targets.push(self.target(key.as_ref())?);
        }
        Ok(targets)
    }

    /// Returns the keys of the namespace, in no order; of a user not those of its sessions.
    ///
    /// # Complexity
    ///
    /// `O(keys)`.
    ///
    /// # Consistency
    ///
    /// Weak: what is present throughout the call is listed, once.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn keys(&self) -> Result<Vec<Bytes>> {
        let keys = self.core().keys(self.namespace(), None, usize::MAX)?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    /// Returns the sessions of the user that hold anything, in ascending order.
    ///
    /// # Complexity
    ///
    /// `O(sessions)`.
    ///
    /// # Consistency
    ///
    /// Weak: what is present throughout the call is listed, once.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` unless this is the scope of a user; `Closed`.
    pub fn sessions(&self) -> Result<Vec<String>> {
        self.core().sessions_of(self.namespace())
    }

    /// Returns how much the namespace holds; for a user its sessions included.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn usage(&self) -> Result<Usage> {
        self.core().usage(self.namespace())
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Clone for Scope<V, S> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            namespace: self.namespace.clone(),
            prefix: self.prefix.clone(),
            prefix_hash: self.prefix_hash,
            cell: NodeCell::new(self.cell.node(&pin())),
        }
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> fmt::Debug for Scope<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids may be secrets: they are not shown.
        let kind = match self.namespace() {
            Namespace::Global => "global",
            Namespace::User { .. } => "user",
            Namespace::Session { .. } => "session",
        };
        f.debug_struct("Scope").field("namespace", &kind).finish_non_exhaustive()
    }
}
