//! Values loaded on a miss: by one, and by a stampede.
//!
//! | op | what is timed |
//! |---|---|
//! | `hit` | the call where there is a value |
//! | `miss` | the call with a loader that costs nothing; each key is asked for once |
//! | `stampede` | 8 threads ask for one absent key at once, the loader takes a millisecond: until all have it, and how often it was loaded |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric, NS_PER_OP, Sample};
use crate::contender::{Contender, Kind, Loader, Room};
use crate::data::{Dist, Names, Requests};
use crate::settings::{Defaults, Settings};
use crate::timing::{nanos_of, per_op};

pub(crate) const HELP: &str = "  \
load: values loaded on a miss, by one thread and by a stampede of 8
    --entries N,..        100_000
    --dist D,..           of the hits; zipf
    --seconds S           of each sample of hits; 0.2";

const CALLERS: usize = 8;
const STAMPEDES: usize = 20;
const LOAD_TAKES: Duration = Duration::from_millis(1);
/// Keys that are loaded in one sample of `miss`.
const MISSES: usize = 10_000;

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::ALL.to_vec(),
        entries: &[100_000],
        dists: &[Dist::Zipf],
        seconds: 0.2,
    };
    let settings = Settings::parse(flags, defaults)?;
    // foyer loads on a Tokio runtime alone.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let _entered = runtime.enter();
    let mut bench = Bench::new("load", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        let absent = &Names::new(entries, "other");
        let order = absent.shuffled(5);
        let misses = &order[..MISSES.min(order.len())];
        let entrants = bench.filled(Room::for_all(entries + misses.len()), names);
        for &dist in &settings.dists {
            let sequences = dist.requests(names.entries(), [settings.common.seed]);
            let case = Case::new(entries, 1, dist).with("op", "hit");
            bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
                let contender = &entrant.contender;
                let nothing: Loader = Arc::new(|| unreachable!("it is there"));
                let loads = |requests: &mut Requests, ops| {
                    (0..ops).for_each(|_| contender.load(names, requests.next(), &nothing));
                    ops
                };
                per_op(settings.sample, &mut sequences.clone(), loads).into()
            })?;
        }
        let case = Case::new(entries, 1, Dist::Uniform).with("op", "miss");
        bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
            let contender = &entrant.contender;
            let free: Loader = Arc::new(|| ());
            let load = |&entry| contender.load(absent, entry, &free);
            let nanos = nanos_of(|| misses.iter().for_each(load)) / misses.len() as f64;
            contender.delete_all(absent, misses);
            nanos.into()
        })?;
        let case = Case::new(entries, CALLERS, Dist::Uniform)
            .with("op", "stampede")
            .with("load_ns", LOAD_TAKES.as_nanos() as u64);
        const METRICS: [Metric; 2] = [NS_PER_OP, ("loads_per_key", "loads")];
        let keys = &misses[..STAMPEDES.min(misses.len())];
        bench.case(&case, &METRICS, &entrants, |entrant, _| {
            stampede(&*entrant.contender, absent, keys, &runtime)
        })?;
    }
    Ok(())
}

/// Nanoseconds until all callers have the value, and loads, of one key.
fn stampede(
    contender: &dyn Contender,
    names: &Names,
    keys: &[u32],
    runtime: &tokio::runtime::Runtime,
) -> Sample {
    let (loads, barrier) = (Arc::new(AtomicU64::new(0)), Barrier::new(CALLERS));
    let counted = Arc::clone(&loads);
    let loader: Loader = Arc::new(move || {
        // Relaxed: a figure, read after the threads were joined.
        counted.fetch_add(1, Ordering::Relaxed);
        thread::sleep(LOAD_TAKES);
    });
    let call = || {
        let _entered = runtime.enter();
        let mut nanos = 0.0;
        for &key in keys {
            barrier.wait();
            let start = Instant::now();
            contender.load(names, key, &loader);
            // The last of them to have it.
            barrier.wait();
            nanos += start.elapsed().as_nanos() as f64;
        }
        nanos / keys.len() as f64
    };
    let times: Vec<f64> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().expect("no caller panics")).collect()
    });
    contender.delete_all(names, keys);
    let mean = times.iter().sum::<f64>() / CALLERS as f64;
    // Relaxed: all callers were joined.
    Sample::Figures(vec![mean, loads.load(Ordering::Relaxed) as f64 / keys.len() as f64])
}
