//! PURE. The way back (DESIGN §5): selectors first, then undos in reverse order, then the rollback's own steps.

use crate::api::condition::reasons;
use crate::api::phase::Phase;
use crate::api::run::{RunStatus, ServiceSwitch, StepRecord, StepState, SwitchState};
use crate::api::step::UndoWhen;
use crate::decide::draft::Draft;
use crate::decide::{blocked, interrupt, restore, steps, switch};
use crate::journal;
use crate::plan::after::RETIRE;
use crate::plan::{Action, PlanStep, Stage};

/// The subject of the question whether a completed run is undone.
pub const UNDO_QUESTION: &str = "undo";

/// Runs the end of a run, whatever it is: RolledBack, Failed, Aborted or Superseded.
pub fn run(d: &mut Draft) {
    let Some(ending) = d.journal.ending.clone() else { return };
    if !restore::run(d) {
        return blocked::run(d);
    }
    if !steps::everything_is_known(d) || !interrupt::settle(d) {
        return;
    }
    if !unretire(d) || !undos_are_agreed(d) || !undo_all(d) {
        return;
    }
    let switched = d.journal.switch.as_ref().is_some_and(|s| s.services.iter().any(|s| s.restored_at.is_some()));
    if ending.phase == Phase::RolledBack && !(has_followed(d) && own_steps(d)) {
        return;
    }
    // A Service that vanished may have come back on the target while steps ran.
    if !restore::run(d) {
        return;
    }
    let Some(ending) = d.journal.ending.clone() else { return };
    if awaits_return(d, ending.at) {
        return;
    }
    // A switch of which every patch was refused switched nothing.
    let phase = match (ending.phase, d.journal.phase) {
        (Phase::RolledBack, Phase::RollingBack) if !switched && nothing_switched(&d.journal) => Phase::Failed,
        (phase, _) => phase,
    };
    if phase != ending.phase
        && let Some(e) = d.journal.ending.as_mut()
    {
        e.phase = phase;
    }
    let tail = if ending.incomplete { "; an undo or a step of the rollback failed" } else { "" };
    let message = format!("{}{tail}", ending.message);
    d.enter(phase, &ending.reason, &message);
}

/// Whether a Service that vanished after its switch may still come back on the target (DESIGN §5.4): whoever re-creates
/// it applies what Git holds, which can be the target's selector. Awaited for `switch.timeout`; not where the Cutover is
/// gone as well, since then nobody is about to bring anything back.
fn awaits_return(d: &mut Draft, ending: jiff::Timestamp) -> bool {
    let gone = |s: &ServiceSwitch| s.state == SwitchState::Gone && s.switched_at.is_some();
    let Some(name) = d.journal.switch.iter().flat_map(|s| &s.services).find(|s| gone(s)).map(|s| s.name.clone()) else {
        return false;
    };
    let cutover_goes = d.world.cutover.as_ref().is_some_and(|c| c.value.as_ref().is_none_or(|c| c.deleting));
    let until = journal::later(ending, d.plan.switch.timeout);
    // Back on the old side, or foreign: nothing is left to restore.
    if cutover_goes || d.world.service(&name).is_some() || d.now() >= until {
        return false;
    }
    let why = format!(
        "Service {name} does not exist any more. Until {until:.0} it is restored if it comes back on {}. Next: kubectl get \
         service {name} -n {}",
        d.plan.target.name, d.plan.namespace
    );
    restore::block(d, Some((reasons::SERVICE_GONE, &why)));
    d.journal.waiting = Some(why);
    d.out.wake_at(until);
    true
}

fn nothing_switched(journal: &RunStatus) -> bool {
    use SwitchState::{Claimed, Gone, Refused, Restored, Switched};
    journal.switch.as_ref().is_none_or(|s| {
        s.services.iter().all(|s| match s.state {
            Refused => s.switched_at.is_none(),
            Claimed | Switched | Restored | Gone => false,
        })
    })
}

/// Takes the retirement of the old side back, which is live again: nobody has to be asked.
fn unretire(d: &mut Draft) -> bool {
    let plan = d.plan;
    let undo = plan.step(RETIRE).filter(|step| undo_due(&d.journal, step)).and_then(|step| plan.undo_of(step));
    undo.is_none_or(|undo| one(d, &undo))
}

/// Whether the undos may begin. Those of a completed run ask first: what its steps have changed may be in use for days
/// (DESIGN §4). A no leaves them out.
fn undos_are_agreed(d: &mut Draft) -> bool {
    if !journal::was_completed(&d.journal) {
        return true;
    }
    let plan = d.plan;
    let not_begun = |undo: &PlanStep| journal::record(&d.journal, &undo.name).is_none();
    let due: Vec<PlanStep> = undos(d).into_iter().filter(not_begun).collect();
    match d.journal.after.as_ref().and_then(|a| a.undo) {
        _ if due.is_empty() => true,
        Some(true) => true,
        Some(false) => {
            due.iter().for_each(|undo| left_out(d, undo));
            true
        }
        None => {
            let names: Vec<&str> = due.iter().map(|u| u.name.as_str()).collect();
            let text = format!(
                "{} is live again; the run had been completed, so its undos ({}) wait for a word: Resolve step decision \
                 with outcome Failed runs them, Succeeded leaves them out",
                plan.old.name,
                names.join(", ")
            );
            d.ask(UNDO_QUESTION, &text, None, true);
            false
        }
    }
}

