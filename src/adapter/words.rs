//! Errors for those who take words alone.

use std::error::Error as StdError;
use std::fmt::Write;

use crate::error::Error;

/// What was to be done, why it failed, and why that was.
pub(super) fn words(call: &str, why: &Error) -> String {
    let mut words = format!("cannot {call}: {why}");
    let mut source = StdError::source(why);
    while let Some(cause) = source {
        let _ = write!(words, ": {cause}");
        source = cause.source();
    }
    words
}
