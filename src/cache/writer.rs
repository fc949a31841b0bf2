//! How one entry gets into the table.
//!
//! Two ways lead to a stored value:
//!
//! - **over a visible entry** ([`Writer::over_visible`]): a compare-exchange on its slot. The
//!   new entry inherits the old one's node and its count there; the directory is not asked.
//! - **by insertion** ([`Writer::insert`]): the node is raised, so that it stays open, and the
//!   entry claims a slot or replaces what may be replaced: an entry of the same node, or of a
//!   dead one.
//!
//! Whoever leaves an entry in a slot whose node has no handle to it yet pushes one
//! ([`Writer::linked`]), and then looks whether the node died meanwhile: of the push and the
//! deleter's detach one comes first, so either the deleter finds the handle or the pusher sees
//! the death and sweeps.

mod linked;

use crate::cache::core::{Core, INSERT_BYTES, Sight};
use crate::cache::exit::Exit;
use crate::cache::hold::Hold;
use crate::cache::target::Target;
use crate::clock::NEVER;
use crate::directory::{Charge, Node};
use crate::error::Result;
use crate::options::Condition;
use crate::reclaim::Guard;
use crate::table::{
    Draft, Flight, Header, Heritage, Outcome, Owner, RefreshClaim, Seen, Slot, State, Track,
};
use crate::value::Value;

/// One entry on its way into the table.
pub(super) struct Writer<'c, V: Value, S> {
    core: &'c Core<V, S>,
    target: &'c Target<'c>,
    hold: Hold<'c, V, S>,
    intent: Intent,
    keep_ttl: bool,
    /// There was nothing of the key a moment ago.
    saw_nothing: bool,
    bytes: u64,
    /// Who refreshes what it replaces, by a copy of the same version.
    claim: RefreshClaim,
}

/// What the entry may replace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Anything.
    Set,
    /// Nothing visible.
    Insert,
    /// Nothing visible and no other load: the entry is a placeholder.
    Lease,
}

/// How an insertion ended.
pub(super) enum Inserted<'g, V: Value> {
    Stored,
    /// A visible entry, or another load, stands in the way.
    Met(Seen<'g, V, Node>),
}

/// How an attempt to replace a visible entry ended.
pub(super) enum Over<V: Value> {
    Stored,
    /// It is not visible, or not any more; an insertion begins with that.
    Absent(Draft<V, Node>),
    /// It has another version than was asked for.
    Differs,
}

impl<'c, V: Value, S> Writer<'c, V, S> {
    #[inline]
    pub(super) fn new(
        core: &'c Core<V, S>,
        target: &'c Target<'_>,
        bytes: u64,
        guard: &'c Guard,
    ) -> Self {
        let hold = Hold::new(core, target.hash, guard);
        Self {
            core,
            target,
            hold,
            intent: Intent::Set,
            keep_ttl: false,
            saw_nothing: false,
            bytes,
            claim: RefreshClaim::default(),
        }
    }

    /// Whether the entry is to have the times of the visible one that it replaces.
    pub(super) fn with_keep_ttl(mut self, keep_ttl: bool) -> Self {
        self.keep_ttl = keep_ttl;
        self
    }

    /// The entry is a copy: whoever refreshes what it replaces goes on.
    pub(super) fn with_claim(mut self, claim: RefreshClaim) -> Self {
        self.claim = claim;
        self
    }

    /// An insertion begins with what was seen just now. It is only where to begin: whoever claims a
    /// slot looks at the whole chain afterwards, and tries again if it was not the first.
    pub(super) fn after(&mut self, sight: &Sight<'_, V>) {
        self.saw_nothing = matches!(sight, Sight::Nothing);
    }

    pub(super) fn with_intent(mut self, intent: Intent) -> Self {
        self.intent = intent;
        self
    }

