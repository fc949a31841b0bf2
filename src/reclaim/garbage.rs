//! Small things on their way out: from when they were unlinked until somebody who writes frees them.
//!
//! ```text
//!  retire  ──►  fresh  ── enough, or anybody asks: one deferred closure ──►  ready  ──►  freed
//! ```
//!
//! One by one they would fill the bags of the epochs, of two kilobytes each, and whoever takes a
//! guard, a reader, would run as many closures and free as many bags. So they go in batches, and what
//! a closure does is to put one where those who retire, or maintain, find it.

#[cfg(any(scopecache_loom, all(test, not(scopecache_shuttle))))]
#[cfg_attr(not(scopecache_loom), expect(unreachable_pub, reason = "models are another crate"))]
pub(crate) mod litter;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use std::mem;
use std::ptr::{self, NonNull};

use crate::reclaim::Guard;
use crate::sync::TryLock;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// So many are handed over together at least, unless somebody asks before.
const BATCH: usize = if cfg!(scopecache_loom) { 2 } else { 256 };
/// For each that is retired so many are freed, so that they do not pile up where nobody maintains.
const FREED: usize = 2;

/// An object that can lie among [`Garbage`].
///
/// # Safety
///
/// `free` may be called on any thread.
pub(crate) unsafe trait Discard {
    /// # Safety
    ///
    /// Nobody reaches the object any more, or only those who count on it; called once.
    unsafe fn free(object: NonNull<Self>);
}

/// Objects that are still to be freed.
pub(crate) struct Garbage<T: Discard> {
    /// Guards may still keep them, and the epochs do not know of them.
    fresh: TryLock<Vec<Object<T>>>,
    /// A stack of batches that no guard keeps any more.
    ready: AtomicPtr<Batch<T>>,
    /// One that was taken off it, with all behind it: nobody pops what others push.
    rest: TryLock<Option<Box<Batch<T>>>>,
}

struct Object<T>(NonNull<T>);

struct Batch<T> {
    objects: Vec<Object<T>>,
    next: *mut Self,
}

// SAFETY: whoever has it may free it, on any thread.
unsafe impl<T: Discard> Send for Object<T> {}
// SAFETY: owns its objects and the batches behind it.
unsafe impl<T: Discard> Send for Batch<T> {}

impl<T: Discard> Garbage<T> {
    pub(crate) fn new() -> Self {
        Self {
            fresh: TryLock::new(Vec::new()),
            ready: AtomicPtr::new(ptr::null_mut()),
            rest: TryLock::new(None),
        }
    }

    /// Has an object freed once no guard keeps it; frees some of those before it.
    ///
    /// # Safety
    ///
    /// The object was unlinked: guards taken from now on do not come by it. [`Discard::free`] may
    /// be called on it once those before are gone.
    pub(crate) unsafe fn retire(&'static self, object: NonNull<T>, guard: &Guard) {
        self.free(FREED);
        if let Some(batch) = self.add(Object(object)) {
            self.defer(batch, guard);
            guard.flush();
        }
    }

    /// Hands all that was retired to the epochs; to be flushed.
    pub(crate) fn hand_over(&'static self, guard: &Guard) {
        if let Some(batch) = self.take_fresh() {
            self.defer(batch, guard);
        }
    }

    /// Frees up to `most` objects that no guard keeps; fewer where there are no more, or somebody else
    /// is just taking some.
    pub(crate) fn free(&self, most: usize) {
        let mut left = most;
        while left > 0 {
            let Some(mut batch) = self.take() else { return };
            let kept = batch.objects.len().saturating_sub(left);
            for Object(object) in batch.objects.drain(kept..) {
                left -= 1;
                // SAFETY: taken off, so it is ours alone, as whoever retired it promised.
                unsafe { T::free(object) };
            }
            if kept > 0 {
                self.make_ready(batch);
            }
        }
    }

    /// Answers what is to be handed over.
    fn add(&self, object: Object<T>) -> Option<Box<Batch<T>>> {
        let mut object = Some(object);
        let enough = self.fresh.try_with(|fresh| {
            fresh.extend(object.take());
            if fresh.len() >= BATCH { mem::take(fresh) } else { Vec::new() }
        });
        // Nobody waits for somebody else who is at it.
        Batch::new(enough.unwrap_or_else(|| Vec::from_iter(object)))
    }

    fn take_fresh(&self) -> Option<Box<Batch<T>>> {
        Batch::new(self.fresh.try_with(mem::take)?)
    }

    fn defer(&'static self, batch: Box<Batch<T>>, guard: &Guard) {
        // SAFETY: every object was unlinked before it was added, and the lock of `fresh` puts that
        // before this moment, whoever hands it over; making the batch ready may happen on any thread.
        unsafe { guard.defer(ptr::null(), move || self.make_ready(batch)) };
    }

    /// Puts a batch that no guard keeps any more where those who free find it.
    fn make_ready(&self, batch: Box<Batch<T>>) {
        let batch = Box::into_raw(batch);
        // Relaxed: the compare-exchange verifies it.
        let mut head = self.ready.load(Ordering::Relaxed);
        let success =
            if planted!("relaxed_garbage") { Ordering::Relaxed } else { Ordering::Release };
        loop {
            // SAFETY: the batch is ours until the compare-exchange.
            unsafe { (*batch).next = head };
            // Release: publishes the batch; pairs with the Acquire in `take`. Relaxed failure:
            // nothing is read through `now`.
            match self.ready.compare_exchange(head, batch, success, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes a batch that no guard keeps any more.
    fn take(&self) -> Option<Box<Batch<T>>> {
        self.rest.try_with(|rest| {
            // Relaxed: most of the time there is nothing; the swap looks again.
            if rest.is_none() && !self.ready.load(Ordering::Relaxed).is_null() {
                // Acquire: pairs with the Release in `make_ready`.
                let ready = self.ready.swap(ptr::null_mut(), Ordering::Acquire);
                // SAFETY: `ready` owned it, and the swap made it ours.
                *rest = unsafe { Batch::owned(ready) };
            }
            let batch = rest.take()?;
            // SAFETY: the batch owned it, and nobody looks at its `next` again.
            *rest = unsafe { Batch::owned(batch.next) };
            Some(batch)
        })?
    }
}

impl<T> Batch<T> {
    /// Of nothing: none.
    fn new(objects: Vec<Object<T>>) -> Option<Box<Self>> {
        (!objects.is_empty()).then(|| Box::new(Self { objects, next: ptr::null_mut() }))
    }

    /// The batch that a pointer owns.
    ///
    /// # Safety
    ///
    /// Null, or made by `make_ready` of a box, which is the caller's from now on.
    unsafe fn owned(batch: *mut Self) -> Option<Box<Self>> {
        // SAFETY: as the caller promises.
        (!batch.is_null()).then(|| unsafe { Box::from_raw(batch) })
    }
}

/// Waits for no guard: only those of models and tests are ever dropped.
impl<T: Discard> Drop for Garbage<T> {
    fn drop(&mut self) {
        if let Some(batch) = self.take_fresh() {
            self.make_ready(batch);
        }
        self.free(usize::MAX);
    }
}
