//! How a value is stored.

use std::time::Duration;

use crate::clock::{NEVER, Nanos, deadline, nanos};
use crate::error::{Error, Result};
use crate::item::Version;
use crate::table::Sliding;

/// How [`Scope::set_with`](crate::Scope::set_with) and its kin store a value.
///
/// ```
/// use scopecache::SetOptions;
/// use std::time::Duration;
///
/// // Ends an hour after it was last read, and a day after it was written at the latest.
/// let options = SetOptions::new()
///     .ttl(Duration::from_secs(3600))
///     .sliding(Duration::from_secs(24 * 3600));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct SetOptions {
    ttl: Option<Duration>,
    keep_ttl: bool,
    max_lifetime: Option<Duration>,
}

/// When a write takes place.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// Only if the key is absent.
    Absent,
    /// Only if the key is present.
    Present,
    /// Only if the key is present and its entry has this version.
    Version(Version),
}

/// The times that options give to an entry written at `created`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) created: Nanos,
    pub(crate) deadline: Nanos,
    pub(crate) sliding: Option<Sliding>,
    /// The deadline of a visible entry that is replaced counts, not this one.
    pub(crate) keep_ttl: bool,
}

impl SetOptions {
    /// The cache's default TTL, from now on.
    pub const fn new() -> Self {
        Self { ttl: None, keep_ttl: false, max_lifetime: None }
    }

    /// The entry ends `ttl` after it was written. Zero is an error of the call.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Keeps the deadline of the entry that is overwritten; without one there, the new entry
    /// has none. Excludes a TTL.
    pub const fn keep_ttl(mut self) -> Self {
        self.keep_ttl = true;
        self
    }

    /// Every read renews the TTL, up to `max_lifetime` after the write. Needs a TTL.
    ///
    /// A read renews once an eighth of the TTL has gone, so that an entry that is read all the
    /// time is not written all the time: the entry ends at the earliest `7/8` of the TTL after
    /// its last read.
    pub const fn sliding(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = Some(max_lifetime);
        self
    }

    /// Fails with `InvalidOptions` where the options contradict each other.
    pub(crate) fn times(
        &self,
        default_ttl: Option<Duration>,
        now: impl FnOnce() -> Nanos,
    ) -> Result<Times> {
        if self.keep_ttl && (self.ttl.is_some() || self.max_lifetime.is_some()) {
            return Err(Error::options("keep_ttl excludes ttl and sliding; drop one of them"));
        }
        let ttl = match (self.ttl, self.keep_ttl) {
            (Some(ttl), _) => Some(check_ttl(ttl)?),
            (None, true) => None,
            (None, false) => default_ttl,
        };
        let created = now();
        let mut end = ttl.map_or(NEVER, |ttl| deadline(created, ttl));
        let sliding = match self.max_lifetime {
            None => None,
            Some(Duration::ZERO) => {
                return Err(Error::options("the maximum lifetime must be longer than zero"));
            }
            Some(max_lifetime) => {
                let ttl = ttl.ok_or(Error::options("sliding needs a ttl"))?;
                let last = deadline(created, max_lifetime);
                end = end.min(last);
                Some(Sliding { ttl: nanos(ttl), last })
            }
        };
        Ok(Times { created, deadline: end, sliding, keep_ttl: self.keep_ttl })
    }
}

/// Fails with `InvalidOptions` for a TTL of zero.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration> {
    if ttl.is_zero() {
        return Err(Error::options("a ttl must be longer than zero; to end an entry, delete it"));
    }
    Ok(ttl)
}

impl Sliding {
    /// The deadline to which a read at `now` renews the TTL, if it is worth a write.
    pub(crate) fn renewal(self, now: Nanos, present: Nanos) -> Option<Nanos> {
        let renewed = now.saturating_add(self.ttl).min(self.last);
        let gone = now.saturating_sub(present.saturating_sub(self.ttl));
        (renewed > present && gone >= self.ttl / 8).then_some(renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn words(options: SetOptions) -> String {
        let error = options.times(None, || 0).expect_err("contradictory");
        assert_eq!(error.kind(), ErrorKind::InvalidOptions);
        error.to_string()
    }

    #[test]
    fn contradictions_are_named() {
        let new = SetOptions::new();
        assert!(words(new.ttl(SECOND).keep_ttl()).contains("keep_ttl excludes ttl"));
        assert!(words(new.ttl(Duration::ZERO)).contains("longer than zero"));
        assert!(words(new.sliding(SECOND)).contains("sliding needs a ttl"));
        assert!(words(new.ttl(SECOND).sliding(Duration::ZERO)).contains("maximum lifetime"));
    }

    #[test]
    fn a_sliding_deadline_stops_at_the_maximum_lifetime() {
        let options = SetOptions::new().ttl(SECOND).sliding(SECOND * 2);
        let times = options.times(None, || 0).expect("valid");
        let sliding = times.sliding.expect("sliding");
        let second = nanos(SECOND);
        assert_eq!(times.deadline, second);
        assert_eq!(sliding.renewal(second / 8 - 1, second), None);
        assert_eq!(sliding.renewal(second / 2, second), Some(second / 2 + second));
        assert_eq!(sliding.renewal(second * 3 / 2, second * 3 / 2 + 1), Some(second * 2));
        assert_eq!(sliding.renewal(second * 2 - 1, second * 2), None);
    }

    #[test]
    fn defaults_apply_unless_the_ttl_is_kept() {
        let times = SetOptions::new().times(Some(SECOND), || 7).expect("valid");
        assert_eq!(times.deadline, nanos(SECOND) + 7);
        let times = SetOptions::new().keep_ttl().times(Some(SECOND), || 7).expect("valid");
        assert_eq!(times.deadline, NEVER);
    }
}
