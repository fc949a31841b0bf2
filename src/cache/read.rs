//! Reads: copied out, borrowed under a guard, or only asked for.

use std::fmt;
use std::time::SystemTime;

use crate::cache::core::{Core, Sight};
use crate::cache::target::Target;
use crate::directory::Node;
use crate::error::Result;
use crate::item::{Item, Version};
use crate::namespace::Namespace;
use crate::reclaim::{Guard, pin};
use crate::table::Seen;
use crate::value::{Blob, Value};

/// A live entry, borrowed under a [`Guard`]: no copy, no reference count.
///
/// It shows the entry as it was when it was read, also after the entry was overwritten or
/// deleted.
pub struct EntryRef<'g, V: Value = Blob> {
    entry: Seen<'g, V, Node>,
    wall_origin: u64,
}

impl<V: Value, S> Core<V, S> {
    #[inline]
    pub(crate) fn get(&self, target: &Target<'_>) -> Result<Option<Item<V>>> {
        if self.settings.counts.is_some() {
            return self.get_counted(target);
        }
        self.get_and(target, |_| ())
    }

    /// Out of line: a read that nobody counts shall not carry it along.
    #[inline(never)]
    fn get_counted(&self, target: &Target<'_>) -> Result<Option<Item<V>>> {
        self.get_and(target, |found| self.count_read(target, found))
    }

    #[inline]
    fn get_and(
        &self,
        target: &Target<'_>,
        count: impl FnOnce(Option<&Seen<'_, V, Node>>),
    ) -> Result<Option<Item<V>>> {
        // Before the guard is taken: its fence lets no later load begin early.
        self.prefetch(target);
        let guard = pin();
        let entry = self.seen(target, &guard)?;
        count(entry.as_ref());
        let Some(entry) = entry else { return Ok(None) };
        Ok(Some(self.item(entry)))
    }

    #[inline]
    pub(crate) fn get_ref<'g>(
        &'g self,
        target: &Target<'_>,
        guard: &'g Guard,
    ) -> Result<Option<EntryRef<'g, V>>> {
        let entry = self.seen(target, guard)?;
        if self.settings.counts.is_some() {
            self.count_read(target, entry.as_ref());
        }
        Ok(entry.map(|entry| EntryRef { entry, wall_origin: self.clock.wall_origin() }))
    }

    /// The visible entry, its sliding TTL renewed.
    #[inline(always)]
    pub(super) fn seen<'g>(
        &'g self,
        target: &Target<'_>,
        guard: &'g Guard,
    ) -> Result<Option<Seen<'g, V, Node>>> {
        self.check_open()?;
        let Sight::Present(slot, entry) = self.look_inline(target, guard) else { return Ok(None) };
        self.count_hit(entry);
        if entry.is_sliding() {
            self.slide(target, slot, entry, guard);
        }
        Ok(Some(entry))
    }

    /// Counts a read in the figures, by what it found.
    #[inline(never)]
    pub(super) fn count_read<T>(&self, target: &Target<'_>, found: Option<&T>) {
        match found {
            Some(_) => self.count_found(),
            None => self.count_missed(target.namespace()),
        }
    }

    pub(super) fn count_found(&self) {
        if let Some(counts) = &self.settings.counts {
            counts.hit();
        }
    }

    pub(super) fn count_missed(&self, namespace: Namespace<'_>) {
        if let Some(counts) = &self.settings.counts {
            counts.miss(namespace);
        }
    }

    /// Lets a hit count in eviction.
    #[inline]
    pub(super) fn count_hit(&self, entry: Seen<'_, V, Node>) {
        if self.settings.eviction.is_some() {
            entry.hit();
        }
    }

    /// Like a get, but leaves no trace: no hit is counted and no TTL renewed.
    pub(crate) fn peek(&self, target: &Target<'_>) -> Result<Option<Item<V>>> {
        self.check_open()?;
        let guard = pin();
        let Sight::Present(_, entry) = self.look(target, &guard) else { return Ok(None) };
        Ok(Some(self.item(entry)))
    }

    pub(crate) fn contains(&self, target: &Target<'_>) -> Result<bool> {
        self.check_open()?;
        let guard = pin();
        Ok(matches!(self.look(target, &guard), Sight::Present(..)))
    }
}

impl<'g, V: Value> EntryRef<'g, V> {
    /// The value.
    #[inline]
    pub fn value(&self) -> &'g V::Borrowed {
        self.entry.value()
    }

    /// The version that the write of this value answered.
    pub fn version(&self) -> Version {
        self.entry.version()
    }

    /// When the value was written, in wall-clock time; see [`Item::created_at`].
    pub fn created_at(&self) -> SystemTime {
        self.entry.stamp(self.wall_origin).created_at()
    }

    /// From when on the entry is no longer returned, in wall-clock time; `None` without a TTL.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.entry.stamp(self.wall_origin).expires_at()
    }

    /// A copy that needs no guard.
    pub fn to_item(&self) -> Item<V> {
        Item::new(self.entry.to_owned(), self.entry.stamp(self.wall_origin))
    }
}

impl<'g> EntryRef<'g, Blob> {
    /// The bytes.
    #[inline]
    pub fn data(&self) -> &'g [u8] {
        self.entry.value()
    }
}

impl<V: Value> fmt::Debug for EntryRef<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef").field("version", &self.version()).finish_non_exhaustive()
    }
}
