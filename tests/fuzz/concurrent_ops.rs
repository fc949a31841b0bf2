//! Two or three threads: their programs and the schedule both follow from the input, and the
//! history must be linearizable.
//!
//! Under `--cfg scopecache_shuttle` the engine's atomics and locks ask a scheduler who goes on. Here
//! that is [`ByInput`], so libFuzzer searches schedules by coverage as it searches inputs.

use std::hash::BuildHasher;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use scopecache::{Blob, Cache, Maintenance, MockClock, OnFull};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner};

use crate::adapter::{CacheEngine, Upkeep, Way, Wire};
use crate::same_hash::SameHash;
use crate::support::engine::Engine;
use crate::support::history::{Verdict, check};
use crate::support::model::Model;
use crate::support::op::{LeaseId, Life, Op, Place, Put, Space, Value, When};
use crate::support::program::{Guess, Step, TTLS};
use crate::support::recorder::Recorder;

/// Steps after which a thread that does not wait lets others run, once the input is used up.
const FAIR_STEPS: usize = 200;

/// Runs the target; panics where a history has no order.
pub(crate) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(plan) = Plan::read(&mut input) else { return };
    let plan = Arc::new(plan);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = FailurePersistence::None;
    let scheduler = ByInput::new(input.take_rest().to_vec());
    Runner::new(scheduler, config).run(move || plan.run());
}

/// A scheduler that does as it is told.
///
/// ```text
///  a byte:  length:3 | - | task:4     this task, counted among those that can run, for 2^length
///                                     steps, or until it waits
/// ```
/// So long pauses take few bytes. At the end of the bytes everybody gets a turn.
struct ByInput {
    bytes: std::vec::IntoIter<u8>,
    has_run: bool,
    /// Steps that the current task may still go on for.
    left: usize,
}

impl ByInput {
    fn new(bytes: Vec<u8>) -> ByInput {
        ByInput { bytes: bytes.into_iter(), has_run: false, left: 0 }
    }
}

