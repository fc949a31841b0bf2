use std::thread;

use super::BATCH;
use super::litter::Litter;

#[test]
fn nothing_is_freed_before_it_was_handed_over() {
    let litter = Litter::new();
    (1..BATCH).for_each(|_| litter.retire());
    litter.free(usize::MAX);
    assert_eq!(litter.freed(), 0);
    litter.retire();
    litter.free(3);
    assert_eq!(litter.freed(), 3, "the batch was full");
    litter.free(usize::MAX);
    assert_eq!(litter.freed(), BATCH);
    litter.retire();
    litter.hand_over();
    litter.free(usize::MAX);
    assert_eq!(litter.freed(), BATCH + 1);
}

#[test]
fn threads_that_retire_and_free_free_each_once() {
    const THREADS: usize = 4;
    const RETIRED: usize = 20_000;
    let litter = Litter::new();
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                for turn in 0..RETIRED {
                    litter.retire();
                    litter.free(turn % 4);
                    if turn % 100 == 0 {
                        litter.hand_over();
                    }
                }
            });
        }
    });
    litter.hand_over();
    litter.free(usize::MAX);
    assert_eq!(litter.freed(), THREADS * RETIRED);
}
