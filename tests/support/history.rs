//! Was this concurrent history possible? A linearizability checker after Wing, Gong and Lowe.
//!
//! ```text
//!   thread 0   |---set 1---|      |--get--|        every operation has a moment between its
//!   thread 1        |------delete_user-----|       call and its return; some order of these
//!   stamps     1    2      3      4       5  6     moments must explain all answers
//! ```
//! Depth first over (set of operations taken, state), with a memo of what was tried: the
//! threads overlapping at once make it dear, the length hardly does. Operations of different
//! owners commute, so each owner is searched alone; an advance of the clock touches all of
//! them, so a history with one is searched whole. Searching apart is as strict as searching
//! whole: linearizability is local (Herlihy and Wing, 1990, theorem 1).
//!
//! What is not linearizable by design is judged beside the search: listings by their weak
//! rule (`listing`), counts and usage not at all while calls overlap. `clear` promises each
//! owner alone, so it stands for one delete per owner; so does `close`, after which every call
//! must be refused. A TTL counts from the clock as it stood at any moment of the call. A hit on
//! a sliding entry is two operations: what it saw, and later in its call the renewal of that very
//! entry, which may be lost.
//!
//! A cache that evicts may lose any value at any moment, which is a delete that nobody asked
//! for. An eviction shows in nothing but the next operation on its key, so that is the only
//! place where the search tries it; and where such a cache has no room, nothing happened. A cache
//! with quotas does so to users alone.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

use super::listing;
use super::model::Model;
use super::op::{HitId, Life, Nanos, Op, Owner, Precision, Ret, Space};

/// The set of operations taken is a `u128`.
pub const MAX_EVENTS: usize = 128;

/// States tried before the search gives up.
const MAX_VISITS: usize = 2_000_000;

/// One finished call. Stamps come from one counter, starting at 1: 0 is before everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub call: u64,
    pub ret_at: u64,
    pub thread: usize,
    pub op: Op,
    pub ret: Ret,
}

/// What the checker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Linearizable,
    /// With the history and the longest part of it that could be explained.
    NotLinearizable(String),
    /// Too long, or too many states: nothing is known.
    GaveUp,
}

/// Judges a history that began in `initial`.
pub fn check(initial: &Model, history: &[Event]) -> Verdict {
    let wrong = |why: String| Verdict::NotLinearizable(format!("{why}\n{}", print(history)));
    let done = match without_refusals(initial, history) {
        Ok(done) => done,
        Err(why) => return wrong(why),
    };
    let reused = reused_version(&done).map(|event| format!("version used twice: {event:?}"));
    if let Some(why) = reused.or_else(|| listing::fault(initial, &done)) {
        return wrong(why);
    }
    let strict: Vec<Event> = done.into_iter().filter(|event| !event.op.is_weak()).collect();
    let owners = owners(initial, &strict);
    let strict = split_hits(expand_clears(strict, &owners));

    let parts = if strict.iter().any(|event| event.op.owner() == Owner::All) {
        BTreeSet::from([Owner::All])
    } else {
        owners
    };
    for owner in parts {
        let events: Vec<Event> = strict
            .iter()
            .filter(|event| owner == Owner::All || event.op.owner() == owner)
            .cloned()
            .collect();
        let verdict = search(&initial.part(owner), &events);
        if verdict != Verdict::Linearizable {
            return verdict;
        }
    }
    Verdict::Linearizable
}

/// Searches one part of a history for an order that explains it.
fn search(initial: &Model, events: &[Event]) -> Verdict {
    if events.len() > MAX_EVENTS {
        return Verdict::GaveUp;
    }
    let mut search = Search {
        bases: events.iter().map(|event| bases(initial.now(), event, events)).collect(),
        events,
        tried: HashSet::new(),
        deepest: Vec::new(),
    };
    match search.extend(0, initial, &mut Vec::new()) {
        Found::Order => Verdict::Linearizable,
        Found::TooMany => Verdict::GaveUp,
        Found::Nothing => Verdict::NotLinearizable(search.explain()),
    }
}

