//! Steps and their actions. One shape everywhere; exactly one action per step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::Duration;
use super::schema;

/// Most steps a phase or a suite may hold.
pub const MAX_STEPS: usize = 40;

fn yes() -> bool {
    true
}
fn is_true(b: &bool) -> bool {
    *b
}
fn is_false(b: &bool) -> bool {
    !*b
}

/// One thing done or checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.job), has(self.http), has(self.suite), has(self.tls), has(self.config), has(self.rollout), has(self.resource), has(self.metric), has(self.logs), has(self.scale), has(self.setEnv), has(self.restart), has(self.cronJobs), has(self.undoRollout), has(self.approval), has(self.wait)].filter(x, x).size() == 1",
    "message": "a step has exactly one action: job, http, suite, tls, config, rollout, resource, metric, logs, scale, setEnv, restart, cronJobs, undoRollout, approval or wait"
}]))]
pub struct Step {
    /// Unique in the whole Cutover, suites included.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Whether a failure fails the phase; false means `onFailure: Continue`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub critical: bool,
    /// CEL: the step is skipped, and that recorded, when false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub when: Option<String>,
    /// Bounds all attempts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Attempts; the default is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Skipped when one of these steps was skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 40)))]
    pub needs: Vec<String>,
    /// In a suite: run after these steps, whose captures it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 40)))]
    pub after: Vec<String>,
    /// What a failure leads to; the default is the phase's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// A retried run keeps this step's recorded success if nothing before it changed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_on_retry: bool,
    /// The action.
    #[serde(flatten)]
    pub action: Actions,
    /// Parallel checks with a pass rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<Suite>,
    /// Waits for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// (Rollback only) a Deployment back to its previous revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_rollout: Option<UndoRollout>,
    /// What reverses the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// The actions that a step, a suite's step and an undo share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actions {
    /// One Job, at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// One request and what is expected of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// A certificate's days, names, issuer, protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Keys of a Secret, a ConfigMap or a workload's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Workloads available at the wanted count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// CEL over any object of the namespace but Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// One PromQL value and an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Lines of a side's pods that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// Changes the replicas of workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Changes the environment of workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_env: Option<SetEnv>,
    /// Restarts workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Suspends or resumes CronJobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron_jobs: Option<CronJobs>,
    /// A pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

/// How often a failed step is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts in all.
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    /// Pause between two attempts; 5s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

/// What a failed step leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The phase fails.
    Fail,
    /// Recorded; the run goes on.
    Continue,
    /// A person decides.
    Decide,
    /// This step alone is undone and the run goes on.
    UndoStep,
}

/// When an undo is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UndoWhen {
    /// The step was started.
    #[default]
    Attempted,
    /// The step succeeded.
    Succeeded,
}

/// What reverses a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.job), has(self.http), has(self.tls), has(self.config), has(self.rollout), has(self.resource), has(self.metric), has(self.logs), has(self.scale), has(self.setEnv), has(self.restart), has(self.cronJobs), has(self.wait)].filter(x, x).size() == 1",
    "message": "an undo has exactly one action"
}]))]
pub struct Undo {
    /// `Attempted` (default) or `Succeeded`.
    #[serde(default)]
    pub when: UndoWhen,
    /// Asked before the undo runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Bounds the undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The action.
    #[serde(flatten)]
    pub action: Actions,
}

/// A value kept from an answer, for later steps as `${name}` and `captures.name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// An identifier, unique in the Cutover.
    #[schemars(schema_with = "schema::ident")]
    pub name: String,
    /// JSONPath (RFC 9535) on the body.
    #[schemars(length(min = 1, max = 256))]
    pub path: String,
    /// Kept in the evidence too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub record: bool,
    /// Lives in a Secret owned by the run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sensitive: bool,
}

/// A key of a Secret or ConfigMap of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The object.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A container of a side's workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FromContainer {
    /// Whose.
    pub side: SideRef,
    /// The container; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
}

/// A side by its part in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SideRef {
    /// The side being activated.
    Target,
    /// The side that was live when the run began.
    Live,
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
    /// Declared to change nothing: allowed in preflight.
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
    /// Last lines of the log kept as evidence.
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

/// What an abort does with a running Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnAbort {
    /// Its end is awaited.
    #[default]
    Wait,
    /// It is deleted.
    Kill,
}

/// One variable of an environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value; `${…}` is expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// From a Secret or ConfigMap, as in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub value_from: Option<Value>,
}

