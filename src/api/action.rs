//! The actions, one line each, and what each says, one type each; `http` has a file of its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::Duration;
use super::http::Http;
use super::one_of::one_of;
use super::schema;
use super::step::{
    Capture, EnvVar, FromContainer, NamedWorkload, SideRef, Suite, To, WorkloadRef, is_false, is_true, yes,
};

one_of! {
    /// The actions that a step, a suite's step and an undo share.
    Action, ActionFields {
        /// One Job, at most once.
        "job" Job(Job),
        /// One request and what is expected of the answer.
        "http" Http(Http),
        /// A certificate's days, names, issuer, protocol.
        "tls" Tls(Tls),
        /// Keys of a Secret, a ConfigMap or a workload's environment.
        "config" Config(Config),
        /// Workloads available at the wanted count.
        "rollout" Rollout(Rollout),
        /// CEL over any object of the namespace but Secrets.
        "resource" Resource(Resource),
        /// One PromQL value and an expression.
        "metric" Metric(Metric),
        /// Lines of a side's pods that match.
        "logs" Logs(Logs),
        /// Changes the replicas of workloads.
        "scale" Scale(Scale),
        /// Changes the environment of workloads.
        "setEnv" SetEnv(SetEnv),
        /// Restarts workloads.
        "restart" Restart(Restart),
        /// Suspends or resumes CronJobs.
        "cronJobs" CronJobs(CronJobs),
        /// A pause.
        "wait" Wait(Wait),
    }
}

one_of! {
    /// The actions of a step of a phase.
    StepAction, StepActionFields, or Action {
        /// Parallel checks with a pass rate.
        "suite" Suite(Suite),
        /// Waits for people.
        "approval" Approval(Approval),
        /// (Rollback only) a Deployment back to its previous revision.
        "undoRollout" UndoRollout(UndoRollout),
    }
}

/// One Job, at most once (P1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.template) != has(self.from)",
    "message": "a job has either template or from"
}]))]
pub struct Job {
    /// A pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub template: Option<Value>,
    /// Run in the runtime of a side's container instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromContainer>,
    /// Replaces the container's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Replaces the container's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Added to the container's environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub env: Vec<EnvVar>,
    /// Labels of its pod. None of a workload's are taken over; labels that a claimed Service selects are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::pod_labels")]
    pub labels: BTreeMap<String, String>,
    /// Declared to change nothing: allowed in preflight and followUp. False by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Runs first and must succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRun>,
    /// Longest run; 10m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// Regular expressions, each of which a line of the log must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 256)))]
    pub expect_log: Vec<String>,
    /// CEL over `exitCode` and `json`, the termination message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 512)))]
    pub expect: Vec<String>,
    /// Values kept from the termination message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub capture: Vec<Capture>,
    /// Last lines of the log kept as evidence; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub keep_log: Option<u32>,
    /// What an abort does with a running Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_abort: Option<OnAbort>,
}

/// A command that runs first and must succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DryRun {
    /// Replaces the command.
    #[schemars(length(min = 1, max = 32), inner(length(max = 4096)))]
    pub command: Vec<String>,
}

/// What an abort does with a running Job; `Wait` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnAbort {
    /// Its end is awaited.
    #[default]
    Wait,
    /// It is deleted.
    Kill,
}

/// A certificate's days, names, issuer, protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.url) != has(self.to)", "message": "tls has either url or to"
}]))]
pub struct Tls {
    /// A whole URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Or a side: a pod of the target, or the live Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// With `to`: the Service whose port is meant, one of `spec.services`; the first that has the port by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub service: Option<String>,
    /// With `to`: the Service port or its name; the first port by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub port: Option<String>,
    /// The name asked for, needed with `to`; that of the URL by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
    /// CEL over `daysLeft names issuer protocol trusted`; trusted for the name where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 512)))]
    pub expect: Vec<String>,
}

/// Keys that must be there, and what their values must be. Values appear nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.secret), has(self.configMap), has(self.from)].filter(x, x).size() == 1",
    "message": "config reads exactly one of secret, configMap or from"
}]))]
pub struct Config {
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub secret: Option<String>,
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub config_map: Option<String>,
    /// The environment of a side's container, `envFrom` resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromContainer>,
    /// The keys.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub keys: Vec<ConfigKey>,
    /// Changed within this time; by default when it was changed does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_within: Option<Duration>,
}

/// One key and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigKey {
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// May be missing; checked where it is there. False by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    /// Must be this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub equals: Option<String>,
    /// Must not be this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub not_equals: Option<String>,
    /// Must match this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub matches: Option<String>,
}

/// Workloads available at the wanted count and carrying the release's label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// All workloads of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRef>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<NamedWorkload>", length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// Wanted in all; the live side's count by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: Option<u32>,
}

/// CEL over any object of the namespace but Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Such as `apps/v1`.
    #[schemars(length(min = 1, max = 128))]
    pub api_version: String,
    /// Such as `Deployment`; not `Secret`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// CEL over `object`.
    #[schemars(length(max = 10), inner(length(min = 1, max = 512)))]
    pub expect: Vec<String>,
    /// The value is kept as evidence; false by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub record: bool,
}

/// One PromQL value and an expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// PromQL that answers one number.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// CEL over `value`; by default any one number passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub expect: Option<String>,
    /// Kept as a baseline under this name; not kept by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ident")]
    pub capture_as: Option<String>,
}

/// Lines of a side's pods that match within a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// All pods of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRef>,
    /// Or of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NamedWorkload>")]
    pub workload: Option<WorkloadRef>,
    /// The container; the first one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// Regular expression for a line.
    #[schemars(length(min = 1, max = 256))]
    pub matches: String,
    /// Lines of this long ago until now; 5m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// CEL over `value`, the count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub expect: Option<String>,
}

/// Changes the replicas of workloads and waits for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// All workloads of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRef>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<NamedWorkload>", length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// Each one's count.
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: u32,
    /// Allows to shrink the live side (the one exception to P13); false by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_downtime: bool,
}

/// Changes the environment of workloads and waits for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetEnv {
    /// All workloads of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRef>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<NamedWorkload>", length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// The container; the first one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The variables.
    #[schemars(length(min = 1, max = 32))]
    pub env: Vec<EnvVar>,
}

/// Restarts workloads and waits for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// All workloads of a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRef>,
    /// Or these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<NamedWorkload>", length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
}

/// Suspends or resumes CronJobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CronJobs {
    /// Names of those that are resumed; `${target}` and `${old}` stand for the names of the sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub resume: Vec<String>,
    /// Names of those that are suspended; `${target}` and `${old}` stand for the names of the sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub suspend: Vec<String>,
}

/// A Deployment back to its previous revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoRollout {
    /// The Deployment; `${target}` and `${old}` stand for the names of the sides.
    #[schemars(schema_with = "schema::named_by_side")]
    pub deployment: String,
}

/// Waits for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Roles and how many people of each.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<ApprovalRole>,
    /// By different people; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub distinct: bool,
    /// Not by `release.requestedBy`; false by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_requester: bool,
    /// Expires after this time; a day by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// What the people are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub instructions: Option<String>,
    /// What the people look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 256)))]
    pub checklist: Vec<String>,
}

/// A role and its quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalRole {
    /// The RBAC subresource `cutovers/<name>`.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// People; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub count: Option<u32>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// How long.
    #[serde(rename = "for")]
    pub for_: Duration,
}
