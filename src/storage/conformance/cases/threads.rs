//! Several clients at once: histories for the linearizability checker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::item::Version;
use crate::options::Condition;
use crate::storage::conformance::history::{Answer, Event, Op, Place, When, check};
use crate::storage::conformance::rng::Rng;
use crate::storage::conformance::world::{Actor, Verdict, World, wrong};
use crate::storage::{Options, Storage};

const CLIENTS: usize = 3;
const CALLS: usize = 6;

/// Histories a case, as many as there is time for.
const MOST_HISTORIES: u64 = 300;
const TIME: Duration = Duration::from_secs(3);

/// What the programs of a case do.
#[derive(Clone, Copy)]
enum Mix {
    OneKey,
    WholeUser,
}

pub(super) async fn writes_of_one_key_are_linearizable(world: &World<'_>) -> Verdict {
    histories(world, Mix::OneKey).await
}

pub(super) async fn deletes_and_writes_are_linearizable(world: &World<'_>) -> Verdict {
    histories(world, Mix::WholeUser).await
}

async fn histories(world: &World<'_>, mix: Mix) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    let started = Instant::now();
    for seed in 0..MOST_HISTORIES {
        // Each history has a user of its own.
        let user = format!("user {seed}");
        let (stamps, events) = (AtomicU64::new(1), Mutex::new(Vec::new()));
        let actors = clients.iter().enumerate().map(|(thread, client)| {
            let (user, stamps, events) = (&user, &stamps, &events);
            Box::pin(async move {
                let mut rng = Rng::new(seed << 8 | thread as u64);
                let mut known = Vec::new();
                for call in 0..CALLS {
                    let value = (thread * CALLS + call) as u32;
                    let op = pick(mix, &mut rng, value, &known);
                    // SeqCst: a call stamped after a return comes after it for everybody.
                    let called = stamps.fetch_add(1, Ordering::SeqCst);
                    let answer = make(&**client, user, op).await?;
                    let returned = stamps.fetch_add(1, Ordering::SeqCst);
                    known.extend(answer.version());
                    let event = Event { called, returned, thread, op, answer };
                    events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event);
                }
                Ok(())
            }) as Actor<'_>
        });
        world.together(actors.collect())?;
        let events = events.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        check(&events).map_err(|why| wrong(format!("history of seed {seed}: {why}")))?;
        if started.elapsed() > TIME {
            break;
        }
    }
    Ok(())
}

fn pick(mix: Mix, rng: &mut Rng, value: u32, known: &[Version]) -> Op {
    let at = match mix {
        Mix::OneKey => Place { space: 1, key: 0 },
        Mix::WholeUser => Place { space: rng.below(3) as u8, key: rng.below(2) as u8 },
    };
    let version = match known.len() as u64 {
        0 => Version::from_u64(0),
        count => known[rng.below(count) as usize],
    };
    match rng.below(match mix {
        Mix::OneKey => 11,
        Mix::WholeUser => 16,
    }) {
        0..=2 => Op::Get(at),
        3 | 4 => Op::Write(at, When::Always, value),
        5 => Op::Write(at, When::Absent, value),
        6 => Op::Write(at, When::Present, value),
        7 | 8 => Op::Write(at, When::Version(version), value),
        9 => Op::Take(at),
        10 => Op::Delete(at),
        11 | 12 => Op::Write(at, When::Always, value),
        13 => Op::DeleteSpace(1 + rng.below(2) as u8),
        _ => Op::DeleteSpace(0),
    }
}

/// Space 0 is the user, the others are its sessions.
fn options(user: &str, space: u8) -> Options<'_> {
    match space {
        0 => Options::new().with_user(user),
        1 => Options::new().with_user_session(user, "s"),
        _ => Options::new().with_user_session(user, "t"),
    }
}

async fn make(storage: &dyn Storage, user: &str, op: Op) -> Result<Answer> {
    let name = |at: Place| (["k", "l"][usize::from(at.key)], options(user, at.space));
    let number = |data: &[u8]| std::str::from_utf8(data).ok()?.parse().ok();
    Ok(match op {
        Op::Get(at) => {
            let (key, options) = name(at);
            let item = storage.get(key, options).await?;
            Answer::Item(item.map(|item| (number(&item.data), item.version)))
        }
        Op::Take(at) => {
            let (key, options) = name(at);
            let item = storage.take(key, options).await?;
            Answer::Item(item.map(|item| (number(&item.data), item.version)))
        }
        Op::Write(at, when, value) => {
            let (key, options) = name(at);
            let data = value.to_string().into();
            let condition = match when {
                When::Always => {
                    return Ok(Answer::Stored(Some(storage.set(key, data, options).await?)));
                }
                When::Absent => Condition::Absent,
                When::Present => Condition::Present,
                When::Version(version) => Condition::Version(version),
            };
            Answer::Stored(storage.write(key, data, condition, options).await?)
        }
        Op::Delete(at) => {
            let (key, options) = name(at);
            storage.delete(options.with_key(key)).await?;
            Answer::Done
        }
        Op::DeleteSpace(space) => {
            storage.delete(options(user, space)).await?;
            Answer::Done
        }
    })
}
