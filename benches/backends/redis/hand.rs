//! Sessions of users on one Redis server by hand: the driver, two scripts, and a pipeline.
//!
//! Made for items with a TTL, and for nothing else, it gives its users what the storage does: ids and keys of
//! any characters, versions, deadlines that are exact by the server's clock, a deletion of a user that is one
//! moment, counts what went and keeps the server busy for one step at a time, and calls that end in time. An
//! item is visible if its session's hash carries the user's present incarnation.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Script, cmd, pipe};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Keys: the user's incarnation, the session's hash, the user's sessions. Arguments: key, version, data,
/// TTL in microseconds, session. Ends are moved to a second later than they must be, so that not each
/// write moves them.
const SET: &str = r"
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local present = call('GET', KEYS[1])
if not present then
  present = ARGV[2]
  call('SET', KEYS[1], present)
end
local deadline = now + ARGV[4]
local item = ARGV[2] .. struct.pack('>I8I8', now, deadline) .. ARGV[3]
local is_new = call('HGET', KEYS[2], '') ~= present
if is_new then
  call('UNLINK', KEYS[2])
  call('HSET', KEYS[2], '', present, ARGV[1], item)
else
  call('HSET', KEYS[2], ARGV[1], item)
end
local ends = math.ceil(deadline / 1000)
if is_new or call('PTTL', KEYS[2]) + now / 1000 < ends then
  ends = ends + 1000
  call('PEXPIREAT', KEYS[2], ends)
  call('ZADD', KEYS[3], 'GT', ends, ARGV[5])
  for _, key in ipairs({KEYS[1], KEYS[3]}) do
    if call('PTTL', key) + now / 1000 < ends then call('PEXPIREAT', key, ends) end
  end
end
";

/// Keys: the user's incarnation, the user's sessions or what is left of them. Arguments: what the names of
/// the sessions' hashes begin with, and where to keep what is left for another step, which names the
/// incarnation that it is of. Answers how many items went, and whether there is more.
const DELETE_USER: &str = r"
local call = redis.call
local present, gone, removed = call('GET', KEYS[1]), ARGV[3], 0
if not gone then
  gone = present
  present = nil
  call('UNLINK', KEYS[1])
end
local sessions = call('ZRANGE', KEYS[2], 0, 63)
for _, session in ipairs(sessions) do
  local hash = ARGV[1] .. session
  local of = call('HGET', hash, '')
  if of and of == gone then removed = removed + call('HLEN', hash) - 1 end
  if of ~= present then call('UNLINK', hash) end
end
if #sessions < 64 then
  call('UNLINK', KEYS[2])
  return {removed, ''}
end
call('ZREMRANGEBYRANK', KEYS[2], 0, 63)
if KEYS[2] ~= ARGV[2] and call('EXISTS', KEYS[2]) == 1 then call('RENAME', KEYS[2], ARGV[2]) end
return {removed, gone or ''}
";

pub(super) struct Hand {
    driver: ConnectionManager,
    set: Script,
    delete_user: Script,
}

/// What a get answers.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "a caller would read the version and the times; the benchmark does not"
)]
pub(super) struct Item {
    pub(super) data: Bytes,
    version: u64,
    created_us: u64,
    deadline_us: u64,
}

impl Hand {
    pub(super) async fn new(client: Client) -> Self {
        let config = ConnectionManagerConfig::new().set_response_timeout(Some(TIMEOUT));
        let driver = ConnectionManager::new_with_config(client, config).await.expect("connects");
        Self { driver, set: Script::new(SET), delete_user: Script::new(DELETE_USER) }
    }

    pub(super) async fn set(
        &self,
        (user, session): (&str, &str),
        key: &str,
        data: &[u8],
        version: u64,
        ttl: Duration,
    ) {
        let mut set = self.set.prepare_invoke();
        set.key(incarnation(user)).key(hashes(user) + session).key(sessions(user));
        set.arg(key).arg(&version.to_be_bytes()).arg(data);
        set.arg(ttl.as_micros() as u64).arg(session);
        set.invoke_async::<()>(&mut self.driver.clone()).await.expect("stored");
    }

    pub(super) async fn get(&self, (user, session): (&str, &str), key: &str) -> Option<Item> {
        let mut get = pipe();
        get.cmd("TIME").cmd("GET").arg(incarnation(user));
        get.cmd("HMGET").arg(hashes(user) + session).arg("").arg(key);
        type Answer = ((u64, u64), Option<Vec<u8>>, (Option<Vec<u8>>, Option<Vec<u8>>));
        let ((seconds, rest_us), present, (of, item)): Answer =
            get.query_async(&mut self.driver.clone()).await.expect("read");
        let item = Bytes::from(item.filter(|_| present.is_some() && of == present)?);
        let word =
            |at: usize| u64::from_be_bytes(item[at..at + 8].try_into().expect("there is a header"));
        let deadline_us = word(16);
        (deadline_us > seconds * 1_000_000 + rest_us).then(|| Item {
            data: item.slice(24..),
            version: word(0),
            created_us: word(8),
            deadline_us,
        })
    }

