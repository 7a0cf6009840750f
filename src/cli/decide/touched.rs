//! PURE. What a decision will touch, said before it is made.

use crate::api::decision::Verb;
use crate::api::restore::Connections;
use crate::api::run::{RunStatus, StepState};
use crate::cli::status::question::{self, Question};
use crate::decide::undo_due;
use crate::journal::question::Subject;
use crate::plan::{Action, Plan, PlanStep};
use crate::view;

/// How a line ends about a step that nothing undoes.
const NO_UNDO: &str = "it has no undo";

/// Whether a line says that something stays as it is.
pub(crate) fn is_final(line: &str) -> bool {
    line.ends_with(NO_UNDO)
}

/// What will be touched, a line each. Empty where the verb touches nothing but the run.
pub(crate) fn touched(run: &view::Run, journal: &RunStatus, plan: Option<&Plan>, verb: Verb) -> Vec<String> {
    match verb {
        Verb::Rollback => {
            let mut lines = services(run);
            lines.extend(before(plan));
            lines.extend(connections(run, plan));
            lines.extend(undos(journal, plan));
            lines.extend(own_steps(run));
            lines
        }
        Verb::Abort => {
            let mut lines = vec!["no Service: nothing has been switched yet".to_owned()];
            lines.extend(undos(journal, plan));
            lines.extend(own_steps(run));
            lines
        }
        Verb::Retry => {
            let target = run.target.as_ref().map_or("the target", |t| t.name);
            vec![format!("starts a new run that activates {target} for the same release")]
        }
        Verb::Suspend => vec!["steps and observation stand still; triggers and rollback do not".to_owned()],
        Verb::Resume => vec!["steps and observation go on".to_owned()],
        Verb::Revalidate => vec!["makes the checks of the completed run again; changes nothing".to_owned()],
        Verb::Approve | Verb::Reject | Verb::Resolve => vec![],
    }
}

/// What an answer to a question will touch, a line each: first what it does, then what goes with that.
pub(crate) fn answered(
    run: &view::Run,
    journal: &RunStatus,
    plan: Option<&Plan>,
    question: &Question,
    outcome: &str,
) -> Vec<String> {
    let Some(choice) = question.answer(outcome) else { return vec![] };
    let mut lines = vec![choice.does.clone()];
    if leads_back(question, outcome) {
        let undo = Subject::Undo.is_of(journal.question.as_ref());
        lines.extend(match (undo, run.switch) {
            (true, _) => undos(journal, plan),
            (false, Some(_)) => touched(run, journal, plan, Verb::Rollback),
            (false, None) => touched(run, journal, plan, Verb::Abort),
        });
    }
    lines
}

/// Whether an answer ends the run, or has its steps undone.
pub(crate) fn leads_back(question: &Question, outcome: &str) -> bool {
    question.about == question::DECISION && outcome == "failed"
}

/// Where users go.
fn services(run: &view::Run) -> Vec<String> {
    let side = |of: &Option<view::Side>| of.as_ref().map_or("the other side".to_owned(), |s| s.name.to_owned());
    let (old, target) = (side(&run.old), side(&run.target));
    let switched = run.switch.map(|s| s.services).unwrap_or_default();
    switched.iter().map(|s| format!("Service {}: its users go back from {target} to {old}", s.name)).collect()
}

/// What becomes of connections that outlive the switch of a selector.
fn connections(run: &view::Run, plan: Option<&Plan>) -> Option<String> {
    let target = run.target.as_ref().map_or("the target", |t| t.name);
    match plan?.rollback.as_ref().map(|r| r.connections).unwrap_or_default() {
        Connections::Keep => Some(format!("open connections to {target} last as long as its pods")),
        Connections::Close => Some(format!(
            "open connections to {target} are ended 30s later: its Deployments are scaled to 0, pods of its StatefulSets deleted"
        )),
    }
}

/// Steps that run before the selectors go back.
fn before(plan: Option<&Plan>) -> Vec<String> {
    let first = plan.iter().flat_map(|p| &p.steps).filter(|s| s.stage == crate::plan::Stage::BeforeRestore);
    first.map(|s| format!("step {} runs first, before the selectors go back", s.name)).collect()
}

/// The undos in the order in which they run, and what has none.
fn undos(journal: &RunStatus, plan: Option<&Plan>) -> Vec<String> {
    let Some(plan) = plan else {
        return vec!["what is undone cannot be told: the plan was written by another version".to_owned()];
    };
    let begun = |s: &&PlanStep| {
        let record = journal.steps.iter().find(|r| r.name == s.name);
        record.is_some_and(|r| r.state != StepState::Skipped)
    };
    let forward = plan.steps.iter().filter(|s| !s.stage.is_way_back()).filter(begun);
    let line = |s: &PlanStep| match &s.undo {
        Some(undo) if undo_due(journal, s) => {
            let asks = undo.approval.as_ref().map(|_| ", once people have approved it").unwrap_or_default();
            let first = if undo.before_restore { ", before the selectors go back" } else { "" };
            Some(format!("step {} is undone{asks}{first}", s.name))
        }
        None if changes(&s.action) => Some(format!("step {} stays as it is: {NO_UNDO}", s.name)),
        Some(_) | None => None,
    };
    forward.rev().filter_map(line).collect()
}

/// The rollback's own steps.
fn own_steps(run: &view::Run) -> Vec<String> {
    let back = run.stages.iter().filter(|b| b.stage.is_way_back() && b.stage != crate::plan::Stage::BeforeRestore);
    back.flat_map(|b| &b.steps).map(|n| format!("step {} runs afterwards", n.step.name)).collect()
}

/// Whether an action changes something of the user's: a gate does not, nor does a trial of writes.
pub(crate) fn changes(action: &Action) -> bool {
    !action.only_reads() && !matches!(action, Action::Approval(_) | Action::Permissions {})
}
