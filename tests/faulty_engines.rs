//! Engines with one fault each: random programs of one thread must find it.

#[expect(dead_code, reason = "nothing is concurrent here")]
mod support;

use support::engine::{Engine, LockedModel};
use support::model::Model;
use support::op::{Life, Op, Place, Put, Ret, Space, When};
use support::program::{Author, Mix, Step, shrink};
use support::sequential::judge;

/// The reference, asked for something else than what was asked.
struct Faulty {
    right: LockedModel,
    ask: fn(Op) -> Op,
    answer: fn(&Op, Ret) -> Ret,
}

impl Engine for Faulty {
    fn apply(&self, op: &Op) -> Ret {
        (self.answer)(op, self.right.apply_now(&(self.ask)(*op)))
    }

    fn load(&self, at: Place, put: Put, _: &mut dyn FnMut()) -> Ret {
        self.right.apply_now(&Op::GetOrLoad(at, put))
    }

    fn validate(&self) -> Result<(), String> {
        self.right.validate()
    }
}

fn faulty(ask: fn(Op) -> Op, answer: fn(&Op, Ret) -> Ret) -> Faulty {
    Faulty { right: LockedModel::new(Model::new()), ask, answer }
}

fn as_asked(op: Op) -> Op {
    op
}

fn as_answered(_: &Op, ret: Ret) -> Ret {
    ret
}

/// Asserts that some program finds the fault, and cuts it down to few steps.
fn assert_found(fault: &str, ask: fn(Op) -> Op, answer: fn(&Op, Ret) -> Ret) {
    let fails = |steps: &[Step]| judge(&faulty(ask, answer), steps, &mut String::new()).is_err();
    let program = (0..500)
        .map(|seed| Author::new(seed, Mix::Sequential).program(80))
        .find(|program| fails(program));
    let shortest = shrink(&program.unwrap_or_else(|| panic!("{fault}: never found")), fails);
    println!("{fault}: {} steps", shortest.len());
    assert!(shortest.len() <= 10, "{fault}: {shortest:#?}");
}

/// Rewrites how long a value lives.
fn living(op: Op, life: fn(Life) -> Life) -> Op {
    match op {
        Op::Write(at, when, put) => Op::Write(at, when, Put { life: life(put.life), ..put }),
        op => op,
    }
}

#[test]
fn wrong_lifetimes_are_found() {
    let served_late = |op| {
        living(op, |life| match life {
            Life::For(ttl) if ttl > 0 => Life::For(ttl + 1),
            life => life,
        })
    };
    assert_found("served at its deadline", served_late, as_answered);
    let gone_early = |op| {
        living(op, |life| match life {
            Life::For(ttl) if ttl > 0 => Life::For(ttl - 1),
            life => life,
        })
    };
    assert_found("gone before its deadline", gone_early, as_answered);
    let ttl_kept = |op| {
        living(op, |life| match life {
            Life::Forever => Life::Keep,
            life => life,
        })
    };
    assert_found("a plain set keeps the TTL", ttl_kept, as_answered);
    let ttl_lost = |op| {
        living(op, |life| match life {
            Life::Keep => Life::Forever,
            life => life,
        })
    };
    assert_found("keep_ttl loses the TTL", ttl_lost, as_answered);
    let zero_is_never = |op| {
        living(op, |life| match life {
            Life::For(0) => Life::Forever,
            life => life,
        })
    };
    assert_found("a TTL of zero means none", zero_is_never, as_answered);
    let not_sliding = |op| {
        living(op, |life| match life {
            Life::Sliding { ttl, max_lifetime } => Life::For(ttl.min(max_lifetime)),
            life => life,
        })
    };
    assert_found("no hit refreshes", not_sliding, as_answered);
    let for_ever_young = |op| {
        living(op, |life| match life {
            Life::Sliding { ttl, max_lifetime } if max_lifetime >= ttl => {
                Life::Sliding { ttl, max_lifetime: max_lifetime * 2 }
            }
            life => life,
        })
    };
    assert_found("the maximum lifetime is passed", for_ever_young, as_answered);
}

