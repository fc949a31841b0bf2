//! The engine against the reference, one thread: every operation, in every way to ask for it, on a
//! cache that the first bytes describe.
//!
//! With room for everything each answer must be exactly the reference's, whether the cache may
//! evict or not. Where there is little room, `worlds` says what may be lost. After every step the
//! invariants are checked, and that the bounds hold.
//!
//! `FUZZ_TRACE=1` prints each step before it is done, for inputs on which the engine panics.

// With its path: from `fuzz/src/lib.rs`, a plain `mod` would be looked for elsewhere.
#[path = "engine_model/reader.rs"]
mod reader;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use scopecache::{Blob, Cache, ErrorKind, Eviction, Maintenance, MockClock, OnFull, Stats};

use crate::adapter::{CacheEngine, Upkeep, Way, Wire};
use crate::same_hash::SameHash;
use crate::support::engine::Engine;
use crate::support::op::{Op, Put, Ret, Space, Value, VersionId};
use crate::support::program::Step;
use crate::worlds::{Losses, Worlds};
use reader::{Ask, Reader};

/// Bounds in bytes, from where there is not even memory for queues.
const BOUNDS: [u64; 8] = [3 << 10, 6 << 10, 12 << 10, 24 << 10, 64 << 10, AMPLE, AMPLE, AMPLE];
/// Room for whatever a program can store.
const AMPLE: u64 = 8 << 20;
/// More than what one write can need: a value, its key and its node, a block of each list.
const ONE_WRITE: u64 = 16 << 10;
/// More than what an entry takes that has the longest of the adapter's byte strings.
const LONG_ENTRY: u64 = 8 << 10;

static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_TRACE").is_some());

/// Runs the target; panics where the engine is wrong.
pub(crate) fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setup) = Setup::read(&mut input) else { return };
    let program = Reader::new(input).program();
    if *TRACE {
        eprintln!("{setup:?}");
    }
    match setup.kind {
        0 => setup.judge::<Blob, _>(ahash::RandomState::with_seeds(1, 2, 3, 4), &program),
        1 => setup.judge::<Arc<str>, _>(ahash::RandomState::with_seeds(1, 2, 3, 4), &program),
        2 => setup.judge::<Arc<str>, _>(SameHash, &program),
        _ => setup.judge::<Blob, _>(SameHash, &program),
    }
}

/// The cache of a run.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// Bytes or typed values, a usual hasher or one that puts all keys under one hash.
    kind: u8,
    on_full: OnFull,
    eviction: Eviction,
    keeps_large: bool,
    max_bytes: u64,
    max_entries: Option<u64>,
    max_retired_bytes: Option<u64>,
    user_quota: Option<u64>,
    shards: usize,
    expected_entries: usize,
    tick: Duration,
    /// Maintenance after each step.
    upkeep: Upkeep,
}

impl Setup {
    /// Four bytes.
    fn read(input: &mut Unstructured<'_>) -> Result<Setup> {
        let [how, bounds, shape, upkeep]: [u8; 4] = input.arbitrary()?;
        let bit = |bit: u8| how >> bit & 1 == 1;
        Ok(Setup {
            kind: how & 3,
            on_full: if bit(2) { OnFull::Evict } else { OnFull::Reject },
            eviction: if bit(3) { Eviction::S3Fifo } else { Eviction::Adaptive },
            keeps_large: bit(4),
            max_bytes: BOUNDS[usize::from(bounds & 7)],
            max_entries: [None, None, None, Some(1), Some(3), Some(9)]
                [usize::from(bounds >> 3) % 6],
            max_retired_bytes: bit(5).then_some(8 << 10),
            user_quota: [None, None, Some(1 << 10), Some(12 << 10)][usize::from(upkeep >> 2 & 3)],
            shards: [1, 1, 2, 4][usize::from(shape & 3)],
            expected_entries: [1, 8, 64, 256][usize::from(shape >> 2 & 3)],
            tick: Duration::from_millis([10, 1000][usize::from(shape >> 4 & 1)]),
            upkeep: match upkeep & 3 {
                0 | 1 => Upkeep::None,
                2 => Upkeep::EachStep(1),
                _ => Upkeep::EachStep(1000),
            },
        })
    }

    fn losses(&self) -> Losses {
        let is_ample =
            self.max_bytes == AMPLE && self.max_entries.is_none() && self.user_quota.is_none();
        match self.on_full {
            // Even there, what is retired may be held up for a while by other threads' guards.
            _ if is_ample && self.max_retired_bytes.is_none() => Losses::None,
            OnFull::Evict if !is_ample => Losses::Evictions,
            _ => Losses::Refusals,
        }
    }

