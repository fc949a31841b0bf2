//! Deadlines.

use std::time::Duration;

use super::values::is_of_this_day;
use super::{ada, session};
use crate::options::Condition;
use crate::storage::conformance::world::{Failure, Timed, Verdict, World, ensure, same, wrong};
use crate::storage::{Options, Page, StorageExt};

pub(super) async fn an_item_ends_at_its_deadline(world: &World<'_>) -> Verdict {
    let ttl = world.grains(4);
    for options in [Options::new(), ada(), session("s")] {
        let set = world.timed(world.storage().set("k", "v".into(), options.with_ttl(ttl))).await?;
        world.lives("k", options, set.earliest + ttl).await?;
        world.pass_until(set.earliest + world.grains(3)).await;
        world.lives("k", options, set.earliest + ttl).await?;
        world.is_over("k", options, set.latest + ttl).await?;
    }
    Ok(())
}

pub(super) async fn times_are_told(world: &World<'_>) -> Verdict {
    const TTL: Duration = Duration::from_secs(3600);
    let storage = world.storage();
    storage.set("k", "v".into(), ada().with_ttl(TTL)).await?;
    let Some(item) = storage.get("k", ada()).await? else {
        return Err(wrong("what was set is not there"));
    };
    let lifetime = item.expires_at.and_then(|end| end.duration_since(item.created_at).ok());
    same!(lifetime, Some(TTL), "the time between creation and end");
    ensure!(is_of_this_day(item.created_at), "the time of creation is far from now");
    storage.set("k", "v".into(), ada()).await?;
    let end = storage.get("k", ada()).await?.and_then(|item| item.expires_at);
    same!(end, None, "the end of an item without a TTL");
    Ok(())
}

pub(super) async fn a_set_drops_an_earlier_ttl(world: &World<'_>) -> Verdict {
    let (short, long) = (world.grains(4), world.grains(8));
    let storage = world.storage();
    let first = world.timed(storage.set("k", "1".into(), ada().with_ttl(short))).await?;
    storage.set("dropped", "1".into(), ada().with_ttl(short)).await?;
    let longer = world.timed(storage.set("k", "2".into(), ada().with_ttl(long))).await?;
    storage.set("dropped", "2".into(), ada()).await?;
    storage.set("shortened", "1".into(), ada()).await?;
    let shorter = world.timed(storage.set("shortened", "2".into(), ada().with_ttl(short))).await?;
    world.pass_until(first.latest.max(shorter.latest) + short).await;
    world.lives("k", ada(), longer.earliest + long).await?;
    world.is_over("shortened", ada(), shorter.latest + short).await?;
    world.is_over("k", ada(), longer.latest + long).await?;
    let data = world.data("dropped", ada()).await?;
    same!(data, Some("2".into()), "an item whose TTL was dropped");
    Ok(())
}

pub(super) async fn keep_ttl_keeps_the_deadline(world: &World<'_>) -> Verdict {
    let ttl = world.grains(4);
    let storage = world.storage();
    let set = world.timed(storage.set("k", "1".into(), ada().with_ttl(ttl))).await?;
    let end = world.lives("k", ada(), set.earliest + ttl).await?.expires_at;
    world.pass_until(set.earliest + world.grains(2)).await;
    let kept = storage.write("k", "2".into(), Condition::Present, ada().keep_ttl()).await?;
    if kept.is_none() && world.now() >= set.earliest + ttl {
        return Err(Failure::TooSlow);
    }
    let item = world.lives("k", ada(), set.earliest + ttl).await?;
    same!(
        (item.expires_at, &item.data[..]),
        (end, &b"2"[..]),
        "end and data of what keeps its TTL"
    );
    world.is_over("k", ada(), set.latest + ttl).await?;

    storage.set("none", "1".into(), ada()).await?;
    for key in ["none", "new", "k"] {
        storage.set(key, "2".into(), ada().keep_ttl()).await?;
        let end = storage.get(key, ada()).await?.map(|item| item.expires_at);
        same!(end, Some(None), "the end of {key}, written with keep_ttl where there was no TTL");
    }
    Ok(())
}

pub(super) async fn an_expired_item_is_absent_to_every_call(world: &World<'_>) -> Verdict {
    let ttl = world.grains(1);
    let storage = world.storage();
    let keys = ["insert", "replace", "take", "touch", "delete", "version", "many", "load"];
    let Timed { answer: versions, latest, .. } = world
        .timed(async {
            let items: Vec<_> = keys.iter().map(|key| (*key, "old".into())).collect();
            storage.set_many(&items, ada().with_ttl(ttl)).await
        })
        .await?;
    // What keeps the namespace itself alive.
    storage.set("stays", "v".into(), ada()).await?;
    world.pass_until(latest + ttl).await;
    let stale = storage.compare_and_set("version", versions[5], "new", ada()).await?;
    same!(stale, None, "a compare_and_set over an expired item");
    same!(storage.replace("replace", "new", ada()).await?, None, "a replace of an expired item");
    same!(storage.take("take", ada()).await?, None, "a take of an expired item");
    let touch = storage.touch("touch", ada().with_ttl(world.grains(9))).await?;
    ensure!(!touch, "a touch finds an expired item");
    same!(world.data("touch", ada()).await?, None, "an expired item after a touch");
    let inserted = storage.insert("insert", "new", ada()).await?;
    ensure!(inserted.is_some(), "an insert finds an expired item");
    same!(world.data("insert", ada()).await?, Some("new".into()), "what was inserted");
    ensure!(storage.get_many(&["many"], ada()).await?[0].is_none(), "get_many returns it");
    let loader = async { Ok::<_, std::io::Error>("new") };
    same!(storage.get_or_load("load", ada(), loader).await?.data, "new", "what was loaded");
    storage.delete(ada().with_key("delete")).await?;
    Ok(())
}

