//! Replays a trace against a cache with two threads: get, and set on a miss.
//!
//! A process (in traces without processes: a key) stays with one thread, which keeps its
//! requests in order. Processes are dealt out evenly by their look-ups, whoever's they
//! are, so that both threads work on the same users, sessions and global keys. The threads
//! meet at the end of each round; every round has a new set of users.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use scopecache::{Cache, ErrorKind, Result, Scope, SetOptions};

use crate::{
    histogram::Histogram,
    progress::Progress,
    trace::{Event, Lookup, Owner, RoundNames, Trace, VALUE_LIMIT_BYTES},
};

const THREADS: usize = 2;
/// One get in so many is timed; a clock read costs about as much as a get.
const SAMPLE_EVERY: u64 = 16;
/// Look-ups between two reports to the progress bar.
const REPORT_EVERY: u64 = 4096;
/// Bytes at the start of a value that tell whose it is.
const STAMP_BYTES: usize = 8;

/// What a replay counted.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) sets: u64,
    /// Sets that the cache refused because it was full.
    pub(crate) rejected: u64,
    /// Hits whose value was somebody else's: a fault of the cache.
    pub(crate) wrong: u64,
    pub(crate) sessions_deleted: u64,
    pub(crate) users_deleted: u64,
    pub(crate) elapsed: Duration,
    pub(crate) gets: Histogram,
}

/// Replays the whole trace `rounds` times; in the last round nothing is deleted at the end
/// of processes and crates, so that there is something left to look at.
pub(crate) fn replay(cache: &Cache, trace: &Trace, rounds: u64) -> Result<Outcome> {
    let shares = shares(trace);
    let shared = Shared {
        cache,
        trace,
        rounds,
        done: [const { AtomicU64::new(0) }; THREADS],
        ends: trace.users.iter().map(|_| AtomicU8::new(0)).collect(),
        round_end: Barrier::new(THREADS),
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (shares.iter().enumerate())
            .map(|(thread, share)| {
                let shared = &shared;
                scope.spawn(move || Replayer::new(shared, thread).run(share))
            })
            .collect();
        let mut progress = Progress::new("replay", trace.lookups * rounds);
        while !handles.iter().all(|handle| handle.is_finished()) {
            // Relaxed: a figure to show, orders nothing.
            progress.show(shared.done.iter().map(|done| done.load(Ordering::Relaxed)).sum());
            thread::sleep(Duration::from_millis(50));
        }
        progress.finish();
        let outcomes = handles.into_iter().map(|handle| handle.join().expect("no panic"));
        outcomes.reduce(|a, b| Ok(a?.plus(b?))).expect("at least one thread")
    })
}

/// The first bytes of a value, from which a reader tells that it got what it asked for.
pub(crate) fn stamp(trace: &Trace, round: u64, owner: u32, key: u32) -> [u8; STAMP_BYTES] {
    // Global entries outlive their round.
    let round = if trace.owners[owner as usize] == Owner::Global { 0 } else { round };
    // Odd factors: distinct numbers stay distinct in 64 bits.
    let mixed =
        (u64::from(owner) << 32 | u64::from(key)) ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_le_bytes()
}

/// The events of each thread, in order. Ends of users go to both: the later one deletes.
fn shares(trace: &Trace) -> [Vec<Event>; THREADS] {
    let worker = |event: &Event| match event {
        Event::Lookup(lookup) | Event::Write(lookup) => Some(lookup.worker as usize),
        Event::Delete { worker, .. } | Event::EndSession { worker, .. } => Some(*worker as usize),
        Event::EndUser { .. } => None,
    };
    let workers = trace.events.iter().filter_map(worker).max().map_or(0, |most| most + 1);
    let mut load = vec![0_u64; workers];
    for event in &trace.events {
        if let Some(worker) = worker(event) {
            load[worker] += 1;
        }
    }
    // In order of appearance to whoever has less: even within each stretch of the trace.
    let mut taken = [0_u64; THREADS];
    let thread_of: Vec<usize> = (load.iter())
        .map(|&load| {
            let least = (0..THREADS).min_by_key(|&thread| taken[thread]).expect("threads");
            taken[least] += load;
            least
        })
        .collect();
    let mut shares = [const { Vec::new() }; THREADS];
    for event in &trace.events {
        match worker(event) {
            Some(worker) => shares[thread_of[worker]].push(*event),
            None => shares.iter_mut().for_each(|share| share.push(*event)),
        }
    }
    shares
}

struct Shared<'a> {
    cache: &'a Cache,
    trace: &'a Trace,
    rounds: u64,
    /// Look-ups done, by thread.
    done: [AtomicU64; THREADS],
    /// Of each user: how many threads came to its end.
    ends: Vec<AtomicU8>,
    round_end: Barrier,
}

/// One thread's replay.
struct Replayer<'a> {
    shared: &'a Shared<'a>,
    thread: usize,
    round: u64,
    names: RoundNames,
    /// Scopes in use, by owner: resolved once, at the first look-up.
    scopes: Vec<Option<Scope>>,
    value: Vec<u8>,
    outcome: Outcome,
}

