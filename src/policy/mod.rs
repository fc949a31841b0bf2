//! Which entry goes when memory is full: the eviction policy of one shard.
//!
//! ```text
//!            new handle                 ghost hit that passes the test
//!                │                                   │
//!                ▼          two hits                 ▼
//!   ┌──── small queue ────┐ ─────────► ┌───────── main queue ─────────┐
//!   │  share x capacity   │            │  the rest                    │ ◄─┐ hits: once more
//!   └──────────┬──────────┘            └──────────────┬───────────────┘ ──┘ round for each
//!              │ fewer hits                           │ no hits left
//!              ▼                                      ▼
//!            ghosts (2 capacities)                  ghosts (1/20 capacity)
//!              └── just missed it: share grows        └── just missed it: share shrinks
//! ```
//!
//! S3-FIFO with two changes. A ghost hit enters the main queue only if its entry was used later
//! than the main queue's coldest: what left the small queue since each was last queued is
//! compared, which is LIRS's rule without its stack. So a loop larger than the cache leaves the
//! main queue as it is. And the small queue's share follows the ghost hits, as in ARC: hits just
//! beyond the end of a queue are what more room there would earn.
//!
//! All of it is plain `&mut` code on handles: weak references that may be stale or duplicate.
//! Hits never come here: they add to two bits of credit in the entry, which the policy reads
//! through [`Residents`]. Amounts are bytes, or entries where each weighs 1.
//!
//! The engine makes room first and inserts then: [`Policy::evict`] until there is room, and at
//! some later moment [`Policy::insert`].
//!
//! Invariants: the queues' sums are those of their handles; `share` stays within its bounds; one
//! call looks at a bounded number of handles ([`LOOKS`] in each queue) and allocates at most
//! [`Policy::CALL_BYTES`], apart from [`Policy::size_ghosts`].
//!
//! References: S3-FIFO (Yang et al., SOSP 2023), LIRS (Jiang and Zhang, SIGMETRICS 2002), ARC
//! (Megiddo and Modha, FAST 2003).

mod admission;
#[cfg(all(any(fuzzing, test), not(any(scopecache_loom, scopecache_shuttle))))]
pub(crate) mod fuzz;
mod ghost;
mod hand;
mod queue;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use self::ghost::{Clocks, Ghosts, Limits, Origin};
use self::hand::{LOOKS, Looks};
use self::queue::{Handle, PUSH_BYTES, Queue};

/// Ghosts up to this part of the capacity old are near: they vote.
const NEAR: f64 = 0.05;
/// An entry is big from this part of the total on.
const BIG: f64 = 0.05;
/// Places for each ghost: some to spare, as buckets fill unevenly.
const SPARE_GHOSTS: f64 = 1.1;
/// Ghosts are not sized for fewer entries.
const LEAST_ENTRIES: usize = 32;

/// Which entries leave a full cache.
///
/// Both kinds keep entries in two queues, count up to three hits an entry and remember evicted
/// ones for a while. A hit costs the same with either: a store to two bits at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// S3-FIFO with a small queue that sizes itself by ghost hits, as ARC does (Megiddo and
    /// Modha, FAST 2003), and an admission test by reuse distance, as in LIRS (Jiang and Zhang,
    /// SIGMETRICS 2002).
    #[default]
    Adaptive,
    /// S3-FIFO as published (Yang et al., SOSP 2023): a small queue of 10 %, ghosts for 90 %,
    /// promotion at the second hit.
    S3Fifo,
}

/// The entries that handles lead to, as the policy sees them.
pub(crate) trait Residents {
    type Resident;

