//! PURE. `undoRollout`: a Deployment goes back on the way back alone, and is changed by no other step: the automatic undo
//! of a `setEnv` makes a revision of its own, so that the one before it would be the one that was to be left.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{UndoRollout, WorkloadKind, WorkloadRef};
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;
use crate::plan::{Plan, Stage};

use super::{Action, ActionPlace, Given, Planned, SLOW};

fn own(undo: &UndoRollout) -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: undo.deployment.clone() }
}

impl Given for UndoRollout {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        cx.refusals.require(
            place.stage == Stage::Rollback,
            at,
            format!("no rollout is undone in {}", place.stage.field()),
            "move the step to phases.rollback",
        );
        let own = own(self);
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
        Action::UndoRollout(self.clone())
    }
}

impl Planned for UndoRollout {
    fn only_reads(&self) -> bool {
        false
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![own(self)]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![(&own(self)).into()]
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        SLOW
    }
}
