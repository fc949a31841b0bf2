//! A cluster whose slots move, whose primaries die, and whose clients do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::cluster_routing::Slot;
use redis::{Cmd, cmd};
use scopecache::{ErrorKind, Options, Page, RedisStorage, Storage};

use crate::access::{RIGHTS, by_certificate};
use crate::load::{Load, Outcome, PASSWORD};
use crate::ports::free_port;
use crate::server::{Certificate, Fault, Proxy, Server, client_of, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a call may take while nodes do not answer.
const TIMEOUT: Duration = Duration::from_millis(800);

const SLOTS: u16 = 16384;
const PRIMARIES: u16 = 3;

/// Three primaries with a third of the slots each, and perhaps replicas of the first.
pub(crate) struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
}

impl Cluster {
    pub(crate) fn start(name: &str, purpose: &str, replicas: u16, timeout: Duration) -> Self {
        let timeout = timeout.as_millis().to_string();
        let nodes: Vec<(Server, String)> = (0..PRIMARIES + replicas)
            .map(|number| {
                let bus = free_port().to_string();
                let args = ["--cluster-enabled", "yes", "--cluster-port", &bus];
                let timeout = ["--cluster-node-timeout", &timeout];
                let purpose = format!("{purpose}-{number}");
                (Server::start(name, &purpose, &[&args[..], &timeout].concat()), bus)
            })
            .collect();
        for ((node, _), number) in nodes.iter().zip(0..) {
            node.ask::<()>(&cluster(&["SET-CONFIG-EPOCH", &(number + 1).to_string()]));
            if number < PRIMARIES {
                let of = |number: u16| u32::from(number) * u32::from(SLOTS) / u32::from(PRIMARIES);
                let (first, last) = (of(number).to_string(), (of(number + 1) - 1).to_string());
                node.ask::<()>(&cluster(&["ADDSLOTSRANGE", &first, &last]));
            }
        }
        for (node, bus) in &nodes[1..] {
            nodes[0].0.ask::<()>(&cluster(&["MEET", "127.0.0.1", &node.port.to_string(), bus]));
        }
        let nodes: Vec<Server> = nodes.into_iter().map(|(node, _)| node).collect();
        let ids = nodes.iter().map(|node| node.ask(&cluster(&["MYID"]))).collect();
        let cluster = Self { nodes, ids };
        cluster.until_all_serve();
        for replica in &cluster.nodes[usize::from(PRIMARIES)..] {
            until("the replica may follow", || {
                replica.try_ask::<()>(&self::cluster(&["REPLICATE", &cluster.ids[0]])).is_ok()
            });
            until("the replica follows", || {
                replica.ask::<String>(cmd("INFO").arg("replication")).contains("link_status:up")
            });
        }
        cluster.until_all_serve();
        cluster
    }

    /// Two of the nodes are enough to find all.
    pub(crate) fn url(&self) -> String {
        let [.., one, other] = &self.nodes[..usize::from(PRIMARIES)] else { unreachable!() };
        format!("redis+cluster://:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}", one.port, other.port)
    }

    async fn client(&self, timeout: Duration) -> Arc<RedisStorage> {
        Arc::new(client_of(&self.url(), timeout).await.expect("connects"))
    }

