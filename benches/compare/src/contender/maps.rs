//! Peers that are maps: what one takes who does without bounds, deadlines and eviction.

use std::sync::Arc;

use ahash::RandomState;

use super::peer::{Peer, Shared, loaded};
use super::{Deletion, Loader, Room};
use crate::data::VALUE;

/// Shards behind reader-writer locks.
pub(super) struct DashMap(dashmap::DashMap<String, Shared, RandomState>);

impl Peer for DashMap {
    const DELETION: Option<Deletion> = Some(Deletion::Scan);

    fn new(room: Room) -> Self {
        Self(dashmap::DashMap::with_capacity_and_hasher(room.expected, RandomState::new()))
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        let value = self.0.get(key).map(|value| Arc::clone(&value));
        value.map(|value| value[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: &String) -> bool {
        self.0.remove(key).is_some()
    }

    /// The loader runs under the lock of the key's shard.
    fn load(&self, key: &String, loader: &Loader) {
        if self.get(key).is_none() {
            let found = self.0.entry(key.clone()).or_insert_with(|| loaded(loader));
            assert_eq!(found[0], VALUE[0]);
        }
    }

    fn delete_prefix(&self, prefix: &str) {
        self.0.retain(|key, _| !key.starts_with(prefix));
    }

    fn entries(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Lock-free, best where most calls read.
pub(super) struct Papaya(papaya::HashMap<String, Shared, RandomState>);

impl Peer for Papaya {
    const DELETION: Option<Deletion> = Some(Deletion::Scan);

    fn new(room: Room) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(room.expected, RandomState::new()))
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        let value = self.0.pin().get(key).map(Arc::clone);
        value.map(|value| value[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.pin().insert(key, value);
    }

    fn remove(&self, key: &String) -> bool {
        self.0.pin().remove(key).is_some()
    }

    /// All who miss may load; the first to finish is stored.
    fn load(&self, key: &String, loader: &Loader) {
        if self.get(key).is_none() {
            let pinned = self.0.pin();
            let found = pinned.get_or_insert_with(key.clone(), || loaded(loader));
            assert_eq!(found[0], VALUE[0]);
        }
    }

    fn delete_prefix(&self, prefix: &str) {
        self.0.pin().retain(|key, _| !key.starts_with(prefix));
    }

    fn entries(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Locks in each bucket of 32 entries, and resizing that nobody waits for. Its `HashMap`, which
/// is for maps that are written too; its `HashIndex` reads faster but replaces no value in place.
pub(super) struct Scc(scc::HashMap<String, Shared, RandomState>);

impl Peer for Scc {
    const DELETION: Option<Deletion> = Some(Deletion::Scan);

    fn new(room: Room) -> Self {
        Self(scc::HashMap::with_capacity_and_hasher(room.expected, RandomState::new()))
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        let value = self.0.read_sync(key, |_, value| Arc::clone(value));
        value.map(|value| value[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.upsert_sync(key, value);
    }

    fn remove(&self, key: &String) -> bool {
        self.0.remove_sync(key).is_some()
    }

    /// The loader runs under the lock of the key's bucket.
    fn load(&self, key: &String, loader: &Loader) {
        if self.get(key).is_none() {
            let found = self.0.entry_sync(key.clone()).or_insert_with(|| loaded(loader));
            assert_eq!(found.get()[0], VALUE[0]);
        }
    }

    fn delete_prefix(&self, prefix: &str) {
        self.0.retain_sync(|key, _| !key.starts_with(prefix));
    }

    fn entries(&self) -> u64 {
        self.0.len() as u64
    }
}
