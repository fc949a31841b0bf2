//! The end of an execution: what was left is judged, and nothing may be.

use scopecache::Cache;

use super::Scene;
use super::values::{Counted, Spread};
use crate::op::Owner;
use crate::spec::{Fact, Name};

/// Overflow lines stay as long as the table.
const LINE_BYTES: u64 = 64;

/// Ends an execution: reclaims, checks that the cache is whole, empties it, and checks that
/// nothing is left. Answers what was there.
pub(crate) fn finish(scene: Scene, names: &[Name]) -> Vec<Fact> {
    let leases = std::mem::take(&mut *scene.leases.lock().expect("no panic"));
    drop(leases);
    let refreshes = std::mem::take(&mut *scene.refreshes.lock().expect("no panic"));
    drop(refreshes);
    let cache = &scene.cache;
    if cache.is_closed() {
        let stats = cache.stats();
        // Whatever was under way, the closer and the others leave nothing to be reclaimed later.
        assert!(!stats.reclaim_pending, "{stats:?}");
        return empty(scene, Vec::new());
    }
    reclaim(cache);
    // Each event is looked at, and nothing but events and handles leads to an entry.
    while cache.tend(64).pending {}
    if let Err(violations) = cache.validate() {
        panic!("{violations}");
    }
    let facts: Vec<_> = names
        .iter()
        .map(|&name| {
            let item = cache.get(name.0.namespace(), name.1).expect("open");
            Fact::Found(name, item.map(|item| item.value().get()))
        })
        .collect();
    // Takes out what has expired; what was dead is gone already.
    let _ = cache.maintain(1);
    for &owner in &scene.owners {
        let mut keys = cache.keys(owner.namespace()).expect("open");
        keys.sort_unstable();
        let live = facts.iter().filter_map(|fact| match *fact {
            Fact::Found((of, key), Some(_)) if of == owner => Some(key.as_bytes()),
            _ => None,
        });
        assert!(keys.iter().map(|key| &key[..]).eq(live), "the keys of {owner:?} are {keys:?}");
    }
    let live = facts.iter().filter(|fact| matches!(fact, Fact::Found(_, Some(_)))).count();
    let stats = cache.stats();
    assert_eq!(stats.entries, live as u64, "{stats:?}");
    assert!(scene.setup.max_entries.is_none_or(|max| stats.entries <= max), "{stats:?}");
    for &owner in &scene.owners {
        if let Owner::User(user) = owner {
            let bytes = cache.usage(owner.namespace()).expect("open").bytes;
            let quota = cache.user_quota(user).expect("open");
            assert!(quota.is_none_or(|quota| bytes <= quota), "{bytes} bytes of {quota:?}");
        }
    }
    assert!(live > 0 || stats.users + stats.sessions == 0, "nothing lives: {stats:?}");

    let _ = cache.clear();
    reclaim(cache);
    while cache.tend(64).pending {}
    empty(scene, facts)
}

impl Scene {
    /// What was reported, each version once, was stored.
    fn reported(&self) -> usize {
        let Some(reports) = &self.reports else { return 0 };
        let reports = reports.lock().expect("no panic");
        let versions = self.versions.lock().expect("no panic");
        for (at, version) in reports.iter().enumerate() {
            assert!(versions.values().any(|stored| stored == version), "never stored: {version:?}");
            assert!(!reports[..at].contains(version), "reported twice: {version:?}");
        }
        reports.len()
    }

    fn stored(&self) -> usize {
        if self.reports.is_some() { self.versions.lock().expect("no panic").len() } else { 0 }
    }
}

/// Drops an empty cache; nothing may be left.
fn empty(scene: Scene, facts: Vec<Fact>) -> Vec<Fact> {
    let cache = &scene.cache;
    if let Err(violations) = cache.validate() {
        panic!("{violations}");
    }
    let stats = cache.stats();
    let bytes = stats.live_bytes - stats.overflow_lines * LINE_BYTES;
    assert!(bytes == 0 || !cache.is_closed(), "{stats:?}");
    assert_eq!((stats.entries, stats.users, stats.sessions), (0, 0, 0), "{stats:?}");
    let (reported, closed) = (scene.reported(), cache.is_closed());
    // What a close found in the cache goes without a report.
    assert!(closed || reported == scene.stored(), "{reported} reported");
    let reports = scene.reports.clone();
    drop(scene);
    let last = reports.map_or(0, |reports| reports.lock().expect("no panic").len());
    assert_eq!(last, reported, "a removal waits though nobody is to come for it");
    scopecache::quiesce();
    let left = Counted::alive();
    assert_eq!(left, 0, "{left} values were not dropped");
    facts
}

/// Takes out what was deleted, by its handles alone: steps of one leave no budget for looking
/// through the table, which would hide a missing handle.
fn reclaim(cache: &Cache<Counted, Spread>) {
    while cache.stats().reclaim_pending {
        let _ = cache.maintain(1);
    }
}
