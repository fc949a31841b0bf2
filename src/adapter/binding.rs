//! What makes each time that a session comes to be a user's unlike all others.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A random number, drawn for one time.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Binding(u64);

impl Binding {
    pub(super) fn draw() -> Result<Self> {
        let number = getrandom::u64().map_err(|why| Error::with_source(ErrorKind::Backend, why))?;
        Ok(Self(number))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