struct Search<'h> {
    events: &'h [Event],
    /// For each event: the clock readings that its TTL may count from; empty: irrelevant.
    bases: Vec<Vec<Nanos>>,
    tried: HashSet<(u128, Model)>,
    deepest: Vec<usize>,
}

enum Found {
    Order,
    Nothing,
    TooMany,
}

impl Search<'_> {
    /// Tries to take what is left after `taken`, from `model` on.
    fn extend(&mut self, taken: u128, model: &Model, path: &mut Vec<usize>) -> Found {
        if path.len() == self.events.len() {
            return Found::Order;
        }
        if !self.tried.insert((taken, model.clone())) {
            return Found::Nothing;
        }
        if self.tried.len() > MAX_VISITS {
            return Found::TooMany;
        }
        if path.len() > self.deepest.len() {
            self.deepest.clone_from(path);
        }
        // Whoever was called after somebody else had returned cannot come before him.
        let left = |index: &usize| taken & (1 << index) == 0;
        let indices = 0..self.events.len();
        let first_return =
            indices.clone().filter(left).map(|index| self.events[index].ret_at).min();
        let horizon = first_return.unwrap_or(u64::MAX);
        for index in indices.filter(left) {
            if self.events[index].call > horizon || self.comes_too_early(index, taken) {
                continue;
            }
            for next in self.outcomes(index, model) {
                path.push(index);
                match self.extend(taken | (1 << index), &next, path) {
                    Found::Nothing => path.pop(),
                    found => return found,
                };
            }
        }
        Found::Nothing
    }

    /// Whether it is a renewal whose hit is not among those taken: that stands before it.
    fn comes_too_early(&self, index: usize, taken: u128) -> bool {
        matches!(self.events[index].op, Op::Slide(..)) && taken & (1 << (index - 1)) == 0
    }

    /// The states that may follow; more than one only where a TTL's start, an eviction or a
    /// renewal is in doubt.
    fn outcomes(&self, index: usize, model: &Model) -> Vec<Model> {
        let Event { op, ret, .. } = &self.events[index];
        let evicted = op.place().and_then(|at| model.evict(at));
        let mut outcomes = Vec::new();
        for state in [model].into_iter().chain(&evicted) {
            let accept = |base| state.accept_as(Precision::Concurrent, base, op, ret);
            match self.bases[index].as_slice() {
                [] => outcomes.extend(accept(state.now())),
                bases => {
                    let past = bases.iter().filter(|base| **base <= state.now());
                    outcomes.extend(past.filter_map(|base| accept(*base)));
                }
            }
            if let Op::Slide(..) = op {
                outcomes.push(state.clone());
            }
        }
        outcomes
    }

    fn explain(&self) -> String {
        let mut text = String::from("no order explains this history:\n");
        text.push_str(&print(self.events));
        text.push_str("longest part in order:\n");
        for index in &self.deepest {
            writeln!(text, "  {}", line(&self.events[*index])).expect("strings take all");
        }
        text
    }
}

/// The clock readings that an event's TTL may count from: whatever advances had returned
/// before it was called, and any of those that overlap it.
fn bases(start: Nanos, event: &Event, events: &[Event]) -> Vec<Nanos> {
    if !event.op.reads_clock_for_deadline() {
        return Vec::new();
    }
    let advances = events.iter().filter_map(|other| match other.op {
        Op::Advance(by) if other.call < event.ret_at => Some((other.ret_at < event.call, by)),
        _ => None,
    });
    let mut bases = BTreeSet::from([start]);
    for (before, by) in advances {
        let advanced: BTreeSet<Nanos> = bases.iter().map(|base| base + by).collect();
        if before {
            bases = advanced;
        } else {
            bases.extend(advanced);
        }
    }
    bases.into_iter().collect()
}

