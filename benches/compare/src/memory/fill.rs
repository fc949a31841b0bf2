//! The caches and maps that are filled, each set up for the number of entries it will hold.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use scopecache::{Cache, CacheBuilder, Value};

use super::layout::{FIXED_VALUE_BYTES, Layout, Names};

/// The TTL of those that know one.
const TTL: Duration = Duration::from_secs(3600);

/// Whose memory is measured.
pub(super) const CRATES: [&str; 5] = ["scopecache", "moka", "quick_cache", "dashmap", "papaya"];

/// Whether the entries of a peer have a deadline in these measurements.
pub(super) fn has_ttl(peer: &str) -> bool {
    matches!(peer, "scopecache" | "moka")
}

/// What to fill with.
pub(super) struct Content {
    pub(super) layout: Layout,
    pub(super) names: Names,
    pub(super) entries: u64,
    pub(super) value_bytes: usize,
}

/// Something that was filled.
pub(super) trait Filled {
    /// Does what was put off, and tells how many entries there are.
    fn settle(&self) -> u64;
    /// What it believes to use itself.
    fn counted_bytes(&self) -> Option<u64> {
        None
    }
}

impl Content {
    pub(super) fn fill(&self, peer: &str) -> Result<Box<dyn Filled>> {
        let value = vec![7; self.value_bytes];
        // A shared slice: one allocation, and a get copies no bytes, as moka and quick_cache
        // advise for values that are not cheap to clone.
        let shared = || -> Arc<[u8]> { value.as_slice().into() };
        let names = &self.names;
        match self.layout {
            _ if peer == "scopecache" => self.fill_ours(&value),
            Layout::Fixed => {
                fill(peer, self.entries, |entry| (names.plain(entry), [7_u8; FIXED_VALUE_BYTES]))
            }
            Layout::Plain => fill(peer, self.entries, |entry| {
                let key: Box<[u8]> = names.plain(entry).into();
                (key, shared())
            }),
            Layout::Sessions { .. } => fill(peer, self.entries, |entry| {
                let key: Box<[u8]> = names.joined(entry).into();
                (key, shared())
            }),
        }
    }

    fn fill_ours(&self, value: &[u8]) -> Result<Box<dyn Filled>> {
        match self.layout {
            Layout::Fixed => {
                let cache: Cache<[u8; FIXED_VALUE_BYTES]> = self.ours().build()?;
                let scope = cache.global();
                for entry in 0..self.entries {
                    scope.set(self.names.plain(entry), [7; FIXED_VALUE_BYTES])?;
                }
                Ok(Box::new(cache))
            }
            Layout::Plain => {
                let cache: Cache = self.ours().build()?;
                let scope = cache.global();
                for entry in 0..self.entries {
                    scope.set(self.names.plain(entry), value)?;
                }
                Ok(Box::new(cache))
            }
            Layout::Sessions { keys } => {
                let cache: Cache = self.ours().build()?;
                for session in 0..self.entries.div_ceil(keys) {
                    // As a connection would: its scope goes when it ends.
                    let (user, id) = self.names.ids(session);
                    let scope = cache.session(user.as_str(), id.as_str())?;
                    for entry in session * keys..((session + 1) * keys).min(self.entries) {
                        scope.set(self.names.key_in_session(entry), value)?;
                    }
                }
                Ok(Box::new(cache))
            }
        }
    }

    /// A bound that is never reached, as the others have it here.
    fn ours<V: Value>(&self) -> CacheBuilder<V> {
        let most = self.entries.saturating_mul(4096 + self.value_bytes as u64);
        let builder = Cache::<V>::builder().max_bytes(most.max(64 << 20)).default_ttl(TTL);
        builder.expected_entries(self.entries as usize)
    }
}

/// Fills a peer that is generic over keys and values.
fn fill<K, V>(peer: &str, entries: u64, item: impl Fn(u64) -> (K, V)) -> Result<Box<dyn Filled>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let count = entries as usize;
    // Both bounded ones get twice the room: quick_cache splits its bound over shards, and none
    // of them shall overflow.
    let bound = 2 * entries;
    let items = (0..entries).map(item);
    Ok(match peer {
        "moka" => {
            let builder = moka::sync::Cache::builder().initial_capacity(count).max_capacity(bound);
            let cache = builder.time_to_live(TTL).build();
            items.for_each(|(key, value)| cache.insert(key, value));
            Box::new(cache)
        }
        "quick_cache" => {
            let weighter = quick_cache::UnitWeighter;
            let cache = quick_cache::sync::Cache::with_weighter(count, bound, weighter);
            items.for_each(|(key, value)| cache.insert(key, value));
            Box::new(cache)
        }
        "dashmap" => {
            let map = dashmap::DashMap::with_capacity(count);
            items.for_each(|(key, value)| drop(map.insert(key, value)));
            Box::new(map)
        }
        "papaya" => {
            let map = papaya::HashMap::with_capacity(count);
            let pinned = map.pin();
            for (key, value) in items {
                pinned.insert(key, value);
            }
            drop(pinned);
            Box::new(map)
        }
        other => bail!("there is no peer `{other}`"),
    })
}

impl<V: Value> Filled for Cache<V> {
    fn settle(&self) -> u64 {
        for _ in 0..4 {
            self.maintain(1024);
        }
        self.stats().entries
    }

    fn counted_bytes(&self) -> Option<u64> {
        Some(self.used_bytes() + self.stats().table_bytes)
    }
}

impl<K, V> Filled for moka::sync::Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn settle(&self) -> u64 {
        self.run_pending_tasks();
        self.entry_count()
    }
}

impl<K: Hash + Eq, V: Clone> Filled for quick_cache::sync::Cache<K, V> {
    fn settle(&self) -> u64 {
        self.len() as u64
    }
}

impl<K: Hash + Eq, V> Filled for dashmap::DashMap<K, V> {
    fn settle(&self) -> u64 {
        self.len() as u64
    }
}

impl<K: Hash + Eq, V> Filled for papaya::HashMap<K, V> {
    fn settle(&self) -> u64 {
        self.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_holds_everything_in_every_layout() {
        for layout in Layout::ALL {
            let names = layout.names(1, 3);
            let content = Content { layout, names, entries: 500, value_bytes: FIXED_VALUE_BYTES };
            for peer in CRATES {
                let filled = content.fill(peer).unwrap();
                assert_eq!(filled.settle(), 500, "{peer}, {layout}");
            }
        }
    }
}
