//! What a user may hold, and how writers keep to it.
//!
//! A writer takes what its entry adds to the user's total from the quota before the entry can be
//! seen ([`Node::charge`]), and books it afterwards ([`Node::book`]). So the total is never less
//! than what is in the table, and as each charge is one read-modify-write that does not pass the
//! quota, two writers together never do.

use super::{Kind, NO_BYTES, Node, not_below_zero};
use crate::sync::atomic::Ordering;

/// Bytes that were taken from a user's quota and are not yet booked; they go back when it is
/// dropped.
#[must_use = "a charge that is dropped is given back"]
pub(crate) struct Charge<'g> {
    user: Option<&'g Node>,
    bytes: u64,
}

impl Node {
    /// The user on whose quota the entries of this node count; the global namespace has none.
    #[inline]
    pub(crate) fn payer(&self) -> Option<&Self> {
        match self.kind {
            Kind::Global => None,
            Kind::User => Some(self),
            Kind::Session => self.user().map(|user| &**user),
        }
    }

    /// Of a user: the bytes that it may hold.
    pub(crate) fn quota(&self) -> u64 {
        // Relaxed: a figure; see `directory/quotas.rs` for how it gets here.
        self.sessions().map_or(u64::MAX, |sessions| sessions.quota.load(Ordering::Relaxed))
    }

    pub(crate) fn set_quota(&self, bytes: u64) {
        if let Some(sessions) = self.sessions() {
            // Relaxed: as above; under the lock of the user's row.
            sessions.quota.store(bytes, Ordering::Relaxed);
        }
    }

    /// Of a user: how much of so many more bytes is more than its quota allows.
    pub(crate) fn missing(&self, bytes: u64) -> u64 {
        // Relaxed: figures.
        let total = held(self.bytes.load(Ordering::Relaxed));
        total.saturating_add(bytes).saturating_sub(self.quota())
    }

    /// Of a user: takes so many more bytes of its quota, unless that would pass it.
    pub(crate) fn charge(&self, bytes: u64) -> Option<Charge<'_>> {
        let quota = self.quota();
        let charged = |total| {
            let fits = held(total).saturating_add(bytes) <= quota;
            fits.then_some(total.wrapping_add(bytes))
        };
        if planted!("charge_in_two_steps") {
            // Relaxed: a planted bug.
            charged(self.bytes.load(Ordering::Relaxed))?;
            // A figure is no step of a model; asking for a lock is one.
            drop(self.sessions()?.names.try_lock());
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return Some(Charge { user: Some(self), bytes });
        }
        // Relaxed: a figure; only its own consistency matters.
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
        // One that is made is given back.
        taken.is_ok().then(|| Charge { user: Some(self), bytes })
    }

    /// Whether the entry belongs to this user, or to a session of it.
    pub(crate) fn pays_for(&self, owner: &Self) -> bool {
        owner.payer().is_some_and(|payer| std::ptr::eq(payer, self))
    }
}

impl Charge<'_> {
    /// Nothing: there is no quota, or the total does not grow.
    pub(crate) const NONE: Self = Self { user: None, bytes: 0 };

    /// The bytes, which are the caller's to book.
    #[inline]
    pub(super) fn spend(self) -> u64 {
        std::mem::ManuallyDrop::new(self).bytes
    }
}

impl Drop for Charge<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.bytes > 0
            && let Some(user) = self.user
        {
            // Relaxed: a figure.
            user.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The bytes in a total.
fn held(total: u64) -> u64 {
    not_below_zero(total.wrapping_sub(NO_BYTES))
}
