//! The hand of a clock that goes round the handles of one user.
//!
//! ```text
//!  the user's own ──► session ──► session ──► .. ──► the user's own ──► ..
//! ```
//!
//! A hand takes some handles at a time and gives them out one by one. It holds no reference: what
//! it remembers of where it was are numbers, and it goes on from there in whatever the user has
//! then. So a handle may be met twice or only the next time round, and lead nowhere, or to another
//! user's entry, which whoever follows it sees.
//!
//! There is a fixed number of hands for all users, so that a user over its quota takes no memory
//! for that. A hand that comes to another user starts anywhere in what that has: at the beginning,
//! it would take from there alone where two users change places.

use crossbeam_utils::CachePadded;

use crate::directory::Node;
use crate::reclaim::Guard;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;

/// Handles that a hand takes at a time: a part of what the user has, within these bounds.
const LEAST: u64 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 2 } else { 16 };
const MOST: u64 = 4096;
const PART: u64 = 64;
/// Places among the sessions that are looked at under their lock.
const PLACES: usize = 256;

/// The hands of a cache, each for some of its users.
pub(crate) struct Hands {
    hands: Box<[CachePadded<Mutex<Hand>>]>,
    /// How often a hand came to another user.
    changes: AtomicU64,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Hand {
    /// Whose handles it has: an address, to be compared alone.
    user: usize,
    at: At,
    taken: Vec<u64>,
    /// What was taken ends a lap.
    ends_lap: bool,
}

/// Where a hand takes handles next.
#[derive(Clone, Copy)]
enum At {
    /// Among the user's own, past so many.
    Own(u64),
    /// At a place among the sessions; in the session of that address past so many.
    Session { place: usize, address: usize, past: u64 },
}

/// What comes next.
pub(super) enum Next {
    Handle(u64),
    /// Nothing: a lap is over, and another begins.
    Lap,
}

impl Hands {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            hands: (0..count).map(|_| CachePadded::new(Mutex::new(Hand::default()))).collect(),
            changes: AtomicU64::new(0),
        }
    }

    /// Lends the user's hand, or `aside` where somebody else has that: nobody waits for it.
    pub(super) fn lend<R>(&self, user: &Node, f: impl FnOnce(&mut Hand) -> R) -> R {
        let address = std::ptr::from_ref(user).addr();
        // Nodes are no closer to each other than this.
        let mut hand = self.hands[address / size_of::<Node>() % self.hands.len()].try_lock();
        let mut aside = Hand::default();
        let hand = match &mut hand {
            Some(hand) => &mut **hand,
            None => &mut aside,
        };
        if hand.user != address {
            // Relaxed: any number will do.
            hand.come_to(user, self.changes.fetch_add(1, Ordering::Relaxed));
        }
        f(hand)
    }
}

impl Hand {
    /// Starts anew, anywhere in what the user has.
    fn come_to(&mut self, user: &Node, change: u64) {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        // A part of the whole, in 64 bits.
        let part = u128::from(change.wrapping_mul(GOLDEN));
        let of = |part: u128, count: u64| ((part * u128::from(count)) >> u64::BITS) as u64;
        self.user = std::ptr::from_ref(user).addr();
        self.taken.clear();
        self.ends_lap = false;
        // It counts own entries and sessions.
        let count = user.count();
        let at = of(part, count);
        let (sessions, places) = user.sessions().map_or((0, 0), |sessions| {
            let names = sessions.names.lock();
            (names.len() as u64, names.places())
        });
        self.at = match at.checked_sub(sessions) {
            Some(own) => At::Own(own),
            None => {
                // Less than the sessions' part of the whole: what part of that?
                let part = part * u128::from(count) / u128::from(sessions);
                At::Session { place: of(part, places as u64) as usize, address: 0, past: 0 }
            }
        };
    }

    /// The next handle of the user to whom it came.
    pub(super) fn next(&mut self, user: &Node, guard: &Guard) -> Next {
        loop {
            if let Some(handle) = self.taken.pop() {
                return Next::Handle(handle);
            }
            if std::mem::take(&mut self.ends_lap) {
                return Next::Lap;
            }
            self.take(user, guard);
        }
    }

    /// Takes some handles, if there are any where it is.
    fn take(&mut self, user: &Node, guard: &Guard) {
        let wanted = (user.usage().entries / PART).clamp(LEAST, MOST);
        let begin = At::Session { place: 0, address: 0, past: 0 };
        self.at = match self.at {
            At::Own(past) => {
                let next = user.handles().part(past, wanted, guard, &mut self.taken);
                next.map_or(begin, At::Own)
            }
            At::Session { place, address, past } => {
                let next = self.take_from_sessions(user, (place, address, past), wanted, guard);
                self.ends_lap = next.is_none();
                next.unwrap_or_default()
            }
        };
    }

