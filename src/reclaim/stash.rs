//! A shared pile of retired objects, handed to the epochs in batches.
//!
//! ```text
//!  push  ──►  head ─► object ─► object ─► ..        (a stack; linked through the objects)
//!                       │ past `batch_bytes`, or when anybody asks
//!                       ▼
//!             one deferred closure puts the whole list among what is ready
//!                       │ when somebody hands over, or maintains
//!                       ▼
//!             a spare list, where there is none ──► freed one by one by those who write,
//!                       │ else                      who take the memory for what they write
//!                       ▼
//!                    freed
//! ```
//!
//! Handing a batch over later than its objects were unlinked only delays their freeing. The
//! closures of crossbeam-epoch run on any thread that takes a guard, readers included: so they
//! free nothing themselves, or one get in a thousand would free hundreds of entries.
//!
//! An allocator is slow at what a cache does to it: hundreds of blocks freed in a row, by a thread
//! that did not allocate them, overflow what it keeps for each thread, and are merged and split
//! again. A block that goes from one entry to the next never comes there.

use std::alloc::{Layout, dealloc};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::memory::prefetch;
use crate::reclaim::Guard;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::figures::AtomicU64;

/// Whether writers keep memory for themselves. In models every object is retired by itself, and
/// the lock would be a step to branch at; AddressSanitizer shall see whatever is read after its
/// end, and knows it by the allocator's being told.
const KEEPS_SPARE: bool =
    !cfg!(any(scopecache_loom, scopecache_shuttle, scopecache_keeps_no_memory, fuzzing));

/// An object that can lie in a [`Stash`].
///
/// # Safety
///
/// `link` is used by nobody else once the object was retired, `bytes` does not change, and
/// `clear` may be called on any thread.
pub(crate) unsafe trait Retire: Sized {
    fn link(&self) -> &AtomicPtr<Self>;
    fn bytes(&self) -> u64;
    /// Drops what the object holds; answers its memory, which is the caller's from now on, and
    /// the layout that it was allocated with.
    ///
    /// # Safety
    /// Nobody reaches the object any more; called once.
    unsafe fn clear(object: *mut Self) -> (NonNull<u8>, Layout);
    /// # Safety
    /// As for `clear`.
    unsafe fn free(object: *mut Self) {
        // SAFETY: as the caller promises; the block is ours then.
        unsafe {
            let (block, layout) = Self::clear(object);
            dealloc(block.as_ptr(), layout);
        }
    }
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
    /// About what they take together.
    bytes: u64,
    next: *mut Self,
}

/// Objects that nobody reaches any more and that are still to be freed.
struct Spare<T> {
    next: *mut T,
    /// Bytes of what was taken from here, not yet subtracted from what is retired.
    owed: u64,
    /// Something was added or taken since the last look at it.
    in_use: bool,
}

// SAFETY: what is in the list belongs to it alone, and may be freed on any thread.
unsafe impl<T: Retire> Send for Spare<T> {}

// SAFETY: batches and what they hold are reached by whoever takes the stack, alone; objects may
// be freed on any thread, as `Retire` says.
unsafe impl<T: Retire> Send for Retired<T> {}
// SAFETY: as above.
unsafe impl<T: Retire> Sync for Retired<T> {}

