//! What a storage has done so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one [`SqlStorage`](crate::SqlStorage) since it was made.
///
/// A statement is one round trip, and one more the first time that a connection meets it, when it is
/// prepared.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqlFigures {
    /// Statements sent, beginnings and ends of transactions included.
    pub statements: u64,
    /// Attempts that the server rolled back for the sake of another client (deadlock, lock timeout,
    /// serialisation failure, a namespace deleted meanwhile) and that were repeated.
    pub retries: u64,
    /// Connections made.
    pub connections: u64,
    /// Times that a connection was asked, before its use, whether its server takes writes: once a
    /// second, after a failure, and when it was made. Each is a round trip that is no statement above.
    pub asked: u64,
    /// Connections cut because their call timed out or was dropped before the server had answered.
    pub cut: u64,
    /// Expired items, and rows of namespaces that hold nothing, taken away by cleaning.
    pub cleaned: u64,
    /// Cleanings in the background that failed; the next one tries again.
    pub failed_cleanings: u64,
}

/// The counters behind [`SqlFigures`].
#[derive(Debug, Default)]
pub(super) struct Meters {
    pub(super) statements: Meter,
    pub(super) retries: Meter,
    pub(super) connections: Meter,
    pub(super) asked: Meter,
    pub(super) cut: Meter,
    pub(super) cleaned: Meter,
    pub(super) failed_cleanings: Meter,
}

#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn add(&self, count: u64) {
        // Relaxed: a statistic, orders nothing.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed)
    }
}

impl Meters {
    pub(super) fn read(&self) -> SqlFigures {
        SqlFigures {
            statements: self.statements.read(),
            retries: self.retries.read(),
            connections: self.connections.read(),
            asked: self.asked.read(),
            cut: self.cut.read(),
            cleaned: self.cleaned.read(),
            failed_cleanings: self.failed_cleanings.read(),
        }
    }
}
