//! How a client is made.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Value, cmd};

use super::RedisStorage;
use super::failure::failure;
use crate::error::{Error, ErrorKind, Result};

/// How a [`RedisStorage`] names its keys and how long it waits.
///
/// ```no_run
/// use scopecache::RedisOptions;
/// use std::time::Duration;
///
/// # async fn connect() -> scopecache::Result<()> {
/// let options = RedisOptions::new().prefix("shop:").timeout(Duration::from_secs(1));
/// let storage = options.connect("redis://127.0.0.1:6379").await?;
/// # drop(storage);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisOptions {
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) max_value_bytes: usize,
}

impl RedisOptions {
    /// The prefix `sc:`, 5 seconds for a call, values of 16 MiB.
    pub fn new() -> Self {
        Self { prefix: "sc:".into(), timeout: Duration::from_secs(5), max_value_bytes: 16 << 20 }
    }

    /// What the names of all keys begin with: storages with different prefixes share nothing, as
    /// long as neither is the beginning of the other. A `{` is an error of `connect`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take that has no timeout of its own. Zero is an error of `connect`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The greatest value, in bytes.
    pub fn max_value_bytes(mut self, max_value_bytes: usize) -> Self {
        self.max_value_bytes = max_value_bytes;
        self
    }

    /// Connects: see [`RedisStorage::connect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn connect(self, url: &str) -> Result<RedisStorage> {
        if self.prefix.contains('{') {
            return Err(Error::options("a prefix with `{` would decide upon the cluster slot"));
        }
        if self.timeout.is_zero() {
            return Err(Error::options("a timeout must be longer than zero"));
        }
        // Its words may show the URL, and with it the password.
        let client = Client::open(url).map_err(|_| {
            Error::options("the URL must be redis://[user:password@]host[:port][/database]")
        })?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None)
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let timeout = self.timeout;
        let connect = async {
            let mut connection = ConnectionManager::new_with_config(client, config).await?;
            let known: Value =
                cmd("COMMAND").arg("INFO").arg("HPEXPIREAT").query_async(&mut connection).await?;
            let fields_expire =
                matches!(&known, Value::Array(all) if matches!(all[..], [Value::Array(_)]));
            Ok((connection, fields_expire))
        };
        match tokio::time::timeout(timeout, connect).await {
            Ok(Ok((connection, expire))) => Ok(RedisStorage::new(connection, self, expire)),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Error::new(ErrorKind::Timeout)),
        }
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::new()
    }
}
