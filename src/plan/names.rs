//! PURE. `${target}` and `${old}` in the names of workloads and CronJobs that steps and triggers speak of, so that one
//! manifest serves both directions. Sides are known when the plan is made, so nothing is left to be expanded in the run.

use crate::api::cutover::CutoverSpec;
use crate::api::step::{Actions, WorkloadRef};

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
            of_actions(&mut step.action, &at, &mut put);
            if let Some(undo) = &mut step.undo {
                of_actions(&mut undo.action, &format!("{at}.undo"), &mut put);
            }
            if let Some(undo) = &mut step.undo_rollout {
                put(&mut undo.deployment, format!("{at}.undoRollout.deployment"));
            }
            for (j, inner) in step.suite.iter_mut().flat_map(|suite| &mut suite.steps).enumerate() {
                let at = format!("{at}.suite.steps[{}]", label(&inner.name, j));
                of_actions(&mut inner.action, &at, &mut put);
            }
        }
    }
    for (i, trigger) in spec.observe.iter_mut().flat_map(|o| &mut o.triggers).enumerate() {
        let at = format!("spec.observe.triggers[{}]", label(&trigger.name, i));
        if let Some(workload) = trigger.logs.as_mut().and_then(|logs| logs.logs.workload.as_mut()) {
            put(&mut workload.name, format!("{at}.logs.workload.name"));
        }
    }
    spec
}

/// The names in an action.
fn of_actions(actions: &mut Actions, at: &str, put: &mut impl FnMut(&mut String, String)) {
    let mut all = |list: &mut Vec<WorkloadRef>, action: &str| {
        for (i, workload) in list.iter_mut().enumerate() {
            put(&mut workload.name, format!("{at}.{action}.workloads[{i}].name"));
        }
    };
    if let Some(rollout) = &mut actions.rollout {
        all(&mut rollout.workloads, "rollout");
    }
    if let Some(scale) = &mut actions.scale {
        all(&mut scale.workloads, "scale");
    }
    if let Some(set) = &mut actions.set_env {
        all(&mut set.workloads, "setEnv");
    }
    if let Some(restart) = &mut actions.restart {
        all(&mut restart.workloads, "restart");
    }
    if let Some(workload) = actions.logs.as_mut().and_then(|logs| logs.workload.as_mut()) {
        put(&mut workload.name, format!("{at}.logs.workload.name"));
    }
    if let Some(jobs) = &mut actions.cron_jobs {
        for (field, list) in [("resume", &mut jobs.resume), ("suspend", &mut jobs.suspend)] {
            for (i, name) in list.iter_mut().enumerate() {
                put(name, format!("{at}.cronJobs.{field}[{i}]"));
            }
        }
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
