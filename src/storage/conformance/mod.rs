//! One suite of cases that every storage passes or fails: what the words of
//! [`Storage`] mean, in a form that can be run.
//!
//! ```text
//!   Lab ──► Store ──► client, client, ..      made by whoever tries a storage
//!    │        │
//!    │        └─ pass(time)                   the store's own clock goes on
//!    └─ block_on(future)                      the executor; the suite has none
//!
//!   cases() ──► Case::run(&lab) ──► Outcome   passed, failed with words, or not supported
//!   run(&lab) ──► Report ──► Matrix           all cases; several reports side by side
//! ```
//!
//! **What may be skipped is declared.** A case that needs something beyond the contract names the
//! [`Capability`]; where the storage's [`Capabilities`] do not claim it, the outcome is
//! [`Outcome::NotSupported`], which the matrix prints with the capability's name. A case without
//! one is part of the contract: no storage may skip it. What a storage claims is tried: there is
//! no capability that makes a case easier.
//!
//! **A fresh store for each case.** Cases use fixed ids, and the global namespace. A store is made
//! for one case and must be empty; give each a prefix, a schema or a server of its own.
//!
//! **Time.** Where the clock can be moved (a mock), a case of deadlines takes no time and is exact
//! to the nanosecond. Where it cannot, cases wait: their TTLs are a few [`Store::grain`]s. A call
//! that took so long that nothing can be said is no failure; the case is repeated with longer TTLs,
//! and fails where the third attempt is too slow as well.
//!
//! **Concurrency.** Actors are threads, each with a client of its own, each inside
//! [`Lab::block_on`]. What they saw is judged by a linearizability checker where the storage claims
//! to be linearizable, and by weaker rules that hold for all otherwise. Call the suite from a plain
//! thread: it blocks.

mod capability;
mod cases;
mod history;
mod report;
mod rng;
mod watchdog;
mod world;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::capability::Capability;
pub use self::report::{Matrix, Report};
use self::world::{Failure, Verdict, World};
use crate::error::Result;
use crate::storage::{Capabilities, Storage};

/// How long a case may take before it has failed: it hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// How often a case of deadlines is repeated with longer ones where the machine is too slow.
const ATTEMPTS: u32 = 3;

/// A future to be driven to its end, as [`Lab::block_on`] takes it.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Where storages of one kind are tried.
///
/// For the engine in memory this is all that it takes:
///
/// ```
/// use async_trait::async_trait;
/// use scopecache::conformance::{Lab, Store, Task, run};
/// use scopecache::{Cache, Maintenance, MockClock, Result, Storage};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// struct Memory;
///
/// struct One {
///     cache: Cache,
///     clock: MockClock,
/// }
///
/// impl Lab for Memory {
///     fn store(&self) -> Result<Arc<dyn Store>> {
///         let clock = MockClock::new();
///         let builder = Cache::builder().maintenance(Maintenance::Manual);
///         let cache = builder.clock(clock.clone()).max_value_bytes(1 << 20).build()?;
///         Ok(Arc::new(One { cache, clock }))
///     }
///
///     fn block_on(&self, task: Task<'_>) {
///         pollster::block_on(task);
///     }
/// }
///
/// #[async_trait]
/// impl Store for One {
///     async fn client(&self) -> Result<Arc<dyn Storage>> {
///         Ok(Arc::new(self.cache.clone()))
///     }
///
///     async fn pass(&self, time: Duration) {
///         self.clock.advance(time);
///     }
///
///     fn grain(&self) -> Duration {
///         Duration::from_nanos(1)
///     }
///
///     fn now(&self) -> Duration {
///         self.clock.now()
///     }
///
///     fn max_value_bytes(&self) -> usize {
///         1 << 20
///     }
/// }
///
/// let report = run("memory", &Memory);
/// assert!(report.passed(), "{report}");
/// ```
pub trait Lab: Send + Sync {
    /// Makes a store that is empty and that nobody else uses.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being made; the case fails then.
    fn store(&self) -> Result<Arc<dyn Store>>;

    /// Drives the task to its end on this thread. Several threads call it at once, and one of
    /// them may do so from within a task.
    fn block_on(&self, task: Task<'_>);
}

/// One store: some data and its clock, which several clients may use.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns one more client of the store, with connections of its own where it has any.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being made.
    async fn client(&self) -> Result<Arc<dyn Storage>>;

    /// Returns once the store's clock has gone on by `time` at least.
    async fn pass(&self, time: Duration);

    /// The span in which cases of deadlines count: the step of a clock that is moved by hand;
    /// for one that goes by itself, clearly more than a few calls take.
    fn grain(&self) -> Duration;

    /// How far the clock that deadlines are measured by has gone, as seen from here: one that is
    /// moved by hand, or a monotonic one of this machine.
    fn now(&self) -> Duration;

    /// The greatest value that a client takes, in bytes.
    fn max_value_bytes(&self) -> usize;
}

/// One case of the suite.
pub struct Case {
    name: &'static str,
    about: &'static str,
    needs: &'static [Capability],
    body: for<'a, 'l> fn(&'a World<'l>) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The storage keeps the rule.
    Passed,
    /// It does not: what was expected, and what was seen.
    Failed(String),
    /// The storage does not claim the capability that the case is about.
    NotSupported(Capability),
}

/// Every case of the suite, in the order in which they are run.
pub fn cases() -> &'static [Case] {
    cases::ALL
}

/// Runs all cases, one after the other. `name` heads the report's column of the matrix.
pub fn run(name: &str, lab: &dyn Lab) -> Report {
    let mut report = Report::new(name, lab);
    for case in cases() {
        report.add(case, || case.run(lab));
    }
    report
}

impl Case {
    /// The name: what a storage does that passes.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The rule, in a sentence.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// The capabilities without which the case is not run.
    pub fn needs(&self) -> &'static [Capability] {
        self.needs
    }

    /// Runs the case on a fresh store. Blocks; a panic of the storage is a failure.
    pub fn run(&self, lab: &dyn Lab) -> Outcome {
        for attempt in 0..ATTEMPTS {
            match self.attempt(lab, 4_u32.pow(attempt)) {
                Err(Failure::TooSlow) => {}
                Err(Failure::NotSupported(capability)) => return Outcome::NotSupported(capability),
                Err(Failure::Wrong(words)) => return Outcome::Failed(words),
                Ok(()) => return Outcome::Passed,
            }
        }
        Outcome::Failed("calls take so long that deadlines cannot be judged; raise `grain`".into())
    }

    /// Runs the case once, with TTLs so many times longer.
    fn attempt(&self, lab: &dyn Lab, stretch: u32) -> Verdict {
        let mut verdict = Ok(());
        let body = async {
            let world = World::new(lab, stretch).await?;
            let can = world.capabilities();
            if let Some(&missing) = self.needs.iter().find(|need| !need.is_claimed_by(&can)) {
                return Err(Failure::NotSupported(missing));
            }
            (self.body)(&world).await
        };
        let guarded = watchdog::guard(body, LIMIT);
        lab.block_on(Box::pin(async { verdict = guarded.await }));
        verdict
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish()
    }
}

/// What the storages of a lab claim.
fn claimed(lab: &dyn Lab) -> Result<Capabilities> {
    let mut capabilities = Ok(Capabilities::none());
    lab.block_on(Box::pin(async {
        capabilities = async { Ok(lab.store()?.client().await?.capabilities()) }.await;
    }));
    capabilities
}
