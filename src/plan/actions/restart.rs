//! PURE. `restart`: whose workloads are restarted.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Restart, WorkloadRef};
use crate::plan::Plan;
use crate::plan::changes::{either, stands, template_changed};
use crate::plan::resolving::Cx;
use crate::plan::resolving::spares_old;
use crate::plan::scope::Usage;

use super::{Action, ActionPlace, Given, Planned, SLOW};

impl Given for Restart {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        either(self.side, &self.workloads, at, cx.refusals);
        stands(cx, place, at);
        spares_old(cx, place, self.side, &self.workloads, at);
        template_changed(cx, self.side, &self.workloads);
        Action::Restart(self.clone())
    }
}

impl Planned for Restart {
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
}
