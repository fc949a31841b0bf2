//! What a listener heard, judged by the history.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use scopecache::{Removal, RemovalCause};

use crate::adapter::{KEYS, namespace};
use crate::support::history::Event;
use crate::support::model::Room;
use crate::support::op::{Life, Op, Place, Ret, Space, VersionId};

/// The reports of one run. Std's lock, which is no step of a schedule.
#[derive(Default)]
pub(crate) struct Reports(Mutex<Vec<Report>>);

#[derive(Clone, Copy, Debug)]
struct Report {
    /// `None` for names that nobody used.
    at: Option<Place>,
    version: VersionId,
    cause: RemovalCause,
}

impl Reports {
    pub(crate) fn listener(self: &Arc<Self>) -> impl Fn(&Removal) + Send + Sync + 'static {
        let reports = Arc::clone(self);
        move |removal| {
            let report = Report {
                at: place(removal),
                version: removal.version().as_u64(),
                cause: removal.cause(),
            };
            reports.0.lock().expect("no panic").push(report);
        }
    }

    /// Of a cache that was emptied in the end, or closed: each version that was stored was reported
    /// once, where it stood and for a reason that there is; what a close took away, at most once.
    pub(crate) fn judge(&self, room: Room, history: &[Event]) -> Result<(), String> {
        let births = births(history);
        let reasons = Reasons { room, history, births: &births };
        let mut ended = BTreeSet::new();
        for report in self.0.lock().expect("no panic").iter() {
            let Some(&(at, _)) = births.get(&report.version) else {
                return Err(format!("reported and not stored: {report:?}"));
            };
            if !ended.insert(report.version) {
                return Err(format!("reported once more: {report:?}"));
            }
            if report.at != Some(at) {
                return Err(format!("reported elsewhere than at {at:?}: {report:?}"));
            }
            if !reasons.has(report.cause, at) {
                return Err(format!("reported for no reason: {report:?}"));
            }
        }
        let closed = history.iter().any(|event| event.op == Op::Close);
        let stored = births.iter().filter(|(_, (_, certain))| *certain && !closed);
        match stored.map(|(version, _)| version).find(|version| !ended.contains(*version)) {
            Some(version) => Err(format!("never reported: version {version}")),
            None => Ok(()),
        }
    }
}

fn place(removal: &Removal) -> Option<Place> {
    let sessions = (0..4).map(|pair| Space::Session(pair / 2, pair % 2));
    let mut spaces = [Space::Global, Space::User(0), Space::User(1)].into_iter().chain(sessions);
    let space = spaces.find(|space| namespace(*space) == removal.namespace())?;
    let key = KEYS.iter().position(|key| key.as_bytes() == removal.key())?;
    Some(space.at(key as u8))
}

/// Where each version was stored, and whether it is certain that it was.
fn births(history: &[Event]) -> HashMap<VersionId, (Place, bool)> {
    let births = history.iter().filter_map(|event| {
        let (version, certain) = match (&event.op, &event.ret) {
            (_, Ret::Stored(Some(version))) => (*version, true),
            (Op::LoadEnd(..), Ret::Loaded(seen)) => (seen.version, false),
            _ => return None,
        };
        Some((version, (event.op.place()?, certain)))
    });
    births.collect()
}

/// What may have happened to an entry.
struct Reasons<'h> {
    room: Room,
    history: &'h [Event],
    births: &'h HashMap<VersionId, (Place, bool)>,
}

impl Reasons<'_> {
    fn has(&self, cause: RemovalCause, at: Place) -> bool {
        let any = |f: &dyn Fn(&Op) -> bool| self.history.iter().any(|event| f(&event.op));
        let dies_with = |space: Space| any(&|op| *op == Op::DeleteNamespace(space));
        match (cause, at.space) {
            (RemovalCause::Expired, _) => any(&|op| gives_deadline(op, at)),
            (RemovalCause::Evicted, _) => self.room.may_lose(at),
            (RemovalCause::Replaced, _) => {
                self.births.values().filter(|(place, _)| *place == at).count() > 1
            }
            (RemovalCause::Deleted, _) => {
                any(&|op| matches!(op, Op::Delete(_) | Op::Take(_)) && op.place() == Some(at))
            }
            (RemovalCause::SessionDeleted, space @ Space::Session(..)) => dies_with(space),
            (RemovalCause::UserDeleted, Space::User(user) | Space::Session(user, _)) => {
                dies_with(Space::User(user))
            }
            // In the end at the latest.
            (RemovalCause::Cleared, _) => true,
            _ => false,
        }
    }
}

fn gives_deadline(op: &Op, at: Place) -> bool {
    let put = op.put().is_some_and(|put| put.life != Life::Forever);
    op.place() == Some(at) && (put || matches!(op, Op::Touch(..)))
}
