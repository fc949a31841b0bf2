//! Concurrent histories without threads: a random interleaving of programs over the model.
//!
//! Every call has three moments (call, effect, return), and any thread may take the next one;
//! so far more operations overlap than real threads on two cores ever bring about. An effect
//! in two steps plants a fault: an operation that should be atomic and is not.

use super::history::Event;
use super::model::Model;
use super::op::{Op, Ret, VersionId};
use super::program::{Rng, Step};

/// What one step of an operation's effect comes to.
pub enum Effect {
    /// Another step is needed, and is given this.
    More(Ret),
    Answer(Ret),
}

/// Carries out one step of an operation; `None` before the first.
pub type Effects = fn(&mut Model, &Op, VersionId, Option<Ret>) -> Effect;

/// As it should be: one step.
pub fn atomically(model: &mut Model, op: &Op, fresh: VersionId, _: Option<Ret>) -> Effect {
    Effect::Answer(model.apply(op, fresh))
}

/// Runs the programs, one virtual thread each, and records their history.
pub fn interleave(rng: &mut Rng, programs: &[Vec<Step>], effects: Effects) -> Vec<Event> {
    let mut model = Model::new();
    let mut threads: Vec<Thread> = programs.iter().map(|program| Thread::new(program)).collect();
    let mut history = Vec::new();
    let mut stamp = 0;
    loop {
        let ready: Vec<usize> = (0..threads.len()).filter(|it| !threads[*it].is_done()).collect();
        if ready.is_empty() {
            return history;
        }
        stamp += 1;
        let index = rng.pick(&ready);
        let finished = threads[index].advance(stamp, &mut model, effects);
        history.extend(finished.map(|(call, op, ret)| Event {
            call,
            ret_at: stamp,
            thread: index,
            op,
            ret,
        }));
    }
}

struct Thread<'p> {
    left: &'p [Step],
    learned: Vec<VersionId>,
    moment: Moment,
    /// The second half of a `get_or_load` whose first half is under way.
    load_end: Option<Op>,
}

enum Moment {
    Idle,
    Called(u64, Op, Option<Ret>),
    Answered(u64, Op, Ret),
}

impl<'p> Thread<'p> {
    fn new(program: &'p [Step]) -> Thread<'p> {
        Thread { left: program, learned: Vec::new(), moment: Moment::Idle, load_end: None }
    }

    fn is_done(&self) -> bool {
        let is_idle = matches!(self.moment, Moment::Idle);
        self.left.is_empty() && is_idle && self.load_end.is_none()
    }

    /// Takes this thread's next moment; the finished call, if it was a return.
    fn advance(
        &mut self,
        stamp: u64,
        model: &mut Model,
        effects: Effects,
    ) -> Option<(u64, Op, Ret)> {
        match std::mem::replace(&mut self.moment, Moment::Idle) {
            Moment::Idle => {
                let op = match self.load_end.take() {
                    Some(op) => op,
                    None => self.next_op(stamp)?,
                };
                self.moment = Moment::Called(stamp, op, None);
                None
            }
            // The stamp is as good a version as any: it is never used again.
            Moment::Called(call, op, so_far) => {
                self.moment = match effects(model, &op, stamp, so_far) {
                    Effect::More(ret) => Moment::Called(call, op, Some(ret)),
                    Effect::Answer(ret) => Moment::Answered(call, op, ret),
                };
                None
            }
            Moment::Answered(call, op, ret) => {
                self.learned.extend(ret.version());
                if ret == Ret::Conflict {
                    self.load_end = None;
                }
                Some((call, op, ret))
            }
        }
    }

    /// The next call. A `get_or_load` is a lease and, if it won, the end of the load; it
    /// would wait where it lost, and here gives up.
    fn next_op(&mut self, stamp: u64) -> Option<Op> {
        let (step, left) = self.left.split_first()?;
        self.left = left;
        Some(match step.resolve(&self.learned, None) {
            Op::GetOrLoad(at, put) => {
                // Far from the ids that programs give their leases.
                let id = (1 << 16) + stamp as u32;
                self.load_end = Some(Op::LoadEnd(at, id, put));
                Op::Lease(at, id)
            }
            op => op,
        })
    }
}
