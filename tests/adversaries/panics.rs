//! User code that panics, in every place where a cache calls it, beside threads that go on.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, Error, ExpiryPolicy, Maintenance, Scope, SetOptions};

use crate::pressure::{Random, settle, wait_until};

const MINUTE: Duration = Duration::from_secs(60);
/// What a planned panic says, so that the hook can tell it from others.
const PLANNED: &str = "planned";

thread_local! {
    /// Which callback is to panic next on this thread.
    static BOMB: Cell<Option<Callback>> = const { Cell::new(None) };
}

/// A place where a cache runs user code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Callback {
    Update,
    Loader,
    Weigher,
    Expiry,
    Clone,
    Hash,
}

const CALLBACKS: [Callback; 6] = [
    Callback::Update,
    Callback::Loader,
    Callback::Weigher,
    Callback::Expiry,
    Callback::Clone,
    Callback::Hash,
];

/// Panics where this callback was armed on this thread; once.
fn run(callback: Callback) {
    if BOMB.get() == Some(callback) {
        BOMB.set(None);
        // Past the hook, which would print each of thousands.
        std::panic::resume_unwind(Box::new(PLANNED));
    }
}

/// A value that counts itself.
struct Counted {
    size: usize,
    alive: Arc<AtomicI64>,
}

impl Counted {
    fn new(size: usize, alive: &Arc<AtomicI64>) -> Self {
        // SeqCst, here and below: values are counted on all threads, and tests need no cleverness.
        alive.fetch_add(1, Ordering::SeqCst);
        Self { size, alive: Arc::clone(alive) }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        run(Callback::Clone);
        Self::new(self.size, &self.alive)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // SeqCst: as in `new`.
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
struct Hashes(ahash::RandomState);

#[derive(Clone)]
struct Hashing(ahash::AHasher);

impl BuildHasher for Hashes {
    type Hasher = Hashing;

    fn build_hasher(&self) -> Hashing {
        Hashing(self.0.build_hasher())
    }
}

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        run(Callback::Hash);
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

type Typed = Cache<Counted, Hashes>;

fn cache() -> Typed {
    Cache::<Counted>::builder()
        .max_bytes(64 << 10)
        .expected_entries(100)
        .weigher(|value: &Counted| {
            run(Callback::Weigher);
            value.size
        })
        .expiry(ExpiryPolicy::per_entry(|_, _, _: &Counted| {
            run(Callback::Expiry);
            Some(MINUTE)
        }))
        .maintenance(Maintenance::Manual)
        .max_retired_bytes(1 << 30)
        .hasher(Hashes::default())
        .build()
        .expect("valid settings")
}

/// One call of whatever kind.
fn call(scope: &Scope<Counted, Hashes>, random: &mut Random, alive: &Arc<AtomicI64>) {
    let key = format!("key {}", random.below(20));
    let value = || Counted::new(500, alive);
    let done = match random.below(12) {
        0..=2 => scope.set(&key, value()).map(drop),
        3 => scope.insert(&key, value()).map(drop),
        4 => scope.get(&key).map(drop),
        5 => scope.take(&key).map(drop),
        6 => scope.touch(&key, MINUTE).map(drop),
        7 => scope
            .update(&key, |old: &Counted| {
                run(Callback::Update);
                Counted::new(old.size, &old.alive)
            })
            .map(drop),
        8 => {
            let load = scope.get_or_load(&key, || {
                run(Callback::Loader);
                Ok::<_, Error>(Counted::new(300, alive))
            });
            load.map(drop)
        }
        9 => scope.lease(&key).and_then(|lease| lease.fulfil(value())).map(drop),
        10 => scope.set_with(&key, value(), SetOptions::new().keep_ttl()).map(drop),
        _ => scope.delete_all().map(drop),
    };
    // A full cache, or a lease that somebody else has.
    let _ = done;
}

#[test]
fn a_panic_in_any_callback_leaves_a_sound_cache_and_others_go_on() {
    const CALLS: u64 = 24_000;
    let alive = Arc::new(AtomicI64::new(0));
    let cache = cache();
    let panicked: [AtomicU64; CALLBACKS.len()] = Default::default();
    let (ended, quiet_calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        let (cache, alive, panicked) = (&cache, &alive, &panicked);
        let (ended, quiet_calls) = (&ended, &quiet_calls);
        // Nothing is armed here: this thread must never see a panic, and never wait for ever.
        threads.spawn(move || {
            let mut random = Random(1);
            // SeqCst, here and below: tests need no cleverness.
            while !ended.load(Ordering::SeqCst) {
                let scope = cache.session("ada", ["s", "t"][random.below(2) as usize]);
                call(&scope.expect("valid"), &mut random, alive);
                quiet_calls.fetch_add(1, Ordering::SeqCst);
            }
        });
        let loud = threads.spawn(move || {
            let mut random = Random(2);
            for number in 0..CALLS {
                let index = number as usize % CALLBACKS.len();
                BOMB.set(Some(CALLBACKS[index]));
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let scope = cache.session("ada", "s").expect("valid");
                    call(&scope, &mut random, alive);
                }));
                BOMB.set(None);
                if unwound.is_err() {
                    // SeqCst: as above.
                    panicked[index].fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        loud.join().expect("every panic was caught");
        // SeqCst, here and below: pairs with the count and the loop of the other thread.
        let before = quiet_calls.load(Ordering::SeqCst);
        wait_until("the other thread goes on", || quiet_calls.load(Ordering::SeqCst) > before);
        ended.store(true, Ordering::SeqCst);
    });
    for (callback, panicked) in CALLBACKS.iter().zip(&panicked) {
        // SeqCst: a count; who made it has been joined.
        let times = panicked.load(Ordering::SeqCst);
        assert!(times > 5, "{callback:?} panicked {times} times: it is hardly called");
    }
    settle(&cache);
    cache.clear();
    settle(&cache);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{stats:?}");
    cache.close();
    drop(cache);
    // What a panic interrupted was given back, and every value is dropped once.
    let other = self::cache();
    wait_until("all values are dropped", || {
        other.maintain(1);
        // SeqCst: counted down by whoever frees.
        alive.load(Ordering::SeqCst) == 0
    });
}

/// A value whose drop panics, once, wherever that happens.
#[derive(Clone)]
struct Mine {
    armed: Arc<AtomicBool>,
}

impl Drop for Mine {
    fn drop(&mut self) {
        // SeqCst: whoever frees asks, and one alone is to find it armed.
        if Arc::strong_count(&self.armed) <= 2 && self.armed.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new(PLANNED));
        }
    }
}

