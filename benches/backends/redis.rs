//! Redis and Valkey. Then a user of 100,000 items is deleted: when it is invisible to another client, when
//! it is unlinked, and how long the server was busy with one command at most, by its own slow log.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Script, cmd, pipe};
use scopecache::{Options, RedisOptions, RedisStorage, Storage};
use tokio::runtime::Builder;

use crate::compare::{Contest, Who, compare, print_head};

const ROUNDS: usize = 10_000;
const VALUE: [u8; 200] = [7; 200];
const DAY: Duration = Duration::from_secs(24 * 3600);
const PREFIX: &str = "bench:";

const ADA: Options<'_> = Options::new().with_user_session("ada", "s");

/// What `scopecache` does for a set with a TTL, for this one case.
const SET_BY_HAND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local present = redis.call('GET', KEYS[1])
if not present then
  present = ARGV[1]
  redis.call('SET', KEYS[1], present)
end
local deadline = now + ARGV[4]
local item = ARGV[1] .. struct.pack('>I8I8', now, deadline) .. ARGV[3]
local is_new = redis.call('HGET', KEYS[2], '') ~= present
if is_new then
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[2], '', present, ARGV[2], item)
else
  redis.call('HSET', KEYS[2], ARGV[2], item)
end
local ends = math.ceil(deadline / 1000)
if is_new or redis.call('PTTL', KEYS[2]) + now / 1000 < ends then
  redis.call('PEXPIREAT', KEYS[1], ends + 1000)
  redis.call('PEXPIREAT', KEYS[2], ends + 1000)
  redis.call('ZADD', KEYS[3], ends, ARGV[5])
  redis.call('PEXPIREAT', KEYS[3], ends + 1000)
end
return 1
";

struct Bench {
    storage: RedisStorage,
    driver: ConnectionManager,
    set_by_hand: Script,
    keys: Vec<String>,
}

struct Sets<'b>(&'b Bench);
struct Gets<'b>(&'b Bench);

impl Contest for Sets<'_> {
    async fn call(&self, who: Who, round: usize) {
        self.0.set(who, round).await;
    }
}

impl Contest for Gets<'_> {
    async fn call(&self, who: Who, round: usize) {
        self.0.get(who, round).await;
    }
}

impl Bench {
    async fn new(url: &str) -> Self {
        let client = Client::open(url).expect("an address");
        let config = ConnectionManagerConfig::new().set_response_timeout(None);
        Self {
            storage: RedisOptions::new().prefix(PREFIX).connect(url).await.expect("connects"),
            driver: ConnectionManager::new_with_config(client, config).await.expect("connects"),
            set_by_hand: Script::new(SET_BY_HAND),
            keys: (0..1000).map(|index| format!("key {index}")).collect(),
        }
    }

    async fn set(&self, who: Who, round: usize) {
        let key = &self.keys[round % self.keys.len()];
        let mut driver = self.driver.clone();
        match who {
            Who::Scopecache => {
                let value = Bytes::from_static(&VALUE);
                self.storage.set(key, value, ADA.with_ttl(DAY)).await.expect("stored");
            }
            Who::ByHand => {
                let mut set = self.set_by_hand.prepare_invoke();
                set.key("hand:{ada}g").key("hand:{ada}s").key("hand:{ada}x");
                set.arg(&(round as u64).to_be_bytes()).arg(key).arg(&VALUE);
                set.arg(DAY.as_micros() as u64).arg("s");
                set.invoke_async::<()>(&mut driver).await.expect("stored");
            }
            Who::Plain => {
                let set = cmd("HSET").arg("plain").arg(key).arg(&VALUE).to_owned();
                set.query_async::<()>(&mut driver).await.expect("stored");
            }
        }
    }

    async fn get(&self, who: Who, round: usize) {
        let key = &self.keys[round % self.keys.len()];
        let mut driver = self.driver.clone();
        match who {
            Who::Scopecache => {
                let item = self.storage.get(key, ADA).await.expect("read").expect("there");
                assert_eq!(black_box(item).data.len(), VALUE.len());
            }
            Who::ByHand => {
                let mut get = pipe();
                get.cmd("TIME").cmd("GET").arg("hand:{ada}g");
                get.cmd("HMGET").arg("hand:{ada}s").arg("").arg(key);
                type Answer = ((u64, u64), Vec<u8>, (Vec<u8>, Vec<u8>));
                let ((seconds, rest), present, (incarnation, item)): Answer =
                    get.query_async(&mut driver).await.expect("read");
                assert_eq!(present, incarnation);
                let deadline = u64::from_be_bytes(item[16..24].try_into().expect("eight"));
                assert!(deadline > seconds * 1_000_000 + rest);
                assert_eq!(black_box(Bytes::from(item).slice(24..)).len(), VALUE.len());
            }
            Who::Plain => {
                let get = cmd("HGET").arg("plain").arg(key).to_owned();
                let item: Vec<u8> = get.query_async(&mut driver).await.expect("read");
                assert_eq!(black_box(item).len(), VALUE.len());
            }
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
    println!();
    println!(
        "sessions x items   invisible, ms  swept, ms  a step: p50, max, ms  another's get, max, ms"
    );
    for sessions in [1, 100, 1000, 1600, 10_000, 100_000] {
        delete_user(url, sessions).await;
    }
    bench.storage.delete(Options::new().with_user("ada")).await.expect("deleted");
    let mut driver = bench.driver.clone();
    let mut rest = cmd("DEL");
    rest.arg("plain").arg("hand:{ada}g").arg("hand:{ada}s").arg("hand:{ada}x");
    rest.query_async::<()>(&mut driver).await.expect("deleted");
}
