//! The handles of one node: a lock-free list of the hashes of its entries.
//!
//! ```text
//!  head = capacity:8 | fill:8 | chunk:48
//!    │
//!    ▼
//!  ┌─────────────┬───┬───┬───┬───┐     ┌─────────────┬───┬─ .. ─┬───┐
//!  │ next, cap   │ h │ h │ h │   │ ──► │ next, cap   │ h │ full │ h │ ──► ..
//!  └─────────────┴───┴───┴───┴───┘     └─────────────┴───┴─ .. ─┴───┘
//! ```
//!
//! Only the first chunk has room; those behind it are full. Its capacity stands in `head` too, so
//! that a push touches no line of it but the one that it writes to. A handle is weak: the entry that it
//! was pushed for may be gone, and then it leads nowhere. It is never missing for an entry that
//! is marked as indexed.
//!
//! - **push** writes the handle into the first free place of the chunk and then moves `fill` by
//!   a compare-exchange on `head`. Every push changes that word, and so does **detach**, which
//!   takes the whole list by a swap. So of a push and the detach of a deletion, one comes first:
//!   either the deleter finds the handle, or the pusher, whose compare-exchange then reads what
//!   the deleter wrote, sees the owner's death and sweeps for itself.
//! - **compact** drops the handles that lead nowhere from the full chunks. It puts a rebuilt
//!   list in place of the first chunk's successor, so that handles which lead somewhere are in
//!   the list at every moment. Whoever gets a chunk from `head` by a swap, or from `next` by a
//!   compare-exchange, owns it. A detached list is walked by marking each `next` as taken: the
//!   mark makes the compare-exchange of a compaction fail, and listings that are still in the
//!   list find the way to its end.

mod chunk;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use std::ptr::{self, NonNull};

pub(super) use self::chunk::Chunk;
use self::chunk::{FirstChunk, INLINE, TAKEN, chunk_size, figure};
use crate::directory::garbage::retire_chunk;
use crate::memory::prefetch;
use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{TryLock, figures};
use crate::tagged;
use crate::value::allocated;

/// Places of the first chunk. Odd numbers fill blocks as allocators have them, multiples of 16 less
/// their own word.
const LEAST: u16 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 1 } else { 5 };
const MOST: u16 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 2 } else { 63 };
/// In the tag of `head`: the bits of the fill. Those of the capacity stand above them.
const FILL: u16 = (1 << FILL_BITS) - 1;
const FILL_BITS: u32 = 8;

/// The most bytes that one push can allocate.
pub(crate) const CHUNK_BYTES: u64 = allocated(chunk_size(MOST)) as u64;

/// A list of handles; it must not move once something was pushed.
pub(crate) struct Handles {
    head: AtomicPtr<Chunk>,
    first: FirstChunk,
}

/// A detached list. Its owner takes the chunks one by one.
pub(crate) struct Detached {
    next: *mut Chunk,
    fill: u16,
    inline: *const FirstChunk,
}

// SAFETY: a detached list is owned; what it points to is reached by its owner alone, or (by
// listings under a guard) only read.
unsafe impl Send for Detached {}

