//! One entry: one allocation that holds header, value and key.
//!
//! ```text
//!  0        8        16       24       32       36          40
//! ┌────────┬────────┬────────┬────────┬────────┬───────────┬─────┬───────┬───────┬──────────┐
//! │ link   │ owner, │deadline│version │ created│   shape,  │ key │ value │ long? │ sliding? │
//! └────────┴ length ┴────────┴────────┴────────┴───────────┴─────┴───────┴───────┴──────────┘
//!  tracked           immutable                  state, marks
//!  or retired
//! ```
//!
//! The key stands first: it is compared on every read, and its place does not depend on what
//! the header says. What does not fit stands behind the value: the length of a long one, and what
//! renews a TTL. So 16 bytes of key and 64 of value take 120, which allocators give out as 128.
//!
//! A [`Draft`] is an entry that nobody else can reach yet; publishing it (a compare-exchange on
//! a slot, in [`super::Table`]) makes all of it immutable except `state`, `marks` and `link`.
//! The latter holds a [`Track`] until the entry is retired. Readers see an entry through
//! [`Seen`], which carries the guard that keeps it alive.

mod claim;
mod draft;
mod plan;
mod retire;
mod track;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

pub(crate) use self::claim::RefreshClaim;
pub(crate) use self::draft::{Draft, Heritage};
pub(crate) use self::plan::Plan;
pub(crate) use self::track::{LAST_TICK, Track};
use crate::clock::{NEVER, Nanos, Rounded};
use crate::item::{Stamp, Version};
use crate::namespace::MAX_KEY_BYTES;
use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use crate::table::flight::{Flight, Outcome};
use crate::tagged;
use crate::value::{Extent, Value};

/// Whom an entry belongs to. The table asks it two things and knows no more about it.
pub(crate) trait Owner: Sync + 'static {
    /// Whether all its entries are deleted. Goes from `false` to `true` once.
    fn is_dead(&self) -> bool;
    /// Whether both are incarnations of one namespace.
    fn same_namespace(&self, other: &Self) -> bool;
}

/// The life of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Claimed a slot; absent to readers until it is known to be the only one of its key.
    Pending = 0,
    /// Counts.
    Live = 1,
    /// Lost against another entry of its key, or its owner died first; to be taken out.
    Killed = 2,
}

/// In `state`: the bits that hold a [`State`]. Above them stands the credit of a live entry.
const STATE: u8 = 0b11;
/// In `state`: one hit.
const CREDIT: u8 = 1 << 2;
/// The most hits that an entry remembers.
pub(crate) const MOST_CREDIT: u8 = 3;
const STATE_OF_MOST_CREDIT: u8 = State::Live as u8 + MOST_CREDIT * CREDIT;

/// The header; value and key follow it in the same allocation.
#[repr(C)]
pub(crate) struct Entry<V: Value, O> {
    link: AtomicPtr<Self>,
    /// Whose it is, and in the tag the length of a value that is not [`LONG`].
    owner: *mut O,
    deadline: Nanos,
    version: Version,
    /// The mantissa; the exponent is in `shape`.
    created: u32,
    /// The length of the key, the exponent of `created`, and flags above them.
    shape: u16,
    /// A [`State`], and the credit.
    state: AtomicU8,
    /// [`INDEXED`], and who refreshes it (see `claim`).
    marks: AtomicU8,
    kind: PhantomData<V>,
}

/// In `marks`: its owner has a handle to it.
const INDEXED: u8 = 1;

/// In `shape`: the length of the key.
const KEY_LEN: u16 = (1 << EXPONENT_SHIFT) - 1;
/// In `shape`: the exponent of `created`.
const EXPONENT: u16 = LONG - (1 << EXPONENT_SHIFT);
const EXPONENT_SHIFT: u32 = LONG.trailing_zeros() - Rounded::EXPONENT_BITS;
/// In `shape`: the extent of the value is long, and its length stands behind it as a `u32`.
const LONG: u16 = 1 << 13;
/// In `shape`: the value area holds an `Arc<Flight>`: no value yet.
const PLACEHOLDER: u16 = 1 << 14;
/// In `shape`: a [`Sliding`] stands behind the value.
const SLIDING: u16 = 1 << 15;
/// In `shape`: whatever makes an entry unusual.
const FLAGS: u16 = LONG | PLACEHOLDER | SLIDING;

const _: () = assert!(MAX_KEY_BYTES <= KEY_LEN as usize && KEY_LEN & EXPONENT == 0);

/// A TTL that reads renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sliding {
    pub(crate) ttl: Nanos,
    /// No renewal goes beyond it.
    pub(crate) last: Nanos,
}

/// What an entry is made from, apart from its value.
pub(crate) struct Header<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) created: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) sliding: Option<Sliding>,
    pub(crate) version: Version,
}

/// An entry that was seen in the table, kept alive by the guard under which it was.
pub(crate) struct Seen<'g, V: Value, O> {
    entry: NonNull<Entry<V, O>>,
    guard: &'g Guard,
}

