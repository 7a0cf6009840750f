//! The observation of a switched release, as the journal keeps it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// When it began.
    pub since: Timestamp,
    /// Conclusive time so far, in milliseconds.
    pub conclusive_ms: u64,
    /// Up to when time has been counted.
    pub counted_to: Timestamp,
    /// What the time from `countedTo` on counts as.
    #[serde(default)]
    pub clock: ObservationClock,
    /// Time in which the observation stood still for people, in milliseconds; it does not count against the timeout.
    #[serde(default)]
    pub stopped_ms: u64,
}

impl Observation {
    /// An observation that begins.
    pub fn begin(now: Timestamp) -> Self {
        Self { since: now, conclusive_ms: 0, counted_to: now, clock: ObservationClock::Counting, stopped_ms: 0 }
    }
}

/// What a stretch of the observation counts as. It is written down with the decision that begins the stretch, because
/// the one that ends it no longer sees what stood in the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObservationClock {
    /// Observed time.
    #[default]
    Counting,
    /// A trigger has no verdict: not observed, and the timeout runs on.
    Inconclusive,
    /// Suspended, a foreign selector, or an open question: people are awaited and the timeout stands still.
    Stopped,
}

/// Nodes that took both sides' pods with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodesLost {
    /// Their names, in order.
    pub nodes: Vec<String>,
    /// Since when.
    pub since: Timestamp,
    /// What is so, in words.
    #[serde(default)]
    pub message: String,
}
