//! The protocol of the table step by step, in one thread: what two threads may meet of each other.

use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::NEVER;
use crate::item::Version;
use crate::namespace::MAX_KEY_BYTES;
use crate::reclaim::pin;
use crate::value::sealed::Stored;
use crate::value::{Blob, BlobInput, Extent, allocated};

/// Buckets of the tables here.
const BUCKETS: usize = 4;
/// A bucket, and a tag above it.
const HASH: u64 = 77 << TAG_SHIFT | 2;

struct Whose {
    name: &'static str,
    dead: AtomicBool,
}

impl Owner for Whose {
    fn is_dead(&self) -> bool {
        // Relaxed: one thread, here and below.
        // Relaxed: one thread.
        self.dead.load(Ordering::Relaxed)
    }

    fn same_namespace(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

fn owner(name: &'static str) -> Whose {
    Whose { name, dead: AtomicBool::new(false) }
}

type Found<'g> = Claim<'g, Blob, Whose>;

fn header<'a>(key: &'a [u8], sliding: Option<Sliding>) -> Header<'a> {
    Header { key, created: 5, deadline: NEVER, sliding, version: Version::next() }
}

fn draft(key: &[u8], owner: &Whose, state: State) -> Draft<Blob, Whose> {
    let extent = Extent { len: 5, long: false };
    let input = BlobInput::Slice(b"value");
    let header = header(key, None);
    let mut draft =
        Draft::with_value(&header, input, &Draft::<Blob, Whose>::plan(&header, extent), |_| None);
    draft.prepare(owner, state, Heritage::default());
    draft
}

fn table() -> Table<Blob, Whose> {
    Table::new(BUCKETS)
}

fn claim<'g>(
    table: &'g Table<Blob, Whose>,
    key: &[u8],
    owner: &Whose,
    guard: &'g Guard,
) -> Found<'g> {
    table.claim(HASH, draft(key, owner, State::Pending), guard)
}

fn help<'g>(table: &'g Table<Blob, Whose>, claim: &Found<'g>) -> State {
    table.help(HASH, &claim.slot, claim.entry)
}

/// The keys of the live entries under the hash, in slot order.
fn live(table: &Table<Blob, Whose>, guard: &Guard) -> Vec<Vec<u8>> {
    let entries = table.probe(HASH, guard).map(|(_, entry)| entry);
    entries.filter(|entry| entry.state() == State::Live).map(|entry| entry.key().to_vec()).collect()
}

/// Takes an entry out for good.
fn remove<'g>(table: &Table<Blob, Whose>, slot: &Slot<'g, Blob, Whose>, guard: &'g Guard) {
    let entry = slot.entry(guard).expect("an entry");
    assert!(table.remove(slot));
    // SAFETY: taken out just now, in a test of one thread that does not look at it again.
    drop(unsafe { Draft::from_raw(entry.as_ptr()) });
}

/// Whoever replaces the entry relies on the mark of the index.
#[test]
fn a_refresh_leaves_the_mark_of_the_index_alone() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let entry = claim(&table, b"k", &owner, &guard).entry;
    for indexed in [false, true] {
        assert!(entry.claim_refresh(7) && !entry.claim_refresh(7));
        assert_eq!(entry.is_indexed(), indexed);
        entry.end_refresh(Some(7));
        assert_eq!(entry.is_indexed(), indexed);
        assert!(!entry.claim_refresh(8) && entry.claim_refresh(9), "it rests");
        entry.end_refresh(None);
        assert_eq!(entry.is_indexed(), indexed);
        entry.set_indexed();
    }
}

#[test]
fn of_two_claims_of_a_key_the_lower_slot_wins_whoever_decides_first() {
    for lower_first in [true, false] {
        let (owner, table, guard) = (owner("a"), table(), pin());
        let (low, high) =
            (claim(&table, b"k", &owner, &guard), claim(&table, b"k", &owner, &guard));
        assert!(live(&table, &guard).is_empty(), "nobody is born yet");
        if lower_first {
            assert_eq!(help(&table, &low), State::Live);
            assert_eq!(high.entry.state(), State::Killed);
            assert_eq!(help(&table, &high), State::Killed);
        } else {
            assert_eq!(help(&table, &high), State::Killed);
            assert_eq!(help(&table, &low), State::Live);
        }
        assert_eq!(live(&table, &guard), [b"k"]);
        // To decide again changes nothing.
        assert_eq!(help(&table, &low), State::Live);
    }
}

