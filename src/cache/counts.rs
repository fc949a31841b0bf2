//! Counters of what happens, for those who ask for them.
//!
//! They are split by thread, so that two that count do not wait for one line. A counter is one
//! read-modify-write on a line that the thread has to itself as a rule: exact, and some
//! nanoseconds. Which user misses most is sampled, see [`SpaceSaving`].

mod sketch;

use std::collections::HashMap;

use crossbeam_utils::CachePadded;

pub(crate) use self::sketch::Heavy;
use self::sketch::SpaceSaving;
use crate::namespace::Namespace;
use crate::removal::RemovalCause;
use crate::stripe;
use crate::sync::TryLock;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;

/// Of so many misses one is looked at, on average.
pub(crate) const SAMPLE: u64 = 8;

pub(crate) struct Counts {
    stripes: Box<[Stripe]>,
}

struct Stripe {
    counters: CachePadded<Counters>,
    missing: CachePadded<TryLock<SpaceSaving>>,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    failed_loads: AtomicU64,
    removals: [AtomicU64; RemovalCause::ALL.len()],
}

/// The sums of all stripes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) loads: u64,
    pub(crate) failed_loads: u64,
    pub(crate) removals: [u64; RemovalCause::ALL.len()],
}

/// A loader at work; one that ends without an answer has failed.
pub(crate) struct Loading<'a> {
    counts: Option<&'a Counts>,
    answered: bool,
}

impl Counts {
    /// In so many stripes, a power of two.
    pub(super) fn new(stripes: usize) -> Self {
        let stripe = |_| Stripe {
            counters: CachePadded::default(),
            missing: CachePadded::new(TryLock::new(SpaceSaving::new())),
        };
        Self { stripes: (0..stripes).map(stripe).collect() }
    }

    #[inline]
    pub(super) fn hit(&self) {
        add(&self.mine().counters.hits);
    }

    pub(super) fn miss(&self, namespace: Namespace<'_>) {
        let stripe = self.mine();
        let number = add(&stripe.counters.misses);
        if let Some(user) = namespace.user()
            && is_sampled(number)
        {
            // Somebody else of the stripe is at it: one sample less.
            let _ = stripe.missing.try_with(|missing| missing.add(user));
        }
    }

    pub(super) fn removal(&self, cause: RemovalCause) {
        add(&self.mine().counters.removals[cause as usize]);
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for stripe in &self.stripes {
            totals.hits += read(&stripe.counters.hits);
            totals.misses += read(&stripe.counters.misses);
            totals.loads += read(&stripe.counters.loads);
            totals.failed_loads += read(&stripe.counters.failed_loads);
            for (sum, counter) in totals.removals.iter_mut().zip(&stripe.counters.removals) {
                *sum += read(counter);
            }
        }
        totals
    }

    /// The users that missed most, at most `top`, the first of them first; misses, not samples.
    pub(super) fn heaviest(&self, top: usize) -> Vec<Heavy> {
        let mut by_user: HashMap<Box<str>, Heavy> = HashMap::new();
        for stripe in &self.stripes {
            // Whoever is at it adds one sample.
            let part = loop {
                match stripe.missing.try_with(|missing| missing.all()) {
                    Some(part) => break part,
                    None => crate::sync::yield_now(),
                }
            };
            for heavy in part {
                let sum = by_user.entry(heavy.name.clone()).or_insert_with(|| Heavy {
                    name: heavy.name,
                    count: 0,
                    over: 0,
                });
                sum.count += heavy.count * SAMPLE;
                sum.over += heavy.over * SAMPLE;
            }
        }
        let mut all: Vec<_> = by_user.into_values().collect();
        all.sort_unstable_by(|one, two| {
            two.count.cmp(&one.count).then_with(|| one.name.cmp(&two.name))
        });
        all.truncate(top);
        all
    }

    #[inline]
    fn mine(&self) -> &Stripe {
        &self.stripes[stripe::of_thread(self.stripes.len())]
    }
}

