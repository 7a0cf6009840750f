//! A transition of a run, as its timeline keeps it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::Phase;

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Into which phase.
    pub phase: Phase,
    /// One of `condition::reasons`.
    pub reason: String,
    /// In words.
    pub message: String,
}
