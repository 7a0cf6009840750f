//! The end of a side's connections, as the journal keeps it: a selector moves new connections only (DESIGN §5.7).

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::before::ObjectRef;

/// The end of the connections of one side, from its claim on. It happens once in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    /// The side.
    pub side: String,
    /// When the intent was written.
    pub at: Timestamp,
    /// A person had the side stopped (`StopTarget`), though users may have been on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// Pods that the side had at that time.
    pub had: u32,
    /// Ready pods of the side behind each Service at that time, where that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, u32>,
    /// Workloads that are scaled to 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<ClosedWorkload>,
    /// Pods that are deleted and not known to be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<ClosedPod>,
    /// Pods that were deleted and are gone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gone: u32,
    /// When a pod was last deleted, where that is done in batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<Timestamp>,
    /// When everything was written, or left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why connections were left open, if some were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// A workload that is scaled to 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedWorkload {
    /// Which.
    pub workload: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The count it had.
    pub from: u32,
    /// The count that the next run gives it back: the one before this run changed it.
    pub remembered: u32,
    /// It has been scaled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// Why it was left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// A pod that is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedPod {
    /// Its name.
    pub name: String,
    /// Its uid: only this one is deleted, not the next of that name.
    pub uid: String,
    /// The workload that it belongs to.
    pub workload: ObjectRef,
    /// It has been deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