    fn judge<V: Wire, S>(self, hasher: S, program: &[Ask])
    where
        S: BuildHasher<Hasher: Clone> + Clone + Send + Sync + 'static,
    {
        let clock = MockClock::new();
        let mut builder = Cache::builder()
            .max_bytes(self.max_bytes)
            .on_full(self.on_full)
            .eviction(self.eviction)
            .shards(self.shards)
            .expected_entries(self.expected_entries)
            .tick(self.tick)
            .maintenance(Maintenance::Manual)
            .clock(clock.clone())
            .hasher(hasher);
        if self.keeps_large {
            builder = builder.keep_large();
        }
        if let Some(entries) = self.max_entries {
            builder = builder.max_entries(entries);
        }
        if let Some(bytes) = self.user_quota {
            builder = builder.user_quota(bytes);
        }
        if let Some(bytes) = self.max_retired_bytes {
            builder = builder.max_retired_bytes(bytes);
        }
        let cache: Cache<V, S> = builder.build().expect("these options go together");
        let ways = [Way::Ids, Way::FreshScopes, Way::KeptScopes, Way::Bulk];
        let engines =
            ways.map(|way| CacheEngine::new(cache.clone(), clock.clone(), way, Upkeep::None));
        let worlds = Worlds::new(self.losses());
        let judge =
            Judge { setup: self, cache, engines, worlds, learned: vec![], transcript: vec![] };
        judge.run(program);
    }
}

/// A run under way.
struct Judge<V: Wire, S: BuildHasher<Hasher: Clone>> {
    setup: Setup,
    cache: Cache<V, S>,
    /// One for each way to ask.
    engines: [CacheEngine<V, S>; 4],
    worlds: Worlds,
    learned: Vec<VersionId>,
    transcript: Vec<(Op, Ret)>,
}

