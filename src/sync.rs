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
}

#[cfg(scopecache_loom)]
mod imp {
    pub(crate) use loom::sync::{Condvar, Mutex as RawMutex, MutexGuard, atomic};
    pub(crate) use loom::thread::{ThreadId, current, yield_now};
    pub(crate) use loom::thread_local;
}

#[cfg(scopecache_shuttle)]
mod imp {
    pub(crate) use shuttle::sync::{Condvar, Mutex as RawMutex, MutexGuard, atomic};
    pub(crate) use shuttle::thread::{ThreadId, current, yield_now};
    pub(crate) use shuttle::thread_local;
}

pub(crate) use self::imp::{Condvar, MutexGuard, atomic, thread_local, yield_now};
#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub(crate) use self::imp::{ThreadId, current};

/// Atomics for figures: what is counted for statistics and budgets, and orders nothing.
///
/// Under loom they are std's, which it does not see: each of its steps would multiply the
/// executions of every model, and sums commute. Shuttle sees them.
pub(crate) mod figures {
    #[cfg(not(scopecache_loom))]
    pub(crate) use super::atomic::{AtomicU64, AtomicUsize};
    #[cfg(scopecache_loom)]
    pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize};
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

/// Blocks until `condvar` is notified; spurious wake-ups are possible.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
}
