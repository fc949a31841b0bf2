//! What a dialect does: the statements of each call.

use async_trait::async_trait;
use tokio::time::Instant;

use super::item::{At, Draft, Stored};
use crate::error::Result;

/// A server that speaks one dialect. Every call ends at `end`, and is attempted again where the server
/// undid it for another client.
#[async_trait]
pub(super) trait Engine: Send + Sync + 'static {
    /// Makes the tables, or brings them up to date, together with whoever else does so now; the
    /// greatest value that the server takes, in bytes.
    async fn migrate(&self, end: Instant) -> Result<usize>;

    /// The row of a key, expired or not.
    async fn get(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>>;

    /// The rows of those of the keys that have one, expired or not, in any order.
    async fn get_many(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<Vec<Row>>;

    /// Whether the condition held, and the draft was written.
    async fn write(&self, at: At<'_>, key: &str, draft: &Draft<'_>, end: Instant) -> Result<bool>;

    /// Writes drafts of different keys that are alike but for data and version, whatever is there.
    async fn write_many(&self, at: At<'_>, items: &[(&str, Draft<'_>)], end: Instant)
    -> Result<()>;

    async fn take(&self, at: At<'_>, key: &str, end: Instant) -> Result<Option<Stored>>;

    /// Gives an item that is alive a new TTL; whether there was one.
    async fn touch(&self, at: At<'_>, key: &str, ttl_us: i64, end: Instant) -> Result<bool>;

    /// Gives the item that was read a later deadline; whether it is there still as it was.
    async fn renew(
        &self,
        at: At<'_>,
        key: &[u8],
        item: &Stored,
        deadline_us: i64,
        end: Instant,
    ) -> Result<bool>;

    /// How many rows went.
    async fn delete_keys(&self, at: At<'_>, keys: &[&str], end: Instant) -> Result<u64>;

    /// How many keys went with the session.
    async fn delete_session(&self, at: At<'_>, end: Instant) -> Result<u64>;

    /// How many keys went with the user.
    async fn delete_user(&self, user: &[u8], end: Instant) -> Result<u64>;

    /// The first keys after one, in the order of their bytes.
    async fn keys(&self, at: At<'_>, after: &str, limit: i64, end: Instant)
    -> Result<Vec<Vec<u8>>>;

    /// The first ids after one of sessions that hold anything, in the order of their bytes.
    async fn sessions(
        &self,
        user: &[u8],
        after: &str,
        limit: i64,
        end: Instant,
    ) -> Result<Vec<Vec<u8>>>;

    /// Takes away some of what has expired, but for what others work on. What came due first goes first; what came
    /// due after `due_by_us`, where it is given, is left if it may live on.
    async fn expire(&self, due_by_us: Option<i64>, end: Instant) -> Result<Expired>;

    /// Those of the next sessions and users that seem to hold nothing. The cursor moves on.
    async fn scan(&self, cursor: &mut Cursor, end: Instant) -> Result<Vec<Owner>>;

    /// Takes away the rows of those of these owners that hold nothing; how many rows went.
    async fn tidy(&self, owners: &[Owner], end: Instant) -> Result<u64>;

    /// Ends idle connections now, and others once their calls have answered.
    async fn close(&self);
}

/// A key, and what stands there.
pub(super) type Row = (Vec<u8>, Stored);

/// A user and a session: their ids.
pub(super) type Owner = (Vec<u8>, Vec<u8>);

/// What went with a batch of what has expired.
pub(super) struct Expired {
    /// Whose it was, row by row.
    pub(super) owners: Vec<Owner>,
    /// Whether it was not full: there was no more to look at.
    pub(super) is_last: bool,
    /// When it began, by the server's clock, where what lives on may come due again.
    pub(super) began_us: Option<i64>,
}

/// How far the scans for empty namespaces have come.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) session: Owner,
    pub(super) user: Vec<u8>,
    sessions_are_seen: bool,
    users_are_seen: bool,
}

impl Cursor {
    /// Moves past a batch of sessions and one of users, each with whether it holds nothing; those
    /// that do not. A batch that is not full was the last, and the scan begins anew.
    pub(super) fn advance(
        &mut self,
        sessions: Vec<(Owner, bool)>,
        users: Vec<(Owner, bool)>,
    ) -> Vec<Owner> {
        self.sessions_are_seen |= sessions.len() < BATCH;
        self.users_are_seen |= users.len() < BATCH;
        let last = |batch: &[(Owner, bool)]| match batch.last() {
            Some((owner, _)) if batch.len() == BATCH => owner.clone(),
            _ => Owner::default(),
        };
        self.session = last(&sessions);
        self.user = last(&users).0;
        let empty = |(owner, holds_nothing): (Owner, bool)| holds_nothing.then_some(owner);
        sessions.into_iter().chain(users).filter_map(empty).collect()
    }

    /// Whether every row has been looked at since the cursor was made.
    pub(super) fn has_seen_all(&self) -> bool {
        self.sessions_are_seen && self.users_are_seen
    }
}

/// Rows of one batch: of what has expired, and of what a scan looks at.
pub(super) const BATCH: usize = 1000;

/// Items that are written by one statement, at most.
pub(super) const ITEMS: usize = 64;
