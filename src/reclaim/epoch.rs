//! Epoch-based reclamation by crossbeam-epoch.

use std::fmt;
use std::sync::LazyLock;

use crossbeam_epoch::{Collector, LocalHandle};

/// Keeps what its holder reads from being freed.
///
/// Taken by [`Cache::pin`](crate::Cache::pin), for [`Scope::get_ref`](crate::Scope::get_ref) or
/// to spare several calls in a row the cost of taking one each. It is a matter of one thread.
/// While it lives, memory that anybody retires is not freed: hold it for moments, never across
/// waiting. Under a guard held for long, sets may answer `CapacityExceeded`.
pub struct Guard(crossbeam_epoch::Guard);

static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::new);

std::thread_local! {
    static PARTICIPANT: LocalHandle = COLLECTOR.register();
}

/// Takes a guard; nested ones cost next to nothing.
#[inline]
pub(crate) fn pin() -> Guard {
    match PARTICIPANT.try_with(LocalHandle::pin) {
        Ok(guard) => Guard(guard),
        Err(_) => pin_at_the_end(),
    }
}

/// While a thread ends, its participant may be gone already (a destructor of another thread-local
/// uses the cache): one for this guard alone.
#[cold]
fn pin_at_the_end() -> Guard {
    Guard(COLLECTOR.register().pin())
}

/// Whether the calling thread holds a guard.
pub(crate) fn is_pinned() -> bool {
    PARTICIPANT.try_with(LocalHandle::is_pinned).unwrap_or(false)
}

impl Guard {
    /// Runs `free` once every guard that exists now is gone. The address is for the checks of
    /// models.
    ///
    /// # Safety
    ///
    /// `free` may run on any thread, and at any time after that moment: what it captures must
    /// allow both. What it frees is out of reach for guards taken from now on.
    pub(crate) unsafe fn defer(&self, _address: *const (), free: impl FnOnce()) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.defer_unchecked(free) };
    }

    /// Hands this thread's deferred work to all threads and does some of what is due.
    pub(crate) fn flush(&self) {
        self.0.flush();
    }

    /// Asserts, in models, that what stands at the address was not retired before this guard.
    #[inline]
    pub(crate) fn check<T>(&self, _address: *const T) {}
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
