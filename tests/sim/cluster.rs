//! What the simulated cluster holds, and how people and the kubelet change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use cutover::api::notify::NotifyEvent;
use cutover::api::run::{ObjectRef, RunStatus, Selector};
use cutover::api::step::{WorkloadKind, WorkloadRef};
use cutover::effect::hash;
use cutover::endpoints::matches;
use cutover::plan::{Plan, PlanSide};
use cutover::world::{
    ContainerView, CronJobView, CutoverView, DecisionView, EndpointView, EventView, JobResult, JobView, NodeState,
    NodeView, PodView, ServiceView, Sighting, WorkloadView,
};

use super::answers::Web;
use super::faults::{Faults, Kind, On};
use super::knife::{Cut, Knife};
use super::setting::Setting;
use super::shared::Shared;

/// The uid of the run, where there is only one.
pub const RUN: &str = "run-uid";
/// Its name.
pub const RUN_NAME: &str = "run";

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub view: ServiceView,
    /// The annotation `cutover.dev/fence`.
    pub fence: Option<String>,
}

/// A Job and how it will behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub view: JobView,
    pub result: JobResult,
    /// `spec.activeDeadlineSeconds`.
    pub deadline: Option<u64>,
}

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Us,
    Others,
}

/// A write that the API server admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub at: Timestamp,
    pub who: Who,
    pub what: Wrote,
}

/// What was written; `Annotated` is anything of a Service that no promise is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrote {
    Selector { service: String, uid: String, from: Selector, to: Selector },
    Fence { service: String },
    Annotated { service: String },
    ServiceGone { service: String },
    ServiceCreated { service: String },
    JobCreated { job: String },
    JobStarted { job: String, step: Option<String> },
    JobDeleted { job: String },
    JobOwned { job: String },
    Secret { name: String, owned: bool },
    PodDeleted { pod: String, uid: String, labels: BTreeMap<String, String> },
    Answered { decision: String },
    Sent { key: String },
    Told { receiver: String, notice: String, event: NotifyEvent },
    Scaled { workload: WorkloadRef, from: u32, to: u32 },
    Changed { object: ObjectRef, change: String },
    Status,
}

/// Why a status write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// 409.
    Conflict,
    /// Nothing is known: it may have been applied.
    Transient,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub now: Timestamp,
    /// By how much the operator's clock is ahead.
    pub clock_ahead: SignedDuration,
    pub setting: Shared<Setting>,
    pub plan: Arc<Plan>,
    pub cutover: Option<CutoverView>,
    pub decisions: Vec<DecisionView>,
    /// What was written on decisions, by uid.
    pub answers: BTreeMap<String, String>,
    /// Decisions that go with the run, by uid.
    pub owned: BTreeSet<String>,
    pub services: Shared<BTreeMap<String, Service>>,
    pub workloads: Shared<BTreeMap<WorkloadRef, WorkloadView>>,
    /// Pods by name, with the workload they belong to.
    pub pods: Shared<BTreeMap<String, (WorkloadRef, PodView)>>,
    pub nodes: Shared<BTreeMap<String, NodeView>>,
    /// Nodes that the pods of a side are put on, by turns; `node-1` where the side is not named.
    pub places: Shared<BTreeMap<String, Vec<String>>>,
    /// Workloads whose pods never become ready.
    pub sick: Vec<WorkloadRef>,
    /// What the EndpointSlices say; follows the pods after [`Cluster::converge`].
    pub endpoints: Shared<BTreeMap<String, Vec<EndpointView>>>,
    pub jobs: Shared<BTreeMap<String, Job>>,
    pub cron_jobs: Shared<BTreeMap<String, CronJobView>>,
    /// Secrets of runs.
    pub secrets: Shared<BTreeMap<String, Value>>,
    /// What Events say of an object, by its uid.
    pub events: Shared<BTreeMap<String, Vec<EventView>>>,
    /// How long the pods of a side take to end, by the side's name; at once where it is not named.
    pub drains: Shared<BTreeMap<String, SignedDuration>>,
    /// Annotations of workloads.
    pub annotations: Shared<BTreeMap<WorkloadRef, BTreeMap<String, String>>>,
    /// Workloads whose pods are being replaced.
    pub rolling: BTreeSet<WorkloadRef>,
    /// Name and uid of the run.
    pub run: (String, String),
    pub status: RunStatus,
    pub status_version: u64,
    /// A write of the status has failed since the last one: what one write shows may then be two decisions, one after another.
    pub unwritten: bool,
    /// HTTP, Prometheus, Secrets.
    pub web: Shared<Web>,
    pub faults: Faults,
    /// Where the operator is stopped, in the tests of crashes.
    pub knife: Knife,
    pub audit: Vec<Audit>,
    /// Promises that were broken.
    pub broken: Vec<String>,
    /// How often each thing was done that may be done once (P1, P4).
    pub counts: BTreeMap<String, u8>,
    /// Others changed what our promises are about: a selector, a Service, a workload's count.
    pub touched: bool,
    pub(super) versions: Shared<BTreeMap<String, u64>>,
}