pub(super) async fn an_expired_item_is_not_listed(world: &World<'_>) -> Verdict {
    let ttl = world.grains(1);
    let storage = world.storage();
    let set = world
        .timed(async {
            for options in [ada(), session("ends"), session("stays")] {
                storage.set("ends", "v".into(), options.with_ttl(ttl)).await?;
            }
            // An item that would have kept its session is deleted again.
            storage.set("longer", "v".into(), session("ends")).await?;
            storage.delete(session("ends").with_key("longer")).await
        })
        .await?;
    storage.set("stays", "v".into(), ada()).await?;
    storage.set("stays", "v".into(), session("stays")).await?;
    world.pass_until(set.latest + ttl).await;
    for options in [ada(), session("stays")] {
        same!(storage.keys(Page::new(9), options).await?.names, ["stays"], "keys listed");
    }
    let keys = storage.keys(Page::new(9), session("ends")).await?.names;
    ensure!(keys.is_empty(), "expired keys are listed");
    same!(storage.sessions("ada", Page::new(9)).await?.names, ["stays"], "sessions listed");
    Ok(())
}

pub(super) async fn a_touch_moves_the_deadline_alone(world: &World<'_>) -> Verdict {
    let (short, long) = (world.grains(4), world.grains(8));
    let storage = world.storage();
    let set = world.timed(storage.set("longer", "v".into(), ada().with_ttl(short))).await?;
    storage.set("shorter", "v".into(), ada().with_ttl(world.grains(1_000_000))).await?;
    let before = world.lives("longer", ada(), set.earliest + short).await?;
    let longer = world.timed(storage.touch("longer", ada().with_ttl(long))).await?;
    let shorter = world.timed(storage.touch("shorter", ada().with_ttl(short))).await?;
    if !longer.answer && longer.latest >= set.earliest + short {
        return Err(Failure::TooSlow);
    }
    ensure!(longer.answer && shorter.answer, "a touch finds no item");
    let after = world.lives("longer", ada(), longer.earliest + long).await?;
    same!((after.version, &after.data), (before.version, &before.data), "what a touch keeps");
    same!(after.created_at, before.created_at, "the time of creation after a touch");
    ensure!(after.expires_at > before.expires_at, "a touch moves no deadline");
    world.is_over("shorter", ada(), shorter.latest + short).await?;
    world.lives("longer", ada(), longer.earliest + long).await?;
    world.is_over("longer", ada(), longer.latest + long).await
}

pub(super) async fn a_touch_gives_a_ttl_to_what_had_none(world: &World<'_>) -> Verdict {
    let ttl = world.grains(2);
    let storage = world.storage();
    for options in [Options::new(), session("s")] {
        storage.set("k", "v".into(), options).await?;
        let touch = world.timed(storage.touch("k", options.with_ttl(ttl))).await?;
        ensure!(touch.answer, "a touch finds no item");
        world.lives("k", options, touch.earliest + ttl).await?;
        world.is_over("k", options, touch.latest + ttl).await?;
    }
    Ok(())
}

pub(super) async fn ttls_of_any_length_are_taken(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let nanosecond = Duration::from_nanos(1);
    let set = storage.set("short", "v".into(), ada().with_ttl(nanosecond));
    let set = world.timed(set).await?;
    world.is_over("short", ada(), set.latest + nanosecond.max(world.grains(1))).await?;
    for (index, ttl) in
        [Duration::MAX, Duration::from_secs(200 * 365 * 24 * 3600)].iter().enumerate()
    {
        let key = index.to_string();
        storage.set(&key, "v".into(), ada().with_ttl(*ttl)).await?;
        ensure!(storage.get(&key, ada()).await?.is_some(), "an item of a TTL of {ttl:?} is gone");
        storage.set(&key, "v".into(), ada().with_ttl(*ttl).sliding(*ttl)).await?;
        ensure!(storage.touch(&key, ada().with_ttl(*ttl)).await?, "a touch finds no item");
        ensure!(storage.get(&key, ada()).await?.is_some(), "an item touched for {ttl:?} is gone");
    }
    Ok(())
}

pub(super) async fn items_of_one_session_end_apart(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let (soon, late) = (world.grains(4), world.grains(8));
    let early = world.timed(storage.set("soon", "v".into(), session("s").with_ttl(soon))).await?;
    let later = world.timed(storage.set("late", "v".into(), session("s").with_ttl(late))).await?;
    let last =
        world.timed(storage.set("soon too", "v".into(), session("s").with_ttl(soon))).await?;
    storage.set("stays", "v".into(), session("t")).await?;
    world.is_over("soon", session("s"), early.latest + soon).await?;
    world.is_over("soon too", session("s"), last.latest + soon).await?;
    world.lives("late", session("s"), later.earliest + late).await?;
    world.is_over("late", session("s"), later.latest + late).await?;
    same!(world.data("stays", session("t")).await?, Some("v".into()), "the session beside it");
    Ok(())
}
