//! One thread, random programs: every answer of the engine is one that the reference allows.

#[path = "support/adapter.rs"]
mod adapter;
#[path = "support/same_hash.rs"]
mod same_hash;
#[expect(dead_code, reason = "nothing is concurrent here")]
mod support;

use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use scopecache::{Blob, Cache, Maintenance, MockClock, OnFull};

use adapter::{CacheEngine, Upkeep, Way, Wire};
use same_hash::SameHash;
use support::engine::Engine;
use support::program::{Author, Mix, Step, shrink};
use support::sequential::judge;

/// Programs for each mode, and their length in steps.
const PROGRAMS: u64 = 100;
const STEPS: usize = 80;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bytes,
    BytesOneHash,
    Typed,
    TypedOneHash,
}

#[derive(Clone, Copy, Debug)]
struct Mode {
    kind: Kind,
    way: Way,
    upkeep: Upkeep,
}

impl Mode {
    fn all() -> impl Iterator<Item = Mode> {
        let kinds = [Kind::Bytes, Kind::BytesOneHash, Kind::Typed, Kind::TypedOneHash];
        let ways = [Way::Ids, Way::FreshScopes, Way::KeptScopes, Way::Bulk];
        kinds.into_iter().enumerate().flat_map(move |(row, kind)| {
            ways.into_iter().enumerate().map(move |(column, way)| {
                // None, little and plenty, spread over the modes.
                let upkeep = match (row + column) % 3 {
                    0 => Upkeep::None,
                    1 => Upkeep::EachStep(1),
                    _ => Upkeep::EachStep(1_000),
                };
                Mode { kind, way, upkeep }
            })
        })
    }

    fn engine(self) -> Box<dyn Engine> {
        match self.kind {
            Kind::Bytes => self.build::<Blob, _>(ahash::RandomState::new()),
            Kind::BytesOneHash => self.build::<Blob, _>(SameHash),
            Kind::Typed => self.build::<Arc<str>, _>(ahash::RandomState::new()),
            Kind::TypedOneHash => self.build::<Arc<str>, _>(SameHash),
        }
    }

    /// A store that loses nothing by itself: an eviction would be an answer like a delete's.
    fn build<V: Wire, S>(self, hasher: S) -> Box<dyn Engine>
    where
        S: BuildHasher<Hasher: Clone> + Clone + Send + Sync + 'static,
    {
        let clock = MockClock::new();
        let cache: Cache<V, S> = Cache::builder()
            .max_bytes(8 << 20)
            .expected_entries(64)
            .shards(2)
            .on_full(OnFull::Reject)
            .maintenance(Maintenance::Manual)
            .clock(clock.clone())
            .hasher(hasher)
            .build()
            .expect("these options go together");
        Box::new(CacheEngine::new(cache, clock, self.way, self.upkeep))
    }
}

#[test]
fn every_answer_is_one_that_the_reference_allows() {
    for mode in Mode::all() {
        for seed in 0..PROGRAMS {
            let program = Author::new(seed, Mix::Sequential).program(STEPS);
            if outcome(mode, &program).is_err() {
                let shortest = shrink(&program, |steps| outcome(mode, steps).is_err());
                let why = outcome(mode, &shortest).expect_err("it failed a moment ago");
                panic!("{mode:?}, seed {seed}:\n{why}");
            }
        }
    }
}

/// Runs a program on a fresh engine; a panic of the engine is a failure like any other.
fn outcome(mode: Mode, program: &[Step]) -> Result<(), String> {
    let mut transcript = String::new();
    let judged = AssertUnwindSafe(|| {
        let engine = mode.engine();
        judge(engine.as_ref(), program, &mut transcript)?;
        engine.settle()
    });
    let fault = match catch_unwind(judged) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(fault)) => fault,
        Err(_) => "panicked, see above".to_owned(),
    };
    Err(format!("{transcript}  <- {fault}"))
}
