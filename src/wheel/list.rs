//! A stack of small copyable places, in a chain of blocks that grow with it.
//!
//! ```text
//!  head
//!   │
//!   ▼
//!  ┌──────────────┬───┬───┬───┬──┐     ┌──────────────┬───┬─ .. ─┬───┐
//!  │ next, fill=3 │ p │ p │ p │  │ ──► │ next, fill=4 │ p │ full │ p │ ──► ..
//!  └──────────────┴───┴───┴───┴──┘     └──────────────┴───┴─ .. ─┴───┘
//! ```
//!
//! Only the first block has room; those behind it are full, and none is empty. A block has twice
//! the places of the one behind it, from [`LEAST`] to [`MOST`]: a short list wastes little, and
//! in a long one the headers vanish. There is no list of spare blocks: at most one call in four
//! allocates or frees, which allocators do well.

use crate::value::allocated;

/// Places of a list's first block.
const LEAST: usize = 4;
/// Places of a large block.
const MOST: usize = 64;

pub(super) struct List<P> {
    head: Link<P>,
}

type Link<P> = Option<Box<Block<P, [P]>>>;

struct Block<P, A: ?Sized> {
    next: Link<P>,
    /// Places in use, from the front.
    fill: u32,
    places: A,
}

/// The most bytes that one push to a list of `P` can allocate.
pub(super) const fn most_growth_bytes<P>() -> usize {
    allocated(size_of::<Block<P, [P; MOST]>>())
}

impl<P: Copy + Default> List<P> {
    pub(super) const fn new() -> Self {
        Self { head: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a place, and what that allocated to `bytes`.
    #[inline]
    pub(super) fn push(&mut self, place: P, bytes: &mut usize) {
        let block = match &mut self.head {
            Some(block) if block.has_room() => block,
            head => {
                let capacity = head.as_ref().map_or(LEAST, |full| MOST.min(2 * full.places.len()));
                let block = Block::with_capacity(capacity, head.take());
                *bytes += block.bytes();
                head.insert(block)
            }
        };
        block.places[block.fill as usize] = place;
        block.fill += 1;
    }

    /// Takes the place that was added last, and what that freed from `bytes`.
    #[inline]
    pub(super) fn pop(&mut self, bytes: &mut usize) -> Option<P> {
        let block = self.head.as_mut()?;
        block.fill -= 1;
        let place = block.places[block.fill as usize];
        if block.fill == 0 {
            *bytes -= block.bytes();
            self.head = block.next.take();
        }
        Some(place)
    }

    /// The list, which leaves an empty one behind.
    pub(super) fn take(&mut self) -> Self {
        Self { head: self.head.take() }
    }

    /// Shows every place; answers the bytes of the blocks.
    ///
    /// # Errors
    ///
    /// Tells which block breaks the shape of the list.
    pub(super) fn validate(&self, mut show: impl FnMut(P)) -> Result<usize, String> {
        let (mut link, mut bytes) = (&self.head, 0);
        while let Some(block) = link {
            let (fill, capacity) = (block.fill as usize, block.places.len());
            let first = std::ptr::eq(link, &self.head);
            if fill == 0 || fill > capacity || (!first && fill < capacity) {
                return Err(format!("{fill} of {capacity} places used in a block"));
            }
            let below = block.next.as_ref().map_or(LEAST / 2, |next| next.places.len());
            if capacity != MOST.min(2 * below) {
                return Err(format!("a block of {capacity} places on one of {below}"));
            }
            block.places[..fill].iter().copied().for_each(&mut show);
            bytes += block.bytes();
            link = &block.next;
        }
        Ok(bytes)
    }
}

impl<P> Drop for List<P> {
    /// One block after the other: the recursion that the compiler would make overflows the stack.
    fn drop(&mut self) {
        while let Some(mut block) = self.head.take() {
            self.head = block.next.take();
        }
    }
}

impl<P: Copy + Default> Block<P, [P]> {
    /// An empty block; the capacity is one of the powers of two from `LEAST` to `MOST`.
    fn with_capacity(capacity: usize, next: Link<P>) -> Box<Self> {
        fn boxed<P: Copy + Default, const N: usize>(next: Link<P>) -> Box<Block<P, [P]>> {
            Box::new(Block { next, fill: 0, places: [P::default(); N] })
        }
        match capacity {
            LEAST => boxed::<P, LEAST>(next),
            8 => boxed::<P, 8>(next),
            16 => boxed::<P, 16>(next),
            32 => boxed::<P, 32>(next),
            _ => boxed::<P, MOST>(next),
        }
    }

    fn has_room(&self) -> bool {
        (self.fill as usize) < self.places.len()
    }

    fn bytes(&self) -> usize {
        allocated(size_of_val(self))
    }
}
