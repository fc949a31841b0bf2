//! Writes: set, insert, replace, compare-and-set, update, touch.

use std::time::Duration;

use crate::cache::core::{Core, INSERT_BYTES, Sight};
use crate::cache::room::Large;
use crate::cache::target::Target;
use crate::cache::writer::{Inserted, Intent, Over, Writer};
use crate::clock::{NEVER, Nanos, deadline, nanos};
use crate::directory::Node;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::mix;
use crate::item::Version;
use crate::options::{Condition, SetOptions, Span, check_ttl};
use crate::reclaim::{Guard, pin};
use crate::table::{Draft, Header, Plan, Seen, Sliding, Slot};
use crate::value::{IntoValue, Value};

impl<V: Value, S> Core<V, S> {
    /// Stores a value if the condition holds; answers its version if it did.
    pub(crate) fn write(
        &self,
        target: &Target<'_>,
        input: V::Input<'_>,
        condition: Condition,
        options: &SetOptions,
    ) -> Result<Option<Version>> {
        self.check_open()?;
        // It comes while the clock is read.
        self.prefetch(target);
        let header = self.header(target, &input, options)?;
        let plan = self.plan(&header, &input)?;
        let (version, bytes) = (header.version, plan.bytes());
        self.relieve()?;
        if self.is_large(bytes) && self.prepare_large(target, bytes, condition)? == Large::Refused {
            self.report_refused(target, version, bytes);
            return Ok(Some(version));
        }
        self.come_near_quota(target, bytes, condition)?;
        let guard = pin();
        // A look before anything is made: a condition that does not hold costs no allocation.
        let sight = self.look_inline(target, &guard);
        if condition != Condition::Always && is_hopeless(condition, &sight) {
            return Ok(None);
        }
        self.make_way(target, &sight, bytes, &guard)?;
        if !matches!(sight, Sight::Present(..)) {
            // They come while the entry is made.
            target.known_node(&guard).inspect(|node| node.prefetch_counts());
        }
        let draft = self.draft(&header, input, &plan)?;
        let mut writer =
            Writer::new(self, target, bytes, &guard).with_keep_ttl(options.keeps_ttl());
        let draft = if condition == Condition::Absent {
            writer = writer.with_intent(Intent::Insert);
            writer.after(&sight);
            draft
        } else {
            match writer.over_visible(draft, sight, condition, &guard)? {
                Over::Stored => return Ok(Some(version)),
                Over::Differs => return Ok(None),
                Over::Absent(_) if condition != Condition::Always => return Ok(None),
                Over::Absent(draft) => draft,
            }
        };
        match writer.insert(draft, &guard)? {
            Inserted::Stored => Ok(Some(version)),
            Inserted::Met(_) => Ok(None),
        }
    }

    /// Replaces the visible value by what `change` makes of it, keeping its TTL; answers the
    /// new version, or `None` where there is nothing visible.
    pub(crate) fn update<I: IntoValue<V>>(
        &self,
        target: &Target<'_>,
        mut change: impl FnMut(&V::Borrowed) -> I,
    ) -> Result<Option<Version>> {
        self.check_open()?;
        loop {
            self.relieve()?;
            self.come_near_quota(target, 0, Condition::Present)?;
            let guard = pin();
            let sight = self.look(target, &guard);
            let Sight::Present(slot, old) = &sight else { return Ok(None) };
            let stored: Result<_> = change(old.value()).with_input(|input| {
                let (version, created) = (Version::next(), self.stamp());
                let header = Header { version, created, ..Header::of(*old) };
                let plan = self.plan(&header, &input)?;
                self.make_way(target, &sight, plan.bytes(), &guard)?;
                let draft = self.draft(&header, input, &plan)?;
                let mut writer = Writer::new(self, target, plan.bytes(), &guard);
                let stored = writer.replace_visible(draft, slot, *old, &guard)?.is_ok();
                Ok(stored.then_some(version))
            });
            if let Some(version) = stored? {
                return Ok(Some(version));
            }
        }
    }

    /// Gives the visible entry a new TTL; `false` where there is none.
    pub(crate) fn touch(&self, target: &Target<'_>, ttl: Duration) -> Result<bool> {
        self.check_open()?;
        let ttl = nanos(check_ttl(ttl)?);
        self.relieve()?;
        let guard = pin();
        loop {
            let Sight::Present(slot, old) = self.look(target, &guard) else { return Ok(false) };
            let now = self.now();
            if old.is_expired(|| now) {
                // Its time has come since it was seen. The next look takes it out.
                continue;
            }
            let sliding = old.sliding().map(|sliding| Sliding { ttl, ..sliding });
            let last = sliding.map_or(NEVER, |sliding| sliding.last);
            let deadline = deadline(now, Duration::from_nanos(ttl)).min(last);
            if self.redate(target, &slot, old, deadline, sliding, &guard)? {
                return Ok(true);
            }
        }
    }

