//! PURE DATA. What a decision wants read and done. Few and generic: actions are many, effects are not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::notify::Notify;
use crate::api::run::{BlockCause, ObjectRef, Selector};
use crate::api::step::{Config, WorkloadRef};
use crate::api::trigger::Alertmanager;

pub mod change;
mod claimed;
mod edit;
pub mod env;
mod failure;
mod key;
pub mod letter;
pub mod protocol;
mod request;
mod scope;
pub mod sealed;

pub use change::{Change, hash};
pub use claimed::Claimed;
pub use failure::{CallError, Class};
pub use key::{Attempt, EffectKey, ReadKey};
pub use request::{Address, Request, ServicePort};
pub use scope::RunScope;
use sealed::Hidden;

/// The label that names each number of [`Read::Numbers`].
pub const OF: &str = "of";

/// Something to be looked at. Long ones run beside the driver and answer into its mailbox.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// A request that may not change anything.
    Http(Request),
    /// A PromQL value, at a time if one is named.
    Query {
        /// PromQL.
        query: String,
        /// Evaluation time.
        at: Option<jiff::Timestamp>,
        /// How long Prometheus may take.
        timeout: Duration,
    },
    /// Several numbers of one evaluation, told apart by the label [`OF`].
    Numbers {
        /// PromQL.
        query: String,
        /// Evaluation time, to the second.
        at: jiff::Timestamp,
        /// How long Prometheus may take.
        timeout: Duration,
    },
    /// Alerts that fire.
    Alerts(AlertsOf),
    /// The keys of a Secret, ConfigMap or environment; `from` is resolved to a pod template.
    Keys {
        config: Config,
        /// For `config.from`: the container's part of the workload's template.
        container: Option<Value>,
    },
    /// What a finished Job left.
    JobResult {
        job: String,
        uid: String,
        /// Whether its log is wanted.
        log: bool,
    },
    /// An object of the namespace, as the ServiceAccount.
    Resource(ResourceOf),
    /// The certificate that a server shows.
    Tls(TlsOf),
    /// What pods that one of these selects use of memory and CPU.
    Usage(Vec<Selector>),
    /// How many lines of pods' logs match.
    Logs(LogsOf),
    /// Server-side dry runs as the ServiceAccount.
    DryRun(Vec<DryRun>),
    /// A CronJob and its running Jobs.
    CronJob(String),
    /// The revisions of a Deployment.
    Revisions(String),
    /// Whether these nodes are Ready, by name.
    Nodes(Vec<String>),
    /// What Events say of objects, by their uids.
    Events(Vec<String>),
    /// Services, PodDisruptionBudgets and workloads of the namespace, by what pods they select.
    Selectors,
    /// Whether what people say is theirs: what the policies of decisions and of the journal are worth.
    Proof,
    /// Everything read live: Cutover, decisions, Services, workloads, pods, endpoints, Jobs.
    Refresh,
}

/// Which alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertsOf {
    /// The Alertmanager that is asked; the run's Prometheus where none is named.
    pub alertmanager: Option<Alertmanager>,
    /// Labels that they carry.
    pub matchers: BTreeMap<String, String>,
    /// Those that began after this.
    pub since: jiff::Timestamp,
    /// For everything together.
    pub timeout: Duration,
}

/// Which object of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceOf {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`; never `Secret`.
    pub kind: String,
    pub name: String,
}

/// Whose certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOf {
    pub at: TlsAt,
    /// The name asked for; that of the URL where none is named.
    pub(crate) server_name: Option<String>,
    /// For everything together.
    pub timeout: Duration,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsAt {
    /// To be checked and pinned.
    Url(String),
    /// A pod's or Service's.
    Address(Address),
}

/// Which lines of which logs.
#[derive(Clone, Debug, PartialEq)]
pub struct LogsOf {
    /// Whose.
    pub pods: PodsOf,
    /// The container; each pod's first where none is named.
    pub container: Option<String>,
    /// A regular expression for a line.
    pub matches: String,
    /// Written at this time or later.
    pub since: jiff::Timestamp,
}

/// Which pods, whether ready or not.
#[derive(Clone, Debug, PartialEq)]
pub enum PodsOf {
    /// Those that one of these selects.
    Selectors(Vec<Selector>),
    /// Those that this workload's selector selects.
    Workload(WorkloadRef),
}

