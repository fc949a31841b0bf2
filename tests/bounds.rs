//! The bounds on memory and on entries, and what a full cache does: evict, reject, or refuse.
//!
//! The faults of other caches that have a test here are listed in the issues named beside it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use scopecache::{
    Blob, Cache, CacheBuilder, Error, ErrorKind, Eviction, Maintenance, MockClock, OnFull, Scope,
    SetOptions,
};

const MINUTE: Duration = Duration::from_secs(60);
/// After this a test that waits for another thread gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The epochs are those of the process: a test that holds a guard, `validate` included, keeps
/// the memory of all caches from being freed. That is the subject of one test, and must not make
/// the others fail.
fn builder() -> CacheBuilder<Blob> {
    Cache::builder().maintenance(Maintenance::Manual).max_retired_bytes(1 << 30)
}

/// Does what is pending, and checks every invariant.
#[track_caller]
fn settle<S>(cache: &Cache<Blob, S>)
where
    S: BuildHasher<Hasher: Clone>,
{
    let most = 100_000;
    assert!((0..most).any(|_| !cache.maintain(1000).pending), "maintenance comes to no end");
    if let Err(broken) = cache.validate() {
        panic!("{broken}");
    }
}

/// Asks again and again, other threads at work; answers how long it took.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
    start.elapsed()
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Whatever is hashed, the answer is the same.
#[derive(Clone, Copy, Default)]
struct Colliding;

impl Hasher for Colliding {
    fn write(&mut self, _: &[u8]) {}
    fn finish(&self) -> u64 {
        0x0123_4567_89AB_CDEF
    }
}

impl BuildHasher for Colliding {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self
    }
}

/// Sets new keys until the first eviction, and as many again.
fn fill(scope: &Scope, bytes: usize) -> scopecache::Result<()> {
    let mut last = 0;
    for key in 0_u64.. {
        scope.set(format!("filler {key}"), vec![7; bytes])?;
        let entries = scope.cache().stats().entries;
        if entries <= last && key > 2 * last {
            return Ok(());
        }
        last = last.max(entries);
    }
    Ok(())
}

// The bound on memory.

#[test]
fn live_memory_stays_within_its_bound_while_two_threads_set_values_of_any_size()
-> scopecache::Result<()> {
    const SETS: u64 = 4000;
    const MOST: u64 = 100 << 10;
    for keep_large in [false, true] {
        let mut settings = builder().max_bytes(1 << 20);
        if keep_large {
            settings = settings.keep_large();
        }
        let cache = settings.build()?;
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let mut random = Random(thread);
                    for _ in 0..SETS {
                        let user = format!("user {}", random.below(20));
                        let scope = cache.user(&user).expect("a valid id");
                        // Sizes of all magnitudes.
                        let below = MOST >> random.below(17);
                        let value = vec![7; random.below(below.max(1)) as usize + 1];
                        let key = format!("key {}", random.below(200));
                        scope.set(&key, value).expect("something can be evicted");
                        let live = cache.stats().live_bytes;
                        assert!(live <= 1 << 20, "{live} bytes live");
                    }
                });
            }
        });
        settle(&cache);
        let mut found = 0;
        for user in cache.users()? {
            found += cache.user(&user)?.usage()?.bytes;
        }
        let live = cache.stats().live_bytes;
        assert!(found <= live && live <= 1 << 20, "{found} bytes in entries, {live} live");
        assert!(found > 1 << 19, "{found} bytes of a full cache are of use");

        cache.clear();
        settle(&cache);
        assert_eq!((cache.stats().entries, cache.stats().users), (0, 0));
        wait_until("what was retired is freed", || {
            cache.maintain(1);
            cache.stats().retired_bytes == 0
        });
        cache.user("ada")?.set("k", vec![1; 50 << 10])?;
        assert!(cache.user("ada")?.contains("k")?);
    }
    Ok(())
}

