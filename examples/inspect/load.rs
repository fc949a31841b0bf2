//! Users that are not there.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use scopecache::{Cache, Scope, SetOptions};

const THREADS: u64 = 2;
const USERS: u64 = 3000;
const SESSIONS: u64 = 3;
const PAGES: u64 = 12;
/// Less than all users together would fill.
const MAX_BYTES: u64 = 8 << 20;
/// Calls of a thread between two short pauses: the load leaves most of a core to others.
const BURST: u64 = 4000;
const PAUSE: Duration = Duration::from_millis(5);

/// Threads that use a cache until they are told to end.
pub(crate) struct Load {
    pub(crate) cache: Cache,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<scopecache::Result<()>>>,
}

impl Load {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let cache = Cache::builder()
            .max_bytes(MAX_BYTES)
            .default_ttl(Duration::from_secs(5))
            .record_stats()
            .build()?;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS).map(|thread| {
            let (cache, stop) = (cache.clone(), Arc::clone(&stop));
            thread::Builder::new().spawn(move || play(&cache, &stop, thread))
        });
        let threads = threads.collect::<Result<_, _>>()?;
        Ok(Self { cache, stop, threads })
    }

    pub(crate) fn end(self) -> Result<(), Box<dyn Error>> {
        // Relaxed: it is only asked whether to end.
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a thread of the load panicked")??;
        }
        Ok(())
    }
}

/// Pages that are loaded and read again, log-ins, log-outs, and users that go for good.
fn play(cache: &Cache, stop: &AtomicBool, thread: u64) -> scopecache::Result<()> {
    let mut call = 0_u64;
    // Relaxed: as above.
    while !stop.load(Ordering::Relaxed) {
        call += 1;
        // The finalizer of MurmurHash3 draws.
        let mixed = (call * THREADS + thread).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let mixed = mixed ^ mixed >> 33;
        // Few users come often: the product of two numbers leans to the small ones.
        let number = (mixed % USERS) * (mixed / USERS % USERS) / USERS;
        let user = format!("user-{number}");
        let session = cache.session(&user, &format!("browser-{}", mixed / 3 % SESSIONS))?;
        visit(&session, mixed)?;
        match mixed >> 54 {
            0..4 => drop(cache.user(&user)?.delete_all()?),
            4..40 => drop(session.delete_all()?),
            // Somebody asks for what is nowhere, and again.
            40..60 => drop(cache.user("user-lost")?.get("nothing")?),
            _ => {}
        }
        if call.is_multiple_of(BURST) {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn visit(session: &Scope, mixed: u64) -> scopecache::Result<()> {
    let page = format!("page-{}", mixed / 7 % PAGES);
    let loader = || {
        if mixed.is_multiple_of(500) { Err("the database is away") } else { Ok("<p>".repeat(60)) }
    };
    match session.get_or_load(page, loader) {
        Err(error) if error.kind() == scopecache::ErrorKind::Loader => {}
        answer => drop(answer?),
    }
    if mixed.is_multiple_of(5) {
        session.set("cart", "3 apples")?;
    }
    if mixed.is_multiple_of(50) {
        let short = SetOptions::new().ttl(Duration::from_millis(500));
        session.set_with("token", "secret", short)?;
        session.take("cart")?;
    }
    Ok(())
}