    /// The entry that a handle leads to; `None` where it is stale.
    fn find(&mut self, handle: u32) -> Option<Self::Resident>;
    /// Hits, up to 3, less those that the policy took away.
    fn credit(&self, resident: &Self::Resident) -> u8;
    fn set_credit(&mut self, resident: &Self::Resident, credit: u8);
    fn weight(&self, resident: &Self::Resident) -> u64;
    /// Whether it may go now. Others, such as the placeholder of a load, go to the back.
    fn is_evictable(&self, resident: &Self::Resident) -> bool;
    /// Takes an entry out; `false` where it has just gone or changed.
    fn evict(&mut self, resident: Self::Resident) -> bool;
}

/// What a call of [`Policy::evict`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evicted {
    /// An entry of this weight has gone.
    Entry(u64),
    /// None has yet: the call has looked at as many handles as it may. Where entries that may
    /// not go are all there is, it answers this for ever.
    Unfinished,
    /// There are no handles.
    Empty,
}

/// The eviction policy of one shard.
pub(crate) struct Policy {
    kind: Eviction,
    /// What the whole cache holds.
    total: u64,
    /// What the shard holds when the cache is full: learned, as all shards share one bound.
    capacity: u64,
    /// What was evicted since the last insertion.
    room: u64,
    small: Queue,
    main: Queue,
    evicted: Clocks,
    has_evicted: bool,
    /// There is room for all: nothing was evicted yet, or not since the bound was raised.
    is_filling: bool,
    /// A unit of the handles' stamps, as a shift. Until the first eviction all stamps are zero.
    stamp_unit: u32,
    ghosts: Option<Ghosts>,
    /// The entries for which the ghosts were sized.
    sized_for: usize,
    /// The part of a walk of `retain` that comes next.
    walk: Walk,
}

#[derive(Clone, Copy, Default)]
enum Walk {
    #[default]
    Main,
    Small,
}

impl Policy {
    /// Where the share of the small queue starts.
    pub(crate) const START_SHARE: f32 = 0.10;
    /// The most bytes by which a call makes the queues larger.
    pub(crate) const CALL_BYTES: u64 = 3 * PUSH_BYTES;

    /// A policy for one of `shards` that hold `total` together.
    pub(crate) fn new(kind: Eviction, total: u64, shards: u64) -> Self {
        Self {
            kind,
            total: total.max(1),
            capacity: (total / shards.max(1)).max(1),
            room: 0,
            small: Queue::default(),
            main: Queue::default(),
            evicted: Clocks::default(),
            has_evicted: false,
            is_filling: true,
            stamp_unit: 0,
            ghosts: None,
            sized_for: 0,
            walk: Walk::default(),
        }
    }

    /// Follows the bound of the whole cache.
    pub(crate) fn set_total(&mut self, total: u64) {
        if total == self.total {
            return;
        }
        // Until an eviction shows it.
        let capacity = self.capacity as f64 * (total as f64 / self.total as f64);
        self.capacity = (capacity as u64).max(1);
        self.is_filling |= total > self.total;
        self.total = total.max(1);
    }

    /// What was evicted makes room for nothing: the shard holds what is queued, and no more.
    pub(crate) fn forget_room(&mut self) {
        self.room = 0;
    }

    /// Gives up all handles and ghosts, of a shard that is empty.
    pub(crate) fn clear(&mut self) {
        (self.small, self.main) = (Queue::default(), Queue::default());
        self.walk = Walk::default();
        self.forget_ghosts();
    }

    /// Gives up the ghosts.
    pub(crate) fn forget_ghosts(&mut self) {
        (self.ghosts, self.sized_for) = (None, 0);
    }

    pub(crate) fn has_ghosts(&self) -> bool {
        self.ghosts.is_some()
    }

    /// Handles in the queues, stale and duplicate ones included.
    pub(crate) fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// What the handles weighed when they were queued.
    pub(crate) fn weight(&self) -> u64 {
        self.small.weight() + self.main.weight()
    }

    /// Bytes on the heap, as an allocator counts them.
    pub(crate) fn bytes(&self) -> u64 {
        self.small.bytes() + self.main.bytes() + self.ghosts.as_ref().map_or(0, Ghosts::bytes)
    }