#[test]
fn wrong_reads_and_touches_are_found() {
    let touch_does_nothing = |op| match op {
        Op::Touch(at, ttl) if ttl > 0 => Op::Contains(at),
        op => op,
    };
    assert_found("touch does nothing", touch_does_nothing, as_answered);
    let peek_refreshes = |op| match op {
        Op::Peek(at) => Op::Get(at),
        op => op,
    };
    assert_found("peek refreshes", peek_refreshes, as_answered);
    let take_leaves_it = |op| match op {
        Op::Take(at) => Op::Peek(at),
        op => op,
    };
    assert_found("take leaves it there", take_leaves_it, as_answered);
}

#[test]
fn wrong_deletes_are_found() {
    let sessions_stay = |op| match op {
        Op::DeleteNamespace(Space::User(user)) => Op::Delete(Space::User(user).at(0)),
        op => op,
    };
    let count = |op: &Op, ret| match (op, ret) {
        (Op::DeleteNamespace(_), Ret::Answer(was_there)) => Ret::Removed(u64::from(was_there)),
        (_, ret) => ret,
    };
    assert_found("delete of a user deletes one key", sessions_stay, count);
    let whole_user = |op| match op {
        Op::DeleteNamespace(Space::Session(user, _)) => Op::DeleteNamespace(Space::User(user)),
        op => op,
    };
    assert_found("delete of a session deletes its user", whole_user, as_answered);
    let everything = |op| match op {
        Op::DeleteNamespace(Space::Global) => Op::Clear,
        op => op,
    };
    assert_found("delete of global deletes all", everything, as_answered);
    let global_only = |op| match op {
        Op::Clear => Op::DeleteNamespace(Space::Global),
        op => op,
    };
    assert_found("clear deletes global alone", global_only, as_answered);
    let overstated = |op: &Op, ret| match (op, ret) {
        (Op::DeleteNamespace(_), Ret::Removed(count)) => Ret::Removed(count + 1),
        (_, ret) => ret,
    };
    assert_found("removed says one too many", as_asked, overstated);
}

#[test]
fn wrong_conditions_and_leases_are_found() {
    let any_version = |op| match op {
        Op::Write(at, When::Version(_), put) => Op::Write(at, When::Present, put),
        op => op,
    };
    assert_found("any version will do", any_version, as_answered);
    let upsert = |op| match op {
        Op::Write(at, When::Present, put) => Op::Write(at, When::Always, put),
        op => op,
    };
    assert_found("replace inserts", upsert, as_answered);
    let never_cancelled = |op| match op {
        Op::Fulfil(at, _, put) => Op::Write(at, When::Always, put),
        op => op,
    };
    assert_found("a cancelled lease stores", never_cancelled, as_answered);
    let never_given_up = |op| match op {
        Op::DropLease(..) => Op::Advance(0),
        op => op,
    };
    assert_found("a dropped lease goes on", never_given_up, as_answered);
}

#[test]
fn wrong_listings_are_found() {
    let one_missing = |_: &Op, ret| match ret {
        Ret::Names(names) => Ret::Names(names.into_iter().skip(1).collect()),
        ret => ret,
    };
    assert_found("a name is missing", as_asked, one_missing);
    let twice = |_: &Op, ret| match ret {
        Ret::Names(names) => Ret::Names([names.clone(), names].concat()),
        ret => ret,
    };
    assert_found("every name twice", as_asked, twice);
    let of_the_user = |op| match op {
        Op::Keys(Space::Session(user, _)) => Op::Keys(Space::User(user)),
        op => op,
    };
    assert_found("a session lists its user's keys", of_the_user, as_answered);
    let own_only = |op: &Op, ret| match (op, ret) {
        (Op::Usage(Space::User(_)), Ret::Entries(_)) => Ret::Entries(0),
        (_, ret) => ret,
    };
    assert_found("usage of a user says nothing", as_asked, own_only);
}
