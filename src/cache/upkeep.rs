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
//! Nobody waits for the lock. Setters feed when their ring has filled up somewhat, and evict
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

use crate::cache::core::{Core, Shard};
use crate::cache::maintenance::Progress;
use crate::clock::{NEVER, Nanos};
use crate::directory::Node;
use crate::policy::{Evicted, Policy, Residents};
use crate::reclaim::{Guard, pin};
use crate::sync::Ring;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicBool;
use crate::table::{LAST_TICK, Owner, Seen, Slot, State, Track};
use crate::value::Value;
use crate::wheel::{self, Wheel};

/// Events that a ring holds.
pub(crate) const EVENTS: usize = 256;
/// Events in a ring from which on its setters feed.
const FED_FROM: usize = 64;
/// Events that a setter feeds at most.
const FED_AT_ONCE: usize = 128;
/// Handles that a setter which finds no room looks at in the wheel, at most.
const ADVANCED_AT_ONCE: usize = 1024;
/// Handles that are taken from a wheel before they are fired.
const FIRED_AT_ONCE: usize = 64;
/// How often a setter that finds no room asks all shards.
const MOST_ROUNDS: usize = 64;
/// Entries above this part of the bound are judged before room is made for them.
const LARGE_PART: u64 = 20;
/// Entries that a setter evicts at most before it tries again.
const EVICTED_AT_ONCE: u64 = 64;
/// Buckets that are searched for something to evict where the queues know nothing.
const SEARCHED_AT_ONCE: usize = 64;
/// Stale handles of a shard that are not worth a walk.
const FEW_STALE: u64 = 256;

/// Handles on their way from setters to their shard's upkeep.
pub(crate) struct Events {
    ring: Ring,
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

/// Somebody's turn at a shard.
struct Turn<'g, V: Value, S> {
    core: &'g Core<V, S>,
    shard: usize,
    guard: &'g Guard,
    freed_entries: u64,
    freed_bytes: u64,
    /// Too much is retired for an eviction.
    held_up: bool,
    /// Enough is retired for what has expired to wait: it is counted until it is taken out.
    must_wait: bool,
    /// Handles that the wheel gave out as due, and their ticks.
    due: Vec<(u64, u64)>,
}