pub(crate) struct Stash<T: Retire> {
    head: AtomicPtr<T>,
    /// Bytes on the stack.
    bytes: AtomicU64,
    batch_bytes: u64,
    spare: Mutex<Spare<T>>,
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
        self.take_ready(|_| false);
    }

    /// Shows each batch that no guard keeps any more to `wanted`, and frees those that it does
    /// not take over.
    fn take_ready(&self, mut wanted: impl FnMut(&Batch<T>) -> bool) {
        // Relaxed: most of the time there is nothing; the swap looks again.
        if self.ready.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Acquire: pairs with the Release in `make_ready`.
        let mut ready = Ready(self, self.ready.swap(ptr::null_mut(), Ordering::Acquire));
        while let Some(batch) = ready.pop() {
            if !wanted(&batch) {
                // SAFETY: the epochs said that nobody reads it any more, before it was made ready.
                drop(unsafe { Doomed::new(batch.list, Some(self)) });
            }
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
        let spare = Spare { next: ptr::null_mut(), owed: 0, in_use: false };
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicU64::new(0),
            batch_bytes,
            spare: Mutex::new(spare),
        }
    }

    /// Bytes that lie here, not yet handed over.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a figure to compare with a bound; it orders nothing.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Retires `object`, which has so many bytes.
    ///
    /// # Safety
    ///
    /// The object was unlinked, by the caller alone, from everything that a guard taken later
    /// could start from, and comes from where [`Retire::free`] expects it.
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    pub(crate) unsafe fn push(
        &self,
        object: *mut T,
        bytes: u64,
        retired: &Arc<Retired<T>>,
        guard: &Guard,
    ) {
        // SAFETY: retired by the caller alone, and not freed before it is handed over.
        let link = unsafe { (*object).link() };
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
    pub(crate) unsafe fn push(&self, object: *mut T, _: u64, _: &Arc<Retired<T>>, guard: &Guard) {
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

    /// Hands everything here to the epochs, and frees what was handed over long enough ago, or
    /// keeps a batch of it where there is none to spare.
    pub(crate) fn hand_over(&self, retired: &Arc<Retired<T>>, guard: &Guard) {
        retired.take_ready(|batch| self.adopt(batch));
        // Acquire: pairs with the Release in `push`.
        let list = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        if list.is_null() {
            return;
        }
        let bytes = self.move_bytes(retired);
        let retired = Arc::clone(retired);
        let batch = Box::into_raw(Box::new(Batch { list, bytes, next: ptr::null_mut() }));
        // SAFETY: what the epochs run is run once, when no guard keeps the batch any more.
        let ready = move || unsafe { retired.make_ready(batch) };
        // SAFETY: every object was unlinked before it was pushed, hence before this moment, and
        // making it ready may happen on any thread.
        unsafe { guard.defer(list.cast_const().cast(), ready) };
        guard.flush();
    }

    /// Moves the figure of what lay here to what is retired; answers it. It has the bytes of all
    /// that was taken off the stack before, unless another one moved them, and perhaps of what is
    /// just being pushed.
    fn move_bytes(&self, retired: &Retired<T>) -> u64 {
        loop {
            // Acquire: pairs with the Release below: what another one moved is counted there
            // before we, or those who free the batch, subtract anything from it.
            let bytes = self.bytes.load(Ordering::Acquire);
            // Relaxed: figures. First added there, then subtracted here: the sum of both is never
            // less than what is held.
            retired.bytes.fetch_add(bytes, Ordering::Relaxed);
            // Release: see above. Relaxed failure: loaded again.
            if self.bytes.compare_exchange(bytes, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
                return bytes;
            }
            // Relaxed: as above.
            retired.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Takes a batch over as the spare list, if there is none and it is of the usual size: large
    /// objects are not worth being kept.
    fn adopt(&self, batch: &Batch<T>) -> bool {
        let mut spare = self.spare.lock();
        let wanted = KEEPS_SPARE && spare.next.is_null() && batch.bytes <= 2 * self.batch_bytes;
        if wanted {
            spare.next = batch.list;
            spare.in_use = true;
        }
        wanted
    }

    /// Memory of this layout for an object that is to be made, from what is to be freed.
    ///
    /// Frees one or two objects in any case, if there are any to spare: so a writer takes away as
    /// much as it retires.
    pub(crate) fn take_block(&self, layout: Layout, retired: &Retired<T>) -> Option<NonNull<u8>> {
        const TRIES: usize = 2;
        for _ in 0..if KEEPS_SPARE { TRIES } else { 0 } {
            // Somebody else takes one just now: the allocator has others.
            let object = self.spare.try_lock()?.pop(retired)?;
            // Without the lock: dropping a value may call user code.
            // SAFETY: it was on the spare list, whose objects nobody else reaches.
            let (block, found) = unsafe { T::clear(object) };
            if found == layout {
                return Some(block);
            }
            // SAFETY: allocated with this layout, and ours.
            unsafe { dealloc(block.as_ptr(), found) };
        }
        None
    }

    /// Frees the spare list, if nobody has used it since the last call.
    pub(crate) fn free_idle_spare(&self, retired: &Retired<T>) {
        if !KEEPS_SPARE {
            return;
        }
        let mut spare = self.spare.lock();
        if std::mem::take(&mut spare.in_use) {
            return;
        }
        drop(spare);
        self.free_spare(retired);
    }

    /// Frees the spare list.
    pub(crate) fn free_spare(&self, retired: &Retired<T>) {
        if !KEEPS_SPARE {
            return;
        }
        let list = self.spare.lock().take(retired);
        // Without the lock: dropping a value may call user code.
        // SAFETY: off the spare list, whose objects nobody else reaches.
        drop(unsafe { Doomed::new(list, Some(retired)) });
    }
}

impl<T: Retire> Spare<T> {
    fn pop(&mut self, retired: &Retired<T>) -> Option<*mut T> {
        /// Bytes from which on they are subtracted from the figure, which all threads share.
        const MOST_OWED: u64 = 4096;
        let object = self.next;
        // SAFETY: objects on the list are not yet freed.
        let this = unsafe { object.as_ref() }?;
        // Relaxed: the list is read under its lock.
        self.next = this.link().load(Ordering::Relaxed);
        // The next writer reads its header and writes over all of it.
        for line in 0..3 {
            prefetch(self.next.wrapping_byte_add(64 * line));
        }
        self.in_use = true;
        self.owed += this.bytes();
        if self.owed > MOST_OWED || self.next.is_null() {
            self.settle(retired);
        }
        Some(object)
    }

    fn take(&mut self, retired: &Retired<T>) -> *mut T {
        self.settle(retired);
        std::mem::replace(&mut self.next, ptr::null_mut())
    }

    fn settle(&mut self, retired: &Retired<T>) {
        // Relaxed: a figure.
        retired.bytes.fetch_sub(std::mem::take(&mut self.owed), Ordering::Relaxed);
    }
}

impl<T: Retire> Drop for Stash<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: the structure that the objects were unlinked from is going too,
        // and with it every reader.
        // Relaxed: exclusive access.
        drop(unsafe { Doomed::new(self.head.load(Ordering::Relaxed), None) });
        if KEEPS_SPARE {
            // SAFETY: nobody reaches what is on the spare list.
            drop(unsafe { Doomed::new(self.spare.lock().next, None) });
        }
    }
}

/// A stack of batches that nobody reads any more. What is left of it is freed when it goes.
struct Ready<'r, T: Retire>(&'r Retired<T>, *mut Batch<T>);

