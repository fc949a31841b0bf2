//! What a case has at hand: clients of a fresh store, its clock, threads; and ways to say what is
//! wrong.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::watchdog::panicked;
use super::{Capability, Lab, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Capabilities, Options, Storage, StorageItem};

/// Why a case did not pass.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was expected, and what was seen.
    Wrong(String),
    /// Calls took so long that nothing can be said.
    TooSlow,
    NotSupported(Capability),
}

pub(super) type Verdict<T = ()> = Result<T, Failure>;

/// What one thread of a case does.
pub(super) type Actor<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

pub(super) struct World<'l> {
    lab: &'l dyn Lab,
    store: Arc<dyn Store>,
    storage: Arc<dyn Storage>,
    grain: Duration,
}

/// An answer, and the moments between which the storage's clock was read for it.
pub(super) struct Timed<T> {
    pub(super) answer: T,
    pub(super) earliest: Duration,
    pub(super) latest: Duration,
}

impl<'l> World<'l> {
    pub(super) async fn new(lab: &'l dyn Lab, stretch: u32) -> Verdict<Self> {
        let store = lab.store()?;
        let storage = store.client().await?;
        let grain = store.grain() * stretch;
        Ok(Self { lab, store, storage, grain })
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.storage.capabilities()
    }

    pub(super) fn has(&self, capability: Capability) -> bool {
        capability.is_claimed_by(&self.capabilities())
    }

    /// The first client, which is enough for most cases.
    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// One more client.
    pub(super) async fn client(&self) -> Verdict<Arc<dyn Storage>> {
        Ok(self.store.client().await?)
    }

    pub(super) async fn clients(&self, count: usize) -> Verdict<Vec<Arc<dyn Storage>>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }

    pub(super) fn max_value_bytes(&self) -> usize {
        self.store.max_value_bytes()
    }

    /// Runs the actors at once, each on a thread of its own; the first failure is the answer.
    pub(super) fn together(&self, actors: Vec<Actor<'_>>) -> Verdict {
        thread::scope(|scope| {
            let run = |actor: Actor<'_>| {
                let mut verdict = Ok(());
                self.lab.block_on(Box::pin(async { verdict = actor.await }));
                verdict
            };
            let threads: Vec<_> =
                actors.into_iter().map(|actor| scope.spawn(move || run(actor))).collect();
            let verdicts: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            verdicts.into_iter().try_for_each(|verdict| match verdict {
                Ok(verdict) => verdict,
                Err(panic) => Err(panicked(&*panic)),
            })
        })
    }

    /// So many of the spans in which deadlines are told apart.
    pub(super) fn grains(&self, count: u32) -> Duration {
        self.grain * count
    }

    pub(super) fn now(&self) -> Duration {
        self.store.now()
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.store.pass(time).await;
    }

    /// Lets time pass until the clock stands at `moment`.
    pub(super) async fn pass_until(&self, moment: Duration) {
        loop {
            match moment.saturating_sub(self.now()) {
                Duration::ZERO => return,
                left => self.pass(left).await,
            }
        }
    }

    pub(super) async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T>>,
    ) -> Verdict<Timed<T>> {
        let earliest = self.now();
        let answer = call.await?;
        Ok(Timed { answer, earliest, latest: self.now() })
    }

    /// The data of an item, if it is there.
    pub(super) async fn data(&self, key: &str, options: Options<'_>) -> Verdict<Option<Bytes>> {
        Ok(self.storage.get(key, options).await?.map(|item| item.data))
    }

    /// The item, whose deadline comes at `deadline` at the earliest.
    pub(super) async fn lives(
        &self,
        key: &str,
        options: Options<'_>,
        deadline: Duration,
    ) -> Verdict<StorageItem> {
        match self.storage.get(key, options).await? {
            Some(item) => Ok(item),
            None if self.now() >= deadline => Err(Failure::TooSlow),
            None => Err(wrong("an item is not returned although its deadline has not come")),
        }
    }

    /// Checks that an item is gone at its deadline, which comes at `deadline` at the latest.
    pub(super) async fn is_over(
        &self,
        key: &str,
        options: Options<'_>,
        deadline: Duration,
    ) -> Verdict {
        self.pass_until(deadline).await;
        match self.storage.get(key, options).await? {
            None => Ok(()),
            Some(_) => Err(wrong("an item is returned at or after its deadline")),
        }
    }
}

/// A failure with words.
pub(super) fn wrong(words: impl Into<String>) -> Failure {
    Failure::Wrong(words.into())
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        let at = Location::caller();
        Self::Wrong(format!("an error that should not be: {error} ({error:?}), line {}", at.line()))
    }
}

/// The kind and the words of a refusal; a success is the failure.
pub(super) fn refusal<T>(answer: Result<T>, of: &str) -> Verdict<(ErrorKind, String)> {
    match answer {
        Ok(_) => Err(wrong(format!("{of} is not refused"))),
        Err(error) => Ok((error.kind(), error.to_string())),
    }
}

/// Polls `future` at most so many times, each time it is woken, and drops it then.
pub(super) async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    if polls == 0 {
        return None;
    }
    let mut future = Box::pin(future);
    let mut polled = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            polled += 1;
            if polled == polls { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Fails with words unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::storage::conformance::world::wrong(format!($($words)+)));
        }
    };
}

/// Fails unless what was seen is what was expected.
macro_rules! same {
    ($seen:expr, $expected:expr, $($words:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => {
                if *seen != *expected {
                    return Err($crate::storage::conformance::world::wrong(format!(
                        "{}: expected {expected:?}, saw {seen:?}",
                        format!($($words)+)
                    )));
                }
            }
        }
    };
}

pub(super) use {ensure, same};
