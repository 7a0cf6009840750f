//! How the way back is made, and what stands in its way: fields of the Cutover and of the journal.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::schema;

/// How selectors go back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Ready endpoints of the old side with which its selectors are restored at once: per cent of what it had at the switch, or
    /// a number; 50% by default. With fewer the old side is scaled up and restored after 5 seconds, with none it is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub min_ready: Option<String>,
    /// What happens where the old side has no ready endpoint for `switch.timeout` while undos wait for the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// What becomes of connections to the target after a restore; `Close` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Last lines of the failed side's pods kept in a ConfigMap of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_pod_logs: Option<KeepPodLogs>,
}

/// What becomes of connections to the side that is left, since a selector moves new ones only. After a rollback `Close` by
/// default: 30s later the target's Deployments are scaled to 0 until the next run and the pods of its StatefulSets deleted
/// once. After a switch `Keep` by default; `Close` deletes the old side's pods in batches that keep `rollback.minReady`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Connections {
    /// They last as long as its pods.
    #[default]
    Keep,
    /// They are ended.
    Close,
}

/// Last lines of the failed side's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeepPodLogs {
    /// Per container.
    #[schemars(range(min = 1, max = 500))]
    pub lines: u32,
}

/// What happens where the old side cannot serve before something is undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// `Ask` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<BlockedAction>,
    /// With `Ask`: how long people have; 15m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
    /// With `Ask`: what is done when nobody answers in time; `Wait` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<BlockedDefault>,
}

/// What happens (`Ask` by default) when the restore has been blocked by an empty old side for `switch.timeout` while undos wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BlockedAction {
    /// People are asked; Resolve of step `restore` answers.
    #[default]
    Ask,
    /// The undos run first. The restore is tried all the while.
    UndoFirst,
    /// The undos wait until the selectors are back.
    Wait,
}

/// With `Ask`: what is done when nobody answers in time; `Wait` by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BlockedDefault {
    /// The undos run first.
    UndoFirst,
    /// The undos wait.
    #[default]
    Wait,
}

/// Why a restore cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BlockCause {
    /// A right is missing.
    Permission,
    /// An admission webhook or policy denies the write, or a webhook that must be asked does not answer.
    Admission,
    /// The API server answers 429.
    Throttled,
    /// The API server does not answer, or answers with an error of its own.
    Unreachable,
    /// Others write the Service at the same time.
    Conflict,
    /// The API server refuses the write for another reason.
    Refused,
    /// The old side has no ready endpoint, the target has, or cannot be counted.
    OldSideEmpty,
    /// Neither side has a ready endpoint.
    BothSidesEmpty,
    /// The Service does not exist.
    ServiceGone,
    /// The Service's selector is neither side's.
    SelectorDrift,
}

/// What stands in the way of the restore of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreBlock {
    /// The cause of the last try.
    pub cause: BlockCause,
    /// What was answered or seen.
    pub message: String,
    /// Since when tries fail for this cause.
    pub since: Timestamp,
    /// Tries that failed in a row, counted up to 2: one may be chance.
    pub failures: u32,
    /// Tries in a row whose write was not answered in its time while reads were, counted up to 4: each gives the next write
    /// more time, since an admission webhook may be slow.
    #[serde(default, skip_serializing_if = "no_count")]
    pub slow: u32,
}

fn no_count(n: &u32) -> bool {
    *n == 0
}
