//! Calls at the same time, in every order of what they ask of the storage.

use std::sync::Arc;

use crate::common::{
    Call, Done, Step, Stopping, by_user, check_once, create, global_keys, load, poll, record,
    sweep, user_of,
};

/// Runs the steps on a session of `user` in every order, and judges each end.
///
/// Each run makes the choices in `script`, then the first that is possible; the last choice that has
/// another one after it is changed for the next run.
fn in_every_order(user: Option<&str>, steps: &[Step]) -> usize {
    let mut script: Vec<usize> = Vec::new();
    let mut orders = 0;
    loop {
        let storage = Stopping::new(false);
        let plain = by_user(Arc::new(storage.cache.clone()));
        create(&plain, &record(1, user, "before"));
        let begin = |step: &Step| Some(step.begin(by_user(storage.clone())));
        let mut calls: Vec<Option<Call>> = steps.iter().map(begin).collect();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        loop {
            let open: Vec<usize> = (0..calls.len()).filter(|&at| calls[at].is_some()).collect();
            if open.is_empty() {
                break;
            }
            let choice = script.get(taken.len()).copied().unwrap_or(0);
            taken.push((choice, open.len()));
            let call = &mut calls[open[choice]];
            if poll(call.as_mut().expect("open")) {
                *call = None;
            }
            // Whoever looks in between sees it once. The run before has looked at what is the same.
            // A look sweeps where it finds the session dead: who else does is to be seen by itself.
            if taken.len() >= script.len() && !steps.contains(&Step::Sweep) {
                check_once(&plain, 1, &["ada", "eve"]);
            }
        }
        let done = storage.done.lock().expect("no panic").clone();
        sweep(&plain, &storage.clock);
        let alive = load(&plain, 1);
        let words = || format!("{steps:?} on {user:?} in order {taken:?}: {done:?}, {alive:?}");
        let last_logout = done.iter().rposition(|done| *done == Done::LoggedOut);
        if let (Some(last_logout), Some("ada")) = (last_logout, alive.as_ref().and_then(user_of)) {
            // Only a login that began to store after it.
            assert!(done[last_logout..].contains(&Done::Bound), "{}", words());
        }
        if steps.contains(&Step::Delete) {
            assert_eq!(alive, None, "{}", words());
        }
        if user == Some("ada") && last_logout.is_some() && !steps.contains(&Step::Save(Some("eve")))
        {
            assert_eq!(alive, None, "{}", words());
        }
        let ends_it = |step: &Step| matches!(step, Step::Delete | Step::LogOut);
        if !steps.iter().any(ends_it) {
            assert!(alive.is_some(), "{}", words());
        }
        let is_no_end = |step: &Step| {
            matches!(step, Step::Save(Some("eve")) | Step::Load | Step::LogOut | Step::Sweep)
        };
        if done.contains(&Done::Moved) && steps.iter().all(is_no_end) {
            assert_eq!(alive.as_ref().and_then(user_of), Some("eve"), "{}", words());
        }
        let heads = global_keys(&storage.cache).len();
        assert_eq!(heads, usize::from(alive.is_some()), "{}", words());
        orders += 1;
        let Some(last) = taken.iter().rposition(|(choice, open)| choice + 1 < *open) else {
            return orders;
        };
        script = taken[..last].iter().map(|(choice, _)| *choice).collect();
        script.push(taken[last].0 + 1);
    }
}

#[test]
fn two_calls() {
    let steps = [
        Step::Save(None),
        Step::Save(Some("ada")),
        Step::Save(Some("eve")),
        Step::Load,
        Step::Delete,
        Step::LogOut,
        Step::Sweep,
    ];
    let mut orders = 0;
    for user in [None, Some("ada"), Some("eve")] {
        for first in steps {
            for second in steps {
                orders += in_every_order(user, &[first, second]);
            }
        }
    }
    assert!(orders > 1000, "{orders}");
}

#[test]
fn two_logins_and_a_log_out() {
    let login = Step::Save(Some("ada"));
    in_every_order(None, &[login, login, Step::LogOut]);
}

#[test]
fn a_change_of_users_and_a_log_out() {
    in_every_order(Some("ada"), &[Step::Save(Some("eve")), Step::LogOut, Step::Load]);
    in_every_order(Some("eve"), &[Step::Save(Some("ada")), Step::LogOut, Step::Save(None)]);
}

#[test]
fn a_login_a_save_and_a_delete() {
    in_every_order(None, &[Step::Save(Some("ada")), Step::Save(None), Step::Delete]);
    in_every_order(Some("ada"), &[Step::Save(Some("ada")), Step::Delete, Step::LogOut]);
}

/// Whoever sees the session dead may be late: it is another's by then, and stays so.
#[test]
fn a_change_of_users_a_log_out_and_a_sweep() {
    let moves = Step::Save(Some("eve"));
    let orders = in_every_order(Some("ada"), &[moves, Step::LogOut, Step::Sweep]);
    assert!(orders > 1000, "{orders}");
    println!("{orders} orders");
    in_every_order(None, &[Step::Save(Some("ada")), Step::LogOut, Step::Sweep]);
    in_every_order(Some("ada"), &[Step::Save(Some("ada")), Step::LogOut, Step::Sweep]);
}

#[test]
fn log_outs_and_sweeps() {
    in_every_order(Some("ada"), &[Step::LogOut, Step::LogOut, Step::Sweep]);
    in_every_order(Some("ada"), &[Step::LogOut, Step::Load, Step::Sweep]);
}
