//! The scripts: one for each call that changes something.
//!
//! Each runs on the server at one moment. What is named by a user, a session or a key comes as
//! `KEYS` or `ARGV` and is never parsed, joined into a script or read as a pattern. Keys that are
//! not in `KEYS` are hashes of the same user's sessions: the same prefix, the same slot.

use redis::Script;

/// What all scripts share; see the module's diagram for the keys and the layout of an item.
const SHARED: &str = r"
local g, x, own, base = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local LAST = 9007199254740991

local function is_of(hash, incarnation)
  return incarnation and redis.call('HGET', hash, '') == incarnation
end

local function decode(item)
  if not item then return nil end
  local created, deadline, ttl, last = struct.unpack('>I8I8I8I8', item, 9)
  if deadline ~= 0 and deadline <= now then return nil end
  return {version = string.sub(item, 1, 8), created = created, deadline = deadline, ttl = ttl,
    last = last, data = string.sub(item, 41)}
end

local function find(hash, field)
  if not is_of(hash, redis.call('GET', g)) then return nil end
  return decode(redis.call('HGET', hash, field))
end

local function after(span)
  return math.min(now + span, LAST)
end

-- A key that was just made has no end; one that lasts for ever stays so.
local function last_until(key, is_new, deadline)
  if deadline == 0 then
    if not is_new then redis.call('PERSIST', key) end
    return
  end
  local ends = math.ceil(deadline / 1000)
  local left = redis.call('PTTL', key)
  if is_new or (left >= 0 and math.floor(now / 1000) + left < ends) then
    redis.call('PEXPIREAT', key, string.format('%.0f', ends))
  end
end

-- Stores an item; `fresh` names the incarnation if the user has none.
local function store(hash, sid, field, item, fresh, fields_expire)
  local incarnation = redis.call('GET', g)
  local is_new = not incarnation
  if is_new then
    incarnation = fresh
    redis.call('SET', g, fresh)
  end
  last_until(g, is_new, item.deadline)
  is_new = not is_of(hash, incarnation)
  if is_new then redis.call('UNLINK', hash) end
  local bytes = item.version ..
    struct.pack('>I8I8I8I8', item.created, item.deadline, item.ttl, item.last) .. item.data
  if is_new then
    redis.call('HSET', hash, '', incarnation, field, bytes)
  else
    redis.call('HSET', hash, field, bytes)
  end
  last_until(hash, is_new, item.deadline)
  if fields_expire == '1' and item.deadline ~= 0 then
    local ends = string.format('%.0f', math.ceil(item.deadline / 1000))
    redis.call('HPEXPIREAT', hash, ends, 'FIELDS', 1, field)
  end
  if sid ~= '' then
    local is_first = redis.call('EXISTS', x) == 0
    redis.call('ZADD', x, 0, sid)
    last_until(x, is_first, item.deadline)
  end
end

-- Takes away what is empty: a session, and the incarnation of a user who has nothing left.
local function tidy(hash, sid)
  if redis.call('HLEN', hash) > 1 then return end
  redis.call('UNLINK', hash)
  if sid ~= '' then redis.call('ZREM', x, sid) end
  if redis.call('EXISTS', x, own) == 0 then redis.call('DEL', g) end
end
";

/// `base` is the hash itself here, and `ARGV[1]` the session's id, empty for a user.
const WRITE: &str = r"
local field, fields_expire, fresh = ARGV[2], ARGV[3], ARGV[4]
local condition, fits, kind = ARGV[7], ARGV[8], ARGV[9]
local old = nil
if condition ~= 'always' or kind == 'keep' then old = find(base, field) end
if condition == 'absent' and old then return 0 end
if condition == 'present' and not old then return 0 end
if condition == 'version' and not (old and old.version == fits) then return 0 end
local item = {version = ARGV[5], data = ARGV[6], created = now, deadline = 0, ttl = 0, last = 0}
if kind == 'keep' and old then
  item.deadline, item.ttl, item.last = old.deadline, old.ttl, old.last
elseif kind == 'ttl' then
  item.deadline = after(tonumber(ARGV[10]))
elseif kind == 'sliding' then
  item.ttl = math.min(tonumber(ARGV[10]), LAST)
  item.last = after(tonumber(ARGV[11]))
  item.deadline = math.min(after(item.ttl), item.last)
end
store(base, ARGV[1], field, item, fresh, fields_expire)
return 1
";

/// A new deadline. With a version: only for that one, by its own TTL (a hit); else for any.
const RENEW: &str = r"
local field = ARGV[2]
local item = find(base, field)
if not item or (ARGV[4] ~= '' and item.version ~= ARGV[4]) then return 0 end
local ttl = ARGV[4] ~= '' and item.ttl or math.min(tonumber(ARGV[5]), LAST)
item.deadline = after(ttl)
if item.ttl ~= 0 then
  item.ttl = ttl
  item.deadline = math.min(item.deadline, item.last)
end
store(base, ARGV[1], field, item, '', ARGV[3])
return item.deadline
";

