//! `Cutover`: long-lived, one per application, what Git holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::notify::Notify;
use super::phase::Phase;
pub use super::phases::{FollowUp, PhaseSteps};
use super::prometheus::Prometheus;
pub use super::restore::{Connections, KeepPodLogs, Rollback};
use super::run::GateRole;
use super::schema;
use super::step::WorkloadRef;
use super::template::TemplateUse;
use super::trigger::Trigger;

/// A release that is brought live by switching Service selectors, and rolled back when it fails.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "Cutover",
    namespaced,
    status = "CutoverStatus",
    shortname = "cut",
    category = "all",
    category = "cutover-all",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Live", type_ = "string", json_path = ".status.live"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress", priority = 1),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.run.name", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1),
    validation = ("size(self.metadata.name) <= 40", "metadata.name: at most 40 characters, since Jobs and runs are named after it")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.sides.exists(s, s.name == self.activate)", "message": "activate must be the name of one of the two sides", "fieldPath": ".activate"}
]))]
pub struct CutoverSpec {
    /// What is released; a change starts a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Every write to your objects is made as this account; `cutover` by default.
    #[serde(default = "default_account")]
    #[schemars(schema_with = "schema::object_name")]
    pub service_account_name: String,
    /// Other accounts that Jobs may run as; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub job_service_accounts: Vec<String>,
    /// Where metrics come from; by default from the source that the operator's configuration names as its default, if it
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// Switched together.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub services: Vec<ServiceRef>,
    /// Exactly two, with the same selector keys and different values.
    #[schemars(length(min = 2, max = 2), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [
            {"rule": "self[0].selector.all(k, k in self[1].selector) && self[1].selector.all(k, k in self[0].selector)",
             "message": "both sides must have the same selector keys"},
            {"rule": "self[0].selector.exists(k, !(k in self[1].selector) || self[0].selector[k] != self[1].selector[k])",
             "message": "the sides' selectors are equal: at least one key must have different values"}
        ]
    ))]
    pub sides: Vec<Side>,
    /// The side that should be live; a change starts a run.
    #[schemars(schema_with = "schema::name40")]
    pub activate: String,
    /// Stops steps, observation and approval clocks; never triggers, never a rollback. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Steps and triggers that are shared with other Cutovers, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub templates: Vec<TemplateUse>,
    /// The steps of each phase, by the name of the phase. They run in the order of a run, whatever their order here:
    /// `preflight`, `prepare`, `verify` before the switch, `confirm` after it, `finish` after the observation, `followUp` when
    /// `spec.followUp` says; `beforeRestore`, `rollback`, `rollbackVerify` on the way back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 9, "x-kubernetes-validations" = [super::phases::rule()]))]
    pub phases: BTreeMap<String, PhaseSteps>,
    /// How the selectors are switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// What is watched after the switch, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<Observe>,
    /// When steps of `phases.followUp` run, after completion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub follow_up: Vec<FollowUp>,
    /// What becomes of the old side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retire>,
    /// How the selectors go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The switch must fall inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Who is told what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub notify: Vec<Notify>,
    /// What a foreign selector after the switch leads to; Report by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// Closed runs kept; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub history_limit: Option<u32>,
}

fn default_account() -> String {
    "cutover".into()
}

/// What is released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Such as 2.4.0; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub version: Option<String>,
    /// The commit; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub revision: Option<String>,
    /// A tag; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub tag: Option<String>,
    /// Counted up to run the same release again; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub attempt: Option<u32>,
    /// Images that containers of the target must run, as the pod templates name them; the target is waited for until each of
    /// them is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// The user name of who asked for this release; a policy checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub requested_by: Option<String>,
    /// Pod label that must carry `version` on the target; no label is looked at by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pod_label: Option<String>,
}

