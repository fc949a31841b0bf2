//! What `CacheBuilder::expiry` gives to entries, and what it leaves alone.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use scopecache::{
    Cache, CacheBuilder, Condition, ErrorKind, ExpiryPolicy, Item, Maintenance, MockClock,
    Namespace, Options, Scope, SetOptions, Storage, StorageExt, Value,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn builder<V: Value>(clock: &MockClock) -> CacheBuilder<V> {
    Cache::builder().maintenance(Maintenance::Manual).clock(clock.clone())
}

fn cache<V: Value>(clock: &MockClock, policy: ExpiryPolicy<V>) -> Cache<V> {
    builder(clock).expiry(policy).build().expect("a sound policy")
}

/// From the write to the deadline.
fn lifetime<V: Value>(item: &Item<V>) -> Option<Duration> {
    let end = item.expires_at()?;
    Some(end.duration_since(item.created_at()).expect("nothing ends before it begins"))
}

fn lifetime_of<V: Value>(scope: &Scope<V>, key: &str) -> Option<Duration> {
    lifetime(&scope.peek(key).expect("open").expect("present"))
}

/// What a user's entries get that name how long they live, in seconds.
fn by_value(_: Namespace<'_>, _: &[u8], value: &[u8]) -> Option<Duration> {
    let seconds = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[test]
fn senseless_policies_are_refused_in_words() {
    let words = |policy: ExpiryPolicy| {
        let error = Cache::builder().expiry(policy).build().expect_err("senseless");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        error.to_string()
    };
    assert!(words(ExpiryPolicy::ttl(Duration::ZERO)).contains("a ttl must be longer than zero"));
    let sliding = ExpiryPolicy::ttl(HOUR).sliding(Duration::ZERO);
    assert!(words(sliding).contains("the maximum lifetime must be longer than zero"));
    for part in [-0.01, 1.01, f64::NAN] {
        let jitter = ExpiryPolicy::per_entry(|_, _, _| None).jitter(part);
        assert!(words(jitter).contains("jitter must be a part"), "{part}");
    }
}

#[test]
fn default_ttl_is_short_for_a_fixed_policy_and_the_last_one_counts() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let caches: [Cache; 4] = [
        builder(&clock).default_ttl(HOUR).build()?,
        builder(&clock).expiry(ExpiryPolicy::ttl(HOUR)).build()?,
        builder(&clock).expiry(ExpiryPolicy::ttl(DAY).sliding(DAY)).default_ttl(HOUR).build()?,
        builder(&clock).default_ttl(DAY).expiry(ExpiryPolicy::ttl(HOUR)).build()?,
    ];
    for (n, cache) in caches.iter().enumerate() {
        let scope = cache.user("ada")?;
        scope.set("k", "v")?;
        assert_eq!(lifetime_of(&scope, "k"), Some(HOUR), "cache {n}");
    }
    clock.advance(HOUR);
    for cache in caches {
        assert!(cache.user("ada")?.get("k")?.is_none());
    }
    Ok(())
}