/// The undos of the steps whose `undo.when` holds.
fn undos(d: &Draft) -> Vec<PlanStep> {
    let due = d.plan.steps.iter().filter(|s| s.name != RETIRE && undo_due(&d.journal, s));
    due.filter_map(|s| d.plan.undo_of(s)).collect()
}

/// The names of the undos that are due and not over, the last step's first.
pub fn due_undos(d: &Draft) -> Vec<String> {
    let open = |undo: &PlanStep| journal::record(&d.journal, &undo.name).is_none_or(|r| !is_over(r.state));
    undos(d).into_iter().rev().filter(open).map(|undo| undo.name).collect()
}

/// Whether an execution of the way back is over. One whose outcome is not known counts as over: nothing on the way back
/// waits for a person who may be asleep.
fn is_over(state: StepState) -> bool {
    journal::is_done(state) || state == StepState::Unknown
}

/// Drives the undo of every step whose `undo.when` holds, in reverse order across phases. A failing one is recorded
/// and does not stop the ones after it. True when all are over.
pub fn undo_all(d: &mut Draft) -> bool {
    let plan = d.plan;
    let forward = plan.steps.iter().filter(|s| !matches!(s.stage, Stage::Rollback | Stage::RollbackVerify));
    for step in forward.rev() {
        if step.name == RETIRE || !undo_due(&d.journal, step) {
            continue;
        }
        let Some(undo) = plan.undo_of(step) else { continue };
        if let Some(gate) = plan.approval_of(step) {
            match self::gate(d, &gate) {
                None => return false,
                Some(true) => {}
                Some(false) => {
                    left_out(d, &undo);
                    continue;
                }
            }
        }
        if !one(d, &undo) {
            return false;
        }
    }
    true
}

/// Waits at the gate before an undo: whether it was passed, once that is known.
pub fn gate(d: &mut Draft, gate: &PlanStep) -> Option<bool> {
    one(d, gate).then(|| journal::record(&d.journal, &gate.name).is_none_or(|r| r.state != StepState::Skipped))
}

/// An undo that people did not agree to.
fn left_out(d: &mut Draft, undo: &PlanStep) {
    if journal::record(&d.journal, &undo.name).is_some() {
        return;
    }
    let now = d.now();
    let message = Some("left out: it was not approved".to_owned());
    let record = StepRecord {
        name: undo.name.clone(),
        state: StepState::Skipped,
        started: Some(now),
        ended: Some(now),
        message,
        ..StepRecord::default()
    };
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

/// Whether the traffic has followed the selectors back, so that the rollback's own steps and checks meet the old side: the
/// endpoints have, and `switch.drain` has passed. Awaited for `switch.timeout`.
fn has_followed(d: &mut Draft) -> bool {
    let own = |s: &&PlanStep| matches!(s.stage, Stage::Rollback | Stage::RollbackVerify);
    let Some(first) = d.plan.steps.iter().find(own) else { return true };
    let Some(switch) = &d.journal.switch else { return true };
    let Some(restored) = switch.restored_at else { return true };
    if journal::record(&d.journal, &first.name).is_some() {
        return true;
    }
    let drained = journal::later(restored, d.plan.switch.drain);
    let until = journal::later(restored, d.plan.switch.timeout).max(drained);
    let back = |s: &&ServiceSwitch| s.state == SwitchState::Restored;
    let followed = switch.services.iter().filter(back).all(|s| switch::followed(d, &s.name, &s.from, 1));
    if d.now() >= until || (followed && d.now() >= drained) {
        return true;
    }
    d.journal.waiting = Some(format!("the endpoints follow back to {}", d.plan.old.name));
    d.out.wake_at(if followed { drained } else { until });
    false
}

/// The rollback's own steps, then its checks.
fn own_steps(d: &mut Draft) -> bool {
    let plan = d.plan;
    plan.stage(Stage::Rollback).chain(plan.stage(Stage::RollbackVerify)).all(|step| one(d, step))
}

/// Drives one execution of the way back. True when it is over; a failure is remembered.
fn one(d: &mut Draft, step: &PlanStep) -> bool {
    let state = journal::record(&d.journal, &step.name).map(|r| r.state);
    if state.is_some_and(is_over) {
        return true;
    }
    steps::drive(d, step);
    let Some(mut record) = journal::record(&d.journal, &step.name).cloned() else { return false };
    if record.state == StepState::Failed && matches!(step.action, Action::Approval(_)) {
        // A no, or no answer in time, is an answer: what needs the gate is left out, and the way back goes on.
        record.state = StepState::Skipped;
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
