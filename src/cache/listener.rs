//! How removals reach the listener: out of the caller's time.
//!
//! ```text
//!  who takes an entry out ─► queue of its stripe ─┐
//!                                  │ full         ├─► deliver ─► listener
//!                            the next ones' ──────┘   (maintenance, close)
//!                                  │ all full: dropped, and counted
//! ```
//!
//! An event is built while the remover's guard still protects entry and node. Whoever maintains
//! the cache runs the listener, without a guard and without a lock: of several who would, one does,
//! and the others go on with something else. So the listener may call the cache as it likes, and
//! take its time; it may panic, which ends that one call.
//!
//! # Nothing is left behind by a close
//!
//! A closer who finds somebody else at it leaves its events to that one, who may be just about to
//! leave. Each of the two first does its part (the closer: it sets the mark and pushes events; the
//! other: it gives the turn back), then issues a SeqCst fence, then looks (the closer at the turn,
//! the other at mark and queues). Of the two fences one comes first in the single order of all such
//! fences. If it is the closer's, the other sees mark and events, and goes on. If it is the other's,
//! the closer finds the turn free, or taken by a third, for whom the same holds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_utils::CachePadded;

use crate::removal::Removal;
use crate::stripe;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::figures::AtomicU64;
use crate::sync::{Ring, TryLock};

/// What is called with each removal.
pub(super) type Call = Box<dyn Fn(&Removal) + Send + Sync>;

pub(crate) struct Listener {
    call: Call,
    queues: Box<[CachePadded<Ring<Removal>>]>,
    /// Held by whoever runs the listener; nobody waits for it. The queue that is next.
    turn: TryLock<usize>,
    dropped: CachePadded<AtomicU64>,
    panics: AtomicU64,
}

/// What came of a call of [`Listener::deliver`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Events that the listener was called with.
    pub(crate) events: usize,
    /// Others wait, and nobody is at it.
    pub(crate) pending: bool,
}

impl Listener {
    /// With room for so many events at least, in up to `stripes` queues, a power of two.
    pub(super) fn new(call: Call, capacity: usize, stripes: usize) -> Self {
        debug_assert!(capacity > 0 && stripes.is_power_of_two());
        let stripes = stripes.min(1 << capacity.ilog2());
        let each = capacity.div_ceil(stripes);
        Self {
            call,
            queues: (0..stripes).map(|_| CachePadded::new(Ring::new(each))).collect(),
            turn: TryLock::new(0),
            dropped: CachePadded::new(AtomicU64::new(0)),
            panics: AtomicU64::new(0),
        }
    }

