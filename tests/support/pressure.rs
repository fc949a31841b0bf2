//! What tests share that press a cache hard: random numbers, and waiting for what takes its time.

use std::hash::BuildHasher;
use std::thread;
use std::time::Instant;

use scopecache::{Cache, Value};

// Each program of tests says how long it waits.
use crate::PATIENCE;

/// Does what is pending, and checks every invariant.
#[track_caller]
pub(crate) fn settle<V: Value, S>(cache: &Cache<V, S>)
where
    S: BuildHasher<Hasher: Clone>,
{
    let most = 100_000;
    assert!((0..most).any(|_| !cache.maintain(1000).pending), "maintenance comes to no end");
    if let Err(broken) = cache.validate() {
        panic!("{broken}");
    }
}

/// Asks again and again, other threads at work.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
