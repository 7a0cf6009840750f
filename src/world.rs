//! PURE DATA. What was seen, and when. Filled by `observe`, read by `decide`; no client, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::cutover::Release;
use crate::api::decision::CutoverDecisionSpec;
use crate::api::notify::Notify;
use crate::api::run::Selector;
use crate::api::step::WorkloadRef;
use crate::effect::{Attempt, EffectKey, Outcome, ReadKey};

mod answers;
pub mod convert;
mod owners;
mod said;

pub(crate) use answers::LabelRule;
pub(crate) use answers::SelectorView;
pub use answers::{
    AlertsAnswer, Certificate, DryRunRefusal, EventView, HttpAnswer, HttpError, HttpResponse, JobResult, KeysAnswer,
    LogsAnswer, NodesAnswer, NumbersAnswer, PodUsage, Proof, Proven, QueryAnswer, Reading, ResourceAnswer, TlsAnswer,
    UsageAnswer,
};
pub use owners::{Field, Kept, Owner, Ownership, Tool};
pub use said::{Said, TakenUp};

/// Pushes count once in this time.
const PUSHES: SignedDuration = SignedDuration::from_secs(1);

/// A value and when it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<T> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: T,
}

/// Everything a decision may look at. A missing entry means: not known yet, never: not there.
#[derive(Clone, Debug)]
pub struct World {
    /// The time of this decision.
    pub now: Timestamp,
    /// By how much the clock on the wall is ahead of `now`: zero unless it was set while the run was driven.
    pub ahead: SignedDuration,
    /// The uid of the run.
    pub run_uid: String,
    /// The last time everything below was read live.
    pub refreshed: Option<Timestamp>,
    /// What a live read of everything met, while none has been complete since.
    pub unread: Option<Unread>,
    /// The Cutover; `value: None` when it is gone.
    pub cutover: Option<Seen<Option<CutoverView>>>,
    /// When what the run waits for is to be looked at next, without a pause, and queries are to be made: the Cutover was
    /// pushed (`cutover.dev/pushed-at`). May lie ahead by a second.
    pub pushed: Option<Timestamp>,
    /// Decisions that name this run and have no answer yet: Rollback and Abort first, then in the order of their creation.
    pub decisions: Vec<DecisionView>,
    /// When they were seen.
    pub(crate) heard: Option<Timestamp>,
    /// By uid: decisions that were there when this process began to look. An operator before it may have judged them, and its
    /// answer may still be under way.
    pub inherited: BTreeSet<String>,
    /// What this process has told people, as the last decision left it.
    pub said: Said,
    /// Services of the run (and the one of Prometheus); `None` inside: does not exist.
    pub services: BTreeMap<String, Seen<Option<ServiceView>>>,
    /// Workloads of both sides and of the steps.
    pub workloads: BTreeMap<WorkloadRef, Seen<Option<WorkloadView>>>,
    /// Pods that carry a selector value of either side, and those of every workload that the plan names.
    pub pods: Option<Seen<Vec<PodView>>>,
    /// Nodes by name; empty where the operator may not see them.
    pub nodes: Arc<BTreeMap<String, NodeView>>,
    /// Endpoints by Service, from its EndpointSlices.
    pub endpoints: BTreeMap<String, Seen<Vec<EndpointView>>>,
    /// Jobs of the run, by name; `None` inside: a live read found none.
    pub jobs: BTreeMap<String, Seen<Option<JobView>>>,
    /// Answers to reads that a former decision asked for.
    pub readings: BTreeMap<ReadKey, Reading>,
    /// Results of effects not yet taken into the journal.
    pub outcomes: BTreeMap<EffectKey, Seen<Outcome>>,
    /// Effects under way.
    pub in_flight: BTreeSet<EffectKey>,
    /// Effects that this process has decided on and not begun, since the journal that claims them is not written yet.
    pub not_begun: BTreeSet<EffectKey>,
    /// Executions that were under way when this process began, or when another one had written the journal: what they sent is
    /// not known.
    pub begun_before: BTreeSet<String>,
    /// The process stops: what was begun is recorded, and nothing new is claimed.
    pub stopping: bool,
    /// Since when this process wants the end of the run, while that is not written down.
    pub unrecorded: Option<Timestamp>,
    /// When an effect last ended without success, for the pace of tries.
    pub tried: BTreeMap<EffectKey, Timestamp>,
}

/// What cannot be read live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Since when no live read of everything has been complete.
    pub since: Timestamp,
    /// What the last one met.
    pub why: String,
}

