//! How sessions begin, are saved and end; why that is right tells the module above.

use std::time::{Duration, SystemTime};

use tower_mcp::session_store::SessionRecord;

use super::stored::{Head, check_id, decode, encode, head_key, left, record_key};
use super::{AFTERLIFE, TowerMcpStore, YOUNG};
use crate::adapter::binding::Binding;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Condition;
use crate::storage::{Options, StorageItem};

/// Where a session is, and its events.
#[derive(PartialEq)]
pub(super) enum Place {
    /// Among the global keys.
    Global,
    Session {
        user: String,
        binding: Binding,
    },
}

/// What there is of a session.
pub(super) enum Found {
    /// It was never stored, or has ended long ago.
    Unknown,
    Ended,
    Alive(Place, Box<SessionRecord>),
}

/// How often a call begins anew before it gives up. Each time somebody else has succeeded.
pub(super) const ATTEMPTS: u32 = 256;

/// How many ids are drawn before a storage that calls all of them taken is not believed.
const DRAWS: u32 = 8;

impl TowerMcpStore {
    pub(super) async fn create_as(&self, record: &mut SessionRecord) -> Result<()> {
        let Some(ttl) = left(record) else { return Ok(()) }; // created, and expired
        for _ in 0..DRAWS {
            if check_id(&record.id).is_ok() && self.put(record, Condition::Absent, ttl).await? {
                return Ok(());
            }
            record.id = format!("{}{}", Binding::draw()?, Binding::draw()?);
        }
        Err(Error::with_detail(ErrorKind::Backend, "each of some random ids is said to be taken"))
    }

    pub(super) async fn save_as(&self, record: &SessionRecord) -> Result<()> {
        let id = &record.id;
        check_id(id)?;
        let Some(ttl) = left(record) else { return self.end(id).await };
        let owner = self.owner_of(record);
        let mut dead = None;
        for _ in 0..ATTEMPTS {
            let Some((head, item)) = self.head(id).await? else {
                if self.created_only
                    || !is_young(record)
                    || self.put(record, Condition::Absent, ttl).await?
                {
                    return Ok(());
                }
                continue;
            };
            let condition = Condition::Version(item.version);
            let saved = match (head, &owner) {
                (Head::Ended, _) => return Ok(()),
                (Head::Anonymous(before), _) if left(&before).is_none() => return Ok(()),
                (Head::Anonymous(_), _) => self.put(record, condition, ttl).await?,
                (Head::Owned { binding, .. }, _) if dead == Some(binding) => return Ok(()),
                (Head::Owned { user, binding }, Some(new)) if *new != user => {
                    let alive = self.record(&user, id, binding).await?.is_some();
                    let moved = alive && self.bind(new, record, condition, ttl).await?;
                    if moved {
                        self.forget(id, &Place::Session { user, binding }).await?;
                    } else if !alive {
                        dead = Some(binding);
                    }
                    moved
                }
                // Also where it is nobody's any more: it came from that user's session, and goes with the user.
                (Head::Owned { user, binding }, _) => {
                    // Before the record: cut off in between, no head ends before its time.
                    let lasting = Options::new().with_ttl(ttl.saturating_add(AFTERLIFE));
                    self.storage.touch(&head_key(id), lasting).await?;
                    let options = Options::new().with_user_session(&user, id).with_ttl(ttl);
                    let (key, data) = (record_key(binding), encode(record)?);
                    let saved = self.storage.write(&key, data, Condition::Present, options).await?;
                    dead = Some(binding);
                    saved.is_some()
                }
            };
            if saved {
                return Ok(());
            }
        }
        Err(Error::with_detail(ErrorKind::Conflict, "others kept saving the session"))
    }

    pub(super) async fn load_as(&self, id: &str) -> Result<Option<SessionRecord>> {
        if check_id(id).is_err() {
            return Ok(None);
        }
        Ok(match self.find(id).await? {
            Found::Alive(_, record) => Some(*record),
            Found::Unknown | Found::Ended => None,
        })
    }