/// A write that is only tried.
#[derive(Clone, Debug, PartialEq)]
pub enum DryRun {
    /// Create this Job.
    Job {
        step: String,
        /// The Job.
        manifest: Value,
    },
    /// Point a route somewhere.
    Point {
        route: Route,
        /// Where it points, when tested.
        test: Option<Selector>,
        /// Where it would point.
        to: Selector,
    },
    /// Patch an object that a step changes, or that a rollback may have to.
    Change {
        object: ObjectRef,
        /// What would be changed; `None` writes what is there already.
        change: Option<Change>,
    },
    /// Delete a pod.
    DeletePod(String),
    /// Create the run's Secret.
    Secret(Value),
    /// Read an object that steps or triggers look at; that it is not there yet is no refusal.
    Look(ResourceOf),
}

/// What sends users to one side or the other; [`crate::route`] knows how each kind is switched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub kind: RouteKind,
    pub name: String,
}

impl Route {
    /// The key of its switch, as it was claimed.
    pub(crate) fn switch_key(&self, resource_version: &str) -> EffectKey {
        EffectKey::Switch { route: self.name.clone(), resource_version: resource_version.to_owned() }
    }
}

/// The kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// By its selector.
    Service,
}

/// Something to be done. Carried out only once it is claimed (see [`Claimed`]).
#[derive(Clone, Debug, PartialEq)]
// A decision holds a few of them; a box would only hide the request.
#[allow(clippy::large_enum_variant)]
pub enum Effect {
    /// Create a suspended Job.
    CreateJob {
        name: String,
        /// The manifest, `suspend: true`.
        manifest: Value,
    },
    /// Start a Job whose uid is recorded: a patch that tests uid and `suspend`.
    StartJob { name: String, uid: String },
    /// Delete a Job of ours, by uid (and resourceVersion where it must not have been started).
    DeleteJob {
        name: String,
        uid: String,
        /// Precondition.
        resource_version: Option<String>,
    },
    /// Give a Job its ownerReference to the run.
    OwnJob { name: String, uid: String },
    /// Write values into the run's Secret, which is created where it is not there.
    Keep {
        /// The attempt that saw them.
        key: Attempt,
        /// The Secret's name.
        secret: String,
        /// The Cutover, for its label.
        cutover: String,
        values: Hidden,
    },
    /// Give the run's Secret its ownerReference to the run.
    OwnSecret { name: String },
    /// Write what came of a decision on it, if it is as it was seen and has no answer yet.
    Answer {
        decision: String,
        /// Test.
        uid: String,
        /// Test.
        resource_version: String,
        /// What came of it.
        result: String,
        /// When it was taken in, or refused.
        at: jiff::Timestamp,
        /// Whether the run has taken it in.
        accepted: bool,
    },
    /// Write on an open decision that this operator has seen it: an answer of an operator before this one, which tests the
    /// version that it saw, can arrive no more (P14).
    TakeUp {
        decision: String,
        /// Test.
        uid: String,
        /// Test.
        resource_version: String,
        /// When it was seen.
        at: jiff::Timestamp,
    },
    /// Send a request that may change something, once.
    Send {
        /// The attempt that sends it.
        key: Attempt,
        /// The request.
        request: Request,
    },
    /// Point a route to the target. Ready endpoints are counted live first (P5), then it is patched with tests of uid,
    /// resourceVersion and of where it points (P4).
    Switch {
        route: Route,
        /// Test.
        uid: String,
        /// Test.
        resource_version: String,
        /// Test.
        from: Selector,
        /// New value.
        to: Selector,
        /// Ready endpoints wanted at a live read.
        min_ready: u32,
    },
    /// Point a route to the old side again. Route and pods are read live, [`RestoreGuard`] is checked, then it is patched
    /// together with its fence, with tests of what was read.
    Restore {
        /// What is put back.
        route: Route,
        /// Where it points on the old side.
        from: Selector,
        /// Where it points on the target.
        to: Selector,
        /// When it may.
        guard: RestoreGuard,
        /// How long the write may take: longer after tries that an admission webhook seems to have held up.
        limit: Duration,
        /// A short try beside a long one: the restore does not wait for a webhook that holds up the long one and admits
        /// others by now. Both test what they read, so that one of them takes effect.
        beside: bool,
        /// New value of the fence annotation.
        fence: String,
    },
    /// Change an object, testing its uid and what the change stands on.
    Change {
        /// `step` or `restore`; part of the key.
        why: String,
        object: ObjectRef,
        /// Test.
        uid: String,
        change: Change,
        /// Where the change takes pods away, the executor refuses it if one of these Services selects them live (P13).
        unless_live: Vec<String>,
    },
    /// Send a notification to a receiver.
    Notify {
        receiver: Box<Notify>,
        letter: Box<letter::Letter>,
        /// What the receiver calls the message of this run.
        thread: Option<String>,
    },
    /// Delete a pod, so that its connections end. Refused if one of these Services selects it live (P13).
    DeletePod {
        /// Its name.
        name: String,
        /// Precondition: the next of that name is another one.
        uid: String,
        /// The workload that it belongs to.
        workload: ObjectRef,
        /// The Services.
        unless_live: Vec<String>,
    },
}

