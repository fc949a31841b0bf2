//! A cache at a glance: what a page about it shows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cache::core::Core;
use crate::cache::stats::Stats;
use crate::reclaim::pin;
use crate::value::Value;

/// What [`Cache::snapshot`](crate::Cache::snapshot) returns: all figures, and the users that stand
/// out. With the feature `json` it serialises.
///
/// It names users: whoever is shown it learns their ids.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Snapshot {
    /// The figures of the whole cache.
    pub stats: Stats,
    /// Hits among all that was asked for, from 0 to 1; see [`Stats::hit_ratio`].
    pub hit_ratio: Option<f64>,
    /// The bound on the memory in use, in bytes.
    pub capacity_bytes: u64,
    /// The users that hold the most bytes, the first of them first.
    pub top_by_bytes: Vec<UserUsage>,
    /// The users for which most was asked for in vain, the first of them first; empty unless
    /// [`record_stats`](crate::CacheBuilder::record_stats) was asked for.
    pub top_by_misses: Vec<UserMisses>,
}

/// What a user holds, its sessions included.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct UserUsage {
    /// The user's id.
    pub user: String,
    /// Bytes that its entries take in memory.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
}

/// How often something of a user was asked for and was not there; an estimate.
///
/// One of eight misses is looked at, and of the users that those are about 64 are kept for each
/// shard: who misses more often than all misses divided by 64 is among them. The id of a user that
/// was deleted may stay here until others miss more often.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct UserMisses {
    /// The user's id.
    pub user: String,
    /// Misses since the cache was made, about.
    pub misses: u64,
    /// By so many, beside what sampling gets wrong, `misses` may be too high.
    pub over: u64,
}

impl<V: Value, S> Core<V, S> {
    pub(crate) fn snapshot(&self, top: usize) -> Snapshot {
        let stats = self.stats();
        let counts = self.settings.counts.as_ref();
        let misses = counts.map(|counts| counts.heaviest(top)).unwrap_or_default();
        let misses = misses.into_iter().map(|heavy| UserMisses {
            user: heavy.name.into(),
            misses: heavy.count,
            over: heavy.over,
        });
        Snapshot {
            stats,
            hit_ratio: stats.hit_ratio(),
            capacity_bytes: self.budget.max(),
            top_by_bytes: self.top_by_bytes(top),
            top_by_misses: misses.collect(),
        }
    }

    /// The users that hold the most bytes, at most `top`, the first of them first.
    fn top_by_bytes(&self, top: usize) -> Vec<UserUsage> {
        let guard = pin();
        // The least of those that are kept stands first. Names break ties, so that nobody's place
        // depends on where the map has it.
        let mut kept = BinaryHeap::new();
        for user in self.directory.users(&guard) {
            let usage = user.usage();
            if usage.entries == 0 || user.is_killed() {
                continue;
            }
            kept.push(Reverse((usage.bytes, Reverse(user.name()), usage.entries)));
            if kept.len() > top {
                kept.pop();
            }
        }
        let kept = kept.into_sorted_vec().into_iter();
        kept.map(|Reverse((bytes, Reverse(name), entries))| UserUsage {
            user: String::from_utf8_lossy(name).into_owned(),
            bytes,
            entries,
        })
        .collect()
    }
}