#[test]
fn every_way_to_store_asks_the_policy() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::ttl(HOUR));
    let ada = Namespace::User { user: "ada" };
    let scope = cache.scope(ada)?;

    cache.set(ada, "set by ids", "v", &SetOptions::new())?;
    scope.set("set", "v")?;
    scope.insert("insert", "v")?.expect("absent");
    for (key, condition) in [("replace", Condition::Present), ("write", Condition::Always)] {
        scope.set_with(key, "v", SetOptions::new().ttl(SECOND))?;
        scope.write(key, "v", condition, SetOptions::new())?.expect("present");
    }
    let version = scope.set_with("compared", "v", SetOptions::new().ttl(SECOND))?;
    scope.compare_and_set("compared", version, "w")?.expect("the same version");
    scope.set_many([("first of many", "v"), ("second of many", "v")])?;
    scope.lease("lease")?.fulfil("v")?.expect("nobody wrote");
    let answer = scope.get_or_load("load", || std::io::Result::Ok("v"))?;
    assert_eq!(lifetime(&answer), Some(HOUR));
    pollster::block_on(async {
        let answer = scope.get_or_load_async("async", async { std::io::Result::Ok("v") }).await?;
        assert_eq!(lifetime(&answer), Some(HOUR));

        let storage: &dyn Storage = &cache;
        let options = Options::new().with_user("ada");
        storage.set("storage", Bytes::from_static(b"v"), options).await?;
        storage.insert("storage insert", "v", options).await?.expect("absent");
        storage.set_many(&[("storage many", Bytes::from_static(b"v"))], options).await?;
        let loader = async { std::io::Result::Ok("v") };
        storage.get_or_load("storage load", options, loader).await?;
        Ok::<_, scopecache::Error>(())
    })?;

    let keys = cache.keys(ada)?;
    assert_eq!(keys.len(), 15);
    for key in keys {
        let key = std::str::from_utf8(&key).expect("ours");
        assert_eq!(lifetime_of(&scope, key), Some(HOUR), "{key}");
    }
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn what_a_call_asks_for_goes_before_the_policy() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let policy = ExpiryPolicy::per_entry(move |_, _, _: &[u8]| {
        // Relaxed, here and below: a count of one thread.
        counter.fetch_add(1, Ordering::Relaxed);
        Some(HOUR)
    });
    let cache: Cache = cache(&clock, policy.sliding(DAY).jitter(1.0));
    let scope = cache.user("ada")?;
    let own = SetOptions::new().ttl(MINUTE);

    scope.set_with("k", "v", own)?;
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE), "to the nanosecond");
    clock.advance(MINUTE / 2);
    scope.get("k")?.expect("present");
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE), "not renewed");

    scope.set_with("k", "w", SetOptions::new().keep_ttl())?;
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE / 2), "the deadline is where it was");
    scope.update("k", |value| [value, b"!"].concat())?.expect("present");
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE / 2));
    assert!(scope.touch("k", HOUR * 2)?);
    assert_eq!(lifetime_of(&scope, "k"), Some(HOUR * 2));
    scope.set_with("nothing to keep", "v", SetOptions::new().keep_ttl())?;
    assert_eq!(lifetime_of(&scope, "nothing to keep"), None);

    scope.lease("lease")?.fulfil_with("v", own)?.expect("nobody wrote");
    assert_eq!(lifetime_of(&scope, "lease"), Some(MINUTE));
    scope.get_or_load_with("load", own, || std::io::Result::Ok("v"))?;
    assert_eq!(lifetime_of(&scope, "load"), Some(MINUTE));
    pollster::block_on(async {
        let options = Options::new().with_user("ada");
        cache.update("load", options, |value| [value, b"!"].concat()).await?.expect("present");
        Storage::set(&cache, "storage", Bytes::new(), options.with_ttl(MINUTE)).await
    })?;
    assert_eq!(lifetime_of(&scope, "load"), Some(MINUTE));
    assert_eq!(lifetime_of(&scope, "storage"), Some(MINUTE));

    // Relaxed: a count of this thread.
    assert_eq!(asked.load(Ordering::Relaxed), 0, "the policy was asked");
    scope.set("k", "v")?;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn a_sliding_policy_is_renewed_by_reads_up_to_the_maximum_lifetime() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::ttl(HOUR).sliding(HOUR * 3));
    let scope = cache.user("ada")?;
    scope.set("read", "v")?;
    scope.set("unread", "v")?;
    // The clock's zero; later times of creation are rounded, ends are not.
    let zero = scope.peek("read")?.expect("present").created_at();
    for _ in 0..5 {
        clock.advance(HOUR / 2);
        assert!(scope.get("read")?.is_some());
    }
    assert!(scope.get("unread")?.is_none());
    assert_eq!(lifetime_of(&scope, "read"), Some(HOUR * 3));
    clock.advance(HOUR / 2);
    assert!(scope.get("read")?.is_none());

    // The call's maximum lifetime stands in for the policy's, with the policy's TTL.
    scope.set_with("k", "v", SetOptions::new().sliding(HOUR * 3 / 2))?;
    let written = zero + clock.now();
    let end = || scope.peek("k").expect("open").expect("present").expires_at();
    assert_eq!(end(), Some(written + HOUR));
    clock.advance(HOUR / 2);
    scope.get("k")?.expect("present");
    assert_eq!(end(), Some(written + HOUR * 3 / 2));
    cache.validate().expect("sound");
    Ok(())
}

