//! What is stored of a session, and under which keys.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_mcp::session_store::SessionRecord;

use crate::adapter::binding::Binding;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::namespace::MAX_ID_BYTES;
use crate::storage::{Codec, Serde};

const FORMAT: Serde = Serde::json();

/// The global entry of a session.
#[derive(Serialize, Deserialize)]
pub(super) enum Head {
    /// It is nobody's: this is all of it.
    Anonymous(Box<SessionRecord>),
    /// The record is the user's, under the binding.
    Owned { user: String, binding: Binding },
    /// It was deleted.
    Ended,
}

pub(super) fn head_key(id: &str) -> String {
    format!("tower-mcp:session:{id}")
}

pub(super) fn record_key(binding: Binding) -> String {
    format!("tower-mcp:session:{binding}")
}

/// Fails for what cannot be the id of a session.
pub(super) fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        let kind = ErrorKind::InvalidKey { part: Part::Session, limit: MAX_ID_BYTES };
        return Err(Error::new(kind));
    }
    Ok(())
}

/// How long the record is still to live; `None` once that is over.
pub(super) fn left(record: &SessionRecord) -> Option<Duration> {
    let left = record.expires_at.duration_since(SystemTime::now()).ok()?;
    (!left.is_zero()).then_some(left)
}

/// How long the session lives without being used.
pub(super) fn idle(record: &SessionRecord) -> Option<Duration> {
    let idle = record.expires_at.duration_since(record.last_accessed).unwrap_or_default();
    left(record).map(|left| left.max(idle))
}

pub(super) fn encode<T: Serialize + DeserializeOwned>(value: &T) -> Result<Bytes> {
    FORMAT.encode(value).map_err(|why| Error::with_source(ErrorKind::Backend, why))
}

pub(super) fn decode<T: Serialize + DeserializeOwned>(data: &[u8]) -> Result<T> {
    FORMAT.decode(data).map_err(|why| Error::with_source(ErrorKind::Corrupt, why))
}
