//! Deletes a session, users, and users built for the purpose; times and proves each.
//!
//! *Invisible* is the time of the `delete_all` call: when it returns, a get by any other
//! scope answers `None`, which is checked for every key. *Reclaimed* is the time from the
//! same start until the cache has the memory back: its bytes in use have fallen by those
//! of the deleted keys and values, and maintenance has nothing left to do.

use std::{
    error::Error,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use scopecache::{Cache, Namespace, Scope};

use crate::{
    replay::stamp,
    trace::{Owner, RoundNames, Trace},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Entries that maintenance looks at in one step.
const MAINTENANCE_STEP: usize = 4096;
/// Reclaim that takes longer has failed.
const RECLAIM_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of a value in users built for the purpose, and how many sessions they have.
const BUILT_VALUE: [u8; 32] = [0x5c; 32];
const BUILT_SESSIONS: usize = 10;

/// One deletion: what went, and how long it took.
pub(crate) struct Deletion {
    pub(crate) entries: usize,
    /// Keys and values, without what the cache adds.
    pub(crate) payload_bytes: u64,
    pub(crate) invisible: Duration,
    pub(crate) reclaimed: Duration,
}

/// All that the last round left in the cache, as listed and read key by key.
pub(crate) struct Stock<'a> {
    cache: &'a Cache,
    trace: &'a Trace,
    names: RoundNames,
    round: u64,
    holdings: Vec<Holding>,
}

/// What one owner holds.
struct Holding {
    owner: u32,
    entries: Vec<Held>,
}

struct Held {
    key: Bytes,
    value_bytes: usize,
    expires_at: Option<SystemTime>,
}

impl<'a> Stock<'a> {
    /// Lists and reads everything of the trace's owners in the given round.
    pub(crate) fn take(cache: &'a Cache, trace: &'a Trace, round: u64) -> Outcome<Self> {
        let names = RoundNames::new(trace, round);
        let mut holdings = Vec::new();
        for owner in 0..trace.owners.len() as u32 {
            let scope = cache.scope(trace.namespace(owner, &names))?;
            let mut entries = Vec::new();
            for key in scope.keys()? {
                // Listing is weakly consistent: what expired since is not there any more.
                if let Some(item) = scope.peek(&key)? {
                    let value_bytes = item.data().len();
                    entries.push(Held { key, value_bytes, expires_at: item.expires_at() });
                }
            }
            holdings.push(Holding { owner, entries });
        }
        Ok(Self { cache, trace, names, round, holdings })
    }

    pub(crate) fn entries(&self) -> usize {
        self.holdings.iter().map(|holding| holding.entries.len()).sum()
    }

    /// Keys and values, without what the cache adds.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.holdings.iter().map(Holding::payload_bytes).sum()
    }

    /// Deletes the session that holds most, and proves what is gone and what is not.
    pub(crate) fn delete_largest_session(&mut self) -> Outcome<(String, Deletion)> {
        let is_session = |holding: &&Holding| {
            matches!(self.trace.owners[holding.owner as usize], Owner::Session { .. })
        };
        let largest = (self.holdings.iter().filter(is_session))
            .max_by_key(|holding| holding.entries.len())
            .ok_or("the trace has no session")?
            .owner;
        let Namespace::Session { user, session } = self.trace.namespace(largest, &self.names)
        else {
            return Err("the largest session is no session".into());
        };
        let name = format!("{session} of {user}");
        let scope = self.cache.session(user, session)?;
        Ok((name, self.delete(&scope, |holding| holding.owner == largest)?))
    }

    /// Deletes the user that holds most over all its sessions, and proves it likewise.
    pub(crate) fn delete_largest_user(&mut self) -> Outcome<(String, Deletion)> {
        let mut held = vec![0_usize; self.trace.users.len()];
        for holding in &self.holdings {
            if let Some(user) = self.trace.owners[holding.owner as usize].user() {
                held[user as usize] += holding.entries.len();
            }
        }
        let largest = (0..held.len()).max_by_key(|&user| held[user]).ok_or("no user")? as u32;
        let name = self.names.user(largest).to_owned();
        let scope = self.cache.user(&name)?;
        let owners = &self.trace.owners;
        let is_its = |holding: &Holding| owners[holding.owner as usize].user() == Some(largest);
        Ok((name, self.delete(&scope, is_its)?))
    }

    /// Deletes every user that is left, at most `limit`; the time of each call.
    pub(crate) fn delete_users(&mut self, limit: usize) -> Outcome<Vec<Duration>> {
        let mut times = Vec::new();
        for user in 0..self.trace.users.len() as u32 {
            let owners = &self.trace.owners;
            let is_its = |holding: &Holding| owners[holding.owner as usize].user() == Some(user);
            let holds_something =
                |holding: &Holding| is_its(holding) && !holding.entries.is_empty();
            if times.len() == limit || !self.holdings.iter().any(holds_something) {
                continue;
            }
            let scope = self.cache.user(self.names.user(user))?;
            let started = Instant::now();
            scope.delete_all()?;
            times.push(started.elapsed());
            let (gone, left) = self.holdings.drain(..).partition(is_its);
            self.holdings = left;
            self.prove_gone(&gone)?;
        }
        self.prove_untouched()?;
        Ok(times)
    }

    /// Deletes what `scope` names, of which our stock says that it is what `is_its` holds.
    fn delete(&mut self, scope: &Scope, is_its: impl Fn(&Holding) -> bool) -> Outcome<Deletion> {
        settle(self.cache, u64::MAX)?;
        let before_bytes = bytes_in_use(self.cache);
        let (gone, left): (Vec<_>, Vec<_>) = self.holdings.drain(..).partition(is_its);
        self.holdings = left;
        let payload_bytes = gone.iter().map(Holding::payload_bytes).sum();
        let entries = gone.iter().map(|holding| holding.entries.len()).sum();

        let started = Instant::now();
        scope.delete_all()?;
        let invisible = started.elapsed();
        // One key at once; all of them below, where reading costs reclaim no time.
        self.prove_first_key_gone(&gone)?;
        let settled = settle(self.cache, before_bytes.saturating_sub(payload_bytes));
        let reclaimed = started.elapsed();

        self.prove_gone(&gone)?;
        settled?;
        self.prove_untouched()?;
        Ok(Deletion { entries, payload_bytes, invisible, reclaimed })
    }

    fn prove_first_key_gone(&self, gone: &[Holding]) -> Outcome<()> {
        let Some(holding) = gone.iter().find(|holding| !holding.entries.is_empty()) else {
            return Ok(());
        };
        let namespace = self.trace.namespace(holding.owner, &self.names);
        if self.cache.scope(namespace)?.contains(&holding.entries[0].key)? {
            return Err(format!("{namespace:?} reads right after its deletion").into());
        }
        Ok(())
    }

    /// Reads every deleted key through scopes resolved anew.
    fn prove_gone(&self, gone: &[Holding]) -> Outcome<()> {
        for holding in gone {
            let namespace = self.trace.namespace(holding.owner, &self.names);
            let scope = self.cache.scope(namespace)?;
            for held in &holding.entries {
                if scope.get(&held.key)?.is_some() {
                    return Err(
                        format!("{namespace:?} is deleted, and {:?} reads", held.key).into()
                    );
                }
            }
            if !scope.keys()?.is_empty() {
                return Err(format!("{namespace:?} is deleted, and still lists keys").into());
            }
        }
        Ok(())
    }

    /// Lists and reads everything that was not deleted: nothing lost, nothing changed.
    fn prove_untouched(&self) -> Outcome<()> {
        for holding in &self.holdings {
            let namespace = self.trace.namespace(holding.owner, &self.names);
            let scope = self.cache.scope(namespace)?;
            let mut listed = scope.keys()?;
            listed.sort_unstable();
            for held in &holding.entries {
                let lost =
                    |how: &str| format!("{namespace:?} was not deleted, and {:?} {how}", held.key);
                let Some(item) = scope.peek(&held.key)? else {
                    if held.expires_at.is_some_and(|at| at <= SystemTime::now()) {
                        continue;
                    }
                    return Err(lost("is lost").into());
                };
                let expected = self.stamp(holding.owner, &held.key)?;
                let stamped = item.data().len().min(expected.len());
                if item.data().len() != held.value_bytes
                    || item.data()[..stamped] != expected[..stamped]
                {
                    return Err(lost("has another value").into());
                }
                if listed.binary_search(&held.key).is_err() {
                    return Err(lost("reads, but is not listed").into());
                }
            }
        }
        Ok(())
    }

    fn stamp(&self, owner: u32, key: &[u8]) -> Outcome<[u8; 8]> {
        let number = self.trace.number_of_key(key).ok_or("a key that nobody stored is listed")?;
        Ok(stamp(self.trace, self.round, owner, number))
    }
}

