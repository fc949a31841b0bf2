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

/// What a block takes; nothing while nobody counts.
#[inline]
fn taken(block: *mut u8) -> i64 {
    // Relaxed: see `count`.
    if !ON.load(Ordering::Relaxed) || block.is_null() {
        return 0;
    }
    // SAFETY: every caller holds a block of the system's allocator, which is glibc's.
    let usable = unsafe { libc::malloc_usable_size(block.cast()) };
    (usable + size_of::<usize>()) as i64
}

/// Books what came, less what went.
#[inline]
fn book(bytes: i64) {
    if bytes != 0 {
        // Relaxed: a figure.
        ALLOCATED.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[inline]
fn came(block: *mut u8) {
    #[cfg(test)]
    BLOCKS.set(BLOCKS.get() + 1);
    book(taken(block));
}

// SAFETY: passes everything on to the system's allocator. `alloc_zeroed` too: the default would
// write to memory that the system zeroes when it is touched, and so make it resident.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc(layout) };
        came(block);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let block = unsafe { System.alloc_zeroed(layout) };
        came(block);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let bytes = taken(block);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) };
        // Not before it is given back: that takes a tenth of a millisecond where it is a mebibyte.
        book(-bytes);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let bytes = taken(block);
        // SAFETY: as the caller promises.
        let moved = unsafe { System.realloc(block, layout, size) };
        // Where there was no room, the old block lives on.
        if !moved.is_null() {
            book(taken(moved) - bytes);
        }
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
