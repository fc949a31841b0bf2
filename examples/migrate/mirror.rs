//! Two storages with the same data: one that is right, and one that follows it.
//!
//! ```text
//!   1  follow_with(new)            every write goes to both          (roll back: lead_alone)
//!   2  copy(user), of all users    what was there before follows too
//!   3  catch_up, cut_over          new leads, old follows            (roll back: cut over again)
//!   4  lead_alone                  the old one may go
//! ```
//!
//! # Why both end with the same data
//!
//! A write changes the leader first, which alone decides. Then [`follow`](Mirror::follow) copies what the
//! leader *now* has, and looks whether it still has that after the copy was made; if not, it begins again.
//! Take the last copy that is made of a key. The leader had it after it was made, and whoever changed the
//! leader later would have made another one. So none is older than the leader, whatever overtakes what.
//!
//! A place is marked as behind before the leader changes and until a copy was made: a follower that fails,
//! or a call that is dropped half way, leaves the mark, and [`catch_up`](Mirror::catch_up) makes up for it.
//!
//! # What is not carried over
//!
//! Versions: each storage has its own, so a version from before the cut fits nothing after it. A sliding
//! TTL follows as the deadline that it has at that moment. All writers must go through one mirror, or
//! stop while it cuts over; those of several processes have to be told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use scopecache::{
    Capabilities, Condition, Error, ErrorKind, Listing, Namespace, Options, Page, Removed, Result,
    Storage, StorageItem, Version,
};
use tokio::sync::RwLock;

/// Names that a listing is asked for at once.
const PAGE: usize = 1000;

pub(crate) struct Mirror {
    /// Held by every write from beginning to end, and alone by the cut.
    sides: RwLock<Sides>,
    /// Places where the follower may differ, and how many calls say so.
    behind: Mutex<HashMap<Place, usize>>,
}

struct Sides {
    leader: Arc<dyn Storage>,
    follower: Option<Arc<dyn Storage>>,
}

/// A key, or without one all of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    space: Space,
    key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Space {
    Global,
    User(String),
    Session(String, String),
}

impl Mirror {
    /// Of one storage, which nothing follows yet.
    pub(crate) fn new(leader: Arc<dyn Storage>) -> Self {
        Self { sides: RwLock::new(Sides { leader, follower: None }), behind: Mutex::default() }
    }

    /// Has a storage, which should be empty, follow all that is written from now on.
    pub(crate) async fn follow_with(&self, follower: Arc<dyn Storage>) {
        self.sides.write().await.follower = Some(follower);
        self.behind().clear();
    }

    /// Lets the follower go.
    pub(crate) async fn lead_alone(&self) {
        self.sides.write().await.follower = None;
        self.behind().clear();
    }

    /// Copies what the user has, sessions included; answers how many keys that were. `None` stands for
    /// the global keys.
    pub(crate) async fn copy(&self, user: Option<&str>) -> Result<u64> {
        let space = user.map_or(Space::Global, |user| Space::User(user.to_owned()));
        self.sides.read().await.copy_all(&space).await
    }

    /// Copies again whatever a failure, or a call that was dropped, left behind.
    ///
    /// # Errors
    ///
    /// The first one; the marks of what was not copied stay.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let sides = self.sides.read().await;
        let behind = self.behind().clone();
        for (place, calls) in behind {
            sides.follow(&place).await?;
            self.unmark(&place, calls);
        }
        Ok(())
    }

    /// Makes the follower the leader, once no write is under way and nothing is behind.
    ///
    /// # Errors
    ///
    /// `Conflict` where something is, or nothing follows; nothing has changed then.
    pub(crate) async fn cut_over(&self) -> Result<()> {
        let mut sides = self.sides.write().await;
        let Some(follower) = sides.follower.take_if(|_| self.behind().is_empty()) else {
            return Err(Error::from(ErrorKind::Conflict));
        };
        sides.follower = Some(std::mem::replace(&mut sides.leader, follower));
        Ok(())
    }

    /// Does something to the leader, and has the follower do likewise.
    async fn mirrored<T: Send, F: Future<Output = Result<T>> + Send>(
        &self,
        place: Place,
        call: impl FnOnce(Arc<dyn Storage>) -> F + Send,
    ) -> Result<T> {
        let sides = self.sides.read().await;
        if sides.follower.is_none() {
            return call(Arc::clone(&sides.leader)).await;
        }
        *self.behind().entry(place.clone()).or_default() += 1;
        let answer = call(Arc::clone(&sides.leader)).await;
        // After most errors, too: on a server it may have been done all the same.
        if is_refused(&answer) || sides.follow(&place).await.is_ok() {
            self.unmark(&place, 1);
        }
        answer
    }

    fn unmark(&self, place: &Place, calls: usize) {
        let mut behind = self.behind();
        if let Some(left) = behind.get_mut(place) {
            *left -= calls;
            if *left == 0 {
                behind.remove(place);
            }
        }
    }

    fn behind(&self) -> std::sync::MutexGuard<'_, HashMap<Place, usize>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn leader(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.sides.read().await.leader)
    }
}

