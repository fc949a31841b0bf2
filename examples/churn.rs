//! Makes and ends millions of short-lived sessions and shows that nothing stays behind.
//!
//! ```text
//! cargo run --release --example churn                          10,000,000 sessions
//! cargo run --release --example churn -- --sessions 200000     a short form
//! ```
//!
//! Two threads make sessions of three keys each, at most 10,000 alive at a time, eight to a
//! user, and end them in every way there is: the session deleted, its keys deleted or
//! taken one by one, the whole user deleted. At the end every node, handle and counter must
//! be back to zero, and resident memory as large as it was after a tenth. Status 1 if not.

#[path = "support/progress.rs"]
mod progress;

use std::{
    collections::VecDeque,
    error::Error,
    fs,
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use scopecache::{Cache, OnFull, Result as CacheResult, Scope, SetOptions};

use crate::progress::Progress;

const HELP: &str = "\
Makes and ends short-lived sessions and checks that nothing of them is left.

usage: churn [--sessions N]

  --sessions N   sessions in all (default 10000000, at least 100000)
  --help         this text";

const THREADS: usize = 2;
const ALIVE: usize = 10_000;
const SESSIONS_OF_USER: u64 = 8;
const KEYS: [&str; 3] = ["state", "cart", "token"];
const VALUE: [u8; 64] = [0x5c; 64];
const TTL: Duration = Duration::from_secs(600);
/// Fewer sessions would be over before memory has settled at a tenth.
const LEAST_SESSIONS: u64 = 100_000;
const MAX_BYTES: u64 = 64 << 20;
const OVERFLOW_LINE_BYTES: u64 = 64;

/// Resident memory at the end may be this much above that at a tenth.
const TOLERANCE_PERCENT: u64 = 10;
const TOLERANCE_BYTES: u64 = 8 << 20;

fn main() -> ExitCode {
    let sessions = match sessions_to_make(std::env::args().skip(1)) {
        Ok(Some(sessions)) => sessions,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("churn: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(sessions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("churn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(sessions: u64) -> Result<(), Box<dyn Error>> {
    let cache: Cache = Cache::builder()
        .max_bytes(MAX_BYTES)
        .expected_entries(ALIVE * KEYS.len())
        .on_full(OnFull::Reject)
        .build()?;
    let idle_bytes = cache.stats().live_bytes;
    let started = Instant::now();
    let resident = churn(&cache, sessions)?;
    let elapsed = started.elapsed();
    println!(
        "made       {sessions} sessions of {} keys in {:.1} s: {:.2} million sessions a second",
        KEYS.len(),
        elapsed.as_secs_f64(),
        sessions as f64 / elapsed.as_secs_f64() / 1e6,
    );
    let mebibytes = resident.map(|bytes| bytes as f64 / f64::from(1 << 20));
    println!(
        "resident   {:.1} MiB at 10 %, {:.1} MiB at 50 %, {:.1} MiB at 100 % \
         (allowed: {TOLERANCE_PERCENT} % and {} MiB above the first)",
        mebibytes[0],
        mebibytes[1],
        mebibytes[2],
        TOLERANCE_BYTES >> 20,
    );

    let left = settle(&cache);
    let faults = faults(&cache, &left, idle_bytes, resident);
    println!(
        "left       {} entries, {} users, {} sessions, {} bytes live, {} bytes retired",
        left.entries,
        left.users,
        left.sessions,
        left.live_bytes - idle_bytes,
        left.retired_bytes,
    );
    println!(
        "{{\"sessions\":{sessions},\"keys\":{},\"seconds\":{:.3},\"sessions_per_s\":{:.0},\
         \"resident_10_bytes\":{},\"resident_50_bytes\":{},\"resident_100_bytes\":{},\
         \"left_entries\":{},\"left_users\":{},\"left_sessions\":{},\"left_live_bytes\":{},\
         \"left_retired_bytes\":{},\"ok\":{}}}",
        sessions * KEYS.len() as u64,
        elapsed.as_secs_f64(),
        sessions as f64 / elapsed.as_secs_f64(),
        resident[0],
        resident[1],
        resident[2],
        left.entries,
        left.users,
        left.sessions,
        left.live_bytes - idle_bytes,
        left.retired_bytes,
        faults.is_empty(),
    );
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ").into()) }
}

/// Makes and ends the sessions; resident bytes at 10 %, 50 % and 100 %.
fn churn(cache: &Cache, sessions: u64) -> CacheResult<[u64; 3]> {
    let made = AtomicU64::new(0);
    let all_made = Barrier::new(THREADS + 1);
    let measured = Barrier::new(THREADS + 1);
    let mut resident = [0; 3];
    thread::scope(|scope| {
        let handles: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                let (made, all_made, measured) = (&made, &all_made, &measured);
                scope.spawn(move || {
                    let mut alive = VecDeque::with_capacity(ALIVE / THREADS);
                    let mine = (thread..sessions).step_by(THREADS);
                    let outcome = make(cache, mine, &mut alive, made);
                    // Also after a failure: the others wait for this thread.
                    all_made.wait();
                    measured.wait();
                    outcome?;
                    alive.drain(..).try_for_each(Session::end)
                })
            })
            .collect();

        let mut progress = Progress::new("sessions", sessions);
        for (slot, percent) in resident.iter_mut().zip([10, 50]) {
            loop {
                // Relaxed: a figure to show, orders nothing.
                let done = made.load(Ordering::Relaxed);
                progress.show(done);
                if done >= sessions * percent / 100 || handles.iter().any(|h| h.is_finished()) {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
            *slot = resident_bytes();
        }
        all_made.wait();
        resident[2] = resident_bytes();
        progress.finish();
        measured.wait();
        handles.into_iter().try_for_each(|handle| handle.join().expect("no panic"))
    })?;
    Ok(resident)
}

/// Makes one thread's sessions; the oldest ends when there are too many.
fn make(
    cache: &Cache,
    numbers: impl Iterator<Item = u64>,
    alive: &mut VecDeque<Session>,
    made: &AtomicU64,
) -> CacheResult<()> {
    for number in numbers {
        if alive.len() == ALIVE / THREADS
            && let Some(oldest) = alive.pop_front()
        {
            oldest.end()?;
        }
        alive.push_back(Session::make(cache, number)?);
        // Relaxed: a figure to show, orders nothing.
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

struct Session {
    number: u64,
    user: String,
    scope: Scope,
    cache: Cache,
}

impl Session {
    fn make(cache: &Cache, number: u64) -> CacheResult<Self> {
        let user = format!("user {}", number / SESSIONS_OF_USER);
        let scope = cache.session(&user, &format!("session {number}"))?;
        for key in KEYS {
            scope.set_with(key, &VALUE, SetOptions::new().ttl(TTL))?;
        }
        Ok(Self { number, user, scope, cache: cache.clone() })
    }

    /// Ends the session in one of the ways there are, chosen by its number.
    fn end(self) -> CacheResult<()> {
        match self.number % SESSIONS_OF_USER {
            0 | 1 => KEYS.iter().try_for_each(|key| self.scope.delete(key).map(drop)),
            2 | 3 => KEYS.iter().try_for_each(|key| self.scope.take(key).map(drop)),
            // The last of a user: whatever the other thread still has of it goes too.
            7 => self.cache.user(&self.user)?.delete_all().map(drop),
            _ => self.scope.delete_all().map(drop),
        }
    }
}

/// What the cache holds after it had the time to free everything.
struct Left {
    entries: u64,
    users: u64,
    sessions: u64,
    live_bytes: u64,
    retired_bytes: u64,
}

fn settle(cache: &Cache) -> Left {
    /// Time enough; what is left then is left for good.
    const LIMIT: Duration = Duration::from_secs(10);
    let started = Instant::now();
    loop {
        let pending = cache.maintain(4096).pending;
        let stats = cache.stats();
        if (!pending && stats.retired_bytes == 0) || started.elapsed() > LIMIT {
            return Left {
                entries: stats.entries,
                users: stats.users,
                sessions: stats.sessions,
                // The table keeps the overflow lines that it once got.
                live_bytes: stats.live_bytes - OVERFLOW_LINE_BYTES * stats.overflow_lines,
                retired_bytes: stats.retired_bytes,
            };
        }
    }
}

/// Everything that is not as it was before the first session.
fn faults(cache: &Cache, left: &Left, idle_bytes: u64, resident: [u64; 3]) -> Vec<String> {
    let mut faults = Vec::new();
    let counters = [
        ("entries", left.entries),
        ("users", left.users),
        ("sessions", left.sessions),
        ("live bytes", left.live_bytes.abs_diff(idle_bytes)),
        ("retired bytes", left.retired_bytes),
    ];
    for (what, count) in counters {
        if count > 0 {
            faults.push(format!("{count} {what} are left"));
        }
    }
    match cache.users() {
        Ok(users) if users.is_empty() => {}
        Ok(users) => faults.push(format!("{} users are still listed", users.len())),
        Err(error) => faults.push(format!("users cannot be listed: {error}")),
    }
    if let Err(broken) = cache.validate() {
        faults.push(format!("validate: {broken:?}"));
    }
    let allowed = resident[0] + resident[0] * TOLERANCE_PERCENT / 100 + TOLERANCE_BYTES;
    if resident[2] > allowed {
        let (first, last) = (resident[0], resident[2]);
        faults.push(format!("resident memory grew from {first} to {last} bytes"));
    }
    faults
}

/// Resident memory of this process; 0 where the system has no /proc.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kibibytes.unwrap_or(0_u64) << 10
}

/// The number of sessions asked for, `None` if help is; the error says what is wrong.
fn sessions_to_make(mut given: impl Iterator<Item = String>) -> Result<Option<u64>, String> {
    let mut sessions = 10_000_000;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--sessions" => {
                let number = given.next().and_then(|number| number.parse().ok());
                sessions = number.filter(|&number| number >= LEAST_SESSIONS).ok_or_else(|| {
                    format!("--sessions needs a number, {LEAST_SESSIONS} at least")
                })?;
            }
            other => return Err(format!("no such argument: {other}")),
        }
    }
    Ok(Some(sessions))
}
