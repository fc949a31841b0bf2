//! Hit ratios of the real crates on recorded traces, beside those of published policies.
//!
//! Every request is a look-up, and an insert on a miss; cold start, one thread. See the traces'
//! `MANIFEST.md` for how the reference figures were made: the rules here are the same.

mod contender;
mod summary;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use self::contender::{Contender, Policy};
use self::summary::{Judged, Standing, Summary};
use crate::args::{Common, Flags, Usage};
use crate::report::{Record, Report, median};
use crate::traces::{self, Belady, Figures, Point, REFERENCE_FILE, Reference, Trace};

pub(crate) const HELP: &str = "  \
hit-ratio --traces DIR: hit ratios on recorded traces, beside published policies and Belady
    --trace NAME     only this one; may be given again
    --policy P,..    of scopecache: adaptive, s3-fifo; adaptive
    --unit-only      no caches bounded in bytes
    --bytes-only     only those
    --check-belady   compute Belady and compare it with the reference";

const BENCH: &str = "hit-ratio";

struct Settings {
    common: Common,
    folder: PathBuf,
    names: Vec<String>,
    contenders: Vec<Contender>,
    kinds: Kinds,
    check_belady: Check,
}

/// Which bounds are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Both,
    Entries,
    Bytes,
}

/// Whether the reference's Belady is computed again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Trust,
    Verify,
}

pub(crate) fn run(flags: Flags) -> Result<()> {
    let settings = Settings::parse(flags)?;
    let mut report = Report::new(settings.common.json.as_deref())?;
    let reference = Reference::load(&settings.folder)?;
    if reference.is_none() {
        eprintln!("no {REFERENCE_FILE} in the folder: Belady is computed, other policies missing");
    }
    let start = Instant::now();
    let mut summary = Summary::new(&settings.contenders);
    for name in &settings.names {
        let trace = Trace::load(&settings.folder, name)?;
        let points = match &reference {
            Some(reference) => reference.points(name),
            None => Point::usual(&trace),
        };
        let wanted = |point: &Point| match settings.kinds {
            Kinds::Both => true,
            Kinds::Entries => !point.is_bytes(),
            Kinds::Bytes => point.is_bytes(),
        };
        let points: Vec<Point> = points.into_iter().filter(wanted).collect();
        if points.is_empty() {
            eprintln!("{name}: no capacity to look at");
            continue;
        }
        let mut belady = None;
        for point in points {
            let mut standing = Standing::new(&trace.name, point, reference.as_ref());
            // Exact for objects of one size alone.
            if !point.is_bytes()
                && (standing.belady.is_none() || settings.check_belady == Check::Verify)
            {
                let belady = belady.get_or_insert_with(|| Belady::new(&trace));
                let hits = belady.hits(point.capacity());
                standing.check_belady(hits as f64 / trace.keys.len() as f64)?;
            }
            for &contender in &settings.contenders {
                let judged =
                    replay(&settings.common, contender, point, &trace, reference.as_ref())?;
                add_to(&mut report, settings.common.seed, &standing, &judged)?;
                standing.judged.push(judged);
            }
            summary.add(standing);
        }
        eprintln!("{name}: done after {:.0?}", start.elapsed());
    }
    print!("{summary}");
    summary.add_to(&mut report, BENCH)
}

impl Settings {
    fn parse(mut flags: Flags) -> Result<Self> {
        let mut folder = None;
        let mut names = Vec::new();
        let mut policies = vec![Policy::Adaptive];
        let mut kinds = Kinds::Both;
        let mut check_belady = Check::Trust;
        while let Some(flag) = flags.next() {
            match &*flag.name {
                "traces" => folder = Some(flag.path()?),
                "trace" => names.push(flag.text()?),
                "policy" => {
                    policies =
                        flag.list()?.iter().map(|name| policy(name)).collect::<Result<_>>()?;
                }
                "unit-only" => kinds = Kinds::Entries,
                "bytes-only" => kinds = Kinds::Bytes,
                "check-belady" => check_belady = Check::Verify,
                _ => return Err(flag.unknown().into()),
            }
        }
        let folder = folder.ok_or_else(|| Usage::new("--traces DIR is missing"))?;
        let known = traces::names(&folder)?;
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            bail!(Usage::new(format!("no trace `{unknown}` in {}", folder.display())));
        }
        let names = if names.is_empty() { known } else { names };
        let common = flags.common;
        let mut contenders = Vec::new();
        for name in common.chosen(&Contender::CRATES)? {
            match name {
                "quick_cache" => contenders.push(Contender::QuickCache),
                "moka" => contenders.push(Contender::Moka),
                _ => contenders.extend(policies.iter().map(|&policy| Contender::Ours(policy))),
            }
        }
        Ok(Self { common, folder, names, contenders, kinds, check_belady })
    }
}

