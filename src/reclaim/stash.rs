//! A shared pile of retired objects, handed to the epochs in batches.
//!
//! ```text
//!  push  ──►  head ─► object ─► object ─► ..        (a stack; linked through the objects; the
//!                       │                            head's high bits tell what it holds)
//!                       │ past `batch_bytes`, or when anybody asks
//!                       ▼
//!             one deferred closure puts the whole list among what is ready, by stash
//!                       │ when somebody hands over, or maintains
//!                       ▼
//!             spare lists, as far as they go ──► freed one by one by those who write,
//!                       │ else                   who take the memory for what they write
//!                       ▼
//!                    freed
//! ```
//!
//! Handing a batch over later than its objects were unlinked only delays their freeing.
//!
//! An allocator is slow at what a cache does to it: hundreds of blocks freed in a row, by a thread
//! that did not allocate them, overflow what it keeps for each thread, and are merged and split
//! again, under a lock for which whoever allocates waits. A block that goes from one entry to the
//! next never comes there. So a batch comes back to the stash that it was taken off: what a shard's
//! writers retire is what they need next.
//!
//! # Bytes
//!
//! An object is counted by the word that leads to it, pushed together with it, and by [`Retired`]
//! from its handing over until it is freed. In between the figure is added there first and taken
//! away here then, so whoever reads first here and then there ([`Stash::bytes`]) never misses what
//! is held. For a moment it may count twice.
//!
//! Sixteen bits hold up to 1 MiB in [units](UNIT). What is larger than a batch goes to the epochs
//! alone, at once.

mod retired;
mod spare;

#[cfg(any(scopecache_loom, all(test, not(scopecache_shuttle))))]
#[cfg_attr(not(scopecache_loom), expect(unreachable_pub, reason = "models are another crate"))]
pub(crate) mod pile;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use std::alloc::{Layout, dealloc};
use std::ptr::{self, NonNull};
use std::sync::Arc;

pub(crate) use self::retired::Retired;
use self::retired::{Batch, Doomed};
use self::spare::Spare;
use crate::reclaim::Guard;
use crate::sync::TryLock;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::tagged;

/// An object that can lie in a [`Stash`].
///
/// # Safety
///
/// `link` is used by nobody else once the object was retired, `bytes` does not change, and
/// `clear` may be called on any thread.
pub(crate) unsafe trait Retire: Sized {
    fn link(&self) -> &AtomicPtr<Self>;
    /// # Safety
    /// The object is there, and `object` reaches all of it, not a reference's share alone.
    unsafe fn bytes(object: *const Self) -> u64;
    /// What it counts for here.
    ///
    /// # Safety
    /// As for `bytes`.
    unsafe fn counted_bytes(object: *const Self) -> u64 {
        // SAFETY: passed on to the caller.
        unsafe { Self::bytes(object) }.next_multiple_of(UNIT)
    }
    /// Drops what the object holds; its memory is the caller's from now on, and was allocated with
    /// the layout that this answers.
    ///
    /// # Safety
    /// Nobody reaches the object any more; called once.
    unsafe fn clear(object: *mut Self) -> Layout;
    /// # Safety
    /// As for `clear`.
    unsafe fn free(object: *mut Self) {
        // SAFETY: as the caller promises; the block is ours then.
        unsafe {
            let layout = Self::clear(object);
            dealloc(object.cast(), layout);
        }
    }
}

/// Bytes are counted in these, rounded up: what allocators round to as well.
const UNIT: u64 = 16;

pub(crate) struct Stash<T: Retire> {
    /// The object on top, and above it the units of all that lie here.
    head: AtomicPtr<T>,
    /// Which of its cache's it is.
    number: usize,
    batch_bytes: u64,
    /// `None`: nothing is kept for writers.
    spare: Option<TryLock<Spare<T>>>,
}

impl<T: Retire> Stash<T> {
    /// A stash that hands itself over whenever it holds more than `batch_bytes`, and keeps up to
    /// `most_spare_bytes` for writers beside a batch that they are at.
    pub(crate) fn new(number: usize, batch_bytes: u64, most_spare_bytes: u64) -> Self {
        // In models of the engine the lock would be one more step to branch at. AddressSanitizer
        // shall see whatever is read after its end, of which it hears from the allocator alone.
        let keeps_none =
            cfg!(any(scopecache_loom, scopecache_shuttle, scopecache_keeps_no_memory, fuzzing));
        let spare = (!keeps_none).then(|| TryLock::new(Spare::new(most_spare_bytes)));
        Self { head: AtomicPtr::new(ptr::null_mut()), number, batch_bytes, spare }
    }

    /// Bytes that lie here, not yet handed over; see the head of this file.
    pub(crate) fn bytes(&self) -> u64 {
        // Acquire: pairs with the Release in `take_all`.
        bytes_of(self.head.load(Ordering::Acquire))
    }

