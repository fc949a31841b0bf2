//! Every call of the interface, to be made with any key and any options.

use bytes::Bytes;

use crate::error::Result;
use crate::options::Condition;
use crate::storage::conformance::world::{Verdict, World, ensure};
use crate::storage::{Options, Page, Storage, StorageExt, StorageItem};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    Set,
    Write,
    Take,
    Touch,
    Delete,
    Keys,
    Load,
    GetMany,
    SetMany,
    DeleteMany,
    Update,
}

pub(super) const CALLS: [Call; 12] = [
    Call::Get,
    Call::Set,
    Call::Write,
    Call::Take,
    Call::Touch,
    Call::Delete,
    Call::Keys,
    Call::Load,
    Call::GetMany,
    Call::SetMany,
    Call::DeleteMany,
    Call::Update,
];

/// Calls that write a value.
pub(super) const WRITES: [Call; 5] =
    [Call::Set, Call::Write, Call::Load, Call::SetMany, Call::Update];

impl Call {
    /// Makes the call with these options as they are.
    pub(super) async fn make(
        self,
        storage: &dyn Storage,
        key: &str,
        options: Options<'_>,
    ) -> Result<()> {
        let data = Bytes::from_static(b"new secret");
        match self {
            Self::Get => storage.get(key, options).await.map(drop),
            Self::Set => storage.set(key, data, options).await.map(drop),
            Self::Write => storage.write(key, data, Condition::Present, options).await.map(drop),
            Self::Take => storage.take(key, options).await.map(drop),
            Self::Touch => storage.touch(key, options).await.map(drop),
            Self::Delete => storage.delete(options).await.map(drop),
            Self::Keys => storage.keys(Page::new(10), options).await.map(drop),
            Self::Load => storage.load(key, options, Box::pin(async { Ok(data) })).await.map(drop),
            Self::GetMany => storage.get_many(&["other", key], options).await.map(drop),
            Self::SetMany => {
                storage.set_many(&[("other", data.clone()), (key, data)], options).await.map(drop)
            }
            Self::DeleteMany => storage.delete_many(&["other", key], options).await.map(drop),
            Self::Update => storage.update(key, options, |_| "new").await.map(drop),
        }
    }

    /// The options with what this call needs to be valid, for this key.
    pub(super) fn valid<'a>(
        self,
        key: &'a str,
        options: Options<'a>,
        world: &World<'_>,
    ) -> Options<'a> {
        match self {
            Self::Touch => options.with_ttl(world.grains(1_000_000)),
            Self::Delete => options.with_key(key),
            _ => options,
        }
    }
}

/// Where [`Contents`] looks.
const USER: &str = "ada";

/// What stands under the keys that the calls use, to see that a refused call changed nothing.
#[derive(PartialEq, Eq)]
pub(super) struct Contents(Vec<Option<StorageItem>>);

fn spaces() -> [Options<'static>; 3] {
    [Options::new(), Options::new().with_user(USER), Options::new().with_user_session(USER, "s")]
}

impl Contents {
    /// Writes something to every place.
    pub(super) async fn fill(world: &World<'_>) -> Verdict<Self> {
        for options in spaces() {
            for key in ["k", "other"] {
                let ttl = options.with_ttl(world.grains(10_000_000));
                world.storage().set(key, "old".into(), ttl).await?;
            }
        }
        Self::read(world).await
    }

    pub(super) async fn read(world: &World<'_>) -> Verdict<Self> {
        let mut items = Vec::new();
        for options in spaces() {
            for key in ["k", "other", "new"] {
                items.push(world.storage().get(key, options).await?);
            }
        }
        Ok(Self(items))
    }

    /// Fails where anything is other than it was.
    pub(super) async fn are_kept(&self, world: &World<'_>, by: &str) -> Verdict {
        ensure!(Self::read(world).await? == *self, "{by} has changed something");
        Ok(())
    }
}
