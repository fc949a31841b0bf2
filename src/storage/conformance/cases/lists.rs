//! Listings.

use std::collections::BTreeSet;

use super::{ada, session};
use crate::storage::conformance::world::{Verdict, World, ensure, same};
use crate::storage::{Listing, Options, Page, Storage};

/// All names of a listing of keys, by pages of `limit`.
async fn keys(storage: &dyn Storage, limit: usize, options: Options<'_>) -> Verdict<Vec<String>> {
    let (mut names, mut token) = (Vec::new(), None::<String>);
    loop {
        let page = Page::new(limit).after(token.as_deref());
        let listing = storage.keys(page, options).await?;
        token = append(&mut names, listing, limit)?;
        if token.is_none() {
            return Ok(names);
        }
    }
}

async fn sessions(storage: &dyn Storage, limit: usize, user: &str) -> Verdict<Vec<String>> {
    let (mut names, mut token) = (Vec::new(), None::<String>);
    loop {
        let page = Page::new(limit).after(token.as_deref());
        let listing = storage.sessions(user, page).await?;
        token = append(&mut names, listing, limit)?;
        if token.is_none() {
            return Ok(names);
        }
    }
}

fn append(names: &mut Vec<String>, listing: Listing, limit: usize) -> Verdict<Option<String>> {
    ensure!(listing.names.len() <= limit, "a page of {limit} has {} names", listing.names.len());
    names.extend(listing.names);
    ensure!(names.len() < 10_000, "a listing does not end");
    Ok(listing.next)
}

/// Checks that these are the names, each once, in any order.
fn are(mut seen: Vec<String>, expected: &[&str], of: &str) -> Verdict {
    seen.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    same!(seen, expected, "names of {of}");
    Ok(())
}

pub(super) async fn keys_come_in_pages(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let names = ["e", "b", "d", "a", "c", "f", "A", "a ", "a:b", "*", "\0", "á", "\u{1F980}"];
    for options in [Options::new(), ada(), session("s")] {
        are(keys(storage, 3, options).await?, &[], "nothing")?;
        for key in names {
            storage.set(key, "v".into(), options).await?;
        }
    }
    for options in [Options::new(), ada(), session("s")] {
        for limit in [1, 2, 6, 13, 1_000, usize::MAX] {
            are(keys(storage, limit, options).await?, &names, &format!("pages of {limit}"))?;
        }
    }
    are(keys(storage, 9, session("t")).await?, &[], "a session of nothing")
}

pub(super) async fn sessions_come_in_pages(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    let names = ["c", "a", "b", "A", "a:b", "*", "\0", "a "];
    are(sessions(storage, 2, "ada").await?, &[], "nobody")?;
    storage.set("k", "v".into(), ada()).await?;
    storage.set("k", "v".into(), Options::new().with_user_session("eve", "hers")).await?;
    are(sessions(storage, 2, "ada").await?, &[], "a user without sessions")?;
    for name in names {
        let options = Options::new().with_user_session("ada", name);
        storage.set("k", "v".into(), options).await?;
        storage.set("l", "v".into(), options).await?;
    }
    for limit in [1, 3, 8, usize::MAX] {
        are(sessions(storage, limit, "ada").await?, &names, &format!("pages of {limit}"))?;
    }
    storage.delete(Options::new().with_user_session("ada", "b")).await?;
    let left = ["c", "a", "A", "a:b", "*", "\0", "a "];
    are(sessions(storage, 3, "ada").await?, &left, "what a delete left")?;
    storage.delete(ada()).await?;
    are(sessions(storage, 3, "ada").await?, &[], "a deleted user")
}

pub(super) async fn what_stays_is_listed_once_while_others_come_and_go(
    world: &World<'_>,
) -> Verdict {
    let storage = world.storage();
    let stays: Vec<String> = (0..40).map(|index| format!("stays {index}")).collect();
    for key in &stays {
        storage.set(key, "v".into(), ada()).await?;
    }
    let (mut seen, mut token, mut round) = (Vec::new(), None::<String>, 0);
    loop {
        let listing = storage.keys(Page::new(7).after(token.as_deref()), ada()).await?;
        token = append(&mut seen, listing, 7)?;
        if token.is_none() {
            break;
        }
        // Others come and go on both sides of where the pages are, and enough of them for a table
        // to grow in between.
        for index in 0..30 {
            let name = format!("{} {round} {index}", ["a", "z"][index % 2]);
            storage.set(&name, "v".into(), ada()).await?;
            if round > 0 {
                let name = format!("{} {} {index}", ["a", "z"][index % 2], round - 1);
                storage.delete(ada().with_key(&name)).await?;
            }
        }
        round += 1;
    }
    let unique: BTreeSet<&String> = seen.iter().collect();
    same!(unique.len(), seen.len(), "names listed, each once");
    for key in &stays {
        ensure!(unique.contains(key), "{key:?}, which was there throughout, is not listed");
    }
    Ok(())
}

pub(super) async fn an_empty_namespace_is_not_listed(world: &World<'_>) -> Verdict {
    let storage = world.storage();
    for way in 0..3 {
        storage.set("a", "v".into(), session("s")).await?;
        storage.set("b", "v".into(), session("s")).await?;
        storage.take("a", session("s")).await?;
        are(sessions(storage, 9, "ada").await?, &["s"], "a session of one key")?;
        match way {
            0 => storage.delete(session("s").with_key("b")).await.map(drop)?,
            1 => storage.take("b", session("s")).await.map(drop)?,
            _ => storage.delete_many(&["b"], session("s")).await.map(drop)?,
        }
        are(sessions(storage, 9, "ada").await?, &[], "a session whose last key went")?;
        are(keys(storage, 9, session("s")).await?, &[], "a session whose last key went")?;
    }
    Ok(())
}
