//! Operations on the real cache.

mod finish;
mod values;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use scopecache::{
    Cache, Condition as When, ErrorKind, Guard, Lease, Maintenance, MockClock, Namespace, OnFull,
    Refresh, Scope, SetOptions, Version,
};

pub(crate) use self::finish::finish;
use self::values::{Counted, Spread};
use crate::op::{Op, Owner, Place};
use crate::spec::{Condition, Event, Fact, Name, REFRESH_AFTER, Ttl};

type Scopes = BTreeMap<Owner, Scope<Counted, Spread>>;
/// With the value that each is to be fulfilled with.
type Leases = BTreeMap<Name, (u32, Lease<Counted, Spread>)>;
/// With the value that each is to replace.
type Refreshes = BTreeMap<Name, (u32, Refresh<Counted, Spread>)>;

/// How the cache of a model is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// All keys have one hash.
    pub(crate) one_hash: bool,
    /// Places for shortcuts.
    pub(crate) shortcuts: usize,
    /// The most entries; more are evicted.
    pub(crate) max_entries: Option<u64>,
    /// The most entries of each user.
    pub(crate) quota: Option<u64>,
    /// A listener hears of removals.
    pub(crate) reporting: bool,
}

/// A cache of one bucket, and what the threads share besides.
pub(crate) struct Scene {
    cache: Cache<Counted, Spread>,
    clock: MockClock,
    setup: Setup,
    owners: Vec<Owner>,
    /// Set before the threads start. Std's, which loom does not see.
    scopes: OnceLock<Scopes>,
    /// Which version a value got.
    versions: Mutex<BTreeMap<u32, Version>>,
    /// Leases that were taken and not yet ended.
    leases: Mutex<Leases>,
    /// Versions that were reported as gone, where a listener hears of them.
    reports: Option<Reports>,
    /// Rights to refresh that were got and not yet used.
    refreshes: Mutex<Refreshes>,
}

type Reports = Arc<Mutex<Vec<Version>>>;

impl Scene {
    pub(crate) fn new(setup: Setup, owners: &[Owner]) -> Self {
        let clock = MockClock::new();
        let mut builder = Cache::builder()
            .expected_entries(1)
            .shards(1)
            .shortcuts(setup.shortcuts)
            .maintenance(Maintenance::Manual)
            .on_full(OnFull::Reject)
            .refresh_after(Duration::from_secs(REFRESH_AFTER))
            .clock(clock.clone())
            .hasher(Spread { one_hash: setup.one_hash });
        if let Some(max) = setup.max_entries {
            builder = builder.on_full(OnFull::Evict).max_entries(max);
        }
        let mut reports = None;
        if setup.reporting {
            let heard = Arc::clone(reports.insert(Reports::default()));
            builder = builder.removal_queue(64).on_removal(move |event| {
                heard.lock().expect("no panic").push(event.version());
            });
        }
        let scene = Self {
            cache: builder.build().expect("valid settings"),
            clock,
            setup,
            owners: owners.to_vec(),
            scopes: OnceLock::new(),
            versions: Mutex::default(),
            leases: Mutex::default(),
            refreshes: Mutex::default(),
            reports,
        };
        scene.set_quotas();
        scene
    }

    fn set_quotas(&self) {
        let Some(entries) = self.setup.quota else { return };
        let probe = self.cache.user("probe").expect("a valid name");
        probe.set("k", Counted::new(0)).expect("there is room");
        let bytes = probe.usage().expect("open").bytes;
        probe.delete("k").expect("open");
        for owner in &self.owners {
            if let Owner::User(user) | Owner::Session(user, _) = owner {
                self.cache.set_user_quota(user, Some(entries * bytes)).expect("open");
            }
        }
    }

    pub(crate) fn pin(&self) -> Guard {
        self.cache.pin()
    }

    /// Does `op` as the steps of a thread from `step` on; none where the cache is closed.
    pub(crate) fn run(&self, step: usize, op: &Op) -> impl Iterator<Item = Event> + use<> {
        let unordered = matches!(op, Op::Keys(_) | Op::Close);
        let facts = self.facts(op).unwrap_or_default();
        facts.into_iter().enumerate().map(move |(at, fact)| {
            let step = if unordered { step } else { step + at };
            Event { thread: 0, step, fact }
        })
    }

