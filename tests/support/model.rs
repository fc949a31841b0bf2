//! The reference: what a cache is, without locks, shards, wheels or memory.
//!
//! A `Model` is a value: two maps and a clock. `apply` carries an operation out, `accept`
//! judges the answer that somebody else gave. There is one body of rules, `apply`, and
//! `accept` is "would `apply` have answered that?".
//!
//! What the words of the design leave open is decided here, in one place each:
//! - an entry past its deadline stays in the map but is absent to everybody; only the upper
//!   bounds of counts, sessions and users still see it, because an engine reclaims in its
//!   own time (`Model::resident_places`);
//! - a placeholder of a load is absent as well; `delete` of one cancels it and answers false;
//! - `update` changes a value and keeps its TTL; `replace` and `compare_and_set` are overwrites,
//!   which drop an earlier TTL unless `keep_ttl` is asked for;
//! - `keep_ttl` keeps a sliding policy too, and the end of its maximum lifetime;
//! - `touch` keeps a sliding policy with the new TTL, and never passes that end;
//! - a hit is a `get` or a `get_or_load`; `peek` and `contains` refresh nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::op::{
    Expires, HitId, LeaseId, Life, Nanos, Op, Owner, Place, Precision, Put, Ret, Seen, Space,
    Value, VersionId, When,
};

/// The whole state of a cache.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Model {
    now: Nanos,
    entries: BTreeMap<Place, Entry>,
    /// Every version ever stored, living or gone: none may come back.
    used: BTreeSet<VersionId>,
    room: Room,
}

