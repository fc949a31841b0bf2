//! A filled cache for `benches/operations.rs`, made before anything is counted.
//!
//! Nothing here depends on the machine or on the run: the hasher's keys, the shards and the time
//! are fixed, and maintenance runs where it is called.

use std::time::Duration;

use ahash::RandomState;
use scopecache::{Blob, Cache, CacheBuilder, Maintenance, MockClock, Namespace, Scope};

/// Operations of one count; each has a user, a session and a key of its own.
pub const OPS: usize = 1_000;
/// Keys of each session, all asked for by one `get_many`.
pub const KEYS: usize = 10;
/// The value of every entry.
pub const VALUE: [u8; 64] = [7; 64];
/// How long entries live.
pub const TTL: Duration = Duration::from_secs(60);

/// A cache of [`OPS`] users with a session of [`KEYS`] entries each.
pub struct Subject {
    /// With a TTL for every entry, as most users' caches have.
    pub cache: Cache,
    /// The time of the cache.
    pub clock: MockClock,
    /// What each operation is about.
    pub calls: Vec<Call>,
    /// Keys of every session.
    pub keys: Vec<String>,
}

/// What one operation is about.
pub struct Call {
    /// Session of a user that no other call has.
    pub scope: Scope,
    /// A key that is there.
    pub key: String,
    /// A key that is not.
    pub absent: String,
}

impl Subject {
    /// Fills a cache, and does each thing once that only the first of its kind has to do.
    ///
    /// # Panics
    /// If the cache refuses what it is given.
    pub fn filled() -> Self {
        Self::filled_with(|builder| builder)
    }

    /// The same with counters.
    pub fn counted() -> Self {
        Self::filled_with(CacheBuilder::record_stats)
    }

    /// The same with a listener, which is called when the cache is maintained.
    pub fn reported() -> Self {
        Self::filled_with(|builder| {
            builder.on_removal(|removal| {
                std::hint::black_box(removal);
            })
        })
    }

    /// The same with a quota for every user, which none reaches.
    pub fn with_quotas() -> Self {
        Self::filled_with(|builder| builder.user_quota(1 << 20))
    }

    fn filled_with(settings: impl FnOnce(CacheBuilder<Blob>) -> CacheBuilder<Blob>) -> Self {
        let clock = MockClock::new();
        let cache = settings(Cache::builder())
            .max_bytes(64 << 20)
            .expected_entries(2 * OPS * KEYS)
            .default_ttl(TTL)
            .shards(8)
            .clock(clock.clone())
            .maintenance(Maintenance::Manual)
            .hasher(RandomState::with_seeds(1, 2, 3, 4))
            .build()
            .expect("the settings are valid");
        let keys: Vec<String> = (0..KEYS).map(|number| format!("key-{number}")).collect();
        let calls: Vec<Call> = (0..OPS).map(|number| Call::new(&cache, number)).collect();
        for call in &calls {
            for key in &keys {
                call.scope.set(key, &VALUE).expect("there is room");
            }
            assert!(call.scope.get(&call.key).expect("open").is_some());
            assert!(call.scope.get(&call.absent).expect("open").is_none());
        }
        Self { cache, clock, calls, keys }
    }
}

impl Call {
    fn new(cache: &Cache, number: usize) -> Self {
        let user = format!("user-{number:031}");
        let session = format!("session-{number:028}");
        let scope = cache.session(&user, &session).expect("the ids are valid");
        Self {
            scope,
            key: format!("key-{}", number % KEYS),
            absent: format!("other-{}", number % KEYS),
        }
    }

    /// The names, to be resolved by each call that is given them.
    pub fn namespace(&self) -> Namespace<'_> {
        self.scope.namespace()
    }

    /// The user alone.
    ///
    /// # Panics
    /// Never: the scope is a session's.
    pub fn user(&self) -> Namespace<'_> {
        match self.namespace() {
            Namespace::Session { user, .. } => Namespace::User { user },
            _ => unreachable!("the scope is a session's"),
        }
    }
}
