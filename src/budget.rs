//! The byte bound: how much is in use, and whether more may be.
//!
//! One global figure bounds all shards together, so that no entry is refused because its shard
//! is full. To spare writers that shared line, each shard keeps a small credit:
//!
//! ```text
//!   limit  =  free (global, >= 0)  +  in use  +  sum of the shards' credits
//! ```
//!
//! Reserving takes from the shard's credit, and from what is free only when that is short;
//! releasing gives to the credit, and what exceeds a limit back to what is free. Where nothing is
//! free, a reservation can gather the credits of all shards before it fails.
//!
//! # A bound that changes
//!
//! The limit is the bound. A higher bound adds to the limit and to what is free. With one that is
//! lower than what is in use there are two ways ([`Excess`]):
//!
//! - what is in use goes: the limit comes down in steps. Each takes what is free just then, as any
//!   reservation does, and takes as much from the limit. A reservation looks at what is free alone,
//!   so none can be measured by a limit that is out of date, and use never passes the limit. (With
//!   what is granted in the place of what is free, a step left that figure as it was, and a
//!   compare-exchange from before the step succeeded after it: ABA.)
//! - it stays: the limit is the new bound, what is free is less than zero, and nothing is reserved
//!   before it fits. There are no credits until then: what is given back would be had again through
//!   them.
//!
//! Amounts are bytes; the bound on the number of entries is another budget of the same kind.

use crossbeam_utils::CachePadded;

use super::figures::{AtomicI64, AtomicU64};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;

/// The largest credit of a shard, in bytes.
const MAX_CREDIT: u64 = 64 << 10;

pub(crate) struct Budget {
    /// The bound.
    max: AtomicU64,
    /// The bound, or more while use comes down to it.
    limit: AtomicU64,
    /// What was in use when the bound was lowered below it, if that stays.
    overdraft: AtomicU64,
    credit_limit: AtomicU64,
    /// Held by who changes the bound or the limit.
    resizing: Mutex<()>,
    free: CachePadded<AtomicI64>,
    credits: Box<[CachePadded<AtomicU64>]>,
}

/// What becomes of that which is in use beyond a lower bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It goes, in steps.
    Goes,
    /// It stays until somebody gives it back.
    Stays,
}

/// A budget as one shard sees it.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    budget: &'a Budget,
    shard: usize,
}

impl Budget {
    pub(crate) fn new(max: u64, shards: usize) -> Self {
        let limit = limit(max);
        Self {
            max: AtomicU64::new(max),
            limit: AtomicU64::new(limit as u64),
            overdraft: AtomicU64::new(0),
            credit_limit: AtomicU64::new(credit_limit(max, shards)),
            resizing: Mutex::new(()),
            free: CachePadded::new(AtomicI64::new(limit)),
            credits: (0..shards).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
        }
    }

    /// The bound.
    #[inline]
    pub(crate) fn max(&self) -> u64 {
        // Relaxed: a figure.
        self.max.load(Ordering::Relaxed)
    }

    /// What may be in use at present: the bound, or more while use comes down to it.
    pub(crate) fn most(&self) -> u64 {
        // Relaxed: figures.
        self.limit.load(Ordering::Relaxed).max(self.overdraft.load(Ordering::Relaxed))
    }

    /// Changes the bound. Where use is above it, it does not grow from now on, and comes down by
    /// [`come_down`](Self::come_down).
    pub(crate) fn resize(&self, max: u64, excess: Excess) {
        let _resizing = self.resizing.lock();
        // Relaxed: figures, changed under the lock alone.
        self.max.store(max, Ordering::Relaxed);
        self.credit_limit.store(credit_limit(max, self.credits.len()), Ordering::Relaxed);
        let (new, old) = (limit(max), self.limit.load(Ordering::Relaxed) as i64);
        if new > old || excess == Excess::Stays {
            // Relaxed: as above. What is free by the new limit belongs to whoever takes it.
            self.limit.store(new as u64, Ordering::Relaxed);
            self.free.fetch_add(new - old, Ordering::Relaxed);
        }
        self.descend();
    }

    /// Whether use is still above the bound, as far as is known.
    pub(crate) fn is_coming_down(&self) -> bool {
        self.most() > limit(self.max()) as u64
    }

    /// Takes what is free from the limit; answers how much more is to go.
    pub(crate) fn come_down(&self) -> u64 {
        let _resizing = self.resizing.lock();
        self.descend()
    }

