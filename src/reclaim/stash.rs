//! A shared pile of retired objects, handed to the epochs in batches.
//!
//! ```text
//!  push  ──►  head ─► object ─► object ─► ..        (a stack; linked through the objects)
//!                       │ past `batch_bytes`, or when anybody asks
//!                       ▼
//!             one deferred closure puts the whole list among what is ready
//!                       │ when somebody hands over, or maintains
//!                       ▼
//!                    freed
//! ```
//!
//! Handing a batch over later than its objects were unlinked only delays their freeing. The
//! closures of crossbeam-epoch run on any thread that takes a guard, readers included: so they
//! free nothing themselves, or one get in a thousand would free hundreds of entries.

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

/// What one cache has handed to the epochs and is not yet freed.
///
/// It outlives the cache where a batch does.
pub(crate) struct Retired<T: Retire> {
    bytes: AtomicU64,
    /// A stack of batches that no guard keeps any more.
    ready: AtomicPtr<Batch<T>>,
}

/// Objects that were handed over together.
struct Batch<T> {
    list: *mut T,
    bytes: u64,
    next: *mut Self,
}

// SAFETY: batches and what they hold are reached by whoever takes the stack, alone; objects may
// be freed on any thread, as `Retire` says.
unsafe impl<T: Retire> Send for Retired<T> {}
// SAFETY: as above.
unsafe impl<T: Retire> Sync for Retired<T> {}

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

impl<T: Retire> Retired<T> {
    pub(crate) fn new() -> Self {
        Self { bytes: AtomicU64::new(0), ready: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a figure to compare with a bound; it orders nothing.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Frees what no guard keeps any more.
    pub(crate) fn free_ready(&self) {
        // Relaxed: most of the time there is nothing; the swap looks again.
        if self.ready.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Acquire: pairs with the Release in `make_ready`.
        let mut batch = self.ready.swap(ptr::null_mut(), Ordering::Acquire);
        while !batch.is_null() {
            // SAFETY: made by `Box::into_raw` in `hand_over`; the swap made the stack ours.
            let Batch { list, bytes, next } = *unsafe { Box::from_raw(batch) };
            // SAFETY: the epochs said that nobody reads it any more, before it was made ready.
            unsafe { free_list(list) };
            // Relaxed: a figure.
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            batch = next;
        }
    }

    /// # Safety
    ///
    /// No guard keeps the batch any more; it is made ready once.
    unsafe fn make_ready(&self, batch: *mut Batch<T>) {
        // Relaxed: the compare-exchange verifies it.
        let mut head = self.ready.load(Ordering::Relaxed);
        loop {
            // SAFETY: the batch is the caller's until the compare-exchange.
            unsafe { (*batch).next = head };
            // Release: publishes the batch; pairs with the Acquire in `free_ready`. Relaxed
            // failure: nothing is read through `now`.
            match self.ready.compare_exchange(head, batch, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

impl<T: Retire> Drop for Retired<T> {
    fn drop(&mut self) {
        self.free_ready();
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
    pub(crate) unsafe fn push(&self, object: *mut T, retired: &Arc<Retired<T>>, guard: &Guard) {
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
    /// moment of its own unlinking. Its link is used from then on, as on the real stack, and
    /// nobody else may write to it.
    ///
    /// # Safety
    ///
    /// As for the real one.
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    pub(crate) unsafe fn push(&self, object: *mut T, _: &Arc<Retired<T>>, guard: &Guard) {
        // SAFETY: retired by the caller alone, and not freed before the guard is gone.
        // Relaxed: as in the real one; a swap, since loom lets a compare-exchange overlook a
        // plain store.
        unsafe { (*object).link() }.swap(ptr::null_mut(), Ordering::Relaxed);
        let free = move || {
            // SAFETY: freed here, once.
            // Relaxed: at the end of an execution.
            let link = unsafe { (*object).link() }.load(Ordering::Relaxed);
            assert!(link.is_null(), "the link of what was retired was written to");
            // SAFETY: passed on to the caller.
            unsafe { T::free(object) };
        };
        // SAFETY: passed on to the caller.
        unsafe { guard.defer(object.cast_const().cast(), free) };
    }

    /// Hands everything here to the epochs, and frees what was handed over long enough ago.
    pub(crate) fn hand_over(&self, retired: &Arc<Retired<T>>, guard: &Guard) {
        retired.free_ready();
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
        retired.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let retired = Arc::clone(retired);
        let batch = Box::into_raw(Box::new(Batch { list, bytes, next: ptr::null_mut() }));
        // SAFETY: what the epochs run is run once, when no guard keeps the batch any more.
        let ready = move || unsafe { retired.make_ready(batch) };
        // SAFETY: every object was unlinked before it was pushed, hence before this moment, and
        // making it ready may happen on any thread.
        unsafe { guard.defer(list.cast_const().cast(), ready) };
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
