//! The list of handles by one thread: what it holds, counts and books.

use super::*;
use crate::reclaim::pin;

/// A list at its final address that holds `1..=count`, and the bytes that the pushes told.
fn list(count: u64, guard: &Guard) -> (Box<Handles>, u64) {
    let list = Box::new(Handles::new());
    list.place();
    let mut bytes = 0;
    for handle in 1..=count {
        let (grown, full) = list.push(handle, guard);
        assert!(grown <= CHUNK_BYTES);
        // All but this one stand in chunks that are full.
        assert_eq!(full, (grown > 0).then_some(handle - 1));
        bytes += grown;
        assert_eq!((list.bytes(guard), list.count(guard)), (bytes, handle));
    }
    (list, bytes)
}

#[test]
fn a_few_handles_stand_in_the_node_and_many_take_little_more_than_themselves() {
    let guard = pin();
    assert_eq!(list(3, &guard).1, 0);
    assert!(list(4, &guard).1 > 0);
    let (list, bytes) = list(10_000, &guard);
    assert_eq!(list.snapshot(&guard), (1..=10_000).collect::<Vec<_>>());
    assert!((80_000..84_000).contains(&bytes), "{bytes} bytes for 10,000 handles");
}

#[test]
fn a_handle_that_was_added_twice_is_listed_once() {
    let guard = pin();
    let (list, _) = list(10, &guard);
    for handle in 1..=10 {
        list.push(handle, &guard);
    }
    assert_eq!(list.snapshot(&guard), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_detached_list_shows_every_handle_once_and_gives_back_what_was_booked() {
    for count in [0, 1, 3, 4, 200, 1000] {
        let guard = pin();
        let (list, bytes) = list(count, &guard);
        let (mut detached, mut shown, mut freed) = (list.detach(), Vec::new(), 0);
        while let Some(bytes) = detached.take_chunk(&guard, |handle| shown.push(handle)) {
            freed += bytes;
        }
        shown.sort_unstable();
        assert_eq!(shown, (1..=count).collect::<Vec<_>>());
        assert_eq!(freed, bytes);
        assert_eq!((list.snapshot(&guard), list.bytes(&guard)), (vec![], 0));
        // Whoever comes late has a chunk of its own.
        assert!(list.push(7, &guard).0 > 0);
        assert_eq!(list.snapshot(&guard), [7]);
    }
}

#[test]
fn a_compaction_drops_what_leads_nowhere_and_tells_what_that_gives_back() {
    let guard = pin();
    let (list, bytes) = list(1000, &guard);
    let given_back = list.compact(&guard, |handle| handle % 4 == 0);
    assert_eq!(list.bytes(&guard), bytes - given_back);
    assert!((700 * 8..760 * 9).contains(&given_back), "{given_back} bytes of 750 handles");
    let kept = list.snapshot(&guard);
    assert!((1..=1000).filter(|handle| handle % 4 == 0).all(|live| kept.contains(&live)));
    let stale = kept.iter().filter(|&handle| handle % 4 != 0).count();
    assert!(stale <= usize::from(MOST), "{stale} outside the first chunk");

    // What is full is counted anew: there are fewer now.
    for (behind, handle) in (kept.len() as u64..).zip(2000..2200) {
        if let (_, Some(full)) = list.push(handle, &guard) {
            assert_eq!(full, behind);
        }
    }
    let all_live = list.snapshot(&guard).len();
    let bytes = list.bytes(&guard);
    let given_back = list.compact(&guard, |_| true);
    assert_eq!(list.bytes(&guard), bytes - given_back);
    assert_eq!(list.snapshot(&guard).len(), all_live);
}

#[test]
fn a_compaction_that_gives_nothing_back_changes_nothing() {
    let guard = pin();
    let (list, _) = list(1000, &guard);
    list.compact(&guard, |_| true);
    let bytes = list.bytes(&guard);
    assert_eq!(list.compact(&guard, |_| true), 0);
    assert_eq!(list.bytes(&guard), bytes);
    assert_eq!(list.snapshot(&guard), (1..=1000).collect::<Vec<_>>());
    // A list of one chunk, or that was taken, has nothing to compact.
    let mut detached = list.detach();
    assert_eq!(list.compact(&guard, |_| panic!("asked")), 0);
    while detached.take_chunk(&guard, |_| {}).is_some() {}
}

#[test]
fn a_walk_in_parts_shows_every_handle_once_and_the_oldest_first() {
    let guard = pin();
    for count in [0, 1, 3, 4, 100, 10_000] {
        let (list, _) = list(count, &guard);
        for wanted in [1, 64, 1000, u64::MAX] {
            let (mut shown, mut from) = (Vec::new(), Some(0));
            while let Some(at) = from {
                let mut part = Vec::new();
                from = list.part(at, wanted, &guard, &mut part);
                part.sort_unstable();
                assert!(from.is_none_or(|next| next > at && part.len() as u64 >= wanted));
                // A chunk more than was wanted, at most.
                assert!(part.len() as u64 <= wanted.saturating_add(u64::from(MOST)));
                shown.extend(part);
            }
            assert_eq!(shown, (1..=count).collect::<Vec<_>>(), "{wanted} at a time");
        }
        assert_eq!(list.part(count + 1, 64, &guard, &mut Vec::new()), None);
    }
}

#[test]
fn a_part_ends_where_as_many_were_shown_as_were_wanted() {
    let guard = pin();
    let (list, _) = list(1000, &guard);
    let mut first = Vec::new();
    let next = list.part(0, 1, &guard, &mut first).expect("there are more");
    assert_eq!(first.len() as u64, next, "whole chunks from the oldest on");
    let mut again = Vec::new();
    assert_eq!(list.part(0, next, &guard, &mut again), Some(next), "no chunk more than that");
    assert_eq!(again, first);
}