/// lance#9115 and #8013, foyer#714: a budget that is split by shards refuses what the whole has
/// room for.
#[test]
fn an_entry_of_most_of_the_budget_is_stored_though_there_are_16_shards() -> scopecache::Result<()> {
    const MAX: usize = 1 << 20;
    for percent in [60, 95] {
        let cache = builder().max_bytes(MAX as u64).shards(16).keep_large().build()?;
        let scope = cache.user("ada")?;
        let value = vec![percent as u8; MAX / 100 * percent];
        scope.set("in an empty cache", value.as_slice())?;
        assert_eq!(scope.get("in an empty cache")?.expect("stored").data(), value);
        settle(&cache);
    }
    let cache = builder().max_bytes(MAX as u64).shards(16).keep_large().build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 1000)?;
    let before = cache.stats().entries;
    let value = vec![1; MAX / 100 * 60];
    scope.set("in a full cache", value.as_slice())?;
    assert_eq!(scope.get("in a full cache")?.expect("stored").data(), value);
    let left = cache.stats().entries;
    assert!(left > before / 4, "{left} of {before} entries are left beside one of 60 %");
    settle(&cache);
    Ok(())
}

/// The same: here all entries fall into one of 16 shards.
#[test]
fn one_shard_may_use_the_whole_budget() -> scopecache::Result<()> {
    let cache = builder().max_bytes(1 << 20).shards(16).hasher(Colliding).build()?;
    let scope = cache.user("ada")?;
    for key in 0..400 {
        scope.set(format!("key {key}"), vec![7; 8 << 10])?;
    }
    let bytes = scope.usage()?.bytes;
    assert!(bytes > (1 << 20) / 10 * 9, "{bytes} bytes of 1 MiB");
    settle(&cache);
    Ok(())
}

#[test]
fn nothing_is_evicted_for_an_entry_that_exceeds_the_bound() -> scopecache::Result<()> {
    for keep_large in [false, true] {
        let mut settings = builder().max_bytes(256 << 10);
        if keep_large {
            settings = settings.keep_large();
        }
        let cache = settings.build()?;
        let scope = cache.user("ada")?;
        fill(&scope, 1000)?;
        let before = scope.keys()?.len();
        for bytes in [256 << 10, 300 << 10, 10 << 20] {
            let error = scope.set("huge", vec![1; bytes]).expect_err("too large");
            assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
            assert!(error.to_string().contains("larger than max_bytes"), "{error}");
        }
        assert_eq!(scope.keys()?.len(), before);
        assert!(scope.get("huge")?.is_none());
        settle(&cache);
    }
    Ok(())
}

/// With what belongs to it, such as the node of its user, the entry does not fit.
#[test]
fn nothing_is_evicted_for_an_entry_that_just_misses_the_bound() -> scopecache::Result<()> {
    const MAX: usize = 256 << 10;
    let cache = builder().max_bytes(MAX as u64).keep_large().build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 1000)?;
    let before = scope.keys()?.len();
    let error = scope.set("huge", vec![1; MAX - 200]).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    assert_eq!(scope.keys()?.len(), before, "entries left, of {before}");
    settle(&cache);
    Ok(())
}

#[test]
fn a_bound_below_one_entry_refuses_every_set_in_words_and_answers_reads() -> scopecache::Result<()>
{
    for max_bytes in [1, 64, 100] {
        for on_full in [OnFull::Evict, OnFull::Reject] {
            let cache = builder().max_bytes(max_bytes).on_full(on_full).build()?;
            let scope = cache.session("ada", "s")?;
            let error = scope.set("k", [7; 20].as_slice()).expect_err("no room");
            assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
            assert!(error.to_string().contains("max_bytes"), "{error}");
            assert!(scope.get("k")?.is_none());
            assert_eq!(scope.delete_all()?.entries, 0);
            settle(&cache);
            assert_eq!(cache.stats().entries, 0);
        }
    }
    Ok(())
}

#[test]
fn the_greatest_bound_is_none() -> scopecache::Result<()> {
    for on_full in [OnFull::Evict, OnFull::Reject] {
        let settings = builder().max_bytes(u64::MAX).max_entries(u64::MAX).on_full(on_full);
        let cache = settings.expected_entries(100).build()?;
        let scope = cache.user("ada")?;
        for key in 0..500 {
            scope.set_with(format!("key {key}"), "v", SetOptions::new().ttl(MINUTE))?;
        }
        assert_eq!(cache.stats().entries, 500);
        settle(&cache);
    }
    // As many lines as are ever guessed.
    let cache = builder().max_bytes(u64::MAX).build()?;
    cache.user("ada")?.set("k", "v")?;
    assert!(cache.user("ada")?.contains("k")?);
    Ok(())
}

