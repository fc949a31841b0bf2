//! The reference of a cache that has not room for everything.
//!
//! A full cache may lose what nobody deleted, may refuse to store, and may leave a sliding TTL as
//! it is. None of that is announced, and not every answer shows it: so what is known is a set of
//! states, *worlds*, each of which explains all answers so far. An answer that no world explains
//! is wrong: something that was deleted, expired or evicted has come back, or is somebody else's.

use crate::support::model::{Model, names};
use crate::support::op::{Op, Place, Ret};

/// Worlds from which on nothing is learned any more.
const TOO_MANY: usize = 48;

/// What a cache may do besides what it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Losses {
    /// Nothing: there is room for all.
    None,
    /// It refuses to store, and leaves TTLs unrenewed.
    Refusals,
    /// It evicts besides.
    Evictions,
}

/// All states that the cache may be in.
#[derive(Debug)]
pub(crate) struct Worlds {
    losses: Losses,
    all: Vec<Model>,
}

impl Worlds {
    pub(crate) fn new(losses: Losses) -> Worlds {
        Worlds { losses, all: vec![Model::new()] }
    }

    /// One of the states, for programs that refer to what is there.
    pub(crate) fn any(&self) -> &Model {
        &self.all[0]
    }

    /// Whether a `get_or_load` would wait for a lease.
    pub(crate) fn is_loading(&self, at: Place) -> bool {
        self.all.iter().any(|world| world.is_loading(at))
    }

    /// Whether there are so many possible states that judging has no end.
    pub(crate) fn are_too_many(&self) -> bool {
        self.all.len() > TOO_MANY
    }

    /// Keeps the worlds that explain an answer.
    ///
    /// # Errors
    ///
    /// Tells what should have been answered, where there are none.
    pub(crate) fn judge(&mut self, op: &Op, ret: &Ret) -> Result<(), String> {
        let mut next: Vec<Model> = Vec::with_capacity(self.all.len());
        for world in self.all.iter().flat_map(|world| self.outcomes(world, op, ret)) {
            if !next.contains(&world) {
                next.push(world);
            }
        }
        if next.is_empty() {
            let should = self.any().clone().apply(op, u64::MAX);
            return Err(format!("expected something like {should:?} in one of {:?}", self.all));
        }
        self.all = next;
        Ok(())
    }

    fn outcomes(&self, world: &Model, op: &Op, ret: &Ret) -> Vec<Model> {
        match (self.losses, op.place()) {
            (Losses::None, _) => world.accept(op, ret).into_iter().collect(),
            (Losses::Refusals, Some(at)) => of_key(world, at, op, ret).collect(),
            (Losses::Evictions, Some(at)) => {
                let mut next: Vec<Model> = of_key(world, at, op, ret).collect();
                // What is loading is never evicted, and what has expired is gone anyway.
                if world.version_at(at).is_some() {
                    next.extend(of_key(&world.without(|it| it == at), at, op, ret));
                }
                next
            }
            (Losses::Refusals, None) => world.accept(op, ret).into_iter().collect(),
            (Losses::Evictions, None) => of_group(world, op, ret).into_iter().collect(),
        }
    }
}

/// What may follow upon an operation of one key, if it was not evicted just before.
fn of_key(world: &Model, at: Place, op: &Op, ret: &Ret) -> impl Iterator<Item = Model> {
    let unrenewed = match (op, ret) {
        (Op::Get(_), found) => world.accept(&Op::Peek(at), found),
        (Op::GetOrLoad(..), Ret::Loaded(seen)) => {
            world.accept(&Op::Peek(at), &Ret::Item(Some(*seen)))
        }
        _ => None,
    };
    let refused = (*ret == Ret::Full).then(|| refused(world, at, op)).flatten();
    [world.accept(op, ret), unrenewed, refused].into_iter().flatten()
}

/// The state after an operation that found no room; `None` where it would have needed none.
fn refused(world: &Model, at: Place, op: &Op) -> Option<Model> {
    let mut next = world.clone();
    let stores = match (op, next.apply(op, u64::MAX)) {
        (Op::Touch(..), Ret::Answer(was_there)) => was_there,
        (Op::GetOrLoad(..), Ret::Loaded(_)) => world.version_at(at).is_none(),
        (_, Ret::Stored(version)) => version.is_some(),
        (_, Ret::Leased) => true,
        _ => false,
    };
    stores.then(|| match *op {
        Op::Fulfil(..) => world.without(|it| it == at),
        _ => world.clone(),
    })
}

/// What may follow upon an operation of many keys, some of which were evicted.
fn of_group(world: &Model, op: &Op, ret: &Ret) -> Option<Model> {
    match (op, ret) {
        (Op::Keys(_) | Op::Sessions(_) | Op::Users, Ret::Names(listed)) => {
            let name = |at: Place| names(op, std::iter::once(at)).pop();
            let rest = world.without(|at| {
                let is_listed = name(at).is_none_or(|name| listed.contains(&name));
                !is_listed && world.version_at(at).is_some()
            });
            rest.accept(op, ret)
        }
        (Op::DeleteNamespace(_) | Op::Clear, Ret::Removed(count))
        | (Op::Usage(_), Ret::Entries(count)) => {
            let covered = |at: &Place| match op {
                Op::DeleteNamespace(space) | Op::Usage(space) => space.covers(at.space),
                _ => true,
            };
            let most = world.resident_places().filter(covered).count() as u64;
            let mut next = world.clone();
            next.apply(op, u64::MAX);
            (*count <= most).then_some(next)
        }
        _ => world.accept(op, ret),
    }
}
