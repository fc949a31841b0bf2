//! Several clients at once: rules that can be told by counting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{ada, session};
use crate::error::ErrorKind;
use crate::options::Condition;
use crate::storage::conformance::world::{Actor, Verdict, World, ensure, same};
use crate::storage::{Options, Storage, StorageExt};

const CLIENTS: usize = 4;
const ROUNDS: usize = 25;

/// Runs one actor a client at once.
fn at_once<'a, F>(
    world: &World<'_>,
    clients: &'a [Arc<dyn Storage>],
    actor: impl Fn(&'a dyn Storage) -> F,
) -> Verdict
where
    F: Future<Output = Verdict> + Send + 'a,
{
    let actors = clients.iter().map(|client| Box::pin(actor(&**client)) as Actor<'a>);
    world.together(actors.collect())
}

/// Counts those who succeed.
#[derive(Default)]
struct Wins(AtomicUsize);

impl Wins {
    fn add(&self, has_won: bool) {
        // Relaxed: a count, read once the threads are joined.
        self.0.fetch_add(usize::from(has_won), Ordering::Relaxed);
    }
}

pub(super) async fn an_insert_has_one_winner(world: &World<'_>) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    for round in 0..ROUNDS {
        let (key, wins) = (round.to_string(), Wins::default());
        at_once(world, &clients, |client| {
            let insert = client.write(&key, "v".into(), Condition::Absent, session("s"));
            async {
                wins.add(insert.await?.is_some());
                Ok(())
            }
        })?;
        same!(wins.0.into_inner(), 1, "inserts that stored");
    }
    Ok(())
}

pub(super) async fn a_take_has_one_winner(world: &World<'_>) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    for round in 0..ROUNDS {
        let (key, wins) = (round.to_string(), Wins::default());
        world.storage().set(&key, "v".into(), session("s")).await?;
        at_once(world, &clients, |client| {
            let take = client.take(&key, session("s"));
            async {
                wins.add(take.await?.is_some());
                Ok(())
            }
        })?;
        same!(wins.0.into_inner(), 1, "takes that got the item");
    }
    Ok(())
}

pub(super) async fn a_compare_and_set_has_one_winner(world: &World<'_>) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    for round in 0..ROUNDS {
        let (key, wins) = (round.to_string(), Wins::default());
        let version = world.storage().set(&key, "v".into(), ada()).await?;
        at_once(world, &clients, |client| {
            let write = client.write(&key, "w".into(), Condition::Version(version), ada());
            async {
                wins.add(write.await?.is_some());
                Ok(())
            }
        })?;
        same!(wins.0.into_inner(), 1, "writes over one version that stored");
    }
    Ok(())
}

/// Adds one to the number that is stored.
async fn add_one(client: &dyn Storage) -> Verdict {
    let add = |old: &[u8]| {
        let number: usize = std::str::from_utf8(old).unwrap_or("").parse().unwrap_or(0);
        (number + 1).to_string()
    };
    loop {
        match client.update("n", ada(), add).await {
            // It changed nothing, so that it may be repeated.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            answer => {
                ensure!(answer?.is_some(), "an update finds nothing");
                return Ok(());
            }
        }
    }
}

pub(super) async fn updates_are_all_counted(world: &World<'_>) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    world.storage().set("n", "0".into(), ada()).await?;
    for _ in 0..ROUNDS {
        at_once(world, &clients, add_one)?;
    }
    let sum = (CLIENTS * ROUNDS).to_string();
    same!(world.data("n", ada()).await?, Some(sum.into()), "updates counted");
    Ok(())
}

pub(super) async fn a_user_deleted_by_two_is_deleted(world: &World<'_>) -> Verdict {
    let clients = world.clients(CLIENTS).await?;
    for round in 0..ROUNDS {
        let places = [ada(), session("s"), session("t"), session("u")];
        for options in places {
            world.storage().set("k", "v".into(), options).await?;
        }
        for options in places {
            let data = world.data("k", options).await?;
            same!(data, Some("v".into()), "round {round}: set after deletes");
        }
        at_once(world, &clients, |client| {
            let delete = client.delete(ada());
            async {
                delete.await?;
                Ok(())
            }
        })?;
        for options in places {
            same!(world.data("k", options).await?, None, "round {round}: after the deletes");
        }
    }
    Ok(())
}

