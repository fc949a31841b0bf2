//! Which user has which byte quota.
//!
//! There is one quota for all users, or none, and a row for each user that has another one. A row
//! is the administrator's: it is there before its user has anything, and stays when the user is
//! deleted. A user without a row costs nothing.
//!
//! Writers read the quota off their user's node, where it lies beside the user's total. It gets
//! there by [`Quotas::apply`], under the lock of the user's row. Who changes a row applies it to
//! the node that the directory has; who puts a node into the directory applies the row after
//! that. The lock of the directory's map orders the two: either the change finds the node, or the
//! node was put there after the change had looked, and so after the row was changed. Of two that
//! apply a row, the later one reads what the earlier one read or what came since.

use std::collections::HashMap;

use ahash::RandomState;

use crate::directory::node::Node;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicBool;

/// The quota of who has none.
pub(crate) const NO_QUOTA: u64 = u64::MAX;

/// Locks that the rows are spread over: users are made by many threads.
const LOCKS: usize = if cfg!(any(scopecache_loom, scopecache_shuttle)) { 1 } else { 16 };

type Rows = HashMap<Box<[u8]>, u64, RandomState>;

pub(crate) struct Quotas {
    /// Of users without a row.
    usual: u64,
    /// Whether anybody may have a quota; once set, it stays.
    are_set: AtomicBool,
    /// Whether there may be a row; once set, it stays.
    have_rows: AtomicBool,
    rows: Box<[Mutex<Rows>]>,
    hasher: RandomState,
}

impl Quotas {
    pub(crate) fn new(usual: u64, hasher: RandomState) -> Self {
        let rows = |_| Mutex::new(HashMap::with_hasher(hasher.clone()));
        Self {
            usual,
            are_set: AtomicBool::new(usual != NO_QUOTA),
            have_rows: AtomicBool::new(false),
            rows: (0..LOCKS).map(rows).collect(),
            hasher,
        }
    }

    /// Whether writers have to ask.
    #[inline]
    pub(crate) fn are_set(&self) -> bool {
        // Relaxed: a write that overlaps the first change of a quota may be before it.
        self.are_set.load(Ordering::Relaxed)
    }

    /// The quota of a user, whether it has a node or not.
    pub(crate) fn of(&self, user: &[u8]) -> u64 {
        // Relaxed: a row that matters was made before the caller took the lock of the map under
        // which the other side looks for the node; see above.
        if !self.have_rows.load(Ordering::Relaxed) {
            return self.usual;
        }
        self.rows(user).lock().get(user).copied().unwrap_or(self.usual)
    }

    /// Changes the row of a user; without a quota there is none. The caller then applies it.
    pub(crate) fn set(&self, user: &[u8], quota: Option<u64>) {
        let mut rows = self.rows(user).lock();
        let Some(quota) = quota else {
            rows.remove(user);
            let twice = 2 * rows.len();
            rows.shrink_to(twice);
            return;
        };
        // Relaxed, both: see `of`.
        self.have_rows.store(true, Ordering::Relaxed);
        self.are_set.store(true, Ordering::Relaxed);
        rows.insert(user.into(), quota);
    }

    /// Lets a user's node have the quota that is set now.
    pub(crate) fn apply(&self, node: &Node) {
        // Relaxed: see `of`.
        if self.have_rows.load(Ordering::Relaxed) {
            let rows = self.rows(node.name()).lock();
            node.set_quota(rows.get(node.name()).copied().unwrap_or(self.usual));
        }
    }

    fn rows(&self, user: &[u8]) -> &Mutex<Rows> {
        &self.rows[self.hasher.hash_one(user) as usize % LOCKS]
    }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::*;
    use crate::directory::node::NodeRef;

    #[test]
    fn a_row_counts_until_it_is_removed() {
        let quotas = Quotas::new(100, RandomState::new());
        assert!(quotas.are_set());
        assert_eq!((quotas.of(b"u"), quotas.of(b"v")), (100, 100));
        quotas.set(b"u", Some(7));
        assert_eq!((quotas.of(b"u"), quotas.of(b"v")), (7, 100));
        quotas.set(b"u", Some(0));
        assert_eq!(quotas.of(b"u"), 0);
        quotas.set(b"u", None);
        assert_eq!(quotas.of(b"u"), 100);
        assert!(quotas.rows.iter().all(|rows| rows.lock().is_empty()));
    }

    #[test]
    fn nobody_is_asked_before_there_is_a_quota() {
        let quotas = Quotas::new(NO_QUOTA, RandomState::new());
        assert!(!quotas.are_set());
        quotas.set(b"u", None);
        assert!(!quotas.are_set());
        quotas.set(b"u", Some(7));
        assert!(quotas.are_set());
        assert_eq!((quotas.of(b"u"), quotas.of(b"v")), (7, NO_QUOTA));
    }

    #[test]
    fn a_row_is_applied_to_the_node_of_its_user() {
        let quotas = Quotas::new(NO_QUOTA, RandomState::new());
        let node = NodeRef::user("u", quotas.of(b"u"));
        quotas.set(b"u", Some(7));
        assert_eq!(node.quota(), NO_QUOTA);
        quotas.apply(&node);
        assert_eq!(node.quota(), 7);
        quotas.set(b"u", None);
        quotas.apply(&node);
        assert_eq!(node.quota(), NO_QUOTA);
    }
}
