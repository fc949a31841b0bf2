//! The time that a call was given.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Options;

/// When a call is to fail with `Timeout`, if ever.
///
/// There is no timer behind it: the clock is looked at whenever the call is polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// From now on.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        // One that lies past the end of time is none.
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// # Errors
    ///
    /// `Timeout` once the time is over.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(Error::new(ErrorKind::Timeout)),
            _ => Ok(()),
        }
    }

    /// The options with what is left of the time, for one step of a call of several.
    ///
    /// # Errors
    ///
    /// `Timeout` once the time is over.
    pub(crate) fn rest<'a>(&self, options: Options<'a>) -> Result<Options<'a>> {
        let Some(end) = self.0 else { return Ok(options) };
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::new(ErrorKind::Timeout)),
            left => Ok(options.with_timeout(left)),
        }
    }

    /// Drives `future`, and drops it with `Timeout` where it is still pending when the time is
    /// over. An answer that is there is given, however late.
    pub(crate) async fn limit<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => match self.check() {
                Ok(()) => Poll::Pending,
                Err(timeout) => Poll::Ready(Err(timeout)),
            },
        })
        .await
    }

    /// Lets the executor run something else.
    ///
    /// # Errors
    ///
    /// `Timeout` once the time is over.
    pub(crate) async fn yield_now(&self) -> Result<()> {
        self.check()?;
        let mut yielded = false;
        poll_fn(|context| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(())
    }
}
