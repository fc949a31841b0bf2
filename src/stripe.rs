//! A small number for each thread, by which threads that share something find parts of it that
//! the others rarely touch.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calling thread's stripe of `stripes`, a power of two.
///
/// Threads are dealt out evenly in the order in which they first ask. Any stripe is right for any
/// thread; the thread's own has its lines in the cache of the core that it runs on.
#[inline]
pub(crate) fn of_thread(stripes: usize) -> usize {
    // std atomics and a std thread-local also under loom and shuttle: which part a thread takes
    // orders nothing.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static MINE: Cell<usize> = const { Cell::new(NONE) };
    }
    /// No thread gets that far.
    const NONE: usize = usize::MAX;
    debug_assert!(stripes.is_power_of_two());
    let mut mine = MINE.get();
    if mine == NONE {
        // Relaxed: uniqueness needs the atomicity of the addition, no ordering.
        mine = NEXT.fetch_add(1, Ordering::Relaxed);
        MINE.set(mine);
    }
    mine & (stripes - 1)
}
