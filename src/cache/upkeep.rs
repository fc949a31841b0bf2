//! Keeping a shard within its bounds: what leaves when the cache is full, and when that which
//! has expired is freed.
//!
//! ```text
//!  setters ─► ring of handles ─► feed ─┬─► eviction queues ─► evict    (the budget is full)
//!               │                      └─► timing wheel ────► advance  (a tick is over)
//!               │ full: lost              ▲
//!               └──────────► repair ──────┘   a sweep over the shard's buckets
//! ```
//!
//! An event is a handle that says "look at this entry": what is to be done about it is read off
//! the entry itself ([`Track`]), under the lock of its shard's [`Upkeep`]. So events may come
//! twice, late or, where the ring was full, not at all; a lost one starts a repair.
//!
//! Nobody waits for the lock, but who changes the bound and who closes the cache. Setters feed when their ring has filled up somewhat, and evict
//! when they find no room; the driver does the rest.
//!
//! # Handles do not multiply
//!
//! An entry has at most one handle in the queues, and remembers the earliest tick for which the
//! wheel has one. What overwrites it inherits both. A handle that fires before its entry's
//! deadline arms itself again, unless the entry has an earlier one: so a key whose TTL changes
//! a million times has a handle for each time that the earliest tick moved nearer, and those
//! fire once.
//!
//! A key that is deleted and set again is another entry with handles of its own, and those of
//! the one before lead to it as well. Where handles have come to outnumber the entries, a walk
//! drops those that lead nowhere, those to an entry that it has met already, and those for a
//! tick that is not the one the entry remembers.
//!
//! # What races lose
//!
//! A setter inherits before its compare-exchange, so it may miss a mark that is set just then.
//! It then announces its entry itself, and the entry gets a second handle. Or the mark that it
//! inherits is older than what the wheel has: the handle that fires finds a tick that is over,
//! and takes that one's place. That is in time for a deadline no earlier than that of the entry
//! before; a setter that brings an earlier one announces it in any case, and a tick that is over
//! does not count as a handle then ([`announce_over`](Core::announce_over)).
//!
//! A handle whose entry was replaced or taken out while it was looked at is kept, in the wheel
//! for one tick more, in the queues for one more turn: what has come may rely on it.

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;
mod turn;

use self::turn::Turn;
use crate::cache::core::Core;
use crate::cache::maintenance::Progress;
use crate::cache::room::back_off;
use crate::clock::{NEVER, Nanos};
use crate::directory::Node;
use crate::policy::Policy;
use crate::reclaim::{Guard, pin};
use crate::sync::Ring;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicBool;
use crate::table::{LAST_TICK, Seen, Track};
use crate::value::Value;
use crate::wheel::Wheel;

/// Events that a ring holds.
pub(crate) const EVENTS: usize = 256;
/// Events in a ring from which on its setters feed.
const FED_FROM: usize = 64;
/// Events that a setter feeds at most.
const FED_AT_ONCE: usize = 128;
/// How often a setter that finds no room asks all shards: for about a second. Where the system puts
/// the thread aside that holds a shard, the others are emptied meanwhile, and all that may go stands in
/// that one. In models nobody is put aside for long, and a round takes no time.
const MOST_ROUNDS: u32 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 64 } else { 5_000 };
/// How often where nobody else holds a shard.
const MOST_VAIN_ROUNDS: u32 = 8;
/// Entries above this part of the bound are judged before room is made for them.
pub(crate) const LARGE_PART: u64 = 20;
/// What a wheel may take beyond what is booked, where nothing can be evicted for it: in a full
/// cache that rejects, or in a small shard that holds nothing else any more.
const MOST_UNBOOKED_BYTES: u64 = 4096;
/// A share of the bound from which on a shard has always something to evict for its wheel.
const LARGE_SHARE_BYTES: u64 = 64 << 10;
/// Stale handles of a shard that are not worth a walk.
const FEW_STALE: u64 = 256;
/// The tick that an empty wheel is due at.
pub(crate) const NOTHING_DUE: u64 = u64::MAX;

/// Handles on their way from setters to their shard's upkeep.
pub(crate) struct Events {
    ring: Ring<u64>,
    /// One found the ring full.
    lost: AtomicBool,
}

/// Eviction queues and timing wheel of one shard.
pub(crate) struct Upkeep {
    wheel: Wheel,
    /// None where nothing is ever evicted.
    policy: Option<Policy>,
    /// What the budget was asked for on behalf of the two.
    booked: u64,
    /// Buckets of the shard that a repair has still to look at.
    repair: usize,
    /// Where the search for something to evict goes on, when the queues know nothing.
    searched: usize,
    /// The walk that drops stale handles, if one is under way.
    compaction: Option<Compaction>,
    /// What the last such walk marked the entries with that it met.
    last_walk: u8,
}

/// Which part of a walk over all handles is under way.
#[derive(Clone, Copy)]
enum Compaction {
    Queues,
    Wheel,
}

/// What one turn at a shard's upkeep did and left.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tended {
    pub(crate) progress: Progress,
    /// There is more to do than events, which setters feed by themselves.
    pub(crate) is_behind: bool,
    /// When the wheel wants to be looked at again.
    pub(crate) due: Option<Nanos>,
}

