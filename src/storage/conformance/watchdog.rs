//! Ends what hangs, and turns a panic into a failure; without a timer of any runtime.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::world::{Failure, Verdict, wrong};

/// What the watching thread and the future share.
#[derive(Default)]
struct Watch {
    is_over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Drives `body`; fails where it panics or is still pending after `limit`.
pub(super) async fn guard(body: impl Future<Output = Verdict>, limit: Duration) -> Verdict {
    let watch = Arc::new(Watch::default());
    let theirs = Arc::clone(&watch);
    let (_ended, has_ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        // An error other than a timeout: the sender was dropped with the future.
        if let Err(mpsc::RecvTimeoutError::Timeout) = has_ended.recv_timeout(limit) {
            theirs.end();
        }
    });
    let mut body = pin!(body);
    poll_fn(|context| {
        watch.remember(context.waker());
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context))) {
            Ok(Poll::Ready(verdict)) => Poll::Ready(verdict),
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
            // SeqCst: pairs with that in `end`; the waker was left before this look.
            Ok(Poll::Pending) if watch.is_over.load(Ordering::SeqCst) => {
                Poll::Ready(Err(wrong(format!("it hangs: not done after {limit:?}"))))
            }
            Ok(Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// The failure that a panic is.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    wrong(format!("it panics: {}", words.unwrap_or("without words")))
}

impl Watch {
    fn remember(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn end(&self) {
        // SeqCst: set before the waker is taken, so that whoever leaves one later sees it.
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(body: impl Future<Output = Verdict>) -> String {
        match pollster::block_on(guard(body, Duration::from_millis(1))) {
            Err(Failure::Wrong(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_hangs_or_panics_has_failed() {
        assert!(guarded(std::future::pending()).contains("it hangs"));
        assert!(guarded(async { panic!("boom") }).contains("it panics: boom"));
    }
}
