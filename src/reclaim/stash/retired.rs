//! What was handed to the epochs: how much it is, and what of it may be freed.

use std::alloc::dealloc;
use std::ptr;

use crossbeam_utils::CachePadded;

use super::Retire;
use crate::memory::free_one_of_many;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What one cache has handed to the epochs and is not yet freed.
///
/// It outlives the cache where a batch does.
pub(crate) struct Retired<T: Retire> {
    bytes: AtomicU64,
    /// For each stash a stack of its batches that no guard keeps any more.
    ready: Box<[CachePadded<AtomicPtr<Batch<T>>>]>,
}

/// Objects that were taken off a stash together.
pub(super) struct Batch<T> {
    list: *mut T,
    /// About what they take together.
    bytes: u64,
    next: *mut Self,
}

// SAFETY: batches and what they hold are reached by whoever takes the stack, alone; objects may
// be freed on any thread, as `Retire` says.
unsafe impl<T: Retire> Send for Retired<T> {}
// SAFETY: as above.
unsafe impl<T: Retire> Sync for Retired<T> {}
// SAFETY: as above.
unsafe impl<T: Retire> Send for Batch<T> {}

impl<T: Retire> Retired<T> {
    /// Of so many stashes.
    pub(crate) fn new(stashes: usize) -> Self {
        let ready = (0..stashes).map(|_| CachePadded::new(AtomicPtr::new(ptr::null_mut())));
        Self { bytes: AtomicU64::new(0), ready: ready.collect() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a figure to compare with a bound.
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: u64) {
        // Relaxed: a figure; who must see it comes by another edge, see the head of the stash.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn uncount(&self, bytes: u64) {
        // Relaxed: as above.
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Models are built as releases are.
        let checked = cfg!(any(debug_assertions, scopecache_loom));
        assert!(!checked || before >= bytes, "more was freed than retired");
    }

    /// Shows each batch of a stash that no guard keeps any more to `wanted`, and frees those that it
    /// does not take over.
    #[inline]
    pub(super) fn take_ready(&self, stash: usize, wanted: impl FnMut(&Batch<T>) -> bool) {
        let head = &self.ready[stash];
        // Relaxed: most of the time there is nothing; the swap looks again.
        if !head.load(Ordering::Relaxed).is_null() {
            self.take_ready_from(head, wanted);
        }
    }

    #[inline(never)]
    fn take_ready_from(
        &self,
        head: &AtomicPtr<Batch<T>>,
        mut wanted: impl FnMut(&Batch<T>) -> bool,
    ) {
        // Acquire: pairs with the Release in `make_ready`.
        let mut ready = Ready(self, head.swap(ptr::null_mut(), Ordering::Acquire));
        while let Some(batch) = ready.pop() {
            if !wanted(&batch) {
                // SAFETY: the epochs said that nobody reads it any more, before it was made ready.
                drop(unsafe { Doomed::new(batch.list, Some(self)) });
            }
        }
    }

    /// Takes a batch of a stash that no guard keeps any more.
    pub(super) fn make_ready(&self, stash: usize, batch: Box<Batch<T>>) {
        let batch = Box::into_raw(batch);
        let ready = &self.ready[stash];
        // Relaxed: the compare-exchange verifies it.
        let mut head = ready.load(Ordering::Relaxed);
        let success = if planted!("relaxed_ready") { Ordering::Relaxed } else { Ordering::Release };
        loop {
            // SAFETY: the batch is ours until the compare-exchange.
            unsafe { (*batch).next = head };
            // Release: publishes the batch; pairs with the Acquire in `take_ready`. Relaxed
            // failure: nothing is read through `now`.
            match ready.compare_exchange(head, batch, success, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

impl<T: Retire> Drop for Retired<T> {
    fn drop(&mut self) {
        (0..self.ready.len()).for_each(|stash| self.take_ready(stash, |_| false));
    }
}

impl<T> Batch<T> {
    pub(super) fn new(list: *mut T, bytes: u64) -> Box<Self> {
        Box::new(Self { list, bytes, next: ptr::null_mut() })
    }

    pub(super) fn list(&self) -> *mut T {
        self.list
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A stack of batches that nobody reads any more. What is left of it is freed when it goes.
struct Ready<'r, T: Retire>(&'r Retired<T>, *mut Batch<T>);

impl<T: Retire> Ready<'_, T> {
    fn pop(&mut self) -> Option<Box<Batch<T>>> {
        if self.1.is_null() {
            return None;
        }
        // SAFETY: made by `Box::into_raw` in `make_ready`; whoever swapped the stack out owns it.
        let batch = unsafe { Box::from_raw(self.1) };
        self.1 = batch.next;
        Some(batch)
    }
}

impl<T: Retire> Drop for Ready<'_, T> {
    fn drop(&mut self) {
        while let Some(batch) = self.pop() {
            // SAFETY: as in `take_ready`.
            drop(unsafe { Doomed::new(batch.list, Some(self.0)) });
        }
    }
}

/// A list of objects that are freed when it goes: all of them, also where the drop of a value
/// panics, as the elements of a `Vec` are.
pub(super) struct Doomed<'r, T: Retire> {
    list: *mut T,
    /// Where they are counted.
    retired: Option<&'r Retired<T>>,
    freed: u64,
}

impl<'r, T: Retire> Doomed<'r, T> {
    /// # Safety
    ///
    /// The list is the caller's, nobody else reaches it, and its bytes are counted in `retired`.
    pub(super) unsafe fn new(list: *mut T, retired: Option<&'r Retired<T>>) -> Self {
        Self { list, retired, freed: 0 }
    }

    fn free(&mut self) {
        // SAFETY: not yet freed, as the caller of `new` promised; what is needed of an object is
        // read before it goes.
        while let Some(object) = unsafe { self.list.as_ref() } {
            let this = self.list;
            // Relaxed: acquired with the head of the list.
            self.list = object.link().load(Ordering::Relaxed);
            // SAFETY: as above; the block is ours then, and has this layout.
            unsafe {
                self.freed += T::counted_bytes(this);
                let layout = T::clear(this);
                if self.list.is_null() {
                    free_one_of_many(this.cast(), layout);
                } else {
                    dealloc(this.cast(), layout);
                }
            }
        }
    }
}

impl<T: Retire> Drop for Doomed<'_, T> {
    fn drop(&mut self) {
        struct Rest<'d, 'r, T: Retire>(&'d mut Doomed<'r, T>);

        impl<T: Retire> Drop for Rest<'_, '_, T> {
            fn drop(&mut self) {
                // Nothing, unless a value has panicked; should another one, the process aborts.
                self.0.free();
                if let Some(retired) = self.0.retired {
                    retired.uncount(self.0.freed);
                }
            }
        }

        Rest(self).0.free();
    }
}
