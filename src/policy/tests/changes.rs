//! What changes while a policy is in use: its bound, what it remembers, and its memory.

use super::*;

#[test]
fn a_bound_that_moves_moves_the_capacity_by_as_much() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    let policy = &mut cache.policy;
    for (total, capacity) in [(2000, 2000), (2000, 2000), (500, 500), (1, 1), (0, 1)] {
        policy.set_total(total);
        assert_eq!(policy.capacity, capacity);
    }
    let mut policy = Policy::new(Eviction::Adaptive, 4000, 4);
    policy.set_total(6000);
    assert_eq!(policy.capacity, 1500, "a part of the whole, as before");
}

#[test]
fn what_a_higher_bound_adds_is_filled_and_a_lower_one_adds_nothing() {
    let mut cache = Cache::new(Eviction::Adaptive, 100);
    cache.policy.set_total(90);
    assert!(cache.policy.is_filling, "it was not full yet");
    cache.policy.set_total(100);
    cache.fill(0);
    cache.get_or_insert(1000);
    cache.policy.set_total(90);
    assert!(!cache.policy.is_filling);
    cache.policy.set_total(200);
    cache.capacity = 200;
    (2000..2050).for_each(|key| assert!(!cache.get_or_insert(key)));
    let main = cache.policy.main.entries();
    assert!(main.contains(&2040), "the small queue has no room for all of it");
}

#[test]
fn what_was_evicted_counts_as_room_until_that_is_forgotten() {
    for (forgets, capacity) in [(false, 100), (true, 90)] {
        let mut cache = Cache::new(Eviction::Adaptive, 100);
        cache.fill(0);
        (0..10).for_each(|_| assert_eq!(cache.evict(1), Evicted::Entry(1)));
        if forgets {
            cache.policy.forget_room();
        }
        cache.evict(1);
        assert_eq!(cache.policy.capacity, capacity);
    }
}

#[test]
fn who_has_no_room_for_ghosts_gives_them_up_and_who_is_empty_everything() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    assert!(!cache.policy.has_ghosts());
    cache.fill(0);
    cache.get_or_insert(5000);
    assert!(cache.policy.has_ghosts());
    let (bytes, len) = (cache.policy.bytes(), cache.policy.len());
    cache.policy.forget_ghosts();
    assert!(!cache.policy.has_ghosts() && cache.policy.bytes() < bytes);
    assert!(cache.policy.wanted_ghost_bytes().is_some(), "they may come back");
    assert_eq!(cache.policy.len(), len);
    cache.policy.size_ghosts();
    cache.policy.clear();
    assert!(!cache.policy.has_ghosts());
    assert_eq!((cache.policy.len(), cache.policy.weight(), cache.policy.bytes()), (0, 0, 0));
}

#[test]
fn what_is_refused_ages_others_by_a_hundredth_of_the_capacity_at_most() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    cache.fill(0);
    let Cache { policy, world, share, .. } = &mut cache;
    policy.size_ghosts();
    let before = policy.evicted.small;
    assert!(!policy.admits(5000, 500, share, world));
    assert_eq!(policy.evicted.small, before + 10);
}

#[test]
fn in_s3_fifo_a_ghost_of_the_small_queue_returns_to_main_once() {
    let mut cache = Cache::new(Eviction::S3Fifo, 100);
    cache.fill(0);
    cache.get_or_insert(1000);
    assert!(!cache.world.entries.contains_key(&0));
    assert!(!cache.get_or_insert(0));
    assert!(cache.policy.main.entries().contains(&0));
    let ghosts = cache.policy.ghosts.as_ref().expect("it has evicted");
    assert_eq!(ghosts.find(0, cache.policy.evicted), None, "it is no ghost any more");
}

#[test]
fn a_ghost_of_the_small_queue_counts_for_two_capacities() {
    for (age, counts) in [(1, true), (2048, true), (2049, false)] {
        let mut cache = Cache::new(Eviction::Adaptive, 1024);
        cache.fill(0);
        cache.get_or_insert(5000);
        // Main has room.
        while cache.policy.main.pop().is_some() {}
        cache.policy.evicted.small += age - 1;
        let Cache { policy, world, .. } = &mut cache;
        let (known, told) = policy.ghosts.as_ref().unwrap().find(0, policy.evicted).unwrap();
        assert_eq!((known, told), (Origin::Small, age - 1));
        policy.evicted.small += 1;
        let returned = policy.return_of(0, 1, 1, world).expect("there is a ghost");
        assert_eq!(returned.to_main, counts, "{age}");
    }
}

#[test]
fn the_coldest_of_main_is_told_from_a_ghost_in_a_cache_of_any_size() {
    for weight in [1, 1 << 12, 1 << 24] {
        let mut cache = Cache::new(Eviction::Adaptive, 100 * weight);
        let mut get = |key| cache.get_or_insert_weighing(key, weight);
        (0..100).for_each(|key| assert!(!get(key)));
        // All of main is in use, and then nobody asks for it any more while new keys go by.
        (10..100).for_each(|key| assert!(get(key)));
        assert!(!get(1000) && !get(0));
        (2000..2100).for_each(|key| assert!(!get(key)));
        assert!(!get(2085));
        assert!(cache.policy.small.entries().contains(&0) || !cache.world.entries.contains_key(&0));
        assert!(cache.policy.main.entries().contains(&2085), "{weight}");
    }
}

#[test]
fn a_small_queue_has_room_for_an_average_entry() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    assert_eq!(cache.policy.target(0.3), 300);
    (0..4).for_each(|key| assert!(!cache.get_or_insert_weighing(key, 210)));
    assert_eq!((cache.policy.target(0.1), cache.policy.target(0.3)), (210, 300));
}

#[test]
fn of_a_main_queue_that_is_all_in_use_the_front_goes() {
    let mut cache = Cache::new(Eviction::Adaptive, 1000);
    cache.fill(0);
    for entry in cache.world.entries.values_mut() {
        entry.credit = 3;
    }
    // The small queue has less than its share.
    cache.share = 0.5;
    assert_eq!(cache.evict(1), Evicted::Entry(1));
    assert_eq!(cache.world.entries.keys().filter(|&&key| key < 100).count(), 100);
}

#[test]
fn a_table_of_ghosts_is_counted_with_all_that_it_holds() {
    for ghosts in [1, 8, 9, 100, 10_000] {
        let bytes = Ghosts::bytes_for(ghosts);
        assert!(bytes > 4 * ghosts as u64, "{bytes} for {ghosts}");
    }
}

#[test]
fn a_walk_fills_the_places_that_were_left_at_the_front() {
    let mut queue = Queue::default();
    let handle = |entry| Handle { entry, stamp: 0, weight: 1 };
    (0..200).for_each(|entry| queue.push(handle(entry)));
    (0..60).for_each(|_| assert!(queue.pop().is_some()));
    let before = queue.bytes();
    assert!(queue.retain(&mut 1000, |_| true));
    queue.validate().unwrap();
    assert_eq!(queue.entries(), (60..200).collect::<Vec<_>>());
    // Four blocks of 64.
    (200..316).for_each(|entry| queue.push(handle(entry)));
    assert_eq!(queue.bytes(), before);
    queue.push(handle(316));
    assert!(queue.bytes() > before);
}
