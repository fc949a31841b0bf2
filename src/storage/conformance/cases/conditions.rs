//! Conditional writes and versions.

use std::collections::HashSet;

use super::{ada, session};
use crate::item::Version;
use crate::options::Condition;
use crate::storage::conformance::world::{Verdict, World, ensure, same};
use crate::storage::{Options, StorageExt};

pub(super) async fn conditions_are_kept(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in [Options::new(), ada(), session("s")] {
        same!(storage.replace("k", "1", options).await?, None, "a replace of nothing");
        same!(world.data("k", options).await?, None, "after a replace of nothing");
        let inserted = storage.insert("k", "2", options).await?;
        ensure!(inserted.is_some(), "an insert of an absent key stores nothing");
        same!(storage.insert("k", "3", options).await?, None, "an insert over an item");
        same!(world.data("k", options).await?, Some("2".into()), "after a refused insert");
        let replaced = storage.replace("k", "4", options).await?;
        ensure!(replaced.is_some() && replaced != inserted, "a replace answers no new version");
        let always = storage.write("k", "5".into(), Condition::Always, options).await?;
        let item = storage.get("k", options).await?;
        let seen = item.map(|item| (item.data, Some(item.version)));
        same!(seen, Some(("5".into(), always)), "after an unconditional write");
    }
    Ok(())
}

pub(super) async fn a_version_fits_its_own_item_alone(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let other = storage.set("other", "v".into(), ada()).await?;
    let elsewhere = storage.set("k", "v".into(), session("s")).await?;
    let deleted = storage.set("k", "v".into(), ada()).await?;
    storage.delete(ada().with_key("k")).await?;
    let overwritten = storage.set("k", "v".into(), ada()).await?;
    let present = storage.set("k", "v".into(), ada()).await?;
    let nought = Version::from_u64(0);
    for stale in [other, elsewhere, deleted, overwritten, nought] {
        same!(storage.compare_and_set("k", stale, "new", ada()).await?, None, "a stale version");
        same!(world.data("k", ada()).await?, Some("v".into()), "after a write that does not fit");
    }
    let written = storage.compare_and_set("k", present, "new", ada()).await?;
    ensure!(written.is_some_and(|new| new != present), "the present version does not fit");
    same!(storage.compare_and_set("k", present, "x", ada()).await?, None, "the version of before");
    // Nor may it bring back what was deleted, nor fit what was created anew.
    let written = written.unwrap_or(present);
    for delete in [ada().with_key("k"), ada()] {
        storage.delete(delete).await?;
        same!(storage.compare_and_set("k", written, "x", ada()).await?, None, "after a delete");
        storage.set("k", "v".into(), ada()).await?;
        let stale = storage.compare_and_set("k", written, "x", ada()).await?;
        same!(stale, None, "the version of before a delete, over what came after it");
    }
    Ok(())
}

pub(super) async fn versions_never_come_back(world: &World<'_>) -> Verdict {
    let mut used = HashSet::new();
    let mut clients = world.clients(2).await?;
    for round in 0..20 {
        // A client that has just come must not begin where another began.
        clients.push(world.client().await?);
        for client in &clients {
            for options in [ada(), session("s")] {
                let version = client.set("k", "v".into(), options).await?;
                ensure!(used.insert(version), "round {round}: a version was answered twice");
            }
        }
        let delete = [ada().with_key("k"), session("s"), ada()][round % 3];
        world.storage().delete(delete).await?;
        clients.truncate(4);
    }
    Ok(())
}

pub(super) async fn a_taken_item_is_gone(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in [Options::new(), ada(), session("s")] {
        storage.set("k", "v".into(), options).await?;
        storage.set("other", "v".into(), options).await?;
        let item = storage.get("k", options).await?;
        same!(storage.take("k", options).await?, item, "what a take returns");
        same!(storage.take("k", options).await?, None, "a second take");
        same!(world.data("k", options).await?, None, "after a take");
        same!(world.data("other", options).await?, Some("v".into()), "the key beside it");
    }
    Ok(())
}

pub(super) async fn an_update_keeps_the_rest(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    same!(storage.update("k", ada(), |_| "x").await?, None, "an update of nothing");
    same!(world.data("k", ada()).await?, None, "after an update of nothing");
    storage.set("k", "a".into(), ada().with_ttl(world.grains(1_000_000))).await?;
    let before = storage.get("k", ada()).await?;
    let version = storage.update("k", ada(), |old| [old, b"b"].concat()).await?;
    let after = storage.get("k", ada()).await?;
    let seen = after.as_ref().map(|item| (&item.data[..], Some(item.version), item.expires_at));
    let end = before.and_then(|item| item.expires_at);
    same!(seen, Some((&b"ab"[..], version, end)), "the updated item, its version and its end");
    Ok(())
}
