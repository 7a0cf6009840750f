//! Changes of objects, carried out as `cutover::act` does: a live reading, the change's own word on it, one write.

use serde_json::{Value, json};

use cutover::api::run::{ObjectKind, ObjectRef};
use cutover::api::step::{WorkloadKind, WorkloadRef};
use cutover::effect::change::{Edit, Now, seen};
use cutover::effect::{Change, Outcome, hash};
use cutover::endpoints::{carries, matches};
use cutover::plan::PlanSide;
use cutover::world::{Revision, RevisionsView};

use super::cluster::{Cluster, Who, Wrote};

/// The workload that an object is, if it is one.
pub fn workload(object: &ObjectRef) -> Option<WorkloadRef> {
    let kind = match object.kind {
        ObjectKind::Deployment => WorkloadKind::Deployment,
        ObjectKind::StatefulSet => WorkloadKind::StatefulSet,
        ObjectKind::CronJob => return None,
    };
    Some(WorkloadRef { kind, name: object.name.clone() })
}

/// The object as the API server would show it, with its uid.
fn live(cluster: &Cluster, object: &ObjectRef) -> Option<(String, Value)> {
    let Some(w) = workload(object) else {
        let job = cluster.cron_jobs.get(&object.name)?;
        return Some((job.uid.clone(), json!({"spec": {"suspend": job.suspended}})));
    };
    let view = cluster.workloads.get(&w)?;
    let spec = json!({"spec": {"replicas": view.wanted, "template": view.template}});
    Some((view.uid.clone(), seen(&spec, cluster.annotations.get(&w))))
}

/// Makes a change, or says why not.
pub fn make(cluster: &mut Cluster, object: &ObjectRef, uid: &str, change: &Change, unless_live: &[String]) -> Outcome {
    let Some((has, now)) = live(cluster, object) else { return Outcome::NotFound };
    if has != uid {
        return Outcome::Conflict(format!("{} was replaced by another of that name", object.name));
    }
    let edits = match change.on(&now) {
        Now::Done => return made(cluster, object, change),
        Now::Conflict(why) => return Outcome::Conflict(format!("{}: {why}", object.name)),
        Now::Edit(edits) => edits,
    };
    if let Some(view) = workload(object).and_then(|w| cluster.workloads.get(&w)).filter(|_| change.takes_away(&now)) {
        let selects = |s: &String| cluster.services.get(s).is_some_and(|s| matches(&view.pod_labels, &s.view.selector));
        if unless_live.iter().any(selects) {
            let why = format!("{} is not shrunk: a live Service selects its pods", object.name);
            return Outcome::Refused { why, forbidden: false };
        }
        let scales = matches!(change, Change::Scale { .. });
        if let Some(side) = cluster.side_of(object).filter(|side| scales && cluster.is_live(side, unless_live)) {
            let why = format!("{} is not shrunk: it belongs to {}, which is live", object.name, side.name);
            return Outcome::Refused { why, forbidden: false };
        }
    }
    write(cluster, object, change, now, &edits);
    made(cluster, object, change)
}

fn made(cluster: &Cluster, object: &ObjectRef, change: &Change) -> Outcome {
    match workload(object).and_then(|w| cluster.workloads.get(&w)) {
        Some(view) if change.rolls_out() => Outcome::Changed { template: view.template_hash.clone() },
        _ => Outcome::Done,
    }
}

fn write(cluster: &mut Cluster, object: &ObjectRef, change: &Change, mut now: Value, edits: &[Edit]) {
    for edit in edits {
        let (parent, key) = edit.path.rsplit_once('/').unwrap_or(("", &edit.path));
        match now.pointer_mut(parent) {
            Some(place) => place[key] = edit.value.clone(),
            None => cluster.broken.push(format!("{} has no {parent} to be written", object.name)),
        }
    }
    let Some(w) = workload(object) else {
        let suspended = now.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
        if let Some(job) = cluster.cron_jobs.get_mut(&object.name) {
            job.suspended = suspended;
        }
        cluster.wrote(Who::Us, Wrote::Changed { object: object.clone(), change: change.kind().into() });
        return;
    };
    let replicas = now.pointer("/spec/replicas").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    if let Change::Scale { .. } = change {
        cluster.set_wanted(&w, replicas.unwrap_or(1), Who::Us);
        return;
    }
    let annotations = now.pointer("/metadata/annotations").and_then(|a| serde_json::from_value(a.clone()).ok());
    cluster.annotations.insert(w.clone(), annotations.unwrap_or_default());
    if change.rolls_out() {
        cluster.set_template(&w, now.pointer("/spec/template").cloned().unwrap_or_default());
    }
    cluster.wrote(Who::Us, Wrote::Changed { object: object.clone(), change: change.kind().into() });
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
        let version = self.bump(&format!("workloads/{}", w.name));
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
