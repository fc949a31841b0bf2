//! Retired objects that nobody reaches any more, kept for writers to write into their memory.

use std::ptr::{self, NonNull};

use super::{Retire, Retired};
use crate::memory::prefetch;
use crate::sync::atomic::Ordering;

/// A list of objects that are still to be freed. Its owner locks it, for as long as it takes to
/// take something off, and frees that without the lock.
pub(super) struct Spare<T> {
    next: *mut T,
    /// Bytes of what was taken off, not yet subtracted from what is retired.
    owed: u64,
    /// Something was added or taken off since the last look at it.
    in_use: bool,
}

// SAFETY: what is in the list belongs to it alone, and may be freed on any thread.
unsafe impl<T: Retire> Send for Spare<T> {}

impl<T: Retire> Spare<T> {
    pub(super) fn new() -> Self {
        Self { next: ptr::null_mut(), owed: 0, in_use: false }
    }

    pub(super) fn list(&self) -> *mut T {
        self.next
    }

    /// Takes over a list, unless there still is one; answers whether.
    pub(super) fn adopt(&mut self, list: *mut T) -> bool {
        let adopted = self.next.is_null();
        if adopted {
            self.next = list;
            self.in_use = true;
        }
        adopted
    }

    /// Takes one object off; it is the caller's.
    pub(super) fn pop(&mut self, retired: &Retired<T>) -> Option<NonNull<T>> {
        /// Bytes from which on they are subtracted from the figure, which all threads share.
        const MOST_OWED: u64 = 4096;
        let object = NonNull::new(self.next)?;
        // SAFETY: objects on the list are not yet freed.
        let this = unsafe { object.as_ref() };
        // Relaxed: acquired with the batch, or with the lock.
        self.next = this.link().load(Ordering::Relaxed);
        // The next writer reads its header and writes over all of it.
        for line in 0..3 {
            prefetch(self.next.wrapping_byte_add(64 * line));
        }
        self.in_use = true;
        self.owed += this.counted_bytes();
        if self.owed > MOST_OWED || self.next.is_null() {
            self.settle(retired);
        }
        Some(object)
    }

    /// Takes the whole list off; it is the caller's.
    pub(super) fn take(&mut self, retired: &Retired<T>) -> *mut T {
        self.settle(retired);
        std::mem::replace(&mut self.next, ptr::null_mut())
    }

    /// Whether nothing was added or taken off since the last call.
    pub(super) fn is_idle(&mut self) -> bool {
        !std::mem::take(&mut self.in_use)
    }

    fn settle(&mut self, retired: &Retired<T>) {
        retired.uncount(std::mem::take(&mut self.owed));
    }
}
