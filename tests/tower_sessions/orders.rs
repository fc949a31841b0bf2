//! Calls at the same time, in every order of what they ask of the storage.

use std::sync::Arc;

use scopecache::WebSessions;

use crate::common::{
    Done, Step, Stopping, by_user, check_once, create, global_keys, load, record, sweep, user_of,
};
use crate::every::{self, Taken};

/// Runs the steps on a session of `user` in every order, and judges each end.
fn in_every_order(user: Option<&str>, steps: &[Step]) -> usize {
    let begin = || {
        let storage = Stopping::new(false);
        let plain = by_user(Arc::new(storage.cache.clone()));
        create(&plain, &record(1, user, "before"));
        let calls = steps.iter().map(|step| step.begin(by_user(storage.clone()))).collect();
        ((storage, plain), calls)
    };
    // Whoever looks in between sees it once.
    // A look sweeps where it finds the session dead: who else does is to be seen by itself.
    let between = |(_, plain): &(Arc<Stopping>, WebSessions)| {
        if !steps.contains(&Step::Sweep) {
            check_once(plain, 1, &["ada", "eve"]);
        }
    };
    every::in_every_order(begin, between, |(storage, plain), taken| {
        judge(user, steps, &storage, &plain, taken);
    })
}

fn judge(
    user: Option<&str>,
    steps: &[Step],
    storage: &Stopping,
    plain: &WebSessions,
    taken: &Taken,
) {
    let done = storage.done.lock().expect("no panic").clone();
    sweep(plain, &storage.clock);
    let alive = load(plain, 1);
    let words = || format!("{steps:?} on {user:?} in order {taken:?}: {done:?}, {alive:?}");
    let last_logout = done.iter().rposition(|done| *done == Done::LoggedOut);
    if let (Some(last_logout), Some("ada")) = (last_logout, alive.as_ref().and_then(user_of)) {
        // Only a login that began to store after it.
        assert!(done[last_logout..].contains(&Done::Bound), "{}", words());
    }
    if steps.contains(&Step::Delete) {
        assert_eq!(alive, None, "{}", words());
    }
    if user == Some("ada") && last_logout.is_some() && !steps.contains(&Step::Save(Some("eve"))) {
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
        for (at, first) in steps.iter().enumerate() {
            // The other way round they have the same orders.
            for second in &steps[at..] {
                orders += in_every_order(user, &[*first, *second]);
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
    assert!(orders > 500, "{orders}");
    println!("{orders} orders");
    in_every_order(None, &[Step::Save(Some("ada")), Step::LogOut, Step::Sweep]);
    in_every_order(Some("ada"), &[Step::Save(Some("ada")), Step::LogOut, Step::Sweep]);
}

#[test]
fn log_outs_and_sweeps() {
    in_every_order(Some("ada"), &[Step::LogOut, Step::LogOut, Step::Sweep]);
    in_every_order(Some("ada"), &[Step::LogOut, Step::Load, Step::Sweep]);
}
