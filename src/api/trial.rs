//! What a run keeps of its triggers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trail::TrialRecord;

/// A trigger from its arming on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerRecord {
    /// The trigger.
    pub name: String,
    /// When it was armed; trial n is due at `armedAt` + n × `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed_at: Option<Timestamp>,
    /// Trials judged so far.
    #[serde(default)]
    pub trials: u64,
    /// When the last trial was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
    /// How it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TrialVerdict>,
    /// What it saw, such as a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saw: Option<String>,
    /// Bad without a good trial between since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_since: Option<Timestamp>,
    /// Bad trials in a row.
    #[serde(default)]
    pub bad_in_a_row: u32,
    /// Numbers of the bad trials that `count` counts, newest last, as many as it takes at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub bad_trials: Vec<u64>,
    /// No verdict since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive_since: Option<Timestamp>,
    /// How the query was judged at the time of the switch, where its values look back over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_switch: Option<TrialVerdict>,
    /// Restarts of each container (`pod-uid/container`) counted so far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<String, u32>,
    /// Containers that had been killed for their memory before the trigger looked for the first time, by their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_before: Option<Vec<String>>,
    /// Times of restarts counted, newest last, one more than fires the trigger at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Timestamp>,
    /// The most pods that were ready at a time since the switch, as far as they are still wanted, by Service, or by
    /// `Kind/name` of a workload that no Service selects: what a loss is measured by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub most: BTreeMap<String, u32>,
    /// Since when a loss is seen that a live look is to confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed_since: Option<Timestamp>,
    /// How each pod's memory grows, by its uid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub growth: BTreeMap<String, Growth>,
    /// Default rule: what the bets on the intervals so far have come to. It is written with `trials` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceRecord>,
    /// Trials that were bad, or judged otherwise than the one before: at most the last twelve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12))]
    pub history: Vec<TrialRecord>,
    /// When it fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<Timestamp>,
    /// A person decided to go on in spite of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dismissed: bool,
}

/// How a trial was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrialVerdict {
    Good,
    Bad,
    Inconclusive,
}

/// A pod's memory of late: few points, so far apart that they go back as long as it must grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// The first sample.
    pub since: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// When each point was taken, in seconds after `since`.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub seconds: Vec<u32>,
    /// What was used then, in KiB.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub kibibytes: Vec<u64>,
}

/// What the default rule's bets have come to. Numbers are texts, since whoever keeps JSON may write numbers anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceRecord {
    /// The capital of the bets that it is bad from the switch on.
    #[schemars(length(max = 3))]
    pub from_the_switch: Vec<String>,
    /// The capital of the bets that it became bad later.
    #[schemars(length(max = 3))]
    pub later: Vec<String>,
    /// The capital of the bets that the share is lower than each of some shares, for the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 13))]
    pub ceiling: Vec<String>,
    /// Intervals that were bet on.
    pub bets: u64,
    /// Those of them with bad requests.
    pub bad: u32,
    /// The share of bad requests in the last of them.
    pub share: String,
    /// Requests in all of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requests: String,
}