/// Writes 1000 keys at one moment and checks how their deadlines lie in what jitter leaves.
fn spread(policy: ExpiryPolicy, ttl: Duration, part: f64) -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, policy.jitter(part));
    let scope = cache.user("ada")?;
    let mut lifetimes = HashSet::new();
    for key in 0..1000 {
        let key = format!("key {key}");
        scope.set(&key, "v")?;
        lifetimes.insert(lifetime_of(&scope, &key).expect("a ttl"));
    }
    let (least, most) = (lifetimes.iter().min(), lifetimes.iter().max());
    let (least, most) = (*least.expect("some"), *most.expect("some"));
    assert!(least >= ttl.mul_f64(1.0 - part), "{least:?} is too short for {part}");
    assert!(most <= ttl, "{most:?} is longer than was asked for");
    assert!(most - least >= ttl.mul_f64(part / 2.0), "{least:?} to {most:?} for {part}");
    assert!(lifetimes.len() > 900, "{} deadlines for 1000 entries", lifetimes.len());
    Ok(())
}

#[test]
fn jitter_spreads_deadlines_and_never_delays_one() -> scopecache::Result<()> {
    for part in [0.01, 0.1, 0.5, 1.0] {
        spread(ExpiryPolicy::ttl(HOUR), HOUR, part)?;
        spread(ExpiryPolicy::per_entry(|_, _, _| Some(MINUTE)), MINUTE, part)?;
        spread(ExpiryPolicy::ttl(MINUTE).sliding(HOUR), MINUTE, part)?;
        // The maximum lifetime is what ends them here.
        spread(ExpiryPolicy::ttl(DAY).sliding(HOUR), HOUR, part)?;
    }
    Ok(())
}

#[test]
fn each_write_of_a_key_draws_anew() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::ttl(HOUR).jitter(0.5));
    let scope = cache.user("ada")?;
    let mut lifetimes = HashSet::new();
    for _ in 0..100 {
        scope.set("k", "v")?;
        lifetimes.insert(lifetime_of(&scope, "k"));
    }
    assert!(lifetimes.len() > 90, "{} deadlines for 100 writes", lifetimes.len());
    Ok(())
}

#[test]
fn no_jitter_is_none() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::ttl(HOUR).jitter(0.0));
    let scope = cache.user("ada")?;
    for key in ["a", "b", "c"] {
        scope.set(key, "v")?;
        assert_eq!(lifetime_of(&scope, key), Some(HOUR));
    }
    Ok(())
}

#[test]
fn a_function_sees_namespace_key_and_value_once_on_the_callers_thread() -> scopecache::Result<()> {
    type Seen = (thread::ThreadId, String, Vec<u8>, Vec<u8>);
    let clock = MockClock::new();
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = Arc::clone(&seen);
    let policy = ExpiryPolicy::per_entry(move |namespace, key, value: &[u8]| {
        let names = format!("{namespace:?}");
        let call = (thread::current().id(), names, key.to_vec(), value.to_vec());
        log.lock().expect("no panic").push(call);
        Some(HOUR)
    });
    let cache: Cache = cache(&clock, policy);
    let here = |namespace: Namespace<'_>, key: &str, value: &[u8]| {
        let names = format!("{namespace:?}");
        vec![(thread::current().id(), names, key.as_bytes().to_vec(), value.to_vec())]
    };
    let take = || std::mem::take(&mut *seen.lock().expect("no panic"));
    let session = Namespace::Session { user: "ada", session: "laptop" };
    let user = Namespace::User { user: "ada" };

    for namespace in [Namespace::Global, user, session] {
        cache.set(namespace, "by ids", "v", &SetOptions::new())?;
        assert_eq!(take(), here(namespace, "by ids", b"v"));
        let scope = cache.scope(namespace)?;
        scope.set("in a scope", "v")?;
        assert_eq!(take(), here(namespace, "in a scope", b"v"));
        // Too long to stand in the entry.
        let long = vec![7; 5000];
        scope.set("long", &long)?;
        assert_eq!(take(), here(namespace, "long", &long));
        scope.get_or_load("load", || std::io::Result::Ok("loaded"))?;
        assert_eq!(take(), here(namespace, "load", b"loaded"));
        scope.get_or_load("load", || std::io::Result::Ok("unused"))?;
        assert_eq!(take(), [], "nothing was stored");
        let lease = scope.lease("lease")?;
        assert_eq!(take(), [], "there is no value yet");
        thread::scope(|threads| {
            let fulfil = || {
                lease.fulfil("v").expect("room").expect("nobody wrote");
                assert_eq!(take(), here(namespace, "lease", b"v"));
            };
            threads.spawn(fulfil).join().expect("no panic");
        });
    }
    Ok(())
}

