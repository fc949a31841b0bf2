//! A bound that changes while the cache is in use.
//!
//! ```text
//!  bytes
//!    │ used ───┐  ▼ set_max_bytes
//!    │         └──────┐           the limit of the budget: what is free is taken from it at once,
//!    │                └────┐      then what each step evicts; nobody may use more
//!    │                     └────────
//!    │ - - - - - - - - - - - - - - -  the new bound
//! ```
//!
//! Nobody waits for it: reads go on, and a write that needs room evicts as much as it needs, as in
//! any full cache. What is beyond the bound goes in steps of 64 entries, one shard's lock and one
//! guard each, by maintenance and by [`Cache::shrink_to`].

use crate::budget::Excess;
use crate::cache::Cache;
use crate::cache::core::Core;
use crate::cache::maintenance::Progress;
use crate::cache::upkeep::Need;
use crate::error::{Error, Result};
use crate::reclaim::pin;
use crate::value::Value;

/// Handles that a step is counted for.
const STEP: usize = 64;
/// Steps after which a shrink gives up where others write as fast as it evicts.
const VAIN_STEPS: u32 = 256;

impl<V: Value, S> Core<V, S> {
    fn set_max_bytes(&self, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Err(Error::options(
                "max_bytes must be larger than zero; to empty, shrink_to(0)",
            ));
        }
        self.check_open()?;
        let excess = if self.settings.eviction.is_some() { Excess::Goes } else { Excess::Stays };
        self.budget.resize(bytes, excess);
        for shard in &self.shards {
            // The one who waits for this lock: no turn at a shard takes longer than a step. The total
            // is read under it, so of two who come at a time the later bound stays.
            shard.upkeep.lock().follow(self.total());
        }
        Ok(())
    }

    /// Some steps towards a bound that was lowered below what is in use, for about so many handles.
    /// Where nothing is ever evicted, it only looks whether what is in use fits by now.
    pub(super) fn come_down(&self, budget: usize) -> Progress {
        let mut progress = Progress::default();
        if !self.budget.is_coming_down() {
            return progress;
        }
        let mut excess = self.budget.come_down();
        if self.settings.eviction.is_none() {
            return progress;
        }
        let mut may_go = true;
        while may_go && excess > 0 && progress.examined < budget {
            progress.examined += STEP;
            may_go = self.evict_some(excess, progress.examined / STEP);
            excess = self.budget.come_down();
        }
        progress.pending = may_go && excess > 0;
        // Compactions were queued, and whoever closed the cache may have looked before.
        self.finish_if_closed();
        progress
    }

    /// Evicts some entries, of so many bytes at most, beginning with this shard; `false` where
    /// nothing may go at present.
    fn evict_some(&self, bytes: u64, shard: usize) -> bool {
        let shard = shard & (self.shards.len() - 1);
        // What stands for a key of the shard.
        let hash = (shard * self.shard_buckets()) as u64;
        self.make_room(hash, Need::Less(bytes), &pin()).is_ok()
    }

    fn shrink_to(&self, bytes: u64) -> u64 {
        let (mut least, mut vain) = (u64::MAX, 0);
        for shard in 0.. {
            let used = self.live_bytes();
            // Who takes room again while we make it is not chased for ever.
            vain = if used < least { 0 } else { vain + 1 };
            least = used.min(least);
            if used <= bytes || vain > VAIN_STEPS {
                break;
            }
            if !self.evict_some(used - bytes, shard) {
                // Readers may keep what went. They are waited for once, for a tenth of a second.
                self.flush();
                if self.relieve().is_err() || !self.evict_some(used - bytes, shard) {
                    break;
                }
            }
            if shard % STEP == STEP - 1 {
                self.flush();
            }
        }
        self.flush();
        let _ = self.budget.come_down();
        self.finish_if_closed();
        self.live_bytes()
    }
}

impl<V: Value, S> Cache<V, S> {
    /// Changes the bound on the memory in use, [`max_bytes`](crate::CacheBuilder::max_bytes), while
    /// others read and write.
    ///
    /// Raised, it holds at once. Lowered below what is in use, it holds for what comes: from now on
    /// use does not grow while it is above the bound. What is in use then
    ///
    /// - goes under [`OnFull::Evict`](crate::OnFull::Evict): the cache's maintenance evicts, in steps
    ///   of 64 entries between which others come to their turn; call [`shrink_to`](Self::shrink_to)
    ///   for it to be gone now. A write evicts what it needs itself, as in any full cache.
    /// - stays under [`OnFull::Reject`](crate::OnFull::Reject): writes that need more room fail with
    ///   `CapacityExceeded` until enough was deleted or has expired, also those that fit into
    ///   what was just deleted. An overwrite that is no larger succeeds.
    ///
    /// What else was derived from the bound when the cache was made stays as it is: the table
    /// ([`Stats::table_bytes`](crate::Stats::table_bytes), which is no part of the bound), the number of
    /// shards, and the default of `max_retired_bytes`. A bound that is to be raised beyond that of the
    /// start wants `expected_entries` for it.
    ///
    /// # Complexity
    ///
    /// `O(shards)`; evicts nothing itself.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` for zero (an empty cache is [`shrink_to(0)`](Self::shrink_to)), `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// let cache: scopecache::Cache = scopecache::Cache::builder().max_bytes(64 << 20).build()?;
    /// cache.set_max_bytes(16 << 20)?; // memory is short
    /// let left = cache.shrink_to(16 << 20);
    /// assert!(left <= 16 << 20);
    /// cache.set_max_bytes(64 << 20)?; // it is not any more
    /// # Ok(()) }
    /// ```
    pub fn set_max_bytes(&self, bytes: u64) -> Result<()> {
        self.core().set_max_bytes(bytes)
    }

    /// Evicts now until no more than `bytes` are in use, in the order in which a full cache evicts,
    /// and frees it; the bound stays. Returns the bytes that are in use then.
    ///
    /// They are more than `bytes` where nothing else may go: loads under way, overflow lines of the
    /// table, and under [`OnFull::Reject`](crate::OnFull::Reject) everything that was not deleted and has
    /// not expired; where a reader holds a guard for long; and where others write as fast as this
    /// evicts. The table itself is no part of it.
    ///
    /// Others are not held up: it works in steps of at most 64 entries, each under one shard's lock
    /// (which nobody waits for) and a guard of its own.
    ///
    /// # Complexity
    ///
    /// `O(entries that go)`. Where readers keep what went, it waits for them; a wait of a tenth of a
    /// second that is in vain is its last.
    pub fn shrink_to(&self, bytes: u64) -> u64 {
        self.core().shrink_to(bytes)
    }
}