impl Holding {
    fn payload_bytes(&self) -> u64 {
        self.entries.iter().map(|held| (held.key.len() + held.value_bytes) as u64).sum()
    }
}

/// Deletes `count` users of 10 entries that are built for it; the time of each call.
pub(crate) fn delete_built_users(cache: &Cache, count: usize) -> Outcome<Vec<Duration>> {
    let names: Vec<String> = (0..count).map(|n| format!("built {n}")).collect();
    names.iter().try_for_each(|name| build(cache, name, 10))?;
    names.iter().map(|name| timed_delete(cache, name)).collect()
}

/// Deletes users of 10 and of 100,000 entries by turns; the median call of each.
pub(crate) fn small_and_large(cache: &Cache, rounds: usize) -> Outcome<(Duration, Duration)> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for (name, entries) in [("large", 100_000), ("small", 10), ("first", 1)] {
            build(cache, name, entries)?;
        }
        // Building fills the processor's caches with other things: a delete that nobody
        // counts brings the code back, so that neither of the two pays for going first.
        timed_delete(cache, "first")?;
        if round % 2 == 0 {
            small.push(timed_delete(cache, "small")?);
            large.push(timed_delete(cache, "large")?);
        } else {
            large.push(timed_delete(cache, "large")?);
            small.push(timed_delete(cache, "small")?);
        }
        settle(cache, u64::MAX)?;
    }
    Ok((median(small), median(large)))
}

