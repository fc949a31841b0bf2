//! The statements for PostgreSQL.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::backend::sql::engine::BATCH;
use crate::backend::sql::schema::Tables;

/// When the statement began, and this very moment.
const BEGAN: &str = "now()";
const NOW: &str = "clock_timestamp()";
/// What spans are counted in. Multiplied by more than 2^53, which is 285 years, it is right to 256 of them.
const US: &str = "interval '1 microsecond'";

/// What a read answers, in the order of [`super::stored`], but for the time at which the row was seen.
const COLUMNS: &str = "v, ver, created, exp, ttl, last, now()";

/// The text of each statement.
///
/// One plan serves all calls, those for a session of many keys among many of few: so what it does must follow
/// from the text. Keys that are asked for together are looked up one after another (`OFFSET 0`: not to become a
/// filter on all keys of the session), and whether something is there is asked for each row (`LIMIT 1`, not
/// `EXISTS`, of which the server makes a join, or a hash table of all of `kv`).
///
/// Those that write lock rows in one order: user, session, keys. A write that had the row of a key
/// before it asks for the user's would meet a deletion half way. So the sub-statements of an upsert
/// are chained by counts, which have to be known before the next one begins. A put asks for the session's
/// row after its key's, but only for a key that is new: no deletion waits for what it cannot see.
///
/// Where `exp` may move, `due` becomes the earlier of itself and the new `exp` (`LEAST`, which passes over nulls).
///
/// A batch of `expire` is what was due by a moment, as it is once its rows are locked. What somebody has written since
/// the statement began is locked in its new version, which the statement's other parts do not see: it stays as it is,
/// and due, for the next one. So the batch says how many rows it looked at, not only which went.
pub(super) struct Statements {
    pub(super) get: SqlStr,
    pub(super) get_many: SqlStr,
    /// With a TTL of its own, and keeping that of what it overwrites: without a sliding TTL and where the
    /// session is known to be there, or is found there, which most writes are and which costs least, and
    /// otherwise.
    pub(super) put_known: [SqlStr; 2],
    pub(super) put: [SqlStr; 2],
    pub(super) upsert: [SqlStr; 2],
    pub(super) upsert_many: [SqlStr; 2],
    pub(super) insert: SqlStr,
    pub(super) update: SqlStr,
    pub(super) take: SqlStr,
    pub(super) touch: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) delete_keys: SqlStr,
    pub(super) delete_key: SqlStr,
    pub(super) lock_session: SqlStr,
    pub(super) delete_session: SqlStr,
    pub(super) lock_user: SqlStr,
    pub(super) delete_user: SqlStr,
    pub(super) keys: SqlStr,
    pub(super) sessions: SqlStr,
    pub(super) expire: SqlStr,
    pub(super) scan_sessions: SqlStr,
    pub(super) scan_users: SqlStr,
    pub(super) lock_empty_sessions: SqlStr,
    pub(super) delete_empty_sessions: SqlStr,
    pub(super) lock_empty_users: SqlStr,
    pub(super) delete_empty_users: SqlStr,
}

