//! What can be judged: anything that answers operations.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use super::model::Model;
use super::op::{LeaseId, Op, Place, Put, Ret};

/// A cache under test.
pub trait Engine {
    /// Carries out one operation, a whole `get_or_load` included; never a `LoadEnd`.
    fn apply(&self, op: &Op) -> Ret;

    /// Carries out a `get_or_load`; the loader calls `loading` when it runs.
    fn load(&self, at: Place, put: Put, loading: &mut dyn FnMut()) -> Ret;

    /// Carries out a get that refreshes what is old. `claimed` is told of the hit when the right to
    /// refresh it was got; the answer is then that of the refresh.
    fn refresh(&self, at: Place, _put: Put, _claimed: &mut dyn FnMut(Ret)) -> Ret {
        self.apply(&Op::Get(at))
    }

    /// Checks the engine's own invariants, while nobody else uses it.
    fn validate(&self) -> Result<(), String>;

    /// Does all work that is pending, then checks the invariants once more.
    fn settle(&self) -> Result<(), String> {
        self.validate()
    }
}

/// The reference as an engine: one lock around everything, so right by construction.
pub struct LockedModel {
    state: Mutex<Model>,
    changed: Condvar,
    next_version: AtomicU64,
    next_load: AtomicU32,
}

impl LockedModel {
    pub fn new(initial: Model) -> LockedModel {
        LockedModel {
            state: Mutex::new(initial),
            changed: Condvar::new(),
            // Far from any version that an initial state was given by hand.
            next_version: AtomicU64::new(1 << 32),
            next_load: AtomicU32::new(1 << 24),
        }
    }

    /// Carries out one operation without ever waiting: a load that is under way elsewhere
    /// gives `Conflict`.
    pub fn apply_now(&self, op: &Op) -> Ret {
        // Relaxed: only uniqueness is asked for.
        let fresh = self.next_version.fetch_add(1, Ordering::Relaxed);
        let ret = self.lock().apply(op, fresh);
        self.changed.notify_all();
        ret
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.state.lock().expect("no holder panics")
    }

    /// Waits until the call can be answered or the key is ours to load.
    fn begin_load(&self, at: Place, put: Put) -> Result<Ret, LeaseId> {
        // Relaxed: only uniqueness is asked for.
        let id = self.next_load.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        loop {
            if state.version_at(at).is_some() || put.life.is_invalid() {
                return Ok(state.apply(&Op::GetOrLoad(at, put), 0));
            }
            if state.apply(&Op::Lease(at, id), 0) == Ret::Leased {
                return Err(id);
            }
            state = self.changed.wait(state).expect("no holder panics");
        }
    }
}

impl Engine for LockedModel {
    fn apply(&self, op: &Op) -> Ret {
        match *op {
            Op::GetOrLoad(at, put) => self.load(at, put, &mut || ()),
            _ => self.apply_now(op),
        }
    }

    fn load(&self, at: Place, put: Put, loading: &mut dyn FnMut()) -> Ret {
        match self.begin_load(at, put) {
            Ok(found) => found,
            Err(id) => {
                loading();
                self.apply_now(&Op::LoadEnd(at, id, put))
            }
        }
    }

    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}
