//! From settings to a cache: what makes no sense is refused, and what was left open is chosen.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use super::{CacheBuilder, Maintenance, OnFull};
use crate::budget::Budget;
use crate::cache::Cache;
use crate::cache::core::{Core, Settings};
use crate::cache::counts::Counts;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::cache::driver::Driver;
use crate::cache::listener::Listener;
use crate::cache::refresh::Refreshing;
use crate::clock::{Clock, nanos};
use crate::directory::Shortcuts;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::table::{MOST_SHARD_BUCKETS, SLOTS, Table};
use crate::value::Value;

const MOST_REMOVAL_QUEUE: usize = 16 << 20;
const LEAST_MAX_RETIRED_BYTES: u64 = 4 << 20;
const LEAST_TICK: Duration = Duration::from_millis(10);
/// Entries that a shard has at least: queues of fewer are no good at telling them apart.
const ENTRIES_A_SHARD: u64 = 128;
/// Bytes that an entry is guessed to take where the number of entries is not given.
const GUESSED_ENTRY_BYTES: u64 = 128;
/// Entries in a line at the expected number of entries: a full line has seven, and an uneven
/// spread shall seldom need an overflow line.
const ENTRIES_A_LINE: u64 = 4;
/// A guess never makes a larger table; `expected_entries` may. 256 MiB of address space.
const MOST_GUESSED_LINES: u64 = 1 << 22;

const MODELS: bool = cfg!(any(scopecache_loom, scopecache_shuttle));

impl<V: Value, S> CacheBuilder<V, S> {
    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where a setting makes no sense; `Unavailable` where the system gives no
    /// thread.
    pub fn build(self) -> Result<Cache<V, S>>
    where
        S: BuildHasher<Hasher: Clone> + Send + Sync + 'static,
    {
        self.check()?;
        let entries = self.guessed_entries();
        let table = Table::new(lines_for(entries)?);
        #[cfg(scopecache_loom)]
        let shortcuts = Shortcuts::new(self.shortcuts);
        #[cfg(not(scopecache_loom))]
        let shortcuts = Shortcuts::new(table.buckets());
        #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
        if self.huge_pages {
            table.prefer_huge_pages();
            shortcuts.prefer_huge_pages();
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = self.shards_for(entries, table.buckets(), cores);
        let queues = if MODELS { 1 } else { shards.min(cores.next_power_of_two()) };
        let listener =
            self.on_removal.map(|call| Box::new(Listener::new(call, self.removal_queue, queues)));
        let settings = Settings {
            expiry: self.expiry,
            refreshing: self.refresh_after.map(Refreshing::after),
            max_value_bytes: self.max_value_bytes,
            max_retired_bytes: self
                .max_retired_bytes
                .unwrap_or((self.max_bytes / 8).max(LEAST_MAX_RETIRED_BYTES)),
            weigher: self.weigher,
            eviction: match self.on_full {
                OnFull::Evict => Some(self.eviction),
                OnFull::Reject => None,
            },
            judges_large: self.judges_large,
            huge_pages: self.huge_pages,
            user_quota: self.user_quota,
            max_entries: self.max_entries,
            tick: nanos(self.tick),
            events: self.events,
            counts: self.records_stats.then(|| Box::new(Counts::new(shards))),
            listener,
        };
        let clock = self.clock.map_or_else(Clock::system, Clock::mock);
        let budget = Budget::new(self.max_bytes, shards);
        let core =
            Arc::new(Core::new(table, shortcuts, budget, shards, clock, self.hasher, settings));
        maintain(&core, self.maintenance)?;
        Ok(Cache::new(core))
    }

    fn check(&self) -> Result<()> {
        let fault = if self.max_bytes == 0 {
            "max_bytes must be larger than zero"
        } else if self.max_entries == Some(0) {
            "max_entries must be larger than zero"
        } else if self.tick < LEAST_TICK {
            "a tick must be 10 ms or longer"
        } else if self.shards == Some(0) {
            "shards must be larger than zero"
        } else if self.removal_queue == 0 || self.removal_queue > MOST_REMOVAL_QUEUE {
            "removal_queue must be from 1 to 16,777,216"
        } else if self.max_value_bytes > (u32::MAX - 1) as usize {
            "max_value_bytes must be less than 4 GiB"
        } else if self.refresh_after == Some(Duration::ZERO) {
            "refresh_after must be longer than zero"
        } else {
            return self.expiry.as_ref().map_or(Ok(()), |expiry| expiry.check());
        };
        Err(Error::options(fault))
    }

    /// How many entries there will be, as far as anybody knows.
    fn guessed_entries(&self) -> u64 {
        let guess = (self.max_bytes / GUESSED_ENTRY_BYTES).min(MOST_GUESSED_LINES * ENTRIES_A_LINE);
        let guess = self.max_entries.map_or(guess, |most| most.min(guess));
        self.expected_entries.map_or(guess, |entries| entries as u64)
    }

    /// How many shards so many entries in so many buckets are spread over: a power of two.
    fn shards_for(&self, entries: u64, buckets: usize, cores: usize) -> usize {
        let usual = (4 * cores).next_power_of_two();
        let most = (entries.min(self.max_entries.unwrap_or(u64::MAX)) / ENTRIES_A_SHARD).max(1);
        let most = 1 << most.ilog2().min(12);
        let shards = self.shards.unwrap_or(if MODELS { 1 } else { usual.min(most) });
        let least = buckets / MOST_SHARD_BUCKETS;
        shards.clamp(1, 1 << 12).next_power_of_two().max(least).min(buckets)
    }
}

/// Lines of a table for so many entries.
fn lines_for(entries: u64) -> Result<usize> {
    let lines = entries.div_ceil(ENTRIES_A_LINE).max(1);
    usize::try_from(lines)
        .ok()
        .filter(|&lines| lines <= 1 << 40)
        .ok_or_else(|| Error::options("expected_entries is more than any memory holds"))
}

/// Starts what maintains the cache by itself, if anything does. Models call `maintain` where they
/// want it to happen.
#[cfg(any(scopecache_loom, scopecache_shuttle))]
fn maintain<V: Value, S>(_core: &Arc<Core<V, S>>, _by: Maintenance) -> Result<()> {
    Ok(())
}

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
fn maintain<V, S>(core: &Arc<Core<V, S>>, by: Maintenance) -> Result<()>
where
    V: Value,
    S: Send + Sync + 'static,
{
    let weak = Arc::downgrade(core);
    let driver = match by {
        Maintenance::Manual => return Ok(()),
        Maintenance::Thread => Driver::thread(weak)
            .map_err(|error| Error::with_source(ErrorKind::Unavailable, error))?,
        #[cfg(feature = "tokio")]
        Maintenance::Tokio(runtime) => Driver::task(weak, &runtime),
    };
    let first = core.driver.set(driver);
    debug_assert!(first.is_ok(), "a core is started once");
    Ok(())
}

const _: () = assert!(SLOTS > 1, "a model with one slot a line has no slot order to get wrong");
