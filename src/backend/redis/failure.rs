//! What the server or the connection said, without what was sent to it.

use std::error::Error as StdError;
use std::fmt;

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use crate::error::{Error, ErrorKind};

pub(super) const CLOSED: ErrorKind = ErrorKind::Closed;

/// The source of an error: the server's code, or the kind of the failure. Words of the server may
/// quote arguments, so they are left out.
#[derive(Debug)]
struct Cause {
    code: Option<String>,
    category: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "the server answered {code}"),
            None => write!(f, "{}", self.category),
        }
    }
}

impl StdError for Cause {}

/// Our error for one of the driver's.
pub(super) fn failure(error: &RedisError) -> Error {
    let cause =
        Cause { code: error.code().map(str::to_owned), category: error.category().to_owned() };
    if error.is_timeout() {
        return Error::with_source(ErrorKind::Timeout, cause);
    }
    let (kind, words) = match (error.code(), error.kind()) {
        (Some("OOM"), _) => (
            ErrorKind::CapacityExceeded,
            "the server has reached its maxmemory; nothing was stored",
        ),
        (_, RedisKind::Server(ServerErrorKind::ReadOnly)) => (
            ErrorKind::Unavailable,
            "the server is a read-only replica; connect to the primary, or wait for the failover",
        ),
        (_, RedisKind::Server(ServerErrorKind::BusyLoading)) => {
            (ErrorKind::Unavailable, "the server is loading its data; wait until it has")
        }
        (
            _,
            RedisKind::Server(
                ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain,
            ),
        ) => (ErrorKind::Unavailable, "the server has no primary at present"),
        (Some("MISCONF"), _) => {
            (ErrorKind::Unavailable, "the server cannot write to its disk and refuses writes")
        }
        (Some("NOAUTH" | "WRONGPASS"), _) | (_, RedisKind::AuthenticationFailed) => {
            (ErrorKind::Backend, "the credentials are refused; check user and password of the URL")
        }
        (_, RedisKind::Server(ServerErrorKind::NoPerm)) => {
            (ErrorKind::Backend, "the server's ACL forbids a command that is needed")
        }
        _ if error.is_io_error() || error.is_unrecoverable_error() => (
            ErrorKind::Unavailable,
            "the connection failed; check the address and whether the server runs",
        ),
        _ => (ErrorKind::Backend, "the server refused a command"),
    };
    Error::because(kind, words, cause)
}

/// An answer that makes no sense.
pub(super) fn refused(words: &'static str) -> Error {
    Error::with_detail(ErrorKind::Backend, words)
}