impl Sides {
    async fn follow(&self, place: &Place) -> Result<()> {
        let Some(follower) = &self.follower else { return Ok(()) };
        match &place.key {
            Some(key) => self.copy_key(&place.space, key).await,
            None => {
                follower.delete(place.space.options()).await?;
                // What was written since the deletion may have been copied before this one.
                self.copy_all(&place.space).await.map(drop)
            }
        }
    }

    async fn copy_key(&self, space: &Space, key: &str) -> Result<()> {
        let Some(follower) = &self.follower else { return Ok(()) };
        let options = space.options();
        let mut now = self.leader.get(key, options).await?;
        loop {
            match &now {
                None => drop(follower.delete(options.with_key(key)).await?),
                Some(item) => {
                    match item.expires_at.map(|at| at.duration_since(SystemTime::now())) {
                        None => drop(follower.set(key, item.data.clone(), options).await?),
                        Some(Ok(left)) if !left.is_zero() => {
                            follower.set(key, item.data.clone(), options.with_ttl(left)).await?;
                        }
                        // It is over by now, as the next look will find.
                        Some(_) => {}
                    }
                }
            }
            let then = std::mem::replace(&mut now, self.leader.get(key, options).await?);
            if stamp(&then) == stamp(&now) {
                return Ok(());
            }
        }
    }

    async fn copy_all(&self, space: &Space) -> Result<u64> {
        let mut copied = self.copy_keys(space).await?;
        if let Space::User(user) = space {
            let mut token = None;
            loop {
                let page = self.leader.sessions(user, page(&token)).await?;
                for session in page.names {
                    copied += self.copy_keys(&Space::Session(user.clone(), session)).await?;
                }
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(copied)
    }

    async fn copy_keys(&self, space: &Space) -> Result<u64> {
        let (mut copied, mut token) = (0, None);
        loop {
            let page = self.leader.keys(page(&token), space.options()).await?;
            for key in page.names {
                self.copy_key(space, &key).await?;
                copied += 1;
            }
            token = page.next;
            if token.is_none() {
                return Ok(copied);
            }
        }
    }
}

/// Whether the call was refused before anything was touched.
fn is_refused<T>(answer: &Result<T>) -> bool {
    use ErrorKind::{InvalidKey, InvalidOptions, ValueTooLarge};
    answer.as_ref().is_err_and(|error| {
        matches!(error.kind(), InvalidOptions | InvalidKey { .. } | ValueTooLarge { .. })
    })
}

/// What changes with every write and every touch.
fn stamp(item: &Option<StorageItem>) -> Option<(Version, Option<SystemTime>)> {
    item.as_ref().map(|item| (item.version, item.expires_at))
}

fn page(token: &Option<String>) -> Page<'_> {
    Page::new(PAGE).after(token.as_deref())
}

impl Space {
    fn of(options: Options<'_>) -> Self {
        match options.namespace() {
            Namespace::Global => Self::Global,
            Namespace::User { user } => Self::User(user.to_owned()),
            Namespace::Session { user, session } => {
                Self::Session(user.to_owned(), session.to_owned())
            }
        }
    }

    fn options(&self) -> Options<'_> {
        match self {
            Self::Global => Options::new(),
            Self::User(user) => Options::new().with_user(user),
            Self::Session(user, session) => Options::new().with_user_session(user, session),
        }
    }

    fn key(self, key: &str) -> Place {
        Place { space: self, key: Some(key.to_owned()) }
    }
}

#[async_trait]
impl Storage for Mirror {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.leader().await.get(key, options).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let call = |leader: Arc<dyn Storage>| async move { leader.set(key, data, options).await };
        self.mirrored(Space::of(options).key(key), call).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let place = Place { space: Space::of(options), key: options.key().map(str::to_owned) };
        let call = |leader: Arc<dyn Storage>| async move { leader.delete(options).await };
        self.mirrored(place, call).await
    }

    /// Closes both.
    async fn close(&self) -> Result<()> {
        let sides = self.sides.write().await;
        if let Some(follower) = &sides.follower {
            follower.close().await?;
        }
        sides.leader.close().await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let call = |leader: Arc<dyn Storage>| async move {
            leader.write(key, data, condition, options).await
        };
        self.mirrored(Space::of(options).key(key), call).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        let call = |leader: Arc<dyn Storage>| async move { leader.take(key, options).await };
        self.mirrored(Space::of(options).key(key), call).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = |leader: Arc<dyn Storage>| async move { leader.touch(key, options).await };
        self.mirrored(Space::of(options).key(key), call).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        self.leader().await.keys(page, options).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        self.leader().await.sessions(user, page).await
    }

    /// The least: what both can do may differ before and after the cut.
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }
}