impl Statements {
    pub(super) fn new(tables: &Tables) -> Self {
        let Tables { usr, sess, kv, .. } = tables;
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        let insert = |item: &str, expiry: &str, of: &str| {
            format!(
                "INSERT INTO {kv} AS old (u, s, k, v, ver, created, exp, due, ttl, last) \
                 SELECT $1, $2, {item}, {BEGAN}, {BEGAN} + $6 * {US}, {BEGAN} + $6 * {US}, \
                  {expiry} {of} \
                 ON CONFLICT (u, s, k) DO UPDATE \
                 SET v = excluded.v, ver = excluded.ver, created = excluded.created, "
            )
        };
        let upsert = |item: &str, of_items: &str| {
            let of = format!("{of_items} WHERE (SELECT count(*) FROM q) >= 0");
            format!(
                "WITH p AS (INSERT INTO {usr} (u) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1), \
                 q AS (INSERT INTO {sess} (u, s) SELECT $1, $2 WHERE (SELECT count(*) FROM p) >= 0 \
                  ON CONFLICT DO NOTHING RETURNING 1) {}",
                insert(item, &format!("$7, {BEGAN} + $8 * {US}"), &of)
            )
        };
        let in_session = format!("FROM {sess} WHERE u = $1 AND s = $2");
        let put_known = insert("$3, $4, $5", "NULL, NULL", "");
        let put = insert("$3, $4, $5", "NULL, NULL", &in_session);
        let one = upsert("$3, $4, $5", "");
        let many = upsert("i.k, i.v, i.ver", "FROM unnest($3, $4, $5) AS i (k, v, ver)");
        let anew = "exp = excluded.exp, due = LEAST(old.due, excluded.exp), \
                    ttl = excluded.ttl, last = excluded.last";
        // One look at the clock for all three.
        let keeping = format!(
            "(exp, ttl, last) = (SELECT a.exp, a.ttl, a.last \
             FROM (VALUES (old.exp, old.ttl, old.last)) AS a (exp, ttl, last) WHERE a.exp > {NOW})"
        );
        // Locks the row first and looks at the clock then.
        let locked = format!(
            "WITH l AS MATERIALIZED \
             (SELECT ver, exp FROM {kv} WHERE u = $1 AND s = $2 AND k = $3 FOR UPDATE) \
             UPDATE {kv} AS old"
        );
        let found = format!(
            "FROM l WHERE old.u = $1 AND old.s = $2 AND old.k = $3 \
             AND (l.exp IS NULL OR l.exp > {NOW})"
        );
        let later = format!("timestamptz 'epoch' + $4 * {US}");
        let of_session = format!("FROM {kv} WHERE {kv}.u = {sess}.u AND {kv}.s = {sess}.s");
        let no_key = format!("(SELECT 1 {of_session} LIMIT 1) IS NULL");
        let no_session = format!("(SELECT 1 FROM {sess} WHERE {sess}.u = {usr}.u LIMIT 1) IS NULL");
        let of_key = "WHERE u = $1 AND s = $2 AND k = $3";
        Self {
            get: text(format!("SELECT {COLUMNS}, {NOW} FROM {kv} {of_key}")),
            get_many: text(format!(
                "SELECT found.* FROM unnest($3) AS asked (k), LATERAL (SELECT {COLUMNS}, {NOW}, k \
                 FROM {kv} WHERE u = $1 AND s = $2 AND {kv}.k = asked.k OFFSET 0) AS found"
            )),
            insert: text(format!("{one}{anew} WHERE old.exp <= {NOW}")),
            put_known: [format!("{put_known}{anew}"), format!("{put_known}{keeping}")].map(text),
            put: [format!("{put}{anew}"), format!("{put}{keeping}")].map(text),
            upsert: [format!("{one}{anew}"), format!("{one}{keeping}")].map(text),
            upsert_many: [format!("{many}{anew}"), format!("{many}{keeping}")].map(text),
            update: text(format!(
                "{locked} SET v = $4, ver = $5, created = {BEGAN}, \
                 exp = CASE WHEN $9 THEN old.exp ELSE {BEGAN} + $6 * {US} END, \
                 due = CASE WHEN $9 THEN old.due ELSE LEAST(old.due, {BEGAN} + $6 * {US}) END, \
                 ttl = CASE WHEN $9 THEN old.ttl ELSE $7 END, \
                 last = CASE WHEN $9 THEN old.last ELSE {BEGAN} + $8 * {US} END \
                 {found} AND ($10::bigint IS NULL OR l.ver = $10)"
            )),
            take: text(format!("DELETE FROM {kv} {of_key} RETURNING {COLUMNS}, {NOW}")),
            touch: text(format!(
                "{locked} SET exp = LEAST({BEGAN} + $4 * {US}, old.last), \
                 due = LEAST(old.due, {BEGAN} + $4 * {US}, old.last), \
                 ttl = CASE WHEN old.ttl IS NULL THEN NULL ELSE $4 END {found}"
            )),
            renew: text(format!(
                "{locked} SET exp = {later} {found} \
                 AND l.ver = $5 AND old.ttl = $6 AND old.exp < {later}"
            )),
            delete_keys: text(format!(
                "DELETE FROM {kv} USING (SELECT $1 AS u, $2 AS s, k FROM unnest($3) AS asked (k) OFFSET 0) \
                 AS asked WHERE {kv}.u = asked.u AND {kv}.s = asked.s AND {kv}.k = asked.k"
            )),
            delete_key: text(format!("DELETE FROM {kv} {of_key}")),
            lock_session: text(format!("SELECT 1 FROM {sess} WHERE u = $1 AND s = $2 FOR UPDATE")),
            delete_session: text(format!(
                "WITH d AS (DELETE FROM {kv} WHERE u = $1 AND s = $2 RETURNING 1), \
                 e AS (DELETE FROM {sess} WHERE u = $1 AND s = $2) SELECT count(*) FROM d"
            )),
            lock_user: text(format!(
                "SELECT count(*) FROM (SELECT 1 FROM {usr}, {sess} \
                 WHERE {usr}.u = $1 AND {sess}.u = $1 FOR UPDATE) AS all_of"
            )),
            delete_user: text(format!(
                "WITH d AS (DELETE FROM {kv} WHERE u = $1 RETURNING 1), \
                 e AS (DELETE FROM {usr} WHERE u = $1) SELECT count(*) FROM d"
            )),
            keys: text(format!(
                "SELECT k FROM {kv} WHERE u = $1 AND s = $2 AND k > $3 \
                 AND (exp IS NULL OR exp > {NOW}) ORDER BY k LIMIT $4"
            )),
            sessions: text(format!(
                "SELECT s FROM {sess} WHERE u = $1 AND s > $2 \
                 AND (SELECT 1 {of_session} AND (exp IS NULL OR exp > {NOW}) LIMIT 1) IS NOT NULL \
                 ORDER BY s LIMIT $3"
            )),
            expire: text(format!(
                "WITH d AS MATERIALIZED (SELECT ctid, exp <= {BEGAN} AS is_over FROM {kv} \
                  WHERE due <= LEAST({BEGAN}, timestamptz 'epoch' + $1 * {US}) \
                  ORDER BY due LIMIT {BATCH} FOR UPDATE SKIP LOCKED), \
                 lives AS (UPDATE {kv} SET due = exp WHERE ctid = ANY (ARRAY \
                  (SELECT ctid FROM d WHERE is_over IS NOT TRUE))), \
                 gone AS (DELETE FROM {kv} WHERE ctid = ANY (ARRAY \
                  (SELECT ctid FROM d WHERE is_over)) RETURNING u, s) \
                 SELECT n, {BEGAN}, u, s FROM (SELECT count(*) FROM d) AS looked_at (n) \
                 LEFT JOIN gone ON true"
            )),
            scan_sessions: text(format!(
                "SELECT u, s, {no_key} FROM {sess} WHERE (u, s) > ($1, $2) ORDER BY u, s LIMIT {BATCH}"
            )),
            scan_users: text(format!(
                "SELECT u, {no_session} FROM {usr} WHERE u > $1 ORDER BY u LIMIT {BATCH}"
            )),
            lock_empty_sessions: text(format!(
                "SELECT {sess}.u, {sess}.s FROM {sess} JOIN unnest($1, $2) AS c (u, s) \
                 ON {sess}.u = c.u AND {sess}.s = c.s WHERE {no_key} \
                 FOR UPDATE OF {sess} SKIP LOCKED"
            )),
            delete_empty_sessions: text(format!(
                "DELETE FROM {sess} USING unnest($1, $2) AS c (u, s) \
                 WHERE {sess}.u = c.u AND {sess}.s = c.s AND {no_key}"
            )),
            lock_empty_users: text(format!(
                "SELECT u FROM {usr} WHERE u = ANY($1) AND {no_session} FOR UPDATE SKIP LOCKED"
            )),
            delete_empty_users: text(format!(
                "DELETE FROM {usr} WHERE u = ANY($1) AND {no_session}"
            )),
        }
    }
}
