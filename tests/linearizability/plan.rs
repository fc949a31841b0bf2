//! What one history is made of, all of it from a seed, and what many of them come to.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scopecache::{Blob, Cache, Maintenance, MockClock, OnFull};

use crate::adapter::{CacheEngine, Upkeep, Way, Wire, namespace};
use crate::reports::Reports;
use crate::same_hash::SameHash;
use crate::support::history::{Event, Verdict, check};
use crate::support::model::{Model, Room};
use crate::support::op::{Life, Op, Put, Ret, Space, Value, When};
use crate::support::program::{Author, Mix, Rng, Step, TTLS};
use crate::threads;

const LINE_BYTES: u64 = 64;

/// A hasher whose cache can be shared between threads.
pub(crate) trait Hashes:
    BuildHasher<Hasher: Clone + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Hashes for S where
    S: BuildHasher<Hasher: Clone + Send + Sync + 'static> + Clone + Send + Sync + 'static
{
}

/// What the programs of a plan are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    /// A store: nothing goes that nobody deleted.
    Store,
    /// A cache of a few entries or bytes: anything may go at any moment, nothing comes back.
    Eviction,
    /// One key and its deadline, sliding or not, and the timing wheel at work.
    Deadline,
    /// Somebody closes the cache.
    Closing,
    /// Users have quotas of an entry or a few, one's changes; over it they lose entries of their
    /// own, or are refused.
    Quotas,
    /// Hits of what is old refresh it, one at a time.
    Refreshing,
}

