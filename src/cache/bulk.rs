//! Many gets at once, their cache misses overlapped.
//!
//! A get is a chain of dependent memory accesses: bucket, entry, (for raw ids) node. One after
//! another, each miss is waited for. Here the accesses of a batch of keys are interleaved: all
//! buckets are asked for before the first is looked at, then all entries, and by the time the
//! first get runs, its lines have arrived (S. Chen et al., "Improving hash join performance
//! through prefetching", 2004: group prefetching).

use crate::cache::core::Core;
use crate::cache::target::Target;
use crate::error::Result;
use crate::item::Item;
use crate::reclaim::pin;
use crate::value::Value;

/// Keys whose accesses are interleaved: enough to cover the latency of memory, few enough for
/// what was fetched not to be evicted before it is used.
const BATCH: usize = 32;

impl<V: Value, S> Core<V, S> {
    pub(crate) fn get_many(&self, targets: &[Target<'_>]) -> Result<Vec<Option<Item<V>>>> {
        self.check_open()?;
        let mut items = Vec::with_capacity(targets.len());
        for batch in targets.chunks(BATCH) {
            let guard = pin();
            batch.iter().for_each(|target| self.table.prefetch_bucket(target.hash));
            batch.iter().for_each(|target| self.table.prefetch_entries(target.hash, &guard));
            for target in batch {
                let entry = self.seen(target, &guard)?;
                if self.settings.counts.is_some() {
                    self.count_read(target, entry.as_ref());
                }
                items.push(entry.map(|entry| self.item(entry)));
            }
        }
        Ok(items)
    }
}
