//! PURE. Pending, and the stages of steps: one after another, each recorded before the next begins (P2).

use crate::api::condition::reasons;
use crate::api::cutover::Missed;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{Observation, StepState};
use crate::api::step::OnFailure;
use crate::decide::draft::Draft;
use crate::decide::execution::{self, drive, everything_is_known};
use crate::decide::templates;
use crate::endpoints::check;
use crate::journal::question::Subject;
use crate::journal::{self, later};
use crate::plan::{PlanStep, Stage};
use crate::route::{Names, RouteView};

/// How long people have for a failed step that asks them, before the default (rollback) is taken.
const DECIDE_WITHIN: Duration = Duration::from_mins(15);

/// Waits until everything is known, exists and is in its place, and the window is open.
pub fn pending(d: &mut Draft) {
    if !everything_is_known(d) || d.suspended() {
        return;
    }
    if !window_is_open(d) {
        return;
    }
    match waits_for(d) {
        Some(why) => d.journal.waiting = Some(why),
        None => d.enter(Phase::Preflight, reasons::PROGRESS, "the run begins"),
    }
}

/// Whether the window is open, by the clock on the wall. One that has ended before the switch ends the run, or is for people
/// to decide about: nothing done before it waits forever (P10).
pub(super) fn window_is_open(d: &mut Draft) -> bool {
    let plan = d.plan;
    let Some(window) = &plan.window else { return true };
    if d.journal.window_waived {
        return true;
    }
    let (start, end) = (d.world.of_the_wall(window.start), d.world.of_the_wall(window.end));
    if d.now() < start {
        d.journal.waiting = Some(format!("spec.window opens at {:.0}", window.start));
        d.out.wake_at(start);
        return false;
    }
    if d.now() <= end {
        d.out.wake_at(later(end, Duration::from_millis(1)));
        return true;
    }
    let text = format!("spec.window ended at {:.0}, before the switch", window.end);
    match window.missed.unwrap_or_default() {
        Missed::Fail => d.end(Phase::Failed, reasons::WINDOW_MISSED, &text, None),
        Missed::Ask => d.ask(&Subject::Window, &text, None, true),
    }
    false
}

/// What a run cannot begin without, in words; `None` when nothing is missing.
pub fn waits_for(d: &Draft) -> Option<String> {
    for name in &d.plan.services {
        match d.world.services.get(name).map(|s| &s.value) {
            None => return Some(format!("Service {name} is being looked up")),
            Some(None) => return Some(format!("spec.services: Service {name} does not exist; create it")),
            Some(Some(view)) if view.selector.is_empty() => {
                return Some(check::without_selector(name, &d.plan.old.name));
            }
            Some(Some(view)) => match RouteView::from(view).names(&d.plan.old, &d.plan.target) {
                Names::Old => {}
                Names::Target => return Some(format!("Service {name} points to {} already", d.plan.target.name)),
                Names::Foreign => {
                    return Some(format!(
                        "Service {name} has a selector that is neither side's; point it to {} again",
                        d.plan.old.name
                    ));
                }
            },
        }
    }
    for side in [&d.plan.target, &d.plan.old] {
        for w in &side.workloads {
            match d.world.workloads.get(w).map(|s| &s.value) {
                None => return Some(format!("{:?} {} is being looked up", w.kind, w.name)),
                Some(None) => {
                    return Some(format!(
                        "spec.sides: {:?} {} of {} does not exist; apply it",
                        w.kind, w.name, side.name
                    ));
                }
                Some(Some(_)) => {}
            }
        }
    }
    None
}

/// Runs a stage; its end enters `next`.
pub fn stage(d: &mut Draft, stage: Stage, next: Phase) {
    if !everything_is_known(d) {
        return;
    }
    if stage == Stage::Preflight && !templates::is_begun_anew(d) || stage == Stage::Verify && !templates::bind_all(d) {
        return;
    }
    if stage.before_switch() && !d.paused() && !window_is_open(d) {
        return;
    }
    let plan = d.plan;
    for step in plan.stage(stage) {
        if !run_one(d, step) {
            return;
        }
    }
    if d.paused() {
        return; // the next phase begins when the run is resumed
    }
    if stage == Stage::Verify && !templates::bind_all(d) {
        return;
    }
    if stage == Stage::Preflight {
        templates::leave_preflight(d);
    }
    if next == Phase::Observing {
        let now = d.now();
        d.journal.observation = Some(Observation::begin(now));
    }
    let message = format!("{} is done", stage.field());
    d.enter(next, reasons::PROGRESS, &message);
}

