//! Gets that hit, and gets that miss.

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, NS_PER_OP};
use crate::contender::{Kind, Room};
use crate::data::{Dist, Names};
use crate::settings::{Defaults, IN_CACHE, MILLION, Settings};
use crate::timing::per_op;

pub(crate) const HELP: &str = "  \
get: one get after another, that hit and that miss
    --entries N,..        1_000 (in the processor's cache), 1_000_000 (far out of it)
    --threads N,..        1 and as many as there are cores
    --dist D,..           zipf (0.99), uniform, hot (100 keys)
    --seconds S           of each sample; 0.2";

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::ALL.to_vec(),
        entries: &[IN_CACHE, MILLION],
        dists: &[Dist::Zipf, Dist::Uniform, Dist::Hot],
        seconds: 0.2,
    };
    let settings = Settings::parse(flags, defaults)?;
    let mut bench = Bench::new("get", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        // The same sessions, other keys: what is asked for with these names is not there.
        let absent = &Names::new(entries, "other");
        let entrants = bench.filled(Room::for_all(entries), names);
        for &dist in &settings.dists {
            let seeds = (0..settings.most_threads() as u64).map(|at| settings.common.seed + at);
            let sequences = dist.requests(names.entries(), seeds);
            for &threads in &settings.threads {
                for (op, names) in [("hit", names), ("miss", absent)] {
                    let case = Case::new(entries, threads, dist).with("op", op);
                    bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
                        let mut sequences = sequences[..threads].to_vec();
                        let contender = &entrant.contender;
                        let gets = |requests: &mut _, ops| contender.gets(names, requests, ops);
                        per_op(settings.sample, &mut sequences, gets).into()
                    })?;
                }
            }
        }
    }
    Ok(())
}
