//! What tests of bounds share.

use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{Blob, Cache, CacheBuilder, Maintenance, Scope};

/// After this a test that waits for another thread gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The epochs are those of the process: a test that holds a guard, `validate` included, keeps
/// the memory of all caches from being freed. That is the subject of one test, and must not make
/// the others fail.
pub(crate) fn builder() -> CacheBuilder<Blob> {
    Cache::builder().maintenance(Maintenance::Manual).max_retired_bytes(1 << 30)
}

/// Does what is pending, and checks every invariant.
#[track_caller]
pub(crate) fn settle<S>(cache: &Cache<Blob, S>)
where
    S: BuildHasher<Hasher: Clone>,
{
    let most = 100_000;
    assert!((0..most).any(|_| !cache.maintain(1000).pending), "maintenance comes to no end");
    if let Err(broken) = cache.validate() {
        panic!("{broken}");
    }
}

/// Asks again and again, other threads at work; answers how long it took.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
    start.elapsed()
}

/// Splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Sets new keys until the first eviction, and as many again.
pub(crate) fn fill(scope: &Scope, bytes: usize) -> scopecache::Result<()> {
    let mut last = 0;
    for key in 0_u64.. {
        scope.set(format!("filler {key}"), vec![7; bytes])?;
        let entries = scope.cache().stats().entries;
        if entries <= last && key > 2 * last {
            return Ok(());
        }
        last = last.max(entries);
    }
    Ok(())
}
