//! The storage behind the interfaces of others: it keeps what their users keep.

mod web_sessions;

pub use self::web_sessions::{WebSession, WebSessions, WebSessionsPage};
