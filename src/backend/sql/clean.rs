//! Takes away what has expired, and the rows of namespaces that hold nothing.
//!
//! Nobody waits for it: what has expired is invisible already, and so is an empty namespace. Only who writes to an
//! item that came due and lives on (PostgreSQL) waits for its batch. Batches are bounded, and rows that anybody
//! works on are left for the next time, so that any number of instances clean the same tables at once.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::engine::{Cursor, Engine, Expired, Owner};
use super::figures::Meters;
use crate::error::Result;

/// Batches of expired items at one go in the background; what is left waits for the next.
const MOST_BATCHES: usize = 100;

/// Owners whose rows are locked at once.
const OWNERS: usize = 200;

/// Cleans once: all that has expired, and every empty namespace. Returns how many rows went.
pub(super) async fn clean_all(engine: &dyn Engine, meters: &Meters, step: Duration) -> Result<u64> {
    let mut cursor = Cursor::default();
    let mut gone = expired(engine, meters, step, usize::MAX).await?;
    while !cursor.has_seen_all() {
        gone += empty(engine, meters, &mut cursor, step).await?;
    }
    Ok(gone)
}

/// A task that cleans at intervals until the engine is gone.
pub(super) fn spawn(
    engine: &Arc<dyn Engine>,
    meters: &Arc<Meters>,
    every: Duration,
    step: Duration,
) -> JoinHandle<()> {
    let (engine, meters) = (Arc::downgrade(engine), Arc::clone(meters));
    tokio::spawn(clean_at_intervals(engine, meters, every, step))
}

async fn clean_at_intervals(
    engine: Weak<dyn Engine>,
    meters: Arc<Meters>,
    every: Duration,
    step: Duration,
) {
    let mut cursor = Cursor::default();
    loop {
        // Half an interval more or less, by chance, so that instances do not clean in step.
        let most_us = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
        let chance = Duration::from_micros(RandomState::new().hash_one("pause") % most_us);
        sleep(every / 2 + chance).await;
        let Some(engine) = engine.upgrade() else { return };
        let turn = async {
            expired(&*engine, &meters, step, MOST_BATCHES).await?;
            empty(&*engine, &meters, &mut cursor, step).await
        };
        if turn.await.is_err() {
            meters.failed_cleanings.add(1);
        }
    }
}

/// Batches of expired items until one is the last, and what their owners leave empty. What comes due after the
/// first has begun is left: where much is written there would be no end.
async fn expired(
    engine: &dyn Engine,
    meters: &Meters,
    step: Duration,
    most_batches: usize,
) -> Result<u64> {
    let (mut gone, mut due_by_us) = (0, None);
    for _ in 0..most_batches {
        let expired = engine.expire(due_by_us, Instant::now() + step).await?;
        let Expired { owners, is_last, began_us } = expired;
        due_by_us = due_by_us.or(began_us);
        meters.cleaned.add(owners.len() as u64);
        gone += owners.len() as u64;
        let owners: Vec<Owner> = owners.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        gone += tidy(engine, meters, &owners, step).await?;
        if is_last {
            break;
        }
    }
    Ok(gone)
}

/// The empty ones of the next namespaces.
async fn empty(
    engine: &dyn Engine,
    meters: &Meters,
    cursor: &mut Cursor,
    step: Duration,
) -> Result<u64> {
    let owners = engine.scan(cursor, Instant::now() + step).await?;
    tidy(engine, meters, &owners, step).await
}

async fn tidy(
    engine: &dyn Engine,
    meters: &Meters,
    owners: &[Owner],
    step: Duration,
) -> Result<u64> {
    let mut gone = 0;
    for owners in owners.chunks(OWNERS) {
        let rows = engine.tidy(owners, Instant::now() + step).await?;
        meters.cleaned.add(rows);
        gone += rows;
    }
    Ok(gone)
}
