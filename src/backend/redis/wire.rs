//! To whom a client's calls go, and by which connection.

use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    Value,
};

use super::failure::code;

/// What an address leads to.
pub(super) enum Servers {
    /// One server.
    One(Box<(Client, ConnectionManagerConfig)>),
    /// The nodes of a cluster, of which each user has one.
    Cluster(Box<ClusterClient>),
    /// The one that its sentinels say is the primary: they are asked anew for each connection.
    Primary { ask: Ask, config: AsyncConnectionConfig },
}

/// Makes a client of sentinels.
type Ask = Box<dyn Fn() -> RedisResult<SentinelClient> + Send + Sync>;

/// A connection to them.
#[derive(Clone)]
pub(super) enum Wire {
    One(ConnectionManager),
    Cluster(ClusterConnection),
    Primary(MultiplexedConnection),
}

impl Servers {
    /// Connects. Nothing is sent to one server before the first call.
    pub(super) async fn wire(&self) -> RedisResult<Wire> {
        match self {
            Self::One(one) => {
                let (client, config) = (one.0.clone(), one.1.clone());
                ConnectionManager::new_lazy_with_config(client, config).map(Wire::One)
            }
            Self::Cluster(client) => match client.get_async_connection().await {
                // A single server answers this to the question for the slots.
                Err(error) if code(&error).as_deref() == Some("ERR") => {
                    Err((ErrorKind::InvalidClientConfig, "no cluster").into())
                }
                answer => answer.map(Wire::Cluster),
            },
            Self::Primary { ask, config } => {
                let mut sentinels = ask()?;
                sentinels.get_async_connection_with_config(config).await.map(Wire::Primary)
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether the connection is to be replaced after this error, and nobody does that by itself.
    ///
    /// A cluster's looks after its parts, nobody after one that sentinels led to. The manager replaces
    /// its own where it sees it end. It keeps one whose making failed otherwise (the handshake was
    /// refused or cut), one that was cut in the middle of an answer, and one to a primary that became a
    /// replica, though by now the address may lead to another.
    pub(super) fn is_over(&self, error: &RedisError) -> bool {
        if self.is_cluster() {
            return false;
        }
        match code(error) {
            Some(code) => {
                let of_commands = [
                    "BUSY",
                    "EXECABORT",
                    "LOADING",
                    "MISCONF",
                    "NOPERM",
                    "NOREPLICAS",
                    "OOM",
                    "WRONGTYPE",
                ];
                !of_commands.contains(&code.as_str())
            }
            None => match self {
                Self::One(_) => !(error.is_io_error() && error.is_unrecoverable_error()),
                _ => true,
            },
        }
    }

    /// Whether another server may have taken the place of one that does not answer any more.
    pub(super) fn take_places(&self) -> bool {
        !matches!(self, Self::One(_))
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(manager) => manager.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
            Self::Primary(primary) => primary.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(manager) => manager.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
            Self::Primary(primary) => primary.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(manager) => manager.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
            Self::Primary(primary) => primary.get_db(),
        }
    }
}