impl Handles {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            first: FirstChunk {
                header: Chunk {
                    next: AtomicPtr::new(tagged::pack(ptr::null_mut(), INLINE as u16)),
                    below: figures::AtomicU32::new(0),
                    compacting: TryLock::new(()),
                },
                places: std::array::from_fn(|_| AtomicU64::new(0)),
            },
        }
    }

    /// Makes the inline chunk the first one. Called once, when the list has its final address.
    pub(crate) fn place(&self) {
        // Relaxed: the node is not published yet.
        self.head.store(head_word(self.inline(), 0, INLINE as u16), Ordering::Relaxed);
    }

    /// Starts to fetch the place that the next push writes to into the cache.
    #[inline]
    pub(crate) fn prefetch_place(&self) {
        // A hint changes nothing that a model could see, and each of its loads would be a step there.
        if cfg!(any(scopecache_loom, scopecache_shuttle)) {
            return;
        }
        // Relaxed: a hint.
        let word = self.head.load(Ordering::Relaxed);
        let places = tagged::pointer(word).wrapping_add(1).cast::<AtomicU64>();
        prefetch(places.wrapping_add(usize::from(fill_of(word))));
    }

    fn inline(&self) -> *mut Chunk {
        (&raw const self.first).cast_mut().cast()
    }

    /// Adds a handle; answers the bytes that it allocated and, where a chunk became full, how
    /// many handles there are.
    ///
    /// In a race with others it may add the handle twice, which is harmless.
    pub(crate) fn push(&self, handle: u64, guard: &Guard) -> (u64, Option<u64>) {
        debug_assert!(handle != 0, "zero marks an empty place");
        loop {
            // Acquire: pairs with the AcqRel of the other pushes: the chunk is there.
            let word = self.head.load(Ordering::Acquire);
            let (chunk, fill, capacity) = (tagged::pointer(word), fill_of(word), capacity_of(word));
            if fill == capacity {
                if let Some(answer) = self.push_chunk(word, handle) {
                    return answer;
                }
                continue;
            }
            guard.check(chunk);
            // SAFETY: it has room, so it is there; chunks are retired through the guard's epochs.
            let header = unsafe { &*chunk };
            let filled = head_word(chunk, fill + 1, capacity);
            // AcqRel: publishes the handle for whoever counts it in; a loser acquires the one
            // that stands there before it counts that in.
            let placed =
                header.place(fill).compare_exchange(0, handle, Ordering::AcqRel, Ordering::Acquire);
            // AcqRel: the step that a detach must see or that must see the detach; see the head
            // of this file. Acquire failure: the same, if the detach came first.
            let success =
                if planted!("relaxed_push") { Ordering::Relaxed } else { Ordering::AcqRel };
            let counted = self.head.compare_exchange(word, filled, success, Ordering::Acquire);
            match (placed, counted) {
                (Ok(_), Ok(_)) => return (0, None),
                // Somebody else counted our handle in.
                (Ok(_), Err(now)) if tagged::pointer(now) == chunk => return (0, None),
                // Detached, or other chunks came on top: it may be counted in or not. Once more.
                _ => {}
            }
        }
    }

    /// Puts a new chunk that holds `handle` in front, if `head` still is `word`.
    fn push_chunk(&self, word: *mut Chunk, handle: u64) -> Option<(u64, Option<u64>)> {
        let behind = tagged::pointer(word);
        // SAFETY: as in `push`.
        let (capacity, below) = match unsafe { behind.as_ref() } {
            None => (LEAST, 0),
            Some(full) => {
                let capacity = full.capacity();
                ((2 * capacity + 1).clamp(LEAST, MOST), full.count_from_here())
            }
        };
        let new = Chunk::allocate(capacity, behind, below);
        // SAFETY: just made, and of a capacity of at least one.
        // Relaxed: published by the compare-exchange.
        unsafe { &*new }.place(0).store(handle, Ordering::Relaxed);
        let head = head_word(new, 1, capacity);
        // AcqRel: as in `push`. Relaxed failure: nothing is read through it.
        let success = if planted!("relaxed_push") { Ordering::Relaxed } else { Ordering::AcqRel };
        match self.head.compare_exchange(word, head, success, Ordering::Relaxed) {
            Ok(_) => {
                let bytes = allocated(chunk_size(capacity)) as u64;
                Some((bytes, Some(below)))
            }
            Err(_) => {
                // SAFETY: it was not published.
                unsafe { Chunk::free_alone(new) };
                None
            }
        }
    }

    /// Takes the whole list.
    pub(crate) fn detach(&self) -> Detached {
        // AcqRel: carries the death of the owner to later pushes; acquires the handles.
        let order = if planted!("relaxed_detach") { Ordering::Relaxed } else { Ordering::AcqRel };
        let word = self.head.swap(ptr::null_mut(), order);
        Detached { next: tagged::pointer(word), fill: fill_of(word), inline: &raw const self.first }
    }

    /// The handles that are in the list, each once, in ascending order.
    pub(crate) fn snapshot(&self, guard: &Guard) -> Vec<u64> {
        // Acquire: pairs with the AcqRel of the pushes.
        let word = self.head.load(Ordering::Acquire);
        let mut handles = Vec::new();
        collect(tagged::pointer(word), fill_of(word), guard, &mut handles);
        handles.sort_unstable();
        handles.dedup();
        handles
    }

    /// Shows a part of the list to a walk from its oldest chunk to its newest, which has come past
    /// `from` handles and wants about so many; answers from where to go on, `None` at the end.
    ///
    /// What a compaction moves meanwhile may be shown twice, or only the next time round.
    pub(crate) fn part(
        &self,
        from: u64,
        wanted: u64,
        guard: &Guard,
        handles: &mut Vec<u64>,
    ) -> Option<u64> {
        // Acquire: pairs with the AcqRel of the pushes.
        let word = self.head.load(Ordering::Acquire);
        let (mut chunk, mut fill, mut next) = (tagged::pointer(word), fill_of(word), None);
        while !chunk.is_null() {
            guard.check(chunk);
            // SAFETY: chunks of a list are retired through the guard's epochs.
            let header = unsafe { &*chunk };
            // Relaxed: a figure.
            let below = u64::from(header.below.load(Ordering::Relaxed));
            let Some(passed) = below.checked_sub(from) else { break };
            if passed < wanted {
                handles.extend(header.handles(fill));
            } else {
                next = Some(below);
            }
            // Acquire: pairs with the AcqRel of whoever wrote it.
            chunk = tagged::pointer(header.next.load(Ordering::Acquire));
            fill = u16::MAX;
        }
        next
    }

    /// About how many handles there are.
    pub(crate) fn count(&self, _guard: &Guard) -> u64 {
        // Acquire: pairs with the AcqRel of the pushes.
        let word = self.head.load(Ordering::Acquire);
        // SAFETY: chunks of a list are retired through the guard's epochs.
        let Some(first) = (unsafe { tagged::pointer(word).as_ref() }) else { return 0 };
        // Relaxed: a figure.
        u64::from(first.below.load(Ordering::Relaxed)) + u64::from(fill_of(word))
    }

    /// Bytes that the chunks take from the budget.
    pub(crate) fn bytes(&self, guard: &Guard) -> u64 {
        // Acquire: pairs with the AcqRel of the pushes.
        self.bytes_from(tagged::pointer(self.head.load(Ordering::Acquire)), guard)
    }

    fn bytes_from(&self, mut chunk: *mut Chunk, guard: &Guard) -> u64 {
        let mut bytes = 0;
        while !chunk.is_null() {
            guard.check(chunk);
            // SAFETY: chunks of a list are retired through the guard's epochs.
            let header = unsafe { &*chunk };
            if chunk != self.inline() {
                bytes += allocated(chunk_size(header.capacity())) as u64;
            }
            // Acquire: pairs with the AcqRel of whoever wrote it.
            chunk = tagged::pointer(header.next.load(Ordering::Acquire));
        }
        bytes
    }

    /// Drops the handles for which `leads_somewhere` is false from the full chunks; answers how
    /// many bytes less the chunks take from the budget.
    ///
    /// The rebuilt chunks take over what is booked for the old ones, so that a full cache can
    /// compact too. Gives up where they are no smaller, or somebody else compacts or detaches
    /// meanwhile.
    pub(crate) fn compact(&self, guard: &Guard, leads_somewhere: impl FnMut(u64) -> bool) -> u64 {
        if planted!("compact_side_by_side") {
            return self.compact_alone(guard, leads_somewhere);
        }
        // One at a time. Another one, that began before chunks came in front, could replace the
        // rear of what we measure here, and both would give that back.
        let compacting = &self.first.header.compacting;
        compacting.try_with(|()| self.compact_alone(guard, leads_somewhere)).unwrap_or(0)
    }

    fn compact_alone(&self, guard: &Guard, mut leads_somewhere: impl FnMut(u64) -> bool) -> u64 {
        // Acquire: pairs with the AcqRel of the pushes.
        let first = tagged::pointer(self.head.load(Ordering::Acquire));
        // SAFETY: chunks of a list are retired through the guard's epochs.
        let Some(first) = (unsafe { first.as_ref() }) else { return 0 };
        // Acquire: pairs with the AcqRel swap or compare-exchange that wrote it.
        let old = first.next.load(Ordering::Acquire);
        let mut expected = old;
        if planted!("compact_by_detach") {
            expected = tagged::pack(ptr::null_mut(), first.capacity());
            first.next.swap(expected, Ordering::AcqRel);
        }
        if tagged::tag(old) & TAKEN != 0 {
            return 0;
        }
        let mut handles = Vec::new();
        collect(tagged::pointer(old), u16::MAX, guard, &mut handles);
        let booked = self.bytes_from(tagged::pointer(old), guard);
        handles.sort_unstable();
        handles.dedup();
        handles.retain(|&handle| leads_somewhere(handle));

        let (mut rebuilt, mut bytes, mut below) = (ptr::null_mut(), 0, 0);
        for part in handles.chunks(usize::from(MOST)) {
            let capacity = part.len() as u16;
            rebuilt = Chunk::allocate(capacity, rebuilt, below);
            bytes += allocated(chunk_size(capacity)) as u64;
            below += u64::from(capacity);
            for (place, &handle) in (0..).zip(part) {
                // SAFETY: just made; `place` is below its capacity.
                // Relaxed: published by the compare-exchange.
                unsafe { &*rebuilt }.place(place).store(handle, Ordering::Relaxed);
            }
        }
        let new = tagged::pack(rebuilt, first.capacity());
        // AcqRel: publishes the rebuilt chunks; wins the old ones.
        let swapped = bytes < booked
            && first
                .next
                .compare_exchange(expected, new, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if swapped {
            // Or chunks that are put in front of it would count what is gone, and their filling
            // start one compaction after the other.
            // Relaxed: a figure.
            first.below.store(figure(below), Ordering::Relaxed);
        }
        let mut given_up = Detached {
            next: tagged::pointer(if swapped { old } else { rebuilt }),
            fill: u16::MAX,
            inline: &raw const self.first,
        };
        while given_up.take_chunk(guard, |_| {}).is_some() {}
        if swapped { booked - bytes } else { 0 }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        // Relaxed: exclusive access, here and below.
        let mut chunk = tagged::pointer(self.head.load(Ordering::Relaxed));
        while !chunk.is_null() {
            // SAFETY: `&mut self`: the list and all its chunks are ours.
            let next = tagged::pointer(unsafe { &*chunk }.next.load(Ordering::Relaxed));
            if chunk != self.inline() {
                // SAFETY: not inline, so `Chunk::allocate` made it; freed once.
                unsafe { Chunk::free_alone(chunk) };
            }
            chunk = next;
        }
    }
}