    /// Returns how many items there were.
    pub(super) async fn delete_user(&self, user: &str) -> u64 {
        let (mut from, rest) = (sessions(user), format!("hand:d:{user}"));
        let (mut removed, mut gone) = (0, Vec::new());
        loop {
            let mut delete = self.delete_user.prepare_invoke();
            delete.key(incarnation(user)).key(&from).arg(hashes(user)).arg(&rest);
            if !gone.is_empty() {
                delete.arg(&gone);
            }
            let (some, more): (u64, Vec<u8>) =
                delete.invoke_async(&mut self.driver.clone()).await.expect("deleted");
            removed += some;
            if more.is_empty() {
                return removed;
            }
            (from, gone) = (rest.clone(), more);
        }
    }
}

fn incarnation(user: &str) -> String {
    format!("hand:g:{user}")
}

fn sessions(user: &str) -> String {
    format!("hand:x:{user}")
}

/// What the names of the hashes of the user's sessions begin with. The length says where the user ends.
fn hashes(user: &str) -> String {
    format!("hand:s:{}:{user}:", user.len())
}

/// What asks less of whoever writes it: names that need no joining, no limit to how long a call takes, an
/// incarnation and a set that end with whichever session was written last.
pub(super) struct Less {
    driver: ConnectionManager,
    set: Script,
}

const LESS_SET: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local present = redis.call('GET', KEYS[1])
if not present then
  present = ARGV[1]
  redis.call('SET', KEYS[1], present)
end
local deadline = now + ARGV[4]
local item = ARGV[1] .. struct.pack('>I8I8', now, deadline) .. ARGV[3]
local is_new = redis.call('HGET', KEYS[2], '') ~= present
if is_new then
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[2], '', present, ARGV[2], item)
else
  redis.call('HSET', KEYS[2], ARGV[2], item)
end
local ends = math.ceil(deadline / 1000)
if is_new or redis.call('PTTL', KEYS[2]) + now / 1000 < ends then
  redis.call('PEXPIREAT', KEYS[1], ends + 1000)
  redis.call('PEXPIREAT', KEYS[2], ends + 1000)
  redis.call('ZADD', KEYS[3], ends, ARGV[5])
  redis.call('PEXPIREAT', KEYS[3], ends + 1000)
end
return 1
";

impl Less {
    pub(super) async fn new(client: Client) -> Self {
        let config = ConnectionManagerConfig::new().set_response_timeout(None);
        let driver = ConnectionManager::new_with_config(client, config).await.expect("connects");
        Self { driver, set: Script::new(LESS_SET) }
    }

    pub(super) async fn set(&self, key: &str, data: &[u8], version: u64, ttl: Duration) {
        let mut set = self.set.prepare_invoke();
        set.key("less:g").key("less:s").key("less:x");
        set.arg(&version.to_be_bytes()).arg(key).arg(data);
        set.arg(ttl.as_micros() as u64).arg("s");
        set.invoke_async::<()>(&mut self.driver.clone()).await.expect("stored");
    }

    pub(super) async fn get(&self, key: &str) -> Bytes {
        let mut get = pipe();
        get.cmd("TIME").cmd("GET").arg("less:g");
        get.cmd("HMGET").arg("less:s").arg("").arg(key);
        type Answer = ((u64, u64), Vec<u8>, (Vec<u8>, Vec<u8>));
        let ((seconds, rest_us), present, (of, item)): Answer =
            get.query_async(&mut self.driver.clone()).await.expect("read");
        assert_eq!(present, of);
        let deadline = u64::from_be_bytes(item[16..24].try_into().expect("eight"));
        assert!(deadline > seconds * 1_000_000 + rest_us);
        Bytes::from(item).slice(24..)
    }

    /// One command, which promises nothing.
    pub(super) async fn plain_set(&self, key: &str, data: &[u8]) {
        let set = cmd("HSET").arg("plain").arg(key).arg(data).to_owned();
        set.query_async::<()>(&mut self.driver.clone()).await.expect("stored");
    }

    pub(super) async fn plain_get(&self, key: &str) -> Bytes {
        let get = cmd("HGET").arg("plain").arg(key).to_owned();
        get.query_async::<Vec<u8>>(&mut self.driver.clone()).await.expect("read").into()
    }
}
