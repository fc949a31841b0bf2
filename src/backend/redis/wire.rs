//! To whom a client's calls go, and by which connection.

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisFuture, RedisResult, Value};

use super::failure::code;

/// What an address leads to.
pub(super) enum Servers {
    /// One server.
    One(Box<(Client, ConnectionManagerConfig)>),
    /// The nodes of a cluster, of which each user has one.
    Cluster(Box<ClusterClient>),
}

/// A connection to them.
#[derive(Clone)]
pub(super) enum Wire {
    One(ConnectionManager),
    Cluster(ClusterConnection),
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
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether the connection is to be replaced after this error, and nobody does that by itself.
    ///
    /// A cluster's looks after its parts. The manager replaces its own where it sees it end. It keeps
    /// one whose making failed otherwise (the handshake was refused or cut), one that was cut in the
    /// middle of an answer, and one to a primary that became a replica, though by now the address may
    /// lead to another.
    pub(super) fn is_over(&self, error: &redis::RedisError) -> bool {
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
            None => !(error.is_io_error() && error.is_unrecoverable_error()),
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
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(manager) => manager.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
