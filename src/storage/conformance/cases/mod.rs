//! The cases, by what they are about.

mod bulk;
mod calls;
mod cancel;
mod close;
mod conditions;
mod deletes;
mod expiry;
mod limits;
mod lists;
mod loads;
mod names;
mod races;
mod sliding;
mod threads;
mod values;

use super::{Capability, Case};
use crate::storage::Options;

/// What most cases write to.
fn ada() -> Options<'static> {
    Options::new().with_user("ada")
}

/// A session of [`ada`]'s.
fn session(session: &'static str) -> Options<'static> {
    Options::new().with_user_session("ada", session)
}

macro_rules! cases {
    ($($module:ident { $($name:ident [$($need:ident),*] $about:literal;)+ })+) => {
        pub(super) static ALL: &[Case] = &[$($(
            Case {
                name: stringify!($name),
                about: $about,
                needs: &[$(Capability::$need),*],
                body: |world| Box::pin($module::$name(world)),
            },
        )+)+];
    };
}

cases! {
    values {
        a_miss_is_no_error [] "What is absent is none, in every namespace, and no call fails for it.";
        a_get_returns_what_was_set [] "A get returns the bytes, the version and the times of the last set.";
        an_overwrite_starts_anew [] "A set over an item gives another version and another time of creation.";
        bytes_of_any_kind_are_kept [] "Values are bytes: empty ones, all 256 of them, and many.";
        every_client_sees_the_same [] "What one client wrote or deleted is so for all of them from then on.";
    }
    names {
        ids_of_any_characters_never_collide [] "Ids are compared byte for byte: separators, NUL, globs, case and spaces mean nothing.";
        namespaces_are_disjoint [] "A key of a user is not in its sessions, nor in the global namespace, nor the other way round.";
        the_longest_ids_are_told_apart [] "Ids of 256 and keys of 512 bytes that differ in their last byte are different.";
    }
    deletes {
        a_key_is_deleted_alone [] "A delete with a key removes that key of that namespace and nothing else.";
        a_session_is_deleted_whole_and_alone [] "A delete of a session removes all its keys and no other session's.";
        a_user_goes_with_all_sessions [] "A delete of a user removes its keys and those of all its sessions.";
        global_means_the_global_keys_alone [] "A delete without any option removes the global keys and touches no user.";
        deleting_what_is_not_there_succeeds [] "A delete of an absent key or namespace is no error, also twice.";
        what_was_deleted_starts_anew [] "After a delete a namespace is as one that was never there, and can be used at once.";
        deletions_say_how_much_went [CountsRemovedEntries] "A delete answers how many entries it removed.";
        many_sessions_go_at_once [] "A user of hundreds of sessions goes as one of two does.";
    }
    conditions {
        conditions_are_kept [Versions] "insert needs absence, replace presence; a condition that does not hold changes nothing.";
        a_version_fits_its_own_item_alone [Versions] "No version fits another key, another namespace, or what came after an overwrite or a delete.";
        versions_never_come_back [] "No two writes answer the same version, across clients, overwrites and deletes.";
        a_taken_item_is_gone [] "take returns the item and removes it.";
        an_update_keeps_the_rest [Versions, KeepTtl] "update writes what the closure makes of the value, and nothing where the key is absent.";
    }
    expiry {
        an_item_ends_at_its_deadline [ExactExpiry] "An item is returned until its deadline, and never at or after it.";
        times_are_told [] "expires_at is created_at and the TTL; without a TTL there is none.";
        a_set_drops_an_earlier_ttl [ExactExpiry] "A set without a TTL makes the item permanent again; one with a TTL replaces the earlier one.";
        keep_ttl_keeps_the_deadline [KeepTtl, ExactExpiry] "keep_ttl keeps the deadline of what is overwritten, and gives none where nothing is.";
        an_expired_item_is_absent_to_every_call [ExactExpiry] "Expired is absent: for insert, replace, take, touch, delete and compare_and_set.";
        an_expired_item_is_not_listed [ListsKeys, ListsSessions, ExactExpiry] "Listings leave out what has expired, and sessions that hold nothing else.";
        a_touch_moves_the_deadline_alone [ExactExpiry] "touch gives a new deadline, earlier or later; value, version and creation stay.";
        a_touch_gives_a_ttl_to_what_had_none [ExactExpiry] "touch gives an item without a TTL one.";
        ttls_of_any_length_are_taken [] "A TTL may be a nanosecond or all time.";
        items_of_one_session_end_apart [ExactExpiry] "Each item has a deadline of its own, whatever its neighbours have.";
    }
    sliding {
        a_hit_renews_a_sliding_ttl [SlidingTtl, ExactExpiry] "A get renews a sliding TTL, up to the maximum lifetime and no further.";
        nothing_but_a_hit_renews [SlidingTtl, ExactExpiry, ListsKeys] "Listings and failed writes renew nothing.";
        a_touch_stays_sliding [SlidingTtl, ExactExpiry] "A touched sliding TTL slides on by its new TTL, within the same maximum lifetime.";
    }
    limits {
        options_that_do_not_go_together_are_refused [] "Contradictory options are InvalidOptions with words that say which; nothing is touched.";
        options_that_go_together_are_taken [] "Every option that a call understands is taken.";
        lengths_are_checked_at_both_ends [] "Ids of 1 to 256 bytes and keys of 1 to 512 are taken, all others are refused, and the error names part and limit.";
        a_value_over_the_limit_is_refused [] "A value of the greatest length is taken, one byte more is ValueTooLarge, and nothing is touched.";
        errors_show_no_content [] "No error shows an id, a key or a value.";
    }
    bulk {
        many_at_once [] "Bulk calls answer in the order of the keys, with duplicates and misses.";
        no_key_is_not_the_namespace [] "A bulk call of no keys does nothing; a delete_many of none never deletes a namespace.";
        hundreds_at_once [] "A bulk call takes hundreds of keys.";
    }
    lists {
        keys_come_in_pages [ListsKeys] "Every key is listed once, in as many pages as it takes, and those of sessions are not a user's.";
        sessions_come_in_pages [ListsSessions] "Every session that holds anything is listed once, and no other.";
        what_stays_is_listed_once_while_others_come_and_go [ListsKeys] "What is present from the first page to the last is listed once.";
        an_empty_namespace_is_not_listed [ListsKeys, ListsSessions] "A session whose last key went is not listed.";
    }
    loads {
        a_hit_never_polls_the_loader [] "load returns the live item, or what the loader answers, and stores it with its TTL.";
        a_loader_that_fails_stores_nothing [] "A loader's error comes back as the source of Loader, and nothing is stored.";
        one_loader_runs_for_each_key [SingleLoader] "Of several callers at a time one runs its loader.";
        an_answer_that_was_overtaken_is_not_stored [SingleLoader] "A delete or a set during a load keeps its answer out.";
        a_load_ends_with_its_timeout [] "A loader that never ends is given up at the timeout.";
    }
    cancel {
        a_call_that_was_never_polled_has_not_happened [] "A future that is dropped before its first poll does nothing.";
        a_dropped_write_is_whole_or_nothing [] "A set, dropped at any await, has stored the whole value or nothing; the client goes on.";
        a_dropped_delete_is_whole_or_nothing [AtomicNamespaceDelete] "A delete of a user, dropped at any await, has removed everything or nothing.";
        a_dropped_take_is_whole_or_nothing [] "A take, dropped at any await, has removed the item or not.";
        a_dropped_read_disturbs_nobody [] "After a read was dropped, the next call gets its own answer.";
    }
    races {
        an_insert_has_one_winner [Versions] "Of several inserts of one key at once exactly one stores.";
        a_take_has_one_winner [] "Of several takes of one item at once exactly one gets it.";
        a_compare_and_set_has_one_winner [Versions] "Of several writes over one version at once exactly one stores.";
        updates_are_all_counted [Versions, KeepTtl] "No update of a counter by several clients is lost.";
        a_user_deleted_by_two_is_deleted [] "Several clients may delete one user at once; nothing written before returns.";
        nothing_deleted_returns [Linearizable] "What was written before a delete began is gone once it has answered, whatever others write meanwhile.";
        a_user_goes_at_one_moment [AtomicNamespaceDelete] "Whoever has seen one key of a user gone sees none of the others any more.";
    }
    threads {
        writes_of_one_key_are_linearizable [Linearizable, Versions] "Some order explains what clients saw of one key: sets, conditional writes, takes and deletes.";
        deletes_and_writes_are_linearizable [Linearizable, Versions, AtomicNamespaceDelete] "Some order explains what clients saw of a user whose keys, sessions and whole self were written and deleted.";
    }
    close {
        a_closed_client_refuses_every_call [] "After close every call is Closed; closing again does nothing.";
        closing_one_client_leaves_the_others [Shared] "What was stored outlives the client that stored it, and others go on.";
    }
}
