//! A chunk of handles: a header, and the places behind it in the same allocation.
//!
//! Its capacity never changes and stands in the tag of the link to the next chunk.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{TryLock, figures};
use crate::tagged;

/// Handles that stand in the node itself: enough for a small session.
pub(super) const INLINE: usize = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 1 } else { 3 };
/// In the tag of a chunk's `next`, beside its capacity: the successor has another owner.
pub(super) const TAKEN: u16 = 1 << 15;

/// The header of a chunk; its places follow it.
#[repr(C)]
pub(in crate::directory) struct Chunk {
    /// The next chunk, tagged with this chunk's capacity, and with [`TAKEN`] at the end.
    pub(super) next: AtomicPtr<Chunk>,
    /// Handles in all chunks behind this one: when it was made, or last compacted.
    pub(super) below: figures::AtomicU32,
    /// Of the inline chunk: held by who compacts the list.
    pub(super) compacting: TryLock<()>,
}

/// The chunk that stands in the node.
#[repr(C)]
pub(super) struct FirstChunk {
    pub(super) header: Chunk,
    pub(super) places: [AtomicU64; INLINE],
}

pub(super) const fn chunk_size(capacity: u16) -> usize {
    size_of::<Chunk>() + capacity as usize * size_of::<AtomicU64>()
}

impl Chunk {
    fn layout(capacity: u16) -> Layout {
        Layout::from_size_align(chunk_size(capacity), align_of::<Self>()).expect("a small chunk")
    }

    /// A chunk of empty places in front of `next`, which has `below` handles from there on.
    pub(super) fn allocate(capacity: u16, next: *mut Self, below: u64) -> *mut Self {
        let layout = Self::layout(capacity);
        // SAFETY: the layout holds at least the header.
        let chunk = unsafe { alloc(layout) }.cast::<Self>();
        if chunk.is_null() {
            handle_alloc_error(layout);
        }
        assert!(tagged::fits(chunk), "scopecache needs pointers of at most 48 bits");
        // SAFETY: the allocation is ours and large enough for header and places.
        unsafe {
            chunk.write(Self {
                next: AtomicPtr::new(tagged::pack(next, capacity)),
                below: figures::AtomicU32::new(figure(below)),
                compacting: TryLock::new(()),
            });
            let places = chunk.add(1).cast::<AtomicU64>();
            for place in 0..usize::from(capacity) {
                places.add(place).write(AtomicU64::new(0));
            }
        }
        chunk
    }

    /// # Safety
    ///
    /// `chunk` comes from `allocate`, and nobody reaches it any more.
    pub(in crate::directory) unsafe fn free_alone(chunk: *mut Self) {
        // SAFETY: as the caller promises.
        let capacity = unsafe { &*chunk }.capacity();
        // SAFETY: as the caller promises; made with this layout.
        unsafe {
            let places = chunk.add(1).cast::<AtomicU64>();
            for place in 0..usize::from(capacity) {
                places.add(place).drop_in_place();
            }
            chunk.drop_in_place();
            dealloc(chunk.cast(), Self::layout(capacity));
        }
    }

    /// Handles in this chunk, which is full, and in all behind it.
    pub(super) fn count_from_here(&self) -> u64 {
        // Acquire: pairs with the AcqRel of whoever wrote it: a compaction may have put another
        // chunk there since this one was made, with fewer behind it.
        let next = tagged::pointer(self.next.load(Ordering::Acquire));
        // SAFETY: chunks of a list are retired through the epochs, and callers hold a guard.
        let behind = unsafe { next.as_ref() };
        u64::from(self.capacity())
            // Relaxed: a figure.
            + behind.map_or(0, |next| {
                u64::from(next.capacity()) + u64::from(next.below.load(Ordering::Relaxed))
            })
    }

    #[inline]
    pub(super) fn capacity(&self) -> u16 {
        // Relaxed: the capacity never changes.
        tagged::tag(self.next.load(Ordering::Relaxed)) & !TAKEN
    }

    #[inline]
    pub(super) fn place(&self, index: u16) -> &AtomicU64 {
        debug_assert!(index < self.capacity());
        // SAFETY: `capacity` places follow the header, in a heap chunk as in the inline one.
        unsafe { &*(&raw const *self).add(1).cast::<AtomicU64>().add(usize::from(index)) }
    }

    /// The handles in the first `fill` places.
    pub(super) fn handles(&self, fill: u16) -> impl Iterator<Item = u64> {
        // Acquire: pairs with the AcqRel by which the handle was placed.
        (0..fill.min(self.capacity())).map(|index| self.place(index).load(Ordering::Acquire))
    }
}

/// A number of handles, as chunks keep it: where it is of use, it fits.
pub(super) fn figure(handles: u64) -> u32 {
    handles.try_into().unwrap_or(u32::MAX)
}