#[test]
fn senseless_bounds_are_refused_in_words() {
    let refused = |settings: CacheBuilder<Blob>, word: &str| {
        let error = settings.build().expect_err("senseless");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(builder().max_bytes(0), "max_bytes");
    refused(builder().max_entries(0), "max_entries");
    refused(builder().tick(Duration::ZERO), "tick");
    refused(builder().tick(Duration::from_micros(9999)), "tick");
    builder().tick(Duration::from_millis(10)).build().expect("the shortest tick");
    builder().tick(Duration::MAX).build().expect("the longest tick");
}

// The bound on entries.

/// quick_cache#106: a cache of one entry stores nothing.
#[test]
fn the_number_of_entries_reaches_its_bound_exactly_and_never_passes_it() -> scopecache::Result<()> {
    for most in [1, 2, 20, 1000] {
        for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
            let cache = builder().max_entries(most).eviction(eviction).build()?;
            let scope = cache.user("ada")?;
            for key in 0..3 * most + 10 {
                scope.set(format!("key {key}"), format!("value {key}"))?;
                let entries = cache.stats().entries;
                // Where there are many, a 64th may stand idle as the credits of shards.
                let least = (key + 1).min(most - most / 64);
                assert!((least..=most).contains(&entries), "{entries} of {most} at key {key}");
                let item = scope.get(format!("key {key}"))?.expect("just set");
                assert_eq!(item.data(), format!("value {key}").as_bytes());
            }
            let keys = scope.keys()?;
            // An overwrite needs no place.
            scope.set(&keys[0], "again")?;
            assert_eq!(scope.keys()?.len(), keys.len());
            settle(&cache);
        }
    }
    Ok(())
}

#[test]
fn two_threads_fill_the_places_and_take_no_more() -> scopecache::Result<()> {
    for most in [1, 2, 20, 300] {
        let cache = builder().max_entries(most).shards(4).expected_entries(100).build()?;
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let scope = cache.user(&format!("user {thread}")).expect("a valid id");
                    for key in 0..3000 {
                        match scope.set(format!("key {key}"), "v") {
                            // The other one's entry is on its way, and there are no more places.
                            Err(error) if most < 3 => {
                                assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
                            }
                            set => assert!(set.is_ok(), "{set:?} of {most}"),
                        }
                    }
                });
            }
        });
        assert!(cache.stats().entries <= most, "{} of {most}", cache.stats().entries);
        settle(&cache);
        cache.user("eve")?.set("another", "v")?;
        assert_eq!(cache.stats().entries, most);
    }
    Ok(())
}

#[test]
fn a_scan_of_ten_times_the_bound_leaves_what_is_read_all_the_time() -> scopecache::Result<()> {
    const MOST: u64 = 1000;
    const HOT: u64 = 100;
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_entries(MOST).eviction(eviction).build()?;
        let scope = |key| cache.user(&format!("user {}", key % 20));
        for key in 0..HOT {
            scope(key)?.set(format!("hot {key}"), "v")?;
        }
        let mut hits = 0;
        for key in 0..10 * MOST {
            scope(key)?.set(format!("scanned {key}"), "v")?;
            hits += u64::from(scope(key % HOT)?.get(format!("hot {}", key % HOT))?.is_some());
        }
        let share = hits as f64 / (10 * MOST) as f64;
        println!("{eviction:?}: {share:.4} of the hot reads hit");
        assert!(share > 0.99, "{eviction:?}: {share}");
        assert!(cache.stats().entries <= MOST);
        settle(&cache);
    }
    Ok(())
}

