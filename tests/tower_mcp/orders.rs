//! Calls at the same time, in every order of what they ask of the storage, and calls that are cut off.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use scopecache::{
    Cache, Capabilities, Condition, Listing, MockClock, Namespace, Options, Page, Removed, Result,
    Storage, StorageItem, TowerMcpStore, Version,
};
use tower_mcp::session_store::SessionStore;

use crate::common::{
    HOUR, aged, append, block_on, cache, create, events, owner, record, sessions_of,
};
use crate::every::{self, Call, Taken, poll, stop};

/// What a storage was asked to do that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// A record was put in a session of ada where there was none.
    Bound,
    /// Ada was deleted.
    Deleted,
    Other,
}

/// Stops before each call, and tells what it did.
struct Stopping {
    cache: Cache,
    done: Mutex<Vec<Done>>,
}

impl Stopping {
    fn new() -> Arc<Self> {
        Arc::new(Self { cache: cache(&MockClock::new()), done: Mutex::default() })
    }

    async fn call<T>(&self, done: Done, call: impl Future<Output = Result<T>>) -> Result<T> {
        stop().await;
        let answer = call.await;
        self.done.lock().expect("no panic").push(done);
        answer
    }
}

#[async_trait]
impl Storage for Stopping {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.call(Done::Other, Storage::get(&self.cache, key, options)).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        self.call(Done::Other, Storage::set(&self.cache, key, data, options)).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let is_user = options == Options::new().with_user("ada");
        let done = if is_user { Done::Deleted } else { Done::Other };
        self.call(done, Storage::delete(&self.cache, options)).await
    }

    async fn close(&self) -> Result<()> {
        Storage::close(&self.cache).await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let is_hers = matches!(options.namespace(), Namespace::Session { user: "ada", .. });
        let is_new = is_hers && condition == Condition::Absent;
        let done = if is_new { Done::Bound } else { Done::Other };
        self.call(done, Storage::write(&self.cache, key, data, condition, options)).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.call(Done::Other, Storage::take(&self.cache, key, options)).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        self.call(Done::Other, Storage::touch(&self.cache, key, options)).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        Storage::keys(&self.cache, page, options).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Storage::sessions(&self.cache, user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        Storage::capabilities(&self.cache)
    }

    // As one call: the engine does it at once as well.
    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        self.call(Done::Other, Storage::delete_many(&self.cache, keys, options)).await
    }

    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        self.call(Done::Other, Storage::get_many(&self.cache, keys, options)).await
    }
}

