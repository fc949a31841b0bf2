//! More threads; and what two cores cannot show: instructions, and writes to shared lines.
//!
//! With few cores, times say little about many. What does is what a get writes where others
//! read: `dist one` asks all threads for one entry, so that each such write moves a cache line
//! to and fro; and [`SHARED_WRITES`] counts them from the sources. Instructions are counted by
//! valgrind, where there is one: the difference of two runs of a child process.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::args::{Flags, Quantity};
use crate::bench::{Bench, Case, Metric, NS_PER_OP, Sample};
use crate::contender::{Kind, Room};
use crate::data::{Dist, Names};
use crate::settings::{Defaults, IN_CACHE, MILLION, Settings};
use crate::timing::per_op;

pub(crate) const HELP: &str = "  \
scale: gets and overwrites by 1 thread, 2, .., as many as there are cores
    --entries N,..        1_000_000
    --threads N,..        all powers of two up to the number of cores
    --dist D,..           zipf, one (one entry for all threads)
    --seconds S           of each sample; 0.2
    --instructions N      gets, and sets, that valgrind counts; 20_000, 0 for none";

/// The subcommand whose instructions are counted; `scale` calls it.
pub(crate) const CHILD: &str = "scale-child";

/// Atomic writes of a get that hits to memory that other threads read or write, at least, read
/// from the sources of these versions: a lock that is taken and released is two, a reference
/// that is counted up and down two, a message one.
///
/// scopecache: none; the epoch is pinned in a line of the thread's own, small values are copied,
/// and an entry that has its three hits is not written any more. papaya: the value's `Arc`.
/// quick_cache, dashmap, scc: a lock of the shard or bucket, and the `Arc`. The others have not
/// been counted.
const SHARED_WRITES: [(&str, f64); 5] =
    [("scopecache", 0.0), ("quick_cache", 4.0), ("dashmap", 4.0), ("papaya", 2.0), ("scc", 4.0)];

const INSTRUCTIONS: Metric = ("instructions", "instructions");

pub(crate) fn run(flags: Flags) -> Result<()> {
    let gave_threads = flags.has("threads");
    let defaults = Defaults {
        kinds: Kind::plain(),
        entries: &[MILLION],
        dists: &[Dist::Zipf, Dist::One],
        seconds: 0.2,
    };
    let mut instructions = 20_000;
    let mut settings = Settings::parse_with(flags, defaults, |flag| match &*flag.name {
        "instructions" => {
            instructions = flag.number::<Quantity>()?.0;
            Ok(())
        }
        _ => Err(flag.unknown()),
    })?;
    if !gave_threads {
        let cores = settings.most_threads();
        let powers = std::iter::successors(Some(1), |threads| Some(threads * 2));
        settings.threads = powers.take_while(|&threads| threads <= cores).collect();
    }
    let mut bench = Bench::new("scale", settings.clone())?;
    for &entries in &settings.entries {
        let names = &Names::new(entries, "state");
        let entrants = bench.filled(Room::for_all(entries), names);
        for &dist in &settings.dists {
            let seeds = (0..settings.most_threads() as u64).map(|at| settings.common.seed + at);
            let sequences = dist.requests(names.entries(), seeds);
            for op in ["get", "overwrite"] {
                for &threads in &settings.threads {
                    let case = Case::new(entries, threads, dist).with("op", op);
                    bench.case(&case, &[NS_PER_OP], &entrants, |entrant, _| {
                        let contender = &entrant.contender;
                        let mut sequences = sequences[..threads].to_vec();
                        let nanos =
                            per_op(settings.sample, &mut sequences, |requests, ops| match op {
                                "get" => contender.gets(names, requests, ops),
                                _ => contender.sets(names, requests, ops),
                            });
                        nanos.into()
                    })?;
                }
            }
        }
    }
    let kinds = settings.kinds.clone();
    let writes = kinds.iter().map(|kind| {
        let known = SHARED_WRITES.iter().find(|(krate, _)| *krate == kind.krate);
        vec![known.map_or(Sample::LeftOut("not counted"), |&(_, writes)| writes.into())]
    });
    let case = Case::new(1, 1, Dist::One).with("op", "get").with("how", "read from the sources");
    let writes: Vec<Vec<Sample>> = writes.collect();
    bench.add(&case, &[("shared_writes_per_op", "writes")], &kinds, &writes)?;
    count_instructions(&mut bench, instructions)
}

fn count_instructions(bench: &mut Bench, ops: u64) -> Result<()> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if ops == 0 || !valgrind.is_ok_and(|status| status.success()) {
        eprintln!("scale: instructions are not counted");
        return Ok(());
    }
    let kinds = bench.settings.kinds.clone();
    for op in ["get", "overwrite"] {
        let mut rows = Vec::new();
        for kind in &kinds {
            eprintln!("scale: instructions of {op}, {kind}");
            let (none, all) = (counted(kind.krate, op, 0)?, counted(kind.krate, op, ops)?);
            rows.push(vec![((all - none) / ops as f64).into()]);
        }
        let case = Case::new(IN_CACHE, 1, Dist::Zipf).with("op", op).with("how", "callgrind");
        bench.add(&case, &[INSTRUCTIONS], &kinds, &rows)?;
    }
    Ok(())
}

/// Instructions of a whole child process.
fn counted(krate: &str, op: &str, ops: u64) -> Result<f64> {
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([CHILD, "--peers", krate, "--op", op, "--ops", &ops.to_string()])
        .output()
        .context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    let count = line.and_then(|(_, count)| count.trim().parse().ok());
    count.with_context(|| format!("valgrind did not count {krate}:\n{text}"))
}

/// Makes so many operations on one contender.
pub(crate) fn run_child(flags: Flags) -> Result<()> {
    let (mut op, mut ops) = (String::new(), 0);
    let defaults =
        Defaults { kinds: Kind::plain(), entries: &[IN_CACHE], dists: &[Dist::Zipf], seconds: 1.0 };
    let settings = Settings::parse_with(flags, defaults, |flag| {
        match &*flag.name {
            "op" => op = flag.text()?,
            "ops" => ops = flag.number()?,
            _ => return Err(flag.unknown()),
        }
        Ok(())
    })?;
    let names = Names::new(IN_CACHE, "state");
    let mut requests = Dist::Zipf.requests(IN_CACHE, [settings.common.seed]).remove(0);
    for kind in &settings.kinds {
        let contender = kind.make(Room::for_all(IN_CACHE), &names);
        contender.set_all(&names, &names.shuffled(2));
        // What is done once and in the beginning is in both runs.
        contender.gets(&names, &mut requests, 10_000);
        match &*op {
            "get" => contender.gets(&names, &mut requests, ops),
            _ => contender.sets(&names, &mut requests, ops),
        };
    }
    Ok(())
}