/// When a restore may be made (DESIGN §5.2): never onto an empty side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreGuard {
    /// Enough on the old side.
    pub min_ready: u32,
    /// The old side has been given time to scale up: any ready endpoint suffices.
    pub any: bool,
}

impl RestoreGuard {
    /// Whether the old side alone allows it.
    pub(crate) fn old_suffices(&self, old: u32) -> bool {
        old >= self.min_ready || (old >= 1 && self.any)
    }

    /// Whether the counts of ready endpoints allow it. The target's can only shorten the wait; `None`: it is not known.
    pub fn allows(&self, old: u32, target: Option<u32>) -> bool {
        self.old_suffices(old) || (old >= 1 && target.is_some_and(|target| old >= target))
    }
}

impl Effect {
    /// The effect's key.
    pub fn key(&self) -> EffectKey {
        match self {
            Self::CreateJob { name, .. } => EffectKey::CreateJob(name.clone()),
            Self::StartJob { name, .. } => EffectKey::StartJob(name.clone()),
            Self::DeleteJob { name, .. } => EffectKey::DeleteJob(name.clone()),
            Self::OwnJob { name, .. } => EffectKey::OwnJob(name.clone()),
            Self::Keep { key, .. } => EffectKey::Keep(key.clone()),
            Self::OwnSecret { name } => EffectKey::OwnSecret(name.clone()),
            Self::Answer { uid, .. } => EffectKey::answer(uid),
            Self::TakeUp { uid, .. } => EffectKey::TakeUp(uid.clone()),
            Self::Send { key, .. } => EffectKey::Send(key.clone()),
            Self::Switch { route, resource_version, .. } => route.switch_key(resource_version),
            Self::Restore { route, beside, .. } => EffectKey::Restore { route: route.name.clone(), beside: *beside },
            Self::Change { why, object, change, .. } => {
                EffectKey::Change { change: change.kind(), why: why.clone(), object: object.clone() }
            }
            Self::Notify { receiver, letter, .. } => {
                EffectKey::Notify { receiver: receiver.name.clone(), notice: letter.id.clone() }
            }
            Self::DeletePod { name, uid, .. } => EffectKey::DeletePod { name: name.clone(), uid: uid.clone() },
        }
    }
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Job created, or one of ours found under the name.
    Created { uid: String },
    /// A Job that is not ours has the name.
    NameCollision(String),
    /// Done, or found done.
    Done,
    /// A change of a pod template done; the hash of the template as it was stored.
    Changed { template: String },
    /// What became of a notification.
    Told(letter::Told),
    /// The answer to a request sent.
    Answered(Vec<crate::world::HttpAnswer>),
    /// The object is not there.
    NotFound,
    /// Tests failed and a second reading says why it can never succeed: a conflict.
    Conflict(String),
    /// Refused for good: policy, schema, rights (403, 422 that is no failed test).
    Refused {
        /// What the API server said.
        why: String,
        /// A right is missing.
        forbidden: bool,
    },
    /// Not tried, since the guard said no: ready endpoints of the old (or wanted) and the other side.
    Guarded {
        /// Of the side to be pointed to.
        ready: u32,
        /// Of the other one; `None`: not counted.
        other: Option<u32>,
        /// Where the route points, if it is neither side: drift.
        foreign: Option<Selector>,
    },
    /// A restore that was not made.
    Blocked {
        /// Why.
        cause: BlockCause,
        why: String,
        /// The write was not answered in its time, though reads were.
        slow: bool,
    },
    /// Nothing was sent, since what has to be read before could not be read; to be tried again.
    NotSent(String),
    /// 429, 5xx, time-out, no connection: nothing known; to be tried again.
    Transient(String),
}
