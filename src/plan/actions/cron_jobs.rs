//! PURE. `cronJobs`: CronJobs are named, each once.

use std::collections::BTreeSet;

use crate::api::duration::Duration;
use crate::api::run::{ObjectKind, ObjectRef};
use crate::api::step::{CronJobs, WorkloadRef};
use crate::plan::Plan;
use crate::plan::changes::stands;
use crate::plan::resolving::Cx;
use crate::plan::scope::Usage;

use super::{Action, ActionPlace, Given, Planned, quick};

/// Most CronJobs of a step.
const MAX_CRON_JOBS: usize = 16;

impl Given for CronJobs {
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        stands(cx, place, at);
        cx.refusals.require(
            !(self.suspend.is_empty() && self.resume.is_empty()),
            at,
            "no CronJob is named",
            "name those to suspend or to resume",
        );
        let mut seen = BTreeSet::new();
        for (field, list) in [("suspend", &self.suspend), ("resume", &self.resume)] {
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
        Action::CronJobs(self.clone())
    }
}

impl Planned for CronJobs {
    fn only_reads(&self) -> bool {
        false
    }

    // CronJobs are read when their step comes.
    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        let object = |name: &String| ObjectRef { kind: ObjectKind::CronJob, name: name.clone() };
        self.suspend.iter().chain(&self.resume).map(object).collect()
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }

    fn automatic_undo(&self, step: &str) -> Option<Action> {
        Some(Action::UndoCronJobs { step: step.to_owned() })
    }
}

/// The automatic undo; its CronJobs are those of its step.
pub(super) struct UndoCronJobs;

impl Planned for UndoCronJobs {
    fn only_reads(&self) -> bool {
        false
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }
}
