//! One thread: every answer against the reference, step by step.

use std::fmt::Write;

use super::engine::Engine;
use super::model::Model;
use super::op::Op;
use super::program::Step;

/// Runs a program and judges every answer. Leaves in `transcript` what was asked and answered,
/// also where the engine panics half way.
///
/// # Errors
///
/// Tells what is wrong with the last answer of the transcript, or with the engine after it.
pub fn judge(engine: &dyn Engine, program: &[Step], transcript: &mut String) -> Result<(), String> {
    let mut model = Model::new();
    let mut learned = Vec::new();
    for step in program {
        let op = step.resolve(&learned, Some(&model));
        if matches!(op, Op::GetOrLoad(at, _) if model.is_loading(at)) {
            continue; // it would wait for a lease that this thread holds
        }
        write!(transcript, "\n  {op:?}").expect("strings take all");
        let ret = engine.apply(&op);
        write!(transcript, " -> {ret:?}").expect("strings take all");
        let Some(next) = model.accept(&op, &ret) else {
            let should = model.clone().apply(&op, u64::MAX);
            return Err(format!("expected something like {should:?} in {model:#?}"));
        };
        model = next;
        learned.extend(ret.version());
        engine.validate()?;
    }
    Ok(())
}
