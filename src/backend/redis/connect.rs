//! How a client is made.

use std::time::Duration;

use redis::aio::ConnectionManagerConfig;
use redis::cluster::ClusterClient;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisResult, Value};
#[cfg(feature = "redis-tls")]
use redis::{ConnectionAddr, TlsCertificates, TlsMode};
#[cfg(feature = "redis-tls")]
use rustls::crypto::{CryptoProvider, ring};

use super::RedisStorage;
use super::address::{Address, Sentinels};
use super::call::{Introduction, Line};
use super::failure::READ_ONLY;
use super::wire::Servers;
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
struct Server {
    /// Whether it ends single fields of a hash by itself.
    fields_expire: bool,
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
        let servers = self.servers(url).map_err(|_| {
            // Its words may show the URL, and with it the password.
            Error::options(
                "the URL must be redis://[user:password@]host[:port][/database], \
                 redis+cluster://[user:password@]host[:port][,host[:port]..], or \
                 redis+sentinel://[user:password@]host[:port][,host[:port]..]/name[/database]",
            )
        })?;
        let line = Line::new(servers, self.timeout);
        // This makes the connection.
        let introductions = line.introductions(line.end_of(None)).await?;
        let servers: Vec<_> = introductions.iter().map(Server::new).collect();
        servers.iter().try_for_each(|server| server.check(line.is_of_cluster()))?;
        let fields_expire = servers.iter().all(|server| server.fields_expire);
        Ok(RedisStorage::new(line, self, fields_expire))
    }

    fn servers(&self, url: &str) -> RedisResult<Servers> {
        match Address::parse(url)? {
            Address::One(info) => {
                let client = self.client((*info).set_tcp_settings(self.tcp()))?;
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(None)
                    .set_number_of_retries(2)
                    .set_max_delay(Duration::from_millis(500));
                Ok(Servers::One(Box::new((client, config))))
            }
            Address::Cluster(nodes) => {
                #[cfg(feature = "redis-tls")]
                let tls = nodes.iter().any(is_tls).then(|| self.certificates());
                // What was sent may have been carried out: the driver is to send nothing twice. A node that
                // does not answer is not to keep everybody from learning who took its place.
                let builder = ClusterClient::builder(nodes)
                    .retries(0)
                    .tcp_settings(self.tcp())
                    .connection_timeout(self.timeout / 3)
                    .response_timeout(self.timeout)
                    .overall_response_timeout(None);
                #[cfg(feature = "redis-tls")]
                let builder = match tls {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                Ok(Servers::Cluster(Box::new(builder.build()?)))
            }
            Address::Sentinels(found) => {
                #[cfg(feature = "redis-tls")]
                let certificates = is_tls(&found.primary).then(|| self.certificates());
                let tcp = self.tcp();
                let ask = Box::new(move || {
                    let builder = sentinels(&found, &tcp)?;
                    #[cfg(feature = "redis-tls")]
                    let builder = match &certificates {
                        Some(certificates) => builder
                            .set_client_to_redis_tls_mode(TlsMode::Secure)
                            .set_client_to_redis_certificates(certificates.clone())
                            .set_client_to_sentinel_certificates(certificates.clone()),
                        None => builder,
                    };
                    builder.build()
                });
                // Whether that can be done is known now.
                ask()?;
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(None);
                Ok(Servers::Primary { ask, config })
            }
        }
    }

    fn tcp(&self) -> TcpSettings {
        let alive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(alive);
        // A peer that has vanished without a word is found out in a few timeouts, not in a quarter
        // of an hour.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let tcp = tcp.set_user_timeout(self.timeout.saturating_mul(2).max(Duration::from_secs(1)));
        tcp
    }

    #[cfg(not(feature = "redis-tls"))]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        if !is_tls(&info) {
            return Client::open(info);
        }
        Client::build_with_tls(info, self.certificates())
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&self) -> TlsCertificates {
        // Without one the driver panics; the program's own choice stands.
        if CryptoProvider::get_default().is_none() {
            // Somebody else was faster: as good.
            let _ = ring::default_provider().install_default();
        }
        TlsCertificates { client_tls: None, root_cert: self.root_certificate.clone() }
    }
}

impl Server {
    fn new((hello, known): &Introduction) -> Self {
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
    fn check(&self, is_in_cluster: bool) -> Result<()> {
        let refused = |kind, words| Err(Error::with_detail(kind, words));
        let mut parts = self.version.split('.').map_while(|part| part.parse::<u32>().ok());
        let version = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if self.mode == "cluster" && !is_in_cluster {
            let words = "the server is a node of a cluster; let the URL begin with `redis+cluster:` or \
                `rediss+cluster:`";
            return refused(ErrorKind::Backend, words);
        }
        if self.mode == "sentinel" {
            let words = "the server is a sentinel; let the URL be redis+sentinel://host:port,../name with \
                the name of the primary";
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

/// How sentinels are asked, and their primary is spoken to.
fn sentinels(found: &Sentinels, tcp: &TcpSettings) -> RedisResult<SentinelClientBuilder> {
    let addresses = found.sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let own = found.sentinels.first().map(ConnectionInfo::redis_settings);
    let primary = found.primary.redis_settings();
    let mut builder =
        SentinelClientBuilder::new(addresses, &found.name, SentinelServerType::Master)?
            .set_client_to_redis_db(primary.db())
            .set_client_to_redis_protocol(primary.protocol())
            .set_client_to_redis_tcp_settings(tcp.clone())
            .set_client_to_sentinel_tcp_settings(tcp.clone());
    if let Some(username) = primary.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = primary.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(username) = own.and_then(|own| own.username()) {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = own.and_then(|own| own.password()) {
        builder = builder.set_client_to_sentinel_password(password);
    }
    Ok(builder)
}

#[cfg(feature = "redis-tls")]
fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
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
        Server::new(&(hello, Value::Array(vec![Value::Nil])))
    }

    #[test]
    fn a_server_that_would_break_promises_is_refused() {
        let kind = |server: Server| server.check(false).map_err(|error| error.kind());
        assert_eq!(kind(server("standalone", "master", "6.2.0")), Ok(()));
        assert_eq!(kind(server("standalone", "master", "10.0")), Ok(()));
        assert_eq!(kind(server("standalone", "master", "6.0.16")), Err(ErrorKind::Backend));
        assert_eq!(kind(server("cluster", "master", "7.0.0")), Err(ErrorKind::Backend));
        assert!(server("cluster", "master", "7.0.0").check(true).is_ok());
        assert_eq!(kind(server("sentinel", "sentinel", "7.0.0")), Err(ErrorKind::Backend));
        assert_eq!(kind(server("standalone", "replica", "7.0.0")), Err(ErrorKind::Unavailable));
    }
}
