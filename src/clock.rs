//! Time: monotonic nanoseconds since a cache was made, and how they show as wall-clock times.
//!
//! Deadlines must not move when somebody sets the machine's date, and must go on counting while
//! the machine is suspended: a session of one hour is over an hour later, whatever the machine
//! did meanwhile. On Linux and Android that clock is `CLOCK_BOOTTIME`; elsewhere it is
//! [`Instant`](std::time::Instant), which on some systems stands still in suspend.
//!
//! What has no deadline needs no such clock. When it was written is told by a coarser one.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;

/// Nanoseconds on a cache's own monotonic clock.
pub(crate) type Nanos = u64;

/// The deadline of what never expires.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// A source of time for one cache.
pub(crate) struct Clock {
    source: Source,
    /// Wall-clock time at nanosecond 0, as nanoseconds since the Unix epoch.
    wall_origin: u64,
}

enum Source {
    System(Monotonic),
    Mock(MockClock),
}

/// A clock that moves only when told to, for tests.
///
/// Clones share the same time. Time starts at zero.
///
/// ```
/// # fn main() -> scopecache::Result<()> {
/// use scopecache::{Cache, MockClock, SetOptions};
/// use std::time::Duration;
///
/// let clock = MockClock::new();
/// let cache: Cache = Cache::builder().clock(clock.clone()).build()?;
/// let scope = cache.user("ada")?;
/// scope.set_with("k", "v", SetOptions::new().ttl(Duration::from_secs(60)))?;
/// clock.advance(Duration::from_secs(60));
/// assert!(scope.get("k")?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MockClock {
    // Under shuttle each look at it is a step, so that time may pass between any two. Std's under
    // loom: the clock is an input of a model, and weak memory must not make it run backwards.
    now: Arc<AtomicU64>,
}

impl MockClock {
    /// A clock at time zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward; it saturates after 584 years.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        // SeqCst: a test's clock orders like real time, after everything that was done before.
        let _ = self
            .now
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_add(by)));
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        // SeqCst: see `advance`.
        Duration::from_nanos(self.now.load(Ordering::SeqCst))
    }
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self { source: Source::System(Monotonic::start()), wall_origin: wall_now() }
    }

    pub(crate) fn mock(clock: MockClock) -> Self {
        let wall_origin = wall_now().saturating_sub(nanos(clock.now()));
        Self { source: Source::Mock(clock), wall_origin }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        match &self.source {
            Source::System(clock) => clock.elapsed(),
            Source::Mock(clock) => nanos(clock.now()),
        }
    }

    /// The time of a write without a deadline, to be shown and never compared with [`now`](Self::now):
    /// on Linux from a clock that takes a quarter of the time to read, follows the machine's date and
    /// moves in steps of up to 10 ms.
    #[inline]
    pub(crate) fn stamp(&self) -> Nanos {
        match &self.source {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Source::System(_) => {
                gettime(libc::CLOCK_REALTIME_COARSE).saturating_sub(self.wall_origin)
            }
            _ => self.now(),
        }
    }

    /// Wall-clock time at nanosecond 0 of this clock, as nanoseconds since the Unix epoch.
    pub(crate) fn wall_origin(&self) -> u64 {
        self.wall_origin
    }
}

/// A deadline `ttl` after `now`; centuries saturate to "the end of time, but not never".
#[inline]
pub(crate) fn deadline(now: Nanos, ttl: Duration) -> Nanos {
    now.saturating_add(nanos(ttl)).min(NEVER - 1)
}

/// A duration in nanoseconds, saturating.
#[inline]
pub(crate) fn nanos(duration: Duration) -> Nanos {
    // Two multiplications instead of the 128-bit arithmetic of `as_nanos`.
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

/// A time that went into 35 bits: early by less than a hundred-millionth of itself, and exact for the
/// first four seconds of a clock.
///
/// A mantissa of 32 bits and a power of 32. What was rounded once stays as it is, however often it goes
/// this way again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounded {
    mantissa: u32,
    exponent: u8,
}

impl Rounded {
    pub(crate) const EXPONENT_BITS: u32 = 3;
    /// Powers of two by which one step of the exponent stands.
    const STEP: u32 = 5;

