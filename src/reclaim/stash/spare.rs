//! Retired objects that nobody reaches any more, kept for writers to write into their memory.

use std::ptr::{self, NonNull};

use super::{Retire, Retired};
use crate::memory::prefetch;
use crate::sync::atomic::Ordering;

/// Lists of objects that are still to be freed. Their owner locks them, for as long as it takes to
/// take something off, and frees that without the lock.
pub(super) struct Spare<T> {
    next: *mut T,
    /// Those that come when that one is used up, the last first: it is the one that the
    /// processor's caches know best.
    lists: Vec<Kept<T>>,
    /// Bytes of these.
    kept_bytes: u64,
    /// Bytes that are kept there at most.
    most_bytes: u64,
    /// Bytes of what was taken off, not yet subtracted from what is retired.
    owed: u64,
    /// Something was added or taken off since the last look at it.
    in_use: bool,
}

// SAFETY: what is in the list belongs to it alone, and may be freed on any thread.
unsafe impl<T: Retire> Send for Spare<T> {}

/// A list, and the bytes of what is on it.
#[derive(Clone, Copy)]
struct Kept<T>(*mut T, u64);

impl<T: Retire> Spare<T> {
    /// Keeps one list, and others of so many bytes.
    pub(super) fn new(most_bytes: u64) -> Self {
        Self {
            next: ptr::null_mut(),
            lists: Vec::new(),
            kept_bytes: 0,
            most_bytes,
            owed: 0,
            in_use: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next.is_null()
    }

    /// Takes over a list of so many bytes, if there is place for it; answers whether.
    pub(super) fn adopt(&mut self, list: *mut T, bytes: u64) -> bool {
        if self.is_empty() {
            self.next = list;
        } else if self.kept_bytes + bytes <= self.most_bytes {
            self.kept_bytes += bytes;
            self.lists.push(Kept(list, bytes));
        } else {
            return false;
        }
        self.in_use = true;
        true
    }

    /// Takes one object off; it is the caller's.
    #[inline]
    pub(super) fn pop(&mut self, retired: &Retired<T>) -> Option<NonNull<T>> {
        /// Bytes from which on they are subtracted from the figure, which all threads share.
        const MOST_OWED: u64 = 4096;
        let object = NonNull::new(self.next)?;
        // SAFETY: objects on the list are not yet freed.
        let this = unsafe { object.as_ref() };
        // Relaxed: acquired with the batch, or with the lock.
        self.next = this.link().load(Ordering::Relaxed);
        if self.next.is_null() {
            self.begin_another();
        }
        // The next writer reads its header and writes over all of it.
        for line in 0..3 {
            prefetch(self.next.wrapping_byte_add(64 * line));
        }
        self.in_use = true;
        // SAFETY: as above.
        self.owed += unsafe { T::counted_bytes(object.as_ptr()) };
        if self.owed > MOST_OWED || self.next.is_null() {
            self.settle(retired);
        }
        Some(object)
    }

    #[cold]
    fn begin_another(&mut self) {
        if let Some(Kept(list, bytes)) = self.lists.pop() {
            self.next = list;
            self.kept_bytes -= bytes;
        }
    }

    /// Takes everything off; the lists are the caller's.
    pub(super) fn take(&mut self, retired: &Retired<T>) -> impl Iterator<Item = *mut T> + use<T> {
        self.settle(retired);
        self.lists()
    }

    /// As [`take`](Self::take), when nobody counts any more.
    pub(super) fn lists(&mut self) -> impl Iterator<Item = *mut T> + use<T> {
        self.kept_bytes = 0;
        let next = self.next;
        if !planted!("free_spare_in_place") {
            self.next = ptr::null_mut();
        }
        let kept = std::mem::take(&mut self.lists);
        std::iter::once(next).chain(kept.into_iter().map(|Kept(list, _)| list))
    }

    /// Whether nothing was added or taken off since the last call.
    pub(super) fn is_idle(&mut self) -> bool {
        !std::mem::take(&mut self.in_use)
    }

    #[inline(never)]
    fn settle(&mut self, retired: &Retired<T>) {
        retired.uncount(std::mem::take(&mut self.owed));
    }
}
