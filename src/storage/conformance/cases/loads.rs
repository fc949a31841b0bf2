//! Loads.

use std::error::Error as StdError;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{ada, session};
use crate::error::ErrorKind;
use crate::storage::StorageExt;
use crate::storage::conformance::world::{Actor, Verdict, World, ensure, refusal, same, wrong};

pub(super) async fn a_hit_never_polls_the_loader(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let ttl = world.grains(1_000_000);
    let loader = async { Ok::<_, io::Error>("one") };
    let item = storage.get_or_load("k", ada().with_ttl(ttl), loader).await?;
    same!(item.data, "one", "what was loaded");
    let polled = AtomicUsize::new(0);
    let loader = async {
        // Relaxed: a count.
        polled.fetch_add(1, Ordering::Relaxed);
        Ok::<_, io::Error>("two")
    };
    let again = storage.get_or_load("k", ada(), loader).await?;
    same!((polled.into_inner(), again.data), (0, "one".into()), "loaders run, and the item");
    let stored = storage.get("k", ada()).await?.map(|item| (item.version, item.expires_at));
    same!(stored, Some((item.version, item.expires_at)), "version and end of what was stored");
    ensure!(item.expires_at.is_some(), "what was loaded has no TTL");
    Ok(())
}

pub(super) async fn a_loader_that_fails_stores_nothing(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let loader = async { Err::<&str, _>(io::Error::other("disk on fire")) };
    let error = match storage.get_or_load("k", ada(), loader).await {
        Err(error) => error,
        Ok(_) => return Err(wrong("a failed load answers")),
    };
    same!(error.kind(), ErrorKind::Loader, "kind of a loader's error");
    let source = error.source().map(ToString::to_string);
    same!(source.as_deref(), Some("disk on fire"), "source of a loader's error");
    same!(world.data("k", ada()).await?, None, "after a loader failed");
    let loader = async { Ok::<_, io::Error>("next") };
    same!(storage.get_or_load("k", ada(), loader).await?.data, "next", "the next load");
    Ok(())
}

pub(super) async fn one_loader_runs_for_each_key(world: &World<'_>) -> Verdict {
    const CALLERS: usize = 4;
    let clients = world.clients(CALLERS).await?;
    for round in 0..20 {
        let (runs, round) = (AtomicUsize::new(0), round.to_string());
        let actors = clients.iter().map(|client| {
            let (runs, round) = (&runs, &round);
            Box::pin(async move {
                let loader = async {
                    // Relaxed: a count.
                    runs.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    Ok::<_, io::Error>("v")
                };
                let item = client.get_or_load(round, ada(), loader).await?;
                same!(item.data, "v", "what a load returns");
                Ok(())
            }) as Actor<'_>
        });
        world.together(actors.collect())?;
        same!(runs.into_inner(), 1, "loaders that ran");
    }
    Ok(())
}

pub(super) async fn an_answer_that_was_overtaken_is_not_stored(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for delete in [session("s").with_key("k"), session("s"), ada()] {
        let loader = async {
            storage.delete(delete).await?;
            Ok::<_, crate::error::Error>("old")
        };
        let item = storage.get_or_load("k", session("s"), loader).await?;
        same!(item.data, "old", "what its loader answered");
        same!(world.data("k", session("s")).await?, None, "an answer that a delete overtook");
    }
    let loader = async {
        storage.set("k", "newer".into(), session("s")).await?;
        Ok::<_, crate::error::Error>("old")
    };
    storage.get_or_load("k", session("s"), loader).await?;
    let data = world.data("k", session("s")).await?;
    same!(data, Some("newer".into()), "a set that overtook a load");
    Ok(())
}

pub(super) async fn a_load_ends_with_its_timeout(world: &World<'_>) -> Verdict {
    let options = ada().with_timeout(Duration::from_millis(300));
    // Wakes its task all the time, as no runtime's timer need be there.
    let loader = async {
        let mut never = Box::pin(pending::<io::Result<&str>>());
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            never.as_mut().poll(context)
        })
        .await
    };
    let refused = refusal(world.storage().get_or_load("k", options, loader).await, "a load")?;
    same!(refused.0, ErrorKind::Timeout, "a loader that never ends");
    same!(world.data("k", ada()).await?, None, "after a load timed out");
    world.storage().set("k", "v".into(), ada()).await?;
    Ok(())
}
