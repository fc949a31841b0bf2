//! Several threads, random programs: every history of the engine is linearizable.
//!
//! Under `--cfg scopecache_shuttle` a seeded scheduler chooses who takes the next step at every
//! atomic access and every lock, so that operations overlap densely:
//!
//! ```text
//! RUSTFLAGS="--cfg scopecache_shuttle" cargo test --release --test linearizability
//! ```
//!
//! `HISTORIES` sets how many (20,000 of each topic and scheduler by default), `SEED` where they
//! start. A failure names the seed of its program, which is also that of its schedule: `SEED` with
//! `HISTORIES=1` runs it again.
//! Without the flag the histories are of real threads, which hardly overlap on few cores: they
//! are there for what a model's memory cannot show.

#[path = "support/adapter.rs"]
mod adapter;
#[path = "linearizability/plan.rs"]
mod plan;
#[path = "linearizability/reports.rs"]
mod reports;
#[path = "support/same_hash.rs"]
mod same_hash;
#[expect(dead_code, reason = "the tools for one thread")]
mod support;
#[path = "linearizability/threads.rs"]
mod threads;

#[cfg(scopecache_shuttle)]
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use plan::{Plan, Tally, Topic};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

/// One schedule a program: a seed stands for one history. Threads overlap at every step.
#[cfg(scopecache_shuttle)]
fn at_random(topic: Topic) {
    use shuttle::scheduler::RandomScheduler;

    let (first, histories) = (number("SEED", 0), number("HISTORIES", 20_000));
    let tally = Tally::new();
    for seed in first..first + histories {
        explore(RandomScheduler::new_from_seed(seed, 1), topic, seed, &tally);
    }
    tally.report(topic, "under a random scheduler");
}

/// Threads stand still for long and then go on: what a random scheduler hardly ever does, and
/// what it takes to get a whole deletion between two steps of a set (S. Burckhardt et al.,
/// "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).
#[cfg(scopecache_shuttle)]
fn with_long_pauses(topic: Topic) {
    use shuttle::scheduler::PctScheduler;

    // The first schedule only counts the steps among which the pauses are placed.
    const SCHEDULES: u64 = 11;
    const PAUSES: usize = 3;
    let (first, histories) = (number("SEED", 0), number("HISTORIES", 20_000));
    let tally = Tally::new();
    for seed in first..first + histories.div_ceil(SCHEDULES) {
        let scheduler = PctScheduler::new_from_seed(seed, PAUSES, SCHEDULES as usize);
        explore(scheduler, topic, seed, &tally);
    }
    tally.report(topic, "with long pauses");
}

#[cfg(scopecache_shuttle)]
fn explore(
    scheduler: impl shuttle::scheduler::Scheduler + 'static,
    topic: Topic,
    seed: u64,
    tally: &Tally,
) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = shuttle::FailurePersistence::None;
    let tally = tally.clone();
    let runner = shuttle::Runner::new(scheduler, config);
    let run = AssertUnwindSafe(|| runner.run(move || Plan::new(topic, seed).run(&tally)));
    if let Err(panic) = catch_unwind(run) {
        eprintln!("the program of seed {seed} fails, {topic:?}: SEED={seed} HISTORIES=1");
        resume_unwind(panic);
    }
}

#[cfg(scopecache_shuttle)]
macro_rules! topics {
    ($($random:ident, $pauses:ident: $topic:expr;)*) => {
        $(
            #[test]
            fn $random() {
                at_random($topic);
            }

            #[test]
            fn $pauses() {
                with_long_pauses($topic);
            }
        )*
    };
}

#[cfg(scopecache_shuttle)]
topics! {
    histories_under_a_random_scheduler_are_linearizable,
    histories_with_long_pauses_are_linearizable: Topic::Store;
    evicting_histories_under_a_random_scheduler_are_linearizable,
    evicting_histories_with_long_pauses_are_linearizable: Topic::Eviction;
    deadline_histories_under_a_random_scheduler_are_linearizable,
    deadline_histories_with_long_pauses_are_linearizable: Topic::Deadline;
    closing_histories_under_a_random_scheduler_are_linearizable,
    closing_histories_with_long_pauses_are_linearizable: Topic::Closing;
    histories_with_quotas_under_a_random_scheduler_are_linearizable,
    histories_with_quotas_and_long_pauses_are_linearizable: Topic::Quotas;
    refreshing_histories_under_a_random_scheduler_are_linearizable,
    refreshing_histories_with_long_pauses_are_linearizable: Topic::Refreshing;
}

#[cfg(not(scopecache_shuttle))]
#[test]
fn histories_of_real_threads_are_linearizable() {
    let (first, histories) = (number("SEED", 0), number("HISTORIES", 500));
    for topic in Topic::ALL {
        let tally = Tally::new();
        for seed in first..first + histories {
            Plan::new(topic, seed).run(&tally);
        }
        tally.report(topic, "of real threads");
    }
}
