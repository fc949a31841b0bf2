//! Redis and Valkey. Then a user of 100,000 items is deleted: when it is invisible to another client, when
//! it is unlinked, and how long the server was busy with one command at most, by its own slow log.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, cmd, pipe};
use scopecache::{Options, RedisOptions, RedisStorage, Storage};
use tokio::runtime::Builder;

use self::hand::{Hand, Less};
use crate::compare::{Contest, Who, compare, print_head};

#[path = "redis/hand.rs"]
mod hand;

const ROUNDS: usize = 10_000;
const DELETIONS: usize = 2000;
const VALUE: [u8; 200] = [7; 200];
const DAY: Duration = Duration::from_secs(24 * 3600);
const PREFIX: &str = "bench:";

const ADA: Options<'_> = Options::new().with_user_session("ada", "s");

/// Whom all of them write to, and who is deleted: a user with two sessions of four keys.
const PLACE: (&str, &str) = ("ada", "s");
const SESSIONS: [&str; 2] = ["s", "t"];
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

struct Bench {
    storage: RedisStorage,
    hand: Hand,
    less: Less,
    driver: ConnectionManager,
    keys: Vec<String>,
}

struct Sets<'b>(&'b Bench);
struct Gets<'b>(&'b Bench);
struct Deletions<'b>(&'b Bench);

impl Contest for Sets<'_> {
    async fn call(&self, who: Who, round: usize) {
        let Bench { storage, hand, less, keys, .. } = self.0;
        let (key, version) = (&keys[round % keys.len()], round as u64);
        match who {
            Who::Scopecache => {
                let value = Bytes::from_static(&VALUE);
                storage.set(key, value, ADA.with_ttl(DAY)).await.expect("stored");
            }
            Who::ByHand => hand.set(PLACE, key, &VALUE, version, DAY).await,
            Who::Less => less.set(key, &VALUE, version, DAY).await,
            Who::Plain => less.plain_set(key, &VALUE).await,
        }
    }
}

impl Contest for Gets<'_> {
    async fn call(&self, who: Who, round: usize) {
        let Bench { storage, hand, less, keys, .. } = self.0;
        let key = &keys[round % keys.len()];
        let data = match who {
            Who::Scopecache => storage.get(key, ADA).await.expect("read").expect("there").data,
            Who::ByHand => black_box(hand.get(PLACE, key).await.expect("there")).data,
            Who::Less => less.get(key).await,
            Who::Plain => less.plain_get(key).await,
        };
        assert_eq!(black_box(data).len(), VALUE.len());
    }
}

impl Contest for Deletions<'_> {
    async fn before(&self, who: Who, round: usize) {
        let user = format!("{who:?} {round}");
        for session in SESSIONS {
            if who == Who::Scopecache {
                let items = KEYS.map(|key| (key, Bytes::from_static(&VALUE)));
                let place = Options::new().with_user_session(&user, session).with_ttl(DAY);
                self.0.storage.set_many(&items, place).await.expect("stored");
            } else {
                for key in KEYS {
                    self.0.hand.set((&user, session), key, &VALUE, round as u64, DAY).await;
                }
            }
        }
    }

    async fn call(&self, who: Who, round: usize) {
        let user = format!("{who:?} {round}");
        let removed = match who {
            Who::Scopecache => {
                let user = Options::new().with_user(&user);
                self.0.storage.delete(user).await.expect("deleted").entries
            }
            _ => self.0.hand.delete_user(&user).await,
        };
        assert_eq!(removed, (SESSIONS.len() * KEYS.len()) as u64);
    }
}

impl Bench {
    async fn new(url: &str) -> Self {
        let client = Client::open(url).expect("an address");
        let config = ConnectionManagerConfig::new().set_response_timeout(None);
        Self {
            storage: RedisOptions::new().prefix(PREFIX).connect(url).await.expect("connects"),
            hand: Hand::new(client.clone()).await,
            less: Less::new(client.clone()).await,
            driver: ConnectionManager::new_with_config(client, config).await.expect("connects"),
            keys: (0..1000).map(|index| format!("key {index}")).collect(),
        }
    }
}