/// Versions are never reused, whoever wrote them: this is so across all owners.
fn reused_version(history: &[Event]) -> Option<&Event> {
    let mut used = HashSet::new();
    history.iter().find(|event| matches!(event.ret, Ret::Stored(Some(v)) if !used.insert(v)))
}

fn owners(initial: &Model, events: &[Event]) -> BTreeSet<Owner> {
    let mut owners = initial.owners();
    owners.extend(events.iter().map(|event| event.op.owner()));
    owners.remove(&Owner::All);
    owners
}

/// The calls that did something. Whoever was refused has done nothing, but for a lease, which
/// ends in any case.
///
/// # Errors
///
/// Tells which refusal was wrong, or which call should have been refused.
fn without_refusals(initial: &Model, history: &[Event]) -> Result<Vec<Event>, String> {
    let closes = || history.iter().filter(|event| event.op == Op::Close);
    let closing = closes().map(|close| close.call).min().unwrap_or(u64::MAX);
    let closed = closes().map(|close| close.ret_at).min().unwrap_or(u64::MAX);
    let mut done = Vec::with_capacity(history.len());
    for event in history {
        let refused = match event.ret {
            Ret::Full if initial.room().may_refuse(&event.op) => true,
            Ret::Closed if closing < event.ret_at => true,
            Ret::Full | Ret::Closed => return Err(format!("refused: {event:?}")),
            _ => false,
        };
        // These never fail, and the end of a lease that was refused never reaches the cache.
        let is_free = matches!(event.op, Op::Advance(_) | Op::DropLease(..) | Op::Clear)
            || matches!((event.op, &event.ret), (Op::Fulfil(..), Ret::Stored(None)));
        if event.call > closed && event.ret != Ret::Closed && !is_free {
            return Err(format!("not refused though closed: {event:?}"));
        }
        match event.op {
            _ if !refused => done.push(event.clone()),
            Op::Fulfil(at, id, _) | Op::LoadEnd(at, id, _) => {
                done.push(Event { op: Op::DropLease(at, id), ret: Ret::Done, ..event.clone() });
            }
            _ => {}
        }
    }
    Ok(done)
}

/// Makes two events of each hit, where there are sliding TTLs; the second follows the first.
fn split_hits(events: Vec<Event>) -> Vec<Event> {
    let slides =
        |event: &Event| event.op.put().is_some_and(|put| matches!(put.life, Life::Sliding { .. }));
    if !events.iter().any(slides) {
        return events;
    }
    let mut split = Vec::with_capacity(2 * events.len());
    for event in events {
        let (at, seen) = match (event.op, &event.ret) {
            (Op::Get(at), Ret::Item(Some(seen))) => (at, *seen),
            (Op::GetOrLoad(at, _), Ret::Loaded(seen)) => (at, *seen),
            _ => {
                split.push(event);
                continue;
            }
        };
        let id = split.len() as HitId;
        split.push(Event { op: Op::Hit(at, id), ret: Ret::Item(Some(seen)), ..event.clone() });
        split.push(Event { op: Op::Slide(at, id), ret: Ret::Done, ..event });
    }
    split
}

fn expand_clears(events: Vec<Event>, owners: &BTreeSet<Owner>) -> Vec<Event> {
    let mut expanded = Vec::with_capacity(events.len());
    for event in events {
        if !matches!(event.op, Op::Clear | Op::Close) {
            expanded.push(event);
            continue;
        }
        for owner in owners {
            let space = match owner {
                Owner::User(user) => Space::User(*user),
                Owner::Global | Owner::All => Space::Global,
            };
            let (op, ret) = (Op::DeleteNamespace(space), Ret::Removed(0));
            expanded.push(Event { op, ret, ..event.clone() });
        }
    }
    expanded
}

fn print(events: &[Event]) -> String {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| event.call);
    sorted.iter().fold(String::new(), |text, event| text + "  " + &line(event) + "\n")
}

fn line(event: &Event) -> String {
    let Event { call, ret_at, thread, op, ret } = event;
    format!("{call:>4}..{ret_at:<4} thread {thread}  {op:?} -> {ret:?}")
}
