//! How long entries live that are stored without a TTL of their own.

use std::fmt;
use std::time::Duration;

use crate::clock::nanos;
use crate::error::{Error, Result};
use crate::item::Version;
use crate::namespace::Namespace;
use crate::options::{Span, check_max_lifetime, check_ttl};
use crate::value::{Blob, Value};

/// How long entries live that are stored without a TTL of their own; given to
/// [`CacheBuilder::expiry`](crate::CacheBuilder::expiry).
///
/// It is asked by every call that stores a value: `set`, `insert`, `replace`, `compare_and_set`,
/// `set_many`, the fulfilment of a [`Lease`](crate::Lease), `get_or_load`, and those of
/// [`Storage`](crate::Storage). It is not asked, and nothing of it applies, where
///
/// - the call gives a TTL ([`SetOptions::ttl`](crate::SetOptions::ttl)): that is kept to the
///   nanosecond, neither sliding nor shortened at random;
/// - the call keeps that of the entry which is there
///   ([`SetOptions::keep_ttl`](crate::SetOptions::keep_ttl), `update`), or changes it (`touch`).
///
/// A maximum lifetime given by a call alone
/// ([`SetOptions::sliding`](crate::SetOptions::sliding)) goes with the policy's TTL, in the place
/// of the policy's own.
///
/// # Examples
///
/// ```
/// use scopecache::{Cache, ExpiryPolicy};
/// use std::time::Duration;
///
/// # fn main() -> scopecache::Result<()> {
/// const HOUR: Duration = Duration::from_secs(3600);
///
/// // Ends an hour after it was last read, and a day after it was written at the latest; both up
/// // to a tenth earlier, so that what was written together does not end together.
/// let policy = ExpiryPolicy::ttl(HOUR).sliding(24 * HOUR).jitter(0.1);
/// let cache: Cache = Cache::builder().expiry(policy).build()?;
/// # let _ = cache; Ok(()) }
/// ```
///
/// A TTL that depends on the entry:
///
/// ```
/// use scopecache::{Cache, ExpiryPolicy, Namespace};
/// use std::time::Duration;
///
/// # fn main() -> scopecache::Result<()> {
/// let policy = ExpiryPolicy::per_entry(|namespace, key, value: &[u8]| match namespace {
///     Namespace::Session { .. } => Some(Duration::from_secs(1800)),
///     _ if key == b"negative" || value.is_empty() => Some(Duration::from_secs(5)),
///     _ => None,
/// });
/// let cache: Cache = Cache::builder().expiry(policy).build()?;
///
/// cache.session("ada", "laptop")?.set("state", "connected")?;
/// cache.user("ada")?.set("theme", "dark")?;
/// let state = cache.session("ada", "laptop")?.get("state")?.expect("present");
/// assert!(state.expires_at().is_some());
/// assert!(cache.user("ada")?.get("theme")?.expect("present").expires_at().is_none());
/// # Ok(()) }
/// ```
#[must_use = "a policy does nothing until it is given to a builder"]
pub struct ExpiryPolicy<V: Value = Blob> {
    source: Source<V>,
    max_lifetime: Option<Duration>,
    /// From 0 to 1, once it is checked.
    jitter: f64,
}

/// Where the TTL comes from.
enum Source<V: Value> {
    Fixed(Duration),
    PerEntry(Box<PerEntry<V>>),
}

