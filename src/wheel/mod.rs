//! A hierarchical timing wheel: which handles are due at which tick.
//!
//! ```text
//!           bits 36..64   30..36  24..30  18..24  12..18  6..12   0..6
//!  tick  =    window    |  d5   |  d4   |  d3   |  d2   |  d1   |  d0
//!
//!  insert ──┬─ not after `at` ──────────────────────────────► loose ─┐
//!           ├─ first differs from `at` in digit dL                   │ advance looks at each:
//!           │    level L: [ ][ ][·][ ] .. [·]  64 slots ────► open ──┤  due      ──► fire
//!           └─ in a later window ────────► far ───────────► loose ───┘  not yet  ──► insert
//! ```
//!
//! `at` is the tick that the wheel has reached. A slot of level L spans 64^L ticks. When time
//! reaches a slot, it is opened: its list is taken out as a whole, and its handles are looked
//! at one by one, each at the price of one step. Those that are due fire, the others go down to
//! the level that fits them now. When time enters another window, the same is done with `far`.
//!
//! Ground rules:
//!
//! - The wheel has no clock. Ticks are whatever the caller counts, and never run backwards.
//! - A handle is a number that the wheel does not interpret: it may be there twice, it may be
//!   stale. There is no cancelling; the caller sees when it fires whether it still means
//!   something, or drops it by [`retain`](Wheel::retain).
//! - A handle never fires before its tick, and has fired when an advance to its tick or later
//!   has ended. Between handles that are due there is no order.
//!
//! Invariants:
//!
//! - Every tick in a slot of level L equals `at` above digit L and is greater in digit L. So the
//!   first slot in use of the lowest level in use is the earliest, slots behind `at` are
//!   empty, and time may jump to the start of that slot in one step.
//! - All ticks in a slot of level L are equal from bit 6L <= 30 up, so that their low 32 bits and
//!   the start of the slot give the tick: 8 bytes a handle. Lists that span more hold whole
//!   ticks.
//! - Every tick in `far` is in a later window than `at`, and none is before `far_min`.
//! - `open` and `loose` are empty before a slot is opened.
//!
//! Memory: 8.5 bytes a handle in long lists. A slot of one handle takes 64, and none wastes more
//! than 700: its small blocks, and the free places of its large one. The slots of a level take
//! 1 KiB from its first use until the wheel is empty.
//!
//! Reference: Varghese and Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), scheme 7.

#[cfg(all(any(fuzzing, test), not(any(scopecache_loom, scopecache_shuttle))))]
pub(crate) mod fuzz;
mod list;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests;
mod walk;

use self::list::List;
use self::walk::{Stage, Walk};

use crate::value::allocated;

const LEVELS: usize = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const DIGIT_BITS: usize = 6;
const WINDOW_BITS: usize = LEVELS * DIGIT_BITS;

const SLOTS_BYTES: usize = allocated(size_of::<[List<Near>; SLOTS]>());

/// The most bytes that one insert can allocate, and one unit of an advance's budget.
pub(crate) const MOST_GROWTH_BYTES: usize = {
    let near = SLOTS_BYTES + list::most_growth_bytes::<Near>();
    let far = list::most_growth_bytes::<Far>();
    if near > far { near } else { far }
};

pub(crate) struct Wheel {
    /// The tick that was reached.
    at: u64,
    levels: [Level; LEVELS],
    /// The slot that is being looked at.
    open: Open,
    /// Handles of later windows.
    far: List<Far>,
    /// A lower bound of the ticks in `far`, and in the rest of it that a walk has taken out.
    far_min: Option<u64>,
    /// Handles to be looked at by the next step of an advance.
    loose: List<Far>,
    /// Handles that were armed again at a tick that was over: they wait for the next advance.
    again: List<Far>,
    walk: Walk,
    len: usize,
    bytes: usize,
}

/// A handle in a list whose ticks are equal in their upper halves.
#[derive(Clone, Copy, Default)]
struct Near {
    handle: u32,
    tick_low: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C, packed(4))]
struct Far {
    handle: u32,
    tick: u64,
}