/// What a setter lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Bytes(u64),
    Entry,
    /// So many bytes are to go, for nothing that comes.
    Less(u64),
}

/// What a search for room came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Something was freed; try again.
    Made,
    /// There is nothing that may go.
    None,
    /// Readers with old guards keep too much from being freed.
    HeldUp,
}

impl Events {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ring: Ring::new(capacity), lost: AtomicBool::new(false) }
    }

    pub(crate) fn is_pending(&self) -> bool {
        // Relaxed: a figure.
        self.ring.len() > 0 || self.lost.load(Ordering::Relaxed)
    }
}

impl Upkeep {
    pub(crate) fn new(policy: Option<Policy>, now: u64) -> Self {
        Self {
            wheel: Wheel::new(now),
            policy,
            booked: 0,
            repair: 0,
            searched: 0,
            compaction: None,
            last_walk: 0,
        }
    }

    /// The tick up to which all that has expired is out of the way.
    fn due(&self) -> u64 {
        match self.wheel.next_due() {
            // In the middle of what is due, or before a new round of its outermost level.
            Some(0) => self.wheel.reached(),
            due => due.unwrap_or(NOTHING_DUE),
        }
    }

    fn bytes(&self) -> u64 {
        self.wheel.bytes() as u64 + self.policy.as_ref().map_or(0, Policy::bytes)
    }

    /// Lets the queues follow the bound of the whole cache.
    pub(crate) fn follow(&mut self, total: u64) {
        self.policy.iter_mut().for_each(|policy| policy.set_total(total));
    }

    /// What the budget was asked for.
    pub(crate) fn booked(&self) -> u64 {
        self.booked
    }

    /// Handles that lead nowhere, given so many entries in the shard, may be this many.
    fn is_stale(&self, entries: u64) -> bool {
        let limit = 2 * entries + FEW_STALE;
        self.wheel.len() as u64 > limit
            || self.policy.as_ref().is_some_and(|policy| policy.len() as u64 > limit)
    }

    /// Whether a repair has still to look at some buckets.
    pub(crate) fn is_repairing(&self) -> bool {
        self.repair > 0
    }

    /// Checks wheel and queues, and that what they take is booked, in a shard with this share of
    /// the bound; shows every handle of the wheel with its tick, and those of the queues without.
    pub(crate) fn validate(
        &self,
        share_bytes: u64,
        mut each: impl FnMut(u32, Option<u64>),
    ) -> Result<(), String> {
        self.wheel
            .validate_each(|handle, tick| each(handle, Some(tick)))
            .map_err(|fault| format!("wheel: {fault}"))?;
        if let Some(policy) = &self.policy {
            policy.validate().map_err(|fault| format!("eviction: {fault}"))?;
            policy.handles().for_each(|handle| each(handle, None));
        }
        // Handles take some more memory as they move between the wheel's levels. Where nothing can
        // be evicted for that, it is booked as soon as there is room.
        let unbooked = self.bytes().saturating_sub(self.booked);
        let evicts = self.policy.is_some() && share_bytes >= LARGE_SHARE_BYTES;
        if unbooked > if evicts { 0 } else { MOST_UNBOOKED_BYTES } {
            return Err(format!("{} bytes booked of {}", self.booked, self.bytes()));
        }
        Ok(())
    }
}

impl<V: Value, S> Core<V, S> {
    /// The first tick at which a deadline is over.
    #[inline]
    pub(crate) fn tick_after(&self, deadline: Nanos) -> u64 {
        (deadline / self.settings.tick + 1).min(LAST_TICK)
    }

    /// Whether the first tick at which a deadline is over comes before `tick`, which is one; without
    /// a division.
    #[inline]
    fn is_over_before(&self, deadline: Nanos, tick: u64) -> bool {
        deadline < (tick - 1).saturating_mul(self.settings.tick)
    }

    /// Whether the upkeep has to know of an entry with this deadline and track.
    #[inline]
    pub(crate) fn concerns_upkeep(&self, deadline: Nanos, track: Track) -> bool {
        let unqueued = self.settings.eviction.is_some() && !track.is_queued();
        unqueued
            || (deadline != NEVER
                && (track.armed() == 0 || self.is_over_before(deadline, track.armed())))
    }

    /// Tells the upkeep of an entry that was just published with this track, if it has to know.
    #[inline]
    pub(crate) fn announce(&self, hash: u64, entry: Seen<'_, V, Node>, track: Track) {
        // A placeholder is announced when it has got its value.
        if !entry.is_placeholder() && self.concerns_upkeep(entry.deadline(), track) {
            self.push_event(hash, entry.guard());
        }
    }

    /// As [`announce`](Self::announce), of an entry that took the place and the track of `old`.
    #[inline]
    pub(crate) fn announce_over(
        &self,
        hash: u64,
        entry: Seen<'_, V, Node>,
        track: Track,
        old: Seen<'_, V, Node>,
    ) {
        // Should the wheel have armed `old` anew after we inherited, it did so for the deadline of
        // `old`, which is too late for an earlier one.
        let earlier = entry.deadline() < old.deadline() && !planted!("trust_old_deadline");
        if earlier && track.armed() != 0 && !entry.is_placeholder() {
            self.push_event(hash, entry.guard());
        } else {
            self.announce(hash, entry, track);
        }
    }

