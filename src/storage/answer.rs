//! What a storage answers: items, and what it can do.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

use crate::item::{Item, Version};
use crate::storage::Expiry;

/// A live item as a [`Storage`](crate::Storage) returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageItem {
    /// The value.
    pub data: Bytes,
    /// When it was written, in wall-clock time; some storages tell it to within 10 ms.
    pub created_at: SystemTime,
    /// From when on it is no longer returned, in wall-clock time; `None` without a TTL.
    pub expires_at: Option<SystemTime>,
    /// The version that its write answered.
    pub version: Version,
}

/// What a [`Storage`](crate::Storage) can do beyond the contract of the trait.
///
/// Everything is `false` at first; a backend sets what it is sure of:
///
/// ```
/// use scopecache::Capabilities;
///
/// let mut mine = Capabilities::none();
/// mine.durable = true;
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A deletion of a namespace takes effect at one moment, for all keys at once.
    pub atomic_namespace_delete: bool,
    /// Nothing is returned at or after its deadline, by the storage's own clock.
    pub exact_expiry: bool,
    /// [`Storage::load`](crate::Storage::load) runs one loader per key at a time, and never stores an answer that a
    /// write or a delete has overtaken.
    pub single_loader: bool,
    /// All calls for a key, and deletions of its namespace, are linearizable.
    pub linearizable: bool,
    /// Versions exist, and conditional writes are atomic.
    pub versions: bool,
    /// [`Options::keep_ttl`](crate::Options::keep_ttl) is understood.
    pub keep_ttl: bool,
    /// [`Options::sliding`](crate::Options::sliding) is understood.
    pub sliding_ttl: bool,
    /// [`Storage::keys`](crate::Storage::keys) answers.
    pub lists_keys: bool,
    /// [`Storage::sessions`](crate::Storage::sessions) answers.
    pub lists_sessions: bool,
    /// `Removed::entries` of a deletion is what was there, not zero.
    pub counts_removed_entries: bool,
    /// `Removed::bytes` of the deletion of a namespace is what it used, not zero.
    pub counts_removed_bytes: bool,
    /// What was stored survives the end of the process.
    pub durable: bool,
    /// Several processes see the same data.
    pub shared: bool,
}

impl StorageItem {
    /// Whether [`expires_at`](Self::expires_at) has come, by the system's wall clock.
    ///
    /// A storage never returns an expired item; this is for those who keep one.
    pub fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= SystemTime::now())
    }

    /// What was loaded just now and is gone already, as far as the loader knows.
    pub(super) fn fresh(data: Bytes, expiry: Expiry, version: Version) -> Self {
        let created_at = SystemTime::now();
        let lifetime = match expiry {
            Expiry::Ttl(ttl) => Some(ttl),
            Expiry::Sliding { ttl, max_lifetime } => Some(ttl.min(max_lifetime)),
            Expiry::Default | Expiry::Keep => None,
        };
        let expires_at = lifetime.and_then(|lifetime| created_at.checked_add(lifetime));
        Self { data, created_at, expires_at, version }
    }
}

impl From<Item> for StorageItem {
    fn from(item: Item) -> Self {
        Self {
            created_at: item.created_at(),
            expires_at: item.expires_at(),
            version: item.version(),
            data: item.into_bytes(),
        }
    }
}

impl fmt::Debug for StorageItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The data may be a secret: only its length is shown.
        f.debug_struct("StorageItem")
            .field("data_bytes", &self.data.len())
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("version", &self.version)
            .finish()
    }
}

impl Capabilities {
    /// Nothing beyond the contract.
    pub const fn none() -> Self {
        Self {
            atomic_namespace_delete: false,
            exact_expiry: false,
            single_loader: false,
            linearizable: false,
            versions: false,
            keep_ttl: false,
            sliding_ttl: false,
            lists_keys: false,
            lists_sessions: false,
            counts_removed_entries: false,
            counts_removed_bytes: false,
            durable: false,
            shared: false,
        }
    }
}
