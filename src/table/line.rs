//! One line of the table: a cache line of slots.
//!
//! ```text
//!  0      8                              56     64
//! ┌──────┬──────┬──────┬─ .. ─┬──────┬──────┐
//! │slot 0│slot 1│slot 2│      │slot 6│ next │──► an overflow line, or null
//! └──────┴──────┴──────┴─ .. ─┴──────┴──────┘
//!  slot = tag:16 | pointer:48, or null
//! ```
//!
//! A slot is the only owner of its entry. Lines are never unlinked from their chain while the
//! table lives, so the slots of a chain have one order for everybody.

use std::ptr::{self, NonNull};
use std::slice;

use crate::reclaim::Guard;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::table::entry::{Entry, Seen};
use crate::tagged;
use crate::value::Value;

/// Slots of a line: what fits into 64 bytes beside the link; two in models.
pub(crate) const SLOTS: usize = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 2 } else { 7 };

#[repr(align(64))]
pub(super) struct Line<V: Value, O> {
    pub(super) slots: [AtomicPtr<Entry<V, O>>; SLOTS],
    pub(super) next: AtomicPtr<Line<V, O>>,
}

/// A slot as it was when it was read: where it is and what stood in it.
pub(crate) struct Slot<'g, V: Value, O> {
    pub(super) cell: &'g AtomicPtr<Entry<V, O>>,
    pub(super) word: *mut Entry<V, O>,
    /// Counts slots from the start of the chain.
    pub(super) position: usize,
}

/// Walks a chain in slot order.
pub(super) struct Slots<'g, V: Value, O> {
    line: &'g Line<V, O>,
    /// The slots of the line that are still to come.
    rest: slice::Iter<'g, AtomicPtr<Entry<V, O>>>,
    /// Slots in the lines before it.
    before: usize,
}

impl<V: Value, O> Line<V, O> {
    pub(super) fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn slots(&self) -> Slots<'_, V, O> {
        Slots { line: self, rest: self.slots.iter(), before: 0 }
    }

    pub(super) fn next(&self) -> Option<&Self> {
        // Acquire: pairs with the Release that appended the line.
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: lines live as long as their table, which `self` borrows from.
        unsafe { next.as_ref() }
    }
}

impl<'g, V: Value, O> Slots<'g, V, O> {
    /// The next slot that holds an entry with this tag.
    #[inline]
    pub(super) fn next_of(
        &mut self,
        tag: u16,
        guard: &'g Guard,
    ) -> Option<(Slot<'g, V, O>, Seen<'g, V, O>)> {
        loop {
            while let Some(cell) = self.rest.next() {
                let word = load(cell);
                // Most slots that are passed over are empty.
                if !word.is_null()
                    && let Some(entry) = tagged::untag(word, tag)
                {
                    let slot = Slot { cell, word, position: self.last_position() };
                    // SAFETY: loaded just now, under this guard: callers pass the one that they walk
                    // under.
                    return Some((slot, unsafe { Seen::new(entry, guard) }));
                }
            }
            self.go_on()?;
        }
    }

    #[inline]
    fn go_on(&mut self) -> Option<()> {
        self.line = self.line.next()?;
        self.rest = self.line.slots.iter();
        self.before += SLOTS;
        Some(())
    }

    /// Of the slot that came last.
    #[inline]
    fn last_position(&self) -> usize {
        self.before + SLOTS - 1 - self.rest.len()
    }
}

impl<'g, V: Value, O> Iterator for Slots<'g, V, O> {
    type Item = Slot<'g, V, O>;

    #[inline]
    fn next(&mut self) -> Option<Slot<'g, V, O>> {
        loop {
            if let Some(cell) = self.rest.next() {
                return Some(Slot { cell, word: load(cell), position: self.last_position() });
            }
            self.go_on()?;
        }
    }
}

impl<V: Value, O> Clone for Slot<'_, V, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Value, O> Copy for Slot<'_, V, O> {}

impl<'g, V: Value, O> Slot<'g, V, O> {
    pub(super) fn is_empty(&self) -> bool {
        self.word.is_null()
    }

    #[inline]
    pub(super) fn tag(&self) -> u16 {
        tagged::tag(self.word)
    }

    /// The entry that stood here, unless the slot was empty.
    #[inline]
    pub(super) fn entry(&self, guard: &'g Guard) -> Option<Seen<'g, V, O>> {
        let entry = NonNull::new(tagged::pointer(self.word))?;
        // SAFETY: `word` was loaded from the slot by somebody who holds this guard: `Slots`
        // borrows the table for `'g` and callers pass the guard that they walk under.
        Some(unsafe { Seen::new(entry, guard) })
    }

    /// The slot as it is now.
    pub(super) fn again(&self) -> Self {
        Self { cell: self.cell, word: load(self.cell), position: self.position }
    }

    /// Puts `new` where `self.word` stood; fails if that has changed.
    pub(super) fn swap(&self, new: *mut Entry<V, O>) -> bool {
        // SeqCst: publishes an entry, or carries what decided its removal (Release), and knows
        // what it takes out (Acquire). SeqCst rather than AcqRel so that a set of one key and a
        // get of another, on two threads crosswise, do not both miss each other under a guard
        // that is held for long (a fresh guard issues a fence anyway); on x86-64 it is the same
        // instruction.
        let relaxed = planted!("relaxed_unlink") && new.is_null();
        let success = if relaxed { Ordering::Relaxed } else { Ordering::SeqCst };
        self.cell.compare_exchange(self.word, new, success, Ordering::Relaxed).is_ok()
    }
}

#[inline]
fn load<V: Value, O>(cell: &AtomicPtr<Entry<V, O>>) -> *mut Entry<V, O> {
    // SeqCst: acquires the entry; see `Slot::swap` for the rest.
    cell.load(Ordering::SeqCst)
}
