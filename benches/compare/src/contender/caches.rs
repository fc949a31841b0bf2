//! Peers that are caches.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

use super::peer::{Peer, Shared, loaded};
use super::{Deletion, Loader, Room};
use crate::data::VALUE;

/// W-TinyLFU, a TTL for the whole cache or by `Expiry` for each entry.
///
/// Its documentation: `initial_capacity` avoids rehashing; values that are not cheap to clone
/// behind an `Arc`; `support_invalidation_closures` to delete by a predicate, which the
/// cache then looks at in each get until a scan has gone over everything.
pub(super) struct Moka {
    cache: moka::sync::Cache<String, MokaValue, RandomState>,
    /// A TTL of its own is part of the value, where `Expiry` finds it.
    expires: bool,
}

/// A value, and its TTL where that is not the cache's.
#[derive(Clone)]
struct MokaValue(Shared, Option<Duration>);

struct ByValue(Duration);

impl moka::Expiry<String, MokaValue> for ByValue {
    fn expire_after_create(&self, _: &String, value: &MokaValue, _: Instant) -> Option<Duration> {
        Some(value.1.unwrap_or(self.0))
    }
}

impl Peer for Moka {
    const DELETION: Option<Deletion> = Some(Deletion::Predicate);

    fn new(room: Room) -> Self {
        let mut builder = moka::sync::Cache::builder()
            .initial_capacity(room.expected)
            .max_capacity(room.entries())
            .support_invalidation_closures();
        if let Some(ttl) = room.ttl {
            builder = builder.expire_after(ByValue(ttl));
        }
        Self { cache: builder.build_with_hasher(RandomState::new()), expires: room.ttl.is_some() }
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        self.cache.get(key).map(|value| value.0[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.cache.insert(key, MokaValue(value, None));
    }

    fn insert_for(&self, key: String, value: Shared, ttl: Duration) -> bool {
        self.cache.insert(key, MokaValue(value, Some(ttl)));
        self.expires
    }

    fn remove(&self, key: &String) -> bool {
        self.cache.remove(key).is_some()
    }

    fn load(&self, key: &String, loader: &Loader) {
        let found = self.cache.get_with_by_ref(key, || MokaValue(loaded(loader), None));
        assert_eq!(found.0[0], VALUE[0]);
    }

    fn delete_prefix(&self, prefix: &str) {
        let prefix = prefix.to_owned();
        let is_of_user = move |key: &String, _: &MokaValue| key.starts_with(&prefix);
        self.cache.invalidate_entries_if(is_of_user).expect("closures are supported");
    }

    /// Each call looks at a batch of 384 entries for its predicates, and passes over the one that
    /// follows: `Inner::invalidate_entries` peeks whether there is a next one, by which the queue's
    /// cursor goes on. Once a scan is through, the predicate is forgotten, and whom it passed over
    /// is seen again, and stays (`seen_again` of `delete-user`).
    fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    fn entries(&self) -> u64 {
        self.cache.entry_count()
    }
}

/// moka's smaller sister: no loads, no predicates; the handle to a key must be a whole `String`.
pub(super) struct MiniMoka(mini_moka::sync::Cache<String, Shared, RandomState>);

impl Peer for MiniMoka {
    const DELETION: Option<Deletion> = Some(Deletion::Scan);

    fn new(room: Room) -> Self {
        let mut builder = mini_moka::sync::Cache::builder()
            .initial_capacity(room.expected)
            .max_capacity(room.entries());
        if let Some(ttl) = room.ttl {
            builder = builder.time_to_live(ttl);
        }
        Self(builder.build_with_hasher(RandomState::new()))
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        self.0.get(key).map(|value| value[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.insert(key, value);
    }

    /// It does not tell whether there was one, so that is asked for first.
    fn remove(&self, key: &String) -> bool {
        let was_there = self.0.contains_key(key);
        self.0.invalidate(key);
        was_there
    }

    /// It has nothing to load by: whoever misses loads.
    fn load(&self, key: &String, loader: &Loader) {
        if self.0.get(key).is_none() {
            self.0.insert(key.clone(), loaded(loader));
        }
    }

    fn delete_prefix(&self, prefix: &str) {
        let keys: Vec<String> = self
            .0
            .iter()
            .filter(|entry| entry.key().starts_with(prefix))
            .map(|entry| entry.key().clone())
            .collect();
        keys.iter().for_each(|key| self.0.invalidate(key));
    }

    fn settle(&self) {
        use mini_moka::sync::ConcurrentCacheExt;
        self.0.sync();
    }

    fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

/// S3-FIFO behind sharded locks, no TTL. Its documentation: tell it how many items to expect,
/// and a cheap hasher.
pub(super) struct QuickCache(quick_cache::sync::Cache<String, Shared, UnitWeighter, RandomState>);

impl Peer for QuickCache {
    const DELETION: Option<Deletion> = Some(Deletion::Scan);

    fn new(room: Room) -> Self {
        let lifecycle = DefaultLifecycle::default();
        Self(quick_cache::sync::Cache::with(
            room.expected,
            room.entries(),
            UnitWeighter,
            RandomState::new(),
            lifecycle,
        ))
    }

    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        self.0.get(key).map(|value| value[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: &String) -> bool {
        self.0.remove(key).is_some()
    }

    fn load(&self, key: &String, loader: &Loader) {
        let Ok(found) = self.0.get_or_insert_with(key, || Ok::<_, Infallible>(loaded(loader)));
        assert_eq!(found[0], VALUE[0]);
    }

    fn delete_prefix(&self, prefix: &str) {
        self.0.retain(|key, _| !key.starts_with(prefix));
    }

    fn entries(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The memory tier of foyer: a choice of policies, its default (LRU, 8 shards) taken; no TTL,
/// and nothing that deletes by a predicate in memory. Loads are asynchronous.
pub(super) struct Foyer(foyer_memory::Cache<String, Shared, RandomState>);

impl Peer for Foyer {
    const DELETION: Option<Deletion> = None;

    fn new(room: Room) -> Self {
        let capacity = room.entries() as usize;
        let builder = foyer_memory::CacheBuilder::new(capacity);
        Self(builder.with_hash_builder(RandomState::new()).build())
    }

    /// Its own handle counts references, so the value needs no second one.
    #[inline]
    fn get(&self, key: &String) -> Option<u8> {
        self.0.get(key).map(|entry| entry.value()[0])
    }

    #[inline]
    fn insert(&self, key: String, value: Shared) {
        self.0.insert(key, value);
    }

    fn remove(&self, key: &String) -> bool {
        self.0.remove(key).is_some()
    }

    /// The caller is inside a Tokio runtime, as foyer asks for, which does the loading.
    fn load(&self, key: &String, loader: &Loader) {
        if let Some(entry) = self.0.get(key) {
            assert_eq!(entry.value()[0], VALUE[0]);
            return;
        }
        let loader = Arc::clone(loader);
        let fetch = || async move { Ok::<_, std::io::Error>(loaded(&loader)) };
        let fetched = self.0.get_or_fetch(key, fetch);
        let entry = tokio::runtime::Handle::current().block_on(fetched).expect("nothing fails");
        assert_eq!(entry.value()[0], VALUE[0]);
    }

    fn delete_prefix(&self, _: &str) {
        unreachable!("it has no predicates");
    }

    fn entries(&self) -> u64 {
        self.0.entries() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where this fails, moka has mended it, and the README has to be told.
    #[test]
    fn moka_passes_over_one_entry_after_each_batch() {
        let moka = Moka::new(Room::for_all(1000));
        let keys: Vec<String> = (0..1000).map(|number| format!("user/{number}")).collect();
        for key in &keys {
            moka.insert(key.clone(), VALUE[..].into());
        }
        moka.settle();
        moka.delete_prefix("user");
        let seen = || keys.iter().filter(|key| moka.get(key).is_some()).collect::<Vec<_>>();
        (0..100).for_each(|_| moka.settle());
        assert_eq!(seen(), ["user/384", "user/769"]);
    }
}