    /// Queues a new handle.
    ///
    /// `share` is the small queue's part of the capacity: one number for the whole cache.
    pub(crate) fn insert<R: Residents>(
        &mut self,
        handle: u32,
        weight: u64,
        share: &mut f32,
        residents: &mut R,
    ) {
        let target = self.target(*share);
        let returned = self.return_of(handle, weight, target, residents);
        if let Some(returned) = &returned {
            self.forget(handle);
            self.count_vote(returned.vote, share);
        }
        self.room = 0;
        let to_main = returned.is_some_and(|returned| returned.to_main);
        // Until the cache is full, the main queue takes what the small one has no room for.
        let fill = self.is_filling && self.small.weight() + weight > target;
        let handle = Handle {
            entry: handle,
            stamp: self.stamp(),
            weight: weight.try_into().unwrap_or(u32::MAX),
        };
        if to_main || fill { self.main.push(handle) } else { self.small.push(handle) }
    }

    /// Evicts one entry from a full cache, so that `need` more fits.
    pub(crate) fn evict<R: Residents>(
        &mut self,
        need: u64,
        share: f32,
        residents: &mut R,
    ) -> Evicted {
        self.begin_evicting();
        // It is full by definition, but for what was evicted and is not in use again yet.
        self.capacity = (self.weight() + self.room).max(1);
        let target = self.target(share);
        let mut looks = Looks::new(LOOKS);
        while looks.left > 0 {
            let large = self.small.weight() + need > target;
            let origin = match (self.small.is_empty(), self.main.is_empty()) {
                (true, true) => return Evicted::Empty,
                (false, main_is_empty) if large || main_is_empty => Origin::Small,
                _ => Origin::Main,
            };
            let mut evicted = self.evict_from(origin, &mut looks, residents);
            if looks.are_vain() {
                // Nothing in that queue may go: then the other one gives the room.
                evicted = self.evict_from(origin.other(), &mut Looks::new(LOOKS), residents);
            }
            if let Some(weight) = evicted {
                return Evicted::Entry(weight);
            }
        }
        Evicted::Unfinished
    }

    /// Whether a new entry is worth the room that must be made for it in a full cache.
    ///
    /// It always is below a twentieth of the total. A big one has to be known: what is refused
    /// leaves a ghost, and then has to pass the test for the main queue. (S3-FIFO refuses what
    /// exceeds its small queue and has no ghost.)
    pub(crate) fn admits<R: Residents>(
        &mut self,
        handle: u32,
        weight: u64,
        share: &mut f32,
        residents: &mut R,
    ) -> bool {
        let target = self.target(*share);
        let limit = match self.kind {
            Eviction::Adaptive => part(self.total, BIG),
            Eviction::S3Fifo => target,
        };
        if weight <= limit {
            return true;
        }
        let returned = self.return_of(handle, weight, target, residents);
        if returned.as_ref().is_some_and(|returned| returned.to_main) {
            // The ghost stays, and votes when the entry is inserted.
            return true;
        }
        if self.kind == Eviction::Adaptive {
            self.count_vote(returned.and_then(|returned| returned.vote), share);
            self.begin_evicting();
            // As if it had gone through the small queue, but other ghosts shall not age by it.
            self.evicted.small += weight.min(self.capacity / 100);
            self.remember(handle, Origin::Small);
        }
        false
    }

    /// Goes on with a walk over both queues that drops the handles which `keep` refuses; answers
    /// whether it has come to the end.
    ///
    /// `budget` is the number of handles to look at, up to 63 more; what is left of it stays
    /// there. Insertions and evictions between the steps are allowed.
    pub(crate) fn retain(&mut self, budget: &mut usize, mut keep: impl FnMut(u32) -> bool) -> bool {
        if matches!(self.walk, Walk::Main) {
            if !self.main.retain(budget, &mut keep) {
                return false;
            }
            self.walk = Walk::Small;
        }
        if !self.small.retain(budget, &mut keep) {
            return false;
        }
        self.walk = Walk::Main;
        true
    }