    /// Queues an event, or drops it where all queues are full.
    pub(super) fn push(&self, removal: Removal) {
        let own = stripe::of_thread(self.queues.len());
        let mut removal = removal;
        for step in 0..self.queues.len() {
            match self.queues[(own + step) & (self.queues.len() - 1)].push(removal) {
                Ok(()) => return,
                Err(back) => removal = back,
            }
        }
        // Relaxed: a statistic.
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls the listener with up to `most` events, or with all there are once `is_closed`;
    /// not to be called under a guard.
    pub(super) fn deliver(&self, most: usize, is_closed: impl Fn() -> bool) -> Delivered {
        let mut events = 0;
        loop {
            // SeqCst fence: between what we pushed, or the turn that we gave back, and the look at
            // what is left and whose turn it is; see the head of this file.
            fence(Ordering::SeqCst);
            if !self.is_pending() {
                return Delivered { events, pending: false };
            }
            let most = if is_closed() { usize::MAX } else { most };
            if events >= most {
                return Delivered { events, pending: true };
            }
            let ours = self.turn.try_with(|next| {
                while events < most
                    && let Some(removal) = self.pop(next)
                {
                    events += 1;
                    self.run(&removal);
                }
            });
            if ours.is_none() || planted!("leave_to_deliverer") {
                return Delivered { events, pending: false };
            }
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        // Relaxed: a statistic.
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn panics(&self) -> u64 {
        // Relaxed: a statistic.
        self.panics.load(Ordering::Relaxed)
    }

    fn is_pending(&self) -> bool {
        self.queues.iter().any(|queue| queue.len() > 0)
    }

    /// The first event of the next queue that has one: one of each in turn, so that none is left
    /// to fill up.
    fn pop(&self, next: &mut usize) -> Option<Removal> {
        (0..self.queues.len()).find_map(|_| {
            let queue = &self.queues[*next];
            *next = (*next + 1) & (self.queues.len() - 1);
            queue.pop()
        })
    }

    fn run(&self, removal: &Removal) {
        // What it may have left inconsistent is the listener's own.
        let call = catch_unwind(AssertUnwindSafe(|| (self.call)(removal)));
        let Err(mut panic) = call else { return };
        // Relaxed: a statistic.
        self.panics.fetch_add(1, Ordering::Relaxed);
        // What it panicked with may panic as it goes, and that again: after some it is leaked.
        for _ in 0..8 {
            match catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                Ok(()) => return,
                Err(next) => panic = next,
            }
        }
        std::mem::forget(panic);
    }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::item::Version;
    use crate::namespace::Namespace;
    use crate::removal::{Names, RemovalCause};

    fn removal(number: u64) -> Removal {
        let version = Version::from_u64(number);
        Removal::new(Names::new(Namespace::Global, b"k"), version, 1, RemovalCause::Deleted)
    }

    type Seen = Arc<Mutex<Vec<u64>>>;

    fn listener(capacity: usize, stripes: usize) -> (Listener, Seen) {
        let seen = Seen::default();
        let sink = Arc::clone(&seen);
        let call = move |event: &Removal| {
            sink.lock().expect("no panic").push(event.version().as_u64());
        };
        (Listener::new(Box::new(call), capacity, stripes), seen)
    }

    #[test]
    fn any_one_thread_may_fill_all_queues_and_no_more_is_kept() {
        // Each begins with another queue.
        for _ in 0..8 {
            std::thread::spawn(fill_all_queues).join().expect("no panic");
        }
    }

    fn fill_all_queues() {
        for (capacity, stripes) in [(1, 1), (1, 8), (5, 4), (64, 8)] {
            let (listener, seen) = listener(capacity, stripes);
            let room = listener.queues.len() * capacity.div_ceil(listener.queues.len());
            assert!(room >= capacity && listener.queues.len() <= stripes);
            (0..room as u64 + 3).for_each(|number| listener.push(removal(number)));
            assert_eq!(listener.dropped(), 3, "{capacity} {stripes}");
            let delivered = listener.deliver(usize::MAX, || false);
            assert_eq!(delivered, Delivered { events: room, pending: false });
            let mut seen = seen.lock().expect("no panic").clone();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..room as u64), "{capacity} {stripes}");
        }
    }

    #[test]
    fn a_delivery_ends_at_its_bound_unless_the_cache_is_closed() {
        let (listener, seen) = listener(16, 1);
        (0..10).for_each(|number| listener.push(removal(number)));
        let delivered = listener.deliver(4, || false);
        assert_eq!(delivered, Delivered { events: 4, pending: true });
        let delivered = listener.deliver(0, || true);
        assert_eq!(delivered, Delivered { events: 6, pending: false });
        assert!(seen.lock().expect("no panic").iter().copied().eq(0..10), "in their order");
    }

    #[test]
    fn a_panic_ends_one_call_and_so_does_a_panic_of_the_panic() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("as it goes"));
            }
        }
        let listener = Listener::new(
            Box::new(|event: &Removal| match event.version().as_u64() {
                0 => std::panic::resume_unwind(Box::new("words")),
                1 => std::panic::resume_unwind(Box::new(Bomb)),
                _ => {}
            }),
            16,
            1,
        );
        (0..5).for_each(|number| listener.push(removal(number)));
        let delivered = listener.deliver(usize::MAX, || false);
        assert_eq!(delivered, Delivered { events: 5, pending: false });
        assert_eq!(listener.panics(), 2);
    }
}
