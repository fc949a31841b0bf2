#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// First: its macro is for those below.
#[macro_use]
mod planted;

#[cfg(any(
    feature = "metrics",
    feature = "rmcp_3",
    feature = "tower_mcp_0_25",
    feature = "tracing",
    feature = "tower_sessions_0_14",
    feature = "tower_sessions_0_15"
))]
mod adapter;
mod backend;
mod budget;
mod cache;
mod clock;
mod directory;
#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
#[path = "../tests/fuzz/drive.rs"]
mod drive;
mod error;
mod expiry;
mod item;
mod memory;
mod namespace;
mod options;
mod policy;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
mod pressure;
mod reclaim;
mod removal;
mod storage;
mod stripe;
mod sync;
mod table;
mod tagged;
mod value;
mod wheel;

// Here for the budget, which takes those of the module that it stands in.
use self::sync::figures;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub use self::adapter::Observed;
#[cfg(feature = "tower_mcp_0_25")]
pub use self::adapter::TowerMcpStore;
#[cfg(feature = "rmcp_3")]
pub use self::adapter::rmcp as mcp;
#[cfg(any(feature = "tower_sessions_0_14", feature = "tower_sessions_0_15"))]
pub use self::adapter::{WebSession, WebSessions, WebSessionsPage, WebSessionsSweep};
pub use self::backend::connect;
#[cfg(feature = "redis")]
pub use self::backend::{RedisOptions, RedisStorage};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use self::backend::{SqlFigures, SqlOptions, SqlStorage};
pub use self::cache::{
    Cache, CacheBuilder, EntryRef, Lease, Maintenance, OnFull, Progress, Refresh, RemovalCounts,
    Scope, Snapshot, Stats, UserMisses, UserUsage, Violations,
};
pub use self::clock::MockClock;
pub use self::error::{Error, ErrorKind, Part, Result};
pub use self::expiry::ExpiryPolicy;
pub use self::item::{Item, Removed, Usage, Version};
pub use self::namespace::{MAX_ID_BYTES, MAX_KEY_BYTES, Namespace};
pub use self::options::{Condition, SetOptions};
pub use self::policy::Eviction;
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
pub use self::pressure::{PressureFigures, PressureOptions, PressureWatcher};
pub use self::reclaim::Guard;
#[cfg(any(scopecache_loom, scopecache_shuttle))]
pub use self::reclaim::quiesce;
pub use self::removal::{Removal, RemovalCause};
#[cfg(feature = "conformance")]
pub use self::storage::conformance;
pub use self::storage::{
    Capabilities, Checked, Codec, Expiry, Listing, Loaded, Loader, Operation, Options, Page,
    Storage, StorageExt, StorageItem, Text, Typed,
};
#[cfg(feature = "json")]
pub use self::storage::{Compression, Serde};
pub use self::value::{Blob, IntoValue, SmallBytes, Value};

/// The code of the guide, compiled and run.
#[cfg(all(doctest, feature = "examples"))]
#[doc = include_str!("../docs/web-sessions.md")]
mod web_sessions_guide {}

/// The code of the page on memory, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/pressure.md")]
mod pressure_page {}

/// What models look at that the interface does not show; no part of it.
#[cfg(scopecache_loom)]
#[doc(hidden)]
pub mod models;

/// The fuzz targets of private modules; no part of the interface.
#[cfg(all(fuzzing, not(any(scopecache_loom, scopecache_shuttle))))]
#[doc(hidden)]
pub mod fuzzing {
    /// Judges the eviction policy; panics where it is wrong.
    pub fn policy_model(data: &[u8]) {
        crate::policy::fuzz::run(data);
    }

    /// Judges the timing wheel; panics where it is wrong.
    pub fn wheel_model(data: &[u8]) {
        let _ = crate::wheel::fuzz::run(data);
    }
}
