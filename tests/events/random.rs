//! Random runs, ten million calls in all: each version that a write answered is reported once, and
//! why is what happened to it.
//!
//! In one thread every cause is known but one: what is evicted, and when, is the cache's own choice.
//! So one run has room for everything, and there no eviction is taken for an answer. With two
//! threads at once what is known is that each version ends once, and which causes it may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use scopecache::{Cache, Condition, MockClock, Removal, RemovalCause, Scope, SetOptions, Version};

use crate::recorder::counting;

/// Calls of all runs together.
const CALLS: u64 = if cfg!(debug_assertions) { 200_000 } else { 10_000_000 };
const USERS: [&str; 3] = ["ada", "bob", "eve"];
const SESSIONS: [&str; 2] = ["s", "t"];
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// The global namespace, and those of the users and of their sessions.
const OWNERS: usize = 1 + USERS.len() * (1 + SESSIONS.len());
const PLACES: usize = OWNERS * KEYS.len();
/// Seconds.
type Time = u64;
const NEVER: Time = Time::MAX;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// A version that was stored.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// Its owner and key, as one number.
    place: usize,
    deadline: Time,
    /// What a call did to it, if one did.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    cause: RemovalCause,
    /// It had expired by then, if it was still there.
    expired: bool,
}

/// What a listener was told: version, place and cause.
type Told = Arc<Mutex<Vec<(u64, usize, RemovalCause)>>>;

fn listener(told: &Told) -> impl Fn(&Removal) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |removal| {
        assert!(removal.bytes() > 0);
        let owner = removal.namespace();
        let at = |id: Option<&str>, ids: &[&str]| {
            id.map(|id| ids.iter().position(|known| *known == id).expect("a known id"))
        };
        let (user, session) = (at(owner.user(), &USERS), at(owner.session(), &SESSIONS));
        let owner = user.map_or(0, |user| {
            1 + user * (1 + SESSIONS.len()) + session.map_or(0, |session| 1 + session)
        });
        let key = KEYS.iter().position(|key| key.as_bytes() == removal.key()).expect("a known key");
        let place = owner * KEYS.len() + key;
        told.lock().expect("no panic").push((removal.version().as_u64(), place, removal.cause()));
    }
}

fn scopes(cache: &Cache) -> Vec<Scope> {
    let mut scopes = vec![cache.global()];
    for user in USERS {
        scopes.push(cache.user(user).expect("a valid id"));
        for session in SESSIONS {
            scopes.push(cache.session(user, session).expect("a valid id"));
        }
    }
    scopes
}

/// Whether a deletion of the owner `of` takes `owner` along.
fn goes_with(owner: usize, of: usize) -> bool {
    let user = |owner: usize| (owner - 1) / (1 + SESSIONS.len());
    let is_user = of > 0 && (of - 1).is_multiple_of(1 + SESSIONS.len());
    owner == of || is_user && owner > 0 && user(owner) == user(of)
}

fn cause_for(of: usize) -> RemovalCause {
    match of {
        0 => RemovalCause::Cleared,
        of if (of - 1).is_multiple_of(1 + SESSIONS.len()) => RemovalCause::UserDeleted,
        _ => RemovalCause::SessionDeleted,
    }
}

/// One thread, and all that it knows.
struct Run {
    cache: Cache,
    clock: MockClock,
    scopes: Vec<Scope>,
    told: Told,
    evicts: bool,
    now: Time,
    /// Versions that are not yet reported.
    lives: HashMap<u64, Life>,
    /// The last version of each place that was stored and not yet ended by a call.
    last: [Option<u64>; PLACES],
    reported: HashMap<RemovalCause, u64>,
    rng: Rng,
}

impl Run {
    fn stored(&mut self, place: usize, version: Version, deadline: Time) {
        self.last[place] = Some(version.as_u64());
        let known = self.lives.insert(version.as_u64(), Life { place, deadline, end: None });
        assert!(known.is_none(), "no version comes twice");
    }

