//! What watching costs: the same gets and sets on a bare storage and on watched ones.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use scopecache::{Cache, Observed, Options, Storage};
use tracing::Level;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::app;

const KEYS: usize = 1000;

/// So many take a millisecond or less, which is mostly not cut in two on a machine that has other things to do.
const CALLS: usize = 1000;
const ROUNDS: usize = 1001;

/// A way to have a storage.
struct Way {
    name: &'static str,
    storage: Arc<dyn Storage>,
    figures: Vec<Figures>,
}

/// Nanoseconds a call of one round.
#[derive(Clone, Copy)]
struct Figures {
    get: f64,
    set: f64,
}

pub(crate) fn measure() -> Result<(), Box<dyn Error>> {
    let cache: Cache = Cache::builder().max_bytes(64 << 20).build()?;
    let recorder = app::recorder()?;
    let handle = recorder.handle();
    let bare: Arc<dyn Storage> = Arc::new(cache);
    let unheard: Arc<dyn Storage> = Arc::new(Observed::new(Arc::clone(&bare)));
    let counted: Arc<dyn Storage> =
        metrics::with_local_recorder(&recorder, || Arc::new(Observed::new(Arc::clone(&bare))));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key-{number}")).collect();
    println!("nanoseconds a call, medians of {ROUNDS} rounds, one thread, a user's {KEYS} keys;");
    println!("in brackets what is above the bare storage in the same round");
    // With a subscriber when what has none is done: one that once was there leaves checks behind.
    for level in [None, Some(Level::INFO), Some(Level::DEBUG)] {
        match level {
            None => println!("no subscriber of `tracing`"),
            Some(level) => println!("a subscriber at {level}, which writes to nowhere"),
        }
        let mut ways = [
            ("bare", &bare),
            ("observed, no recorder", &unheard),
            ("observed, to Prometheus", &counted),
        ]
        .map(|(name, storage)| Way {
            name,
            storage: Arc::clone(storage),
            figures: Vec::new(),
        });
        // One way after the other in each round, so that a slow moment of the machine meets them all.
        for _ in 0..ROUNDS {
            for way in &mut ways {
                let run = || runtime.block_on(time(&*way.storage, &keys));
                way.figures.push(match level {
                    None => run()?,
                    Some(level) => tracing::subscriber::with_default(subscriber(level), run)?,
                });
                handle.run_upkeep();
            }
        }
        let [bare, ..] = &ways;
        for way in &ways {
            let median_of = |figure: fn(&Figures) -> f64| {
                let above = bare.figures.iter().zip(&way.figures);
                (
                    median(way.figures.iter().map(figure)),
                    median(above.map(|(bare, own)| figure(own) - figure(bare))),
                )
            };
            let (get, set) = (median_of(|it| it.get), median_of(|it| it.set));
            println!(
                "  {:<24} get {:>6.0} ({:>+5.0})   set {:>6.0} ({:>+5.0})",
                way.name, get.0, get.1, set.0, set.1
            );
        }
    }
    Ok(())
}

fn subscriber(level: Level) -> impl tracing::Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(io::sink)
        .finish()
}

/// Of a get that hits and of an overwrite.
async fn time(storage: &dyn Storage, keys: &[String]) -> scopecache::Result<Figures> {
    let ada = Options::new().with_user("ada");
    let per_call = |begun: Instant| begun.elapsed().as_nanos() as f64 / CALLS as f64;
    let begun = Instant::now();
    for key in keys.iter().cycle().take(CALLS) {
        storage.set(key, "value".into(), ada).await?;
    }
    let set = per_call(begun);
    let begun = Instant::now();
    for key in keys.iter().cycle().take(CALLS) {
        black_box(storage.get(key, ada).await?);
    }
    Ok(Figures { get: per_call(begun), set })
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
