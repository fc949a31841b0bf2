//! Many threads, long programs, real eviction and expiry: too much for a search for an order, so
//! what is checked are invariants.
//!
//! After each call: what is read is what somebody wrote under that very key, and no bound and no
//! quota is passed. At the end: everything is whole, before and after the pending work, and below
//! a bound that moved meanwhile; emptied, nothing is left, and each version that was stored was
//! reported once.
//!
//! ```text
//! RUSTFLAGS="--cfg scopecache_shuttle" cargo test --release --test invariants
//! ```
//!
//! `RUNS` sets how many, `SEED` where they start; a failure names its seed. Without the flag the
//! threads are those of the system.

#[path = "support/adapter.rs"]
mod adapter;
#[path = "invariants/lives.rs"]
mod lives;
#[expect(dead_code, reason = "nothing is searched here")]
mod support;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use scopecache::{Blob, Cache, Maintenance, MockClock, Namespace};

use adapter::{CacheEngine, Upkeep, Way, namespace};
use lives::Lives;
use support::engine::Engine;
use support::op::{Op, Place, Ret, Seen, Value};
use support::program::{Author, Mix, Rng, Step};

/// `Update` adds this: what is left of a value tells who wrote it.
const UPDATE: Value = 1_000_000;

type Bytes = CacheEngine<Blob, ahash::RandomState>;

struct Plan {
    seed: u64,
    programs: Vec<Vec<Step>>,
    way: Way,
    upkeep: Upkeep,
    max_entries: Option<u64>,
    max_bytes: u64,
    /// Bytes that each user may hold.
    quota: Option<u64>,
    /// Somebody changes the byte bound, up to twice the first, and shrinks the cache.
    bound_moves: bool,
    rounds: usize,
}

/// Where each value was written. Std's lock, which is no step of a schedule.
type Written = Arc<Mutex<HashMap<Value, Place>>>;

/// What the calls of one run stored and removed.
#[derive(Default)]
struct Turnover {
    stored: Mutex<BTreeSet<Place>>,
    removed: AtomicU64,
}

