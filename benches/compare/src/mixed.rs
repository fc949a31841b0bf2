//! Gets and sets of the same entries.

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, NS_PER_OP};
use crate::contender::{Kind, Room};
use crate::data::{Dist, Names};
use crate::settings::{Defaults, IN_CACHE, MILLION, Settings};
use crate::timing::per_op;

pub(crate) const HELP: &str = "  \
mixed: gets and overwrites, 95 to 5, 75 to 25, 50 to 50
    --entries N,..        1_000, 1_000_000
    --threads N,..        1 and as many as there are cores
    --dist D,..           zipf, uniform, hot
    --seconds S           of each sample; 0.1";

const PERCENT_SETS: [u64; 3] = [5, 25, 50];

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::ALL.to_vec(),
        entries: &[IN_CACHE, MILLION],
        dists: &[Dist::Zipf, Dist::Uniform, Dist::Hot],
        seconds: 0.1,
    };
    let settings = Settings::parse(flags, defaults)?;
    let mut bench = Bench::new("mixed", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        let entrants = bench.filled(Room::for_all(entries), names);
        for &dist in &settings.dists {
            let seeds = (0..settings.most_threads() as u64).map(|at| settings.common.seed + at);
            let sequences = dist.requests(names.entries(), seeds);
            for &threads in &settings.threads {
                for percent in PERCENT_SETS {
                    let case = Case::new(entries, threads, dist).with("percent_sets", percent);
                    bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
                        let mut sequences = sequences[..threads].to_vec();
                        let contender = &entrant.contender;
                        let mix =
                            |requests: &mut _, ops| contender.mixed(names, requests, ops, percent);
                        per_op(settings.sample, &mut sequences, mix).into()
                    })?;
                }
            }
        }
    }
    Ok(())
}
