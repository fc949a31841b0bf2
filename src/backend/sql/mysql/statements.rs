//! The statements for MariaDB and MySQL.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::read::columns;
use crate::backend::sql::engine::BATCH;
use crate::backend::sql::schema::Tables;

/// When the statement began, and this very moment, in microseconds after 1970. The session's time is UTC.
const BEGAN: &str = "TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', NOW(6))";
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', SYSDATE(6))";

/// The places of one row that is inserted, with or without a sliding TTL: most have none, and each value that
/// goes over the wire costs.
pub(super) fn values(slides: bool) -> String {
    let sliding = if slides { format!("?, {BEGAN} + ?") } else { "NULL, NULL".to_owned() };
    format!("(?, ?, ?, ?, ?, {BEGAN}, {BEGAN} + ?, {sliding})")
}

/// The text of each statement, or what comes before and after the names of the rows.
///
/// `VALUES` of a duplicate, and assignments from left to right that see those before them, are of both
/// servers. A row that a statement waits for is looked at as it is once the wait is over.
pub(super) struct Statements {
    pub(super) get: SqlStr,
    pub(super) get_many: String,
    /// Of what does not slide, and of what does.
    pub(super) insert: [SqlStr; 2],
    /// Of what does not slide, with a TTL of its own, and keeping that of what it overwrites.
    pub(super) upsert: [SqlStr; 2],
    pub(super) upsert_sliding: SqlStr,
    pub(super) insert_many: String,
    pub(super) upsert_many: [String; 2],
    pub(super) update: [[SqlStr; 2]; 2],
    pub(super) make_user: SqlStr,
    pub(super) make_session: SqlStr,
    pub(super) delete_expired: SqlStr,
    pub(super) delete_version: SqlStr,
    pub(super) touch: SqlStr,
    pub(super) renew: SqlStr,
    pub(super) delete_keys: String,
    pub(super) lock_session: SqlStr,
    pub(super) delete_session_keys: SqlStr,
    pub(super) delete_session: SqlStr,
    pub(super) lock_user: SqlStr,
    pub(super) delete_user_keys: SqlStr,
    pub(super) delete_user: SqlStr,
    pub(super) keys: SqlStr,
    pub(super) sessions: SqlStr,
    pub(super) find_expired: SqlStr,
    pub(super) scan_sessions: SqlStr,
    pub(super) scan_users: SqlStr,
    pub(super) without_keys: String,
    pub(super) without_sessions: String,
}

