//! What maintenance remembers of an entry.

use std::{fmt, ptr};

/// Which weak references the eviction queues and the timing wheel hold to an entry.
///
/// It stands in the entry's `link` as long as the entry is in the table. The lowest bit is set,
/// which tells it from a link between retired entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Track(usize);

const MARK: usize = 1;
const QUEUED: usize = 2;
const WALK_SHIFT: u32 = 2;
const WALK: usize = 3 << WALK_SHIFT;
const ARMED_SHIFT: u32 = 4;

/// The latest tick that can be remembered; no clock of nanoseconds gets that far.
pub(crate) const LAST_TICK: u64 = u64::MAX >> ARMED_SHIFT;

impl Track {
    /// An eviction queue has a handle that leads to it.
    #[inline]
    pub(crate) fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    /// The last walk over the queues that met a handle to it, 1 to 3; 0: none.
    pub(crate) fn walk(self) -> u8 {
        (self.0 >> WALK_SHIFT & 3) as u8
    }

    /// The earliest tick for which the wheel has a handle that leads to it; 0: none.
    #[inline]
    pub(crate) fn armed(self) -> u64 {
        (self.0 >> ARMED_SHIFT) as u64
    }

    pub(crate) fn queued(self) -> Self {
        Self(self.0 | QUEUED)
    }

    pub(crate) fn met_by(self, walk: u8) -> Self {
        debug_assert!(walk <= 3, "walks are told apart by two bits");
        Self(self.0 & !WALK | usize::from(walk) << WALK_SHIFT)
    }

    pub(crate) fn armed_for(self, tick: u64) -> Self {
        debug_assert!(tick <= LAST_TICK, "ticks are longer than a nanosecond");
        Self(self.0 & (MARK | QUEUED | WALK) | (tick as usize) << ARMED_SHIFT)
    }

    #[inline]
    pub(super) fn to_word<T>(self) -> *mut T {
        ptr::without_provenance_mut(self.0)
    }

    /// `None` for a link.
    #[inline]
    pub(super) fn from_word<T>(word: *mut T) -> Option<Self> {
        let bits = word.addr();
        (bits & MARK != 0).then_some(Self(bits))
    }
}

/// Nobody knows of it.
impl Default for Track {
    fn default() -> Self {
        Self(MARK)
    }
}

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track")
            .field("queued", &self.is_queued())
            .field("walk", &self.walk())
            .field("armed", &self.armed())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_survives_its_word_and_is_no_link() {
        for new in [Track::default(), Track::default().queued()] {
            for armed in [0, 1, 77, LAST_TICK] {
                let track = new.met_by(3).armed_for(5).met_by(2).armed_for(armed);
                assert_eq!((track.walk(), track.armed()), (2, armed));
                assert_eq!(track.is_queued(), new.is_queued());
                assert_eq!(Track::from_word(track.to_word::<u64>()), Some(track));
            }
        }
        assert_eq!(Track::from_word(ptr::null_mut::<u64>()), None);
        assert_eq!(Track::from_word(&raw mut *Box::new(7u64)), None);
    }
}
