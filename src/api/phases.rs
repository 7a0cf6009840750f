//! The steps of each phase, and when those of `followUp` run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::duration::Duration;
use super::schema;
use super::step::Step;

/// The names of the phases, in the order of a run. Those of the way back come last.
pub const PHASES: [&str; 9] =
    ["preflight", "prepare", "verify", "confirm", "finish", "followUp", "beforeRestore", "rollback", "rollbackVerify"];

/// The CEL rule for the keys of `phases`.
pub(super) fn rule() -> Value {
    let quoted: Vec<String> = PHASES.iter().map(|name| format!("'{name}'")).collect();
    json!({
        "rule": format!("self.all(name, name in [{}])", quoted.join(", ")),
        "message": unknown(),
    })
}

/// What is said of a phase that does not exist.
pub fn unknown() -> String {
    format!("there is no such phase; the phases are {}", PHASES.join(", "))
}

/// The steps of a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseSteps {
    /// They run one after another.
    #[schemars(length(max = 40), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// For `beforeRestore` alone: the time that all its steps have together, at most 30s; 5s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Duration>,
}

/// When steps of `phases.followUp` run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.every) == has(self.until)", "message": "a repeated follow-up needs both every and until"
}]))]
pub struct FollowUp {
    /// Unique among steps, triggers and follow-ups.
    #[schemars(schema_with = "schema::name40")]
    pub name: String,
    /// When it is first due, counted from Completed.
    pub after: Duration,
    /// It is due again after this time, at least 1s; once only where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// With `every`: it is not due later than this, counted from Completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
    /// Names of steps of `phases.followUp`, which run one after another in this order.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 40)))]
    pub run: Vec<String>,
}
