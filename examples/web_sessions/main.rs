//! A web server with logins, a page of the user's devices, and "log out everywhere".
//!
//! ```sh
//! cargo run --release --features examples --example web_sessions                 # then open the address
//! cargo run --release --features examples --example web_sessions -- --measure    # figures, no server
//! ```
//!
//! `--port N` listens there instead of on a free port. Accounts: `ada` with the password `lovelace`, `bob` with
//! `builder`. Open it in two browsers, log in as the same user, and log out everywhere in one of them.
//!
//! `--measure` logs out users with 10,000 sessions each, one after another, and prints how long that takes
//! until the sessions are invisible, beside the engine's own deletion, and what a sweep takes to give their room
//! back; the status is 1 where the median is more than a microsecond.

mod app;
mod page;

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_login::tower_sessions::ExpiredDeletion;
use scopecache::{Cache, Namespace, OnFull, Page, Removed, WebSessions};

/// How long the heads of sessions that were logged out stay at most.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

const SESSIONS: usize = 10_000;
const USERS: usize = 21;
const MOST_NS: u128 = 1000;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut measured) = (0, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                port = number.ok_or("--port needs a number from 0 (any free port) to 65535")?;
            }
            "--measure" => measured = true,
            other => {
                return Err(format!("unknown argument {other}; known: --port N, --measure").into());
            }
        }
    }
    // A session that is there must not make room for another: a full store refuses logins.
    let cache: Cache = Cache::builder().max_bytes(256 << 20).on_full(OnFull::Reject).build()?;
    let sessions = WebSessions::new(Arc::new(cache.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if measured {
        return runtime.block_on(measure(&cache, &sessions));
    }
    runtime.block_on(serve(sessions, port))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(sessions: WebSessions, port: u16) -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let swept = tokio::spawn(sweep_at_intervals(sessions.clone()));
    let stop = async {
        // Without the signal there is only the hard way to stop.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, app::router(sessions)).with_graceful_shutdown(stop).await?;
    swept.abort();
    Ok(())
}

/// Not `continuously_delete_expired`, which gives up at the first error.
async fn sweep_at_intervals(sessions: WebSessions) {
    let mut interval = tokio::time::interval(SWEEP_EVERY);
    loop {
        interval.tick().await;
        if let Err(why) = sessions.delete_expired().await {
            eprintln!("{why}; the next sweep does it");
        }
    }
}

async fn measure(cache: &Cache, sessions: &WebSessions) -> Result<ExitCode, Box<dyn Error>> {
    let users: Vec<String> = (0..USERS).map(|user| format!("user-{user}")).collect();
    log_in(sessions, &users).await?;
    let bytes = cache.stats().live_bytes / (USERS * SESSIONS) as u64;
    println!(
        "{USERS} users with {SESSIONS} sessions of {bytes} bytes each are logged out, one after another"
    );
    let mut times = Vec::new();
    for user in &users {
        let started = Instant::now();
        let removed = sessions.logout_everywhere(user).await?;
        times.push(started.elapsed().as_nanos());
        check_gone(sessions, user, removed).await?;
    }
    let median = tell("through the store", times);
    sweep(cache, sessions, 0).await?;

    // Without the layers between: what is theirs, and what is the engine's.
    log_in(sessions, &users).await?;
    let mut times = Vec::new();
    for (index, user) in users.iter().enumerate() {
        let started = Instant::now();
        let removed = cache.delete_namespace(Namespace::User { user })?;
        times.push(started.elapsed().as_nanos());
        check_gone(sessions, user, removed).await?;
        if index == 0 {
            // Those that live are looked at, and stay.
            sweep(cache, sessions, (USERS - 1) * SESSIONS).await?;
        }
    }
    tell("the engine's own deletion", times);
    sweep(cache, sessions, 0).await?;
    Ok(if median <= MOST_NS { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sweeps as a server does, and checks that the heads of those that live are all that is left.
async fn sweep(cache: &Cache, sessions: &WebSessions, live: usize) -> Result<(), Box<dyn Error>> {
    let keys = |cache: &Cache| cache.keys(Namespace::Global).map(|keys| keys.len());
    // What was deleted is freed by the engine itself, out of anybody's time.
    while cache.maintain(10_000).pending {}
    let (heads, bytes) = (keys(cache)?, cache.stats().live_bytes);
    let started = Instant::now();
    sessions.delete_expired().await?;
    let took = started.elapsed();
    // The last of them have yet an instant to live.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(keys(cache)?, live, "no head is left but of who is logged in");
    // And the engine's clock has to tick, so that it frees them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    while cache.maintain(10_000).pending {}
    let freed = bytes.saturating_sub(cache.stats().live_bytes);
    let gone = heads - live;
    println!(
        "a sweep of {heads} heads, {gone} of them of sessions that ended: {} ms, {} KiB given back",
        took.as_millis(),
        freed >> 10,
    );
    Ok(())
}

async fn log_in(sessions: &WebSessions, users: &[String]) -> Result<(), Box<dyn Error>> {
    for user in users {
        app::pretend_devices(sessions, user, SESSIONS).await?;
    }
    Ok(())
}

async fn check_gone(
    sessions: &WebSessions,
    user: &str,
    removed: Removed,
) -> Result<(), Box<dyn Error>> {
    assert_eq!(removed.entries, SESSIONS as u64, "all of them");
    let left = sessions.sessions_of(user, Page::new(1)).await?;
    assert!(left.sessions.is_empty(), "none is left");
    Ok(())
}

/// Prints the times of calls, in nanoseconds; answers their median.
fn tell(what: &str, times: Vec<u128>) -> u128 {
    let first = times[0];
    let mut sorted = times;
    sorted.sort_unstable();
    let (median, most) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    println!(
        "{what}: invisible after {median} ns (median), {} ns at best, {most} ns at worst; \
         {first} ns the first time, when the processor has not come by that code for long",
        sorted[0]
    );
    median
}