/// Whoever frees a value gets the panic of its drop: here the caller of `maintain`.
#[test]
fn a_panic_in_the_drop_of_a_value_costs_no_other_value() {
    let cache: Cache<Mine> = Cache::<Mine>::builder()
        .maintenance(Maintenance::Manual)
        .max_retired_bytes(1 << 30)
        .build()
        .expect("valid settings");
    let scope = cache.user("ada").expect("valid");
    let marks: Vec<_> = (0..100).map(|number| Arc::new(AtomicBool::new(number == 50))).collect();
    for (key, armed) in marks.iter().enumerate() {
        let value = Mine { armed: Arc::clone(armed) };
        scope.set(format!("key {key}"), value).expect("room");
    }
    scope.delete_all().expect("open");
    let mut panics = 0;
    wait_until("the value with the panic is dropped", || {
        let freed = catch_unwind(AssertUnwindSafe(|| cache.maintain(1000)));
        panics += u32::from(freed.is_err());
        // SeqCst: pairs with the swap of the drop, whoever does that.
        !marks[50].load(Ordering::SeqCst)
    });
    assert_eq!(panics, 1, "the panic reaches who frees, once");
    scope.set("k", Mine { armed: Arc::new(AtomicBool::new(false)) }).expect("others go on");
    assert!(scope.contains("k").expect("open"));
    settle(&cache);
}
