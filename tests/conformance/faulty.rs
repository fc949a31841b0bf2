//! Storages with a fault each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use scopecache::{
    Cache, Capabilities, Condition, Error, ErrorKind, Listing, Namespace, Operation, Options, Page,
    Removed, Result, Storage, StorageItem, Version,
};

/// What a storage does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The engine with the provided bodies of the trait.
    Nothing,
    /// The same, and claims nothing.
    Modest,
    MissIsAnError,
    JoinsIds,
    TrimsKeys,
    FoldsCase,
    UserLeavesSessions,
    GlobalTakesUsers,
    DeleteOfNothingFails,
    Miscounts,
    InsertOverwrites,
    ComparesNothing,
    VersionsComeBack,
    TakeLeaves,
    TtlIsLonger,
    KeepsTtlAlways,
    TouchRewrites,
    NeverSlides,
    TakesContradictions,
    CutsLongKeys,
    CutsLongValues,
    ShowsContent,
    NoKeyIsTheNamespace,
    ListsTwice,
    LoadsAlways,
    ReadsThenWrites,
    DeletesKeyByKey,
    ReopensAfterClose,
    DropsHalfWritten,
    Panics,
}

/// The case that each fault is about.
pub(crate) const FAULTS: &[(Fault, &str)] = &[
    (Fault::MissIsAnError, "a_miss_is_no_error"),
    (Fault::JoinsIds, "ids_of_any_characters_never_collide"),
    (Fault::TrimsKeys, "ids_of_any_characters_never_collide"),
    (Fault::FoldsCase, "ids_of_any_characters_never_collide"),
    (Fault::UserLeavesSessions, "a_user_goes_with_all_sessions"),
    (Fault::GlobalTakesUsers, "global_means_the_global_keys_alone"),
    (Fault::DeleteOfNothingFails, "deleting_what_is_not_there_succeeds"),
    (Fault::Miscounts, "deletions_say_how_much_went"),
    (Fault::InsertOverwrites, "conditions_are_kept"),
    (Fault::ComparesNothing, "a_version_fits_its_own_item_alone"),
    (Fault::VersionsComeBack, "versions_never_come_back"),
    (Fault::TakeLeaves, "a_taken_item_is_gone"),
    (Fault::TtlIsLonger, "an_item_ends_at_its_deadline"),
    (Fault::TtlIsLonger, "times_are_told"),
    (Fault::KeepsTtlAlways, "a_set_drops_an_earlier_ttl"),
    (Fault::TouchRewrites, "a_touch_moves_the_deadline_alone"),
    (Fault::NeverSlides, "a_hit_renews_a_sliding_ttl"),
    (Fault::TakesContradictions, "options_that_do_not_go_together_are_refused"),
    (Fault::CutsLongKeys, "lengths_are_checked_at_both_ends"),
    (Fault::CutsLongValues, "a_value_over_the_limit_is_refused"),
    (Fault::ShowsContent, "errors_show_no_content"),
    (Fault::NoKeyIsTheNamespace, "no_key_is_not_the_namespace"),
    (Fault::ListsTwice, "keys_come_in_pages"),
    (Fault::LoadsAlways, "a_hit_never_polls_the_loader"),
    (Fault::ReadsThenWrites, "an_insert_has_one_winner"),
    (Fault::ReadsThenWrites, "writes_of_one_key_are_linearizable"),
    (Fault::DeletesKeyByKey, "a_user_goes_at_one_moment"),
    (Fault::ReopensAfterClose, "a_closed_client_refuses_every_call"),
    (Fault::DropsHalfWritten, "a_dropped_write_is_whole_or_nothing"),
    (Fault::Panics, "a_get_returns_what_was_set"),
];

/// The engine with one thing wrong, and the provided bodies of the trait.
pub(crate) struct Faulty {
    cache: Cache,
    fault: Fault,
    is_closed: AtomicBool,
}

pub(crate) fn provided_bodies(cache: Cache) -> Box<dyn Storage> {
    Box::new(Faulty::new(cache, Fault::Nothing))
}

pub(crate) fn modest(cache: Cache) -> Box<dyn Storage> {
    Box::new(Faulty::new(cache, Fault::Modest))
}

