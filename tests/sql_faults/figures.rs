//! What calls cost: the figures of docs/sql.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scopecache::{Condition, Options, Page, SqlStorage, Storage};

use crate::proxy::Proxy;
use crate::server::{Raw, on_each};

fn user() -> Options<'static> {
    Options::new().with_user("ada")
}

fn session() -> Options<'static> {
    Options::new().with_user_session("ada", "s")
}

struct Count<'a> {
    storage: &'a SqlStorage,
    proxy: &'a Proxy,
}

impl Count<'_> {
    /// The statements of a call. It is made once before, so that they are prepared.
    async fn of(&self, before: impl AsyncFn(&SqlStorage), call: impl AsyncFn(&SqlStorage)) -> u64 {
        before(self.storage).await;
        call(self.storage).await;
        before(self.storage).await;
        let (old, rounds) = (self.storage.figures(), self.proxy.rounds());
        call(self.storage).await;
        let new = self.storage.figures();
        let statements = new.statements - old.statements;
        let asked = new.asked - old.asked;
        let rounds = self.proxy.rounds() - rounds;
        assert_eq!(rounds, statements + asked, "a statement is a round trip");
        statements
    }
}

#[test]
fn each_call_sends_as_many_statements_as_it_says() {
    on_each(async |server| {
        let proxy = Proxy::new(server.port());
        let options = server.options().max_connections(1);
        let storage = &options.connect(&proxy.url(&server.url)).await.expect("it runs");
        let count = Count { storage, proxy: &proxy };
        let keys: Vec<String> = (0..500).map(|key| key.to_string()).collect();
        let keys: &Vec<&str> = &keys.iter().map(String::as_str).collect();
        let day = Duration::from_secs(24 * 3600);
        let set = async |storage: &SqlStorage, options: Options<'_>| {
            storage.set("k", "v".into(), options).await.expect("it runs");
        };
        let there = async |storage: &SqlStorage| set(storage, session()).await;
        let absent = async |storage: &SqlStorage| {
            set(storage, session()).await;
            storage.delete(session().with_key("k")).await.expect("it runs");
        };
        let nobody = async |storage: &SqlStorage| {
            storage.delete(user()).await.expect("it runs");
        };
        let get = async |storage: &SqlStorage| {
            storage.get("k", session()).await.expect("it runs");
        };
        let write = |condition: Condition| {
            async move |storage: &SqlStorage| {
                storage.write("k", "w".into(), condition, session()).await.expect("it runs");
            }
        };
        let figures = [
            ("get", count.of(there, get).await, [1, 1]),
            (
                "get_many of 500",
                count
                    .of(there, async |storage| {
                        storage.get_many(keys, session()).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            (
                "set over",
                count.of(there, async |storage| set(storage, session()).await).await,
                [1, 1],
            ),
            (
                "set new",
                count.of(absent, async |storage| set(storage, session()).await).await,
                [1, 1],
            ),
            (
                "set, first of a session",
                count.of(nobody, async |storage| set(storage, session()).await).await,
                [2, 6],
            ),
            (
                "set_many of 64",
                count
                    .of(there, async |storage| {
                        let items: Vec<_> =
                            keys[..64].iter().map(|key| (*key, "v".into())).collect();
                        storage.set_many(&items, session()).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            ("write if absent", count.of(absent, write(Condition::Absent)).await, [1, 1]),
            ("write if present", count.of(there, write(Condition::Present)).await, [1, 1]),
            (
                "take",
                count
                    .of(there, async |storage| {
                        storage.take("k", session()).await.expect("it runs").expect("it is there");
                    })
                    .await,
                [1, 2],
            ),
            (
                "touch",
                count
                    .of(there, async |storage| {
                        let is_there = storage.touch("k", session().with_ttl(day)).await;
                        assert!(is_there.expect("it runs"));
                    })
                    .await,
                [1, 1],
            ),
            (
                "keys",
                count
                    .of(there, async |storage| {
                        storage.keys(Page::new(10), session()).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            (
                "sessions",
                count
                    .of(there, async |storage| {
                        storage.sessions("ada", Page::new(10)).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            (
                "delete of a key",
                count
                    .of(there, async |storage| {
                        storage.delete(session().with_key("k")).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            (
                "delete_many of 500",
                count
                    .of(there, async |storage| {
                        storage.delete_many(keys, session()).await.expect("it runs");
                    })
                    .await,
                [1, 1],
            ),
            (
                "delete of a session",
                count
                    .of(there, async |storage| {
                        storage.delete(session()).await.expect("it runs");
                    })
                    .await,
                [4, 5],
            ),
            ("delete of a user", count.of(there, nobody).await, [4, 5]),
        ];
        for (call, statements, said) in figures {
            println!("{}: {statements} statements: {call}", server.name);
            let said = said[usize::from(!server.is_postgres())];
            assert_eq!(statements, said, "{call}: the table says {said}");
        }
    });
}

#[test]
fn a_user_of_100_000_items_goes_at_one_moment_and_stalls_nobody() {
    const SESSIONS: u64 = 1000;
    const KEYS: u64 = 100;
    on_each(async |server| {
        let options = server.options().timeout(Duration::from_secs(60));
        let storage = Arc::new(options.connect(&server.url).await.expect("it runs"));
        fill(&mut server.raw().await, &server.prefix, SESSIONS, KEYS).await;
        let first = Options::new().with_user_session("big", "1");
        let last = Options::new().with_user_session("big", "1000");
        for place in [first, last] {
            assert!(storage.get("100", place).await.expect("it runs").is_some(), "it was filled");
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let other = tokio::spawn(others(server.connect().await.expect("it runs"), is_over.clone()));
        let reader = {
            let (storage, is_over) = (Arc::clone(&storage), is_over.clone());
            tokio::spawn(async move {
                // Neither of them may be there once the other is gone.
                let mut gone = 0;
                // SeqCst, here and below: a flag of a test.
                while !is_over.load(Ordering::SeqCst) {
                    let first = storage.get("1", first).await.expect("it runs").is_some();
                    let last = storage.get("100", last).await.expect("it runs").is_some();
                    assert!(first || !last, "a key is there after another one had gone");
                    gone += u32::from(!last);
                }
                gone
            })
        };
        let started = Instant::now();
        let removed = storage.delete(Options::new().with_user("big")).await.expect("it runs");
        let took = started.elapsed();
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(removed.entries, SESSIONS * KEYS);
        reader.await.expect("it goes at one moment");
        let (calls, longest) = other.await.expect("it does not panic");
        for place in [first, last] {
            assert!(storage.get("100", place).await.expect("it runs").is_none(), "it was deleted");
        }
        println!(
            "{}: a user of {} items is invisible after {took:?}; meanwhile {calls} calls of another \
             client, the longest {longest:?}",
            server.name, removed.entries
        );
        assert!(longest < took.max(Duration::from_secs(1)), "another client waited {longest:?}");
    });
}

/// Reads and writes of another user; how many, and how long the longest took.
async fn others(storage: SqlStorage, is_over: Arc<AtomicBool>) -> (u64, Duration) {
    let (mut calls, mut longest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::SeqCst) {
        let started = Instant::now();
        storage.set("k", "v".into(), user()).await.expect("it runs");
        let set = started.elapsed();
        storage.get("k", user()).await.expect("it runs");
        longest = longest.max(set).max(started.elapsed() - set);
        calls += 2;
    }
    (calls, longest)
}

/// Sessions `1`, `2`, .. of the user `big`, with keys `1`, `2`, .. of 100 bytes.
async fn fill(raw: &mut Raw, prefix: &str, sessions: u64, keys: u64) {
    let count = |name: &str, most: u64| {
        format!("{name} (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM {name} WHERE n < {most})")
    };
    let bytes = |number: &str| match raw {
        Raw::Postgres(_) => format!("decode({number}::text, 'escape')"),
        Raw::MySql(_) => format!("CAST({number} AS CHAR)"),
    };
    let (s, k) = (count("s", sessions), count("k", keys));
    let (session, key) = (bytes("s.n"), bytes("k.n"));
    let (value, now) = match raw {
        Raw::Postgres(_) => ("decode(repeat('v', 100), 'escape')", "now()"),
        Raw::MySql(_) => ("REPEAT('v', 100)", "1"),
    };
    for insert in [
        format!("INSERT INTO {prefix}usr (u) VALUES ('big')"),
        format!(
            "INSERT INTO {prefix}sess (u, s) WITH RECURSIVE {s} SELECT 'big', {session} FROM s"
        ),
        format!(
            "INSERT INTO {prefix}kv (u, s, k, v, ver, created) WITH RECURSIVE {s}, {k} \
             SELECT 'big', {session}, {key}, {value}, 1, {now} FROM s, k"
        ),
    ] {
        raw.run(&insert).await.expect("it runs");
    }
}
