//! How a client is made.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::ConnectionManagerConfig;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisResult, Value, pipe};
#[cfg(feature = "redis-tls")]
use redis::{ConnectionAddr, TlsCertificates};
#[cfg(feature = "redis-tls")]
use rustls::crypto::{CryptoProvider, ring};

use super::RedisStorage;
use super::call::Line;
use super::failure::READ_ONLY;
use crate::error::{Error, ErrorKind, Result};

/// The oldest interface that will do: `ZADD GT`.
const OLDEST: (u32, u32) = (6, 2);

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
    #[cfg(feature = "redis-tls")]
    root_certificate: Option<Vec<u8>>,
}

/// What a server says of itself.
pub(super) struct Server {
    /// Whether it ends single fields of a hash by itself.
    pub(super) fields_expire: bool,
    mode: String,
    role: String,
    version: String,
}

impl RedisOptions {
    /// The prefix `sc:`, 5 seconds for a call, values of 16 MiB.
    pub fn new() -> Self {
        Self {
            prefix: "sc:".into(),
            timeout: Duration::from_secs(5),
            max_value_bytes: 16 << 20,
            #[cfg(feature = "redis-tls")]
            root_certificate: None,
        }
    }

    /// What the names of all keys begin with: storages with different prefixes share nothing. A `{` is
    /// an error of `connect`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take that has no timeout of its own. Zero is an error of `connect`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The greatest value, in bytes; a server takes 512 MiB at most, less the 40 of an item's header.
    pub fn max_value_bytes(mut self, max_value_bytes: usize) -> Self {
        self.max_value_bytes = max_value_bytes;
        self
    }

    /// The certificate, in PEM, of the authority that has signed the server's, for `rediss://`; without
    /// one those are asked that the system trusts.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
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
        let line = self.line(url).map_err(|_| {
            // Its words may show the URL, and with it the password.
            Error::options("the URL must be redis://[user:password@]host[:port][/database]")
        })?;
        // The first call makes the connection.
        let mut questions = pipe();
        questions.cmd("HELLO").cmd("COMMAND").arg("INFO").arg("HPEXPIREAT");
        let (hello, known) = line.ask(line.end_of(None), &questions).await?;
        let server = Server::new(&hello, &known);
        server.check()?;
        Ok(RedisStorage::new(line, self, &server))
    }

    fn line(&self, url: &str) -> RedisResult<Line> {
        let alive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(alive);
        // A peer that has vanished without a word is found out in a few timeouts, not in a quarter
        // of an hour.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let tcp = tcp.set_user_timeout(self.timeout.saturating_mul(2).max(Duration::from_secs(1)));
        let client = self.client(url.into_connection_info()?.set_tcp_settings(tcp))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None)
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        Line::new(client, config, self.timeout)
    }

    #[cfg(not(feature = "redis-tls"))]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Client::open(info);
        }
        // Without one the driver panics; the program's own choice stands.
        if CryptoProvider::get_default().is_none() {
            // Somebody else was faster: as good.
            let _ = ring::default_provider().install_default();
        }
        let root_cert = self.root_certificate.clone();
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
    }
}

impl Server {
    fn new(hello: &HashMap<String, Value>, known: &Value) -> Self {
        let text = |name| match hello.get(name) {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Value::SimpleString(text)) => text.clone(),
            _ => String::new(),
        };
        Self {
            fields_expire: matches!(known, Value::Array(all) if matches!(all[..], [Value::Array(_)])),
            mode: text("mode"),
            role: text("role"),
            version: text("version"),
        }
    }

    /// # Errors
    ///
    /// Where the storage would not keep what it promises on this server.
    fn check(&self) -> Result<()> {
        let refused = |kind, words| Err(Error::with_detail(kind, words));
        let mut parts = self.version.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if self.mode == "cluster" {
            let words = "the server is a node of a cluster, which is not supported; use a single \
                primary, with replicas if you like";
            return refused(ErrorKind::Backend, words);
        }
        if self.mode == "sentinel" {
            let words = "the server is a sentinel, which is not supported; use an address that \
                follows the primary";
            return refused(ErrorKind::Backend, words);
        }
        if version < OLDEST {
            return refused(
                ErrorKind::Backend,
                "the server is too old; it must be Redis 6.2 or later",
            );
        }
        if self.role != "master" {
            return refused(ErrorKind::Unavailable, READ_ONLY);
        }
        Ok(())
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(mode: &str, role: &str, version: &str) -> Server {
        let text = |text: &str| Value::BulkString(text.into());
        let hello = [("mode", mode), ("role", role), ("version", version)];
        let hello = hello.map(|(name, value)| (name.to_owned(), text(value))).into();
        Server::new(&hello, &Value::Array(vec![Value::Nil]))
    }

    #[test]
    fn a_server_that_would_break_promises_is_refused() {
        let kind = |server: Server| server.check().map_err(|error| error.kind());
        assert_eq!(kind(server("standalone", "master", "6.2.0")), Ok(()));
        assert_eq!(kind(server("standalone", "master", "10.0")), Ok(()));
        assert_eq!(kind(server("standalone", "master", "6.0.16")), Err(ErrorKind::Backend));
        assert_eq!(kind(server("cluster", "master", "7.0.0")), Err(ErrorKind::Backend));
        assert_eq!(kind(server("sentinel", "sentinel", "7.0.0")), Err(ErrorKind::Backend));
        assert_eq!(kind(server("standalone", "replica", "7.0.0")), Err(ErrorKind::Unavailable));
    }
}