/// Writers number what they write; whoever deletes knows which numbers had been answered when
/// it began.
pub(super) async fn nothing_deleted_returns(world: &World<'_>) -> Verdict {
    const WRITERS: usize = 3;
    const DELETES: usize = 30;
    let deletes = [ada(), session("0"), ada(), session("1"), ada(), session("2")];
    let (clients, deleter) = (world.clients(WRITERS).await?, world.client().await?);
    let answered = [const { AtomicUsize::new(0) }; WRITERS];
    let is_over = AtomicBool::new(false);
    let place = |writer: usize| session(["0", "1", "2"][writer]);
    let mut actors: Vec<Actor<'_>> = Vec::new();
    for (writer, client) in clients.iter().enumerate() {
        let (answered, is_over) = (&answered[writer], &is_over);
        actors.push(Box::pin(async move {
            // SeqCst: flags of a test, in the order of real time.
            for number in 1.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                client.set("k", number.to_string().into(), place(writer)).await?;
                // SeqCst: as above.
                answered.store(number, Ordering::SeqCst);
                std::thread::yield_now();
            }
            Ok(())
        }));
    }
    let judge = async {
        for round in 0..DELETES {
            let delete = deletes[round % deletes.len()];
            // SeqCst: as above.
            let before = [0, 1, 2].map(|writer| answered[writer].load(Ordering::SeqCst));
            deleter.delete(delete).await?;
            for (writer, before) in before.into_iter().enumerate() {
                if delete != ada() && delete != place(writer) {
                    continue;
                }
                let Some(item) = deleter.get("k", place(writer)).await? else { continue };
                let number = std::str::from_utf8(&item.data).unwrap_or("").parse().unwrap_or(0);
                ensure!(
                    number > before,
                    "round {round}: write {number} is there after a delete that began when write \
                     {before} had been answered"
                );
            }
        }
        Ok(())
    };
    actors.push(Box::pin(async {
        let verdict = judge.await;
        // SeqCst: as above.
        is_over.store(true, Ordering::SeqCst);
        verdict
    }));
    world.together(actors)
}

pub(super) async fn a_user_goes_at_one_moment(world: &World<'_>) -> Verdict {
    const SESSIONS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    const KEYS: [&str; 4] = ["1", "2", "3", "4"];
    let clients = world.clients(3).await?;
    for round in 0..ROUNDS {
        let user = format!("user {round}");
        let place = |name| Options::new().with_user_session(&user, name);
        for name in SESSIONS {
            let items = KEYS.map(|key| (key, "v".into()));
            world.storage().set_many(&items, place(name)).await?;
        }
        let mut actors: Vec<Actor<'_>> = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let user = &user;
            actors.push(Box::pin(async move {
                if number == 0 {
                    client.delete(Options::new().with_user(user)).await?;
                    return Ok(());
                }
                let mut is_gone = false;
                // Forwards and backwards, so that no order of deletion goes unseen.
                for turn in 0..200 {
                    for index in 0..SESSIONS.len() * KEYS.len() {
                        let last = SESSIONS.len() * KEYS.len() - 1;
                        let index = if number == 1 { index } else { last - index };
                        let name = SESSIONS[index / KEYS.len()];
                        let options = Options::new().with_user_session(user, name);
                        let is_there =
                            client.get(KEYS[index % KEYS.len()], options).await?.is_some();
                        ensure!(
                            !is_there || !is_gone,
                            "round {round}: a key is there after another one had gone"
                        );
                        is_gone |= !is_there;
                    }
                    if is_gone && turn > 0 {
                        return Ok(());
                    }
                }
                Ok(())
            }));
        }
        world.together(actors)?;
    }
    Ok(())
}
