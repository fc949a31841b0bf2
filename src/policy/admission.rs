//! What ghosts decide: which new entries enter the main queue, and how the share moves.

use super::ghost::Origin;
use super::hand::{Looks, TURNS};
use super::{Eviction, Policy, Residents};

const MIN_SHARE: f64 = 0.01;
const MAX_SHARE: f64 = 0.90;
/// A vote moves the share by this part of itself.
const VOTE: f64 = 0.003;
/// But by two entries at least, where that is no more than this.
const LARGEST_STEP: f64 = 0.02;

/// What a ghost says of a new handle.
pub(super) struct Return {
    pub(super) to_main: bool,
    pub(super) vote: Option<Vote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    Grow,
    Shrink,
}

impl Policy {
    /// What the ghost of a handle says, if there is one.
    pub(super) fn return_of<R: Residents>(
        &mut self,
        handle: u32,
        weight: u64,
        target: u64,
        residents: &mut R,
    ) -> Option<Return> {
        let (origin, age) = self.ghosts.as_ref()?.find(handle, self.evicted)?;
        let limits = self.limits();
        let returned = match (self.kind, origin) {
            (Eviction::S3Fifo, _) => Return { to_main: age <= limits.small, vote: None },
            (Eviction::Adaptive, Origin::Main) => {
                Return { to_main: false, vote: (age <= limits.main).then_some(Vote::Shrink) }
            }
            (Eviction::Adaptive, Origin::Small) if age > limits.small => {
                Return { to_main: false, vote: None }
            }
            (Eviction::Adaptive, Origin::Small) => {
                let has_room = self.main.weight() + weight + target <= self.capacity;
                Return {
                    to_main: has_room || self.is_warmer_than_coldest(age, residents),
                    vote: (age <= limits.main).then_some(Vote::Grow),
                }
            }
        };
        Some(returned)
    }

    /// The test of LIRS: whether an entry that left the small queue `age` ago was last queued
    /// after the coldest of the main queue.
    fn is_warmer_than_coldest<R: Residents>(&mut self, age: u64, residents: &mut R) -> bool {
        let mut looks = Looks::new(TURNS);
        let Some((coldest, _)) = self.coldest(TURNS, &mut looks, residents) else { return false };
        let coldest_age = u64::from(self.stamp().wrapping_sub(coldest.stamp)) << self.stamp_unit;
        age + self.small.weight() <= coldest_age
    }

    /// Moves the share, within its bounds.
    pub(super) fn count_vote(&self, vote: Option<Vote>, share: &mut f32) {
        let Some(vote) = vote else { return };
        let entry = self.average() as f64 / self.total as f64;
        let step = (VOTE * f64::from(*share)).max((2.0 * entry).min(LARGEST_STEP));
        let step = if vote == Vote::Grow { step } else { -step };
        let least = MIN_SHARE.max(entry).min(MAX_SHARE);
        *share = (f64::from(*share) + step).clamp(least, MAX_SHARE) as f32;
    }
}