/// The same where the bound is one on bytes.
#[test]
fn a_scan_of_ten_times_the_memory_leaves_what_is_read_all_the_time() -> scopecache::Result<()> {
    const SCANNED: u64 = 10_000;
    const HOT: u64 = 100;
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_bytes(512 << 10).eviction(eviction).build()?;
        // Not all of one owner, whose handles `validate` reads again for each entry.
        let scope = |key| cache.user(&format!("user {}", key % 20));
        for key in 0..HOT {
            scope(key)?.set(format!("hot {key}"), vec![7; 300])?;
        }
        let mut hits = 0;
        for key in 0..SCANNED {
            scope(key)?.set(format!("scanned {key}"), vec![7; 300])?;
            hits += u64::from(scope(key % HOT)?.get(format!("hot {}", key % HOT))?.is_some());
        }
        let share = hits as f64 / SCANNED as f64;
        println!("{eviction:?}: {share:.4} of the hot reads hit");
        assert!(share > 0.99, "{eviction:?}: {share}");
        settle(&cache);
    }
    Ok(())
}

#[test]
fn a_get_counts_as_a_hit_and_a_peek_or_contains_does_not() -> scopecache::Result<()> {
    let survivors = |look: &dyn Fn(&Scope) -> scopecache::Result<()>| -> scopecache::Result<_> {
        let cache = builder().max_entries(10).shards(1).build()?;
        let scope = cache.user("ada")?;
        for key in 0..10 {
            scope.set(format!("old {key}"), "v")?;
        }
        (0..4).try_for_each(|_| look(&scope))?;
        for key in 0..10 {
            scope.set(format!("new {key}"), "v")?;
        }
        let mut keys = scope.keys()?;
        keys.sort();
        Ok(keys)
    };
    // The first one of all: what is set while there is room goes to the main queue after it.
    const FIRST: &str = "old 0";
    let unseen = survivors(&|_| Ok(()))?;
    assert!(!unseen.iter().any(|key| key == FIRST), "{unseen:?}");
    assert_eq!(survivors(&|scope| scope.peek(FIRST).map(drop))?, unseen);
    assert_eq!(survivors(&|scope| scope.contains(FIRST).map(drop))?, unseen);
    let read = survivors(&|scope| scope.get(FIRST).map(drop))?;
    assert!(read.iter().any(|key| key == FIRST), "{read:?}");
    let borrowed = survivors(&|scope| {
        let guard = scope.cache().pin();
        scope.get_ref(FIRST, &guard).map(drop)
    })?;
    assert_eq!(borrowed, read);
    assert_eq!(survivors(&|scope| scope.get_many(&[FIRST]).map(drop))?, read);
    Ok(())
}

// What eviction leaves behind.

#[test]
fn an_eviction_is_a_delete_that_nobody_asked_for() -> scopecache::Result<()> {
    let cache = builder().max_entries(500).build()?;
    let mut random = Random(7);
    let mut versions = HashMap::new();
    for step in 0..20_000 {
        let user = format!("user {}", random.below(10));
        let session = format!("session {}", random.below(20));
        let scope = match random.below(4) {
            0 => cache.user(&user)?,
            _ => cache.session(&user, &session)?,
        };
        let key = format!("key {}", random.below(10));
        let version = scope.set(&key, format!("value {step}"))?;
        versions.insert((format!("{:?}", scope.namespace()), key), version);
    }
    settle(&cache);
    let mut entries = 0;
    for user in cache.users()? {
        let scope = cache.user(&user)?;
        let (mut of_user, own) = (scope.keys()?.len() as u64, scope.usage()?);
        let mut scopes = vec![scope];
        for session in cache.sessions(&user)? {
            let scope = cache.session(&user, &session)?;
            let keys = scope.keys()?.len() as u64;
            assert_eq!(scope.usage()?.entries, keys);
            assert!(keys > 0, "an empty session is left");
            of_user += keys;
            scopes.push(scope);
        }
        assert_eq!(own.entries, of_user);
        for scope in scopes {
            for key in scope.keys()? {
                let item = scope.get(&key)?.expect("listed");
                let key = String::from_utf8(key.to_vec()).expect("text");
                let last = versions.remove(&(format!("{:?}", scope.namespace()), key));
                assert_eq!(last, Some(item.version()), "the last that was set");
            }
        }
        entries += of_user;
    }
    assert_eq!(entries, 500);
    Ok(())
}

