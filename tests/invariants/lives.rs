//! Versions: which were stored, and which a listener heard the end of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use scopecache::Removal;

use crate::support::op::{Ret, VersionId};

/// Std's locks, which are no steps of a schedule.
#[derive(Default)]
pub(crate) struct Lives {
    stored: Mutex<BTreeSet<VersionId>>,
    /// Of what was loaded: stored, or not.
    loaded: Mutex<BTreeSet<VersionId>>,
    ended: Mutex<Vec<VersionId>>,
}

impl Lives {
    pub(crate) fn listener(self: &Arc<Self>) -> impl Fn(&Removal) + Send + Sync + 'static {
        let lives = Arc::clone(self);
        move |event| lives.ended.lock().expect("no panic").push(event.version().as_u64())
    }

    pub(crate) fn answered(&self, ret: &Ret) {
        match ret {
            Ret::Stored(Some(version)) => {
                self.stored.lock().expect("no panic").insert(*version);
            }
            Ret::Loaded(seen) => {
                self.loaded.lock().expect("no panic").insert(seen.version);
            }
            _ => {}
        }
    }

    /// When everything has gone: each version that was stored ended once, and nothing else did.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let (stored, loaded) = (&self.stored, &self.loaded);
        let (stored, loaded) = (stored.lock().expect("no panic"), loaded.lock().expect("no panic"));
        let mut ended = self.ended.lock().expect("no panic").clone();
        ended.sort_unstable();
        if let Some(twice) = ended.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("version {} was reported twice", twice[0]));
        }
        let ended: BTreeSet<_> = ended.into_iter().collect();
        if let Some(version) = stored.difference(&ended).next() {
            return Err(format!("version {version} was never reported"));
        }
        match ended.iter().find(|version| !stored.contains(version) && !loaded.contains(version)) {
            Some(version) => Err(format!("version {version} was reported and not stored")),
            None => Ok(()),
        }
    }
}
