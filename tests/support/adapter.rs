//! A real `scopecache::Cache` as an engine.
//!
//! Ids become names chosen to be mistaken for each other by whoever joins them with a
//! separator; values become byte strings of very different lengths. Every operation can be
//! asked for in several ways that must answer alike.

#![expect(unreachable_pub, reason = "a library in all but name, shared by test binaries")]

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scopecache::{
    Blob, Cache, Condition, EntryRef, Error, ErrorKind, IntoValue, Item, Lease, MAX_ID_BYTES,
    MAX_KEY_BYTES, MockClock, Namespace, Scope, SetOptions, Version,
};

use crate::support::engine::Engine;
use crate::support::op::{
    Expires, LeaseId, Life, Op, Place, Put, Ret, Seen, Space, Value, VersionId, When,
};

const USERS: [&str; 5] = ["u", "u:s", "u\0", "*", LONGEST.split_at(MAX_ID_BYTES).0];
const SESSIONS: [&str; 5] = ["s", "s:k", "u", "s\0", LONGEST.split_at(MAX_ID_BYTES).0];
/// The keys, by their numbers.
pub const KEYS: [&str; 5] = ["k", "s:k", "*", "k\0", LONGEST];
const LONGEST: &str = match std::str::from_utf8(&[b'k'; MAX_KEY_BYTES]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// A cache, and how it is asked.
pub struct CacheEngine<V: Wire, S: BuildHasher<Hasher: Clone>> {
    // Before the cache: a lease is given up while its cache is still there.
    leases: Mutex<HashMap<LeaseId, Lease<V, S>>>,
    kept: Mutex<HashMap<Space, Arc<Scope<V, S>>>>,
    /// Versions that somebody is about to refresh.
    claims: Mutex<BTreeSet<VersionId>>,
    /// For what is no operation, too: upkeep and figures.
    pub cache: Cache<V, S>,
    clock: MockClock,
    way: Way,
    upkeep: Upkeep,
}

/// The way in which an operation is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By the ids of namespace and key.
    Ids,
    /// Through a scope made for the call.
    FreshScopes,
    /// Through scopes made once, which deletes leave behind stale; reads borrow.
    KeptScopes,
    /// Through bulk calls of one item.
    Bulk,
}

/// How much maintenance is done by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upkeep {
    None,
    /// So many steps after each operation.
    EachStep(usize),
}

/// How a value looks in a cache of `Self`.
pub trait Wire: scopecache::Value + Sized {
    type Sent: IntoValue<Self>;

    fn encode(value: Value) -> Self::Sent;

    /// `None`: this is nothing that `encode` made.
    fn decode(stored: &Self::Borrowed) -> Option<Value>;
}

