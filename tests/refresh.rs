//! Stale while revalidate: what becomes old is loaded again by one caller, and the others go on with
//! the old value.

#[path = "refresh/absent.rs"]
mod absent;
#[path = "refresh/calls.rs"]
mod calls;
#[path = "refresh/claims.rs"]
mod claims;
#[path = "refresh/load.rs"]
mod load;

use std::time::Duration;

use scopecache::{Cache, CacheBuilder, Item, Maintenance, MockClock, Scope};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Refreshes after eight seconds, and a failure rests for one to two.
fn builder(clock: &MockClock) -> CacheBuilder<scopecache::Blob> {
    let builder = Cache::builder().maintenance(Maintenance::Manual).clock(clock.clone());
    builder.refresh_after(8 * SECOND)
}

fn text(item: &Item) -> &str {
    std::str::from_utf8(item.data()).expect("text")
}

fn peek(scope: &Scope, key: &str) -> Option<String> {
    scope.peek(key).expect("open").map(|item| text(&item).into())
}
