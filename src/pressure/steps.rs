//! By which steps the bound of a cache goes down and comes back, as plain arithmetic.
//!
//! ```text
//!             short of memory: 3/4 of what the cache holds, at once, not below the floor
//!   bound ──────────────────────────────────────────────────────────────────────────► lower
//!     ▲                                                                                 │
//!     └───── calm for some readings, and room for it: an eighth of the configured ◄─────┘
//! ```
//!
//! Between "short" and "calm" nothing happens: so what a step frees does not bring it back.

/// When what is read means that memory is short, and when that it is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    /// The bound to come back to, in bytes.
    pub(crate) configured_bytes: u64,
    /// The bound never goes below, in bytes.
    pub(crate) floor_bytes: u64,
    /// Parts of the limit, 0 to 1.
    pub(crate) usage: Marks,
    /// Percents of time.
    pub(crate) stall: Marks,
    /// Readings that stalls alone lower nothing after a step, as they are an average of the past.
    pub(crate) settling_readings: u32,
    /// Calm readings in a row before a step up.
    pub(crate) calm_readings: u32,
}

/// From where on a figure is high, and below which it is low.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Marks {
    pub(crate) high: f64,
    pub(crate) low: f64,
}

/// What was read at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// The tightest limit on memory, if there is any.
    pub(crate) level: Option<Level>,
    /// Percent of the last ten seconds in which something waited for memory.
    pub(crate) stalled: Option<f64>,
    /// What the cache holds.
    pub(crate) cache_bytes: u64,
}

/// A limit on memory and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) used_bytes: u64,
    pub(crate) limit_bytes: u64,
}

/// Where the bound stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) bound_bytes: u64,
    calm: u32,
    since_lowered: u32,
}

/// What to do with the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Stay,
    Lower,
    Raise,
}

impl Level {
    /// The part of the limit that is used.
    pub(crate) fn usage(&self) -> f64 {
        self.used_bytes as f64 / self.limit_bytes.max(1) as f64
    }
}

impl State {
    pub(crate) fn new(bound_bytes: u64) -> Self {
        Self { bound_bytes, calm: 0, since_lowered: u32::MAX }
    }

    /// The state after a reading, and the step that leads there.
    pub(crate) fn after(self, reading: &Reading, rules: &Rules) -> (Self, Step) {
        let usage = reading.level.map(|level| level.usage());
        let since_lowered = self.since_lowered.saturating_add(1);
        let stalled = reading.stalled.is_some_and(|stalled| stalled >= rules.stall.high);
        let short = usage.is_some_and(|usage| usage >= rules.usage.high)
            || stalled && since_lowered > rules.settling_readings;
        if short {
            let bound_bytes = rules.lowered(self.bound_bytes, reading.cache_bytes);
            let (step, since_lowered) = if bound_bytes < self.bound_bytes {
                (Step::Lower, 0)
            } else {
                (Step::Stay, since_lowered)
            };
            return (Self { bound_bytes, calm: 0, since_lowered }, step);
        }
        let calm = usage.is_none_or(|usage| usage < rules.usage.low)
            && reading.stalled.is_none_or(|stalled| stalled < rules.stall.low);
        let calm = if calm { self.calm.saturating_add(1) } else { 0 };
        let stay = Self { calm, since_lowered, ..self };
        let bound_bytes = rules.raised(self.bound_bytes);
        let fits = reading.level.is_none_or(|level| {
            // Should all of it be used, memory must not be short again.
            let used_bytes = level.used_bytes.saturating_add(bound_bytes - self.bound_bytes);
            Level { used_bytes, ..level }.usage() < rules.usage.high
        });
        if bound_bytes == self.bound_bytes || calm < rules.calm_readings || !fits {
            return (stay, Step::Stay);
        }
        (Self { bound_bytes, calm: 0, since_lowered }, Step::Raise)
    }
}

impl Rules {
    /// The same for another bound to come back to.
    pub(crate) fn configured_to(self, configured_bytes: u64) -> Self {
        Self { configured_bytes, floor_bytes: self.floor_bytes.min(configured_bytes), ..self }
    }

    /// Three quarters of what the cache may hold and holds: to lower what is not used frees nothing.
    fn lowered(&self, bound_bytes: u64, cache_bytes: u64) -> u64 {
        let held = bound_bytes.min(cache_bytes);
        (held - held / 4).max(self.floor_bytes).min(bound_bytes)
    }

