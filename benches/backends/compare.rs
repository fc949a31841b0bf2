//! Calls of two clients in turns, and many at once.

use std::time::{Duration, Instant};

/// Calls at once.
const AT_ONCE: usize = 64;

/// For how long many are made at once, each time.
const PASS: Duration = Duration::from_millis(700);

/// Who is compared; the one by hand is the measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Scopecache,
    ByHand,
    Less,
    Plain,
}

impl Who {
    pub(crate) const ALL: &[Self] = &[Self::Scopecache, Self::ByHand, Self::Less, Self::Plain];

    fn name(self) -> &'static str {
        match self {
            Self::Scopecache => "scopecache",
            Self::ByHand => "by hand",
            Self::Less => "hand, less",
            Self::Plain => "plain",
        }
    }
}

/// What is measured.
pub(crate) trait Contest {
    /// Makes what the call needs; its time does not count.
    async fn before(&self, _: Who, _: usize) {}

    async fn call(&self, who: Who, round: usize);

    /// Statements sent so far, where they are counted.
    fn sent(&self, _: Who) -> Option<u64> {
        None
    }
}

pub(crate) fn print_head() {
    println!(
        "call         who            p50, us    p99, us  {AT_ONCE} at once/s   p50 beside by hand   statements"
    );
}

/// One call at a time, of each beside the one by hand; then many at once, each for a while.
///
/// The two take turns call by call, so that each finds what the other left of the processor's caches, as in a program
/// that does something else in between. With more than two at a time, those that use the bare driver would keep
/// what they have in common in the caches for each other. The first of `all` gives the row of the one by hand.
pub(crate) async fn compare(what: &str, all: &[Who], rounds: usize, contest: &impl Contest) {
    let mut rows = Vec::with_capacity(all.len());
    for &who in all.iter().filter(|&&who| who != Who::ByHand) {
        let pair = [who, Who::ByHand];
        let [one, by_hand] = in_turns(pair, rounds, contest).await;
        if rows.is_empty() {
            rows.extend([(who, one, by_hand), (Who::ByHand, by_hand, by_hand)]);
        } else {
            rows.push((who, one, by_hand));
        }
    }
    let many = at_once(all, rounds, contest).await;
    for (who, times, by_hand) in rows {
        let statements = match contest.sent(who) {
            Some(_) => format!("{:.2}", times.sent as f64 / rounds as f64),
            None => "-".to_owned(),
        };
        let index = all.iter().position(|&one| one == who).expect("each has a row");
        println!(
            "{what:12} {:11} {:10.1} {:10.1} {:13.0} {:+18.1} % {statements:>12}",
            who.name(),
            times.p50_us,
            times.p99_us,
            many[index],
            (times.p50_us / by_hand.p50_us - 1.0) * 100.0,
        );
    }
}

/// What calls took, and how many statements they sent.
#[derive(Clone, Copy)]
struct Times {
    p50_us: f64,
    p99_us: f64,
    sent: u64,
}

/// Calls of two, one after the other, once all is made that they need.
async fn in_turns(pair: [Who; 2], rounds: usize, contest: &impl Contest) -> [Times; 2] {
    let mut times = pair.map(|_| Vec::with_capacity(rounds));
    let mut sent = [0; 2];
    for round in 0..rounds {
        for who in pair {
            contest.before(who, round).await;
        }
    }
    for round in 0..rounds {
        for index in [0, 1] {
            let before = contest.sent(pair[index]);
            let begun = Instant::now();
            contest.call(pair[index], round).await;
            times[index].push(begun.elapsed());
            sent[index] += contest.sent(pair[index]).unwrap_or(0) - before.unwrap_or(0);
        }
    }
    [0, 1].map(|index| {
        times[index].sort_unstable();
        let at = |share| times[index][(rounds as f64 * share) as usize].as_secs_f64() * 1e6;
        Times { p50_us: at(0.5), p99_us: at(0.99), sent: sent[index] }
    })
}

/// Calls a second of each.
async fn at_once(all: &[Who], rounds: usize, contest: &impl Contest) -> Vec<f64> {
    let mut many = vec![0.0; all.len()];
    for pass in 0..2 * all.len() {
        let index = pass % all.len();
        let who = all[index];
        let (mut took, mut done) = (Duration::ZERO, 0);
        while took < PASS {
            let at_once = rounds + done..rounds + done + AT_ONCE;
            for round in at_once.clone() {
                contest.before(who, round).await;
            }
            let begun = Instant::now();
            together(at_once.map(|round| contest.call(who, round))).await;
            took += begun.elapsed();
            done += AT_ONCE;
        }
        many[index] = f64::max(many[index], done as f64 / took.as_secs_f64());
    }
    many
}

/// Polls all of them until all are done.
async fn together(calls: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut calls: Vec<_> = calls.map(|call| Some(Box::pin(call))).collect();
    std::future::poll_fn(|context| {
        let mut is_pending = false;
        for call in &mut calls {
            if let Some(future) = call {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(()) => *call = None,
                    std::task::Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
}