    /// `None` where no sessions are left.
    fn take_from_sessions(
        &mut self,
        user: &Node,
        (first, address, past): (usize, usize, u64),
        wanted: u64,
        guard: &Guard,
    ) -> Option<At> {
        let names = user.sessions()?.names.lock();
        let end = names.places().min(first.saturating_add(PLACES));
        for place in first..end {
            let Some(session) = names.at(place) else { continue };
            let own = std::ptr::from_ref(session).addr();
            let past = if own == address { past } else { 0 };
            let left = wanted.saturating_sub(self.taken.len() as u64).max(1);
            if let Some(past) = session.handles().part(past, left, guard, &mut self.taken) {
                return Some(At::Session { place, address: own, past });
            }
            if self.taken.len() as u64 >= wanted {
                return (place + 1 < names.places()).then_some(At::Session {
                    place: place + 1,
                    address: 0,
                    past: 0,
                });
            }
        }
        (end < names.places()).then_some(At::Session { place: end, address: 0, past: 0 })
    }
}

impl Default for At {
    fn default() -> Self {
        Self::Own(0)
    }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use ahash::RandomState;

    use super::*;
    use crate::directory::{NO_QUOTA, NodeRef};
    use crate::reclaim::pin;

    /// A user and its sessions.
    struct Family {
        user: NodeRef,
        _sessions: Vec<NodeRef>,
        handles: u64,
    }

    /// A user with so many handles of its own, and so many sessions with so many each, all of
    /// them different.
    fn family(own: u64, sessions: u64, each: u64, guard: &Guard) -> Family {
        let mut handles = 0;
        let mut fill = |node: &Node, count: u64| {
            for _ in 0..count {
                handles += 1;
                assert!(node.raise());
                node.handles().push(handles, guard);
            }
        };
        let (user, hasher) = (NodeRef::user("u", NO_QUOTA), RandomState::new());
        fill(&user, own);
        let sessions = (0..sessions).map(|number| {
            let session = NodeRef::session(user.clone(), &number.to_string());
            assert!(user.raise());
            user.sessions().expect("a user has sessions").names.lock().put(&session, &hasher);
            fill(&session, each);
            session
        });
        let sessions = sessions.collect();
        Family { user, _sessions: sessions, handles }
    }

    #[test]
    fn a_lap_shows_each_handle_of_a_user_once() {
        let guard = pin();
        let families =
            [(0, 0, 0), (5, 0, 0), (3000, 0, 0), (0, 1, 2000), (9, 600, 2), (100, 40, 90)];
        for (own, sessions, each) in families {
            let family = family(own, sessions, each, &guard);
            let mut hand = Hand::default();
            for lap in 0..3 {
                let mut shown = Vec::new();
                while let Next::Handle(handle) = hand.next(&family.user, &guard) {
                    shown.push(handle);
                }
                shown.sort_unstable();
                assert!(shown.into_iter().eq(1..=family.handles), "{own} {sessions} {each} {lap}");
            }
        }
    }

    #[test]
    fn a_hand_that_comes_to_a_user_starts_anywhere_in_what_that_has() {
        let guard = pin();
        let family = family(99, 100, 1, &guard);
        let places = family.user.sessions().expect("a user has sessions").names.lock().places();
        let (mut own, mut among) = ([0; 10], [0; 10]);
        for change in 0..2000 {
            let mut hand = Hand::default();
            hand.come_to(&family.user, change);
            match hand.at {
                // It counts itself.
                At::Own(past) => own[past as usize / 10] += 1,
                At::Session { place, address, past } => {
                    assert_eq!((address, past), (0, 0));
                    among[place * 10 / places] += 1;
                }
            }
        }
        // A tenth of a half of 2,000 each.
        for part in own.into_iter().chain(among) {
            assert!((50..150).contains(&part), "{own:?} {among:?}");
        }
    }

    #[test]
    fn a_hand_that_is_lent_goes_on_and_forgets_who_had_it_before() {
        let guard = pin();
        let (one, two) = (family(50, 0, 0, &guard), family(0, 3, 50, &guard));
        let hands = Hands::new(1);
        let next = |user: &Node| hands.lend(user, |hand| hand.next(user, &guard));
        assert!((0..3).all(|_| matches!(next(&one.user), Next::Handle(_) | Next::Lap)));
        // From anywhere to the end, and then once around.
        while let Next::Handle(_) = next(&two.user) {}
        let mut shown = Vec::new();
        while let Next::Handle(handle) = next(&two.user) {
            shown.push(handle);
        }
        shown.sort_unstable();
        assert!(shown.into_iter().eq(1..=two.handles));
        // Relaxed: one thread.
        assert_eq!(hands.changes.load(Ordering::Relaxed), 2, "it came to each once");
        // Who finds it in use has one aside.
        hands.lend(&two.user, |_| hands.lend(&one.user, |hand| hand.next(&one.user, &guard)));
        assert!(matches!(next(&two.user), Next::Handle(_)));
        // Relaxed: one thread.
        assert_eq!(hands.changes.load(Ordering::Relaxed), 3, "it never left");
    }
}
