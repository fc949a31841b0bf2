//! Byte quotas of users: a write that would pass its user's quota takes the place of what the
//! user has, or is refused.
//!
//! What counts is what [`Scope::usage`](crate::Scope::usage) tells: the entries of the user and of
//! its sessions, with keys and headers, the placeholders of loads and what has expired and was not
//! yet taken out included; not the nodes, nor what the cache as a whole takes for queues and
//! wheels.
//!
//! - **Within the quota** is decided by the [charge](crate::directory::Charge) that a writer takes
//!   before its entry can be seen. What does not grow needs none.
//! - **Over it**, a cache that evicts lets a [hand](hand::Hand) go round the user's handles. It takes
//!   out what has expired, spares whoever has credit and takes some of that away, and takes out who
//!   has none; after [`SPARED`] in a row it spares nobody. Nothing of another user is touched, and
//!   nobody waits for the hand: who finds it in use takes another.
//! - **Far over it** (the quota was lowered, or the entry is large) room is made in steps between
//!   which what goes can be freed: by maintenance, and by writers before they take their guard.

mod hand;

use std::hash::BuildHasher;

pub(crate) use self::hand::Hands;
use self::hand::Next;
use crate::cache::Cache;
use crate::cache::core::{Core, Sight};
use crate::cache::exit::Exit;
use crate::cache::maintenance::{Job, Progress};
use crate::cache::room::back_off;
use crate::cache::target::{Target, is_of};
use crate::cache::upkeep::Room;
use crate::cache::write::is_hopeless;
use crate::directory::{Charge, NO_QUOTA, Node};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Namespace;
use crate::options::Condition;
use crate::reclaim::{Guard, pin};
use crate::table::{Owner, Seen, Slot, State};
use crate::value::Value;

/// Entries with credit that are spared before one of them goes.
const SPARED: u32 = 64;
/// Entries that one search takes out at most.
const AT_ONCE: u64 = 64;
/// Handles that a refused write looks at for what has expired; the wheel finds the rest.
const REFUSED_AFTER: usize = 1024;
/// How often a writer tries that finds nothing to take out: what others have charged is in the table
/// in a moment. In models a round takes no time.
const ROUNDS: u32 = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 2 } else { 64 };

/// What one search for room in a quota came to.
pub(super) struct Search {
    pub(super) room: Room,
    pub(super) progress: Progress,
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Cache<V, S> {
    /// Gives one user a quota of its own, in bytes, whatever
    /// [`user_quota`](crate::CacheBuilder::user_quota) says; `None` takes that back, `u64::MAX` is no
    /// bound.
    ///
    /// It holds from the next write on, and stays when the user is deleted, whether the user has
    /// data or not. A quota of zero refuses every write. Where the user has more than its new quota,
    /// a cache that evicts takes out as much of it in steps, by [maintenance](crate::Maintenance) and by
    /// the user's own writes; one that rejects keeps everything, and refuses what would grow.
    ///
    /// It takes about 100 bytes, which are not counted in `max_bytes`, as long as the user has a
    /// quota of its own.
    ///
    /// # Consistency
    ///
    /// A write that overlaps the call may be before it.
    ///
    /// # Errors
    ///
    /// `InvalidKey` for an id that is empty or longer than 256 bytes; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use scopecache::{Cache, ErrorKind};
    ///
    /// # fn main() -> scopecache::Result<()> {
    /// let cache: Cache = Cache::builder().user_quota(1 << 20).build()?;
    /// cache.set_user_quota("mallory", Some(0))?;
    /// let refused = cache.user("mallory")?.set("key", "value").unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    /// assert_eq!(cache.user_quota("ada")?, Some(1 << 20));
    /// # Ok(()) }
    /// ```
    pub fn set_user_quota(&self, user: &str, bytes: Option<u64>) -> Result<()> {
        self.core().set_user_quota(user, bytes)
    }

    /// Returns the quota of a user, in bytes: its own, or else that of all; `None` where it has none.
    ///
    /// # Errors
    ///
    /// As for [`set_user_quota`](Self::set_user_quota).
    pub fn user_quota(&self, user: &str) -> Result<Option<u64>> {
        let core = self.core();
        core.check_open()?;
        Namespace::User { user }.check()?;
        let quota = core.directory.quotas.of(user.as_bytes());
        Ok((quota != NO_QUOTA).then_some(quota))
    }
}

impl<V: Value, S> Core<V, S> {
    fn set_user_quota(&self, user: &str, bytes: Option<u64>) -> Result<()> {
        self.check_open()?;
        Namespace::User { user }.check()?;
        let guard = pin();
        if let Some(node) = self.directory.set_quota(user, bytes, &guard)
            && node.missing(0) > 0
            && self.settings.eviction.is_some()
        {
            self.maintenance.push(Job::trim(node));
            self.finish_if_closed();
        }
        Ok(())
    }

