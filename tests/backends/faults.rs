//! What becomes of acknowledged writes, and of what was deleted, when servers and connections fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;
use scopecache::{ErrorKind, Options, RedisStorage, Storage};

use crate::load::{Load, Outcome};
use crate::server::{Proxy, Server, client, until};

/// What a call may take while servers do not answer.
const TIMEOUT: Duration = Duration::from_millis(400);

/// What it may take where they do, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn connect(port: u16) -> Arc<RedisStorage> {
    Arc::new(client(port, PATIENCE).await.expect("connects"))
}

async fn connect_hastily(port: u16) -> Arc<RedisStorage> {
    Arc::new(client(port, TIMEOUT).await.expect("connects"))
}

/// Killed without a word in the middle of writes; whatever it acknowledged is on its disk.
pub(crate) async fn killed(mut server: Server) -> Outcome {
    let load = Load::start(&connect_hastily(server.port).await);
    let mut recovery = Duration::ZERO;
    for _ in 0..3 {
        load.more(100).await;
        server.kill();
        load.failed(ErrorKind::Unavailable).await;
        tokio::task::block_in_place(|| server.start_again());
        recovery = recovery.max(load.more(50).await);
    }
    load.end("killed, restarted", server.name(), &server.other().await, recovery).await
}

/// Connections end in the middle of answers, a few bytes later each time.
pub(crate) async fn cut(server: Server) -> Outcome {
    let proxy = Proxy::new(server.port);
    let load = Load::start(&connect_hastily(proxy.port).await);
    load.more(50).await;
    for bytes in 0..40 {
        let before = proxy.cuts();
        proxy.cut_after(100 + bytes * 3);
        tokio::task::block_in_place(|| until("a connection is cut", || proxy.cuts() > before));
    }
    proxy.cut_after(-1);
    let recovery = load.more(50).await;
    load.end("cut within answers", server.name(), &server.other().await, recovery).await
}

/// Stopped as a whole: calls end at their timeouts, and nothing piles up.
pub(crate) async fn paused(server: Server) -> Outcome {
    let storage = connect_hastily(server.port).await;
    let load = Load::start(&storage);
    load.more(100).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    server.pause();
    for _ in 0..4 {
        let calls = (0..500).map(|_| async {
            let begun = Instant::now();
            let error = storage.get("k", Options::new()).await.expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::Timeout);
            begun.elapsed()
        });
        let longest = futures(calls).await.into_iter().max().expect("some");
        assert!(longest < TIMEOUT * 2, "a call took {longest:?}");
    }
    let after = metrics.num_alive_tasks();
    assert!(after <= before + 2, "{before} tasks have become {after}");
    server.go_on();
    let recovery = load.more(50).await;
    load.end("paused", server.name(), &server.other().await, recovery).await
}

/// Polls all of them at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(|one| Some(Box::pin(one))).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        for one in &mut pending {
            let Some(future) = one else { continue };
            if let std::task::Poll::Ready(answer) = future.as_mut().poll(context) {
                done.push(answer);
                *one = None;
            }
        }
        match pending.iter().any(Option::is_some) {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    done
}

/// At its `maxmemory` it stores nothing, and goes on reading and deleting.
pub(crate) async fn full(server: Server) -> Outcome {
    let storage = connect(server.port).await;
    let load = Load::start(&storage);
    load.more(100).await;
    let keep = Options::new().with_user_session("keep", "s");
    storage.set("k", "v".into(), keep).await.expect("stored");
    let limit = |bytes: &str| {
        let mut set = cmd("CONFIG");
        server.ask::<()>(
            set.arg("SET").arg("maxmemory").arg(bytes).arg("maxmemory-policy").arg("noeviction"),
        );
    };
    if server.name() == "redis-6.2" {
        // It sets one thing at a time.
        server.ask::<()>(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("noeviction"));
        server.ask::<()>(cmd("CONFIG").arg("SET").arg("maxmemory").arg("1"));
    } else {
        limit("1");
    }
    load.failed(ErrorKind::CapacityExceeded).await;
    // A session that is new, a key that is new, and several at once, of which none is stored.
    let other = Options::new().with_user_session("keep", "t");
    let lasting = keep.with_ttl(Duration::from_secs(3600));
    for options in [keep, other, lasting] {
        let error = storage.set("new", "v".into(), options).await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    }
    let items: Vec<_> = (0..200).map(|_| ("many", "v".into())).collect();
    let error = storage.set_many(&items, keep).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    assert_eq!(storage.get_many(&["new", "many"], keep).await.expect("read"), [None, None]);
    assert_eq!(storage.get("k", keep).await.expect("read").expect("kept").data, "v");
    assert_eq!(storage.delete(Options::new().with_user("keep")).await.expect("room").entries, 1);
    server.ask::<()>(cmd("CONFIG").arg("SET").arg("maxmemory").arg("0"));
    let recovery = load.more(50).await;
    load.end("maxmemory", server.name(), &server.other().await, recovery).await
}

