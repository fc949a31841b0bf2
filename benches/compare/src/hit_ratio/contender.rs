//! The caches that replay traces, each set up as its documentation says.
//!
//! Hashers are `ahash` with seeds of ours, so that a run can be repeated; the peers' own are
//! seeded at random, which moves their figures in the third or fourth decimal place.

use ahash::RandomState;
use anyhow::{Context, Result};
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{UnitWeighter, Weighter};
use scopecache::{Cache, CacheBuilder, ErrorKind, Eviction, Maintenance, Scope, Value};

use crate::traces::{Point, Trace};

/// One who replays a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Ours(Policy),
    QuickCache,
    Moka,
}

/// How scopecache chooses what to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Adaptive,
    S3Fifo,
}

/// A cache under replay.
pub(super) trait Replay {
    /// Looks the key up, and inserts it on a miss; whether it was a hit.
    fn request(&mut self, key: u64, size: u64) -> Result<bool>;
    /// Lets the cache do what it puts off.
    fn settle(&mut self) {}
    /// Of the bytes that count towards the bound, the share that is not the objects' own.
    fn overhead(&self) -> Result<Option<f64>> {
        Ok(None)
    }
}

impl Contender {
    pub(super) const CRATES: [&str; 3] = ["scopecache", "quick_cache", "moka"];

    pub(super) fn crate_name(self) -> &'static str {
        match self {
            Self::Ours(_) => "scopecache",
            Self::QuickCache => "quick_cache",
            Self::Moka => "moka",
        }
    }

    /// The crate, and the policy where that is not the default.
    pub(super) fn label(self) -> String {
        match self {
            Self::Ours(Policy::S3Fifo) => "scopecache s3-fifo".into(),
            _ => self.crate_name().into(),
        }
    }

    /// An empty cache of the size of the point.
    pub(super) fn start(self, point: Point, trace: &Trace, seed: u64) -> Result<Box<dyn Replay>> {
        let hasher = RandomState::with_seeds(seed, 1, 2, 3);
        let expected = match point {
            Point::Entries { capacity, .. } => capacity,
            // Of as many objects as would fit if all were of the trace's mean size.
            Point::Bytes { capacity, .. } => {
                let mean = trace.sizes.iter().sum::<u64>() / trace.sizes.len().max(1) as u64;
                (capacity / mean.max(1)).max(1)
            }
        } as usize;
        Ok(match (self, point) {
            (Self::Ours(policy), Point::Entries { .. }) => {
                let cache = ours(point, policy).hasher(hasher).expected_entries(expected);
                Box::new(Ours(cache.build()?.global()))
            }
            (Self::Ours(policy), Point::Bytes { .. }) => {
                let cache = ours(point, policy).hasher(hasher).expected_entries(expected);
                // The values are their own sizes, and nothing is allocated for them.
                let cache = cache.weigher(|size: &u64| *size as usize);
                Box::new(OursSized(cache.max_value_bytes(u32::MAX as usize - 1).build()?.global()))
            }
            (Self::QuickCache, Point::Entries { capacity, .. }) => {
                Box::new(Quick::new(expected, capacity, UnitWeighter, hasher))
            }
            (Self::QuickCache, Point::Bytes { capacity, .. }) => {
                Box::new(Quick::new(expected, capacity, BySize, hasher))
            }
            (Self::Moka, point) => {
                let mut builder = moka::sync::Cache::builder().max_capacity(point.capacity());
                if point.is_bytes() {
                    builder = builder.weigher(|_, &size| u32::try_from(size).unwrap_or(u32::MAX));
                }
                Box::new(Moka(builder.build_with_hasher(hasher)))
            }
        })
    }
}

