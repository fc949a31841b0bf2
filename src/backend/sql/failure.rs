//! What a server or a connection said, without what was sent to it.

use std::error::Error as StdError;
use std::fmt;

use crate::error::{Error, ErrorKind};

/// The source of an error: the server's code, or the kind of the failure. Words of the server may
/// quote ids and keys, and those of the driver the address, so they are left out.
#[derive(Debug)]
enum Cause {
    Server(String),
    Io(std::io::ErrorKind),
    Driver(&'static str),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(code) => write!(f, "the server answered {code}"),
            Self::Io(kind) => write!(f, "{kind}"),
            Self::Driver(what) => f.write_str(what),
        }
    }
}

impl StdError for Cause {}

/// What an error is about, in either dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Rolled back for another client's sake: the same again may well succeed.
    Another,
    /// The connection is of no use any more.
    Gone,
    Encryption,
    Full,
    ReadOnly,
    Crowded,
    Cancelled,
    Credentials,
    Rights,
    Database,
    Tables,
    Packet,
    Other,
}

const CROWDED: &str = "the server takes no more connections; lower max_connections, or raise its";
const GONE: &str = "the connection failed; check the address and whether the server runs";

const FULL: &str = "the server has no room; free some on its disk, tablespace or in its memory";
const READ_ONLY: &str =
    "the server is read-only; connect to the primary, or wait until it takes writes again";

/// The error for a server that says, without being written to, that it is read-only.
pub(super) fn read_only() -> Error {
    Error::with_detail(ErrorKind::Unavailable, READ_ONLY)
}

/// Whether the server has undone the statement for the sake of another client.
pub(super) fn is_for_another(error: &sqlx::Error) -> bool {
    about(error) == About::Another
}

/// Whether the connection may serve on: it is whole, and its server may carry out what is asked next.
pub(super) fn leaves_connection_useful(error: &sqlx::Error) -> bool {
    let is_over = matches!(about(error), About::Gone | About::ReadOnly);
    matches!(error, sqlx::Error::Database(_)) && !is_over
}

/// The server's code: SQLSTATE, or the number that MariaDB and MySQL give besides.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(error.number().to_string());
    }
    error.code().map(|code| code.into_owned())
}

/// Our error for one of the driver's.
pub(super) fn failure(error: &sqlx::Error) -> Error {
    let (kind, words) = match about(error) {
        About::Another => (ErrorKind::Conflict, "other clients were faster each time"),
        About::Gone => (ErrorKind::Unavailable, GONE),
        About::Encryption => (
            ErrorKind::Unavailable,
            "TLS failed; check the certificates, and whether the feature `sql-tls` is on",
        ),
        About::Full => (ErrorKind::CapacityExceeded, FULL),
        About::ReadOnly => (ErrorKind::Unavailable, READ_ONLY),
        About::Crowded => (ErrorKind::Unavailable, CROWDED),
        About::Cancelled => (ErrorKind::Timeout, "the server ended the statement at its own limit"),
        About::Credentials => {
            (ErrorKind::Backend, "the credentials are refused; check user and password of the URL")
        }
        About::Rights => (
            ErrorKind::Backend,
            "the user lacks rights; it must create tables, and read and write them",
        ),
        About::Database => (ErrorKind::Backend, "the database of the URL is not there; create it"),
        About::Tables => (ErrorKind::Backend, "the tables are gone; connect anew to create them"),
        About::Packet => {
            (ErrorKind::Backend, "the value does not fit the server's packets; raise its limit")
        }
        About::Other => return other(error),
    };
    Error::because(kind, words, cause(error))
}

fn other(error: &sqlx::Error) -> Error {
    use sqlx::Error as E;
    let (kind, words) = match error {
        E::Configuration(_) => (ErrorKind::InvalidOptions, "the URL cannot be understood"),
        E::Decode(_) | E::ColumnDecode { .. } | E::ColumnNotFound(_) => {
            (ErrorKind::Corrupt, "a row is not as it was written; was the table changed?")
        }
        _ => (ErrorKind::Backend, "the server refused a statement"),
    };
    Error::because(kind, words, cause(error))
}

fn cause(error: &sqlx::Error) -> Cause {
    match error {
        sqlx::Error::Io(error) => Cause::Io(error.kind()),
        sqlx::Error::Tls(_) => Cause::Driver("no encrypted connection came about"),
        sqlx::Error::Protocol(_) => Cause::Driver("the answer is not of the protocol"),
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            Cause::Driver("a value of another type")
        }
        error => match code(error) {
            Some(code) => Cause::Server(code),
            None => Cause::Driver("the driver gave up"),
        },
    }
}

fn about(error: &sqlx::Error) -> About {
    match error {
        sqlx::Error::Tls(_) => About::Encryption,
        // So does rustls say that it does not trust what it was shown.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            About::Encryption
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => About::Gone,
        sqlx::Error::Database(_) => code(error).map_or(About::Other, |code| of_code(&code)),
        _ => About::Other,
    }
}

/// SQLSTATEs have five characters, the numbers of MariaDB and MySQL four.
fn of_code(code: &str) -> About {
    match code {
        "40001" | "40P01" | "55P03" | "23503" => About::Another,
        "1205" | "1213" | "1452" | "1020" => About::Another,
        "53100" | "53200" | "1021" | "1041" | "1114" => About::Full,
        "25006" | "1290" | "1792" | "1836" => About::ReadOnly,
        "53300" | "1040" | "1203" | "1226" => About::Crowded,
        "57014" | "1317" | "1969" | "3024" => About::Cancelled,
        "28000" | "28P01" | "1045" | "1698" => About::Credentials,
        "42501" | "1044" | "1142" | "1227" | "1370" => About::Rights,
        "3D000" | "1046" | "1049" => About::Database,
        "42P01" | "1146" => About::Tables,
        "1153" => About::Packet,
        "1053" | "1077" | "1079" | "1927" => About::Gone,
        code if code.len() == 5 && (code.starts_with("57P") || code.starts_with("08")) => {
            About::Gone
        }
        // An idle transaction that the server ended.
        "25P03" => About::Gone,
        _ => About::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_dialects_are_told_apart() {
        assert_eq!(of_code("40P01"), About::Another);
        assert_eq!(of_code("1213"), About::Another);
        assert_eq!(of_code("57P01"), About::Gone);
        assert_eq!(of_code("08006"), About::Gone);
        assert_eq!(of_code("42601"), About::Other);
    }

    #[test]
    fn a_driver_shows_nothing_of_its_words() {
        let secrets = [
            sqlx::Error::Protocol("secret".into()),
            sqlx::Error::Configuration("secret".into()),
            sqlx::Error::Io(std::io::Error::other("secret")),
            sqlx::Error::Tls("secret".into()),
        ];
        for secret in secrets {
            let error = failure(&secret);
            let shown = format!("{error} {error:?} {:?}", error.source().map(ToString::to_string));
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
