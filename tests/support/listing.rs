//! The weak rule of listings: what is there throughout the call is listed, nothing is listed
//! that was there at no moment of it, and nothing twice.
//!
//! Judged by the intervals of the calls alone, without an order: a key counts as there only
//! if it must have been, and as not there only if it cannot have been. Where nothing
//! overlaps the listing this is exact for keys. A session or user may be listed as long as
//! the engine holds anything of it: an expired entry, a placeholder, a call under way.

use std::collections::BTreeSet;

use super::history::Event;
use super::model::{Model, Room, names};
use super::op::{Life, Op, Place, Ret};

/// Returns what is wrong with the first listing that breaks the rule.
pub fn fault(initial: &Model, history: &[Event]) -> Option<String> {
    let past = Past::new(initial, history);
    history.iter().find_map(|event| match (&event.op, &event.ret) {
        (Op::Keys(_) | Op::Sessions(_) | Op::Users, Ret::Names(listed)) => {
            past.judge(event, listed)
        }
        (Op::Keys(_) | Op::Sessions(_) | Op::Users, _) => Some(format!("no listing: {event:?}")),
        _ => None,
    })
}

struct Past<'h> {
    history: &'h [Event],
    arrivals: Vec<Arrival>,
    may_expire: bool,
    room: Room,
}

/// A call that put something under a key.
struct Arrival {
    call: u64,
    ret_at: u64,
    at: Place,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Stored for certain.
    Value,
    /// A load: stored or not.
    PerhapsValue,
    /// A placeholder, or what expired before the history began.
    Resident,
}

impl<'h> Past<'h> {
    fn new(initial: &Model, history: &'h [Event]) -> Past<'h> {
        let before = |at, what| Arrival { call: 0, ret_at: 0, at, what };
        let visible = initial.visible_places().map(|at| before(at, What::Value));
        let resident = initial.resident_places().map(|at| before(at, What::Resident));
        let later = history.iter().filter_map(|event| {
            let what = match (&event.op, &event.ret) {
                (_, Ret::Stored(Some(_))) => What::Value,
                (Op::LoadEnd(..), _) => What::PerhapsValue,
                (Op::Lease(..), Ret::Leased) => What::Resident,
                _ => return None,
            };
            let at = event.op.place()?;
            Some(Arrival { call: event.call, ret_at: event.ret_at, at, what })
        });
        Past {
            arrivals: visible.chain(resident).chain(later).collect(),
            may_expire: initial.has_deadlines() || history.iter().any(gives_deadline),
            room: initial.room(),
            history,
        }
    }

    fn judge(&self, listing: &Event, listed: &[u8]) -> Option<String> {
        let unique: BTreeSet<u8> = listed.iter().copied().collect();
        if unique.len() != listed.len() {
            return Some(format!("listed twice: {listing:?}"));
        }
        let certain = self.arrivals.iter().filter(|it| self.stays_throughout(it, listing));
        for name in names(&listing.op, certain.map(|it| it.at)) {
            if !unique.contains(&name) {
                return Some(format!("{name} is there throughout, not listed: {listing:?}"));
            }
        }
        let possible = self.arrivals.iter().filter(|it| self.may_be_seen(it, listing));
        let mut allowed = names(&listing.op, possible.map(|it| it.at));
        if !matches!(listing.op, Op::Keys(_)) {
            let under_way = self.history.iter().filter(|event| overlap(event, listing));
            allowed.extend(names(&listing.op, under_way.filter_map(|event| event.op.place())));
        }
        let extra = unique.iter().find(|name| !allowed.contains(name))?;
        Some(format!("{extra} is there at no moment, but listed: {listing:?}"))
    }

    /// It had arrived before the listing began, and nobody can have removed it till its end, the
    /// cache itself included.
    fn stays_throughout(&self, arrival: &Arrival, listing: &Event) -> bool {
        let mut removals = self.history.iter().filter(|event| self.may_remove(event, arrival.at));
        arrival.what == What::Value
            && !self.room.may_lose(arrival.at)
            && arrival.ret_at < listing.call
            && removals.all(|it| it.ret_at < arrival.call || listing.ret_at < it.call)
    }

    /// It arrived before the listing ended, and was not certainly removed before it began.
    fn may_be_seen(&self, arrival: &Arrival, listing: &Event) -> bool {
        let seen_as_key = arrival.what != What::Resident;
        let mut removals = self.history.iter().filter(|event| leaves_absent(event, arrival.at));
        (seen_as_key || !matches!(listing.op, Op::Keys(_)))
            && arrival.call < listing.ret_at
            && !removals.any(|it| arrival.ret_at < it.call && it.ret_at < listing.call)
    }

    fn may_remove(&self, event: &Event, at: Place) -> bool {
        leaves_absent(event, at)
            || (self.may_expire && matches!(event.op, Op::Advance(_)))
            || (event.op.place() == Some(at) && self.may_be_born_expired(event))
    }

    /// A TTL may count from any moment of its call: what is stored while the clock moves may
    /// have expired when it takes the place of another value.
    fn may_be_born_expired(&self, event: &Event) -> bool {
        let mut advances = self.history.iter().filter(|it| matches!(it.op, Op::Advance(_)));
        gives_deadline(event) && advances.any(|advance| overlap(advance, event))
    }
}

/// Whether the key was absent right after the moment of this call.
fn leaves_absent(event: &Event, at: Place) -> bool {
    match event.op {
        Op::Delete(place) | Op::Take(place) => place == at,
        Op::DeleteNamespace(space) => space.covers(at.space),
        Op::Clear | Op::Close => true,
        _ => false,
    }
}

fn overlap(event: &Event, listing: &Event) -> bool {
    event.call < listing.ret_at && listing.call < event.ret_at
}

fn gives_deadline(event: &Event) -> bool {
    let put = event.op.put();
    put.is_some_and(|put| put.life != Life::Forever) || matches!(event.op, Op::Touch(..))
}
