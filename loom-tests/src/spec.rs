//! What a cache is, told sequentially, and whether answers fit some sequential order.
//!
//! Under loom nobody sees real time, so an order has to respect each thread's own order and
//! nothing else. All orders are tried; models are small.

use std::collections::{BTreeMap, BTreeSet};

use crate::op::Owner;

/// The name of a key.
pub type Name = (Owner, &'static str);

/// One step of an operation with what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A store was asked for.
    Stored {
        /// Where.
        name: Name,
        /// What.
        value: u32,
        /// For how long.
        ttl: Ttl,
        /// When.
        condition: Condition,
        /// Whether it happened.
        done: bool,
    },
    /// The value was increased, or was not there.
    Added {
        /// Where.
        name: Name,
        /// By how much.
        by: u32,
        /// Whether it happened.
        done: bool,
    },
    /// A read, or the listing of one key.
    Found(Name, Option<u32>),
    /// The listing of one key.
    Listed(Name, bool),
    /// The value was taken.
    Took(Name, Option<u32>),
    /// The key was deleted; whether there was a value.
    Deleted(Name, bool),
    /// A new TTL; whether there was a value.
    Touched(Name, u64, bool),
    /// All of an owner was deleted.
    Killed(Owner),
    /// A lease was taken by the loader of this number.
    Leased(Name, u32),
    /// A lease was refused.
    Refused(Name),
    /// The loader stored its number as value; whether that counted, if it was told.
    Landed(Name, u32, Option<bool>),
    /// The lease was given up.
    Dropped(Name, u32),
    /// A read that got the right to refresh this value, or that did not.
    Claimed {
        /// Where.
        name: Name,
        /// What.
        value: u32,
        /// Whether it did.
        got: bool,
    },
    /// That right was given back.
    Unclaimed(Name, u32),
    /// The clock went on.
    Advanced(u64),
}

/// Seconds after which a value is to be refreshed.
pub const REFRESH_AFTER: u64 = 1;

/// How long a value is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// For ever.
    None,
    /// Some seconds.
    For(u64),
    /// As long as the value in whose place it comes.
    Keep,
}

/// When a store happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Always.
    Always,
    /// If there is nothing.
    Absent,
    /// If there is something.
    Present,
    /// If this value is there.
    Value(u32),
}

/// A fact, and where its thread was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The thread.
    pub thread: usize,
    /// Facts of one step have no order among themselves.
    pub step: usize,
    /// What happened.
    pub fact: Fact,
}

/// A cache without threads.
#[derive(Clone, Debug, Default)]
pub struct State {
    now: u64,
    /// Values with their deadlines, in seconds.
    values: BTreeMap<Name, (u32, Option<u64>)>,
    /// When each value was written, in seconds.
    written: BTreeMap<u32, u64>,
    /// Values that somebody has the right to refresh.
    claims: BTreeSet<u32>,
    /// Loaders whose answer counts.
    leases: BTreeMap<Name, u32>,
    /// Values that may still go by themselves.
    evictions: usize,
}

impl State {
    /// An empty cache that may evict so many values, whichever it wants and when.
    pub fn evicting(most: usize) -> Self {
        Self { evictions: most, ..Self::default() }
    }

    /// The state after each eviction that is allowed.
    fn evicted(&self) -> impl Iterator<Item = Self> {
        let names = self.values.keys().take_while(|_| self.evictions > 0);
        names.map(|name| {
            let mut state = self.clone();
            state.values.remove(name);
            state.evictions -= 1;
            state
        })
    }

    /// The live value.
    fn value(&self, name: Name) -> Option<(u32, Option<u64>)> {
        let &(value, deadline) = self.values.get(&name)?;
        deadline.is_none_or(|deadline| deadline > self.now).then_some((value, deadline))
    }

    fn store(&mut self, name: Name, value: u32, deadline: Option<u64>) {
        self.values.insert(name, (value, deadline));
        self.written.insert(value, self.now);
        self.leases.remove(&name);
    }

