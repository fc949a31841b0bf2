//! Figures about a whole cache.

use crate::cache::core::Core;
use crate::value::Value;

/// What a cache holds at present.
///
/// Figures of different moments: exact while nobody writes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

impl<V: Value, S> Core<V, S> {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            entries: self.entries(),
            users: self.directory.user_count() as u64,
            sessions: self.directory.session_count() as u64,
            live_bytes: self.live_bytes(),
            retired_bytes: self.retired_bytes(),
            table_bytes: self.table.base_bytes() + self.directory.shortcuts.bytes(),
            overflow_lines: self.table.overflow_lines() as u64,
            reclaim_pending: self.maintenance.is_pending(),
            refreshes: self.refreshed.stored(),
            failed_refreshes: self.refreshed.failed(),
        }
    }
}
