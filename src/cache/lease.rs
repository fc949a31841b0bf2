//! One loader for each key, whose answer counts only if nobody wrote or deleted meanwhile.
//!
//! A lease is a placeholder entry: absent to reads, counted like any entry. Whoever takes it
//! out of its slot (a set, a delete of the key, the reclaim of a deleted session or user)
//! cancels the load; who comes after a delete never joins an older one.

use std::hash::BuildHasher;
use std::ptr;
use std::sync::Arc;

use crate::cache::core::{Core, Sight};
use crate::cache::counts::Loading;
use crate::cache::exit::Exit;
use crate::cache::scope::Scope;
use crate::cache::target::Target;
use crate::cache::writer::{Inserted, Intent, Writer};
use crate::clock::NEVER;
use crate::directory::Node;
use crate::error::{Error, ErrorKind, Result};
use crate::item::{Item, Version};
use crate::namespace::Namespace;
use crate::options::{Condition, SetOptions};
use crate::reclaim::{Guard, pin};
use crate::sync::thread_local;
use crate::table::{Draft, Flight, Header, Landing, Outcome, Owner, Seen, Slot};
use crate::value::{Blob, IntoValue, Value};

thread_local! {
    /// Loads whose loader is running on this thread, innermost last.
    #[cfg_attr(
        not(any(scopecache_loom, scopecache_shuttle)),
        expect(clippy::missing_const_for_thread_local, reason = "loom's macro has no such form")
    )]
    static LOADING: std::cell::RefCell<Vec<*const Flight>> = std::cell::RefCell::new(Vec::new());
}

/// The right to store the value of one key, as long as nobody writes or deletes it first.
///
/// Taken by [`Scope::lease`]; it keeps the cache alive. While it is held, the key is absent to reads, and calls of
/// `get_or_load` wait for it. Dropped without [`fulfil`](Self::fulfil), it is given up: those
/// who wait wake, and one of them becomes the next loader.
#[must_use = "a lease that is dropped is given up"]
pub struct Lease<V: Value = Blob, S: BuildHasher<Hasher: Clone> = ahash::RandomState> {
    scope: Scope<V, S>,
    key: Box<[u8]>,
    flight: Arc<Flight>,
}

/// How a call of `get_or_load` begins.
pub(super) enum Begin<V: Value> {
    Hit(Item<V>),
    /// A value that is to be refreshed, by the caller.
    Refresh(Item<V>),
    /// The caller is to load.
    Lead(Arc<Flight>),
    /// Somebody else is loading.
    Join(Arc<Flight>),
}

/// What a call that begins a load is after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// The value: one that is there is a hit.
    Value,
    /// The right to load, and no value.
    Lease,
}

/// A loader that is running on this thread; ends with the scope.
pub(super) struct Running(*const Flight);

impl Running {
    pub(super) fn new(flight: &Arc<Flight>) -> Self {
        let flight = Arc::as_ptr(flight);
        LOADING.with(|loading| loading.borrow_mut().push(flight));
        Self(flight)
    }

    /// Fails where waiting for the flight would be waiting for oneself.
    pub(super) fn check_not_inside(flight: &Arc<Flight>) -> Result<()> {
        let flight = Arc::as_ptr(flight);
        if LOADING.with(|loading| loading.borrow().contains(&flight)) {
            return Err(Error::with_detail(
                ErrorKind::Conflict,
                "a loader asked for the key that it is loading",
            ));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not always the last: futures of several loads may be polled in any nesting.
        LOADING.with(|loading| {
            let mut loading = loading.borrow_mut();
            if let Some(at) = loading.iter().rposition(|&flight| ptr::eq(flight, self.0)) {
                loading.remove(at);
            }
        });
    }
}

impl<V: Value, S> Core<V, S> {
    /// The visible item, or a place in the load of the key.
    pub(super) fn begin_load(&self, target: &Target<'_>, asks: Asks) -> Result<Begin<V>> {
        self.check_open()?;
        self.relieve()?;
        let guard = pin();
        let sight = self.look(target, &guard);
        match sight {
            Sight::Present(ref slot, entry) => {
                if asks == Asks::Value {
                    self.count_hit(entry);
                    if self.claim_if_due(entry) {
                        return Ok(Begin::Refresh(self.item(entry)));
                    }
                    self.slide(target, *slot, entry, &guard);
                }
                return Ok(Begin::Hit(self.item(entry)));
            }
            // To join it, its node must be alive after it was seen; a flag only ever dies, so
            // who finds it alive here may join: the death, if it comes, cancels the load.
            Sight::Loading(_, entry) if !entry.owner().is_dead() => {
                return Ok(join(entry));
            }
            _ => {}
        }
        let flight = Arc::new(Flight::new());
        let header = Header {
            key: target.key,
            created: self.clock.stamp(),
            deadline: NEVER,
            sliding: None,
            version: Version::next(),
        };
        let draft = Draft::placeholder(&header, Arc::clone(&flight));
        self.make_way(target, &sight, draft.bytes(), &guard)?;
        let mut writer =
            Writer::new(self, target, draft.bytes(), &guard).with_intent(Intent::Lease);
        writer.after(&sight);
        Ok(match writer.insert(draft, &guard)? {
            Inserted::Stored => Begin::Lead(flight),
            Inserted::Met(entry) if entry.flight().is_some() => join(entry),
            Inserted::Met(entry) => Begin::Hit(self.item(entry)),
        })
    }

