//! PURE. `rollout`: whose workloads are waited for.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Rollout, SideRef, WorkloadRef};
use crate::plan::Plan;
use crate::plan::changes::either;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::{Action, ActionPlace, Given, Planned, SLOW};

impl Given for Rollout {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, _place: &ActionPlace, at: &str) -> Action {
        either(self.side, &self.workloads, at, cx.refusals);
        Action::Rollout(self.clone())
    }
}

impl Planned for Rollout {
    fn only_reads(&self) -> bool {
        true
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        self.workloads.clone()
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        SLOW
    }
}

/// Whether a rollout is one of the whole target, so that none has to be inserted.
pub(in crate::plan) fn covers(rollout: &Rollout, target: &[WorkloadRef]) -> bool {
    rollout.side == Some(SideRef::Target) || target.iter().all(|w| rollout.workloads.contains(w))
}
