//! Who there is: users, their sessions, and the handles of their entries.
//!
//! ```text
//!  users (map) ──► user node ── sessions (map) ──► session node
//!                     │  ▲                            │    │
//!                  handles └────────── user ──────────┘  handles
//! ```
//!
//! A namespace needs no creation: the first set makes its node ([`Directory::resolve`]), and
//! the last removal takes it away again ([`Directory::release`]). The locks of the maps are
//! taken for nothing else. Every method that looks at nodes wants a guard: nodes are reached by
//! bare pointers and freed through the epochs.

mod garbage;
mod handles;
mod names;
mod node;
mod quotas;
mod shortcuts;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;

use ahash::RandomState;

pub(crate) use self::garbage::{free_garbage, hand_over_garbage};
pub(crate) use self::handles::{CHUNK_BYTES, Detached};
use self::names::UserNames;
use self::node::Released;
pub(crate) use self::node::{Charge, Death, Node, NodeRef};
pub(crate) use self::quotas::{NO_QUOTA, Quotas};
pub(crate) use self::shortcuts::Shortcuts;
use crate::budget::Account;
use crate::error::{Error, ErrorKind, Result};
use crate::item::Usage;
use crate::namespace::Namespace;
use crate::reclaim::Guard;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::sync::figures::AtomicUsize;
use crate::table::Owner;

pub(crate) struct Directory {
    users: UserNames,
    pub(crate) shortcuts: Shortcuts,
    pub(crate) quotas: Quotas,
    /// The present incarnation of the global namespace; never null.
    global: AtomicPtr<Node>,
    /// Held while a new incarnation of it is put up.
    renewal: Mutex<()>,
    hasher: RandomState,
    closed: AtomicBool,
    open_sessions: AtomicUsize,
}

impl Directory {
    /// `user_quota` is the usual one, or [`NO_QUOTA`].
    pub(crate) fn new(shortcuts: Shortcuts, user_quota: u64) -> Self {
        // Models must take the same steps each time they are run.
        let hasher = if cfg!(any(scopecache_loom, scopecache_shuttle)) {
            RandomState::with_seeds(1, 2, 3, 4)
        } else {
            RandomState::new()
        };
        Self {
            users: UserNames::new(hasher.clone()),
            shortcuts,
            quotas: Quotas::new(user_quota, hasher.clone()),
            global: AtomicPtr::new(NodeRef::global().into_raw().as_ptr()),
            renewal: Mutex::new(()),
            hasher,
            closed: AtomicBool::new(false),
            open_sessions: AtomicUsize::new(0),
        }
    }

    /// The namespace's node, if it has one.
    pub(crate) fn find<'g>(&self, namespace: Namespace<'_>, guard: &'g Guard) -> Option<&'g Node> {
        match namespace {
            Namespace::Global => Some(self.global(guard)),
            Namespace::User { user } => self.users.read(user, guard, |node| node),
            Namespace::Session { user, session } => {
                let user = self.users.read(user, guard, |node| node)?;
                let names = user.sessions()?.names.lock();
                let node: *const Node = names.get(session, &self.hasher)?;
                // SAFETY: read from the map under the guard.
                Some(unsafe { &*node })
            }
        }
    }