    /// By who holds `resizing`.
    fn descend(&self) -> u64 {
        self.gather();
        let max = self.max();
        // Relaxed: changed under the lock alone.
        let above = self.limit.load(Ordering::Relaxed) - limit(max) as u64;
        if above > 0 {
            let mut taken = 0;
            if planted!("descend_in_two_steps") {
                // Relaxed: a planted bug.
                taken = self.free.load(Ordering::Relaxed).clamp(0, above as i64);
                self.free.fetch_sub(taken, Ordering::Relaxed);
            } else {
                // Relaxed: what is taken is ours; only the figure's own consistency matters.
                let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                    taken = free.clamp(0, above as i64);
                    (taken > 0).then_some(free - taken)
                });
            }
            // Release: pairs with the Acquire in `used`: who sees the lower limit sees less free.
            let publish =
                if planted!("relaxed_descent") { Ordering::Relaxed } else { Ordering::Release };
            self.limit.fetch_sub(taken as u64, publish);
            return above - taken as u64;
        }
        // Relaxed: a figure.
        let over = (-self.free.load(Ordering::Relaxed)).max(0) as u64;
        let (overdraft, credits) = match over {
            0 => (0, credit_limit(max, self.credits.len())),
            _ => (max + over, 0),
        };
        // Relaxed: as above.
        self.overdraft.store(overdraft, Ordering::Relaxed);
        self.credit_limit.store(credits, Ordering::Relaxed);
        over
    }

    fn credit_limit(&self) -> u64 {
        // Relaxed: a figure.
        self.credit_limit.load(Ordering::Relaxed)
    }

    /// Bytes in use; never more than [`most`](Self::most). While the bound is raised it may for a moment be
    /// less than what is in use: limit and free are two words.
    pub(crate) fn used(&self) -> u64 {
        // Relaxed: figures. Credits first: bytes that move from what is free to a credit meanwhile
        // count as in use rather than never.
        let credits: u64 = self.credits.iter().map(|credit| credit.load(Ordering::Relaxed)).sum();
        // Acquire: pairs with the Release in `descend`; else what it took might not count.
        let limit = self.limit.load(Ordering::Acquire);
        let free = self.free.load(Ordering::Relaxed); // Relaxed: as above.
        limit.saturating_add_signed(-free).saturating_sub(credits)
    }

    pub(crate) fn account(&self, shard: usize) -> Account<'_> {
        Account { budget: self, shard }
    }

    /// Takes from what is free.
    fn grant(&self, bytes: u64) -> bool {
        if planted!("grant_in_two_steps") {
            // Relaxed: a planted bug.
            let fits = i64::try_from(bytes).is_ok_and(|b| b <= self.free.load(Ordering::Relaxed));
            if fits {
                self.free.fetch_sub(bytes as i64, Ordering::Relaxed);
            }
            return fits;
        }
        self.free
            // Relaxed: a figure; only its own consistency matters.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                (free >= 0 && bytes <= free as u64).then(|| free - bytes as i64)
            })
            .is_ok()
    }

    /// Gives every credit back to the global figure.
    fn gather(&self) {
        (0..self.credits.len()).for_each(|shard| self.account(shard).give_back());
    }
}

impl Account<'_> {
    /// Takes `bytes` into use; `false` where that would pass the bound.
    #[must_use]
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        if self.try_reserve(bytes) {
            return true;
        }
        self.budget.gather();
        self.budget.grant(bytes)
    }

    /// Gives the shard's credit back to the global figure.
    pub(crate) fn give_back(&self) {
        let credit = if planted!("gather_in_two_steps") {
            // Relaxed: a planted bug.
            let credit = self.budget.credits[self.shard].load(Ordering::Relaxed);
            self.budget.credits[self.shard].swap(0, Ordering::Relaxed);
            credit
        } else {
            // Relaxed: a figure; the swap makes the credit ours.
            self.budget.credits[self.shard].swap(0, Ordering::Relaxed)
        };
        // Relaxed: a figure.
        self.budget.free.fetch_add(credit as i64, Ordering::Relaxed);
    }

    /// Whether `bytes` are to be had at once.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.missing(bytes) == 0
    }

    /// How much of `bytes` neither this shard's credit nor the global figure has.
    pub(crate) fn missing(&self, bytes: u64) -> u64 {
        // Relaxed: figures.
        let credit = self.budget.credits[self.shard].load(Ordering::Relaxed);
        let free = self.budget.free.load(Ordering::Relaxed).max(0) as u64;
        bytes.saturating_sub(credit.max(free))
    }

    /// As [`reserve`](Self::reserve), but leaves the credits of other shards where they are.
    #[must_use]
    #[inline]
    pub(crate) fn try_reserve(&self, bytes: u64) -> bool {
        let credit = &self.budget.credits[self.shard];
        let spent = credit
            // Relaxed: a figure; only its own consistency matters.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |credit| credit.checked_sub(bytes))
            .is_ok();
        if spent {
            return true;
        }
        // More than is asked for, so that the next ones find a credit.
        let refill = self.budget.credit_limit() / 2;
        if self.budget.grant(bytes.saturating_add(refill)) {
            // Relaxed: a figure.
            credit.fetch_add(refill, Ordering::Relaxed);
            return true;
        }
        self.budget.grant(bytes)
    }

    /// Ends the use of `bytes` that were reserved, through whichever account.
    pub(crate) fn release(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let credit = &self.budget.credits[self.shard];
        // Relaxed: a figure.
        let now = credit.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if now > self.budget.credit_limit() {
            // Relaxed: a figure; the swap makes the credit ours.
            let excess = credit.swap(0, Ordering::Relaxed);
            self.budget.free.fetch_add(excess as i64, Ordering::Relaxed);
        }
    }
}

