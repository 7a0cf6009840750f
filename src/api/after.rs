//! The part of the journal that begins with Completed: follow-ups, retirement, checks made again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::StepState;
use super::schema;

/// What came after Completed, as far as there was something to come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AfterRecord {
    /// Follow-ups that have begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub follow_ups: Vec<FollowUpRecord>,
    /// Why nothing more comes although something was planned: a newer release, or the Cutover's deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<String>,
    /// What a person said about undoing the steps of the completed run: true undoes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<bool>,
    /// Whether the run was closed and has been opened again, for checks made again and for nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reopened: bool,
    /// Checks made again by a person's decision, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revalidations: Vec<Revalidation>,
}

/// A follow-up from its first begin on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowUpRecord {
    /// The follow-up.
    pub name: String,
    /// Which of its rounds is under way or was last, from 1. The steps of a later round are recorded as `STEP@ROUND`.
    pub round: u32,
    /// When that round was due.
    pub due: Timestamp,
    /// Where that round stands: Running, Succeeded, or Failed where a person went on all the same.
    pub state: StepState,
    /// Rounds that were never run, because the operator was down, the run was suspended, or a person was awaited.
    #[serde(default)]
    pub missed: u32,
    /// When the round ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// The checks of a completed run, made again. Their steps are recorded as `STEP@revalidate-N`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revalidation {
    /// Who asked.
    pub by: String,
    /// When it was taken in.
    pub at: Timestamp,
    /// Running, Succeeded or Failed.
    pub state: StepState,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What came of it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Values captured on the way, until it ends: those of the run itself stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub captures: BTreeMap<String, Value>,
}
