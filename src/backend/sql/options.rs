//! How a client is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SqlStorage;
use super::engine::Engine;
use super::figures::Meters;
use super::pool::Pool;
use crate::error::{Error, Result};

/// What a connection to MariaDB or MySQL keeps prepared: all the statements that there are, some 120 with
/// lists of each length.
#[cfg(feature = "mysql")]
const STATEMENTS: usize = 256;

/// How an [`SqlStorage`] names its tables, how long it waits, and how many connections it has.
///
/// ```no_run
/// use scopecache::SqlOptions;
/// use std::time::Duration;
///
/// # async fn connect() -> scopecache::Result<()> {
/// let options = SqlOptions::new().prefix("shop_").timeout(Duration::from_secs(1));
/// let storage = options.connect("postgres://shop@127.0.0.1:5432/shop").await?;
/// # drop(storage);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SqlOptions {
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) max_value_bytes: usize,
    pub(super) max_connections: usize,
    pub(super) clean_every: Option<Duration>,
}

impl SqlOptions {
    /// Tables whose names begin with `sc_`, 5 seconds for a call, values of 16 MiB, 10 connections, a
    /// cleaning every 10 seconds.
    pub fn new() -> Self {
        Self {
            prefix: "sc_".into(),
            timeout: Duration::from_secs(5),
            max_value_bytes: 16 << 20,
            max_connections: 10,
            clean_every: Some(Duration::from_secs(10)),
        }
    }

    /// What the names of the tables begin with: 1 to 32 of `a` to `z`, `0` to `9` and `_`, not a digit
    /// first. Storages with different prefixes share nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take that has no timeout of its own, and how long the server lets anybody
    /// wait for a lock before the attempt is made anew. Zero is an error of `connect`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The greatest value, in bytes. MariaDB and MySQL take no more than their `max_allowed_packet`
    /// less 64 KiB, whatever is said here.
    pub fn max_value_bytes(mut self, max_value_bytes: usize) -> Self {
        self.max_value_bytes = max_value_bytes;
        self
    }

    /// How many connections the storage opens at most; calls beyond wait for one until their timeout.
    /// Zero is an error of `connect`.
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    /// How often a task of this storage takes away what has expired and what is empty; `None` leaves
    /// that to other instances, or to [`SqlStorage::clean`].
    pub fn clean_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.clean_every = interval.into();
        self
    }

    /// Connects: see [`SqlStorage::connect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn connect(self, url: &str) -> Result<SqlStorage> {
        self.check()?;
        let meters = Arc::new(Meters::default());
        let engine = self.engine(url, &meters)?;
        let limit = engine.migrate(Instant::now() + self.timeout).await?;
        Ok(SqlStorage::new(engine, meters, self, limit))
    }

    fn check(&self) -> Result<()> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let bytes = self.prefix.as_bytes();
        let is_plain = bytes.iter().all(|&byte| is_letter(byte) || byte.is_ascii_digit());
        if !is_plain || bytes.len() > 32 || !bytes.first().is_some_and(|&first| is_letter(first)) {
            return Err(Error::options(
                "a prefix must be 1 to 32 of a-z, 0-9 and _, and not begin with a digit",
            ));
        }
        if self.timeout.is_zero() {
            return Err(Error::options("a timeout must be longer than zero"));
        }
        if self.max_connections == 0 {
            return Err(Error::options("max_connections must be at least 1"));
        }
        if self.clean_every.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::options("clean_every must be longer than zero, or None"));
        }
        Ok(())
    }

    fn engine(&self, url: &str, meters: &Arc<Meters>) -> Result<Arc<dyn Engine>> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => {
                let options = url.parse().map_err(|_| {
                    Error::options(
                        "the URL must be postgres://[user[:password]@]host[:port]/database",
                    )
                })?;
                let meters = Arc::clone(meters);
                let pool = Pool::new(options, self.max_connections, self.timeout, meters);
                Ok(Arc::new(super::postgres::PostgresEngine::new(pool, &self.prefix)))
            }
            #[cfg(feature = "mysql")]
            Some("mysql") => {
                let options: sqlx::mysql::MySqlConnectOptions = url.parse().map_err(|_| {
                    Error::options("the URL must be mysql://[user[:password]@]host[:port]/database")
                })?;
                let options = options.statement_cache_capacity(STATEMENTS);
                let meters = Arc::clone(meters);
                let pool = Pool::new(options, self.max_connections, self.timeout, meters);
                Ok(Arc::new(super::mysql::MySqlEngine::new(pool, &self.prefix)))
            }
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => {
                Err(Error::options("postgres:// needs the feature `postgres`"))
            }
            #[cfg(not(feature = "mysql"))]
            Some("mysql") => Err(Error::options("mysql:// needs the feature `mysql`")),
            _ => Err(Error::options("the URL must begin with postgres:// or mysql://")),
        }
    }
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self::new()
    }
}
