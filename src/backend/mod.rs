//! What a [`Storage`](crate::Storage) can be made of, and one address for each of them.

mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sql;

use std::sync::Arc;

#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStorage};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use self::sql::{SqlFigures, SqlOptions, SqlStorage};
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Returns the storage at an address: `memory:`, a cache of this process with its defaults; or
/// `redis://[user:password@]host[:port][/database]`, `redis+cluster://[user:password@]host[:port],..` for
/// a cluster, `redis+sentinel://[user:password@]host[:port],../name` for what sentinels watch, and
/// `rediss` instead of `redis` for the same through TLS (the features `redis` and `redis-tls`);
/// `postgres://[user[:password]@]host[:port]/database` or `postgresql://` (the feature `postgres`), and
/// `mysql://[user[:password]@]host[:port]/database` for MariaDB and MySQL (the feature `mysql`).
///
/// # Errors
///
/// `InvalidOptions` for an address of no storage that was built in, with words that say which feature
/// is missing; those of `RedisStorage::connect` and `SqlStorage::connect`. None of them shows the
/// address: it may hold a password.
///
/// # Examples
///
/// ```
/// # fn main() -> scopecache::Result<()> { pollster::block_on(async {
/// let storage = scopecache::connect("memory:").await?;
/// storage.set("motd", "hello".into(), scopecache::Options::new()).await?;
/// # Ok(()) }) }
/// ```
pub async fn connect(url: &str) -> Result<Arc<dyn Storage>> {
    let (scheme, _) = url.split_once(':').unwrap_or_default();
    match scheme {
        "memory" if url == "memory:" => Ok(Arc::new(Cache::builder().build()?)),
        "memory" => Err(Error::options("the address of the storage in memory is `memory:` alone")),
        #[cfg(feature = "redis")]
        "redis" | "redis+cluster" | "redis+sentinel" => {
            Ok(Arc::new(RedisStorage::connect(url).await?))
        }
        #[cfg(not(feature = "redis"))]
        "redis" | "redis+cluster" | "redis+sentinel" => {
            Err(Error::options("redis:// needs the feature `redis`"))
        }
        #[cfg(feature = "redis-tls")]
        "rediss" | "rediss+cluster" | "rediss+sentinel" => {
            Ok(Arc::new(RedisStorage::connect(url).await?))
        }
        #[cfg(not(feature = "redis-tls"))]
        "rediss" | "rediss+cluster" | "rediss+sentinel" => {
            Err(Error::options("rediss:// needs the feature `redis-tls`"))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(SqlStorage::connect(url).await?)),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => {
            Err(Error::options("postgres:// needs the feature `postgres`"))
        }
        #[cfg(feature = "mysql")]
        "mysql" => Ok(Arc::new(SqlStorage::connect(url).await?)),
        #[cfg(not(feature = "mysql"))]
        "mysql" => Err(Error::options("mysql:// needs the feature `mysql`")),
        _ => Err(Error::options(
            "the address must begin with memory:, redis://, rediss://, postgres:// or mysql://",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_address_of_nothing_is_refused_and_not_shown() {
        for url in ["", "memory", "memory:x", "secret://secret", "redis-secret"] {
            let Err(error) = pollster::block_on(connect(url)) else { panic!("{url} is taken") };
            assert_eq!(error.kind(), ErrorKind::InvalidOptions);
            assert!(!format!("{error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_feature_that_is_missing_is_named() {
        let storages = [
            ("redis://secret", "`redis`", cfg!(feature = "redis")),
            ("redis+cluster://secret", "`redis`", cfg!(feature = "redis")),
            ("redis+sentinel://secret", "`redis`", cfg!(feature = "redis")),
            ("rediss://secret", "`redis-tls`", cfg!(feature = "redis-tls")),
            ("rediss+cluster://secret", "`redis-tls`", cfg!(feature = "redis-tls")),
            ("rediss+sentinel://secret", "`redis-tls`", cfg!(feature = "redis-tls")),
            ("postgres://secret", "`postgres`", cfg!(feature = "postgres")),
            ("postgresql://secret", "`postgres`", cfg!(feature = "postgres")),
            ("mysql://secret", "`mysql`", cfg!(feature = "mysql")),
        ];
        for (url, feature, _) in storages.into_iter().filter(|(.., is_on)| !is_on) {
            let Err(error) = pollster::block_on(connect(url)) else { panic!("{url} is taken") };
            assert_eq!(error.kind(), ErrorKind::InvalidOptions);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(feature) && !shown.contains("secret"), "{shown}");
        }
    }
}
