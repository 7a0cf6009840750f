//! What a run keeps for the record, and what it still has to tell. Nothing is decided by any of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::StepState;
use super::trial::TrialVerdict;

/// What people are still to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outbox {
    /// In the order in which it happened, at most 32. One that everybody has received leaves when the next one comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub entries: Vec<OutboxEntry>,
    /// How many left before everybody had received them, for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
}

impl Outbox {
    /// Whether there is nothing in it, and never was too much.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }
}

/// Something that people are to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// Follows from the run, the subject and the time: the same however often it is told.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// One of the reasons of Events and conditions.
    pub reason: String,
    /// What it is about: a phase, a step, a trigger, a Service.
    pub subject: String,
    /// In words.
    pub message: String,
    /// Somebody should look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
    /// How often it was sent without a receipt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Who has received it, and when, by the name of the sink, such as `Events`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub receipts: BTreeMap<String, Timestamp>,
}

/// What a container of a workload ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The side.
    pub side: String,
    /// The workload, as `Kind/name`.
    pub workload: String,
    /// The container.
    pub container: String,
    /// The image, as the pods name it.
    pub image: String,
    /// What that image was when the run first checked the side: a digest where the registry gave one, two where pods
    /// differed.
    #[serde(rename = "imageIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub image_ids: Vec<String>,
    /// The same when the switch was claimed.
    #[serde(rename = "imageIDsAtSwitch", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub at_switch: Vec<String>,
}

/// An attempt after which another one came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub state: StepState,
    /// Why.
    pub message: String,
}

/// A trial that was bad, or judged otherwise than the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialRecord {
    /// When it was due.
    pub at: Timestamp,
    /// How it was judged.
    pub verdict: TrialVerdict,
    /// What it saw, such as a value.
    pub saw: String,
    /// What it was measured by, such as `> 0.05`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