#[test]
fn a_function_decides_for_each_write() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::per_entry(by_value));
    let scope = cache.user("ada")?;
    scope.set("k", "60")?;
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE));
    scope.set("k", "for ever")?;
    assert_eq!(lifetime_of(&scope, "k"), None);
    scope.set("k", "1")?;
    assert_eq!(lifetime_of(&scope, "k"), Some(SECOND));
    scope.set_many([("a", "1"), ("b", "60"), ("c", "for ever")])?;
    clock.advance(SECOND);
    assert!(!scope.contains("k")?);
    assert!(!scope.contains("a")?);
    assert!(scope.contains("b")?);
    clock.advance(DAY * 1000);
    assert!(scope.contains("c")?);
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn none_is_no_ttl_also_where_the_policy_slides() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::per_entry(by_value).sliding(HOUR).jitter(0.5));
    let scope = cache.user("ada")?;
    scope.set("k", "for ever")?;
    clock.advance(DAY * 1000);
    assert!(scope.get("k")?.is_some());
    let sliding = SetOptions::new().sliding(HOUR);
    let error = scope.set_with("k", "still for ever", sliding).expect_err("no ttl");
    assert_eq!(error.kind(), ErrorKind::InvalidOptions);
    assert!(error.to_string().contains("sliding needs a ttl"), "{error}");
    scope.set_with("k", "60", sliding)?;
    assert!(lifetime_of(&scope, "k").expect("a ttl") <= MINUTE);
    Ok(())
}

#[test]
fn sliding_without_any_ttl_fails_before_anything_is_loaded() -> scopecache::Result<()> {
    let cache: Cache = builder(&MockClock::new()).build()?;
    let loader = || -> std::io::Result<&str> { panic!("loaded in vain") };
    let sliding = SetOptions::new().sliding(HOUR);
    let error = cache.global().get_or_load_with("k", sliding, loader).expect_err("no ttl");
    assert_eq!(error.kind(), ErrorKind::InvalidOptions);
    Ok(())
}

