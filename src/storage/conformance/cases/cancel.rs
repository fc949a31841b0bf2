//! Calls that are dropped before they answered.
//!
//! What a remote storage was sent it may do a little later, so a case waits until what it sees is
//! whole; it fails where it never is.

use super::calls::{CALLS, Contents};
use super::{ada, session};
use crate::storage::Options;
use crate::storage::conformance::world::{Verdict, World, dropped_after, ensure, same, wrong};

/// More awaits than a call has.
const MOST_POLLS: usize = 32;

/// How often a case looks again at what is not whole yet.
const LOOKS: usize = 40;

pub(super) async fn a_call_that_was_never_polled_has_not_happened(world: &World<'_>) -> Verdict {
    let before = Contents::fill(world).await?;
    for call in CALLS {
        drop(call.make(world.storage(), "k", call.valid("k", ada(), world)));
    }
    drop(world.storage().delete(ada()));
    drop(world.storage().delete(Options::new()));
    drop(world.storage().close());
    before.are_kept(world, "a call that was never polled").await
}

pub(super) async fn a_dropped_write_is_whole_or_nothing(world: &World<'_>) -> Verdict {
    let length = world.max_value_bytes().min(200_000);
    for polls in 0..MOST_POLLS {
        let key = polls.to_string();
        world.storage().set(&key, vec![b'a'; length].into(), ada()).await?;
        let write = world.storage().set(&key, vec![b'b'; length].into(), ada());
        let answered = dropped_after(polls, write).await;
        let Some(data) = world.data(&key, ada()).await? else {
            return Err(wrong("a dropped set has removed what was there"));
        };
        let first = data.first().copied();
        let is_whole = data.len() == length && data.iter().all(|byte| Some(*byte) == first);
        ensure!(is_whole, "a set that was dropped after {polls} polls has stored a part");
        if let Some(answer) = answered {
            answer?;
            same!(first, Some(b'b'), "what was set");
            return Ok(());
        }
    }
    Err(wrong("a set is not done after so many wakes"))
}

pub(super) async fn a_dropped_delete_is_whole_or_nothing(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let places = || {
        let sessions = ["s", "t", "u"].into_iter().map(session).chain([ada()]);
        sessions.flat_map(|options| ["k", "l"].map(|key| (key, options)))
    };
    for polls in 0..MOST_POLLS {
        for (key, options) in places() {
            storage.set(key, "v".into(), options).await?;
        }
        let answered = dropped_after(polls, storage.delete(ada())).await;
        let mut left = 0;
        for _ in 0..LOOKS {
            left = 0;
            for (key, options) in places() {
                left += usize::from(storage.get(key, options).await?.is_some());
            }
            if left == 0 || left == places().count() {
                break;
            }
            world.pass(world.grains(1)).await;
        }
        ensure!(
            left == 0 || left == places().count(),
            "of {} keys {left} are left by a delete that was dropped after {polls} polls",
            places().count()
        );
        if let Some(answer) = answered {
            answer?;
            same!(left, 0, "keys left by a delete");
            return Ok(());
        }
        // So that a delete that is still on its way has come before the next round.
        storage.delete(ada()).await?;
        world.pass(world.grains(1)).await;
    }
    Err(wrong("a delete is not done after so many wakes"))
}

pub(super) async fn a_dropped_take_is_whole_or_nothing(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for polls in 0..MOST_POLLS {
        let key = polls.to_string();
        storage.set(&key, "v".into(), ada()).await?;
        storage.set("other", "v".into(), ada()).await?;
        let answered = dropped_after(polls, storage.take(&key, ada())).await;
        let left = world.data(&key, ada()).await?;
        ensure!(left.is_none() || left == Some("v".into()), "a dropped take has changed the item");
        same!(world.data("other", ada()).await?, Some("v".into()), "the key beside it");
        if let Some(answer) = answered {
            same!(answer?.map(|item| item.data), Some("v".into()), "what a take returns");
            same!(left, None, "after a take");
            return Ok(());
        }
    }
    Err(wrong("a take is not done after so many wakes"))
}

pub(super) async fn a_dropped_read_disturbs_nobody(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let long = vec![b'l'; world.max_value_bytes().min(200_000)];
    storage.set("long", long.clone().into(), ada()).await?;
    storage.set("short", "s".into(), ada()).await?;
    for polls in 0..MOST_POLLS {
        let answered = dropped_after(polls, storage.get("long", ada())).await;
        same!(world.data("short", ada()).await?, Some("s".into()), "the answer to the next call");
        if let Some(answer) = answered {
            let data = answer?.map(|item| item.data);
            ensure!(data.as_deref() == Some(&long[..]), "a long value comes back changed");
            return Ok(());
        }
    }
    Err(wrong("a get is not done after so many wakes"))
}
