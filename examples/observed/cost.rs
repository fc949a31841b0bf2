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
const CALLS: usize = 100_000;
const ROUNDS: usize = 11;

/// A way to have a storage.
struct Way {
    name: &'static str,
    storage: Arc<dyn Storage>,
    is_traced: bool,
    get_ns: Vec<f64>,
    set_ns: Vec<f64>,
}

pub(crate) fn measure() -> Result<(), Box<dyn Error>> {
    let cache: Cache = Cache::builder().max_bytes(64 << 20).build()?;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key-{number}")).collect();
    let recorder = app::recorder()?;
    let handle = recorder.handle();
    let bare: Arc<dyn Storage> = Arc::new(cache);
    let unheard: Arc<dyn Storage> = Arc::new(Observed::new(Arc::clone(&bare)));
    let counted: Arc<dyn Storage> =
        metrics::with_local_recorder(&recorder, || Arc::new(Observed::new(Arc::clone(&bare))));
    let mut ways = [
        ("bare", &bare, false),
        ("observed, nobody listens", &unheard, false),
        ("metrics, to Prometheus", &counted, false),
        ("spans written, to nowhere", &unheard, true),
    ]
    .map(|(name, storage, is_traced)| {
        let storage = Arc::clone(storage);
        Way { name, storage, is_traced, get_ns: Vec::new(), set_ns: Vec::new() }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    // One way after the other in each round, so that a slow moment of the machine meets them all; but
    // the traced one when all others are done: a subscriber that once was there leaves checks behind.
    for is_traced in [false, true] {
        for _ in 0..ROUNDS {
            for way in ways.iter_mut().filter(|way| way.is_traced == is_traced) {
                let calls = if is_traced { CALLS / 10 } else { CALLS };
                let storage = Arc::clone(&way.storage);
                let round = || runtime.block_on(time(&*storage, &keys, calls));
                let (get_ns, set_ns) = if is_traced {
                    let subscriber = tracing_subscriber::fmt()
                        .with_max_level(Level::DEBUG)
                        .with_span_events(FmtSpan::CLOSE)
                        .with_writer(io::sink)
                        .finish();
                    tracing::subscriber::with_default(subscriber, round)?
                } else {
                    round()?
                };
                way.get_ns.push(get_ns);
                way.set_ns.push(set_ns);
                handle.run_upkeep();
            }
        }
    }
    println!("nanoseconds a call, median of {ROUNDS} rounds, one thread, a user's {KEYS} keys");
    println!("{:<28} {:>8} {:>8}", "", "get", "set");
    for way in &mut ways {
        println!(
            "{:<28} {:>8.0} {:>8.0}",
            way.name,
            median(&mut way.get_ns),
            median(&mut way.set_ns)
        );
    }
    Ok(())
}

/// Nanoseconds of a get that hits and of an overwrite.
async fn time(
    storage: &dyn Storage,
    keys: &[String],
    calls: usize,
) -> scopecache::Result<(f64, f64)> {
    let ada = Options::new().with_user("ada");
    let per_call = |begun: Instant| begun.elapsed().as_nanos() as f64 / calls as f64;
    let begun = Instant::now();
    for key in keys.iter().cycle().take(calls) {
        storage.set(key, "value".into(), ada).await?;
    }
    let set_ns = per_call(begun);
    let begun = Instant::now();
    for key in keys.iter().cycle().take(calls) {
        black_box(storage.get(key, ada).await?);
    }
    Ok((per_call(begun), set_ns))
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
