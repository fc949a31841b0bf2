//! Deletions of keys and of namespaces.

use super::{ada, session};
use crate::storage::Options;
use crate::storage::Page;
use crate::storage::conformance::Capability;
use crate::storage::conformance::world::{Verdict, World, ensure, same};

/// Two users, sessions, and the global namespace.
fn all() -> [Options<'static>; 6] {
    let eve = Options::new().with_user("eve");
    let of_eve = Options::new().with_user_session("eve", "s");
    [Options::new(), ada(), session("s"), session("t"), eve, of_eve]
}

/// Two keys in each namespace.
async fn fill(world: &World<'_>) -> Verdict {
    for options in all() {
        for key in ["k", "other"] {
            world.storage().set(key, "v".into(), options).await?;
        }
    }
    Ok(())
}

/// Checks which of the namespaces have lost everything, and that the others have lost nothing.
async fn are_gone(world: &World<'_>, gone: [bool; 6]) -> Verdict {
    for ((index, options), gone) in all().into_iter().enumerate().zip(gone) {
        for key in ["k", "other"] {
            let is_there = world.storage().get(key, options).await?.is_some();
            ensure!(
                is_there || gone,
                "key {key:?} of namespace {index} went with another's delete"
            );
            ensure!(
                !is_there || !gone,
                "key {key:?} of namespace {index} is there after its delete"
            );
        }
    }
    Ok(())
}

pub(super) async fn a_key_is_deleted_alone(world: &World<'_>) -> Verdict {
    for options in all() {
        fill(world).await?;
        world.storage().delete(options.with_key("k")).await?;
        same!(world.data("k", options).await?, None, "the deleted key");
        world.storage().set("k", "again".into(), options).await?;
        are_gone(world, [false; 6]).await?;
    }
    Ok(())
}

pub(super) async fn a_session_is_deleted_whole_and_alone(world: &World<'_>) -> Verdict {
    fill(world).await?;
    world.storage().delete(session("s")).await?;
    are_gone(world, [false, false, true, false, false, false]).await
}

pub(super) async fn a_user_goes_with_all_sessions(world: &World<'_>) -> Verdict {
    fill(world).await?;
    world.storage().delete(ada()).await?;
    are_gone(world, [false, true, true, true, false, false]).await?;
    // A user that never had a key of its own goes with its sessions as well.
    world.storage().set("k", "v".into(), session("only")).await?;
    world.storage().delete(ada()).await?;
    same!(world.data("k", session("only")).await?, None, "the key of a user's only session");
    Ok(())
}

pub(super) async fn global_means_the_global_keys_alone(world: &World<'_>) -> Verdict {
    fill(world).await?;
    world.storage().delete(Options::new()).await?;
    are_gone(world, [true, false, false, false, false, false]).await
}

pub(super) async fn deleting_what_is_not_there_succeeds(world: &World<'_>) -> Verdict {
    for options in all() {
        for options in [options, options.with_key("k"), options, options.with_key("k")] {
            let removed = world.storage().delete(options).await?;
            same!(removed.entries, 0, "entries removed of nothing");
        }
    }
    Ok(())
}

pub(super) async fn what_was_deleted_starts_anew(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for options in all() {
        for round in 0..5 {
            let owner = match options {
                options if options == session("s") || options == session("t") => ada(),
                options => options,
            };
            for delete in [options, owner] {
                storage.set("old", "old".into(), options).await?;
                storage.delete(delete).await?;
                storage.set("new", "new".into(), options).await?;
                same!(world.data("old", options).await?, None, "round {round}: what was deleted");
                same!(world.data("new", options).await?, Some("new".into()), "round {round}: new");
                storage.delete(options.with_key("new")).await?;
                if world.has(Capability::ListsKeys) {
                    let names = storage.keys(Page::new(10), options).await?.names;
                    ensure!(names.is_empty(), "round {round}: {} keys are left", names.len());
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn deletions_say_how_much_went(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let written = [("a", ada()), ("b", ada()), ("a", session("s")), ("a", Options::new())];
    for (key, options) in written {
        storage.set(key, "v".into(), options).await?;
    }
    let steps = [
        (ada().with_key("a"), 1, "a key"),
        (ada().with_key("a"), 0, "the key again"),
        (ada(), 2, "a user of one key and a session of one"),
        (ada(), 0, "the user again"),
        (Options::new(), 1, "the global keys"),
        (Options::new(), 0, "the global keys again"),
    ];
    for (options, entries, of) in steps {
        same!(storage.delete(options).await?.entries, entries, "entries removed with {of}");
    }
    let names: Vec<String> = (0..10).map(|key| key.to_string()).collect();
    let items: Vec<_> = names.iter().map(|key| (key.as_str(), "v".into())).collect();
    storage.set_many(&items, session("s")).await?;
    same!(storage.delete(session("s")).await?.entries, 10, "entries removed with a session");
    Ok(())
}

pub(super) async fn many_sessions_go_at_once(world: &World<'_>) -> Verdict {
    const SESSIONS: usize = 700;
    let storage = world.storage();
    let names: Vec<String> = (0..SESSIONS).map(|index| format!("session {index}")).collect();
    for name in &names {
        storage.set("k", "v".into(), Options::new().with_user_session("ada", name)).await?;
    }
    storage.set("k", "v".into(), ada()).await?;
    let removed = storage.delete(ada()).await?;
    if world.has(Capability::CountsRemovedEntries) {
        same!(removed.entries, SESSIONS as u64 + 1, "entries removed");
    }
    for name in names.iter().chain([&names[0]]) {
        let options = Options::new().with_user_session("ada", name);
        same!(world.data("k", options).await?, None, "{name} after the delete of its user");
    }
    if world.has(Capability::ListsSessions) {
        let left = storage.sessions("ada", Page::new(10)).await?.names.len();
        same!(left, 0, "sessions listed after the delete of their user");
    }
    // And what is written afterwards stays, whatever is still being swept.
    for name in names.iter().step_by(50) {
        let options = Options::new().with_user_session("ada", name);
        storage.set("new", "new".into(), options).await?;
    }
    for name in names.iter().step_by(50) {
        let options = Options::new().with_user_session("ada", name);
        same!(world.data("k", options).await?, None, "a deleted key once its session is back");
        same!(world.data("new", options).await?, Some("new".into()), "a new key of {name}");
    }
    Ok(())
}