/// The bound and the policy of scopecache.
///
/// Its thread would feed the queues at moments that differ from run to run, so it is left out;
/// whoever inserts does it then.
fn ours<V: Value>(point: Point, policy: Policy) -> CacheBuilder<V> {
    /// Where entries are counted: more bytes than any trace needs.
    const PLENTY: u64 = 1 << 40;
    let builder = Cache::<V>::builder().maintenance(Maintenance::Manual);
    let builder = match point {
        Point::Entries { capacity, .. } => builder.max_entries(capacity).max_bytes(PLENTY),
        Point::Bytes { capacity, .. } => builder.max_bytes(capacity),
    };
    builder.eviction(match policy {
        Policy::Adaptive => Eviction::Adaptive,
        Policy::S3Fifo => Eviction::S3Fifo,
    })
}

struct Ours(Scope);

impl Replay for Ours {
    fn request(&mut self, key: u64, _: u64) -> Result<bool> {
        let key = key.to_be_bytes();
        if self.0.get(key)?.is_some() {
            return Ok(true);
        }
        self.0.set(key, &key)?;
        Ok(false)
    }
}

struct OursSized(Scope<u64>);

impl Replay for OursSized {
    fn request(&mut self, key: u64, size: u64) -> Result<bool> {
        let key = key.to_be_bytes();
        if self.0.get(key)?.is_some() {
            return Ok(true);
        }
        match self.0.set(key, size) {
            // Larger than the whole cache.
            Err(error) if error.kind() == ErrorKind::CapacityExceeded => {}
            Err(error) if matches!(error.kind(), ErrorKind::ValueTooLarge { .. }) => {}
            answer => drop(answer.context("a set failed")?),
        }
        Ok(false)
    }

    fn overhead(&self) -> Result<Option<f64>> {
        let mut own = 0;
        for key in self.0.keys()? {
            own += self.0.peek(key)?.map_or(0, |size| *size.value());
        }
        let live = self.0.cache().stats().live_bytes;
        Ok((live > 0).then(|| live.saturating_sub(own) as f64 / live as f64))
    }
}

/// The size of an object is its value.
#[derive(Clone)]
struct BySize;

impl Weighter<u64, u64> for BySize {
    fn weight(&self, _: &u64, size: &u64) -> u64 {
        *size
    }
}

struct Quick<W>(quick_cache::sync::Cache<u64, u64, W, RandomState>);

impl<W: Weighter<u64, u64> + Clone> Quick<W> {
    /// `expected` is what its documentation calls "roughly equivalent to `weight_capacity /
    /// average item weight`".
    fn new(expected: usize, capacity: u64, weighter: W, hasher: RandomState) -> Self {
        let lifecycle = DefaultLifecycle::default();
        Self(quick_cache::sync::Cache::with(expected, capacity, weighter, hasher, lifecycle))
    }
}

impl<W: Weighter<u64, u64> + Clone> Replay for Quick<W> {
    fn request(&mut self, key: u64, size: u64) -> Result<bool> {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, size);
        }
        Ok(hit)
    }
}

struct Moka(moka::sync::Cache<u64, u64, RandomState>);

impl Replay for Moka {
    fn request(&mut self, key: u64, size: u64) -> Result<bool> {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, size);
        }
        Ok(hit)
    }

    /// It outgrows its bound until its tasks are run.
    fn settle(&mut self) {
        self.0.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_replays() {
        let keys = vec![1, 2, 3, 1, 2, 3];
        let trace = Trace { name: "t".into(), sizes: vec![10; 6], keys, unique_keys: 3 };
        for contender in [Contender::Ours(Policy::Adaptive), Contender::QuickCache, Contender::Moka]
        {
            for point in [
                Point::Entries { fraction: 1.0, capacity: 100 },
                Point::Bytes { fraction: 1.0, capacity: 1 << 20 },
            ] {
                let mut cache = contender.start(point, &trace, 1).unwrap();
                let mut hits = 0;
                for (at, &key) in trace.keys.iter().enumerate() {
                    hits += u32::from(cache.request(key, trace.size(at)).unwrap());
                    cache.settle();
                }
                assert_eq!(hits, 3, "{}", contender.label());
            }
        }
    }
}
