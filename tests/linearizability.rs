//! Several threads, random programs: every history of the engine is linearizable.
//!
//! Under `--cfg scopecache_shuttle` a seeded scheduler chooses who takes the next step at every
//! atomic access and every lock, so that operations overlap densely:
//!
//! ```text
//! RUSTFLAGS="--cfg scopecache_shuttle" cargo test --release --test linearizability
//! ```
//!
//! `HISTORIES` sets how many (20,000 of each kind by default), `SEED` where they start. A failure
//! names the seed of its program, which is also that of its schedule: `SEED` with `HISTORIES=1`
//! runs it again.
//! Without the flag the histories are of real threads, which hardly overlap on few cores: they
//! are there for what a model's memory cannot show.

#[path = "support/adapter.rs"]
mod adapter;
#[path = "support/same_hash.rs"]
mod same_hash;
#[expect(dead_code, reason = "the tools for one thread")]
mod support;

use std::hash::BuildHasher;
use std::sync::Arc;

use scopecache::{Blob, Cache, Maintenance, MockClock, OnFull};

use adapter::{CacheEngine, Upkeep, Way, Wire};
use same_hash::SameHash;
use support::engine::Engine;
use support::history::{Verdict, check};
use support::model::Model;
use support::program::{Author, Mix, Rng, Step};
use support::recorder::Recorder;

/// A hasher whose cache can be shared between threads.
trait Hashes:
    BuildHasher<Hasher: Clone + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Hashes for S where
    S: BuildHasher<Hasher: Clone + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

/// What one history is made of; all of it follows from the seed.
struct Plan {
    seed: u64,
    programs: Vec<Vec<Step>>,
    way: Way,
    upkeep: Upkeep,
    one_hash: bool,
    typed: bool,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let mix = rng.pick(&[Mix::Concurrent, Mix::Concurrent, Mix::Timed]);
        let (threads, steps) = rng.pick(&[(3, 4), (3, 5), (4, 4), (4, 6)]);
        let mut author = Author::new(seed, mix);
        Self {
            seed,
            programs: (0..threads).map(|_| author.program(steps)).collect(),
            way: rng.pick(&[
                Way::Ids,
                Way::FreshScopes,
                Way::KeptScopes,
                Way::KeptScopes,
                Way::Bulk,
            ]),
            upkeep: rng.pick(&[Upkeep::None, Upkeep::EachStep(1), Upkeep::EachStep(1_000)]),
            one_hash: rng.below(2) == 0,
            typed: rng.below(4) == 0,
        }
    }

    fn run(self) {
        match (self.typed, self.one_hash) {
            (false, false) => self.run_on::<Blob, _>(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            (false, true) => self.run_on::<Blob, _>(SameHash),
            (true, _) => self.run_on::<Arc<str>, _>(SameHash),
        }
    }

    fn run_on<V: Wire, S: Hashes>(self, hasher: S) {
        let clock = MockClock::new();
        let cache: Cache<V, S> = Cache::builder()
            .max_bytes(8 << 20)
            .expected_entries(8)
            .shards(2)
            .on_full(OnFull::Reject)
            .maintenance(Maintenance::Manual)
            .clock(clock.clone())
            .hasher(hasher)
            .build()
            .expect("these options go together");
        let engine = CacheEngine::new(cache, clock, self.way, self.upkeep);
        let history = threads::record(engine, self.programs);
        match check(&Model::new(), &history) {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(why) => panic!("program of seed {}: {why}", self.seed),
            Verdict::GaveUp => panic!("gave up on the program of seed {}", self.seed),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

#[cfg(scopecache_shuttle)]
mod threads {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, FailurePersistence, Runner};

    use super::support::history::Event;
    use super::{Arc, CacheEngine, Engine, Hashes, Plan, Recorder, Step, Wire, number};

    pub(super) fn record<V: Wire, S: Hashes>(
        engine: CacheEngine<V, S>,
        programs: Vec<Vec<Step>>,
    ) -> Vec<Event> {
        let engine = Arc::new(engine);
        let recorder = Arc::new(Recorder::new());
        let threads: Vec<_> = programs
            .into_iter()
            .enumerate()
            .map(|(index, program)| {
                let (engine, recorder) = (Arc::clone(&engine), Arc::clone(&recorder));
                shuttle::thread::spawn(move || {
                    recorder.scribe(index).run_program(&*engine, &program);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no thread panics");
        }
        engine.validate().and_then(|()| engine.settle()).unwrap_or_else(|why| panic!("{why}"));
        drop(engine);
        scopecache::quiesce();
        Arc::into_inner(recorder).expect("all scribes are gone").into_history()
    }

    fn run(scheduler: impl Scheduler + 'static, seed: u64) {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config.failure_persistence = FailurePersistence::None;
        Runner::new(scheduler, config).run(move || Plan::new(seed).run());
    }

    /// One schedule a program: a seed stands for one history. Threads overlap at every step.
    #[test]
    fn histories_under_a_random_scheduler_are_linearizable() {
        let (first, histories) = (number("SEED", 0), number("HISTORIES", 20_000));
        for seed in first..first + histories {
            run(RandomScheduler::new_from_seed(seed, 1), seed);
        }
        println!("{histories} histories under a random scheduler, none rejected");
    }

    /// Threads stand still for long and then go on: what a random scheduler hardly ever does, and
    /// what it takes to get a whole deletion between two steps of a set (S. Burckhardt et al.,
    /// "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).
    #[test]
    fn histories_with_long_pauses_are_linearizable() {
        // The first schedule only counts the steps among which the pauses are placed.
        const SCHEDULES: u64 = 11;
        const PAUSES: usize = 3;
        let (first, histories) = (number("SEED", 0), number("HISTORIES", 20_000));
        for seed in first..first + histories.div_ceil(SCHEDULES) {
            run(PctScheduler::new_from_seed(seed, PAUSES, SCHEDULES as usize), seed);
        }
        println!("{histories} histories with long pauses, none rejected");
    }
}

#[cfg(not(scopecache_shuttle))]
mod threads {
    use super::support::history::Event;
    use super::{CacheEngine, Engine, Hashes, Plan, Recorder, Step, Wire, number};

    pub(super) fn record<V: Wire, S: Hashes>(
        engine: CacheEngine<V, S>,
        programs: Vec<Vec<Step>>,
    ) -> Vec<Event> {
        let recorder = Recorder::new();
        std::thread::scope(|scope| {
            for (index, program) in programs.into_iter().enumerate() {
                let (engine, recorder) = (&engine, &recorder);
                scope.spawn(move || recorder.scribe(index).run_program(engine, &program));
            }
        });
        engine.validate().and_then(|()| engine.settle()).unwrap_or_else(|why| panic!("{why}"));
        drop(engine);
        recorder.into_history()
    }

    #[test]
    fn histories_of_real_threads_are_linearizable() {
        let (first, histories) = (number("SEED", 0), number("HISTORIES", 2_000));
        for seed in first..first + histories {
            Plan::new(seed).run();
        }
    }
}