/// The TTL of the entry with this namespace, key and value.
pub(crate) type PerEntry<V> = dyn Fn(Namespace<'_>, &[u8], &<V as crate::value::sealed::Stored>::Borrowed) -> Option<Duration>
    + Send
    + Sync;

impl<V: Value> ExpiryPolicy<V> {
    /// An entry ends `ttl` after it was written.
    ///
    /// # Errors
    ///
    /// [`build`](crate::CacheBuilder::build) fails with `InvalidOptions` for a TTL of zero.
    pub fn ttl(ttl: Duration) -> Self {
        Self::new(Source::Fixed(ttl))
    }

    /// An entry ends as long after it was written as `ttl` says of its namespace, key and value;
    /// for `None` it has no TTL, and [`sliding`](Self::sliding) and [`jitter`](Self::jitter) do
    /// nothing to it. A closure has to name the type of the value: `&[u8]` for byte strings, `&T`
    /// in a [`Cache<T>`](crate::Cache).
    ///
    /// The function is called on the thread of the caller, once for each call that stores a
    /// value, before anything is looked at or changed: also for a conditional write that then
    /// does not take place, and again where a call of [`Storage`](crate::Storage) tries again
    /// because readers hold memory up. The cache holds neither lock nor guard meanwhile. The
    /// function may read the cache, and must neither write to it nor load.
    ///
    /// # Errors
    ///
    /// For an answer of zero the call fails with `InvalidOptions`; nothing was changed, and a
    /// lease that was to be fulfilled is given up. A maximum lifetime given by a call
    /// ([`SetOptions::sliding`](crate::SetOptions::sliding)) needs a TTL: with `None` that call
    /// fails likewise.
    ///
    /// # Panics
    ///
    /// A panic of the function reaches the caller, as if the call had failed.
    ///
    /// # Examples
    ///
    /// Values that know when they end:
    ///
    /// ```
    /// use scopecache::{Cache, ExpiryPolicy};
    /// use std::time::Duration;
    ///
    /// # fn main() -> scopecache::Result<()> {
    /// #[derive(Clone)]
    /// struct Token { valid_seconds: u64 }
    ///
    /// let tokens: Cache<Token> = Cache::builder()
    ///     .expiry(ExpiryPolicy::per_entry(|_, _, token: &Token| {
    ///         Some(Duration::from_secs(token.valid_seconds))
    ///     }))
    ///     .build()?;
    /// tokens.user("ada")?.set("access", Token { valid_seconds: 900 })?;
    /// assert!(tokens.user("ada")?.set("access", Token { valid_seconds: 0 }).is_err());
    /// # Ok(()) }
    /// ```
    pub fn per_entry(
        ttl: impl Fn(Namespace<'_>, &[u8], &V::Borrowed) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Source::PerEntry(Box::new(ttl)))
    }

    fn new(source: Source<V>) -> Self {
        Self { source, max_lifetime: None, jitter: 0.0 }
    }

    /// Every read renews the TTL, up to `max_lifetime` after the write; how often is told at
    /// [`SetOptions::sliding`](crate::SetOptions::sliding).
    ///
    /// # Errors
    ///
    /// [`build`](crate::CacheBuilder::build) fails with `InvalidOptions` for a maximum lifetime
    /// of zero.
    pub fn sliding(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = Some(max_lifetime);
        self
    }

    /// Shortens each entry's TTL by a random part of it between zero and `part`, so that entries
    /// which were written together do not end together; none by default.
    ///
    /// With a part of `0.1`, a TTL of an hour becomes one of 54 to 60 minutes, evenly spread:
    /// never more than was asked for. Each write draws anew. The maximum lifetime of
    /// [`sliding`](Self::sliding) is shortened by the same part as the TTL: entries that are read
    /// all the time end there.
    ///
    /// # Errors
    ///
    /// [`build`](crate::CacheBuilder::build) fails with `InvalidOptions` unless the part is from
    /// 0 to 1.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Source::Fixed(ttl) = self.source {
            check_ttl(ttl)?;
        }
        self.max_lifetime.map(check_max_lifetime).transpose()?;
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::options("jitter must be a part of the ttl, from 0 to 1"));
        }
        Ok(())
    }

    /// How long an entry is to live, `None` for ever. `ask` calls the function, and `chance` is
    /// any number, all equally likely; each is called only where it is needed.
    #[inline]
    pub(crate) fn span(
        &self,
        ask: impl FnOnce(&PerEntry<V>) -> Option<Duration>,
        chance: impl FnOnce() -> u64,
    ) -> Result<Option<Span>> {
        let ttl = match &self.source {
            Source::Fixed(ttl) => *ttl,
            Source::PerEntry(function) => match ask(function) {
                None => return Ok(None),
                Some(Duration::ZERO) => return Err(zero_answer()),
                Some(ttl) => ttl,
            },
        };
        let span = Span { ttl, max_lifetime: self.max_lifetime };
        Ok(Some(if self.jitter > 0.0 { self.shortened(span, chance()) } else { span }))
    }

    fn shortened(&self, span: Span, chance: u64) -> Span {
        let shorten = |duration| shorten(duration, self.jitter, chance);
        Span { ttl: shorten(span.ttl), max_lifetime: span.max_lifetime.map(shorten) }
    }
}

impl<V: Value> fmt::Debug for ExpiryPolicy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ExpiryPolicy");
        match &self.source {
            Source::Fixed(ttl) => fields.field("ttl", ttl),
            Source::PerEntry(_) => fields.field("ttl", &"per entry"),
        };
        fields
            .field("max_lifetime", &self.max_lifetime)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}