/// Returns the item as it is stored.
const TAKE: &str = r"
local field = ARGV[2]
if not find(base, field) then return false end
local bytes = redis.call('HGET', base, field)
redis.call('HDEL', base, field)
tidy(base, ARGV[1])
return bytes
";

const DELETE_KEYS: &str = r"
if not is_of(base, redis.call('GET', g)) then return 0 end
local removed = 0
for i = 2, #ARGV do removed = removed + redis.call('HDEL', base, ARGV[i]) end
tidy(base, ARGV[1])
return removed
";

const DELETE_SESSION: &str = r"
local removed = 0
if is_of(base, redis.call('GET', g)) then removed = redis.call('HLEN', base) - 1 end
redis.call('UNLINK', base)
redis.call('ZREM', x, ARGV[1])
if redis.call('EXISTS', x, own) == 0 then redis.call('DEL', g) end
return removed
";

/// `base` is what the names of the sessions' hashes begin with, `KEYS[5]` what waits for its end.
///
/// Without its incarnation nothing of a user is visible any more. Few sessions are unlinked at
/// once; more wait for `SWEEP`. Answers what was removed, and how many sessions wait.
const DELETE_USER: &str = r"
local waiting = KEYS[5]
local incarnation = redis.call('GET', g)
local removed = 0
if is_of(own, incarnation) then removed = redis.call('HLEN', own) - 1 end
redis.call('DEL', g)
redis.call('UNLINK', own)
if redis.call('ZCARD', x) <= 64 and redis.call('EXISTS', waiting) == 0 then
  for _, sid in ipairs(redis.call('ZRANGE', x, 0, -1)) do
    if is_of(base .. sid, incarnation) then
      removed = removed + redis.call('HLEN', base .. sid) - 1
    end
    redis.call('UNLINK', base .. sid)
  end
  redis.call('UNLINK', x)
  return {removed, 0}
end
if redis.call('EXISTS', waiting) == 0 then redis.call('RENAME', x, waiting) end
return {removed, 1}
";

/// Unlinks some of the sessions that wait, but for those that have begun anew.
const SWEEP: &str = r"
local waiting = KEYS[5]
local incarnation = redis.call('GET', g)
if redis.call('EXISTS', waiting) == 0 then
  if incarnation or redis.call('EXISTS', x) == 0 then return {0, 0} end
  redis.call('RENAME', x, waiting)
end
local removed = 0
for _, sid in ipairs(redis.call('ZRANGE', waiting, 0, 63)) do
  local hash = base .. sid
  if redis.call('EXISTS', hash) == 1 and not is_of(hash, incarnation) then
    removed = removed + redis.call('HLEN', hash) - 1
    redis.call('UNLINK', hash)
  end
  redis.call('ZREM', waiting, sid)
end
return {removed, redis.call('ZCARD', waiting)}
";

/// A part of the keys of a hash; what has expired goes on the way.
const LIST_KEYS: &str = r"
local names = {}
if not is_of(base, redis.call('GET', g)) then return {'0', names} end
local page = redis.call('HSCAN', base, ARGV[2], 'COUNT', 200)
for i = 1, #page[2], 2 do
  local field = page[2][i]
  if field ~= '' then
    if decode(page[2][i + 1]) then
      names[#names + 1] = field
    else
      redis.call('HDEL', base, field)
    end
  end
end
tidy(base, ARGV[1])
return {page[1], names}
";

/// A part of the sessions of a user; those that hold nothing alive go on the way.
const LIST_SESSIONS: &str = r"
local names = {}
local incarnation = redis.call('GET', g)
local page = redis.call('ZSCAN', x, ARGV[2], 'COUNT', 50)
for i = 1, #page[2], 2 do
  local sid = page[2][i]
  local hash = base .. sid
  local lives = false
  if is_of(hash, incarnation) then
    local cursor = '0'
    repeat
      local part = redis.call('HSCAN', hash, cursor, 'COUNT', 50)
      for j = 1, #part[2], 2 do
        if part[2][j] ~= '' and decode(part[2][j + 1]) then lives = true end
      end
      cursor = part[1]
    until lives or cursor == '0'
  end
  if lives then
    names[#names + 1] = sid
  else
    redis.call('UNLINK', hash)
    redis.call('ZREM', x, sid)
  end
end
return {page[1], names}
";

/// The scripts as the server takes them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) write: Script,
    pub(super) renew: Script,
    pub(super) take: Script,
    pub(super) delete_keys: Script,
    pub(super) delete_session: Script,
    pub(super) delete_user: Script,
    pub(super) sweep: Script,
    pub(super) list_keys: Script,
    pub(super) list_sessions: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |body: &str| Script::new(&format!("{SHARED}{body}"));
        Self {
            write: script(WRITE),
            renew: script(RENEW),
            take: script(TAKE),
            delete_keys: script(DELETE_KEYS),
            delete_session: script(DELETE_SESSION),
            delete_user: script(DELETE_USER),
            sweep: script(SWEEP),
            list_keys: script(LIST_KEYS),
            list_sessions: script(LIST_SESSIONS),
        }
    }
}
