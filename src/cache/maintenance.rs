//! Work that nobody waits for: reclaiming what was deleted, compacting handles, looking after the
//! shards.
//!
//! A deletion is visible at once; taking the dead entries out of the table is a job in a queue.
//! Whoever calls [`Maintenance::step`] and gets the worker does some of it: the driver thread,
//! `Cache::maintain`, or a writer that finds the queue long or the budget full. Steps are
//! bounded; a job may take many.

use std::collections::VecDeque;

use crate::cache::core::Core;
use crate::cache::exit::{Exit, Swept};
#[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
use crate::cache::gather::Gather;
use crate::cache::quota::Trimmed;
use crate::clock::Nanos;
use crate::directory::{Detached, Node, NodeRef};
use crate::item::Usage;
use crate::memory::prefetch;
use crate::reclaim::{Guard, pin};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::figures::AtomicU64;
use crate::table::State;
use crate::value::Value;

/// Sessions of a deleted user that are taken from it at a time.
const SESSIONS: usize = 256;

/// Dead entries waiting in the queue above which writers lend a hand.
const BEHIND: u64 = 16 << 10;

pub(crate) struct Maintenance {
    queue: Mutex<VecDeque<Job>>,
    /// About how many entries the jobs in the queue and at the worker concern, one for each job
    /// included.
    backlog: AtomicU64,
    /// What these entries take.
    backlog_bytes: AtomicU64,
    worker: Mutex<Worker>,
}

/// A piece of work that may take many steps.
pub(crate) struct Job {
    work: Work,
    weight: u64,
    bytes: u64,
}

enum Work {
    Reclaim(NodeRef),
    Compact(NodeRef),
    /// Brings a user under its quota.
    Trim(NodeRef),
}

#[derive(Default)]
struct Worker {
    /// The deletion at which the worker is, and its weight as a job.
    reclaim: Option<(Reclaim, u64)>,
    /// The shard whose upkeep is next.
    shard: usize,
    /// Where the search for expired entries goes on.
    bucket: usize,
    #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
    gather: Gather,
}

/// A deleted namespace whose entries are being taken out.
struct Reclaim {
    root: NodeRef,
    /// Of the root, sessions that are still to be done.
    sessions: Vec<NodeRef>,
    /// The root or one of its sessions, and what is left of its handles.
    node: NodeRef,
    handles: Detached,
    /// Of the bytes that were held when it was deleted, those that still are.
    bytes: u64,
}

/// What one step of maintenance did and left.
#[derive(Clone, Copy, Default)]
pub(crate) struct Step {
    pub(crate) progress: Progress,
    /// There is more to do than to feed events, which setters do by themselves.
    pub(crate) is_behind: bool,
    /// When the next entries expire, or earlier; `None` where no timing wheel holds any.
    pub(crate) due: Option<Nanos>,
}

/// What a call of [`Cache::maintain`](crate::Cache::maintain) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Handles and buckets that were looked at.
    pub examined: usize,
    /// Dead and expired entries that were taken out of the table.
    pub freed_entries: u64,
    /// Removals that the listener was called with, see
    /// [`on_removal`](crate::CacheBuilder::on_removal).
    pub reported: usize,
    /// Whether something is left that could be done at once: deleted or expired data that is
    /// not yet reclaimed, entries that maintenance has yet to learn of, what is beyond a bound that
    /// was lowered, entries to move to huge pages, or removals to report.
    pub pending: bool,
}

impl Progress {
    fn add(&mut self, other: Self) {
        self.examined += other.examined;
        self.freed_entries += other.freed_entries;
        self.reported += other.reported;
        self.pending |= other.pending;
    }
}

impl Job {
    /// Of a deleted namespace that held so much.
    pub(crate) fn reclaim(node: NodeRef, held: Usage) -> Self {
        Self { work: Work::Reclaim(node), weight: held.entries + 1, bytes: held.bytes }
    }

    pub(crate) fn compact(node: &Node) -> Self {
        Self { work: Work::Compact(NodeRef::of(node)), weight: 1, bytes: 0 }
    }

    pub(crate) fn trim(user: &Node) -> Self {
        Self { work: Work::Trim(NodeRef::of(user)), weight: 1, bytes: 0 }
    }
}

