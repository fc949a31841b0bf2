//! The engine in memory, with a clock that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scopecache::conformance::{Lab, Store, Task};
use scopecache::{Cache, Maintenance, MockClock, Result, Storage};

const MAX_VALUE_BYTES: usize = 1 << 18;

type Wrap = dyn Fn(Cache) -> Box<dyn Storage> + Send + Sync;

/// Makes caches; what stands around them, if anything, is given.
pub(crate) struct Memory(Arc<Wrap>);

struct One {
    cache: Cache,
    clock: MockClock,
    wrap: Arc<Wrap>,
}

impl Memory {
    pub(crate) fn with(wrap: impl Fn(Cache) -> Box<dyn Storage> + Send + Sync + 'static) -> Self {
        Self(Arc::new(wrap))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::with(|cache| Box::new(cache))
    }
}

impl Lab for Memory {
    fn store(&self) -> Result<Arc<dyn Store>> {
        let clock = MockClock::new();
        let cache = Cache::builder()
            .maintenance(Maintenance::Manual)
            .clock(clock.clone())
            .max_value_bytes(MAX_VALUE_BYTES)
            .build()?;
        Ok(Arc::new(One { cache, clock, wrap: Arc::clone(&self.0) }))
    }

    fn block_on(&self, task: Task<'_>) {
        pollster::block_on(task);
    }
}

#[async_trait]
impl Store for One {
    async fn client(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::from((self.wrap)(self.cache.clone())))
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn grain(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn max_value_bytes(&self) -> usize {
        MAX_VALUE_BYTES
    }
}
