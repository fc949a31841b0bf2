//! PostgreSQL, MariaDB and MySQL. A user that is deleted has two sessions of four keys.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use scopecache::{Options, SqlOptions, SqlStorage, Storage};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use self::driver::{Arg, Driver, Item};
use crate::compare::{Contest, Who, compare, print_head};

#[path = "sql/driver.rs"]
mod driver;

const ROUNDS: usize = 4000;
const DELETIONS: usize = 1000;

const PREFIX: &str = "bench_";

const TIMEOUT: Duration = Duration::from_secs(60);

/// As many as a storage has if nothing else is said.
const CONNECTIONS: usize = 10;

const VALUE: [u8; 200] = [7; 200];
const DAY: Duration = Duration::from_secs(24 * 3600);
const SESSIONS: [&str; 2] = ["s", "t"];
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const ADA: Options<'_> = Options::new().with_user_session("ada", "s");

struct Bench {
    storage: SqlStorage,
    /// Each of those beside it has connections of its own, as the storage has: a server's process that works for
    /// one client alone, and not for the others in between.
    hands: [(Who, Hand); 3],
    keys: Vec<String>,
}

struct Gets<'b>(&'b Bench);
struct Sets<'b>(&'b Bench);
struct Deletions<'b>(&'b Bench);

impl Contest for Gets<'_> {
    async fn call(&self, who: Who, round: usize) {
        let Bench { storage, keys, .. } = self.0;
        let key = &keys[round % keys.len()];
        let data = match who {
            Who::Scopecache => storage.get(key, ADA).await.expect("read").expect("there").data,
            Who::ByHand => {
                black_box(self.0.hand(who).get("ada", "s", key).await.expect("there")).data.into()
            }
            Who::Less => self.0.hand(who).less_get("ada", "s", key).await.expect("there").into(),
            Who::Plain => self.0.hand(who).plain_get(key).await.expect("there").into(),
        };
        assert_eq!(data.len(), VALUE.len());
    }

    fn sent(&self, who: Who) -> Option<u64> {
        self.0.sent(who)
    }
}

impl Contest for Sets<'_> {
    async fn call(&self, who: Who, round: usize) {
        let Bench { storage, keys, .. } = self.0;
        let key = &keys[round % keys.len()];
        match who {
            Who::Scopecache => {
                let value = Bytes::from_static(&VALUE);
                storage.set(key, value, ADA.with_ttl(DAY)).await.expect("stored");
            }
            Who::ByHand | Who::Less => self.0.hand(who).set("ada", "s", key).await,
            Who::Plain => self.0.hand(who).plain_set(key).await,
        }
    }

    fn sent(&self, who: Who) -> Option<u64> {
        self.0.sent(who)
    }
}

impl Contest for Deletions<'_> {
    async fn before(&self, who: Who, round: usize) {
        let user = format!("{who:?} {round}");
        for session in SESSIONS {
            match who {
                Who::Scopecache => {
                    let items = KEYS.map(|key| (key, Bytes::from_static(&VALUE)));
                    let place = Options::new().with_user_session(&user, session).with_ttl(DAY);
                    self.0.storage.set_many(&items, place).await.expect("stored");
                }
                _ => {
                    for key in KEYS {
                        self.0.hand(who).set(&user, session, key).await;
                    }
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
            Who::Less => self.0.hand(who).less_delete_user(&user).await,
            _ => self.0.hand(who).delete_user(&user).await,
        };
        assert_eq!(removed, (SESSIONS.len() * KEYS.len()) as u64);
    }

    fn sent(&self, who: Who) -> Option<u64> {
        self.0.sent(who)
    }
}

impl Bench {
    fn hand(&self, who: Who) -> &Hand {
        let (_, hand) =
            self.hands.iter().find(|(whose, _)| *whose == who).expect("the storage is no hand");
        hand
    }

    fn sent(&self, who: Who) -> Option<u64> {
        Some(match who {
            Who::Scopecache => self.storage.figures().statements,
            // Relaxed: a count of calls that have answered.
            _ => self.hand(who).sent.load(Ordering::Relaxed),
        })
    }
}

/// The driver with statements that keep the promises of these three calls, and no more.
///
/// As in the storage, foreign keys order the inserts of a user and its deletion, deadlines and the time
/// of creation are the server's, versions the client's, and calls end in time. What is called less gives up
/// one thing each: a `get` may miss an item that is overwritten in the microsecond in which it expires; a
/// deletion does not count what is inserted into a session meanwhile, though it takes it along.
struct Hand {
    idle: Mutex<Vec<Driver>>,
    places: Semaphore,
    sent: AtomicU64,
}

/// A connection that goes back when this ends.
struct Place<'h> {
    driver: Option<Driver>,
    hand: &'h Hand,
    _permit: SemaphorePermit<'h>,
}

