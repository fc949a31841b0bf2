//! A primary, a replica, and sentinels that let the one take the place of the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cmd;
use scopecache::{ErrorKind, Options, RedisStorage, Storage};

use crate::access::{RIGHTS, by_certificate};
use crate::cluster::until_copied;
use crate::load::{Load, Outcome, PASSWORD};
use crate::ports::free_port;
use crate::server::{Certificate, Fault, Server, client_of, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a call may take while a primary does not answer.
const TIMEOUT: Duration = Duration::from_millis(800);

struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start(name: &str, purpose: &str) -> Self {
        let primary = Server::start(name, &format!("{purpose}-primary"), &[]);
        let of = format!("127.0.0.1 {}", primary.port);
        let replica = Server::start(name, &format!("{purpose}-replica"), &["--replicaof", &of]);
        until("the replica follows", || {
            replica.ask::<String>(cmd("INFO").arg("replication")).contains("link_status:up")
        });
        let configuration = format!(
            "sentinel monitor shop {of} 2\nsentinel auth-pass shop {PASSWORD}\n\
             sentinel down-after-milliseconds shop 1000\nsentinel failover-timeout shop 5000\n"
        );
        let sentinels: Vec<Server> = (0..3)
            .map(|number| {
                Server::start_sentinel(
                    name,
                    &format!("{purpose}-sentinel-{number}"),
                    &configuration,
                )
            })
            .collect();
        until("all have found each other and the replica", || {
            sentinels.iter().all(|sentinel| {
                let info: String = sentinel.ask(cmd("INFO").arg("sentinel"));
                info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
            })
        });
        Self { primary, replica, sentinels }
    }

    fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        let hosts = hosts.join(",");
        format!("redis+sentinel://:{PASSWORD}@{hosts}/shop?sentinel=:{PASSWORD}")
    }

    async fn client(&self, timeout: Duration) -> Arc<RedisStorage> {
        Arc::new(client_of(&self.url(), timeout).await.expect("connects"))
    }
}

/// The primary fails in the middle of writes; the client finds the new one by itself. What the replica
/// had is there, and nothing else; what was primary before is a replica, and nobody's primary again.
pub(crate) async fn failed_over(name: &str, fault: Fault) -> Outcome {
    let (purpose, words) = match fault {
        Fault::Killed => ("killed", "a watched one killed"),
        Fault::Paused => ("paused", "a watched one paused"),
    };
    let mut watched = Watched::start(name, purpose);
    let storage = watched.client(TIMEOUT).await;
    let load = Load::start(&storage);
    load.more(100).await;
    // Replication is asynchronous: what counts here is what the replica has.
    load.hold().await;
    tokio::task::block_in_place(|| until_copied(&watched.primary, &watched.replica));
    let failed = Instant::now();
    watched.primary.suffer(fault);
    load.go_on();
    match fault {
        Fault::Killed => load.failed(ErrorKind::Unavailable).await,
        Fault::Paused => load.failed(ErrorKind::Timeout).await,
    }
    load.more(50).await;
    let recovery = failed.elapsed();
    match fault {
        Fault::Killed => tokio::task::block_in_place(|| watched.primary.start_again()),
        Fault::Paused => watched.primary.go_on(),
    }
    tokio::task::block_in_place(|| {
        until("what was primary before follows", || {
            let info = watched.primary.try_ask::<String>(cmd("INFO").arg("replication"));
            info.is_ok_and(|info| info.contains("role:slave") && info.contains("link_status:up"))
        });
    });
    load.more(50).await;
    let other = watched.client(PATIENCE).await;
    load.end(words, name, &*other, recovery).await
}

/// Sentinel and primary are reached through TLS alone.
pub(crate) async fn through_tls(name: &str) {
    let certificate = Certificate::new(&format!("{name}-watched"));
    let (port, own) = (free_port(), free_port());
    let args = certificate.args(port);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _primary = Server::start(name, "tls-watched", &args);
    let mut configuration = String::from("tls-replication yes\n");
    for pair in certificate.args(own).chunks(2) {
        configuration += &format!("{} {}\n", pair[0].trim_start_matches('-'), pair[1]);
    }
    configuration +=
        &format!("sentinel monitor shop 127.0.0.1 {port} 1\nsentinel auth-pass shop {PASSWORD}\n");
    let _sentinel = Server::start_sentinel(name, "tls-watcher", &configuration);
    let url = format!("rediss+sentinel://:{PASSWORD}@127.0.0.1:{own}/shop?sentinel=:{PASSWORD}");
    let storage = by_certificate(&url, &certificate).await;
    storage.set("k", "v".into(), Options::new()).await.expect("stored");
}

/// Whoever asks the wrong ones, or for a wrong name, is told what to do.
pub(crate) async fn urls_are_told_apart(name: &str) {
    let server = Server::start(name, "watched", &[]);
    let configuration = format!(
        "sentinel monitor shop 127.0.0.1 {} 1\nsentinel auth-pass shop {PASSWORD}\n",
        server.port
    );
    let sentinel = Server::start_sentinel(name, "watcher", &configuration);
    let url = |port: u16, name: &str, own: &str| {
        format!("redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/{name}?sentinel=:{own}")
    };
    // The rights that docs/backends.md names are enough.
    let mut acl = cmd("ACL");
    acl.arg("SETUSER").arg("shop").arg("on").arg(">pass").arg("~t:*").arg(&RIGHTS).arg("+role");
    server.ask::<()>(&acl);
    let of_shop =
        url(sentinel.port, "shop", PASSWORD).replace(&format!("//:{PASSWORD}"), "//shop:pass");
    let storage = client_of(&of_shop, PATIENCE).await.expect("connects");
    storage.set("k", "v".into(), Options::new()).await.expect("stored");
    // One that does not answer is passed over.
    let two = url(sentinel.port, "shop", PASSWORD).replace("@", "@127.0.0.1:1,");
    for url in [url(sentinel.port, "shop", PASSWORD), two] {
        let storage = client_of(&url, PATIENCE).await.expect("connects");
        storage.set("k", "v".into(), Options::new()).await.expect("stored");
    }
    for (url, kind, words) in [
        (sentinel.url(), ErrorKind::Backend, "redis+sentinel:"),
        (url(server.port, "shop", PASSWORD), ErrorKind::Backend, "`redis:`"),
        (url(sentinel.port, "other", PASSWORD), ErrorKind::Unavailable, "name"),
        (url(sentinel.port, "shop", "another-secret"), ErrorKind::Backend, "credentials"),
    ] {
        let Err(error) = client_of(&url, PATIENCE).await else { panic!("{words}: connects") };
        assert_eq!(error.kind(), kind, "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
    server.ask::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg("1"));
    let Err(error) = client_of(&url(sentinel.port, "shop", PASSWORD), TIMEOUT).await else {
        panic!("connects to a replica")
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
