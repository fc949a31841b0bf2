//! What those who read notice while a million entries of one deadline expire.
//!
//! A cache holds 100,000 entries without a TTL, which one thread reads all the time, and a
//! million that end at one moment, which the cache's own thread frees. Each run times every get
//! of a second of peace, and then every get from the deadline on until the million is gone. The
//! last line is one JSON object of medians over the runs:
//!
//! | field | meaning |
//! |---|---|
//! | `idle_p99_ns`, `idle_p999_ns` | of a get, in peace |
//! | `expiring_p99_ns`, `expiring_p999_ns` | of a get, while the million is being freed |
//! | `p99_ratio`, `p999_ratio` | of the latter to the former; the goal is 2 at most |
//! | `lag_p99_ms` | from the deadline until 99 % are freed; the goal is two ticks at most |
//! | `drain_ms` | from the first of them freed to the last |

mod support;

use std::time::{Duration, Instant};

use scopecache::{Cache, Scope, SetOptions};

use crate::support::data::{Random, VALUE};

const STAYING: u64 = 100_000;
const EXPIRING: u64 = 1_000_000;
const RUNS: usize = 10;
const TICK: Duration = Duration::from_secs(1);
/// From the first of the million to the deadline of all.
const LEAD: Duration = Duration::from_secs(6);
const PEACE: Duration = Duration::from_secs(1);
/// Gets between two looks at how many are left.
const GETS_A_LOOK: usize = 256;

fn main() {
    let mut runs = Vec::with_capacity(RUNS);
    for number in 0..RUNS {
        let run = Run::new(number as u64);
        eprintln!("run {} of {RUNS}: {run:?}", number + 1);
        runs.push(run);
    }
    let median = |figure: fn(&Run) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    println!(
        "{{\"idle_p99_ns\":{:.0},\"idle_p999_ns\":{:.0},\"expiring_p99_ns\":{:.0},\
         \"expiring_p999_ns\":{:.0},\"p99_ratio\":{:.2},\"p999_ratio\":{:.2},\
         \"lag_p99_ms\":{:.0},\"drain_ms\":{:.0}}}",
        median(|run| run.idle.p99),
        median(|run| run.idle.p999),
        median(|run| run.expiring.p99),
        median(|run| run.expiring.p999),
        median(|run| run.expiring.p99 / run.idle.p99),
        median(|run| run.expiring.p999 / run.idle.p999),
        median(|run| run.lag_p99_ms),
        median(|run| run.drain_ms),
    );
}

#[derive(Debug)]
struct Run {
    idle: Latencies,
    expiring: Latencies,
    lag_p99_ms: f64,
    drain_ms: f64,
}

/// In nanoseconds.
#[derive(Debug)]
struct Latencies {
    p99: f64,
    p999: f64,
}

/// Gets of the entries that stay, each timed.
struct Reader<'a> {
    scope: &'a Scope,
    random: Random,
    nanos: Vec<u32>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let cache: Cache = Cache::builder()
            .max_bytes(1 << 30)
            .expected_entries((STAYING + EXPIRING) as usize)
            .tick(TICK)
            .build()
            .expect("the settings are valid");
        let scope = cache.user("reader").expect("the id is valid");
        for key in 0..STAYING {
            scope.set(key.to_be_bytes(), &VALUE).expect("there is room");
        }
        let deadline = Instant::now() + LEAD;
        let guests = cache.user("guests").expect("the id is valid");
        for key in 0..EXPIRING {
            let options = SetOptions::new().ttl(deadline.duration_since(Instant::now()));
            guests.set_with(key.to_be_bytes(), &VALUE, options).expect("there is room");
        }
        let mut reader = Reader { scope: &scope, random: Random::new(seed), nanos: Vec::new() };

        let end = Instant::now() + PEACE;
        assert!(end < deadline, "the entries took too long to store");
        while Instant::now() < end {
            reader.gets(GETS_A_LOOK);
        }
        let idle = reader.latencies();

        while Instant::now() < deadline {
            std::hint::spin_loop();
        }
        let (mut first, mut most) = (None, None);
        loop {
            reader.gets(GETS_A_LOOK);
            let left = cache.stats().entries - STAYING;
            if left < EXPIRING {
                first.get_or_insert_with(Instant::now);
            } else {
                // They wait for their tick: that is peace, too.
                reader.nanos.clear();
            }
            if left <= EXPIRING / 100 {
                most.get_or_insert_with(Instant::now);
            }
            if left == 0 {
                break;
            }
        }
        let expiring = reader.latencies();
        let millis = |from: Instant, to: Option<Instant>| {
            to.map_or(f64::NAN, |to| to.duration_since(from).as_secs_f64() * 1e3)
        };
        Self {
            idle,
            expiring,
            lag_p99_ms: millis(deadline, most),
            drain_ms: millis(first.unwrap_or(deadline), Some(Instant::now())),
        }
    }
}

impl Reader<'_> {
    fn gets(&mut self, number: usize) {
        for _ in 0..number {
            let key = self.random.below(STAYING as usize) as u64;
            let start = Instant::now();
            let item = self.scope.get(key.to_be_bytes()).expect("open");
            let nanos = start.elapsed().as_nanos();
            assert!(item.is_some(), "an entry without a TTL has gone");
            self.nanos.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        }
    }

    /// Of the gets since the last call.
    fn latencies(&mut self) -> Latencies {
        let mut nanos = std::mem::take(&mut self.nanos);
        nanos.sort_unstable();
        let at = |part: f64| f64::from(nanos[((nanos.len() - 1) as f64 * part) as usize]);
        Latencies { p99: at(0.99), p999: at(0.999) }
    }
}