    pub(super) async fn end(&self, id: &str) -> Result<()> {
        if check_id(id).is_err() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let Some(item) = self.storage.get(&head_key(id), Options::new()).await? else {
                return Ok(());
            };
            // One that cannot be understood ends all the same, and what it named with it.
            let head = decode(&item.data).ok();
            if matches!(head, Some(Head::Ended)) {
                return Ok(());
            }
            let condition = Condition::Version(item.version);
            if self.put_head(id, &Head::Ended, condition, Duration::ZERO).await? {
                if let Some(Head::Owned { user, .. }) = head {
                    self.storage.delete(Options::new().with_user_session(&user, id)).await?;
                }
                return Ok(());
            }
        }
        Err(Error::with_detail(ErrorKind::Conflict, "others kept saving the session"))
    }

    /// What there is of the session.
    pub(super) async fn find(&self, id: &str) -> Result<Found> {
        let mut dead = None;
        for _ in 0..ATTEMPTS {
            let (place, record) = match self.head(id).await? {
                None => return Ok(Found::Unknown),
                Some((Head::Ended, _)) => return Ok(Found::Ended),
                Some((Head::Anonymous(record), _)) => (Place::Global, record),
                Some((Head::Owned { binding, .. }, _)) if dead == Some(binding) => {
                    return Ok(Found::Ended);
                }
                Some((Head::Owned { user, binding }, _)) => {
                    match self.record(&user, id, binding).await? {
                        Some(record) => (Place::Session { user, binding }, Box::new(record)),
                        // Dead, or bound anew between the two reads.
                        None => {
                            dead = Some(binding);
                            continue;
                        }
                    }
                }
            };
            let is_alive = left(&record).is_some();
            return Ok(if is_alive { Found::Alive(place, record) } else { Found::Ended });
        }
        Err(Error::with_detail(ErrorKind::Conflict, "the session kept changing hands"))
    }

    /// The head, and as what it is stored.
    async fn head(&self, id: &str) -> Result<Option<(Head, StorageItem)>> {
        let item = self.storage.get(&head_key(id), Options::new()).await?;
        item.map(|item| Ok((decode(&item.data)?, item))).transpose()
    }

    async fn record(
        &self,
        user: &str,
        id: &str,
        binding: Binding,
    ) -> Result<Option<SessionRecord>> {
        let options = Options::new().with_user_session(user, id);
        let item = self.storage.get(&record_key(binding), options).await?;
        item.map(|item| decode(&item.data)).transpose()
    }

    /// Puts the session where it belongs; whether the head was as `condition` wants it.
    async fn put(
        &self,
        record: &SessionRecord,
        condition: Condition,
        ttl: Duration,
    ) -> Result<bool> {
        match self.owner_of(record) {
            Some(user) => self.bind(&user, record, condition, ttl).await,
            None => {
                let head = Head::Anonymous(Box::new(record.clone()));
                self.put_head(&record.id, &head, condition, ttl).await
            }
        }
    }

    /// Puts the record under a new binding, then lets the head name that.
    async fn bind(
        &self,
        user: &str,
        record: &SessionRecord,
        condition: Condition,
        ttl: Duration,
    ) -> Result<bool> {
        let binding = Binding::draw()?;
        let (key, options) =
            (record_key(binding), Options::new().with_user_session(user, &record.id));
        let data = encode(record)?;
        self.storage.write(&key, data, Condition::Absent, options.with_ttl(ttl)).await?;
        let head = Head::Owned { user: user.to_owned(), binding };
        let bound = self.put_head(&record.id, &head, condition, ttl).await?;
        if !bound {
            self.storage.delete(options.with_key(&key)).await?;
        }
        Ok(bound)
    }

    /// Deletes the record and the events of a session that has moved, and nothing else: it may be moving back.
    async fn forget(&self, id: &str, place: &Place) -> Result<()> {
        if let Place::Session { user, binding } = place {
            let key = record_key(*binding);
            let options = Options::new().with_user_session(user, id);
            self.storage.delete(options.with_key(&key)).await?;
        }
        self.purge_at(id, place).await
    }

    /// Writes the head of a session that is to live for `ttl`; whether the condition held.
    async fn put_head(
        &self,
        id: &str,
        head: &Head,
        condition: Condition,
        ttl: Duration,
    ) -> Result<bool> {
        let options = Options::new().with_ttl(ttl.saturating_add(AFTERLIFE));
        let written = self.storage.write(&head_key(id), encode(head)?, condition, options).await?;
        Ok(written.is_some())
    }

    fn owner_of(&self, record: &SessionRecord) -> Option<String> {
        (self.owner)(record.principal.as_deref()?)
    }
}

/// Whether the record says that it was made just now. One of the future, by a clock that was set, does not.
fn is_young(record: &SessionRecord) -> bool {
    SystemTime::now().duration_since(record.created_at).is_ok_and(|age| age < YOUNG)
}
