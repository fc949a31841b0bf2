//! Calls at the same time, in every order of what they ask of a storage.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A call that is under way, polled by hand.
pub(crate) type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The choices of a run: which of the calls under way, and of how many.
pub(crate) type Taken = [(usize, usize)];

thread_local! {
    /// Whether what is polled here waits in [`stop`].
    static STOPS: Cell<bool> = const { Cell::new(false) };
}

/// Pending once; what a storage that is tried does before each call, and maybe after it.
pub(crate) async fn stop() {
    let mut stopped = false;
    std::future::poll_fn(|_| {
        STOPS.set(!stopped);
        if std::mem::replace(&mut stopped, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether the call has ended.
pub(crate) fn poll(call: &mut Call) -> bool {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Runs the calls that `begin` makes, with a world of their own each time, in every order of what they ask of
/// the storage; returns how many orders there are.
///
/// A call has nothing in common with the others but the storage, so only the order of what they ask of it
/// matters: each is polled up to its first stop before the first choice, and from stop to stop with each. That
/// leaves out no order, and none is there twice.
///
/// Each run makes the choices in `script`, then the first that is possible; the last choice that has
/// another one after it is changed for the next run. `between` looks at what no run before has seen, `end` judges.
pub(crate) fn in_every_order<W>(
    begin: impl Fn() -> (W, Vec<Call>),
    between: impl Fn(&W),
    end: impl Fn(W, &Taken),
) -> usize {
    let mut script: Vec<usize> = Vec::new();
    let mut orders = 0;
    loop {
        let (world, mut calls) = begin();
        calls.retain_mut(|call| !poll_to_stop(call));
        let mut taken: Vec<(usize, usize)> = Vec::new();
        while !calls.is_empty() {
            let choice = script.get(taken.len()).copied().unwrap_or(0);
            taken.push((choice, calls.len()));
            if poll_to_stop(&mut calls[choice]) {
                drop(calls.remove(choice));
            }
            if taken.len() >= script.len() {
                between(&world);
            }
        }
        end(world, &taken);
        orders += 1;
        let Some(last) = taken.iter().rposition(|(choice, open)| choice + 1 < *open) else {
            return orders;
        };
        script = taken[..last].iter().map(|(choice, _)| *choice).collect();
        script.push(taken[last].0 + 1);
    }
}

/// The same past everything that only lets others run.
fn poll_to_stop(call: &mut Call) -> bool {
    loop {
        STOPS.set(false);
        if poll(call) {
            return true;
        }
        if STOPS.get() {
            return false;
        }
    }
}
