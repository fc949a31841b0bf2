//! What maintenance remembers of an entry.

use std::ptr;

/// Which weak references the eviction queues and the timing wheel hold to an entry.
///
/// It stands in the entry's `link` as long as the entry is in the table. The lowest bit is set,
/// which tells it from a link between retired entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Track {
    /// An eviction queue has a handle that leads to it.
    pub(crate) queued: bool,
    /// The last walk over the queues that met a handle to it, 1 to 3; 0: none.
    pub(crate) walk: u8,
    /// The earliest tick for which the wheel has a handle that leads to it; 0: none.
    pub(crate) armed: u64,
}

const MARK: usize = 1;
const QUEUED: usize = 2;
const WALK_SHIFT: u32 = 2;
const ARMED_SHIFT: u32 = 4;

/// The latest tick that can be remembered; no clock of nanoseconds gets that far.
pub(crate) const LAST_TICK: u64 = u64::MAX >> ARMED_SHIFT;

impl Track {
    pub(super) fn to_word<T>(self) -> *mut T {
        let queued = if self.queued { QUEUED } else { 0 };
        debug_assert!(self.armed <= LAST_TICK, "ticks are longer than a nanosecond");
        debug_assert!(self.walk <= 3, "walks are told apart by two bits");
        let walk = usize::from(self.walk) << WALK_SHIFT;
        ptr::without_provenance_mut(MARK | queued | walk | (self.armed as usize) << ARMED_SHIFT)
    }

    /// `None` for a link.
    pub(super) fn from_word<T>(word: *mut T) -> Option<Self> {
        let bits = word.addr();
        (bits & MARK != 0).then_some(Self {
            queued: bits & QUEUED != 0,
            walk: (bits >> WALK_SHIFT & 3) as u8,
            armed: (bits >> ARMED_SHIFT) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_survives_its_word_and_is_no_link() {
        for queued in [false, true] {
            for armed in [0, 1, 77, LAST_TICK] {
                let track = Track { queued, walk: 2, armed };
                assert_eq!(Track::from_word(track.to_word::<u64>()), Some(track));
            }
        }
        assert_eq!(Track::from_word(ptr::null_mut::<u64>()), None);
        assert_eq!(Track::from_word(&raw mut *Box::new(7u64)), None);
    }
}
