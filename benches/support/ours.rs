//! A filled `scopecache` with a scope for each session.

use std::time::Duration;

use scopecache::{Cache, Item, Scope};

use crate::support::data::{Names, VALUE};

pub(crate) struct Ours {
    pub(crate) cache: Cache,
    pub(crate) scopes: Vec<Scope>,
}

impl Ours {
    /// Stores an entry for each number, in the order given.
    pub(crate) fn fill(entries: &[u32], names: &Names, ttl: Option<Duration>) -> Self {
        let mut builder = Cache::builder().max_bytes(2 << 30).expected_entries(entries.len());
        if let Some(ttl) = ttl {
            builder = builder.default_ttl(ttl);
        }
        let cache = builder.build().expect("the settings are valid");
        let scope = |session| {
            let (user, session) = names.ids(session);
            cache.session(user, session).expect("the ids are valid")
        };
        let scopes = (0..names.sessions()).map(scope).collect();
        let ours = Self { cache, scopes };
        for &entry in entries {
            ours.set(names, entry);
        }
        ours
    }

    #[inline]
    pub(crate) fn get(&self, names: &Names, entry: u32) -> Option<Item> {
        let (session, key) = names.split(entry);
        self.scopes[session].get(names.key(key)).expect("open, and the key is valid")
    }

    #[inline]
    pub(crate) fn set(&self, names: &Names, entry: u32) {
        let (session, key) = names.split(entry);
        self.scopes[session].set(names.key(key), &VALUE).expect("there is room");
    }

    #[inline]
    pub(crate) fn delete(&self, names: &Names, entry: u32) -> bool {
        let (session, key) = names.split(entry);
        self.scopes[session].delete(names.key(key)).expect("open, and the key is valid")
    }
}
