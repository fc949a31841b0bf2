//! A stash of plain objects that counts what becomes of them, for tests and models.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use super::{Retire, Retired, Stash};
use crate::reclaim::pin;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::{Tracked, TryLock};

/// An object of any size.
#[repr(C)]
struct Object {
    link: AtomicPtr<Self>,
    cleared: Arc<Count>,
    layout: Layout,
    _tracked: Tracked,
}

// SAFETY: the link serves the stash alone; the rest does not change.
unsafe impl Retire for Object {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }

    unsafe fn bytes(object: *const Self) -> u64 {
        // SAFETY: as the caller promises.
        unsafe { &*object }.layout.size() as u64
    }

    unsafe fn clear(object: *mut Self) -> Layout {
        // SAFETY: made by `Pile::retire_in`, and the caller's.
        let this = unsafe { object.read() };
        // Relaxed: a figure.
        this.cleared.fetch_add(1, Ordering::Relaxed);
        this.layout
    }
}

/// A stash and all that goes with it.
pub struct Pile {
    stash: Stash<Object>,
    retired: Arc<Retired<Object>>,
    cleared: Arc<Count>,
}

/// Bytes of the least object.
pub const LEAST_BYTES: usize = size_of::<Object>();

impl Pile {
    /// An empty one that keeps memory for writers and hands over whenever it holds more.
    pub fn new(batch_bytes: u64) -> Self {
        Self::numbered(0, batch_bytes, Arc::new(Retired::new(2)))
    }

    /// Another one of the same cache.
    pub fn beside(&self) -> Self {
        Self::numbered(1, self.stash.batch_bytes, Arc::clone(&self.retired))
    }

    fn numbered(number: usize, batch_bytes: u64, retired: Arc<Retired<Object>>) -> Self {
        let mut stash = Stash::new(number, batch_bytes, batch_bytes);
        // Also where the engine keeps none.
        stash.spare = Some(TryLock::new(super::Spare::new(batch_bytes)));
        Self { stash, retired, cleared: Arc::default() }
    }

    /// Retires a new object.
    pub fn retire(&self, bytes: usize) {
        self.retire_and(bytes, || ());
    }

    /// Retires a new object; calls `counted` when it counts.
    pub fn retire_and(&self, bytes: usize, counted: impl FnOnce()) {
        // SAFETY: not empty.
        let block = NonNull::new(unsafe { alloc(layout(bytes)) }).expect("memory");
        self.retire_in(block, bytes, counted);
    }

    /// Retires an object in a spare block, or none where there is no block of the size.
    pub fn retire_in_spare(&self, bytes: usize) -> bool {
        let block = self.stash.take_block(layout(bytes), &self.retired);
        block.inspect(|&block| self.retire_in(block, bytes, || ())).is_some()
    }

    fn retire_in(&self, block: NonNull<u8>, bytes: usize, counted: impl FnOnce()) {
        let object = block.cast::<Object>();
        let (link, cleared) = (AtomicPtr::new(ptr::null_mut()), Arc::clone(&self.cleared));
        let layout = layout(bytes);
        // SAFETY: the block is ours and large enough; nobody else ever reaches the object.
        unsafe {
            object.write(Object { link, cleared, layout, _tracked: Tracked::new() });
            let bytes = layout.size() as u64;
            self.stash.push(object.as_ptr(), bytes, &self.retired, &pin(), counted);
        }
    }

    /// Takes a spare block and gives it back to the allocator; answers whether there was one of
    /// the size.
    pub fn take(&self, bytes: usize) -> bool {
        let block = self.stash.take_block(layout(bytes), &self.retired);
        // SAFETY: allocated with this layout, and ours.
        block.inspect(|block| unsafe { dealloc(block.as_ptr(), layout(bytes)) }).is_some()
    }

    /// Hands over to the epochs.
    pub fn hand_over(&self) {
        self.stash.hand_over_now(&self.retired, &pin());
    }

    /// Takes a batch off and makes it ready at once, as the epochs do some time later.
    pub fn make_ready(&self) {
        let batch = self.stash.take_all(&self.retired);
        batch.into_iter().for_each(|batch| self.retired.make_ready(self.stash.number, batch));
    }

    /// Frees what is ready.
    pub fn free_ready(&self) {
        self.retired.take_ready(self.stash.number, |_| false);
    }

    /// Frees the spare list.
    pub fn free_spare(&self) {
        self.stash.free_spare(&self.retired);
    }

    /// Frees the spare list if nobody used it since the last call.
    pub fn free_idle_spare(&self) {
        self.stash.free_idle_spare(&self.retired);
    }

    /// Whether there is anything on the spare list.
    pub fn has_spare(&self) -> bool {
        self.stash.with_spare(|spare| !spare.is_empty()) == Some(true)
    }

    /// Bytes of all that is retired and not yet freed.
    pub fn bytes(&self) -> u64 {
        let stashed = self.stash.bytes();
        stashed + self.retired.bytes()
    }

    /// Objects that were freed, or whose memory went to others.
    pub fn cleared(&self) -> usize {
        // Relaxed: a figure.
        self.cleared.load(Ordering::Relaxed)
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(LEAST_BYTES), align_of::<Object>()).expect("a layout")
}
