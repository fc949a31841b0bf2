//! Who maintains a cache by itself: a thread, or a task of a runtime.
//!
//! A driver holds the cache weakly and ends with it. It is not woken: a deleter or a setter does
//! not pay for a system call, what was deleted is invisible already, and setters feed and evict
//! by themselves. It sleeps for at most half a tick, and less where entries expire earlier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cache::core::Core;
use crate::cache::maintenance::Step;
use crate::value::Value;

/// The most handles and buckets that a round looks at.
const STEP: usize = 1024;
/// Of these, buckets that are searched although nothing points to them: at two rounds a second,
/// a table of a million entries in some 20 minutes.
const NET: usize = 128;
/// How long a driver sleeps after it found something to do, and then twice as long each time.
const BUSY: Duration = Duration::from_millis(1);
/// Up to this, or half a tick.
const IDLE: Duration = Duration::from_millis(500);
/// Up to this where removals are reported: so long a sudden burst has only the queue.
const LISTENING: Duration = Duration::from_millis(10);

/// Ends its thread or task when it is dropped.
pub(crate) enum Driver {
    Thread {
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    },
    #[cfg(feature = "tokio")]
    Task(tokio::task::AbortHandle),
}

/// How long a driver sleeps between its rounds.
struct Pause(Duration);

impl Driver {
    pub(crate) fn thread<V, S>(core: Weak<Core<V, S>>) -> std::io::Result<Self>
    where
        V: Value,
        S: Send + Sync + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("scopecache".into()).spawn(move || {
            let mut pause = Pause(BUSY);
            // Acquire: pairs with the Release in `drop`.
            while !stopped.load(Ordering::Acquire) {
                let Some(core) = core.upgrade() else { return };
                let sleep = pause.after_round(&core);
                drop(core);
                if let Some(sleep) = sleep {
                    thread::park_timeout(sleep);
                }
            }
        })?;
        Ok(Self::Thread { stop, thread: Some(thread) })
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn task<V, S>(core: Weak<Core<V, S>>, runtime: &tokio::runtime::Handle) -> Self
    where
        V: Value,
        S: Send + Sync + 'static,
    {
        let task = runtime.spawn(async move {
            let mut pause = Pause(BUSY);
            while let Some(core) = core.upgrade() {
                let sleep = pause.after_round(&core);
                drop(core);
                match sleep {
                    Some(sleep) => tokio::time::sleep(sleep).await,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        Self::Task(task.abort_handle())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        match self {
            Self::Thread { stop, thread } => {
                // Release: pairs with the Acquire in the thread.
                stop.store(true, Ordering::Release);
                let Some(handle) = thread.take() else { return };
                handle.thread().unpark();
                // The thread itself drops it where it held the last reference to the cache.
                if handle.thread().id() != thread::current().id() {
                    // An error is a panic of the thread, which has been reported.
                    let _ = handle.join();
                }
            }
            #[cfg(feature = "tokio")]
            Self::Task(task) => task.abort(),
        }
    }
}

impl Pause {
    /// One round of maintenance; answers how long to sleep before the next, if at all.
    fn after_round<V: Value, S>(&mut self, core: &Core<V, S>) -> Option<Duration> {
        let Step { progress, is_behind, due } = core.maintain(STEP, NET);
        let idle = Duration::from_nanos(core.settings.tick / 2).min(IDLE);
        let idle = if core.settings.listener.is_some() { idle.min(LISTENING) } else { idle };
        let done = progress.examined + progress.reported;
        self.0 = if done > 0 { BUSY } else { (self.0 * 2).min(idle) };
        // What is left and was not looked at is in somebody else's hands, or waits for memory.
        if is_behind && done > 0 {
            return None;
        }
        let until_due = due.map(|due| Duration::from_nanos(due.saturating_sub(core.now())));
        Some(self.0.min(until_due.unwrap_or(idle)).max(BUSY))
    }
}