#[test]
fn sessions_that_lose_their_last_entry_to_eviction_are_retired() -> scopecache::Result<()> {
    let cache = builder().max_entries(1000).build()?;
    for session in 0..100_000 {
        let user = format!("user {}", session % 777);
        cache.session(&user, &format!("session {session}"))?.set("k", "v")?;
        if session % 1000 == 0 {
            let stats = cache.stats();
            assert!(stats.sessions <= 1000, "{} sessions", stats.sessions);
            assert!(stats.users <= 777, "{} users", stats.users);
        }
    }
    let stats = cache.stats();
    assert_eq!(stats.entries, stats.sessions);
    assert!((980..=1000).contains(&stats.sessions), "{} sessions", stats.sessions);
    let live = cache.stats().live_bytes;
    assert!(live < 1_000_000, "{live} bytes for 1000 sessions");
    settle(&cache);
    Ok(())
}

/// moka#590: a key that comes back while it is being evicted leaves a node that nobody can
/// evict, and in the end nothing can be evicted any more.
#[test]
fn keys_that_are_evicted_and_come_back_never_stall_eviction() -> scopecache::Result<()> {
    let cache = builder().max_bytes(256 << 10).build()?;
    let mut highest = [0; 4];
    for highest in &mut highest {
        thread::scope(|threads| {
            for thread in 0..2 {
                let cache = &cache;
                threads.spawn(move || {
                    let mut random = Random(thread);
                    let scope = cache.user("ada").expect("a valid id");
                    for _ in 0..5000 {
                        let key = format!("key {}", random.below(600));
                        match random.below(8) {
                            0 => drop(scope.delete(&key).expect("open")),
                            1 => drop(scope.get(&key).expect("open")),
                            _ => {
                                let set = scope.set(&key, vec![7; 800]);
                                assert!(set.is_ok(), "{set:?}: {:?}", cache.stats());
                            }
                        }
                    }
                });
            }
        });
        settle(&cache);
        *highest = cache.user("ada")?.usage()?.entries;
    }
    let scope = cache.user("ada")?;
    let least = (256 << 10) / 1000 * 6 / 10;
    assert!(highest.iter().all(|&entries| entries > least), "{highest:?} entries, not {least}");
    for key in 0..600 {
        scope.set(format!("other {key}"), vec![7; 800])?;
    }
    assert!(scope.contains("other 599")?);
    settle(&cache);
    Ok(())
}

/// stretto#57 and #13: what was just set is not there; under pressure nothing is stored any more.
#[test]
fn a_full_cache_shows_each_thread_what_it_has_just_set() -> scopecache::Result<()> {
    let cache = builder().max_bytes(128 << 10).build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(3);
    for step in 0..20_000 {
        let key = format!("key {}", random.below(2000));
        let value = format!("{step} {}", "x".repeat(random.below(500) as usize));
        scope.set(&key, value.as_str())?;
        assert_eq!(scope.get(&key)?.expect("just set").data(), value.as_bytes());
    }
    settle(&cache);
    Ok(())
}

/// A value that is counted while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "dropped twice");
    }
}

/// moka#64, #176 and #329: values that were evicted, overwritten or expired are never dropped.
#[test]
fn every_value_is_dropped_once_however_it_left() -> scopecache::Result<()> {
    let alive = Arc::new(AtomicUsize::new(0));
    let clock = MockClock::new();
    let cache = Cache::<Counted>::builder()
        .maintenance(Maintenance::Manual)
        .max_entries(200)
        .clock(clock.clone())
        .build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(5);
    for step in 0..10_000 {
        let key = format!("key {}", random.below(600));
        let options = SetOptions::new().ttl(Duration::from_secs(1 + random.below(100)));
        scope.set_with(&key, Counted::new(&alive), options)?;
        match step % 7 {
            0 => drop(scope.delete(&key)?),
            1 => drop(scope.take(&key)?),
            2 => drop(scope.set(&key, Counted::new(&alive))?),
            3 => drop(scope.get_or_load(&key, || Ok::<_, Error>(Counted::new(&alive)))?),
            4 => clock.advance(Duration::from_secs(1)),
            _ => {}
        }
    }
    wait_until("no value is alive but those in the cache", || {
        cache.maintain(100);
        alive.load(Ordering::SeqCst) as u64 == cache.stats().entries
    });
    drop((scope, cache));
    let other = builder().build()?;
    wait_until("no value outlives the cache", || {
        other.maintain(1);
        alive.load(Ordering::SeqCst) == 0
    });
    Ok(())
}

