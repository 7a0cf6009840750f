//! `CutoverDecision`: one person's decision, which never changes; its status is the operator's answer.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// One person's decision on a run: every human verb is such an object, so each has a name behind it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "CutoverDecision",
    namespaced,
    status = "DecisionStatus",
    shortname = "cutdec",
    category = "cutover-all",
    selectable = ".spec.cutover",
    selectable = ".spec.runUID",
    selectable = ".spec.decision",
    selectable = ".status.state",
    printcolumn(name = "Cutover", type_ = "string", json_path = ".spec.cutover"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result"),
    printcolumn(name = "Comment", type_ = "string", json_path = ".spec.comment", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "a decision never changes: create another one"},
    {"rule": "!(self.decision in ['Approve', 'Reject']) || (has(self.gate) && has(self.role) && has(self.token))",
     "message": "Approve and Reject need gate, role and token (see status.gate of the Cutover)"},
    {"rule": "self.decision != 'Resolve' || (has(self.step) && has(self.outcome))",
     "message": "Resolve needs step and outcome (Succeeded or Failed)"}
]))]
pub struct CutoverDecisionSpec {
    /// The Cutover.
    #[schemars(schema_with = "schema::name40")]
    pub cutover: String,
    /// The uid of the run it is about.
    #[serde(rename = "runUID")]
    #[schemars(length(min = 1, max = 64))]
    pub run_uid: String,
    /// The verb.
    pub decision: Verb,
    /// For Approve and Reject: the approval step, or `approve/STEP` for the undo of that step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 56))]
    pub gate: Option<String>,
    /// For Approve and Reject: in which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub role: Option<String>,
    /// For Approve and Reject: plan, template hashes and evidence it was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub token: Option<String>,
    /// For Resolve: the step whose outcome is not known, or `decision` for an open question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 56))]
    pub step: Option<String>,
    /// For Resolve: what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Resolution>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
    /// The requester's user name; the admission policy compares.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
}

/// Whether a decision still waits for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecisionState {
    /// Nobody has looked at it yet.
    #[default]
    Open,
    /// It took effect or was refused, once and for all.
    Answered,
}

/// What came of a decision. Written once, by the operator alone; one without it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// Selectable, so that open ones are listed apart from the answered ones.
    #[serde(default)]
    pub state: DecisionState,
    /// `accepted`, or why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// When it was first seen and took effect, or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The run on which it took effect; for Retry the one that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl CutoverDecisionSpec {
    /// A decision about a run: `cutover` and `run_uid` name it. Nothing else is said.
    pub fn about(cutover: &str, run_uid: &str, decision: Verb, by: &str) -> Self {
        Self {
            cutover: cutover.to_owned(),
            run_uid: run_uid.to_owned(),
            decision,
            gate: None,
            role: None,
            token: None,
            step: None,
            outcome: None,
            comment: None,
            by: by.to_owned(),
        }
    }
}

impl CutoverDecision {
    /// Whether it still waits for its answer.
    pub fn is_open(&self) -> bool {
        self.status.as_ref().is_none_or(|s| s.state == DecisionState::Open)
    }
}

/// The human verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verb {
    Approve,
    Reject,
    Abort,
    Rollback,
    Retry,
    Resolve,
    Suspend,
    Resume,
    Revalidate,
}

/// What a step whose outcome was lost did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Resolution {
    /// It did its work; or, for an open question: go on.
    Succeeded,
    /// It did not; or, for an open question: roll back.
    Failed,
    /// For step `restore`, which an empty old side blocks: run the undos before the selectors go back.
    UndoFirst,
    /// For step `restore`: scale the target to 0, so that the old side can start.
    StopTarget,
    /// For step `restore`: keep trying, and undo afterwards.
    Wait,
}