impl<'a> Header<'a> {
    /// Of an entry like this one.
    pub(crate) fn of<V: Value, O>(entry: Seen<'a, V, O>) -> Self {
        Self {
            key: entry.key(),
            created: entry.created(),
            deadline: entry.deadline(),
            sliding: entry.sliding(),
            version: entry.version(),
        }
    }
}

impl<V: Value, O> Entry<V, O> {
    #[inline(always)]
    fn created(&self) -> Rounded {
        Rounded::of_parts(self.created, (self.shape >> EXPONENT_SHIFT) as u8)
    }

    #[inline(always)]
    fn stamp(&self, wall_origin: u64) -> Stamp {
        let created = self.created();
        Stamp { version: self.version, created, deadline: self.deadline, wall_origin }
    }
}

impl<V: Value, O> Clone for Seen<'_, V, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Value, O> Copy for Seen<'_, V, O> {}

impl<'g, V: Value, O> Seen<'g, V, O> {
    /// # Safety
    ///
    /// `entry` was loaded from a slot under `guard`.
    #[inline]
    pub(super) unsafe fn new(entry: NonNull<Entry<V, O>>, guard: &'g Guard) -> Self {
        Self { entry, guard }
    }

    #[inline]
    fn header(&self) -> &'g Entry<V, O> {
        self.guard.check(self.entry.as_ptr());
        // SAFETY: loaded from a slot under the guard, so it is not freed while that lives;
        // what changes in it is atomic.
        unsafe { self.entry.as_ref() }
    }

    #[inline]
    fn at(&self, offset: usize) -> *const u8 {
        // SAFETY: callers take offsets from the entry's own plan, which lie in its allocation.
        unsafe { self.entry.as_ptr().cast::<u8>().cast_const().add(offset) }
    }

    pub(crate) fn as_ptr(&self) -> *mut Entry<V, O> {
        self.entry.as_ptr()
    }

    #[inline]
    pub(crate) fn guard(&self) -> &'g Guard {
        self.guard
    }

    #[inline]
    pub(crate) fn owner_ptr(&self) -> *const O {
        tagged::pointer(self.header().owner)
    }

    #[inline]
    pub(crate) fn owner(&self) -> &'g O {
        let owner = self.owner_ptr();
        self.guard.check(owner);
        // SAFETY: an entry in a slot counts on its owner, whose memory goes through the same
        // epochs after its last entry has gone; the guard is older than that.
        unsafe { &*owner }
    }

    #[inline]
    pub(crate) fn key(&self) -> &'g [u8] {
        let header = self.header();
        let at = self.at(size_of::<Entry<V, O>>());
        // SAFETY: the key stands there, immutable, as long as the entry does.
        unsafe { std::slice::from_raw_parts(at, usize::from(header.shape & KEY_LEN)) }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        // Acquire: pairs with the AcqRel of `settle`: who sees an entry live, sees what its
        // birth was decided on.
        match self.header().state.load(Ordering::Acquire) & STATE {
            0 => State::Pending,
            1 => State::Live,
            _ => State::Killed,
        }
    }

    /// Counts a hit, up to [`MOST_CREDIT`].
    #[inline]
    pub(crate) fn hit(&self) {
        // Relaxed: the credit is a hint; the state was acquired by whoever found the entry.
        let state = self.header().state.load(Ordering::Relaxed);
        if state < STATE_OF_MOST_CREDIT {
            self.store_live(state + CREDIT);
        }
    }

    /// Hits less those that were taken away.
    pub(crate) fn credit(&self) -> u8 {
        // Relaxed: a hint.
        self.header().state.load(Ordering::Relaxed) / CREDIT
    }

    /// Nothing where the entry is not live.
    pub(crate) fn set_credit(&self, credit: u8) {
        if self.state() == State::Live {
            self.store_live(State::Live as u8 + credit.min(MOST_CREDIT) * CREDIT);
        }
    }

    /// A live entry stays so: nobody changes the state beside the credit, and a store that gets
    /// lost among others costs a hit.
    #[inline]
    fn store_live(&self, state: u8) {
        debug_assert!(state & STATE == State::Live as u8, "only live entries are hit");
        // Release: who acquires this store must see what the entry's birth was decided on, as
        // with the store of `settle`, which we acquired.
        self.header().state.store(state, Ordering::Release);
    }

    /// What maintenance remembers of it; `None` once it is retired.
    pub(crate) fn track(&self) -> Option<Track> {
        // Relaxed: changed under a shard's lock alone, and otherwise a hint.
        Track::from_word(self.header().link.load(Ordering::Relaxed))
    }

    /// Changes what maintenance remembers; `false` where that has changed, or the entry was
    /// retired: then `link` is no longer ours.
    pub(crate) fn set_track(&self, old: Track, new: Track) -> bool {
        if planted!("track_by_store") {
            let same = self.track() == Some(old);
            if same {
                // Relaxed: a planted bug.
                self.header().link.store(new.to_word(), Ordering::Relaxed);
            }
            return same;
        }
        // Relaxed: as in `track`. A read-modify-write, so that it never hits a link: a retired
        // entry's link has no mark, and never gets one again.
        self.header()
            .link
            .compare_exchange(
                old.to_word(),
                new.to_word(),
                Ordering::Relaxed, // Relaxed: as above.
                Ordering::Relaxed, // Relaxed: as above.
            )
            .is_ok()
    }

    /// Ends `Pending` as `to`; answers the state after that, ours or somebody else's.
    pub(super) fn settle(&self, to: State) -> State {
        // AcqRel: publishes the scan (or the death) that decided; a loser acquires the winner's.
        let swap = self.header().state.compare_exchange(
            State::Pending as u8,
            to as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match swap {
            Ok(_) => to,
            Err(_) => self.state(),
        }
    }

    /// Whether it ever was live. One that is pending never will be: call it for what was taken out
    /// because its owner died.
    pub(crate) fn has_lived(&self) -> bool {
        if planted!("pending_never_lived") {
            return self.state() == State::Live;
        }
        self.settle(State::Killed) == State::Live
    }

    /// Whether its owner has a handle to it.
    pub(crate) fn is_indexed(&self) -> bool {
        // Acquire: pairs with `set_indexed`: who inherits the mark inherits the handle.
        self.header().marks.load(Ordering::Acquire) & INDEXED != 0
    }

    pub(crate) fn set_indexed(&self) {
        if planted!("index_by_store") {
            // Release: a planted bug.
            self.header().marks.store(INDEXED, Ordering::Release);
            return;
        }
        // Release: after the push of the handle; pairs with `is_indexed`. A read-modify-write, as
        // others may have claimed the right to refresh it.
        self.header().marks.fetch_or(INDEXED, Ordering::Release);
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Nanos {
        self.header().deadline
    }

    /// Whether its time is over; reads the clock only where there is a deadline.
    #[inline(always)]
    pub(crate) fn is_expired(&self, now: impl FnOnce() -> Nanos) -> bool {
        let deadline = self.deadline();
        deadline != NEVER && now() >= deadline
    }

    #[inline]
    pub(crate) fn is_sliding(&self) -> bool {
        self.header().shape & SLIDING != 0
    }

    pub(crate) fn sliding(&self) -> Option<Sliding> {
        self.is_sliding().then(|| {
            self.header();
            // SAFETY: the guard keeps the entry, and the flag says that `Draft::make` wrote one there.
            unsafe {
                let plan = Entry::plan_of(self.as_ptr());
                self.at(plan.sliding).cast::<Sliding>().read_unaligned()
            }
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.header().version
    }

    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.header();
        // SAFETY: the guard keeps the entry.
        unsafe { Entry::bytes_of(self.as_ptr()) }
    }

    /// Its value's place, as `V::write` made it with this extent.
    #[inline]
    fn area(&self) -> (*const u8, Extent) {
        let header = self.header();
        debug_assert!(header.shape & PLACEHOLDER == 0, "a placeholder has no value");
        if header.shape & LONG != 0 {
            return self.long_area();
        }
        let extent = header.short_extent();
        (self.at(header.value_at(extent)), extent)
    }

    #[inline(never)]
    fn long_area(&self) -> (*const u8, Extent) {
        // SAFETY: the guard keeps the entry.
        let extent = unsafe { Entry::extent_of(self.as_ptr()) };
        (self.at(self.header().value_at(extent)), extent)
    }

    /// The load whose place this holds, if it is a placeholder.
    #[inline]
    pub(crate) fn flight(&self) -> Option<&'g Arc<Flight>> {
        let header = self.header();
        if header.shape & PLACEHOLDER == 0 {
            return None;
        }
        // SAFETY: the flag says that the area holds an `Arc<Flight>`, as long as the entry.
        Some(unsafe { &*self.at(header.flight_at()).cast::<Arc<Flight>>() })
    }

    /// Cancels the load whose place this held, if it did and was live.
    ///
    /// A placeholder that was killed, or that is still pending, has not begun to hold a place:
    /// its maker goes on with a copy of it, and ends the load in any case.
    #[inline]
    pub(crate) fn cancel_flight(&self) {
        if self.is_placeholder() {
            self.cancel_own_flight();
        }
    }

    #[inline(never)]
    fn cancel_own_flight(&self) {
        if let Some(flight) = self.flight()
            && (self.state() == State::Live || planted!("cancel_killed"))
        {
            flight.land(Outcome::Cancelled);
        }
    }

    #[inline]
    pub(crate) fn is_placeholder(&self) -> bool {
        self.header().shape & PLACEHOLDER != 0
    }

    #[inline]
    pub(crate) fn value(&self) -> &'g V::Borrowed {
        let (area, extent) = self.area();
        // SAFETY: `V::write` made the area with this extent, and the guard keeps it.
        unsafe { V::borrow(area, extent) }
    }

    #[inline]
    pub(crate) fn to_owned(self) -> V::Owned {
        let (area, extent) = self.area();
        // SAFETY: as in `value`.
        unsafe { V::to_owned(area, extent) }
    }

    #[inline]
    pub(crate) fn stamp(&self, wall_origin: u64) -> Stamp {
        self.header().stamp(wall_origin)
    }

    pub(crate) fn created(&self) -> Nanos {
        self.header().created().nanos()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}