impl Statements {
    pub(super) fn new(tables: &Tables) -> Self {
        let Tables { usr, sess, kv, .. } = tables;
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        let insert_many =
            format!("INSERT INTO {kv} (u, s, k, v, ver, created, exp, ttl, last) VALUES");
        let insert = [false, true].map(|slides| format!("{insert_many} {}", values(slides)));
        let over = "ON DUPLICATE KEY UPDATE v = VALUES(v), ver = VALUES(ver), \
                    created = VALUES(created)";
        let anew = format!("{over}, exp = VALUES(exp), ttl = VALUES(ttl), last = VALUES(last)");
        // One look at the clock for all three.
        let keeping = format!(
            "{over}, exp = IF(exp > {NOW}, exp, NULL), ttl = IF(exp IS NULL, NULL, ttl), \
             last = IF(exp IS NULL, NULL, last)"
        );
        let of_key = "u = ? AND s = ? AND k = ?";
        let columns = columns(BEGAN, NOW);
        let alive = format!("(exp IS NULL OR exp > {NOW})");
        let update = |expiry: &str, condition: &str| {
            text(format!(
                "UPDATE {kv} SET v = ?, ver = ?, created = {BEGAN}{expiry} \
                 WHERE {of_key} AND {alive}{condition}"
            ))
        };
        let expiry = format!(", exp = {BEGAN} + ?, ttl = ?, last = {BEGAN} + ?");
        let fits = " AND ver = ?";
        Self {
            get: text(format!("SELECT {columns} FROM {kv} WHERE {of_key}")),
            get_many: format!("SELECT {columns}, k FROM {kv} WHERE u = ? AND s = ? AND "),
            upsert: [&anew, &keeping].map(|over| text(format!("{} {over}", insert[0]))),
            upsert_sliding: text(format!("{} {anew}", insert[1])),
            upsert_many: [anew, keeping],
            insert_many,
            insert: insert.map(text),
            update: [
                [update(&expiry, ""), update(&expiry, fits)],
                [update("", ""), update("", fits)],
            ],
            make_user: text(format!("INSERT IGNORE INTO {usr} (u) VALUES (?)")),
            make_session: text(format!("INSERT IGNORE INTO {sess} (u, s) VALUES (?, ?)")),
            delete_expired: text(format!("DELETE FROM {kv} WHERE {of_key} AND exp <= {NOW}")),
            delete_version: text(format!(
                "DELETE FROM {kv} WHERE {of_key} AND {alive} AND ver = ?"
            )),
            touch: text(format!(
                "UPDATE {kv} SET exp = LEAST({BEGAN} + ?, IFNULL(last, {BEGAN} + ?)), \
                 ttl = IF(ttl IS NULL, NULL, ?) WHERE {of_key} AND {alive}"
            )),
            renew: text(format!(
                "UPDATE {kv} SET exp = ? WHERE {of_key} AND {alive} AND ver = ? AND ttl = ? \
                 AND exp < ?"
            )),
            delete_keys: format!("DELETE FROM {kv} WHERE u = ? AND s = ? AND "),
            lock_session: text(format!("SELECT s FROM {sess} WHERE u = ? AND s = ? FOR UPDATE")),
            delete_session_keys: text(format!("DELETE FROM {kv} WHERE u = ? AND s = ?")),
            delete_session: text(format!("DELETE FROM {sess} WHERE u = ? AND s = ?")),
            lock_user: text(format!(
                "SELECT COUNT(*) FROM {usr} LEFT JOIN {sess} ON {sess}.u = {usr}.u \
                 WHERE {usr}.u = ? FOR UPDATE"
            )),
            delete_user_keys: text(format!("DELETE FROM {kv} WHERE u = ?")),
            delete_user: text(format!("DELETE FROM {usr} WHERE u = ?")),
            keys: text(format!(
                "SELECT k FROM {kv} WHERE u = ? AND s = ? AND k > ? AND {alive} ORDER BY k LIMIT ?"
            )),
            sessions: text(format!(
                "SELECT s FROM {sess} WHERE u = ? AND s > ? AND EXISTS (SELECT 1 FROM {kv} \
                 WHERE {kv}.u = {sess}.u AND {kv}.s = {sess}.s AND {alive}) ORDER BY s LIMIT ?"
            )),
            find_expired: text(format!(
                "SELECT u, s, k FROM {kv} WHERE exp <= {BEGAN} ORDER BY exp LIMIT {BATCH} \
                 FOR UPDATE SKIP LOCKED"
            )),
            scan_sessions: text(format!(
                "SELECT u, s, CAST(NOT EXISTS (SELECT 1 FROM {kv} WHERE {kv}.u = {sess}.u \
                 AND {kv}.s = {sess}.s) AS SIGNED) FROM {sess} \
                 WHERE u > ? OR (u = ? AND s > ?) ORDER BY u, s LIMIT {BATCH}"
            )),
            scan_users: text(format!(
                "SELECT u, CAST(NOT EXISTS (SELECT 1 FROM {sess} WHERE {sess}.u = {usr}.u) \
                 AS SIGNED) FROM {usr} WHERE u > ? ORDER BY u LIMIT {BATCH}"
            )),
            without_keys: format!(
                " AND NOT EXISTS (SELECT 1 FROM {kv} WHERE {kv}.u = {sess}.u AND {kv}.s = {sess}.s)"
            ),
            without_sessions: format!(
                " AND NOT EXISTS (SELECT 1 FROM {sess} WHERE {sess}.u = {usr}.u)"
            ),
        }
    }
}
