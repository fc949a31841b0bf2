//! The capabilities by name.

use std::fmt;

use crate::storage::Capabilities;

/// One of the [`Capabilities`], by name.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// [`Capabilities::atomic_namespace_delete`]
    AtomicNamespaceDelete,
    /// [`Capabilities::exact_expiry`]
    ExactExpiry,
    /// [`Capabilities::single_loader`]
    SingleLoader,
    /// [`Capabilities::linearizable`]
    Linearizable,
    /// [`Capabilities::versions`]
    Versions,
    /// [`Capabilities::keep_ttl`]
    KeepTtl,
    /// [`Capabilities::sliding_ttl`]
    SlidingTtl,
    /// [`Capabilities::lists_keys`]
    ListsKeys,
    /// [`Capabilities::lists_sessions`]
    ListsSessions,
    /// [`Capabilities::counts_removed_entries`]
    CountsRemovedEntries,
    /// [`Capabilities::counts_removed_bytes`]
    CountsRemovedBytes,
    /// [`Capabilities::durable`]
    Durable,
    /// [`Capabilities::shared`]
    Shared,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AtomicNamespaceDelete,
        Self::ExactExpiry,
        Self::SingleLoader,
        Self::Linearizable,
        Self::Versions,
        Self::KeepTtl,
        Self::SlidingTtl,
        Self::ListsKeys,
        Self::ListsSessions,
        Self::CountsRemovedEntries,
        Self::CountsRemovedBytes,
        Self::Durable,
        Self::Shared,
    ];

    /// Whether a storage with these capabilities claims this one.
    pub fn is_claimed_by(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::AtomicNamespaceDelete => capabilities.atomic_namespace_delete,
            Self::ExactExpiry => capabilities.exact_expiry,
            Self::SingleLoader => capabilities.single_loader,
            Self::Linearizable => capabilities.linearizable,
            Self::Versions => capabilities.versions,
            Self::KeepTtl => capabilities.keep_ttl,
            Self::SlidingTtl => capabilities.sliding_ttl,
            Self::ListsKeys => capabilities.lists_keys,
            Self::ListsSessions => capabilities.lists_sessions,
            Self::CountsRemovedEntries => capabilities.counts_removed_entries,
            Self::CountsRemovedBytes => capabilities.counts_removed_bytes,
            Self::Durable => capabilities.durable,
            Self::Shared => capabilities.shared,
        }
    }

    /// The name of the field of [`Capabilities`].
    pub fn name(self) -> &'static str {
        match self {
            Self::AtomicNamespaceDelete => "atomic_namespace_delete",
            Self::ExactExpiry => "exact_expiry",
            Self::SingleLoader => "single_loader",
            Self::Linearizable => "linearizable",
            Self::Versions => "versions",
            Self::KeepTtl => "keep_ttl",
            Self::SlidingTtl => "sliding_ttl",
            Self::ListsKeys => "lists_keys",
            Self::ListsSessions => "lists_sessions",
            Self::CountsRemovedEntries => "counts_removed_entries",
            Self::CountsRemovedBytes => "counts_removed_bytes",
            Self::Durable => "durable",
            Self::Shared => "shared",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
