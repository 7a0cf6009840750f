//! PURE. Approvals: who must agree, and how long they have.

use std::collections::BTreeSet;

use crate::api::step::{Approval, Step, StepAction};

use super::Stage;
use super::refuse::Refusals;

/// The approval of a step, checked.
pub(super) fn resolve(stage: Stage, step: &Step, approval: &Approval, at: &str, refusals: &mut Refusals) -> Approval {
    refusals.require(
        stage != Stage::FollowUp,
        format!("{at}.approval"),
        "nobody is asked in a follow-up unless it fails",
        "leave it out",
    );
    refusals.require(
        stage != Stage::RollbackVerify,
        format!("{at}.approval"),
        "nobody is asked in the checks of a rollback",
        "move it to rollback.steps",
    );
    refusals.require(
        step.timeout.is_none(),
        format!("{at}.timeout"),
        "an approval ends by its own time",
        "say approval.within instead",
    );
    refusals.require(
        step.retry.is_none(),
        format!("{at}.retry"),
        "people are asked once",
        "leave it out: a new run asks anew",
    );
    refusals.require(
        step.undo.is_none(),
        format!("{at}.undo"),
        "an approval changes nothing that could be undone",
        "leave it out",
    );
    check(approval, &format!("{at}.approval"), refusals);
    approval.clone()
}

/// Refuses an approval of a rollback that no later step needs: a rejected one leaves out the steps that need it, and a
/// rollback goes on with all others (DESIGN §5.3).
pub(super) fn hold_something_back(steps: &[Step], at: &str, refusals: &mut Refusals) {
    for (i, gate) in steps.iter().enumerate().filter(|(_, s)| asks(s)) {
        refusals.require(
            steps.iter().skip(i + 1).any(|s| s.needs.contains(&gate.name)),
            format!("{at}[{i}].approval"),
            "no later step needs it, so that a rejection would hold back nothing",
            format!("write needs: [{}] into each step that must not run without it", gate.name),
        );
    }
}

fn asks(step: &Step) -> bool {
    step.action.all().iter().any(|action| matches!(action, StepAction::Approval(_)))
}

/// Refuses an approval that nobody could give.
pub(super) fn check(approval: &Approval, at: &str, refusals: &mut Refusals) {
    refusals.require(!approval.roles.is_empty(), format!("{at}.roles"), "nobody is asked", "name at least one role");
    let mut seen = BTreeSet::new();
    for (i, role) in approval.roles.iter().enumerate() {
        let at = format!("{at}.roles[{i}]");
        refusals.require(
            seen.insert(&role.name),
            format!("{at}.name"),
            format!("the role {} is named twice", role.name),
            "give it a count instead",
        );
        refusals.require(
            role.count.is_none_or(|n| (1..=10).contains(&n)),
            format!("{at}.count"),
            "a quorum is 1 to 10 people",
            "give such a number, or leave it out for one",
        );
        // `run` is the subresource of all other decisions: a right to abort must not be one to approve.
        refusals.require(role.name != "run", format!("{at}.name"), "the name `run` is taken", "choose another one");
    }
    refusals.require(
        approval.within.is_none_or(|w| !w.is_zero()),
        format!("{at}.within"),
        "an approval that expires at once cannot be given",
        "give some time, such as 2h",
    );
}
