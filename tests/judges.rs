//! The judges judged: right histories pass, wrong ones are found, and at what price.

#[expect(dead_code, reason = "the shorthands for histories made by hand")]
mod support;

use std::thread;
use std::time::Instant;

use support::engine::LockedModel;
use support::history::{Event, MAX_EVENTS, Verdict, check};
use support::model::Model;
use support::op::{Op, Put, Ret, Seen, Space, VersionId, When};
use support::program::{Author, Mix, Rng, Step, shrink};
use support::recorder::Recorder;
use support::sequential::judge;
use support::simulate::{Effect, Effects, atomically, interleave};

fn programs(seed: u64, mix: Mix, threads: usize, steps: usize) -> Vec<Vec<Step>> {
    let mut author = Author::new(seed, mix);
    (0..threads).map(|_| author.program(steps)).collect()
}

/// The history that a seed stands for.
fn simulated(seed: u64, mix: Mix, threads: usize, steps: usize, effects: Effects) -> Vec<Event> {
    let programs = programs(seed, mix, threads, steps);
    interleave(&mut Rng::new(!seed), &programs, effects)
}

fn assert_linearizable(history: &[Event], what: &str) {
    match check(&Model::new(), history) {
        Verdict::Linearizable => {}
        Verdict::NotLinearizable(why) => panic!("{what}: {why}"),
        Verdict::GaveUp => panic!("{what}: gave up on {} events", history.len()),
    }
}

#[test]
fn interleavings_of_the_reference_are_linearizable() {
    for (mix, threads, steps, histories) in [
        (Mix::Concurrent, 3, 4, 2_000),
        (Mix::Timed, 3, 4, 2_000),
        (Mix::Concurrent, 4, 6, 1_000),
        (Mix::Timed, 4, 6, 1_000),
        (Mix::Concurrent, 6, 10, 100),
    ] {
        let histories: Vec<Vec<Event>> =
            (0..histories).map(|seed| simulated(seed, mix, threads, steps, atomically)).collect();
        let start = Instant::now();
        for (seed, history) in histories.iter().enumerate() {
            assert_linearizable(history, &format!("{mix:?} {threads}x{steps} seed {seed}"));
        }
        let each = start.elapsed().as_secs_f64() * 1e3 / histories.len() as f64;
        println!("{mix:?} {threads}x{steps}: {each:.3} ms a history");
    }
}

#[test]
fn histories_of_real_threads_are_linearizable() {
    for seed in 0..200 {
        let engine = LockedModel::new(Model::new());
        let recorder = Recorder::new();
        thread::scope(|scope| {
            for (index, program) in programs(seed, Mix::Timed, 3, 8).into_iter().enumerate() {
                let (engine, recorder) = (&engine, &recorder);
                scope.spawn(move || recorder.scribe(index).run_program(engine, &program));
            }
        });
        assert_linearizable(&recorder.into_history(), &format!("seed {seed}"));
    }
}

#[test]
fn sequential_answers_of_the_locked_reference_are_accepted() {
    for seed in 0..300 {
        let engine = LockedModel::new(Model::new());
        let program = Author::new(seed, Mix::Sequential).program(100);
        let mut transcript = String::new();
        let judged = judge(&engine, &program, &mut transcript);
        judged.unwrap_or_else(|why| panic!("seed {seed}: {transcript}\n{why}"));
    }
}

#[test]
fn a_history_too_long_for_the_search_is_given_up() {
    let event = |at: usize| Event {
        call: 2 * at as u64 + 1,
        ret_at: 2 * at as u64 + 2,
        thread: 0,
        op: Op::Advance(1),
        ret: Ret::Done,
    };
    let history: Vec<Event> = (0..=MAX_EVENTS).map(event).collect();
    assert_eq!(check(&Model::new(), &history), Verdict::GaveUp);
}

