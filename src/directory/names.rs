//! The maps from ids to nodes: of all users, and of the sessions of one user.
//!
//! Both hold bare pointers to nodes that are not closed; the reference for being open keeps
//! those alive, and a guard keeps a pointer that was read here usable after the lock is gone.
//! Under loom and shuttle, which cannot look into dashmap's locks, the users too are kept in
//! the plain map, behind one lock.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use ahash::RandomState;
use hashbrown::raw::RawTable;

use crate::directory::node::{Node, NodeRef};
use crate::reclaim::Guard;

/// A node in a map, hashed and compared by its id.
#[derive(Clone, Copy)]
struct Named(NonNull<Node>);

// SAFETY: nodes are shared through atomics and locks alone.
unsafe impl Send for Named {}
// SAFETY: as above.
unsafe impl Sync for Named {}

impl Named {
    fn node(&self) -> &Node {
        // SAFETY: a node in a map is not closed, or is removed under the map's lock before its
        // closing lets it go.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    ///
    /// Read from a map under `guard`.
    unsafe fn under(self, _guard: &Guard) -> &Node {
        // SAFETY: it was open when it was read; its memory goes through the guard's epochs.
        unsafe { self.0.as_ref() }
    }
}

impl Borrow<[u8]> for Named {
    fn borrow(&self) -> &[u8] {
        self.node().name()
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node().name().hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.node().name() == other.node().name()
    }
}

impl Eq for Named {}

/// The sessions of one user; its owner locks it.
///
/// The raw table, since a walk over it goes on at the place that it had reached.
pub(crate) struct SessionNames(RawTable<Named>);

impl SessionNames {
    pub(crate) fn new() -> Self {
        Self(RawTable::new())
    }

    pub(crate) fn get(&self, id: &str, hasher: &RandomState) -> Option<&Node> {
        let hash = hasher.hash_one(id.as_bytes());
        Some(self.0.get(hash, |named| named.node().name() == id.as_bytes())?.node())
    }

    /// Puts `node` under its id, in the place of an older incarnation if there is one.
    pub(crate) fn put(&mut self, node: &NodeRef, hasher: &RandomState) {
        let hash = hasher.hash_one(node.name());
        let named = Named(node.as_ptr());
        match self.0.get_mut(hash, |old| *old == named) {
            Some(old) => *old = named,
            None => {
                self.0.insert(hash, named, |named| hasher.hash_one(named.node().name()));
            }
        }
    }

    /// Removes `node`, unless another incarnation has its place.
    pub(crate) fn remove(&mut self, node: &Node, hasher: &RandomState) {
        let hash = hasher.hash_one(node.name());
        self.0.remove_entry(hash, |named| std::ptr::eq(named.node(), node));
    }

    /// Removes up to `limit` sessions and answers references to them.
    pub(crate) fn take(&mut self, limit: usize, hasher: &RandomState) -> Vec<NodeRef> {
        let taken: Vec<_> =
            self.iter().take(limit).map(|named| NodeRef::of(named.node())).collect();
        taken.iter().for_each(|node| self.remove(node, hasher));
        taken
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many places there are, empty ones included.
    pub(crate) fn places(&self) -> usize {
        self.0.buckets()
    }

    /// The node in a place; which that is may change with every other that comes.
    pub(crate) fn at(&self, place: usize) -> Option<&Node> {
        if place >= self.places() {
            return None;
        }
        // SAFETY: there is such a place; where it is full it holds a name, as long as `self` is
        // borrowed.
        let named = unsafe { self.0.is_bucket_full(place).then(|| self.0.bucket(place).as_ref()) }?;
        Some(named.node())
    }

    fn iter(&self) -> impl Iterator<Item = &Named> {
        // SAFETY: the table is borrowed as long as the iterator and what it shows.
        unsafe { self.0.iter().map(|place| place.as_ref()) }
    }

    pub(crate) fn nodes<'g>(&self, guard: &'g Guard) -> Vec<&'g Node> {
        // SAFETY: read from the map under the guard.
        self.iter().map(|named| unsafe { named.under(guard) }).collect()
    }
}

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub(crate) use self::users::UserNames;

