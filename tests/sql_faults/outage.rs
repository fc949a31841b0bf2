//! Servers that die, and servers that stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scopecache::{ErrorKind, Options, SqlStorage, Storage};

use crate::server::{Server, on_each, until};

const WRITERS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_by_a_server_that_is_killed() {
    on_each(async |server| {
        let storage = Arc::new(server.connect().await.expect("it runs"));
        let keys: Vec<String> = (0..2000).map(|key| format!("deleted {key}")).collect();
        let doomed = Options::new().with_user("doomed");
        for key in &keys {
            storage.set(key, "old".into(), doomed).await.expect("it runs");
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (storage, is_over) = (Arc::clone(&storage), Arc::clone(&is_over));
                tokio::spawn(write(storage, writer, is_over, Arc::clone(&done)))
            })
            .collect();
        let deleter = tokio::spawn(delete(Arc::clone(&storage), keys, Arc::clone(&done)));
        // SeqCst, here and below: flags of a test.
        until("calls are under way", async || done.load(Ordering::SeqCst) > 300).await;
        server.kill();
        let is_refused = async || storage.get("k", doomed).await.is_err();
        until("calls fail", is_refused).await;
        server.revive();
        until("the client recovers", async || storage.get("k", doomed).await.is_ok()).await;
        is_over.store(true, Ordering::SeqCst);

        let mut acknowledged = 0;
        for (writer, task) in writers.into_iter().enumerate() {
            let session = format!("session {writer}");
            let place = Options::new().with_user_session("writer", &session);
            for number in task.await.expect("it does not panic") {
                let item = storage.get(&number.to_string(), place).await.expect("it runs");
                let data = item.map(|item| item.data);
                assert_eq!(data, Some(number.to_string().into()), "write {number} is lost");
                acknowledged += 1;
            }
        }
        let deleted = deleter.await.expect("it does not panic");
        for key in &deleted {
            let item = storage.get(key, doomed).await.expect("it runs");
            assert!(item.is_none(), "{key} is back after its delete was acknowledged");
        }
        println!(
            "{}: {acknowledged} writes and {} deletes acknowledged, all kept; {:?}",
            server.name,
            deleted.len(),
            storage.figures()
        );
    });
}

/// Numbers of the writes that were acknowledged.
async fn write(
    storage: Arc<SqlStorage>,
    writer: usize,
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<usize> {
    let session = format!("session {writer}");
    let place = Options::new().with_user_session("writer", &session);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let key = number.to_string();
        match storage.set(&key, key.clone().into(), place).await {
            Ok(_) => {
                acknowledged.push(number);
                done.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                let kind = error.kind();
                let is_outage = matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout);
                assert!(is_outage, "a server that is killed gives {error:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    acknowledged
}

/// The keys whose deletion was acknowledged.
async fn delete(
    storage: Arc<SqlStorage>,
    keys: Vec<String>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for key in keys {
        let delete = Options::new().with_user("doomed").with_key(&key);
        if storage.delete(delete).await.is_err() {
            break;
        }
        acknowledged.push(key);
        done.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

#[test]
fn a_server_that_stands_still_gives_timeouts_and_no_pile() {
    const CONNECTIONS: usize = 3;
    const TIMEOUT: Duration = Duration::from_millis(400);
    on_each(async |server: &Server| {
        let others = server.open_connections();
        let options = server.options().max_connections(CONNECTIONS).timeout(TIMEOUT);
        let storage = Arc::new(options.connect(&server.url).await.expect("it runs"));
        let user = Options::new().with_user("ada");
        storage.set("k", "v".into(), user).await.expect("it runs");
        let paused = server.pause();
        let mut longest = Duration::ZERO;
        for _ in 0..4 {
            let calls: Vec<_> = (0..20)
                .map(|call| {
                    let storage = Arc::clone(&storage);
                    tokio::spawn(async move {
                        let (started, user) = (Instant::now(), Options::new().with_user("ada"));
                        let error = if call % 2 == 0 {
                            storage.get("k", user).await.expect_err("nobody answers")
                        } else {
                            let set = storage.set("k", "w".into(), user);
                            set.await.expect_err("nobody answers")
                        };
                        (error.kind(), started.elapsed())
                    })
                })
                .collect();
            for call in calls {
                let (kind, took) = call.await.expect("it does not panic");
                assert_eq!(kind, ErrorKind::Timeout);
                longest = longest.max(took);
            }
            let open = server.open_connections().saturating_sub(others);
            assert!(open <= CONNECTIONS, "{open} connections are open");
        }
        assert!(longest < TIMEOUT + Duration::from_secs(1), "a timeout took {longest:?}");
        drop(paused);
        until("it goes on", async || storage.get("k", user).await.is_ok()).await;
        let figures = storage.figures();
        println!("{}: timeouts of {TIMEOUT:?} took {longest:?} at most; {figures:?}", server.name);
    });
}
