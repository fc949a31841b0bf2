//! What becomes of acknowledged writes, and of what was deleted, on servers that all tests share: the
//! rows of the table in docs/backends.md.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scopecache::{ErrorKind, Options, SqlStorage, Storage};

use crate::load::{Load, Outcome};
use crate::proxy::Proxy;
use crate::server::{Server, on_each, until};

/// What a call may take while servers do not answer.
const TIMEOUT: Duration = Duration::from_millis(700);

async fn connect(server: &Server) -> Arc<SqlStorage> {
    Arc::new(server.connect().await.expect("it runs"))
}

async fn connect_hastily(server: &Server, url: &str) -> Arc<SqlStorage> {
    Arc::new(server.options().timeout(TIMEOUT).connect(url).await.expect("it runs"))
}

/// Ends the load; another client looks at what is there.
pub(crate) async fn judge(
    fault: &'static str,
    server: &Server,
    load: Load,
    recovery: Duration,
) -> Outcome {
    let other = connect(server).await;
    let outcome = load.end(fault, &server.name, &*other, recovery).await;
    println!("{outcome}");
    assert!(outcome.passed(), "{outcome}");
    outcome
}

#[test]
fn a_server_that_is_killed_loses_nothing() {
    on_each(async |server| {
        let load = Load::start(&connect_hastily(server, &server.url).await);
        let mut recovery = Duration::ZERO;
        for _ in 0..2 {
            load.more(100).await;
            server.kill();
            load.failed(ErrorKind::Unavailable).await;
            server.revive();
            recovery = recovery.max(load.more(50).await);
        }
        judge("killed, restarted", server, load, recovery).await;
    });
}

#[test]
fn connections_that_are_cut_lose_nothing() {
    on_each(async |server| {
        let proxy = Proxy::new(server.port());
        let load = Load::start(&connect_hastily(server, &proxy.url(&server.url)).await);
        load.more(50).await;
        for bytes in 0..20 {
            let before = proxy.cuts();
            proxy.cut_after(100 + bytes * 7);
            until("a connection is cut", async || proxy.cuts() > before).await;
        }
        proxy.cut_no_more();
        let recovery = load.more(50).await;
        judge("cut within answers", server, load, recovery).await;
    });
}

#[test]
fn a_server_that_stands_still_loses_nothing() {
    on_each(async |server| {
        let load = Load::start(&connect_hastily(server, &server.url).await);
        load.more(50).await;
        let paused = server.pause();
        load.failed(ErrorKind::Timeout).await;
        drop(paused);
        let recovery = load.more(50).await;
        judge("paused", server, load, recovery).await;
    });
}

#[test]
fn rows_that_are_held_end_calls_in_time_and_lose_nothing() {
    on_each(async |server| {
        let storage = connect_hastily(server, &server.url).await;
        let load = Load::start(&storage);
        load.more(50).await;
        let ada = Options::new().with_user("ada");
        for key in ["k", "l"] {
            storage.set(key, "v".into(), ada).await.expect("it runs");
        }
        let mut raw = server.raw().await;
        raw.run("BEGIN").await.expect("it runs");
        let all = format!("SELECT 1 FROM {}kv FOR UPDATE", server.prefix);
        raw.run(&all).await.expect("it waits for nobody long");
        for delete in [ada, ada.with_key("k")] {
            let begun = Instant::now();
            let error = storage.delete(delete).await.expect_err("its rows are held");
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(error.to_string().contains("a row is held"), "{error}");
            assert!(begun.elapsed() < TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        // Nobody waits to read, and a delete that has not happened has happened to no key.
        let left = storage.get_many(&["k", "l"], ada).await.expect("it runs");
        assert_eq!(left.iter().flatten().count(), 2);
        load.failed(ErrorKind::Timeout).await;
        raw.run("COMMIT").await.expect("it runs");
        let recovery = load.more(50).await;
        // What waits in the server for a client that has gone may be carried out still, as a whole.
        let left = storage.get_many(&["k", "l"], ada).await.expect("it runs");
        assert!(left[1].is_some() || left[0].is_none(), "half of a delete was carried out");
        judge("rows held", server, load, recovery).await;
    });
}

/// Two delete one user at a time while others write to it: at the end, what was written after both
/// deletions is there, and nothing that was written before one of them began.
#[test]
fn two_clients_delete_one_user_while_others_write() {
    const ROUNDS: usize = 8;
    const WRITERS: usize = 3;
    const WRITES: usize = 30;
    on_each(async |server| {
        let ada = Options::new().with_user("ada");
        let storage = connect(server).await;
        let deleters = [connect(server).await, connect(server).await];
        let load = Load::start(&storage);
        let mut retries = 0;
        for round in 0..ROUNDS {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let storage = Arc::clone(&storage);
                    tokio::spawn(async move {
                        let mut written = Vec::new();
                        for number in 0..WRITES {
                            // Sessions that come and go, and some that all of them write to.
                            let session = match number % 2 {
                                0 => format!("{round}-{writer}-{number}"),
                                _ => format!("shared {}", number % 6),
                            };
                            let key = format!("{round}-{writer}-{number}");
                            let place = Options::new().with_user_session("ada", &session);
                            let begun = Instant::now();
                            storage.set(&key, "v".into(), place).await.expect("it is tried again");
                            written.push((session, key, begun, Instant::now()));
                        }
                        written
                    })
                })
                .collect();
            let deletes = deleters.clone().map(|client| {
                tokio::spawn(async move {
                    let begun = Instant::now();
                    client.delete(ada).await.expect("it is tried again");
                    (begun, Instant::now())
                })
            });
            let mut deletions = Vec::new();
            for delete in deletes {
                deletions.push(delete.await.expect("it does not panic"));
            }
            for writer in writers {
                for (session, key, begun, ended) in writer.await.expect("it does not panic") {
                    let place = Options::new().with_user_session("ada", &session);
                    let is_there = storage.get(&key, place).await.expect("it runs").is_some();
                    let is_before = deletions.iter().any(|(deletion, _)| ended < *deletion);
                    let is_after = deletions.iter().all(|(_, deletion)| begun > *deletion);
                    assert!(!(is_before && is_there), "{key}, written before a deletion, is there");
                    assert!(!is_after || is_there, "{key}, written after both, is gone");
                }
            }
            storage.delete(ada).await.expect("it runs");
            retries = storage.figures().retries
                + deleters.iter().map(|client| client.figures().retries).sum::<u64>();
        }
        let rows = format!("SELECT COUNT(*) FROM {}usr WHERE u = 'ada'", server.prefix);
        assert_eq!(server.raw().await.number(&rows).await, 0, "rows left of a deleted user");
        let recovery = load.more(1).await;
        println!(
            "{}: {} writes and {} deletes of one user, {retries} attempts repeated",
            server.name,
            ROUNDS * WRITERS * WRITES,
            ROUNDS * 3
        );
        let outcome = judge("two deleters", server, load, recovery).await;
        assert!(outcome.failures.is_empty(), "{outcome}");
    });
}
