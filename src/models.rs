//! Parts of the engine by themselves, as the models of `loom-tests` run them.

use self::budget::Excess;
pub use crate::reclaim::{LEAST_BYTES, Litter, Pile};
// The figures of the budget below: loom sees them, as it does not in models of the whole engine.
use crate::sync::atomic as figures;

#[expect(dead_code, reason = "models ask less of it than the engine")]
#[path = "budget.rs"]
mod budget;

/// The budget, on atomics that loom sees.
pub struct Budget(budget::Budget);

impl Budget {
    /// A budget of `max` bytes for `shards` shards.
    pub fn new(max: u64, shards: usize) -> Self {
        Self(budget::Budget::new(max, shards))
    }

    /// Takes `bytes` into use; `false` where that would pass the bound.
    pub fn reserve(&self, shard: usize, bytes: u64) -> bool {
        self.0.account(shard).reserve(bytes)
    }

    /// Ends the use of `bytes` that were reserved.
    pub fn release(&self, shard: usize, bytes: u64) {
        self.0.account(shard).release(bytes);
    }

    /// Changes the bound; what is in use beyond it goes.
    pub fn resize(&self, max: u64) {
        self.0.resize(max, Excess::Goes);
    }

    /// Changes the bound; what is in use beyond it stays.
    pub fn resize_around_what_stays(&self, max: u64) {
        self.0.resize(max, Excess::Stays);
    }

    /// Takes what is free from the limit; answers how many bytes more are to go.
    pub fn come_down(&self) -> u64 {
        self.0.come_down()
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.used()
    }

    /// Bytes that may be in use at present.
    pub fn most(&self) -> u64 {
        self.0.most()
    }
}
