//! The suite of all storages on real servers. `scripts/backends test` starts them and says where
//! they are; without that there is nothing to try, and this fails.

#[path = "backends/access.rs"]
mod access;
#[path = "backends/cluster.rs"]
mod cluster;
#[cfg(feature = "examples")]
#[path = "support/tower_mcp_contracts.rs"]
mod contracts;
#[path = "backends/faults.rs"]
mod faults;
#[path = "backends/lab.rs"]
mod lab;
#[path = "support/load.rs"]
mod load;
#[path = "support/ports.rs"]
mod ports;
#[path = "backends/sentinel.rs"]
mod sentinel;
#[path = "backends/server.rs"]
mod server;
#[path = "backends/sql.rs"]
mod sql;
#[path = "backends/steps.rs"]
mod steps;
#[cfg(feature = "examples")]
#[path = "backends/tower_mcp.rs"]
mod tower_mcp;
#[cfg(feature = "tower_sessions_0_15")]
#[path = "backends/web_sessions.rs"]
mod web_sessions;

use std::sync::{Mutex, PoisonError};
use std::thread;

use lab::{RedisLab, servers};
use load::Outcome;
use scopecache::conformance::{Lab, Matrix, Report, run};
use server::{Fault, Server};
use sql::SqlLab;

/// Of the tests that start servers of their own, one runs at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_server_passes_every_case() {
    let servers = servers();
    let reports: Vec<Report> = thread::scope(|scope| {
        let runs: Vec<_> =
            servers.iter().map(|(name, url)| scope.spawn(move || run(name, &*lab(url)))).collect();
        runs.into_iter().map(|run| run.join().expect("the suite does not panic")).collect()
    });
    println!("{}", Matrix(&reports));
    for report in &reports {
        println!("{report}");
    }
    assert!(reports.iter().all(Report::passed), "see the matrix");
}

#[cfg(feature = "tower_sessions_0_15")]
#[test]
fn web_sessions_that_were_logged_out_leave_nothing() {
    for (name, url) in servers() {
        println!("web sessions on {name}");
        let lab = lab(&url);
        let store = lab.store().expect("a place of its own");
        lab.block_on(Box::pin(web_sessions::nothing_is_left_of_the_logged_out(store)));
    }
}

#[cfg(feature = "examples")]
#[test]
fn contracts_of_tower_mcp_hold() {
    let servers = servers();
    thread::scope(|scope| {
        let runs: Vec<_> = servers
            .iter()
            .map(|(name, url)| scope.spawn(move || tower_mcp::contracts_hold(name, &*lab(url))))
            .collect();
        runs.into_iter().for_each(|run| run.join().expect("the contracts hold"));
    });
}

#[test]
fn calls_cost_what_is_documented_and_leave_nothing_behind() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    on_all("steps", |server| async move {
        steps::calls_take_the_documented_round_trips(&server).await;
        steps::closing_gives_the_connection_up(&server).await;
        steps::what_expired_hides_no_session(&server).await;
        steps::sessions_that_ended_are_forgotten(&server).await;
        steps::others_finish_what_a_dead_client_left(&server).await;
    });
}

#[test]
fn faults_lose_nothing_and_bring_nothing_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let outcomes: Vec<Outcome> = [
        on_all("killed", faults::killed),
        on_all("cut", faults::cut),
        on_all("paused", faults::paused),
        on_all("full", faults::full),
        on_all("demoted", faults::demoted),
        on_all("forgetful", faults::forgetful),
        on_all("two", faults::two_deleters),
    ]
    .into_iter()
    .flatten()
    .chain(off_by_a_day())
    .collect();
    show(&outcomes);
    // What would be seen if something were lost: this server writes nothing down.
    let forgets = Server::start("redis-7.0", "control", &["--appendonly", "no"]);
    assert!(!runtime().block_on(faults::killed(forgets)).passed(), "a loss is not noticed");
}

#[test]
fn clusters_and_what_sentinels_watch_change_and_lose_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let abandoned = scope.spawn(|| runtime().block_on(cluster::abandoned("redis-7.0")));
        let failed_over = [Fault::Killed, Fault::Paused].map(|fault| {
            scope.spawn(move || runtime().block_on(cluster::failed_over("redis-7.0", fault)))
        });
        let moving = ["redis-7.0", "redis-8.2", "valkey-8"]
            .map(|name| scope.spawn(move || runtime().block_on(cluster::moving(name))));
        let watched = [Fault::Killed, Fault::Paused].map(|fault| {
            scope.spawn(move || runtime().block_on(sentinel::failed_over("redis-7.0", fault)))
        });
        let cut = scope.spawn(|| runtime().block_on(cluster::cut("redis-7.0")));
        cut.join().expect("nothing is carried out twice");
        abandoned.join().expect("nothing is left for ever");
        let trials = moving.into_iter().chain(failed_over).chain(watched);
        trials.map(|trial| trial.join().expect("the trial passes")).collect()
    });
    show(&outcomes);
}

#[test]
fn who_may_not_is_told_why() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    on_all("refused", |server| async move {
        access::documented_rights_suffice(&server).await;
        cluster::urls_are_told_apart(server.name()).await;
        sentinel::urls_are_told_apart(server.name()).await;
        access::refusals_say_what_to_do(server).await;
    });
    for name in ["redis-7.0", "valkey-8"] {
        runtime().block_on(access::through_tls(name));
    }
    runtime().block_on(cluster::through_tls("redis-7.0"));
    runtime().block_on(sentinel::through_tls("redis-7.0"));
}

fn show(outcomes: &[Outcome]) {
    println!("fault                server     acknowledged   lost resurrections  s to recover");
    for outcome in outcomes {
        println!("{outcome}");
    }
    assert!(outcomes.iter().all(Outcome::passed), "see the table");
}

/// The servers whose allocator is their own: the one that Debian's are linked to and the library that
/// makes a clock wrong wait for each other.
fn off_by_a_day() -> Vec<Outcome> {
    let trials = ["redis-6.2", "redis-8.2"].map(|name| {
        [("+1d", "clock a day ahead"), ("-1d", "clock a day behind")]
            .map(|(skew, fault)| runtime().block_on(faults::off_by_a_day(name, skew, fault)))
    });
    trials.into_iter().flatten().collect()
}

/// Runs a trial on a server of its own of each kind, side by side.
fn on_all<T: Send, F: Future<Output = T>>(
    purpose: &str,
    trial: impl Fn(Server) -> F + Sync,
) -> Vec<T> {
    let servers = servers();
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (name, _) in servers.iter().filter(|(_, url)| url.starts_with("redis:")) {
            let trial = &trial;
            let run = thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || {
                let server = Server::start(name, purpose, &[]);
                runtime().block_on(trial(server))
            });
            runs.push(run.expect("a thread"));
        }
        runs.into_iter().map(|run| run.join().expect("the trial passes")).collect()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("threads and a timer")
}

fn lab(url: &str) -> Box<dyn Lab> {
    if url.starts_with("redis") { Box::new(RedisLab::new(url)) } else { Box::new(SqlLab::new(url)) }
}
