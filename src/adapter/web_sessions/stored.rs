//! What is stored of a session, and under which keys.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adapter::binding::Binding;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Codec, Serde};

const FORMAT: Serde = Serde::json();

/// What all keys begin with.
const PREFIX: &str = "web-session:";

/// What a session holds, and from when on it holds nothing.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) data: HashMap<String, Value>,
    pub(super) expires_at: SystemTime,
}

/// The global entry of a session.
#[derive(Serialize, Deserialize)]
pub(super) enum Head {
    /// Nobody has logged in: this is all of it.
    Anonymous(Content),
    /// The content is the user's, under the binding.
    Owned { user: String, binding: Binding },
}

impl Content {
    /// How long it is still to live; `None` once that is over.
    pub(super) fn ttl(&self) -> Option<Duration> {
        let left = self.expires_at.duration_since(SystemTime::now()).ok()?;
        (!left.is_zero()).then_some(left)
    }
}

pub(super) fn head_key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Where the content of one login lies.
pub(super) fn content_key(binding: Binding) -> String {
    format!("{PREFIX}{binding}")
}

/// The session whose head is under this key; `None` for a key of anything else.
pub(super) fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

pub(super) fn encode<T: Serialize + DeserializeOwned>(value: &T) -> Result<Bytes> {
    FORMAT.encode(value).map_err(|why| Error::with_source(ErrorKind::Backend, why))
}

pub(super) fn decode<T: Serialize + DeserializeOwned>(data: &[u8]) -> Result<T> {
    FORMAT.decode(data).map_err(|why| Error::with_source(ErrorKind::Corrupt, why))
}
