//! The byte bound: how much is in use, and whether more may be.
//!
//! One global figure bounds all shards together, so that no entry is refused because its shard
//! is full. To spare writers that shared line, each shard keeps a small credit:
//!
//! ```text
//!   granted (global, <= max)  =  in use  +  sum of the shards' credits
//! ```
//!
//! Reserving takes from the shard's credit, and from the global figure only when that is short;
//! releasing gives to the credit, and what exceeds a limit back to the global figure. Since
//! `granted` never passes the bound, neither does what is in use. Where the global figure is
//! exhausted, a reservation can gather the credits of all shards before it fails.
//!
//! Amounts are bytes; the bound on the number of entries is another budget of the same kind.

use crossbeam_utils::CachePadded;

use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;

/// The largest credit of a shard, in bytes.
const MAX_CREDIT: u64 = 64 << 10;

pub(crate) struct Budget {
    max: u64,
    granted: CachePadded<AtomicU64>,
    credits: Box<[CachePadded<AtomicU64>]>,
    credit_limit: u64,
}

/// A budget as one shard sees it.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    budget: &'a Budget,
    shard: usize,
}

impl Budget {
    pub(crate) fn new(max: u64, shards: usize) -> Self {
        Self {
            max,
            granted: CachePadded::new(AtomicU64::new(0)),
            credits: (0..shards).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            // All credits together stay below a part of the bound that nobody misses.
            credit_limit: (max / (64 * shards as u64)).min(MAX_CREDIT),
        }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// Bytes in use; never more than the bound.
    pub(crate) fn used(&self) -> u64 {
        // Relaxed: figures. Credits first: bytes that move from the global figure to a credit
        // meanwhile count twice as granted rather than never.
        let credits: u64 = self.credits.iter().map(|credit| credit.load(Ordering::Relaxed)).sum();
        self.granted.load(Ordering::Relaxed).saturating_sub(credits)
    }

    pub(crate) fn account(&self, shard: usize) -> Account<'_> {
        Account { budget: self, shard }
    }

    /// Takes from the global figure.
    fn grant(&self, bytes: u64) -> bool {
        self.granted
            // Relaxed: a figure; only its own consistency matters.
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| {
                granted.checked_add(bytes).filter(|&sum| sum <= self.max)
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
        // Relaxed: a figure; the swap makes the credit ours.
        let credit = self.budget.credits[self.shard].swap(0, Ordering::Relaxed);
        self.budget.granted.fetch_sub(credit, Ordering::Relaxed);
    }

    /// Whether `bytes` are to be had at once.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.missing(bytes) == 0
    }

    /// How much of `bytes` neither this shard's credit nor the global figure has.
    pub(crate) fn missing(&self, bytes: u64) -> u64 {
        // Relaxed: figures.
        let credit = self.budget.credits[self.shard].load(Ordering::Relaxed);
        let free = self.budget.max - self.budget.granted.load(Ordering::Relaxed);
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
        let refill = self.budget.credit_limit / 2;
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
        if now > self.budget.credit_limit {
            // Relaxed: a figure; the swap makes the credit ours.
            let excess = credit.swap(0, Ordering::Relaxed);
            self.budget.granted.fetch_sub(excess, Ordering::Relaxed);
        }
    }
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

    #[test]
    fn a_shard_keeps_a_credit_up_to_its_limit_and_no_more() {
        // Relaxed: one thread.
        let granted = |budget: &Budget| budget.granted.load(Ordering::Relaxed);
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
        // Relaxed: as above.
        let credit = budget.granted.load(Ordering::Relaxed) - 1;
        let rest = (1 << 20) - 1 - credit;
        assert!(!budget.account(0).try_reserve(rest + 1));
        assert!(budget.account(0).try_reserve(rest), "without a refill");
        assert_eq!((budget.account(0).missing(1), budget.account(1).missing(credit + 1)), (1, 1));
        assert!(budget.account(1).try_reserve(credit));
        assert_eq!(budget.used(), 1 << 20);
    }
}
