//! What operations cost, in instructions and in cycles that callgrind estimates from them and from
//! the cache misses of a fixed, simulated machine.
//!
//! `scripts/instructions` runs this, divides by the number of operations and compares with
//! `baseline.json`.

#![expect(missing_docs, reason = "what the macros make")]

use std::hint::black_box;

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use instructions::{Subject, TTL, VALUE};

/// What a step of maintenance may do: free an entry, move a handle on, ..
const STEP: usize = 20;

#[library_benchmark]
#[bench::count(Subject::filled())]
fn get_hit(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get(&call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn get_hit_borrowed(subject: Subject) -> Subject {
    let guard = subject.cache.pin();
    for call in &subject.calls {
        assert!(black_box(call.scope.get_ref(&call.key, &guard)).is_ok());
    }
    drop(guard);
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn get_hit_raw(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(subject.cache.get(call.namespace(), &call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn get_miss(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get(&call.absent)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn get_many_10(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get_many(&subject.keys)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn set_new(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.absent, &VALUE)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn set_overwrite(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.key, &VALUE)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn delete(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.delete(&call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::filled())]
fn delete_user(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(subject.cache.delete_namespace(call.user())).is_ok());
    }
    subject
}

// All entries are due; each operation is a step of maintenance, 1,000 of which free them all.
#[library_benchmark]
#[bench::count(due(Subject::filled()))]
fn wheel_step_due(subject: Subject) -> Subject {
    for _ in &subject.calls {
        black_box(subject.cache.maintain(STEP));
    }
    assert_eq!(subject.cache.stats().entries, 0, "10,000 were due, and had so many steps");
    subject
}

// Nothing is due: what an idle cache costs.
#[library_benchmark]
#[bench::count(Subject::filled())]
fn wheel_step_idle(subject: Subject) -> Subject {
    for _ in &subject.calls {
        black_box(subject.cache.maintain(STEP));
    }
    subject
}

// With quotas: a hit, an overwrite that needs no more room, and a new key.
#[library_benchmark]
#[bench::count(Subject::with_quotas())]
fn quota_get_hit(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get(&call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::with_quotas())]
fn quota_set_overwrite(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.key, &VALUE)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::with_quotas())]
fn quota_set_new(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.absent, &VALUE)).is_ok());
    }
    subject
}

// What counters and a listener add.

#[library_benchmark]
#[bench::count(Subject::counted())]
fn get_hit_counted(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get(&call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::reported())]
fn get_hit_reported(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.get(&call.key)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::counted())]
fn set_overwrite_counted(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.key, &VALUE)).is_ok());
    }
    subject
}

#[library_benchmark]
#[bench::count(Subject::reported())]
fn set_overwrite_reported(subject: Subject) -> Subject {
    for call in &subject.calls {
        assert!(black_box(call.scope.set(&call.key, &VALUE)).is_ok());
    }
    subject
}

fn due(subject: Subject) -> Subject {
    subject.clock.advance(2 * TTL);
    subject
}

library_benchmark_group!(
    name = operations;
    benchmarks = get_hit, get_hit_borrowed, get_hit_raw, get_miss, get_many_10, set_new,
        set_overwrite, delete, delete_user, wheel_step_due, wheel_step_idle
);

library_benchmark_group!(
    name = quotas;
    benchmarks = quota_get_hit, quota_set_overwrite, quota_set_new
);

library_benchmark_group!(
    name = watched;
    benchmarks = get_hit_counted, get_hit_reported, set_overwrite_counted, set_overwrite_reported
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args([
        // The same caches on every machine: what many servers of the day have a core.
        "--I1=32768,8,64",
        "--D1=32768,8,64",
        "--LL=33554432,16,64",
    ]));
    library_benchmark_groups = operations, quotas, watched
);
