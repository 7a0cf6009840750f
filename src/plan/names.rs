//! PURE. `${target}` and `${old}` in the names of workloads and CronJobs that steps and triggers speak of, so that one
//! manifest serves both directions. Sides are known when the plan is made, so nothing is left to be expanded in the run.

use crate::api::cutover::CutoverSpec;
use crate::api::one_of::Tagged;
use crate::api::step::{Action, StepAction, WorkloadRef};
use crate::api::trigger::Watched;

use super::refuse::{Refusals, label};

/// Longest name of an object.
const LONGEST: usize = 253;

/// The names of the two sides.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    /// The side being activated.
    pub target: &'a str,
    /// The side that is live.
    pub old: &'a str,
}

/// The spec with the names written out.
pub(super) fn written_out(spec: &CutoverSpec, sides: Sides, refusals: &mut Refusals) -> CutoverSpec {
    let mut spec = spec.clone();
    let mut put = |name: &mut String, at: String| expand(name, sides, &at, refusals);
    for (phase, steps) in &mut spec.phases {
        for (i, step) in steps.steps.iter_mut().enumerate() {
            let at = format!("spec.phases.{phase}.steps[{}]", label(&step.name, i));
            if let Ok(action) = step.action.one_mut() {
                of_step(action, &at, &mut put);
            }
            if let Some(action) = step.undo.as_mut().and_then(|undo| undo.action.one_mut().ok()) {
                of_action(action, &format!("{at}.undo"), &mut put);
            }
        }
    }
    for (i, trigger) in spec.observe.iter_mut().flat_map(|o| &mut o.triggers).enumerate() {
        let at = format!("spec.observe.triggers[{}]", label(&trigger.name, i));
        if let Ok(Watched::Logs(logs)) = trigger.watches.one_mut()
            && let Some(workload) = &mut logs.logs.workload
        {
            put(&mut workload.name, format!("{at}.logs.workload.name"));
        }
    }
    spec
}

fn of_step(action: &mut StepAction, at: &str, put: &mut impl FnMut(&mut String, String)) {
    match action {
        StepAction::Shared(action) => of_action(action, at, put),
        StepAction::Suite(suite) => {
            for (i, step) in suite.steps.iter_mut().enumerate() {
                if let Ok(action) = step.action.one_mut() {
                    of_action(action, &format!("{at}.suite.steps[{}]", label(&step.name, i)), put);
                }
            }
        }
        StepAction::UndoRollout(undo) => put(&mut undo.deployment, format!("{at}.undoRollout.deployment")),
        StepAction::Approval(_) => {}
    }
}

/// The names in an action.
fn of_action(action: &mut Action, at: &str, put: &mut impl FnMut(&mut String, String)) {
    let at = format!("{at}.{}", action.key());
    let mut all = |list: &mut Vec<WorkloadRef>| {
        for (i, workload) in list.iter_mut().enumerate() {
            put(&mut workload.name, format!("{at}.workloads[{i}].name"));
        }
    };
    match action {
        Action::Rollout(rollout) => all(&mut rollout.workloads),
        Action::Scale(scale) => all(&mut scale.workloads),
        Action::SetEnv(set) => all(&mut set.workloads),
        Action::Restart(restart) => all(&mut restart.workloads),
        Action::Logs(logs) => {
            if let Some(workload) = &mut logs.workload {
                put(&mut workload.name, format!("{at}.workload.name"));
            }
        }
        Action::CronJobs(jobs) => {
            for (field, list) in [("resume", &mut jobs.resume), ("suspend", &mut jobs.suspend)] {
                for (i, name) in list.iter_mut().enumerate() {
                    put(name, format!("{at}.{field}[{i}]"));
                }
            }
        }
        Action::Job(_)
        | Action::Http(_)
        | Action::Tls(_)
        | Action::Config(_)
        | Action::Resource(_)
        | Action::Metric(_)
        | Action::Wait(_) => {}
    }
}

fn expand(name: &mut String, sides: Sides, at: &str, refusals: &mut Refusals) {
    if !name.contains('$') {
        return;
    }
    let written = name.replace("${target}", sides.target).replace("${old}", sides.old);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let legal = written.len() <= LONGEST
        && ends(written.chars().next())
        && ends(written.chars().last())
        && written.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
    refusals.require(
        legal,
        at,
        format!("{name:?} gives {written:?}, which is not the name of an object"),
        "only ${target} and ${old} stand for something here; the result must be lower-case letters, digits, dashes and dots",
    );
    *name = written;
}