#[test]
fn a_claim_yields_to_a_live_entry_in_a_higher_slot() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let other = claim(&table, b"other", &owner, &guard);
    let first = claim(&table, b"k", &owner, &guard);
    assert_eq!((help(&table, &other), help(&table, &first)), (State::Live, State::Live));
    remove(&table, &other.slot, &guard);
    let second = claim(&table, b"k", &owner, &guard);
    assert!(second.slot.position < first.slot.position, "it got the free slot");
    assert_eq!(help(&table, &second), State::Killed);
    // Killed ones are nobody's rivals.
    remove(&table, &first.slot, &guard);
    let third = claim(&table, b"k", &owner, &guard);
    assert_eq!(help(&table, &third), State::Live);
}

#[test]
fn only_the_same_key_in_the_same_namespace_is_a_rival() {
    let (one, again, other) = (owner("a"), owner("a"), owner("b"));
    let (table, guard) = (table(), pin());
    let state = |key, owner| help(&table, &claim(&table, key, owner, &guard));
    assert_eq!(state(b"k", &one), State::Live);
    assert_eq!(state(b"l", &one), State::Live, "another key");
    assert_eq!(state(b"k", &other), State::Live, "another namespace");
    assert_eq!(state(b"k", &again), State::Killed, "another incarnation of the first");
}

#[test]
fn nothing_is_born_of_a_dead_owner() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let claimed = claim(&table, b"k", &owner, &guard);
    // Relaxed: as above.
    owner.dead.store(true, Ordering::Relaxed);
    assert_eq!(help(&table, &claimed), State::Killed);
}

#[test]
fn a_chain_grows_by_lines_and_gives_its_lowest_slot_to_the_next() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let keys: Vec<[u8; 1]> = (0..2 * SLOTS as u8 + 3).map(|n| [n]).collect();
    let mut slots = Vec::new();
    for (position, key) in keys.iter().enumerate() {
        let claimed = claim(&table, key, &owner, &guard);
        assert_eq!(claimed.appended, position > 0 && position.is_multiple_of(SLOTS));
        assert_eq!(claimed.slot.position, position);
        assert_eq!(help(&table, &claimed), State::Live);
        slots.push(claimed.slot);
    }
    assert_eq!(table.overflow_lines(), 2);
    assert_eq!(live(&table, &guard), keys);
    let positions = table.probe(HASH, &guard).map(|(slot, _)| slot.position);
    assert!(positions.eq(0..keys.len()), "who comes by finds each where it was claimed");
    for position in [SLOTS + 1, 1] {
        remove(&table, &slots[position], &guard);
        assert!(!table.remove(&slots[position]), "it has gone");
    }
    for position in [1, SLOTS + 1, 2 * SLOTS + 3] {
        let claimed = claim(&table, b"new", &owner, &guard);
        assert_eq!((claimed.slot.position, claimed.appended), (position, false));
    }
    assert_eq!(table.overflow_lines(), 2);
}

#[test]
fn a_handle_leads_to_the_entries_of_one_bucket_and_tag() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    assert_eq!((table.buckets(), table.base_bytes()), (BUCKETS, 64 * BUCKETS as u64));
    // Zero is a tag like any other.
    let hashes = [HASH, HASH ^ 1, HASH & 0xFF, 78 << TAG_SHIFT | 2, HASH | 1 << 20];
    for (n, hash) in hashes.into_iter().enumerate() {
        let claimed = table.claim(hash, draft(&[n as u8], &owner, State::Pending), &guard);
        assert_eq!(table.help(hash, &claimed.slot, claimed.entry), State::Live);
        let handle = table.handle_of(table.bucket(hash), &claimed.slot);
        for shard_buckets in [1, 2, BUCKETS] {
            let first = table.bucket(hash) / shard_buckets * shard_buckets;
            assert_eq!(lengthen(shorten(hash, shard_buckets), first), handle);
        }
        assert!(table.probe(handle, &guard).any(|(_, entry)| entry.is(&claimed.entry)));
    }
    let found =
        |hash| table.probe(hash, &guard).map(|(_, entry)| entry.key()[0]).collect::<Vec<_>>();
    assert_eq!(found(HASH), [0, 4], "they differ in bits that neither bucket nor tag have");
    assert_eq!(
        (found(HASH ^ 1), found(HASH & 0xFF), found(78 << 48 | 2)),
        (vec![1], vec![2], vec![3])
    );
    let bucket = |n| table.bucket_entries(n, &guard).count();
    assert_eq!([0, 1, 2, 3].map(bucket), [0, 0, 4, 1]);
}

