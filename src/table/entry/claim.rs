//! Who refreshes an entry: one caller at a time, and for a while nobody after one has failed.
//!
//! ```text
//!  marks   7          2   1      0
//!        ┌──────────────┬───┬─────────┐
//!        │ rests until  │ C │ indexed │   C: somebody refreshes it
//!        └──────────────┴───┴─────────┘
//! ```
//!
//! A claim orders nothing and protects nothing: what is stored under it is measured by the entry's
//! version. It only spares loads, so that a bit is enough, and one that is never given back costs
//! refreshes of this one entry alone.
//!
//! "Rests until" is a number of ticks of the caller's, modulo 63, plus one. Told apart are the two
//! ticks before it; as time goes round it comes again, and holds up a refresh for two ticks in 63.

use super::{INDEXED, Seen};
use crate::sync::atomic::Ordering;
use crate::value::Value;

const CLAIMED: u8 = 1 << 1;
const REST_SHIFT: u32 = 2;
const TICKS: u64 = 63;

/// What an entry remembers of its refreshes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefreshClaim(u8);

impl RefreshClaim {
    /// Of an entry whose refresh failed at a tick.
    fn resting(tick: u64) -> Self {
        Self(1 + ((tick + 2) % TICKS) as u8).shifted()
    }

    fn shifted(self) -> Self {
        Self(self.0 << REST_SHIFT)
    }

    fn of(marks: u8) -> Self {
        Self(marks & !INDEXED)
    }

    pub(super) fn to_marks(self) -> u8 {
        self.0
    }

    fn is_free(self, tick: u64) -> bool {
        let rest = self.0 >> REST_SHIFT;
        let resting = rest != 0 && {
            let left = (u64::from(rest) - 1 + TICKS - tick % TICKS) % TICKS;
            left == 1 || left == 2
        };
        self.0 & CLAIMED == 0 && !resting
    }
}

impl<V: Value, O> Seen<'_, V, O> {
    /// Takes the right to refresh it; `false` where somebody has it, or one failed within the last
    /// tick, or the one before.
    pub(crate) fn claim_refresh(&self, tick: u64) -> bool {
        let marks = &self.header().marks;
        // Relaxed: see the head of this file.
        let now = marks.load(Ordering::Relaxed);
        if !RefreshClaim::of(now).is_free(tick) {
            return false;
        }
        if planted!("claim_by_store") {
            // Relaxed: a planted bug.
            marks.store(now & INDEXED | CLAIMED, Ordering::Relaxed);
            return true;
        }
        marks
            // Relaxed: as above. A read-modify-write: of two who come at a time one gets it.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                RefreshClaim::of(now).is_free(tick).then_some(now & INDEXED | CLAIMED)
            })
            .is_ok()
    }

    /// Gives the right back; after a failure at a tick, not at once.
    pub(crate) fn end_refresh(&self, failed_at: Option<u64>) {
        let claim = failed_at.map_or(RefreshClaim::default(), RefreshClaim::resting);
        // Relaxed: as above.
        let _ = self.header().marks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now & INDEXED | claim.to_marks())
        });
    }

    /// For a copy with the same version.
    pub(crate) fn claim(&self) -> RefreshClaim {
        // Relaxed: as above.
        RefreshClaim::of(self.header().marks.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_rests_for_one_to_two_ticks() {
        for tick in [0, 1, 60, 61, 62, 63, 64, 1_000_003] {
            let claim = RefreshClaim::resting(tick);
            assert!(claim.to_marks() & (INDEXED | CLAIMED) == 0, "its own bits alone");
            let free = |after: u64| claim.is_free(tick + after);
            assert!(!free(0) && !free(1), "{tick}");
            assert!((2..TICKS).all(free), "{tick}");
            assert!(!free(TICKS) && free(TICKS + 2), "it comes round");
        }
    }

    #[test]
    fn what_is_claimed_is_not_free_and_what_is_new_is() {
        assert!(RefreshClaim::default().is_free(0) && RefreshClaim::default().is_free(u64::MAX));
        assert!(!RefreshClaim(CLAIMED).is_free(5));
        assert!(RefreshClaim::of(INDEXED).is_free(5));
    }
}