    /// The bytes that the ghosts of a full shard will take if they are made or made anew now;
    /// `None` where their size is right.
    ///
    /// To be asked when the shard is full, before room is made.
    pub(crate) fn wanted_ghost_bytes(&self) -> Option<u64> {
        let entries = self.len();
        let fits = entries < 2 * self.sized_for
            && (entries >= self.sized_for / 4 || self.sized_for == LEAST_ENTRIES)
            && self.ghosts.as_ref().is_some_and(|ghosts| ghosts.suits(self.capacity));
        (!fits).then(|| Ghosts::bytes_for(self.wanted_ghosts()))
    }

    /// Makes the ghosts of the size that the handles ask for, and keeps those that there are.
    ///
    /// # Complexity
    ///
    /// Takes time in proportion to the old and the new size; both exist for a moment.
    pub(crate) fn size_ghosts(&mut self) {
        let (wanted, limits) = (self.wanted_ghosts(), self.limits());
        let sized = match &self.ghosts {
            None => Ghosts::new(wanted, self.capacity, limits),
            Some(ghosts) => ghosts.resized(wanted, self.capacity, limits, self.evicted),
        };
        self.ghosts = Some(sized);
        self.sized_for = self.len().max(LEAST_ENTRIES);
    }

    /// The handles in the queues.
    pub(crate) fn handles(&self) -> impl Iterator<Item = u32> {
        self.small.entries().into_iter().chain(self.main.entries())
    }

    /// Checks the invariants at the head of this file, but for those of `share`.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.small.validate().map_err(|fault| format!("small queue: {fault}"))?;
        self.main.validate().map_err(|fault| format!("main queue: {fault}"))?;
        if !self.has_evicted && self.evicted.small + self.evicted.main > 0 {
            return Err("the clocks go though nothing was evicted".into());
        }
        Ok(())
    }

    fn begin_evicting(&mut self) {
        self.is_filling = false;
        if !self.has_evicted {
            self.has_evicted = true;
            // Fine enough for any capacity that may come, and 4096 capacities until it wraps.
            self.stamp_unit = (self.capacity >> 20).max(1).ilog2();
        }
    }

    fn remember(&mut self, handle: u32, origin: Origin) {
        if self.kind == Eviction::S3Fifo && origin == Origin::Main {
            return;
        }
        if let Some(ghosts) = &mut self.ghosts {
            ghosts.put(handle, origin, self.evicted);
        }
    }

    fn forget(&mut self, handle: u32) {
        if let Some(ghosts) = &mut self.ghosts {
            ghosts.remove(handle);
        }
    }

    /// How large the small queue shall be.
    fn target(&self, share: f32) -> u64 {
        match self.kind {
            Eviction::Adaptive => part(self.capacity, share.into()).max(self.average()),
            Eviction::S3Fifo => (self.capacity / 10).max(1),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            small: match self.kind {
                Eviction::Adaptive => self.capacity.saturating_mul(2),
                Eviction::S3Fifo => part(self.capacity, 0.9),
            },
            main: part(self.capacity, NEAR).max(self.average()),
        }
    }

    /// How many ghosts there are within their limits, and a few more.
    fn wanted_ghosts(&self) -> usize {
        let part_of_entries = match self.kind {
            Eviction::Adaptive => 2.0 + NEAR,
            Eviction::S3Fifo => 0.9,
        };
        (self.len().max(LEAST_ENTRIES) as f64 * part_of_entries * SPARE_GHOSTS) as usize
    }

    /// The weight of an average entry.
    fn average(&self) -> u64 {
        (self.weight() / self.len().max(1) as u64).max(1)
    }

    fn stamp(&self) -> u32 {
        (self.evicted.small >> self.stamp_unit) as u32
    }
}

fn part(amount: u64, share: f64) -> u64 {
    (amount as f64 * share) as u64
}