/// What it takes to delete a user of 100,000 items.
async fn delete_user(url: &str, sessions: usize) {
    let items = 100_000 / sessions;
    let bench = Bench::new(url).await;
    let names: Vec<String> = (0..items).map(|index| format!("key {index}")).collect();
    let data: Vec<(&str, Bytes)> =
        names.iter().map(|name| (name.as_str(), Bytes::from_static(&VALUE))).collect();
    for session in 0..sessions {
        let id = format!("session {session}");
        let options = Options::new().with_user_session("big", &id);
        bench.storage.set_many(&data, options).await.expect("stored");
    }
    let mut driver = bench.driver.clone();
    let config = |value: i64| {
        let mut config = pipe();
        config.cmd("CONFIG").arg("SET").arg("slowlog-log-slower-than").arg(value);
        config.cmd("CONFIG").arg("SET").arg("slowlog-max-len").arg(100_000);
        config.cmd("SLOWLOG").arg("RESET");
        config
    };
    config(0).query_async::<()>(&mut driver).await.expect("configured");

    // Another client looks for one of the items until it is gone.
    let (begun, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let (url, stop) = (url.to_owned(), stop.clone());
        move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let options = RedisOptions::new().prefix(PREFIX);
                let storage = options.connect(&url).await.expect("connects");
                let last = Options::new().with_user_session("big", "session 0");
                assert!(storage.get("key 0", last).await.expect("read").is_some());
                let (mut invisible, mut longest) = (None, Duration::ZERO);
                while invisible.is_none() || !stop.load(SeqCst) {
                    let asked = Instant::now();
                    let item = storage.get("key 0", last).await.expect("read");
                    longest = longest.max(asked.elapsed());
                    if item.is_none() && invisible.is_none() {
                        invisible = Some(begun.elapsed());
                    }
                }
                (invisible.expect("it was seen to be gone"), longest)
            })
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await; // the watcher watches by then
    let deleting = begun.elapsed();
    let removed = bench.storage.delete(Options::new().with_user("big")).await.expect("deleted");
    let swept = begun.elapsed();
    stop.store(true, SeqCst);
    let (invisible, longest) = watcher.join().expect("no panic");
    assert_eq!(removed.entries, (items * sessions) as u64);
    let log: Vec<Vec<redis::Value>> =
        cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut driver).await.expect("read");
    let mut busy: Vec<i64> = log
        .iter()
        .filter(|entry| matches!(&entry[3], redis::Value::Array(call) if is_script(&call[0])))
        .map(|entry| match entry[2] {
            redis::Value::Int(micros) => micros,
            _ => 0,
        })
        .collect();
    busy.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{sessions:8} x {items:6} {:13.2} {:10.1} {:13.2} {:8.2} {:18.2}",
        ms(invisible.saturating_sub(deleting)),
        ms(swept - deleting),
        busy[busy.len() / 2] as f64 / 1e3,
        busy[busy.len() - 1] as f64 / 1e3,
        ms(longest),
    );
    config(10_000).query_async::<()>(&mut driver).await.expect("configured");
}

fn is_script(command: &redis::Value) -> bool {
    matches!(command, redis::Value::BulkString(name) if name.starts_with(b"EVAL"))
}

pub(crate) async fn run(url: &str) {
    let bench = Bench::new(url).await;
    // Clients are compared, not disks.
    let mut memory_alone = cmd("CONFIG");
    memory_alone.arg("SET").arg("appendonly").arg("no");
    memory_alone.query_async::<()>(&mut bench.driver.clone()).await.expect("configured");
    print_head();
    compare("set", Who::ALL, ROUNDS, &Sets(&bench)).await;
    compare("get", Who::ALL, ROUNDS, &Gets(&bench)).await;
    let who = &[Who::Scopecache, Who::ByHand];
    compare("delete_user", who, DELETIONS, &Deletions(&bench)).await;
    println!();
    println!(
        "sessions x items   invisible, ms  swept, ms  a step: p50, max, ms  another's get, max, ms"
    );
    for sessions in [1, 100, 1000, 1600, 10_000, 100_000] {
        delete_user(url, sessions).await;
    }
    bench.storage.delete(Options::new().with_user(PLACE.0)).await.expect("deleted");
    bench.hand.delete_user(PLACE.0).await;
    let mut rest = cmd("DEL");
    rest.arg("plain").arg("less:g").arg("less:s").arg("less:x");
    rest.query_async::<()>(&mut bench.driver.clone()).await.expect("deleted");
}