    /// Does the step; `false` where it would have answered something else.
    pub fn allows(&mut self, fact: Fact) -> bool {
        match fact {
            Fact::Stored { name, value, ttl, condition, done } => {
                let old = self.value(name);
                let holds = match condition {
                    Condition::Always => true,
                    Condition::Absent => old.is_none(),
                    Condition::Present => old.is_some(),
                    Condition::Value(wanted) => old.is_some_and(|(value, _)| value == wanted),
                };
                if holds {
                    let deadline = match ttl {
                        Ttl::None => None,
                        Ttl::For(seconds) => Some(self.now + seconds),
                        Ttl::Keep => old.and_then(|(_, deadline)| deadline),
                    };
                    self.store(name, value, deadline);
                }
                holds == done
            }
            Fact::Added { name, by, done } => {
                let old = self.value(name);
                if let Some((value, deadline)) = old {
                    self.store(name, value + by, deadline);
                }
                old.is_some() == done
            }
            Fact::Found(name, found) => self.value(name).map(|(value, _)| value) == found,
            Fact::Listed(name, listed) => self.value(name).is_some() == listed,
            Fact::Took(name, found) => {
                let value = self.value(name).map(|(value, _)| value);
                self.values.remove(&name);
                value == found
            }
            Fact::Deleted(name, was) => {
                let value = self.value(name);
                self.values.remove(&name);
                self.leases.remove(&name);
                value.is_some() == was
            }
            Fact::Touched(name, seconds, was) => {
                let old = self.value(name);
                if let Some((value, _)) = old {
                    self.values.insert(name, (value, Some(self.now + seconds)));
                }
                old.is_some() == was
            }
            Fact::Killed(owner) => {
                self.values.retain(|name, _| !name.0.is_within(owner));
                self.leases.retain(|name, _| !name.0.is_within(owner));
                true
            }
            Fact::Leased(name, loader) => {
                let free = self.value(name).is_none() && !self.leases.contains_key(&name);
                self.leases.insert(name, loader);
                free
            }
            Fact::Refused(name) => self.value(name).is_some() || self.leases.contains_key(&name),
            Fact::Landed(name, loader, told) => {
                let counts = self.leases.get(&name) == Some(&loader);
                if counts {
                    self.store(name, loader, None);
                }
                told.is_none_or(|told| told == counts)
            }
            Fact::Dropped(name, loader) => {
                if self.leases.get(&name) == Some(&loader) {
                    self.leases.remove(&name);
                }
                true
            }
            Fact::Claimed { name, value, got } => {
                let there = self.value(name).is_some_and(|(found, _)| found == value);
                let is_old =
                    self.written.get(&value).is_some_and(|at| self.now - at >= REFRESH_AFTER);
                let claimed = self.claims.contains(&value);
                if got {
                    self.claims.insert(value);
                }
                // A write's time is that of its begin: a value may be older than it has been there.
                there && if got { !claimed } else { claimed || !is_old }
            }
            Fact::Unclaimed(_, value) => {
                self.claims.remove(&value);
                true
            }
            Fact::Advanced(seconds) => {
                self.now += seconds;
                true
            }
        }
    }
}

/// Whether some order of `events` that keeps each thread's own, followed by `last`, is one that
/// a sequential cache in `state` allows.
pub fn fits(state: &State, events: &mut Vec<Event>, last: &[Fact]) -> bool {
    let evicted = |events: &mut _| state.evicted().any(|state| fits(&state, events, last));
    if events.is_empty() {
        let mut state = state.clone();
        return last.iter().all(|&fact| state.allows(fact)) || evicted(events);
    }
    for at in 0..events.len() {
        let event = events[at];
        let is_next = |other: &Event| other.thread != event.thread || other.step >= event.step;
        if !events.iter().all(is_next) {
            continue;
        }
        let mut next = state.clone();
        if next.allows(event.fact) {
            events.remove(at);
            let found = fits(&next, events, last);
            events.insert(at, event);
            if found {
                return true;
            }
        }
    }
    evicted(events)
}
