//! Who occurs most often in a stream, in bounded memory.

/// Names that are kept.
const PLACES: usize = 64;

/// A. Metwally, D. Agrawal and A. El Abbadi, "Efficient computation of frequent and top-k elements
/// in data streams", 2005: a name that has no place takes that of the rarest, with its count. So no
/// count is too low, and none is too high by more than the stream's length divided by the places;
/// whoever occurs more often than that has a place.
pub(super) struct SpaceSaving {
    places: Vec<Heavy>,
}

/// A name that occurs often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heavy {
    pub(crate) name: Box<str>,
    /// How often, or somewhat less often.
    pub(crate) count: u64,
    /// By so much the count may be too high.
    pub(crate) over: u64,
}

impl SpaceSaving {
    pub(super) fn new() -> Self {
        Self { places: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str) {
        if let Some(known) = self.places.iter_mut().find(|known| &*known.name == name) {
            known.count += 1;
        } else if self.places.len() < PLACES {
            self.places.push(Heavy { name: name.into(), count: 1, over: 0 });
        } else if let Some(rarest) = self.places.iter_mut().min_by_key(|known| known.count) {
            let over = rarest.count;
            *rarest = Heavy { name: name.into(), count: over + 1, over };
        }
    }

    /// All names that have a place, in no order.
    pub(super) fn all(&self) -> Vec<Heavy> {
        self.places.clone()
    }
}

#[cfg(all(test, not(any(scopecache_loom, scopecache_shuttle))))]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn counts_are_never_too_low_nor_higher_than_promised() {
        let mut sketch = SpaceSaving::new();
        let mut truth: HashMap<String, u64> = HashMap::new();
        let mut state = 1_u64;
        const LENGTH: u64 = 50_000;
        for _ in 0..LENGTH {
            // Knuth's generator; small numbers come most often.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (state >> 33) % 1000;
            let name = format!("{}", number * number / 1000);
            sketch.add(&name);
            *truth.entry(name).or_default() += 1;
        }
        let all = sketch.all();
        assert_eq!(all.len(), PLACES);
        assert_eq!(all.iter().map(|heavy| heavy.count).sum::<u64>(), LENGTH);
        for heavy in &all {
            let true_count = truth[&*heavy.name];
            assert!(heavy.count >= true_count && heavy.count - heavy.over <= true_count);
            assert!(heavy.over <= LENGTH / PLACES as u64, "{heavy:?}");
        }
        for (name, count) in truth {
            let kept = all.iter().any(|heavy| *heavy.name == *name);
            assert!(kept || count <= LENGTH / PLACES as u64, "{name} came {count} times");
        }
    }
}
