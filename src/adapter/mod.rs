//! The storage behind the interfaces of others: it keeps what their users keep, and tells what it does.

#[cfg(any(
    feature = "tower_mcp_0_25",
    feature = "tower_sessions_0_14",
    feature = "tower_sessions_0_15"
))]
mod binding;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod observed;
#[cfg(feature = "rmcp_3")]
pub mod rmcp;
#[cfg(feature = "tower_mcp_0_25")]
mod tower_mcp;
#[cfg(any(feature = "tower_sessions_0_14", feature = "tower_sessions_0_15"))]
mod web_sessions;
#[cfg(any(
    feature = "tower_mcp_0_25",
    feature = "tower_sessions_0_14",
    feature = "tower_sessions_0_15"
))]
mod words;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub use self::observed::Observed;
#[cfg(feature = "tower_mcp_0_25")]
pub use self::tower_mcp::TowerMcpStore;
#[cfg(any(feature = "tower_sessions_0_14", feature = "tower_sessions_0_15"))]
pub use self::web_sessions::{WebSession, WebSessions, WebSessionsPage, WebSessionsSweep};
