//! An entry before it is published: how the allocation is made, filled and given away.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::claim::RefreshClaim;
use super::{
    CREDIT, EXPONENT_SHIFT, Entry, Header, INDEXED, KEY_LEN, MOST_CREDIT, PLACEHOLDER, Plan,
    SLIDING, Seen, Sliding, State, Track,
};
use crate::clock::{Nanos, Rounded};
use crate::item::Item;
use crate::reclaim::Retire;
use crate::sync::atomic::{AtomicPtr, AtomicU8};
use crate::table::flight::Flight;
use crate::tagged;
use crate::value::{Extent, Value};

/// An entry that is not published: its maker alone has it.
pub(crate) struct Draft<V: Value, O> {
    entry: NonNull<Entry<V, O>>,
}

/// What an entry takes over from the one whose place it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heritage {
    /// The owner has a handle to it.
    pub(crate) indexed: bool,
    /// Being overwritten counts as a hit.
    pub(crate) credit: u8,
    pub(crate) track: Track,
    /// Who refreshes it; of a copy that has the same version.
    pub(crate) claim: RefreshClaim,
}

impl Heritage {
    /// Of an entry that is about to be replaced. Load it before the compare-exchange: what
    /// changes in between is made good, by whoever replaces.
    pub(crate) fn of<V: Value, O>(old: Seen<'_, V, O>) -> Self {
        Self {
            indexed: old.is_indexed(),
            credit: (old.credit() + 1).min(MOST_CREDIT),
            track: old.track().unwrap_or_default(),
            claim: RefreshClaim::default(),
        }
    }
}

impl<V: Value, O> Draft<V, O> {
    /// How an entry is going to be made.
    #[inline]
    pub(crate) fn plan(header: &Header<'_>, extent: Extent) -> Plan {
        Entry::<V, O>::plan_of_value(header, extent)
    }

    /// An entry that holds `input`, in a block that `spare` gives, or else in a new one; by the plan
    /// for this header and the input's extent.
    #[inline]
    pub(crate) fn with_value(
        header: &Header<'_>,
        input: V::Input<'_>,
        plan: &Plan,
        spare: impl FnOnce(Layout) -> Option<NonNull<u8>>,
    ) -> Self {
        // SAFETY: the area is that of the plan's extent, which is the input's.
        Self::make(header, plan, spare, |area| unsafe { V::write(input, area) })
    }

    /// An entry that holds the place of a value which is being loaded.
    pub(crate) fn placeholder(header: &Header<'_>, flight: Arc<Flight>) -> Self {
        let extent = Extent { len: 0, long: false };
        let plan = Entry::<V, O>::plan(Self::plan(header, extent).shape | PLACEHOLDER, extent);
        // SAFETY: the area of a placeholder is one `Arc<Flight>`.
        let write = |area: *mut u8| unsafe { area.cast::<Arc<Flight>>().write(flight) };
        Self::make(header, &plan, |_| None, write)
    }

    /// A copy of `old` with the times of `header`: the same value, or the same flight.
    pub(crate) fn copy_of(old: Seen<'_, V, O>, header: &Header<'_>) -> Self {
        match old.flight() {
            Some(flight) => Self::placeholder(header, Arc::clone(flight)),
            None => {
                let (area, extent) = old.area();
                // SAFETY: `V::write` made the area with this extent, and `old`'s guard keeps it.
                let input = unsafe { V::copy(area, extent) };
                Self::with_value(header, input, &Self::plan(header, extent), |_| None)
            }
        }
    }

    /// `spare` answers memory of the layout that it is asked for, which is then the entry's own.
    #[inline]
    fn make(
        header: &Header<'_>,
        plan: &Plan,
        spare: impl FnOnce(Layout) -> Option<NonNull<u8>>,
        write_value: impl FnOnce(*mut u8),
    ) -> Self {
        let block = spare(plan.layout).unwrap_or_else(|| allocate(plan.layout));
        let (base, entry) = (block.as_ptr(), block.cast::<Entry<V, O>>());
        let (created, exponent) = Rounded::down(header.created).parts();
        let Extent { len, long } = plan.extent;
        // SAFETY: the block is ours, aligned for the header, and the plan says where in it
        // the parts stand; none overlaps another.
        unsafe {
            entry.write(Entry {
                link: AtomicPtr::new(Track::default().to_word()),
                // Of a long value the low bits alone, which nobody reads.
                owner: tagged::pack(ptr::null_mut(), len as u16),
                deadline: header.deadline,
                version: header.version,
                created,
                shape: plan.shape | u16::from(exponent) << EXPONENT_SHIFT,
                state: AtomicU8::new(State::Live as u8),
                marks: AtomicU8::new(0),
                kind: PhantomData,
            });
            write_value(base.add(plan.value));
            let key = base.add(size_of::<Entry<V, O>>());
            key.copy_from_nonoverlapping(header.key.as_ptr(), header.key.len());
            if long {
                base.add(plan.long).cast::<u32>().write_unaligned(len);
            }
            if let Some(sliding) = header.sliding {
                base.add(plan.sliding).cast::<Sliding>().write_unaligned(sliding);
            }
        }
        Self { entry }
    }