impl<'a> Loading<'a> {
    pub(super) fn new(counts: Option<&'a Counts>) -> Self {
        Self { counts, answered: false }
    }

    /// The loader has answered, with a value or an error.
    pub(super) fn ended<T, E>(mut self, answer: &Result<T, E>) {
        self.answered = answer.is_ok();
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.counts {
            let counters = &counts.mine().counters;
            add(if self.answered { &counters.loads } else { &counters.failed_loads });
        }
    }
}

/// Counts one more; answers how many there were.
#[inline]
fn add(counter: &AtomicU64) -> u64 {
    // Relaxed: a statistic, orders nothing.
    counter.fetch_add(1, Ordering::Relaxed)
}

/// Whether the miss with this number is looked at: the finalizer of MurmurHash3 decides, since every
/// eighth of a regular pattern might always be the same user's.
fn is_sampled(number: u64) -> bool {
    let mixed = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ mixed >> 33).is_multiple_of(SAMPLE)
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_of_eight_is_sampled_of_any_pattern() {
        for stride in [1, 2, 7, 8, 16, 100] {
            let sampled = (0..80_000).filter(|number| is_sampled(number * stride)).count();
            assert!((9_500..10_500).contains(&sampled), "{sampled} of 80,000 in steps of {stride}");
        }
    }

    #[test]
    fn the_sums_are_those_of_all_threads() {
        let counts = Counts::new(4);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counts.hit();
                        counts.miss(Namespace::Global);
                        counts.removal(RemovalCause::Evicted);
                        Loading::new(Some(&counts)).ended(&Ok::<_, ()>(()));
                        drop(Loading::new(Some(&counts)));
                    }
                });
            }
        });
        let totals = counts.totals();
        assert_eq!((totals.hits, totals.misses), (8000, 8000));
        assert_eq!((totals.loads, totals.failed_loads), (8000, 8000));
        assert_eq!(totals.removals, [0, 8000, 0, 0, 0, 0, 0]);
        assert!(counts.heaviest(10).is_empty(), "nobody's misses are no user's");
    }

    #[test]
    fn samples_are_told_as_misses_of_all_threads() {
        let counts = Counts::new(2);
        let names: Vec<_> = (0..64).map(|number| format!("user {number:02}")).collect();
        for stripe in &counts.stripes {
            // Each twice, and then one that finds no place.
            let add = |missing: &mut SpaceSaving| {
                (0..2).for_each(|_| names.iter().for_each(|name| missing.add(name)));
                missing.add("late");
            };
            stripe.missing.try_with(add).expect("nobody else is there");
        }
        let heavy = |name: &str, count, over| Heavy { name: name.into(), count, over };
        let top = counts.heaviest(3);
        assert_eq!(top[0], heavy("late", 6 * SAMPLE, 4 * SAMPLE));
        // Of those that missed as often the names decide; the first one's place was taken.
        assert_eq!(top[1..], [heavy("user 01", 4 * SAMPLE, 0), heavy("user 02", 4 * SAMPLE, 0)]);
    }

    #[test]
    fn who_misses_most_stands_first_and_about_as_often_as_it_did() {
        let counts = Counts::new(2);
        let users: Vec<_> = (0..1000).map(|number| format!("user {number}")).collect();
        let mut misses = 0;
        for round in 0..200 {
            for (number, user) in users.iter().enumerate() {
                // One in so many rounds: the first users miss most.
                if round % (number + 1) == 0 {
                    misses += 1;
                    counts.miss(Namespace::Session { user, session: "s" });
                }
            }
            (0..400).for_each(|_| counts.miss(Namespace::User { user: "the heaviest" }));
        }
        let top = counts.heaviest(3);
        assert_eq!(&*top[0].name, "the heaviest");
        let least = top[0].count - top[0].over;
        assert!(least <= 90_000 && top[0].count > 70_000, "{top:?} of {misses} + 80,000");
        assert_eq!(top.len(), 3);
        assert!(counts.heaviest(0).is_empty());
    }
}