    /// Retires `object`, which has so many bytes; calls `counted` once they count here, before it frees
    /// anything, which may take long: who counted them until now stops then. Answers whether something was
    /// handed over.
    ///
    /// # Safety
    ///
    /// The object was unlinked, by the caller alone, from everything that a guard taken later
    /// could start from, and comes from where [`Retire::free`] expects it.
    #[cfg_attr(scopecache_shuttle, expect(dead_code, reason = "see `retire_alone`"))]
    #[inline]
    pub(crate) unsafe fn push(
        &self,
        object: *mut T,
        bytes: u64,
        retired: &Arc<Retired<T>>,
        guard: &Guard,
        counted: impl FnOnce(),
    ) -> bool {
        // SAFETY: retired by the caller alone, and not freed before it is handed over.
        let link = unsafe { (*object).link() };
        let units = bytes.div_ceil(UNIT);
        if bytes > self.batch_bytes {
            // Relaxed: goes with the batch.
            link.store(ptr::null_mut(), Ordering::Relaxed);
            retired.count(units * UNIT);
            counted();
            self.hand_over_large(object, units * UNIT, retired, guard);
            return true;
        }
        // Relaxed: the compare-exchange verifies it.
        let mut head = self.head.load(Ordering::Relaxed);
        let success =
            if planted!("relaxed_retire") { Ordering::Relaxed } else { Ordering::Release };
        let total = loop {
            let total = u64::from(tagged::tag(head)) + units;
            let Ok(tag) = u16::try_from(total) else {
                // Many threads at once are about to hand over; no word holds what they have pushed.
                self.hand_over_now(retired, guard);
                // Relaxed: as above.
                head = self.head.load(Ordering::Relaxed);
                continue;
            };
            // Relaxed: published by the Release below.
            link.store(tagged::pointer(head), Ordering::Relaxed);
            let word = tagged::pack(object, tag);
            // Release: publishes the link, and that the object was unlinked; pairs with the
            // Acquire in `take_all`. Relaxed failure: nothing is read through `now`.
            match self.head.compare_exchange(head, word, success, Ordering::Relaxed) {
                Ok(_) => break total,
                Err(now) => head = now,
            }
        };
        counted();
        let is_batch = total * UNIT > self.batch_bytes;
        if is_batch {
            self.hand_over_now(retired, guard);
        }
        is_batch
    }

    /// Hands over what is larger than a batch, and counts already.
    #[cold]
    fn hand_over_large(
        &self,
        object: *mut T,
        bytes: u64,
        retired: &Arc<Retired<T>>,
        guard: &Guard,
    ) {
        self.defer(Batch::new(object, bytes), retired, guard);
        self.hand_over_now(retired, guard);
    }

    /// Hands everything here to the epochs, and takes what they let go.
    #[inline(never)]
    fn hand_over_now(&self, retired: &Arc<Retired<T>>, guard: &Guard) {
        self.take_ready(retired);
        self.hand_over(retired, guard);
        guard.flush();
    }

