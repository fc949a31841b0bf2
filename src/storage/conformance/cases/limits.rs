//! What is refused, with which words, and that nothing is touched then.

use std::time::Duration;

use bytes::Bytes;

use super::ada;
use super::calls::{CALLS, Call, Contents, WRITES};
use crate::error::{ErrorKind, Part};
use crate::namespace::{MAX_ID_BYTES, MAX_KEY_BYTES};
use crate::options::Condition;
use crate::storage::conformance::world::{Verdict, World, ensure, refusal, same};
use crate::storage::{Options, Page};

/// A day: longer than any run.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The options that must be refused, for which calls, and a part of the words.
fn contradictions() -> Vec<(Vec<Call>, Options<'static>, &'static str)> {
    let user = ada();
    let session = Options::new().with_user_session("ada", "s");
    let all = || CALLS.to_vec();
    let writes = || WRITES.to_vec();
    let all_but =
        |calls: &[Call]| CALLS.into_iter().filter(|call| !calls.contains(call)).collect::<Vec<_>>();
    let no_value = || all_but(&[&WRITES[..], &[Call::Touch]].concat());
    vec![
        (all_but(&[Call::Delete]), user.with_key("k"), "with_key is for delete alone"),
        (vec![Call::Delete], user.with_key("k").with_key("other"), "two keys are given"),
        (vec![Call::Get, Call::GetMany], user.with_ttl(DAY), "a TTL does not go with get"),
        (vec![Call::Take], user.with_ttl(DAY), "a TTL does not go with take"),
        (vec![Call::Delete, Call::DeleteMany], user.with_ttl(DAY), "does not go with delete"),
        (vec![Call::Delete], user.with_key("k").with_ttl(DAY), "does not go with delete"),
        (vec![Call::Keys], user.with_ttl(DAY), "a TTL does not go with a listing"),
        (no_value(), user.keep_ttl(), "keep_ttl is for calls that write"),
        (no_value(), user.sliding(DAY), "sliding is for calls that write"),
        (all(), user.with_user_session("b", "c"), "two namespaces are given"),
        (all(), session.with_user("ada"), "two namespaces are given"),
        (writes(), user.keep_ttl().with_ttl(DAY), "keep_ttl and with_ttl exclude"),
        (writes(), user.keep_ttl().sliding(DAY), "keep_ttl and sliding exclude"),
        (writes(), user.sliding(DAY), "sliding needs a TTL"),
        (writes(), user.with_ttl(Duration::ZERO), "ttl must be longer than zero"),
        (writes(), user.with_ttl(DAY).sliding(Duration::ZERO), "must be longer than zero"),
        (vec![Call::Touch], user, "touch needs a TTL"),
        (vec![Call::Touch], user.with_ttl(Duration::ZERO), "ttl must be longer than zero"),
        (vec![Call::Touch], user.with_ttl(DAY).keep_ttl(), "keep_ttl does not go with touch"),
        (vec![Call::Touch], user.with_ttl(DAY).sliding(DAY), "sliding does not go with"),
        (all_but(&[Call::Touch]), user.with_timeout(Duration::ZERO), "timeout must be longer"),
    ]
}

pub(super) async fn options_that_do_not_go_together_are_refused(world: &World<'_>) -> Verdict {
    let before = Contents::fill(world).await?;
    for (calls, options, part) in contradictions() {
        for call in calls {
            let by = format!("{call:?} with {options:?}");
            let (kind, words) = refusal(call.make(world.storage(), "k", options).await, &by)?;
            same!(kind, ErrorKind::InvalidOptions, "{by}");
            ensure!(words.contains(part), "{by}: the words {words:?} do not say {part:?}");
        }
        before.are_kept(world, &format!("a refused call with {options:?}")).await?;
    }
    for limit in [
        world.storage().keys(Page::new(0), ada()).await,
        world.storage().sessions("ada", Page::new(0)).await,
    ] {
        same!(refusal(limit, "a page of no names")?.0, ErrorKind::InvalidOptions, "a page of none");
    }
    Ok(())
}