    #[inline]
    pub(crate) fn down(at: Nanos) -> Self {
        /// By the highest bit.
        const EXPONENTS: [u8; Nanos::BITS as usize] = {
            let mut exponents = [0; Nanos::BITS as usize];
            let mut bit = u32::BITS;
            while bit < Nanos::BITS {
                exponents[bit as usize] = (bit + 1 - u32::BITS).div_ceil(Rounded::STEP) as u8;
                bit += 1;
            }
            exponents
        };
        // A division would take longer, and each write goes this way.
        let exponent = EXPONENTS[(at | 1).ilog2() as usize];
        Self { mantissa: (at >> (Self::STEP * u32::from(exponent))) as u32, exponent }
    }

    /// Of what [`parts`](Self::parts) answered; further bits of the exponent do not count.
    #[inline]
    pub(crate) fn of_parts(mantissa: u32, exponent: u8) -> Self {
        Self { mantissa, exponent: exponent & ((1 << Self::EXPONENT_BITS) - 1) }
    }

    /// Mantissa and exponent, which has [`EXPONENT_BITS`](Self::EXPONENT_BITS).
    #[inline]
    pub(crate) fn parts(self) -> (u32, u8) {
        (self.mantissa, self.exponent)
    }

    #[inline]
    pub(crate) fn nanos(self) -> Nanos {
        Nanos::from(self.mantissa) << (Self::STEP * u32::from(self.exponent))
    }
}

/// The wall-clock time of `at` on a clock with this origin.
pub(crate) fn wall_time(wall_origin: u64, at: Nanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(wall_origin) + Duration::from_nanos(at)
}

/// Nanoseconds since the Unix epoch; zero on a machine whose date lies before it.
pub(crate) fn wall_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
struct Monotonic {
    origin: Nanos,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Monotonic {
    fn start() -> Self {
        Self { origin: gettime(libc::CLOCK_BOOTTIME) }
    }

    #[inline]
    fn elapsed(&self) -> Nanos {
        gettime(libc::CLOCK_BOOTTIME).saturating_sub(self.origin)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn gettime(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    debug_assert_eq!(status, 0, "both clocks exist since Linux 2.6.39");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
struct Monotonic {
    origin: std::time::Instant,
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Monotonic {
    fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    #[inline]
    fn elapsed(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_saturate_below_never() {
        assert_eq!(deadline(5, Duration::from_nanos(1)), 6);
        assert_eq!(deadline(5, Duration::MAX), NEVER - 1);
        assert_eq!(deadline(NEVER - 1, Duration::from_secs(1)), NEVER - 1);
    }

    #[test]
    fn a_rounded_time_is_early_by_a_hundred_millionth_at_most_and_by_that_once() {
        let odd = (0..64).map(|bit| (NEVER >> bit) / 3 * 2);
        let edges = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for at in odd.chain(edges).chain([NEVER - 1, NEVER]) {
            let rounded = Rounded::down(at);
            let (mantissa, exponent) = rounded.parts();
            assert!(u32::from(exponent) < 1 << Rounded::EXPONENT_BITS, "{at}");
            assert_eq!(Rounded::of_parts(mantissa, exponent | 0xf8), rounded, "{at}");
            let early = at.checked_sub(rounded.nanos()).expect("not late");
            assert!(early <= at / 100_000_000, "{at} is early by {early}");
            assert!(early == 0 || at > u32::MAX.into(), "{at} is early by {early}");
            assert_eq!(Rounded::down(rounded.nanos()), rounded, "{at}");
        }
        let hour = nanos(Duration::from_secs(3600));
        assert_eq!(Rounded::down(hour).nanos(), hour);
        assert_eq!(Rounded::down(hour + 1023).nanos(), hour, "steps of a microsecond");
    }

    #[test]
    fn the_system_clock_does_not_run_backwards() {
        let clock = Clock::system();
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_stamp_is_the_time_of_day_to_within_its_steps() {
        let step = nanos(Duration::from_millis(10));
        let clock = Clock::system();
        for _ in 0..1000 {
            let before = wall_now();
            let shown = clock.wall_origin() + clock.stamp();
            assert!(shown + step >= before && shown <= wall_now(), "{shown}, not {before}");
        }
        let mock = MockClock::new();
        mock.advance(Duration::from_secs(3));
        assert_eq!(nanos(mock.now()), Clock::mock(mock).stamp());
    }

    #[test]
    fn clones_of_a_mock_clock_share_their_time() {
        let one = MockClock::new();
        let two = one.clone();
        one.advance(Duration::from_millis(3));
        assert_eq!(two.now(), Duration::from_millis(3));
        two.advance(Duration::MAX);
        assert_eq!(nanos(one.now()), u64::MAX);
    }
}