#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod users {
    use dashmap::{DashMap, Entry};

    use super::{Guard, Named, Node, NodeRef, RandomState};

    /// All users.
    pub(crate) struct UserNames(DashMap<Named, (), RandomState>);

    impl UserNames {
        pub(crate) fn new(hasher: RandomState) -> Self {
            Self(DashMap::with_hasher(hasher))
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }

        /// Shows the user's node to `look` under the lock.
        pub(crate) fn read<'g, R>(
            &self,
            id: &str,
            guard: &'g Guard,
            look: impl FnOnce(&'g Node) -> R,
        ) -> Option<R> {
            // SAFETY: read from the map under the guard.
            self.0.view(id.as_bytes(), |&named, ()| look(unsafe { named.under(guard) }))
        }

        /// Puts `fresh` under its id unless there is a node that `keep` wants to keep; answers
        /// whether it did.
        pub(crate) fn put(&self, fresh: &NodeRef, keep: impl FnOnce(&Node) -> bool) -> bool {
            match self.0.entry(Named(fresh.as_ptr())) {
                Entry::Vacant(vacant) => {
                    vacant.insert(());
                    true
                }
                Entry::Occupied(occupied) => {
                    let put = !keep(occupied.key().node());
                    if put {
                        occupied.replace_entry(());
                    }
                    put
                }
            }
        }

        /// Removes the node under the id if `condition` holds for it, under the lock; answers
        /// whether there was one to ask about.
        pub(crate) fn remove_if(&self, id: &[u8], condition: impl FnOnce(&Node) -> bool) -> bool {
            let mut asked = false;
            self.0.remove_if(id, |named, ()| {
                asked = true;
                condition(named.node())
            });
            asked
        }

        pub(crate) fn nodes<'g>(&self, guard: &'g Guard) -> Vec<&'g Node> {
            // SAFETY: read from the map under the guard.
            self.0.iter().map(|named| unsafe { named.key().under(guard) }).collect()
        }
    }
}

#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub(crate) use self::users_in_models::UserNames;

#[cfg(any(scopecache_loom, scopecache_shuttle))]
mod users_in_models {
    use super::{Guard, Named, Node, NodeRef, RandomState, SessionNames};
    use crate::sync::Mutex;

    /// All users, behind one lock of the model.
    pub(crate) struct UserNames {
        names: Mutex<SessionNames>,
        hasher: RandomState,
    }

    impl UserNames {
        pub(crate) fn new(hasher: RandomState) -> Self {
            Self { names: Mutex::new(SessionNames::new()), hasher }
        }

        pub(crate) fn len(&self) -> usize {
            self.names.lock().len()
        }

        pub(crate) fn read<'g, R>(
            &self,
            id: &str,
            guard: &'g Guard,
            look: impl FnOnce(&'g Node) -> R,
        ) -> Option<R> {
            let names = self.names.lock();
            let node = names.get(id, &self.hasher)?;
            // SAFETY: read from the map under the guard.
            Some(look(unsafe { Named(node.into()).under(guard) }))
        }

        pub(crate) fn put(&self, fresh: &NodeRef, keep: impl FnOnce(&Node) -> bool) -> bool {
            let mut names = self.names.lock();
            let id = fresh.id();
            let put = !names.get(&id, &self.hasher).is_some_and(keep);
            if put {
                names.put(fresh, &self.hasher);
            }
            put
        }

        pub(crate) fn remove_if(&self, id: &[u8], condition: impl FnOnce(&Node) -> bool) -> bool {
            let mut names = self.names.lock();
            let id = std::str::from_utf8(id).expect("ids come from strings");
            let Some(node) = names.get(id, &self.hasher) else { return false };
            let node = std::ptr::from_ref(node);
            // SAFETY: in the map, so open; the lock is held.
            let node = unsafe { &*node };
            if condition(node) {
                names.remove(node, &self.hasher);
            }
            true
        }

        pub(crate) fn nodes<'g>(&self, guard: &'g Guard) -> Vec<&'g Node> {
            self.names.lock().nodes(guard)
        }
    }
}
