//! Sessions that are born, used, and gone.
//!
//! What was put off is part of their time: scopecache's own thread would free the last of them
//! during the sample of the next contender.

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric};
use crate::contender::{Kind, Room};
use crate::data::Names;
use crate::random::Uuid;
use crate::settings::{Defaults, MILLION, Settings};
use crate::timing::{nanos_of, per_op};

pub(crate) const HELP: &str = "  \
churn: sessions that are born, used and gone: 10 keys set, each got once, all deleted
    --entries N,..        of others, who stay; 1_000_000
    --threads N,..        1 and as many as there are cores
    --seconds S           of each sample; 0.5";

const NS_PER_SESSION: Metric = ("ns_per_session", "ns");

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults =
        Defaults { kinds: Kind::ALL.to_vec(), entries: &[MILLION], dists: &[], seconds: 0.5 };
    let settings = Settings::parse(flags, defaults)?;
    let mut bench = Bench::new("churn", settings.clone())?;
    for &entries in &settings.entries {
        let names = Names::new(entries, "state");
        let keys = names.keys();
        let entrants = bench.filled(Room::for_all(entries), &names);
        for &threads in &settings.threads {
            let case = Case::new(entries, threads, "none").with("keys", keys.len());
            bench.case(&case, &[NS_PER_SESSION], &entrants, |entrant, round| {
                let first = |thread| ((round * threads + thread) as u64) << 32;
                let firsts: Vec<u64> = (0..threads).map(first).collect();
                let mut numbers = firsts.clone();
                let nanos = per_op(settings.sample, &mut numbers, |number, ops| {
                    for _ in 0..ops {
                        let (user, session) = (Uuid::new(5, *number / 10), Uuid::new(6, *number));
                        entrant.contender.live(user.as_str(), session.as_str(), keys);
                        *number += 1;
                    }
                    *number
                });
                let sessions = numbers.iter().sum::<u64>() - firsts.iter().sum::<u64>();
                // All threads wait for it.
                let put_off = nanos_of(|| entrant.contender.settle()) / sessions as f64;
                (nanos + threads as f64 * put_off).into()
            })?;
        }
    }
    Ok(())
}
