//! Peers have one key for everything: user, session and key, joined to one string.
//!
//! The string of a look-up is built anew for each call, in a buffer that is used again, so that
//! it costs no allocation. The alternative, a struct of three strings that is looked up through
//! a borrowed twin, spares the joining but follows three pointers when keys are compared, and
//! lost 13 of 16 rows against the string (see `benches/support/peers.rs` of the workspace): each
//! peer is shown in its better form. Values are `Arc<[u8]>`, so that a get copies no bytes.
//! The hasher is `ahash` for all.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use super::{Contender, Deletion, Loader, Room};
use crate::data::{KeyRef, Names, VALUE};

/// A value as peers hold it.
pub(super) type Shared = Arc<[u8]>;

std::thread_local! {
    static JOINED: RefCell<String> = RefCell::new(String::with_capacity(128));
}

/// What is asked of a peer. Keys are `&String`, because mini-moka finds nothing by `&str`.
#[expect(clippy::ptr_arg, reason = "see above")]
pub(super) trait Peer: Send + Sync {
    /// How it deletes all keys that begin with the same id.
    const DELETION: Option<Deletion>;

    fn new(room: Room) -> Self;
    /// The first byte of the value, looked at through a handle that could be kept.
    fn get(&self, key: &String) -> Option<u8>;
    fn insert(&self, key: String, value: Shared);
    fn insert_for(&self, _key: String, _value: Shared, _ttl: Duration) -> bool {
        false
    }
    fn remove(&self, key: &String) -> bool;
    /// As the trait of all has it; [`loaded`] is the value then.
    fn load(&self, key: &String, loader: &Loader);
    /// Deletes all whose keys begin so.
    fn delete_prefix(&self, prefix: &str);
    fn settle(&self) {}
    fn entries(&self) -> u64;
}

/// A peer as it is.
pub(super) struct Joined<P>(P);

/// A peer with an index of each user's keys beside it, which every new key and every deletion
/// has to keep. What a race between the two leaves is the user's own to repair; nothing here
/// races.
pub(super) struct Indexed<P> {
    peer: P,
    keys: dashmap::DashMap<String, HashSet<String, RandomState>, RandomState>,
}

/// The value of every entry, in an allocation of its own as it comes from elsewhere.
fn value() -> Shared {
    VALUE[..].into()
}

/// Loads a value.
pub(super) fn loaded(loader: &Loader) -> Shared {
    loader();
    value()
}

#[inline]
fn joined<R>(name: KeyRef<'_>, f: impl FnOnce(&String) -> R) -> R {
    JOINED.with_borrow_mut(|buffer| {
        name.join(buffer);
        f(buffer)
    })
}

impl<P: Peer> Joined<P> {
    pub(super) fn new(room: Room) -> Self {
        Self(P::new(room))
    }
}

impl<P: Peer> Contender for Joined<P> {
    #[inline]
    fn get(&self, names: &Names, entry: u32) -> bool {
        self.has(names.of_entry(entry))
    }

    #[inline]
    fn set(&self, names: &Names, entry: u32) {
        self.put(names.of_entry(entry));
    }

    #[inline]
    fn delete(&self, names: &Names, entry: u32) -> bool {
        joined(names.of_entry(entry), |key| self.0.remove(key))
    }

    fn load(&self, names: &Names, entry: u32, loader: &Loader) {
        joined(names.of_entry(entry), |key| self.0.load(key, loader));
    }

    #[inline]
    fn put(&self, name: KeyRef<'_>) {
        joined(name, |key| self.0.insert(key.clone(), value()));
    }

    fn put_for(&self, name: KeyRef<'_>, ttl: Duration) -> bool {
        joined(name, |key| self.0.insert_for(key.clone(), value(), ttl))
    }

    #[inline]
    fn has(&self, name: KeyRef<'_>) -> bool {
        joined(name, |key| self.0.get(key) == Some(VALUE[0]))
    }

    fn delete_user(&self, user: &str) {
        self.0.delete_prefix(user);
    }

    fn deletes_users_by(&self) -> Option<Deletion> {
        P::DELETION
    }

    /// Its keys are known here, so each is deleted by its name: the peer's best case.
    fn live(&self, user: &str, session: &str, keys: &[String]) {
        let name = |key| KeyRef { user, session, key };
        keys.iter().for_each(|key| self.put(name(key)));
        keys.iter().for_each(|key| assert!(self.has(name(key))));
        keys.iter().for_each(|key| assert!(joined(name(key), |key| self.0.remove(key))));
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn entries(&self) -> u64 {
        self.0.entries()
    }
}

impl<P: Peer> Indexed<P> {
    pub(super) fn new(room: Room) -> Self {
        Self { peer: P::new(room), keys: dashmap::DashMap::with_hasher(RandomState::new()) }
    }

    fn remove(&self, name: KeyRef<'_>) -> bool {
        joined(name, |key| {
            if let Some(mut keys) = self.keys.get_mut(name.user) {
                keys.remove(key);
            }
            self.keys.remove_if(name.user, |_, keys| keys.is_empty());
            self.peer.remove(key)
        })
    }
}

impl<P: Peer> Contender for Indexed<P> {
    fn get(&self, names: &Names, entry: u32) -> bool {
        self.has(names.of_entry(entry))
    }

    fn set(&self, names: &Names, entry: u32) {
        self.put(names.of_entry(entry));
    }

    fn delete(&self, names: &Names, entry: u32) -> bool {
        self.remove(names.of_entry(entry))
    }

    fn load(&self, names: &Names, entry: u32, loader: &Loader) {
        if !self.get(names, entry) {
            loader();
            self.set(names, entry);
        }
    }

    fn put(&self, name: KeyRef<'_>) {
        joined(name, |key| {
            let mut keys = match self.keys.get_mut(name.user) {
                Some(keys) => keys,
                None => self.keys.entry(name.user.to_owned()).or_default(),
            };
            if !keys.contains(key) {
                keys.insert(key.clone());
            }
            // Under the index's lock, or a deletion in between would miss it.
            self.peer.insert(key.clone(), value());
        });
    }

    fn has(&self, name: KeyRef<'_>) -> bool {
        joined(name, |key| self.peer.get(key) == Some(VALUE[0]))
    }

    fn delete_user(&self, user: &str) {
        if let Some((_, keys)) = self.keys.remove(user) {
            for key in &keys {
                self.peer.remove(key);
            }
        }
    }

    fn deletes_users_by(&self) -> Option<Deletion> {
        Some(Deletion::EachKey)
    }

    fn live(&self, user: &str, session: &str, keys: &[String]) {
        let name = |key| KeyRef { user, session, key };
        keys.iter().for_each(|key| self.put(name(key)));
        keys.iter().for_each(|key| assert!(self.has(name(key))));
        keys.iter().for_each(|key| assert!(self.remove(name(key))));
    }

    fn settle(&self) {
        self.peer.settle();
    }

    fn entries(&self) -> u64 {
        self.peer.entries()
    }
}