    fn facts(&self, op: &Op) -> Option<Vec<Fact>> {
        let seconds = Duration::from_secs;
        Some(match *op {
            Op::OpenScopes => {
                let scope = |owner: &Owner| (*owner, self.scope(*owner));
                let scopes = self.owners.iter().map(scope).collect();
                assert!(self.scopes.set(scopes).is_ok(), "scopes are opened once");
                vec![]
            }
            Op::Set(place, value) => self.store(place, value, Ttl::None, Condition::Always)?,
            Op::SetFor(place, value, ttl) => {
                self.store(place, value, Ttl::For(ttl), Condition::Always)?
            }
            Op::SetKeepingTtl(place, value) => {
                self.store(place, value, Ttl::Keep, Condition::Always)?
            }
            Op::Insert(place, value) => self.store(place, value, Ttl::None, Condition::Absent)?,
            Op::InsertFor(place, value, ttl) => {
                self.store(place, value, Ttl::For(ttl), Condition::Absent)?
            }
            Op::Replace(place, value) => self.store(place, value, Ttl::None, Condition::Present)?,
            Op::CompareAndSet(place, old, value) => {
                self.store(place, value, Ttl::None, Condition::Value(old))?
            }
            Op::Update(place, by) => {
                let change = |value: &Counted| Counted::new(value.get() + by);
                let done = self.with(place, |scope| scope.update(place.key, change));
                vec![Fact::Added { name: name(place), by, done: open(done)?.is_some() }]
            }
            Op::Get(place) => {
                let item = if place.scoped {
                    self.with(place, |scope| scope.get(place.key))
                } else {
                    self.cache.get(place.owner.namespace(), place.key)
                };
                let found = open(item)?.map(|item| item.value().get());
                vec![Fact::Found(name(place), found)]
            }
            Op::GetRef(place) => {
                let found = self.with(place, |scope| {
                    let guard = self.cache.pin();
                    let entry = open(scope.get_ref(place.key, &guard))?;
                    let found = entry.as_ref().map(|entry| entry.value().get());
                    let _ = scope.contains(place.key);
                    assert_eq!(found, entry.map(|entry| entry.value().get()), "it has changed");
                    Some(found)
                })?;
                vec![Fact::Found(name(place), found)]
            }
            Op::Take(place) => {
                let item = if place.scoped {
                    self.with(place, |scope| scope.take(place.key))
                } else {
                    self.cache.take(place.owner.namespace(), place.key)
                };
                let found = open(item)?.map(|item| item.value().get());
                vec![Fact::Took(name(place), found)]
            }
            Op::Delete(place) => {
                let was = if place.scoped {
                    self.with(place, |scope| scope.delete(place.key))
                } else {
                    self.cache.delete(place.owner.namespace(), place.key)
                };
                vec![Fact::Deleted(name(place), open(was)?)]
            }
            Op::Touch(place, ttl) => {
                let was = self.cache.touch(place.owner.namespace(), place.key, seconds(ttl));
                vec![Fact::Touched(name(place), ttl, open(was)?)]
            }
            Op::Keys(owner) => {
                // Each key has its own moment.
                let keys = open(self.cache.keys(owner.namespace()))?;
                let listed = |key: &str| {
                    let count = keys.iter().filter(|listed| *listed == key.as_bytes()).count();
                    assert!(count <= 1, "{key} is listed {count} times");
                    count == 1
                };
                KEYS.iter().map(|&key| Fact::Listed((owner, key), listed(key))).collect()
            }
            Op::DeleteAll(owner) => {
                open(self.cache.delete_namespace(owner.namespace()))?;
                vec![Fact::Killed(owner)]
            }
            Op::Lease(place, value) => self.lease(place, value, true)?,
            Op::LeaseAndDrop(place) => self.lease(place, 0, false)?,
            Op::HoldLease(place, value) => {
                let lease = self.with(place, |scope| scope.lease(place.key).expect("it is free"));
                // Nothing of loom's happens while std's lock is held, here and below.
                let before =
                    self.leases.lock().expect("no panic").insert(name(place), (value, lease));
                assert!(before.is_none(), "one lease at a time");
                vec![Fact::Leased(name(place), value)]
            }
            Op::FulfilHeld(place) => {
                let held = self.leases.lock().expect("no panic").remove(&name(place));
                let (value, lease) = held.expect("`HoldLease` came before");
                vec![fulfilled(place, value, lease)]
            }
            Op::Load(place, value) => self.load(place, value, Vec::new)?,
            Op::LoadWithGetInside(place, value) => {
                self.load(place, value, || self.facts(&Op::Get(place)).expect("open"))?
            }
            Op::Refresh(place, value) => match self.claim(place)? {
                (facts, None) => facts,
                (mut facts, Some((old, refresh))) => {
                    facts.extend(refreshed(place, old, value, refresh));
                    facts
                }
            },
            Op::ClaimRefresh(place) => {
                let (facts, claim) = self.claim(place)?;
                if let Some(claim) = claim {
                    // Nothing of loom's happens while std's lock is held, here and below.
                    let before =
                        self.refreshes.lock().expect("no panic").insert(name(place), claim);
                    assert!(before.is_none(), "one right at a time");
                }
                facts
            }
            Op::FulfilRefresh(place, value) => {
                let held = self.refreshes.lock().expect("no panic").remove(&name(place));
                held.map_or_else(Vec::new, |(old, refresh)| refreshed(place, old, value, refresh))
            }
            Op::DropRefresh(place) => {
                let held = self.refreshes.lock().expect("no panic").remove(&name(place));
                held.map_or_else(Vec::new, |(old, refresh)| {
                    drop(refresh);
                    vec![Fact::Unclaimed(name(place), old)]
                })
            }
            Op::Advance(by) => {
                self.clock.advance(seconds(by));
                vec![Fact::Advanced(by)]
            }
            Op::Sweep => {
                let _ = self.cache.maintain(8);
                vec![]
            }
            Op::Tend => {
                let _ = self.cache.tend(64);
                vec![]
            }
            Op::Reclaim => {
                // Steps of one, which leave no budget for looking through the table.
                for _ in 0..4 {
                    if self.cache.stats().reclaim_pending {
                        let _ = self.cache.maintain(1);
                    }
                }
                vec![]
            }
            Op::SetQuota(owner, bytes) => {
                let Owner::User(user) = owner else { panic!("a user has a quota") };
                let _ = open(self.cache.set_user_quota(user, Some(bytes)))?;
                vec![]
            }
            Op::Close => {
                self.cache.close();
                // Each owner has its own moment.
                self.owners.iter().copied().map(Fact::Killed).collect()
            }
        })
    }

