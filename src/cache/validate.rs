//! A walk over everything that checks every invariant: for tests, fuzzing and models.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasher;

use crate::cache::core::Core;
use crate::clock::NEVER;
use crate::directory::{Node, NodeRef};
use crate::namespace::key_hash;
use crate::reclaim::{Guard, pin};
use crate::table::{Owner, State};
use crate::value::Value;

/// What [`Cache::validate`](crate::Cache::validate) found broken, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<String>);

impl Violations {
    /// The findings.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken invariants:", self.0.len())?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Violations {}

/// What the table holds of one node.
#[derive(Default)]
struct Holding {
    entries: u64,
    bytes: u64,
    handles: HashSet<u64>,
}

impl Holding {
    fn of(node: &Node, guard: &Guard) -> Self {
        Self { handles: node.handles().snapshot(guard).into_iter().collect(), ..Self::default() }
    }
}

/// The handles of all shards, as [`Table::handle_of`](crate::table::Table::handle_of) has them.
#[derive(Default)]
struct Known {
    queued: HashSet<u64>,
    /// With the first tick at which one fires.
    armed: HashMap<u64, u64>,
}

impl<V: Value, S: BuildHasher<Hasher: Clone>> Core<V, S> {
    /// Checks table, directory, index and counters against each other.
    ///
    /// Nobody else may use the cache meanwhile. Deleted data whose reclaim is pending is
    /// allowed for, and a driver waits: in the middle of a turn it has memory booked that is
    /// neither used nor given back.
    pub(crate) fn validate(&self) -> Result<(), Violations> {
        let _worker = self.maintenance.hold_up();
        let upkeeps: Vec<_> = self.shards.iter().map(|shard| shard.upkeep.lock()).collect();
        let guard = pin();
        let mut broken = Vec::new();
        let mut holdings: HashMap<*const Node, Holding> = HashMap::new();
        let pending = self.maintenance.is_pending();

        let mut entries = 0;
        for bucket in 0..self.table.buckets() {
            let mut keys = Vec::new();
            for (_, entry) in self.table.bucket_entries(bucket, &guard) {
                entries += 1;
                let node = entry.owner();
                let holding =
                    holdings.entry(entry.owner_ptr()).or_insert_with(|| Holding::of(node, &guard));
                holding.entries += 1;
                holding.bytes += entry.bytes();
                if entry.state() != State::Live {
                    broken.push(format!("bucket {bucket}: an entry is {:?}", entry.state()));
                }
                if node.is_dead() && !pending {
                    broken.push(format!("bucket {bucket}: a dead entry that nobody reclaims"));
                }
                let hash = node.with_namespace(|namespace| {
                    key_hash(&namespace.prefix(&self.hasher), entry.key())
                });
                if self.table.bucket(hash) != bucket {
                    broken.push(format!("bucket {bucket}: an entry of another bucket"));
                }
                if !self.table.probe(hash, &guard).any(|(_, other)| other.is(&entry)) {
                    broken.push(format!("bucket {bucket}: an entry with a wrong tag"));
                }
                let name = node
                    .with_namespace(|namespace| (format!("{namespace:?}"), entry.key().to_vec()));
                if keys.contains(&name) {
                    broken.push(format!("bucket {bucket}: a key is there twice"));
                }
                keys.push(name);
                if !node.is_dead() && !holdings[&entry.owner_ptr()].handles.contains(&hash) {
                    broken.push(format!("bucket {bucket}: an entry without a handle"));
                }
                if !node.is_dead() && !entry.is_indexed() {
                    broken.push(format!("bucket {bucket}: an entry that is not marked as indexed"));
                }
            }
        }
        let mut settled = true;
        let mut known = Known::default();
        for (number, (shard, upkeep)) in self.shards.iter().zip(&upkeeps).enumerate() {
            settled &= !shard.events.is_pending() && !upkeep.is_repairing();
            let share_bytes = self.budget.max() / self.shards.len() as u64;
            let valid = upkeep.validate(share_bytes, |handle, tick| {
                let handle = self.lengthen(handle, number);
                match tick {
                    Some(tick) => {
                        let first = known.armed.entry(handle).or_insert(tick);
                        *first = tick.min(*first);
                    }
                    None => _ = known.queued.insert(handle),
                }
            });
            if let Err(fault) = valid {
                broken.push(format!("shard {number}: {fault}"));
            }
        }
        if settled {
            self.check_tracks(&known, &guard, &mut broken);
        }
        if let Some(budget) = &self.entries_budget
            && budget.used() != entries
        {
            broken.push(format!("{entries} entries in slots, {} in the budget", budget.used()));
        }
        if entries != self.entries() {
            broken.push(format!("{entries} entries in slots, {} counted", self.entries()));
        }
        let booked = upkeeps.iter().map(|upkeep| upkeep.booked()).sum();
        self.check_directory(&holdings, booked, pending, &guard, &mut broken);
        let (live, most) = (self.live_bytes(), self.budget.most());
        if live > most {
            broken.push(format!("{live} bytes live, {most} allowed"));
        }
        if broken.is_empty() { Ok(()) } else { Err(Violations(broken)) }
    }