#[test]
fn operations_in_two_steps_are_found_in_random_interleavings() {
    let faults: [(&str, Effects); 5] = [
        ("delete of a user, sessions later", torn_delete_user),
        ("take, not atomic", torn_take),
        ("conditional write, not atomic", torn_write),
        ("update, not atomic", torn_update),
        ("get, answered late from an old look", get_of_the_past),
    ];
    const HISTORIES: u64 = 3_000;
    for (fault, effects) in faults {
        let wrong = |seed: &u64| {
            let history = simulated(*seed, Mix::Concurrent, 4, 6, effects);
            matches!(check(&Model::new(), &history), Verdict::NotLinearizable(_))
        };
        let found = (0..HISTORIES).filter(wrong).count();
        println!("{fault}: found in {found} of {HISTORIES} histories");
        assert!(found > 0, "{fault}: never found");
    }
}

fn torn_delete_user(model: &mut Model, op: &Op, fresh: VersionId, so_far: Option<Ret>) -> Effect {
    match (op, so_far) {
        (Op::DeleteNamespace(space @ Space::User(_)), None) => {
            for key in 0..3 {
                model.apply(&Op::Delete(space.at(key)), fresh);
            }
            Effect::More(Ret::Done)
        }
        _ => Effect::Answer(model.apply(op, fresh)),
    }
}

fn torn_take(model: &mut Model, op: &Op, fresh: VersionId, so_far: Option<Ret>) -> Effect {
    match (op, so_far) {
        (Op::Take(at), None) => Effect::More(model.apply(&Op::Peek(*at), fresh)),
        (Op::Take(at), Some(seen)) => {
            model.apply(&Op::Delete(*at), fresh);
            Effect::Answer(seen)
        }
        _ => Effect::Answer(model.apply(op, fresh)),
    }
}

fn torn_write(model: &mut Model, op: &Op, fresh: VersionId, so_far: Option<Ret>) -> Effect {
    match (op, so_far) {
        (Op::Write(..), None) => {
            // Decides on a copy, writes later whatever there is by then.
            Effect::More(model.clone().apply(op, fresh))
        }
        (Op::Write(at, _, put), Some(Ret::Stored(Some(_)))) => {
            let unconditional = Op::Write(*at, When::Always, *put);
            Effect::Answer(model.apply(&unconditional, fresh))
        }
        (_, Some(refused)) => Effect::Answer(refused),
        (_, None) => Effect::Answer(model.apply(op, fresh)),
    }
}

fn torn_update(model: &mut Model, op: &Op, fresh: VersionId, so_far: Option<Ret>) -> Effect {
    match (op, so_far) {
        (Op::Update(at, _), None) => Effect::More(model.apply(&Op::Peek(*at), fresh)),
        (Op::Update(at, add), Some(Ret::Item(Some(seen)))) => {
            let put = Put::forever(seen.value + add);
            let present = Op::Write(*at, When::Present, put);
            Effect::Answer(model.apply(&present, fresh))
        }
        (Op::Update(..), Some(_)) => Effect::Answer(Ret::Stored(None)),
        _ => Effect::Answer(model.apply(op, fresh)),
    }
}

/// Right for a get that overlaps what it missed: its answer is from within its call. Looking
/// once more at `contains` and mixing both answers is not.
fn get_of_the_past(model: &mut Model, op: &Op, fresh: VersionId, so_far: Option<Ret>) -> Effect {
    match (op, so_far) {
        (Op::Get(at), None) => Effect::More(model.apply(&Op::Get(*at), fresh)),
        (Op::Get(at), Some(Ret::Item(Some(first)))) => match model.apply(&Op::Get(*at), fresh) {
            Ret::Item(Some(second)) => {
                let mixed = Seen { version: second.version, ..first };
                Effect::Answer(Ret::Item(Some(mixed)))
            }
            other => Effect::Answer(other),
        },
        (Op::Get(_), Some(miss)) => Effect::Answer(miss),
        _ => Effect::Answer(model.apply(op, fresh)),
    }
}

#[test]
fn a_failing_program_is_cut_down_to_what_makes_it_fail() {
    let program = Author::new(7, Mix::Sequential).program(200);
    let takes =
        |steps: &[Step]| steps.iter().filter(|it| matches!(it, Step::Do(Op::Take(_)))).count();
    assert!(takes(&program) >= 2);
    let shortest = shrink(&program, |steps| takes(steps) >= 2);
    assert_eq!((shortest.len(), takes(&shortest)), (2, 2));
}