impl<V: Wire, S: BuildHasher<Hasher: Clone> + Clone + Send + Sync + 'static> CacheEngine<V, S> {
    pub fn new(cache: Cache<V, S>, clock: MockClock, way: Way, upkeep: Upkeep) -> Self {
        CacheEngine {
            leases: Mutex::new(HashMap::new()),
            kept: Mutex::new(HashMap::new()),
            claims: Mutex::new(BTreeSet::new()),
            cache,
            clock,
            way,
            upkeep,
        }
    }

    /// The answers of a `get_many`, in order, or its refusal.
    pub fn get_many(&self, space: Space, keys: &[u8]) -> Result<Vec<Ret>, Ret> {
        match self.scope(space).get_many(&names_of(keys)) {
            Ok(found) => Ok(found.into_iter().map(|found| item(Ok(found))).collect()),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// The answers of a `set_many`, in order, or its refusal.
    pub fn set_many(&self, space: Space, items: &[(u8, Value)]) -> Result<Vec<Ret>, Ret> {
        let named = items.iter().map(|(key, value)| (KEYS[usize::from(*key)], V::encode(*value)));
        match self.scope(space).set_many(named) {
            Ok(versions) => Ok(versions.into_iter().map(|it| stored_version(Some(it))).collect()),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// How many a `delete_many` removed, or its refusal.
    pub fn delete_many(&self, space: Space, keys: &[u8]) -> Result<u64, Ret> {
        self.scope(space).delete_many(&names_of(keys)).map_err(|error| refusal(&error))
    }

    fn scope(&self, space: Space) -> Arc<Scope<V, S>> {
        let kept = || self.kept.lock().expect("no holder panics");
        if let Some(scope) = kept().get(&space) {
            return Arc::clone(scope);
        }
        // Outside the lock: the engine may be a model, whose scheduler knows nothing of it.
        let fresh = self.cache.scope(namespace(space)).expect("these ids are valid");
        let fresh = Arc::new(fresh);
        if self.way == Way::KeptScopes {
            // Bound to a name, so that a scope which another thread put there meanwhile is
            // dropped outside the lock too.
            let _replaced = kept().insert(space, Arc::clone(&fresh));
        }
        fresh
    }

    fn get(&self, at: Place) -> Ret {
        let key = KEYS[usize::from(at.key)];
        match self.way {
            Way::Ids => item(self.cache.get(namespace(at.space), key)),
            Way::FreshScopes => item(self.scope(at.space).get(key)),
            Way::KeptScopes => {
                let guard = self.cache.pin();
                let scope = self.scope(at.space);
                answer(scope.get_ref(key, &guard), |found| match found {
                    None => Ret::miss(),
                    Some(entry) => borrowed(&entry),
                })
            }
            Way::Bulk => match self.get_many(at.space, &[at.key]).as_deref() {
                Ok([only]) => only.clone(),
                Ok(_) => Ret::Failed("get_many of one key".into()),
                Err(refusal) => refusal.clone(),
            },
        }
    }

    fn write(&self, at: Place, when: When, put: Put) -> Ret {
        let (key, value) = (KEYS[usize::from(at.key)], V::encode(put.value));
        let scope = self.scope(at.space);
        let stored = match (self.way, when, put.life) {
            (Way::Ids, When::Always, life) => {
                self.cache.set(namespace(at.space), key, value, &options(life)).map(Some)
            }
            (Way::Ids, when, life) => {
                let space = namespace(at.space);
                self.cache.write(space, key, value, condition(when), &options(life))
            }
            (Way::Bulk, When::Always, Life::Forever) => {
                return match self.set_many(at.space, &[(at.key, put.value)]).as_deref() {
                    Ok([only]) => only.clone(),
                    Ok(_) => Ret::Failed("set_many of one key".into()),
                    Err(refusal) => refusal.clone(),
                };
            }
            (_, When::Always, Life::Forever) => scope.set(key, value).map(Some),
            (_, When::Always, life) => scope.set_with(key, value, options(life)).map(Some),
            (_, When::Absent, Life::Forever) => scope.insert(key, value),
            (_, When::Present, Life::Forever) => scope.replace(key, value),
            (_, When::Version(version), Life::Forever) => {
                scope.compare_and_set(key, Version::from_u64(version), value)
            }
            (_, when, life) => scope.write(key, value, condition(when), options(life)),
        };
        answer(stored, stored_version)
    }

    fn update(&self, at: Place, add: Value) -> Ret {
        let mut nonsense = false;
        let updated = self.scope(at.space).update(KEYS[usize::from(at.key)], |old| {
            let old = V::decode(old);
            nonsense |= old.is_none();
            V::encode(old.unwrap_or_default().wrapping_add(add))
        });
        match updated {
            _ if nonsense => Ret::Failed("update was shown what nobody stored".into()),
            updated => answer(updated, stored_version),
        }
    }

    fn delete(&self, at: Place) -> Ret {
        let key = KEYS[usize::from(at.key)];
        match self.way {
            Way::Ids => answer(self.cache.delete(namespace(at.space), key), Ret::Answer),
            Way::Bulk => match self.delete_many(at.space, &[at.key]) {
                Ok(count) => Ret::Answer(count == 1),
                Err(refusal) => refusal,
            },
            _ => answer(self.scope(at.space).delete(key), Ret::Answer),
        }
    }

    /// What a single key is asked besides get, write, update and delete.
    fn ask_key(&self, op: &Op, at: Place) -> Ret {
        let (key, space, scope) =
            (KEYS[usize::from(at.key)], namespace(at.space), self.scope(at.space));
        match (self.way, *op) {
            (Way::Ids, Op::Peek(_)) => item(self.cache.peek(space, key)),
            (_, Op::Peek(_)) => item(scope.peek(key)),
            (Way::Ids, Op::Contains(_)) => answer(self.cache.contains(space, key), Ret::Answer),
            (_, Op::Contains(_)) => answer(scope.contains(key), Ret::Answer),
            (Way::Ids, Op::Take(_)) => item(self.cache.take(space, key)),
            (_, Op::Take(_)) => item(scope.take(key)),
            (Way::Ids, Op::Touch(_, ttl)) => {
                answer(self.cache.touch(space, key, Duration::from_nanos(ttl)), Ret::Answer)
            }
            (_, Op::Touch(_, ttl)) => {
                answer(scope.touch(key, Duration::from_nanos(ttl)), Ret::Answer)
            }
            (_, Op::Lease(_, id)) => answer(scope.lease(key), |lease| {
                self.leases.lock().expect("no holder panics").insert(id, lease);
                Ret::Leased
            }),
            _ => Ret::Failed(format!("not asked of a key: {op:?}")),
        }
    }

    /// A lease that was refused is not held: ending it stores nothing.
    fn fulfil(&self, id: LeaseId, put: Put) -> Ret {
        match self.held(id) {
            None => Ret::Stored(None),
            Some(lease) => {
                let value = V::encode(put.value);
                let stored = match put.life {
                    Life::Forever => lease.fulfil(value),
                    life => lease.fulfil_with(value, options(life)),
                };
                answer(stored, stored_version)
            }
        }
    }

    fn held(&self, id: LeaseId) -> Option<Lease<V, S>> {
        self.leases.lock().expect("no holder panics").remove(&id)
    }

    fn ask_group(&self, op: &Op) -> Ret {
        match (self.way, *op) {
            (Way::Ids, Op::DeleteNamespace(space)) => {
                let removed = self.cache.delete_namespace(namespace(space));
                answer(removed, |removed| Ret::Removed(removed.entries))
            }
            (_, Op::DeleteNamespace(space)) => {
                answer(self.scope(space).delete_all(), |removed| Ret::Removed(removed.entries))
            }
            (Way::Ids, Op::Keys(space)) => {
                answer(self.cache.keys(namespace(space)), |keys| names(&KEYS, keys))
            }
            (_, Op::Keys(space)) => answer(self.scope(space).keys(), |keys| names(&KEYS, keys)),
            (Way::Ids, Op::Sessions(user)) => {
                answer(self.cache.sessions(USERS[usize::from(user)]), |found| {
                    names(&SESSIONS, found)
                })
            }
            (_, Op::Sessions(user)) => {
                answer(self.scope(Space::User(user)).sessions(), |found| names(&SESSIONS, found))
            }
            (_, Op::Users) => answer(self.cache.users(), |found| names(&USERS, found)),
            (Way::Ids, Op::Usage(space)) => {
                answer(self.cache.usage(namespace(space)), |usage| Ret::Entries(usage.entries))
            }
            (_, Op::Usage(space)) => {
                answer(self.scope(space).usage(), |usage| Ret::Entries(usage.entries))
            }
            (_, Op::Clear) => Ret::Removed(self.cache.clear().entries),
            (_, Op::Close) => {
                self.cache.close();
                Ret::Done
            }
            (_, Op::Advance(by)) => {
                self.clock.advance(Duration::from_nanos(by));
                Ret::Done
            }
            _ => Ret::Failed(format!("not asked of a group: {op:?}")),
        }
    }
}

impl<V: Wire, S: BuildHasher<Hasher: Clone> + Clone + Send + Sync + 'static> Engine
    for CacheEngine<V, S>
{
    fn apply(&self, op: &Op) -> Ret {
        let ret = match *op {
            Op::Get(at) => self.get(at),
            Op::Write(at, when, put) => self.write(at, when, put),
            Op::Update(at, add) => self.update(at, add),
            Op::Delete(at) => self.delete(at),
            Op::GetOrLoad(at, put) => self.load(at, put, &mut || ()),
            Op::Refresh(at, put) => self.refresh(at, put, &mut |_| ()),
            Op::Fulfil(_, id, put) => self.fulfil(id, put),
            Op::DropLease(_, id) => {
                drop(self.held(id));
                Ret::Done
            }
            _ => match op.place() {
                Some(at) => self.ask_key(op, at),
                None => self.ask_group(op),
            },
        };
        if let Upkeep::EachStep(budget) = self.upkeep {
            self.cache.maintain(budget);
        }
        ret
    }

    fn load(&self, at: Place, put: Put, loading: &mut dyn FnMut()) -> Ret {
        let (key, scope) = (KEYS[usize::from(at.key)], self.scope(at.space));
        let loader = || {
            loading();
            Ok::<_, Error>(V::encode(put.value))
        };
        let loaded = match put.life {
            Life::Forever => scope.get_or_load(key, loader),
            life => scope.get_or_load_with(key, options(life), loader),
        };
        match loaded.map(|loaded| item(Ok(Some(loaded)))) {
            Ok(Ret::Item(Some(seen))) => Ret::Loaded(seen),
            Ok(other) => other,
            Err(error) => refusal(&error),
        }
    }

    fn refresh(&self, at: Place, put: Put, claimed: &mut dyn FnMut(Ret)) -> Ret {
        let (key, scope) = (KEYS[usize::from(at.key)], self.scope(at.space));
        let (hit, refresh) = match scope.get_refreshing(key) {
            Ok(Some((found, refresh))) => (item(Ok(Some(found))), refresh),
            Ok(None) => return Ret::miss(),
            Err(error) => return refusal(&error),
        };
        let Some(refresh) = refresh else { return hit };
        let claims = || self.claims.lock().expect("no holder panics");
        let version = hit.version().unwrap_or_default();
        if !claims().insert(version) {
            return Ret::Failed(format!("two have the right to refresh version {version}"));
        }
        claimed(hit);
        // While it loads, others come.
        let seen = scope.contains(key);
        claims().remove(&version);
        let value = V::encode(put.value);
        let stored = seen.and_then(|_| match put.life {
            Life::Forever => refresh.fulfil(value),
            life => refresh.fulfil_with(value, options(life)),
        });
        answer(stored, stored_version)
    }

    fn settle(&self) -> Result<(), String> {
        self.leases.lock().expect("no holder panics").clear();
        while self.cache.maintain(1_000).pending {}
        self.validate()
    }

    fn validate(&self) -> Result<(), String> {
        self.cache.validate().map_err(|report| format!("{report:#?}"))
    }
}

impl Wire for Blob {
    type Sent = Vec<u8>;

    /// Digits, and filler so that short, long and shared values all occur.
    fn encode(value: Value) -> Vec<u8> {
        let filler = [0, 1, 100, 5_000][value as usize % 4];
        let mut bytes = format!("{value};").into_bytes();
        bytes.resize(bytes.len() + filler, b'.');
        bytes
    }

    fn decode(stored: &[u8]) -> Option<Value> {
        let digits = stored.split(|byte| *byte == b';').next()?;
        let value = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (Blob::encode(value) == stored).then_some(value)
    }
}

impl Wire for Arc<str> {
    type Sent = Arc<str>;

    fn encode(value: Value) -> Arc<str> {
        value.to_string().into()
    }

    fn decode(stored: &Arc<str>) -> Option<Value> {
        stored.parse().ok()
    }
}

fn names_of(keys: &[u8]) -> Vec<&'static str> {
    keys.iter().map(|key| KEYS[usize::from(*key)]).collect()
}

/// The namespace that stands for `space`.
pub fn namespace(space: Space) -> Namespace<'static> {
    match space {
        Space::Global => Namespace::Global,
        Space::User(user) => Namespace::User { user: USERS[usize::from(user)] },
        Space::Session(user, session) => Namespace::Session {
            user: USERS[usize::from(user)],
            session: SESSIONS[usize::from(session)],
        },
    }
}

fn options(life: Life) -> SetOptions {
    match life {
        Life::Forever => SetOptions::new(),
        Life::For(ttl) => SetOptions::new().ttl(Duration::from_nanos(ttl)),
        Life::Keep => SetOptions::new().keep_ttl(),
        Life::Sliding { ttl, max_lifetime } => SetOptions::new()
            .ttl(Duration::from_nanos(ttl))
            .sliding(Duration::from_nanos(max_lifetime)),
    }
}

fn condition(when: When) -> Condition {
    match when {
        When::Always => Condition::Always,
        When::Absent => Condition::Absent,
        When::Present => Condition::Present,
        When::Version(version) => Condition::Version(Version::from_u64(version)),
    }
}

fn stored_version(version: Option<Version>) -> Ret {
    Ret::Stored(version.map(Version::as_u64))
}

fn item<V: Wire>(found: Result<Option<Item<V>>, Error>) -> Ret {
    answer(found, |found| match found {
        None => Ret::miss(),
        Some(item) => seen::<V>(item.value(), item.version(), item.expires_at().is_some()),
    })
}

fn borrowed<V: Wire>(entry: &EntryRef<'_, V>) -> Ret {
    seen::<V>(entry.value(), entry.version(), entry.expires_at().is_some())
}

fn seen<V: Wire>(stored: &V::Borrowed, version: Version, has_deadline: bool) -> Ret {
    let expires = if has_deadline { Expires::AtDeadline } else { Expires::Never };
    match V::decode(stored) {
        Some(value) => Ret::Item(Some(Seen { value, version: version.as_u64(), expires })),
        None => Ret::Failed("a value that nobody stored".into()),
    }
}

fn names<T: AsRef<[u8]>>(known: &[&str], listed: Vec<T>) -> Ret {
    let number = |name: &T| known.iter().position(|it| it.as_bytes() == name.as_ref());
    let numbers: Option<Vec<u8>> =
        listed.iter().map(|name| number(name).map(|it| it as u8)).collect();
    numbers.map_or_else(|| Ret::Failed("a name that nobody used".into()), Ret::Names)
}

fn answer<T>(result: Result<T, Error>, ret: impl FnOnce(T) -> Ret) -> Ret {
    match result {
        Ok(found) => ret(found),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> Ret {
    match error.kind() {
        ErrorKind::InvalidOptions => Ret::Invalid,
        ErrorKind::Conflict => Ret::Conflict,
        ErrorKind::CapacityExceeded | ErrorKind::QuotaExceeded => Ret::Full,
        ErrorKind::Closed => Ret::Closed,
        _ => Ret::Failed(error.to_string()),
    }
}
