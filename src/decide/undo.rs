//! PURE. The undos: which are due, and in which order they run.

use crate::api::run::{RunStatus, StepState};
use crate::api::step::UndoWhen;
use crate::decide::draft::Draft;
use crate::decide::execution::{drive_back, is_over, pass_gate};
use crate::journal::{self, transition};
use crate::plan::after::RETIRE;
use crate::plan::{PlanStep, Stage};

/// The undos of the steps whose `undo.when` holds.
pub fn undos(d: &Draft) -> Vec<PlanStep> {
    let due = d.plan.steps.iter().filter(|s| s.name != RETIRE && undo_due(&d.journal, s));
    due.filter_map(|s| d.plan.undo_of(s)).collect()
}

/// The names of the undos that are due and not over, the last step's first.
pub(crate) fn due_undos(d: &Draft) -> Vec<String> {
    let open = |undo: &PlanStep| journal::record(&d.journal, &undo.name).is_none_or(|r| !is_over(r.state));
    undos(d).into_iter().rev().filter(open).map(|undo| undo.name).collect()
}

/// Drives the undo of every step whose `undo.when` holds, in reverse order across phases. A failing one is recorded
/// and does not stop the ones after it. True when all are over.
pub(crate) fn undo_all(d: &mut Draft) -> bool {
    let plan = d.plan;
    let forward = plan.steps.iter().filter(|s| !matches!(s.stage, Stage::Rollback | Stage::RollbackVerify));
    for step in forward.rev() {
        if step.name == RETIRE || !undo_due(&d.journal, step) {
            continue;
        }
        let Some(undo) = plan.undo_of(step) else { continue };
        if let Some(gate) = plan.approval_of(step) {
            match pass_gate(d, &gate) {
                None => return false,
                Some(true) => {}
                Some(false) => {
                    left_out(d, &undo);
                    continue;
                }
            }
        }
        if !drive_back(d, &undo) {
            return false;
        }
    }
    true
}

/// Takes the retirement of the old side back, which is live again: nobody has to be asked.
pub(crate) fn unretire(d: &mut Draft) -> bool {
    let plan = d.plan;
    let undo = plan.step(RETIRE).filter(|step| undo_due(&d.journal, step)).and_then(|step| plan.undo_of(step));
    undo.is_none_or(|undo| drive_back(d, &undo))
}

/// An undo that people did not agree to.
pub(crate) fn left_out(d: &mut Draft, undo: &PlanStep) {
    if journal::record(&d.journal, &undo.name).is_some() {
        return;
    }
    let record = transition::left_out(&undo.name, d.now(), "left out: it was not approved");
    journal::put(&mut d.journal, record);
}

fn undo_due(journal: &RunStatus, step: &PlanStep) -> bool {
    let (Some(undo), Some(record)) = (&step.undo, journal::record(journal, &step.name)) else { return false };
    match undo.when {
        // A step left out was never attempted; one skipped over by a person after a failure was (it has an attempt).
        UndoWhen::Attempted => record.state != StepState::Skipped || record.attempt > 0,
        UndoWhen::Succeeded => record.state == StepState::Succeeded,
    }
}
