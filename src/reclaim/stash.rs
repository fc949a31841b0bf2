//! A shared pile of retired objects, handed to the epochs in batches.
//!
//! ```text
//!  push  ──►  head ─► object ─► object ─► ..        (a stack; linked through the objects)
//!                       │ past `batch_bytes`, or when anybody asks
//!                       ▼
//!             one deferred closure frees the whole list
//! ```
//!
//! Handing a batch over later than its objects were unlinked only delays their freeing.

use std::ptr;
use std::sync::Arc;

use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::figures::AtomicU64;

/// An object that can lie in a [`Stash`].
///
/// # Safety
///
/// `link` is used by nobody else once the object was retired, `bytes` does not change, and
/// `free` may be called on any thread.
pub(crate) unsafe trait Retire: Sized {
    fn link(&self) -> &AtomicPtr<Self>;
    fn bytes(&self) -> u64;
    /// # Safety
    /// Nobody reaches the object any more; called once.
    unsafe fn free(object: *mut Self);
}

/// Bytes of one cache that were handed to the epochs and are not yet freed.
///
/// It outlives the cache where a batch does.
#[derive(Default)]
pub(crate) struct RetiredBytes(AtomicU64);

pub(crate) struct Stash<T: Retire> {
    head: AtomicPtr<T>,
    /// Bytes on the stack.
    bytes: AtomicU64,
    #[cfg_attr(
        any(scopecache_loom, scopecache_shuttle),
        expect(dead_code, reason = "models retire each object by itself")
    )]
    batch_bytes: u64,
}

impl RetiredBytes {
    pub(crate) fn get(&self) -> u64 {
        // Relaxed: a figure to compare with a bound; it orders nothing.
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Retire> Stash<T> {
    /// A stash that hands itself over whenever it holds more than `batch_bytes`.
    pub(crate) fn new(batch_bytes: u64) -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), bytes: AtomicU64::new(0), batch_bytes }
    }

    /// Bytes that lie here, not yet handed over.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a figure to compare with a bound; it orders nothing.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Retires `object`.
    ///
    /// # Safety
    ///
    /// The object was unlinked, by the caller alone, from everything that a guard taken later
    /// could start from, and comes from where [`Retire::free`] expects it.
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    pub(crate) unsafe fn push(&self, object: *mut T, retired: &Arc<RetiredBytes>, guard: &Guard) {
        // SAFETY: retired by the caller alone, and not freed before it is handed over.
        let (link, bytes) = unsafe { ((*object).link(), (*object).bytes()) };
        // Relaxed: counted before it is linked in, so that `hand_over` never subtracts more
        // than was added; only the sum matters.
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Relaxed: the compare-exchange verifies it.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the Release below.
            link.store(head, Ordering::Relaxed);
            // Release: publishes the link, and that the object was unlinked; pairs with the
            // Acquire swap in `hand_over`. Relaxed failure: nothing is read through `now`.
            match self.head.compare_exchange(head, object, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if total > self.batch_bytes {
            self.hand_over(retired, guard);
        }
    }

    /// In models every object is retired by itself, so that each access is checked against the
    /// moment of its own unlinking.
    ///
    /// # Safety
    ///
    /// As for the real one.
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    pub(crate) unsafe fn push(&self, object: *mut T, _: &Arc<RetiredBytes>, guard: &Guard) {
        // SAFETY: passed on to the caller.
        unsafe { guard.defer(object.cast_const().cast(), move || T::free(object)) };
    }

    /// Hands everything here to the epochs.
    pub(crate) fn hand_over(&self, retired: &Arc<RetiredBytes>, guard: &Guard) {
        // Acquire: pairs with the Release in `push`.
        let list = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        if list.is_null() {
            return;
        }
        let mut bytes = 0;
        let mut object = list;
        while !object.is_null() {
            // SAFETY: the swap made the list ours, and nothing in it is freed before the defer.
            let this = unsafe { &*object };
            bytes += this.bytes();
            // Relaxed: acquired with the head.
            object = this.link().load(Ordering::Relaxed);
        }
        // Relaxed: figures. First added there, then subtracted here: the sum of both is never
        // less than what is held.
        retired.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let retired = Arc::clone(retired);
        let free = move || {
            // SAFETY: the list is ours, and the epochs say that nobody reads it any more.
            unsafe { free_list(list) };
            // Relaxed: a figure.
            retired.0.fetch_sub(bytes, Ordering::Relaxed);
        };
        // SAFETY: every object was unlinked before it was pushed, hence before this moment, and
        // `Retire::free` may run on any thread.
        unsafe { guard.defer(list.cast_const().cast(), free) };
        guard.flush();
    }
}

impl<T: Retire> Drop for Stash<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: the structure that the objects were unlinked from is going too,
        // and with it every reader.
        // Relaxed: exclusive access.
        unsafe { free_list(self.head.load(Ordering::Relaxed)) };
    }
}

/// # Safety
///
/// The list is the caller's, and nobody else reaches it.
unsafe fn free_list<T: Retire>(mut object: *mut T) {
    while !object.is_null() {
        // SAFETY: not yet freed, as the caller promises; its link is read before it goes.
        // Relaxed: acquired with the head of the list.
        let next = unsafe { &*object }.link().load(Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { T::free(object) };
        object = next;
    }
}
