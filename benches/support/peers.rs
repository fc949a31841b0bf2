//! Other caches and maps, used as a good user of each would use them for data of sessions.
//!
//! All have one composite key for everything, `ahash` as the hasher, and values behind an `Arc`,
//! so that a get copies no bytes. The key is one joined string. The alternative, a struct of
//! three strings that is looked up through its borrowed twin (`Equivalent`, or `Borrow<dyn ..>`
//! where a crate knows only that), spares the joining but follows three pointers instead of one
//! when keys are compared: timed side by side it lost 13 of 16 rows of `get`, so each peer is
//! shown in its better form. The string for a look-up is built in a buffer that is used again,
//! so that it costs no allocation.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

use crate::support::data::{KeyRef, Names};

type Shared = Arc<[u8]>;

std::thread_local! {
    static JOINED: RefCell<String> = RefCell::new(String::with_capacity(128));
}

/// What the benches ask of a peer.
pub(crate) trait Peer: Sync {
    /// An empty one that holds so many entries without dropping any.
    fn new(entries: usize) -> Self;
    fn insert(&self, key: &str, value: Shared);
    fn get(&self, key: &str) -> Option<Shared>;
    fn remove(&self, key: &str) -> bool;

    /// Stores an entry for each number, in the order given.
    fn fill(entries: &[u32], names: &Names, value: &[u8]) -> Self
    where
        Self: Sized,
    {
        let peer = Self::new(entries.len());
        for &entry in entries {
            peer.set(names.of_entry(entry), value);
        }
        peer
    }

    #[inline]
    fn set(&self, key: KeyRef<'_>, value: &[u8]) {
        joined(key, |key| self.insert(key, value.into()));
    }

    #[inline]
    fn find(&self, key: KeyRef<'_>) -> Option<Shared> {
        joined(key, |key| self.get(key))
    }

    #[inline]
    fn delete(&self, key: KeyRef<'_>) -> bool {
        joined(key, |key| self.remove(key))
    }
}

#[inline]
fn joined<R>(key: KeyRef<'_>, f: impl FnOnce(&str) -> R) -> R {
    JOINED.with_borrow_mut(|buffer| f(key.join(buffer)))
}

/// A sharded map behind locks: no bound, no TTL.
pub(crate) struct DashMap(dashmap::DashMap<Box<str>, Shared, RandomState>);

impl Peer for DashMap {
    fn new(entries: usize) -> Self {
        Self(dashmap::DashMap::with_capacity_and_hasher(entries, RandomState::new()))
    }

    fn insert(&self, key: &str, value: Shared) {
        self.0.insert(key.into(), value);
    }

    #[inline]
    fn get(&self, key: &str) -> Option<Shared> {
        self.0.get(key).map(|value| Arc::clone(&value))
    }

    fn remove(&self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

/// A lock-free map: no bound, no TTL.
pub(crate) struct Papaya(papaya::HashMap<Box<str>, Shared, RandomState>);

impl Peer for Papaya {
    fn new(entries: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(entries, RandomState::new()))
    }

    fn insert(&self, key: &str, value: Shared) {
        self.0.pin().insert(key.into(), value);
    }

    #[inline]
    fn get(&self, key: &str) -> Option<Shared> {
        self.0.pin().get(key).map(Arc::clone)
    }

    fn remove(&self, key: &str) -> bool {
        self.0.pin().remove(key).is_some()
    }
}

/// A bounded cache, S3-FIFO, shards behind locks: no TTL.
pub(crate) struct QuickCache(quick_cache::sync::Cache<Box<str>, Shared, UnitWeighter, RandomState>);

impl Peer for QuickCache {
    fn new(entries: usize) -> Self {
        let capacity = 2 * entries as u64;
        let lifecycle = DefaultLifecycle::default();
        let hasher = RandomState::new();
        Self(quick_cache::sync::Cache::with(entries, capacity, UnitWeighter, hasher, lifecycle))
    }

    fn insert(&self, key: &str, value: Shared) {
        self.0.insert(key.into(), value);
    }

    #[inline]
    fn get(&self, key: &str) -> Option<Shared> {
        self.0.get(key)
    }

    fn remove(&self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

/// A bounded cache, W-TinyLFU, with a TTL.
pub(crate) struct Moka(moka::sync::Cache<Box<str>, Shared, RandomState>);

impl Peer for Moka {
    fn new(entries: usize) -> Self {
        let cache = moka::sync::Cache::builder()
            .initial_capacity(entries)
            .max_capacity(2 * entries as u64)
            .time_to_live(Duration::from_secs(3600))
            .build_with_hasher(RandomState::new());
        Self(cache)
    }

    fn insert(&self, key: &str, value: Shared) {
        self.0.insert(key.into(), value);
    }

    #[inline]
    fn get(&self, key: &str) -> Option<Shared> {
        self.0.get(key)
    }

    fn remove(&self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}
