//! PURE. What holds for every decision of a person, whoever looks at it: the run's driver or, once the run is closed, the
//! controller.

use crate::api::decision::{CutoverDecisionSpec, Verb};
use crate::api::run::{DecisionRecord, RunStatus};

/// What came of a decision that counts; more may follow.
pub const ACCEPTED: &str = "accepted";

/// Whether a decision with this result has taken effect.
pub fn counts(result: &str) -> bool {
    result.starts_with(ACCEPTED)
}

/// Decisions that are taken in before all others: a person wants users to be safe.
pub(crate) fn is_way_back(verb: Verb) -> bool {
    matches!(verb, Verb::Rollback | Verb::Abort)
}

/// RBAC was asked about the Cutover that the decision names: the run must be one of that Cutover.
pub(crate) fn of_another(spec: &CutoverDecisionSpec) -> String {
    format!(
        "refused: run {} is not a run of Cutover {}; the run's uid is in status.run.uid of its Cutover",
        spec.run_uid, spec.cutover
    )
}

/// The record of a decision that a run has taken in.
pub fn taken_in<'a>(journal: &'a RunStatus, uid: &str) -> Option<&'a DecisionRecord> {
    journal.decisions.iter().find(|r| r.uid == uid)
}
