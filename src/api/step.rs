//! Steps and their actions. One shape everywhere; exactly one action per step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::action::{
    Action, Approval, ApprovalRole, Config, ConfigKey, CronJobs, DryRun, Job, Logs, Metric, OnAbort, Resource, Restart,
    Rollout, Scale, SetEnv, StepAction, Tls, UndoRollout, Wait,
};
use super::duration::Duration;
pub use super::http::{FilePart, FormField, FromSecret, Header, HeaderFrom, Http, Method, Pods, Scheme, To};
use super::one_of::OneOf;
use super::schema;

/// Most steps a phase or a suite may hold.
pub const MAX_STEPS: usize = 40;

pub(super) fn yes() -> bool {
    true
}
pub(super) fn is_true(b: &bool) -> bool {
    *b
}
pub(super) fn is_false(b: &bool) -> bool {
    !*b
}

/// One thing done or checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [OneOf::<StepAction>::rule("a step has exactly one action:")]))]
pub struct Step {
    /// Unique in the whole Cutover, suites included.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Whether a failure fails the phase; false means `onFailure: Continue`. True by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub critical: bool,
    /// CEL: the step is skipped, and that recorded, when false; it always runs by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub when: Option<String>,
    /// Bounds all attempts together; by default what the action may take (30s for a request, 10m for workloads and suites, a
    /// Job's deadline and 2m).
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
    /// A retried run keeps this step's recorded success if nothing before it changed; false by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_on_retry: bool,
    /// The action.
    #[serde(flatten)]
    pub action: OneOf<StepAction>,
    /// What reverses the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
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

/// What a failed step leads to. By default `Fail` before the end of the confirmation, `Decide` in finish and followUp,
/// `Continue` on the way back.
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

/// `Restore`: the undo runs before the selectors go back, and needs a `timeout` and no approval. After them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UndoBefore {
    /// The selectors.
    Restore,
}

/// What reverses a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [OneOf::<Action>::rule("an undo has exactly one action:")]))]
pub struct Undo {
    /// `Attempted` (default) or `Succeeded`.
    #[serde(default)]
    pub when: UndoWhen,
    /// `Restore`: it runs before the selectors go back; needs `timeout`, and no approval. By default it runs after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<UndoBefore>,
    /// Asked before the undo runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Bounds the undo; by default what its action may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The action.
    #[serde(flatten)]
    pub action: OneOf<Action>,
}

/// Kept for later steps as `${name}` and `captures.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// An identifier, unique in the Cutover.
    #[schemars(schema_with = "schema::ident")]
    pub name: String,
    /// JSONPath (RFC 9535) on the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub path: Option<String>,
    /// A header of the answer instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// Kept in the evidence too; false by default.
    #[serde(default, skip_serializing_if = "is_false")]
    pub record: bool,
    /// Kept in a Secret of the run and nowhere else; false by default.
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
    /// The side: `Target`, or `Old`, live when the run began.
    pub side: SideRef,
    /// The container; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
}

/// A side: the `Target`, which is activated, or `Old`, live when the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SideRef {
    /// The side being activated.
    Target,
    /// The side that was live when the run began.
    Old,
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

/// Parallel steps with a pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suite {
    /// Per cent of the steps that must pass; skipped ones do not count, inconclusive ones fail. 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub pass_rate: Option<u32>,
    /// Failures of critical steps that are tolerated; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 40))]
    pub max_critical_failures: Option<u32>,
    /// Cookies that answers set go with the requests of steps that come `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookies: Option<Cookies>,
    /// The checks.
    #[schemars(length(min = 1, max = 40), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<SuiteStep>,
}

/// What becomes of cookies that answers set; they are not kept by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cookies {
    /// They live in the run's Secret.
    Keep,
}

/// A step of a suite: no approvals, changes or suites inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [OneOf::<Action>::rule("a step of a suite has exactly one action:")]))]
pub struct SuiteStep {
    /// Unique in the whole Cutover.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Counts against `maxCriticalFailures`; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub critical: bool,
    /// CEL: skipped when false; it always runs by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub when: Option<String>,
    /// Bounds all attempts together; by default what the action may take.
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
    pub action: OneOf<Action>,
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

/// The schema of a workload that a step or a trigger names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read for its schema alone
pub(super) struct NamedWorkload {
    /// Its kind.
    kind: WorkloadKind,
    /// Its name; `${target}` and `${old}` stand for the names of the sides, as in `consumer-${target}`.
    #[schemars(schema_with = "schema::named_by_side")]
    name: String,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
}
