//! The threads of a plan: under shuttle's scheduler, or those of the system.

use scopecache::Cache;

use crate::adapter::{CacheEngine, Wire, namespace};
use crate::plan::{Hashes, Maintainer};
use crate::support::engine::Engine;
use crate::support::history::Event;
use crate::support::op::Space;
use crate::support::program::Step;
use crate::support::recorder::Recorder;

/// Runs the programs, a thread each, and the maintainer beside them; then everything must be
/// whole, and `is_kept`, before and after what is pending is done, and once the cache was emptied.
#[cfg(scopecache_shuttle)]
pub(crate) fn record<V: Wire, S: Hashes>(
    engine: CacheEngine<V, S>,
    programs: Vec<Vec<Step>>,
    maintainer: Maintainer,
    is_kept: impl Fn(&Cache<V, S>),
) -> Vec<Event> {
    use std::sync::Arc;

    let engine = Arc::new(engine);
    let recorder = Arc::new(Recorder::new());
    let mut threads = recorder.spawn(&engine, programs);
    if maintainer.rounds > 0 {
        let engine = Arc::clone(&engine);
        threads.push(shuttle::thread::spawn(move || maintain(&engine.cache, maintainer)));
    }
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    finish(&engine, is_kept);
    drop(engine);
    scopecache::quiesce();
    Arc::into_inner(recorder).expect("all scribes are gone").into_history()
}

/// As under shuttle.
#[cfg(not(scopecache_shuttle))]
pub(crate) fn record<V: Wire, S: Hashes>(
    engine: CacheEngine<V, S>,
    programs: Vec<Vec<Step>>,
    maintainer: Maintainer,
    is_kept: impl Fn(&Cache<V, S>),
) -> Vec<Event> {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        let (engine, recorder) = (&engine, &recorder);
        for (index, program) in programs.into_iter().enumerate() {
            scope.spawn(move || recorder.scribe(index).run_program(engine, &program));
        }
        scope.spawn(move || maintain(&engine.cache, maintainer));
    });
    finish(&engine, is_kept);
    drop(engine);
    recorder.into_history()
}

fn maintain<V: Wire, S: Hashes>(cache: &Cache<V, S>, maintainer: Maintainer) {
    for round in 0..maintainer.rounds {
        if let Some(quotas) = maintainer.quotas {
            let user = namespace(Space::User(0)).user().expect("a user's");
            let quota = quotas[round % quotas.len()];
            // An error says that the cache was closed meanwhile.
            let _ = cache.set_user_quota(user, Some(quota));
        }
        let _ = cache.maintain(maintainer.budget);
    }
}

fn finish<V: Wire, S: Hashes>(engine: &CacheEngine<V, S>, is_kept: impl Fn(&Cache<V, S>)) {
    let sound = |valid: Result<(), String>| valid.unwrap_or_else(|why| panic!("{why}"));
    sound(engine.validate());
    is_kept(&engine.cache);
    sound(engine.settle());
    is_kept(&engine.cache);
    engine.cache.clear();
    sound(engine.settle());
    is_kept(&engine.cache);
    let stats = engine.cache.stats();
    assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{stats:?}");
}
