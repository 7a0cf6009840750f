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

/// Whether a decision that a run has refused might count after that run has closed: a new run is started for it, or the run
/// is opened again and would hear it. All others are refused by whoever finds them then.
pub(crate) fn may_count_later(verb: Verb) -> bool {
    matches!(verb, Verb::Retry | Verb::Revalidate | Verb::Suspend | Verb::Resume)
}

/// Why a run cannot be led back by a decision now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWayBack {
    /// It is over, or on its way back already.
    Ending,
    /// Abort: the switch has been made.
    Switched,
    /// Rollback: nothing has been switched.
    NotSwitched,
    /// Rollback: the old side is retired.
    Retired,
}

/// Whether Abort or Rollback can lead a run back as its journal stands. Both the operator and the command line ask this; each
/// has its own words for the answer.
pub(crate) fn no_way_back(verb: Verb, journal: &RunStatus) -> Option<NoWayBack> {
    match verb {
        Verb::Abort | Verb::Rollback if journal.ending.is_some() || journal.phase.is_over() => Some(NoWayBack::Ending),
        Verb::Abort if journal.switch.is_some() => Some(NoWayBack::Switched),
        Verb::Rollback if journal.switch.is_none() => Some(NoWayBack::NotSwitched),
        Verb::Rollback if super::is_retired(journal) => Some(NoWayBack::Retired),
        _ => None,
    }
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