    fn until_all_serve(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        until("all nodes know each other", || {
            self.nodes.iter().all(|node| {
                let info: String = node.ask(&cluster(&["INFO"]));
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        });
    }

    fn slot_of(&self, user: &str) -> u16 {
        self.nodes[0].ask(&cluster(&["KEYSLOT", &format!("t:{{{user}}}")]))
    }

    /// The node that says so of itself: the others hear later of a slot that moved.
    fn owner_of(&self, slot: u16) -> usize {
        (0..usize::from(PRIMARIES))
            .find(|&node| self.owner_by(node, slot) == node)
            .expect("a node owns it")
    }

    /// By the answer of a node.
    fn owner_by(&self, node: usize, slot: u16) -> usize {
        let slots: Vec<(u16, u16, (String, u16, String))> = self.nodes[node]
            .ask::<Vec<Vec<redis::Value>>>(&cluster(&["SLOTS"]))
            .into_iter()
            .map(|part| {
                let mut part = part.into_iter().map(|value| match value {
                    redis::Value::Array(mut node) => {
                        node.truncate(3);
                        redis::Value::Array(node)
                    }
                    other => other,
                });
                let part = redis::Value::Array(part.by_ref().take(3).collect());
                redis::from_redis_value(part).expect("first, last, owner")
            })
            .collect();
        let (.., (_, _, id)) =
            slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).expect("owned");
        self.ids.iter().position(|known| known == id).expect("a node")
    }

    /// From now on the slot is neither wholly here nor there.
    fn open(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        self.nodes[to].ask::<()>(&cluster(&["SETSLOT", &slot, "IMPORTING", &self.ids[from]]));
        self.nodes[from].ask::<()>(&cluster(&["SETSLOT", &slot, "MIGRATING", &self.ids[to]]));
    }

    /// Takes a key over; false where there is none left.
    fn take_over_one(&self, slot: u16, from: usize, to: usize) -> bool {
        let keys: Vec<Vec<u8>> =
            self.nodes[from].ask(&cluster(&["GETKEYSINSLOT", &slot.to_string(), "1"]));
        let Some(key) = keys.first() else { return false };
        let mut migrate = cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.nodes[to].port).arg("").arg(0).arg(5000);
        self.nodes[from].ask::<()>(migrate.arg("AUTH").arg(PASSWORD).arg("KEYS").arg(key));
        true
    }

    fn close(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        for node in [to, from] {
            self.nodes[node].ask::<()>(&cluster(&["SETSLOT", &slot, "NODE", &self.ids[to]]));
        }
    }

    /// How often all nodes have said so.
    fn said(&self, code: &str) -> u64 {
        let of = |node: &Server| {
            let stats: String = node.ask(cmd("INFO").arg("errorstats"));
            let line = format!("errorstat_{code}:count=");
            let count = stats.lines().find_map(|text| text.strip_prefix(&line)).unwrap_or("0");
            count.trim().parse::<u64>().expect("a number")
        };
        self.nodes.iter().map(of).sum()
    }
}

/// Slots move, key by key, under writers and readers: all wait, none fails, and nobody is told that
/// something is absent which is elsewhere.
pub(crate) async fn moving(name: &str) -> Outcome {
    let cluster = Cluster::start(name, "moving", 0, PATIENCE);
    let storage = cluster.client(PATIENCE).await;
    let kept = Options::new().with_user_session("kept", "s");
    storage.set("k", "v".into(), kept).await.expect("stored");
    storage.set("k", "v".into(), Options::new().with_user("kept")).await.expect("stored");
    let reader = tokio::spawn({
        let storage = storage.clone();
        async move {
            let mut reads = 0_u64;
            while storage.get("stop", Options::new()).await.expect("read").is_none() {
                for _ in 0..20 {
                    let item = storage.get("k", kept).await.expect("read");
                    assert_eq!(item.expect("it is somewhere all the time").data, "v");
                    reads += 1;
                }
                let sessions = storage.sessions("kept", Page::new(9)).await.expect("listed");
                assert_eq!(sessions.names, ["s"]);
            }
            reads
        }
    });
    let load = Load::start(&storage);
    load.more(100).await;
    for round in 0..3 {
        // Those of the writers, as long as none of their calls fails, and the reader's.
        for user in ["w0-0", "w1-0", "w2-0", "w3-0", "kept"] {
            tokio::task::block_in_place(|| {
                let slot = cluster.slot_of(user);
                let from = cluster.owner_of(slot);
                let to = (from + 1) % usize::from(PRIMARIES);
                let before = cluster.said("TRYAGAIN") + cluster.said("ASK");
                cluster.open(slot, from, to);
                if round != 2 {
                    cluster.take_over_one(slot, from, to);
                }
                until("somebody came by meanwhile", || {
                    cluster.said("TRYAGAIN") + cluster.said("ASK") > before
                });
                while cluster.take_over_one(slot, from, to) {}
                cluster.close(slot, from, to);
            });
        }
        load.more(50).await;
    }
    half_there(&cluster, &storage).await;
    many_at_once(&cluster, &storage).await;
    let begun = Instant::now();
    load.more(50).await;
    let recovery = begun.elapsed();
    storage.set("stop", "v".into(), Options::new()).await.expect("stored");
    assert!(reader.await.expect("every read is right") > 0);
    let other = cluster.client(PATIENCE).await;
    let outcome = load.end("slots moved", name, &*other, recovery).await;
    assert!(outcome.failures.is_empty(), "{outcome}");
    outcome
}