    /// Where no event is on its way, the upkeep knows of every entry: there is a handle in the
    /// queues, and one in the wheel that fires no later than the entry expires.
    fn check_tracks(&self, known: &Known, guard: &Guard, broken: &mut Vec<String>) {
        for bucket in 0..self.table.buckets() {
            for (slot, entry) in self.table.bucket_entries(bucket, guard) {
                if entry.state() != State::Live
                    || entry.flight().is_some()
                    || entry.owner().is_dead()
                {
                    continue;
                }
                let Some(track) = entry.track() else {
                    broken.push(format!("bucket {bucket}: an entry that was retired"));
                    continue;
                };
                if self.concerns_upkeep(entry.deadline(), track) {
                    broken.push(format!("bucket {bucket}: an entry unknown to upkeep: {track:?}"));
                }
                let handle = self.table.handle_of(bucket, &slot);
                if track.is_queued() && !known.queued.contains(&handle) {
                    broken.push(format!("bucket {bucket}: an entry that left the queues"));
                }
                let first = known.armed.get(&handle).copied();
                let due = self.tick_after(entry.deadline());
                if entry.deadline() != NEVER && first.is_none_or(|first| first > due) {
                    broken.push(format!(
                        "bucket {bucket}: an entry due at tick {due}, the wheel has {first:?}, {track:?}"
                    ));
                }
            }
        }
    }

    fn check_directory(
        &self,
        holdings: &HashMap<*const Node, Holding>,
        booked: u64,
        pending: bool,
        guard: &Guard,
        broken: &mut Vec<String>,
    ) {
        let mut sessions = 0;
        let mut bytes: u64 = booked + holdings.values().map(|holding| holding.bytes).sum::<u64>();
        bytes += self.table.overflow_lines() as u64 * crate::table::LINE_BYTES;
        let none = Holding::default();
        for user in self.directory.users(guard) {
            let own = holdings.get(&std::ptr::from_ref(user)).unwrap_or(&none);
            let mut all = Holding { entries: own.entries, bytes: own.bytes, ..Holding::default() };
            let open = self.directory.sessions(user, guard);
            sessions += open.len();
            for session in &open {
                let holding = holdings.get(&std::ptr::from_ref(*session)).unwrap_or(&none);
                all.entries += holding.entries;
                all.bytes += holding.bytes;
                bytes += session.own_bytes() + session.handles().bytes(guard);
                check_node("a session", session, holding.entries, holding, broken);
                if session.user().map(NodeRef::as_ptr) != Some(user.into()) {
                    broken.push("a session of another user".into());
                }
            }
            bytes += user.own_bytes() + user.handles().bytes(guard);
            // Deleted sessions keep their user's node until they are reclaimed.
            let count = if pending { user.count() } else { own.entries + open.len() as u64 };
            check_node("a user", user, count, &all, broken);
            if user.quota() != self.directory.quotas.of(user.name()) {
                broken.push("a user has another quota than was set".into());
            }
        }
        let Some(global) = self.directory.find(crate::Namespace::Global, guard) else { return };
        let own = holdings.get(&std::ptr::from_ref(global)).unwrap_or(&none);
        bytes += global.handles().bytes(guard);
        if !self.directory.is_closed() {
            check_node("the global namespace", global, own.entries + 1, own, broken);
        }
        if !pending {
            if sessions != self.directory.session_count() {
                let counted = self.directory.session_count();
                broken.push(format!("{sessions} sessions in maps, {counted} counted"));
            }
            if bytes != self.live_bytes() {
                broken.push(format!("{bytes} bytes found, {} counted", self.live_bytes()));
            }
        }
    }
}

fn check_node(what: &str, node: &Node, count: u64, holding: &Holding, broken: &mut Vec<String>) {
    if node.is_closed() || node.is_killed() {
        broken.push(format!("{what} is in the directory although closed or deleted"));
    }
    if node.count() != count {
        broken.push(format!("{what} has a count of {}, not {count}", node.count()));
    }
    if count == 0 {
        broken.push(format!("{what} is empty and was not retired"));
    }
    let usage = node.usage();
    if (usage.entries, usage.bytes) != (holding.entries, holding.bytes) {
        broken.push(format!(
            "{what} has {} entries of {} bytes, its node says {usage:?}",
            holding.entries, holding.bytes
        ));
    }
}
