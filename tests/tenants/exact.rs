//! A random run on two threads, after which every figure is exact.

use std::thread;
use std::time::Duration;

use scopecache::{Cache, ErrorKind, MockClock, Namespace, OnFull, SetOptions};

use crate::builder;
use crate::pressure::{Random, settle};

const OPERATIONS: u64 = if cfg!(debug_assertions) { 40_000 } else { 3_000_000 };
const USERS: u64 = 40;

/// What is refused for want of room is no error here.
fn unless_full<T>(answer: scopecache::Result<T>) -> scopecache::Result<()> {
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::QuotaExceeded) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::CapacityExceeded) => Ok(()),
        answer => answer.map(drop),
    }
}

/// One operation of one of the users.
fn step(cache: &Cache, clock: &MockClock, random: &mut Random) -> scopecache::Result<()> {
    let (user, session) =
        (format!("user {}", random.below(USERS)), format!("s{}", random.below(8)));
    let scope = match random.below(4) {
        0 => cache.user(&user)?,
        _ => cache.session(&user, &session)?,
    };
    let key = random.below(50).to_string();
    let value = vec![7; random.below(300) as usize];
    let ttl = Duration::from_secs(1 + random.below(20));
    let options = SetOptions::new();
    let options = match random.below(4) {
        0 => options.ttl(ttl),
        1 => options.ttl(ttl).sliding(3 * ttl),
        2 => options.keep_ttl(),
        _ => options,
    };
    match random.below(100) {
        0..=39 => unless_full(scope.set_with(&key, value, options)),
        40..=59 => scope.get(&key).map(drop),
        60..=65 => unless_full(scope.update(&key, |old| [old, b"more"].concat())),
        66..=69 => unless_full(scope.insert(&key, value)),
        70..=72 => unless_full(scope.touch(&key, ttl)),
        73..=77 => scope.delete(&key).map(drop),
        78..=79 => scope.take(&key).map(drop),
        80..=84 => unless_full(scope.get_or_load(&key, || std::io::Result::Ok(value))),
        85..=87 => match scope.lease(&key) {
            Ok(lease) if random.below(2) == 0 => unless_full(lease.fulfil(value)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            answer => unless_full(answer),
        },
        88..=91 => cache.set_user_quota(
            &user,
            match random.below(4) {
                0 => None,
                1 => Some(0),
                _ => Some(random.below(20_000)),
            },
        ),
        92 => scope.delete_all().map(drop),
        93 => cache.delete_namespace(Namespace::User { user: &user }).map(drop),
        94..=95 => {
            clock.advance(Duration::from_millis(100));
            Ok(())
        }
        _ => {
            cache.maintain(50);
            Ok(())
        }
    }
}

/// `validate` recounts what the table holds of every session and user and compares it with what
/// their nodes tell; here what `usage` answers is compared with the items themselves besides.
fn recount(cache: &Cache) -> scopecache::Result<()> {
    settle(cache);
    for user in cache.users()? {
        let scope = cache.user(&user)?;
        let all = scope.usage()?;
        let mut entries = scope.keys()?.len() as u64;
        let mut bytes_of_sessions = 0;
        for session in cache.sessions(&user)? {
            let session = cache.session(&user, &session)?;
            let usage = session.usage()?;
            let keys = session.keys()?;
            assert_eq!(usage.entries, keys.len() as u64, "{session:?}");
            let mut least = 0;
            for key in &keys {
                let item = session.peek(key)?.expect("nobody else is there");
                least += (item.data().len() + key.len()) as u64;
            }
            assert!(usage.bytes > least, "{usage:?}, and {least} in values and keys");
            entries += usage.entries;
            bytes_of_sessions += usage.bytes;
        }
        assert_eq!(all.entries, entries, "{user}");
        assert!(all.bytes >= bytes_of_sessions, "{user}");
        if let Some(quota) = cache.user_quota(&user)? {
            assert!(all.bytes <= quota || all.entries == 0, "{user}: {all:?} of {quota}");
        }
    }
    Ok(())
}

fn run(on_full: OnFull, max_bytes: u64) -> scopecache::Result<Cache> {
    let clock = MockClock::new();
    let builder = builder().on_full(on_full).clock(clock.clone()).tick(Duration::from_millis(10));
    let cache = builder.max_bytes(max_bytes).user_quota(30_000).build()?;
    thread::scope(|threads| {
        let runs: Vec<_> = (0..2)
            .map(|seed| {
                let (cache, clock) = (&cache, &clock);
                threads.spawn(move || {
                    let mut random = Random(seed);
                    (0..OPERATIONS).try_for_each(|_| step(cache, clock, &mut random))
                })
            })
            .collect();
        runs.into_iter().try_for_each(|run| run.join().expect("no panic"))
    })?;
    // Past the tick of what has expired by now, so that it is taken out.
    clock.advance(Duration::from_millis(2_055));
    Ok(cache)
}

#[test]
fn figures_of_a_cache_with_quotas_are_exact_after_a_random_run() -> scopecache::Result<()> {
    recount(&run(OnFull::Evict, 64 << 20)?)
}

#[test]
fn figures_of_a_full_cache_with_quotas_are_exact_after_a_random_run() -> scopecache::Result<()> {
    recount(&run(OnFull::Evict, 300 << 10)?)
}

/// Where a quota was lowered, a store keeps what there is.
#[test]
fn figures_of_a_store_with_quotas_are_exact_after_a_random_run() -> scopecache::Result<()> {
    let cache = run(OnFull::Reject, 1 << 20)?;
    for user in 0..USERS {
        cache.set_user_quota(&format!("user {user}"), Some(u64::MAX))?;
    }
    recount(&cache)
}