impl Maintenance {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            backlog: AtomicU64::new(0),
            backlog_bytes: AtomicU64::new(0),
            worker: Mutex::new(Worker::default()),
        }
    }

    /// Starts to fetch what [`push`](Self::push) writes into the cache.
    #[inline]
    pub(crate) fn prefetch_queue(&self) {
        prefetch(&self.queue);
        prefetch(&self.backlog_bytes);
    }

    pub(crate) fn push(&self, job: Job) {
        // Relaxed: figures; the queue's lock orders the jobs.
        self.backlog.fetch_add(job.weight, Ordering::Relaxed);
        self.backlog_bytes.fetch_add(job.bytes, Ordering::Relaxed);
        self.queue.lock().push_back(job);
    }

    pub(crate) fn is_pending(&self) -> bool {
        // Relaxed: a figure.
        self.backlog.load(Ordering::Relaxed) > 0
    }

    /// About how many bytes are deleted and still stand in the table.
    pub(crate) fn pending_bytes(&self) -> u64 {
        // Relaxed: a figure.
        self.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Does a little where the queue has grown long: those who make garbage faster than the
    /// driver takes it away pay for it.
    #[inline]
    pub(crate) fn help_if_behind<V: Value, S>(&self, core: &Core<V, S>, guard: &Guard) {
        // Relaxed: a figure.
        if self.backlog.load(Ordering::Relaxed) > BEHIND {
            self.step(core, 64, guard);
        }
    }

    /// Looks at about `budget` handles of deleted namespaces, unless somebody else is at work.
    pub(crate) fn step<V: Value, S>(
        &self,
        core: &Core<V, S>,
        budget: usize,
        guard: &Guard,
    ) -> Progress {
        let mut progress = Progress::default();
        if let Some(mut worker) = self.worker.try_lock() {
            while progress.examined < budget && self.work(&mut worker, core, &mut progress, guard) {
            }
        }
        progress.pending = self.is_pending();
        progress
    }

    /// Looks at about `budget` handles, and waits for whoever is at work; `false` where nothing is
    /// left that was queued before.
    pub(crate) fn finish_some<V: Value, S>(
        &self,
        core: &Core<V, S>,
        budget: usize,
        guard: &Guard,
    ) -> bool {
        let mut worker = self.worker.lock();
        let mut progress = Progress::default();
        while self.work(&mut worker, core, &mut progress, guard) {
            if progress.examined >= budget {
                return true;
            }
        }
        false
    }

    /// Whoever wants to work waits, or goes on without, until what is returned is dropped.
    pub(super) fn hold_up(&self) -> impl Drop + use<'_> {
        self.worker.lock()
    }

    /// As [`step`](Self::step); then looks after every shard, each with an equal part of what is
    /// left of the budget; then searches as many of the next buckets as there may be.
    fn round<V: Value, S>(&self, core: &Core<V, S>, budget: usize, net: usize) -> Step {
        // A guard for each piece: none is held for long.
        let progress = self.step(core, budget, &pin());
        let mut step = Step { progress, is_behind: progress.pending, due: None };
        let left = budget.saturating_sub(step.progress.examined);
        let down = core.come_down(left / 2);
        step.is_behind |= down.pending;
        step.progress.add(down);
        let shards = core.shards.len();
        let first = self.worker.try_lock().map_or(0, |mut worker| {
            worker.shard = (worker.shard + 1) % shards;
            worker.shard
        });
        for turn in 0..shards {
            let left = budget.saturating_sub(step.progress.examined) / (shards - turn);
            let Some(tended) = core.tend((first + turn) % shards, left.max(1)) else {
                continue;
            };
            step.progress.add(tended.progress);
            step.is_behind |= tended.is_behind;
            step.due = [step.due, tended.due].into_iter().flatten().min();
        }
        let left = budget.saturating_sub(step.progress.examined);
        if let Some(mut worker) = self.worker.try_lock() {
            worker.search(core, left.min(net), &mut step.progress, &pin());
            #[cfg(not(any(scopecache_loom, scopecache_shuttle)))]
            if core.settings.huge_pages {
                let left = budget.saturating_sub(step.progress.examined);
                step.progress.examined += worker.gather.step(core, left, &pin());
                step.progress.pending |= worker.gather.is_pending();
            }
        }
        step
    }

    /// Does one chunk of handles or one compaction; `false` where there is no job.
    fn work<V: Value, S>(
        &self,
        worker: &mut Worker,
        core: &Core<V, S>,
        progress: &mut Progress,
        guard: &Guard,
    ) -> bool {
        let done = if let Some((reclaim, weight)) = &mut worker.reclaim {
            let before = reclaim.bytes;
            let more = reclaim.step(core, progress, guard);
            self.took_out_bytes(before - reclaim.bytes);
            if more {
                return true;
            }
            let weight = *weight;
            // What a call under way stored meanwhile, or took out itself.
            self.took_out_bytes(reclaim.bytes);
            worker.reclaim = None;
            weight
        } else {
            let Some(job) = self.queue.lock().pop_front() else { return false };
            match job.work {
                Work::Reclaim(node) => {
                    worker.reclaim = Some((Reclaim::new(node, job.bytes), job.weight));
                    return true;
                }
                Work::Compact(node) => {
                    // One of several that were queued for it may have done it.
                    progress.examined += 1;
                    if node.handles().count(guard) >= 2 * node.count() {
                        progress.examined += core.compact(&node, guard);
                    }
                    job.weight
                }
                Work::Trim(user) => {
                    let trimmed = core.trim(&user, progress, guard);
                    if trimmed != Trimmed::Done {
                        self.push(Job::trim(&user));
                    }
                    if trimmed == Trimmed::HeldUp {
                        // Nothing that this step could do helps.
                        // Relaxed: a figure.
                        self.backlog.fetch_sub(job.weight, Ordering::Relaxed);
                        return false;
                    }
                    job.weight
                }
            }
        };
        // Relaxed: a figure.
        self.backlog.fetch_sub(done, Ordering::Relaxed);
        true
    }

    fn took_out_bytes(&self, bytes: u64) {
        // Relaxed: a figure.
        self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reclaim {
    fn new(root: NodeRef, bytes: u64) -> Self {
        let handles = root.handles().detach();
        Self { node: root.clone(), root, sessions: Vec::new(), handles, bytes }
    }

    /// Does one chunk of handles, or goes on to the next session; `false` at the end.
    fn step<V: Value, S>(
        &mut self,
        core: &Core<V, S>,
        progress: &mut Progress,
        guard: &Guard,
    ) -> bool {
        let (mut last, mut freed) = (0, 0);
        let chunk = self.handles.take_chunk(guard, |handle| {
            last = handle;
            progress.examined += 1;
            let Swept { entries, bytes } = core.sweep(handle, &self.node, guard);
            progress.freed_entries += entries;
            freed += bytes;
        });
        self.bytes = self.bytes.saturating_sub(freed);
        if let Some(bytes) = chunk {
            core.account(last).release(bytes);
            return true;
        }
        progress.examined += 1;
        if self.sessions.is_empty() {
            self.sessions = core.directory.take_sessions(&self.root, SESSIONS);
        }
        let Some(session) = self.sessions.pop() else { return false };
        // Its user's death is its own. Once its entries are gone it retires by itself.
        self.handles = session.handles().detach();
        self.node = session;
        true
    }
}

impl Worker {
    /// Takes expired, dead and killed entries out of the next buckets, and announces those that
    /// the upkeep does not know: the net under everything that is weak.
    ///
    /// Handles lead to dead entries, timing wheels to expired ones, events to new ones. Should
    /// one of them ever get lost, this finds what it was about.
    fn search<V: Value, S>(
        &mut self,
        core: &Core<V, S>,
        buckets: usize,
        progress: &mut Progress,
        guard: &Guard,
    ) {
        if core.entries() == 0 {
            return;
        }
        let now = core.now();
        for _ in 0..buckets.min(core.table.buckets()) {
            let bucket = self.bucket % core.table.buckets();
            self.bucket = bucket + 1;
            for (slot, entry) in core.table.bucket_entries(bucket, guard) {
                let hash = core.table.handle_of(bucket, &slot);
                let exit = match entry.state() {
                    State::Pending => continue,
                    State::Killed => Some(Exit::NeverLived),
                    State::Live => core.is_over(entry, || now),
                };
                let Some(exit) = exit else {
                    core.announce(hash, entry, entry.track().unwrap_or_default());
                    continue;
                };
                if core.unlink(hash, &slot, entry, exit) {
                    progress.freed_entries += 1;
                }
            }
        }
    }
}

impl<V: Value, S> Core<V, S> {
    /// Drops stale handles of a node; answers how many were looked at.
    pub(crate) fn compact(&self, node: &Node, guard: &Guard) -> usize {
        // Handles of all shards: their bytes are booked on any one.
        let account = self.budget.account(0);
        let mut examined = 0;
        let leads_somewhere = |handle| {
            examined += 1;
            self.table.probe(handle, guard).any(|(_, entry)| std::ptr::eq(entry.owner_ptr(), node))
        };
        account.release(node.handles().compact(guard, leads_somewhere));
        examined
    }

    /// One bounded round of whatever there is to do, without a guard of the caller's: at most `budget`
    /// handles and buckets, and of these at most `net` buckets that nothing points to.
    pub(crate) fn maintain(&self, budget: usize, net: usize) -> Step {
        let mut step = self.maintenance.round(self, budget, net);
        self.flush_idle();
        if self.budget.is_coming_down() {
            // What the round gave back goes, too.
            let _ = self.budget.come_down();
        }
        // Last: the listener is given what this round took out, and may take its time.
        let delivered = self.deliver(budget);
        step.progress.reported = delivered.events;
        step.progress.pending |= delivered.pending;
        step.is_behind |= delivered.pending;
        step
    }
}
