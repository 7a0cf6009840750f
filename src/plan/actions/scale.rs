//! PURE. `scale`: a change of replicas never shrinks what serves users unless that is said.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Scale, SideRef, WorkloadRef};
use crate::plan::changes::{either, stands};
use crate::plan::resolving::Cx;
use crate::plan::resolving::spares_old;
use crate::plan::scope::Usage;
use crate::plan::{Plan, Stage};

use super::{Action, ActionPlace, Given, Part, Planned, SLOW};

impl Given for Scale {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        either(self.side, &self.workloads, at, cx.refusals);
        stands(cx, place, at);
        spares_old(cx, place, self.side, &self.workloads, at);
        if !self.allow_downtime {
            spares_users(self, cx, place, at);
        }
        Action::Scale(self.clone())
    }
}

fn spares_users(scale: &Scale, cx: &mut Cx, place: &ActionPlace, at: &str) {
    let names = |side: SideRef, workloads: &[WorkloadRef]| {
        scale.side == Some(side) || scale.workloads.iter().any(|w| workloads.contains(w))
    };
    let after_switch = matches!(place.stage, Stage::Confirm | Stage::Finish | Stage::BeforeRestore)
        && !matches!(place.part, Part::Undo);
    let serving = names(SideRef::Old, cx.old) || (after_switch && names(SideRef::Target, cx.target));
    cx.refusals.require(
        !serving,
        at,
        "this may shrink a side that serves users or that a rollback needs",
        "say allowDowntime: true if that is meant, or scale the other side",
    );
}

impl Planned for Scale {
    fn only_reads(&self) -> bool {
        false
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        self.workloads.clone()
    }

    fn changes(&self, plan: &Plan) -> Vec<ObjectRef> {
        plan.named(self.side, &self.workloads).iter().map(ObjectRef::from).collect()
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        SLOW
    }

    fn automatic_undo(&self, step: &str) -> Option<Action> {
        Some(Action::Unscale { step: step.to_owned() })
    }
}

/// The automatic undo; its workloads are those of its step.
pub(super) struct Unscale;

impl Planned for Unscale {
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
        SLOW
    }
}
