//! Whose key it is: ids are compared byte for byte.

use bytes::Bytes;

use super::{ada, session};
use crate::namespace::{MAX_ID_BYTES, MAX_KEY_BYTES};
use crate::storage::Options;
use crate::storage::conformance::world::{Verdict, World, ensure, same};

/// Ids that a storage might confuse: joined by separators, by case, by trailing spaces, by
/// collations, by patterns, by escapes, or with the names that it keeps for itself.
const IDS: [&str; 28] = [
    "a",
    "A",
    "a ",
    " a",
    "á",
    "a\u{301}",
    "ß",
    "ss",
    "a:b",
    "b",
    "a\0b",
    "\0",
    ":",
    "*",
    "?",
    "[a]",
    "%",
    "_",
    "%3A",
    "{a}",
    "}",
    "{}",
    "/",
    "\n",
    "\\",
    "'",
    "\u{1F980}",
    "s:a",
];

/// Every namespace over these ids, the global one first.
fn namespaces<'a>(ids: &'a [&'a str]) -> impl Iterator<Item = Options<'a>> {
    let users = ids.iter().map(|user| Options::new().with_user(user));
    let sessions = ids.iter().flat_map(move |user| {
        ids.iter().map(move |session| Options::new().with_user_session(user, session))
    });
    std::iter::once(Options::new()).chain(users).chain(sessions)
}

pub(super) async fn ids_of_any_characters_never_collide(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    // What joins of user, session and key by a separator would confuse, and all ids as keys.
    let joined = [("user:a", "session:b"), ("user", "a:session:b"), ("user:a:session", "b")];
    for (user, session) in joined {
        let options = Options::new().with_user_session(user, session);
        storage.set("k", format!("{user}|{session}").into(), options).await?;
    }
    let name = |namespace: usize, key: &str| Bytes::from(format!("{namespace} {key}"));
    for (namespace, options) in namespaces(&IDS).enumerate() {
        let keys = if namespace < 4 { &IDS[..] } else { &IDS[..2] };
        let items: Vec<_> = keys.iter().map(|key| (*key, name(namespace, key))).collect();
        storage.set_many(&items, options).await?;
    }
    // A pattern is a name like any other and takes nothing else along.
    let (star, session_star) =
        (Options::new().with_user("a").with_key("*"), Options::new().with_user_session("a", "*"));
    storage.set("*", "star".into(), Options::new().with_user("a")).await?;
    storage.delete(star).await?;
    storage.delete(session_star).await?;
    storage.delete(Options::new().with_user("*")).await?;
    for (namespace, options) in namespaces(&IDS).enumerate() {
        let of_star = IDS.iter().any(|id| options == Options::new().with_user_session("*", id));
        let gone = options == session_star || options == Options::new().with_user("*") || of_star;
        let keys = if namespace < 4 { &IDS[..] } else { &IDS[..2] };
        let items = storage.get_many(keys, options).await?;
        for (key, item) in keys.iter().zip(items) {
            let gone = gone || (options == Options::new().with_user("a") && *key == "*");
            let expected = (!gone).then(|| name(namespace, key));
            same!(item.map(|item| item.data), expected, "namespace {namespace}, key {key:?}");
        }
    }
    for (user, session) in joined {
        let options = Options::new().with_user_session(user, session);
        let data = world.data("k", options).await?;
        same!(data, Some(format!("{user}|{session}").into()), "user {user:?}, session {session:?}");
    }
    Ok(())
}

pub(super) async fn namespaces_are_disjoint(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let all = [Options::new(), ada(), session("ada"), session("s"), Options::new().with_user("s")];
    for (own, options) in all.into_iter().enumerate() {
        storage.set("k", "v".into(), options).await?;
        for (other, options) in all.into_iter().enumerate() {
            let is_there = storage.get("k", options).await?.is_some();
            same!(is_there, own == other, "key of namespace {own} seen in namespace {other}");
        }
        storage.delete(options.with_key("k")).await?;
    }
    Ok(())
}

pub(super) async fn the_longest_ids_are_told_apart(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let pair = |length: usize| {
        let start = "x".repeat(length - 1);
        [format!("{start}y"), format!("{start}z")]
    };
    let (ids, keys) = (pair(MAX_ID_BYTES), pair(MAX_KEY_BYTES));
    let mut written = Vec::new();
    for user in &ids {
        for session in &ids {
            for key in &keys {
                let options = Options::new().with_user_session(user, session);
                let data = Bytes::from(written.len().to_string());
                storage.set(key, data.clone(), options).await?;
                written.push((options, key, data));
            }
        }
    }
    for (options, key, data) in &written {
        same!(world.data(key, *options).await?.as_ref(), Some(data), "an item of the longest ids");
    }
    storage.delete(Options::new().with_user(&ids[0])).await?;
    for (index, (options, key, _)) in written.iter().enumerate() {
        let is_there = storage.get(key, *options).await?.is_some();
        ensure!(is_there == (index >= 4), "the delete of one user took another's, or not its own");
    }
    Ok(())
}