#[test]
fn a_sweep_takes_the_entries_of_one_owner_and_no_others() {
    let (one, other, table, guard) = (owner("a"), owner("b"), table(), pin());
    for (hash, key, owner) in
        [(HASH, b"k", &one), (HASH, b"k", &other), (HASH, b"l", &one), (78 << 48 | 2, b"m", &one)]
    {
        let claimed = table.claim(hash, draft(key, owner, State::Pending), &guard);
        assert_eq!(table.help(hash, &claimed.slot, claimed.entry), State::Live);
    }
    let mut swept = Vec::new();
    table.sweep(HASH, &raw const one, &guard, |entry| {
        swept.push(entry.key().to_vec());
        // SAFETY: as in `remove`.
        drop(unsafe { Draft::from_raw(entry.as_ptr()) });
    });
    assert_eq!(swept, [b"k", b"l"]);
    assert_eq!(live(&table, &guard), [b"k"]);
    assert_eq!(table.bucket_entries(2, &guard).count(), 2, "another tag stays");
}

#[test]
fn an_entry_is_replaced_where_its_slot_has_not_changed() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let old = claim(&table, b"k", &owner, &guard);
    assert_eq!(help(&table, &old), State::Live);
    let new = table.replace(&old.slot, draft(b"k", &owner, State::Live), &guard);
    let new = new.unwrap_or_else(|_| panic!("nobody else is here"));
    assert!(!new.is(&old.entry));
    assert!(table.probe(HASH, &guard).all(|(_, entry)| entry.is(&new)));
    assert!(table.replace(&old.slot, draft(b"k", &owner, State::Live), &guard).is_err());
    assert_eq!(new.value(), b"value");
    // SAFETY: as in `remove`.
    drop(unsafe { Draft::from_raw(old.entry.as_ptr()) });
}

#[test]
fn an_entry_remembers_three_hits_and_hands_one_more_on() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let claimed = claim(&table, b"k", &owner, &guard);
    let entry = claimed.entry;
    entry.set_credit(2);
    assert_eq!((entry.credit(), entry.state()), (0, State::Pending), "only what lives is hit");
    assert_eq!(help(&table, &claimed), State::Live);
    for hits in [1, 2, 3, 3, 3] {
        assert_eq!(Heritage::of(entry).credit, hits);
        entry.hit();
        assert_eq!((entry.credit(), entry.state()), (hits, State::Live));
    }
    assert_eq!(Heritage::of(entry).credit, 3);
    for (credit, kept) in [(0, 0), (2, 2), (9, 3)] {
        entry.set_credit(credit);
        assert_eq!((entry.credit(), entry.state()), (kept, State::Live));
        let mut heir = draft(b"k", &owner, State::Live);
        heir.prepare(&owner, State::Live, Heritage::of(entry));
        let heir = table.claim(0, heir, &guard).entry;
        assert_eq!((heir.credit(), heir.state()), ((kept + 1).min(3), State::Live));
    }
}

/// Who reports a removal asks that: one that was pending is decided by the question.
#[test]
fn what_was_never_live_has_not_lived_and_never_will() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let (born, unborn) = (claim(&table, b"k", &owner, &guard), claim(&table, b"l", &owner, &guard));
    assert_eq!(help(&table, &born), State::Live);
    for _ in 0..2 {
        assert!(born.entry.has_lived() && !unborn.entry.has_lived());
    }
    assert_eq!((help(&table, &born), help(&table, &unborn)), (State::Live, State::Killed));
}

