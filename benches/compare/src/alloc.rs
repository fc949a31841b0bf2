//! An allocator that counts.
//!
//! It counts what glibc takes for each block: `malloc_usable_size`, the block as glibc rounded
//! it, and the word of its header. That is exact below the mmap threshold and 8 bytes short
//! above it. What is free inside glibc's arenas is not counted; the resident memory has it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, counted once [`count`] was called: comparisons of speed do not call
/// it, and so share no counter between their threads.
pub(crate) struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicI64 = AtomicI64::new(0);

/// Counts from now on.
pub(crate) fn count() {
    // Relaxed: called before other threads start.
    ON.store(true, Ordering::Relaxed);
}

/// Bytes allocated since [`count`], less those freed: only differences mean something.
pub(crate) fn allocated_bytes() -> i64 {
    // Relaxed: a figure.
    ALLOCATED.load(Ordering::Relaxed)
}

/// Blocks that this thread has allocated.
#[cfg(test)]
pub(crate) fn blocks_of_this_thread() -> u64 {
    BLOCKS.get()
}

#[cfg(test)]
std::thread_local! {
    static BLOCKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[inline]
fn book(block: *mut u8, sign: i64) {
    #[cfg(test)]
    BLOCKS.set(BLOCKS.get() + u64::from(sign > 0));
    // Relaxed: see `count`.
    if ON.load(Ordering::Relaxed) && !block.is_null() {
        // SAFETY: every caller holds a block of the system's allocator, which is glibc's.
        let usable = unsafe { libc::malloc_usable_size(block.cast()) };
        // Relaxed: a figure.
        ALLOCATED.fetch_add(sign * (usable + size_of::<usize>()) as i64, Ordering::Relaxed);
    }
}

// SAFETY: passes everything on to the system's allocator. `alloc_zeroed` too: the default would
// write to memory that the system zeroes when it is touched, and so make it resident.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc(layout) };
        book(block, 1);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc_zeroed(layout) };
        book(block, 1);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        book(block, -1);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        book(block, -1);
        // SAFETY: as the caller promises.
        let moved = unsafe { System.realloc(block, layout, size) };
        // Where there was no room, the old block lives on.
        book(if moved.is_null() { block } else { moved }, 1);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_as_glibc_rounds_them() {
        count();
        // Other tests allocate meanwhile: large enough to stand out.
        const LARGE: usize = 64 << 20;
        let before = allocated_bytes();
        let block: Vec<u8> = Vec::with_capacity(LARGE);
        let with = allocated_bytes() - before;
        assert!((with - LARGE as i64).abs() < 16 << 20, "{with}");
        drop(block);
        assert!((allocated_bytes() - before).abs() < 16 << 20);
    }
}
