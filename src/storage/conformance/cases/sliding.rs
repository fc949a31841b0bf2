//! TTLs that hits renew.

use std::time::Duration;

use super::ada;
use crate::options::Condition;
use crate::storage::conformance::world::{Failure, Timed, Verdict, World, ensure, same, wrong};
use crate::storage::{Page, StorageItem};

/// Writes `k` with a sliding TTL.
async fn set(world: &World<'_>, ttl: Duration, most: Duration) -> Verdict<Timed<()>> {
    let options = ada().with_ttl(ttl).sliding(most);
    let Timed { earliest, latest, .. } =
        world.timed(world.storage().set("k", "v".into(), options)).await?;
    Ok(Timed { answer: (), earliest, latest })
}

/// A get at a moment at which the item is there, and when that was.
async fn hit(world: &World<'_>, deadline: Duration) -> Verdict<Timed<StorageItem>> {
    let earliest = world.now();
    let answer = world.lives("k", ada(), deadline).await?;
    Ok(Timed { answer, earliest, latest: world.now() })
}

pub(super) async fn a_hit_renews_a_sliding_ttl(world: &World<'_>) -> Verdict {
    let (ttl, most) = (world.grains(8), world.grains(20));
    let written = set(world, ttl, most).await?;
    world.pass_until(written.earliest + world.grains(5)).await;
    let first = hit(world, written.earliest + ttl).await?;
    // Past the first deadline: it is there because it was renewed. And so long after the first hit, however
    // late that came, that a storage which renews only what is worth a write does it again.
    let past = written.latest + ttl;
    world.pass_until(past.max(first.latest + world.grains(2))).await;
    let second = hit(world, first.earliest + ttl).await?;
    ensure!(second.answer.expires_at > first.answer.expires_at, "a hit shows no later end");
    same!(second.answer.created_at, first.answer.created_at, "the time of creation after a hit");
    same!(second.answer.version, first.answer.version, "the version after a hit");
    world.pass_until(second.earliest + world.grains(5)).await;
    let third = hit(world, second.earliest + ttl).await?;
    world.pass_until(third.earliest + world.grains(4)).await;
    // Hits go on, and yet it ends with its maximum lifetime.
    if world.now() < written.earliest + most {
        hit(world, (third.earliest + ttl).min(written.earliest + most)).await?;
    }
    world.is_over("k", ada(), written.latest + most).await
}

pub(super) async fn nothing_but_a_hit_renews(world: &World<'_>) -> Verdict {
    let (ttl, most) = (world.grains(4), world.grains(1_000));
    let storage = world.storage();
    let written = set(world, ttl, most).await?;
    world.pass_until(written.earliest + world.grains(2)).await;
    storage.keys(Page::new(9), ada()).await?;
    let refused = storage.write("k", "w".into(), Condition::Absent, ada()).await?;
    if refused.is_some() {
        let slow = world.now() >= written.earliest + ttl;
        let failure = wrong("an insert over an item stores");
        return Err(if slow { Failure::TooSlow } else { failure });
    }
    world.is_over("k", ada(), written.latest + ttl).await
}

pub(super) async fn a_touch_stays_sliding(world: &World<'_>) -> Verdict {
    let (ttl, most) = (world.grains(1_000), world.grains(12));
    let written = set(world, world.grains(4), most).await?;
    let touch = world.storage().touch("k", ada().with_ttl(world.grains(6)));
    let touch = world.timed(touch).await?;
    ensure!(touch.answer || touch.latest >= written.earliest + world.grains(4), "it finds no item");
    world.pass_until(touch.earliest + world.grains(4)).await;
    let renewed = hit(world, touch.earliest + world.grains(6)).await?;
    world.pass_until(touch.latest + world.grains(6)).await;
    hit(world, renewed.earliest + world.grains(6)).await?;
    // A touch beyond the maximum lifetime ends with it.
    let touched = world.storage().touch("k", ada().with_ttl(ttl)).await?;
    ensure!(touched || world.now() >= written.earliest + most, "a touch finds no item");
    world.is_over("k", ada(), written.latest + most).await
}