/// What a cache has room for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Room {
    /// For everything.
    #[default]
    Ample,
    /// For less: any value may go at any moment, and a write may find none.
    Short,
    /// For everything, but each user has a quota: a write of a user's may find none, and values of
    /// users may go where that evicts.
    Quotas { evicts: bool },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Entry {
    Value(Stored),
    /// Somebody loads. Absent to all but `lease` and `get_or_load`.
    Placeholder(LeaseId),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Stored {
    value: Value,
    version: VersionId,
    lifetime: Lifetime,
    /// Hits that saw this very entry and may still renew it.
    hits: BTreeSet<HitId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Lifetime {
    Forever,
    Until(Nanos),
    /// Renewed by hits, till `last` at most.
    Sliding {
        deadline: Nanos,
        ttl: Nanos,
        last: Nanos,
    },
}

impl Room {
    /// Whether a value may go without anybody asking for it.
    pub fn may_lose(self, at: Place) -> bool {
        match self {
            Room::Ample => false,
            Room::Short => true,
            Room::Quotas { evicts } => evicts && matches!(at.space.owner(), Owner::User(_)),
        }
    }

    /// Whether a call may be refused for want of room.
    pub fn may_refuse(self, op: &Op) -> bool {
        match self {
            Room::Ample => false,
            Room::Short => op.needs_room(),
            Room::Quotas { .. } => op.needs_room() && matches!(op.owner(), Owner::User(_)),
        }
    }
}

impl Model {
    /// Returns an empty cache whose clock stands at zero.
    pub fn new() -> Model {
        Model::default()
    }

    /// Returns the same for a cache with so much room.
    pub fn with_room(room: Room) -> Model {
        Model { room, ..Model::default() }
    }

    pub fn room(&self) -> Room {
        self.room
    }

    /// The state after the eviction of a key, where it has a value that may go. A placeholder
    /// of a load stays.
    pub fn evict(&self, at: Place) -> Option<Model> {
        let goes = self.room.may_lose(at) && matches!(self.entries.get(&at), Some(Entry::Value(_)));
        goes.then(|| {
            let mut next = self.clone();
            next.entries.remove(&at);
            next
        })
    }

    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Judges one answer: the next state where it is allowed, `None` where it is not.
    pub fn accept(&self, op: &Op, ret: &Ret) -> Option<Model> {
        self.accept_as(Precision::Sequential, self.now, op, ret)
    }

    /// Judges one answer. `base` is the clock reading from which a TTL is counted: a call
    /// that overlaps an advance may have read the clock before it took effect.
    pub fn accept_as(
        &self,
        precision: Precision,
        base: Nanos,
        op: &Op,
        ret: &Ret,
    ) -> Option<Model> {
        // A version is the engine's to choose. Whoever stores nothing does not use this one.
        let fresh = ret.version().unwrap_or_default();
        let mut next = self.clone();
        let expected = match (precision, op) {
            // Its loader did not run, so it saw a value at some moment of the call.
            (Precision::Concurrent, Op::GetOrLoad(at, _)) => Ret::Loaded(next.hit(*at)?),
            _ => next.apply_at(base, op, fresh),
        };
        self.agrees(precision, op, &expected, ret).then_some(next)
    }

    /// Carries an operation out; `fresh` becomes the version of what it stores.
    pub fn apply(&mut self, op: &Op, fresh: VersionId) -> Ret {
        self.apply_at(self.now, op, fresh)
    }

    /// The earliest deadline still to come, for programs that want to stand around it.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let deadlines = self.entries.values().filter_map(|entry| match entry {
            Entry::Value(stored) => stored.lifetime.deadline(),
            Entry::Placeholder(_) => None,
        });
        deadlines.filter(|deadline| *deadline > self.now).min()
    }

    pub fn version_at(&self, at: Place) -> Option<VersionId> {
        self.visible(at).map(|stored| stored.version)
    }

    pub fn is_loading(&self, at: Place) -> bool {
        matches!(self.entries.get(&at), Some(Entry::Placeholder(_)))
    }

    /// The part of the state that belongs to one owner.
    pub fn part(&self, owner: Owner) -> Model {
        let mut part = self.clone();
        part.entries.retain(|at, _| owner == Owner::All || at.space.owner() == owner);
        part
    }

    /// The state once what stood at these places was evicted.
    pub fn without(&self, mut gone: impl FnMut(Place) -> bool) -> Model {
        let mut rest = self.clone();
        rest.entries.retain(|at, _| !gone(*at));
        rest
    }

    /// Everybody who has something here.
    pub fn owners(&self) -> BTreeSet<Owner> {
        self.entries.keys().map(|at| at.space.owner()).collect()
    }

    fn apply_at(&mut self, base: Nanos, op: &Op, fresh: VersionId) -> Ret {
        match *op {
            Op::Get(at) | Op::Refresh(at, _) => Ret::Item(self.hit(at)),
            Op::Peek(at) => Ret::Item(self.visible(at).map(Stored::seen)),
            Op::Contains(at) => Ret::Answer(self.visible(at).is_some()),
            Op::Write(at, when, put) => self.write(base, at, when, put, fresh),
            Op::Update(at, add) => match self.visible(at) {
                Some(old) => {
                    let put = Put { value: old.value.wrapping_add(add), life: Life::Keep };
                    self.store(base, at, put, fresh)
                }
                None => Ret::Stored(None),
            },
            Op::Take(at) => {
                let seen = self.visible(at).map(Stored::seen);
                if seen.is_some() {
                    self.entries.remove(&at);
                }
                Ret::Item(seen)
            }
            Op::Touch(at, ttl) => self.touch(base, at, ttl),
            Op::Delete(at) => {
                let was_there = self.visible(at).is_some();
                self.entries.remove(&at);
                Ret::Answer(was_there)
            }
            Op::GetOrLoad(_, put) if put.life.is_invalid() => Ret::Invalid,
            Op::GetOrLoad(at, put) => match self.hit(at) {
                Some(seen) => Ret::Loaded(seen),
                // A real engine waits for the other load; here nobody else could end it.
                None if self.is_loading(at) => Ret::Conflict,
                None => self.load(base, at, put, fresh),
            },
            Op::Lease(at, id) => {
                if self.visible(at).is_some() || self.is_loading(at) {
                    return Ret::Conflict;
                }
                self.entries.insert(at, Entry::Placeholder(id));
                Ret::Leased
            }
            Op::LoadEnd(at, id, put) if self.holds(at, id) => self.load(base, at, put, fresh),
            Op::LoadEnd(_, _, put) => Ret::Loaded(put.seen(fresh)),
            Op::Fulfil(at, id, put) if self.holds(at, id) => self.store(base, at, put, fresh),
            Op::Fulfil(..) => Ret::Stored(None),
            Op::DropLease(at, id) => {
                if self.holds(at, id) {
                    self.entries.remove(&at);
                }
                Ret::Done
            }
            Op::DeleteNamespace(space) => {
                let removed = self.count(|at| space.covers(at.space));
                self.entries.retain(|at, _| !space.covers(at.space));
                Ret::Removed(removed)
            }
            Op::Clear => {
                let removed = self.count(|_| true);
                self.entries.clear();
                Ret::Removed(removed)
            }
            Op::Close => {
                self.entries.clear();
                Ret::Done
            }
            Op::Keys(_) | Op::Sessions(_) | Op::Users => {
                Ret::Names(names(op, self.visible_places()))
            }
            Op::Usage(space) => Ret::Entries(self.count(|at| space.covers(at.space))),
            Op::Advance(by) => {
                self.now += by;
                Ret::Done
            }
            Op::Hit(at, id) => Ret::Item(self.visible_mut(at).map(|stored| {
                if let Lifetime::Sliding { .. } = stored.lifetime {
                    stored.hits.insert(id);
                }
                stored.seen()
            })),
            Op::Slide(at, id) => {
                if let Some(stored) = self.visible_mut(at)
                    && stored.hits.contains(&id)
                {
                    // Others who saw the entry before it was renewed come too late.
                    stored.hits.clear();
                    stored.lifetime = stored.lifetime.renewed(base);
                }
                Ret::Done
            }
        }
    }

    fn write(&mut self, base: Nanos, at: Place, when: When, put: Put, fresh: VersionId) -> Ret {
        if put.life.is_invalid() {
            return Ret::Invalid;
        }
        let here = self.visible(at).map(|stored| stored.version);
        let goes = match when {
            When::Always => true,
            When::Absent => here.is_none(),
            When::Present => here.is_some(),
            When::Version(version) => here == Some(version),
        };
        if goes { self.store(base, at, put, fresh) } else { Ret::Stored(None) }
    }

    fn load(&mut self, base: Nanos, at: Place, put: Put, fresh: VersionId) -> Ret {
        match self.store(base, at, put, fresh) {
            Ret::Stored(_) => Ret::Loaded(put.seen(fresh)),
            other => other,
        }
    }

    fn store(&mut self, base: Nanos, at: Place, put: Put, fresh: VersionId) -> Ret {
        if put.life.is_invalid() {
            return Ret::Invalid;
        }
        if !self.used.insert(fresh) {
            return Ret::Failed(format!("version {fresh} was used before"));
        }
        let lifetime = match put.life {
            Life::Forever => Lifetime::Forever,
            Life::For(ttl) => Lifetime::Until(base + ttl),
            Life::Keep => self.visible(at).map_or(Lifetime::Forever, |old| old.lifetime),
            Life::Sliding { ttl, max_lifetime } => {
                let last = base + max_lifetime;
                Lifetime::Sliding { deadline: (base + ttl).min(last), ttl, last }
            }
        };
        let hits = BTreeSet::new();
        let stored = Stored { value: put.value, version: fresh, lifetime, hits };
        self.entries.insert(at, Entry::Value(stored));
        Ret::Stored(Some(fresh))
    }

    fn touch(&mut self, base: Nanos, at: Place, new_ttl: Nanos) -> Ret {
        if new_ttl == 0 {
            return Ret::Invalid;
        }
        let Some(stored) = self.visible_mut(at) else { return Ret::Answer(false) };
        stored.hits.clear();
        stored.lifetime = match stored.lifetime {
            Lifetime::Forever | Lifetime::Until(_) => Lifetime::Until(base + new_ttl),
            Lifetime::Sliding { last, .. } => {
                Lifetime::Sliding { deadline: (base + new_ttl).min(last), ttl: new_ttl, last }
            }
        };
        Ret::Answer(true)
    }

    /// A get: refreshes a sliding deadline once an eighth of the TTL has gone.
    fn hit(&mut self, at: Place) -> Option<Seen> {
        let now = self.now;
        let stored = self.visible_mut(at)?;
        stored.lifetime = stored.lifetime.renewed(now);
        Some(stored.seen())
    }

    fn visible(&self, at: Place) -> Option<&Stored> {
        match self.entries.get(&at)? {
            Entry::Value(stored) if stored.lives_at(self.now) => Some(stored),
            _ => None,
        }
    }

    fn visible_mut(&mut self, at: Place) -> Option<&mut Stored> {
        match self.entries.get_mut(&at)? {
            Entry::Value(stored) if stored.lives_at(self.now) => Some(stored),
            _ => None,
        }
    }

    /// Every key that a get would find.
    pub fn visible_places(&self) -> impl Iterator<Item = Place> {
        self.entries.keys().copied().filter(|at| self.visible(*at).is_some())
    }

    /// Every key that an engine may still hold an entry of: expired ones and placeholders too.
    pub fn resident_places(&self) -> impl Iterator<Item = Place> {
        self.entries.keys().copied()
    }

    pub fn has_deadlines(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| matches!(entry, Entry::Value(it) if it.lifetime.deadline().is_some()))
    }

    fn count(&self, mut counted: impl FnMut(Place) -> bool) -> u64 {
        self.visible_places().filter(|at| counted(*at)).count() as u64
    }

    fn resident(&self, op: &Op) -> u64 {
        let counted = |at: &Place| match op {
            Op::DeleteNamespace(space) | Op::Usage(space) => space.covers(at.space),
            _ => true,
        };
        self.resident_places().filter(counted).count() as u64
    }

    fn holds(&self, at: Place, id: LeaseId) -> bool {
        self.entries.get(&at) == Some(&Entry::Placeholder(id))
    }

    /// Whether an answer meets the expected one; `self` is the state before the operation.
    fn agrees(&self, precision: Precision, op: &Op, expected: &Ret, seen: &Ret) -> bool {
        match (expected, seen) {
            (_, Ret::Failed(_)) => false,
            (Ret::Removed(_) | Ret::Entries(_), Ret::Removed(_) | Ret::Entries(_))
            | (Ret::Names(_), Ret::Names(_))
                if precision == Precision::Concurrent =>
            {
                true
            }
            (Ret::Removed(least), Ret::Removed(count))
            | (Ret::Entries(least), Ret::Entries(count)) => {
                (*least..=self.resident(op)).contains(count)
            }
            (Ret::Names(required), Ret::Names(listed)) => {
                // Keys are looked up one by one; a session or user goes when it is reclaimed.
                let allowed = match op {
                    Op::Keys(_) => required.clone(),
                    _ => names(op, self.resident_places()),
                };
                let unique: BTreeSet<u8> = listed.iter().copied().collect();
                unique.len() == listed.len()
                    && required.iter().all(|name| unique.contains(name))
                    && unique.iter().all(|name| allowed.contains(name))
            }
            _ => expected == seen,
        }
    }
}

