//! Sessions that were there a moment ago.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ahash::RandomState;

use crate::backend::sql::item::At;

/// Enough for the sessions that a client writes to within a second or two; what has no place of its own
/// costs a write what it costs without this.
const PLACES: usize = 1024;
/// Seconds, the bits of a word that tell when.
const WHEN: u64 = 0xffff;

/// The sessions whose rows writes have found or made, for a second or two.
///
/// A hint, and no more: who trusts it is refused by the foreign key where the row has gone since.
pub(super) struct Known {
    /// In the place that its hash leads to: the hash of a session, but for its last bits, which are the
    /// seconds after `started`.
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    started: Instant,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    pub(super) fn trusts(&self, at: At<'_>) -> bool {
        let (place, now) = self.word(at);
        // Relaxed: a hint; the server decides.
        let then = place.load(Ordering::Relaxed);
        (then ^ now) & !WHEN == 0 && (now.wrapping_sub(then) & WHEN) <= 1
    }

    pub(super) fn note(&self, at: At<'_>) {
        let (place, now) = self.word(at);
        // Relaxed: as in `trusts`.
        place.store(now, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, at: At<'_>) {
        let (place, _) = self.word(at);
        // Relaxed: as in `trusts`.
        place.store(0, Ordering::Relaxed);
    }

    /// The place of a session, and its word as of now.
    fn word(&self, at: At<'_>) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one((at.user, at.session));
        // From one on: an empty place is of no time.
        let seconds = self.started.elapsed().as_secs() + 1;
        let place = &self.places[hash as usize % PLACES];
        (place, hash & !WHEN | seconds & WHEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_until_it_is_forgotten() {
        let known = Known::new();
        let at = |user: &'static str, session: &'static str| At {
            user: user.as_bytes(),
            session: session.as_bytes(),
        };
        assert!(!known.trusts(at("u", "s")));
        known.note(at("u", "s"));
        assert!(known.trusts(at("u", "s")));
        assert!(!known.trusts(at("us", "")) && !known.trusts(at("u", "")));
        known.forget(at("u", "s"));
        assert!(!known.trusts(at("u", "s")));
    }

    #[test]
    fn a_session_is_known_for_two_seconds_at_most() {
        let mut known = Known::new();
        let at = At { user: b"u", session: b"s" };
        known.note(at);
        let (begin, second) = (known.started, std::time::Duration::from_secs(1));
        known.started = begin - second;
        assert!(known.trusts(at));
        known.started = begin - 3 * second;
        assert!(!known.trusts(at));
        known.note(at);
        assert!(known.trusts(at));
    }
}
