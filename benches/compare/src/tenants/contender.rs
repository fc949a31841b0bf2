//! The caches that both tenants use.
//!
//! scopecache is bounded in bytes. The peers may hold as many entries as it then does, so that all
//! have the same room; they get the tenant as a part of the key. Hashers are `ahash` with seeds of
//! ours.

use ahash::RandomState;
use anyhow::Result;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;
use scopecache::{Cache, CacheBuilder, Maintenance, Scope};

use super::Peer;
use crate::data::VALUE;

/// Entries that are stored to see how many stay, for each that might.
const TIMES: u64 = 3;
/// Bytes that an entry takes at least.
const LEAST_ENTRY: u64 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    Quiet,
    Loud,
}

/// A cache with two tenants.
pub(super) trait Tenants {
    /// Looks the key up, and stores a value on a miss; whether it was a hit.
    fn request(&mut self, tenant: Tenant, key: u64) -> Result<bool>;
    /// Lets the cache do what it puts off.
    fn settle(&mut self) {}
}

/// How many entries scopecache holds in so many bytes.
pub(super) fn entries_within(bytes: u64) -> Result<u64> {
    let cache = builder(bytes, 1).build()?;
    let mut ours = Ours::new(&cache)?;
    for key in 0..TIMES * bytes / LEAST_ENTRY {
        ours.request(Tenant::Loud, key)?;
    }
    Ok(cache.stats().entries)
}

/// Its thread would work at moments that differ from run to run.
fn builder(bytes: u64, seed: u64) -> CacheBuilder<scopecache::Blob, RandomState> {
    let hasher = RandomState::with_seeds(seed, 1, 2, 3);
    Cache::builder().max_bytes(bytes).maintenance(Maintenance::Manual).hasher(hasher)
}

impl Peer {
    pub(super) fn start(
        self,
        bytes: u64,
        quota: u64,
        entries: u64,
        seed: u64,
    ) -> Result<Box<dyn Tenants>> {
        let hasher = RandomState::with_seeds(seed, 1, 2, 3);
        Ok(match self {
            // What is left is for what no tenant is charged with.
            Self::WithQuotas => {
                Box::new(Ours::new(&builder(bytes, seed).user_quota(quota).build()?)?)
            }
            Self::Ours => Box::new(Ours::new(&builder(bytes, seed).build()?)?),
            Self::QuickCache => Box::new(Quick(quick_cache::sync::Cache::with(
                entries as usize,
                entries,
                UnitWeighter,
                hasher,
                DefaultLifecycle::default(),
            ))),
            Self::Moka => {
                let builder = moka::sync::Cache::builder().max_capacity(entries);
                Box::new(Moka(builder.build_with_hasher(hasher)))
            }
        })
    }
}

struct Ours {
    quiet: Scope<scopecache::Blob, RandomState>,
    loud: Scope<scopecache::Blob, RandomState>,
}

impl Ours {
    fn new(cache: &Cache<scopecache::Blob, RandomState>) -> Result<Self> {
        Ok(Self { quiet: cache.session("quiet", "s")?, loud: cache.session("loud", "s")? })
    }
}

impl Tenants for Ours {
    fn request(&mut self, tenant: Tenant, key: u64) -> Result<bool> {
        let scope = match tenant {
            Tenant::Quiet => &self.quiet,
            Tenant::Loud => &self.loud,
        };
        let key = key.to_be_bytes();
        if scope.get(key)?.is_some() {
            return Ok(true);
        }
        scope.set(key, &VALUE)?;
        Ok(false)
    }

    fn settle(&mut self) {
        self.quiet.cache().maintain(256);
    }
}

struct Quick(quick_cache::sync::Cache<(Tenant, u64), [u8; VALUE.len()], UnitWeighter, RandomState>);

impl Tenants for Quick {
    fn request(&mut self, tenant: Tenant, key: u64) -> Result<bool> {
        let hit = self.0.get(&(tenant, key)).is_some();
        if !hit {
            self.0.insert((tenant, key), VALUE);
        }
        Ok(hit)
    }
}

struct Moka(moka::sync::Cache<(Tenant, u64), [u8; VALUE.len()], RandomState>);

impl Tenants for Moka {
    fn request(&mut self, tenant: Tenant, key: u64) -> Result<bool> {
        let hit = self.0.get(&(tenant, key)).is_some();
        if !hit {
            self.0.insert((tenant, key), VALUE);
        }
        Ok(hit)
    }

    /// It outgrows its bound until its tasks are run.
    fn settle(&mut self) {
        self.0.run_pending_tasks();
    }
}