impl<V: Wire, S> Judge<V, S>
where
    S: BuildHasher<Hasher: Clone> + Clone + Send + Sync + 'static,
{
    fn run(mut self, program: &[Ask]) {
        for ask in program {
            if *TRACE {
                eprintln!("{ask:?}");
            }
            let before = self.cache.stats();
            match ask {
                Ask::One(step, way) => self.one(step, *way, before),
                Ask::GetMany(space, keys) => self.get_many(*space, keys),
                Ask::SetMany(space, items) => self.set_many(*space, items, before),
                Ask::DeleteMany(space, keys) => self.delete_many(*space, keys),
                Ask::Maintain(budget) => _ = self.cache.maintain(*budget),
            }
            if let Upkeep::EachStep(budget) = self.setup.upkeep {
                self.cache.maintain(budget);
            }
            self.check();
            if self.worlds.are_too_many() {
                break;
            }
        }
        self.end();
    }

    fn one(&mut self, step: &Step, way: usize, before: Stats) {
        let op = step.resolve(&self.learned, Some(self.worlds.any()));
        let way = match op {
            Op::GetOrLoad(at, _) if self.worlds.is_loading(at) => return,
            // A lease is ended where it was taken.
            Op::Lease(_, id) | Op::Fulfil(_, id, _) | Op::DropLease(_, id) => id as usize % 4,
            _ => way,
        };
        let ret = self.engines[way].apply(&op);
        if ret == Ret::Full {
            self.check_full(before, 1, &op);
        }
        // Guards of other tests in this process may hold up what is retired.
        let held_up = self.setup.max_retired_bytes.is_some();
        match op {
            // Refused, whether its condition holds or not: it could never be stored, or too much is
            // retired for any write.
            Op::Write(_, _, put) if ret == Ret::Full && (held_up || self.never_fits(put)) => {}
            Op::Update(..) | Op::Touch(..) if ret == Ret::Full && held_up => {}
            Op::Fulfil(at, id, put) if ret == Ret::Full && self.never_fits(put) => {
                self.accept(Op::DropLease(at, id), Ret::Done);
            }
            // Refused, whether the lease is lost or not, and given up with that.
            Op::Fulfil(at, id, put) if put.life.is_invalid() && ret == Ret::Invalid => {
                self.accept(Op::DropLease(at, id), Ret::Done);
            }
            _ => self.accept(op, ret),
        }
    }

    /// Whether the entry alone may be larger than the bound, or than a quota.
    fn never_fits(&self, put: Put) -> bool {
        let is_long = put.value % 4 == 3 && matches!(self.setup.kind, 0 | 3);
        let bound = self.setup.max_bytes.min(self.setup.user_quota.unwrap_or(u64::MAX));
        is_long && bound < LONG_ENTRY
    }

    fn get_many(&mut self, space: Space, keys: &[u8]) {
        match self.engines[0].get_many(space, keys) {
            Ok(found) if found.len() == keys.len() => {
                for (key, ret) in keys.iter().zip(found) {
                    self.accept(Op::Get(space.at(*key)), ret);
                }
            }
            other => self.fail(&format!("get_many of {keys:?}: {other:?}")),
        }
    }

    /// Where it fails, the values before the one that failed are stored.
    fn set_many(&mut self, space: Space, items: &[(u8, Value)], before: Stats) {
        let set = |(key, value): &(u8, Value)| Op::set(space.at(*key), *value);
        if items.iter().any(|(key, _)| self.worlds.is_loading(space.at(*key))) {
            return; // whether it ended the load would not show where it failed
        }
        match self.engines[0].set_many(space, items) {
            Ok(stored) if stored.len() == items.len() => {
                for (item, ret) in items.iter().zip(stored) {
                    self.accept(set(item), ret);
                }
            }
            Err(Ret::Full) => {
                self.check_full(before, items.len() as u64, &items);
                // Versions were not answered; what is there tells them.
                let mut stored = Vec::new();
                for item in items {
                    let peek = Op::Peek(space.at(item.0));
                    let ret = self.engines[0].apply(&peek);
                    let is_stored = matches!(&ret, Ret::Item(Some(seen)) if seen.value == item.1);
                    stored.push(is_stored);
                    match ret {
                        Ret::Item(Some(seen)) if is_stored => {
                            self.accept(set(item), Ret::stored(seen.version));
                        }
                        // As before the call, or evicted.
                        ret => self.accept(peek, ret),
                    }
                }
                let in_order = stored.is_sorted_by(|earlier, later| earlier >= later);
                if !in_order && self.setup.losses() != Losses::Evictions {
                    self.fail(&format!("set_many of {items:?} failed, but stored {stored:?}"));
                }
            }
            other => self.fail(&format!("set_many of {items:?}: {other:?}")),
        }
    }

    fn delete_many(&mut self, space: Space, keys: &[u8]) {
        let mut seen = Vec::new();
        for key in keys {
            let peek = Op::Peek(space.at(*key));
            let ret = self.engines[0].apply(&peek);
            self.accept(peek, ret.clone());
            seen.push((*key, ret));
        }
        // Nothing else happens in between, so what was seen is what goes.
        let mut expected = 0;
        let mut gone = Vec::new();
        for (key, ret) in seen {
            let is_there = matches!(ret, Ret::Item(Some(_))) && !gone.contains(&key);
            expected += u64::from(is_there);
            self.accept(Op::Delete(space.at(key)), Ret::Answer(is_there));
            gone.push(key);
        }
        let removed = self.engines[0].delete_many(space, keys);
        if removed != Ok(expected) {
            self.fail(&format!("delete_many of {keys:?}: {removed:?}, not {expected}"));
        }
    }

    fn accept(&mut self, op: Op, ret: Ret) {
        let judged = self.worlds.judge(&op, &ret);
        self.learned.extend(ret.version());
        self.transcript.push((op, ret));
        if let Err(why) = judged {
            self.fail(&why);
        }
    }

    fn check(&self) {
        if let Err(broken) = self.cache.validate() {
            self.fail(&broken.to_string());
        }
        if let Some(quota) = self.setup.user_quota {
            for user in self.cache.users().expect("open") {
                let usage = self.cache.user(&user).and_then(|user| user.usage()).expect("open");
                if usage.bytes > quota {
                    self.fail(&format!("a user has {usage:?}, its quota is {quota}"));
                }
            }
        }
        let stats = self.cache.stats();
        if stats.live_bytes > self.cache.capacity_bytes() {
            self.fail(&format!("more bytes than allowed: {stats:?}"));
        }
        if self.setup.max_entries.is_some_and(|most| stats.entries > most) {
            self.fail(&format!("more entries than allowed: {stats:?}"));
        }
    }

    /// A refusal is right only where there was little room.
    fn check_full(&self, before: Stats, writes: u64, asked: &dyn fmt::Debug) {
        let is_crowded = self.setup.max_entries.is_some_and(|most| before.entries + writes > most);
        let is_full = before.live_bytes + writes * ONE_WRITE > self.cache.capacity_bytes();
        let is_held_up = self.setup.max_retired_bytes.is_some();
        if !(is_crowded || is_full || is_held_up || self.setup.user_quota.is_some()) {
            self.fail(&format!("{asked:?} is refused although there is room: {before:?}"));
        }
    }

    /// Nothing is left of a cache that is cleared, and a closed one answers nobody.
    fn end(self) {
        for engine in &self.engines {
            if let Err(why) = engine.settle() {
                self.fail(&why);
            }
        }
        self.cache.clear();
        while self.cache.maintain(1000).pending {}
        self.check();
        let stats = self.cache.stats();
        if (stats.entries, stats.users, stats.sessions) != (0, 0, 0) {
            self.fail(&format!("something is left of a cleared cache: {stats:?}"));
        }
        self.cache.close();
        let closed = self.cache.global().get("k").err().map(|error| error.kind());
        assert_eq!(closed, Some(ErrorKind::Closed));
    }

    fn fail(&self, why: &str) -> ! {
        let lines: Vec<String> =
            self.transcript.iter().map(|(op, ret)| format!("  {op:?} -> {ret:?}")).collect();
        panic!("{:?}\n{}\n{why}", self.setup, lines.join("\n"));
    }
}
