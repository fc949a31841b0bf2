//! A node: the record of one incarnation of a user, a session, or the global namespace.
//!
//! ```text
//!  48 bytes that reads touch     72 that inserts and removals write
//! ┌─────┬──────┬──────┬──────┐ ┌──────────┬──────┬──────┬───────┬──────────────────────┐
//! │ kin │ dead │ kind │ name │ │ shortcut │ refs │ word │ bytes │ handles (few inline) │
//! └─────┴──────┴──────┴──────┘ └──────────┴──────┴──────┴───────┴──────────────────────┘
//! ```
//!
//! The node is the incarnation: deleting a namespace is one swap of `dead`, and who comes back
//! gets another node. Entries point to their node, so whether an entry is visible is read off
//! the node, and nothing has to be done to the entries for them to be gone.
//!
//! # Life
//!
//! `word` counts what needs the node in the directory: entries in slots, setters in flight and,
//! for a user, open sessions. Who brings it to zero closes it ([`CLOSED`]), for good: a raise
//! that meets the mark looks the namespace up again. `refs` counts references to the memory:
//! one for being open (dropped through the epochs, since entries and the directory hold bare
//! pointers), one for each scope, each open session of a user, each pending reclaim.

mod death;
mod name;
mod quota;
mod reference;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use std::mem::ManuallyDrop;

use self::death::ALIVE;
pub(crate) use self::death::Death;
use self::name::Name;
pub(crate) use self::quota::Charge;
pub(crate) use self::reference::NodeRef;
use crate::directory::garbage::retire_node;
use crate::directory::handles::Handles;
use crate::directory::names::SessionNames;
use crate::item::Usage;
use crate::memory::prefetch;
use crate::namespace::Namespace;
use crate::reclaim::Guard;
use crate::removal::Names;
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::figures;
use crate::sync::{Mutex, Tracked};
use crate::table::Owner;
use crate::value::allocated;

/// In `word`: the node is out of the directory.
const CLOSED: u64 = 1 << 63;
/// In `word`: a deleted session, whose entries no longer count in its user's totals.
const APART: u64 = 1 << 62;
/// In `word`: the count.
const COUNT: u64 = APART - 1;
/// In `bytes`: as `APART`.
const BYTES_APART: u64 = 1 << 63;
/// In `bytes`: what stands for zero. An entry may be booked out before it is booked in, and the
/// sum below zero that this makes must not reach the mark.
const NO_BYTES: u64 = 1 << 62;

// Not aligned to cache lines: an allocator that is asked for that leaves a hole of most of a node's
// size beside each. What every read touches stands in the first 16 bytes, which are in one line
// anyway.
#[repr(C)]
pub(crate) struct Node {
    // What reads touch.
    kin: Kin,
    /// [`ALIVE`], or a [`Death`].
    dead: AtomicU8,
    kind: Kind,
    name: Name,

    // What writes touch.
    /// The short hash under which it has a shortcut.
    shortcut: AtomicU32,
    refs: AtomicU32,
    word: AtomicU64,
    /// Of a session its own; of a user its own and those of its open sessions, and what writers
    /// have taken of its quota in advance.
    bytes: figures::AtomicU64,
    handles: Handles,
    _tracked: Tracked,
}

/// What ties a node to others; its `kind` says which it is.
union Kin {
    /// Of the global namespace.
    none: (),
    /// Of a user.
    sessions: ManuallyDrop<Box<Sessions>>,
    /// Of a session.
    user: ManuallyDrop<NodeRef>,
}

/// What a user has besides what every node has.
pub(crate) struct Sessions {
    pub(crate) names: Mutex<SessionNames>,
    /// Entries of the user and of its open sessions, setters in flight there included.
    entries: figures::AtomicU64,
    /// Bytes that the user and its open sessions may hold together.
    quota: figures::AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Global,
    User,
    Session,
}

/// In `shortcut`: nobody has made one.
const NO_SHORTCUT: u32 = u32::MAX;

/// What [`Node::release`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    InUse,
    /// Nothing needs it any more: it is to be retired.
    Empty,
}