// Readers that stall.

/// quick_cache#98: what a reader holds on to blocks eviction for good.
#[test]
fn a_reader_that_stalls_stops_writes_at_the_bound_and_reads_go_on() -> scopecache::Result<()> {
    const VALUE: usize = 4000;
    const MOST_RETIRED: u64 = 256 << 10;
    let cache = builder().max_bytes(1 << 20).max_retired_bytes(MOST_RETIRED).build()?;
    let scope = cache.user("ada")?;
    for key in 0..300 {
        // Guards of other tests delay it.
        wait_until("a set", || scope.set(format!("filler {key}"), vec![7; VALUE]).is_ok());
    }
    wait_until("a set", || scope.set("read", "by the one who stalls").is_ok());
    for overwrites in [true, false] {
        thread::scope(|threads| {
            let (leave, left) = mpsc::channel::<()>();
            let (came, come) = mpsc::channel();
            let stalled = scope.clone();
            threads.spawn(move || {
                let guard = stalled.cache().pin();
                let item = stalled.get_ref("read", &guard).expect("open").expect("present");
                came.send(()).expect("listens");
                // An error: the test has failed, and its end of the channel is gone.
                let _ = left.recv();
                assert_eq!(item.data(), b"by the one who stalls");
            });
            come.recv().expect("the reader reads");
            let mut sets = 0;
            let refused = loop {
                let key = if overwrites { "k".into() } else { format!("new {sets}") };
                let set = scope.set(&key, vec![7; VALUE]);
                let retired = cache.stats().retired_bytes;
                let limit = MOST_RETIRED + VALUE as u64 + 200;
                assert!(retired <= limit, "{retired} bytes retired, {limit} allowed");
                assert!(cache.stats().live_bytes <= 1 << 20);
                match set {
                    Err(error) => break error,
                    Ok(_) => sets += 1,
                }
                assert!(sets < 1000, "nothing stops it");
            };
            assert_eq!(refused.kind(), ErrorKind::CapacityExceeded);
            assert!(refused.to_string().contains("guard"), "{refused}");
            let retired = cache.stats().retired_bytes;
            assert!(retired > MOST_RETIRED / 2, "stopped at {retired} bytes");
            // Any of them may have been evicted by now, but what is there is read and deleted.
            let keys = scope.keys().expect("open");
            assert!(keys.len() > 100, "{} entries are left", keys.len());
            for key in &keys {
                assert!(scope.get(key).expect("open").is_some());
            }
            assert!(scope.delete(&keys[0]).expect("a deletion never fails"));
            leave.send(()).expect("the reader waits");
        });
        wait_until("sets succeed again", || scope.set("read", "by the one who stalls").is_ok());
        settle(&cache);
    }
    wait_until("everything retired is freed", || {
        cache.maintain(1);
        cache.stats().retired_bytes == 0
    });
    Ok(())
}

// OnFull::Reject.

#[test]
fn a_full_cache_that_rejects_loses_nothing_that_has_not_expired() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let settings = builder().max_bytes(64 << 10).on_full(OnFull::Reject).clock(clock.clone());
    let cache = settings.build()?;
    let scope = cache.user("ada")?;
    let mut random = Random(11);
    // Key to deadline.
    let mut model = HashMap::new();
    let mut refused = 0;
    for step in 0..1000 {
        let key = format!("key {step}");
        let secs = random.below(1000) + 1;
        let forever = random.below(100) == 0;
        let mut options = SetOptions::new();
        if !forever {
            options = options.ttl(Duration::from_secs(secs));
        }
        match scope.set_with(&key, vec![7; random.below(300) as usize], options) {
            Ok(_) => {
                let end = clock.now() + Duration::from_secs(secs);
                model.insert(key, if forever { Duration::MAX } else { end });
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
                refused += 1;
                clock.advance(Duration::from_secs(1));
            }
        }
        model.retain(|_, deadline| *deadline > clock.now());
        if step % 100 == 0 {
            for key in model.keys() {
                assert!(scope.contains(key)?, "{key} was lost at step {step}");
            }
        }
    }
    assert!(refused > 50, "only {refused} sets were refused");
    assert_eq!(scope.keys()?.len(), model.len());
    settle(&cache);
    Ok(())
}