pub(super) async fn options_that_go_together_are_taken(world: &World<'_>) -> Verdict {
    let can = world.capabilities();
    for call in CALLS {
        Contents::fill(world).await?;
        let options = call.valid("k", ada(), world);
        call.make(world.storage(), "k", options.with_timeout(DAY)).await?;
        if WRITES.contains(&call) {
            call.make(world.storage(), "k", options.with_ttl(DAY)).await?;
            if can.sliding_ttl {
                call.make(world.storage(), "k", options.with_ttl(DAY).sliding(DAY)).await?;
            }
            if can.keep_ttl {
                call.make(world.storage(), "k", options.keep_ttl()).await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn lengths_are_checked_at_both_ends(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let name = |length| "x".repeat(length);
    let (most, over) = (name(MAX_ID_BYTES), name(MAX_ID_BYTES + 1));
    let (key, long_key) = (name(MAX_KEY_BYTES), name(MAX_KEY_BYTES + 1));
    // Bytes count, not characters.
    let wide = "\u{1F980}".repeat(MAX_ID_BYTES / 4);
    let too_wide = format!("{wide}x");
    let before = Contents::fill(world).await?;
    let session = |user, session| Options::new().with_user_session(user, session);
    let refused = [
        (Options::new().with_user(""), "k", Part::User, MAX_ID_BYTES),
        (Options::new().with_user(&over), "k", Part::User, MAX_ID_BYTES),
        (Options::new().with_user(&too_wide), "k", Part::User, MAX_ID_BYTES),
        (session("", "s"), "k", Part::User, MAX_ID_BYTES),
        (session("ada", ""), "k", Part::Session, MAX_ID_BYTES),
        (session("ada", &over), "k", Part::Session, MAX_ID_BYTES),
        (ada(), "", Part::Key, MAX_KEY_BYTES),
        (ada(), &long_key, Part::Key, MAX_KEY_BYTES),
    ];
    for (options, key, part, limit) in refused {
        for call in CALLS {
            if call == Call::Keys && part == Part::Key {
                continue; // a listing has no key
            }
            let options = call.valid(key, options, world);
            let by = format!("{call:?} of a {part} beyond its limits");
            let (kind, words) = refusal(call.make(storage, key, options).await, &by)?;
            same!(kind, ErrorKind::InvalidKey { part, limit }, "{by}");
            ensure!(words.contains(&limit.to_string()), "{by}: {words:?} do not name the limit");
        }
        before.are_kept(world, "a call of an id or key beyond its limits").await?;
    }
    for user in ["", &over] {
        let (kind, _) = refusal(storage.sessions(user, Page::new(1)).await, "sessions")?;
        same!(kind, ErrorKind::InvalidKey { part: Part::User, limit: MAX_ID_BYTES }, "sessions");
    }
    for (options, key) in [(session(&most, &most), &*key), (session(&wide, "s"), "k")] {
        for call in CALLS {
            call.make(storage, key, call.valid(key, options, world)).await?;
        }
    }
    storage.set("x", "1".into(), Options::new().with_user("u")).await?;
    Ok(())
}

pub(super) async fn a_value_over_the_limit_is_refused(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let limit = world.max_value_bytes();
    let [most, over] = [limit, limit + 1].map(|length| Bytes::from(vec![7; length]));
    let before = Contents::fill(world).await?;
    let expected = ErrorKind::ValueTooLarge { limit };
    let kinds = [
        refusal(storage.set("k", over.clone(), ada()).await, "set")?,
        refusal(storage.write("new", over.clone(), Condition::Absent, ada()).await, "write")?,
        refusal(storage.set_many(&[("new", over.clone())], ada()).await, "set_many")?,
        refusal(storage.load("new", ada(), Box::pin(async { Ok(over.clone()) })).await, "load")?,
    ];
    for (kind, words) in kinds {
        same!(kind, expected, "a value of one byte too many");
        ensure!(words.contains(&limit.to_string()), "{words:?} do not name the limit");
    }
    before.are_kept(world, "a value over the limit").await?;
    storage.set("k", most.clone(), ada()).await?;
    ensure!(world.data("k", ada()).await? == Some(most), "a value at the limit comes back changed");
    Ok(())
}

pub(super) async fn errors_show_no_content(world: &World<'_>) -> Verdict {
    let secret = "secret".repeat(100);
    let options = [
        Options::new().with_user(&secret),
        Options::new().with_user_session("secret", &secret),
        Options::new().with_user("secret").with_user("secret"),
    ];
    let longest = Bytes::from("secret".repeat(world.max_value_bytes() / 6 + 1));
    let mut errors = Vec::new();
    for options in options {
        errors.extend(world.storage().get("secret", options).await.err());
        errors.extend(world.storage().delete(options.with_key("secret")).await.err());
    }
    errors.extend(world.storage().get(&secret, ada()).await.err());
    errors.extend(world.storage().set("secret", longest, ada()).await.err());
    same!(errors.len(), 8, "refused calls");
    for error in errors {
        let shown = format!("{error} {error:?}");
        ensure!(!shown.contains("secret"), "an error shows what was given: {}", error.kind());
    }
    Ok(())
}
