//! What whoever holds the lock of a shard's upkeep does.

mod booking;
mod residents;

use super::{Compaction, FED_AT_ONCE, Need, Tended, Upkeep};
use crate::cache::core::{Core, Shard};
use crate::cache::exit::Exit;
use crate::cache::maintenance::{Job, Progress};
use crate::clock::{NEVER, Nanos};
use crate::directory::Node;
use crate::policy::{Evicted, Policy, Residents};
use crate::reclaim::Guard;
use crate::sync::atomic::Ordering;
use crate::table::{Owner, Seen, Slot, State};
use crate::value::Value;
use crate::wheel::Wheel;

/// Handles that a setter which finds no room looks at in the wheel, at most.
const ADVANCED_AT_ONCE: usize = 1024;
/// Handles that are taken from a wheel before they are fired.
const FIRED_AT_ONCE: usize = 64;
/// Entries that a setter evicts at most before it tries again.
const EVICTED_AT_ONCE: u64 = 64;
/// A namespace with fewer entries is not worth a compaction of its handles.
const FEW_HANDLES: u64 = 32;
/// Buckets that are searched for something to evict where the queues know nothing.
const SEARCHED_AT_ONCE: usize = 64;

/// Somebody's turn at a shard.
pub(super) struct Turn<'g, V: Value, S> {
    core: &'g Core<V, S>,
    shard: usize,
    guard: &'g Guard,
    pub(super) freed_entries: u64,
    freed_bytes: u64,
    /// Too much is retired for an eviction.
    pub(super) held_up: bool,
    /// It may evict so that wheel and queues have memory. Not on behalf of a setter that has just
    /// published: what it stored might go before it could be seen.
    pub(super) may_evict: bool,
    /// What is evicted makes room for nothing: the cache is to be smaller.
    shrinks: bool,
    /// The budget had no room for another handle.
    starved: bool,
    /// Enough is retired for what has expired to wait: it is counted until it is taken out.
    must_wait: bool,
    /// Handles that the wheel gave out as due, and their ticks.
    due: Vec<(u64, u64)>,
}

type Found<'g, V> = (u64, Slot<'g, V, Node>, Seen<'g, V, Node>);

impl<'g, V: Value, S> Turn<'g, V, S> {
    pub(super) fn new(core: &'g Core<V, S>, shard: usize, guard: &'g Guard) -> Self {
        Self {
            core,
            shard,
            guard,
            freed_entries: 0,
            freed_bytes: 0,
            held_up: false,
            may_evict: true,
            shrinks: false,
            starved: false,
            must_wait: false,
            due: Vec::new(),
        }
    }