impl Owner for Node {
    /// Whether the namespace, or the user that it belongs to, was deleted.
    #[inline]
    fn is_dead(&self) -> bool {
        // Acquire: pairs with the AcqRel of `kill`: who sees a death sees what came before it.
        self.dead.load(Ordering::Acquire) != ALIVE
            || (!planted!("no_user_flag")
                && self
                    .user()
                    // Acquire: as above.
                    .is_some_and(|user| user.dead.load(Ordering::Acquire) != ALIVE))
    }

    fn same_namespace(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name.bytes() == other.name.bytes()
            && match (self.user(), other.user()) {
                (Some(one), Some(two)) => one.name.bytes() == two.name.bytes(),
                (one, two) => one.is_none() && two.is_none(),
            }
    }
}

impl Node {
    /// Starts to fetch what `is_dead` will read into the cache.
    #[inline]
    pub(crate) fn prefetch_flags(&self) {
        match self.user() {
            Some(user) => prefetch(user.as_ptr().as_ptr()),
            None => prefetch(self),
        }
    }

    /// Starts to fetch what an insertion or a deletion counts in into the cache, here and in the user.
    #[inline]
    pub(crate) fn prefetch_counts(&self) {
        prefetch(&self.word);
        prefetch(&self.handles);
        let user: &Self = match self.user() {
            Some(user) => user,
            None => self,
        };
        prefetch(&user.bytes);
        user.sessions().inspect(|sessions| prefetch(&sessions.entries));
    }

    /// Starts to fetch what `is_named` will read into the cache.
    #[inline]
    pub(crate) fn prefetch_name(&self) {
        prefetch(self);
        // Where it may end.
        prefetch(&self.shortcut);
    }

    /// Whether this is an incarnation of the namespace.
    #[inline]
    pub(crate) fn is_named(&self, namespace: Namespace<'_>) -> bool {
        match namespace {
            Namespace::Global => self.kind == Kind::Global,
            Namespace::User { user } => {
                self.kind == Kind::User && self.name.bytes() == user.as_bytes()
            }
            Namespace::Session { user, session } => {
                self.kind == Kind::Session
                    && self.name.bytes() == session.as_bytes()
                    && self.user().is_some_and(|node| node.name.bytes() == user.as_bytes())
            }
        }
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.name.bytes()
    }

    /// The id as a string; ids come from `&str`s.
    pub(crate) fn id(&self) -> String {
        String::from_utf8_lossy(self.name.bytes()).into_owned()
    }