    /// A call ended what is at a place, if anything is.
    fn ended(&mut self, place: usize, cause: RemovalCause) {
        let now = self.now;
        if let Some(version) = self.last[place].take()
            && let Some(life) = self.lives.get_mut(&version)
        {
            life.end = Some(End { cause, expired: life.deadline <= now });
        }
    }

    /// Forgets what is at a place, which the cache said is absent: it has expired, or was evicted.
    fn absent(&mut self, place: usize) {
        self.last[place] = None;
    }

    /// Judges what was reported since the last call.
    fn judge(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().expect("no panic"));
        for (version, place, cause) in told {
            let Some(life) = self.lives.remove(&version) else {
                panic!("{version:#x}: {cause}, and was never stored, or was reported before");
            };
            assert_eq!(life.place, place, "{life:?}");
            let is_due = life.deadline <= self.now;
            let right = match (cause, life.end) {
                (RemovalCause::Evicted, _) => self.evicts,
                (RemovalCause::Expired, None) => is_due,
                (_, None) => false,
                // Taken out by the call, or noticed before.
                (RemovalCause::Expired, Some(end)) => end.expired,
                (cause, Some(end)) => {
                    let of_one =
                        matches!(end.cause, RemovalCause::Replaced | RemovalCause::Deleted);
                    cause == end.cause && !(end.expired && of_one)
                }
            };
            assert!(right, "{cause} at {}: {life:?}", self.now);
            *self.reported.entry(cause).or_default() += 1;
        }
    }

    fn step(&mut self) -> scopecache::Result<()> {
        let place = self.rng.below(PLACES);
        let (owner, key) = (place / KEYS.len(), KEYS[place % KEYS.len()]);
        let ttl = [3, 10, 60][self.rng.below(3)];
        let scope = &self.scopes[owner];
        let (options, deadline) = if self.rng.below(2) == 0 {
            (SetOptions::new().ttl(Duration::from_secs(ttl)), self.now + ttl)
        } else {
            (SetOptions::new(), NEVER)
        };
        match self.rng.below(100) {
            0..30 => {
                let version = scope.set_with(key, "value", options)?;
                self.ended(place, RemovalCause::Replaced);
                self.stored(place, version, deadline);
            }
            30..36 => {
                if let Some(version) = scope.write(key, "value", Condition::Absent, options)? {
                    self.stored(place, version, deadline);
                }
            }
            36..42 => {
                if let Some(version) = scope.write(key, "value", Condition::Present, options)? {
                    self.ended(place, RemovalCause::Replaced);
                    self.stored(place, version, deadline);
                } else {
                    self.absent(place);
                }
            }
            42..48 => {
                let known = self.last[place].and_then(|last| self.lives.get(&last)).copied();
                if let Some(version) = scope.update(key, |_| "other")? {
                    let life = known.expect("what is updated is there");
                    self.ended(place, RemovalCause::Replaced);
                    self.stored(place, version, life.deadline);
                }
            }
            48..55 => {
                if scope.delete(key)? {
                    self.ended(place, RemovalCause::Deleted);
                } else {
                    self.absent(place);
                }
            }
            55..60 => {
                if let Some(item) = scope.take(key)? {
                    assert_eq!(self.last[place], Some(item.version().as_u64()));
                    self.ended(place, RemovalCause::Deleted);
                }
            }
            60..64 => {
                let touched = scope.touch(key, Duration::from_secs(ttl))?;
                if touched && let Some(last) = self.last[place] {
                    let now = self.now;
                    self.lives.get_mut(&last).expect("it is there").deadline = now + ttl;
                }
            }
            64..68 => {
                let mut loaded = false;
                let item = scope.get_or_load(key, || {
                    loaded = true;
                    Ok::<_, std::fmt::Error>("loaded")
                })?;
                if loaded {
                    self.stored(place, item.version(), NEVER);
                } else {
                    assert_eq!(self.last[place], Some(item.version().as_u64()));
                }
            }
            68..70 => drop(scope.lease(key)),
            70..84 => {
                if let Some(item) = scope.get(key)? {
                    assert_eq!(self.last[place], Some(item.version().as_u64()));
                }
            }
            84..86 if self.rng.below(10) == 0 => {
                scope.delete_all()?;
                let gone = (0..PLACES).filter(|place| goes_with(place / KEYS.len(), owner));
                gone.for_each(|place| self.ended(place, cause_for(owner)));
            }
            86 if self.rng.below(20) == 0 => {
                let _ = self.cache.clear();
                (0..PLACES).for_each(|place| self.ended(place, RemovalCause::Cleared));
            }
            87..90 => {
                let seconds = self.rng.below(3) as Time;
                self.clock.advance(Duration::from_secs(seconds));
                self.now += seconds;
            }
            _ => {
                let budget = 1 + self.rng.below(40);
                let _ = self.cache.maintain(budget);
                self.judge();
            }
        }
        Ok(())
    }
}