#[test]
fn a_full_cache_that_rejects_accepts_again_what_it_held_once_that_has_expired()
-> scopecache::Result<()> {
    let clock = MockClock::new();
    let settings = builder().max_bytes(64 << 10).on_full(OnFull::Reject).clock(clock.clone());
    let cache = settings.build()?;
    let fill = |user: &str| -> scopecache::Result<u64> {
        let scope = cache.user(user)?;
        for key in 0.. {
            let options = SetOptions::new().ttl(MINUTE);
            match scope.set_with(format!("key {key}"), vec![7; 100], options) {
                Err(error) if error.kind() == ErrorKind::CapacityExceeded => return Ok(key),
                set => drop(set?),
            }
        }
        unreachable!("the memory is bounded")
    };
    let first = fill("user 0")?;
    for round in 1..5 {
        // Not a nanosecond before.
        clock.advance(MINUTE - Duration::from_nanos(1));
        let held = cache.user(&format!("user {}", round - 1))?.keys()?.len() as u64;
        assert!(held >= first * 9 / 10, "{held} of {first} are left");
        clock.advance(Duration::from_nanos(1));
        let again = fill(&format!("user {round}"))?;
        assert!(again * 100 >= first * 95, "round {round}: {again} entries, at first {first}");
    }
    settle(&cache);
    Ok(())
}

// Large values.

#[test]
fn a_full_cache_keeps_a_huge_value_only_when_it_is_set_again() -> scopecache::Result<()> {
    for eviction in [Eviction::Adaptive, Eviction::S3Fifo] {
        let cache = builder().max_bytes(1 << 20).eviction(eviction).build()?;
        let scope = cache.user("ada")?;
        fill(&scope, 1000)?;
        let before = scope.keys()?.len();
        let huge = vec![1; 200 << 10];
        for key in 0..20 {
            scope.set(format!("huge {key}"), huge.as_slice())?;
            assert!(scope.get(format!("huge {key}"))?.is_none(), "{eviction:?}: kept");
        }
        assert_eq!(scope.keys()?.len(), before, "{eviction:?}: something was evicted for it");
        settle(&cache);
        // S3-FIFO, as published, remembers nothing of what it refused.
        if eviction == Eviction::Adaptive {
            scope.set("huge 19", huge.as_slice())?;
            assert_eq!(scope.get("huge 19")?.expect("kept the second time").data(), huge);
            settle(&cache);
        }
    }
    Ok(())
}

#[test]
fn a_huge_value_over_an_existing_key_never_leaves_the_old_one() -> scopecache::Result<()> {
    let cache = builder().max_bytes(512 << 10).build()?;
    let scope = cache.user("ada")?;
    fill(&scope, 1000)?;
    let mut random = Random(13);
    for step in 0_u32..2000 {
        let key = format!("key {}", random.below(50));
        let bytes = if step % 3 == 0 { 30 << 10 } else { 500 } + random.below(100 << 10) as usize;
        let mut value = vec![0; if step % 2 == 0 { bytes } else { bytes / 100 }];
        value[..4].copy_from_slice(&step.to_le_bytes());
        scope.set(&key, value.as_slice())?;
        if let Some(item) = scope.get(&key)? {
            assert_eq!(item.data(), value, "step {step}: an older value");
        }
    }
    settle(&cache);
    Ok(())
}

// Loads.

