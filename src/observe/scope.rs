//! PURE. Which objects a run looks at, read off its plan.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::ApiResource;

use crate::api::LABEL_RUN;
use crate::api::decision::Verb;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::endpoints::carries;
use crate::plan::{Action, Plan};
use crate::world::PodView;

/// Workloads of both sides and of every step and undo.
pub fn workloads(plan: &Plan) -> BTreeSet<WorkloadRef> {
    let mut all: BTreeSet<WorkloadRef> = plan.target.workloads.iter().chain(&plan.old.workloads).cloned().collect();
    for step in &plan.steps {
        let undo = step.undo.as_ref().map(|u| &u.action);
        all.extend(std::iter::once(&step.action).chain(undo).flat_map(|action| action.workloads()));
    }
    all
}

/// Whether a run of this plan may create Jobs. What looks for them asks for nothing otherwise.
pub(crate) fn makes_jobs(plan: &Plan) -> bool {
    let actions =
        plan.steps.iter().flat_map(|step| std::iter::once(&step.action).chain(step.undo.iter().map(|u| &u.action)));
    actions.into_iter().any(|action| matches!(action, Action::Job(_)))
}

/// Which pods of the namespace a run looks at: those that carry all values of a side's selector, and those of every
/// workload that it names. No label selects both, since pods without a Service need not carry a side's labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodsOfRun {
    sides: [BTreeMap<String, String>; 2],
    workloads: BTreeSet<WorkloadRef>,
}

impl PodsOfRun {
    /// Those of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self { sides: [plan.old.selector.clone(), plan.target.selector.clone()], workloads: workloads(plan) }
    }

    /// Whether the pod is one of them.
    pub fn has(&self, pod: &PodView) -> bool {
        let named = pod.workload.as_ref().is_some_and(|w| self.workloads.contains(w));
        named || self.sides.iter().any(|side| carries(&pod.labels, side))
    }
}

#[cfg(test)]
impl PodsOfRun {
    /// Those with one of two labels.
    pub(super) fn labelled(old: (&str, &str), new: (&str, &str)) -> Self {
        let side = |(key, value): (&str, &str)| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Self { sides: [side(old), side(new)], workloads: BTreeSet::new() }
    }
}

/// One object.
pub fn name(name: &str) -> String {
    format!("metadata.name={name}")
}

/// The label of an EndpointSlice that names its Service.
pub(super) const LABEL_SERVICE: &str = "kubernetes.io/service-name";

/// EndpointSlices of a Service.
pub fn slices(service: &str) -> String {
    format!("{LABEL_SERVICE}={service}")
}

/// Jobs of a run, and their pods.
pub fn jobs(run_uid: &str) -> String {
    format!("{LABEL_RUN}={run_uid}")
}

/// Decisions that have no answer yet.
pub(super) const OPEN: &str = "status.state!=Answered";

/// Decisions on a run that have no answer yet. Definitions of an older version cannot select by that (`answered`).
pub fn decisions(run_uid: &str, answered: bool) -> String {
    let open = if answered { String::new() } else { format!(",{OPEN}") };
    format!("spec.runUID={run_uid}{open}")
}

/// The verbs of decisions that lead back.
pub(super) const BACK: [Verb; 2] = [Verb::Rollback, Verb::Abort];
/// So many decisions are listed at once.
pub(super) const MANY: u32 = 500;

/// Decisions of one verb on a run that have no answer yet.
pub(super) fn decisions_of(run_uid: &str, verb: Verb) -> String {
    format!("{},spec.decision={verb:?}", decisions(run_uid, false))
}

/// How a kind of workload is read.
pub fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<k8s_openapi::api::apps::v1::StatefulSet>(&()),
    }
}
