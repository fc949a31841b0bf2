//! What stands in a URL.

use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

/// Where servers are to be found, and what they are.
#[derive(Debug)]
pub(super) enum Address {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss:`.
    One(Box<ConnectionInfo>),
    /// `redis+cluster://[user:password@]host[:port][,host[:port]..]`, or `rediss+cluster:`: some nodes.
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(unclear)?;
        match scheme.split_once('+') {
            Some((scheme @ ("redis" | "rediss"), "cluster")) => {
                let (user, hosts, path) = parts(rest);
                let nodes = hosts
                    .split(',')
                    .map(|host| format!("{scheme}://{user}{host}{path}").into_connection_info());
                nodes.collect::<RedisResult<_>>().map(Self::Cluster)
            }
            _ => Ok(Self::One(Box::new(url.into_connection_info()?))),
        }
    }
}

/// What ends at an `@`, if anything does; the hosts; and what comes after them.
fn parts(rest: &str) -> (&str, &str, &str) {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    (user, hosts, path)
}

fn unclear() -> RedisError {
    (ErrorKind::InvalidClientConfig, "no URL").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_cluster_have_one_user() {
        let url = "redis+cluster://ada:se%2Fcret@one,two:7001,[::1]:7002";
        let Ok(Address::Cluster(nodes)) = Address::parse(url) else { panic!("not understood") };
        let shown: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!(shown, ["one:6379", "two:7001", "::1:7002"]);
        for node in nodes {
            assert_eq!(node.redis_settings().username(), Some("ada"));
            assert_eq!(node.redis_settings().password(), Some("se/cret"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for url in ["", "redis", "redis+cluster:", "redis+cluster://", "redis+cluster://one,,two"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        for url in ["redis+other://one", "memory+cluster://one", "redis+cluster://one:port"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
