//! Calls for many keys.

use bytes::Bytes;

use super::{ada, session};
use crate::storage::Options;
use crate::storage::conformance::Capability;
use crate::storage::conformance::world::{Verdict, World, ensure, same};

pub(super) async fn many_at_once(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let ttl = world.grains(1_000_000);
    for options in [Options::new(), ada(), session("s")] {
        let items = [("a", Bytes::from("1")), ("b", Bytes::from("2")), ("a", Bytes::from("3"))];
        let versions = storage.set_many(&items, options.with_ttl(ttl)).await?;
        same!(versions.len(), 3, "versions of set_many");
        let got = storage.get_many(&["b", "c", "a", "b"], options).await?;
        let data: Vec<_> =
            got.iter().map(|item| item.as_ref().map(|item| &item.data[..])).collect();
        same!(data, [Some(&b"2"[..]), None, Some(&b"3"[..]), Some(&b"2"[..])], "get_many");
        for (item, version) in [(&got[0], versions[1]), (&got[2], versions[2])] {
            let seen = item.as_ref().map(|item| (item.version, item.expires_at.is_some()));
            same!(seen, Some((version, true)), "version and end after set_many");
        }
        same!(storage.get("a", options).await?, got[2], "a get of what get_many returned");
        let removed = storage.delete_many(&["a", "c", "b", "a"], options).await?;
        if world.has(Capability::CountsRemovedEntries) {
            same!(removed.entries, 2, "entries that delete_many removed");
        }
        let left = storage.get_many(&["a", "b", "c"], options).await?;
        ensure!(left.iter().all(Option::is_none), "delete_many leaves keys");
    }
    Ok(())
}

pub(super) async fn no_key_is_not_the_namespace(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in [Options::new(), ada(), session("s")] {
        storage.set("k", "v".into(), options).await?;
        same!(storage.delete_many(&[], options).await?.entries, 0, "entries removed with no key");
        same!(storage.get_many(&[], options).await?.len(), 0, "items of no key");
        same!(storage.set_many(&[], options).await?.len(), 0, "versions of no item");
        same!(world.data("k", options).await?, Some("v".into()), "after bulk calls of no key");
    }
    Ok(())
}

pub(super) async fn hundreds_at_once(world: &World<'_>) -> Verdict {
    const KEYS: usize = 600;
    let storage = world.storage();
    let names: Vec<String> = (0..KEYS).map(|index| format!("key {index}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let items: Vec<_> = keys.iter().map(|key| (*key, Bytes::from(format!("of {key}")))).collect();
    let versions = storage.set_many(&items, session("s")).await?;
    let got = storage.get_many(&keys, session("s")).await?;
    same!((versions.len(), got.len()), (KEYS, KEYS), "answers");
    for ((key, item), version) in keys.iter().zip(&got).zip(&versions) {
        let seen = item.as_ref().map(|item| (item.data.clone(), item.version));
        same!(seen, Some((format!("of {key}").into(), *version)), "{key}");
    }
    storage.delete_many(&keys[1..], session("s")).await?;
    let left = storage.get_many(&keys, session("s")).await?;
    same!(left.iter().flatten().count(), 1, "keys left by delete_many");
    Ok(())
}