    /// Counts a load that begins, as a miss; and its end, once it is told.
    pub(super) fn begin_count(&self, namespace: Namespace<'_>) -> Loading<'_> {
        self.count_missed(namespace);
        Loading::new(self.settings.counts.as_deref())
    }

    /// Puts the value in the place of the flight's placeholder; its version is `None` where that
    /// is gone. `show` sees the entry before it is published.
    fn land<R>(
        &self,
        target: &Target<'_>,
        flight: &Arc<Flight>,
        input: V::Input<'_>,
        options: &SetOptions,
        show: impl FnOnce(&Draft<V, Node>) -> R,
    ) -> Result<(R, Option<Version>)> {
        self.check_open()?;
        let header = self.header(target, &input, options)?;
        let plan = self.plan(&header, &input)?;
        let (version, bytes) = (header.version, plan.bytes());
        self.relieve()?;
        if self.is_large(bytes) {
            {
                let guard = pin();
                self.make_way(target, &self.look(target, &guard), bytes, &guard)?;
            }
            self.make_room_in_steps(target.hash, bytes)?;
        }
        self.come_near_quota(target, bytes, Condition::Always)?;
        let guard = pin();
        let mut draft = self.draft(&header, input, &plan)?;
        let mut writer =
            Writer::new(self, target, bytes, &guard).with_keep_ttl(options.keeps_ttl());
        let shown = show(&draft);
        loop {
            let Some((slot, placeholder)) = self.placeholder(target, flight, &guard) else {
                flight.land(Outcome::Cancelled);
                return Ok((shown, None));
            };
            if placeholder.owner().is_dead() && !planted!("fulfil_ignores_death") {
                self.unlink(target.hash, &slot, placeholder, Exit::NeverLived);
                return Ok((shown, None));
            }
            if planted!("stored_before_swap") {
                flight.land(Outcome::Stored);
            }
            match writer.fulfil(draft, &slot, placeholder, flight, &guard)? {
                Ok(_) => return Ok((shown, Some(version))),
                Err(back) => draft = back,
            }
        }
    }

    /// Takes the flight's placeholder out, if it is still there.
    pub(super) fn give_up(&self, target: &Target<'_>, flight: &Arc<Flight>) {
        let guard = pin();
        while let Some((slot, placeholder)) = self.placeholder(target, flight, &guard) {
            if self.unlink(target.hash, &slot, placeholder, Exit::NeverLived) {
                break;
            }
        }
        // It may have been taken out before it was seen live; whoever joined it must wake.
        flight.land(Outcome::Cancelled);
    }

    fn placeholder<'g>(
        &'g self,
        target: &Target<'_>,
        flight: &Arc<Flight>,
        guard: &'g Guard,
    ) -> Option<(Slot<'g, V, Node>, Seen<'g, V, Node>)> {
        self.table
            .probe(target.hash, guard)
            .find(|(_, entry)| entry.flight().is_some_and(|found| Arc::ptr_eq(found, flight)))
    }
}

fn join<V: Value>(entry: Seen<'_, V, Node>) -> Begin<V> {
    let flight = entry.flight().expect("only placeholders are joined");
    Begin::Join(Arc::clone(flight))
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Lease<V, S> {
    pub(super) fn new(scope: &Scope<V, S>, key: &[u8], flight: Arc<Flight>) -> Self {
        Self { scope: scope.clone(), key: key.into(), flight }
    }

    /// Stores the value, unless the key was written or deleted since the lease was taken; then
    /// it answers `None`, and whatever came since stands.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::set`]; the lease is given up then.
    pub fn fulfil(self, value: impl IntoValue<V>) -> Result<Option<Version>> {
        self.fulfil_with(value, SetOptions::new())
    }

    /// As [`fulfil`](Self::fulfil), with options.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::set_with`]; the lease is given up then.
    pub fn fulfil_with(
        self,
        value: impl IntoValue<V>,
        options: SetOptions,
    ) -> Result<Option<Version>> {
        let target = self.scope.target(&self.key)?;
        let core = self.scope.core();
        value.with_input(|input| {
            let ((), version) = core.land(&target, &self.flight, input, &options, |_| ())?;
            Ok(version)
        })
    }

    /// Stores what was loaded if it may, and answers it in any case.
    pub(super) fn land(self, value: impl IntoValue<V>, options: SetOptions) -> Result<Item<V>> {
        let target = self.scope.target(&self.key)?;
        let core = self.scope.core();
        let wall_origin = core.clock.wall_origin();
        value.with_input(|input| {
            let (item, _) =
                core.land(&target, &self.flight, input, &options, |draft| draft.item(wall_origin))?;
            Ok(item)
        })
    }

    /// Whether the right to store is lost already.
    pub fn is_cancelled(&self) -> bool {
        self.flight.outcome() == Outcome::Cancelled
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Drop for Lease<V, S> {
    fn drop(&mut self) {
        if self.flight.outcome() == Outcome::Pending
            && let Ok(target) = self.scope.target(&self.key)
        {
            self.scope.core().give_up(&target, &self.flight);
        }
    }
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> std::fmt::Debug for Lease<V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// Waits, without blocking, until somebody else's load has ended.
pub(super) async fn landed(flight: Arc<Flight>) -> Result<()> {
    // Asked while it is polled: that is when a loader of this thread is known to be running.
    Running::check_not_inside(&flight)?;
    Landing(flight).await;
    Ok(())
}
