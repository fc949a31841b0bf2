//! Serves a real trace from a cache, then deletes sessions and users and proves it.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! The trace (data/build-trace.txt.zst) holds the file look-ups of a real parallel build:
//! each crate is a user, each process of the compiler a session. Two threads replay it
//! until some ten million look-ups are done, with new users each round. What is printed is
//! measured in this run; a proof that fails ends it with status 1.

#[path = "support/deletes.rs"]
mod deletes;
#[path = "support/histogram.rs"]
mod histogram;
#[path = "support/progress.rs"]
mod progress;
#[path = "support/replay.rs"]
mod replay;
#[path = "support/trace.rs"]
mod trace;

use std::{collections::HashSet, error::Error, path::PathBuf, process::ExitCode, time::Duration};

use scopecache::{Cache, OnFull};

use crate::{
    deletes::{Deletion, Stock},
    replay::Outcome,
    trace::{Event, Trace},
};

const HELP: &str = "\
Replays a trace of requests against scopecache, then deletes sessions and users.

usage: quickstart [--trace FILE] [--requests N]

  --trace FILE   a trace, plain or zstd: `key size ttl op owner t` a line, or the format of
                 data/build-trace.txt.zst, which is replayed without this option
  --requests N   look-ups to replay at least; whole rounds of the trace (default 10000000)
  --help         this text";

/// Users whose deletion is timed for the median.
const USERS_DELETED: usize = 100;
/// Users of 10 and of 100,000 entries that are built and deleted, each.
const BUILT_ROUNDS: usize = 11;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("quickstart: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let trace = arguments.trace.as_deref().map_or_else(Trace::recorded, Trace::open)?;
    let rounds = arguments.requests.div_ceil(trace.lookups).max(1);
    println!(
        "trace      {} look-ups, {} users, {} owners of keys, {} keys; {rounds} rounds, 2 threads",
        grouped(trace.lookups),
        grouped(trace.users.len() as u64),
        grouped(trace.owners.len() as u64),
        grouped(trace.keys.len() as u64),
    );
    let need = Need::of(&trace);
    let cache: Cache = Cache::builder()
        .max_bytes(need.bytes)
        .expected_entries(need.entries)
        .on_full(OnFull::Reject)
        .build()?;

    let outcome = replay::replay(&cache, &trace, rounds)?;
    show_replay(&outcome);
    if outcome.wrong > 0 {
        return Err(format!("{} hits had somebody else's value", outcome.wrong).into());
    }

    let mut stock = Stock::take(&cache, &trace, rounds - 1)?;
    let stats = cache.stats();
    let overhead = overhead_bytes_per_entry(stats.live_bytes, &stock);
    println!(
        "held       {} users, {} sessions, {} entries; {} MiB in use, {overhead:.1} bytes an entry \
         beside key and value",
        grouped(stats.users),
        grouped(stats.sessions),
        grouped(stats.entries),
        cache.used_bytes() >> 20,
    );
    let used_bytes = cache.used_bytes();

    let (name, deletion) = stock.delete_largest_session()?;
    show_deletion("session", &name, &deletion);
    let (name, deletion) = stock.delete_largest_user()?;
    show_deletion("user", &name, &deletion);
    let reclaim_ms = deletion.reclaimed.as_secs_f64() * 1e3;

    let mut times = stock.delete_users(USERS_DELETED)?;
    let of_trace = times.len();
    times.extend(deletes::delete_built_users(&cache, USERS_DELETED - of_trace)?);
    let delete_user = deletes::median(times);
    let (small, large) = deletes::small_and_large(&cache, BUILT_ROUNDS)?;
    println!(
        "deletes    {} ns median of {USERS_DELETED} users ({of_trace} of the trace); \
         10 entries {} ns, 100,000 entries {} ns (medians of {BUILT_ROUNDS})",
        delete_user.as_nanos(),
        small.as_nanos(),
        large.as_nanos(),
    );
    println!("proved     every deleted key reads as absent, every other key still reads its value");

    let figures = [
        ("requests", outcome.requests.to_string()),
        ("ops_per_s", format!("{:.0}", outcome.requests_per_s())),
        ("hit_ratio", format!("{:.4}", outcome.hit_ratio())),
        ("get_p50_ns", outcome.gets.percentile_ns(500).to_string()),
        ("get_p99_ns", outcome.gets.percentile_ns(990).to_string()),
        ("get_p999_ns", outcome.gets.percentile_ns(999).to_string()),
        ("users", stats.users.to_string()),
        ("sessions", stats.sessions.to_string()),
        ("used_bytes", used_bytes.to_string()),
        ("overhead_bytes_per_entry", format!("{overhead:.1}")),
        ("delete_user_median_ns", delete_user.as_nanos().to_string()),
        ("delete_user_10_ns", small.as_nanos().to_string()),
        ("delete_user_100k_ns", large.as_nanos().to_string()),
        ("reclaim_ms", format!("{reclaim_ms:.3}")),
        ("rejected", outcome.rejected.to_string()),
    ];
    let figures = figures.map(|(name, figure)| format!("\"{name}\":{figure}"));
    println!("{{{}}}", figures.join(","));
    Ok(())
}