/// One thread, calls of all kinds, and a model that knows what becomes of each version.
fn run_alone(calls: u64, max_entries: Option<u64>, seed: u64) {
    let told = Told::default();
    let (builder, clock) = counting();
    let builder = match max_entries {
        Some(max) => builder.max_entries(max),
        None => builder.expected_entries(PLACES),
    };
    let cache = builder.shards(2).on_removal(listener(&told)).build().expect("valid settings");
    let mut run = Run {
        scopes: scopes(&cache),
        cache,
        clock,
        told,
        evicts: max_entries.is_some(),
        now: 0,
        lives: HashMap::new(),
        last: [None; PLACES],
        reported: HashMap::new(),
        rng: Rng(seed),
    };
    for call in 0..calls {
        run.step().unwrap_or_else(|error| panic!("call {call} of seed {seed}: {error}"));
    }
    let _ = run.cache.clear();
    (0..PLACES).for_each(|place| run.ended(place, RemovalCause::Cleared));
    while run.cache.maintain(1000).pending {}
    run.judge();
    judge_figures(&run.cache, &run.reported, run.evicts);
    assert!(run.lives.is_empty(), "never reported: {:?}", run.lives);
}

/// Everything has gone, and was counted as it was reported.
fn judge_figures(cache: &Cache, reported: &HashMap<RemovalCause, u64>, evicts: bool) {
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.removals_dropped, stats.listener_panics), (0, 0, 0));
    for cause in RemovalCause::ALL {
        let reported = reported.get(&cause).copied().unwrap_or_default();
        assert_eq!(reported, stats.removals.of(cause), "{cause}");
        let possible = cause != RemovalCause::Evicted || evicts;
        assert_eq!(reported > 0, possible, "{cause}: {reported}");
    }
    cache.validate().expect("sound");
    eprintln!("{:?}", stats.removals);
}

#[test]
fn alone_with_room_for_everything_each_version_ends_once_as_it_must() {
    run_alone(CALLS / 4, None, 1);
}

#[test]
fn alone_in_a_full_cache_each_version_ends_once() {
    run_alone(CALLS / 4, Some(PLACES as u64 / 2), 2);
}

/// Waits while the listener has much before it: a thread that the system puts aside in the midst of
/// it leaves all to the other one's queue, which must not overflow here.
fn let_the_listener_catch_up(cache: &Cache, told: &Told) {
    const MUCH: usize = 4096;
    let waiting = || {
        let told = told.lock().expect("no panic").len();
        // Read after what was told, so that it is no less.
        (cache.stats().removals.total() as usize).saturating_sub(told)
    };
    while waiting() > MUCH {
        let _ = cache.maintain(1000);
        thread::yield_now();
    }
}

