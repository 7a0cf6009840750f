//! PURE. One execution of a step, whatever wants it: driven one move further, and what came of it put into the journal.

use crate::actions;
use crate::api::condition::reasons;
use crate::api::run::StepState;
use crate::decide::draft::Draft;
use crate::effect::{Read, ReadKey};
use crate::journal;
use crate::journal::transition::{self, StepEvent};
use crate::plan::{Action, PlanStep};

/// Whether everything has been read live since this process began. Until then a workload or Job that is not known would
/// look like one that does not exist.
pub(crate) fn everything_is_known(d: &mut Draft) -> bool {
    if d.world.refreshed.is_none() {
        d.out.reads.insert(ReadKey::Refresh, Read::Refresh);
    }
    d.world.refreshed.is_some()
}

/// Drives an execution one move further and puts what came of it into the journal.
pub fn drive(d: &mut Draft, step: &PlanStep) {
    let former = journal::record(&d.journal, &step.name).cloned();
    let mut out = std::mem::take(&mut d.out);
    if d.world.stopping {
        let mut tried = actions::Out::default();
        actions::drive(&d.cx(), step, former.as_ref(), &mut tried);
        if !tried.effects.is_empty() {
            // What would be claimed now, nobody would do: it is left to the process that takes over.
            d.out = out;
            return;
        }
    }
    let record = actions::drive(&d.cx(), step, former.as_ref(), &mut out);
    for sub in std::mem::take(&mut out.records) {
        journal::begun_again(&mut d.journal, &sub.name);
        journal::put(&mut d.journal, sub);
    }
    d.journal.captures.extend(std::mem::take(&mut out.captures));
    for defect in std::mem::take(&mut out.defects) {
        d.legal(Err(defect));
    }
    for warning in std::mem::take(&mut out.warnings) {
        d.note(true, reasons::PREFLIGHT_WARNING, &step.name, warning);
    }
    d.out = out;
    journal::begun_again(&mut d.journal, &record.name);
    journal::put(&mut d.journal, record);
}

/// Drives one execution of the way back. True when it is over; a failure is remembered.
pub(crate) fn drive_back(d: &mut Draft, step: &PlanStep) -> bool {
    let state = journal::record(&d.journal, &step.name).map(|r| r.state);
    if state.is_some_and(is_over) {
        return true;
    }
    drive(d, step);
    let Some(mut record) = journal::record(&d.journal, &step.name).cloned() else { return false };
    if record.state == StepState::Failed && matches!(step.action, Action::Approval(_)) {
        // A no, or no answer in time, is an answer: what needs the gate is left out, and the way back goes on.
        let overruled = transition::step(&mut record, StepEvent::Overruled, d.now());
        d.legal(overruled);
        let why = record.message.clone().unwrap_or_default();
        d.note(true, reasons::DECISION, &step.name, format!("{}: {why}", step.name));
        journal::put(&mut d.journal, record);
        return true;
    }
    if matches!(record.state, StepState::Failed | StepState::Unknown) {
        if let Some(e) = d.journal.ending.as_mut() {
            e.incomplete = true;
        }
        let why = record.message.unwrap_or_default();
        d.note(true, reasons::STEP_FAILED, &step.name, format!("{} failed: {why}", step.name));
    }
    is_over(record.state)
}

/// Waits at the gate before an undo: whether it was passed, once that is known.
pub(crate) fn pass_gate(d: &mut Draft, gate: &PlanStep) -> Option<bool> {
    drive_back(d, gate).then(|| journal::record(&d.journal, &gate.name).is_none_or(|r| r.state != StepState::Skipped))
}

/// Whether an execution of the way back is over. One whose outcome is not known counts as over: nothing on the way back
/// waits for a person who may be asleep.
pub fn is_over(state: StepState) -> bool {
    journal::is_done(state) || state == StepState::Unknown
}