#[test]
fn what_upkeep_remembers_changes_only_from_what_was_read() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let entry = claim(&table, b"k", &owner, &guard).entry;
    let (old, new) = (Track::default(), Track::default().queued().met_by(3).armed_for(9));
    assert_eq!(entry.track(), Some(old));
    assert!(entry.set_track(old, new) && !entry.set_track(old, new));
    assert_eq!((entry.track(), Heritage::of(entry).track), (Some(new), new));
    assert!(!entry.is_indexed() && !Heritage::of(entry).indexed);
    entry.set_indexed();
    assert!(entry.is_indexed() && Heritage::of(entry).indexed);
}

#[test]
fn an_entry_is_booked_with_all_that_it_takes() {
    let whole = |key: &[u8], len, sliding| {
        let extent = Extent { len, long: false };
        let header = header(key, sliding);
        let plan = Draft::<Blob, Whose>::plan(&header, extent);
        let bytes = plan.bytes();
        let value = vec![7; len as usize];
        let input = BlobInput::Slice(&value);
        let draft: Draft<Blob, Whose> = Draft::with_value(&header, input, &plan, |layout| {
            let block = crate::value::allocated(layout.size()) as u64;
            assert_eq!(block, bytes, "the block is all there is");
            None
        });
        assert_eq!(draft.bytes(), bytes);
        bytes
    };
    let sliding = Some(Sliding { ttl: 1, last: 2 });
    assert_eq!(whole(b"12345678", 8, None) + 16, whole(b"12345678", 8, sliding));
    assert_eq!(whole(b"12345678", 8, None) + 992, whole(b"12345678", 1000, None));
    assert_eq!(whole(b"12345678", 8, None) + 496, whole(&[1; 504], 8, None));
}

/// Its length stands behind it, as the header has no room for that.
#[test]
fn a_long_value_is_read_back_and_booked_with_what_it_holds_elsewhere() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    for len in [1025, 65_535, 65_536, 1 << 20] {
        for sliding in [None, Some(Sliding { ttl: 1, last: 2 })] {
            let input = BlobInput::Shared(vec![len as u8; len].into());
            let (header, extent) = (header(b"1234567", sliding), Blob::extent(&input, |_| 0));
            let plan = Draft::<Blob, Whose>::plan(&header, extent);
            let mut draft = Draft::with_value(&header, input, &plan, |layout| {
                assert_eq!(allocated(layout.size()) + allocated(len) + 32, plan.bytes() as usize);
                None
            });
            draft.prepare(&owner, State::Live, Heritage::default());
            let copy = {
                let entry = table.claim(HASH, draft, &guard).entry;
                assert_eq!((entry.key(), entry.value().len()), (&b"1234567"[..], len));
                assert_eq!((entry.bytes(), entry.sliding()), (plan.bytes(), sliding));
                Draft::copy_of(entry, &Header::of(entry))
            };
            assert_eq!((copy.bytes(), copy.item(0).data().len()), (plan.bytes(), len));
        }
    }
}

#[test]
fn what_a_typed_value_weighs_is_remembered_whatever_it_is() {
    let header = header(b"12345678", None);
    for weight in [0, 1, 65_535, 65_536, u32::MAX as usize] {
        let draft: Draft<u64, Whose> = {
            let extent = u64::extent(&7, |_| weight);
            Draft::with_value(&header, 7, &Draft::<u64, Whose>::plan(&header, extent), |_| None)
        };
        let behind = if weight > 65_535 { 4 } else { 0 };
        assert_eq!(draft.bytes() as usize, allocated(40 + 8 + 8 + behind) + weight);
        let later = draft.with_times(9, None);
        assert_eq!(later.bytes() as usize, allocated(40 + 8 + 8 + behind) + weight);
        let sliding = later.with_times(9, Some(Sliding { ttl: 1, last: 2 }));
        assert_eq!(sliding.bytes() as usize, allocated(40 + 8 + 8 + behind + 16) + weight);
        assert_eq!(*sliding.item(0).value(), 7);
    }
}