/// What all runs came to.
#[derive(Default)]
struct Figures {
    calls: AtomicU64,
    /// Distinct keys that were stored, less the places there are and all that was deleted or
    /// freed by upkeep: the least that was evicted, or met expired by a call.
    evicted: AtomicU64,
    /// What upkeep took out.
    freed: AtomicU64,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let mut author = Author::new(seed, Mix::Wide);
        let threads = 4 + rng.below(5);
        let (max_entries, max_bytes) = rng.pick(&[
            (Some(4), 8 << 20),
            (Some(12), 8 << 20),
            (None, 12 << 10),
            (None, 40 << 10),
        ]);
        Self {
            seed,
            programs: (0..threads).map(|_| author.program(60)).collect(),
            way: rng.pick(&[Way::Ids, Way::FreshScopes, Way::KeptScopes, Way::Bulk]),
            upkeep: rng.pick(&[Upkeep::None, Upkeep::EachStep(1)]),
            max_entries,
            max_bytes,
            quota: rng.pick(&[None, Some(1 << 10), Some(3 << 10)]),
            bound_moves: max_bytes < 1 << 20 && rng.pick(&[true, false]),
            rounds: 40,
        }
    }

    fn engine(&self, lives: &Arc<Lives>) -> Bytes {
        let clock = MockClock::new();
        let mut builder = Cache::builder()
            .max_bytes(self.max_bytes)
            .expected_entries(16)
            .shards(2)
            // Nothing is freed before a schedule ends.
            .max_retired_bytes(1 << 30)
            .maintenance(Maintenance::Manual)
            .on_removal(lives.listener())
            .clock(clock.clone());
        if let Some(quota) = self.quota {
            builder = builder.user_quota(quota);
        }
        if let Some(most) = self.max_entries {
            builder = builder.max_entries(most);
        }
        let cache = builder
            .hasher(ahash::RandomState::with_seeds(1, 2, 3, 4))
            .build()
            .expect("these options go together");
        CacheEngine::new(cache, clock, self.way, self.upkeep)
    }

    /// # Panics
    ///
    /// Where an invariant is broken.
    fn run(self, figures: &Arc<Figures>) {
        let lives = Arc::new(Lives::default());
        let engine = Arc::new(self.engine(&lives));
        let most_bytes = if self.bound_moves { 2 * self.max_bytes } else { self.max_bytes };
        let bounds = Bounds { most_bytes, quota: self.quota };
        let written = Written::default();
        let turnover = Arc::new(Turnover::default());
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for program in self.programs {
            let (engine, written) = (Arc::clone(&engine), Arc::clone(&written));
            let (turnover, figures) = (Arc::clone(&turnover), Arc::clone(figures));
            let lives = Arc::clone(&lives);
            bodies.push(Box::new(move || {
                follow(&engine, &program, &written, &turnover, (&lives, bounds));
                // Relaxed: a statistic.
                figures.calls.fetch_add(program.len() as u64, Ordering::Relaxed);
            }));
        }
        let (kept, rounds) = (Arc::clone(&engine), self.rounds);
        let (freed, removed) = (Arc::clone(figures), Arc::clone(&turnover));
        bodies.push(Box::new(move || {
            for round in 0..rounds {
                let progress = kept.cache.maintain([1, 8, 64][round % 3]);
                // Relaxed: statistics.
                freed.freed.fetch_add(progress.freed_entries, Ordering::Relaxed);
                removed.removed.fetch_add(progress.freed_entries, Ordering::Relaxed);
            }
        }));
        if self.bound_moves {
            let (engine, seed) = (Arc::clone(&engine), self.seed);
            bodies.push(Box::new(move || move_bound(&engine, self.max_bytes, seed)));
        }
        threads::run(bodies);

        let sound = |valid: Result<(), String>| {
            valid.unwrap_or_else(|why| panic!("seed {}: {why}", self.seed));
        };
        sound(engine.validate());
        sound(engine.settle());
        let stats = engine.cache.stats();
        let bound = engine.cache.capacity_bytes();
        assert!(stats.live_bytes <= bound, "seed {}: {stats:?} of {bound}", self.seed);
        if let Some(most) = self.max_entries {
            assert!(stats.entries <= most, "seed {}: {stats:?}", self.seed);
            let stored = turnover.stored.lock().expect("no panic").len() as u64;
            // Relaxed: statistics.
            let removed = turnover.removed.load(Ordering::Relaxed);
            let evicted = stored.saturating_sub(most + removed);
            figures.evicted.fetch_add(evicted, Ordering::Relaxed);
        }
        engine.cache.clear();
        sound(engine.settle());
        let stats = engine.cache.stats();
        let left = (stats.entries, stats.users, stats.sessions);
        assert_eq!(left, (0, 0, 0), "seed {}: {stats:?}", self.seed);
        assert_eq!(stats.removals_dropped, 0, "seed {}", self.seed);
        sound(lives.judge());
        drop(engine);
        #[cfg(scopecache_shuttle)]
        scopecache::quiesce();
    }
}

/// What is never passed.
#[derive(Clone, Copy)]
struct Bounds {
    most_bytes: u64,
    quota: Option<u64>,
}

/// One thread's program; looks at each answer and at the bounds.
fn follow(
    engine: &Bytes,
    program: &[Step],
    written: &Written,
    turnover: &Turnover,
    (lives, bounds): (&Lives, Bounds),
) {
    let mut learned = Vec::new();
    let mut leases = Vec::new();
    for step in program {
        let op = step.resolve(&learned, None);
        match op {
            Op::Lease(at, id) => leases.push(Op::DropLease(at, id)),
            // Whoever loads holds no lease: nobody waits for one who waits in turn.
            Op::GetOrLoad(..) => leases.drain(..).for_each(|op| drop(engine.apply(&op))),
            _ => {}
        }
        if let (Some(at), Some(put)) = (op.place(), op.put()) {
            written.lock().expect("no panic").insert(put.value, at);
        }
        let ret = engine.apply(&op);
        learned.extend(ret.version());
        lives.answered(&ret);
        if let (Some(at), Ret::Item(Some(seen)) | Ret::Loaded(seen)) = (op.place(), &ret) {
            let Seen { value, .. } = seen;
            let place = written.lock().expect("no panic").get(&(value % UPDATE)).copied();
            assert_eq!(place, Some(at), "{op:?} read {value}, which was written elsewhere");
        }
        assert!(!matches!(ret, Ret::Failed(_) | Ret::Closed), "{op:?}: {ret:?}");
        let stats = engine.cache.stats();
        assert!(stats.live_bytes <= bounds.most_bytes, "{stats:?}");
        if let (Some(quota), Some(at)) = (bounds.quota, op.place())
            && let Some(user) = namespace(at.space).user()
        {
            let usage = engine.cache.usage(Namespace::User { user }).expect("open");
            assert!(usage.bytes <= quota, "{usage:?} of {quota}");
        }
        let removed = match (op, &ret) {
            (Op::Delete(_), Ret::Answer(true)) | (Op::Take(_), Ret::Item(Some(_))) => 1,
            (_, Ret::Removed(entries)) => *entries,
            _ => 0,
        };
        // Relaxed: a statistic.
        turnover.removed.fetch_add(removed, Ordering::Relaxed);
        if let (Some(at), Ret::Stored(Some(_))) = (op.place(), &ret) {
            turnover.stored.lock().expect("no panic").insert(at);
        }
    }
    leases.drain(..).for_each(|op| drop(engine.apply(&op)));
}

