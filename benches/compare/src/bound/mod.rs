//! Whether scopecache keeps within its bounds while everything happens at once.
//!
//! Two threads write many times what fits, overwrite, read, delete keys, sessions and users, and
//! let entries expire; a third looks every millisecond at what the cache counts and at what the
//! allocator has handed out.

mod load;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use scopecache::{Cache, Maintenance};
use serde_json::json;

use self::load::{Load, MOST_VALUE_BYTES, Outcomes};
use self::watch::{Bounds, Watched};
use crate::alloc;
use crate::args::{Flags, Usage};
use crate::report::{Record, Report};
use crate::text_table::TextTable;

pub(crate) const HELP: &str = "  \
bound --seconds S --max-bytes B: whether scopecache keeps within its bounds; status 1 if not
    --seconds S            30
    --max-bytes B          64M
    --max-retired-bytes B  as the cache has it by default: an eighth, at least 4M";

const BENCH: &str = "bound";
const WRITERS: u64 = 2;
/// How often what would be stored without a bound exceeds it.
const OVERCOMMIT: u64 = 10;

struct Settings {
    seconds: u64,
    max_bytes: u64,
    max_retired_bytes: u64,
}

pub(crate) fn run(flags: Flags) -> Result<()> {
    let common = flags.common.clone();
    common.chosen(&["scopecache"])?;
    let settings = Settings::parse(flags)?;
    let mut report = Report::new(common.json.as_deref())?;
    let mut passed = false;
    for seed in common.seeds() {
        let (watched, outcomes) = settings.run_once(seed)?;
        print!("{}", settings.tell(&watched, &outcomes));
        settings.add_to(&mut report, seed, &watched, &outcomes)?;
        for passing in watched.bounds.passed(&watched) {
            eprintln!("compare: {passing}");
            passed = true;
        }
    }
    if passed {
        bail!("a bound was passed");
    }
    Ok(())
}

impl Settings {
    fn parse(mut flags: Flags) -> Result<Self> {
        let (mut seconds, mut max_bytes, mut max_retired_bytes) = (30, 64 << 20, None);
        while let Some(flag) = flags.next() {
            match &*flag.name {
                "seconds" => seconds = flag.quantity()?,
                "max-bytes" => max_bytes = flag.quantity()?,
                "max-retired-bytes" => max_retired_bytes = Some(flag.quantity()?),
                _ => return Err(flag.unknown().into()),
            }
        }
        if max_bytes < 4 * MOST_VALUE_BYTES {
            bail!(Usage::new(format!(
                "--max-bytes {max_bytes}: at least four of the largest values, {}",
                4 * MOST_VALUE_BYTES
            )));
        }
        // The cache does not tell its own; so it is given what is its default.
        let max_retired_bytes = max_retired_bytes.unwrap_or((max_bytes / 8).max(4 << 20));
        Ok(Self { seconds, max_bytes, max_retired_bytes })
    }

    fn run_once(&self, seed: u64) -> Result<(Watched, Outcomes)> {
        alloc::count();
        let load = Load::new(OVERCOMMIT * self.max_bytes);
        free_garbage()?;
        let before = alloc::allocated_bytes();
        let cache: Cache = Cache::builder()
            .max_bytes(self.max_bytes)
            .max_retired_bytes(self.max_retired_bytes)
            .build()
            .context("cannot make the cache")?;
        let bounds = Bounds::new(self.max_bytes, self.max_retired_bytes, WRITERS);
        let mut watched = Watched::new(bounds, before);
        let stop = AtomicBool::new(false);
        let outcomes = thread::scope(|scope| -> Result<Outcomes> {
            let writer = |number| {
                let (load, cache, stop) = (&load, &cache, &stop);
                scope.spawn(move || load.run(cache, seed * WRITERS + number, stop))
            };
            let writers: Vec<_> = (0..WRITERS).map(writer).collect();
            let end = Instant::now() + Duration::from_secs(self.seconds);
            // A writer that ended before its time has failed.
            while Instant::now() < end && !writers.iter().any(|writer| writer.is_finished()) {
                watched.look(&cache, &load);
                thread::sleep(Duration::from_millis(1));
            }
            // Relaxed: it ends loops, it orders nothing.
            stop.store(true, Ordering::Relaxed);
            let mut outcomes = Outcomes::default();
            for writer in writers {
                let result = writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
                outcomes += result.context("a writer failed")?;
            }
            Ok(outcomes)
        })?;
        watched.bounds.allow_deletion_of(outcomes.largest_deletion_bytes);
        watched.rest(&cache)?;
        Ok((watched, outcomes))
    }