impl<T: Retire> Ready<'_, T> {
    fn pop(&mut self) -> Option<Box<Batch<T>>> {
        if self.1.is_null() {
            return None;
        }
        // SAFETY: made by `Box::into_raw` in `hand_over`; whoever swapped the stack out owns it.
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
struct Doomed<'r, T: Retire> {
    list: *mut T,
    /// Where they are counted.
    retired: Option<&'r Retired<T>>,
    freed: u64,
}

impl<'r, T: Retire> Doomed<'r, T> {
    /// # Safety
    ///
    /// The list is the caller's, nobody else reaches it, and its bytes are counted in `retired`.
    unsafe fn new(list: *mut T, retired: Option<&'r Retired<T>>) -> Self {
        Self { list, retired, freed: 0 }
    }

    fn free(&mut self) {
        // SAFETY: not yet freed, as the caller of `new` promised; what is needed of an object is
        // read before it goes.
        while let Some(object) = unsafe { self.list.as_ref() } {
            let this = self.list;
            self.freed += object.bytes();
            // Relaxed: acquired with the head of the list.
            self.list = object.link().load(Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { T::free(this) };
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
                    // Relaxed: a figure.
                    retired.bytes.fetch_sub(self.0.freed, Ordering::Relaxed);
                }
            }
        }

        Rest(self).0.free();
    }
}

