//! What a get returns.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{ada, session};
use crate::options::Condition;
use crate::storage::Options;
use crate::storage::conformance::world::{Verdict, World, ensure, same, wrong};

pub(super) async fn a_miss_is_no_error(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in [Options::new(), ada(), session("s")] {
        ensure!(storage.get("k", options).await?.is_none(), "a get of nothing finds something");
        ensure!(storage.take("k", options).await?.is_none(), "a take of nothing finds something");
        let touch = storage.touch("k", options.with_ttl(world.grains(1))).await?;
        ensure!(!touch, "a touch of nothing finds something");
        let write = storage.write("k", "v".into(), Condition::Present, options).await?;
        same!(write, None, "a replace of nothing");
        same!(storage.get_many(&["k"], options).await?.len(), 1, "answers of get_many");
        let removed = storage.delete(options.with_key("k")).await?;
        same!(removed.entries, 0, "entries removed of nothing");
    }
    Ok(())
}

pub(super) async fn a_get_returns_what_was_set(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in [Options::new(), ada(), session("s")] {
        let version = storage.set("k", "value".into(), options).await?;
        let Some(item) = storage.get("k", options).await? else {
            return Err(wrong("what was set is not there"));
        };
        same!(item.data, "value", "data");
        same!(item.version, version, "the version that the set answered");
        same!(item.expires_at, None, "the end of an item without a TTL");
        ensure!(!item.is_expired(), "an item without a TTL is expired");
        same!(storage.get("k", options).await?, Some(item), "a second get");
        ensure!(storage.get("K", options).await?.is_none(), "a key that was not set is there");
    }
    Ok(())
}

pub(super) async fn an_overwrite_starts_anew(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let first = storage.set("k", "first".into(), ada()).await?;
    let before = storage.get("k", ada()).await?;
    world.pass(world.grains(2)).await;
    let second = storage.set("k", "second, longer".into(), ada()).await?;
    ensure!(first != second, "an overwrite answers the version that it replaced");
    let after = storage.get("k", ada()).await?;
    let (Some(before), Some(after)) = (before, after) else {
        return Err(wrong("what was set is not there"));
    };
    same!((&*after.data, after.version), (&b"second, longer"[..], second), "the overwritten item");
    let later = after.created_at.duration_since(before.created_at).unwrap_or_default();
    ensure!(later >= world.grains(1), "the time of creation is not that of the overwrite");
    storage.set("k", Bytes::new(), ada()).await?;
    same!(world.data("k", ada()).await?, Some(Bytes::new()), "a shorter value");
    Ok(())
}

pub(super) async fn bytes_of_any_kind_are_kept(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let every: Vec<u8> = (0..=255).collect();
    let large = world.max_value_bytes().min(1 << 20);
    let values = [vec![], vec![0], every, b"\r\n$-1\r\n".to_vec(), vec![0xff; 3], vec![7; large]];
    for (index, value) in values.iter().enumerate() {
        storage.set(&index.to_string(), value.clone().into(), session("s")).await?;
    }
    for (index, value) in values.iter().enumerate() {
        let data = world.data(&index.to_string(), session("s")).await?;
        ensure!(data.as_deref() == Some(&value[..]), "value {index} comes back changed");
    }
    Ok(())
}

pub(super) async fn every_client_sees_the_same(world: &World<'_>) -> Verdict {
    let (one, other) = (world.storage(), world.client().await?);
    let version = one.set("k", "1".into(), session("s")).await?;
    let item = other.get("k", session("s")).await?;
    same!(item.map(|item| item.version), Some(version), "the version that another client sees");
    other.set("k", "2".into(), session("s")).await?;
    same!(world.data("k", session("s")).await?, Some("2".into()), "what another client set");
    other.delete(ada()).await?;
    same!(world.data("k", session("s")).await?, None, "what another client deleted");
    one.set("k", "3".into(), session("s")).await?;
    let seen = other.get("k", session("s")).await?.map(|item| item.data);
    same!(seen, Some("3".into()), "what was set after another client's delete");
    Ok(())
}

/// Whether a time of the storage is one of this day: its clock may differ from ours.
pub(super) fn is_of_this_day(time: SystemTime) -> bool {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    time + DAY > now && now + DAY > time
}