/// The length of the key and half of the time of creation share a word of the header.
#[test]
fn an_entry_tells_its_key_and_its_age_apart() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let longest = [b'k'; MAX_KEY_BYTES];
    for key in [&b""[..], b"k", &longest] {
        for created in (0..64).map(|bit| 1 << bit) {
            let header = Header { created, ..header(key, None) };
            let plan = Draft::<Blob, Whose>::plan(&header, Extent { len: 5, long: false });
            let mut draft = Draft::with_value(&header, BlobInput::Slice(b"value"), &plan, |_| None);
            draft.prepare(&owner, State::Live, Heritage::default());
            let entry = table.claim(HASH, draft, &guard).entry;
            assert_eq!(
                (entry.created(), entry.key(), entry.value()),
                (created, key, &b"value"[..])
            );
            assert_eq!((entry.bytes(), entry.owner_ptr()), (plan.bytes(), &raw const owner));
            assert!(entry.flight().is_none() && entry.sliding().is_none());
        }
    }
}

/// The entry holds a pointer to the load, which is in a block with two counters.
#[test]
fn a_placeholder_is_booked_with_its_load() {
    let header = header(b"12345678", None);
    let flight = std::sync::Arc::new(Flight::new());
    let draft = Draft::<Blob, Whose>::placeholder(&header, flight);
    let counters = Layout::new::<[usize; 2]>();
    let (block, _) = counters.extend(Layout::new::<Flight>()).expect("it is small");
    let pointer = Extent { len: 8, long: false };
    assert_eq!(
        draft.bytes(),
        Draft::<Blob, Whose>::plan(&header, pointer).bytes() + allocated(block.size()) as u64
    );
}

#[test]
fn an_entry_expires_at_its_deadline_and_without_one_nobody_reads_the_clock() {
    let (owner, table, guard) = (owner("a"), table(), pin());
    let forever = claim(&table, b"k", &owner, &guard).entry;
    assert!(!forever.is_expired(|| panic!("read")));
    let draft = draft(b"l", &owner, State::Live).with_times(100, None);
    let entry = table.claim(HASH, draft, &guard).entry;
    assert!([5, 99].iter().all(|&now| !entry.is_expired(|| now)));
    assert!([100, 101, NEVER].iter().all(|&now| entry.is_expired(|| now)));
}

#[test]
fn a_load_is_cancelled_by_its_live_placeholder_alone() {
    for (state, outcome) in [
        (State::Live, Outcome::Cancelled),
        (State::Pending, Outcome::Pending),
        (State::Killed, Outcome::Pending),
    ] {
        let (owner, table, guard) = (owner("a"), table(), pin());
        let flight = std::sync::Arc::new(Flight::new());
        let mut draft =
            Draft::<Blob, Whose>::placeholder(&header(b"k", None), std::sync::Arc::clone(&flight));
        draft.prepare(&owner, state, Heritage::default());
        let entry = table.claim(HASH, draft, &guard).entry;
        assert!(entry.flight().is_some());
        entry.cancel_flight();
        assert_eq!(flight.outcome(), outcome, "{state:?}");
    }
}

#[test]
fn who_waits_for_a_load_is_woken_when_it_has_ended_and_not_before() {
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            // Relaxed: one thread.
            // Relaxed: as above.
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let (flight, woken) = (Flight::new(), std::sync::Arc::new(Woken(AtomicBool::new(false))));
    let flight = std::sync::Arc::new(flight);
    let waker = std::sync::Arc::clone(&woken).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut landing = std::pin::pin!(Landing(std::sync::Arc::clone(&flight)));
    assert!(landing.as_mut().poll(&mut context).is_pending());
    // Relaxed: one thread.
    assert!(!woken.0.load(Ordering::Relaxed));
    flight.land(Outcome::Cancelled);
    // Relaxed: one thread.
    assert!(woken.0.load(Ordering::Relaxed));
    assert!(landing.as_mut().poll(&mut context).is_ready());
}

#[test]
fn who_waits_for_a_load_goes_on_when_it_has_ended_and_not_before() {
    let (begun, begins) = std::sync::mpsc::channel();
    for _ in 0..200 {
        let (flight, begun) = (Flight::new(), begun.clone());
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| {
                begun.send(()).expect("it is listened to");
                flight.wait();
                flight.outcome()
            });
            begins.recv().expect("it begins");
            flight.land(Outcome::Stored);
            assert_eq!(waiting.join().expect("no panic"), Outcome::Stored);
        });
    }
}