    fn store(&self, place: Place, value: u32, ttl: Ttl, condition: Condition) -> Option<Vec<Fact>> {
        let options = match ttl {
            Ttl::None => SetOptions::new(),
            Ttl::For(seconds) => SetOptions::new().ttl(Duration::from_secs(seconds)),
            Ttl::Keep => SetOptions::new().keep_ttl(),
        };
        let when = match condition {
            Condition::Always => When::Always,
            Condition::Absent => When::Absent,
            Condition::Present => When::Present,
            Condition::Value(value) => {
                When::Version(self.versions.lock().expect("no panic")[&value])
            }
        };
        let counted = Counted::new(value);
        let version = if place.scoped {
            self.with(place, |scope| scope.write(place.key, counted, when, options))
        } else {
            self.cache.write(place.owner.namespace(), place.key, counted, when, &options)
        };
        let version = match version {
            // All places are held by setters on their way: nothing has happened.
            Err(error)
                if self.setup.max_entries.is_some()
                    && error.kind() == ErrorKind::CapacityExceeded =>
            {
                return None;
            }
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => return None,
            version => open(version)?,
        };
        if let Some(version) = version {
            self.versions.lock().expect("no panic").insert(value, version);
        }
        let done = version.is_some();
        Some(vec![Fact::Stored { name: name(place), value, ttl, condition, done }])
    }

