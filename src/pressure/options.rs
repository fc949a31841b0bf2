//! How a watcher watches.

use std::path::PathBuf;
use std::time::Duration;

use super::steps::{Marks, Rules};
use crate::error::{Error, Result};

/// How a [`PressureWatcher`](crate::PressureWatcher) watches; its defaults are told there.
///
/// ```
/// use scopecache::PressureOptions;
/// use std::time::Duration;
///
/// let options = PressureOptions::new()
///     .interval(Duration::from_millis(200))
///     .floor_bytes(16 << 20)
///     .usage(0.85, 0.7);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PressureOptions {
    pub(super) interval: Duration,
    floor_bytes: Option<u64>,
    usage: Marks,
    stall: Marks,
    calm_readings: u32,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) stall_file: Option<PathBuf>,
}

/// Over how long the kernel averages stalls.
const STALLS_OF: Duration = Duration::from_secs(10);
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

impl PressureOptions {
    /// A reading each second, the marks that [`PressureWatcher`](crate::PressureWatcher) tells, a
    /// floor of an eighth of the configured bound, and the files of this process.
    pub fn new() -> Self {
        Self {
            interval: Duration::from_secs(1),
            floor_bytes: None,
            usage: Marks { high: 0.9, low: 0.8 },
            stall: Marks { high: 10.0, low: 1.0 },
            calm_readings: 10,
            cgroup: None,
            stall_file: None,
        }
    }

    /// The time between two readings; 1 ms at least.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The bound never goes below, in bytes.
    pub fn floor_bytes(mut self, bytes: u64) -> Self {
        self.floor_bytes = Some(bytes);
        self
    }

    /// Memory is short from this part of the limit on, and is not below that one; 0 to 1.
    pub fn usage(mut self, short_from: f64, calm_below: f64) -> Self {
        self.usage = Marks { high: short_from, low: calm_below };
        self
    }

    /// Memory is short where some task stalled for this percentage of ten seconds, and is not below
    /// that one; 0 to 100.
    pub fn stalls(mut self, short_from: f64, calm_below: f64) -> Self {
        self.stall = Marks { high: short_from, low: calm_below };
        self
    }

    /// Calm readings in a row before the bound goes up by a step.
    pub fn calm_readings(mut self, readings: u32) -> Self {
        self.calm_readings = readings;
        self
    }

    /// The directory of the cgroup, instead of that of this process; it must have `memory.current`
    /// and `memory.max`, and may have `memory.high`, `memory.stat` and `memory.pressure`.
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(directory.into());
        self
    }

    /// The file of stalls, instead of `/proc/pressure/memory`.
    pub fn stall_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stall_file = Some(path.into());
        self
    }

    /// The rules for a cache with this bound.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` for what makes no sense.
    pub(super) fn rules(&self, configured_bytes: u64) -> Result<Rules> {
        if self.interval < LEAST_INTERVAL {
            return Err(Error::options("an interval must be 1 ms or longer"));
        }
        if !self.usage.are_within(1.0) {
            return Err(Error::options("usage wants 0 < calm_below <= short_from <= 1"));
        }
        if !self.stall.are_within(100.0) {
            return Err(Error::options("stalls wants 0 < calm_below <= short_from <= 100"));
        }
        let floor_bytes = self.floor_bytes.unwrap_or(configured_bytes / 8).max(1);
        if self.floor_bytes == Some(0) || floor_bytes > configured_bytes {
            return Err(Error::options("a floor must lie between zero and the bound of the cache"));
        }
        let settling = STALLS_OF.as_nanos().div_ceil(self.interval.as_nanos());
        Ok(Rules {
            configured_bytes,
            floor_bytes,
            usage: self.usage,
            stall: self.stall,
            settling_readings: settling.try_into().unwrap_or(u32::MAX),
            calm_readings: self.calm_readings,
        })
    }
}

impl Default for PressureOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Marks {
    fn are_within(self, most: f64) -> bool {
        0.0 < self.low && self.low <= self.high && self.high <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let words = |options: PressureOptions| {
            let error = options.rules(1000).expect_err("senseless");
            assert_eq!(error.kind(), ErrorKind::InvalidOptions);
            error.to_string()
        };
        let new = PressureOptions::new;
        assert!(words(new().interval(Duration::ZERO)).contains("interval"));
        for (high, low) in [(0.5, 0.6), (1.1, 0.5), (0.9, 0.0), (f64::NAN, 0.5), (0.9, f64::NAN)] {
            assert!(words(new().usage(high, low)).contains("usage"), "{high} {low}");
        }
        assert!(words(new().stalls(101.0, 1.0)).contains("stalls"));
        assert!(words(new().floor_bytes(0)).contains("floor"));
        assert!(words(new().floor_bytes(1001)).contains("floor"));
    }

    #[test]
    fn the_limits_themselves_make_sense() {
        let new = PressureOptions::new;
        for options in [
            new().interval(Duration::from_millis(1)),
            new().usage(1.0, 1.0),
            new().stalls(100.0, 100.0),
            new().floor_bytes(1),
            new().floor_bytes(1000),
        ] {
            assert!(options.rules(1000).is_ok(), "{options:?}");
        }
    }

    #[test]
    fn a_floor_is_an_eighth_and_stalls_settle_for_ten_seconds() {
        let rules = PressureOptions::new().rules(800).expect("sound");
        assert_eq!((rules.floor_bytes, rules.settling_readings), (100, 10));
        let quick = PressureOptions::new().interval(Duration::from_millis(300));
        assert_eq!(quick.rules(1).expect("sound").settling_readings, 34);
    }
}
