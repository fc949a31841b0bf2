//! A listener that keeps what it was told.

use std::sync::{Arc, Mutex};

use scopecache::{
    Blob, Cache, CacheBuilder, Maintenance, MockClock, Removal, RemovalCause, Version,
};

/// One removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// User and session, empty where there is none.
    pub(crate) owner: (String, String),
    pub(crate) key: Vec<u8>,
    pub(crate) version: Version,
    pub(crate) bytes: u64,
    pub(crate) cause: RemovalCause,
}

#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub(crate) fn listener(&self) -> impl Fn(&Removal) + Send + Sync + 'static {
        let events = Arc::clone(&self.0);
        move |removal| {
            let namespace = removal.namespace();
            let name = |id: Option<&str>| id.unwrap_or_default().to_owned();
            events.lock().expect("no panic").push(Event {
                owner: (name(namespace.user()), name(namespace.session())),
                key: removal.key().to_vec(),
                version: removal.version(),
                bytes: removal.bytes(),
                cause: removal.cause(),
            });
        }
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }

    /// Does all that is pending, and answers what came since the last call: keys and causes.
    pub(crate) fn reported<S>(&self, cache: &Cache<Blob, S>) -> Vec<(String, RemovalCause)> {
        while cache.maintain(1000).pending {}
        let name = |event: Event| (String::from_utf8(event.key).expect("text"), event.cause);
        self.take().into_iter().map(name).collect()
    }
}

/// A builder that counts, with a clock that stands.
pub(crate) fn counting() -> (CacheBuilder<Blob>, MockClock) {
    let clock = MockClock::new();
    let builder = Cache::builder()
        .maintenance(Maintenance::Manual)
        .clock(clock.clone())
        // Guards of other tests in this process shall fail no set here.
        .max_retired_bytes(1 << 30)
        .record_stats();
    (builder, clock)
}

/// A cache that reports to a recorder.
pub(crate) fn recorded() -> (Cache, MockClock, Recorder) {
    let recorder = Recorder::default();
    let (builder, clock) = counting();
    let cache = builder.on_removal(recorder.listener()).build().expect("valid settings");
    (cache, clock, recorder)
}
