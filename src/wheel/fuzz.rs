//! A fuzz target: the wheel against a map, step by step, as the input says.
//!
//! Every step is a byte for what is done and some for its numbers; see `Model::step`.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};

use super::{DIGIT_BITS, LEVELS, MOST_GROWTH_BYTES, Wheel};

/// What a run came to, so that tests can tell that it reaches something.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(super) walks: usize,
    pub(super) fired: usize,
}

/// Runs the target; panics where the wheel is wrong.
pub(crate) fn run(data: &[u8]) -> Tally {
    let mut input = Unstructured::new(data);
    // An input that ends within a step ends the run: its rest of numbers are zero.
    let Ok(start) = tick(&mut input, 1 << 40) else { return Tally::default() };
    let mut model = Model::new(start);
    while !input.is_empty() && model.step(&mut input).is_ok() {}
    model.end()
}

type Armed = (u64, u32);

/// Handles with their ticks, each as often as it is there.
#[derive(Default)]
struct Bag(BTreeMap<Armed, usize>);

impl Bag {
    fn insert(&mut self, armed: Armed) {
        *self.0.entry(armed).or_default() += 1;
    }

    fn remove(&mut self, armed: Armed) -> bool {
        let Some(count) = self.0.get_mut(&armed) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&armed);
        }
        true
    }
}

/// A wheel and what it should hold, by tick and handle.
struct Model {
    wheel: Wheel,
    all: Bag,
    /// What was armed again, in the advance that is under way, at a tick that was over: it may
    /// wait for the next.
    again: BTreeSet<Armed>,
    /// What the walk that is under way must still show.
    unseen: Option<BTreeSet<Armed>>,
    /// The latest time that the wheel was told.
    now: u64,
    last_handle: u32,
    tally: Tally,
}