    /// The namespace's node with its count raised, made if need be.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where a node is needed and `account` has no room for it; `Closed`.
    pub(crate) fn resolve<'g>(
        &self,
        namespace: Namespace<'_>,
        account: Account<'_>,
        guard: &'g Guard,
    ) -> Result<&'g Node> {
        loop {
            if self.is_closed() {
                return Err(Error::new(ErrorKind::Closed));
            }
            let node = match namespace {
                Namespace::Global => self.raised_global(guard),
                Namespace::User { user } => self.raised_user(user, account, guard)?,
                Namespace::Session { user, session } => {
                    let user = self.raised_user(user, account, guard)?;
                    self.raised_session(user, session, account, guard)?
                }
            };
            if !node.is_dead() {
                return Ok(node);
            }
            self.release(node, account, guard);
            if node.is_global() {
                // Its deletion is under way: its successor is there once the lock is free.
                drop(self.renewal.lock());
            }
        }
    }

    /// Raises a node that the caller knows, unless it is closed or dead.
    pub(crate) fn raise(&self, node: &Node, account: Account<'_>, guard: &Guard) -> bool {
        if !node.raise() {
            return false;
        }
        if node.is_dead() && !planted!("no_dead_at_start") {
            self.release(node, account, guard);
            return false;
        }
        true
    }

    fn global<'g>(&self, guard: &'g Guard) -> &'g Node {
        // Acquire: pairs with the Release that put it up.
        let node = self.global.load(Ordering::Acquire);
        guard.check(node);
        // SAFETY: never null; an incarnation that is replaced goes through the guard's epochs.
        unsafe { &*node }
    }

    fn raised_global<'g>(&self, guard: &'g Guard) -> &'g Node {
        loop {
            let node = self.global(guard);
            if node.raise() {
                return node;
            }
            // An incarnation that was replaced and has closed since it was read.
            crate::sync::yield_now();
        }
    }

    fn raised_user<'g>(
        &self,
        id: &str,
        account: Account<'_>,
        guard: &'g Guard,
    ) -> Result<&'g Node> {
        loop {
            // Under the shared lock: a retirement takes the exclusive one.
            let known = self
                .users
                .read(id, guard, |node| (!node.is_killed() && node.raise()).then_some(node))
                .flatten();
            if let Some(node) = known {
                return Ok(node);
            }
            let bytes = Node::bytes_for(id.len(), true);
            self.admit(bytes, account)?;
            let fresh = NodeRef::user(id, self.quotas.of(id.as_bytes()));
            if !self.users.put(&fresh, |node| !node.is_killed()) {
                account.release(bytes);
                continue;
            }
            let node = fresh.into_raw();
            // SAFETY: in the directory and counted once, for us.
            let node = unsafe { node.as_ref() };
            if !planted!("quota_before_put") {
                self.quotas.apply(node);
            }
            if self.is_closed() && !planted!("no_closed_recheck") {
                // Whoever closes looks through the map after it has set the mark. If it looked
                // before we put the node there, then its lock tells us of the mark. Others may
                // have found the node by now: what they store in it is the caller's to delete.
                self.release(node, account, guard);
                return Err(Error::new(ErrorKind::Closed));
            }
            return Ok(node);
        }
    }

    /// Takes over the count that the caller has raised on `user`.
    fn raised_session<'g>(
        &self,
        user: &'g Node,
        id: &str,
        account: Account<'_>,
        guard: &'g Guard,
    ) -> Result<&'g Node> {
        let sessions = user.sessions().expect("a user has sessions");
        let mut names = sessions.names.lock();
        let known = names.get(id, &self.hasher).filter(|node| !node.is_killed() && node.raise());
        if let Some(node) = known.map(std::ptr::from_ref) {
            drop(names);
            self.release(user, account, guard);
            // SAFETY: read from the map under the guard, and raised.
            return Ok(unsafe { &*node });
        }
        let bytes = Node::bytes_for(id.len(), false);
        if let Err(error) = self.admit(bytes, account) {
            drop(names);
            self.release(user, account, guard);
            return Err(error);
        }
        // Relaxed: a statistic, orders nothing.
        self.open_sessions.fetch_add(1, Ordering::Relaxed);
        let fresh = NodeRef::session(NodeRef::of(user), id);
        fresh.count_first();
        names.put(&fresh, &self.hasher);
        // SAFETY: in the directory and counted once, for us.
        Ok(unsafe { fresh.into_raw().as_ref() })
    }

    fn admit(&self, bytes: u64, account: Account<'_>) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed));
        }
        if !account.reserve(bytes) {
            return Err(Error::new(ErrorKind::CapacityExceeded));
        }
        Ok(())
    }

    /// Gives back one count of the node; the last one retires it.
    pub(crate) fn release(&self, node: &Node, account: Account<'_>, guard: &Guard) {
        let mut node = node;
        // A session that goes gives back its count of its user.
        while node.release() == Released::Empty && self.retire(node, account, guard) {
            match node.user() {
                Some(user) => node = user,
                None => return,
            }
        }
    }

    /// Takes an empty node out of the directory; `false` where it is in use again, or somebody
    /// else has done it.
    fn retire(&self, node: &Node, account: Account<'_>, guard: &Guard) -> bool {
        if planted!("forget_before_close") {
            self.shortcuts.forget(node);
        }
        let closed = if let Some(user) = node.user() {
            let mut names = user.sessions().expect("a user has sessions").names.lock();
            let closed = node.close();
            if closed {
                names.remove(node, &self.hasher);
                // Relaxed: a statistic, orders nothing.
                self.open_sessions.fetch_sub(1, Ordering::Relaxed);
            }
            closed
        } else if node.is_global() {
            node.close()
        } else {
            let mut closed = false;
            let asked = self.users.remove_if(node.name(), |present| {
                closed = node.close();
                // Another incarnation may have the place.
                closed && (std::ptr::eq(present, node) || planted!("remove_any"))
            });
            // Nobody in the map: it was deleted, and nobody can raise it through the map.
            if asked { closed } else { node.close() }
        };
        if closed {
            if !node.is_global() {
                account.release(node.own_bytes());
            }
            self.discard_handles(node, account, guard);
            if !planted!("forget_before_close") {
                self.shortcuts.forget(node);
            }
            // SAFETY: we closed it, it is out of the directory, and no entry counts on it.
            unsafe { node.retire(guard) };
        }
        closed
    }

    /// Frees the handles of a closed node.
    pub(crate) fn discard_handles(&self, node: &Node, account: Account<'_>, guard: &Guard) {
        let mut handles = node.handles().detach();
        while let Some(bytes) = handles.take_chunk(guard, |_| {}) {
            account.release(bytes);
        }
    }

    /// Deletes a namespace: from here on all its entries are invisible, however many. Answers
    /// its node, for its memory to be reclaimed, and what it held, if there was one.
    pub(crate) fn kill(
        &self,
        namespace: Namespace<'_>,
        death: Death,
        account: Account<'_>,
        guard: &Guard,
    ) -> Option<(NodeRef, Usage)> {
        let mut killed = None;
        let mut kill = |node: &Node| {
            // Past the flag, which waits for all reads before it.
            node.prefetch_counts();
            if let Some(held) = node.kill(death) {
                killed = Some((NodeRef::of(node), held));
            }
            true
        };
        match namespace {
            Namespace::Global => {
                let renewal = self.renewal.lock();
                let old = self.global(guard);
                kill(old);
                if self.is_closed() {
                    // The last incarnation stays in place, dead.
                    return killed;
                }
                let fresh = NodeRef::global().into_raw();
                // Release: publishes the node; pairs with the Acquire in `global`.
                self.global.store(fresh.as_ptr(), Ordering::Release);
                drop(renewal);
                // The count that kept it open while it was the present one.
                self.release(old, account, guard);
            }
            Namespace::User { user } => {
                self.users.remove_if(user.as_bytes(), kill);
            }
            Namespace::Session { user, session } => {
                let user = self.users.read(user, guard, |node| node)?;
                // Lost against a deletion of the user: all of it is gone already.
                if user.is_killed() {
                    return None;
                }
                let mut names = user.sessions()?.names.lock();
                let node = NodeRef::of(names.get(session, &self.hasher)?);
                // Under the lock, as a session closes: a mark that came in between would undo the
                // close, and nobody else would retire the node.
                if planted!("mark_without_lock") {
                    drop(names);
                    kill(&node);
                    names = user.sessions()?.names.lock();
                } else {
                    kill(&node);
                }
                names.remove(&node, &self.hasher);
            }
        }
        killed
    }

    /// Gives a user a quota of its own, or with `None` the usual one again; answers its node, if
    /// it has one.
    pub(crate) fn set_quota<'g>(
        &self,
        user: &str,
        quota: Option<u64>,
        guard: &'g Guard,
    ) -> Option<&'g Node> {
        self.quotas.set(user.as_bytes(), quota);
        let node = self.users.read(user, guard, |node| node)?;
        self.quotas.apply(node);
        Some(node)
    }

    /// Refuses new namespaces from now on.
    pub(crate) fn close(&self) -> bool {
        // SeqCst: one moment for everybody; the locks of the maps do the rest.
        !self.closed.swap(true, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn users<'g>(&self, guard: &'g Guard) -> Vec<&'g Node> {
        self.users.nodes(guard)
    }

    pub(crate) fn sessions<'g>(&self, user: &Node, guard: &'g Guard) -> Vec<&'g Node> {
        user.sessions().map_or_else(Vec::new, |sessions| sessions.names.lock().nodes(guard))
    }

    /// Removes up to `limit` sessions of a deleted user from it.
    pub(crate) fn take_sessions(&self, user: &Node, limit: usize) -> Vec<NodeRef> {
        user.sessions()
            .map_or_else(Vec::new, |sessions| sessions.names.lock().take(limit, &self.hasher))
    }

    pub(crate) fn user_count(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn session_count(&self) -> usize {
        // Relaxed: a statistic, orders nothing.
        self.open_sessions.load(Ordering::Relaxed)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Relaxed: exclusive access.
        let global = self.global.load(Ordering::Relaxed);
        if let Some(global) = std::ptr::NonNull::new(global) {
            // SAFETY: the present incarnation's reference for being open; its own count keeps
            // it from being retired, so nobody else drops that.
            drop(unsafe { NodeRef::from_raw(global) });
        }
    }
}
