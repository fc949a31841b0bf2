//! How a value is stored.

use std::time::Duration;

use crate::clock::{Nanos, deadline, nanos};
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

/// How long an entry is to live after its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) ttl: Duration,
    /// Reads renew the TTL up to here.
    pub(crate) max_lifetime: Option<Duration>,
}

impl SetOptions {
    /// What the cache's [`ExpiryPolicy`](crate::ExpiryPolicy) says; without one, no TTL.
    pub const fn new() -> Self {
        Self { ttl: None, keep_ttl: false, max_lifetime: None }
    }

    /// The entry ends `ttl` after it was written, whatever the cache's
    /// [`ExpiryPolicy`](crate::ExpiryPolicy) says, which is not asked. Zero is an error of the call.
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

    /// Every read renews the TTL, up to `max_lifetime` after the write. Needs a TTL, be it that of
    /// the cache's [`ExpiryPolicy`](crate::ExpiryPolicy), whose own maximum lifetime it replaces.
    ///
    /// A read renews once an eighth of the TTL has gone, so that an entry that is read all the
    /// time is not written all the time: the entry ends at the earliest `7/8` of the TTL after
    /// its last read.
    pub const fn sliding(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = Some(max_lifetime);
        self
    }

    pub(crate) fn keeps_ttl(&self) -> bool {
        self.keep_ttl
    }

    /// How long an entry is to live; `None` without an end, or where the TTL is kept. `policy`
    /// answers for entries without a TTL of their own, and is not asked for others.
    ///
    /// # Errors
    ///
    /// `InvalidOptions` where the options contradict each other; those of `policy`.
    #[inline]
    pub(crate) fn span(
        &self,
        policy: impl FnOnce() -> Result<Option<Span>>,
    ) -> Result<Option<Span>> {
        if self.keep_ttl && (self.ttl.is_some() || self.max_lifetime.is_some()) {
            return Err(Error::options("keep_ttl excludes ttl and sliding; drop one of them"));
        }
        let max_lifetime = self.max_lifetime.map(check_max_lifetime).transpose()?;
        let span = match (self.ttl, self.keep_ttl) {
            (Some(ttl), _) => Some(Span { ttl: check_ttl(ttl)?, max_lifetime: None }),
            (None, true) => None,
            (None, false) => policy()?,
        };
        match (span, max_lifetime) {
            (span, None) => Ok(span),
            (Some(span), Some(_)) => Ok(Some(Span { max_lifetime, ..span })),
            (None, Some(_)) => Err(Error::options("sliding needs a ttl")),
        }
    }
}

impl Span {
    /// The deadline of an entry written at `created`, and what renews it.
    #[inline]
    pub(crate) fn end(self, created: Nanos) -> (Nanos, Option<Sliding>) {
        let end = deadline(created, self.ttl);
        let Some(max_lifetime) = self.max_lifetime else { return (end, None) };
        let last = deadline(created, max_lifetime);
        (end.min(last), Some(Sliding { ttl: nanos(self.ttl), last }))
    }
}

/// Fails with `InvalidOptions` for a TTL of zero.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration> {
    if ttl.is_zero() {
        return Err(Error::options("a ttl must be longer than zero; to end an entry, delete it"));
    }
    Ok(ttl)
}

/// Fails with `InvalidOptions` for a maximum lifetime of zero.
pub(crate) fn check_max_lifetime(max_lifetime: Duration) -> Result<Duration> {
    if max_lifetime.is_zero() {
        return Err(Error::options("the maximum lifetime must be longer than zero"));
    }
    Ok(max_lifetime)
}

impl Sliding {
    /// The deadline to which a read at `now` renews the TTL, if it is worth a write. None where the
    /// time is over: the entry was seen alive, but nothing brings it back.
    pub(crate) fn renewal(self, now: Nanos, present: Nanos) -> Option<Nanos> {
        let renewed = now.saturating_add(self.ttl).min(self.last);
        let gone = now.saturating_sub(present.saturating_sub(self.ttl));
        let alive = now < present;
        (alive && renewed > present && gone >= self.ttl / 8).then_some(renewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn words(options: SetOptions) -> String {
        let error = options.span(|| Ok(None)).expect_err("contradictory");
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
        let span = options.span(|| Ok(None)).expect("valid").expect("a ttl");
        let (deadline, sliding) = span.end(0);
        let sliding = sliding.expect("sliding");
        let second = nanos(SECOND);
        assert_eq!(deadline, second);
        assert_eq!(sliding.renewal(second / 8 - 1, second), None);
        assert_eq!(sliding.renewal(second / 2, second), Some(second / 2 + second));
        assert_eq!(sliding.renewal(second * 3 / 2, second * 3 / 2 + 1), Some(second * 2));
        assert_eq!(sliding.renewal(second * 2 - 1, second * 2), None);
        assert_eq!(sliding.renewal(second - 1, second), Some(second * 2 - 1));
        assert_eq!(sliding.renewal(second, second), None, "over");
    }

    #[test]
    fn the_policy_is_asked_for_what_the_options_leave_open() {
        let day = SECOND * 86_400;
        let policy = Span { ttl: SECOND, max_lifetime: Some(day) };
        let span = |options: SetOptions| options.span(|| Ok(Some(policy))).expect("valid");
        let new = SetOptions::new();
        assert_eq!(span(new), Some(policy));
        assert_eq!(span(new.sliding(SECOND * 3)).expect("a ttl").max_lifetime, Some(SECOND * 3));

        let unasked = |options: SetOptions| options.span(|| panic!("asked")).expect("valid");
        assert_eq!(unasked(new.keep_ttl()), None);
        let given = unasked(new.ttl(SECOND * 2)).expect("a ttl");
        assert_eq!(given, Span { ttl: SECOND * 2, max_lifetime: None });
        assert_eq!(given.end(7), (nanos(SECOND) * 2 + 7, None));
    }

    #[test]
    fn a_contradiction_is_found_before_the_policy_is_asked() {
        let options = SetOptions::new().sliding(Duration::ZERO);
        options.span(|| panic!("asked")).expect_err("contradictory");
    }
}
