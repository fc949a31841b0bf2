//! A fuzz target: what the policy keeps and hands out, in a cache with a plain map in place of the
//! table, used as the input says.
//!
//! The first bytes choose the kind and the capacity; then every step is a byte for what is done
//! and some for its numbers; see `Cache::step`.

use std::collections::{BTreeMap, HashMap};

use arbitrary::{Result, Unstructured};

use super::ghost::Ghosts;
use super::hand::{LOOKS, TURNS};
use super::{Evicted, Eviction, LEAST_ENTRIES, Policy, Residents};

/// Capacities, in bytes or entries.
const CAPACITIES: [u64; 7] = [1, 2, 10, 100, 400, 3000, 1 << 33];
/// More entries take their time and show nothing new.
const MOST_ENTRIES: usize = 600;
const MOST_STEPS: usize = 250;
/// The most handles that a call may look for: all that it may look at in both queues, and each
/// once more where the entry has changed.
const MOST_FINDS: usize = 4 * LOOKS + TURNS;
/// What it may take to evict something: every handle may have to go round for each of its hits,
/// and once more as it changes queues.
const MOST_ROUNDS: usize = 6;

/// Runs the target; panics where the policy is wrong.
pub(crate) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(mut cache) = Cache::from_input(&mut input) else { return };
    // An input that ends within a step ends the run: its rest of numbers are zero.
    for _ in 0..MOST_STEPS {
        if input.is_empty() || cache.step(&mut input).is_err() {
            break;
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) credit: u8,
    pub(super) weight: u64,
    pub(super) evictable: bool,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) entries: HashMap<u32, Entry>,
    /// The next so many evictions find the entry changed.
    pub(super) changed: usize,
    /// Handles that were looked for.
    finds: usize,
    /// What was evicted, in order.
    gone: Vec<Entry>,
}

impl Residents for World {
    type Resident = u32;

    fn find(&mut self, handle: u32) -> Option<u32> {
        self.finds += 1;
        self.entries.contains_key(&handle).then_some(handle)
    }

    fn credit(&self, resident: &u32) -> u8 {
        self.entries[resident].credit
    }

    fn set_credit(&mut self, resident: &u32, credit: u8) {
        self.entries.get_mut(resident).unwrap().credit = credit;
    }

    fn weight(&self, resident: &u32) -> u64 {
        self.entries[resident].weight
    }

    fn is_evictable(&self, resident: &u32) -> bool {
        self.entries[resident].evictable
    }

    fn evict(&mut self, resident: u32) -> bool {
        if self.changed > 0 {
            self.changed -= 1;
            return false;
        }
        let gone = self.entries.remove(&resident);
        self.gone.extend(gone);
        gone.is_some()
    }
}

/// A cache of one shard in which room is made before an insertion.
pub(super) struct Cache {
    pub(super) policy: Policy,
    pub(super) world: World,
    pub(super) share: f32,
    pub(super) capacity: u64,
}

impl Cache {
    pub(super) fn new(kind: Eviction, capacity: u64) -> Self {
        let policy = Policy::new(kind, capacity, 1);
        Self { policy, world: World::default(), share: Policy::START_SHARE, capacity }
    }

    pub(super) fn held(&self) -> u64 {
        self.world.entries.values().map(|entry| entry.weight).sum()
    }
}

/// How often each handle is queued.
type Queued = BTreeMap<u32, usize>;

impl Cache {
    fn from_input(input: &mut Unstructured<'_>) -> Result<Self> {
        let kind = match input.int_in_range(0..=3_u8)? {
            0 => Eviction::S3Fifo,
            _ => Eviction::Adaptive,
        };
        Ok(Self::new(kind, *input.choose(&CAPACITIES)?))
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let before = self.queued();
        let mut inserted = Vec::new();
        match input.int_in_range(0..=15_u8)? {
            // A hit, or a set of a key that is absent.
            0..=4 => {
                let (key, weight) = (key(input)?, self.weight(input)?);
                self.use_or_insert(key, weight, &mut inserted);
            }
            // Many keys that nobody knows: what fills a cache.
            5 | 6 => {
                let (count, weight) = (input.int_in_range(1..=120_u32)?, self.weight(input)?);
                let first = (1 + u32::from(input.arbitrary::<u8>()?)) << 20;
                for key in first..first + count {
                    self.use_or_insert(key, weight, &mut inserted);
                }
            }
            7 => _ = self.world.entries.remove(&key(input)?),
            8 => {
                let (key, weight) = (key(input)?, self.weight(input)?);
                if let Some(entry) = self.world.entries.get_mut(&key) {
                    entry.weight = weight;
                }
            }
            9 => {
                let (key, evictable) = (key(input)?, input.arbitrary()?);
                if let Some(entry) = self.world.entries.get_mut(&key) {
                    entry.evictable = evictable;
                }
            }
            10 => self.world.changed = input.int_in_range(0..=3)?,
            11 | 12 => {
                let mut budget = input.int_in_range(0..=300)?;
                let (most, mut looks) = (budget + 63, 0);
                self.policy.retain(&mut budget, |key| {
                    looks += 1;
                    self.world.entries.contains_key(&key)
                });
                assert!(looks <= most, "{looks} looks of {most}");
            }
            13 => {
                let (key, weight) = (key(input)?, self.weight(input)?);
                self.bounded(TURNS, |cache| {
                    let Self { policy, world, share, .. } = cache;
                    policy.admits(key, weight, share, world)
                });
            }
            14 => self.size_ghosts(),
            _ => _ = self.evict_one(u64::from(input.arbitrary::<u8>()?)),
        }
        self.check(&before, &inserted);
        Ok(())
    }

