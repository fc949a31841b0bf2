use super::pile::Pile;

const SPARE: usize = 8;

/// A pile with a spare list of so many objects of 128 bytes, and nothing else.
fn pile_with_spare() -> Pile {
    // More than they take: none is handed over by itself.
    let pile = Pile::new(1024);
    (0..SPARE).for_each(|_| pile.retire(128));
    pile.make_ready();
    pile.hand_over();
    assert!(pile.has_spare());
    pile
}

fn free_all(pile: &Pile) {
    // Others' guards may hold the epoch back for a while.
    while pile.bytes() > 0 {
        pile.hand_over();
        pile.free_ready();
        pile.free_spare();
    }
}

#[test]
fn writers_write_into_what_was_retired() {
    let pile = pile_with_spare();
    assert!(pile.retire_in_spare(128));
    assert_eq!(pile.cleared(), 1);
    assert_eq!(pile.bytes(), 128 * SPARE as u64 + 128, "what is owed is not yet subtracted");
    free_all(&pile);
    assert_eq!(pile.cleared(), SPARE + 1);
}

#[test]
fn a_batch_comes_back_to_the_stash_it_was_taken_off() {
    let one = Pile::new(1024);
    let other = one.beside();
    (0..SPARE).for_each(|_| other.retire(128));
    other.make_ready();
    one.hand_over();
    assert!(!one.has_spare(), "it was another's");
    other.hand_over();
    assert!(other.has_spare());
    assert!(other.retire_in_spare(128));
    free_all(&other);
    assert_eq!((one.bytes(), other.cleared()), (0, SPARE + 1));
}

#[test]
fn blocks_of_another_size_are_freed() {
    let pile = pile_with_spare();
    assert!(!pile.retire_in_spare(136));
    assert_eq!(pile.cleared(), 2, "twice what was to be retired");
    while pile.has_spare() {
        assert!(!pile.take(64));
    }
    assert_eq!(pile.bytes(), 0);
    assert_eq!(pile.cleared(), SPARE);
}

#[test]
fn an_idle_spare_list_is_freed_and_large_objects_never_get_there() {
    let pile = pile_with_spare();
    pile.free_idle_spare();
    assert!(pile.has_spare(), "it was filled just now");
    pile.free_idle_spare();
    assert!(!pile.has_spare());
    for _ in 0..64 {
        pile.retire(4096);
        pile.make_ready();
        pile.hand_over();
        assert!(!pile.has_spare(), "a large object is kept");
    }
    free_all(&pile);
    assert_eq!(pile.cleared(), SPARE + 64);
}

/// Whoever counted it until then stops, and freeing others may take long.
#[test]
fn an_object_counts_before_others_are_freed_for_it() {
    for (here, bytes) in [(0, 4096), (SPARE, 128)] {
        let pile = Pile::new(1024);
        let fill = |objects| (0..objects).for_each(|_| pile.retire(128));
        // One batch is kept for writers, the others are freed.
        (0..3).for_each(|_| {
            fill(SPARE);
            pile.make_ready();
        });
        fill(here);
        let mut seen = None;
        pile.retire_and(bytes, || seen = Some((pile.cleared(), pile.bytes())));
        assert_eq!(seen, Some((0, (128 * (3 * SPARE + here) + bytes) as u64)));
        assert!(pile.cleared() >= SPARE, "it made nobody free anything");
        free_all(&pile);
    }
}

#[test]
fn threads_that_retire_and_reuse_free_each_object_once() {
    const THREADS: usize = 4;
    const EACH: usize = 20_000;
    let pile = Pile::new(1024);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let pile = &pile;
            scope.spawn(move || {
                for step in 0..EACH {
                    let bytes = if step % 8 == thread { 256 } else { 128 };
                    if !pile.retire_in_spare(bytes) {
                        pile.retire(bytes);
                    }
                    match step % 1000 {
                        0 => pile.free_spare(),
                        500 => pile.free_idle_spare(),
                        _ => {}
                    }
                }
            });
        }
    });
    free_all(&pile);
    assert_eq!(pile.cleared(), THREADS * EACH);
}
