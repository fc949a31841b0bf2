//! The scripts: one for each call that changes something.
//!
//! Each runs on the server at one moment. What is named by a user, a session or a key comes as
//! `KEYS` or `ARGV` and is never joined into a script or read as a pattern. Keys that are not in
//! `KEYS` are named by their user's prefix and a suffix of known length.

/// How many sessions a step unlinks at most, and after how many items that the server frees on the spot
/// it ends: it is to keep the server busy for less than a millisecond.
const STEP: &str = "64";
const FREED: &str = "1500";

/// How long nobody may have worked on a deleted incarnation until others do, in milliseconds.
const ABANDONED: &str = "10000";

/// The keys of all scripts but [`SET`], see the module's diagram: `base` is the namespace's hash, or what the
/// names of the sessions' hashes begin with; `dead` lists what waits, see [`super::lists`].
const NAMES: &str = r"
local call = redis.call
local g, x, own, base, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
";

const CLOCK: &str = r"
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
";

/// What most scripts go on with; see the module's diagram for the layout of an item. `ARGV[1]` is the
/// session's id, empty for a user. Functions are made anew whenever a script runs, so each script has those
/// alone that it needs.
const HEAD: &str = r"
local sid = ARGV[1]

local function is_of(hash, incarnation)
  return incarnation and call('HGET', hash, '') == incarnation
end

local function decode(item)
  if not item or #item < 40 then return nil end
  local created, deadline, ttl, last = struct.unpack('>I8I8I8I8', item, 9)
  if deadline ~= 0 and deadline <= now then return nil end
  return {version = string.sub(item, 1, 8), created = created, deadline = deadline, ttl = ttl,
    last = last, data = string.sub(item, 41)}
end
";

const WHOLE: &str = r"
local function whole(number)
  return string.format('%.0f', number)
end
";

/// What makes ends follow deadlines.
const ENDING: &str = r"
-- Lets a key live until then at least; where that changes its end, a second longer, so that not each
-- write changes it again. Answers the new end, or nothing where the old one will do.
local function extend(key, is_new, least)
  if least == FOREVER then
    if is_new or call('PERSIST', key) == 1 then return least end
    return nil
  end
  if not is_new then
    local left = call('PTTL', key)
    if left < 0 or now_ms + left >= least then return nil end
  end
  call('PEXPIREAT', key, whole(least + 1000))
  return least + 1000
end

-- Lets the namespace's hash live as long as the item, and what leads to the hash as long as that.
local function outlive(ends, is_new, is_first)
  -- Whatever is in a hash, its end comes after theirs, and those of the set and of the incarnation
  -- after it.
  local hash_ends = extend(base, is_new, ends + 100)
  if not hash_ends then return end
  extend(g, is_first, hash_ends)
  if sid == '' then return end
  local score = hash_ends == FOREVER and '+inf' or whole(hash_ends)
  local is_alone = call('EXISTS', x) == 0
  if is_new then call('ZADD', x, score, sid) else call('ZADD', x, 'GT', score, sid) end
  extend(x, is_alone, hash_ends)
  if is_new then
    -- Sessions that ended by themselves: each that begins takes some along.
    local over = call('ZRANGEBYSCORE', x, '-inf', '(' .. whole(now_ms - 1000), 'LIMIT', 0, 4)
    for _, one in ipairs(over) do call('ZREM', x, one) end
  end
end
";

/// What stores. The first command that changes anything is one that the server refuses when its memory
/// is full: it refuses none of those that follow.
const STORING: &str = r"
local function find(hash, field)
  if not is_of(hash, call('GET', g)) then return nil end
  return decode(call('HGET', hash, field))
end

local function after(span)
  return math.min(now + span, LAST)
end

-- Stores an item; `fresh` names the incarnation if the user has none. Answers whether that was so.
local function store(field, item, fresh)
  local incarnation = call('GET', g)
  local is_first = not incarnation
  if is_first then
    incarnation = fresh
    call('SET', g, fresh)
  end
  local bytes = item.version ..
    struct.pack('>I8I8I8I8', item.created, item.deadline, item.ttl, item.last) .. item.data
  local is_new = call('HGET', base, '') ~= incarnation
  if is_new then
    if call('EXISTS', base) == 1 then call('UNLINK', base) end
    call('HSET', base, '', incarnation, field, bytes)
  else
    call('HSET', base, field, bytes)
  end
  local ends = item.deadline == 0 and FOREVER or math.ceil(item.deadline / 1000)
  if FIELDS_EXPIRE and ends ~= FOREVER then
    call('HPEXPIREAT', base, whole(ends), 'FIELDS', 1, field)
  end
  outlive(ends, is_new, is_first)
  return is_first
