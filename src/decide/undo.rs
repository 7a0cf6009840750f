//! PURE. The undos: which are due, and in which order they run.

use crate::api::run::{RunStatus, StepState};
use crate::api::step::UndoWhen;
use crate::decide::closing;
use crate::decide::draft::Draft;
use crate::decide::execution::{drive_back, is_over, pass_gate};
use crate::journal::{self, transition};
use crate::plan::PlanStep;
use crate::plan::after::RETIRE;

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
    // One that began before the restore and was late goes on alone, too.
    for undo in before_restore(d) {
        if journal::record(&d.journal, &undo.name).is_some() && !drive_back(d, &undo) {
            return false;
        }
    }
    let forward = plan.steps.iter().filter(|s| !s.stage.is_way_back());
    for step in forward.rev() {
        if step.name == RETIRE || !undo_due(&d.journal, step) {
            continue;
        }
        let Some(undo) = plan.undo_of(step) else { continue };
        let record = journal::record(&d.journal, &undo.name);
        if record.is_none() && restored(d) && !plan.uses_target(&undo.action) && !closing::after_restore(d) {
            return false;
        }
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
    !restored(d) || closing::after_restore(d)
}

/// The undos that are due before the selectors go back, the last step's first. Those of a completed run are not: they wait
/// for a word, and a restore for none. Nor is that of a step under way, which is brought to its end first.
pub fn before_restore(d: &Draft) -> Vec<PlanStep> {
    if journal::was_completed(&d.journal) {
        return vec![];
    }
    let over = |s: &PlanStep| journal::record(&d.journal, &s.name).is_some_and(|r| r.state != StepState::Running);
    let first = |s: &&PlanStep| s.undo.as_ref().is_some_and(|undo| undo.before_restore);
    let due = d.plan.steps.iter().rev().filter(first).filter(|s| over(s) && undo_due(&d.journal, s));
    due.filter_map(|s| d.plan.undo_of(s)).collect()
}

/// Whether the undo that is next works on the target as it runs. Those of a completed run wait for a word.
pub fn target_comes_first(d: &Draft) -> bool {
    let open = |undo: &PlanStep| journal::record(&d.journal, &undo.name).is_none_or(|r| !is_over(r.state));
    let next = undos(d).into_iter().rev().find(open);
    !journal::was_completed(&d.journal) && next.is_some_and(|undo| d.plan.uses_target(&undo.action))
}

/// Whether the selectors are back, so that the target's connections come next.
fn restored(d: &Draft) -> bool {
    d.journal.switch.as_ref().is_some_and(|s| s.restored_at.is_some())
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

/// Whether the undo of a step is due when the run goes back.
pub(crate) fn undo_due(journal: &RunStatus, step: &PlanStep) -> bool {
    let (Some(undo), Some(record)) = (&step.undo, journal::record(journal, &step.name)) else { return false };
    match undo.when {
        // A step left out was never attempted; one skipped over by a person after a failure was (it has an attempt).
        UndoWhen::Attempted => record.state != StepState::Skipped || record.attempt > 0,
        UndoWhen::Succeeded => record.state == StepState::Succeeded,
    }
}
