//! A server as a place where storages are tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scopecache::conformance::{Lab, Store, Task};
use scopecache::{RedisOptions, Result, Storage};
use tokio::runtime::{Builder, Runtime};

const MAX_VALUE_BYTES: usize = 1 << 18;

/// How many stores there have been, in all tests of the process: they run side by side.
static STORES: AtomicUsize = AtomicUsize::new(0);

/// Names and addresses of the servers that run.
///
/// # Panics
///
/// Where there is none: tests that try nothing prove nothing.
pub(crate) fn servers() -> Vec<(String, String)> {
    let file = std::env::var("SCOPECACHE_SERVERS")
        .expect("SCOPECACHE_SERVERS names no file; run scripts/backends test");
    let lines = std::fs::read_to_string(file).expect("the list of servers can be read");
    let servers: Vec<_> = lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .collect();
    assert!(!servers.is_empty(), "no server runs");
    servers
}

/// A server; each store has a prefix of its own there.
pub(crate) struct RedisLab {
    runtime: Runtime,
    url: String,
}

struct Prefix {
    url: String,
    prefix: String,
    started: Instant,
}

impl RedisLab {
    pub(crate) fn new(url: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: runtime.expect("threads and a timer"), url: url.into() }
    }
}

impl Lab for RedisLab {
    fn store(&self) -> Result<Arc<dyn Store>> {
        // Relaxed: only uniqueness is asked for.
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}-{number}:", std::process::id());
        Ok(Arc::new(Prefix { url: self.url.clone(), prefix, started: Instant::now() }))
    }

    fn block_on(&self, task: Task<'_>) {
        self.runtime.handle().block_on(task);
    }
}

#[async_trait]
impl Store for Prefix {
    async fn client(&self) -> Result<Arc<dyn Storage>> {
        let options = RedisOptions::new().prefix(&self.prefix).max_value_bytes(MAX_VALUE_BYTES);
        Ok(Arc::new(options.connect(&self.url).await?))
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn grain(&self) -> Duration {
        Duration::from_millis(60)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn max_value_bytes(&self) -> usize {
        MAX_VALUE_BYTES
    }
}