/// A script whose keys are all there while their slot moves would touch one that is not: it waits too.
async fn half_there(cluster: &Cluster, storage: &Arc<RedisStorage>) {
    let session = Options::new().with_user_session("half", "s");
    storage.set("k", "v".into(), session).await.expect("stored");
    storage.set("k", "v".into(), Options::new().with_user("half")).await.expect("stored");
    let slot = cluster.slot_of("half");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % usize::from(PRIMARIES);
    // Somebody deletes another user of that slot, and is not done yet.
    let list = (0..).map(|number: u32| format!("t:{{%w{number}}}w"));
    let mut list = list.filter(|list| Slot::for_key(list) == Slot::for_key("t:{half}"));
    let mut waits = cmd("ZADD");
    waits.arg(list.next().expect("each slot has one")).arg("+inf").arg("t:{other}d12345678");
    cluster.nodes[from].ask::<()>(&waits);
    let before = cluster.said("TRYAGAIN");
    cluster.open(slot, from, to);
    let take = tokio::spawn({
        let storage = storage.clone();
        async move { storage.take("k", session).await }
    });
    tokio::task::block_in_place(|| {
        until("it is told to wait", || cluster.said("TRYAGAIN") > before || take.is_finished());
        while cluster.take_over_one(slot, from, to) {}
        cluster.close(slot, from, to);
    });
    assert!(take.await.expect("no panic").expect("taken").is_some());
    assert_eq!(storage.sessions("half", Page::new(9)).await.expect("listed").names, [""; 0]);
    assert_eq!(storage.delete(Options::new().with_user("half")).await.expect("gone").entries, 1);
}

/// Bulk calls of many steps, and a deletion in steps, while their slot goes back and forth.
async fn many_at_once(cluster: &Cluster, storage: &Arc<RedisStorage>) {
    let done = Arc::new(AtomicU64::new(0));
    let calls = tokio::spawn(in_bulk(storage.clone(), done.clone()));
    let slot = cluster.slot_of("many");
    let mut seen = 0;
    while !calls.is_finished() {
        tokio::task::block_in_place(|| {
            let from = cluster.owner_of(slot);
            let to = (from + 1) % usize::from(PRIMARIES);
            cluster.open(slot, from, to);
            while cluster.take_over_one(slot, from, to) {}
            cluster.close(slot, from, to);
            // A slot that is open all the time is served to nobody.
            until("a call gets through", || done.load(SeqCst) > seen || calls.is_finished());
            seen = done.load(SeqCst);
        });
    }
    calls.await.expect("every call is carried out once");
}

/// Counts the calls that got through.
async fn in_bulk(storage: Arc<RedisStorage>, done: Arc<AtomicU64>) {
    let names: Vec<String> = (0..500).map(|index| index.to_string()).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let items: Vec<_> = keys.iter().map(|key| (*key, "v".into())).collect();
    let session = Options::new().with_user_session("many", "s");
    let next = || done.fetch_add(1, SeqCst);
    for _ in 0..5 {
        assert_eq!(storage.set_many(&items, session).await.expect("stored").len(), 500);
        next();
        let found = storage.get_many(&keys, session).await.expect("read");
        assert_eq!(found.iter().flatten().count(), 500);
        next();
        assert_eq!(storage.delete_many(&keys[..300], session).await.expect("gone").entries, 300);
        next();
        for session in &keys[..100] {
            let options = Options::new().with_user_session("many", session);
            storage.set("k", "v".into(), options).await.expect("stored");
        }
        next();
        let removed = storage.delete(Options::new().with_user("many")).await.expect("gone");
        assert_eq!(removed.entries, 300);
        next();
    }
}

