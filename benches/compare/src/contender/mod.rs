//! Those whose speed is compared, all behind one trait.
//!
//! | file | |
//! |---|---|
//! | `ours.rs` | scopecache, through scopes and with ids given each time |
//! | `peer.rs` | what a peer is asked for, and how its user builds the key of an entry |
//! | `caches.rs` | moka, mini-moka, quick_cache, foyer-memory |
//! | `maps.rs` | dashmap, papaya, scc: no bound, no TTL, no eviction |

mod caches;
mod maps;
mod ours;
mod peer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::ours::{Raw, Scoped};
use self::peer::{Indexed, Joined};
use crate::data::{KeyRef, Names, Requests};

/// The TTL of those forms that have one: long enough to end nothing.
const ONE_HOUR: Duration = Duration::from_secs(3600);
/// After which nobody waits any longer for work that was put off.
const PATIENCE: Duration = Duration::from_secs(2);

/// One who is compared: a crate, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) krate: &'static str,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    /// Every entry has a deadline.
    Ttl,
    /// Of scopecache: with user and session id in each call instead of a scope.
    Raw,
    /// With an index of each user's keys beside it, kept by hand.
    Indexed,
}

/// How large a contender is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// How many entries it will hold.
    pub(crate) expected: usize,
    /// How many it may hold at most; without one it gets so much room that nothing is evicted.
    pub(crate) bound: Option<usize>,
    pub(crate) ttl: Option<Duration>,
}

/// What is done to load a value; shared, since foyer hands it to another thread.
pub(crate) type Loader = Arc<dyn Fn() + Send + Sync>;

/// What is asked of all. An entry is a number; its name is looked up in [`Names`].
pub(crate) trait Contender: Send + Sync {
    /// Gets an entry and looks at its value; whether there was one.
    fn get(&self, names: &Names, entry: u32) -> bool;
    fn set(&self, names: &Names, entry: u32);
    fn delete(&self, names: &Names, entry: u32) -> bool;
    /// Gets an entry, or calls `loader` and stores the usual value.
    fn load(&self, names: &Names, entry: u32, loader: &Loader);

    /// As `set`, for names that come once: nothing was prepared for their session.
    fn put(&self, name: KeyRef<'_>);
    /// As `put`, with a TTL of its own; false where there is no such thing.
    fn put_for(&self, _name: KeyRef<'_>, _ttl: Duration) -> bool {
        false
    }
    fn has(&self, name: KeyRef<'_>) -> bool;
    /// Deletes all that a user has; returns when none of it can be seen.
    fn delete_user(&self, user: &str);
    /// How `delete_user` does it; `None` where it cannot be done.
    fn deletes_users_by(&self) -> Option<Deletion>;
    /// The whole life of a session: sets all its keys, gets each, and deletes them.
    fn live(&self, user: &str, session: &str, keys: &[String]);
    /// Gets all keys of a session, in one call where there is such a call; how many hit.
    fn get_many(&self, names: &Names, session: usize) -> usize {
        self.get_each(names, session)
    }

    /// Gets all keys of a session one by one; how many hit.
    fn get_each(&self, names: &Names, session: usize) -> usize {
        let keys = names.keys().len();
        (session * keys..(session + 1) * keys).filter(|&at| self.get(names, at as u32)).count()
    }

    /// Does what was put off.
    fn settle(&self) {}
    fn entries(&self) -> u64;

    /// Does what was put off until no more than so many entries are held, or patience ends.
    fn settle_to(&self, entries: u64) {
        let start = Instant::now();
        loop {
            self.settle();
            if self.entries() <= entries || start.elapsed() > PATIENCE {
                break;
            }
        }
    }

    /// Makes so many gets; how many hit. Here and below: a loop that knows its contender.
    fn gets(&self, names: &Names, requests: &mut Requests, ops: u64) -> u64 {
        (0..ops).map(|_| u64::from(self.get(names, requests.next()))).sum()
    }

    fn sets(&self, names: &Names, requests: &mut Requests, ops: u64) -> u64 {
        (0..ops).for_each(|_| self.set(names, requests.next()));
        ops
    }

    /// Sets for the given share of the requests, gets for the others.
    fn mixed(&self, names: &Names, requests: &mut Requests, ops: u64, percent_sets: u64) -> u64 {
        let mut hits = 0;
        for _ in 0..ops {
            let is_set = requests.is_among(percent_sets);
            let entry = requests.next();
            if is_set {
                self.set(names, entry);
            } else {
                hits += u64::from(self.get(names, entry));
            }
        }
        hits
    }

    fn set_all(&self, names: &Names, entries: &[u32]) {
        entries.iter().for_each(|&entry| self.set(names, entry));
    }

    /// Deletes them all; how many were there.
    fn delete_all(&self, names: &Names, entries: &[u32]) -> u64 {
        entries.iter().map(|&entry| u64::from(self.delete(names, entry))).sum()
    }

    fn put_all(&self, names: &Names) {
        (0..names.entries() as u32).for_each(|entry| self.put(names.of_entry(entry)));
    }
}

/// How a user is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// One call whose cost does not depend on how much there is.
    Atomic,
    /// A predicate that later reads and scans look at.
    Predicate,
    /// A look at every entry of everybody.
    Scan,
    /// One deletion for each key that an index has.
    EachKey,
}

impl Kind {
    const fn new(krate: &'static str, form: Form) -> Self {
        Self { krate, form }
    }