fn show_replay(outcome: &Outcome) {
    println!(
        "replayed   {} requests in {:.1} s: {:.2} million a second, hit ratio {:.1} %",
        grouped(outcome.requests),
        outcome.elapsed.as_secs_f64(),
        outcome.requests_per_s() / 1e6,
        outcome.hit_ratio() * 100.0,
    );
    println!(
        "get        p50 {} ns, p99 {} ns, p99.9 {} ns (one in 16 timed, reading the clock \
         included)",
        outcome.gets.percentile_ns(500),
        outcome.gets.percentile_ns(990),
        outcome.gets.percentile_ns(999),
    );
    println!(
        "meanwhile  {} sets ({} rejected), {} sessions and {} users deleted at their ends",
        grouped(outcome.sets),
        grouped(outcome.rejected),
        grouped(outcome.sessions_deleted),
        grouped(outcome.users_deleted),
    );
}

fn show_deletion(kind: &str, name: &str, deletion: &Deletion) {
    println!(
        "deleted    {kind} {name}: {} entries, {} KiB; invisible after {} ns, reclaimed after \
         {:.3} ms",
        grouped(deletion.entries as u64),
        deletion.payload_bytes >> 10,
        deletion.invisible.as_nanos(),
        deletion.reclaimed.as_secs_f64() * 1e3,
    );
}

/// What the cache uses beside keys and values: headers, nodes, index. Its base table, whose
/// size follows `expected_entries`, is apart.
fn overhead_bytes_per_entry(live_bytes: u64, stock: &Stock<'_>) -> f64 {
    live_bytes.saturating_sub(stock.payload_bytes()) as f64 / stock.entries().max(1) as f64
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The room that nothing is rejected in.
struct Need {
    bytes: u64,
    entries: usize,
}

impl Need {
    fn of(trace: &Trace) -> Self {
        /// More than the engine adds to an entry, its share of a namespace included.
        const OVERHEAD_BYTES: u64 = 256;
        /// The largest user that is built later.
        const BUILT_ENTRIES: u64 = 100_000;
        let mut seen = HashSet::new();
        let mut bytes = 0;
        for event in &trace.events {
            if let Event::Lookup(lookup) | Event::Write(lookup) = event
                && seen.insert((lookup.owner, lookup.key))
            {
                let key_bytes = trace.keys[lookup.key as usize].len() as u64;
                bytes += OVERHEAD_BYTES + key_bytes + u64::from(lookup.size_bytes);
            }
        }
        // Twice a round: what is deleted is counted until it is freed.
        let bytes = 2 * (bytes + BUILT_ENTRIES * OVERHEAD_BYTES) + (64 << 20);
        Self { bytes, entries: seen.len() + BUILT_ENTRIES as usize }
    }
}

struct Arguments {
    trace: Option<PathBuf>,
    requests: u64,
}

impl Arguments {
    /// The arguments, `None` if help is asked for; the error says what is wrong.
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut arguments = Self { trace: None, requests: 10_000_000 };
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--trace" => {
                    let file = given.next().ok_or("--trace needs the name of a file")?;
                    arguments.trace = Some(file.into());
                }
                "--requests" => {
                    let number = given.next().and_then(|number| number.parse().ok());
                    arguments.requests = number.ok_or("--requests needs a decimal number")?;
                }
                other => return Err(format!("no such argument: {other}")),
            }
        }
        Ok(Some(arguments))
    }
}

impl Outcome {
    fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.elapsed.max(Duration::from_nanos(1)).as_secs_f64()
    }

    fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests.max(1) as f64
    }
}