#[cfg(all(
    test,
    not(any(scopecache_loom, scopecache_shuttle, scopecache_keeps_no_memory, fuzzing))
))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::reclaim::pin;

    const BATCH_BYTES: u64 = 1024;
    /// Seven batches of objects of 128 bytes: each of as many as just pass the limit.
    const RETIRED: usize = 7 * (BATCH_BYTES as usize / 128 + 1);

    /// An object of any size that counts how many were dropped.
    #[repr(C)]
    struct Object {
        link: AtomicPtr<Self>,
        dropped: Arc<AtomicUsize>,
        layout: Layout,
    }

    // SAFETY: the link serves the stash alone; the rest does not change.
    unsafe impl Retire for Object {
        fn link(&self) -> &AtomicPtr<Self> {
            &self.link
        }

        fn bytes(&self) -> u64 {
            self.layout.size() as u64
        }

        unsafe fn clear(object: *mut Self) -> (NonNull<u8>, Layout) {
            // SAFETY: made by `Pile::retire`, and ours.
            let this = unsafe { object.read() };
            this.dropped.fetch_add(1, Ordering::Relaxed);
            (NonNull::new(object.cast()).expect("an object"), this.layout)
        }
    }

    struct Pile {
        stash: Stash<Object>,
        retired: Arc<Retired<Object>>,
        dropped: Arc<AtomicUsize>,
    }

    impl Pile {
        fn new() -> Self {
            Self {
                stash: Stash::new(BATCH_BYTES),
                retired: Arc::new(Retired::new()),
                dropped: Arc::default(),
            }
        }

        /// Retires an object in a spare block, if there is one of the layout; tells whether.
        fn retire(&self, layout: Layout) -> bool {
            let spare = self.stash.take_block(layout, &self.retired);
            let reused = spare.is_some();
            self.retire_in(spare.unwrap_or_else(|| allocate(layout)), layout);
            reused
        }

        fn retire_in(&self, block: NonNull<u8>, layout: Layout) {
            let link = AtomicPtr::new(ptr::null_mut());
            let object = block.cast::<Object>();
            // SAFETY: the block is ours and large enough; nobody else ever reaches the object.
            unsafe {
                object.write(Object { link, dropped: Arc::clone(&self.dropped), layout });
                self.stash.push(object.as_ptr(), layout.size() as u64, &self.retired, &pin());
            }
        }

        fn bytes(&self) -> u64 {
            self.stash.bytes() + self.retired.bytes()
        }

        fn dropped(&self) -> usize {
            self.dropped.load(Ordering::Relaxed)
        }

        fn has_spare(&self) -> bool {
            !self.stash.spare.lock().next.is_null()
        }

        fn flush(&self) {
            // Others' guards may hold the epoch back for a while.
            while self.bytes() > 0 {
                let guard = pin();
                self.stash.hand_over(&self.retired, &guard);
                guard.flush();
                drop(guard);
                self.retired.free_ready();
                self.stash.free_spare(&self.retired);
            }
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, align_of::<Object>()).expect("a layout")
    }

    fn allocate(layout: Layout) -> NonNull<u8> {
        // SAFETY: not empty.
        NonNull::new(unsafe { std::alloc::alloc(layout) }).expect("memory")
    }

    /// A pile that retired some batches of objects of 128 bytes, with one of them as spare list.
    fn pile_with_spare() -> Pile {
        let pile = Pile::new();
        for _ in 0..RETIRED {
            pile.retire_in(allocate(layout(128)), layout(128));
        }
        // Others' guards may hold the epoch back for a while.
        while !pile.has_spare() {
            let guard = pin();
            pile.stash.hand_over(&pile.retired, &guard);
            guard.flush();
        }
        pile
    }

    #[test]
    fn writers_write_into_what_was_retired() {
        let pile = pile_with_spare();
        let dropped = pile.dropped();
        assert!(pile.retire(layout(128)));
        assert_eq!(pile.dropped(), dropped + 1);
        pile.flush();
        assert_eq!(pile.dropped(), RETIRED + 1);
    }

    #[test]
    fn blocks_of_another_size_are_freed() {
        let pile = pile_with_spare();
        let dropped = pile.dropped();
        assert!(!pile.retire(layout(136)));
        assert_eq!(pile.dropped(), dropped + 2, "twice what was retired");
        while pile.has_spare() {
            assert!(pile.stash.take_block(layout(64), &pile.retired).is_none());
        }
        pile.flush();
        assert_eq!(pile.dropped(), RETIRED + 1);
    }

    #[test]
    fn an_idle_spare_list_is_freed_and_large_objects_never_get_there() {
        let pile = pile_with_spare();
        pile.stash.free_idle_spare(&pile.retired);
        assert!(pile.has_spare(), "it was filled just now");
        pile.stash.free_idle_spare(&pile.retired);
        assert!(!pile.has_spare());
        // Other small ones may still be under way.
        pile.flush();
        for _ in 0..64 {
            pile.retire(layout(4096));
            assert!(!pile.has_spare(), "a large object is kept");
        }
        pile.flush();
        assert_eq!(pile.dropped(), RETIRED + 64);
    }

    #[test]
    fn what_is_left_is_freed_with_the_stash() {
        let pile = Pile::new();
        for _ in 0..1000 {
            pile.retire(layout(128));
        }
        let dropped = Arc::clone(&pile.dropped);
        let retired = Arc::clone(&pile.retired);
        drop(pile);
        while Arc::strong_count(&retired) > 1 {
            pin().flush();
        }
        drop(retired);
        assert_eq!(dropped.load(Ordering::Relaxed), 1000);
    }
}