impl Cluster {
    /// A cluster in which the plan's live side is live, with `replicas` ready pods on either side.
    pub fn new(plan: &Plan, replicas: u32, now: Timestamp) -> Self {
        Self::set(plan, replicas, now, Setting::default())
    }

    /// One that differs from that.
    pub fn set(plan: &Plan, replicas: u32, now: Timestamp, setting: Setting) -> Self {
        let (places, notify) = (setting.places.clone(), setting.notify.clone());
        let names = places.values().flatten().cloned().chain(["node-1".to_owned()]);
        let since = now - jiff::SignedDuration::from_hours(24);
        let nodes: BTreeMap<_, _> = names.map(|n| (n, NodeView { state: NodeState::Ready, since })).collect();
        let mut cluster = Self {
            now,
            clock_ahead: SignedDuration::ZERO,
            setting: setting.into(),
            plan: Arc::new(plan.clone()),
            cutover: Some(CutoverView {
                uid: "cutover-uid".into(),
                deleting: false,
                namespace_going: false,
                activate: plan.target.name.clone(),
                release: plan.release.clone(),
                suspend: false,
                notify,
                releases: [(plan.old.name.clone(), "1.0.0".to_owned())].into(),
                pushed: None,
            }),
            decisions: vec![],
            answers: BTreeMap::new(),
            owned: BTreeSet::new(),
            services: Shared::default(),
            workloads: Shared::default(),
            pods: Shared::default(),
            nodes: nodes.into(),
            places: places.into(),
            sick: vec![],
            endpoints: Shared::default(),
            jobs: Shared::default(),
            cron_jobs: Shared::default(),
            secrets: Shared::default(),
            events: Shared::default(),
            drains: Shared::default(),
            annotations: Shared::default(),
            rolling: BTreeSet::new(),
            run: (RUN_NAME.to_owned(), RUN.to_owned()),
            status: RunStatus::default(),
            status_version: 1,
            unwritten: false,
            web: Shared::default(),
            faults: Faults::default(),
            knife: Knife::default(),
            audit: vec![],
            broken: vec![],
            counts: BTreeMap::new(),
            touched: false,
            versions: Shared::default(),
        };
        for side in [&plan.old, &plan.target] {
            for w in &side.workloads {
                cluster.add_workload(w, side, replicas);
            }
        }
        cluster.add_strangers();
        for name in &plan.services {
            cluster.create_service(name, &plan.old.clone());
        }
        cluster.audit.clear();
        cluster.touched = false;
        cluster
    }

    /// Counts up the resourceVersion of an object.
    pub fn bump(&mut self, object: &str) -> String {
        let n = self.versions.entry(object.to_owned()).or_insert(0);
        *n += 1;
        n.to_string()
    }

    /// Remembers a write.
    pub fn wrote(&mut self, who: Who, what: Wrote) {
        let annotated = matches!(what, Wrote::Annotated { .. });
        self.touched |= who == Who::Others && !annotated;
        self.audit.push(Audit { at: self.now, who, what });
    }

    /// A side by its name.
    pub fn side(&self, name: &str) -> &PlanSide {
        if self.plan.target.name == name { &self.plan.target } else { &self.plan.old }
    }

    /// Ready pods that a Service would have under `selector`.
    pub fn ready(&self, service: &str, selector: &Selector) -> u32 {
        let Some(s) = self.services.get(service) else { return 0 };
        let pods: Vec<PodView> = self.pods.values().map(|(_, p)| p.clone()).collect();
        cutover::endpoints::ready_count(&pods, selector, &s.view.ports)
    }

    /// The EndpointSlices follow the pods and the selector.
    pub fn converge(&mut self, name: &str) {
        let slices = self.slices(name);
        self.endpoints.insert(name.to_owned(), slices);
    }

