//! How an entry that was taken out is linked to others, and what of it is dropped in the end.

use std::alloc::{Layout, dealloc};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::plan::is_plain;
use super::{Entry, PLACEHOLDER, Plan};
use crate::reclaim::Retire;
use crate::sync::atomic::AtomicPtr;
use crate::table::flight::Flight;
use crate::value::Value;

// SAFETY: `link` serves nothing else from its first store as a link on: other stores compare it
// with a marked word first (see `Track`); sizes never change; values are `Send` and `Sync`.
unsafe impl<V: Value, O> Retire for Entry<V, O> {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }

    unsafe fn bytes(object: *const Self) -> u64 {
        // SAFETY: passed on to the caller.
        unsafe { Self::bytes_of(object) }
    }

    #[inline]
    unsafe fn clear(object: *mut Self) -> Layout {
        // SAFETY: valid and unreachable for others, as the caller promises.
        let header = unsafe { &*object };
        if is_plain(header.shape) {
            let plan = header.plain_plan();
            // SAFETY: passed on to the caller.
            unsafe { Self::clear_by(object, plan) }
        } else {
            // SAFETY: passed on to the caller.
            unsafe { Self::clear_with_flags(object) }
        }
    }
}

impl<V: Value, O> Entry<V, O> {
    /// # Safety
    /// As for `clear`.
    #[inline(never)]
    unsafe fn clear_with_flags(object: *mut Self) -> Layout {
        // SAFETY: passed on to the caller.
        unsafe { Self::clear_by(object, Self::plan_of(object)) }
    }

    /// # Safety
    /// As for `clear`; it is the object's plan.
    #[inline]
    unsafe fn clear_by(object: *mut Self, plan: Plan) -> Layout {
        /// Given back when it goes: the drop of a value may panic.
        struct Block(*mut u8, Layout);

        impl Drop for Block {
            fn drop(&mut self) {
                // SAFETY: an entry's, made with this layout, of which nothing is left.
                unsafe { dealloc(self.0, self.1) };
            }
        }

        // SAFETY: the parts stand where the plan says and are dropped here, once; the allocation
        // was made with the plan's layout.
        unsafe {
            let area = object.cast::<u8>().add(plan.value);
            let block = Block(object.cast(), plan.layout);
            if plan.shape & PLACEHOLDER != 0 {
                area.cast::<Arc<Flight>>().drop_in_place();
            } else {
                V::drop_in_place(area, plan.extent);
            }
            object.drop_in_place();
            ManuallyDrop::new(block).1
        }
    }
}