/// The Cutover as the table of changes needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct CutoverView {
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// Its namespace is being deleted.
    pub namespace_going: bool,
    /// Live value.
    pub activate: String,
    /// Live value.
    pub release: Release,
    /// Live value.
    pub suspend: bool,
    /// Who is told; live value.
    pub notify: Vec<Notify>,
    /// The release last known on each side, by the name that `status::release_name` gives it.
    pub releases: BTreeMap<String, String>,
    /// What its annotation `cutover.dev/pushed-at` says; see [`World::pushed`].
    pub pushed: Option<String>,
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionView {
    pub name: String,
    pub uid: String,
    /// Its resourceVersion: the answer is written to the object that was seen.
    pub resource_version: String,
    /// When it was created.
    pub created: Timestamp,
    pub spec: CutoverDecisionSpec,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    pub selector: Selector,
    pub ports: Vec<PortView>,
    /// Its address, if it has one.
    pub cluster_ip: Option<String>,
    /// `ExternalName` Services are refused.
    pub external_name: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Who wrote it last, by its managed fields: a name such as `kubectl-edit`.
    pub writer: Option<String>,
    /// Its annotations of this product.
    pub marks: BTreeMap<String, String>,
    /// Who else has written its selector.
    pub kept: Kept,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct PortView {
    pub name: Option<String>,
    pub port: u16,
    /// The pods' port, by number or name.
    pub target: TargetPort,
}

/// The pods' port.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadView {
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// `spec.replicas`, 1 where absent.
    pub wanted: u32,
    /// Of the current template.
    pub updated: u32,
    /// Ready for `minReadySeconds`.
    pub available: u32,
    /// All pods, old template included.
    pub replicas: u32,
    /// Hash of `spec.template`.
    pub template_hash: String,
    /// Labels of `spec.template`.
    pub pod_labels: BTreeMap<String, String>,
    /// `spec.template`, for `job.from` and `config.from`.
    pub template: Value,
    /// Who else has written its replicas and its environment.
    pub kept: Kept,
    /// Why it does not progress, such as `ProgressDeadlineExceeded`.
    pub stuck: Option<String>,
    /// Why its pods are not admitted, in the API server's words.
    pub refused: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// The Deployment or StatefulSet that it belongs to, by its owner.
    pub workload: Option<WorkloadRef>,
    /// The node that it runs on, once it is scheduled.
    pub node: Option<String>,
    pub ip: Option<String>,
    /// Condition Ready.
    pub ready: bool,
    /// It has a deletionTimestamp, or is Succeeded or Failed.
    pub terminating: bool,
    /// All of its containers have ended for good: it is Succeeded or Failed.
    pub ended: bool,
    /// It is being deleted, and should be gone at this time: its deletionTimestamp.
    pub gone_by: Option<Timestamp>,
    /// Why it is taken away before its time, in the words of whoever does it: an eviction, a node that goes or has no memory
    /// left.
    pub taken: Option<String>,
    /// Its readiness gates that are not true, by condition type, once all of its containers are ready.
    pub gates: Vec<String>,
    /// Why no node takes it, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// Named container ports.
    pub ports: BTreeMap<String, u16>,
    /// How much memory it may use, in bytes: its own limit, or those of its containers together where each has one.
    pub memory_limit: Option<u64>,
    pub containers: Vec<ContainerView>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerView {
    pub name: String,
    /// Restarts so far.
    pub restarts: u32,
    /// The image as the pod names it.
    pub image: String,
    /// What that image was when it was pulled, such as `registry.example/app@sha256:…`.
    pub image_id: Option<String>,
    /// The container is running now.
    pub running: bool,
    /// The container is ready.
    pub ready: bool,
    /// Reason while waiting, such as `CrashLoopBackOff` or `ImagePullBackOff`.
    pub waiting: Option<String>,
    /// What the kubelet says of that reason.
    pub waiting_message: Option<String>,
    /// Its last end.
    pub terminated: Option<ContainerEnd>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEnd {
    /// Such as `OOMKilled` or `Error`.
    pub reason: String,
    /// The id of the container that ended: each restart makes a new one.
    pub id: String,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub state: NodeState,
    /// When the operator saw it change to that.
    pub since: Timestamp,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Condition Ready is True.
    Ready,
    /// It is anything else: what runs there may still run, but nobody knows.
    NotReady,
    /// It was deleted.
    Gone,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointView {
    /// The EndpointSlice it stands in.
    pub slice: String,
    /// Whether the slice is kept by somebody else than the cluster's own controller: made by hand, or mirrored from
    /// Endpoints.
    pub foreign: bool,
    /// The pod it stands for.
    pub pod: Option<String>,
    /// Ready and not terminating.
    pub ready: bool,
}

/// A Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobView {
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its label `cutover.dev/run`.
    pub run: Option<String>,
    /// Its label `cutover.dev/step` and annotation `cutover.dev/attempt`, as `step#attempt`.
    pub step: Option<Attempt>,
    /// Its annotation `cutover.dev/template`: the hash that its claim journaled.
    pub claim: Option<String>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// How it ended, if it has: conditions Complete, Failed or FailureTarget.
    pub end: Option<JobEnd>,
    /// Pods not yet gone: active and terminating.
    pub pods_left: u32,
    /// Its pod, the last one where there were several.
    pub pod: Option<PodView>,
    /// Since when that pod has been seen unable to start.
    pub stuck_since: Option<Timestamp>,
    /// `spec.template`, from which an undo is made. Not for the status: it holds values of the environment.
    pub template: Option<Arc<Value>>,
    /// It is being deleted.
    pub deleting: bool,
    /// It has an ownerReference to the run.
    pub owned: bool,
}

/// A CronJob.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct CronJobView {
    /// Its uid.
    #[serde(default)]
    pub uid: String,
    /// `spec.suspend`.
    #[serde(default)]
    pub suspended: bool,
    /// Its Jobs that are running.
    #[serde(default)]
    pub active: Vec<String>,
}

/// The revisions of a Deployment, as its ReplicaSets tell them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RevisionsView {
    /// The present one; 0 where the Deployment has none yet.
    pub current: i64,
    /// `spec.paused`.
    pub paused: bool,
    /// All of them.
    pub all: Vec<Revision>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: i64,
    /// Its pod template, without what the ReplicaSet has added.
    pub template: Value,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    Complete,
    Failed { reason: String, message: String },
}