    fn slices(&self, name: &str) -> Vec<EndpointView> {
        let Some(service) = self.services.get(name) else { return vec![] };
        self.pods
            .values()
            .filter(|(_, p)| matches(&p.labels, &service.view.selector))
            .map(|(_, p)| EndpointView {
                slice: format!("{name}-abcde"),
                pod: Some(p.name.clone()),
                ready: p.ready && !p.terminating,
                ..EndpointView::default()
            })
            .chain(self.slices_by_hand(name))
            .collect()
    }

    /// Services whose EndpointSlices are behind.
    pub fn behind(&self) -> Vec<String> {
        let all = self.services.keys().chain(self.endpoints.keys());
        let mut names: Vec<String> = all.filter(|n| self.endpoints.get(*n) != Some(&self.slices(n))).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// Creates and removes pods until each workload has as many as it wants. New ones are not ready yet: their names
    /// are returned unless the workload is sick.
    pub fn make_pods(&mut self, w: &WorkloadRef) -> Vec<String> {
        let Some(view) = self.workloads.get(w).cloned() else { return vec![] };
        let subnet = self.workloads.keys().take_while(|k| *k != w).count();
        let mut new = vec![];
        for i in 0..view.wanted {
            let name = format!("{}-{i}", w.name);
            if self.pods.contains_key(&name) {
                continue;
            }
            let n = self.bump(&format!("pods/{name}"));
            let pod = PodView {
                uid: format!("{name}-uid-{n}"),
                labels: view.pod_labels.clone(),
                ip: Some(format!("10.0.{subnet}.{i}")),
                workload: Some(w.clone()),
                node: Some(self.place(w, i)),
                ports: BTreeMap::from([("http".into(), 8080)]),
                containers: vec![ContainerView { name: "api".into(), ..ContainerView::default() }],
                gates: self.setting.workloads.get(&w.name).map(|s| s.gates.clone()).unwrap_or_default(),
                name: name.clone(),
                ..PodView::default()
            };
            self.pods.insert(name.clone(), (w.clone(), pod));
            if !self.sick.contains(w) {
                new.push(name);
            }
        }
        let wanted = view.wanted;
        let side = [&self.plan.old, &self.plan.target].into_iter().find(|side| side.workloads.contains(w));
        let drain = side.and_then(|side| self.drains.get(&side.name)).copied();
        let now = self.now;
        self.pods.retain(|name, (owner, pod)| {
            let index = name.rsplit('-').next().and_then(|i| i.parse::<u32>().ok()).unwrap_or(0);
            // One that ends makes room for the next, whatever it is called.
            if owner != w || (index < wanted && pod.gone_by.is_none()) {
                return true;
            }
            if let (None, Some(drain)) = (pod.gone_by, drain) {
                pod.gone_by = Some(now + drain);
                pod.terminating = true;
                pod.ready = false;
            }
            pod.gone_by.is_some_and(|by| now < by)
        });
        self.count(w);
        new
    }

    /// A pod becomes ready.
    pub fn pod_ready(&mut self, name: &str) {
        let Some((w, pod)) = self.pods.get(name) else { return };
        let w = w.clone();
        let node = pod.node.clone().unwrap_or_default();
        if self.sick.contains(&w) || !pod.gates.is_empty() || self.node(&node) != NodeState::Ready {
            return;
        }
        if let Some((_, pod)) = self.pods.get_mut(name) {
            pod.ready = true;
        }
        self.count(&w);
    }

    /// All pods of a side lose readiness, or get it back.
    pub fn set_health(&mut self, side: &str, healthy: bool) {
        for w in self.side(side).workloads.clone() {
            self.sick.retain(|s| s != &w);
            if !healthy {
                self.sick.push(w.clone());
            }
            for (_, pod) in self.pods.values_mut().filter(|(owner, _)| owner == &w) {
                pod.ready = healthy;
            }
            self.count(&w);
        }
    }

    /// Of each workload of a side only the first so many pods are ready.
    pub fn keep_ready(&mut self, side: &str, ready: usize) {
        for w in self.side(side).workloads.clone() {
            for (_, pod) in self.pods.values_mut().filter(|(owner, _)| owner == &w).skip(ready) {
                pod.ready = false;
            }
            self.count(&w);
        }
    }

    /// A pod is deleted: it ends at once, or as long as its side's pods take, and another one takes its place then.
    pub fn pod_deleted(&mut self, name: &str) {
        let Some((w, pod)) = self.pods.get(name).cloned() else { return };
        let side = [&self.plan.old, &self.plan.target].into_iter().find(|side| side.workloads.contains(&w));
        match side.and_then(|side| self.drains.get(&side.name)).copied() {
            Some(drain) => {
                let now = self.now;
                if let Some((_, pod)) = self.pods.get_mut(name) {
                    pod.gone_by = Some(now + drain);
                    (pod.terminating, pod.ready) = (true, false);
                }
            }
            None => {
                self.pods.remove(name);
            }
        }
        self.wrote(Who::Us, Wrote::PodDeleted { pod: name.to_owned(), uid: pod.uid, labels: pod.labels });
        self.count(&w);
    }

    /// Recomputes a workload's counts from its pods.
    pub fn count(&mut self, w: &WorkloadRef) {
        let all = self.pods.values().filter(|(o, p)| o == w && !p.terminating).count() as u32;
        let ready = self.pods.values().filter(|(o, p)| o == w && p.ready).count() as u32;
        if let Some(view) = self.workloads.get_mut(w) {
            view.replicas = all;
            if !self.rolling.contains(w) {
                view.updated = all;
            }
            view.available = ready;
            view.observed_generation = view.generation;
        }
    }

    /// Sets a workload's wanted count; pods follow by [`Cluster::make_pods`].
    pub fn set_wanted(&mut self, w: &WorkloadRef, to: u32, who: Who) {
        let version = self.bump(&format!("{}/{}", super::objects::plural(w.kind), w.name));
        let Some(view) = self.workloads.get_mut(w) else { return };
        let from = std::mem::replace(&mut view.wanted, to);
        view.resource_version = version;
        view.generation += 1;
        self.wrote(who, Wrote::Scaled { workload: w.clone(), from, to });
    }

    /// Changes the pod template of a side's workloads; the pods stay as they are.
    pub fn change_template(&mut self, side: &str) {
        for w in self.side(side).workloads.clone() {
            if let Some(view) = self.workloads.get_mut(&w) {
                view.generation += 1;
                view.observed_generation = view.generation;
                view.template["metadata"]["annotations"] = json!({"changed-at": view.generation.to_string()});
                view.template_hash = hash(&view.template);
            }
        }
    }

    /// The operator's status write.
    pub fn put_status(&mut self, version: u64, status: &RunStatus) -> Result<u64, PutError> {
        let cut = self.knife.strike();
        let failed = std::mem::replace(&mut self.unwritten, true);
        if cut == Some(Cut::Before) {
            return Err(PutError::Transient);
        }
        let struck = self.faults.strike(On::Status, "status", self.now);
        match struck {
            Some(Kind::Conflict) => return Err(PutError::Conflict),
            Some(Kind::Lost) | None => {}
            Some(_) => return Err(PutError::Transient),
        }
        if version != self.status_version {
            return Err(PutError::Conflict);
        }
        let before = std::mem::replace(&mut self.status, status.clone());
        self.status_version += 1;
        self.wrote(Who::Us, Wrote::Status);
        self.unwritten = failed;
        super::promises::at_status(self, &before);
        self.unwritten = false;
        if struck == Some(Kind::Lost) || cut == Some(Cut::Applied) {
            Err(PutError::Transient)
        } else {
            Ok(self.status_version)
        }
    }

    /// Everything as it is now, as a watch or a live read would tell it. Jobs that are gone are told by
    /// `known`, the names somebody has heard of.
    pub fn sightings(&self, known: &mut dyn Iterator<Item = String>) -> Vec<Sighting> {
        let mut all = vec![Sighting::Cutover(self.cutover.clone()), Sighting::Decisions(self.open_decisions())];
        for name in &self.plan.services {
            all.push(Sighting::Service(name.clone(), self.services.get(name).map(|s| s.view.clone())));
            all.push(Sighting::Endpoints(name.clone(), self.endpoints.get(name).cloned().unwrap_or_default()));
        }
        for side in [&self.plan.old, &self.plan.target] {
            for w in &side.workloads {
                all.push(Sighting::Workload(w.clone(), self.workloads.get(w).cloned()));
            }
        }
        all.push(Sighting::Nodes(Arc::new((*self.nodes).clone())));
        all.push(Sighting::Pods(self.pods.values().map(|(_, p)| p.clone()).collect()));
        for (name, job) in &self.jobs {
            all.push(Sighting::Job(name.clone(), Some(job.view.clone())));
        }
        for name in known.filter(|n| !self.jobs.contains_key(n)) {
            all.push(Sighting::Job(name, None));
        }
        all
    }
}

/// A Deployment.
pub fn deployment(name: &str) -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: name.to_owned() }
}

/// A label or annotation of a manifest.
pub fn metadata<'a>(manifest: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    manifest.get("metadata")?.get(map)?.get(key)?.as_str()
}
