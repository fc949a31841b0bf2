//! The end of a client.

use super::ada;
use super::calls::CALLS;
use crate::error::ErrorKind;
use crate::storage::Page;
use crate::storage::conformance::world::{Verdict, World, refusal, same};

pub(super) async fn a_closed_client_refuses_every_call(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    storage.set("k", "v".into(), ada()).await?;
    storage.close().await?;
    storage.close().await?;
    for call in CALLS {
        let made = call.make(storage, "k", call.valid("k", ada(), world)).await;
        let (kind, _) = refusal(made, &format!("{call:?} after close"))?;
        same!(kind, ErrorKind::Closed, "{call:?} after close");
    }
    let sessions = refusal(storage.sessions("ada", Page::new(1)).await, "sessions after close")?;
    same!(sessions.0, ErrorKind::Closed, "sessions after close");
    Ok(())
}

pub(super) async fn closing_one_client_leaves_the_others(world: &World<'_>) -> Verdict {
    let (one, other) = (world.client().await?, world.client().await?);
    one.set("k", "v".into(), ada()).await?;
    one.close().await?;
    let data = other.get("k", ada()).await?.map(|item| item.data);
    same!(data, Some("v".into()), "what a closed client stored");
    other.set("k", "w".into(), ada()).await?;
    same!(world.data("k", ada()).await?, Some("w".into()), "what another client stored then");
    Ok(())
}