struct Level {
    /// A bit for each slot that is not empty, or whose handles a walk has taken out.
    used: u64,
    slots: Option<Box<[List<Near>; SLOTS]>>,
}

struct Open {
    level: usize,
    start: u64,
    list: List<Near>,
}

/// The digit of a tick that chooses the slot in a level.
fn digit(tick: u64, level: usize) -> usize {
    (tick >> (level * DIGIT_BITS)) as usize % SLOTS
}

fn window(tick: u64) -> u64 {
    tick >> WINDOW_BITS
}

/// The bits of a tick in which the ticks of one slot of a level differ.
fn low_bits(level: usize) -> u64 {
    (1 << (level * DIGIT_BITS)) - 1
}

impl Near {
    /// The handle and its tick; `start` is the start of its slot.
    fn armed(self, start: u64) -> (u32, u64) {
        let Self { handle, tick_low } = self;
        (handle, start >> 32 << 32 | u64::from(tick_low))
    }
}

impl Wheel {
    /// An empty wheel at a tick; allocates nothing.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            at: now,
            levels: std::array::from_fn(|_| Level { used: 0, slots: None }),
            open: Open { level: 0, start: 0, list: List::new() },
            far: List::new(),
            far_min: None,
            loose: List::new(),
            again: List::new(),
            walk: Walk::new(),
            len: 0,
            bytes: 0,
        }
    }

    /// Handles in the wheel, each as often as it was inserted.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The tick that was reached: who was armed for it, or for one before, has fired or is just
    /// about to.
    pub(crate) fn reached(&self) -> u64 {
        self.at
    }

    /// Bytes allocated; zero when the advance or the walk that emptied the wheel has ended.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Arms a handle; where the tick is over, it fires at the next advance.
    ///
    /// Allocates at most [`MOST_GROWTH_BYTES`].
    pub(crate) fn insert(&mut self, handle: u32, tick: u64) {
        self.len += 1;
        if tick <= self.at {
            return self.loose.push(Far { handle, tick }, &mut self.bytes);
        }
        let differs = if planted!("level_by_distance") { tick - self.at } else { tick ^ self.at };
        let level = differs.ilog2() as usize / DIGIT_BITS;
        if level >= LEVELS {
            self.far_min = Some(self.far_min.map_or(tick, |min| min.min(tick)));
            return self.far.push(Far { handle, tick }, &mut self.bytes);
        }
        let near = Near { handle, tick_low: tick as u32 };
        self.levels[level].push(digit(tick, level), near, &mut self.bytes);
    }

    /// A tick before which nothing is due; `None` where there are no handles, and zero while
    /// some wait that may be due already.
    ///
    /// No later than the earliest tick; who sleeps until then and advances comes nearer to that
    /// tick by a level each time.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.len == 0 {
            None
        } else if self.is_open() || !self.again.is_empty() {
            Some(0)
        } else {
            self.first_slot().map(|(level, slot)| self.start(level, slot)).or(self.far_min)
        }
    }

    /// Fires what is due at `now`; `true` when it has caught up with it, `false` where `budget`
    /// was used up before.
    ///
    /// `fire` gets the handle and the tick that it was armed for, and answers at which tick to
    /// arm it again, if at all. Where that is over at `now`, the handle waits until this
    /// advance has ended, or a walk has shown it, and fires after that. A `now` before one that
    /// was reached counts as that one.
    ///
    /// # Complexity
    ///
    /// Each handle that is looked at, fired or not, and each list that is opened takes one of
    /// the budget. A handle is looked at once for each level that it goes down, at most 6
    /// times, and once for each window that begins while it is in `far` and something else
    /// there may be due in it. Ticks cost nothing.
    pub(crate) fn advance(
        &mut self,
        now: u64,
        budget: &mut usize,
        mut fire: impl FnMut(u32, u64) -> Option<u64>,
    ) -> bool {
        let now = now.max(self.at);
        while self.is_behind(now) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let Some((handle, tick)) = self.pop_open() else {
                match self.first_slot() {
                    Some((level, slot)) => self.open_slot(level, slot, now),
                    None => self.open_far(now),
                }
                continue;
            };
            if tick > now {
                self.insert(handle, tick);
                continue;
            }
            match fire(handle, tick) {
                Some(tick) if tick <= now => {
                    self.len += 1;
                    self.again.push(Far { handle, tick }, &mut self.bytes);
                }
                Some(tick) => self.insert(handle, tick),
                None => {}
            }
        }
        self.at = now;
        self.loose = self.again.take();
        self.release_if_empty();
        true
    }

    /// Whether there is something to do before `at` may be `now`.
    #[inline]
    fn is_behind(&self, now: u64) -> bool {
        self.is_open()
            || self.first_slot().is_some_and(|(level, slot)| self.start(level, slot) <= now)
            || self.far_min.is_some_and(|min| window(min) <= window(now))
    }

    /// Whether there are handles to be looked at before anything else.
    #[inline]
    fn is_open(&self) -> bool {
        let walked = match self.walk.stage {
            Stage::Loose => !self.walk.far.is_empty(),
            Stage::Open(_) => !self.walk.near.is_empty(),
            _ => false,
        };
        !self.open.list.is_empty() || !self.loose.is_empty() || walked
    }

    /// Takes out a handle that is to be looked at.
    #[inline]
    fn pop_open(&mut self) -> Option<(u32, u64)> {
        let stage = self.walk.stage;
        let mut near = self.open.list.pop(&mut self.bytes);
        if near.is_none() && matches!(stage, Stage::Open(_)) {
            near = self.walk.near.pop(&mut self.bytes);
        }
        let start = self.open.start;
        let armed = near.map(|near| near.armed(start)).or_else(|| {
            let mut far = self.loose.pop(&mut self.bytes);
            if far.is_none() && stage == Stage::Loose {
                far = self.walk.far.pop(&mut self.bytes);
            }
            far.map(|far| (far.handle, far.tick))
        })?;
        self.len -= 1;
        Some(armed)
    }

    /// The slot in use that is reached first.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.used != 0)?;
        Some((level, self.levels[level].used.trailing_zeros() as usize))
    }

    /// The first tick of a slot in use.
    fn start(&self, level: usize, slot: usize) -> u64 {
        self.at & !low_bits(level + 1) | (slot as u64) << (level * DIGIT_BITS)
    }

    /// Takes out the list of the first slot; its start is not after `now`.
    fn open_slot(&mut self, level: usize, slot: usize, now: u64) {
        let start = self.start(level, slot);
        // Not to its start only: what is not due goes to the level that fits it at `now`.
        self.at = now.min(start | low_bits(level));
        self.open = Open { level, start, list: self.levels[level].take(slot) };
        if self.walk.stage == Stage::Slot(level, slot) {
            // The rest that the walk has there is open too. The slots before this one, which
            // the walk did not reach, are behind `at` and empty.
            self.walk.stage = Stage::Open(level);
        }
    }

    /// Makes the handles of later windows loose; all levels are empty.
    fn open_far(&mut self, now: u64) {
        self.at = now;
        self.loose = self.far.take();
        self.far_min = None;
        self.walk.stage = match self.walk.stage {
            // Those that were shown are in `loose` and the others in the rest, as they are in
            // the midst of the loose stage.
            Stage::Far => Stage::Loose,
            // The rest was empty, and what `loose` got was not shown: that stage anew.
            Stage::Loose => Stage::Again,
            stage => stage,
        };
    }

    /// Frees the slots of a wheel without handles.
    fn release_if_empty(&mut self) {
        if self.len > 0 {
            return;
        }
        for level in &mut self.levels {
            level.used = 0;
            if level.slots.take().is_some() {
                self.bytes -= SLOTS_BYTES;
            }
        }
    }

    /// Checks all invariants, the count and the bytes, at the cost of a look at every handle.
    ///
    /// # Errors
    ///
    /// Tells the first that is broken.
    #[cfg(all(any(fuzzing, test), not(any(scopecache_loom, scopecache_shuttle))))]
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.validate_each(|_, _| ())
    }

    /// As [`validate`](Self::validate), and shows every handle and its tick.
    pub(crate) fn validate_each(&self, mut each: impl FnMut(u32, u64)) -> Result<(), String> {
        let (mut len, mut bytes, mut misplaced) = (0, 0, None);
        let mut check = |what: &str, handle: u32, tick: u64, in_place: bool| {
            len += 1;
            each(handle, tick);
            if !in_place {
                misplaced = Some(format!("{what}: handle {handle} of tick {tick} is misplaced"));
            }
        };
        for (level, Level { used, slots }) in self.levels.iter().enumerate() {
            let is_walked = matches!(self.walk.stage, Stage::Slot(walked, _) if walked == level);
            if slots.is_none() && *used == 0 && !is_walked {
                continue;
            }
            bytes += slots.as_ref().map_or(0, |_| SLOTS_BYTES);
            for slot in 0..SLOTS {
                let start = self.start(level, slot);
                let is_walked = self.walk.stage == Stage::Slot(level, slot);
                let mut show = |near: Near| {
                    let (handle, tick) = near.armed(start);
                    let in_place = start > self.at && tick & !low_bits(level) == start;
                    check("a slot", handle, tick, in_place);
                };
                let list = slots.as_ref().map(|slots| &slots[slot]);
                if let Some(list) = list {
                    bytes += list.validate(&mut show)?;
                }
                if is_walked {
                    bytes += self.walk.near.validate(&mut show)?;
                }
                let is_empty = list.is_none_or(List::is_empty);
                let is_used = used >> slot & 1 == 1;
                if is_used == is_empty && !(is_used && is_walked) {
                    return Err(format!("slot {slot} of level {level}: used is {is_used}"));
                }
            }
        }
        let Open { level, start, list } = &self.open;
        let mut show = |near: Near| {
            let (handle, tick) = near.armed(*start);
            let in_place = *start <= self.at && tick & !low_bits(*level) == *start;
            check("the open slot", handle, tick, in_place);
        };
        bytes += list.validate(&mut show)?;
        if matches!(self.walk.stage, Stage::Open(_)) {
            bytes += self.walk.near.validate(&mut show)?;
        }
        let mut show = |far: Far| {
            let Far { handle, tick } = far;
            let is_later = window(tick) > window(self.at);
            let in_place = is_later && self.far_min.is_some_and(|min| min <= tick);
            check("far", handle, tick, in_place);
        };
        bytes += self.far.validate(&mut show)?;
        if self.walk.stage == Stage::Far {
            bytes += self.walk.far.validate(&mut show)?;
        }
        let mut show = |far: Far| check("loose", far.handle, far.tick, true);
        bytes += self.loose.validate(&mut show)? + self.again.validate(&mut show)?;
        if self.walk.stage == Stage::Loose {
            bytes += self.walk.far.validate(&mut show)?;
        }
        if let Some(misplaced) = misplaced {
            return Err(misplaced);
        }
        // A rest in a stage that it does not belong to is missing here.
        if (len, bytes) != (self.len, self.bytes) {
            let counted = (self.len, self.bytes);
            return Err(format!("handles and bytes are {:?}, counted {counted:?}", (len, bytes)));
        }
        Ok(())
    }
}

impl Level {
    #[inline]
    fn push(&mut self, slot: usize, near: Near, bytes: &mut usize) {
        let slots = self.slots.get_or_insert_with(|| {
            *bytes += SLOTS_BYTES;
            Box::new(std::array::from_fn(|_| List::new()))
        });
        slots[slot].push(near, bytes);
        self.used |= 1 << slot;
    }

    /// The handles of a slot, which is empty then.
    fn take(&mut self, slot: usize) -> List<Near> {
        self.used &= !(1 << slot);
        self.lend(slot)
    }

    /// The handles of a slot, which counts as used still.
    fn lend(&mut self, slot: usize) -> List<Near> {
        self.slots.as_mut().map_or_else(List::new, |slots| slots[slot].take())
    }

    fn forget_if_empty(&mut self, slot: usize) {
        if self.slots.as_ref().is_none_or(|slots| slots[slot].is_empty()) {
            self.used &= !(1 << slot);
        }
    }

    /// The last slot in use before `end`.
    fn last_before(&self, end: usize) -> Option<usize> {
        let used = self.used & !u64::MAX.checked_shl(end as u32).unwrap_or(0);
        (used != 0).then(|| used.ilog2() as usize)
    }
}
