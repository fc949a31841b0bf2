//! Loading again what has become old, while others go on with the old value.
//!
//! A hit that is older than `refresh_after` claims the right to refresh: a bit in the entry
//! (`table/entry/claim.rs`), so that of all callers one loads. What it loads is stored as by
//! `compare_and_set`, over the version that was hit: what was written or deleted since then stands,
//! and a claim that was lost or never given back can store nothing wrong.

use std::hash::BuildHasher;
use std::time::Duration;

use crate::cache::core::{Core, Sight};
use crate::cache::scope::Scope;
use crate::cache::target::Target;
use crate::cache::writer::{Over, Writer};
use crate::clock::{Nanos, nanos};
use crate::directory::Node;
use crate::error::Result;
use crate::item::{Item, Version};
use crate::options::{Condition, SetOptions};
use crate::reclaim::pin;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;
use crate::table::{Draft, Seen};
use crate::value::{Blob, IntoValue, Value};

/// The least time between a refresh that failed and the next.
const LEAST_REST: Duration = Duration::from_millis(10);

/// When values are loaded again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refreshing {
    age: Nanos,
    /// After a failure: a tick of claims.
    rest: Nanos,
}

/// How often values were.
#[derive(Default)]
pub(crate) struct Refreshed {
    stored: AtomicU64,
    failed: AtomicU64,
}

impl Refreshing {
    pub(crate) fn after(age: Duration) -> Self {
        Self { age: nanos(age), rest: nanos((age / 8).max(LEAST_REST)) }
    }
}

impl Refreshed {
    pub(super) fn stored(&self) -> u64 {
        // Relaxed: a statistic, orders nothing.
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        // Relaxed: as above.
        self.failed.load(Ordering::Relaxed)
    }
}

/// The right to replace one value by a newer one, as long as nobody writes or deletes it first.
///
/// Given by [`Scope::get_refreshing`] to one caller at a time; it keeps the cache alive. Reads get the
/// old value meanwhile. It may be sent to a thread or a task that does the work. Dropped without
/// [`fulfil`](Self::fulfil), it is given back, and the next hit gets it.
#[must_use = "a refresh that is dropped is left to the next hit"]
pub struct Refresh<V: Value = Blob, S: BuildHasher<Hasher: Clone> = ahash::RandomState> {
    scope: Scope<V, S>,
    key: Box<[u8]>,
    version: Version,
    outcome: Outcome,
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing yet.
    Open,
    /// Another value stands, or none: there is nothing to give back.
    Over,
    Failed,
}

impl<V: Value, S> Core<V, S> {
    /// Takes the right to refresh an entry that has become old.
    #[inline]
    pub(super) fn claim_if_due(&self, entry: Seen<'_, V, Node>) -> bool {
        let Some(refreshing) = self.settings.refreshing else { return false };
        let now = self.now();
        now.saturating_sub(entry.created()) >= refreshing.age
            && entry.claim_refresh(now / refreshing.rest)
    }

    /// A hit, and whether the caller is to refresh it.
    fn get_refreshing(&self, target: &Target<'_>) -> Result<Option<(Item<V>, bool)>> {
        self.check_open()?;
        let guard = pin();
        let Sight::Present(slot, entry) = self.look(target, &guard) else { return Ok(None) };
        self.count_hit(entry);
        let claimed = self.claim_if_due(entry);
        if !claimed {
            self.slide(target, slot, entry, &guard);
        }
        Ok(Some((self.item(entry), claimed)))
    }

    /// Gives the right to refresh this version back, where that still stands.
    fn end_refresh(&self, target: &Target<'_>, version: Version, outcome: Outcome) {
        let Some(refreshing) = self.settings.refreshing else { return };
        let failed_at = (outcome == Outcome::Failed).then(|| self.now() / refreshing.rest);
        let guard = pin();
        if let Sight::Present(_, entry) = self.look(target, &guard)
            && entry.version() == version
        {
            entry.end_refresh(failed_at);
        }
    }

