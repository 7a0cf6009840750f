//! PURE. Decisions that no admission may let through: what proves that the policies stand.

use crate::api::decision::{CutoverDecision, CutoverDecisionSpec, Verb};

/// The policy that denies forged decisions.
pub(crate) const POLICY: &str = "cutover-decision";
/// In whose name a decision is forged.
const PRETENDER: &str = "nobody";

/// An approval in a name that is nobody's.
pub(crate) fn approval(cutover: &str, run_uid: &str, gate: &str, token: &str) -> CutoverDecisionSpec {
    CutoverDecisionSpec {
        cutover: cutover.to_owned(),
        run_uid: run_uid.to_owned(),
        decision: Verb::Approve,
        gate: Some(gate.to_owned()),
        role: Some(PRETENDER.into()),
        token: Some(token.to_owned()),
        step: None,
        outcome: None,
        comment: None,
        by: PRETENDER.into(),
    }
}

/// The decision, as it is sent in a dry run.
pub(crate) fn decision(spec: CutoverDecisionSpec) -> CutoverDecision {
    let mut decision = CutoverDecision::new("", spec);
    decision.metadata.name = None;
    decision.metadata.generate_name = Some("forged-".into());
    decision
}
