//! What those who read notice of values that are loaded again and again, with and without
//! stale while revalidate.
//!
//! Two threads ask for keys at a fixed rate; a value is good for half a second, and loading one
//! takes a millisecond. A request is late by as long as it is answered after its time: who waits
//! delays what comes after. The last line is one JSON object, percentiles in microseconds:
//!
//! | field | way |
//! |---|---|
//! | `expire_*` | values expire; who asks first loads, and who asks then waits for it |
//! | `refresh_*` | `refresh_after`: who asks first loads, the others get the old value |
//! | `handed_*` | `get_refreshing`: another thread loads, all get the old value |
//! | `*_loads` | loads; each key and period has one |

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{Cache, Refresh, Scope};

mod support;

use crate::support::data::Random;

const THREADS: u64 = 2;
const KEYS: usize = 200;
const PERIOD: Duration = Duration::from_millis(500);
const LOAD: Duration = Duration::from_millis(1);
/// Between two requests of a thread.
const GAP: Duration = Duration::from_micros(100);
const TIME: Duration = Duration::from_secs(5);

fn main() {
    let ways = [("expire", Way::Expire), ("refresh", Way::Refresh), ("handed", Way::Handed)];
    let mut fields = Vec::new();
    for (name, way) in ways {
        let run = Run::new(way);
        eprintln!("{name}: {run:?}");
        fields.push(format!(
            "\"{name}_p50_us\":{:.1},\"{name}_p99_us\":{:.1},\"{name}_p999_us\":{:.1},\
             \"{name}_loads\":{}",
            run.p50, run.p99, run.p999, run.loads
        ));
    }
    println!("{{{}}}", fields.join(","));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Expire,
    Refresh,
    Handed,
}

/// Percentiles in microseconds.
#[derive(Debug)]
struct Run {
    p50: f64,
    p99: f64,
    p999: f64,
    loads: u64,
}

impl Run {
    fn new(way: Way) -> Self {
        let builder = Cache::builder().max_bytes(64 << 20);
        let builder = match way {
            Way::Expire => builder.default_ttl(PERIOD),
            _ => builder.refresh_after(PERIOD).default_ttl(20 * PERIOD),
        };
        let cache: Cache = builder.build().expect("the settings are valid");
        let scope = cache.user("reader").expect("the id is valid");
        for key in 0..KEYS {
            scope.set(key.to_be_bytes(), "first").expect("there is room");
        }
        let loads = AtomicU64::new(0);
        let (refreshes, work) = mpsc::channel::<Refresh>();
        let mut late = Vec::new();
        thread::scope(|threads| {
            let loads = &loads;
            threads.spawn(move || {
                for refresh in work {
                    refresh.fulfil(load(loads)).expect("there is room");
                }
            });
            let readers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (scope, refreshes) = (scope.clone(), refreshes.clone());
                    threads.spawn(move || {
                        let handed = (way == Way::Handed).then_some(&refreshes);
                        read(&scope, handed, Random::new(thread), loads)
                    })
                })
                .collect();
            drop(refreshes);
            for reader in readers {
                late.extend(reader.join().expect("no panic"));
            }
        });
        late.sort_unstable();
        let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize] as f64 / 1e3;
        // Relaxed: all have ended.
        let loads = loads.load(Ordering::Relaxed);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), loads }
    }
}

/// Asks at its times; answers by how many nanoseconds each answer came later.
fn read(
    scope: &Scope,
    handed: Option<&mpsc::Sender<Refresh>>,
    mut random: Random,
    loads: &AtomicU64,
) -> Vec<u64> {
    let mut late = Vec::with_capacity((TIME.as_nanos() / GAP.as_nanos()) as usize + 1);
    let start = Instant::now();
    let mut due = start;
    while due < start + TIME {
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let key = random.below(KEYS).to_be_bytes();
        match handed {
            Some(refreshes) => {
                let (_, refresh) = scope.get_refreshing(key).expect("open").expect("present");
                refresh.into_iter().for_each(|refresh| {
                    refreshes.send(refresh).expect("the loader lives");
                });
            }
            None => {
                let loader = || Ok::<_, Infallible>(load(loads));
                scope.get_or_load(key, loader).expect("there is room");
            }
        }
        late.push(due.elapsed().as_nanos() as u64);
        due += GAP;
    }
    late
}

/// As a database would.
fn load(loads: &AtomicU64) -> &'static str {
    // Relaxed: a statistic, orders nothing.
    loads.fetch_add(1, Ordering::Relaxed);
    thread::sleep(LOAD);
    "loaded"
}
