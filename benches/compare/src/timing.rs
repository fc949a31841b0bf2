//! How operations are timed.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Operations between two looks at the clock.
pub(crate) const CHUNK: u64 = 64;
/// The part of a sample that is run before its time starts.
const WARM_UP: u32 = 8;

/// Runs `chunk` on each of the states, a thread each, all at the same time and so long; returns
/// the nanoseconds of one operation of one thread.
///
/// `chunk` makes so many operations and returns something that depends on their answers.
pub(crate) fn per_op<S: Send>(
    sample: Duration,
    states: &mut [S],
    chunk: impl Fn(&mut S, u64) -> u64 + Sync,
) -> f64 {
    let barrier = Barrier::new(states.len());
    let run = |state: &mut S, duration: Duration| {
        let (start, mut ops) = (Instant::now(), 0);
        loop {
            black_box(chunk(state, CHUNK));
            ops += CHUNK;
            let elapsed = start.elapsed();
            if elapsed >= duration {
                break elapsed.as_nanos() as f64 / ops as f64;
            }
        }
    };
    let timed = |state: &mut S| {
        run(state, sample / WARM_UP);
        barrier.wait();
        run(state, sample)
    };
    match states {
        [state] => timed(state),
        _ => {
            let times: Vec<f64> = thread::scope(|scope| {
                let threads: Vec<_> =
                    states.iter_mut().map(|state| scope.spawn(|| timed(state))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no bench panics")).collect()
            });
            // Each thread made as many as it could: their rates add up.
            times.len() as f64 / times.iter().map(|nanos| nanos.recip()).sum::<f64>()
        }
    }
}

/// How long something took, in nanoseconds.
pub(crate) fn nanos_of<R>(work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_as_long_as_it_does() {
        let nap = |_: &mut (), ops| {
            thread::sleep(Duration::from_micros(10 * ops));
            0
        };
        for threads in [1, 2] {
            let nanos = per_op(Duration::from_millis(20), &mut vec![(); threads], nap);
            assert!((9_000.0..100_000.0).contains(&nanos), "{nanos}");
        }
    }
}
