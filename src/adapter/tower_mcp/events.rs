//! Events of cut streams, the newest of each session, where the session is.

use std::time::Duration;

use tower_mcp::event_store::EventRecord;

use super::TowerMcpStore;
use super::sessions::{ATTEMPTS, Found, Place};
use super::stored::{check_id, decode, encode, idle};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Options;

/// How long the events of a session are kept of which nothing is known: as long as tower-mcp's sessions live
/// unless it is told otherwise.
const UNKNOWN: Duration = Duration::from_secs(30 * 60);

impl TowerMcpStore {
    pub(super) async fn append_as(&self, id: &str, event: &EventRecord) -> Result<()> {
        check_id(id)?;
        let data = encode(event)?;
        for _ in 0..ATTEMPTS {
            let Some((place, ttl)) = self.place(id).await? else { return Ok(()) };
            let (key, options) = (place.key(id, event.id % self.events), place.options(id));
            self.storage.set(&key, data.clone(), options.with_ttl(ttl)).await?;
            // It may have ended or moved meanwhile; what is found dead now was seen by nobody.
            if self.place(id).await?.is_some_and(|(now, _)| now == place) {
                return Ok(());
            }
            self.storage.delete(options.with_key(&key)).await?;
        }
        Err(Error::with_detail(ErrorKind::Conflict, "the session kept changing hands"))
    }

    pub(super) async fn replay(&self, id: &str, after: u64) -> Result<Vec<EventRecord>> {
        if check_id(id).is_err() {
            return Ok(Vec::new());
        }
        let Some((place, _)) = self.place(id).await? else { return Ok(Vec::new()) };
        let keys = self.keys(&place, id);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let items = self.storage.get_many(&keys, place.options(id)).await?;
        let events = items.into_iter().flatten().map(|item| decode::<EventRecord>(&item.data));
        let mut events: Vec<EventRecord> = events.collect::<Result<_>>()?;
        events.retain(|event| event.id > after);
        events.sort_unstable_by_key(|event| event.id);
        Ok(events)
    }

    pub(super) async fn purge(&self, id: &str) -> Result<()> {
        if check_id(id).is_err() {
            return Ok(());
        }
        // Global ones also where the session has ended since, or was not known at first.
        let place = self.place(id).await?.map(|(place, _)| place);
        for place in place.iter().filter(|it| **it != Place::Global).chain([&Place::Global]) {
            self.purge_at(id, place).await?;
        }
        Ok(())
    }

    pub(super) async fn purge_at(&self, id: &str, place: &Place) -> Result<()> {
        let keys = self.keys(place, id);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.storage.delete_many(&keys, place.options(id)).await.map(drop)
    }

    /// Where the session's events are, and how long one lives; `None` where it has ended.
    async fn place(&self, id: &str) -> Result<Option<(Place, Duration)>> {
        Ok(match self.find(id).await? {
            Found::Unknown if !self.created_only => Some((Place::Global, UNKNOWN)),
            Found::Unknown | Found::Ended => None,
            Found::Alive(place, record) => idle(&record).map(|ttl| (place, ttl)),
        })
    }

    fn keys(&self, place: &Place, id: &str) -> Vec<String> {
        (0..self.events.get()).map(|slot| place.key(id, slot)).collect()
    }
}

impl Place {
    fn key(&self, id: &str, slot: u64) -> String {
        match self {
            Self::Global => format!("tower-mcp:event:{id}:{slot}"),
            Self::Session { binding, .. } => format!("tower-mcp:event:{binding}:{slot}"),
        }
    }

    fn options<'a>(&'a self, id: &'a str) -> Options<'a> {
        match self {
            Self::Global => Options::new(),
            Self::Session { user, .. } => Options::new().with_user_session(user, id),
        }
    }
}
