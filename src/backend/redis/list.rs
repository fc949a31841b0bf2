//! Listings: cursors followed to their end, in steps that keep the server busy for a moment each.

use std::collections::BTreeSet;

use redis::Cmd;
use tokio::time::Instant;

use super::RedisStorage;
use super::layout::Names;
use crate::error::Result;

/// A step is to look at no more bytes of items: the server reads them whole.
const BYTES_A_STEP: u64 = 256 << 10;

/// How many names the first step asks for, and the most that one does.
const FIRST: u64 = 16;
const MOST: u64 = 512;

/// A cursor of the server, and how many names to ask for next.
struct Cursor {
    /// Nothing at the end.
    position: Option<Vec<u8>>,
    count: u64,
}

impl RedisStorage {
    /// The keys of a namespace.
    pub(super) async fn all_keys(&self, names: &Names, end: Instant) -> Result<BTreeSet<String>> {
        let mut keys = BTreeSet::new();
        let mut cursor = Cursor::new();
        // A part may name again what an earlier one did.
        while let Some(part) = self.next_keys(&mut cursor, names, end).await? {
            keys.extend(part);
        }
        Ok(keys)
    }

    /// The ids of a user's sessions that hold anything.
    pub(super) async fn all_sessions(
        &self,
        names: &Names,
        end: Instant,
    ) -> Result<BTreeSet<String>> {
        type Part = (Vec<u8>, Vec<Vec<u8>>, Vec<Vec<u8>>, u64);
        let script = &self.scripts.list_sessions;
        let mut sessions = BTreeSet::new();
        let mut unknown = Vec::new();
        let mut cursor = Cursor::new();
        while let Some(list) = cursor.ask(|| self.call(script, names, &names.base())) {
            let (next, alive, open, bytes): Part = self.line.run(end, script, &list).await?;
            cursor.go_on(next, bytes);
            sessions.extend(texts(alive));
            unknown.extend(texts(open));
        }
        // Those that begin with much that has expired: a step may not be enough to see that.
        for session in unknown {
            let names = names.of_session(&session);
            let mut cursor = Cursor::new();
            while let Some(part) = self.next_keys(&mut cursor, &names, end).await? {
                if !part.is_empty() {
                    sessions.insert(session);
                    break;
                }
            }
        }
        Ok(sessions)
    }

    /// The next part of the keys, `None` after the last.
    async fn next_keys(
        &self,
        cursor: &mut Cursor,
        names: &Names,
        end: Instant,
    ) -> Result<Option<Vec<String>>> {
        let script = &self.scripts.list_keys;
        let Some(list) = cursor.ask(|| self.call(script, names, &names.hash())) else {
            return Ok(None);
        };
        let (next, keys, bytes): (Vec<u8>, Vec<Vec<u8>>, u64) =
            self.line.run(end, script, &list).await?;
        cursor.go_on(next, bytes);
        Ok(Some(texts(keys).collect()))
    }
}

impl Cursor {
    fn new() -> Self {
        Self { position: Some(b"0".to_vec()), count: FIRST }
    }

    /// The call for the next part, unless this is the end.
    fn ask(&self, list: impl FnOnce() -> Cmd) -> Option<Cmd> {
        let position = self.position.as_ref()?;
        let mut list = list();
        list.arg(position).arg(self.count);
        Some(list)
    }

    fn go_on(&mut self, next: Vec<u8>, bytes: u64) {
        self.position = (next != b"0").then_some(next);
        self.count = match bytes {
            bytes if bytes > BYTES_A_STEP => (self.count / 4).max(1),
            bytes if bytes < BYTES_A_STEP / 8 => (self.count * 4).min(MOST),
            _ => self.count,
        };
    }
}

/// Ids and keys of this interface are UTF-8; what is not was written by something else.
fn texts(names: Vec<Vec<u8>>) -> impl Iterator<Item = String> {
    names.into_iter().filter_map(|name| String::from_utf8(name).ok())
}