    /// All that compare gets and sets, ours first: ratios are to the first.
    pub(crate) const ALL: [Self; 11] = [
        Self::new("scopecache", Form::Plain),
        Self::new("scopecache", Form::Ttl),
        Self::new("scopecache", Form::Raw),
        Self::new("moka", Form::Plain),
        Self::new("moka", Form::Ttl),
        Self::new("mini-moka", Form::Plain),
        Self::new("quick_cache", Form::Plain),
        Self::new("foyer-memory", Form::Plain),
        Self::new("dashmap", Form::Plain),
        Self::new("papaya", Form::Plain),
        Self::new("scc", Form::Plain),
    ];

    /// One form of each, without a TTL.
    pub(crate) fn plain() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| kind.form == Form::Plain).collect()
    }

    /// Those that can delete a user: as they are, and by an index beside them.
    pub(crate) fn deleting() -> Vec<Self> {
        let indexed = ["moka", "quick_cache", "foyer-memory", "dashmap"];
        let mut kinds = Self::plain();
        kinds.retain(|kind| kind.krate != "foyer-memory");
        kinds.extend(indexed.map(|krate| Self::new(krate, Form::Indexed)));
        kinds
    }

    /// Those that can give an entry a TTL of its own.
    pub(crate) fn expiring() -> Vec<Self> {
        ["scopecache", "moka"].map(|krate| Self::new(krate, Form::Ttl)).to_vec()
    }

    /// Those that evict.
    pub(crate) fn evicting() -> Vec<Self> {
        let maps = ["dashmap", "papaya", "scc"];
        let mut kinds = Self::plain();
        kinds.retain(|kind| !maps.contains(&kind.krate));
        kinds
    }

    pub(crate) fn is_ours(self) -> bool {
        self.krate == "scopecache"
    }

    /// An empty one.
    pub(crate) fn make(self, mut room: Room, names: &Names) -> Box<dyn Contender> {
        if self.form == Form::Ttl {
            room.ttl = Some(ONE_HOUR);
        }
        match (self.krate, self.form) {
            ("scopecache", Form::Raw) => Box::new(Raw::new(room)),
            ("scopecache", _) => Box::new(Scoped::new(room, names)),
            ("moka", Form::Indexed) => Box::new(Indexed::<caches::Moka>::new(room)),
            ("quick_cache", Form::Indexed) => Box::new(Indexed::<caches::QuickCache>::new(room)),
            ("foyer-memory", Form::Indexed) => Box::new(Indexed::<caches::Foyer>::new(room)),
            ("dashmap", Form::Indexed) => Box::new(Indexed::<maps::DashMap>::new(room)),
            ("moka", _) => Box::new(Joined::<caches::Moka>::new(room)),
            ("mini-moka", _) => Box::new(Joined::<caches::MiniMoka>::new(room)),
            ("quick_cache", _) => Box::new(Joined::<caches::QuickCache>::new(room)),
            ("foyer-memory", _) => Box::new(Joined::<caches::Foyer>::new(room)),
            ("dashmap", _) => Box::new(Joined::<maps::DashMap>::new(room)),
            ("papaya", _) => Box::new(Joined::<maps::Papaya>::new(room)),
            ("scc", _) => Box::new(Joined::<maps::Scc>::new(room)),
            (other, form) => unreachable!("no contender `{other}`, {form:?}"),
        }
    }

    /// What its rows say about it besides the crate.
    pub(crate) fn add_to(self, params: &mut Value) {
        if self.is_ours() {
            params["api"] = json!(if self.form == Form::Raw { "raw" } else { "scope" });
        }
        params["ttl"] = json!(self.form == Form::Ttl);
        if self.form == Form::Indexed {
            params["index"] = json!(true);
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.krate)?;
        match self.form {
            Form::Plain => Ok(()),
            Form::Ttl => f.write_str(", TTL"),
            Form::Raw => f.write_str(", ids each time"),
            Form::Indexed => f.write_str(", index by hand"),
        }
    }
}