#[test]
fn an_answer_of_zero_is_refused_in_words_and_changes_nothing() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache: Cache = cache(&clock, ExpiryPolicy::per_entry(by_value));
    let scope = cache.user("ada")?;
    let version = scope.set("k", "60")?;
    let check = |result: scopecache::Result<()>| {
        let error = result.expect_err("zero");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        assert!(error.to_string().contains("expiry policy gave a ttl of zero"), "{error}");
    };
    check(scope.set("k", "0").map(drop));
    check(scope.compare_and_set("k", version, "0").map(drop));
    check(scope.insert("k", "0").map(drop));
    check(scope.insert("other", "0").map(drop));
    check(scope.get_or_load("other", || std::io::Result::Ok("0")).map(drop));
    check(scope.lease("other")?.fulfil("0").map(drop));
    check(scope.set_many([("first", "60"), ("other", "0"), ("last", "60")]).map(drop));
    let options = Options::new().with_user("ada");
    check(pollster::block_on(Storage::set(&cache, "k", "0".into(), options)).map(drop));

    assert_eq!(scope.get("k")?.expect("untouched").version(), version);
    assert!(scope.contains("first")?, "what came before the failure is stored");
    assert!(!scope.contains("other")? && !scope.contains("last")?);
    scope.lease("other")?.fulfil("60")?.expect("every lease was given up");
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn a_panic_of_the_function_harms_nothing() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let policy = ExpiryPolicy::per_entry(|_, _, value: &[u8]| {
        assert_ne!(value, b"bad", "what the test is about");
        Some(HOUR)
    });
    let cache: Cache = cache(&clock, policy.sliding(DAY));
    let scope = cache.user("ada")?;
    let version = scope.set("k", "good")?;
    let before = scope.usage()?;
    let panics = |call: &dyn Fn()| {
        catch_unwind(AssertUnwindSafe(call)).expect_err("the panic reaches the caller");
    };
    panics(&|| drop(scope.set("k", "bad")));
    panics(&|| drop(scope.insert("other", "bad")));
    panics(&|| drop(scope.get_or_load("other", || std::io::Result::Ok("bad"))));
    panics(&|| drop(scope.lease("other").expect("free").fulfil("bad")));
    panics(&|| {
        let load = scope.get_or_load_async("other", async { std::io::Result::Ok("bad") });
        drop(pollster::block_on(load));
    });
    assert_eq!(scope.get("k")?.expect("untouched").version(), version);
    assert_eq!(scope.usage()?, before);
    cache.validate().expect("sound");

    // Whoever waits for a load that ends so wakes and loads next.
    let (leased, lease) = (scope.clone(), scope.lease("other")?);
    let waiter = thread::spawn(move || leased.get_or_load("other", || std::io::Result::Ok("good")));
    panics(&|| drop(scope.set("k", "bad")));
    catch_unwind(AssertUnwindSafe(|| lease.fulfil("bad"))).expect_err("a panic");
    assert_eq!(waiter.join().expect("no panic")?.data(), b"good");
    assert_eq!(lifetime_of(&scope, "other"), Some(HOUR));
    cache.validate().expect("sound");
    Ok(())
}

#[test]
fn a_function_may_read_the_cache() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let slot: Arc<Mutex<Option<Scope>>> = Arc::default();
    let settings = Arc::clone(&slot);
    let policy = ExpiryPolicy::per_entry(move |_, _, _: &[u8]| {
        let settings = settings.lock().expect("no panic");
        let item = settings.as_ref()?.get("ttl").ok()??;
        by_value(Namespace::Global, b"ttl", item.data())
    });
    let cache: Cache = cache(&clock, policy);
    cache.global().set("ttl", "60")?;
    *slot.lock().expect("no panic") = Some(cache.global());
    let scope = cache.user("ada")?;
    scope.set("k", "v")?;
    assert_eq!(lifetime_of(&scope, "k"), Some(MINUTE));
    // It keeps the cache alive, which owns it.
    *slot.lock().expect("no panic") = None;
    Ok(())
}

#[test]
fn a_typed_cache_shows_its_function_the_value_itself() -> scopecache::Result<()> {
    #[derive(Clone)]
    struct Token {
        valid: Duration,
    }
    let clock = MockClock::new();
    let policy = ExpiryPolicy::per_entry(|_, _, token: &Token| Some(token.valid));
    let tokens = cache(&clock, policy.jitter(0.5));
    let scope = tokens.session("ada", "laptop")?;
    scope.set("access", Token { valid: MINUTE })?;
    let access = lifetime_of(&scope, "access").expect("a ttl");
    assert!(access > MINUTE / 2 && access <= MINUTE, "{access:?}");
    scope.get_or_load("load", || std::io::Result::Ok(Token { valid: DAY }))?;
    assert!(lifetime_of(&scope, "load").expect("a ttl") > DAY / 2);
    assert!(scope.set("access", Token { valid: Duration::ZERO }).is_err());

    let shared: Cache<Arc<str>, _> = Cache::builder()
        .expiry(ExpiryPolicy::per_entry(|_, _, value: &Arc<str>| {
            Some(Duration::from_secs(value.len() as u64))
        }))
        .hasher(std::hash::RandomState::new())
        .build()?;
    shared.global().set("k", Arc::from("three"))?;
    let item = shared.global().get("k")?.expect("present");
    assert_eq!(lifetime(&item), Some(SECOND * 5), "a policy outlives the choice of a hasher");
    Ok(())
}