fn policy(name: &str) -> Result<Policy> {
    match name {
        "adaptive" => Ok(Policy::Adaptive),
        "s3-fifo" => Ok(Policy::S3Fifo),
        _ => bail!(Usage::new(format!("no policy `{name}`; there are adaptive, s3-fifo"))),
    }
}

/// Replays a trace on as many empty caches as there are samples.
fn replay(
    common: &Common,
    contender: Contender,
    point: Point,
    trace: &Trace,
    reference: Option<&Reference>,
) -> Result<Judged> {
    let mut samples = Vec::new();
    let mut byte_ratios = Vec::new();
    let mut overheads = Vec::new();
    for seed in common.seeds() {
        let (figures, overhead) = replay_once(contender, point, trace, seed)?;
        samples.push(figures.hit_ratio);
        byte_ratios.extend(figures.byte_hit_ratio);
        overheads.extend(overhead);
    }
    let some_median = |samples: &[f64]| (!samples.is_empty()).then(|| median(samples));
    let (byte_hit_ratio, overhead) = (some_median(&byte_ratios), some_median(&overheads));
    let published = match contender {
        Contender::Ours(_) => None,
        _ => {
            let name = contender.crate_name();
            let row = format!("{name} {} sync", crate::report::version(name));
            reference.and_then(|reference| reference.figures(&trace.name, point, &row))
        }
    };
    let figures = Figures { hit_ratio: median(&samples), byte_hit_ratio };
    Ok(Judged { contender, samples, figures, overhead, published })
}

fn replay_once(
    contender: Contender,
    point: Point,
    trace: &Trace,
    seed: u64,
) -> Result<(Figures, Option<f64>)> {
    let mut cache = contender.start(point, trace, seed)?;
    // As the reference: with a fixed 64, moka outgrows small caches so far that it beats Belady.
    let interval = match point {
        Point::Entries { capacity, .. } => (capacity / 100).clamp(1, 64),
        Point::Bytes { .. } => 1,
    };
    let (mut hits, mut hit_bytes, mut bytes, mut until_settled) = (0_u64, 0, 0, interval);
    for (at, &key) in trace.keys.iter().enumerate() {
        let size = trace.size(at);
        bytes += size;
        if cache.request(key, size)? {
            hits += 1;
            hit_bytes += size;
        }
        until_settled -= 1;
        if until_settled == 0 {
            until_settled = interval;
            cache.settle();
        }
    }
    let byte_hit_ratio = point.is_bytes().then(|| hit_bytes as f64 / bytes.max(1) as f64);
    let hit_ratio = hits as f64 / trace.keys.len().max(1) as f64;
    Ok((Figures { hit_ratio, byte_hit_ratio }, cache.overhead()?))
}

/// One result for each metric of a point.
fn add_to(report: &mut Report, seed: u64, standing: &Standing, judged: &Judged) -> Result<()> {
    let point = standing.point;
    let mut params = json!({
        "trace": standing.trace,
        "threads": 1,
        "dist": "trace",
        "seed": seed,
        "capacity_fraction": point.fraction(),
        "best_of_four": standing.best.map(|(_, ratio)| ratio),
    });
    let capacity = if point.is_bytes() { "capacity_bytes" } else { "entries" };
    params[capacity] = point.capacity().into();
    if let Contender::Ours(policy) = judged.contender {
        params["api"] = "scope".into();
        params["policy"] = match policy {
            Policy::Adaptive => "adaptive",
            Policy::S3Fifo => "s3-fifo",
        }
        .into();
    }
    let mut add = |metric, samples| {
        let peer = judged.contender.crate_name();
        report.add(&Record::new(BENCH, peer, &params, (metric, "ratio"), samples))
    };
    add("hit_ratio", judged.samples.clone())?;
    if let Some(belady) = standing.belady {
        add("belady_share", judged.samples.iter().map(|ratio| ratio / belady).collect())?;
    }
    if let Some(ratio) = judged.figures.byte_hit_ratio {
        add("byte_hit_ratio", vec![ratio])?;
    }
    if let Some(share) = judged.overhead {
        add("overhead_share", vec![share])?;
    }
    Ok(())
}