impl Room {
    pub(crate) fn for_all(expected: usize) -> Self {
        Self { expected, bound: None, ttl: None }
    }

    pub(crate) fn bounded(bound: usize) -> Self {
        Self { expected: bound, bound: Some(bound), ttl: None }
    }

    /// The bound that peers get: twice what they will hold where nothing is to be evicted, so
    /// that no shard of theirs overflows.
    fn entries(self) -> u64 {
        self.bound.unwrap_or(2 * self.expected.max(1000)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::alloc::blocks_of_this_thread;

    fn kinds() -> Vec<Kind> {
        let mut kinds = Kind::ALL.to_vec();
        kinds.extend(Kind::deleting().into_iter().filter(|kind| kind.form == Form::Indexed));
        kinds
    }

    #[test]
    fn all_do_what_they_are_asked_for() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let names = &Names::new(300, "state");
        for kind in kinds() {
            let contender = kind.make(Room::for_all(1000), names);
            contender.set_all(names, &names.shuffled(1));
            contender.settle();
            assert_eq!(contender.entries(), 300, "{kind}");
            assert!(contender.get(names, 7) && contender.delete(names, 7), "{kind}");
            assert!(!contender.get(names, 7) && !contender.delete(names, 7), "{kind}");
            let loads = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&loads);
            // Relaxed: a figure.
            let loader: Loader = Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            contender.load(names, 7, &loader);
            contender.load(names, 7, &loader);
            assert_eq!(loads.load(Ordering::Relaxed), 1, "{kind}");
            assert_eq!(contender.get_many(names, 0), 10, "{kind}");
            contender.live("a user", "a session", &["a".into(), "b".into()]);
            contender.settle();
            assert_eq!(contender.entries(), 300, "{kind}");
        }
    }

    /// A block of a peer would be one of the measuring; scopecache itself makes a scope in each
    /// load with ids.
    #[test]
    fn peers_that_find_a_value_allocate_nothing() {
        let names = &Names::new(300, "state");
        let loader: Loader = Arc::new(|| unreachable!("it is there"));
        for kind in kinds().into_iter().filter(|kind| !kind.is_ours()) {
            let contender = kind.make(Room::for_all(1000), names);
            contender.set_all(names, &names.shuffled(1));
            let all = || {
                for entry in 0..names.entries() as u32 {
                    assert!(contender.get(names, entry), "{kind}");
                    contender.load(names, entry, &loader);
                }
            };
            // Whatever a thread keeps for its next calls.
            all();
            contender.settle();
            let before = blocks_of_this_thread();
            all();
            // moka takes a few, for its maintenance.
            let blocks = blocks_of_this_thread() - before;
            assert!(blocks < 30, "{kind}: {blocks} in 600 calls");
        }
    }

    #[test]
    fn all_delete_a_user_and_nobody_else() {
        let names = &Names::new(300, "state");
        for kind in kinds() {
            let contender = kind.make(Room::for_all(1000), names);
            if contender.deletes_users_by().is_none() {
                continue;
            }
            contender.set_all(names, &names.shuffled(1));
            let user = Names::of_user(1, 50);
            contender.put_all(&user);
            assert!(contender.has(user.of_entry(49)), "{kind}");
            contender.delete_user(user.of_entry(0).user);
            assert!((0..50).all(|entry| !contender.has(user.of_entry(entry))), "{kind}");
            assert!((0..300).all(|entry| contender.get(names, entry)), "{kind}");
            contender.settle();
            assert_eq!(contender.entries(), 300, "{kind}");
        }
    }

    #[test]
    fn those_that_expire_do() {
        let names = &Names::new(100, "state");
        for kind in Kind::expiring() {
            let contender = kind.make(Room::for_all(1000), names);
            contender.set_all(names, &names.shuffled(1));
            let guest = Names::of_user(1, 1);
            assert!(contender.put_for(guest.of_entry(0), Duration::from_millis(500)), "{kind}");
            assert!(contender.has(guest.of_entry(0)), "{kind}");
            std::thread::sleep(Duration::from_millis(600));
            assert!(!contender.has(guest.of_entry(0)), "{kind}");
            assert!(contender.get(names, 5), "{kind}");
        }
    }

    #[test]
    fn those_that_evict_keep_their_bound() {
        let names = &Names::new(20_000, "state");
        for kind in Kind::evicting() {
            let contender = kind.make(Room::bounded(2_000), names);
            contender.set_all(names, &names.shuffled(1));
            contender.settle();
            let entries = contender.entries();
            assert!((1_000..=2_100).contains(&entries), "{kind}: {entries}");
        }
    }
}
