//! Writers that go on whatever happens, and know what must be there.
//!
//! Each has users of its own, one at a time. A call that fails may have been carried out or not, now or
//! later: its user is left alone from then on, and may be found in either state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scopecache::{Error, ErrorKind, Options, Storage};

/// What no error may show.
pub(crate) const PASSWORD: &str = "a-secret-that-nobody-sees";

const WRITERS: usize = 4;
const KEYS: usize = 4;

/// How one fault went on one server.
pub(crate) struct Outcome {
    fault: &'static str,
    server: String,
    acknowledged: u64,
    lost: u64,
    resurrected: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    recovery: Duration,
}

/// What a user holds, key by key.
type State = [Option<u64>; KEYS];

/// A user as its writer left it.
struct Left {
    user: String,
    state: State,
    /// What a call that failed may have made of it.
    or: Option<State>,
    /// All that its keys had held before an acknowledged deletion.
    deleted: BTreeSet<u64>,
}

/// Writers that go on whatever happens.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Vec<Left>>>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    /// Nobody begins a call, and how many have seen that.
    is_held: AtomicBool,
    waiting: AtomicUsize,
    failures: Mutex<BTreeMap<String, u64>>,
    kinds: Mutex<Vec<ErrorKind>>,
}

impl Load {
    /// All writers share a client, as those of a program do.
    pub(crate) fn start<S: Storage>(storage: &Arc<S>) -> Self {
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Shared::default()));
        let tasks = (0..WRITERS)
            .map(|writer| {
                let (storage, stop, shared) = (storage.clone(), stop.clone(), shared.clone());
                tokio::spawn(async move { write(writer, &*storage, &stop, &shared).await })
            })
            .collect();
        Self { stop, shared, tasks }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }

    /// Waits for so many more acknowledged calls; returns how long that took.
    pub(crate) async fn more(&self, calls: u64) -> Duration {
        let (begun, goal) = (Instant::now(), self.acknowledged() + calls);
        while self.acknowledged() < goal {
            assert!(begun.elapsed() < Duration::from_secs(60), "the client does not recover");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    }

    pub(crate) async fn failed(&self, kind: ErrorKind) {
        let begun = Instant::now();
        while !self.shared.kinds.lock().expect("no panic").contains(&kind) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no call fails with {kind:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets each writer end its call and begin no other.
    pub(crate) async fn hold(&self) {
        self.shared.is_held.store(true, SeqCst);
        let begun = Instant::now();
        while self.shared.waiting.load(SeqCst) < WRITERS {
            assert!(begun.elapsed() < Duration::from_secs(60), "a call does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn go_on(&self) {
        self.shared.is_held.store(false, SeqCst);
    }

    /// Stops the writers and looks, with another client of the named server, at what is there.
    pub(crate) async fn end(
        self,
        fault: &'static str,
        server: &str,
        other: &dyn Storage,
        recovery: Duration,
    ) -> Outcome {
        self.stop.store(true, SeqCst);
        let (mut lost, mut resurrected) = (0, 0);
        for task in self.tasks {
            for left in task.await.expect("a writer does not panic") {
                let found = read(other, &left.user).await.expect("read");
                if found == left.state || Some(found) == left.or {
                    continue;
                }
                let back = found.iter().flatten().filter(|value| left.deleted.contains(value));
                resurrected += back.count() as u64;
                lost += 1;
            }
        }
        let failures = self.shared.failures.lock().expect("no panic").clone();
        Outcome {
            fault,
            server: server.to_owned(),
            acknowledged: self.shared.acknowledged.load(SeqCst),
            lost,
            resurrected,
            failures,
            recovery,
        }
    }
}

/// Writes and deletes, until told to stop; returns what must be there.
async fn write(
    writer: usize,
    storage: &dyn Storage,
    stop: &AtomicBool,
    shared: &Shared,
) -> Vec<Left> {
    let mut all = Vec::new();
    let mut number = 0;
    while !stop.load(SeqCst) {
        let user = format!("w{writer}-{}", all.len());
        let mut left = Left { user, state: [None; KEYS], or: None, deleted: BTreeSet::new() };
        while !stop.load(SeqCst) && left.or.is_none() {
            shared.wait_while_held().await;
            number += 1;
            let key = number as usize * 7 % KEYS;
            let mut next = left.state;
            let user = Options::new().with_user(&left.user);
            // Odd keys belong to the user, even ones to a session.
            let of_key = options(&left.user, key);
            let answer = if number % 11 == 0 {
                next = [None; KEYS];
                storage.delete(user).await.map(drop)
            } else if number % 5 == 0 {
                next[key] = None;
                storage.delete(of_key.with_key("k")).await.map(drop)
            } else {
                next[key] = Some(number);
                storage.set("k", number.to_string().into(), of_key).await.map(drop)
            };
            match answer {
                Ok(()) => {
                    for (old, new) in left.state.iter().zip(next) {
                        if let (Some(old), None) = (old, new) {
                            left.deleted.insert(*old);
                        }
                    }
                    left.state = next;
                    shared.acknowledged.fetch_add(1, SeqCst);
                }
                Err(error) => {
                    shared.note(&error);
                    left.or = Some(next);
                }
            }
            // Only here to let others have a turn; nothing is waited for.
            tokio::task::yield_now().await;
        }
        if left.or.is_some() {
            // A server that refuses at once would be asked a million times.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        all.push(left);
    }
    all
}

impl Shared {
    async fn wait_while_held(&self) {
        if !self.is_held.load(SeqCst) {
            return;
        }
        self.waiting.fetch_add(1, SeqCst);
        while self.is_held.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.waiting.fetch_sub(1, SeqCst);
    }

    fn note(&self, error: &Error) {
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "an error shows the password");
        let words = error.to_string();
        assert!(words.contains(": "), "an error does not say what to do: {words}");
        *self.failures.lock().expect("no panic").entry(words).or_default() += 1;
        self.kinds.lock().expect("no panic").push(error.kind());
    }
}

/// Each key has a namespace of its own: two of the user, by name, and sessions.
fn options(user: &str, key: usize) -> Options<'_> {
    const SESSIONS: [&str; KEYS] = ["a", "b", "c", "d"];
    Options::new().with_user_session(user, SESSIONS[key])
}

async fn read(storage: &dyn Storage, user: &str) -> scopecache::Result<State> {
    let mut state = [None; KEYS];
    for (key, value) in state.iter_mut().enumerate() {
        let item = storage.get("k", options(user, key)).await?;
        *value = item.map(|item| {
            String::from_utf8_lossy(&item.data).parse().expect("the number that was written")
        });
    }
    Ok(state)
}

impl Outcome {
    pub(crate) fn passed(&self) -> bool {
        self.lost == 0 && self.resurrected == 0 && self.acknowledged > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, server, acknowledged, lost, resurrected, .. } = self;
        let seconds = self.recovery.as_secs_f64();
        write!(
            f,
            "{fault:20} {server:13} {acknowledged:12} {lost:6} {resurrected:12} {seconds:10.2}"
        )?;
        for (words, times) in &self.failures {
            write!(f, "\n{:27}{times:6} x {words}", "")?;
        }
        Ok(())
    }
}
