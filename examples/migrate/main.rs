//! Moves a store from the embedded engine to Redis and on to PostgreSQL while two clients go on writing.
//!
//! ```sh
//! scripts/backends start redis-7.0 postgresql-15     # says where they listen
//! cargo run --release --features redis,postgres --example migrate -- redis://.. postgres://.. --items 100000
//! ```
//!
//! Each step may be taken back before the next; the first is, here, after its cut. At the end PostgreSQL must
//! hold what the clients know to have written, to the byte, deadlines to the second, and nothing that was
//! deleted. The last line is one JSON object; the status is 1 where anything differs. [`Mirror`] is the part to
//! copy from.

mod clients;
mod mirror;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scopecache::{Cache, OnFull, Options, Storage, connect};
use serde_json::json;

use crate::clients::{Client, Kept, user_name};
use crate::mirror::Mirror;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Users that are copied at the same time.
const COPIERS: usize = 8;

struct Arguments {
    redis: String,
    postgres: String,
    items: usize,
}

fn main() -> Result<()> {
    let arguments = parse(std::env::args().skip(1))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let cache: Cache = Cache::builder().max_bytes(1 << 30).on_full(OnFull::Reject).build()?;
    let redis = connect(&arguments.redis).await?;
    let postgres = connect(&arguments.postgres).await?;
    let users = arguments.items.div_ceil(clients::USER_ITEMS).max(2);
    // What a run before left there.
    for storage in [&redis, &postgres] {
        for user in 0..users {
            storage.delete(Options::new().with_user(&user_name(user))).await?;
        }
    }
    let mirror = Arc::new(Mirror::new(Arc::new(cache.clone())));

    let mut clients = [Client::new(0, users), Client::new(1, users)];
    for client in &mut clients {
        client.fill(&*mirror).await?;
    }
    println!("{} items of {users} users in the embedded engine", cache.stats().entries);

    let stop = Arc::new(AtomicBool::new(false));
    let writers = clients.map(|client| {
        let (mirror, stop) = (Arc::clone(&mirror), Arc::clone(&stop));
        tokio::spawn(async move { client.write_until(&*mirror, &stop).await })
    });
    let begin = Instant::now();
    move_to(&mirror, redis, users, "Redis").await?;
    mirror.cut_over().await?;
    println!("  rolled back: the embedded engine leads, Redis follows");
    mirror.catch_up().await?;
    mirror.cut_over().await?;
    println!("  Redis leads again");
    move_to(&mirror, Arc::clone(&postgres), users, "PostgreSQL").await?;
    mirror.lead_alone().await;
    let seconds = begin.elapsed().as_secs_f64();

    // Relaxed: the tasks are joined.
    stop.store(true, Ordering::Relaxed);
    let mut report = Kept::default();
    for writer in writers {
        let client = writer.await??;
        report.add(client.compare(&*postgres).await?);
    }
    println!(
        "{}",
        json!({
            "items": report.items,
            "writes": report.writes,
            "seconds": seconds,
            "lost": report.lost,
            "different": report.different,
            "returned": report.returned,
            "deadlines_off": report.deadlines_off,
            "most_deadline_off_ms": report.most_off.as_secs_f64() * 1e3,
        })
    );
    postgres.close().await?;
    if report.is_good() { Ok(()) } else { Err("what was moved is not what was written".into()) }
}

/// Has the storage follow, copies what is there, and cuts over to it.
async fn move_to(
    mirror: &Arc<Mirror>,
    storage: Arc<dyn Storage>,
    users: usize,
    name: &str,
) -> Result<()> {
    let begin = Instant::now();
    mirror.follow_with(storage).await;
    let copiers = (0..COPIERS).map(|first| {
        let mirror = Arc::clone(mirror);
        tokio::spawn(async move {
            let mut copied = 0;
            for user in (first..users).step_by(COPIERS) {
                copied += mirror.copy(Some(&user_name(user))).await?;
            }
            Ok::<u64, scopecache::Error>(copied)
        })
    });
    let mut copied = mirror.copy(None).await?;
    for copier in copiers.collect::<Vec<_>>() {
        copied += copier.await??;
    }
    println!(
        "  {name} follows; {copied} items were copied in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    // A follower that failed for a moment is made up for; one that goes on failing ends the move.
    let mut tries = 0..100;
    loop {
        mirror.catch_up().await?;
        match mirror.cut_over().await {
            Ok(()) => break,
            Err(error) if tries.next().is_none() => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    println!("  {name} leads");
    Ok(())
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments> {
    const USAGE: &str = "usage: migrate redis://.. postgres://.. [--items N]";
    let (mut addresses, mut items) = (Vec::new(), 100_000);
    while let Some(argument) = given.next() {
        match &*argument {
            "--items" => items = given.next().ok_or(USAGE)?.parse()?,
            _ => addresses.push(argument),
        }
    }
    let [redis, postgres] = <[String; 2]>::try_from(addresses).map_err(|_| USAGE)?;
    Ok(Arguments { redis, postgres, items })
}