/// The names that a listing takes from these places, each once.
pub fn names(listing: &Op, places: impl Iterator<Item = Place>) -> Vec<u8> {
    let named = places.filter_map(|at| match (*listing, at.space) {
        (Op::Keys(space), _) => (at.space == space).then_some(at.key),
        (Op::Sessions(user), Space::Session(owner, session)) if owner == user => Some(session),
        (Op::Users, Space::User(user) | Space::Session(user, _)) => Some(user),
        _ => None,
    });
    named.collect::<BTreeSet<u8>>().into_iter().collect()
}

impl Stored {
    fn lives_at(&self, now: Nanos) -> bool {
        self.lifetime.deadline().is_none_or(|deadline| now < deadline)
    }

    fn seen(&self) -> Seen {
        let expires = match self.lifetime {
            Lifetime::Forever => Expires::Never,
            Lifetime::Until(_) | Lifetime::Sliding { .. } => Expires::AtDeadline,
        };
        Seen { value: self.value, version: self.version, expires }
    }
}

impl Lifetime {
    fn deadline(self) -> Option<Nanos> {
        match self {
            Lifetime::Forever => None,
            Lifetime::Until(deadline) | Lifetime::Sliding { deadline, .. } => Some(deadline),
        }
    }

    /// As it is after a hit: sliding, and an eighth of the TTL has gone.
    fn renewed(self, now: Nanos) -> Lifetime {
        match self {
            Lifetime::Sliding { deadline, ttl, last }
                if (now + ttl).saturating_sub(deadline) >= ttl / 8 =>
            {
                Lifetime::Sliding { deadline: (now + ttl).min(last), ttl, last }
            }
            lifetime => lifetime,
        }
    }
}

impl Put {
    /// The value as its writer sees it. Over an absent key `Keep` keeps nothing.
    fn seen(self, version: VersionId) -> Seen {
        let expires = match self.life {
            Life::Forever | Life::Keep => Expires::Never,
            Life::For(_) | Life::Sliding { .. } => Expires::AtDeadline,
        };
        Seen { value: self.value, version, expires }
    }
}
