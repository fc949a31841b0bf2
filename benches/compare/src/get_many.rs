//! All 32 keys of a session: in one call where there is one, and one by one.
//!
//! A peer has no such call, so its row is 32 gets. First all memory stands on pages of 4 KiB: what
//! overlaps is misses, and those of the page table are among them. Then the same is moved to huge
//! pages, which have no such misses.

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric};
use crate::contender::{Kind, Room};
use crate::data::{Dist, Names};
use crate::pages::{self, HUGE, SMALL};
use crate::settings::{Defaults, MILLION, Settings};
use crate::timing::per_op;

pub(crate) const HELP: &str = "  \
get-many: 32 keys of a session, in one call and one by one, on pages of 4 KiB and of 2 MiB
    --entries N,..        1_000_000
    --threads N,..        1 and as many as there are cores
    --dist D,..           of sessions; uniform
    --seconds S           of each sample; 0.3";

const KEYS: usize = 32;
const NS_PER_SESSION: Metric = ("ns_per_session", "ns");

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::ALL.to_vec(),
        entries: &[MILLION],
        dists: &[Dist::Uniform],
        seconds: 0.3,
    };
    let settings = Settings::parse(flags, defaults)?;
    let mut bench = Bench::new("get-many", settings.clone())?;
    for &entries in &settings.entries {
        pages::only_small()?;
        let names = &Names::shaped(entries, 10, KEYS, "state");
        let entrants = bench.filled(Room::for_all(names.entries()), names);
        for page in [SMALL, HUGE] {
            if page == HUGE {
                pages::collapse()?;
            }
            for &dist in &settings.dists {
                let seeds = (0..settings.most_threads() as u64).map(|at| settings.common.seed + at);
                let sequences = dist.requests(names.sessions(), seeds);
                for (&threads, call) in settings.threads.iter().flat_map(both_calls) {
                    let case = Case::new(entries, threads, dist)
                        .with("call", call)
                        .with("keys", KEYS)
                        .with("page_bytes", page);
                    bench.case(&case, &[NS_PER_SESSION], &entrants, |entrant, _| {
                        let contender = &entrant.contender;
                        let mut sequences = sequences[..threads].to_vec();
                        let nanos = per_op(settings.sample, &mut sequences, |requests, ops| {
                            let get = |session: u32| match call {
                                "many" => contender.get_many(names, session as usize),
                                _ => contender.get_each(names, session as usize),
                            };
                            (0..ops).map(|_| get(requests.next()) as u64).sum()
                        });
                        nanos.into()
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn both_calls(threads: &usize) -> [(&usize, &'static str); 2] {
    [(threads, "many"), (threads, "serial")]
}