/// A primary fails; its replica takes over, and the client finds it by itself. What the replica had
/// is there, and nothing else.
pub(crate) async fn failed_over(name: &str, fault: Fault) -> Outcome {
    let (purpose, words) = match fault {
        Fault::Killed => ("node-killed", "a node killed"),
        Fault::Paused => ("node-paused", "a node paused"),
    };
    let mut cluster = Cluster::start(name, purpose, 1, Duration::from_millis(1500));
    let storage = cluster.client(TIMEOUT).await;
    let load = Load::start(&storage);
    load.more(100).await;
    // One whose node will die.
    let user = (0..).map(|index: u32| format!("u{index}"));
    let user = user.into_iter().find(|user| cluster.owner_of(cluster.slot_of(user)) == 0);
    let user = user.expect("a third of all");
    let of_dead = Options::new().with_user(&user);
    storage.set("k", "before".into(), of_dead).await.expect("stored");
    load.hold().await;
    tokio::task::block_in_place(|| until_copied(&cluster.nodes[0], &cluster.nodes[3]));
    cluster.nodes[0].suffer(fault);
    let failed = Instant::now();
    load.go_on();
    let recovery = loop {
        match storage.set("l", "after".into(), of_dead).await {
            Ok(_) => break failed.elapsed(),
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
                assert!(failed.elapsed() < Duration::from_secs(60), "the client does not recover");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    assert_eq!(storage.get("k", of_dead).await.expect("read").expect("copied").data, "before");
    load.more(100).await;
    let other = cluster.client(PATIENCE).await;
    load.end(words, name, &*other, recovery).await
}

/// Waits until a replica has all that its primary has.
pub(crate) fn until_copied(primary: &Server, replica: &Server) {
    let offset = |server: &Server, line: &str| {
        let info: String = server.ask(cmd("INFO").arg("replication"));
        let value = info.lines().find_map(|text| text.strip_prefix(line).map(str::trim));
        value.expect("an offset").parse::<u64>().expect("a number")
    };
    let goal = offset(primary, "master_repl_offset:");
    until("the replica has everything", || offset(replica, "slave_repl_offset:") >= goal);
}

/// A client dies in the middle of a deletion, and nobody comes by in that slot again: others, who delete
/// anything anywhere, take away what is left.
pub(crate) async fn abandoned(name: &str) {
    const SESSIONS: usize = 3000;
    let cluster = Cluster::start(name, "abandoned", 0, PATIENCE);
    let (storage, doomed) = (cluster.client(PATIENCE).await, cluster.client(PATIENCE).await);
    let writers: Vec<_> = (0..SESSIONS / 100)
        .map(|part| {
            let storage = storage.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    let session = format!("{part}-{number}");
                    let options = Options::new().with_user_session("bob", &session);
                    storage.set("k", "v".into(), options).await.expect("stored");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("stored");
    }
    let node = &cluster.nodes[cluster.owner_of(cluster.slot_of("bob"))];
    let left = || node.ask::<u64>(&cmd("DBSIZE"));
    let deletion = tokio::spawn(async move {
        doomed.delete(Options::new().with_user("bob")).await.expect("deleted");
    });
    tokio::task::block_in_place(|| {
        until("the user is gone", || node.ask::<u64>(cmd("EXISTS").arg("t:{bob}g")) == 0);
    });
    deletion.abort();
    assert!(deletion.await.is_err(), "the client outlived its deletion");
    assert!(left() > 100, "the sweep was cut short");
    let bob = Options::new().with_user_session("bob", "0-0");
    assert_eq!(storage.get("k", bob).await.expect("read"), None);

    // Ten seconds later it is anybody's, who does something elsewhere.
    let mut deletions = 0_u64;
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        until("nothing is left", || {
            let eve = Options::new().with_user_session("eve", "s");
            runtime.block_on(storage.delete(eve)).expect("deleted");
            deletions += 1;
            left() == 0
        });
    });
    println!("{name}: {deletions} deletions until nothing was left of a dead client's");
    for node in &cluster.nodes {
        assert_eq!(node.ask::<u64>(&cmd("DBSIZE")), 0, "keys on the nodes");
    }
}

/// A connection is cut after a call was carried out and before its answer has come: it fails, and is not
/// carried out a second time, which would find nothing and say so.
pub(crate) async fn cut(name: &str) {
    let node = Server::start(name, "cut", &["--cluster-enabled", "yes"]);
    let proxy = Proxy::new(node.port);
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("cluster-announce-port").arg(proxy.port);
    node.ask::<()>(&set);
    node.ask::<()>(&cluster(&["ADDSLOTSRANGE", "0", &(SLOTS - 1).to_string()]));
    until("it serves", || node.ask::<String>(&cluster(&["INFO"])).contains("cluster_state:ok"));
    let url = format!("redis+cluster://:{PASSWORD}@127.0.0.1:{}", proxy.port);
    // The rights that docs/backends.md names are enough.
    let mut acl = cmd("ACL");
    acl.arg("SETUSER").arg("shop").arg("on").arg(">pass").arg("~t:*").arg(&RIGHTS);
    node.ask::<()>(acl.arg("+cluster|slots"));
    let of_shop = url.replace(&format!(":{PASSWORD}"), "shop:pass");
    let storage = client_of(&of_shop, PATIENCE).await.expect("connects");
    storage.delete(Options::new().with_user("ada")).await.expect("deleted");
    let storage = client_of(&url, PATIENCE).await.expect("connects");
    let session = Options::new().with_user_session("ada", "s");
    // From now on its script is known.
    storage.take("k", session).await.expect("nothing is there");
    let (begun, mut cut) = (Instant::now(), 0);
    while cut < 10 {
        while let Err(error) = storage.set("k", "v".into(), session).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(begun.elapsed() < Duration::from_secs(60), "the client does not recover");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let before = proxy.cuts();
        proxy.cut_after(0);
        let healing = tokio::task::spawn_blocking({
            let proxy = proxy.clone();
            move || {
                until("the answer is cut", || proxy.cuts() > before);
                proxy.cut_after(-1);
            }
        });
        match storage.take("k", session).await {
            Ok(None) => panic!("it was carried out twice"),
            // What was cut was something else, that was left from before.
            Ok(Some(_)) => {}
            Err(_) => cut += 1,
        }
        healing.await.expect("cut once");
    }
}

/// Its nodes are found and reached through TLS alone.
pub(crate) async fn through_tls(name: &str) {
    let (certificate, port) = (Certificate::new(&format!("{name}-node")), free_port());
    let args = certificate.args(port);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Redis 7.0 tells the port for TLS only where nodes speak TLS among themselves.
    args.extend(["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
    let node = Server::start(name, "tls-node", &args);
    node.ask::<()>(&cluster(&["ADDSLOTSRANGE", "0", &(SLOTS - 1).to_string()]));
    until("it serves", || node.ask::<String>(&cluster(&["INFO"])).contains("cluster_state:ok"));
    let url = format!("rediss+cluster://:{PASSWORD}@127.0.0.1:{port}");
    let storage = by_certificate(&url, &certificate).await;
    storage.set("k", "v".into(), Options::new()).await.expect("stored");
}

/// Each kind of server says how it is to be reached.
pub(crate) async fn urls_are_told_apart(name: &str) {
    let node = Server::start(name, "node", &["--cluster-enabled", "yes"]);
    let Err(error) = client_of(&node.url(), PATIENCE).await else { panic!("connects to a node") };
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(error.to_string().contains("redis+cluster:"), "{error}");
    let server = Server::start(name, "single", &[]);
    let url = server.url().replace("redis:", "redis+cluster:");
    let Err(error) = client_of(&url, PATIENCE).await else { panic!("connects to no cluster") };
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(error.to_string().contains("`redis:`"), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD));
}

fn cluster(words: &[&str]) -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg(words);
    command
}