impl Faulty {
    pub(crate) fn new(cache: Cache, fault: Fault) -> Self {
        Self { cache, fault, is_closed: AtomicBool::new(false) }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The key as this storage looks it up.
    fn key(&self, key: &str) -> String {
        match self.fault {
            Fault::TrimsKeys => match key.trim_end() {
                "" => key.into(),
                trimmed => trimmed.into(),
            },
            Fault::FoldsCase => key.to_lowercase(),
            Fault::CutsLongKeys if key.len() > 512 => key[..512].into(),
            _ => key.into(),
        }
    }

    /// Hands over to others for long, as a round trip between a read and a write does.
    async fn pause(&self) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The namespace whose ids were joined to one by a separator.
fn joined(options: Options<'_>, operation: Operation) -> Result<Option<String>> {
    Ok(match options.check(operation)?.namespace {
        Namespace::Session { user, session } => Some(format!("{user}:{session}")),
        _ => None,
    })
}

#[async_trait]
impl Storage for Faulty {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        assert!(!self.is(Fault::Panics) || key != "K", "a bug");
        if self.is(Fault::ShowsContent) && key.len() > 512 {
            return Err(Error::with_source(ErrorKind::Backend, format!("no such key: {key}")));
        }
        if self.is(Fault::TakesContradictions) {
            return Storage::get(&self.cache, key, options.without_expiry()).await;
        }
        if self.is(Fault::JoinsIds)
            && let Some(user) = joined(options, Operation::Get)?
            && user.len() <= 256
        {
            return Storage::get(&self.cache, key, Options::new().with_user(&user)).await;
        }
        if self.is(Fault::NeverSlides) {
            let call = options.check(Operation::Get)?;
            return Ok(self.cache.peek(call.namespace, key)?.map(StorageItem::from));
        }
        let item = Storage::get(&self.cache, &self.key(key), options).await?;
        match item {
            None if self.is(Fault::MissIsAnError) => Err(ErrorKind::Backend.into()),
            Some(item) if self.is(Fault::VersionsComeBack) => {
                Ok(Some(StorageItem { version: Version::from_u64(item.data.len() as u64), ..item }))
            }
            item => Ok(item),
        }
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        let version = self.write(key, data, Condition::Always, options).await?;
        Ok(version.expect("an unconditional write happens"))
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        let call = options.check(Operation::Delete)?;
        match (self.fault, call.namespace, call.key) {
            (Fault::UserLeavesSessions, Namespace::User { .. }, None) => {
                let keys = self.cache.keys(call.namespace)?;
                for key in keys {
                    self.cache.delete(call.namespace, &key)?;
                }
                return Ok(Removed::default());
            }
            (Fault::DeletesKeyByKey, Namespace::User { user }, None) => {
                for session in self.cache.sessions(user)? {
                    let namespace = Namespace::Session { user, session: &session };
                    for key in self.cache.keys(namespace)? {
                        self.cache.delete(namespace, &key)?;
                        self.pause().await;
                    }
                }
            }
            (Fault::GlobalTakesUsers, Namespace::Global, None) => drop(self.cache.clear()),
            _ => {}
        }
        let key = call.key.map(|key| self.key(key));
        let options = match &key {
            Some(key) => Options::new().with_namespace(call.namespace).with_key(key),
            None => options,
        };
        let mut removed = Storage::delete(&self.cache, options).await?;
        if self.is(Fault::DeleteOfNothingFails) && removed.entries == 0 {
            return Err(ErrorKind::Backend.into());
        }
        removed.entries += u64::from(self.is(Fault::Miscounts) && removed.entries > 1);
        Ok(removed)
    }

    async fn close(&self) -> Result<()> {
        if self.is(Fault::ReopensAfterClose) {
            // SeqCst: a flag of a test.
            self.is_closed.fetch_xor(true, Ordering::SeqCst);
            return Ok(());
        }
        Storage::close(&self.cache).await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        let key = &*self.key(key);
        let call = options.check(Operation::Write)?;
        let plain = Options::new().with_namespace(call.namespace);
        let (mut data, mut condition, mut options) = (data, condition, options);
        match self.fault {
            Fault::InsertOverwrites if condition == Condition::Absent => {
                condition = Condition::Always;
            }
            Fault::ComparesNothing if matches!(condition, Condition::Version(_)) => {
                condition = Condition::Present;
            }
            Fault::CutsLongValues => data = data.slice(..data.len().min(1 << 18)),
            Fault::TtlIsLonger => {
                if let scopecache::Expiry::Ttl(ttl) = call.expiry {
                    options = plain.with_ttl(ttl.saturating_add(Duration::from_nanos(1)));
                }
            }
            Fault::KeepsTtlAlways => {
                let item = self.cache.get(call.namespace, key)?;
                if item.is_some_and(|item| item.expires_at().is_some()) {
                    options = plain.keep_ttl();
                }
            }
            Fault::JoinsIds => {
                if let Some(user) = joined(options, Operation::Write)?
                    && user.len() <= 256
                {
                    let options = Options::new().with_user(&user);
                    return Storage::write(&self.cache, key, data, condition, options).await;
                }
            }
            Fault::ReadsThenWrites if condition != Condition::Always => {
                let present = self.cache.get(call.namespace, key)?.map(|item| item.version());
                let holds = match condition {
                    Condition::Absent => present.is_none(),
                    Condition::Version(version) => present == Some(version),
                    _ => present.is_some(),
                };
                if !holds {
                    return Ok(None);
                }
                self.pause().await;
                condition = Condition::Always;
            }
            Fault::DropsHalfWritten if data.len() > 1000 => {
                let half = data.slice(..data.len() / 2);
                Storage::write(&self.cache, key, half, condition, options).await?;
                let mut yielded = false;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut yielded, true) {
                        return std::task::Poll::Ready(());
                    }
                    std::task::Poll::Pending
                })
                .await;
            }
            _ => {}
        }
        let length = data.len() as u64;
        let version = Storage::write(&self.cache, key, data, condition, options).await?;
        match version {
            Some(_) if self.is(Fault::VersionsComeBack) => Ok(Some(Version::from_u64(length))),
            version => Ok(version),
        }
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        if self.is(Fault::TakeLeaves) {
            return Storage::get(&self.cache, key, options).await;
        }
        Storage::take(&self.cache, &self.key(key), options).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        let call = options.check(Operation::Touch)?;
        if self.is(Fault::TouchRewrites) {
            let Some(item) = self.cache.get(call.namespace, key)? else { return Ok(false) };
            let data = Bytes::copy_from_slice(item.data());
            Storage::set(&self.cache, key, data, options).await?;
            return Ok(true);
        }
        Storage::touch(&self.cache, &self.key(key), options).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        let mut listing = Storage::keys(&self.cache, page, options).await?;
        if self.is(Fault::ListsTwice) && listing.next.is_some() {
            // The next page begins one name too early.
            let names = &listing.names;
            listing.next = names.len().checked_sub(2).map(|index| names[index].clone());
        }
        Ok(listing)
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        Storage::sessions(&self.cache, user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        if self.is(Fault::Modest) {
            return Capabilities::none();
        }
        let mut can = Storage::capabilities(&self.cache);
        can.single_loader = false; // as the provided body has it
        can
    }

    async fn load(
        &self,
        key: &str,
        options: Options<'_>,
        loader: scopecache::Loader<'_>,
    ) -> Result<StorageItem> {
        if self.is(Fault::LoadsAlways) {
            let data =
                loader.await.map_err(|error| Error::with_source(ErrorKind::Loader, error))?;
            self.set(key, data, options).await?;
            let item = self.get(key, options.without_expiry()).await?;
            return item.ok_or_else(|| ErrorKind::Backend.into());
        }
        // The provided body, in short.
        let read = options.without_expiry();
        options.check(Operation::Write)?;
        if let Some(item) = self.get(key, read).await? {
            return Ok(item);
        }
        Storage::load(&self.cache, key, options, loader).await
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        options.check(Operation::DeleteMany)?;
        if self.is(Fault::NoKeyIsTheNamespace) && keys.is_empty() {
            return self.delete(options).await;
        }
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Storage::delete_many(&self.cache, &keys, options).await
    }
}
