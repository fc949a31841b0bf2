//! What the server or the connection said, without what was sent to it.

use std::error::Error as StdError;
use std::fmt;

use redis::{ErrorKind as RedisKind, RedisError};

use crate::error::{Error, ErrorKind};

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
    let code = code(error);
    let (kind, words) = match code.as_deref() {
        _ if error.is_timeout() => {
            (ErrorKind::Timeout, "the server did not answer in time; see whether it is overloaded")
        }
        Some(code) => of_server(code),
        None if error.kind() == RedisKind::AuthenticationFailed => REFUSED,
        None if error.kind() == RedisKind::InvalidClientConfig => (
            ErrorKind::Backend,
            "the servers are not of the kind that the URL names; `redis+cluster:` is for nodes of a \
             cluster, `redis+sentinel:` for sentinels, `redis:` for a server of its own",
        ),
        None if error.kind() == RedisKind::MasterNameNotFoundBySentinel => (
            ErrorKind::Unavailable,
            "the sentinels know no primary of that name that is up; check the name in the URL, or wait \
             for the failover",
        ),
        None if error.is_io_error() || error.is_unrecoverable_error() => (
            ErrorKind::Unavailable,
            "the connection failed; check the address, TLS, and whether the server runs",
        ),
        None => OTHER,
    };
    let category = error.category().to_owned();
    Error::because(kind, words, Cause { code, category })
}

/// The code of the server's answer, that of what stopped a script included.
pub(super) fn code(error: &RedisError) -> Option<String> {
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    // Before Redis 7 it stands within the words: `ERR Error running script .. -OOM command ..`.
    let inner = first.details().filter(|words| words.starts_with("Error running script"));
    let inner = inner.and_then(|words| words.split(' ').find_map(|word| word.strip_prefix('-')));
    Some(inner.unwrap_or_else(|| first.code()).to_owned())
}

pub(super) const READ_ONLY: &str =
    "the server is a read-only replica; connect to the primary, or wait for the failover";
const REFUSED: (ErrorKind, &str) =
    (ErrorKind::Backend, "the credentials are refused; check user and password of the URL");
const OTHER: (ErrorKind, &str) = (ErrorKind::Backend, "the server refused a command");

fn of_server(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "OOM" => (
            ErrorKind::CapacityExceeded,
            "the server has reached its maxmemory and stored nothing; raise that, or delete something",
        ),
        "READONLY" => (ErrorKind::Unavailable, READ_ONLY),
        "LOADING" => (ErrorKind::Unavailable, "the server is loading its data; wait until it has"),
        "BUSY" => (ErrorKind::Unavailable, "a script keeps the server busy; wait until it ends"),
        "MASTERDOWN" | "CLUSTERDOWN" => {
            (ErrorKind::Unavailable, "the server has no primary at present; wait for the failover")
        }
        "ASK" | "MOVED" | "TRYAGAIN" => (
            ErrorKind::Unavailable,
            "all the time the slot was on its way to another node of the cluster, or its node gone, and \
             nothing was changed; try again, or mend the cluster (`redis-cli --cluster fix`)",
        ),
        "NOREPLICAS" => {
            (ErrorKind::Unavailable, "too few replicas are connected, so the server refuses writes")
        }
        "MISCONF" => (
            ErrorKind::Unavailable,
            "the server cannot write to its disk and refuses writes; see its log",
        ),
        "NOAUTH" | "WRONGPASS" => REFUSED,
        "NOPERM" => (ErrorKind::Backend, "the server's ACL forbids a command or a key; allow it"),
        _ => OTHER,
    }
}
