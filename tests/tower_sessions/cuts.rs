//! Calls that are dropped at each place where they wait.

use std::sync::Arc;

use crate::common::{
    INSTANT, Step, Stopping, by_user, check_once, create, global_keys, listed, load, note_of,
    record, sweep, user_of,
};
use crate::every::poll;

const CALLS: [Step; 10] = [
    Step::Save(None),
    Step::Save(Some("ada")),
    Step::Save(Some("eve")),
    Step::Create(None),
    Step::Create(Some("ada")),
    Step::Load,
    Step::Delete,
    Step::LogOut,
    Step::Sweep,
    Step::Create(Some("eve")),
];

/// Every call on a session that is absent, anonymous, ada's or eve's, dropped before and after each
/// call of the storage: the session is as it was or as it is to be; it is there once; and a log-out
/// everywhere ends it whatever comes later.
#[test]
fn a_call_cut_off_has_happened_or_not() {
    let mut cuts = 0;
    for before in [None, Some(None), Some(Some("ada")), Some(Some("eve"))] {
        for step in CALLS {
            if before.is_some() && matches!(step, Step::Create(_)) {
                continue; // the id would be another
            }
            for cut in 0.. {
                let storage = Stopping::new(true);
                // What prepares and judges does not stop.
                let plain = by_user(Arc::new(storage.cache.clone()));
                if let Some(user) = before {
                    create(&plain, &record(1, user, "before"));
                }
                let mut call = step.begin(by_user(storage.clone()));
                let ended = (0..=cut).any(|_| poll(&mut call));
                drop(call);

                let found = load(&plain, 1);
                let found = found.as_ref().map(|it| (user_of(it), note_of(it)));
                let was = before.map(|user| (user, "before"));
                let is = after(step, before);
                let words = format!("{step:?} on {before:?}, cut {cut}: {found:?}");
                assert!(found == is || !ended && found == was, "{words}");
                check_once(&plain, 1, &["ada", "eve"]);

                let plain_calls = || {
                    for user in [None, Some("ada"), Some("eve")] {
                        let mut save = Step::Save(user).begin(plain.clone());
                        assert!(poll(&mut save));
                    }
                };
                for user in ["ada", "eve"] {
                    pollster::block_on(plain.logout_everywhere(user)).expect("open");
                    assert!(listed(&plain, user).is_empty());
                }
                if found.is_none_or(|(user, _)| user.is_some()) {
                    plain_calls();
                    assert_eq!(load(&plain, 1), None, "{words}, then saved again");
                    sweep(&plain, &storage.clock);
                    assert!(global_keys(&storage.cache).is_empty(), "{words}: something is left");
                }
                cuts += 1;
                if ended {
                    break;
                }
            }
        }
    }
    assert!(cuts > 100, "{cuts}");
}

/// Every call that meets a session which was logged out, dropped at each place: it stays logged out, and a
/// sweep takes away what is left.
#[test]
fn what_is_dead_stays_so_wherever_its_end_is_cut_off() {
    let calls = [
        Step::Load,
        Step::Save(None),
        Step::Save(Some("ada")),
        Step::Save(Some("eve")),
        Step::Delete,
        Step::LogOut,
        Step::Sweep,
    ];
    let mut cuts = 0;
    for step in calls {
        for cut in 0.. {
            let storage = Stopping::new(true);
            let plain = by_user(Arc::new(storage.cache.clone()));
            create(&plain, &record(1, Some("ada"), "before"));
            pollster::block_on(plain.logout_everywhere("ada")).expect("open");
            assert_eq!(global_keys(&storage.cache).len(), 1, "its head");

            let mut call = step.begin(by_user(storage.clone()));
            let ended = (0..=cut).any(|_| poll(&mut call));
            drop(call);
            storage.clock.advance(INSTANT);
            if ended && step != Step::LogOut {
                assert!(global_keys(&storage.cache).is_empty(), "{step:?} has ended it");
            }
            sweep(&plain, &storage.clock);
            assert!(global_keys(&storage.cache).is_empty(), "{step:?}, cut {cut}");
            assert_eq!(load(&plain, 1), None);
            cuts += 1;
            if ended {
                break;
            }
        }
    }
    assert!(cuts > 30, "{cuts}");
}

/// The session after the call, and what it notes.
fn after(
    step: Step,
    before: Option<Option<&'static str>>,
) -> Option<(Option<&'static str>, &'static str)> {
    match (step, before) {
        (Step::Create(user), _) => Some((user, "created")),
        (Step::Save(user), Some(_)) => Some((user, "saved")),
        (Step::Save(_), None) | (Step::Delete, _) | (Step::LogOut, Some(Some("ada"))) => None,
        (Step::Load | Step::LogOut | Step::Sweep, before) => before.map(|user| (user, "before")),
    }
}