impl Model {
    fn new(now: u64) -> Self {
        Self {
            wheel: Wheel::new(now),
            all: Bag::default(),
            again: BTreeSet::new(),
            unseen: None,
            now,
            last_handle: 0,
            tally: Tally::default(),
        }
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=15_u8)? {
            0..=5 => self.insert(1, input)?,
            // Some are there several times; many fill a block.
            6 => {
                let copies = input.int_in_range(1..=200)?;
                self.insert(copies, input)?;
            }
            7..=9 => self.retain(input)?,
            10 => self.advance(self.now, input)?,
            11 => {
                let back = distance(input)?;
                self.advance(self.now.saturating_sub(back), input)?;
            }
            12 => self.advance(self.wheel.next_due().unwrap_or(0), input)?,
            13 => {
                let by = input.int_in_range(0..=99)?;
                self.advance(self.now.saturating_add(by), input)?;
            }
            14 => {
                let by = distance(input)?;
                self.advance(self.now.saturating_add(by), input)?;
            }
            _ => {
                let to = tick(input, self.now)?;
                self.advance(to, input)?;
            }
        }
        self.check();
        Ok(())
    }

    fn insert(&mut self, copies: usize, input: &mut Unstructured<'_>) -> Result<()> {
        let tick = tick(input, self.now)?;
        self.last_handle += 1;
        for _ in 0..copies {
            let bytes = self.wheel.bytes();
            self.wheel.insert(self.last_handle, tick);
            assert!(self.wheel.bytes() <= bytes + MOST_GROWTH_BYTES);
            self.all.insert((tick, self.last_handle));
        }
        Ok(())
    }

    fn advance(&mut self, now: u64, input: &mut Unstructured<'_>) -> Result<()> {
        let latest = self.now.max(now);
        let mut budget = budget(input)?;
        let rearmed = input.int_in_range(0..=8)?;
        let Self { all, again, unseen, .. } = self;
        let (before, bytes, len) = (budget, self.wheel.bytes(), self.wheel.len());
        let mut fired = 0;
        let ended = self.wheel.advance(now, &mut budget, |handle, armed| {
            assert!(armed <= latest, "{handle} of {armed} fired at {latest}");
            assert!(all.remove((armed, handle)), "{handle} of {armed} was not armed");
            fired += 1;
            if let Some(unseen) = unseen {
                unseen.remove(&(armed, handle));
            }
            if !happens(rearmed, input) || latest == u64::MAX {
                return None;
            }
            let next = tick(input, latest).ok()?;
            all.insert((next, handle));
            if next <= latest {
                again.insert((next, handle));
            }
            Some(next)
        });
        let spent = before - budget;
        assert!(fired <= spent);
        // A look for each level and once more in `far`; a list is opened for what is in it.
        let most = 2 * (LEVELS + 2) * len + 2;
        assert!(spent <= most, "{spent} steps for {len} handles");
        assert!(self.wheel.bytes() <= bytes.saturating_add(spent * MOST_GROWTH_BYTES));
        self.now = latest;
        self.tally.fired += fired;
        if ended {
            let late = all.0.keys().find(|armed| armed.0 <= now && !again.contains(armed));
            assert_eq!(late, None, "not fired at {now}");
            again.clear();
        } else {
            assert_eq!(budget, 0);
        }
        Ok(())
    }

    fn retain(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let mut budget = budget(input)?;
        let before = budget;
        let dropped = input.int_in_range(0..=8)?;
        let Self { all, unseen, .. } = self;
        let unseen = unseen.get_or_insert_with(|| all.0.keys().copied().collect());
        let mut shown = 0;
        let ended = self.wheel.retain(&mut budget, |handle, tick| {
            assert!(all.0.contains_key(&(tick, handle)), "{handle} of {tick} was not armed");
            unseen.remove(&(tick, handle));
            shown += 1;
            let kept = !happens(dropped, input);
            if !kept {
                all.remove((tick, handle));
            }
            kept
        });
        assert_eq!(shown, before - budget);
        if ended {
            assert_eq!(unseen.first(), None, "missed by a walk");
            self.unseen = None;
            self.tally.walks += 1;
        } else {
            assert_eq!(budget, 0);
        }
        Ok(())
    }

    fn check(&self) {
        self.wheel.validate().unwrap();
        assert_eq!(self.wheel.len(), self.all.0.values().sum::<usize>());
        let (due, first) = (self.wheel.next_due(), self.all.0.keys().next());
        assert!(due.is_some() == first.is_some());
        assert!(due <= first.map(|armed| armed.0), "{due:?} is after {first:?}");
    }

    /// To the end of time: everything fires, and the memory is free.
    fn end(mut self) -> Tally {
        while !self.all.0.is_empty() {
            assert!(self.wheel.advance(u64::MAX, &mut usize::MAX.clone(), |handle, tick| {
                assert!(self.all.remove((tick, handle)), "{handle} of {tick} was not armed");
                None
            }));
            self.check();
        }
        assert!(self.wheel.advance(u64::MAX, &mut 0, |_, _| None));
        assert_eq!(self.wheel.bytes(), 0);
        self.tally
    }
}

/// Zero to somewhat more than a window, each magnitude as likely.
fn distance(input: &mut Unstructured<'_>) -> Result<u64> {
    let bits = input.int_in_range(0..=39_u8)?;
    input.int_in_range(0..=(2 << bits) - 1)
}

/// Any tick; most of them not far from `now`.
fn tick(input: &mut Unstructured<'_>, now: u64) -> Result<u64> {
    Ok(match input.int_in_range(0..=15_u8)? {
        0 => u64::MAX,
        1 => input.arbitrary()?,
        2..=4 => now.saturating_sub(distance(input)?),
        5 => now,
        // Beside the start of a slot.
        6 | 7 => {
            let bits = input.int_in_range(1..=LEVELS)? * DIGIT_BITS;
            let ahead = u64::from(input.arbitrary::<u8>()?);
            let beside = input.int_in_range(0..=2)?;
            let slot = (now >> bits).saturating_add(ahead) << bits;
            slot.saturating_add(beside).saturating_sub(1)
        }
        _ => now.saturating_add(distance(input)?),
    })
}

fn budget(input: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match input.int_in_range(0..=3_u8)? {
        0 => input.int_in_range(0..=2)?,
        1 => usize::MAX,
        _ => input.int_in_range(0..=59)?,
    })
}

/// So many times in sixteen; never where the input has ended.
fn happens(sixteenths: u8, input: &mut Unstructured<'_>) -> bool {
    input.int_in_range(0..=15_u8).is_ok_and(|roll| roll >= 16 - sixteenths)
}
