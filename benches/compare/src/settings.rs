//! The flags that all comparisons of speed have.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::args::{Common, Flag, Flags, Usage};
use crate::contender::Kind;
use crate::data::Dist;

/// What is compared, how long, and on how much.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) entries: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) dists: Vec<Dist>,
    /// Of one sample of one row.
    pub(crate) sample: Duration,
    /// Samples of each row: all contenders take one after another, so often.
    pub(crate) rounds: usize,
}

/// Where the flags say nothing.
pub(crate) struct Defaults {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) entries: &'static [usize],
    pub(crate) dists: &'static [Dist],
    pub(crate) seconds: f64,
}

pub(crate) const MILLION: usize = 1_000_000;
/// As many as the second level of a processor's cache holds.
pub(crate) const IN_CACHE: usize = 1000;

const ROUNDS: u64 = 5;

impl Settings {
    pub(crate) fn parse(flags: Flags, defaults: Defaults) -> Result<Self> {
        Self::parse_with(flags, defaults, |flag| Err(flag.unknown()))
    }

    /// `other` takes the flags of the one subcommand.
    pub(crate) fn parse_with(
        mut flags: Flags,
        defaults: Defaults,
        mut other: impl FnMut(Flag) -> Result<(), Usage>,
    ) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut settings = Self {
            kinds: Vec::new(),
            entries: defaults.entries.to_vec(),
            threads: if cores > 1 { vec![1, cores] } else { vec![1] },
            dists: defaults.dists.to_vec(),
            sample: Duration::from_secs_f64(defaults.seconds),
            rounds: flags.common.samples_or(ROUNDS) as usize,
            common: flags.common.clone(),
        };
        while let Some(flag) = flags.next() {
            match &*flag.name {
                "entries" => settings.entries = flag.quantities()?,
                "threads" => settings.threads = flag.quantities()?,
                "dist" => settings.dists = flag.parsed_list()?,
                "seconds" => settings.sample = flag.seconds()?,
                _ => other(flag)?,
            }
        }
        if settings.entries.iter().any(|&entries| u32::try_from(entries).is_err()) {
            bail!(Usage::new("--entries: at most 2^32 - 1"));
        }
        let mut crates: Vec<&str> = Vec::new();
        for kind in &defaults.kinds {
            if !crates.contains(&kind.krate) {
                crates.push(kind.krate);
            }
        }
        let chosen = settings.common.chosen(&crates)?;
        settings.kinds = defaults.kinds;
        settings.kinds.retain(|kind| chosen.contains(&kind.krate));
        Ok(settings)
    }

    pub(crate) fn most_threads(&self) -> usize {
        self.threads.iter().copied().max().unwrap_or(1)
    }
}
