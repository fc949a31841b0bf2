//! Figures about a whole cache.

use std::time::Duration;

use crate::cache::core::Core;
use crate::removal::RemovalCause;
use crate::value::Value;

/// What a cache holds at present, and what it has done.
///
/// Figures of different moments: exact while nobody calls the cache.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Stats {
    /// Entries in the table, those included that expired or were deleted and are not yet
    /// reclaimed.
    pub entries: u64,
    /// Users that have a node.
    pub users: u64,
    /// Sessions that have a node.
    pub sessions: u64,
    /// Bytes of entries, nodes, handles and overflow lines; at most `max_bytes`.
    pub live_bytes: u64,
    /// Bytes that were taken out of use and are not yet freed.
    pub retired_bytes: u64,
    /// Bytes of the base table and of the shortcuts beside it; they are not part of the bound.
    pub table_bytes: u64,
    /// Overflow lines that the table has got.
    pub overflow_lines: u64,
    /// Whether deleted data is waiting to be reclaimed.
    pub reclaim_pending: bool,
    /// Values that were replaced by a refresh (see
    /// [`refresh_after`](crate::CacheBuilder::refresh_after)).
    pub refreshes: u64,
    /// Refreshes that failed: their loader did, or what it loaded could not be stored.
    pub failed_refreshes: u64,
    /// Bytes of sessions and users that were deleted, which are still among `live_bytes`.
    pub pending_reclaim_bytes: u64,
    /// For how long the timing wheel that is furthest behind has been due: what expired before
    /// that, and a tick, is taken out. Nothing is returned late, however large it is.
    #[cfg_attr(feature = "json", serde(rename = "expiry_lag_seconds", serialize_with = "seconds"))]
    pub expiry_lag: Duration,
    /// Calls that found an item, of `get`, `get_ref`, `get_or_load` and their kin, each key of a
    /// `get_many` by itself. Like the next four, zero unless
    /// [`record_stats`](crate::CacheBuilder::record_stats) was asked for.
    pub hits: u64,
    /// Those that found none; of several that load one key at a time the one that does.
    pub misses: u64,
    /// Loaders of `get_or_load` that answered a value, stored or not; those of a refresh are
    /// counted apart, in `refreshes` and `failed_refreshes`.
    pub load_successes: u64,
    /// Loaders that answered an error, panicked, or were dropped before they answered.
    pub load_failures: u64,
    /// Entries that have left.
    pub removals: RemovalCounts,
    /// Removals that found the queue of the listener full: it was not told of them.
    pub removals_dropped: u64,
    /// Calls of the listener that ended in a panic.
    pub listener_panics: u64,
}

/// How many entries have left, by their [`RemovalCause`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct RemovalCounts {
    /// [`RemovalCause::Expired`].
    pub expired: u64,
    /// [`RemovalCause::Evicted`].
    pub evicted: u64,
    /// [`RemovalCause::Replaced`].
    pub replaced: u64,
    /// [`RemovalCause::Deleted`].
    pub deleted: u64,
    /// [`RemovalCause::SessionDeleted`].
    pub session_deleted: u64,
    /// [`RemovalCause::UserDeleted`].
    pub user_deleted: u64,
    /// [`RemovalCause::Cleared`].
    pub cleared: u64,
}

impl Stats {
    /// Hits among all that was asked for, from 0 to 1; `None` where nothing was, or nobody counts.
    pub fn hit_ratio(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }
}

impl RemovalCounts {
    /// Those of one cause.
    pub fn of(&self, cause: RemovalCause) -> u64 {
        match cause {
            RemovalCause::Expired => self.expired,
            RemovalCause::Evicted => self.evicted,
            RemovalCause::Replaced => self.replaced,
            RemovalCause::Deleted => self.deleted,
            RemovalCause::SessionDeleted => self.session_deleted,
            RemovalCause::UserDeleted => self.user_deleted,
            RemovalCause::Cleared => self.cleared,
        }
    }

    /// Those of any cause.
    pub fn total(&self) -> u64 {
        RemovalCause::ALL.into_iter().map(|cause| self.of(cause)).sum()
    }

    /// In the order of [`RemovalCause::ALL`].
    fn new(counts: [u64; RemovalCause::ALL.len()]) -> Self {
        let [expired, evicted, replaced, deleted, session_deleted, user_deleted, cleared] = counts;
        Self { expired, evicted, replaced, deleted, session_deleted, user_deleted, cleared }
    }
}

impl<V: Value, S> Core<V, S> {
    pub(crate) fn stats(&self) -> Stats {
        let totals = self.settings.counts.as_ref().map(|counts| counts.totals());
        let totals = totals.unwrap_or_default();
        let listener = self.settings.listener.as_ref();
        Stats {
            entries: self.entries(),
            users: self.directory.user_count() as u64,
            sessions: self.directory.session_count() as u64,
            live_bytes: self.live_bytes(),
            retired_bytes: self.retired_bytes(),
            table_bytes: self.table.base_bytes() + self.directory.shortcuts.bytes(),
            overflow_lines: self.table.overflow_lines() as u64,
            reclaim_pending: self.maintenance.is_pending(),
            pending_reclaim_bytes: self.maintenance.pending_bytes(),
            expiry_lag: self.expiry_lag(),
            hits: totals.hits,
            misses: totals.misses,
            load_successes: totals.loads,
            load_failures: totals.failed_loads,
            removals: RemovalCounts::new(totals.removals),
            removals_dropped: listener.map_or(0, |listener| listener.dropped()),
            listener_panics: listener.map_or(0, |listener| listener.panics()),
            refreshes: self.refreshed.stored(),
            failed_refreshes: self.refreshed.failed(),
        }
    }

    fn expiry_lag(&self) -> Duration {
        let due = self.shards.iter().filter_map(|shard| shard.due_at(self.settings.tick)).min();
        due.map_or(Duration::ZERO, |due| Duration::from_nanos(self.now().saturating_sub(due)))
    }
}

#[cfg(feature = "json")]
fn seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
