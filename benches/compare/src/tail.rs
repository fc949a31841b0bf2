//! Latencies of gets and sets at a fixed rate, in peace and while much is freed.
//!
//! A request is due at a moment that does not depend on how long others took, and its latency
//! counts from then on: whatever stalls the thread is counted for each request that it held up
//! (no coordinated omission). Every second request is a set.
//!
//! | scene | beside the requests |
//! |---|---|
//! | `idle` | nothing |
//! | `delete` | another thread deletes a user of many entries |
//! | `expire` | many entries of one deadline end |
//! | `evict` | another thread stores many new entries in a full cache |
//!
//! Each peer is alone in a process: what one has freed lies in the allocator until somebody merges it,
//! which would stall another.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use crate::args::{Flags, Usage};
use crate::bench::{Bench, Case, Metric, Sample, in_turn};
use crate::contender::{Contender, Form, Kind, Room};
use crate::data::{Dist, Names, Requests};
use crate::settings::{Defaults, MILLION, Settings};

pub(crate) const HELP: &str = "  \
tail: latencies of gets and sets at a fixed rate
    --entries N           that are deleted, expire or are evicted; 1_000_000
    --rate N              requests a second; 100_000
    --scene S,..          idle, delete, expire, evict
    --dist D,..           of the requests, to 100_000 entries that stay; zipf
    --seconds S           of each sample; 2, which is two ticks";

const STAYING: usize = 100_000;
const SCENES: [&str; 4] = ["idle", "delete", "expire", "evict"];
/// From the start of the requests until something happens.
const LEAD: Duration = Duration::from_millis(50);

const METRICS: [Metric; 6] = [
    ("p50_ns", "ns"),
    ("p90_ns", "ns"),
    ("p99_ns", "ns"),
    ("p999_ns", "ns"),
    ("p9999_ns", "ns"),
    ("max_ns", "ns"),
];
const QUANTILES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

struct Scene<'a> {
    name: &'a str,
    staying: &'a Names,
    guests: usize,
    rate: usize,
    sample: Duration,
}

/// Nanoseconds of gets and of sets.
struct Latencies {
    gets: Histogram<u64>,
    sets: Histogram<u64>,
}

pub(crate) fn run(flags: Flags) -> Result<()> {
    let mut kinds = Kind::plain();
    kinds.extend(Kind::deleting().into_iter().filter(|kind| kind.form == Form::Indexed));
    let defaults = Defaults { kinds, entries: &[MILLION], dists: &[Dist::Zipf], seconds: 2.0 };
    let (mut rate, mut scenes) = (100_000, SCENES.map(String::from).to_vec());
    let settings = Settings::parse_with(flags, defaults, |flag| {
        match &*flag.name {
            "rate" => rate = flag.quantity()? as usize,
            "scene" => {
                scenes = flag.list()?;
                if let Some(unknown) = scenes.iter().find(|scene| !SCENES.contains(&&***scene)) {
                    return Err(Usage::new(format!("no scene `{unknown}`")));
                }
            }
            _ => return Err(flag.unknown()),
        }
        Ok(())
    })?;
    let mut crates: Vec<_> = settings.kinds.iter().map(|kind| kind.krate).collect();
    crates.sort_unstable();
    crates.dedup();
    if crates.len() > 1 {
        return crates.iter().try_for_each(|krate| run_alone(krate));
    }
    let staying = Names::new(STAYING, "state");
    for scene in &scenes {
        let mut settings = settings.clone();
        settings.kinds.retain(|kind| plays(*kind, scene));
        if scene == "expire" {
            let crates: Vec<_> = settings.kinds.iter().map(|kind| kind.krate).collect();
            settings.kinds = Kind::expiring();
            settings.kinds.retain(|kind| crates.contains(&kind.krate));
        }
        let mut bench = Bench::new("tail", settings.clone())?;
        for &guests in &settings.entries {
            let sample = settings.sample;
            let scene = Scene { name: scene, staying: &staying, guests, rate, sample };
            for &dist in &settings.dists {
                let requests = dist.requests(STAYING, [settings.common.seed]).remove(0);
                scene.play(&mut bench, dist, &requests)?;
            }
        }
    }
    Ok(())
}

