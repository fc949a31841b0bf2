//! That something does not exist, remembered for a TTL of its own: `Option` as the value, and a
//! policy of expiry that looks at it.

use std::convert::Infallible;
use std::time::Duration;

use scopecache::{Cache, ExpiryPolicy, MockClock, Scope};

use crate::{MINUTE, SECOND};

type Row = Option<String>;

const ABSENT: Duration = Duration::from_secs(5);

fn rows(clock: &MockClock) -> Cache<Row> {
    let ttl = |row: &Row| if row.is_some() { MINUTE } else { ABSENT };
    Cache::builder()
        .expiry(ExpiryPolicy::per_entry(move |_, _, row: &Row| Some(ttl(row))))
        .refresh_after(8 * SECOND)
        .clock(clock.clone())
        .build()
        .expect("valid settings")
}

/// What the cache says of the row, and whether the database was asked for it.
fn ask(scope: &Scope<Row>, database: Option<&str>) -> (Row, bool) {
    let mut asked = false;
    let loader = || {
        asked = true;
        Ok::<_, Infallible>(database.map(String::from))
    };
    let item = scope.get_or_load("row", loader).expect("a value");
    (item.into_value(), asked)
}

#[test]
fn a_missing_row_is_asked_for_once_in_its_time() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = rows(&clock);
    let scope = cache.user("ada")?;
    let some = |row: &str| Some(String::from(row));
    for _ in 0..3 {
        assert_eq!(ask(&scope, None), (None, true));
        clock.advance(ABSENT - Duration::from_nanos(1));
        // Also when there is one by now: that is what its own, shorter TTL is for.
        assert_eq!(ask(&scope, Some("new")), (None, false));
        clock.advance(Duration::from_nanos(1));
    }
    assert_eq!(ask(&scope, Some("new")), (some("new"), true));
    clock.advance(7 * SECOND);
    assert_eq!(ask(&scope, None), (some("new"), false));
    // It is refreshed like any value, and may turn out to be gone.
    clock.advance(SECOND);
    assert_eq!(ask(&scope, None), (None, true));
    assert_eq!(ask(&scope, Some("newer")), (None, false));
    // Who writes the row, or deletes what is known of it, ends that.
    scope.set("row", some("written"))?;
    assert_eq!(ask(&scope, None), (some("written"), false));
    scope.delete("row")?;
    assert_eq!(ask(&scope, None), (None, true));
    cache.user("ada")?.delete_all()?;
    assert_eq!(ask(&scope, Some("again")), (some("again"), true));
    cache.validate().expect("sound");
    Ok(())
}

/// It is a value: conditional writes and listings see it.
#[test]
fn what_is_known_to_be_missing_is_a_value_like_others() -> scopecache::Result<()> {
    let clock = MockClock::new();
    let cache = rows(&clock);
    let scope = cache.user("ada")?;
    assert_eq!(ask(&scope, None), (None, true));
    assert_eq!(scope.get("row")?.expect("present").value(), &None);
    assert_eq!(scope.keys()?, ["row"]);
    assert!(scope.insert("row", Some("lost".into()))?.is_none());
    assert!(scope.replace("row", Some("there".into()))?.is_some());
    assert_eq!(ask(&scope, None), (Some("there".into()), false));
    assert_eq!(scope.usage()?.entries, 1);
    Ok(())
}
