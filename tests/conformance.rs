//! The suite of all storages, on the engine in memory; and on storages with a fault each, which
//! it must find.

#[path = "conformance/faulty.rs"]
mod faulty;
#[path = "conformance/memory.rs"]
mod memory;

use faulty::{FAULTS, Faulty};
use memory::Memory;
use scopecache::conformance::{Matrix, Outcome, cases, run};

#[test]
fn the_engine_passes_every_case() {
    let report = run("memory", &Memory::default());
    println!("{}\n{report}", Matrix(std::slice::from_ref(&report)));
    assert!(report.passed(), "{report}");
    let skipped: Vec<_> = report
        .outcomes()
        .filter(|(_, outcome)| matches!(outcome, Outcome::NotSupported(_)))
        .map(|(case, _)| case.name())
        .collect();
    assert_eq!(skipped, ["closing_one_client_leaves_the_others"], "one process alone");
}

#[test]
fn the_provided_bodies_pass_every_case() {
    let report = run("provided bodies", &Memory::with(faulty::provided_bodies));
    assert!(report.passed(), "{report}");
}

/// Nothing is lost by watching.
#[cfg(any(feature = "metrics", feature = "tracing"))]
#[test]
fn an_observed_engine_passes_every_case() {
    let report = run(
        "observed",
        &Memory::with(|cache| Box::new(scopecache::Observed::new(std::sync::Arc::new(cache)))),
    );
    assert!(report.passed(), "{report}");
}

/// What is about to be skipped must say so: the contract itself never is.
#[test]
fn a_storage_that_claims_nothing_is_tried_all_the_same() {
    let report = run("nothing claimed", &Memory::with(faulty::modest));
    assert!(report.passed(), "{report}");
    for (case, outcome) in report.outcomes() {
        let may_be_skipped = !case.needs().is_empty();
        assert_eq!(matches!(outcome, Outcome::NotSupported(_)), may_be_skipped, "{case:?}");
    }
}

#[test]
fn each_fault_is_caught_by_the_case_it_is_about() {
    for &(fault, name) in FAULTS {
        let case = cases().iter().find(|case| case.name() == name).expect("a case of this name");
        let lab = Memory::with(move |cache| Box::new(Faulty::new(cache, fault)));
        match case.run(&lab) {
            Outcome::Failed(words) => println!("{fault:?}: {name}: {words}"),
            outcome => panic!("{name} does not catch {fault:?}: {outcome:?}"),
        }
    }
}