    fn lease(&self, place: Place, value: u32, fulfil: bool) -> Option<Vec<Fact>> {
        self.with(place, |scope| match scope.lease(place.key) {
            Ok(lease) if fulfil => {
                Some(vec![Fact::Leased(name(place), value), fulfilled(place, value, lease)])
            }
            Ok(lease) => {
                drop(lease);
                Some(vec![Fact::Leased(name(place), value), Fact::Dropped(name(place), value)])
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Some(vec![Fact::Refused(name(place))])
            }
            refused => open(refused).map(|_| vec![]),
        })
    }

    /// A read, and the right to refresh what it found, if it got that.
    #[expect(clippy::type_complexity, reason = "what a read answers, and what is to be done")]
    fn claim(&self, place: Place) -> Option<(Vec<Fact>, Option<(u32, Refresh<Counted, Spread>)>)> {
        let found = self.with(place, |scope| open(scope.get_refreshing(place.key)))?;
        let Some((item, refresh)) = found else {
            return Some((vec![Fact::Found(name(place), None)], None));
        };
        let value = item.value().get();
        let fact = Fact::Claimed { name: name(place), value, got: refresh.is_some() };
        Some((vec![fact], refresh.map(|refresh| (value, refresh))))
    }

    fn load(
        &self,
        place: Place,
        value: u32,
        inside: impl FnOnce() -> Vec<Fact>,
    ) -> Option<Vec<Fact>> {
        self.with(place, |scope| {
            let mut facts = None;
            let item = scope.get_or_load(place.key, || {
                facts = Some(inside());
                Ok::<_, Infallible>(Counted::new(value))
            });
            let found = open(item).map(|item| item.value().get());
            let Some(facts) = facts else {
                return found.map(|found| vec![Fact::Found(name(place), Some(found))]);
            };
            let mut all = vec![Fact::Leased(name(place), value)];
            all.extend(facts);
            if let Some(found) = found {
                assert_eq!(found, value, "the one who loads gets what it loaded");
                all.push(Fact::Landed(name(place), value, None));
            } else {
                all.push(Fact::Dropped(name(place), value));
            }
            Some(all)
        })
    }

    fn scope(&self, owner: Owner) -> Scope<Counted, Spread> {
        self.cache.scope(owner.namespace()).expect("a valid name")
    }

    /// The shared scope if the place is addressed through one, else one of its own.
    fn with<R>(&self, place: Place, act: impl FnOnce(&Scope<Counted, Spread>) -> R) -> R {
        if place.scoped {
            act(&self.scopes.get().expect("`OpenScopes` came before")[&place.owner])
        } else {
            act(&self.scope(place.owner))
        }
    }
}

/// The keys that models use.
const KEYS: [&str; 2] = ["k", "l"];

fn name(place: Place) -> Name {
    (place.owner, place.key)
}

/// The answer, or none where the cache is closed.
fn open<T>(answer: scopecache::Result<T>) -> Option<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Closed => None,
        answer => Some(answer.unwrap_or_else(|error| panic!("{error}"))),
    }
}

/// The end of a lease; given up where the cache is closed.
fn fulfilled(place: Place, value: u32, lease: Lease<Counted, Spread>) -> Fact {
    match open(lease.fulfil(Counted::new(value))) {
        Some(stored) => Fact::Landed(name(place), value, Some(stored.is_some())),
        None => Fact::Dropped(name(place), value),
    }
}

/// A value in the place of an older one, if that still stands.
fn refreshed(place: Place, old: u32, value: u32, refresh: Refresh<Counted, Spread>) -> Vec<Fact> {
    match open(refresh.fulfil(Counted::new(value))) {
        Some(stored) => vec![Fact::Stored {
            name: name(place),
            value,
            ttl: Ttl::None,
            condition: Condition::Value(old),
            done: stored.is_some(),
        }],
        None => vec![],
    }
}

impl Owner {
    fn namespace(self) -> Namespace<'static> {
        match self {
            Self::Global => Namespace::Global,
            Self::User(user) => Namespace::User { user },
            Self::Session(user, session) => Namespace::Session { user, session },
        }
    }
}
