//! Preflight that starts over, since the side being activated changed meanwhile: part of the journal of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::JobRecord;
use super::trail::AttemptRecord;

/// Preflight that started over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartOver {
    /// How often.
    pub times: u32,
    /// Steps under way are still brought to their end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Steps that have not begun again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<FormerStep>,
}

/// What a step did before Preflight started over. Its next attempt is counted from here, so that no Job and no request is
/// named like an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerStep {
    /// The step.
    pub name: String,
    /// Its last attempt.
    pub attempt: u32,
    /// Its Jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobRecord>,
    /// Its attempts, at most the last five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub earlier: Vec<AttemptRecord>,
}