/// The same for one of the peers, in a process of its own.
fn run_alone(krate: &str) -> Result<()> {
    let program = env::current_exe().context("cannot find this program itself")?;
    let status = Command::new(program)
        .args(env::args_os().skip(1))
        .args(["--peers", krate])
        .status()
        .context("cannot start a process")?;
    if !status.success() {
        bail!("the process that ran {krate} ended with {status}");
    }
    Ok(())
}

/// Whether a contender can be in a scene.
fn plays(kind: Kind, scene: &str) -> bool {
    match scene {
        "idle" => Kind::plain().contains(&kind),
        "evict" => Kind::evicting().contains(&kind),
        "delete" => Kind::deleting().contains(&kind),
        // Another list: those that have a TTL.
        _ => true,
    }
}

impl Scene<'_> {
    fn play(&self, bench: &mut Bench, dist: Dist, requests: &Requests) -> Result<()> {
        let room = match self.name {
            "evict" => Room::bounded(STAYING),
            _ => Room::for_all(STAYING + self.guests),
        };
        let entrants = bench.filled(room, self.staying);
        let (rounds, mut number) = (bench.settings.rounds, 0);
        let rows = in_turn(&entrants, rounds, |entrant, round| {
            eprintln!("tail: {}, {}, {} of {rounds}", self.name, entrant.kind, round + 1);
            number += 1;
            self.sample(&*entrant.contender, number, requests.clone())
        });
        let kinds: Vec<Kind> = entrants.iter().map(|entrant| entrant.kind).collect();
        for op in ["get", "set"] {
            let of = |latencies: &Latencies| {
                figures(if op == "get" { &latencies.gets } else { &latencies.sets })
            };
            let rows: Vec<Vec<Sample>> =
                rows.iter().map(|row| row.iter().map(of).collect()).collect();
            let case = Case::new(self.guests, 1, dist)
                .with("scene", self.name)
                .with("op", op)
                .with("staying_entries", STAYING)
                .with("rate", self.rate);
            bench.add(&case, &METRICS, &kinds, &rows)?;
        }
        Ok(())
    }

    fn sample(&self, contender: &dyn Contender, number: u64, requests: Requests) -> Latencies {
        let guests = &Names::of_user(number, self.guests);
        match self.name {
            "delete" => {
                contender.put_all(guests);
                contender.settle();
            }
            "expire" => {
                // As long as the slowest takes to store them.
                let deadline = Instant::now() + Duration::from_micros(6 * self.guests as u64);
                for entry in 0..guests.entries() as u32 {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let ttl = left.max(Duration::from_millis(1));
                    assert!(contender.put_for(guests.of_entry(entry), ttl), "no TTL of its own");
                }
                thread::sleep(deadline.saturating_duration_since(Instant::now() + LEAD));
            }
            _ => {}
        }
        let over = &AtomicBool::new(false);
        let latencies = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(LEAD);
                match self.name {
                    "delete" => contender.delete_user(guests.of_entry(0).user),
                    // Relaxed: it ends the loop, it orders nothing.
                    "evict" => (0..guests.entries() as u32)
                        .take_while(|_| !over.load(Ordering::Relaxed))
                        .for_each(|entry| contender.put(guests.of_entry(entry))),
                    _ => {}
                }
            });
            let latencies = self.requests(contender, requests);
            over.store(true, Ordering::Relaxed);
            latencies
        });
        contender.settle_to(STAYING as u64);
        latencies
    }

    /// Makes a request whenever one is due.
    fn requests(&self, contender: &dyn Contender, mut requests: Requests) -> Latencies {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        let mut latencies = Latencies { gets: histogram(), sets: histogram() };
        let start = Instant::now();
        for number in 0..(self.sample.as_secs_f64() * self.rate as f64) as u64 {
            let due = Duration::from_nanos(number * 1_000_000_000 / self.rate as u64);
            while start.elapsed() < due {
                std::hint::spin_loop();
            }
            let entry = requests.next();
            let is_get = number % 2 == 0;
            if is_get {
                contender.get(self.staying, entry);
            } else {
                contender.set(self.staying, entry);
            }
            let nanos = (start.elapsed() - due).as_nanos() as u64;
            let histogram = if is_get { &mut latencies.gets } else { &mut latencies.sets };
            histogram.saturating_record(nanos);
        }
        latencies
    }
}

fn figures(histogram: &Histogram<u64>) -> Sample {
    let of = |quantile| histogram.value_at_quantile(quantile) as f64;
    Sample::Figures(QUANTILES.map(of).to_vec())
}