    /// Takes what an entry of `came` bytes adds in the place of one of `went` from its user's quota.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` where the entry alone is larger, or nothing of the user's may go.
    #[inline]
    pub(super) fn charge<'g>(
        &self,
        target: &Target<'_>,
        node: &'g Node,
        came: u64,
        went: u64,
        guard: &Guard,
    ) -> Result<Charge<'g>> {
        if self.directory.quotas.are_set() {
            self.charge_user(target, node, came, went, guard)
        } else {
            Ok(Charge::NONE)
        }
    }

    #[inline(never)]
    fn charge_user<'g>(
        &self,
        target: &Target<'_>,
        node: &'g Node,
        came: u64,
        went: u64,
        guard: &Guard,
    ) -> Result<Charge<'g>> {
        let Some(user) = node.payer() else { return Ok(Charge::NONE) };
        check(user.quota(), came, went)?;
        let growth = came.saturating_sub(went);
        if growth == 0 {
            return Ok(Charge::NONE);
        }
        match user.charge(growth) {
            Some(charge) => Ok(charge),
            None => self.charge_by_force(target, user, growth, guard),
        }
    }

    #[cold]
    fn charge_by_force<'g>(
        &self,
        target: &Target<'_>,
        user: &'g Node,
        growth: u64,
        guard: &Guard,
    ) -> Result<Charge<'g>> {
        let mut vain = 0;
        loop {
            let room = self.make_quota_room(user, growth, Some(target), guard).room;
            if let Some(charge) = user.charge(growth) {
                return Ok(charge);
            }
            match room {
                Room::Made => {}
                Room::HeldUp => return Err(Error::held_up()),
                Room::None if self.settings.eviction.is_some() && vain < ROUNDS => {
                    back_off(vain);
                    vain += 1;
                }
                Room::None => return Err(Error::new(ErrorKind::QuotaExceeded)),
            }
        }
    }

    /// Before a write takes room in the cache, to which others would have to give way: refuses
    /// what its user's quota never allows, and lets what the user has give way first. Whether the
    /// entry fits is decided by its [charge](Self::charge).
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` where the entry alone is larger.
    #[inline]
    pub(super) fn make_way<'g>(
        &'g self,
        target: &Target<'_>,
        sight: &Sight<'g, V>,
        came: u64,
        guard: &'g Guard,
    ) -> Result<()> {
        if self.directory.quotas.are_set() {
            self.make_way_over(target, seen(sight), came, guard)
        } else {
            Ok(())
        }
    }

    /// As [`make_way`](Self::make_way), for an entry that takes the place of `old`.
    #[inline(never)]
    fn make_way_over<'g>(
        &'g self,
        target: &Target<'_>,
        old: Option<Seen<'g, V, Node>>,
        came: u64,
        guard: &'g Guard,
    ) -> Result<()> {
        let went = old.map_or(0, |old| old.bytes());
        let node = match old {
            Some(old) => Some(old.owner()),
            None => self.node_of(target, guard),
        };
        match (node, target.namespace()) {
            (Some(node), _) => {
                let Some(user) = node.payer() else { return Ok(()) };
                check(user.quota(), came, went)?;
                let growth = came.saturating_sub(went);
                if growth > 0 && user.missing(growth) > 0 {
                    self.make_quota_room(user, growth, Some(target), guard);
                }
                Ok(())
            }
            (None, Namespace::User { user } | Namespace::Session { user, .. }) => {
                check(self.directory.quotas.of(user.as_bytes()), came, went)
            }
            (None, Namespace::Global) => Ok(()),
        }
    }

    /// A node by which the target's user is reached: that of the namespace, or the user's own.
    fn node_of<'g>(&'g self, target: &Target<'_>, guard: &'g Guard) -> Option<&'g Node> {
        let known = self.known(target, guard).filter(|node| !node.is_dead());
        known.or_else(|| match target.namespace() {
            Namespace::Global => None,
            Namespace::User { user } | Namespace::Session { user, .. } => {
                self.directory.find(Namespace::User { user }, guard)
            }
        })
    }

    /// Before a write of so many bytes takes its guard: brings its user near enough to its quota for
    /// one write.
    #[inline]
    pub(super) fn come_near_quota(
        &self,
        target: &Target<'_>,
        bytes: u64,
        condition: Condition,
    ) -> Result<()> {
        if self.directory.quotas.are_set() && self.is_far_over(target, bytes, &pin()) {
            self.trim_in_steps(target, bytes, condition)
        } else {
            Ok(())
        }
    }

    #[inline(never)]
    fn is_far_over(&self, target: &Target<'_>, bytes: u64, guard: &Guard) -> bool {
        let user = self.known(target, guard).and_then(Node::payer);
        user.is_some_and(|user| user.missing(bytes) > self.quota_step())
    }

    /// What one write may take out under its guard.
    fn quota_step(&self) -> u64 {
        self.settings.max_retired_bytes / 8
    }

    #[cold]
    fn trim_in_steps(&self, target: &Target<'_>, bytes: u64, condition: Condition) -> Result<()> {
        loop {
            let guard = pin();
            let sight = self.look(target, &guard);
            if is_hopeless(condition, &sight) {
                return Ok(());
            }
            let went = seen(&sight).map_or(0, |old| old.bytes());
            let growth = bytes.saturating_sub(went);
            let user = self.known(target, &guard).and_then(Node::payer);
            let Some(user) = user.filter(|user| {
                growth <= user.quota()
                    && user.missing(growth) > self.quota_step()
                    && self.settings.eviction.is_some()
            }) else {
                return Ok(());
            };
            if self.make_quota_room(user, growth, Some(target), &guard).room == Room::None {
                return Ok(());
            }
            drop(guard);
            self.flush();
            self.relieve()?;
        }
    }

    /// Takes out what a user has until `growth` more bytes fit into its quota, or enough for one
    /// call; never the entry of `spared`.
    pub(super) fn make_quota_room(
        &self,
        user: &Node,
        growth: u64,
        spared: Option<&Target<'_>>,
        guard: &Guard,
    ) -> Search {
        let mut search = Search { room: Room::Made, progress: Progress::default() };
        let evicts = self.settings.eviction.is_some();
        self.hands.lend(user, |hand| {
            let (mut laps, mut credited) = (0, 0);
            while user.missing(growth) > 0 && search.progress.freed_entries < AT_ONCE {
                let handle = match hand.next(user, guard) {
                    Next::Handle(handle) => handle,
                    // The first may have begun anywhere.
                    Next::Lap if laps < 2 => {
                        laps += 1;
                        continue;
                    }
                    Next::Lap => {
                        search.room = Room::None;
                        break;
                    }
                };
                search.progress.examined += 1;
                if !evicts && search.progress.examined > REFUSED_AFTER {
                    search.room = Room::None;
                    break;
                }
                for (slot, entry) in self.table.probe(handle, guard) {
                    if !user.pays_for(entry.owner())
                        || spared.is_some_and(|target| is_of(entry, target, std::ptr::null()))
                    {
                        continue;
                    }
                    match self.strike(handle, &slot, entry, credited < SPARED) {
                        Struck::Gone => {
                            search.progress.freed_entries += 1;
                            (laps, credited) = (0, 0);
                            if user.missing(growth) == 0 {
                                break;
                            }
                        }
                        Struck::Spared => credited += 1,
                        Struck::HeldUp => search.room = Room::HeldUp,
                        Struck::Untouched => {}
                    }
                }
                if search.room == Room::HeldUp {
                    break;
                }
            }
        });
        search
    }

    /// Takes out an entry over which the hand has come, or spares it.
    fn strike<'g>(
        &'g self,
        hash: u64,
        slot: &Slot<'g, V, Node>,
        entry: Seen<'g, V, Node>,
        spares: bool,
    ) -> Struck {
        let stands = entry.state() == State::Live
            && entry.flight().is_none()
            && entry.track().is_some()
            && !entry.owner().is_dead();
        if !stands {
            return Struck::Untouched;
        }
        let exit = if entry.is_expired(|| self.now()) { Exit::Expired } else { Exit::Evicted };
        if exit == Exit::Evicted {
            if self.settings.eviction.is_none() {
                return Struck::Untouched;
            }
            if spares && let credit @ 1.. = entry.credit() {
                entry.set_credit(credit - 1);
                return Struck::Spared;
            }
        }
        if !self.may_retire(entry.bytes()) {
            return Struck::HeldUp;
        }
        if self.unlink(hash, slot, entry, exit) { Struck::Gone } else { Struck::Untouched }
    }

    /// Does a part of what brings a user under its quota.
    pub(super) fn trim(&self, user: &Node, progress: &mut Progress, guard: &Guard) -> Trimmed {
        if user.is_dead() {
            return Trimmed::Done;
        }
        let search = self.make_quota_room(user, 0, None, guard);
        progress.examined += search.progress.examined.max(1);
        progress.freed_entries += search.progress.freed_entries;
        match search.room {
            Room::HeldUp => Trimmed::HeldUp,
            Room::Made if user.missing(0) > 0 => Trimmed::InPart,
            // Nothing may go: a write that grows finds the quota full.
            Room::Made | Room::None => Trimmed::Done,
        }
    }
}

/// What one step of maintenance did about a user over its quota.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trimmed {
    Done,
    InPart,
    /// Readers with old guards keep too much from being freed.
    HeldUp,
}

/// What became of an entry over which the hand came.
enum Struck {
    Gone,
    /// It had credit, and has less now.
    Spared,
    /// Too much is retired for it to go.
    HeldUp,
    Untouched,
}

/// The entry that a write would take the place of.
#[inline]
fn seen<'g, V: Value>(sight: &Sight<'g, V>) -> Option<Seen<'g, V, Node>> {
    match sight {
        Sight::Absent | Sight::Nothing => None,
        Sight::Present(_, old) | Sight::Loading(_, old) => Some(*old),
    }
}

/// # Errors
///
/// `QuotaExceeded` for an entry that never fits, unless it takes the place of a larger one.
fn check(quota: u64, came: u64, went: u64) -> Result<()> {
    if came <= quota || (came <= went && quota > 0) {
        return Ok(());
    }
    let detail = "the entry alone is larger than the quota";
    Err(Error::with_detail(ErrorKind::QuotaExceeded, detail))
}