/// A Service that is switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRef {
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// One of two named colours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Such as blue.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// The part of the selector that names the side.
    #[schemars(schema_with = "schema::labels")]
    pub selector: BTreeMap<String, String>,
    /// What runs it.
    #[schemars(length(min = 1, max = 8))]
    pub workloads: Vec<WorkloadRef>,
}

/// How the selectors are switched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// Ready endpoints wanted before and after, per cent of the wanted replicas or a number; 100% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub min_ready: Option<String>,
    /// Left for connections of the old side before the run goes on; 0s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
    /// Longest switch; 60s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What becomes of connections to the old side; `Keep` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
}

/// What is watched after the switch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.every) || duration(self.every) >= duration('100ms')", "message": "every must be at least 100ms"
}]))]
pub struct Observe {
    /// Conclusive time wanted; 5m by default.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<Duration>,
    /// How often triggers are looked at; 15s by default, at least 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// After this people decide; three times `for` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What is watched. Beside it there are always two triggers of the operator's own (see `builtIn`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub triggers: Vec<Trigger>,
    /// The operator's own triggers: a switched Service without a ready endpoint, and a crash loop of at least half the
    /// pods of a workload (this one only where no trigger has `restarts`, `crashLoop` or `readyBelow`). Armed by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<BuiltIn>,
}

/// Whether the operator's own triggers are armed, which they are by default: a switched Service without a ready endpoint,
/// and a crash loop of at least half the pods of a workload (this one only where no trigger has `restarts`, `crashLoop` or
/// `readyBelow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BuiltIn {
    /// They are.
    #[default]
    Armed,
    /// They are not: nothing but the triggers that are named rolls a release back.
    Disarmed,
}

/// What becomes of the old side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retire {
    /// Counted from Completed.
    pub after: Duration,
    /// Replicas left.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub scale_to: u32,
}

/// When the switch may happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.start < self.end", "message": "the window's start must be before its end"
}]))]
pub struct Window {
    /// Not before.
    pub start: Timestamp,
    /// Not after.
    pub end: Timestamp,
    /// What follows where the window ends before the switch: `Fail` ends the run and undoes what was done, `Ask` asks people,
    /// who may have it switched all the same. Default `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
}

/// What follows where a window is missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Missed {
    #[default]
    Fail,
    Ask,
}

/// What a foreign selector after the switch leads to; `Report` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// Condition and Event.
    #[default]
    Report,
    /// The run rolls back.
    Rollback,
}

/// What is seen of a Cutover: a projection of its run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CutoverStatus {
    /// The generation this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase of the newest run, or Idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Where the Services point, such as `blue@2.3.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// The side being activated, such as `green@2.4.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The step under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Since when the phase lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What goes on and, where a person is needed, the next command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Steps done of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The gate that waits for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,
    /// The newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunRef>,
    /// The release and side that the newest run was started for: a run is never repeated by pruning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Intent>,
    /// The release known to be live on each side.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<String, String>,
    /// What each retired side had: replicas by workload (`Kind/name`). The next run to that side scales it up first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<String, BTreeMap<String, u32>>,
    /// Number of runs so far; names the next one.
    #[serde(default)]
    pub runs: i64,
    /// Decisions `Retry` that were carried out, newest last, at most 8: each starts one run, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["decision"]))]
    pub retries: Vec<Retried>,
    /// Conditions, kstatus ones among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A gate that waits for people: what a `CutoverDecision` with `Approve` or `Reject` has to say, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateStatus {
    /// `spec.gate` of the decision.
    pub name: String,
    /// `spec.token` of the decision.
    pub token: String,
    /// When it expires.
    pub until: Timestamp,
    /// The roles, and who has approved in them.
    pub roles: Vec<GateRole>,
    /// What the people are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What the people look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<String>,
}

/// A decision `Retry` that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The uid of the decision.
    pub decision: String,
    /// The name of the run that it started.
    pub run: String,
}

/// A run by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRef {
    /// Its name.
    pub name: String,
    /// Its uid, once it is known to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// What a run was started for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// The side to activate.
    pub activate: String,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}