impl Hand {
    async fn new(url: &str) -> Self {
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(Driver::connect(url).await);
        }
        let places = Semaphore::new(CONNECTIONS);
        Self { idle: Mutex::new(idle), places, sent: AtomicU64::new(0) }
    }

    async fn place(&self) -> Place<'_> {
        let permit = self.places.acquire().await.expect("it is never closed");
        let driver = self.idle.lock().expect("no panic").pop();
        Place { driver, hand: self, _permit: permit }
    }

    async fn get(&self, user: &str, session: &str, key: &str) -> Option<Item> {
        in_time(async {
            let mut place = self.place().await;
            let driver = place.next();
            driver.get(driver.sql().get, &[Arg::Id(user), Arg::Id(session), Arg::Id(key)]).await
        })
        .await
    }

    async fn less_get(&self, user: &str, session: &str, key: &str) -> Option<Vec<u8>> {
        let mut place = self.place().await;
        let driver = place.next();
        let key = [Arg::Id(user), Arg::Id(session), Arg::Id(key)];
        driver.data(driver.sql().less_get, &key).await
    }

    async fn set(&self, user: &str, session: &str, key: &str) {
        // Relaxed: only uniqueness is asked for.
        let version = Arg::Number(self.sent.load(Ordering::Relaxed).cast_signed());
        let ttl_us = Arg::Number(DAY.as_micros() as i64);
        let (user, session) = (Arg::Id(user), Arg::Id(session));
        let item = [user, session, Arg::Id(key), Arg::Bytes(&VALUE), version, ttl_us];
        in_time(async {
            let mut place = self.place().await;
            let sql = place.driver().sql();
            while place.next().run(sql.set, &item).await.is_none() {
                // The first of a session. Where both are deleted once more meanwhile, again.
                place.next().say("BEGIN").await;
                place.next().run(sql.make_user, &[user]).await.expect("made");
                place.next().run(sql.make_session, &[user, session]).await.expect("made");
                if place.next().run(sql.set, &item).await.is_some() {
                    return place.next().say("COMMIT").await;
                }
                place.next().say("ROLLBACK").await;
            }
        })
        .await;
    }

    async fn delete_user(&self, user: &str) -> u64 {
        let user = [Arg::Id(user)];
        in_time(async {
            let mut place = self.place().await;
            let sql = place.driver().sql();
            place.next().say("BEGIN").await;
            let mut keys = 0;
            if place.next().count(sql.lock_user, &user).await > 0 {
                if let Some(delete_all) = sql.delete_all {
                    keys = place.next().count(delete_all, &user).await.cast_unsigned();
                } else {
                    keys = place.next().run(sql.delete_keys, &user).await.expect("deleted");
                    place.next().run(sql.delete_user, &user).await.expect("deleted");
                }
            }
            place.next().say("COMMIT").await;
            keys
        })
        .await
    }

    async fn less_delete_user(&self, user: &str) -> u64 {
        let user = Arg::Id(user);
        let mut place = self.place().await;
        let sql = place.driver().sql();
        place.next().say("BEGIN").await;
        place.next().run(sql.less_lock, &[user]).await.expect("locked");
        let keys = place.next().run(sql.delete_keys, &[user]).await.expect("deleted");
        place.next().run(sql.delete_user, &[user]).await.expect("deleted");
        place.next().say("COMMIT").await;
        keys
    }

    async fn plain_get(&self, key: &str) -> Option<Vec<u8>> {
        let mut place = self.place().await;
        let driver = place.next();
        driver.data(driver.sql().plain_get, &[Arg::Id(key)]).await
    }

    async fn plain_set(&self, key: &str) {
        let mut place = self.place().await;
        let driver = place.next();
        let item = [Arg::Id(key), Arg::Bytes(&VALUE)];
        driver.run(driver.sql().plain_set, &item).await.expect("stored");
    }
}

impl Place<'_> {
    fn driver(&mut self) -> &mut Driver {
        self.driver.as_mut().expect("there are as many as places")
    }

    /// For one more statement.
    fn next(&mut self) -> &mut Driver {
        // Relaxed: as in `Bench::sent`.
        self.hand.sent.fetch_add(1, Ordering::Relaxed);
        self.driver()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.hand.idle.lock().expect("no panic").extend(self.driver.take());
    }
}

/// No call by hand takes longer than one of the storage may.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, call).await.expect("the server answers")
}

pub(crate) async fn run(url: &str) {
    let mut driver = Driver::connect(url).await;
    let storage = SqlOptions::new().prefix(PREFIX).max_connections(CONNECTIONS);
    // Nobody cleans meanwhile, neither here nor by hand.
    let storage = storage.clean_every(None).timeout(TIMEOUT);
    for statement in driver.no_disk() {
        driver.say(statement).await;
    }
    for statement in driver.tables(PREFIX) {
        driver.say(&statement).await;
    }
    let bench = Bench {
        storage: storage.connect(url).await.expect("connects"),
        hands: [
            (Who::ByHand, Hand::new(url).await),
            (Who::Less, Hand::new(url).await),
            (Who::Plain, Hand::new(url).await),
        ],
        keys: (0..1000).map(|index| format!("key {index}")).collect(),
    };
    print_head();
    // By hand a set that keeps less would not be simpler.
    let who = &[Who::Scopecache, Who::ByHand, Who::Plain];
    compare("set", who, ROUNDS, &Sets(&bench)).await;
    driver.settle().await;
    compare("get", Who::ALL, ROUNDS, &Gets(&bench)).await;
    let who = &[Who::Scopecache, Who::ByHand, Who::Less];
    compare("delete_user", who, DELETIONS, &Deletions(&bench)).await;
}
