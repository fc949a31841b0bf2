//! Overwrites, new keys, and the deletion of keys.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::Flags;
use crate::bench::{Bench, Case, Metric, NS_PER_OP, Sample};
use crate::contender::{Contender, Kind, Room};
use crate::data::{Dist, Names};
use crate::settings::{Defaults, IN_CACHE, MILLION, Settings};
use crate::timing::{nanos_of, per_op};

pub(crate) const HELP: &str = "  \
set: overwrites, new keys, and deletions of keys
    --entries N,..        1_000, 1_000_000; new keys come on top and go again
    --threads N,..        1 and as many as there are cores
    --dist D,..           of the overwrites: zipf, uniform, hot
    --seconds S           of each sample; 0.2";

/// Keys that a thread stores before it deletes them again.
const ROUND: usize = 50_000;

pub(crate) fn run(flags: Flags) -> Result<()> {
    let defaults = Defaults {
        kinds: Kind::ALL.to_vec(),
        entries: &[IN_CACHE, MILLION],
        dists: &[Dist::Zipf, Dist::Uniform, Dist::Hot],
        seconds: 0.2,
    };
    let settings = Settings::parse(flags, defaults)?;
    let mut bench = Bench::new("set", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        // The same sessions, other keys.
        let fresh = &Names::new(entries, "other");
        let order = fresh.shuffled(5);
        let most_new = order.len().min(ROUND * settings.most_threads());
        let entrants = bench.filled(Room::for_all(entries + most_new), names);
        for &threads in &settings.threads {
            for &dist in &settings.dists {
                let seeds = (0..threads as u64).map(|at| settings.common.seed + at);
                let sequences = dist.requests(names.entries(), seeds);
                let case = Case::new(entries, threads, dist).with("op", "overwrite");
                bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
                    let contender = &entrant.contender;
                    let sets = |requests: &mut _, ops| contender.sets(names, requests, ops);
                    per_op(settings.sample, &mut sequences.clone(), sets).into()
                })?;
            }
            const NEW_AND_DELETED: [Metric; 2] = [NS_PER_OP, ("ns_per_delete", "ns")];
            let case = Case::new(entries, threads, Dist::Uniform).with("op", "new");
            bench.case(&case, &NEW_AND_DELETED, &entrants, |entrant, _| {
                let contender = &*entrant.contender;
                come_and_go(contender, fresh, &order, threads, settings.sample)
            })?;
        }
    }
    Ok(())
}

/// Each thread stores its share of the entries and deletes it again, until the time is over;
/// nanoseconds of a set and of a deletion.
fn come_and_go(
    contender: &dyn Contender,
    names: &Names,
    order: &[u32],
    threads: usize,
    sample: Duration,
) -> Sample {
    let shares = shares(order, threads);
    let barrier = Barrier::new(shares.len());
    let work = |share: &[u32]| {
        let (mut sets, mut deletes, mut ops) = (0.0, 0.0, 0.0);
        let mut rounds = share.chunks(ROUND).cycle();
        barrier.wait();
        let start = Instant::now();
        while start.elapsed() < sample {
            let round = rounds.next().expect("a cycle has no end");
            sets += nanos_of(|| contender.set_all(names, round));
            let mut deleted = 0;
            deletes += nanos_of(|| deleted = contender.delete_all(names, round));
            assert_eq!(deleted, round.len() as u64, "new keys were lost");
            ops += round.len() as f64;
        }
        (sets / ops, deletes / ops)
    };
    let times: Vec<(f64, f64)> = thread::scope(|scope| {
        let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| work(share))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no bench panics")).collect()
    });
    let mean = |of: fn(&(f64, f64)) -> f64| times.iter().map(of).sum::<f64>() / times.len() as f64;
    Sample::Figures(vec![mean(|times| times.0), mean(|times| times.1)])
}

/// Even parts, none of them empty: fewer where there are fewer entries.
fn shares(order: &[u32], parts: usize) -> Vec<&[u32]> {
    let parts = parts.min(order.len());
    let border = |part| part * order.len() / parts;
    (0..parts).map(|part| &order[border(part)..border(part + 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread without a share would never come to the barrier, and all would wait for it.
    #[test]
    fn every_thread_has_a_share() {
        let order: Vec<u32> = (0..1000).collect();
        for threads in [1, 2, 3, 64, 96] {
            let shares = shares(&order, threads);
            assert_eq!((shares.len(), shares.concat()), (threads, order.clone()));
            let lengths = || shares.iter().map(|share| share.len());
            assert!(lengths().max() <= lengths().min().map(|least| least + 1), "{threads}");
        }
        assert_eq!(shares(&order[..2], 3), [[0], [1]]);
    }
}
