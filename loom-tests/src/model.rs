//! A model: what is done before, and what races.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use crate::explore::explore;
use crate::op::{Op, Owner};
use crate::run::{Scene, Setup, finish};
use crate::spec::{Event, Fact, State, fits};

/// Of which model, what was answered, and what is there at the end.
type History = (&'static str, Vec<Event>, Vec<Fact>);

/// A little program for two or three threads.
#[derive(Clone, Debug)]
#[must_use = "a model does nothing until it is checked"]
pub struct Model {
    name: &'static str,
    bound: usize,
    least: u64,
    setup: Setup,
    guarded: bool,
    /// The bound on the number of entries, and how many may be evicted.
    evicting: Option<(u64, usize)>,
    before: Vec<Op>,
    threads: Vec<Vec<Op>>,
}

impl Model {
    /// A model with at most `bound` preemptions, which must have `least` executions at least.
    pub fn new(name: &'static str, bound: usize, least: u64) -> Self {
        let (before, threads) = (Vec::new(), Vec::new());
        Self {
            name,
            bound,
            least,
            setup: Setup::default(),
            guarded: false,
            evicting: None,
            before,
            threads,
        }
    }

    /// Gives all keys of all owners the same hash.
    pub fn one_hash(mut self) -> Self {
        self.setup.one_hash = true;
        self
    }

    /// Lets each thread hold one guard throughout, under which its operations issue no fences.
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Lets calls without a scope find nodes by shortcuts, which all fall on one place.
    pub fn shortcuts(mut self) -> Self {
        self.setup.shortcuts = 1;
        self
    }

    /// Bounds the number of entries; what is evicted for that, at most so many, is deleted
    /// though nobody asked for it.
    pub fn evicting(mut self, max_entries: u64, most: usize) -> Self {
        self.evicting = Some((max_entries, most));
        self
    }

    /// Lets a listener hear of removals: each version that a store answered is to be reported once.
    /// Values are stored by `Set`, `Insert` and their kin alone.
    pub fn reporting(mut self) -> Self {
        self.setup.reporting = true;
        self
    }

    /// Bounds the entries of each user; sets that would pass that are refused, or evict.
    pub fn quota(mut self, entries: u64) -> Self {
        self.setup.quota = Some(entries);
        self
    }

    /// What is done before the threads start.
    pub fn before(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.before.extend(ops);
        self
    }

    /// One more thread.
    pub fn thread(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.threads.push(ops.into_iter().collect());
        self
    }

    /// Explores it.
    ///
    /// # Panics
    ///
    /// Where an execution is wrong.
    pub fn check(self) {
        let model = Arc::new(self);
        let (name, bound, least) = (model.name, model.bound, model.least);
        explore(name, bound, least, move || model.execute());
    }

    /// One execution. This thread only spawns and joins while the others run.
    fn execute(self: &Arc<Self>) {
        let setup = Setup { max_entries: self.evicting.map(|(max, _)| max), ..self.setup };
        let scene = Arc::new(Scene::new(setup, &self.owners()));
        let mut state = State::evicting(self.evicting.map_or(0, |(_, most)| most));
        for event in self.before.iter().flat_map(|op| scene.run(0, op)) {
            assert!(state.allows(event.fact), "alone, {event:?}");
        }
        let threads: Vec<_> = (0..self.threads.len())
            .map(|thread| {
                let (model, scene) = (Arc::clone(self), Arc::clone(&scene));
                loom::thread::spawn(move || {
                    let _guard = model.guarded.then(|| scene.pin());
                    let ops = model.threads[thread].iter();
                    let mut events: Vec<Event> = Vec::new();
                    for op in ops {
                        let step = events.last().map_or(0, |event| event.step + 1);
                        let more = scene.run(step, op);
                        events.extend(more.map(|event| Event { thread, ..event }));
                    }
                    events
                })
            })
            .collect();
        let mut events: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a failure ends the process"))
            .collect();
        let scene = Arc::into_inner(scene).expect("the threads have ended");
        let last = finish(scene, &self.names());
        self.judge(&state, &mut events, &last);
    }

    fn judge(&self, state: &State, events: &mut Vec<Event>, last: &[Fact]) {
        std::thread_local! {
            /// Histories that fit; most executions repeat one of a few.
            static KNOWN: RefCell<HashSet<History>> = RefCell::default();
        }
        let history = (self.name, events.clone(), last.to_vec());
        if KNOWN.with_borrow(|known| known.contains(&history)) {
            return;
        }
        assert!(
            fits(state, events, last),
            "{}: no sequential order gives these answers:\n{events:#?}\nand then\n{last:#?}",
            self.name
        );
        KNOWN.with_borrow_mut(|known| known.insert(history));
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.before.iter().chain(self.threads.iter().flatten())
    }

    fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<_> = self.names().into_iter().map(|(owner, _)| owner).collect();
        owners.dedup();
        owners
    }

    /// All keys that occur, each once.
    fn names(&self) -> Vec<(Owner, &'static str)> {
        let mut names: Vec<_> =
            self.ops().filter_map(Op::place).map(|place| (place.owner, place.key)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