    fn tell(&self, watched: &Watched, outcomes: &Outcomes) -> String {
        let mut bounds = TextTable::new(["bytes", "most seen", "bound", "slack", "%"]);
        for (what, most, bound, slack) in watched.rows() {
            let percent = most as f64 / bound as f64 * 100.0;
            let cells = [most, bound, slack].map(|bytes| bytes.to_string());
            let [most, bound, slack] = cells;
            bounds.row([what.to_owned(), most, bound, slack, format!("{percent:.1}")]);
        }
        let mut done = TextTable::new(["operations", "times"]);
        for (what, times) in outcomes.rows() {
            done.row([what.to_owned(), times.to_string()]);
        }
        format!(
            "{} s, {WRITERS} writers, {} samples; counted is live + retired + base table\n\n{bounds}\n\
             allocated against counted: at most {:+.2} % under load; {:+.2} %, {:+} bytes, beyond the values \
             on their\nway in, which are allocated before they are counted ({} samples in which the count stood \
             still);\n{:+.2} % at rest\n\n{done}\n",
            self.seconds,
            watched.samples,
            watched.most_apart_percent,
            watched.most_unexplained_percent,
            watched.most_unexplained_bytes,
            watched.still_samples,
            watched.rest_apart_percent,
        )
    }

    fn add_to(
        &self,
        report: &mut Report,
        seed: u64,
        watched: &Watched,
        outcomes: &Outcomes,
    ) -> Result<()> {
        let params = json!({
            "max_bytes": self.max_bytes,
            "max_retired_bytes": self.max_retired_bytes,
            "seconds": self.seconds,
            "overcommit": OVERCOMMIT,
            "threads": WRITERS,
            "dist": "uniform",
            "seed": seed,
            "api": "scope",
        });
        let mut add = |metric: (&'static str, &'static str), value| {
            report.add(&Record::new(BENCH, "scopecache", &params, metric, vec![value]))
        };
        add(("most_live", "bytes"), watched.most_live as f64)?;
        add(("most_retired", "bytes"), watched.most_retired as f64)?;
        add(("most_allocated", "bytes"), watched.most_allocated as f64)?;
        add(("most_apart", "percent"), watched.most_apart_percent)?;
        add(("most_unexplained", "percent"), watched.most_unexplained_percent)?;
        add(("rest_apart", "percent"), watched.rest_apart_percent)?;
        add(("sets", "operations"), outcomes.sets as f64)?;
        add(("sets_without_room", "operations"), outcomes.without_room as f64)?;
        add(("sets_held_up", "operations"), outcomes.held_up as f64)
    }
}

/// Garbage of a cache that is gone goes with the epochs that others drive on. What an earlier
/// sample left would be freed during this one, and so hide as much that this one allocates.
fn free_garbage() -> Result<()> {
    let cache: Cache = Cache::builder().maintenance(Maintenance::Manual).build()?;
    for _ in 0..100 {
        cache.maintain(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stays_within_the_bounds() {
        let max_bytes = 16 << 20;
        let settings = Settings { seconds: 1, max_bytes, max_retired_bytes: 4 << 20 };
        let (watched, outcomes) = settings.run_once(1).unwrap();
        assert!(outcomes.sets > 0 && watched.samples > 0);
        // Other tests of this process allocate too: only the cache's own figures are judged.
        assert!(watched.most_live <= max_bytes);
        assert!(!settings.tell(&watched, &outcomes).is_empty());
    }
}
