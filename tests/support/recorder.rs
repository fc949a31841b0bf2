//! Records what several threads ask and get, with stamps of call and return.
//!
//! The stamps come from a std atomic, also under the shuttle scheduler: it must not be a
//! scheduling point, or it would order what it observes. Not for loom, where weak memory may
//! rightly lag behind a std clock.

#[cfg(scopecache_shuttle)]
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::engine::Engine;
use super::history::Event;
use super::op::{LeaseId, Op, Place, Put, Ret, VersionId, When};
use super::program::Step;

/// Collects the events of all threads.
pub struct Recorder {
    clock: AtomicU64,
    next_load: AtomicU32,
    events: Mutex<Vec<Event>>,
}

/// One thread's pen; hands its events in when dropped.
pub struct Scribe<'r> {
    recorder: &'r Recorder,
    thread: usize,
    events: Vec<Event>,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder {
            clock: AtomicU64::new(1),
            // Far from the ids that programs give their leases.
            next_load: AtomicU32::new(1 << 16),
            events: Mutex::new(Vec::new()),
        }
    }

    pub fn scribe(&self, thread: usize) -> Scribe<'_> {
        Scribe { recorder: self, thread, events: Vec::new() }
    }

    /// Runs the programs, a thread of shuttle's for each, to be joined.
    #[cfg(scopecache_shuttle)]
    pub fn spawn(
        self: &Arc<Self>,
        engine: &Arc<impl Engine + Send + Sync + 'static>,
        programs: impl IntoIterator<Item = Vec<Step>>,
    ) -> Vec<shuttle::thread::JoinHandle<()>> {
        let programs = programs.into_iter().enumerate();
        let threads = programs.map(|(index, program)| {
            let (engine, recorder) = (Arc::clone(engine), Arc::clone(self));
            shuttle::thread::spawn(move || recorder.scribe(index).run_program(&*engine, &program))
        });
        threads.collect()
    }

    /// Everything recorded, in the order of the calls. Ask after all scribes are dropped.
    pub fn into_history(self) -> Vec<Event> {
        let mut events = self.events.into_inner().expect("no scribe panics");
        events.sort_by_key(|event| event.call);
        events
    }

    fn stamp(&self) -> u64 {
        // SeqCst: a call stamped after a return must be ordered after it for everybody.
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

impl Scribe<'_> {
    /// Asks the engine and notes the answer.
    pub fn run(&mut self, engine: &impl Engine, op: Op) -> Ret {
        match op {
            Op::GetOrLoad(at, put) => return self.load(engine, at, put),
            Op::Refresh(at, put) => return self.refresh(engine, at, put),
            _ => {}
        }
        let call = self.recorder.stamp();
        let ret = engine.apply(&op);
        self.note(call, op, ret.clone());
        ret
    }

    /// Runs one thread's program. It ends its own leases before it loads anything itself, and
    /// at the end, so that nobody waits for a lease whose holder waits in turn.
    pub fn run_program(&mut self, engine: &impl Engine, program: &[Step]) {
        let mut learned: Vec<VersionId> = Vec::new();
        let mut open: Vec<Op> = Vec::new();
        for step in program {
            let op = step.resolve(&learned, None);
            match op {
                Op::Lease(at, id) => open.push(Op::DropLease(at, id)),
                Op::GetOrLoad(..) => self.run_all(engine, &mut open),
                _ => {}
            }
            learned.extend(self.run(engine, op).version());
        }
        self.run_all(engine, &mut open);
    }

    fn run_all(&mut self, engine: &impl Engine, ops: &mut Vec<Op>) {
        for op in ops.drain(..) {
            self.run(engine, op);
        }
    }

    /// A `get_or_load` is one event if it found a value, two if its loader ran: the right to
    /// store is won before the loader and used after it, and others may come between.
    fn load(&mut self, engine: &impl Engine, at: Place, put: Put) -> Ret {
        let recorder = self.recorder;
        let call = recorder.stamp();
        let mut loads: Vec<(LeaseId, u64, u64)> = Vec::new();
        let ret = engine.load(at, put, &mut || {
            // Relaxed: only uniqueness is asked for.
            let id = recorder.next_load.fetch_add(1, Ordering::Relaxed);
            loads.push((id, recorder.stamp(), recorder.stamp()));
        });
        match loads.as_slice() {
            [] => self.note(call, Op::GetOrLoad(at, put), ret.clone()),
            [(id, leased, loaded)] => {
                let lease = Op::Lease(at, *id);
                self.events.push(Event {
                    call,
                    ret_at: *leased,
                    thread: self.thread,
                    op: lease,
                    ret: Ret::Leased,
                });
                self.note(*loaded, Op::LoadEnd(at, *id, put), ret.clone());
            }
            _ => {
                let why = format!("one call ran its loader {} times", loads.len());
                self.note(call, Op::GetOrLoad(at, put), Ret::Failed(why));
            }
        }
        ret
    }

    /// A refresh is one event if it only read; two if it got the right to replace what it read, for
    /// others may come between.
    fn refresh(&mut self, engine: &impl Engine, at: Place, put: Put) -> Ret {
        let recorder = self.recorder;
        let call = recorder.stamp();
        let mut claim: Option<(Ret, u64, u64)> = None;
        let ret = engine.refresh(at, put, &mut |hit| {
            claim = Some((hit, recorder.stamp(), recorder.stamp()));
        });
        let Some((hit, ret_at, begun)) = claim else {
            self.note(call, Op::Get(at), ret.clone());
            return ret;
        };
        let version = hit.version().unwrap_or_default();
        let event = Event { call, ret_at, thread: self.thread, op: Op::Get(at), ret: hit };
        self.events.push(event);
        self.note(begun, Op::Write(at, When::Version(version), put), ret.clone());
        ret
    }

    fn note(&mut self, call: u64, op: Op, ret: Ret) {
        let ret_at = self.recorder.stamp();
        self.events.push(Event { call, ret_at, thread: self.thread, op, ret });
    }
}

impl Drop for Scribe<'_> {
    fn drop(&mut self) {
        // A poisoned book means that another thread's panic is already on its way.
        if let Ok(mut events) = self.recorder.events.lock() {
            events.append(&mut self.events);
        }
    }
}
