//! The walk over all handles, in steps between which time may go by.
//!
//! The walk takes out one list after the other and puts back what is kept. Between its steps an
//! advance moves handles, but mostly in one direction, and the stages of a walk go the same way:
//!
//! ```text
//!   again ──► loose ──► far ──► level 5, open ──► level 4, open ──► .. ──► level 0, open
//!               ▲        │           slots from the last to the first
//!               └────────┘
//! ```
//!
//! - A handle of a level leaves its slot for `open`, and that for lower levels.
//! - Where an advance opens the very slot that the walk is at, the slot's list becomes `open`
//!   and the stage moves along, so that the rest counts as open too. The slots before that one
//!   were not reached by the walk, but time has passed them: they are empty.
//! - The way back, from far to loose, is [`Wheel::open_far`]. If the walk is past both, it has
//!   shown them all. If it is at far, what was shown is loose now and the rest is the rest of the
//!   loose stage. If it is at loose, that stage begins anew.
//!
//! So a handle that was not shown is never behind the walk.

use super::list::List;
use super::{Far, LEVELS, Near, SLOTS, Wheel};

/// Where a walk is, and what is left of the list there.
pub(super) struct Walk {
    pub(super) stage: Stage,
    pub(super) near: List<Near>,
    pub(super) far: List<Far>,
}

/// A stage of a walk, in order; levels go from the highest to the lowest, slots from the last to
/// the first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Pours `again` into `loose`; also where the next walk starts.
    Again,
    Loose,
    Far,
    Slot(usize, usize),
    /// The open slot, if it is of this level.
    Open(usize),
}

impl Walk {
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Again, near: List::new(), far: List::new() }
    }
}

impl Wheel {
    /// Drops the handles for which `keep` is false; `true` when the walk over all handles has
    /// ended, `false` where `budget` was used up before. The next call goes on there.
    ///
    /// # Consistency
    ///
    /// Other calls may come between the steps of a walk. A handle that is in the wheel from its
    /// beginning to its end is shown at least once. One that was inserted meanwhile, or armed
    /// again as it fired, may be missed.
    ///
    /// # Complexity
    ///
    /// Each handle that is shown takes one of the budget. The list that is being walked may take
    /// one block more meanwhile.
    pub(crate) fn retain(
        &mut self,
        budget: &mut usize,
        mut keep: impl FnMut(u32, u64) -> bool,
    ) -> bool {
        loop {
            if self.is_stage_over() {
                if !self.enter_next_stage() {
                    self.release_if_empty();
                    return true;
                }
                continue;
            }
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.walk_step(&mut keep);
        }
    }

    fn is_stage_over(&self) -> bool {
        match self.walk.stage {
            Stage::Again => self.again.is_empty(),
            Stage::Loose | Stage::Far => self.walk.far.is_empty(),
            Stage::Slot(..) | Stage::Open(_) => self.walk.near.is_empty(),
        }
    }

    /// Shows one handle of the stage and puts it back where it is kept.
    fn walk_step(&mut self, mut keep: impl FnMut(u32, u64) -> bool) {
        let Self { walk, bytes, .. } = self;
        match walk.stage {
            Stage::Again | Stage::Loose | Stage::Far => {
                let (from, to) = match walk.stage {
                    Stage::Again => (&mut self.again, &mut self.loose),
                    Stage::Loose => (&mut walk.far, &mut self.loose),
                    _ => (&mut walk.far, &mut self.far),
                };
                let Some(far) = from.pop(bytes) else { return };
                // Out of the count while `keep` may panic.
                self.len -= 1;
                if keep(far.handle, far.tick) {
                    self.len += 1;
                    to.push(far, bytes);
                }
            }
            Stage::Slot(..) | Stage::Open(_) => {
                let Some(near) = walk.near.pop(bytes) else { return };
                self.len -= 1;
                let slot = match walk.stage {
                    Stage::Slot(level, slot) => Some((level, slot)),
                    _ => None,
                };
                let start = slot.map_or(self.open.start, |(level, slot)| self.start(level, slot));
                let (handle, tick) = near.armed(start);
                if keep(handle, tick) {
                    self.len += 1;
                    match slot {
                        Some((level, slot)) => {
                            self.levels[level].push(slot, near, &mut self.bytes);
                        }
                        None => self.open.list.push(near, &mut self.bytes),
                    }
                }
            }
        }
    }

    /// Goes on to the next stage that may have handles; `false` at the end of the walk.
    fn enter_next_stage(&mut self) -> bool {
        let (level, slots) = match self.walk.stage {
            Stage::Again => {
                self.walk.stage = Stage::Loose;
                self.walk.far = self.loose.take();
                return true;
            }
            Stage::Loose => {
                self.walk.stage = Stage::Far;
                self.walk.far = self.far.take();
                return true;
            }
            Stage::Far => {
                if self.far.is_empty() {
                    self.far_min = None;
                }
                (LEVELS - 1, SLOTS)
            }
            Stage::Slot(level, slot) => {
                self.levels[level].forget_if_empty(slot);
                (level, slot)
            }
            Stage::Open(0) => {
                self.walk.stage = Stage::Again;
                return false;
            }
            Stage::Open(level) => (level - 1, SLOTS),
        };
        if let Some(slot) = self.levels[level].last_before(slots) {
            self.walk.stage = Stage::Slot(level, slot);
            self.walk.near = self.levels[level].lend(slot);
        } else {
            self.walk.stage = Stage::Open(level);
            if self.open.level == level {
                self.walk.near = self.open.list.take();
            }
        }
        true
    }
}
