//! `CutoverRun`: one execution for one release. Its spec is the resolved plan, its status the journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::after::AfterRecord;
pub use super::before::{Before, ObjectKind, ObjectRef, RevisionChange, TemplateChange};
pub use super::closing::{ClosedPod, ClosedWorkload, Closing};
use super::decision::{Resolution, Verb};
use super::notices::Notices;
use super::phase::Phase;
pub use super::restore::{BlockCause, RestoreBlock};
use super::schema;
pub use super::start_over::{FormerStep, StartOver};
use super::trail::{AttemptRecord, ImageRecord, Outbox};
pub use super::trial::{EvidenceRecord, Growth, TrialVerdict, TriggerRecord};

pub use super::moment::Moment;
pub use super::observation::{NodesLost, Observation, ObservationClock};

/// A whole Service selector.
pub type Selector = BTreeMap<String, String>;

/// One execution of a Cutover for one release. Written by the operator alone.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "CutoverRun",
    namespaced,
    status = "RunStatus",
    shortname = "cutrun",
    category = "cutover-all",
    selectable = ".status.state",
    printcolumn(name = "Cutover", type_ = "string", json_path = ".spec.cutover"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.ending.reason"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.phaseSince"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CutoverRunSpec {
    /// The Cutover's name.
    #[schemars(schema_with = "schema::name40")]
    pub cutover: String,
    /// The Cutover's uid.
    #[serde(rename = "cutoverUID")]
    pub cutover_uid: String,
    /// The version of the plan's form; one not known stops steps, never a restore.
    pub plan_version: u32,
    /// The resolved plan (see `plan::Plan`); immutable.
    #[schemars(schema_with = "schema::any_object")]
    pub plan: Value,
}

/// Whether a run still has something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// Something is under way or may still come.
    #[default]
    Active,
    /// Over: the run writes nothing any more (P7).
    Closed,
}

/// The journal: the only truth about what a run has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Selectable, so that active runs are listed apart from the closed ones.
    #[serde(default)]
    pub state: RunState,
    /// Where the run stands.
    #[serde(default)]
    pub phase: Phase,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<Timestamp>,
    /// Since when nothing is left but to hand over its Jobs and its Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_since: Option<Timestamp>,
    /// Executions of steps, undos (`undo/NAME`) among them, in the order of their start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepRecord>,
    /// Values captured by steps; of a sensitive one the key in the run's Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub captures: BTreeMap<String, Value>,
    /// The run's Secret has its ownerReference (set when the run closes), or is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_owned: bool,
    /// Pod-template hashes by side, from the first step on that uses or checks it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// Preflight started over, since the target changed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_over: Option<StartOver>,
    /// Wanted replicas by workload (`Kind/name`) when the switch was claimed; restored before a rollback onto an empty side.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, u32>,
    /// The switch, from its claim on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchRecord>,
    /// Ends of connections, by the side whose they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["side"]))]
    pub closings: Vec<Closing>,
    /// The observation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Triggers, once armed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub triggers: Vec<TriggerRecord>,
    /// Nodes that took both sides' pods with them: while they are away, and for a minute after their return, no trigger
    /// has a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_lost: Option<NodesLost>,
    /// What the run is on its way to, once that is not completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The open question to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// People have said to switch although the window is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub window_waived: bool,
    /// What the phase waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Decisions taken in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionRecord>,
    /// Since when a person's `Suspend` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Timestamp>,
    /// What came after Completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterRecord>,
    /// Transitions, newest last, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Moment>,
    /// What was released on the side that was live when the run began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_release: Option<String>,
    /// What the containers of both sides ran, at most 24.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    pub images: Vec<ImageRecord>,
    /// What people are still to hear of.
    #[serde(default, skip_serializing_if = "Outbox::is_empty")]
    pub outbox: Outbox,
    /// What receivers of notifications are still to hear of, and what they have received.
    #[serde(default, skip_serializing_if = "Notices::is_empty")]
    pub notices: Notices,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where an execution stands. One not begun has no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// Begun.
    #[default]
    Running,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Left out, with the reason.
    Skipped,
    /// Started, and what it did is not known: a person decides (`OutcomeUnknown`).
    Unknown,
}

/// One execution of a step or an undo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The step's name, `undo/NAME` for its undo.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// Attempt under way or last made, from 1.
    pub attempt: u32,
    /// How many of them do not count: made before Preflight started over, or nobody could be asked.
    #[serde(default, skip_serializing_if = "is_none")]
    pub attempts_before: u32,
    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// When this attempt begins or began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_at: Option<Timestamp>,
    /// What is going on or went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the step saw, at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub evidence: Option<Value>,
    /// The Job of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRecord>,
    /// The request of this attempt, when it may change something: claimed before it is sent, at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Timestamp>,
    /// The next attempt has not begun: `attemptAt` is when it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub between: bool,
    /// Jobs of former attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_jobs: Vec<JobRecord>,
    /// Attempts before this one, at most the last five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub earlier: Vec<AttemptRecord>,
    /// Values before a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// The gate that an approval holds open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateRecord>,
    /// The run that carried the step out, whose success is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
    /// Since when its clock stands still, because the run is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_since: Option<Timestamp>,
    /// How long its clock stood still before, in milliseconds: that much later it times out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stopped_ms: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_none(n: &u32) -> bool {
    *n == 0
}