    /// Replaces the visible entry, whatever its node, as long as the condition admits it.
    // Always, as those that it calls: what most writes do, with everything at hand.
    #[inline(always)]
    pub(super) fn over_visible<'g>(
        &mut self,
        draft: Draft<V, Node>,
        sight: Sight<'g, V>,
        condition: Condition,
        guard: &'g Guard,
    ) -> Result<Over<V>>
    where
        'c: 'g,
    {
        match self.try_over(draft, sight, condition, guard)? {
            Ok(over) => Ok(over),
            Err(back) => self.over_changed(back, condition, guard),
        }
    }

    /// The same, after the slot has changed.
    #[cold]
    fn over_changed<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        condition: Condition,
        guard: &'g Guard,
    ) -> Result<Over<V>>
    where
        'c: 'g,
    {
        loop {
            let sight = self.core.look(self.target, guard);
            match self.try_over(draft, sight, condition, guard)? {
                Ok(over) => return Ok(over),
                Err(back) => draft = back,
            }
        }
    }

    /// Gives the draft back where the slot has changed.
    #[inline(always)]
    fn try_over<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        sight: Sight<'g, V>,
        condition: Condition,
        guard: &'g Guard,
    ) -> Result<Result<Over<V>, Draft<V, Node>>>
    where
        'c: 'g,
    {
        let Sight::Present(slot, old) = sight else {
            self.after(&sight);
            return Ok(Ok(Over::Absent(draft)));
        };
        if let Condition::Version(version) = condition
            && old.version() != version
        {
            return Ok(Ok(Over::Differs));
        }
        if self.keep_ttl {
            draft = self.keep_times_of(draft, Some(old));
        }
        Ok(self.replace_visible(draft, &slot, old, guard)?.map(|_| Over::Stored))
    }

    /// Replaces `old`, which was seen visible in `slot`; gives the draft back where the slot
    /// has changed.
    #[inline(always)]
    pub(super) fn replace_visible<'g>(
        &mut self,
        draft: Draft<V, Node>,
        slot: &Slot<'g, V, Node>,
        old: Seen<'g, V, Node>,
        guard: &'g Guard,
    ) -> Result<Result<Seen<'g, V, Node>, Draft<V, Node>>>
    where
        'c: 'g,
    {
        self.take_place(draft, slot, old, guard, || {})
    }

    /// Replaces the placeholder of a load by its value. The outcome is set only after the
    /// compare-exchange: whoever it wakes finds the value.
    pub(super) fn fulfil<'g>(
        &mut self,
        draft: Draft<V, Node>,
        slot: &Slot<'g, V, Node>,
        placeholder: Seen<'g, V, Node>,
        flight: &Flight,
        guard: &'g Guard,
    ) -> Result<Result<Seen<'g, V, Node>, Draft<V, Node>>>
    where
        'c: 'g,
    {
        self.take_place(draft, slot, placeholder, guard, || flight.land(Outcome::Stored))
    }

    /// Puts the entry in the place of `old`, with its node, its count there, and its handle if
    /// it has one.
    #[inline(always)]
    fn take_place<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        slot: &Slot<'g, V, Node>,
        old: Seen<'g, V, Node>,
        guard: &'g Guard,
        swapped: impl FnOnce(),
    ) -> Result<Result<Seen<'g, V, Node>, Draft<V, Node>>>
    where
        'c: 'g,
    {
        // Loaded before the compare-exchange: an entry that is replaced before it is marked
        // leaves the push of a handle to us.
        let mut heritage = Heritage::of(old);
        heritage.indexed |= planted!("no_own_handle");
        heritage.claim = self.claim;
        let (node, went) = (old.owner(), old.bytes());
        let growth = self.bytes.saturating_sub(went);
        self.hold.top_up(if heritage.indexed { growth } else { growth + INSERT_BYTES })?;
        let charge = self.core.charge(self.target, node, self.bytes, went, guard)?;
        draft.prepare(node, State::Live, heritage);
        match self.core.table.replace(slot, draft, guard) {
            Err(draft) => Ok(Err(draft)),
            Ok(entry) => {
                swapped();
                self.core.report_replaced(old, entry, Exit::Replaced);
                node.book(Some(self.bytes), Some(went), charge);
                self.replaced(old, went);
                if !heritage.indexed {
                    self.linked(entry);
                }
                if !planted!("no_announce_over") {
                    self.core.announce_over(self.target.hash, entry, heritage.track, old);
                }
                Ok(Ok(entry))
            }
        }
    }

    /// Retires `old` of `went` bytes, whose place and count in its node an entry took, and settles
    /// with the budget.
    #[inline(always)]
    fn replaced(&mut self, old: Seen<'_, V, Node>, went: u64) {
        let came = self.bytes;
        if came < went {
            return self.core.retire_for_less(self.target.hash, old, went, went - came);
        }
        self.core.retire(old, went, || ());
        self.hold.spend(came - went);
    }

    /// Inserts the entry, or puts it in the place of one that it may replace.
    pub(super) fn insert<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        guard: &'g Guard,
    ) -> Result<Inserted<'g, V>>
    where
        'c: 'g,
    {
        let (core, target) = (self.core, self.target);
        core.maintenance.help_if_behind(core, guard);
        'resolve: loop {
            self.hold.top_up(self.bytes + INSERT_BYTES)?;
            self.hold.take_place()?;
            let node = core.raise(target, guard)?;
            node.handles().prefetch_place();
            loop {
                let saw_nothing = std::mem::take(&mut self.saw_nothing);
                let first = if saw_nothing { None } else { core.first(target, guard) };
                let Some((slot, found)) = first else {
                    if self.keep_ttl {
                        draft = self.keep_times_of(draft, None);
                    }
                    let charge = self.charge_raised(node, 0, guard)?;
                    match self.claim(draft, node, charge, guard) {
                        Ok(_) => return Ok(Inserted::Stored),
                        Err(again) => draft = again,
                    }
                    continue 'resolve;
                };
                match found.state() {
                    State::Pending => {
                        core.table.help(target.hash, &slot, found);
                        continue;
                    }
                    State::Killed => {
                        core.unlink(target.hash, &slot, found, Exit::NeverLived);
                        continue;
                    }
                    State::Live => {}
                }
                let dead = found.owner().is_dead();
                let early = planted!("dead_before_clock") && node.is_dead();
                let mut kept = None;
                if !dead && found.flight().is_none() {
                    let expired = found.is_expired(|| core.now());
                    if expired && !planted!("replace_expired") && !planted!("dead_before_clock") {
                        // Never replaced in place: what replaces it would have to be right both
                        // for those who saw it expire and for those who did not.
                        core.unlink(target.hash, &slot, found, Exit::Expired);
                        continue;
                    }
                    if self.intent != Intent::Set && !expired {
                        core.release(target.hash, node, guard);
                        return Ok(Inserted::Met(found));
                    }
                    kept = Some(found);
                } else if !dead && self.intent == Intent::Lease {
                    core.release(target.hash, node, guard);
                    return Ok(Inserted::Met(found));
                }
                // Loaded after the whole decision, the clock included: what was decided on a
                // death must not be stored for a node that died with it.
                let died = if planted!("dead_before_clock") { early } else { node.is_dead() };
                let decided = self.intent != Intent::Set || self.keep_ttl;
                if decided && died && !planted!("no_second_dead_check") {
                    core.release(target.hash, node, guard);
                    continue 'resolve;
                }
                if self.keep_ttl {
                    draft = self.keep_times_of(draft, kept);
                }
                let same = std::ptr::eq(found.owner_ptr(), node);
                if !same && !dead && !planted!("replace_other_incarnation") {
                    // Another incarnation, and alive: then ours is dead. Never replace a later
                    // incarnation's entry by an earlier one's.
                    core.release(target.hash, node, guard);
                    continue 'resolve;
                }
                let exit = if dead { Exit::Died } else { Exit::Replaced };
                let went = if same { found.bytes() } else { 0 };
                let charge = self.charge_raised(node, went, guard)?;
                match self.over_found(draft, node, (&slot, found), exit, charge, guard) {
                    Ok(_) => return Ok(Inserted::Stored),
                    Err(back) => draft = back,
                }
            }
        }
    }

    /// As [`Core::charge`], for a node that the caller has raised: gives that count back where it
    /// fails.
    fn charge_raised<'g>(&self, node: &'g Node, went: u64, guard: &'g Guard) -> Result<Charge<'g>> {
        let charge = self.core.charge(self.target, node, self.bytes, went, guard);
        if charge.is_err() {
            self.core.release(self.target.hash, node, guard);
        }
        charge
    }

    /// Claims an empty slot for the entry; it takes over the count that was raised on `node`.
    /// Answers a fresh copy where the entry was killed.
    fn claim<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        node: &'g Node,
        charge: Charge<'g>,
        guard: &'g Guard,
    ) -> Result<Seen<'g, V, Node>, Draft<V, Node>>
    where
        'c: 'g,
    {
        let (core, target) = (self.core, self.target);
        draft.prepare(node, State::Pending, Heritage::default());
        // Booked and counted before it can be seen, so that whoever takes it out does so after us,
        // and a shard whose count is zero has nothing that its wheel may have a handle to.
        node.book(Some(self.bytes), None, charge);
        if !planted!("count_late") {
            core.count_entries(target.hash, 1);
        }
        self.hold.spend_on_entry(self.bytes);
        let pushed = planted!("push_before_claim").then(|| node.handles().push(target.hash, guard));
        let claim = core.table.claim(target.hash, draft, guard);
        if claim.appended {
            self.hold.spend(crate::table::LINE_BYTES);
        }
        match core.table.help(target.hash, &claim.slot, claim.entry) {
            State::Killed => {
                let again = Draft::copy_of(claim.entry, &Header::of(claim.entry));
                core.unlink(target.hash, &claim.slot, claim.entry, Exit::NeverLived);
                Err(again)
            }
            // A helper may have made it live, and others may have replaced or removed it since:
            // it was stored all the same.
            _ => {
                match pushed {
                    Some(early) => self.settle_push(claim.entry, early),
                    None => self.linked(claim.entry),
                }
                core.announce(target.hash, claim.entry, Track::default());
                if planted!("count_late") {
                    // A figure is no step of a model; asking for the lock is one.
                    drop(core.shards[core.shard(target.hash)].upkeep.try_lock());
                    core.count_entries(target.hash, 1);
                }
                Ok(claim.entry)
            }
        }
    }

    /// Puts the entry in the place of `found`, an entry of `node` or of a dead one, with the
    /// count that was raised on `node`.
    fn over_found<'g>(
        &mut self,
        mut draft: Draft<V, Node>,
        node: &'g Node,
        (slot, found): (&Slot<'g, V, Node>, Seen<'g, V, Node>),
        exit: Exit,
        charge: Charge<'g>,
        guard: &'g Guard,
    ) -> Result<Seen<'g, V, Node>, Draft<V, Node>>
    where
        'c: 'g,
    {
        let (core, hash) = (self.core, self.target.hash);
        let same = std::ptr::eq(found.owner_ptr(), node);
        // Loaded before the compare-exchange; see `take_place`.
        let heritage = if same { Heritage::of(found) } else { Heritage::default() };
        draft.prepare(node, State::Live, heritage);
        let entry = core.table.replace(slot, draft, guard)?;
        if same {
            core.report_replaced(found, entry, exit);
            node.book(Some(self.bytes), Some(found.bytes()), charge);
            self.replaced(found, found.bytes());
            // The entry has the count of `found`; ours goes.
            core.release(hash, node, guard);
        } else {
            // The entry has our count; that of `found` goes with it.
            node.book(Some(self.bytes), None, charge);
            core.count_entries(hash, 1);
            self.hold.spend_on_entry(self.bytes);
            core.took_out(hash, found, exit);
        }
        if !heritage.indexed {
            self.linked(entry);
        }
        if same {
            core.announce_over(hash, entry, heritage.track, found);
        } else {
            core.announce(hash, entry, heritage.track);
        }
        Ok(entry)
    }

    /// The draft with the times of the visible entry that it is to replace, or with none.
    fn keep_times_of(
        &mut self,
        draft: Draft<V, Node>,
        kept: Option<Seen<'_, V, Node>>,
    ) -> Draft<V, Node> {
        let (deadline, sliding) = kept.map_or((NEVER, None), |old| (old.deadline(), old.sliding()));
        let draft = draft.with_times(deadline, sliding);
        self.bytes = draft.bytes();
        draft
    }
}
