//! Garbage of plain objects that counts what becomes of them, for tests and models.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use super::{Discard, Garbage, Object};
use crate::sync::Tracked;
use crate::sync::atomic::{AtomicBool, Ordering};

struct Item {
    /// Set before it is retired.
    is_complete: AtomicBool,
    freed: Arc<Count>,
    _tracked: Tracked,
}

// SAFETY: it is of no thread.
unsafe impl Discard for Item {
    unsafe fn free(item: NonNull<Self>) {
        // SAFETY: made by `Litter::retire`, and the caller's.
        let item = unsafe { Box::from_raw(item.as_ptr()) };
        // Relaxed: acquired with the object.
        assert!(item.is_complete.load(Ordering::Relaxed), "what was done before is not seen");
        // Relaxed: a figure.
        item.freed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Garbage of objects that are all alike. What the epochs do, letting a batch go some time after it
/// was handed over, happens at once.
pub struct Litter {
    garbage: Garbage<Item>,
    freed: Arc<Count>,
}

impl Litter {
    /// None yet.
    pub fn new() -> Self {
        Self { garbage: Garbage::new(), freed: Arc::default() }
    }

    /// Retires a new object.
    pub fn retire(&self) {
        let (is_complete, freed) = (AtomicBool::new(false), Arc::clone(&self.freed));
        let item = Box::new(Item { is_complete, freed, _tracked: Tracked::new() });
        // Relaxed: published with the object.
        item.is_complete.store(true, Ordering::Relaxed);
        let batch = self.garbage.add(Object(NonNull::from(Box::leak(item))));
        batch.into_iter().for_each(|batch| self.garbage.make_ready(batch));
    }

    /// Hands over what was retired.
    pub fn hand_over(&self) {
        let batch = self.garbage.take_fresh();
        batch.into_iter().for_each(|batch| self.garbage.make_ready(batch));
    }

    /// Frees up to `most` objects of what was handed over.
    pub fn free(&self, most: usize) {
        self.garbage.free(most);
    }

    /// Objects that were freed.
    pub fn freed(&self) -> usize {
        // Relaxed: a figure.
        self.freed.load(Ordering::Relaxed)
    }
}
