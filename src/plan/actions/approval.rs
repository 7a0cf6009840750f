//! PURE. Approvals: who must agree, and how long they have.

use std::collections::BTreeSet;

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Approval, Step, StepAction, WorkloadRef};
use crate::plan::refuse::Refusals;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::{Plan, Stage, approval_limit};

use super::{Action, ActionPlace, Given, Part, Planned};

impl Given for Approval {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        cx.refusals.require(
            place.stage != Stage::FollowUp,
            at,
            "nobody is asked in a follow-up unless it fails",
            "leave it out",
        );
        cx.refusals.require(
            place.stage != Stage::RollbackVerify,
            at,
            "nobody is asked in the checks of a rollback",
            "move it to phases.rollback",
        );
        if let Part::Step(step) = place.part {
            stands_alone(step, place.field, cx.refusals);
        }
        check(self, at, cx.requested, cx.refusals);
        Action::Approval(self.clone())
    }
}

/// Refuses what means nothing for a step that waits for people.
fn stands_alone(step: &Step, at: &str, refusals: &mut Refusals) {
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
}

impl Planned for Approval {
    fn only_reads(&self) -> bool {
        false
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        approval_limit(self)
    }
}

/// Refuses an approval of a rollback that no later step needs: a rejected one leaves out the steps that need it, and a
/// rollback goes on with all others (DESIGN §5.3).
pub(in crate::plan) fn hold_something_back(steps: &[Step], at: &str, refusals: &mut Refusals) {
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

/// Refuses an approval that nobody could give. `requested`: it is said who asked for the release.
pub(in crate::plan) fn check(approval: &Approval, at: &str, requested: bool, refusals: &mut Refusals) {
    refusals.require(
        requested || !approval.exclude_requester,
        format!("{at}.excludeRequester"),
        "nobody is named as the one who asked for the release",
        "set spec.release.requestedBy to the user name of whoever asks for it (kubectl cutover release does)",
    );
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