#[test]
fn a_load_is_never_evicted() -> scopecache::Result<()> {
    for most in [2, 20, 1000] {
        let cache = builder().max_entries(most).build()?;
        let scope = cache.user("ada")?;
        let lease = scope.lease("loading")?;
        for key in 0..10 * most {
            scope.set(format!("key {key}"), "v")?;
            assert!(cache.stats().entries <= most);
        }
        assert!(!lease.is_cancelled());
        assert!(lease.fulfil("loaded")?.is_some());
        assert_eq!(scope.get("loading")?.expect("stored").data(), b"loaded");
        settle(&cache);
    }
    Ok(())
}

#[test]
fn a_set_beside_the_only_entry_and_its_running_load_fails_and_does_not_hang()
-> scopecache::Result<()> {
    let cache = builder().max_entries(1).build()?;
    let scope = cache.user("ada")?;
    let lease = scope.lease("loading")?;
    let (done, wait) = mpsc::channel();
    let other = scope.clone();
    let setter = thread::spawn(move || {
        // An error: nobody waits any more.
        let _ = done.send(other.set("k", "v").map(|_| ()).map_err(|error| error.kind()));
    });
    match wait.recv_timeout(PATIENCE).expect("an answer in time") {
        Ok(()) => assert!(lease.is_cancelled(), "two in one place"),
        Err(kind) => {
            assert_eq!(kind, ErrorKind::CapacityExceeded);
            assert!(lease.fulfil("loaded")?.is_some());
        }
    }
    setter.join().expect("no panic");
    scope.set("k", "v")?;
    assert_eq!(scope.keys()?, ["k"]);
    settle(&cache);
    Ok(())
}

/// quick_cache#120: the place of a load that was given up is never freed.
#[test]
fn loads_that_are_given_up_leave_nothing() -> scopecache::Result<()> {
    let cache = builder().max_entries(10).build()?;
    let scope = cache.session("ada", "s")?;
    for key in 0..1000 {
        let key = format!("key {key}");
        drop(scope.lease(&key)?);
        let failed = scope.get_or_load(&key, || Err::<&str, _>(std::io::Error::other("failed")));
        assert_eq!(failed.expect_err("failed").kind(), ErrorKind::Loader);
    }
    settle(&cache);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.sessions, stats.users), (0, 0, 0));
    let leases = (0..10).map(|key| scope.lease(format!("key {key}"))).collect::<Vec<_>>();
    assert!(leases.iter().all(Result::is_ok), "all places are free");
    assert_eq!(scope.lease("key 10").expect_err("full").kind(), ErrorKind::CapacityExceeded);
    drop(leases);
    settle(&cache);
    Ok(())
}

/// pingora#406: another key's value on a collision of hashes.
#[test]
fn eviction_is_right_though_all_keys_collide() -> scopecache::Result<()> {
    let cache = builder().max_entries(50).hasher(Colliding).build()?;
    let scope = cache.session("ada", "s")?;
    for key in 0..500 {
        let value = format!("value {key}");
        scope.set(format!("key {key}"), value.as_str())?;
        assert_eq!(scope.get(format!("key {key}"))?.expect("just set").data(), value.as_bytes());
        assert_eq!(cache.stats().entries, 50.min(key + 1));
    }
    let keys = scope.keys()?;
    assert_eq!(keys.len(), 50);
    for key in keys {
        let item = scope.get(&key)?.expect("listed");
        assert_eq!(item.data()[6..], key[4..], "another's value");
    }
    settle(&cache);
    assert_eq!(scope.delete_all()?.entries, 50);
    settle(&cache);
    assert_eq!(cache.stats().entries, 0);
    Ok(())
}

/// What does not fit is no reason to fail for what does.
#[test]
fn an_overwrite_by_what_does_not_fit_keeps_the_old_value_and_says_so() -> scopecache::Result<()> {
    let cache = builder().max_bytes(64 << 10).on_full(OnFull::Reject).build()?;
    let scope = cache.user("ada")?;
    scope.set("k", vec![1; 1000])?;
    scope.set("other", vec![1; 40 << 10])?;
    let error: Error = scope.set("k", vec![2; 40 << 10]).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::CapacityExceeded);
    assert_eq!(scope.get("k")?.expect("still there").data(), vec![1; 1000]);
    settle(&cache);
    Ok(())
}