    fn share(&self) -> &'g Shard {
        &self.core.shards[self.shard]
    }

    /// What wheel and queues call an entry of this shard.
    fn short(&self, hash: u64) -> u32 {
        self.core.shorten(hash)
    }

    /// A handle to what wheel or queues call by this name: as good as its hash.
    fn long(&self, short: u32) -> u64 {
        self.core.lengthen(short, self.shard)
    }

    /// Feeds, frees what has expired, repairs, and drops stale handles, as far as the budget of
    /// handles and buckets goes.
    pub(super) fn tend(&mut self, upkeep: &mut Upkeep, budget: usize) -> Tended {
        // First, with a part of the budget: where there is much turnover, events take all of it.
        let part = budget.div_ceil(4);
        let mut left = part;
        self.compact(upkeep, &mut left);
        left += budget - part;
        self.feed(upkeep, &mut left);
        let advanced = self.advance(upkeep, &mut left);
        self.repair(upkeep, &mut left);
        self.settle(upkeep);
        let unfinished = upkeep.repair > 0 || upkeep.compaction.is_some();
        let is_behind = !self.must_wait && (!advanced || unfinished);
        Tended {
            progress: Progress {
                examined: budget - left,
                freed_entries: self.freed_entries,
                reported: 0,
                // What waits for memory cannot be done at once.
                pending: !advanced
                    || upkeep.compaction.is_some()
                    || !self.starved && (upkeep.repair > 0 || self.share().events.is_pending()),
            },
            is_behind,
            due: self.share().due_at(self.core.settings.tick),
        }
    }

    /// Looks at the entries of the events in the ring.
    pub(super) fn feed(&mut self, upkeep: &mut Upkeep, left: &mut usize) {
        while *left > 0 && self.reserve(upkeep) {
            let Some(hash) = self.share().events.ring.pop() else { return };
            *left -= 1;
            for (_, entry) in self.core.table.probe(hash, self.guard) {
                self.take_in(upkeep, hash, entry);
            }
        }
    }

    /// Gives an entry the handles that it lacks.
    fn take_in(&mut self, upkeep: &mut Upkeep, hash: u64, entry: Seen<'g, V, Node>) {
        if entry.state() == State::Killed || entry.flight().is_some() || entry.owner().is_dead() {
            return;
        }
        let Some(old) = entry.track() else { return };
        // A handle whose tick is over has fired: what was inherited too late does not count.
        let is_over = old.armed() <= upkeep.wheel.reached() && !planted!("trust_old_tick");
        let known = if is_over { old.armed_for(0) } else { old };
        if !self.core.concerns_upkeep(entry.deadline(), known) {
            return;
        }
        let mut new = if upkeep.policy.is_some() { old.queued() } else { old };
        if entry.deadline() != NEVER {
            let tick = self.core.tick_after(entry.deadline());
            if known.armed() == 0 || tick < known.armed() {
                new = new.armed_for(tick);
            }
        }
        if !entry.set_track(old, new) {
            // It was just retired; what took its place is announced by itself.
            return;
        }
        if new.armed() != old.armed() {
            upkeep.wheel.insert(self.short(hash), new.armed());
        }
        if new.is_queued() != old.is_queued()
            && let Some(policy) = &mut upkeep.policy
        {
            let (handle, weight) = (self.short(hash), self.core.weight(entry));
            self.core.with_share(|share| policy.insert(handle, weight, share, self));
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
            let done = upkeep.wheel.advance(tick, &mut budget, |handle, tick| {
                self.due.push((self.long(handle), tick));
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
                upkeep.wheel.insert(self.short(hash), tick);
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
                upkeep.wheel.insert(self.short(hash), tick);
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
        let changed = (!planted!("drop_fired_handle")).then_some(fired + 1);
        let exit = match entry.state() {
            State::Pending => None,
            State::Killed => Some(Exit::NeverLived),
            State::Live if planted!("fire_unexpired") => Some(Exit::Expired),
            State::Live => self.core.is_over(entry, || now),
        };
        if let Some(exit) = exit {
            return if self.take_out(hash, slot, entry, exit) { None } else { changed };
        }
        let Some(old) = entry.track() else { return changed };
        // An earlier handle than the one that it remembers has been and gone; a later one is not
        // needed.
        if old.armed() == 0 || old.armed() > fired {
            return None;
        }
        let armed = match entry.deadline() {
            NEVER => 0,
            deadline => self.core.tick_after(deadline).max(fired + 1),
        };
        if !entry.set_track(old, old.armed_for(armed)) {
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
    pub(super) fn compact(&mut self, upkeep: &mut Upkeep, left: &mut usize) {
        // Relaxed: a figure. Whatever was fed was counted before it was published.
        let entries = self.share().entries.load(Ordering::Relaxed);
        if entries == 0 && upkeep.wheel.len() > 0 {
            // They all lead nowhere.
            upkeep.wheel = Wheel::new(upkeep.wheel.reached());
        }
        if upkeep.compaction.is_none() && upkeep.is_stale(entries) {
            upkeep.last_walk = upkeep.last_walk % 3 + 1;
            upkeep.compaction = Some(Compaction::Queues);
        }
        if let Some(Compaction::Queues) = upkeep.compaction {
            let walk = upkeep.last_walk;
            let done = upkeep.policy.as_mut().is_none_or(|policy| {
                policy.retain(left, |handle| self.is_met_first(self.long(handle), walk))
            });
            if done {
                upkeep.compaction = Some(Compaction::Wheel);
            }
        }
        if let Some(Compaction::Wheel) = upkeep.compaction {
            let at = self.core.now() / self.core.settings.tick;
            if upkeep
                .wheel
                .retain(left, |handle, tick| self.is_armed_for(self.long(handle), tick, at))
            {
                upkeep.compaction = None;
            }
        }
    }

    /// Whether a handle leads to an entry that this walk has not met yet.
    fn is_met_first(&self, hash: u64, walk: u8) -> bool {
        self.core.table.probe(hash, self.guard).any(|(_, entry)| {
            // Retired just now: what took its place may have inherited the handle.
            let Some(track) = entry.track() else { return true };
            track.is_queued()
                && track.walk() != walk
                && (entry.set_track(track, track.met_by(walk)) || entry.track().is_none())
        })
    }

    /// Whether the handle is the one that an entry relies on.
    fn is_armed_for(&self, hash: u64, tick: u64, at: u64) -> bool {
        self.core.table.probe(hash, self.guard).any(|(_, entry)| match entry.track() {
            // As above.
            None => true,
            // Where the tick that it remembers is over, a later handle has taken its place.
            Some(track) => track.armed() == tick || (track.armed() != 0 && track.armed() <= at),
        })
    }

    /// Frees what has expired, or else evicts until `need` is met or it has done enough;
    /// answers whether it might find more if asked again.
    pub(super) fn make_room(&mut self, upkeep: &mut Upkeep, need: Need) -> bool {
        // What there is memory for first, so that the ghosts are sized for all that is queued;
        // what has to evict for its memory when they are there to remember it.
        self.may_evict = false;
        self.feed(upkeep, &mut { FED_AT_ONCE });
        self.may_evict = true;
        let behind = !self.advance(upkeep, &mut { ADVANCED_AT_ONCE });
        if self.has_made(need) {
            return behind;
        }
        if upkeep.policy.is_none() {
            // What there was no memory to arm is not in the wheel, and what has expired within the
            // present tick is not due there yet.
            let next = self.core.now() / self.core.settings.tick + 1;
            let unknown = upkeep.repair > 0
                || self.share().events.is_pending()
                || upkeep.wheel.next_due().is_some_and(|tick| tick <= next);
            if unknown && self.freed_entries == 0 {
                self.search(upkeep);
            }
            return behind || unknown;
        }
        self.shrinks = matches!(need, Need::Less(_));
        if !self.shrinks {
            self.size_ghosts(upkeep);
        }
        if self.starved {
            self.feed(upkeep, &mut { FED_AT_ONCE });
        }
        self.evict_until(upkeep, need, |turn| turn.has_made(need));
        if self.shrinks {
            self.shrink_queues(upkeep);
        }
        behind || self.share().has_entries()
    }

    /// Lets the memory of queues and ghosts follow the entries down.
    fn shrink_queues(&mut self, upkeep: &mut Upkeep) {
        if !self.share().has_entries() {
            // What wheel and queues have leads nowhere.
            self.compact(upkeep, &mut { FED_AT_ONCE });
            upkeep.policy.iter_mut().for_each(Policy::clear);
        } else if upkeep.policy.as_ref().is_some_and(Policy::has_ghosts)
            && !self.size_ghosts(upkeep)
        {
            // Old and new exist side by side for a moment, and there is no room for that.
            upkeep.policy.iter_mut().for_each(Policy::forget_ghosts);
        }
    }

    /// Makes the ghosts of a full shard, or makes them anew, where that is due: when it is first
    /// full, and when its entries have become much larger or smaller. Then more is evicted at
    /// once than otherwise. `false` where there is no memory for them.
    fn size_ghosts(&mut self, upkeep: &mut Upkeep) -> bool {
        let wanted = upkeep.policy.as_ref().and_then(Policy::wanted_ghost_bytes);
        let Some(ghosts) = wanted else { return true };
        let booked = self.book_ahead(upkeep, ghosts);
        if booked && let Some(policy) = &mut upkeep.policy {
            policy.size_ghosts();
        }
        booked
    }

    /// Evicts until `is_enough`, or nothing is left that may go now.
    fn evict_until(
        &mut self,
        upkeep: &mut Upkeep,
        need: Need,
        mut is_enough: impl FnMut(&Self) -> bool,
    ) {
        /// Searches without a result that are enough.
        const VAIN: u32 = 4;
        let amount = match need {
            Need::Bytes(bytes) if self.core.entries_budget.is_none() => bytes,
            _ => 1,
        };
        let mut vain = 0;
        while vain < VAIN && !self.held_up && !is_enough(self) {
            if !self.may_choose(upkeep) {
                self.search(upkeep);
                vain += 1;
                continue;
            }
            let Some(policy) = &mut upkeep.policy else { return };
            if self.shrinks {
                policy.forget_room();
            }
            match self.core.with_share(|share| policy.evict(amount, *share, self)) {
                Evicted::Entry(_) => {}
                Evicted::Unfinished => vain += 1,
                Evicted::Empty => {
                    let freed = self.freed_entries;
                    self.search(upkeep);
                    vain += u32::from(self.freed_entries == freed);
                }
            }
        }
    }

    fn has_made(&self, need: Need) -> bool {
        self.freed_entries >= EVICTED_AT_ONCE
            || match need {
                Need::Bytes(bytes) | Need::Less(bytes) => self.freed_bytes >= bytes,
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
                let over = self.core.is_over(entry, || now).is_some();
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

    fn take_out(
        &mut self,
        hash: u64,
        slot: &Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
        exit: Exit,
    ) -> bool {
        let bytes = entry.bytes();
        let won = self.core.unlink(hash, slot, entry, exit);
        if planted!("evict_what_is_gone") && !won {
            self.core.took_out(hash, entry, exit);
        }
        if won {
            self.freed_entries += 1;
            self.freed_bytes += bytes;
            let (node, left) = (entry.owner(), entry.owner().count());
            if self.shrinks && left >= FEW_HANDLES && left.is_power_of_two() {
                // Otherwise it is looked at when handles come, which they may not. So it is each time
                // that half of the entries have gone.
                self.core.maintenance.push(Job::compact(node));
            }
        }
        won
    }
}