impl Detached {
    /// Shows the handles of the next chunk and retires it; answers its allocated bytes, or
    /// `None` at the end of the list.
    pub(crate) fn take_chunk(&mut self, guard: &Guard, show: impl FnMut(u64)) -> Option<u64> {
        let chunk = self.next;
        if chunk.is_null() {
            return None;
        }
        guard.check(chunk);
        // SAFETY: the list is ours, and its chunks are retired below, once.
        let header = unsafe { &*chunk };
        let capacity = header.capacity();
        header.handles(self.fill).for_each(show);
        // AcqRel: takes the successor; a compaction's compare-exchange comes before, or fails.
        // Acquire: the successor is read next.
        let taken = header.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            let next =
                if planted!("cut_taken_list") { ptr::null_mut() } else { tagged::pointer(next) };
            Some(tagged::pack(next, capacity | TAKEN))
        });
        self.next = tagged::pointer(taken.unwrap_or_else(|next| next));
        self.fill = u16::MAX;
        if ptr::eq(chunk, self.inline.cast()) {
            return Some(0);
        }
        // SAFETY: not null, nor inline, so `Chunk::allocate` made it; taken out by the swap that made
        // it ours; listings that still read it hold guards.
        unsafe { retire_chunk(NonNull::new_unchecked(chunk), guard) };
        Some(allocated(chunk_size(capacity)) as u64)
    }
}

/// What `head` holds: a chunk whose first places are filled.
fn head_word(chunk: *mut Chunk, fill: u16, capacity: u16) -> *mut Chunk {
    tagged::pack(chunk, capacity << FILL_BITS | fill)
}

fn fill_of(head: *mut Chunk) -> u16 {
    tagged::tag(head) & FILL
}

/// Of no chunk: none.
fn capacity_of(head: *mut Chunk) -> u16 {
    tagged::tag(head) >> FILL_BITS
}

/// Adds the handles of a list that starts at `chunk` and fills that up to `fill`.
fn collect(mut chunk: *mut Chunk, mut fill: u16, guard: &Guard, handles: &mut Vec<u64>) {
    while !chunk.is_null() {
        guard.check(chunk);
        // SAFETY: chunks of a list are retired through the guard's epochs.
        let header = unsafe { &*chunk };
        handles.extend(header.handles(fill));
        // Acquire: pairs with the AcqRel of whoever wrote it.
        chunk = tagged::pointer(header.next.load(Ordering::Acquire));
        fill = u16::MAX;
    }
}
