//! A write of a user that is far over its quota takes place at its first try, though little may be
//! retired at a time.
//!
//! One test in a process of its own: the epochs are the process's, and the guard of another test
//! would keep what goes.

use scopecache::{Cache, Maintenance};

#[test]
fn a_write_far_over_its_quota_takes_place_at_once() -> scopecache::Result<()> {
    let cache: Cache = Cache::builder()
        .maintenance(Maintenance::Manual)
        .max_bytes(1 << 30)
        .max_retired_bytes(1 << 20)
        .build()?;
    let user = cache.user("ada")?;
    let fill = || (0..20_000).try_for_each(|key| user.set(format!("{key}"), &[1; 200]).map(drop));
    fill()?;
    cache.set_user_quota("ada", Some(10_000))?;
    user.set("key", &[1; 200])?;
    let usage = user.usage()?;
    assert!(usage.bytes <= 10_000 && usage.entries > 1, "{usage:?}: no more goes than has to");

    // In the quota, and a value that wants nearly all of it.
    cache.set_user_quota("ada", Some(4 << 20))?;
    fill()?;
    user.set("large", vec![1; (4 << 20) - 1000])?;
    assert!(user.usage()?.bytes <= 4 << 20 && user.contains("large")?);
    while cache.maintain(1000).pending {}
    cache.validate().expect("sound");
    Ok(())
}