end
";

const RENEWING: &str = r"
-- A new deadline for an item that is there, within its last one where it slides.
local function renew(field, item, ttl)
  item.deadline = after(ttl)
  if item.ttl ~= 0 then
    item.ttl = ttl
    item.deadline = math.min(item.deadline, item.last)
  end
  store(field, item, '')
  return item.deadline
end
";

const GATHERING: &str = r"
-- Adds to `names` the hashes of a deleted incarnation until they are enough for a step. Answers how many it
-- looked at, and the entries that go with them.
local function gather(names, hashes, sids, incarnation, present)
  local done, removed, freed = 0, 0, 0
  for _, one in ipairs(sids) do
    done = done + 1
    local hash = hashes .. one
    local of = call('HGET', hash, '')
    if of and of ~= present then
      local size = call('HLEN', hash)
      if of == incarnation then removed = removed + size - 1 end
      names[#names + 1] = hash
      -- What is larger the server frees on another thread.
      if size <= 64 then freed = freed + size end
      if freed > FREED then break end
    end
  end
  return done, removed
end
";

/// What unlinks sessions of deleted incarnations.
const SWEEPING: &str = r"
-- Unlinks some sessions of a deleted incarnation. Answers entries removed, and whether any are left;
-- whoever goes on then says so to the others.
local function sweep(list, goes_on)
  local user, incarnation = string.sub(list, 1, -10), string.sub(list, -8)
  local sids = call('ZRANGE', list, 0, STEP - 1)
  local names = {}
  local done, removed = gather(names, user .. 's', sids, incarnation, call('GET', user .. 'g'))
  if #names > 0 then call('UNLINK', unpack(names)) end
  call('ZREMRANGEBYRANK', list, 0, done - 1)
  if call('EXISTS', list) == 1 then
    if goes_on then call('ZADD', dead, whole(now_ms), list) end
    return removed, true
  end
  call('ZREM', dead, list)
  return removed, false
end

-- A step for whoever died or gave up while sweeping. Answers whether there was one.
local function adopt()
  local due = whole(now_ms - ABANDONED)
  local list = call('ZRANGEBYSCORE', dead, '-inf', due, 'LIMIT', 0, 1)[1]
  if list then sweep(list, false) end
  return list and 1 or 0
end
";

const TIDYING: &str = r"
-- Takes away what is empty: a session, and the incarnation of a user who has nothing left.
local function tidy()
  if call('HLEN', base) > 1 then return end
  call('UNLINK', base)
  if sid ~= '' then call('ZREM', x, sid) end
  if call('EXISTS', x, own) == 0 then call('DEL', g) end
end
";

/// Stores one item whatever is there, for good or for a TTL: what most writes are, so straight on, and back
/// as soon as all that is left to do is done.
///
/// `ARGV`: session, key, version, data, then the TTL and, where it slides, the maximum lifetime.
const SET: &str = r"
local call = redis.call
local g, x, base, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local field, version, span, lifetime = ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline, ttl, last = 0, 0, 0
if span then
  deadline = math.min(now + span, LAST)
  if lifetime then
    ttl = math.min(tonumber(span), LAST)
    last = math.min(now + lifetime, LAST)
    deadline = math.min(deadline, last)
  end
end
-- A user without an incarnation gets one, named by this write. It is the first command that changes
-- anything, as in what stores otherwise.
local incarnation = call('GET', g)
local is_first = not incarnation
if is_first then
  incarnation = version
  call('SET', g, incarnation)
end
-- The item, into the hash; one of another incarnation, which waits to be unlinked, makes room first.
local item = version .. struct.pack('>I8I8I8I8', now, deadline, ttl, last) .. ARGV[4]
local is_new = call('HGET', base, '') ~= incarnation
if is_new then
  if call('EXISTS', base) == 1 then call('UNLINK', base) end
  call('HSET', base, '', incarnation, field, item)
else
  call('HSET', base, field, item)
end
local ends = FOREVER
if deadline ~= 0 then
  ends = math.ceil(deadline / 1000)
  if FIELDS_EXPIRE then
    call('HPEXPIREAT', base, string.format('%.0f', ends), 'FIELDS', 1, field)
  end
end
-- A hash that lives long enough, and with it all that leads there, is left as it is.
local now_ms = math.floor(now / 1000)
if not is_new then
  local left = call('PTTL', base)
  if left < 0 or now_ms + left >= ends + 100 then return 1 end
end
local sid = ARGV[1]
";

/// Stores items, each under the same condition (always, not there, present, a version) and with the same
/// expiry (none, kept, a TTL, sliding), and counts them.
const WRITE: &str = r"
local fresh, how, fits, span, lifetime = unpack(ARGV, 2, 6)
local condition, kind = string.sub(how, 1, 1), string.sub(how, 2)
local stored, is_first = 0, false
for i = 7, #ARGV, 3 do
  local field = ARGV[i]
  local old = nil
  if condition ~= 'a' or kind == 'k' then old = find(base, field) end
  if condition == 'a' or (condition == 'n' and not old) or (condition == 'p' and old)
    or (condition == 'v' and old and old.version == fits) then
    local item = {version = ARGV[i + 1], data = ARGV[i + 2], created = now, deadline = 0, ttl = 0,
      last = 0}
    if kind == 't' then
      item.deadline = after(tonumber(span))
    elseif kind == 's' then
      item.ttl = math.min(tonumber(span), LAST)
      item.last = after(tonumber(lifetime))
      item.deadline = math.min(after(item.ttl), item.last)
    elseif kind == 'k' and old then
      item.deadline, item.ttl, item.last = old.deadline, old.ttl, old.last
    end
    is_first = store(field, item, fresh) or is_first
    stored = stored + 1
  end
end
";

/// A new deadline for each field that still has the version that was read, by its own TTL; answers
/// them, 0 for what is another or gone.
const RENEW: &str = r"
local deadlines = {}
for i = 2, #ARGV, 2 do
  local item = find(base, ARGV[i])
  local fits = item and item.version == ARGV[i + 1]
  deadlines[#deadlines + 1] = fits and renew(ARGV[i], item, item.ttl) or 0
end
return deadlines
";

/// A new TTL, whatever the version; answers whether there is an item.
const TOUCH: &str = r"
local item = find(base, ARGV[2])
if not item then return 0 end
renew(ARGV[2], item, math.min(tonumber(ARGV[3]), LAST))
return 1
";

/// Returns the item as it is stored.
const TAKE: &str = r"
local field = ARGV[2]
if not is_of(base, call('GET', g)) then return false end
local bytes = call('HGET', base, field)
if not decode(bytes) then return false end
call('HDEL', base, field)
tidy()
return bytes
";

const DELETE_KEYS: &str = r"
if not is_of(base, call('GET', g)) then return 0 end
local removed = 0
for i = 2, #ARGV do removed = removed + call('HDEL', base, ARGV[i]) end
tidy()
return removed
";

const DELETE_SESSION: &str = r"
local removed = 0
if is_of(base, call('GET', g)) then removed = call('HLEN', base) - 1 end
call('UNLINK', base)
call('ZREM', x, sid)
if call('EXISTS', x, own) == 0 then call('DEL', g) end
adopt()
return removed
";

/// Without its incarnation nothing of a user is visible any more. A user of few sessions is unlinked whole,
/// straight on and by one command: each is a good part of the time that the script takes. Answers what was
/// removed, and the name of the list that waits for `SWEEP`: none.
const DELETE_USER: &str = r"
local incarnation = call('GET', g)
local removed = 0
if incarnation and call('HGET', own, '') == incarnation then removed = call('HLEN', own) - 1 end
local sids = call('ZRANGE', x, 0, STEP - 1)
local names = {g, own}
local done, gathered = gather(names, base, sids, incarnation, nil)
removed = removed + gathered
local is_whole = done > 0 and done == #sids and done < STEP
if is_whole then names[#names + 1] = x end
call('UNLINK', unpack(names))
if is_whole then return {removed, ''} end
";

/// Goes on where the user had no session: with what others have left; or too many: they become a list.
const DELETE_MORE: &str = r"
if done == 0 then
  adopt()
  return {removed, ''}
end
call('ZREMRANGEBYRANK', x, 0, done - 1)
if call('EXISTS', x) == 0 then return {removed, ''} end
-- Named by `fresh` where the incarnation is lost and what it held is not.
local list = string.sub(own, 1, -2) .. 'd' .. (incarnation or ARGV[2])
call('RENAME', x, list)
call('ZADD', dead, whole(now_ms), list)
return {removed, list}
";

/// One more step; answers what was removed, and whether more is left.
const SWEEP: &str = r"
local removed, is_more = sweep(ARGV[2], true)
return {removed, is_more and 1 or 0}
";

/// A step of what others have left, and nothing else.
const ADOPT: &str = "return adopt()";

/// A part of the keys of a hash, and the bytes that were looked at; what has expired goes on the way.
const LIST_KEYS: &str = r"
local names, seen = {}, 0
if not is_of(base, call('GET', g)) then return {'0', names, seen} end
local page = call('HSCAN', base, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local field, bytes = page[2][i], page[2][i + 1]
  seen = seen + #bytes
  if field ~= '' then
    if decode(bytes) then
      names[#names + 1] = field
    else
      call('HDEL', base, field)
    end
  end
end
tidy()
return {page[1], names, seen}
";

/// A part of the sessions of a user: those with a live item among their first ones, and those of which
/// that is not known. What has nothing at all goes on the way.
const LIST_SESSIONS: &str = r"
local names, open, seen = {}, {}, 0
local incarnation = call('GET', g)
local page = call('ZSCAN', x, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local one = page[2][i]
  local hash = base .. one
  local lives, is_whole = false, true
  if is_of(hash, incarnation) then
    local part = call('HSCAN', hash, '0', 'COUNT', 4)
    for j = 1, #part[2], 2 do
      seen = seen + #part[2][j + 1]
      if part[2][j] ~= '' and decode(part[2][j + 1]) then lives = true end
    end
    is_whole = part[1] == '0'
  end
  if lives then
    names[#names + 1] = one
  elseif is_whole then
    call('UNLINK', hash)
    call('ZREM', x, one)
  else
    open[#open + 1] = one
  end
end
if call('EXISTS', x, own) == 0 then call('DEL', g) end
return {page[1], names, open, seen}
";

/// A script, and the name under which a server knows it that has run it.
pub(super) struct Script {
    pub(super) code: String,
    pub(super) hash: String,
}

/// The scripts as the server takes them.
pub(super) struct Scripts {
    pub(super) set: Script,
    pub(super) write: Script,
    pub(super) renew: Script,
    pub(super) touch: Script,
    pub(super) take: Script,
    pub(super) delete_keys: Script,
    pub(super) delete_session: Script,
    pub(super) delete_user: Script,
    pub(super) sweep: Script,
    pub(super) adopt: Script,
    pub(super) list_keys: Script,
    pub(super) list_sessions: Script,
}

impl Scripts {
    /// `fields_expire`: whether the server ends single fields of a hash by itself.
    pub(super) fn new(fields_expire: bool) -> Self {
        let constants = format!(
            "local STEP, FREED, ABANDONED = {STEP}, {FREED}, {ABANDONED}\n\
             local LAST, FOREVER, FIELDS_EXPIRE = 9007199254740991, math.huge, {fields_expire}"
        );
        let whole = |parts: &[&str]| {
            let code = format!("{constants}{}", parts.concat());
            let hash = redis::Script::new(&code).get_hash().to_owned();
            Script { code, hash }
        };
        let script = |parts: &[&str]| whole(&[NAMES, CLOCK, HEAD, WHOLE, &parts.concat()]);
        let sweeping = [GATHERING, SWEEPING].concat();
        // Only the first write of an incarnation looks whether there is anything to sweep.
        let adopt_first =
            |stored: &str| format!("if is_first then {sweeping} adopt() end return {stored}");
        let reach = format!("outlive(ends, is_new, is_first) {}", adopt_first("1"));
        let delete_more = [CLOCK, WHOLE, SWEEPING, DELETE_MORE].concat();
        Self {
            set: whole(&[SET, WHOLE, ENDING, &reach]),
            write: script(&[ENDING, STORING, WRITE, &adopt_first("stored")]),
            renew: script(&[ENDING, STORING, RENEWING, RENEW]),
            touch: script(&[ENDING, STORING, RENEWING, TOUCH]),
            take: script(&[TIDYING, TAKE]),
            delete_keys: script(&[TIDYING, DELETE_KEYS]),
            delete_session: script(&[&sweeping, DELETE_SESSION]),
            delete_user: whole(&[NAMES, GATHERING, DELETE_USER, &delete_more]),
            sweep: script(&[&sweeping, SWEEP]),
            adopt: script(&[&sweeping, ADOPT]),
            list_keys: script(&[TIDYING, LIST_KEYS]),
            list_sessions: script(&[LIST_SESSIONS]),
        }
    }
}
