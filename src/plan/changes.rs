//! PURE. Actions that change objects: where they may stand, and what they may name.

use std::collections::BTreeSet;

use crate::api::step::{CronJobs, Restart, Scale, SetEnv, SideRef, UndoRollout, WorkloadKind, WorkloadRef};

use super::action::{Place, either};
use super::steps::Cx;
use super::{Action, Stage, job};

/// Most CronJobs of a step.
const MAX_CRON_JOBS: usize = 16;

/// Whether an undo follows from the action by itself, and which.
pub(super) fn automatic_undo(action: &Action, step: &str) -> Option<Action> {
    let step = step.to_owned();
    match action {
        Action::Scale(_) => Some(Action::Unscale { step }),
        Action::SetEnv(_) => Some(Action::UndoSetEnv { step }),
        Action::CronJobs(_) => Some(Action::UndoCronJobs { step }),
        _ => None,
    }
}

/// Changes stand only where changes may stand.
fn stands(cx: &mut Cx, place: Place, at: &str) {
    let changes = matches!(place.stage, Stage::Prepare | Stage::Confirm | Stage::Finish | Stage::Rollback);
    cx.refusals.require(
        (changes || place.undo) && !place.in_suite,
        at,
        if place.in_suite {
            "nothing is changed in a suite".to_owned()
        } else {
            format!("nothing is changed in {}", place.stage.field())
        },
        "move the step to prepare, confirm, finish or rollback",
    );
}

/// A change of replicas never shrinks what serves users unless that is said.
pub(super) fn scale(cx: &mut Cx, place: Place, scale: &Scale, at: &str) {
    either(scale.side, &scale.workloads, at, cx.refusals);
    stands(cx, place, at);
    if scale.allow_downtime {
        return;
    }
    let names = |side: SideRef, workloads: &[WorkloadRef]| {
        scale.side == Some(side) || scale.workloads.iter().any(|w| workloads.contains(w))
    };
    let after_switch = matches!(place.stage, Stage::Confirm | Stage::Finish) && !place.undo;
    let serving = names(SideRef::Old, cx.old) || (after_switch && names(SideRef::Target, cx.target));
    cx.refusals.require(
        !serving,
        at,
        "this may shrink a side that serves users or that a rollback needs",
        "say allowDowntime: true if that is meant, or scale the other side",
    );
}

/// An environment is set in one container of each workload, every variable once.
pub(super) fn set_env(cx: &mut Cx, place: Place, set: &SetEnv, at: &str) {
    either(set.side, &set.workloads, at, cx.refusals);
    stands(cx, place, at);
    cx.refusals.require(
        set.container.as_ref().is_none_or(|c| !c.is_empty()),
        format!("{at}.container"),
        "the container has no name",
        "name it, or leave it out for the first one",
    );
    cx.refusals.require(!set.env.is_empty(), format!("{at}.env"), "no variable is given", "give at least one");
    job::check_env(&set.env, &format!("{at}.env"), cx.refusals);
    template_changed(cx, set.side, &set.workloads);
}

/// Workloads are restarted.
pub(super) fn restart(cx: &mut Cx, place: Place, restart: &Restart, at: &str) {
    either(restart.side, &restart.workloads, at, cx.refusals);
    stands(cx, place, at);
    template_changed(cx, restart.side, &restart.workloads);
}

/// A Deployment goes back on the way back alone, and is changed by no other step: the automatic undo of a `setEnv` makes a
/// revision of its own, so that the one before it would be the one that was to be left.
pub(super) fn undo_rollout(cx: &mut Cx, stage: Stage, undo: &UndoRollout, at: &str) -> Action {
    cx.refusals.require(
        stage == Stage::Rollback,
        at,
        format!("no rollout is undone in {}", stage.field()),
        "move the step to phases.rollback",
    );
    let own = WorkloadRef { kind: WorkloadKind::Deployment, name: undo.deployment.clone() };
    if cx.changed.contains(&own) {
        cx.refusals.add(
            format!("{at}.deployment"),
            format!(
                "the pod template of {} is changed by another step, so that its previous revision is the run's own",
                own.name
            ),
            "leave this step out (setEnv is undone by itself), or change the template by other means",
        );
    }
    Action::UndoRollout(undo.clone())
}

/// Remembers the workloads whose pod template a step or an undo changes.
fn template_changed(cx: &mut Cx, side: Option<SideRef>, named: &[WorkloadRef]) {
    let all = match side {
        Some(SideRef::Target) => cx.target,
        Some(SideRef::Old) => cx.old,
        None => named,
    };
    cx.changed.extend(all.iter().cloned());
}

/// CronJobs are named, each once.
pub(super) fn cron_jobs(cx: &mut Cx, place: Place, jobs: &CronJobs, at: &str) {
    stands(cx, place, at);
    cx.refusals.require(
        !(jobs.suspend.is_empty() && jobs.resume.is_empty()),
        at,
        "no CronJob is named",
        "name those to suspend or to resume",
    );
    let mut seen = BTreeSet::new();
    for (field, list) in [("suspend", &jobs.suspend), ("resume", &jobs.resume)] {
        cx.refusals.require(
            list.len() <= MAX_CRON_JOBS,
            format!("{at}.{field}"),
            format!("more than {MAX_CRON_JOBS} CronJobs are named"),
            "use several steps",
        );
        for (i, name) in list.iter().enumerate() {
            let field = format!("{at}.{field}[{i}]");
            cx.refusals.require(!name.is_empty(), &field, "the CronJob has no name", "name it");
            cx.refusals.require(seen.insert(name), field, format!("{name} is named twice"), "name it once");
        }
    }
}
