//! A first-in first-out queue of handles, in blocks.
//!
//! ```text
//!   blocks (a ring of pointers)
//!   ┌────┬────┬────┬─ ..
//!   └─┬──┴─┬──┴─┬──┴─ ..                      handle: 12 bytes
//!     ▼    ▼    ▼                             ┌──────────┬─────────┬──────────┐
//!   ┌────┐┌────┐┌────┐                        │ entry: 32│stamp: 32│weight: 32│
//!   │ ·  ││ h  ││ h  │   · taken out          └──────────┴─────────┴──────────┘
//!   │ h  ││ h  ││ h  │   h a handle
//!   │ h  ││ h  ││    │     free
//!   └────┘└────┘└────┘
//!   front         back
//! ```
//!
//! Handles leave at the front and enter at the back; only [`Queue::retain`] takes others out,
//! a block at a time, so that the order is right at every moment between its steps.
//!
//! Invariants: no block is empty; `len` and `weight` are the sums over all handles; the ring
//! grows by [`RING_STEP`] and not by doubling, so that one push allocates a bounded amount.

use std::collections::VecDeque;

use crate::value::allocated;

const BLOCK: usize = 64;
/// Pointers by which a full ring grows.
const RING_STEP: usize = 64;
const BLOCK_BYTES: u64 = allocated(size_of::<Block>()) as u64;

/// The most bytes by which one push makes a queue larger.
pub(super) const PUSH_BYTES: u64 =
    BLOCK_BYTES + allocated(RING_STEP * size_of::<Box<Block>>()) as u64;

/// A weak reference to an entry: it may lead nowhere, and there may be several to one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handle {
    /// Where it leads: what the engine calls the entry.
    pub(super) entry: u32,
    /// What the policy's clock of the small queue showed, in units of the policy.
    pub(super) stamp: u32,
    /// What the entry weighed when it was queued: what the queue's sum counts for it.
    pub(super) weight: u32,
}

#[derive(Default)]
pub(super) struct Queue {
    blocks: VecDeque<Box<Block>>,
    /// An empty block: a handle that goes from the front to the back shall not allocate.
    spare: Option<Box<Block>>,
    len: usize,
    weight: u64,
    /// The block at which a walk of `retain` goes on, counted from the front.
    walk: usize,
}

/// Handles at `start..end`.
struct Block {
    start: u32,
    end: u32,
    handles: [Handle; BLOCK],
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of the handles' weights.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Bytes on the heap, as an allocator counts them.
    pub(super) fn bytes(&self) -> u64 {
        let blocks = self.blocks.len() + usize::from(self.spare.is_some());
        blocks as u64 * BLOCK_BYTES + ring_bytes(self.blocks.capacity())
    }

    pub(super) fn front(&self) -> Option<Handle> {
        let block = self.blocks.front()?;
        Some(block.handles[block.start as usize])
    }

    pub(super) fn push(&mut self, handle: Handle) {
        self.len += 1;
        self.weight += u64::from(handle.weight);
        if let Some(block) = self.blocks.back_mut()
            && block.push(handle)
        {
            return;
        }
        if self.blocks.len() == self.blocks.capacity() {
            self.blocks.reserve_exact(RING_STEP);
        }
        let mut block = self.spare.take().unwrap_or_default();
        block.push(handle);
        self.blocks.push_back(block);
    }

    pub(super) fn pop(&mut self) -> Option<Handle> {
        let block = self.blocks.front_mut()?;
        let handle = block.handles[block.start as usize];
        block.start += 1;
        if block.is_empty() {
            self.remove(0);
            self.walk = self.walk.saturating_sub(1);
        }
        self.len -= 1;
        self.weight -= u64::from(handle.weight);
        Some(handle)
    }