/// One request and what is expected of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.path) != has(self.url)", "message": "http has either path (with to) or url"},
    {"rule": "[has(self.body), has(self.bodyFrom), has(self.form), has(self.files)].filter(x, x).size() <= 1 || (has(self.form) && has(self.files) && !has(self.body) && !has(self.bodyFrom))",
     "message": "http has one of body, bodyFrom, form (files may go with form)"}
]))]
pub struct Http {
    /// The target's pods or the live Service; Target before the switch, Live after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// Path and query; `${…}` is percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^/"))]
    pub path: Option<String>,
    /// A whole URL instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^https?://"))]
    pub url: Option<String>,
    /// GET by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The Service port or its name; the first port of the first Service by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub port: Option<String>,
    /// http by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The Host header (and server name); never expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
    pub host: Option<String>,
    /// One ready pod, or every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// Headers with values from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers_from: Vec<HeaderFrom>,
    /// The body; `${…}` is escaped as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub body: Option<String>,
    /// The body from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_from: Option<BodyFrom>,
    /// Form fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub form: Vec<Header>,
    /// Files of a multipart form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub files: Vec<FilePart>,
    /// CEL over `status headers body json latency`; any 2xx where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    pub expect: Vec<String>,
    /// Values kept from the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub capture: Vec<Capture>,
    /// May be sent again when the answer is lost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub idempotent: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum To {
    /// A pod of the target side.
    Target,
    /// The live Service.
    Live,
}

/// Request methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Options,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Whether the method changes nothing by definition (RFC 9110 §9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

/// Plain or TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

/// How many pods are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pods {
    /// One ready pod.
    #[default]
    Any,
    /// Every ready pod; each must meet the expectations.
    All,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value; `${…}` is expanded.
    #[schemars(length(max = 2048))]
    pub value: String,
}

/// A header whose value comes from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderFrom {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Put before the value, such as `Bearer `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// Where the value is.
    pub secret: KeyRef,
}

/// A body from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BodyFrom {
    /// Where the body is.
    pub secret: KeyRef,
}

/// A file of a multipart form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.configMap) != has(self.secret)", "message": "a file comes from either configMap or secret"
}]))]
pub struct FilePart {
    /// The form field.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The file's name.
    #[schemars(length(min = 1, max = 255))]
    pub filename: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub content_type: Option<String>,
    /// From a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
    /// From a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}

/// Parallel steps with a pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suite {
    /// Per cent of the steps that must pass; skipped ones do not count, inconclusive ones fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub pass_rate: Option<u32>,
    /// Failures of critical steps that are borne; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 40))]
    pub max_critical_failures: Option<u32>,
    /// The checks.
    #[schemars(length(min = 1, max = 40), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<SuiteStep>,
}

/// A step of a suite: no approvals, changes or suites inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.job), has(self.http), has(self.tls), has(self.config), has(self.rollout), has(self.resource), has(self.metric), has(self.logs), has(self.scale), has(self.setEnv), has(self.restart), has(self.cronJobs), has(self.wait)].filter(x, x).size() == 1",
    "message": "a step of a suite has exactly one action"
}]))]
pub struct SuiteStep {
    /// Unique in the whole Cutover.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Counts against `maxCriticalFailures`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub critical: bool,
    /// CEL: skipped when false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub when: Option<String>,
    /// Bounds all attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Run after these steps of the suite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 40)))]
    pub after: Vec<String>,
    /// The action.
    #[serde(flatten)]
    pub action: Actions,
}

/// A certificate's days, names, issuer, protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A whole URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Or a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// Port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub port: Option<String>,
    /// The name asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
    /// CEL over `daysLeft names issuer protocol`.
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
    /// Changed within this time.
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
    /// May be missing; checked where it is there.
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

/// A workload of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
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
    #[schemars(length(max = 8))]
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
    /// The value is kept as evidence.
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
    /// CEL over `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub expect: Option<String>,
    /// Kept as a baseline.
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
    pub workload: Option<WorkloadRef>,
    /// The container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// Regular expression for a line.
    #[schemars(length(min = 1, max = 256))]
    pub matches: String,
    /// Lines of this long ago until now.
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
    #[schemars(length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// Each one's count.
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: u32,
    /// Allows to shrink the live side (the one exception to P13).
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
    #[schemars(length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
    /// The container.
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
    #[schemars(length(max = 8))]
    pub workloads: Vec<WorkloadRef>,
}

/// Suspends or resumes CronJobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CronJobs {
    /// Resumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub resume: Vec<String>,
    /// Suspended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub suspend: Vec<String>,
}

/// A Deployment back to its previous revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoRollout {
    /// The Deployment.
    #[schemars(schema_with = "schema::object_name")]
    pub deployment: String,
}

/// Waits for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Roles and how many people of each.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<ApprovalRole>,
    /// By different people.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub distinct: bool,
    /// Expires after this time.
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