/// Bounds from half the first to twice it; the last is among the low ones.
fn move_bound(engine: &Bytes, max_bytes: u64, seed: u64) {
    let mut rng = Rng::new(seed ^ 0xb0d);
    for round in 0..20 {
        let eighths = if round == 19 { 5 } else { 4 + rng.below(13) };
        let bound = max_bytes * eighths as u64 / 8;
        engine.cache.set_max_bytes(bound).expect("open");
        if round % 4 == 0 {
            let _ = engine.cache.shrink_to(bound / 2);
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

fn report(figures: &Figures, runs: u64, how: &str) {
    // Relaxed: whoever counted has been joined.
    let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    let (calls, evicted, freed) = (get(&figures.calls), get(&figures.evicted), get(&figures.freed));
    println!("{runs} runs {how}: {calls} calls, {evicted} keys evicted at least, {freed} freed");
    let many = runs < 20 || evicted > runs / 4 && freed > runs / 4;
    assert!(many, "hardly an eviction, or nothing for upkeep to free");
}

#[cfg(scopecache_shuttle)]
mod threads {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, FailurePersistence, Runner};

    use super::{Arc, Figures, Plan, number, report};

    pub(super) fn run(bodies: Vec<Box<dyn FnOnce() + Send>>) {
        let threads: Vec<_> = bodies.into_iter().map(|body| shuttle::thread::spawn(body)).collect();
        for thread in threads {
            thread.join().expect("no thread panics");
        }
    }

    fn explore(scheduler: impl Scheduler + 'static, seed: u64, figures: &Arc<Figures>) {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config.failure_persistence = FailurePersistence::None;
        let figures = Arc::clone(figures);
        let runner = Runner::new(scheduler, config);
        let run = AssertUnwindSafe(|| runner.run(move || Plan::new(seed).run(&figures)));
        if let Err(panic) = catch_unwind(run) {
            eprintln!("the run of seed {seed} fails: SEED={seed} RUNS=1");
            resume_unwind(panic);
        }
    }

    #[test]
    fn invariants_hold_under_a_random_scheduler() {
        let (first, runs) = (number("SEED", 0), number("RUNS", 300));
        let figures = Arc::default();
        for seed in first..first + runs {
            explore(RandomScheduler::new_from_seed(seed, 1), seed, &figures);
        }
        report(&figures, runs, "under a random scheduler");
    }

    #[test]
    fn invariants_hold_with_long_pauses() {
        const PAUSES: usize = 3;
        let (first, runs) = (number("SEED", 0), number("RUNS", 300));
        let figures = Arc::default();
        for seed in first..first + runs {
            // The first of the two only counts the steps.
            explore(PctScheduler::new_from_seed(seed, PAUSES, 2), seed, &figures);
        }
        report(&figures, runs, "with long pauses");
    }
}

#[cfg(not(scopecache_shuttle))]
mod threads {
    use super::{Arc, Plan, number, report};

    pub(super) fn run(bodies: Vec<Box<dyn FnOnce() + Send>>) {
        std::thread::scope(|scope| bodies.into_iter().for_each(|body| drop(scope.spawn(body))));
    }

    #[test]
    fn invariants_hold_on_real_threads() {
        let (first, runs) = (number("SEED", 0), number("RUNS", 100));
        let figures = Arc::default();
        for seed in first..first + runs {
            Plan::new(seed).run(&figures);
        }
        report(&figures, runs, "of real threads");
    }
}
