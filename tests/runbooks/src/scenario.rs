//! `scenarios.yaml` of an example: which releases are made of it, and what must become of each.

use std::collections::BTreeMap;

use cutover::api::decision::Resolution;
use cutover::api::run::StepState;
use cutover::api::{Phase, Verb};
use serde::Deserialize;
use serde_json::Value;

/// The scenarios of an example, played one after another in one namespace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenarios {
    /// Requests a second on the Service while they are played.
    pub load: u32,
    /// Who speaks in which role. The example's own Roles must let them.
    #[serde(default)]
    pub people: BTreeMap<String, String>,
    /// Who is on call: makes the decisions about a run.
    #[serde(default, rename = "onCall")]
    pub on_call: Option<String>,
    /// In this order.
    pub scenarios: Vec<Scenario>,
}

/// One release.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// Unique in the example.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Part of `make test`.
    #[serde(default)]
    pub quick: bool,
    /// The release's version, unlike that of every other scenario of the example that is no retry.
    pub version: String,
    /// No new release: the person on call lets the one before, which is over, be tried again.
    #[serde(default)]
    pub retry: bool,
    /// Released as a pipeline does it, with `kubectl cutover release --image CONTAINER=IMAGE … --wait`, in place of a Cutover
    /// that is applied: images by container.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Added to the environment of the target's containers: faults.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Merged into objects of `application.yaml` (`Kind/name`) before the release.
    #[serde(default)]
    pub patch: BTreeMap<String, Value>,
    /// Gates at which a role says no.
    #[serde(default)]
    pub reject: BTreeMap<String, String>,
    /// What the person on call does in a phase.
    #[serde(default)]
    pub decide: Vec<Decide>,
    /// What the person on call says to open questions, by their subject, such as `step/NAME`: `Succeeded` goes on.
    #[serde(default)]
    pub answer: BTreeMap<String, Resolution>,
    /// What must become of it.
    pub expect: Expect,
}

/// A decision about the run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// In this phase.
    pub at: Phase,
    /// What is said.
    pub verb: Verb,
}

/// What must become of a release.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The phase in which the run ends.
    pub phase: Phase,
    /// The trigger that fired, or several of which one did (`ready|crashes`); not checked where it is left out.
    #[serde(default)]
    pub trigger: Option<String>,
    /// Steps, undos (`undo/NAME`) among them, and how they end; `Absent` is not begun.
    #[serde(default)]
    pub steps: BTreeMap<String, Ended>,
    /// A text that stands in the record (message, evidence) of a step, of `ending`, or of what came `after` Completed.
    #[serde(default)]
    pub says: BTreeMap<String, String>,
    /// Objects of the namespace (`Kind/name`) as they are afterwards: conditions in CEL on `object`.
    #[serde(default)]
    pub objects: BTreeMap<String, Vec<String>>,
    /// Followed until nothing is left to be done: follow-ups and retirement too.
    #[serde(default)]
    pub closed: bool,
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub enum Ended {
    Succeeded,
    Failed,
    Skipped,
    Unknown,
    Absent,
}

impl Ended {
    /// Whether this is how a step with that state ended; none was not begun.
    pub fn is(self, state: Option<StepState>) -> bool {
        let wanted = match self {
            Self::Succeeded => Some(StepState::Succeeded),
            Self::Failed => Some(StepState::Failed),
            Self::Skipped => Some(StepState::Skipped),
            Self::Unknown => Some(StepState::Unknown),
            Self::Absent => None,
        };
        wanted == state
    }
}