/// One thing seen by a watch or a live read, for [`World::take_in`].
#[derive(Clone, Debug, PartialEq)]
// It lives for a moment; a box would only hide the view.
#[allow(clippy::large_enum_variant)]
pub enum Sighting {
    /// The Cutover, or that it is gone.
    Cutover(Option<CutoverView>),
    /// All decisions that name this run and have no answer yet, in the order in which they are taken in.
    Decisions(Vec<DecisionView>),
    /// A Service, or that there is none.
    Service(String, Option<ServiceView>),
    /// A workload, or that there is none.
    Workload(WorkloadRef, Option<WorkloadView>),
    /// All pods that carry a selector value of either side, and those of every workload that the plan names.
    Pods(Vec<PodView>),
    /// All nodes, and those deleted a short time ago.
    Nodes(Arc<BTreeMap<String, NodeView>>),
    /// All endpoints of a Service.
    Endpoints(String, Vec<EndpointView>),
    /// A Job of the run, or that a live read found none.
    Job(String, Option<JobView>),
    /// A live read of everything is complete; it began at this time.
    Refreshed(Timestamp),
    /// A live read of everything is not complete: one of the things that could not be read, and why.
    Unread(String),
}

impl World {
    /// A world of which nothing is known yet.
    pub fn new(now: Timestamp, run_uid: &str) -> Self {
        Self {
            now,
            ahead: SignedDuration::ZERO,
            run_uid: run_uid.to_owned(),
            refreshed: None,
            unread: None,
            cutover: None,
            pushed: None,
            decisions: vec![],
            heard: None,
            inherited: BTreeSet::new(),
            said: Said::default(),
            services: BTreeMap::new(),
            workloads: BTreeMap::new(),
            pods: None,
            nodes: Arc::default(),
            endpoints: BTreeMap::new(),
            jobs: BTreeMap::new(),
            readings: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            not_begun: BTreeSet::new(),
            begun_before: BTreeSet::new(),
            stopping: false,
            unrecorded: None,
            tried: BTreeMap::new(),
        }
    }

    /// A time on the wall, in the time of the run.
    pub fn of_the_wall(&self, wall: Timestamp) -> Timestamp {
        wall.checked_sub(self.ahead).unwrap_or(wall)
    }

    /// Takes in what was seen at `at`.
    pub fn take_in(&mut self, at: Timestamp, sighting: Sighting) {
        match sighting {
            Sighting::Cutover(value) => {
                self.hear_push(at, value.as_ref());
                self.cutover = Some(Seen { at, value });
            }
            Sighting::Decisions(list) => {
                // Until everything has been read live it is not known which of them are new.
                if self.refreshed.is_none() {
                    self.inherited.extend(list.iter().map(|d| d.uid.clone()));
                }
                self.decisions = list;
                self.heard = self.heard.max(Some(at));
            }
            Sighting::Service(name, value) => {
                self.services.insert(name, Seen { at, value });
            }
            Sighting::Workload(name, value) => {
                self.workloads.insert(name, Seen { at, value });
            }
            Sighting::Pods(value) => self.pods = Some(Seen { at, value }),
            Sighting::Nodes(value) => self.nodes = value,
            Sighting::Endpoints(name, value) => {
                self.endpoints.insert(name, Seen { at, value });
            }
            Sighting::Job(name, value) => {
                self.jobs.insert(name, Seen { at, value });
            }
            Sighting::Refreshed(began) => {
                self.refreshed = Some(began);
                self.unread = None;
            }
            Sighting::Unread(why) => {
                let since = self.unread.as_ref().map_or(at, |unread| unread.since);
                self.unread = Some(Unread { since, why });
            }
        }
    }

    /// Notes a push: the Cutover's annotation is another than before. What it was when the driver began is no push. One a
    /// second counts, and the last of a second is made up for in the next.
    fn hear_push(&mut self, at: Timestamp, now: Option<&CutoverView>) {
        let before = self.cutover.as_ref().and_then(|seen| seen.value.as_ref());
        let (Some(before), Some(now)) = (before, now) else { return };
        if now.pushed.is_some() && now.pushed != before.pushed {
            let next = self.pushed.map(|last| last.checked_add(PUSHES).unwrap_or(last));
            self.pushed = match self.pushed {
                Some(last) if last > at => Some(last),
                _ => Some(next.map_or(at, |next| next.max(at))),
            };
        }
    }
}
