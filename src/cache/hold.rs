//! Bytes that a writer has reserved and not yet used.

use crate::budget::Account;
use crate::cache::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::reclaim::Guard;
use crate::value::Value;

/// A reservation; what is not spent goes back when it is dropped.
pub(super) struct Hold<'c, V: Value, S> {
    core: &'c Core<V, S>,
    account: Account<'c>,
    guard: &'c Guard,
    bytes: u64,
}

impl<'c, V: Value, S> Hold<'c, V, S> {
    pub(super) fn new(core: &'c Core<V, S>, hash: u64, guard: &'c Guard) -> Self {
        Self { core, account: core.account(hash), guard, bytes: 0 }
    }

    /// Makes sure that at least `bytes` are held.
    ///
    /// # Errors
    ///
    /// `CapacityExceeded` where the budget is full of what may not be taken out.
    pub(super) fn top_up(&mut self, bytes: u64) -> Result<()> {
        let Some(missing) = bytes.checked_sub(self.bytes).filter(|&missing| missing > 0) else {
            return Ok(());
        };
        while !self.account.reserve(missing) {
            if !self.core.make_room(self.guard) {
                return Err(Error::new(ErrorKind::CapacityExceeded));
            }
        }
        self.bytes += missing;
        Ok(())
    }

    /// Takes `bytes` of it into use.
    pub(super) fn spend(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.bytes, "spends {bytes} of {} held", self.bytes);
        self.bytes -= bytes.min(self.bytes);
    }
}

impl<V: Value, S> Drop for Hold<'_, V, S> {
    fn drop(&mut self) {
        self.account.release(self.bytes);
    }
}
