//! Was this history possible? A small linearizability checker after Wing and Gong.
//!
//! Each call took effect at one moment between its call and its return; some order of these
//! moments must explain all answers. The search goes depth first over (set of calls taken, state)
//! and remembers what it tried. It knows values, versions and deletions, no deadlines.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use crate::item::Version;

/// A key of the user (space 0) or of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) space: u8,
    pub(super) key: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    Always,
    Absent,
    Present,
    Version(Version),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Get(Place),
    Take(Place),
    Write(Place, When, u32),
    Delete(Place),
    /// Space 0 goes with all others.
    DeleteSpace(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The value, `None` where it makes no sense, and the version.
    Item(Option<(Option<u32>, Version)>),
    Stored(Option<Version>),
    Done,
}

/// One call, with stamps of one counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) called: u64,
    pub(super) returned: u64,
    pub(super) thread: usize,
    pub(super) op: Op,
    pub(super) answer: Answer,
}

/// What is there: values with the number of their version.
type State = BTreeMap<Place, (u32, u64)>;

/// Judges the history of a user of whom nothing was there at first.
///
/// # Errors
///
/// Tells what no order explains.
pub(super) fn check(events: &[Event]) -> Result<(), String> {
    assert!(events.len() <= 64, "the set of calls taken is a u64");
    let mut used = HashSet::new();
    for event in events {
        if let Answer::Stored(Some(version)) = event.answer
            && !used.insert(version)
        {
            return Err(format!("a version was answered twice: {event:?}"));
        }
    }
    let mut search = Search { events, tried: HashSet::new() };
    if search.extend(0, &State::new()) { Ok(()) } else { Err(explain(events)) }
}

struct Search<'h> {
    events: &'h [Event],
    tried: HashSet<(u64, State)>,
}

impl Search<'_> {
    /// Whether what is left after `taken` can follow.
    fn extend(&mut self, taken: u64, state: &State) -> bool {
        if taken.count_ones() as usize == self.events.len() {
            return true;
        }
        if !self.tried.insert((taken, state.clone())) {
            return false;
        }
        let left = |index: &usize| taken & (1 << index) == 0;
        let indices = 0..self.events.len();
        // Whoever was called after somebody else had returned cannot come before it.
        let first = indices.clone().filter(left).map(|index| self.events[index].returned).min();
        indices.filter(left).any(|index| {
            let event = self.events[index];
            Some(event.called) < first
                && apply(state, event).is_some_and(|next| self.extend(taken | 1 << index, &next))
        })
    }
}

/// The state after a call, if it may have answered that.
fn apply(state: &State, event: Event) -> Option<State> {
    let seen = |at: Place| {
        let item =
            state.get(&at).map(|(value, version)| (Some(*value), Version::from_u64(*version)));
        Answer::Item(item)
    };
    let mut next = state.clone();
    match (event.op, event.answer) {
        (Op::Get(at), answer) => (answer == seen(at)).then_some(next),
        (Op::Take(at), answer) => (answer == seen(at)).then(|| {
            next.remove(&at);
            next
        }),
        (Op::Write(at, when, value), Answer::Stored(version)) => {
            let present = state.get(&at).map(|(_, version)| Version::from_u64(*version));
            let holds = match when {
                When::Always => true,
                When::Absent => present.is_none(),
                When::Present => present.is_some(),
                When::Version(version) => present == Some(version),
            };
            if let Some(version) = version {
                next.insert(at, (value, version.as_u64()));
            }
            (holds == version.is_some()).then_some(next)
        }
        (Op::Delete(at), Answer::Done) => {
            next.remove(&at);
            Some(next)
        }
        (Op::DeleteSpace(space), Answer::Done) => {
            next.retain(|at, _| space != 0 && at.space != space);
            Some(next)
        }
        _ => None,
    }
}

fn explain(events: &[Event]) -> String {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| event.called);
    let mut text = String::from("no order explains it");
    for Event { called, returned, thread, op, answer } in sorted {
        write!(text, "\n{called:>3}..{returned:<3} client {thread}  {op:?} -> {answer:?}")
            .expect("strings take all");
    }
    text
}

impl Answer {
    /// The version that it shows.
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Item(item) => item.map(|(_, version)| version),
            Self::Stored(version) => *version,
            Self::Done => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: Place = Place { space: 1, key: 0 };
    const L: Place = Place { space: 2, key: 0 };

    fn event(called: u64, returned: u64, op: Op, answer: Answer) -> Event {
        Event { called, returned, thread: 0, op, answer }
    }

    fn set(called: u64, returned: u64, at: Place, value: u32) -> Event {
        let version = Version::from_u64(u64::from(value));
        event(called, returned, Op::Write(at, When::Always, value), Answer::Stored(Some(version)))
    }

    fn get(called: u64, returned: u64, at: Place, value: Option<u32>) -> Event {
        let item = value.map(|value| (Some(value), Version::from_u64(u64::from(value))));
        event(called, returned, Op::Get(at), Answer::Item(item))
    }

    fn delete(called: u64, returned: u64) -> Event {
        event(called, returned, Op::DeleteSpace(0), Answer::Done)
    }

    #[test]
    fn what_overlaps_may_come_in_any_order() {
        for seen in [None, Some(1)] {
            check(&[set(1, 4, K, 1), delete(2, 3), get(5, 6, K, seen)]).expect("possible");
        }
    }

    #[test]
    fn what_was_deleted_does_not_return() {
        let history = [set(1, 2, K, 1), delete(3, 4), get(5, 6, K, Some(1))];
        assert!(check(&history).expect_err("impossible").contains("no order"));
        // Nor may a user go by halves.
        let halves = [
            set(1, 2, K, 1),
            set(3, 4, L, 2),
            delete(5, 12),
            get(6, 7, K, None),
            get(8, 9, L, Some(2)),
        ];
        check(&halves).expect_err("impossible");
    }

    #[test]
    fn a_lost_update_is_seen() {
        let over = |called, returned, value| {
            let op = Op::Write(K, When::Version(Version::from_u64(1)), value);
            let stored = Some(Version::from_u64(u64::from(value)));
            event(called, returned, op, Answer::Stored(stored))
        };
        check(&[set(1, 2, K, 1), over(3, 6, 2)]).expect("possible");
        check(&[set(1, 2, K, 1), over(3, 6, 2), over(4, 5, 3)]).expect_err("impossible");
    }

    #[test]
    fn a_version_comes_once() {
        let words = check(&[set(1, 2, K, 1), set(3, 4, L, 1)]).expect_err("impossible");
        assert!(words.contains("answered twice"), "{words}");
    }
}