/// An approval while it is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateRecord {
    /// What an approval is given for: plan, pod templates and evidence so far. When one of them changes the token does,
    /// and what was given before counts no more.
    pub token: String,
    /// When it expires; later by as long as the run is paused.
    pub until: Timestamp,
    /// The roles, and who has approved in them.
    pub roles: Vec<GateRole>,
}

/// A role of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateRole {
    /// The RBAC subresource `cutovers/<name>`.
    pub name: String,
    /// People wanted.
    pub wanted: u32,
    /// Who has approved.
    pub by: Vec<String>,
}

/// A Job from its claim on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Its name, known before it exists.
    pub name: String,
    /// Hash of its spec as it was first claimed, which the Job carries as an annotation; none where an older version claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Its uid, once created. It is started only after this is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was seen started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it failed, once it has ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What ended its pod where that was not its program: an eviction, a lost node, want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_end: Option<String>,
    /// Why its pod had not started when it was last looked at; none once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started: Option<String>,
    /// The image of its container, as the Job names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What that image was when the pod ran: a digest where the registry gave one.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "imageID")]
    pub image_id: Option<String>,
    /// The command that it ran, where the Job names one: shortened, and without what looks like a credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub command: Vec<String>,
    /// Deletion was claimed (kill, or a pod that cannot start).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// It has its ownerReference (set when the run closes), or is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owned: bool,
}

/// The switch of all Services of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchRecord {
    /// When the intent was first written.
    pub claimed_at: Timestamp,
    /// When every Service pointed to the target and the endpoints had converged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged_at: Option<Timestamp>,
    /// When every selector was back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// The Services.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub services: Vec<ServiceSwitch>,
}

/// The switch of one Service. The claim authorises the restore too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSwitch {
    /// The Service.
    pub name: String,
    /// Its uid at the claim.
    pub uid: String,
    /// Its resourceVersion at the claim: the patch tests it, so it works at most once.
    pub resource_version: String,
    /// The whole selector before.
    pub from: Selector,
    /// The whole selector after.
    pub to: Selector,
    /// Ready endpoints that the target was to have in all when the switch was claimed: a scale-up during the switch does not
    /// move the goal. 0: not recorded.
    #[serde(default, skip_serializing_if = "is_none")]
    pub wanted: u32,
    /// The same of the old side, as it was before the run changed it: what a restore is measured by.
    #[serde(default, skip_serializing_if = "is_none")]
    pub old_wanted: u32,
    /// Where it stands.
    pub state: SwitchState,
    /// A patch of this claim may have been sent and was not answered: whether it took effect cannot be known any more, so
    /// the Service is never claimed anew (P4).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// When the selector write to the target was seen done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_at: Option<Timestamp>,
    /// When the selector was seen back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// Somebody else put it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// What stands in the way of the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What stands in the way of the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<RestoreBlock>,
}

/// Where the switch of one Service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SwitchState {
    /// Intended; the patch may or may not have been sent.
    Claimed,
    /// The Service points to the target.
    Switched,
    /// The patch failed for good; the Service was left as it was.
    Refused,
    /// The Service points to the old side again, and no patch of ours can still change that.
    Restored,
    /// The Service is gone: there is nothing to restore.
    Gone,
}

/// What a run is on its way to, once that is not completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// RolledBack, Failed, Aborted or Superseded.
    pub phase: Phase,
    /// One of `condition::reasons`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When it was decided.
    pub at: Timestamp,
    /// The trigger that fired, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// An undo or a step of the rollback failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// When the old side was last told to scale up, because it had too few ready endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_at: Option<Timestamp>,
    /// Since when the restore waits for an old side without any ready endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_since: Option<Timestamp>,
    /// Whether the undos run before the selectors are back, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_first: Option<bool>,
    /// When a person had the target stopped, so that the old side can start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When what comes before the restore (`beforeRestore`, undos with `before: Restore`) was over; none where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_at: Option<Timestamp>,
}

/// An open question to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// What it is about: `trigger/NAME`, `step/NAME`, `observation`, `template`, `undo`, `restore`.
    pub subject: String,
    /// In words.
    pub text: String,
    /// Since when.
    pub at: Timestamp,
    /// When the default is taken; none waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the default is to roll back; for `restore`, to undo first.
    pub default_rollback: bool,
}

/// A decision taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// The uid of the decision.
    pub uid: String,
    /// The verb.
    pub decision: Verb,
    /// Who.
    pub by: String,
    /// When it was taken in.
    pub at: Timestamp,
    /// For Approve and Reject: the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// For Approve and Reject: the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// For Approve and Reject: what it was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// For Resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For Resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Resolution>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What came of it; a refusal says why.
    pub result: String,
}
