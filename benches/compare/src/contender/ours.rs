//! scopecache: nothing but `max_bytes` has to be set; `expected_entries` sizes its table.

use std::time::Duration;

use scopecache::{Cache, Namespace, Scope, SetOptions};

use super::{Contender, Deletion, Loader, Room};
use crate::data::{KeyRef, Names, VALUE};

/// Through scopes that were made before, one for each session: as a connection has them.
pub(super) struct Scoped {
    cache: Cache,
    scopes: Vec<Scope>,
}

/// With user and session id in each call.
pub(super) struct Raw(Cache);

fn build(room: Room) -> Cache {
    // A bound on bytes that is never reached, unless entries are counted.
    let mut builder = Cache::builder().max_bytes(64 << 30).expected_entries(room.expected);
    if let Some(bound) = room.bound {
        builder = builder.max_entries(bound as u64);
    }
    if let Some(ttl) = room.ttl {
        builder = builder.default_ttl(ttl);
    }
    builder.build().expect("the settings are valid")
}

impl Scoped {
    pub(super) fn new(room: Room, names: &Names) -> Self {
        let cache = build(room);
        let scope = |session| {
            let (user, session) = names.ids(session);
            cache.session(user, session).expect("the ids are valid")
        };
        let scopes = (0..names.sessions()).map(scope).collect();
        Self { cache, scopes }
    }
}

impl Raw {
    pub(super) fn new(room: Room) -> Self {
        Self(build(room))
    }
}

impl Contender for Scoped {
    #[inline]
    fn get(&self, names: &Names, entry: u32) -> bool {
        let (session, key) = names.split(entry);
        let item = self.scopes[session].get(key).expect("open");
        item.is_some_and(|item| item.data()[0] == VALUE[0])
    }

    #[inline]
    fn set(&self, names: &Names, entry: u32) {
        let (session, key) = names.split(entry);
        self.scopes[session].set(key, &VALUE).expect("there is room");
    }

    #[inline]
    fn delete(&self, names: &Names, entry: u32) -> bool {
        let (session, key) = names.split(entry);
        self.scopes[session].delete(key).expect("open")
    }

    fn load(&self, names: &Names, entry: u32, loader: &Loader) {
        let (session, key) = names.split(entry);
        load(&self.scopes[session], key, loader);
    }

    fn put(&self, name: KeyRef<'_>) {
        put(&self.cache, name, &SetOptions::new());
    }

    fn put_for(&self, name: KeyRef<'_>, ttl: Duration) -> bool {
        put(&self.cache, name, &SetOptions::new().ttl(ttl));
        true
    }

    fn has(&self, name: KeyRef<'_>) -> bool {
        has(&self.cache, name)
    }

    fn delete_user(&self, user: &str) {
        self.cache.delete_namespace(Namespace::User { user }).expect("open");
    }

    fn deletes_users_by(&self) -> Option<Deletion> {
        Some(Deletion::Atomic)
    }

    fn live(&self, user: &str, session: &str, keys: &[String]) {
        let scope = self.cache.session(user, session).expect("the ids are valid");
        for key in keys {
            scope.set(key, &VALUE).expect("there is room");
        }
        for key in keys {
            assert!(scope.get(key).expect("open").is_some());
        }
        scope.delete_all().expect("open");
    }

    fn get_many(&self, names: &Names, session: usize) -> usize {
        let items = self.scopes[session].get_many(names.keys()).expect("open");
        items.iter().flatten().filter(|item| item.data()[0] == VALUE[0]).count()
    }

    fn settle(&self) {
        settle(&self.cache);
    }

    fn entries(&self) -> u64 {
        self.cache.stats().entries
    }
}

impl Contender for Raw {
    #[inline]
    fn get(&self, names: &Names, entry: u32) -> bool {
        has(&self.0, names.of_entry(entry))
    }

    #[inline]
    fn set(&self, names: &Names, entry: u32) {
        put(&self.0, names.of_entry(entry), &SetOptions::new());
    }

    #[inline]
    fn delete(&self, names: &Names, entry: u32) -> bool {
        let name = names.of_entry(entry);
        self.0.delete(namespace(name), name.key).expect("open")
    }

    fn load(&self, names: &Names, entry: u32, loader: &Loader) {
        let name = names.of_entry(entry);
        let scope = self.0.session(name.user, name.session).expect("the ids are valid");
        load(&scope, name.key, loader);
    }

    fn put(&self, name: KeyRef<'_>) {
        put(&self.0, name, &SetOptions::new());
    }

    fn has(&self, name: KeyRef<'_>) -> bool {
        has(&self.0, name)
    }

    fn delete_user(&self, user: &str) {
        self.0.delete_namespace(Namespace::User { user }).expect("open");
    }

    fn deletes_users_by(&self) -> Option<Deletion> {
        Some(Deletion::Atomic)
    }

    fn live(&self, user: &str, session: &str, keys: &[String]) {
        for key in keys {
            put(&self.0, KeyRef { user, session, key }, &SetOptions::new());
        }
        for key in keys {
            assert!(has(&self.0, KeyRef { user, session, key }));
        }
        self.0.delete_namespace(Namespace::Session { user, session }).expect("open");
    }

    fn get_many(&self, names: &Names, session: usize) -> usize {
        let (user, session) = names.ids(session);
        let scope = self.0.session(user, session).expect("the ids are valid");
        scope.get_many(names.keys()).expect("open").iter().flatten().count()
    }

    fn settle(&self) {
        settle(&self.0);
    }

    fn entries(&self) -> u64 {
        self.0.stats().entries
    }
}

#[inline]
fn namespace(name: KeyRef<'_>) -> Namespace<'_> {
    Namespace::Session { user: name.user, session: name.session }
}

#[inline]
fn put(cache: &Cache, name: KeyRef<'_>, options: &SetOptions) {
    cache.set(namespace(name), name.key, &VALUE, options).expect("there is room");
}

#[inline]
fn has(cache: &Cache, name: KeyRef<'_>) -> bool {
    let item = cache.get(namespace(name), name.key).expect("open");
    item.is_some_and(|item| item.data()[0] == VALUE[0])
}

fn load(scope: &Scope, key: &str, loader: &Loader) {
    let load = || {
        loader();
        Ok::<_, std::io::Error>(&VALUE)
    };
    let item = scope.get_or_load(key, load).expect("the loader does not fail");
    assert_eq!(item.data()[0], VALUE[0]);
}

fn settle(cache: &Cache) {
    loop {
        cache.maintain(1 << 16);
        let stats = cache.stats();
        if !stats.reclaim_pending && stats.retired_bytes < 1 << 20 {
            break;
        }
    }
}
