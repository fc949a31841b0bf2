//! What the third thread sees, and what it may see.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use scopecache::{Cache, Stats};

use super::load::{Load, MOST_VALUE_BYTES};
use crate::alloc::allocated_bytes;

/// What an entry takes beside its value, at the most: header, key, and the record of a shared
/// value.
const ENTRY_BYTES: u64 = 512;

/// The bounds, and by how much a moment may pass them.
pub(super) struct Bounds {
    max_bytes: u64,
    max_retired_bytes: u64,
    retired_slack: u64,
    allocated_slack: u64,
}

/// The most that was seen of everything.
pub(super) struct Watched {
    pub(super) bounds: Bounds,
    /// The allocator's figure before there was a cache.
    before: i64,
    pub(super) samples: u64,
    pub(super) most_live: u64,
    pub(super) most_retired: u64,
    pub(super) most_allocated: u64,
    /// The most that counted and allocated differed, in percent of what was counted.
    pub(super) most_apart_percent: f64,
    /// Samples during which nothing that is counted changed.
    pub(super) still_samples: u64,
    /// The most that the two differed in those samples, where values on their way in may be allocated
    /// or not; below zero where less was allocated than counted.
    pub(super) most_unexplained_percent: f64,
    /// The same in bytes.
    pub(super) most_unexplained_bytes: i64,
    pub(super) rest_apart_percent: f64,
    table_bytes: u64,
}

impl Bounds {
    pub(super) fn new(max_bytes: u64, max_retired_bytes: u64, writers: u64) -> Self {
        let largest = MOST_VALUE_BYTES + ENTRY_BYTES;
        Self {
            max_bytes,
            max_retired_bytes,
            // Writers look at the bound before they write, not after: each may pass it by the
            // one entry that it replaces.
            retired_slack: writers * largest,
            // A value is copied before there is room for it; and a thread keeps what it retired
            // for some time in bags of the epochs, whose own memory nobody counts.
            allocated_slack: writers * largest + (1 << 20),
        }
    }

    /// A deletion never fails and so may pass the bound by what it deleted: one that is being
    /// reclaimed, by whoever does that.
    pub(super) fn allow_deletion_of(&mut self, bytes: u64) {
        self.retired_slack += bytes;
    }

    fn allocated_bound(&self, table_bytes: u64) -> (u64, u64) {
        let bound = self.max_bytes + self.max_retired_bytes + table_bytes;
        (bound, self.allocated_slack + self.retired_slack)
    }

    /// What was passed, in words.
    pub(super) fn passed(&self, watched: &Watched) -> Vec<String> {
        let rows = watched.rows().into_iter();
        rows.filter(|(_, most, bound, slack)| most > &(bound + slack))
            .map(|(what, most, bound, slack)| {
                format!("{what}: {most} bytes are more than {bound} and a slack of {slack}")
            })
            .collect()
    }
}

impl Watched {
    pub(super) fn new(bounds: Bounds, before: i64) -> Self {
        Self {
            bounds,
            before,
            samples: 0,
            most_live: 0,
            most_retired: 0,
            most_allocated: 0,
            most_apart_percent: 0.0,
            still_samples: 0,
            most_unexplained_percent: 0.0,
            most_unexplained_bytes: 0,
            rest_apart_percent: 0.0,
            table_bytes: 0,
        }
    }

    /// Takes a sample.
    pub(super) fn look(&mut self, cache: &Cache, load: &Load) {
        let on_their_way = load.on_their_way();
        let stats = cache.stats();
        let allocated = self.allocated();
        let (counted, counted_after) = (counted(&stats), counted(&cache.stats()));
        let on_their_way = on_their_way.max(load.on_their_way());
        self.samples += 1;
        self.table_bytes = stats.table_bytes;
        self.most_live = self.most_live.max(stats.live_bytes);
        self.most_retired = self.most_retired.max(stats.retired_bytes);
        self.most_allocated = self.most_allocated.max(allocated);
        // While it fills, a value on its way in is a large part of everything.
        if stats.live_bytes < self.bounds.max_bytes / 2 {
            return;
        }
        let apart = apart_percent(counted, allocated);
        if apart.abs() > self.most_apart_percent.abs() {
            self.most_apart_percent = apart;
        }
        if counted == counted_after {
            self.still_samples += 1;
            let explained = allocated.clamp(counted, counted + on_their_way);
            let unexplained = allocated.cast_signed() - explained.cast_signed();
            let percent = unexplained as f64 / counted as f64 * 100.0;
            if percent.abs() > self.most_unexplained_percent.abs() {
                self.most_unexplained_percent = percent;
                self.most_unexplained_bytes = unexplained;
            }
        }
    }

    /// Waits until nothing is retired any more and compares once again.
    pub(super) fn rest(&mut self, cache: &Cache) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        let stats = loop {
            cache.maintain(1024);
            let stats = cache.stats();
            if stats.retired_bytes == 0 && !stats.reclaim_pending {
                break stats;
            }
            if Instant::now() > end {
                bail!("after 10 s of rest, {} bytes are still retired", stats.retired_bytes);
            }
        };
        self.rest_apart_percent = apart_percent(counted(&stats), self.allocated());
        Ok(())
    }

    /// What, the most seen, the bound, the slack.
    pub(super) fn rows(&self) -> [(&'static str, u64, u64, u64); 3] {
        let bounds = &self.bounds;
        let (allocated, slack) = bounds.allocated_bound(self.table_bytes);
        [
            ("live", self.most_live, bounds.max_bytes, 0),
            ("retired", self.most_retired, bounds.max_retired_bytes, bounds.retired_slack),
            ("allocated", self.most_allocated, allocated, slack),
        ]
    }

    fn allocated(&self) -> u64 {
        u64::try_from(allocated_bytes() - self.before).unwrap_or(0)
    }
}

fn counted(stats: &Stats) -> u64 {
    stats.live_bytes + stats.retired_bytes + stats.table_bytes
}

/// How much more was allocated than counted, in percent of what was counted.
fn apart_percent(counted: u64, allocated: u64) -> f64 {
    (allocated as f64 / counted as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_a_bound_is_told() {
        let mut bounds = Bounds::new(100 << 20, 10 << 20, 2);
        bounds.allow_deletion_of(1 << 20);
        let mut watched = Watched::new(bounds, 0);
        watched.most_live = 100 << 20;
        watched.most_retired = 13 << 20;
        watched.most_allocated = 110 << 20;
        assert!(watched.bounds.passed(&watched).is_empty());
        watched.most_live += 1;
        watched.most_retired = 14 << 20;
        let passed = watched.bounds.passed(&watched);
        assert_eq!(passed.len(), 2);
        assert!(passed[0].starts_with("live: 104857601 bytes"), "{passed:?}");
    }
}