/// The middle of some times; zero of none.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Runs maintenance until nothing is pending and at most so many bytes are in use.
fn settle(cache: &Cache, at_most_bytes: u64) -> Outcome<()> {
    let started = Instant::now();
    loop {
        let progress = cache.maintain(MAINTENANCE_STEP);
        if !progress.pending && bytes_in_use(cache) <= at_most_bytes {
            return Ok(());
        }
        if started.elapsed() > RECLAIM_LIMIT {
            let now = bytes_in_use(cache);
            return Err(format!(
                "not reclaimed in {RECLAIM_LIMIT:?}: {now} bytes in use, {at_most_bytes} expected"
            )
            .into());
        }
    }
}

/// Bytes of what is visible and of what is unlinked and not yet freed.
fn bytes_in_use(cache: &Cache) -> u64 {
    let stats = cache.stats();
    stats.live_bytes + stats.retired_bytes
}

fn build(cache: &Cache, user: &str, entries: usize) -> Outcome<()> {
    for session in 0..BUILT_SESSIONS.min(entries) {
        let scope = cache.session(user, &format!("session {session}"))?;
        for entry in (session..entries).step_by(BUILT_SESSIONS) {
            scope.set(format!("key {entry}"), &BUILT_VALUE)?;
        }
    }
    Ok(())
}

fn timed_delete(cache: &Cache, user: &str) -> Outcome<Duration> {
    let scope = cache.user(user)?;
    let reads = || Ok::<_, Box<dyn Error>>(cache.session(user, "session 0")?.contains("key 0")?);
    if !reads()? {
        return Err(format!("{user:?} was built, and does not read").into());
    }
    let started = Instant::now();
    scope.delete_all()?;
    let elapsed = started.elapsed();
    if reads()? {
        return Err(format!("{user:?} is deleted, and still reads").into());
    }
    Ok(elapsed)
}
