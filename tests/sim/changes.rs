//! Workloads of the simulated cluster: whose they are, their revisions and templates.

use serde_json::Value;

use cutover::api::run::{ObjectKind, ObjectRef};
use cutover::api::step::{WorkloadKind, WorkloadRef};
use cutover::effect::hash;
use cutover::endpoints::carries;
use cutover::plan::PlanSide;
use cutover::world::{Revision, RevisionsView};

use super::cluster::Cluster;
use super::objects::plural;

/// The workload that an object is, if it is one.
pub fn workload(object: &ObjectRef) -> Option<WorkloadRef> {
    let kind = match object.kind {
        ObjectKind::Deployment => WorkloadKind::Deployment,
        ObjectKind::StatefulSet => WorkloadKind::StatefulSet,
        ObjectKind::CronJob => return None,
    };
    Some(WorkloadRef { kind, name: object.name.clone() })
}

impl Cluster {
    /// The side that a workload is listed under.
    pub fn side_of(&self, object: &ObjectRef) -> Option<&PlanSide> {
        let w = workload(object)?;
        [&self.plan.old, &self.plan.target].into_iter().find(|side| side.workloads.contains(&w))
    }

    /// Whether one of these Services points to a side.
    pub fn is_live(&self, side: &PlanSide, services: &[String]) -> bool {
        services.iter().any(|s| self.services.get(s).is_some_and(|s| carries(&s.view.selector, &side.selector)))
    }

    /// The revisions of a Deployment: what it has had since the start, and one before.
    pub fn revisions(&self, name: &str) -> RevisionsView {
        let w = super::cluster::deployment(name);
        let Some(view) = self.workloads.get(&w) else { return RevisionsView::default() };
        let mut former = view.template.clone();
        former["spec"]["containers"][0]["image"] = "registry.invalid/app:0".into();
        let all =
            vec![Revision { number: 1, template: former }, Revision { number: 2, template: view.template.clone() }];
        RevisionsView { current: 2, paused: false, all }
    }

    /// Writes a pod template: old pods are replaced a little later.
    pub fn set_template(&mut self, w: &WorkloadRef, template: Value) {
        let version = self.bump(&format!("{}/{}", plural(w.kind), w.name));
        let Some(view) = self.workloads.get_mut(w) else { return };
        view.resource_version = version;
        view.template_hash = hash(&template);
        view.template = template;
        view.generation += 1;
        view.observed_generation = view.generation;
        view.updated = 0;
        self.rolling.insert(w.clone());
    }

    /// The pods of a workload are all of its present template.
    pub fn rolled_out(&mut self, w: &WorkloadRef) {
        self.rolling.remove(w);
        self.count(w);
    }
}
