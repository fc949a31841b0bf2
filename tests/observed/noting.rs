//! A storage that notes which of its methods is called, and answers as the engine would, or fails.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use scopecache::{
    Cache, Capabilities, Condition, ErrorKind, Listing, Loader, Options, Page, Removed, Result,
    Storage, StorageItem, Version,
};

pub(crate) struct Noting {
    cache: Cache,
    pub(crate) called: Mutex<Vec<&'static str>>,
    failure: Option<ErrorKind>,
}

impl Default for Noting {
    fn default() -> Self {
        Self { cache: crate::cache(), called: Mutex::default(), failure: None }
    }
}

impl Noting {
    pub(crate) fn failing(kind: ErrorKind) -> Self {
        Self { failure: Some(kind), ..Self::default() }
    }

    fn note(&self, method: &'static str) -> Result<&dyn Storage> {
        self.called.lock().expect("no panic").push(method);
        self.failure.map_or(Ok(&self.cache), |kind| Err(kind.into()))
    }
}

#[async_trait]
impl Storage for Noting {
    async fn get(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.note("get")?.get(key, options).await
    }

    async fn set(&self, key: &str, data: Bytes, options: Options<'_>) -> Result<Version> {
        self.note("set")?.set(key, data, options).await
    }

    async fn delete(&self, options: Options<'_>) -> Result<Removed> {
        self.note("delete")?.delete(options).await
    }

    async fn close(&self) -> Result<()> {
        self.note("close")?.close().await
    }

    async fn write(
        &self,
        key: &str,
        data: Bytes,
        condition: Condition,
        options: Options<'_>,
    ) -> Result<Option<Version>> {
        self.note("write")?.write(key, data, condition, options).await
    }

    async fn take(&self, key: &str, options: Options<'_>) -> Result<Option<StorageItem>> {
        self.note("take")?.take(key, options).await
    }

    async fn touch(&self, key: &str, options: Options<'_>) -> Result<bool> {
        self.note("touch")?.touch(key, options).await
    }

    async fn keys(&self, page: Page<'_>, options: Options<'_>) -> Result<Listing> {
        self.note("keys")?.keys(page, options).await
    }

    async fn sessions(&self, user: &str, page: Page<'_>) -> Result<Listing> {
        self.note("sessions")?.sessions(user, page).await
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.durable = true;
        capabilities
    }

    async fn load(
        &self,
        key: &str,
        options: Options<'_>,
        loader: Loader<'_>,
    ) -> Result<StorageItem> {
        self.note("load")?.load(key, options, loader).await
    }

    async fn get_many(
        &self,
        keys: &[&str],
        options: Options<'_>,
    ) -> Result<Vec<Option<StorageItem>>> {
        self.note("get_many")?.get_many(keys, options).await
    }

    async fn set_many(
        &self,
        items: &[(&str, Bytes)],
        options: Options<'_>,
    ) -> Result<Vec<Version>> {
        self.note("set_many")?.set_many(items, options).await
    }

    async fn delete_many(&self, keys: &[&str], options: Options<'_>) -> Result<Removed> {
        self.note("delete_many")?.delete_many(keys, options).await
    }
}