    /// Stores a value over this version, if that still stands. `show` sees the entry before it is
    /// published.
    fn renew<R>(
        &self,
        target: &Target<'_>,
        version: Version,
        input: V::Input<'_>,
        options: &SetOptions,
        show: impl FnOnce(&Draft<V, Node>) -> R,
    ) -> Result<(R, Option<Version>)> {
        self.check_open()?;
        let header = self.header(target, &input, options)?;
        let plan = self.plan(&header, &input)?;
        let (new, bytes) = (header.version, plan.bytes());
        self.relieve()?;
        let condition = Condition::Version(version);
        if self.is_large(bytes) {
            // Nothing is refused where the condition asks for a value.
            self.prepare_large(target, bytes, condition)?;
        }
        let guard = pin();
        let draft = self.draft(&header, input, &plan)?;
        let mut writer =
            Writer::new(self, target, bytes, &guard).with_keep_ttl(options.keeps_ttl());
        let shown = show(&draft);
        let sight = self.look(target, &guard);
        let stored = match writer.over_visible(draft, sight, condition, &guard)? {
            Over::Stored => true,
            Over::Absent(draft) if planted!("refresh_inserts") => {
                writer.insert(draft, &guard)?;
                true
            }
            Over::Absent(_) | Over::Differs => false,
        };
        // Relaxed: a statistic, orders nothing.
        self.refreshed.stored.fetch_add(u64::from(stored), Ordering::Relaxed);
        Ok((shown, stored.then_some(new)))
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Scope<V, S> {
    /// Returns the live item, and with it the right to refresh it, where it has become older than
    /// [`refresh_after`](crate::CacheBuilder::refresh_after) and nobody has that right yet; `None`
    /// where the key is absent.
    ///
    /// # Errors
    ///
    /// `InvalidKey`, `Closed`.
    ///
    /// # Examples
    ///
    /// The caller answers at once, and another thread loads:
    ///
    /// ```
    /// # fn main() -> scopecache::Result<()> {
    /// use scopecache::{Cache, MockClock};
    /// use std::time::Duration;
    ///
    /// let clock = MockClock::new();
    /// let cache: Cache = Cache::builder()
    ///     .refresh_after(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// let scope = cache.user("ada")?;
    /// scope.set("profile", "old")?;
    /// clock.advance(Duration::from_secs(60));
    ///
    /// let (item, refresh) = scope.get_refreshing("profile")?.expect("present");
    /// assert_eq!(item.data(), b"old");
    /// let refresh = refresh.expect("it is due");
    /// let loading = std::thread::spawn(move || refresh.fulfil("new"));
    /// assert!(loading.join().expect("no panic")?.is_some());
    /// assert_eq!(scope.get("profile")?.expect("present").data(), b"new");
    /// # Ok(()) }
    /// ```
    #[expect(clippy::type_complexity, reason = "an item, and perhaps something to do about it")]
    pub fn get_refreshing(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<(Item<V>, Option<Refresh<V, S>>)>> {
        let key = key.as_ref();
        let found = self.core().get_refreshing(&self.target(key)?)?;
        Ok(found.map(|(item, claimed)| {
            let refresh = claimed.then(|| Refresh::new(self, key, item.version()));
            (item, refresh)
        }))
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Refresh<V, S> {
    pub(super) fn new(scope: &Scope<V, S>, key: &[u8], version: Version) -> Self {
        Self { scope: scope.clone(), key: key.into(), version, outcome: Outcome::Open }
    }

    /// Stores the new value, unless the old one was written over or deleted since; then it answers
    /// `None`, and whatever came since stands.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::set`]; the refresh has failed then, and the old value is kept.
    pub fn fulfil(self, value: impl IntoValue<V>) -> Result<Option<Version>> {
        self.fulfil_with(value, SetOptions::new())
    }

    /// As [`fulfil`](Self::fulfil), with options.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::set_with`]; the refresh has failed then, and the old value is kept.
    pub fn fulfil_with(
        self,
        value: impl IntoValue<V>,
        options: SetOptions,
    ) -> Result<Option<Version>> {
        self.store(value, options, |_| ()).map(|((), version)| version)
    }

    /// Keeps the old value: its loader has failed. That is counted, and for a while nobody tries
    /// again; see [`refresh_after`](crate::CacheBuilder::refresh_after).
    pub fn fail(mut self) {
        self.outcome = Outcome::Failed;
    }

    /// What `get_or_load` answers: what was loaded, or the old item where anything went wrong.
    pub(super) fn finish<I: IntoValue<V>, E>(
        self,
        loaded: std::result::Result<I, E>,
        options: SetOptions,
        old: Item<V>,
    ) -> Item<V> {
        let wall_origin = self.scope.core().clock.wall_origin();
        match loaded {
            Ok(value) => self
                .store(value, options, |draft| draft.item(wall_origin))
                .map_or(old, |(item, _)| item),
            Err(_) => {
                self.fail();
                old
            }
        }
    }

    fn store<R>(
        mut self,
        value: impl IntoValue<V>,
        options: SetOptions,
        show: impl FnOnce(&Draft<V, Node>) -> R,
    ) -> Result<(R, Option<Version>)> {
        // Until it is known, so that a panic counts as a failure, too.
        self.outcome = Outcome::Failed;
        let stored = {
            let (core, target) = (self.scope.core(), self.scope.target(&self.key)?);
            value.with_input(|input| core.renew(&target, self.version, input, &options, show))?
        };
        self.outcome = Outcome::Over;
        Ok(stored)
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Drop for Refresh<V, S> {
    fn drop(&mut self) {
        if self.outcome == Outcome::Open && std::thread::panicking() {
            self.outcome = Outcome::Failed;
        }
        let core = self.scope.core();
        if self.outcome == Outcome::Failed {
            // Relaxed: a statistic, orders nothing.
            core.refreshed.failed.fetch_add(1, Ordering::Relaxed);
        }
        if self.outcome != Outcome::Over
            && let Ok(target) = self.scope.target(&self.key)
        {
            core.end_refresh(&target, self.version, self.outcome);
        }
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> std::fmt::Debug for Refresh<V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresh").field("version", &self.version).finish_non_exhaustive()
    }
}
