//! What is there: keys, sessions, users.
//!
//! Listings are weakly consistent: what is present throughout the call is listed, once; what
//! comes or goes meanwhile may be.

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;

use crate::cache::core::Core;
use crate::directory::Node;
use crate::error::{Error, Result};
use crate::item::Usage;
use crate::namespace::{Namespace, key_hash};
use crate::reclaim::{Guard, pin};
use crate::table::{Owner, Seen, State};
use crate::value::Value;

impl<V: Value, S: BuildHasher<Hasher: Clone>> Core<V, S> {
    /// The visible keys of a namespace with their hashes, in the order of these.
    ///
    /// Of a key that is larger than `after`; stops at the first hash with which there are
    /// `limit` keys or more.
    pub(crate) fn keys(
        &self,
        namespace: Namespace<'_>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>> {
        self.check_open()?;
        namespace.check()?;
        let guard = pin();
        let mut keys = Vec::new();
        let Some(node) = self.directory.find(namespace, &guard) else { return Ok(keys) };
        let prefix = namespace.prefix(&self.hasher);
        for hash in node.handles().snapshot(&guard) {
            if after.is_some_and(|after| hash <= after) {
                continue;
            }
            if keys.len() >= limit {
                break;
            }
            self.keys_of_hash(hash, node, &prefix, &guard, &mut keys);
        }
        Ok(keys)
    }

    /// Adds the visible keys of one hash. Other hashes may share its chain and tag: theirs are
    /// left to their own handles.
    fn keys_of_hash<H: Hasher + Clone>(
        &self,
        hash: u64,
        node: &Node,
        prefix: &H,
        guard: &Guard,
        keys: &mut Vec<(u64, Bytes)>,
    ) {
        let start = keys.len();
        for (_, entry) in self.table.probe(hash, guard) {
            let key = entry.key();
            if self.is_visible(entry, node)
                && key_hash(prefix, key) == hash
                // It may have moved to a later slot meanwhile.
                && !keys[start..].iter().any(|(_, known)| known == key)
            {
                keys.push((hash, Bytes::copy_from_slice(key)));
            }
        }
    }
}

impl<V: Value, S> Core<V, S> {
    fn is_visible(&self, entry: Seen<'_, V, Node>, node: &Node) -> bool {
        std::ptr::eq(entry.owner_ptr(), node)
            && entry.state() == State::Live
            && entry.flight().is_none()
            && !node.is_dead()
            && !entry.is_expired(|| self.now())
    }

    /// Whether the node has a visible entry of its own.
    fn has_visible(&self, node: &Node, guard: &Guard) -> bool {
        node.handles().snapshot(guard).into_iter().any(|hash| {
            self.table.probe(hash, guard).any(|(_, entry)| self.is_visible(entry, node))
        })
    }

    /// The sessions of a user that have a visible entry, in ascending order.
    pub(crate) fn sessions(&self, user: &str) -> Result<Vec<String>> {
        self.check_open()?;
        let namespace = Namespace::User { user };
        namespace.check()?;
        let guard = pin();
        let Some(user) = self.directory.find(namespace, &guard) else { return Ok(Vec::new()) };
        let sessions = self.directory.sessions(user, &guard);
        let visible = sessions.into_iter().filter(|session| self.has_visible(session, &guard));
        let mut ids: Vec<_> = visible.map(Node::id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The users that have a visible entry, of their own or in a session, in ascending order.
    pub(crate) fn users(&self) -> Result<Vec<String>> {
        self.check_open()?;
        let guard = pin();
        let users = self.directory.users(&guard);
        let visible = users.into_iter().filter(|user| {
            self.has_visible(user, &guard)
                || self
                    .directory
                    .sessions(user, &guard)
                    .into_iter()
                    .any(|session| self.has_visible(session, &guard))
        });
        let mut ids: Vec<_> = visible.map(Node::id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    pub(crate) fn usage(&self, namespace: Namespace<'_>) -> Result<Usage> {
        self.check_open()?;
        namespace.check()?;
        let guard = pin();
        let node = self.directory.find(namespace, &guard);
        Ok(node.filter(|node| !node.is_dead()).map(Node::usage).unwrap_or_default())
    }

    /// # Errors
    ///
    /// `InvalidOptions` for a namespace that has no sessions.
    pub(crate) fn sessions_of(&self, namespace: Namespace<'_>) -> Result<Vec<String>> {
        match namespace {
            Namespace::User { user } => self.sessions(user),
            _ => Err(Error::options("only a user has sessions")),
        }
    }
}