impl<'a> Replayer<'a> {
    fn new(shared: &'a Shared<'a>, thread: usize) -> Self {
        Self {
            shared,
            thread,
            round: 0,
            names: RoundNames::new(shared.trace, 0),
            scopes: vec![None; shared.trace.owners.len()],
            value: vec![0x5c; VALUE_LIMIT_BYTES as usize],
            outcome: Outcome::empty(),
        }
    }

    fn run(mut self, share: &[Event]) -> Result<Outcome> {
        let started = Instant::now();
        let mut failed = None;
        for round in 0..self.shared.rounds {
            self.round = round;
            self.names = RoundNames::new(self.shared.trace, round);
            self.scopes.fill(None);
            if failed.is_none() {
                failed = share.iter().try_for_each(|event| self.replay(event)).err();
            }
            // A thread that failed still comes here: the other waits for it.
            self.shared.round_end.wait();
        }
        self.outcome.elapsed = started.elapsed();
        failed.map_or(Ok(self.outcome), Err)
    }

    fn replay(&mut self, event: &Event) -> Result<()> {
        let last_round = self.round + 1 == self.shared.rounds;
        match *event {
            Event::Lookup(lookup) => self.look_up(&lookup)?,
            Event::Write(write) => self.store(&write)?,
            Event::Delete { owner, key, .. } => {
                let key = &self.shared.trace.keys[key as usize];
                self.scope(owner)?.delete(key)?;
            }
            Event::EndSession { .. } | Event::EndUser { .. } if last_round => {}
            Event::EndSession { owner, .. } => {
                self.scope(owner)?.delete_all()?;
                self.scopes[owner as usize] = None;
                self.outcome.sessions_deleted += 1;
            }
            Event::EndUser { user } => {
                // AcqRel: the second to come here deletes, after all that the first did.
                let before = self.shared.ends[user as usize].fetch_add(1, Ordering::AcqRel);
                if before % 2 == 1 {
                    self.shared.cache.user(self.names.user(user))?.delete_all()?;
                    self.outcome.users_deleted += 1;
                }
            }
        }
        Ok(())
    }

    /// Read-through: get, and on a miss what a file system would have answered is stored.
    fn look_up(&mut self, lookup: &Lookup) -> Result<()> {
        let trace = self.shared.trace;
        let expected = stamp(trace, self.round, lookup.owner, lookup.key);
        let sampled = self.outcome.requests.is_multiple_of(SAMPLE_EVERY);
        let scope = self.scope(lookup.owner)?;
        let key = &trace.keys[lookup.key as usize];

        let started = sampled.then(Instant::now);
        let found = scope.get(key)?;
        let elapsed = started.map(|started| started.elapsed());

        if let Some(elapsed) = elapsed {
            self.outcome.gets.record(elapsed);
        }
        self.outcome.requests += 1;
        if self.outcome.requests.is_multiple_of(REPORT_EVERY) {
            // Relaxed: a figure to show, orders nothing.
            self.shared.done[self.thread].store(self.outcome.requests, Ordering::Relaxed);
        }
        let Some(item) = found else { return self.store(lookup) };
        self.outcome.hits += 1;
        let stamped = item.data().len().min(STAMP_BYTES);
        self.outcome.wrong += u64::from(item.data()[..stamped] != expected[..stamped]);
        Ok(())
    }

    fn store(&mut self, lookup: &Lookup) -> Result<()> {
        let trace = self.shared.trace;
        let stamp = stamp(trace, self.round, lookup.owner, lookup.key);
        self.value[..STAMP_BYTES].copy_from_slice(&stamp);
        self.scope(lookup.owner)?;
        let scope = self.scopes[lookup.owner as usize].as_ref().expect("resolved above");
        let value = &self.value[..lookup.size_bytes as usize];
        let options = SetOptions::new().ttl(Duration::from_secs(lookup.ttl_s.into()));
        self.outcome.sets += 1;
        match scope.set_with(&trace.keys[lookup.key as usize], value, options) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::CapacityExceeded => {
                self.outcome.rejected += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn scope(&mut self, owner: u32) -> Result<&Scope> {
        let slot = &mut self.scopes[owner as usize];
        if slot.is_none() {
            let namespace = self.shared.trace.namespace(owner, &self.names);
            *slot = Some(self.shared.cache.scope(namespace)?);
        }
        Ok(slot.as_ref().expect("set above"))
    }
}

impl Outcome {
    fn empty() -> Self {
        Self {
            requests: 0,
            hits: 0,
            sets: 0,
            rejected: 0,
            wrong: 0,
            sessions_deleted: 0,
            users_deleted: 0,
            elapsed: Duration::ZERO,
            gets: Histogram::new(),
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.hits += other.hits;
        self.sets += other.sets;
        self.rejected += other.rejected;
        self.wrong += other.wrong;
        self.sessions_deleted += other.sessions_deleted;
        self.users_deleted += other.users_deleted;
        // The threads ran at the same time.
        self.elapsed = self.elapsed.max(other.elapsed);
        self.gets.merge(&other.gets);
        self
    }
}