    /// Renews a sliding TTL upon a hit, if it is worth a write and there is room for one; out of
    /// line, and with a copy of the slot, for the sake of those who find an entry without one.
    #[inline(never)]
    pub(crate) fn slide<'g>(
        &'g self,
        target: &Target<'_>,
        slot: Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
        guard: &'g Guard,
    ) {
        let Some(sliding) = entry.sliding() else { return };
        if let Some(renewed) = sliding.renewal(self.now(), entry.deadline()) {
            // Lost against another write, or no room: the entry keeps the deadline it has.
            let _ = self.redate(target, &slot, entry, renewed, Some(sliding), guard);
        }
    }

    /// Replaces an entry by a copy with other times; `false` where the slot has changed.
    fn redate<'g>(
        &'g self,
        target: &Target<'_>,
        slot: &Slot<'g, V, Node>,
        old: Seen<'g, V, Node>,
        deadline: Nanos,
        sliding: Option<Sliding>,
        guard: &'g Guard,
    ) -> Result<bool> {
        let draft = Draft::copy_of(old, &Header { deadline, sliding, ..Header::of(old) });
        let mut writer = Writer::new(self, target, draft.bytes(), guard).with_claim(old.claim());
        Ok(writer.replace_visible(draft, slot, old, guard)?.is_ok())
    }

    /// Fails where the options alone make no sense, before there is a value.
    pub(super) fn check_options(&self, options: &SetOptions) -> Result<()> {
        // What a function would answer is not known yet: any TTL stands for it.
        let any = Span { ttl: Duration::MAX, max_lifetime: None };
        options.span(|| Ok(self.settings.expiry.as_ref().map(|_| any))).map(drop)
    }

    /// What an entry that is written now is made from, apart from its value. Asks the expiry policy,
    /// whose function may take its time, panic, or call the cache: to be called without a guard.
    pub(super) fn header<'t>(
        &self,
        target: &Target<'t>,
        input: &V::Input<'_>,
        options: &SetOptions,
    ) -> Result<Header<'t>> {
        let version = Version::next();
        let span = options.span(|| {
            let Some(policy) = &self.settings.expiry else { return Ok(None) };
            policy.span(
                |function| function(target.namespace(), target.key, V::input_ref(input)),
                || mix(target.hash, version),
            )
        })?;
        let (created, deadline, sliding) = match span {
            Some(span) => {
                let now = self.now();
                let (deadline, sliding) = span.end(now);
                (now, deadline, sliding)
            }
            None => (self.stamp(), NEVER, None),
        };
        Ok(Header { key: target.key, created, deadline, sliding, version })
    }

    /// How the entry is going to be made.
    pub(super) fn plan(&self, header: &Header<'_>, input: &V::Input<'_>) -> Result<Plan> {
        let extent = V::extent(input, |value| {
            self.settings.weigher.as_ref().map_or(0, |weigher| weigher(value))
        });
        let limit = self.settings.max_value_bytes;
        if extent.len as usize > limit {
            return Err(Error::new(ErrorKind::ValueTooLarge { limit }));
        }
        Ok(Draft::<V, Node>::plan(header, extent))
    }

    /// An entry that holds `input`.
    pub(super) fn draft(
        &self,
        header: &Header<'_>,
        input: V::Input<'_>,
        plan: &Plan,
    ) -> Result<Draft<V, Node>> {
        // With what belongs to it: nothing is to be evicted for what cannot fit.
        if plan.bytes().saturating_add(INSERT_BYTES) > self.budget.max() {
            return Err(Error::with_detail(
                ErrorKind::CapacityExceeded,
                "the entry alone is larger than max_bytes",
            ));
        }
        Ok(Draft::with_value(header, input, plan, |layout| {
            self.stash().take_block(layout, &self.retired)
        }))
    }
}

/// Whether a write with the condition does nothing, given what stands there.
#[inline]
pub(super) fn is_hopeless<V: Value>(condition: Condition, sight: &Sight<'_, V>) -> bool {
    match (condition, sight) {
        (Condition::Absent, Sight::Present(..)) => true,
        (Condition::Version(version), Sight::Present(_, old)) => old.version() != version,
        (Condition::Present | Condition::Version(_), _) => !matches!(sight, Sight::Present(..)),
        _ => false,
    }
}
