//! Real threads do everything at once for a stated time: for sanitizers, which see what a run
//! does and nothing else.
//!
//! ```text
//! cargo run --release --example stress                     20 seconds
//! cargo run --release --example stress -- --seconds 5
//! ```
//!
//! One cache after another, each for a fifth of a second: full of byte strings and of typed
//! values, with short TTLs on the real clock, evictions, deletes of keys, sessions and users,
//! loads, borrowed reads, a driver thread or none, a close in the midst. After each, everything
//! must be whole. Status 1 if not.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{Cache, ErrorKind, IntoValue, Maintenance, Scope, SetOptions, Value};

const HELP: &str = "\
Does everything at once on real threads and checks that caches stay whole.

usage: stress [--seconds N]

  --seconds N   how long (default 20)
  --help        this text";

const THREADS: u64 = 3;
const ROUND: Duration = Duration::from_millis(200);
const MAX_BYTES: u64 = 256 << 10;
const MAX_RETIRED_BYTES: u64 = 8 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seconds = match arguments.as_slice() {
        [] => Some(20),
        ["--help"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["--seconds", number] => number.parse().ok().filter(|seconds| *seconds > 0),
        _ => None,
    };
    let Some(seconds) = seconds else {
        eprintln!("stress: what is meant by {arguments:?}?\n\n{HELP}");
        return ExitCode::from(2);
    };
    match run(Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(length: Duration) -> Result<(), Box<dyn Error>> {
    let (start, mut rounds, mut calls) = (Instant::now(), 0, 0);
    while start.elapsed() < length {
        let driven = rounds % 2 == 0;
        calls += match rounds % 3 {
            0 => round(builder::<scopecache::Blob>(driven).build()?, rounds, |size| {
                vec![7_u8; size]
            })?,
            1 => round(
                builder(driven).weigher(|text: &Arc<str>| text.len()).build()?,
                rounds,
                |size| Arc::<str>::from("x".repeat(size)),
            )?,
            _ => round(builder::<[u64; 16]>(driven).build()?, rounds, |size| [size as u64; 16])?,
        };
        rounds += 1;
        eprint!("\r{:5.1} s, {rounds} caches, {calls} calls", start.elapsed().as_secs_f64());
    }
    eprintln!();
    println!("{rounds} caches, {calls} calls, all whole");
    Ok(())
}

fn builder<V: Value>(driven: bool) -> scopecache::CacheBuilder<V> {
    Cache::<V>::builder()
        .max_bytes(MAX_BYTES)
        .max_retired_bytes(MAX_RETIRED_BYTES)
        .expected_entries(500)
        .tick(Duration::from_millis(10))
        .maintenance(if driven { Maintenance::Thread } else { Maintenance::Manual })
}

/// One cache; answers how many calls there were.
fn round<V, I>(cache: Cache<V>, seed: u64, value: fn(usize) -> I) -> Result<u64, Box<dyn Error>>
where
    V: Value,
    I: IntoValue<V>,
    Cache<V>: Send + Sync,
    Scope<V>: Send + Sync,
{
    let (ended, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let closes = seed % 4 == 3;
    thread::scope(|threads| {
        for thread in 0..THREADS {
            let (cache, ended, calls) = (&cache, &ended, &calls);
            threads.spawn(move || {
                let mut random = Random(seed << 8 | thread);
                let mut done = 0;
                // Relaxed: a flag and a figure.
                while !ended.load(Ordering::Relaxed) {
                    call(cache, &mut random, value);
                    done += 1;
                }
                calls.fetch_add(done, Ordering::Relaxed);
            });
        }
        thread::sleep(ROUND);
        if closes {
            cache.close();
        }
        // Relaxed: as above.
        ended.store(true, Ordering::Relaxed);
    });
    let stats = cache.stats();
    if stats.live_bytes > MAX_BYTES {
        return Err(format!("more than {MAX_BYTES} bytes: {stats:?}").into());
    }
    if !closes {
        // A driver would be in the midst of something: what it shares is checked when it is idle.
        cache.clear();
        let deadline = Instant::now() + Duration::from_secs(60);
        while cache.stats().entries > 0 {
            cache.maintain(1000);
            if Instant::now() > deadline {
                return Err(format!("not reclaimed: {:?}", cache.stats()).into());
            }
        }
        if seed % 2 == 1 {
            cache.validate()?;
        }
    }
    // Relaxed: the threads have been joined.
    Ok(calls.load(Ordering::Relaxed))
}

fn call<V: Value, I: IntoValue<V>>(cache: &Cache<V>, random: &mut Random, value: fn(usize) -> I) {
    let (user, session) = (format!("u{}", random.below(8)), format!("s{}", random.below(4)));
    let scope = match random.below(6) {
        0 => cache.global(),
        1 => cache.user(&user).expect("valid"),
        _ => cache.session(&user, &session).expect("valid"),
    };
    let key = format!("k{}", random.below(200));
    // Inline, shared, and now and then a large one.
    let size = [3, 100, 100, 900, 1500, 20_000][random.below(6) as usize];
    let ttl = Duration::from_millis(1 + random.below(120));
    let done = match random.below(24) {
        0..=4 => scope.set(&key, value(size)).map(drop),
        5..=7 => scope.set_with(&key, value(size), SetOptions::new().ttl(ttl)).map(drop),
        8 => {
            let sliding = SetOptions::new().ttl(ttl).sliding(4 * ttl);
            scope.set_with(&key, value(size), sliding).map(drop)
        }
        9..=12 => scope.get(&key).map(drop),
        13..=14 => {
            let guard = cache.pin();
            scope.get_ref(&key, &guard).map(|entry| {
                // Read twice, with another access between.
                let version = entry.as_ref().map(|entry| entry.version());
                let _ = scope.contains(&key);
                assert_eq!(version, entry.map(|entry| entry.version()));
            })
        }
        15 => scope.insert(&key, value(size)).map(drop),
        16 => scope.update(&key, |_| value(size)).map(drop),
        17 => scope.take(&key).map(drop),
        18 => scope.touch(&key, ttl).map(drop),
        19 => scope.delete(&key).map(drop),
        20 => scope.get_or_load(&key, || Ok::<_, scopecache::Error>(value(size))).map(drop),
        21 => scope.lease(&key).and_then(|lease| match size {
            3 => Ok(()),
            _ => lease.fulfil(value(size)).map(drop),
        }),
        22 => scope.keys().map(drop),
        _ if random.below(20) == 0 => scope.delete_all().map(drop),
        _ => {
            cache.maintain(64);
            Ok(())
        }
    };
    match done.map_err(|error| error.kind()) {
        Ok(()) | Err(ErrorKind::CapacityExceeded | ErrorKind::Conflict | ErrorKind::Closed) => {}
        Err(kind) => panic!("{kind:?}"),
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
