//! PURE. `setEnv`: an environment is set in one container of each workload, every variable once.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{SetEnv, WorkloadRef};
use crate::plan::Plan;
use crate::plan::changes::{either, stands, template_changed};
use crate::plan::resolving::Cx;
use crate::plan::resolving::spares_old;
use crate::plan::scope::Usage;

use super::{Action, ActionPlace, Given, Planned, SLOW, job};

impl Given for SetEnv {
    fn texts(&self, at: &str) -> Vec<Usage> {
        job::values(&self.env, &format!("{at}.env"), Usage::text)
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        either(self.side, &self.workloads, at, cx.refusals);
        stands(cx, place, at);
        spares_old(cx, place, self.side, &self.workloads, at);
        cx.refusals.require(
            self.container.as_ref().is_none_or(|c| !c.is_empty()),
            format!("{at}.container"),
            "the container has no name",
            "name it, or leave it out for the first one",
        );
        cx.refusals.require(!self.env.is_empty(), format!("{at}.env"), "no variable is given", "give at least one");
        job::check_env(&self.env, &format!("{at}.env"), cx.refusals);
        template_changed(cx, self.side, &self.workloads);
        Action::SetEnv(self.clone())
    }
}

impl Planned for SetEnv {
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
        Some(Action::UndoSetEnv { step: step.to_owned() })
    }
}

/// The automatic undo; its workloads are those of its step.
pub(super) struct UndoSetEnv;

impl Planned for UndoSetEnv {
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
