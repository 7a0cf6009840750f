//! PURE. What may come before a restore (DESIGN §5.6, §5.8): requests and changes that touch nothing of the old side, and
//! undos that say so.

use crate::api::step::{Step, Undo};

use super::Action;
use super::actions::{self, captures};
use super::refuse::Refusals;

/// Refuses a step that a restore cannot wait for, or on which something else would stand that may not have run.
pub(super) fn check(step: &Step, action: &Action, at: &str, refusals: &mut Refusals) {
    let allowed = match action {
        Action::Http(_) | Action::Scale(_) | Action::SetEnv(_) | Action::Restart(_) | Action::CronJobs(_) => true,
        Action::Job(_)
        | Action::Config(_)
        | Action::Rollout(_)
        | Action::Metric(_)
        | Action::Resource(_)
        | Action::Tls(_)
        | Action::Logs(_)
        | Action::Wait(_)
        | Action::Suite(_)
        | Action::Approval(_)
        | Action::UndoRollout(_)
        | Action::Permissions {}
        | Action::Unscale { .. }
        | Action::UndoSetEnv { .. }
        | Action::UndoCronJobs { .. } => false,
    };
    refusals.require(
        allowed,
        format!("{at}.{}", action.kind()),
        format!("users wait for the restore, so {} does not come before it", action.kind()),
        "use http, scale, setEnv, restart or cronJobs, or move the step to rollback",
    );
    for captured in captures(&step.action, actions::of_step, at) {
        refusals.add(captured.field, "the step may be left out, so that nothing can use a capture", "leave it out");
    }
}

/// An undo before the restore has a bound, and waits for nobody.
pub(super) fn check_undo(undo: &Undo, at: &str, refusals: &mut Refusals) {
    refusals.require(
        undo.timeout.is_some(),
        format!("{at}.timeout"),
        "the restore waits for this undo, so it must say how long at most",
        "give a timeout, such as 60s",
    );
    refusals.require(
        undo.approval.is_none(),
        format!("{at}.approval"),
        "the restore waits for this undo, and must not wait for people",
        "leave the approval out, or leave before: Restore out",
    );
}