/// The limit for a bound: the figures have a sign.
fn limit(max: u64) -> i64 {
    max.min(i64::MAX as u64) as i64
}

/// All credits together stay below a part of the bound that nobody misses.
fn credit_limit(max: u64, shards: usize) -> u64 {
    (max / (64 * shards as u64)).min(MAX_CREDIT)
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_account_may_use_the_whole_budget() {
        let budget = Budget::new(1000, 8);
        assert!(budget.account(3).reserve(1000));
        assert!(!budget.account(3).reserve(1));
        assert!(!budget.account(0).reserve(1));
        budget.account(5).release(1000);
        assert_eq!(budget.used(), 0);
        assert!(budget.account(0).reserve(1000));
    }

    #[test]
    fn credits_of_other_shards_are_gathered() {
        let budget = Budget::new(1 << 20, 16);
        for shard in 0..16 {
            assert!(budget.account(shard).reserve(1));
        }
        assert_eq!(budget.used(), 16);
        assert!(budget.account(0).reserve((1 << 20) - 16));
        assert_eq!(budget.used(), 1 << 20);
    }

    #[test]
    fn an_absurd_size_is_refused() {
        let budget = Budget::new(u64::MAX, 4);
        assert!(budget.account(0).reserve(u64::MAX / 2));
        assert!(!budget.account(0).reserve(u64::MAX / 2 + 2));
    }

    /// In use or in a credit.
    fn granted(budget: &Budget) -> u64 {
        // Relaxed: one thread.
        budget.most() - budget.free.load(Ordering::Relaxed) as u64
    }

    #[test]
    fn a_shard_keeps_a_credit_up_to_its_limit_and_no_more() {
        let budget = Budget::new(64 << 20, 2);
        let account = budget.account(1);
        assert!(account.reserve(1));
        assert_eq!(granted(&budget), 1 + (32 << 10), "the next writers find a credit");
        assert!(account.reserve(32 << 10));
        assert_eq!(granted(&budget), 1 + (32 << 10), "and it serves them");
        assert!(account.reserve(1 << 20));
        let all = granted(&budget);
        account.release(32 << 10);
        assert_eq!(granted(&budget), all, "at the limit it stays");
        account.release(1);
        assert_eq!(granted(&budget), budget.used(), "beyond it all goes back");
        assert_eq!(budget.used(), 1 << 20);
    }

    #[test]
    fn what_is_missing_is_what_neither_the_credit_nor_the_rest_has() {
        // So small that there are no credits.
        let budget = Budget::new(100, 2);
        let (one, other) = (budget.account(0), budget.account(1));
        assert_eq!((budget.max(), one.missing(100), one.missing(101)), (100, 0, 1));
        assert!(one.reserve(90));
        assert_eq!((one.missing(10), one.missing(15), one.missing(100)), (0, 5, 90));
        assert!(other.has(10) && !other.has(11));
        assert!(other.reserve(10));
        assert_eq!(one.missing(7), 7);
        one.release(5);
        assert!(one.has(5) && other.missing(6) == 1);
    }

    #[test]
    fn who_takes_no_credits_of_others_leaves_them_where_they_are() {
        let budget = Budget::new(1 << 20, 16);
        assert!(budget.account(1).reserve(1));
        let credit = granted(&budget) - 1;
        let rest = (1 << 20) - 1 - credit;
        assert!(!budget.account(0).try_reserve(rest + 1));
        assert!(budget.account(0).try_reserve(rest), "without a refill");
        assert_eq!((budget.account(0).missing(1), budget.account(1).missing(credit + 1)), (1, 1));
        assert!(budget.account(1).try_reserve(credit));
        assert_eq!(budget.used(), 1 << 20);
    }

    #[test]
    fn a_higher_bound_holds_at_once() {
        let budget = Budget::new(1000, 2);
        assert!(budget.account(0).reserve(1000) && !budget.account(1).reserve(1));
        budget.resize(1500, Excess::Goes);
        assert!(budget.account(1).reserve(500) && !budget.account(1).reserve(1));
        assert_eq!((budget.max(), budget.most(), budget.used()), (1500, 1500, 1500));
    }

    #[test]
    fn what_goes_beyond_a_lower_bound_does_not_come_back() {
        let budget = Budget::new(1 << 20, 4);
        let account = budget.account(2);
        assert!(account.reserve(600 << 10));
        budget.resize(100 << 10, Excess::Goes);
        assert_eq!((budget.max(), budget.most()), (100 << 10, 600 << 10));
        assert!(budget.is_coming_down() && !account.reserve(1));
        // A writer may have what it makes room for.
        account.release(5000);
        assert!(account.reserve(5000) && !account.reserve(1));
        // What else is given back goes for good.
        account.release(200 << 10);
        assert_eq!(budget.come_down(), 300 << 10);
        assert!(!account.reserve(1));
        account.release(300 << 10);
        assert_eq!(budget.come_down(), 0);
        assert!(!budget.is_coming_down());
        account.release(10);
        assert!(account.reserve(10) && !account.reserve(1));
        assert_eq!((budget.used(), budget.most()), (100 << 10, 100 << 10));
    }

    #[test]
    fn a_bound_that_is_raised_again_on_the_way_down_is_where_it_ends() {
        let budget = Budget::new(1000, 1);
        assert!(budget.account(0).reserve(900));
        budget.resize(100, Excess::Goes);
        budget.resize(500, Excess::Goes);
        assert_eq!((budget.come_down(), budget.most()), (400, 900));
        budget.resize(950, Excess::Goes);
        assert!(!budget.is_coming_down());
        assert!(budget.account(0).reserve(50) && !budget.account(0).reserve(1));
    }

    #[test]
    fn what_stays_beyond_a_lower_bound_lets_nothing_grow_until_it_fits() {
        let budget = Budget::new(64 << 20, 2);
        let account = budget.account(0);
        assert!(account.reserve(32 << 20));
        budget.resize(16 << 20, Excess::Stays);
        assert_eq!((budget.max(), budget.most()), (16 << 20, 32 << 20));
        // Also not what was just given back, be it ever so little.
        account.release(1000);
        assert!(!account.reserve(1) && account.missing(10) == 10);
        account.release((16 << 20) - 1000);
        assert!(budget.is_coming_down(), "nobody has looked yet");
        assert_eq!(budget.come_down(), 0);
        assert!(!budget.is_coming_down() && !account.reserve(1));
        account.release(1);
        assert!(account.reserve(1) && !account.reserve(1));
        budget.resize(64 << 20, Excess::Stays);
        assert!(account.reserve(1));
        assert!(account.has(100), "there are credits again");
    }

    /// Whoever reserves while the limit comes down is measured by it.
    #[test]
    fn reservations_racing_a_limit_that_moves_never_pass_it() {
        let budget = Budget::new(1 << 20, 4);
        std::thread::scope(|threads| {
            for shard in 0..3 {
                let account = budget.account(shard);
                threads.spawn(move || {
                    let mut held = 0;
                    for turn in 0..30_000_u64 {
                        let bytes = turn % 977 * 64;
                        if account.reserve(bytes) {
                            held += bytes;
                        } else {
                            account.release(held / 2);
                            held -= held / 2;
                        }
                    }
                    account.release(held);
                });
            }
            for turn in 0..3_000_u64 {
                budget.resize((turn % 7 + 1) << 17, Excess::Goes);
                let _ = budget.come_down();
                // Relaxed: a figure.
                let free = budget.free.load(Ordering::Relaxed);
                assert!(free >= 0, "{free}");
            }
        });
        assert_eq!((budget.come_down(), budget.used()), (0, 0));
        assert_eq!(granted(&budget), 0);
    }
}