/// Calls of one thread; answers which versions it stored, and where.
fn work(
    (cache, told): (&Cache, &Told),
    clock: &MockClock,
    calls: u64,
    seed: u64,
) -> Vec<(u64, usize)> {
    let scopes = scopes(cache);
    let mut rng = Rng(seed);
    let mut stored = Vec::new();
    for call in 0..calls {
        // Each call removes 80 entries at most, all that there are, and mostly less than one.
        if call % 64 == 0 {
            let_the_listener_catch_up(cache, told);
        }
        let place = rng.below(PLACES);
        let (scope, key) = (&scopes[place / KEYS.len()], KEYS[place % KEYS.len()]);
        let ttl = Duration::from_secs([3, 10, 60][rng.below(3)]);
        let options = match rng.below(4) {
            0 | 1 => SetOptions::new(),
            2 => SetOptions::new().ttl(ttl),
            _ => SetOptions::new().ttl(ttl).sliding(3 * ttl),
        };
        let conditions = [Condition::Always, Condition::Absent, Condition::Present];
        let mut keep = |version: Option<Version>| {
            stored.extend(version.map(|version| (version.as_u64(), place)));
        };
        match rng.below(100) {
            0..36 => {
                let condition = conditions[rng.below(3)];
                keep(scope.write(key, "value", condition, options).expect("there is room"));
            }
            36..40 => {
                let options = SetOptions::new().keep_ttl();
                keep(Some(scope.set_with(key, "v", options).expect("there is room")));
            }
            40..46 => keep(scope.update(key, |_| "other").expect("there is room")),
            46..52 => drop(scope.delete(key).expect("open")),
            52..56 => drop(scope.take(key).expect("open")),
            56..60 => drop(scope.touch(key, ttl).expect("there is room")),
            60..64 => {
                if let Ok(lease) = scope.lease(key) {
                    keep(lease.fulfil_with("loaded", options).expect("there is room"));
                }
            }
            64 => drop(scope.lease(key)),
            65..85 => drop(scope.get(key).expect("open")),
            85 if rng.below(4) == 0 => drop(scope.delete_all().expect("open")),
            86 if rng.below(20) == 0 => drop(cache.clear()),
            87 => clock.advance(Duration::from_secs(1)),
            _ => drop(cache.maintain(1 + rng.below(40))),
        }
    }
    stored
}

/// Two threads do everything at once.
fn run_together(calls: u64, max_entries: Option<u64>, seed: u64) {
    let told = Told::default();
    let (builder, clock) = counting();
    let builder = match max_entries {
        Some(max) => builder.max_entries(max),
        None => builder.expected_entries(PLACES),
    };
    let cache = builder.shards(2).on_removal(listener(&told)).build().expect("valid settings");
    let mut lives: HashMap<u64, usize> = thread::scope(|scope| {
        let work = |half| {
            let (cache, clock) = ((&cache, &told), &clock);
            scope.spawn(move || work(cache, clock, calls / 2, 2 * seed + half))
        };
        let halves = [work(0), work(1)];
        halves.into_iter().flat_map(|half| half.join().expect("no panic")).collect()
    });
    let _ = cache.clear();
    while cache.maintain(1000).pending {}
    let told = std::mem::take(&mut *told.lock().expect("no panic"));
    let mut counts: HashMap<RemovalCause, u64> = HashMap::new();
    for (version, place, cause) in told {
        let of = lives.remove(&version);
        assert_eq!(of, Some(place), "{version:#x}: {cause}; none: not stored, or reported before");
        let owner = place / KEYS.len();
        let possible = match cause {
            RemovalCause::Evicted => max_entries.is_some(),
            RemovalCause::SessionDeleted => cause_for(owner) == cause,
            RemovalCause::UserDeleted => owner > 0,
            _ => true,
        };
        assert!(possible, "{cause} at {place}");
        *counts.entry(cause).or_default() += 1;
    }
    judge_figures(&cache, &counts, max_entries.is_some());
    assert!(lives.is_empty(), "{} of them were never reported", lives.len());
}

#[test]
fn two_threads_with_room_for_everything_end_each_version_once() {
    run_together(CALLS / 4, None, 3);
}

#[test]
fn two_threads_in_a_full_cache_end_each_version_once() {
    run_together(CALLS / 4, Some(PLACES as u64 / 2), 4);
}