    fn raised(&self, bound_bytes: u64) -> u64 {
        let step = (self.configured_bytes / 8).max(1);
        bound_bytes.saturating_add(step).min(self.configured_bytes).max(bound_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const RULES: Rules = Rules {
        configured_bytes: 800 * MIB,
        floor_bytes: 100 * MIB,
        usage: Marks { high: 0.9, low: 0.8 },
        stall: Marks { high: 10.0, low: 1.0 },
        settling_readings: 3,
        calm_readings: 2,
    };

    /// Of a limit of 1,000 MiB.
    fn used(mib: u64) -> Reading {
        let level = Level { used_bytes: mib * MIB, limit_bytes: 1000 * MIB };
        Reading { level: Some(level), stalled: None, cache_bytes: 800 * MIB }
    }

    fn stalled(percent: f64) -> Reading {
        Reading { level: None, stalled: Some(percent), cache_bytes: 800 * MIB }
    }

    /// The bounds after each of the readings, in MiB.
    fn bounds(readings: impl IntoIterator<Item = Reading>) -> Vec<u64> {
        let mut state = State::new(RULES.configured_bytes);
        let step = |reading| {
            let before = state.bound_bytes;
            let step;
            (state, step) = state.after(&reading, &RULES);
            let expected = match state.bound_bytes.cmp(&before) {
                std::cmp::Ordering::Less => Step::Lower,
                std::cmp::Ordering::Equal => Step::Stay,
                std::cmp::Ordering::Greater => Step::Raise,
            };
            assert_eq!(step, expected);
            state.bound_bytes / MIB
        };
        readings.into_iter().map(step).collect()
    }

    #[test]
    fn a_table_of_readings_and_bounds() {
        // Short: at once, each time, down to the floor.
        assert_eq!(
            bounds([899, 900, 950, 1000, 1200, 990, 990, 990, 990, 990].map(used)),
            [800, 600, 450, 337, 253, 189, 142, 106, 100, 100]
        );
        // Calm, twice for each step, and up to what was configured.
        let back = [950, 799, 799, 799, 700, 600, 500, 500, 500].map(used);
        assert_eq!(bounds(back), [600, 600, 700, 700, 800, 800, 800, 800, 800]);
        // Between the marks nothing happens, and calm has to begin anew.
        let between = [950, 799, 850, 799, 850, 799, 799].map(used);
        assert_eq!(bounds(between), [600, 600, 600, 600, 600, 600, 700]);
    }

    #[test]
    fn stalls_lower_and_then_wait_for_their_average() {
        let high = [10.0; 9].map(stalled);
        assert_eq!(bounds(high), [600, 600, 600, 600, 450, 450, 450, 450, 337]);
        let calm = [50.0, 9.0, 1.0, 0.9, 0.9, 0.0, 0.0].map(stalled);
        assert_eq!(bounds(calm), [600, 600, 600, 600, 700, 700, 800]);
    }

    #[test]
    fn either_figure_is_enough_to_lower_and_both_must_be_low_to_raise() {
        let both = |mib, percent| Reading { stalled: Some(percent), ..used(mib) };
        let readings = [both(500, 20.0), both(700, 5.0), both(700, 5.0), both(850, 0.0)];
        assert_eq!(bounds(readings), [600; 4]);
        assert_eq!(bounds([both(950, 0.0), both(950, 0.0)]), [600, 450]);
    }

    #[test]
    fn what_the_cache_does_not_hold_is_not_counted_as_freed() {
        let small = Reading { cache_bytes: 200 * MIB, ..used(950) };
        assert_eq!(bounds([small]), [150]);
        let empty = Reading { cache_bytes: 0, ..used(950) };
        assert_eq!(bounds([empty, empty]), [100, 100]);
    }

    #[test]
    fn a_step_up_that_would_be_taken_back_is_not_made() {
        let tight = Rules { usage: Marks { high: 0.9, low: 0.85 }, ..RULES };
        let mut state = State::new(300 * MIB);
        for _ in 0..10 {
            let step;
            (state, step) = state.after(&used(840), &tight);
            assert_eq!((state.bound_bytes, step), (300 * MIB, Step::Stay));
        }
        let (state, step) = state.after(&used(790), &tight);
        assert_eq!((state.bound_bytes, step), (400 * MIB, Step::Raise));
    }

    #[test]
    fn odd_figures_lower_no_further_than_the_floor_and_raise_no_further_than_configured() {
        let odd = Reading { level: Some(Level { used_bytes: 1, limit_bytes: 0 }), ..used(0) };
        assert_eq!(bounds([odd; 12]).last(), Some(&100));
        let tiny = Rules { configured_bytes: 3, floor_bytes: 1, ..RULES };
        let mut state = State::new(1);
        for _ in 0..20 {
            state = state.after(&used(0), &tiny).0;
        }
        assert_eq!(state.bound_bytes, 3);
        let (state, _) = State::new(u64::MAX).after(&used(0), &RULES);
        assert_eq!(state.bound_bytes, u64::MAX, "never lowered by calm");
    }
}
