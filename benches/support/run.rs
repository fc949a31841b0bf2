//! How requests are timed.

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::data::Requests;

/// Requests of a thread before its time starts.
const WARM_UP: u64 = 1024;
/// Requests between two looks at whether the others have finished.
const CHUNK: u64 = 64;

/// Runs `ops` requests on each of the threads, one sequence each, all of them busy until the
/// last has finished; returns the longest time that one took for its own.
///
/// `run` makes a number of requests and returns something that depends on their answers.
pub(crate) fn time(
    sequences: &mut [Requests],
    ops: u64,
    run: impl Fn(&mut Requests, u64) -> u64 + Sync,
) -> Duration {
    if let [sequence] = sequences {
        let start = Instant::now();
        black_box(run(sequence, ops));
        return start.elapsed();
    }
    let threads = sequences.len();
    let barrier = Barrier::new(threads);
    let finished = AtomicUsize::new(0);
    let timed = |sequence: &mut Requests| {
        black_box(run(sequence, WARM_UP));
        barrier.wait();
        let start = Instant::now();
        black_box(run(sequence, ops));
        let elapsed = start.elapsed();
        // Relaxed: it ends a loop, it orders nothing.
        finished.fetch_add(1, Ordering::Relaxed);
        while finished.load(Ordering::Relaxed) < threads {
            black_box(run(sequence, CHUNK));
        }
        elapsed
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            sequences.iter_mut().map(|sequence| scope.spawn(|| timed(sequence))).collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("no bench panics"));
        times.max().expect("there is a thread")
    })
}

/// A `run` that makes one request after another.
pub(crate) fn one_by_one(
    get: impl Fn(u32) -> u8 + Sync,
) -> impl Fn(&mut Requests, u64) -> u64 + Sync {
    move |requests, ops| (0..ops).map(|_| u64::from(get(requests.next()))).sum()
}
