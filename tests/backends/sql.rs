//! An SQL server as a place where storages are tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scopecache::conformance::{Lab, Store, Task};
use scopecache::{Result, SqlOptions, Storage};
use tokio::runtime::{Builder, Runtime};

/// Each client of a case has a pool; all of them share the server.
const CONNECTIONS: usize = 4;
const MAX_VALUE_BYTES: usize = 1 << 18;

/// How many stores there have been, in all tests of the process: they run side by side.
static STORES: AtomicUsize = AtomicUsize::new(0);

/// A server; each store has tables of its own there.
pub(crate) struct SqlLab {
    runtime: Runtime,
    url: String,
}

struct Tables {
    url: String,
    prefix: String,
    started: Instant,
}

impl SqlLab {
    pub(crate) fn new(url: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: runtime.expect("threads and a timer"), url: url.into() }
    }
}

impl Lab for SqlLab {
    fn store(&self) -> Result<Arc<dyn Store>> {
        // Relaxed: only uniqueness is asked for.
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{}_{number}_", std::process::id());
        Ok(Arc::new(Tables { url: self.url.clone(), prefix, started: Instant::now() }))
    }

    fn block_on(&self, task: Task<'_>) {
        self.runtime.handle().block_on(task);
    }
}

#[async_trait]
impl Store for Tables {
    async fn client(&self) -> Result<Arc<dyn Storage>> {
        let options = SqlOptions::new().prefix(&self.prefix).max_value_bytes(MAX_VALUE_BYTES);
        // Cleaning all the time: no case may see it.
        let options = options.max_connections(CONNECTIONS).clean_every(Duration::from_millis(100));
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
