//! The one file that names a source of atomics, locks and threads.
//!
//! Everything concurrent in this crate imports from here, so that the same code runs on `std`,
//! under [loom](https://docs.rs/loom) (`--cfg scopecache_loom`: every interleaving and every
//! allowed weak-memory outcome of small models) and under
//! [shuttle](https://docs.rs/shuttle) (`--cfg scopecache_shuttle`: long random schedules).

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod imp {
    pub(crate) use std::sync::{Condvar, Mutex as RawMutex, MutexGuard, atomic};
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;

    pub(crate) use super::PlainCell as UnsafeCell;
}

#[cfg(scopecache_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::{Condvar, Mutex as RawMutex, MutexGuard, atomic};
    pub(crate) use loom::thread::{ThreadId, current, yield_now};
    pub(crate) use loom::thread_local;
}

#[cfg(scopecache_shuttle)]
mod imp {
    pub(crate) use shuttle::sync::{Condvar, Mutex as RawMutex, MutexGuard, atomic};
    pub(crate) use shuttle::thread::{ThreadId, current, yield_now};
    pub(crate) use shuttle::thread_local;

    pub(crate) use super::PlainCell as UnsafeCell;
}

pub(crate) use self::imp::{Condvar, MutexGuard, atomic, thread_local, yield_now};
#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub(crate) use self::imp::{ThreadId, current};

/// Atomics for figures: what is counted for statistics and budgets, and orders nothing.
///
/// Under loom they are std's, which it does not see: each of its steps would multiply the
/// executions of every model, and sums commute. Shuttle sees them, and so do the models of the budget
/// by itself.
pub(crate) mod figures {
    #[cfg(not(scopecache_loom))]
    pub(crate) use super::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
    #[cfg(scopecache_loom)]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
}

/// A bounded queue that any thread may push to and take from; who takes something sees what came
/// before its push.
///
/// In models it is a locked one.
pub(crate) struct Ring<T> {
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    queue: crossbeam_queue::ArrayQueue<T>,
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    queue: Mutex<std::collections::VecDeque<T>>,
    /// The length, for those who do not want to lock: a lock is a step that models branch at.
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    len: figures::AtomicUsize,
    #[cfg(any(scopecache_loom, scopecache_shuttle))]
    capacity: usize,
}

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { queue: crossbeam_queue::ArrayQueue::new(capacity) }
    }

    /// Gives back what finds it full.
    #[inline]
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(any(scopecache_loom, scopecache_shuttle))]
impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { queue: Mutex::new(Default::default()), len: Default::default(), capacity }
    }

    /// Gives back what finds it full.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut queue = self.queue.lock();
        if queue.len() == self.capacity {
            return Err(item);
        }
        queue.push_back(item);
        // Relaxed: a figure; the lock orders.
        self.len.store(queue.len(), atomic::Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let item = queue.pop_front();
        // Relaxed: as above.
        self.len.store(queue.len(), atomic::Ordering::Relaxed);
        item
    }

    pub(crate) fn len(&self) -> usize {
        // Relaxed: as above.
        self.len.load(atomic::Ordering::Relaxed)
    }
}

/// Makes loom fail an execution that leaks what this is a part of; nothing elsewhere.
pub(crate) struct Tracked {
    #[cfg(scopecache_loom)]
    _track: loom::alloc::Track<()>,
}

impl Tracked {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(scopecache_loom)]
            _track: loom::alloc::Track::new(()),
        }
    }
}

/// A mutex without poisoning: what a panicking holder leaves behind is consistent everywhere
/// in this crate, since no user code runs under a lock.
pub(crate) struct Mutex<T>(imp::RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::RawMutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None` while somebody else holds the lock; never waits.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// A value that one thread at a time may use and nobody waits for. Uncontended it costs one
/// read-modify-write, half of what a mutex does.
pub(crate) struct TryLock<T> {
    busy: atomic::AtomicBool,
    value: imp::UnsafeCell<T>,
}

// SAFETY: `busy` lets one thread at a time at the value.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { busy: atomic::AtomicBool::new(false), value: imp::UnsafeCell::new(value) }
    }

    /// What `f` makes of the value; `None` while somebody else is at it, `f` itself included.
    #[inline]
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        struct Unlock<'a>(&'a atomic::AtomicBool);

        impl Drop for Unlock<'_> {
            #[inline]
            fn drop(&mut self) {
                // Release: pairs with the Acquire in `try_with`: who comes next sees what we did.
                let order = if planted!("relaxed_unlock") {
                    atomic::Ordering::Relaxed
                } else {
                    atomic::Ordering::Release
                };
                self.0.store(false, order);
            }
        }

        // Acquire: pairs with the Release in `drop`. Relaxed failure: nothing is read then.
        self.busy
            .compare_exchange(false, true, atomic::Ordering::Acquire, atomic::Ordering::Relaxed)
            .ok()?;
        let _unlock = Unlock(&self.busy);
        // SAFETY: it was free and is ours, so nobody else is at it until `_unlock` goes.
        Some(self.value.with_mut(|value| f(unsafe { &mut *value })))
    }
}

/// A cell with the interface of loom's, which fails an execution in which two threads are at it.
#[cfg(not(scopecache_loom))]
pub(crate) struct PlainCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(scopecache_loom))]
impl<T> PlainCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Blocks until `condvar` is notified; spurious wake-ups are possible.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
}
