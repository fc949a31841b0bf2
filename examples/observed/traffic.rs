//! Users that are not there.

use std::sync::Arc;
use std::time::Duration;

use scopecache::{Options, Storage, StorageExt};

const USERS: u64 = 2000;
const PAUSE: Duration = Duration::from_millis(5);

/// Reads, writes, misses, log-outs and errors, until the storage is closed.
pub(crate) async fn play(storage: Arc<dyn Storage>) -> scopecache::Result<()> {
    let mut round = 0_u64;
    loop {
        round += 1;
        // Few users come often: the product of two numbers leans to the small ones.
        let mixed = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let user = format!("user-{}", (mixed % USERS) * (mixed / USERS % USERS) / USERS);
        let session = Options::new().with_user_session(&user, "browser");
        for page in 0..mixed % 20 {
            let key = format!("page-{page}");
            let rendered = async { Ok::<_, std::io::Error>("<html>".repeat(100)) };
            storage.get_or_load(&key, session, rendered).await?;
        }
        storage.get("cart", session).await?;
        storage.set("cart", "3 apples".into(), session).await?;
        match mixed % 100 {
            0 => drop(storage.delete(Options::new().with_user(&user)).await?),
            1..5 => drop(storage.delete(session).await?),
            5..20 => drop(storage.take("cart", session).await?),
            // Somebody programmed this wrong; the dashboard shows it.
            20 => drop(storage.get("", session).await),
            _ => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
