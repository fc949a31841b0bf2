//! Where the parts of an entry stand, and what it takes.

use std::alloc::Layout;
use std::sync::Arc;

use super::{EXPONENT, Entry, FLAGS, Header, KEY_LEN, LONG, PLACEHOLDER, SLIDING, Sliding};
use crate::table::flight::Flight;
use crate::tagged;
use crate::value::{Extent, Value, allocated};

/// Where the parts of an entry stand, as offsets in bytes, and what it takes.
pub(crate) struct Plan {
    /// Without the exponent.
    pub(super) shape: u16,
    pub(super) extent: Extent,
    pub(super) value: usize,
    /// Where the length of a long value stands.
    pub(super) long: usize,
    pub(super) sliding: usize,
    pub(super) layout: Layout,
    bytes: u64,
}

impl Plan {
    /// Bytes that the entry takes from the memory budget.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<V: Value, O> Entry<V, O> {
    /// Of an entry with a value.
    #[inline]
    pub(super) fn plan_of_value(header: &Header<'_>, extent: Extent) -> Plan {
        let long = if extent.long { LONG } else { 0 };
        let sliding = if header.sliding.is_some() { SLIDING } else { 0 };
        Self::plan(header.key.len() as u16 | long | sliding, extent)
    }

    /// Computed wherever it is wanted: of an entry without flags, as most are, it takes a few
    /// additions.
    #[inline]
    pub(super) fn plan(shape: u16, extent: Extent) -> Plan {
        if is_plain(shape) {
            let extent = Extent { long: false, ..extent };
            Self::plan_around(shape & KEY_LEN, extent, V::area(extent), V::heap_bytes(extent))
        } else if shape & PLACEHOLDER != 0 {
            let heap = allocated(size_of::<Flight>() + 2 * size_of::<usize>());
            Self::plan_around(shape, extent, Layout::new::<Arc<Flight>>(), heap)
        } else {
            Self::plan_around(shape, extent, V::area(extent), V::heap_bytes(extent))
        }
    }

    /// Around a value area of this layout that keeps so many bytes elsewhere.
    #[inline]
    fn plan_around(shape: u16, extent: Extent, area: Layout, heap: usize) -> Plan {
        let header = Layout::new::<Self>();
        let value = value_at(header, shape, area);
        let long = value + area.size();
        let sliding = long + if shape & LONG != 0 { size_of::<u32>() } else { 0 };
        let size = sliding + if shape & SLIDING != 0 { size_of::<Sliding>() } else { 0 };
        let layout = Layout::from_size_align(size, header.align().max(area.align()))
            .expect("an entry fits into memory");
        Plan { shape, extent, value, long, sliding, layout, bytes: (allocated(size) + heap) as u64 }
    }

    /// Of this entry, which has no flags.
    #[inline]
    pub(super) fn plain_plan(&self) -> Plan {
        debug_assert!(is_plain(self.shape), "the length of its value stands elsewhere");
        Self::plan(self.shape & KEY_LEN, self.short_extent())
    }

    /// Of an entry that is there, whatever its flags.
    ///
    /// # Safety
    ///
    /// `entry` may be read, all of its allocation.
    #[inline(never)]
    pub(super) unsafe fn plan_of(entry: *const Self) -> Plan {
        // SAFETY: as the caller promises; no more than the header.
        let shape = unsafe { &*entry }.shape & !EXPONENT;
        // SAFETY: passed on to the caller.
        Self::plan(shape, unsafe { Self::extent_of(entry) })
    }

    /// What an entry that is there takes.
    ///
    /// # Safety
    ///
    /// As for [`plan_of`](Self::plan_of).
    #[inline]
    pub(super) unsafe fn bytes_of(entry: *const Self) -> u64 {
        // SAFETY: as the caller promises; no more than the header.
        let header = unsafe { &*entry };
        // SAFETY: passed on to the caller.
        if is_plain(header.shape) { header.plain_plan() } else { unsafe { Self::plan_of(entry) } }
            .bytes
    }

    /// The extent of a value that is not long.
    #[inline]
    pub(super) fn short_extent(&self) -> Extent {
        Extent { len: tagged::tag(self.owner).into(), long: false }
    }

    /// The size of its value; of a placeholder nothing.
    ///
    /// # Safety
    ///
    /// As for [`plan_of`](Self::plan_of).
    #[inline]
    pub(super) unsafe fn extent_of(entry: *const Self) -> Extent {
        // SAFETY: as the caller promises; no more than the header.
        let header = unsafe { &*entry };
        if header.shape & LONG == 0 {
            return header.short_extent();
        }
        let area = V::area(Extent { len: 0, long: true });
        let at = value_at(Layout::new::<Self>(), header.shape, area) + area.size();
        // SAFETY: the flag says that `Draft::make` wrote one there.
        let len = unsafe { entry.cast::<u8>().add(at).cast::<u32>().read_unaligned() };
        Extent { len, long: true }
    }

    /// Where its value stands, which has this extent; as in the plan, for those who want no more than
    /// that.
    #[inline]
    pub(super) fn value_at(&self, extent: Extent) -> usize {
        value_at(Layout::new::<Self>(), self.shape, V::area(extent))
    }

    /// Where the load stands of which it holds the place.
    #[inline]
    pub(super) fn flight_at(&self) -> usize {
        value_at(Layout::new::<Self>(), self.shape, Layout::new::<Arc<Flight>>())
    }
}

/// Whether an entry has none of the flags.
#[inline]
pub(super) fn is_plain(shape: u16) -> bool {
    shape & FLAGS == 0
}

#[inline]
fn value_at(header: Layout, shape: u16, area: Layout) -> usize {
    (header.size() + usize::from(shape & KEY_LEN)).next_multiple_of(area.align())
}
