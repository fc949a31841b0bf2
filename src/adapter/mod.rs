//! The storage behind the interfaces of others: it keeps what their users keep, and tells what it does.

#[cfg(any(feature = "metrics", feature = "tracing"))]
mod observed;
#[cfg(feature = "rmcp_3")]
pub mod rmcp;
#[cfg(any(feature = "tower_sessions_0_14", feature = "tower_sessions_0_15"))]
mod web_sessions;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub use self::observed::Observed;
#[cfg(any(feature = "tower_sessions_0_14", feature = "tower_sessions_0_15"))]
pub use self::web_sessions::{WebSession, WebSessions, WebSessionsPage, WebSessionsSweep};