/// A primary that is made a replica, and a primary again: nobody connects to a replica, and whoever
/// was connected is told.
pub(crate) async fn demoted(server: Server) -> Outcome {
    let storage = connect(server.port).await;
    let load = Load::start(&storage);
    load.more(100).await;
    server.ask::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg("1"));
    load.failed(ErrorKind::Unavailable).await;
    let Err(error) = client(server.port, TIMEOUT).await else { panic!("connects to a replica") };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("primary"), "{error}");
    server.ask::<()>(cmd("REPLICAOF").arg("NO").arg("ONE"));
    let recovery = load.more(50).await;
    load.end("demoted", server.name(), &server.other().await, recovery).await
}

/// It forgets all scripts, again and again.
pub(crate) async fn forgetful(server: Server) -> Outcome {
    let storage = connect(server.port).await;
    let load = Load::start(&storage);
    let names: Vec<String> = (0..300).map(|index| index.to_string()).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let items: Vec<_> = keys.iter().map(|key| (*key, "v".into())).collect();
    let session = Options::new().with_user_session("many", "s");
    for _ in 0..20 {
        server.ask::<()>(cmd("SCRIPT").arg("FLUSH"));
        assert_eq!(storage.set_many(&items, session).await.expect("stored").len(), 300);
        server.ask::<()>(cmd("SCRIPT").arg("FLUSH"));
        assert_eq!(storage.delete_many(&keys, session).await.expect("deleted").entries, 300);
        load.more(20).await;
    }
    let recovery = load.more(1).await;
    let outcome = load.end("scripts flushed", server.name(), &server.other().await, recovery).await;
    assert!(outcome.failures.is_empty(), "{outcome}");
    outcome
}

/// Its clock is off by a day: what counts is how long things live.
pub(crate) async fn off_by_a_day(name: &str, skew: &str, fault: &'static str) -> Outcome {
    let server = Server::start_at(name, fault, &[], Some(skew));
    let storage = connect(server.port).await;
    let load = Load::start(&storage);
    load.more(50).await;
    let session = Options::new().with_user_session("clock", "s");
    let ttl = Duration::from_millis(800);
    let begun = Instant::now();
    storage.set("ends", "v".into(), session.with_ttl(ttl)).await.expect("stored");
    let stored = Instant::now();
    storage
        .set("slides", "v".into(), session.with_ttl(ttl).sliding(ttl * 3))
        .await
        .expect("stored");
    let item = storage.get("ends", session).await.expect("read").expect("it has just begun");
    assert_eq!(item.expires_at, Some(item.created_at + ttl));
    // The item's times are the server's, and so a day away from ours.
    let away = match item.created_at.duration_since(std::time::SystemTime::now()) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    assert!(away > Duration::from_secs(23 * 3600), "the server's clock is right: {away:?}");
    let mut seen = begun;
    loop {
        let asked = Instant::now();
        storage.get("slides", session).await.expect("read").expect("each hit renews it");
        if storage.get("ends", session).await.expect("read").is_none() {
            assert!(begun.elapsed() >= ttl, "it ended early");
            break;
        }
        seen = asked;
    }
    assert!(seen <= stored + ttl, "it was returned {:?} after its end", seen - stored - ttl);
    let recovery = load.more(1).await;
    load.end(fault, server.name(), &server.other().await, recovery).await
}

/// Two delete one user at a time while others write to it: at the end, what was acknowledged after the
/// last deletion is there, and nothing that was acknowledged before it began.
pub(crate) async fn two_deleters(server: Server) -> Outcome {
    let storage = connect(server.port).await;
    let load = Load::start(&storage);
    let ada = Options::new().with_user("ada");
    for round in 0..30_u64 {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let storage = storage.clone();
                tokio::spawn(async move {
                    let mut sessions = Vec::new();
                    for number in 0..40 {
                        let session = format!("{round}-{writer}-{number}");
                        let options = Options::new().with_user_session("ada", &session);
                        let begun = Instant::now();
                        storage.set("k", "v".into(), options).await.expect("stored");
                        sessions.push((session, begun, Instant::now()));
                    }
                    sessions
                })
            })
            .collect();
        let deleters = [connect(server.port).await, connect(server.port).await].map(|client| {
            tokio::spawn(async move {
                let begun = Instant::now();
                client.delete(ada).await.expect("deleted");
                (begun, Instant::now())
            })
        });
        let mut deletions = Vec::new();
        for deleter in deleters {
            deletions.push(deleter.await.expect("no panic"));
        }
        for writer in writers {
            for (session, begun, ended) in writer.await.expect("no panic") {
                let options = Options::new().with_user_session("ada", &session);
                let is_there = storage.get("k", options).await.expect("read").is_some();
                let is_before = deletions.iter().any(|(deletion, _)| ended < *deletion);
                let is_after = deletions.iter().all(|(_, deletion)| begun > *deletion);
                assert!(!(is_before && is_there), "what was written before a deletion is there");
                assert!(!is_after || is_there, "what was written after both is gone");
            }
        }
        storage.delete(ada).await.expect("deleted");
    }
    let recovery = load.more(1).await;
    load.end("two deleters", server.name(), &server.other().await, recovery).await
}