    /// Goes on with a walk from front to back that drops the handles which `keep` refuses;
    /// answers whether the walk has come to the end, and then the next call begins another.
    ///
    /// Looks at blocks as a whole while there is budget, so it may look at up to 63 handles
    /// more than that.
    pub(super) fn retain(&mut self, budget: &mut usize, mut keep: impl FnMut(u32) -> bool) -> bool {
        while let Some(block) = self.blocks.get_mut(self.walk) {
            if *budget == 0 {
                return false;
            }
            let before = block.len();
            *budget = budget.saturating_sub(before);
            self.weight -= block.retain(&mut keep);
            self.len -= before - block.len();
            self.close_gap();
        }
        self.walk = 0;
        true
    }

    /// Fills the block before the one at `walk` from it, and steps on, or removes the latter
    /// where nothing is left in it.
    fn close_gap(&mut self) {
        if let Some(before) = self.walk.checked_sub(1) {
            let mut pair = self.blocks.range_mut(before..=self.walk);
            if let (Some(before), Some(block)) = (pair.next(), pair.next()) {
                before.fill_from(block);
            }
        }
        if self.blocks[self.walk].is_empty() {
            self.remove(self.walk);
        } else {
            self.walk += 1;
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(mut block) = self.blocks.remove(index) else { return };
        (block.start, block.end) = (0, 0);
        self.spare = Some(block);
        if self.blocks.capacity() > 2 * self.blocks.len() + 2 * RING_STEP {
            self.blocks.shrink_to(self.blocks.len() + RING_STEP);
        }
    }

    /// Where the handles lead, from front to back.
    pub(super) fn entries(&self) -> Vec<u32> {
        let handles = self.blocks.iter().flat_map(|block| block.handles());
        handles.map(|handle| handle.entry).collect()
    }

    /// Checks the invariants at the head of this file.
    pub(super) fn validate(&self) -> Result<(), String> {
        let (mut len, mut weight) = (0, 0);
        for (index, block) in self.blocks.iter().enumerate() {
            if block.start >= block.end || block.end as usize > BLOCK {
                return Err(format!("block {index} holds {}..{}", block.start, block.end));
            }
            len += block.len();
            weight += block.weight();
        }
        if (len, weight) != (self.len, self.weight) {
            return Err(format!(
                "handles and weight: {len} and {weight}, counted: {} and {}",
                self.len, self.weight
            ));
        }
        if self.walk > self.blocks.len() {
            return Err(format!("the walk is at block {} of {}", self.walk, self.blocks.len()));
        }
        Ok(())
    }
}

impl Default for Block {
    fn default() -> Self {
        Self { start: 0, end: 0, handles: [Handle::default(); BLOCK] }
    }
}

impl Block {
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn handles(&self) -> &[Handle] {
        &self.handles[self.start as usize..self.end as usize]
    }

    fn weight(&self) -> u64 {
        self.handles().iter().map(|handle| u64::from(handle.weight)).sum()
    }

    fn push(&mut self, handle: Handle) -> bool {
        let Some(place) = self.handles.get_mut(self.end as usize) else { return false };
        *place = handle;
        self.end += 1;
        true
    }

    /// Drops what `keep` refuses; answers how much that weighed.
    fn retain(&mut self, keep: &mut impl FnMut(u32) -> bool) -> u64 {
        let (mut kept, mut dropped_weight) = (self.start, 0);
        for index in self.start..self.end {
            let handle = self.handles[index as usize];
            if keep(handle.entry) {
                self.handles[kept as usize] = handle;
                kept += 1;
            } else {
                dropped_weight += u64::from(handle.weight);
            }
        }
        self.end = kept;
        dropped_weight
    }

    /// Takes as many of the first handles of the block behind it as there is room for.
    fn fill_from(&mut self, next: &mut Self) {
        if self.start > 0 {
            self.handles.copy_within(self.start as usize..self.end as usize, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while !next.is_empty() && self.push(next.handles[next.start as usize]) {
            next.start += 1;
        }
    }
}

fn ring_bytes(pointers: usize) -> u64 {
    match pointers {
        0 => 0,
        _ => allocated(pointers * size_of::<Box<Block>>()) as u64,
    }
}