    /// The namespace whose incarnation this is.
    pub(crate) fn with_namespace<R>(&self, f: impl FnOnce(Namespace<'_>) -> R) -> R {
        let own = self.id();
        match (self.kind, self.user()) {
            (Kind::Session, Some(user)) => {
                f(Namespace::Session { user: &user.id(), session: &own })
            }
            (Kind::Global, _) => f(Namespace::Global),
            _ => f(Namespace::User { user: &own }),
        }
    }

    /// The full name of a key that it owns.
    pub(crate) fn names<'a>(&'a self, key: &'a [u8]) -> Names<'a> {
        let own = Some(self.name.bytes());
        match (self.kind, self.user()) {
            (Kind::Session, Some(user)) => {
                Names { user: Some(user.name.bytes()), session: own, key }
            }
            (Kind::Global, _) => Names { user: None, session: None, key },
            _ => Names { user: own, session: None, key },
        }
    }

    /// The highest short hash of a shortcut.
    pub(super) const MOST_SHORTCUT: u32 = NO_SHORTCUT >> 1;

    /// Says where the caller, who holds a count, is about to make a shortcut; `false` where there
    /// may be one elsewhere already. A hasher that contradicts itself must not get a node into two
    /// places, since it is taken out of one.
    pub(super) fn claim_shortcut(&self, hash: u32) -> bool {
        // Relaxed: read by the closer, who sees what was done under the counts.
        let known = self.shortcut.compare_exchange(
            NO_SHORTCUT,
            hash,
            Ordering::Relaxed,
            Ordering::Relaxed, // Relaxed: as above.
        );
        known.is_ok() || known == Err(hash)
    }

    /// The short hash of its shortcut, if it ever had one.
    pub(super) fn shortcut(&self) -> Option<u32> {
        // Relaxed: as above.
        let hash = self.shortcut.load(Ordering::Relaxed);
        (hash != NO_SHORTCUT).then_some(hash)
    }

    /// Of a session, its user.
    #[inline]
    pub(crate) fn user(&self) -> Option<&NodeRef> {
        // SAFETY: written together with `kind`, and neither changes.
        (self.kind == Kind::Session).then(|| unsafe { &*self.kin.user })
    }

    pub(crate) fn is_global(&self) -> bool {
        self.kind == Kind::Global
    }

    /// Of a user, its sessions.
    #[inline]
    pub(crate) fn sessions(&self) -> Option<&Sessions> {
        // SAFETY: as in `user`.
        (self.kind == Kind::User).then(|| unsafe { &**self.kin.sessions })
    }

    pub(crate) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Whether this node itself was deleted, whatever its user.
    pub(crate) fn is_killed(&self) -> bool {
        // Acquire: as in `is_dead`.
        self.dead.load(Ordering::Acquire) != ALIVE
    }

    /// Deletes the namespace: **the linearization point of a deletion.** Answers what it held,
    /// or `None` where somebody else has deleted it.
    pub(crate) fn kill(&self, death: Death) -> Option<Usage> {
        // AcqRel: pairs with `is_dead`; a read-modify-write, so that one deleter wins, whose death
        // it is. Relaxed failure: there is nothing to be done.
        self.dead.compare_exchange(ALIVE, death as u8, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        let Some((user, sessions)) = self.user_totals() else { return Some(self.usage()) };
        // From these two moments on the session no longer counts in its user's totals. Each
        // change of it is either before its moment, and was or will be added to the totals, or
        // after it, and sees the mark: sums commute, so nothing is lost or counted twice.
        // Relaxed: figures; the read-modify-writes of each word have one order.
        let entries = self.word.fetch_or(APART, Ordering::Relaxed) & COUNT;
        let bytes = self.bytes.fetch_or(BYTES_APART, Ordering::Relaxed).wrapping_sub(NO_BYTES);
        // Relaxed: as above.
        sessions.entries.fetch_sub(entries, Ordering::Relaxed);
        user.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(Usage { entries, bytes: not_below_zero(bytes) })
    }

    /// Of a session, where its user keeps the totals.
    fn user_totals(&self) -> Option<(&Self, &Sessions)> {
        let user = self.user()?;
        Some((user, user.sessions()?))
    }

    /// Counts one more need of the node, unless it is closed.
    ///
    /// The count of a closed node may be anything.
    pub(crate) fn raise(&self) -> bool {
        // AcqRel: orders against the close: who raised first is counted, who comes later sees
        // the mark and what the closer did.
        let before = self.word.fetch_add(1, Ordering::AcqRel);
        if before & CLOSED != 0 && !planted!("no_closed_check") {
            return false;
        }
        self.count_in_user(before, 1);
        true
    }

    /// Counts a fresh session's first need in its user's totals.
    pub(crate) fn count_first(&self) {
        self.count_in_user(0, 1);
    }

    /// Counts one need less.
    pub(crate) fn release(&self) -> Released {
        // AcqRel: whoever closes must see all that was done under the counts.
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & COUNT > 0, "released more often than raised");
        self.count_in_user(before, -1);
        if before & COUNT == 1 { Released::Empty } else { Released::InUse }
    }

    /// Adds to the entries of the user, unless the session was deleted when its own count
    /// changed.
    fn count_in_user(&self, word: u64, change: i64) {
        if word & APART == 0
            && let Some((_, sessions)) = self.user_totals()
        {
            // Relaxed: a statistic; wraps below zero only in between.
            sessions.entries.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Closes the node if nothing needs it; one caller wins.
    pub(crate) fn close(&self) -> bool {
        // Relaxed: the compare-exchange verifies it.
        let word = self.word.load(Ordering::Relaxed);
        if word & (COUNT | CLOSED) != 0 {
            return false;
        }
        if planted!("close_unverified") {
            // AcqRel: as below.
            return self.word.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0;
        }
        // AcqRel: see `raise` and `release`. Relaxed failure: somebody raised it or closed it. No mark
        // of a deletion comes in between: a session gets that under its user's lock, as it closes.
        self.word.compare_exchange(word, word | CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: see `raise`.
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Entries, setters in flight and open sessions.
    pub(crate) fn count(&self) -> u64 {
        // Relaxed: a statistic, orders nothing.
        self.word.load(Ordering::Relaxed) & COUNT
    }

    /// Books an entry of this node that came, and one that went where it was replaced. What was
    /// charged for it is in the user's total already.
    #[inline]
    pub(crate) fn book(&self, came: Option<u64>, went: Option<u64>, charge: Charge<'_>) {
        let change = came.unwrap_or(0).wrapping_sub(went.unwrap_or(0));
        let charged = charge.spend();
        debug_assert!(charged == 0 || charged == change, "charged {charged}, not {change}");
        if change != 0 {
            let own =
                if self.kind == Kind::Session { change } else { change.wrapping_sub(charged) };
            // Relaxed: statistics; they wrap below zero only in between.
            let before = self.bytes.fetch_add(own, Ordering::Relaxed);
            if let Some(user) = self.user() {
                // Of a session that was deleted the user's total has nothing any more.
                let of_user = if before & BYTES_APART == 0 { change } else { 0 };
                if of_user != charged {
                    user.bytes.fetch_add(of_user.wrapping_sub(charged), Ordering::Relaxed);
                }
            }
        }
        // A session's entries are counted with its word.
        if let Some(sessions) = self.sessions() {
            let change = i64::from(came.is_some()) - i64::from(went.is_some());
            if change != 0 {
                // Relaxed: as above.
                sessions.entries.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
            }
        }
    }

    /// What the namespace holds; for a user its sessions included.
    pub(crate) fn usage(&self) -> Usage {
        let entries = match self.sessions() {
            // Relaxed: a statistic, orders nothing.
            Some(sessions) => not_below_zero(sessions.entries.load(Ordering::Relaxed)),
            // One is the global namespace's own.
            None => self.count().saturating_sub(u64::from(self.is_global())),
        };
        // Relaxed: a statistic, orders nothing.
        let bytes = self.bytes.load(Ordering::Relaxed) & !BYTES_APART;
        Usage { entries, bytes: not_below_zero(bytes.wrapping_sub(NO_BYTES)) }
    }

    /// Bytes of the node itself, without its handles.
    pub(crate) fn own_bytes(&self) -> u64 {
        Self::bytes_for(self.name.bytes().len(), self.kind == Kind::User)
    }

    /// Bytes of a node whose id has this length.
    pub(crate) fn bytes_for(name_len: usize, is_user: bool) -> u64 {
        // A place in the map of names, at its usual load.
        const PLACE: usize = 16;
        let name = Name::heap_bytes(name_len);
        let sessions = if is_user { allocated(size_of::<Sessions>()) } else { 0 };
        (allocated(size_of::<Self>()) + name + sessions + PLACE) as u64
    }

    /// Drops the reference for being open, once no guard can have come by the node through an
    /// entry or the directory.
    ///
    /// # Safety
    ///
    /// Called once, by who [closed](Self::close) it and took it out of the directory; no entry in a
    /// slot points to it.
    pub(crate) unsafe fn retire(&self, guard: &Guard) {
        if planted!("leak_node") {
            return;
        }
        // SAFETY: passed on to the caller.
        unsafe { retire_node(self, guard) };
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: as in `user`; each is dropped here alone.
        unsafe {
            match self.kind {
                Kind::Global => {}
                Kind::User => ManuallyDrop::drop(&mut self.kin.sessions),
                Kind::Session => ManuallyDrop::drop(&mut self.kin.user),
            }
        }
    }
}

/// A sum of changes that was read in the middle of one may be below zero.
fn not_below_zero(sum: u64) -> u64 {
    if sum.cast_signed() < 0 { 0 } else { sum }
}

#[cfg(all(test, target_pointer_width = "64", not(any(scopecache_loom, scopecache_shuttle))))]
const _: () = {
    assert!(allocated(size_of::<Node>()) == size_of::<Node>() + 8, "no byte is wasted");
    assert!(std::mem::offset_of!(Node, shortcut) == 48, "what reads touch is together");
    assert!(allocated(size_of::<Sessions>()) == 64, "a quota fills what an allocator wastes");
};
