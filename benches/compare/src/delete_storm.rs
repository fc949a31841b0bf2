//! What a get costs while groups are deleted beside it.
//!
//! Another thread stores one key of a user and deletes the user, so many times a second; where
//! it does nothing it spins, so that both cores are busy in every row. `deletes_per_second` says
//! what rate was reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric, NS_PER_OP, Sample};
use crate::contender::{Contender, Deletion, Kind, Room};
use crate::data::{Dist, KeyRef, Names};
use crate::random::Uuid;
use crate::settings::{Defaults, Settings};
use crate::timing::per_op;

pub(crate) const HELP: &str = "  \
delete-storm: gets while so many users are deleted each second
    --entries N,..        100_000
    --dist D,..           zipf
    --rates N,..          1, 1_000, 100_000 deletions a second, after a row without any
    --seconds S           of each sample; 0.2";

const METRICS: [Metric; 2] = [NS_PER_OP, ("deletes_per_second", "1/s")];
/// Deletions a second for those whose work for one grows with what is there.
const MOST_SCANS: usize = 1000;

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::deleting(),
        entries: &[100_000],
        dists: &[Dist::Zipf],
        seconds: 0.2,
    };
    let mut rates = vec![1000, 100_000];
    let settings = Settings::parse_with(flags, defaults, |flag| match &*flag.name {
        "rates" => {
            rates = flag.quantities()?;
            Ok(())
        }
        _ => Err(flag.unknown()),
    })?;
    rates.insert(0, 0);
    let mut bench = Bench::new("delete-storm", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        let entrants = bench.filled(Room::for_all(2 * entries), names);
        for &dist in &settings.dists {
            let requests = dist.requests(names.entries(), [settings.common.seed]);
            for &rate in &rates {
                let case = Case::new(entries, 1, dist).with("deletes_per_second", rate);
                let mut first_user = 0;
                bench.case(&case, &METRICS, &entrants, |entrant, _| {
                    let contender = &*entrant.contender;
                    let by = contender.deletes_users_by();
                    let scans = matches!(by, Some(Deletion::Scan | Deletion::Predicate));
                    if scans && rate > MOST_SCANS {
                        return Sample::LeftOut("a scan for each");
                    }
                    let stop = AtomicBool::new(false);
                    let (nanos, deleted_a_second, deleted) = thread::scope(|scope| {
                        let storm = scope.spawn(|| storm(contender, rate, first_user, &stop));
                        let nanos =
                            per_op(settings.sample, &mut requests.clone(), |requests, ops| {
                                contender.gets(names, requests, ops)
                            });
                        // Relaxed: it ends a loop, it orders nothing.
                        stop.store(true, Ordering::Relaxed);
                        let (a_second, deleted) = storm.join().expect("no storm panics");
                        (nanos, a_second, deleted)
                    });
                    first_user += deleted;
                    contender.settle_to(names.entries() as u64);
                    Sample::Figures(vec![nanos, deleted_a_second])
                })?;
            }
        }
    }
    Ok(())
}

/// Deletes users until it is told to stop; how many a second, and how many.
fn storm(contender: &dyn Contender, rate: usize, first: u64, stop: &AtomicBool) -> (f64, u64) {
    let start = Instant::now();
    let mut deleted = 0;
    // Relaxed: it ends the loop, it orders nothing.
    while !stop.load(Ordering::Relaxed) {
        let due = match rate {
            0 => Duration::MAX,
            _ => Duration::from_secs_f64(deleted as f64 / rate as f64),
        };
        if start.elapsed() < due {
            std::hint::spin_loop();
            continue;
        }
        let user = Uuid::new(7, first + deleted);
        contender.put(KeyRef { user: user.as_str(), session: "session", key: "key" });
        contender.delete_user(user.as_str());
        deleted += 1;
    }
    (deleted as f64 / start.elapsed().as_secs_f64(), deleted)
}