impl Topic {
    #[cfg(not(scopecache_shuttle))]
    pub(crate) const ALL: [Self; 6] = [
        Self::Store,
        Self::Eviction,
        Self::Deadline,
        Self::Closing,
        Self::Quotas,
        Self::Refreshing,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bound {
    /// Never reached.
    None,
    Entries(u64),
    Bytes(u64),
    /// Of each user, in bytes; the whole is ample.
    Quota {
        bytes: u64,
        evicts: bool,
    },
}

/// A thread that does nothing but upkeep.
#[derive(Clone, Copy)]
pub(crate) struct Maintainer {
    pub(crate) rounds: usize,
    pub(crate) budget: usize,
    /// A user gets these in turns.
    pub(crate) quotas: Option<[u64; 2]>,
}

pub(crate) struct Plan {
    topic: Topic,
    seed: u64,
    programs: Vec<Vec<Step>>,
    way: Way,
    upkeep: Upkeep,
    maintainer: Maintainer,
    bound: Bound,
    one_hash: bool,
    typed: bool,
    /// Somebody hears what is removed.
    is_heard: bool,
}

/// Refreshes store values from this one on.
const REFRESHED: Value = 500_000;
/// What is as old as this is refreshed: less than the clock moves at once.
const REFRESH_AFTER: Duration = Duration::from_nanos(TTLS[0] / 2);

impl Bound {
    fn room(self) -> Room {
        match self {
            Self::None => Room::Ample,
            Self::Entries(_) | Self::Bytes(_) => Room::Short,
            Self::Quota { evicts, .. } => Room::Quotas { evicts },
        }
    }
}

impl Plan {
    pub(crate) fn new(topic: Topic, seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let mix = match topic {
            Topic::Deadline => Mix::Deadline,
            Topic::Refreshing => Mix::Timed,
            _ => rng.pick(&[Mix::Concurrent, Mix::Concurrent, Mix::Timed]),
        };
        let (threads, steps) = rng.pick(&[(3, 4), (3, 5), (4, 4), (4, 6)]);
        let mut author = Author::new(seed, mix);
        let mut programs: Vec<_> = (0..threads).map(|_| author.program(steps)).collect();
        let way =
            rng.pick(&[Way::Ids, Way::FreshScopes, Way::KeptScopes, Way::KeptScopes, Way::Bulk]);
        let upkeep = rng.pick(&[Upkeep::None, Upkeep::EachStep(1), Upkeep::EachStep(1_000)]);
        let (one_hash, typed) = (rng.below(2) == 0, rng.below(4) == 0);
        let bound = match topic {
            Topic::Store | Topic::Closing | Topic::Refreshing => Bound::None,
            Topic::Quotas => {
                let bytes = rng.pick(&[200, 500, 6_000, 12_000]);
                Bound::Quota { bytes, evicts: rng.below(2) == 0 }
            }
            Topic::Deadline => rng.pick(&[Bound::None, Bound::None, Bound::Entries(2)]),
            // From a place or two to a few; in bytes, one large value or some small ones.
            Topic::Eviction => rng.pick(&[
                Bound::Entries(1),
                Bound::Entries(2),
                Bound::Entries(3),
                Bound::Bytes(4 << 10),
                Bound::Bytes(8 << 10),
                Bound::Bytes(16 << 10),
            ]),
        };
        let rounds = if topic == Topic::Store { 0 } else { rng.pick(&[0, 2, 4, 8]) };
        let quotas = match bound {
            Bound::Quota { bytes, .. } if rng.below(2) == 0 => Some([bytes / 2, bytes]),
            _ => None,
        };
        let maintainer = Maintainer { rounds, budget: rng.pick(&[1, 8, 1_000]), quotas };
        if topic == Topic::Closing {
            let program = &mut programs[rng.below(threads)];
            program.insert(rng.below(steps + 1), Step::Do(Op::Close));
        }
        if topic == Topic::Refreshing {
            programs.iter_mut().for_each(|program| refresh(program, &mut rng));
            let advance = Step::Do(Op::Advance(TTLS[0]));
            programs[rng.below(threads)].insert(rng.below(steps / 2) + 1, advance);
        }
        let is_heard = rng.below(2) == 0;
        Self { topic, seed, programs, way, upkeep, maintainer, bound, one_hash, typed, is_heard }
    }

    /// # Panics
    ///
    /// Where the history of the programs is wrong, or what they leave behind.
    pub(crate) fn run(self, tally: &Tally) {
        match (self.typed, self.one_hash) {
            (false, false) => {
                self.run_on::<Blob, _>(ahash::RandomState::with_seeds(1, 2, 3, 4), tally);
            }
            (false, true) => self.run_on::<Blob, _>(SameHash, tally),
            (true, _) => self.run_on::<Arc<str>, _>(SameHash, tally),
        }
    }

    fn cache<V: Wire, S: Hashes>(
        &self,
        hasher: S,
        clock: MockClock,
        reports: Option<&Arc<Reports>>,
    ) -> Cache<V, S> {
        let mut builder = Cache::builder()
            .max_bytes(8 << 20)
            .expected_entries(8)
            .shards(2)
            .maintenance(Maintenance::Manual)
            .clock(clock)
            .hasher(hasher);
        builder = match self.bound {
            Bound::None => builder.on_full(OnFull::Reject),
            Bound::Entries(most) => builder.max_entries(most),
            Bound::Bytes(most) => builder.max_bytes(most),
            Bound::Quota { bytes, evicts: true } => builder.user_quota(bytes),
            Bound::Quota { bytes, evicts: false } => {
                builder.user_quota(bytes).on_full(OnFull::Reject)
            }
        };
        if self.topic == Topic::Refreshing {
            builder = builder.refresh_after(REFRESH_AFTER);
        }
        if let Some(reports) = reports {
            builder = builder.on_removal(reports.listener());
        }
        builder.build().expect("these options go together")
    }

    fn run_on<V: Wire, S: Hashes>(self, hasher: S, tally: &Tally) {
        let clock = MockClock::new();
        let reports = self.is_heard.then(Arc::<Reports>::default);
        let cache: Cache<V, S> = self.cache(hasher, clock.clone(), reports.as_ref());
        let engine = CacheEngine::new(cache, clock, self.way, self.upkeep);
        let bound = self.bound;
        let is_kept = move |cache: &Cache<V, S>| {
            let stats = cache.stats();
            assert!(stats.live_bytes <= cache.capacity_bytes(), "{stats:?}");
            if let Bound::Entries(most) = bound {
                assert!(stats.entries <= most, "{stats:?}");
            }
            if let Bound::Quota { bytes, .. } = bound {
                for user in [0, 1].map(|user| namespace(Space::User(user))) {
                    let usage = cache.usage(user).expect("open");
                    assert!(usage.bytes <= bytes, "{usage:?} of {bytes}");
                }
            }
            if cache.is_closed() {
                // Overflow lines go with the table.
                let left = stats.live_bytes - stats.overflow_lines * LINE_BYTES;
                let left = (stats.entries, stats.users, stats.sessions, left);
                assert_eq!(left, (0, 0, 0, 0), "left behind by a close: {stats:?}");
            }
        };
        let history = threads::record(engine, self.programs, self.maintainer, is_kept);
        let room = self.bound.room();
        match check(&Model::with_room(room), &history) {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(why) => {
                panic!("program of seed {}, {:?}: {why}", self.seed, self.topic)
            }
            Verdict::GaveUp => panic!("gave up on the program of seed {}", self.seed),
        }
        if let Some(Err(why)) = reports.map(|reports| reports.judge(room, &history)) {
            panic!("program of seed {}, {:?}: {why}\n{history:#?}", self.seed, self.topic);
        }
        tally.count(self.topic, self.seed, &history);
    }
}

/// Has hits refresh what is old: gets and loads. Nobody touches: a copy with another deadline may lose
/// who is to refresh it.
fn refresh(program: &mut [Step], rng: &mut Rng) {
    for step in program {
        let Step::Do(op) = step else { continue };
        let at = match *op {
            Op::Get(at) | Op::GetOrLoad(at, _) | Op::Touch(at, _) => at,
            _ => continue,
        };
        // Each value once, as with those of the author.
        let value = REFRESHED + (rng.next() % 400_000) as Value;
        let life = rng.pick(&[Life::Forever, Life::Keep, Life::For(TTLS[1])]);
        *op = Op::Refresh(at, Put { value, life });
    }
}

/// What the histories of one test came to; clones share their figures.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Figures>);

#[derive(Default)]
struct Figures {
    histories: AtomicU64,
    /// Calls, and those of them that found no room.
    calls: AtomicU64,
    full: AtomicU64,
    /// Values that were stored by a refresh.
    refreshed: AtomicU64,
    /// Histories that were looked at once more, and those that only an eviction explains.
    sampled: AtomicU64,
    evicted: AtomicU64,
}

impl Tally {
    /// One in so many histories is looked at for evictions.
    const SAMPLE: u64 = 8;

    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn count(&self, topic: Topic, seed: u64, history: &[Event]) {
        let full = history.iter().filter(|event| event.ret == Ret::Full).count();
        let refreshed = history.iter().filter(|event| {
            matches!(event.op, Op::Write(_, When::Version(_), put) if put.value >= REFRESHED)
                && event.ret != Ret::Stored(None)
        });
        let figures = &self.0;
        // Relaxed: statistics.
        figures.refreshed.fetch_add(refreshed.count() as u64, Ordering::Relaxed);
        figures.histories.fetch_add(1, Ordering::Relaxed);
        figures.calls.fetch_add(history.len() as u64, Ordering::Relaxed);
        figures.full.fetch_add(full as u64, Ordering::Relaxed);
        if topic == Topic::Eviction && full == 0 && seed.is_multiple_of(Self::SAMPLE) {
            let only_evicted = check(&Model::new(), history) != Verdict::Linearizable;
            // Relaxed: statistics.
            figures.sampled.fetch_add(1, Ordering::Relaxed);
            figures.evicted.fetch_add(u64::from(only_evicted), Ordering::Relaxed);
        }
    }

    /// Prints the figures.
    ///
    /// # Panics
    ///
    /// Where the histories of caches that evict show hardly an eviction, or refusals alone; those with
    /// quotas hardly a refusal, or those that refresh hardly a refresh.
    pub(crate) fn report(&self, topic: Topic, how: &str) {
        // Relaxed: whoever counted has been joined.
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let histories = get(&self.0.histories);
        println!("{topic:?}: {histories} histories {how}, none rejected");
        let (calls, full) = (get(&self.0.calls), get(&self.0.full));
        let refreshed = get(&self.0.refreshed);
        match topic {
            Topic::Eviction => {}
            Topic::Quotas => {
                println!("  {full} of {calls} calls were refused");
                assert!(histories < 500 || full * 50 > calls && full * 4 < calls);
                return;
            }
            Topic::Refreshing => {
                println!("  {refreshed} values were stored by a refresh");
                assert!(histories < 500 || refreshed * 10 > histories);
                return;
            }
            _ => return,
        }
        let (sampled, evicted) = (get(&self.0.sampled), get(&self.0.evicted));
        println!("  of {sampled} that were sampled, {evicted} have a miss that only an eviction");
        println!("  explains; {full} of {calls} calls found no room");
        if histories >= 500 {
            assert!(evicted * 10 > sampled, "{evicted} of {sampled} show an eviction");
            assert!(full * 4 < calls, "{full} of {calls} calls found no room");
        }
    }
}