/// What is done to the session "s".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A save of a record that was made just now.
    SaveYoung(Option<&'static str>),
    /// One of a record that was made an hour ago.
    SaveOld(Option<&'static str>),
    Create(Option<&'static str>),
    Load,
    Append,
    Delete,
    DeleteUser,
}

impl Step {
    fn begin(self, storage: Arc<Stopping>) -> Call {
        Box::pin(async move {
            let store = small(storage.clone());
            match self {
                Self::SaveYoung(user) => store.save(&record("s", user)).await.expect("room"),
                Self::SaveOld(user) => {
                    store.save(&aged("s", user, HOUR)).await.expect("room");
                }
                Self::Create(user) => store.create(&mut record("s", user)).await.expect("room"),
                Self::Load => drop(store.load("s").await.expect("sound")),
                Self::Append => append(&store, "s", 1).await,
                Self::Delete => store.delete("s").await.expect("open"),
                Self::DeleteUser => {
                    storage.delete(Options::new().with_user("ada")).await.expect("open");
                }
            }
        })
    }
}

fn small(storage: Arc<dyn Storage>) -> TowerMcpStore {
    TowerMcpStore::new(storage).with_events(std::num::NonZero::new(2).expect("some"))
}

/// Runs the steps on a session of `user` in every order, and judges each end; returns how many orders there were.
fn in_every_order(user: Option<Option<&str>>, steps: &[Step]) -> usize {
    let begin = || {
        let storage = Stopping::new();
        let plain = small(Arc::new(storage.cache.clone()));
        if let Some(user) = user {
            pollster::block_on(create(&plain, "s", user));
        }
        let calls = steps.iter().map(|step| step.begin(storage.clone())).collect();
        ((storage, plain), calls)
    };
    let end = |(storage, plain): (Arc<Stopping>, TowerMcpStore), _: &Taken| {
        judge(user, steps, &storage, &plain);
    };
    every::in_every_order(begin, |_| (), end)
}

fn judge(user: Option<Option<&str>>, steps: &[Step], storage: &Stopping, plain: &TowerMcpStore) {
    let done = storage.done.lock().expect("no panic").clone();
    let alive = pollster::block_on(owner(plain, "s"));
    let is_hers = alive.as_ref().is_some_and(|owner| owner.as_deref() == Some("ada"));
    let words = format!("{steps:?} on {user:?}: {done:?}, {alive:?}");
    if let Some(deleted) = done.iter().rposition(|done| *done == Done::Deleted) {
        // Only a session that began to be hers after it, and one that was hers before ends with it.
        assert!(!is_hers || done[deleted..].contains(&Done::Bound), "{words}");
        let moves =
            |step: &Step| matches!(step, Step::SaveYoung(Some("eve")) | Step::SaveOld(Some("eve")));
        if user == Some(Some("ada")) && !steps.iter().any(moves) {
            assert_eq!(alive, None, "{words}");
        }
        if !is_hers {
            let others: Vec<String> = sessions_of(&storage.cache, "ada");
            assert!(!others.contains(&"s".to_owned()), "{words}: something is left of her");
        }
    }
    if user.is_some() && steps.contains(&Step::Delete) {
        assert_eq!(alive, None, "{words}");
    }
    if user.is_none() && steps.iter().all(|step| matches!(step, Step::SaveOld(_) | Step::Load)) {
        assert_eq!(alive, None, "{words}");
    }
    let ends = |step: &Step| matches!(step, Step::Delete | Step::DeleteUser);
    if user.is_some() && !steps.iter().any(ends) {
        assert!(alive.is_some(), "{words}");
    }
    // Whoever looks: what is dead has no events, what lives has them in its own place.
    let kept = pollster::block_on(events(plain, "s"));
    assert!(alive.is_some() || user.is_none() || kept.is_empty(), "{words}: {kept:?}");
    for user in ["ada", "eve"] {
        let has_it = sessions_of(&storage.cache, user).contains(&"s".to_owned());
        let cleared = alive == Some(None);
        let is_owner = alive.as_ref().is_some_and(|owner| owner.as_deref() == Some(user));
        assert!(!has_it || is_owner || cleared, "{words}: something is left with {user}");
    }
}

#[test]
fn two_calls() {
    let steps = [
        Step::SaveYoung(Some("ada")),
        Step::SaveOld(Some("ada")),
        Step::SaveOld(Some("eve")),
        Step::SaveYoung(None),
        Step::Create(Some("ada")),
        Step::Load,
        Step::Append,
        Step::Delete,
        Step::DeleteUser,
    ];
    let mut orders = 0;
    for user in [None, Some(None), Some(Some("ada"))] {
        for (at, first) in steps.iter().enumerate() {
            // The other way round they have the same orders.
            for second in &steps[at..] {
                orders += in_every_order(user, &[*first, *second]);
            }
        }
    }
    assert!(orders > 1000, "{orders}");
    println!("{orders} orders");
}

#[test]
fn three_calls() {
    let ada = Some(Some("ada"));
    let save = Step::SaveYoung(Some("ada"));
    let mut orders = in_every_order(ada, &[save, Step::Append, Step::DeleteUser]);
    orders += in_every_order(ada, &[save, Step::SaveOld(Some("eve")), Step::DeleteUser]);
    orders += in_every_order(ada, &[save, Step::Delete, Step::DeleteUser]);
    orders += in_every_order(None, &[save, save, Step::DeleteUser]);
    orders += in_every_order(Some(None), &[save, Step::Delete, Step::Load]);
    assert!(orders > 1000, "{orders}");
    println!("{orders} orders");
}

/// Every call, dropped before each call of the storage: the session is as it was or as it is to be, and the
/// deletion of its user ends it whatever comes later.
#[test]
fn a_call_cut_off_has_happened_or_not() {
    let steps = [
        Step::SaveYoung(Some("ada")),
        Step::SaveOld(Some("eve")),
        Step::SaveOld(None),
        Step::Load,
        Step::Append,
        Step::Delete,
        Step::DeleteUser,
    ];
    let mut cuts = 0;
    for before in [None, Some(None), Some(Some("ada"))] {
        for step in steps {
            for cut in 0.. {
                let storage = Stopping::new();
                let plain = small(Arc::new(storage.cache.clone()));
                if let Some(user) = before {
                    pollster::block_on(create(&plain, "s", user));
                }
                let mut call = step.begin(storage.clone());
                let ended = (0..=cut).any(|_| poll(&mut call));
                drop(call);

                let found = pollster::block_on(owner(&plain, "s"));
                let was = before.map(|user: Option<&str>| user.map(str::to_owned));
                let is = after(step, before).map(|user| user.map(str::to_owned));
                let words = format!("{step:?} on {before:?}, cut {cut}: {found:?}");
                assert!(found == is || !ended && found == was, "{words}");

                if let Some(Some(user)) = &found {
                    block_on(async {
                        let options = Options::new().with_user(user);
                        Storage::delete(&storage.cache, options).await.expect("open");
                        for late in [record("s", Some("ada")), aged("s", None, HOUR)] {
                            plain.save(&late).await.expect("does nothing");
                        }
                        assert_eq!(owner(&plain, "s").await, None, "{words}, then saved again");
                    });
                }
                cuts += 1;
                if ended {
                    break;
                }
            }
        }
    }
    assert!(cuts > 40, "{cuts}");
}

/// Whose session it is after the call.
fn after(step: Step, before: Option<Option<&'static str>>) -> Option<Option<&'static str>> {
    match (step, before) {
        (Step::SaveYoung(user), _) | (Step::SaveOld(user), Some(_)) => Some(user),
        (Step::SaveOld(_), None) | (Step::Delete, _) | (Step::DeleteUser, Some(Some("ada"))) => {
            None
        }
        (_, before) => before,
    }
}