    /// In models of the engine every object is retired by itself, so that each access is checked
    /// against the moment of its own unlinking. Its link is used from then on, as on the real
    /// stack, and nobody else may write to it.
    ///
    /// # Safety
    ///
    /// As for `push`.
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    pub(crate) unsafe fn retire_alone(object: *mut T, guard: &Guard) {
        // SAFETY: retired by the caller alone, and not freed before the guard is gone.
        // Relaxed: as in `push`; a swap, since loom lets a compare-exchange overlook a plain store.
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

    /// Hands everything here to the epochs, to be flushed.
    pub(crate) fn hand_over(&self, retired: &Arc<Retired<T>>, guard: &Guard) {
        if let Some(batch) = self.take_all(retired) {
            self.defer(batch, retired, guard);
        }
    }

    /// Keeps for writers what was handed over long enough ago, as far as there is place, and frees the
    /// rest.
    #[inline]
    pub(crate) fn take_ready(&self, retired: &Retired<T>) {
        retired.take_ready(self.number, |batch| self.adopt(batch));
    }

    fn defer(&self, batch: Box<Batch<T>>, retired: &Arc<Retired<T>>, guard: &Guard) {
        let list = batch.list();
        let (retired, number) = (Arc::clone(retired), self.number);
        // SAFETY: every object was unlinked before it was pushed, hence before this moment, and
        // making the batch ready may happen on any thread.
        unsafe { guard.defer(list.cast_const().cast(), move || retired.make_ready(number, batch)) };
    }

    /// Takes everything off the stack, and moves its figure to what is retired.
    fn take_all(&self, retired: &Retired<T>) -> Option<Box<Batch<T>>> {
        // AcqRel: acquires what was pushed with the Release in `push`, and the figures that another
        // one counted before it took what lay here; who no longer sees bytes here, by the Acquire
        // in `bytes`, sees them there.
        let success = if planted!("relaxed_move") { Ordering::Acquire } else { Ordering::AcqRel };
        // Relaxed: the compare-exchange verifies it.
        let mut head = self.head.load(Ordering::Relaxed);
        while !head.is_null() {
            let bytes = bytes_of(head);
            // Before they are no longer here. Whatever was pushed and taken in between: a word that
            // is the same leads to the same object with as much below it.
            let early = !planted!("count_after_taking");
            if early {
                retired.count(bytes);
            }
            let taken = self.head.compare_exchange(
                head,
                ptr::null_mut(),
                success,
                Ordering::Relaxed, // Relaxed: nothing is read through it.
            );
            match taken {
                Ok(_) => {
                    if !early {
                        retired.count(bytes);
                    }
                    return Some(Batch::new(tagged::pointer(head), bytes));
                }
                Err(now) => {
                    if early {
                        retired.uncount(bytes);
                    }
                    head = now;
                }
            }
        }
        None
    }

    /// Takes a batch over for writers, if there is place for it and it is of the usual size: large
    /// objects are not worth being kept.
    fn adopt(&self, batch: &Batch<T>) -> bool {
        let Some(spare) = &self.spare else { return false };
        batch.bytes() <= 2 * self.batch_bytes
            && spare.try_with(|spare| spare.adopt(batch.list(), batch.bytes())) == Some(true)
    }

    /// Memory of this layout for an object that is to be made, from what is to be freed.
    ///
    /// Frees one or two objects in any case, if there are any to spare: so a writer takes away as
    /// much as it retires.
    #[inline]
    pub(crate) fn take_block(&self, layout: Layout, retired: &Retired<T>) -> Option<NonNull<u8>> {
        let first = self.free_one_for(layout, retired)?;
        first.or_else(|| self.take_other_block(layout, retired))
    }

    /// The second try.
    #[inline(never)]
    fn take_other_block(&self, layout: Layout, retired: &Retired<T>) -> Option<NonNull<u8>> {
        self.free_one_for(layout, retired)?
    }

    /// Frees an object, if there is any to spare; answers its memory instead if that has the layout.
    #[inline]
    fn free_one_for(&self, layout: Layout, retired: &Retired<T>) -> Option<Option<NonNull<u8>>> {
        // Somebody else takes one just now: the allocator has others.
        let object = self.spare.as_ref()?.try_with(|spare| spare.pop(retired))??;
        // Without the lock: dropping a value may call user code.
        // SAFETY: it was on the spare list, whose objects nobody else reaches.
        let found = unsafe { T::clear(object.as_ptr()) };
        if found == layout {
            return Some(Some(object.cast()));
        }
        // SAFETY: allocated with this layout, and ours.
        unsafe { dealloc(object.as_ptr().cast(), found) };
        Some(None)
    }

    /// Frees the spare list, if nobody has used it since the last call.
    pub(crate) fn free_idle_spare(&self, retired: &Retired<T>) {
        if self.with_spare(Spare::is_idle) == Some(true) {
            self.free_spare(retired);
        }
    }

    /// Frees the spare list, unless somebody is at it just now.
    pub(crate) fn free_spare(&self, retired: &Retired<T>) {
        let Some(lists) = self.with_spare(|spare| spare.take(retired)) else { return };
        // Without the lock: dropping a value may call user code.
        for list in lists {
            // SAFETY: off the spare list, whose objects nobody else reaches.
            drop(unsafe { Doomed::new(list, Some(retired)) });
        }
        if planted!("free_spare_in_place") {
            self.with_spare(|spare| *spare = Spare::new(0));
        }
    }

    fn with_spare<R>(&self, f: impl FnOnce(&mut Spare<T>) -> R) -> Option<R> {
        self.spare.as_ref()?.try_with(f)
    }
}

/// The bytes of what a word of `head` leads to.
fn bytes_of<T>(head: *mut T) -> u64 {
    u64::from(tagged::tag(head)) * UNIT
}

impl<T: Retire> Drop for Stash<T> {
    fn drop(&mut self) {
        // `&mut self`: the structure that the objects were unlinked from is going too, and with it
        // every reader.
        // Relaxed: exclusive access.
        let list = tagged::pointer(self.head.load(Ordering::Relaxed));
        // SAFETY: nobody reaches it any more, as said above.
        drop(unsafe { Doomed::new(list, None) });
        for list in self.with_spare(Spare::lists).into_iter().flatten() {
            // SAFETY: nobody reaches what is on the spare list.
            drop(unsafe { Doomed::new(list, None) });
        }
    }
}