    pub(crate) fn bytes(&self) -> u64 {
        // SAFETY: a draft's allocation is valid until it is published or dropped.
        unsafe { Entry::bytes_of(self.entry.as_ptr()) }
    }

    /// A copy of what it holds.
    pub(crate) fn item(&self, wall_origin: u64) -> Item<V> {
        // SAFETY: a draft's allocation is valid until it is published or dropped.
        let (entry, plan) = unsafe { (self.entry.as_ref(), Entry::plan_of(self.entry.as_ptr())) };
        debug_assert!(entry.shape & PLACEHOLDER == 0, "a placeholder has no value");
        let base = self.entry.as_ptr().cast::<u8>();
        // SAFETY: no placeholder, so `V::write` made the area with this extent.
        let value = unsafe { V::to_owned(base.add(plan.value), plan.extent) };
        Item::new(value, entry.stamp(wall_origin))
    }

    /// Prepares it to be published as an entry of `owner`.
    pub(crate) fn prepare(&mut self, owner: *const O, state: State, heritage: Heritage) {
        // SAFETY: nobody else has a draft.
        let entry = unsafe { self.entry.as_mut() };
        entry.owner = tagged::pack(owner.cast_mut(), tagged::tag(entry.owner));
        let credit = if state == State::Live { heritage.credit * CREDIT } else { 0 };
        entry.state = AtomicU8::new(state as u8 + credit);
        let indexed = if heritage.indexed { INDEXED } else { 0 };
        entry.marks = AtomicU8::new(indexed | heritage.claim.to_marks());
        entry.link = AtomicPtr::new(heritage.track.to_word());
    }

    /// The same value with other times; in another allocation where it has to have another form, as
    /// the parts that renew a TTL stand in an entry only where it has one.
    pub(crate) fn with_times(mut self, deadline: Nanos, sliding: Option<Sliding>) -> Self {
        // SAFETY: nobody else has a draft, and its allocation is valid until it is dropped, at the
        // end of this.
        let (plan, entry) = unsafe { (Entry::plan_of(self.entry.as_ptr()), self.entry.as_mut()) };
        let at = |offset| self.entry.as_ptr().cast::<u8>().cast_const().wrapping_add(offset);
        // SAFETY: the flag says that `make` wrote one there.
        let own = (plan.shape & SLIDING != 0)
            .then(|| unsafe { at(plan.sliding).cast::<Sliding>().read_unaligned() });
        if sliding == own {
            entry.deadline = deadline;
            return self;
        }
        // SAFETY: the key stands there, as long as the entry.
        let key = unsafe {
            let len = usize::from(plan.shape & KEY_LEN);
            std::slice::from_raw_parts(at(size_of::<Entry<V, O>>()), len)
        };
        let (created, version) = (entry.created().nanos(), entry.version);
        let header = Header { key, created, deadline, sliding, version };
        // SAFETY: only drafts with a value are redated; `V::write` made the area.
        let input = unsafe { V::copy(at(plan.value), plan.extent) };
        Self::with_value(&header, input, &Self::plan(&header, plan.extent), |_| None)
    }

    /// Gives the allocation away, to be published.
    pub(in crate::table) fn into_raw(self) -> *mut Entry<V, O> {
        ManuallyDrop::new(self).entry.as_ptr()
    }

    /// Takes back what [`into_raw`](Self::into_raw) gave and nobody saw.
    ///
    /// # Safety
    ///
    /// `entry` comes from `into_raw` and was not published.
    pub(in crate::table) unsafe fn from_raw(entry: *mut Entry<V, O>) -> Self {
        // SAFETY: a draft's pointer is never null.
        Self { entry: unsafe { NonNull::new_unchecked(entry) } }
    }
}

impl<V: Value, O> Drop for Draft<V, O> {
    fn drop(&mut self) {
        // SAFETY: nobody else has a draft, and it goes now.
        unsafe { Entry::free(self.entry.as_ptr()) };
    }
}

/// A block of a layout that is not empty: an entry has a header.
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: see above.
    let base = unsafe { alloc(layout) };
    // The 16 high bits of a slot hold a tag.
    assert!(tagged::fits(base), "scopecache needs pointers of at most 48 bits");
    NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout))
}
