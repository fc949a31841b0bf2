//! What stands in a URL.

use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

/// What sentinels listen on unless told otherwise.
const SENTINEL_PORT: &str = ":26379";

/// Where servers are to be found, and what they are.
#[derive(Debug)]
pub(super) enum Address {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss:`.
    One(Box<ConnectionInfo>),
    /// `redis+cluster://[user:password@]host[:port][,host[:port]..]`, or `rediss+cluster:`: some nodes.
    Cluster(Vec<ConnectionInfo>),
    /// `redis+sentinel://[user:password@]host[:port][,host[:port]..]/name[/database][?sentinel=..]`, or
    /// `rediss+sentinel:`. The user is that of the primary; the sentinels' is `sentinel=[user]:password`.
    Sentinels(Box<Sentinels>),
}

#[derive(Debug)]
pub(super) struct Sentinels {
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// Under which they know the primary.
    pub(super) name: String,
    /// How to speak to it, wherever it is: the address is one of theirs.
    pub(super) primary: ConnectionInfo,
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
            Some((scheme @ ("redis" | "rediss"), "sentinel")) => {
                Sentinels::parse(scheme, rest).map(Box::new).map(Self::Sentinels)
            }
            _ => Ok(Self::One(Box::new(url.into_connection_info()?))),
        }
    }
}

impl Sentinels {
    fn parse(scheme: &str, rest: &str) -> RedisResult<Self> {
        let (user, hosts, path) = parts(rest);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (name, database) = match path.trim_matches('/').split_once('/') {
            Some(parts) => parts,
            None => (path.trim_matches('/'), ""),
        };
        if name.is_empty() {
            return Err(unclear());
        }
        let own = query.split('&').find_map(|part| part.strip_prefix("sentinel="));
        let own = own.map_or(String::new(), |own| format!("{own}@"));
        let sentinels = hosts.split(',').map(|host| {
            // What looks like a port within brackets is none.
            let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let port = if has_port { "" } else { SENTINEL_PORT };
            format!("{scheme}://{own}{host}{port}").into_connection_info()
        });
        let sentinels = sentinels.collect::<RedisResult<_>>()?;
        let primary = format!("{scheme}://{user}primary/{database}?{query}");
        Ok(Self { sentinels, name: name.to_owned(), primary: primary.into_connection_info()? })
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
    fn sentinels_lead_to_a_primary_of_another_user() {
        let url = "redis+sentinel://ada:p%40ss@one,two:7001,[::1]/shop/2?sentinel=:q%3A&protocol=3";
        let Ok(Address::Sentinels(found)) = Address::parse(url) else { panic!("not understood") };
        let shown: Vec<_> = found.sentinels.iter().map(|one| one.addr().to_string()).collect();
        assert_eq!(shown, ["one:26379", "two:7001", "::1:26379"]);
        for sentinel in &found.sentinels {
            assert_eq!(sentinel.redis_settings().username(), None);
            assert_eq!(sentinel.redis_settings().password(), Some("q:"));
        }
        assert_eq!(found.name, "shop");
        let primary = found.primary.redis_settings();
        assert_eq!((primary.username(), primary.password()), (Some("ada"), Some("p@ss")));
        assert_eq!((primary.db(), primary.protocol()), (2, redis::ProtocolVersion::RESP3));
        let Ok(Address::Sentinels(found)) = Address::parse("redis+sentinel://one/shop") else {
            panic!("not understood")
        };
        assert_eq!(found.sentinels[0].redis_settings().password(), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for url in ["", "redis", "redis+cluster:", "redis+cluster://", "redis+cluster://one,,two"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        for url in ["redis+other://one", "memory+cluster://one", "redis+cluster://one:port"] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        for url in ["redis+sentinel://one", "redis+sentinel://one/", "redis+sentinel://one/shop/x"]
        {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