/// A number for one write of one key that looks random; no two writes have the same version.
#[inline]
pub(crate) fn mix(hash: u64, version: Version) -> u64 {
    // The state and the output function of SplitMix64: versions follow each other, and a hasher
    // may be any.
    let mut mixed = hash ^ version.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The duration less `chance / 2^64` of `part` of it; longer than zero if it was.
fn shorten(duration: Duration, part: f64, chance: u64) -> Duration {
    let whole = nanos(duration);
    let most = ((whole as f64 * part) as u64).min(whole);
    // Less than `most`, unless that is zero.
    let cut = (u128::from(most) * u128::from(chance)) >> 64;
    Duration::from_nanos(whole - cut as u64)
}

#[cold]
fn zero_answer() -> Error {
    Error::options("the function of the expiry policy gave a ttl of zero; None is for no ttl")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn words(policy: ExpiryPolicy) -> String {
        policy.check().expect_err("senseless").to_string()
    }

    fn span(policy: &ExpiryPolicy, chance: u64) -> Option<Span> {
        policy.check().expect("sound");
        policy.span(|function| function(Namespace::Global, b"k", b"v"), || chance).expect("a span")
    }

    #[test]
    fn senseless_policies_are_refused_in_words() {
        assert!(words(ExpiryPolicy::ttl(Duration::ZERO)).contains("ttl must be longer than zero"));
        let sliding = ExpiryPolicy::ttl(HOUR).sliding(Duration::ZERO);
        assert!(words(sliding).contains("maximum lifetime"));
        let sliding = ExpiryPolicy::per_entry(|_, _, _| None).sliding(Duration::ZERO);
        assert!(words(sliding).contains("maximum lifetime"));
        for part in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(words(ExpiryPolicy::ttl(HOUR).jitter(part)).contains("jitter"), "{part}");
        }
        for part in [0.0, -0.0, 0.5, 1.0] {
            ExpiryPolicy::<Blob>::ttl(HOUR).jitter(part).check().expect("sound");
        }
    }

    #[test]
    fn a_function_answers_a_ttl_none_or_an_error() {
        let policy = |answer| ExpiryPolicy::per_entry(move |_, _, _| answer).sliding(HOUR * 24);
        let there = Span { ttl: HOUR, max_lifetime: Some(HOUR * 24) };
        assert_eq!(span(&policy(Some(HOUR)), 0), Some(there));
        assert_eq!(span(&policy(None), 0), None);
        let zero: ExpiryPolicy = policy(Some(Duration::ZERO));
        let error = zero.span(|f| f(Namespace::Global, b"k", b"v"), || 0).expect_err("zero");
        assert!(error.to_string().contains("ttl of zero"), "{error}");
    }

    #[test]
    fn nothing_is_drawn_without_jitter() {
        let policy = ExpiryPolicy::<Blob>::ttl(HOUR);
        let span = policy.span(|_| panic!("asked"), || panic!("drawn")).expect("a span");
        assert_eq!(span, Some(Span { ttl: HOUR, max_lifetime: None }));
    }

    #[test]
    fn jitter_shortens_the_ttl_and_the_maximum_lifetime_alike() {
        let policy = ExpiryPolicy::ttl(HOUR).sliding(HOUR * 24).jitter(0.5);
        let half = span(&policy, 1 << 63).expect("a span");
        assert_eq!(half, Span { ttl: HOUR * 3 / 4, max_lifetime: Some(HOUR * 18) });
        assert_eq!(span(&policy, 0).expect("a span").ttl, HOUR);
        let least = span(&policy, u64::MAX).expect("a span").ttl;
        assert!(least > HOUR / 2 && least < HOUR / 2 + Duration::from_micros(1), "{least:?}");
    }

    #[test]
    fn what_jitter_leaves_is_longer_than_zero() {
        for nanos in [1, 2, 3, 1000, u64::MAX - 1, u64::MAX] {
            let duration = Duration::from_nanos(nanos);
            for chance in [0, 1, u64::MAX / 2, u64::MAX] {
                let left = shorten(duration, 1.0, chance);
                assert!(!left.is_zero() && left <= duration, "{nanos} ns, {chance}: {left:?}");
            }
        }
        assert!(!shorten(Duration::MAX, 1.0, u64::MAX).is_zero());
    }

    /// Its first outputs from seed zero, as they are published.
    #[test]
    fn what_is_drawn_is_what_splitmix64_gives() {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let outputs = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        for (version, output) in (1_u64..).zip(outputs) {
            assert_eq!(mix(0, Version::from_u64(version)), output);
            // The hash of the key counts in every bit.
            let hash = STEP.wrapping_mul(version) ^ STEP.wrapping_mul(9);
            assert_eq!(mix(hash, Version::from_u64(9)), output);
        }
    }

    #[test]
    fn writes_draw_evenly_however_poor_the_hash() {
        const DRAWS: u64 = 16_000;
        let start = Version::next().as_u64();
        for hash in [|_| 7, |n| n, |n: u64| n << 40] {
            let mut parts = [0; 16];
            for n in 0..DRAWS {
                let chance = mix(hash(n), Version::from_u64(start.wrapping_add(n)));
                parts[(chance >> 60) as usize] += 1;
            }
            assert!(parts.iter().all(|part| (800..1200).contains(part)), "{parts:?}");
        }
    }
}