    #[inline(never)]
    fn push_event(&self, hash: u64, guard: &Guard) {
        let shard = self.shard(hash);
        let events = &self.shards[shard].events;
        if events.ring.push(hash).is_err() {
            // Relaxed: a hint; the repair that it leads to looks at every entry.
            events.lost.store(true, Ordering::Relaxed);
        }
        if events.ring.len() >= FED_FROM
            && let Some(mut upkeep) = self.shards[shard].upkeep.try_lock()
        {
            let mut turn = Turn::new(self, shard, guard);
            turn.may_evict = false;
            turn.feed(&mut upkeep, &mut { FED_AT_ONCE });
            // At least two handles for each that was fed: so the walk ends before there are twice
            // as many again.
            turn.compact(&mut upkeep, &mut { FED_AT_ONCE });
            turn.settle(&mut upkeep);
        }
    }

    /// One bounded turn at a shard's upkeep; `None` while somebody else is at it.
    pub(crate) fn tend(&self, shard: usize, budget: usize) -> Option<Tended> {
        let share = &self.shards[shard];
        // Relaxed: a figure.
        if share.armed.load(Ordering::Relaxed) == 0 && !share.events.is_pending() {
            return Some(Tended::default());
        }
        let mut upkeep = share.upkeep.try_lock()?;
        let guard = pin();
        Some(Turn::new(self, shard, &guard).tend(&mut upkeep, budget))
    }

    /// Makes room for what a setter of `hash` lacks, by what the cache can spare.
    pub(crate) fn evict(&self, hash: u64, need: Need, guard: &Guard) -> Room {
        let own = self.shard(hash);
        let first = self.evicting_shard(own);
        let mut vain = 0;
        for round in 0..MOST_ROUNDS {
            let (mut busy, mut more) = (false, false);
            for step in 0..self.shards.len() {
                let shard = (first + step) & (self.shards.len() - 1);
                let Some(mut upkeep) = self.shards[shard].upkeep.try_lock() else {
                    busy = true;
                    continue;
                };
                let mut turn = Turn::new(self, shard, guard);
                more |= turn.make_room(&mut upkeep, need);
                turn.settle(&mut upkeep);
                drop(upkeep);
                if turn.freed_entries > 0 {
                    if shard != own {
                        // Not for the other shard's setters.
                        self.budget.account(shard).give_back();
                        self.entries_budget.iter().for_each(|budget| {
                            budget.account(shard).give_back();
                        });
                    }
                    return Room::Made;
                }
                if turn.held_up {
                    return Room::HeldUp;
                }
            }
            if busy {
                back_off(round);
                continue;
            }
            vain += 1;
            if !more || vain > MOST_VAIN_ROUNDS {
                return Room::None;
            }
        }
        Room::None
    }

    /// Whether a new entry of so many bytes is not worth what would have to go for it.
    ///
    /// Only where the cache is full, and only of a large one: it must have been asked for before.
    pub(crate) fn is_refused(&self, hash: u64, bytes: u64, guard: &Guard) -> bool {
        let judged = self.settings.judges_large && self.entries_budget.is_none();
        if !judged || bytes <= self.budget.max() / LARGE_PART || self.account(hash).has(bytes) {
            return false;
        }
        let shard = self.shard(hash);
        let Some(mut upkeep) = self.shards[shard].upkeep.try_lock() else { return false };
        let mut turn = Turn::new(self, shard, guard);
        let admitted = upkeep.policy.as_mut().is_none_or(|policy| {
            let handle = self.shorten(hash);
            self.with_share(|share| policy.admits(handle, bytes, share, &mut turn))
        });
        turn.settle(&mut upkeep);
        !admitted
    }

    /// The shard to evict from for a setter of `own`: that one, unless another, a different one
    /// each time, holds clearly more. So the shards keep in step under their one bound, and each
    /// still sees its own entries come and go.
    fn evicting_shard(&self, own: usize) -> usize {
        // Relaxed: figures.
        let other = self.next_shard.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
        let held = |shard: usize| self.shards[shard].queued.load(Ordering::Relaxed);
        let ours = held(own);
        if held(other) > ours + ours / 16 { other } else { own }
    }

    /// Gives up wheel and queues of all shards; for a cache that is closed.
    pub(crate) fn drop_upkeep(&self) {
        for (shard, share) in self.shards.iter().enumerate() {
            let mut upkeep = share.upkeep.lock();
            let empty = Upkeep::new(None, 0);
            let old = std::mem::replace(&mut *upkeep, empty);
            self.budget.account(shard).release(old.booked);
            // Relaxed: figures.
            share.armed.store(0, Ordering::Relaxed);
            share.due.store(NOTHING_DUE, Ordering::Relaxed);
            while share.events.ring.pop().is_some() {}
        }
    }
}