type Found<'g, V> = (u64, Slot<'g, V, Node>, Seen<'g, V, Node>);

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

    fn bytes(&self) -> u64 {
        self.wheel.bytes() as u64 + self.policy.as_ref().map_or(0, Policy::bytes)
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

    /// Checks wheel and queues, and that what they take is booked; shows every handle of the
    /// wheel with its tick, and those of the queues without.
    pub(crate) fn validate(&self, mut each: impl FnMut(u64, Option<u64>)) -> Result<(), String> {
        self.wheel
            .validate_each(|handle, tick| each(handle, Some(tick)))
            .map_err(|fault| format!("wheel: {fault}"))?;
        if let Some(policy) = &self.policy {
            policy.validate().map_err(|fault| format!("eviction: {fault}"))?;
            policy.handles().for_each(|handle| each(handle, None));
        }
        if self.booked < self.bytes() {
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

    /// Whether the upkeep has to know of an entry with this deadline and track.
    #[inline]
    pub(crate) fn concerns_upkeep(&self, deadline: Nanos, track: Track) -> bool {
        let unqueued = self.settings.eviction.is_some() && !track.queued;
        unqueued
            || (deadline != NEVER && (track.armed == 0 || self.tick_after(deadline) < track.armed))
    }

    /// Tells the upkeep of an entry that was just published with this track, if it has to know.
    #[inline]
    pub(crate) fn announce(&self, hash: u64, entry: Seen<'_, V, Node>, track: Track) {
        // A placeholder is announced when it has got its value.
        if entry.flight().is_none() && self.concerns_upkeep(entry.deadline(), track) {
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
        let earlier = entry.deadline() < old.deadline() && cfg!(not(bug = "trust_old_deadline"));
        if earlier && track.armed != 0 && entry.flight().is_none() {
            self.push_event(hash, entry.guard());
        } else {
            self.announce(hash, entry, track);
        }
    }

    fn push_event(&self, hash: u64, guard: &Guard) {
        let shard = self.shard(hash);
        let events = &self.shards[shard].events;
        if !events.ring.push(hash) {
            // Relaxed: a hint; the repair that it leads to looks at every entry.
            events.lost.store(true, Ordering::Relaxed);
        }
        if events.ring.len() >= FED_FROM
            && let Some(mut upkeep) = self.shards[shard].upkeep.try_lock()
        {
            let mut turn = Turn::new(self, shard, guard);
            turn.feed(&mut upkeep, &mut { FED_AT_ONCE });
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
        for _ in 0..MOST_ROUNDS {
            let mut busy = false;
            for step in 0..self.shards.len() {
                let shard = (first + step) & (self.shards.len() - 1);
                let Some(mut upkeep) = self.shards[shard].upkeep.try_lock() else {
                    busy = true;
                    continue;
                };
                let mut turn = Turn::new(self, shard, guard);
                let more = turn.make_room(&mut upkeep, need);
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
                busy |= more;
            }
            if !busy {
                return Room::None;
            }
            crate::sync::yield_now();
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
            self.with_share(|share| policy.admits(hash, bytes, share, &mut turn))
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
            // Relaxed: a figure.
            share.armed.store(0, Ordering::Relaxed);
            while share.events.ring.pop().is_some() {}
        }
    }
}

impl<'g, V: Value, S> Turn<'g, V, S> {
    fn new(core: &'g Core<V, S>, shard: usize, guard: &'g Guard) -> Self {
        Self {
            core,
            shard,
            guard,
            freed_entries: 0,
            freed_bytes: 0,
            held_up: false,
            must_wait: false,
            due: Vec::new(),
        }
    }

    fn share(&self) -> &'g Shard<V> {
        &self.core.shards[self.shard]
    }

    /// Feeds, frees what has expired, repairs, and drops stale handles, as far as the budget of
    /// handles and buckets goes.
    fn tend(&mut self, upkeep: &mut Upkeep, budget: usize) -> Tended {
        let mut left = budget;
        self.feed(upkeep, &mut left);
        let advanced = self.advance(upkeep, &mut left);
        self.repair(upkeep, &mut left);
        self.compact(upkeep, &mut left);
        self.settle(upkeep);
        let unfinished = upkeep.repair > 0 || upkeep.compaction.is_some();
        let is_behind = !self.must_wait && (!advanced || unfinished);
        Tended {
            progress: Progress {
                examined: budget - left,
                freed_entries: self.freed_entries,
                pending: !advanced || unfinished || self.share().events.is_pending(),
            },
            is_behind,
            due: upkeep.wheel.next_due().map(|tick| tick.saturating_mul(self.core.settings.tick)),
        }
    }

    /// Looks at the entries of the events in the ring.
    fn feed(&mut self, upkeep: &mut Upkeep, left: &mut usize) {
        while *left > 0 && self.reserve(upkeep) {
            let Some(hash) = self.share().events.ring.pop() else { return };
            *left -= 1;
            for (_, entry) in self.core.table.probe(hash, self.guard) {
                self.take_in(upkeep, hash, entry);
            }
        }
    }

    /// Makes sure that what the next event adds is booked; `false` where the budget is full.
    fn reserve(&self, upkeep: &mut Upkeep) -> bool {
        let queues = if upkeep.policy.is_some() { Policy::CALL_BYTES } else { 0 };
        let growth = wheel::MOST_GROWTH_BYTES as u64 + queues;
        if upkeep.bytes() + growth <= upkeep.booked {
            return true;
        }
        let reserved = self.core.budget.account(self.shard).try_reserve(growth);
        if reserved {
            upkeep.booked += growth;
        }
        reserved
    }

    /// Gives back what was booked and not used, and books what was used without.
    fn settle(&self, upkeep: &mut Upkeep) {
        let account = self.core.budget.account(self.shard);
        let bytes = upkeep.bytes();
        if bytes <= upkeep.booked {
            account.release(upkeep.booked - bytes);
            upkeep.booked = bytes;
        } else if account.reserve(bytes - upkeep.booked) {
            // Handles that moved from one list of the wheel to another.
            upkeep.booked = bytes;
        }
        let armed = (upkeep.wheel.len() + upkeep.repair) as u64;
        // Relaxed: figures.
        self.share().armed.store(armed, Ordering::Relaxed);
        let queued = upkeep.policy.as_ref().map_or(0, Policy::weight);
        self.share().queued.store(queued, Ordering::Relaxed);
    }

    /// Gives an entry the handles that it lacks.
    fn take_in(&mut self, upkeep: &mut Upkeep, hash: u64, entry: Seen<'g, V, Node>) {
        if entry.state() == State::Killed || entry.flight().is_some() || entry.owner().is_dead() {
            return;
        }
        let Some(old) = entry.track() else { return };
        // A handle whose tick is over has fired: what was inherited too late does not count.
        let is_over = old.armed <= upkeep.wheel.reached() && cfg!(not(bug = "trust_old_tick"));
        let known = Track { armed: if is_over { 0 } else { old.armed }, ..old };
        if !self.core.concerns_upkeep(entry.deadline(), known) {
            return;
        }
        let mut new = Track { queued: upkeep.policy.is_some(), ..old };
        if entry.deadline() != NEVER {
            let tick = self.core.tick_after(entry.deadline());
            if known.armed == 0 || tick < known.armed {
                new.armed = tick;
            }
        }
        if !entry.set_track(old, new) {
            // It was just retired; what took its place is announced by itself.
            return;
        }
        if new.armed != old.armed {
            upkeep.wheel.insert(hash, new.armed);
        }
        if new.queued != old.queued
            && let Some(policy) = &mut upkeep.policy
        {
            let weight = self.core.weight(entry);
            self.core.with_share(|share| policy.insert(hash, weight, share, self));
        }
    }

    /// Frees what has expired; `false` where the budget ended before.
    fn advance(&mut self, upkeep: &mut Upkeep, left: &mut usize) -> bool {
        if upkeep.wheel.len() == 0 {
            return true;
        }
        let now = self.core.now();
        let tick = now / self.core.settings.tick;
        loop {
            let mut budget = FIRED_AT_ONCE.min(*left);
            *left -= budget;
            let done = upkeep.wheel.advance(tick, &mut budget, |hash, tick| {
                self.due.push((hash, tick));
                None
            });
            *left += budget;
            self.fire_due(upkeep, now);
            if done || *left == 0 || self.must_wait {
                return done && !self.must_wait;
            }
        }
    }

    /// Fires the handles that are due. All of them miss the processor's caches, so those misses
    /// are made to overlap.
    fn fire_due(&mut self, upkeep: &mut Upkeep, now: Nanos) {
        let mut due = std::mem::take(&mut self.due);
        for &(hash, _) in &due {
            self.core.table.prefetch_bucket(hash);
        }
        for &(hash, _) in &due {
            self.core.table.prefetch_entries(hash, self.guard);
        }
        for (hash, tick) in due.drain(..) {
            // Beyond that, what has expired waits for readers like everything else.
            self.must_wait |= self.core.retired_bytes() > self.core.settings.max_retired_bytes / 2;
            if self.must_wait {
                upkeep.wheel.insert(hash, tick);
            } else {
                self.fire(upkeep, hash, tick, now);
            }
        }
        self.due = due;
    }

    /// Takes out the entry of a handle that is due, or arms it again.
    fn fire(&mut self, upkeep: &mut Upkeep, hash: u64, fired: u64, now: Nanos) {
        for (slot, entry) in self.core.table.probe(hash, self.guard) {
            if let Some(tick) = self.fire_at(hash, &slot, entry, fired, now) {
                upkeep.wheel.insert(hash, tick);
            }
        }
    }

    /// As [`fire`](Self::fire), for one of the entries that the handle leads to; answers at which
    /// tick to look again, if at all.
    fn fire_at(
        &mut self,
        hash: u64,
        slot: &Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
        fired: u64,
        now: Nanos,
    ) -> Option<u64> {
        // The entry was just taken out or replaced. What took its place may rely on this handle.
        let changed = (!cfg!(bug = "drop_fired_handle")).then_some(fired + 1);
        let over = match entry.state() {
            State::Pending => false,
            State::Killed => true,
            State::Live => {
                let expired = entry.is_expired(|| now) || cfg!(bug = "fire_unexpired");
                expired || entry.owner().is_dead()
            }
        };
        if over {
            return if self.take_out(hash, slot, entry) { None } else { changed };
        }
        let Some(old) = entry.track() else { return changed };
        // An earlier handle than the one that it remembers has been and gone; a later one is not
        // needed.
        if old.armed == 0 || old.armed > fired {
            return None;
        }
        let armed = match entry.deadline() {
            NEVER => 0,
            deadline => self.core.tick_after(deadline).max(fired + 1),
        };
        if !entry.set_track(old, Track { armed, ..old }) {
            return changed;
        }
        (armed != 0).then_some(armed)
    }

    /// After an event was lost: looks at all entries of the shard, some buckets at a time.
    fn repair(&mut self, upkeep: &mut Upkeep, left: &mut usize) {
        let buckets = self.core.shard_buckets();
        // Relaxed: what was lost after this is looked at by the next repair.
        if upkeep.repair == 0 && self.share().events.lost.swap(false, Ordering::Relaxed) {
            upkeep.repair = buckets;
        }
        while upkeep.repair > 0 && *left > 0 && self.reserve(upkeep) {
            *left -= 1;
            let bucket = self.shard * buckets + (buckets - upkeep.repair);
            upkeep.repair -= 1;
            for (slot, entry) in self.core.table.bucket_entries(bucket, self.guard) {
                let hash = self.core.table.handle_of(bucket, &slot);
                self.take_in(upkeep, hash, entry);
            }
        }
    }

    /// Drops stale and superfluous handles where handles have come to outnumber the entries.
    fn compact(&mut self, upkeep: &mut Upkeep, left: &mut usize) {
        // Relaxed: a figure.
        let entries = self.share().entries.load(Ordering::Relaxed);
        if upkeep.compaction.is_none() && upkeep.is_stale(entries) {
            upkeep.last_walk = upkeep.last_walk % 3 + 1;
            upkeep.compaction = Some(Compaction::Queues);
        }
        if let Some(Compaction::Queues) = upkeep.compaction {
            let walk = upkeep.last_walk;
            let done = upkeep
                .policy
                .as_mut()
                .is_none_or(|policy| policy.retain(left, |hash| self.is_met_first(hash, walk)));
            if done {
                upkeep.compaction = Some(Compaction::Wheel);
            }
        }
        if let Some(Compaction::Wheel) = upkeep.compaction {
            let at = self.core.now() / self.core.settings.tick;
            if upkeep.wheel.retain(left, |hash, tick| self.is_armed_for(hash, tick, at)) {
                upkeep.compaction = None;
            }
        }
    }

    /// Whether a handle leads to an entry that this walk has not met yet.
    fn is_met_first(&self, hash: u64, walk: u8) -> bool {
        self.core.table.probe(hash, self.guard).any(|(_, entry)| {
            // Retired just now: what took its place may have inherited the handle.
            let Some(track) = entry.track() else { return true };
            track.queued
                && track.walk != walk
                && (entry.set_track(track, Track { walk, ..track }) || entry.track().is_none())
        })
    }

    /// Whether the handle is the one that an entry relies on.
    fn is_armed_for(&self, hash: u64, tick: u64, at: u64) -> bool {
        self.core.table.probe(hash, self.guard).any(|(_, entry)| match entry.track() {
            // As above.
            None => true,
            // Where the tick that it remembers is over, a later handle has taken its place.
            Some(track) => track.armed == tick || (track.armed != 0 && track.armed <= at),
        })
    }

    /// Frees what has expired, or else evicts until `need` is met or it has done enough;
    /// answers whether it might find more if asked again.
    fn make_room(&mut self, upkeep: &mut Upkeep, need: Need) -> bool {
        self.feed(upkeep, &mut { FED_AT_ONCE });
        let behind = !self.advance(upkeep, &mut { ADVANCED_AT_ONCE });
        if self.has_made(need) {
            return behind;
        }
        if upkeep.policy.is_none() {
            // What there was no memory to arm is not in the wheel.
            let unknown = upkeep.repair > 0 || self.share().events.is_pending();
            if unknown && self.freed_entries == 0 {
                self.search(upkeep);
            }
            return behind || unknown;
        }
        let mut unfinished = 0;
        while !self.has_made(need) && !self.held_up && unfinished < 4 {
            let Some(policy) = &mut upkeep.policy else { break };
            if let Some(ghosts) = policy.wanted_ghost_bytes()
                && self.core.budget.account(self.shard).try_reserve(ghosts)
            {
                upkeep.booked += ghosts;
                policy.size_ghosts();
            }
            let amount = match need {
                Need::Bytes(bytes) if self.core.entries_budget.is_none() => bytes,
                _ => 1,
            };
            let evicted = self.core.with_share(|share| policy.evict(amount, *share, self));
            match evicted {
                Evicted::Entry(_) => {}
                Evicted::Unfinished => unfinished += 1,
                Evicted::Empty => {
                    self.search(upkeep);
                    unfinished += 1;
                }
            }
        }
        behind || self.share().has_entries()
    }

    fn has_made(&self, need: Need) -> bool {
        self.freed_entries >= EVICTED_AT_ONCE
            || match need {
                Need::Bytes(bytes) => self.freed_bytes >= bytes,
                Need::Entry => self.freed_entries > 0,
            }
    }

    /// Takes out the first expired entry of the next buckets, or the first without credit where
    /// entries may be evicted: for what there was no memory to queue or to arm.
    fn search(&mut self, upkeep: &mut Upkeep) {
        let buckets = self.core.shard_buckets();
        let now = self.core.now();
        for _ in 0..SEARCHED_AT_ONCE.min(buckets) {
            let bucket = self.shard * buckets + upkeep.searched % buckets;
            upkeep.searched = (upkeep.searched + 1) % buckets;
            for (slot, entry) in self.core.table.bucket_entries(bucket, self.guard) {
                let found = (self.core.table.handle_of(bucket, &slot), slot, entry);
                if !self.is_evictable(&found) {
                    continue;
                }
                let over = entry.is_expired(|| now) || entry.owner().is_dead();
                if !over && upkeep.policy.is_none() {
                    continue;
                }
                match entry.credit() {
                    credit if credit > 0 && !over => entry.set_credit(credit - 1),
                    _ if Residents::evict(self, found) => return,
                    _ => {}
                }
            }
        }
    }

    fn take_out(&mut self, hash: u64, slot: &Slot<'g, V, Node>, entry: Seen<'g, V, Node>) -> bool {
        let bytes = entry.bytes();
        let won = self.core.unlink(hash, slot, entry);
        if cfg!(bug = "evict_what_is_gone") && !won {
            self.core.took_out(hash, entry);
        }
        if won {
            self.freed_entries += 1;
            self.freed_bytes += bytes;
        }
        won
    }
}

impl<'g, V: Value, S> Residents for Turn<'g, V, S> {
    type Resident = Found<'g, V>;

    fn find(&mut self, hash: u64) -> Option<Found<'g, V>> {
        self.core
            .table
            .probe(hash, self.guard)
            .find(|(_, entry)| {
                // Retired just now: what took its place may have inherited the handle.
                let is_retired = cfg!(not(bug = "drop_queued_handle"));
                entry.state() != State::Killed
                    && entry.track().map_or(is_retired, |track| track.queued)
            })
            .map(|(slot, entry)| (hash, slot, entry))
    }

    fn credit(&self, (_, _, entry): &Found<'g, V>) -> u8 {
        entry.credit()
    }

    fn set_credit(&mut self, (_, _, entry): &Found<'g, V>, credit: u8) {
        entry.set_credit(credit);
    }

    fn weight(&self, (_, _, entry): &Found<'g, V>) -> u64 {
        self.core.weight(*entry)
    }

    fn is_evictable(&self, (_, _, entry): &Found<'g, V>) -> bool {
        entry.state() == State::Live && entry.flight().is_none() && entry.track().is_some()
    }

    fn evict(&mut self, (hash, slot, entry): Found<'g, V>) -> bool {
        if !self.core.may_retire(entry.bytes()) {
            self.held_up = true;
            return false;
        }
        self.take_out(hash, &slot, entry)
    }
}
