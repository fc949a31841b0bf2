//! Where the parts of an entry stand, and what it takes.

use std::alloc::Layout;
use std::sync::Arc;

use super::{Entry, Header, KEY_LEN, PLACEHOLDER, SHARED, SLIDING, Sliding};
use crate::table::flight::Flight;
use crate::value::{Extent, Value, allocated};

/// Where the parts of an entry stand, as offsets in bytes, and what it takes.
pub(crate) struct Plan {
    pub(super) shape: u16,
    pub(super) extent: Extent,
    pub(super) value: usize,
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
        let shared = if extent.shared { SHARED } else { 0 };
        let sliding = if header.sliding.is_some() { SLIDING } else { 0 };
        Self::plan(header.key.len() as u16 | shared | sliding, extent)
    }

    /// Computed wherever it is wanted: of an entry without flags, as most are, it takes a few
    /// additions.
    #[inline]
    pub(super) fn plan(shape: u16, extent: Extent) -> Plan {
        if is_plain(shape) {
            let extent = Extent { shared: false, ..extent };
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
        let sliding = value + area.size();
        let size = sliding + if shape & SLIDING != 0 { size_of::<Sliding>() } else { 0 };
        let layout = Layout::from_size_align(size, header.align().max(area.align()))
            .expect("an entry fits into memory");
        Plan { shape, extent, value, sliding, layout, bytes: (allocated(size) + heap) as u64 }
    }

    #[inline]
    pub(super) fn own_plan(&self) -> Plan {
        Self::plan(self.shape, self.extent())
    }

    #[inline]
    pub(super) fn own_bytes(&self) -> u64 {
        if is_plain(self.shape) { self.own_plan().bytes } else { self.own_bytes_with_flags() }
    }

    #[inline(never)]
    fn own_bytes_with_flags(&self) -> u64 {
        self.own_plan().bytes
    }

    /// Where the value stands; as in the plan, for those who want no more than that.
    #[inline]
    pub(super) fn value_at(&self) -> usize {
        let area = if self.shape & PLACEHOLDER != 0 {
            Layout::new::<Arc<Flight>>()
        } else {
            V::area(self.extent())
        };
        value_at(Layout::new::<Self>(), self.shape, area)
    }
}

/// Whether an entry has none of the flags.
#[inline]
pub(super) fn is_plain(shape: u16) -> bool {
    shape & !KEY_LEN == 0
}

#[inline]
fn value_at(header: Layout, shape: u16, area: Layout) -> usize {
    (header.size() + usize::from(shape & KEY_LEN)).next_multiple_of(area.align())
}
