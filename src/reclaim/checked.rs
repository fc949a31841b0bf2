//! The stand-in for models: frees nothing early and checks every access.
//!
//! Loom and shuttle run all their threads on one thread of the system, so the books are a plain
//! std thread-local: invisible to the model, they add neither edges nor branches.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::sync::atomic::{Ordering, fence};
use crate::sync::{ThreadId, current};

/// Keeps what its holder reads from being freed.
pub struct Guard {
    thread: ThreadId,
    id: u64,
}

#[derive(Default)]
struct Books {
    last_id: u64,
    /// The guard of each thread: its id, and how often it was taken.
    live: HashMap<ThreadId, (u64, usize)>,
    /// What was retired, with the guards of that moment: only they may still read it.
    retired: HashMap<usize, BTreeSet<u64>>,
    frees: Vec<Box<dyn FnOnce()>>,
}

std::thread_local! {
    static BOOKS: RefCell<Books> = RefCell::default();
}

pub(crate) fn pin() -> Guard {
    let thread = current().id();
    let (id, outermost) = BOOKS.with_borrow_mut(|books| {
        let fresh = books.last_id + 1;
        let (id, depth) = books.live.entry(thread).or_insert((fresh, 0));
        *depth += 1;
        let answer = (*id, *depth == 1);
        books.last_id = books.last_id.max(answer.0);
        answer
    });
    if outermost {
        // SeqCst: as crossbeam-epoch's pin; a nested guard issues none there either.
        fence(Ordering::SeqCst);
    }
    Guard { thread, id }
}

/// Whether the calling thread holds a guard.
pub(crate) fn is_pinned() -> bool {
    BOOKS.with_borrow(|books| books.live.contains_key(&current().id()))
}

impl Guard {
    /// Runs `free` at the end of the execution; accesses to `address`, unless it is null, are
    /// checked from now on.
    ///
    /// # Safety
    ///
    /// As for the real one.
    pub(crate) unsafe fn defer(&self, address: *const (), free: impl FnOnce()) {
        // SeqCst: as crossbeam-epoch's push of a bag.
        fence(Ordering::SeqCst);
        let free: Box<dyn FnOnce() + '_> = Box::new(free);
        // SAFETY: `quiesce` runs it within the execution, which outlives what models capture.
        let free =
            unsafe { std::mem::transmute::<Box<dyn FnOnce() + '_>, Box<dyn FnOnce()>>(free) };
        BOOKS.with_borrow_mut(|books| {
            if !address.is_null() {
                let waits_for = |id: &u64| !planted!("free_at_once") || *id == self.id;
                let holders = books.live.values().map(|&(id, _)| id).filter(waits_for).collect();
                let before = books.retired.insert(address as usize, holders);
                assert!(before.is_none(), "retired twice: {address:p}");
            }
            books.frees.push(free);
        });
    }

    pub(crate) fn flush(&self) {}

    pub(crate) fn check<T>(&self, address: *const T) {
        BOOKS.with_borrow(|books| {
            if let Some(holders) = books.retired.get(&(address as usize)) {
                assert!(holders.contains(&self.id), "read after it was retired: {address:p}");
            }
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        BOOKS.with_borrow_mut(|books| {
            if let Some((_, depth)) = books.live.get_mut(&self.thread) {
                *depth -= 1;
                if *depth == 0 {
                    books.live.remove(&self.thread);
                }
            }
        });
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        // Left after a failed execution only; what they would free is not there any more.
        std::mem::take(&mut self.frees).into_iter().for_each(std::mem::forget);
    }
}

/// Ends an execution: asserts that no guard is left and frees all that was retired.
pub fn quiesce() {
    loop {
        let frees = BOOKS.with_borrow_mut(|books| {
            assert!(books.live.is_empty(), "a guard outlived its execution");
            books.retired.clear();
            std::mem::take(&mut books.frees)
        });
        if frees.is_empty() {
            return;
        }
        frees.into_iter().for_each(|free| free());
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
