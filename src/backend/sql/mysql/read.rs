//! Reads on MariaDB and MySQL.

use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{AssertSqlSafe, Row, query};

use super::MySqlEngine;
use super::lists::{one_of, padded, places};
use crate::backend::sql::engine::Row as Found;
use crate::backend::sql::item::{At, Stored};
use crate::backend::sql::pool::Lease;

/// The columns of [`stored`]: the value, and all numbers as one text, with a dash for those that an item does
/// not have. With each answer the server describes each column anew, and the driver reads that: a few digits
/// cost less.
pub(super) fn columns(began: &str, now: &str) -> String {
    let some = |column| format!("IFNULL({column}, '-')");
    let [exp, ttl, last] = ["exp", "ttl", "last"].map(some);
    format!("v, CONCAT_WS(' ', ver, created, {exp}, {ttl}, {last}, {began}, {now})")
}

impl MySqlEngine {
    pub(super) async fn read(
        &self,
        at: At<'_>,
        key: &str,
        lease: &mut Lease<MySql>,
    ) -> Result<Option<Stored>, sqlx::Error> {
        let get = query(self.sql.get.clone()).bind(at.user).bind(at.session).bind(key.as_bytes());
        // The answer to its end, so that a connection that goes back has said all.
        get.fetch_all(lease.next()).await?.first().map(stored).transpose()
    }

    pub(super) async fn read_many(
        &self,
        at: At<'_>,
        keys: &[&str],
        lease: &mut Lease<MySql>,
    ) -> Result<Vec<Found>, sqlx::Error> {
        let text = format!("{}{}", self.sql.get_many, one_of("k", places(keys.len())));
        let mut get = query(AssertSqlSafe(text)).bind(at.user).bind(at.session);
        for key in padded(keys) {
            get = get.bind(key.as_bytes());
        }
        let found = |row: &MySqlRow| Ok((row.try_get(2)?, stored(row)?));
        get.fetch_all(lease.next()).await?.iter().map(found).collect()
    }
}

fn stored(row: &MySqlRow) -> Result<Stored, sqlx::Error> {
    let numbers = std::str::from_utf8(row.try_get(1)?).map_err(|_| wrong())?;
    let [version, created, exp, ttl, last, began, seen] = parse(numbers).ok_or_else(wrong)?;
    let there = |number: Option<i64>| number.ok_or_else(wrong);
    Ok(Stored {
        data: row.try_get(0)?,
        version: there(version)?,
        created_us: there(created)?,
        deadline_us: exp,
        sliding_us: ttl,
        last_us: last,
        began_us: there(began)?,
        seen_us: there(seen)?,
    })
}

/// Numbers with a space between them, and a dash for none.
fn parse<const COUNT: usize>(text: &str) -> Option<[Option<i64>; COUNT]> {
    let mut words = text.split(' ');
    let mut numbers = [None; COUNT];
    for number in &mut numbers {
        *number = match words.next()? {
            "-" => None,
            word => Some(word.parse().ok()?),
        };
    }
    words.next().is_none().then_some(numbers)
}

fn wrong() -> sqlx::Error {
    sqlx::Error::Decode("the numbers of a row are not what was asked for".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_server_writes_them() {
        assert_eq!(parse("1 - -9223372036854775808"), Some([Some(1), None, Some(i64::MIN)]));
        assert_eq!(parse::<2>("1 2 3"), None);
        assert_eq!(parse::<2>("1"), None);
        assert_eq!(parse::<2>("1 9223372036854775808"), None);
        assert_eq!(parse::<1>(""), None);
    }
}
