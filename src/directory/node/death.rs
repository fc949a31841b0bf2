//! How namespaces come to their end.

use super::{Kind, Node};
use crate::removal::RemovalCause;
use crate::sync::atomic::Ordering;

/// How a namespace came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Death {
    /// It was deleted, by its name.
    Deleted = 1,
    /// Everything was deleted.
    Cleared = 2,
    /// The cache was closed.
    Closed = 3,
}

/// In `dead`: no [`Death`].
pub(super) const ALIVE: u8 = 0;

impl Node {
    /// Why the entries of this dead node are gone; `None` where the cache was closed.
    ///
    /// A session that was deleted itself was so before its user: who finds the user deleted does
    /// not delete its sessions.
    pub(crate) fn cause_of_death(&self) -> Option<RemovalCause> {
        // Acquire: as in `is_dead`.
        let own = (self.dead.load(Ordering::Acquire), self.kind);
        let of_user = || {
            let user = self.user()?;
            // Acquire: as above.
            Some((user.dead.load(Ordering::Acquire), user.kind))
        };
        let (dead, kind) = if own.0 == ALIVE { of_user()? } else { own };
        match kind {
            _ if dead == ALIVE || dead == Death::Closed as u8 => None,
            _ if dead == Death::Cleared as u8 => Some(RemovalCause::Cleared),
            Kind::Global => Some(RemovalCause::Cleared),
            Kind::User => Some(RemovalCause::UserDeleted),
            Kind::Session => Some(RemovalCause::SessionDeleted),
        }
    }
}
