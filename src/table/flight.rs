//! A load in flight: what a placeholder holds, and where those who joined it wait.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Condvar, Mutex, Tracked, wait};

/// One load of one key. Its placeholder, its lease and its waiters share it.
pub(crate) struct Flight {
    state: Mutex<State>,
    landed: Condvar,
    _tracked: Tracked,
}

struct State {
    outcome: Outcome,
    wakers: Vec<Waker>,
}

/// How a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not yet.
    Pending,
    /// Its value took the placeholder's place.
    Stored,
    /// The placeholder was taken out of the table before a value came.
    Cancelled,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State { outcome: Outcome::Pending, wakers: Vec::new() }),
            landed: Condvar::new(),
            _tracked: Tracked::new(),
        }
    }

    /// Sets the outcome unless there is one, and wakes all who wait.
    pub(crate) fn land(&self, outcome: Outcome) {
        let wakers = {
            let mut state = self.state.lock();
            if state.outcome != Outcome::Pending {
                return;
            }
            state.outcome = outcome;
            std::mem::take(&mut state.wakers)
        };
        self.landed.notify_all();
        // Outside the lock: a waker is user code.
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.state.lock().outcome
    }

    /// Blocks until the load has ended.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock();
        while state.outcome == Outcome::Pending {
            state = wait(&self.landed, state);
        }
    }

    /// Ready once the load has ended; else `context` is woken when it does.
    fn poll_landed(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.outcome != Outcome::Pending {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Waits for a load without blocking; dropping it is harmless.
pub(crate) struct Landing(pub(crate) std::sync::Arc<Flight>);

impl Future for Landing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_landed(context)
    }
}