impl Scheduler for ByInput {
    fn new_execution(&mut self) -> Option<Schedule> {
        let is_first = !std::mem::replace(&mut self.has_run, true);
        is_first.then(|| Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let ids: Vec<TaskId> = runnable.iter().map(|task| task.id()).collect();
        let here = current.and_then(|current| ids.iter().position(|id| *id == current));
        if let Some(here) = here.filter(|_| self.left > 0 && !is_yielding) {
            self.left -= 1;
            return Some(ids[here]);
        }
        let next = match self.bytes.next() {
            Some(byte) => {
                self.left = (1 << (byte >> 5)) - 1;
                usize::from(byte & 15) % ids.len()
            }
            None => {
                self.left = FAIR_STEPS;
                here.map_or(0, |here| (here + 1) % ids.len())
            }
        };
        // Who spins waits for somebody else.
        let spins = is_yielding && here == Some(next);
        Some(ids[if spins { (next + 1) % ids.len() } else { next }])
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}

/// The cache of a run, and what is asked of it.
struct Plan {
    programs: Vec<Vec<Step>>,
    way: Way,
    upkeep: Upkeep,
    has_one_hash: bool,
    is_typed: bool,
}

impl Plan {
    /// A byte for the cache, one for threads and steps, then the programs.
    fn read(input: &mut Unstructured<'_>) -> Result<Plan> {
        let [cache, shape]: [u8; 2] = input.arbitrary()?;
        let (threads, steps) = (2 + shape % 2, 2 + (shape >> 1) % 4);
        let mut reader = Reader { input, next_value: 0, next_lease: 0, leases: Vec::new() };
        let programs = (0..threads).map(|_| reader.program(steps)).collect::<Result<_>>()?;
        Ok(Plan {
            programs,
            way: [Way::Ids, Way::FreshScopes, Way::KeptScopes, Way::Bulk][usize::from(cache & 3)],
            upkeep: match cache >> 2 & 3 {
                0 | 1 => Upkeep::None,
                2 => Upkeep::EachStep(1),
                _ => Upkeep::EachStep(1000),
            },
            has_one_hash: cache >> 4 & 1 == 1,
            is_typed: cache >> 5 & 1 == 1,
        })
    }

    fn run(&self) {
        let usual = ahash::RandomState::with_seeds(1, 2, 3, 4);
        match (self.is_typed, self.has_one_hash) {
            (false, false) => self.run_on::<Blob, _>(usual),
            (false, true) => self.run_on::<Blob, _>(SameHash),
            (true, _) => self.run_on::<Arc<str>, _>(SameHash),
        }
    }

    fn run_on<V: Wire, S>(&self, hasher: S)
    where
        S: BuildHasher<Hasher: Clone + Send + Sync + 'static> + Clone + Send + Sync + 'static,
    {
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
        let engine = Arc::new(CacheEngine::new(cache, clock, self.way, self.upkeep));
        let recorder = Arc::new(Recorder::new());
        let threads = recorder.spawn(&engine, self.programs.iter().cloned());
        for thread in threads {
            thread.join().expect("no thread panics");
        }
        engine.validate().and_then(|()| engine.settle()).unwrap_or_else(|why| panic!("{why}"));
        drop(engine);
        scopecache::quiesce();
        let history = Arc::into_inner(recorder).expect("all scribes are gone").into_history();
        match check(&Model::new(), &history) {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(why) => panic!("{why}"),
            Verdict::GaveUp => panic!("gave up on {history:?}"),
        }
    }
}

/// Makes programs of an input. Values and leases are numbered, so that an answer tells whose write
/// it saw.
struct Reader<'r, 'a> {
    input: &'r mut Unstructured<'a>,
    next_value: Value,
    next_lease: LeaseId,
    leases: Vec<(Place, LeaseId)>,
}

impl Reader<'_, '_> {
    fn program(&mut self, steps: u8) -> Result<Vec<Step>> {
        self.leases.clear();
        (0..steps).map(|_| self.step()).collect()
    }

    /// A byte for what is done and one for the key, others for numbers. No sliding TTLs: their
    /// renewal is a second step behind a get, and may be lost.
    fn step(&mut self) -> Result<Step> {
        let (code, at) = (self.input.int_in_range(0..=23_u8)?, self.place()?);
        let Place { space, .. } = at;
        Ok(Step::Do(match code {
            0..=2 => Op::Get(at),
            3 => Op::Peek(at),
            4 => Op::Contains(at),
            5..=7 => Op::Write(at, When::Always, self.put()?),
            8 => Op::Write(at, When::Absent, self.put()?),
            9 => Op::Write(at, When::Present, self.put()?),
            10 => return Ok(Step::CompareAndSet(at, Guess::Learned(0), self.put()?)),
            11 => Op::Update(at, 1_000_000),
            12 => Op::Take(at),
            13 => Op::Delete(at),
            14 | 15 => Op::DeleteNamespace(space),
            16 => Op::Clear,
            17 => Op::Keys(space),
            18 => [Op::Sessions(0), Op::Users][usize::from(at.key)],
            19 => self.lease(at),
            20 => self.end_of_lease(at)?,
            21 => Op::GetOrLoad(at, self.put()?),
            22 => Op::Touch(at, self.ttl()?),
            _ => Op::Advance(self.ttl()? / 2),
        }))
    }

    /// Most is about one session and its user.
    fn place(&mut self) -> Result<Place> {
        let hot = Space::Session(0, 0);
        let user = Space::User(0);
        let others = [Space::Session(0, 1), Space::User(1), Space::Global];
        let spaces = [hot, hot, hot, user, user, others[0], others[1], others[2]];
        let byte: u8 = self.input.arbitrary()?;
        Ok(spaces[usize::from(byte & 7)].at(byte >> 3 & 1))
    }

    fn put(&mut self) -> Result<Put> {
        let byte: u8 = self.input.arbitrary()?;
        let ttl = TTLS[usize::from(byte & 3)];
        let life = match byte >> 2 & 7 {
            0..=4 => Life::Forever,
            5 | 6 => Life::For(ttl),
            _ => Life::Keep,
        };
        self.next_value += 1;
        Ok(Put { value: self.next_value, life })
    }

    fn ttl(&mut self) -> Result<u64> {
        self.input.choose(&TTLS).copied()
    }

    fn lease(&mut self, at: Place) -> Op {
        self.next_lease += 1;
        self.leases.push((at, self.next_lease));
        Op::Lease(at, self.next_lease)
    }

    fn end_of_lease(&mut self, otherwise: Place) -> Result<Op> {
        let Some((at, id)) = self.leases.pop() else { return Ok(Op::Get(otherwise)) };
        Ok(match self.input.int_in_range(0..=3_u8)? {
            0 => Op::DropLease(at, id),
            _ => {
                let put = self.put()?;
                Op::Fulfil(at, id, Put { life: Life::Forever, ..put })
            }
        })
    }
}