/// Takes a step further. True when the stage may go on behind it.
pub(super) fn run_one(d: &mut Draft, step: &PlanStep) -> bool {
    let former = journal::record(&d.journal, &step.name).cloned();
    let state = former.as_ref().map(|r| r.state);
    match state {
        Some(StepState::Succeeded | StepState::Skipped) => return true,
        Some(StepState::Failed) => return after_failure(d, step),
        Some(StepState::Unknown) => return false,
        Some(StepState::Running) => {}
        None if d.paused() || !templates::are_known(d, step) => return false,
        None => {}
    }
    drive(d, step);
    templates::bind(d, step);
    let Some(record) = journal::record(&d.journal, &step.name).cloned() else { return false };
    match record.state {
        StepState::Succeeded | StepState::Skipped => true,
        StepState::Failed => {
            let why = record.message.clone().unwrap_or_default();
            d.note(true, reasons::STEP_FAILED, &step.name, format!("step {} failed: {why}", step.name));
            after_failure(d, step)
        }
        StepState::Unknown => {
            let why = record.message.clone().unwrap_or_default();
            d.note(true, reasons::OUTCOME_UNKNOWN, &step.name, format!("step {}: {why}; resolve it", step.name));
            false
        }
        StepState::Running => false,
    }
}

/// What a failed step leads to. True when the stage goes on all the same.
fn after_failure(d: &mut Draft, step: &PlanStep) -> bool {
    let why = journal::record(&d.journal, &step.name).and_then(|r| r.message.clone()).unwrap_or_default();
    let text = format!("step {} failed: {why}", step.name);
    match step.on_failure {
        OnFailure::Continue => true,
        OnFailure::Fail => {
            d.end(Phase::Failed, reasons::STEP_FAILED, &text, None);
            false
        }
        OnFailure::Decide => {
            // Hours after the switch nobody's silence takes the release back: a person is awaited.
            let within = (!step.stage.after_completed()).then_some(DECIDE_WITHIN);
            d.ask(&Subject::Step(step.name.clone()), &text, within, true);
            false
        }
        OnFailure::UndoStep => undo_step(d, step, &text),
    }
}

/// Undoes this step alone. True once that is done; what cannot be undone, or may not, fails the phase.
fn undo_step(d: &mut Draft, step: &PlanStep, text: &str) -> bool {
    let plan = d.plan;
    let Some(undo) = plan.undo_of(step) else {
        d.end(Phase::Failed, reasons::STEP_FAILED, text, None);
        return false;
    };
    let state = |d: &Draft, name: &str| journal::record(&d.journal, name).map(|r| r.state);
    if let Some(gate) = plan.approval_of(step) {
        match execution::pass_gate(d, &gate) {
            Some(true) => {}
            Some(false) => {
                d.end(Phase::Failed, reasons::STEP_FAILED, &format!("{text}; its undo was not approved"), None);
                return false;
            }
            None => return false,
        }
    }
    match state(d, &undo.name) {
        Some(StepState::Succeeded | StepState::Skipped) => return true,
        Some(StepState::Unknown) => return false,
        Some(StepState::Failed | StepState::Running) => {}
        None if d.paused() => return false,
        None => {}
    }
    if state(d, &undo.name) != Some(StepState::Failed) {
        drive(d, &undo);
    }
    let why = journal::record(&d.journal, &undo.name).and_then(|r| r.message.clone()).unwrap_or_default();
    match state(d, &undo.name) {
        Some(StepState::Succeeded | StepState::Skipped) => true,
        Some(StepState::Failed) => {
            d.end(Phase::Failed, reasons::STEP_FAILED, &format!("{text}; {} failed: {why}", undo.name), None);
            if let Some(ending) = d.journal.ending.as_mut() {
                ending.incomplete = true;
            }
            false
        }
        Some(StepState::Unknown) => {
            d.note(true, reasons::OUTCOME_UNKNOWN, &undo.name, format!("{}: {why}; resolve it", undo.name));
            false
        }
        Some(StepState::Running) | None => false,
    }
}