    /// Makes one call to the policy, which looks for so many handles at most, and allocates no
    /// more than it may.
    fn bounded<R>(&mut self, most_finds: usize, call: impl FnOnce(&mut Self) -> R) -> R {
        let bytes = self.policy.bytes();
        self.world.finds = 0;
        let result = call(self);
        let finds = self.world.finds;
        assert!(finds <= most_finds, "{finds} handles were looked for, {most_finds} may be");
        assert!(self.policy.bytes() <= bytes + Policy::CALL_BYTES);
        result
    }

    /// Mostly no more than an average entry of a cache of some hundred.
    fn weight(&self, input: &mut Unstructured<'_>) -> Result<u64> {
        let part = (self.capacity / 64).max(1);
        Ok(match input.int_in_range(0..=7_u8)? {
            0 => self.capacity,
            1 => self.capacity / 20 + u64::from(input.arbitrary::<u8>()? % 3),
            2 | 3 => 1,
            _ => input.int_in_range(1..=part)?,
        }
        .max(1))
    }

    /// Counts a hit, or makes room for the key and inserts it.
    fn use_or_insert(&mut self, key: u32, weight: u64, inserted: &mut Vec<u32>) {
        if let Some(entry) = self.world.entries.get_mut(&key) {
            entry.credit = (entry.credit + 1).min(3);
            return;
        }
        let is_full = |cache: &Self| {
            cache.held() + weight > cache.capacity || cache.world.entries.len() >= MOST_ENTRIES
        };
        while is_full(self) && self.evict_one(weight) {}
        self.world.entries.insert(key, Entry { credit: 0, weight, evictable: true });
        self.bounded(TURNS, |cache| {
            let Self { policy, world, share, .. } = cache;
            policy.insert(key, weight, share, world);
        });
        inserted.push(key);
    }

    /// Evicts until something has gone, and judges that this does not take for ever; `false` where
    /// nothing may go.
    fn evict_one(&mut self, need: u64) -> bool {
        let may_go = self.world.entries.values().any(|entry| entry.evictable);
        let most = if may_go { MOST_ROUNDS * (2 + 2 * self.policy.len() / LOOKS) } else { 1 };
        for _ in 0..most {
            let queued = self.policy.len();
            self.world.gone.clear();
            let evicted = self.bounded(MOST_FINDS, |cache| {
                cache.policy.evict(need, cache.share, &mut cache.world)
            });
            match (evicted, self.world.gone.as_slice()) {
                (Evicted::Entry(weight), [gone]) => {
                    assert!(gone.evictable && gone.weight == weight, "{gone:?} of {weight}");
                    return true;
                }
                (Evicted::Unfinished, []) => assert!(queued > 0),
                (Evicted::Empty, []) => {
                    assert_eq!(self.policy.len(), 0);
                    assert!(self.world.entries.is_empty(), "an entry without a handle");
                    return false;
                }
                (evicted, gone) => panic!("{evicted:?}, but {gone:?} have gone"),
            }
        }
        assert!(!may_go, "nothing went in {most} calls");
        false
    }

    /// Makes the ghosts of the right size: no more of them than the handles ask for.
    fn size_ghosts(&mut self) {
        let before = self.policy.bytes();
        let ghosts = |policy: &Policy| policy.ghosts.as_ref().map_or(0, Ghosts::bytes);
        let old = ghosts(&self.policy);
        self.policy.size_ghosts();
        let new = ghosts(&self.policy);
        assert_eq!(self.policy.bytes(), before - old + new);
        let most = 5 * self.policy.len().max(LEAST_ENTRIES) / 2;
        assert!(new <= Ghosts::bytes_for(most), "{new} bytes of ghosts for {most}");
    }

    fn queued(&self) -> Queued {
        let mut queued = Queued::new();
        self.policy.handles().for_each(|handle| *queued.entry(handle).or_default() += 1);
        queued
    }

    /// Handles of entries that are there neither go nor multiply; those that lead nowhere only go.
    fn check(&self, before: &Queued, inserted: &[u32]) {
        self.policy.validate().unwrap();
        assert!((0.0099..=0.9001).contains(&self.share), "a share of {}", self.share);
        let mut expected = before.clone();
        inserted.iter().for_each(|key| *expected.entry(*key).or_default() += 1);
        let after = self.queued();
        for key in self.world.entries.keys() {
            let count = after.get(key).copied().unwrap_or(0);
            // What was inserted may have been evicted before that, and a handle with it.
            let least = if inserted.contains(key) { 1 } else { expected[key] };
            assert!((least..=expected[key]).contains(&count), "{count} handles of entry {key}");
        }
        for (handle, count) in &after {
            assert!(Some(count) <= expected.get(handle), "handle {handle} has multiplied");
        }
    }
}

/// Few keys, so that they come back.
fn key(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match input.int_in_range(0..=3_u8)? {
        0 => input.int_in_range(0..=2000)?,
        _ => u32::from(input.arbitrary::<u8>()? % 64),
    })
}
