//! A run may not outgrow what etcd takes: what is only evidence goes first.

use crate::api::run::RunStatus;

/// A run may not grow beyond this, spec and status together, in bytes of JSON (DESIGN §3).
const MAX_RUN: usize = 512 * 1024;

/// Makes a journal fit: evidence of executions that ended goes first, oldest first. What is left is never cut, since a
/// rollback must always find room.
pub(super) fn fit(journal: &mut RunStatus, spec: usize) -> bool {
    let size = |j: &RunStatus| serde_json::to_vec(j).map_or(0, |v| v.len()) + spec;
    let mut cut = false;
    while size(journal) > MAX_RUN {
        let Some(step) = journal.steps.iter_mut().find(|s| s.ended.is_some() && s.evidence.is_some()) else { break };
        step.evidence = None;
        cut = true;
    }
    cut
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::run::StepRecord;

    #[test]
    fn only_evidence_of_what_ended_is_cut() {
        let step = |name: &str, ended: bool| StepRecord {
            name: name.into(),
            ended: ended.then_some(Timestamp::UNIX_EPOCH),
            evidence: Some(json!({"x": "y".repeat(300 * 1024)})),
            ..StepRecord::default()
        };
        let mut j =
            RunStatus { steps: vec![step("a", true), step("b", true), step("c", false)], ..RunStatus::default() };
        assert!(fit(&mut j, 1000));
        let left: Vec<bool> = j.steps.iter().map(|s| s.evidence.is_some()).collect();
        assert_eq!(left, [false, false, true]);
        assert!(!fit(&mut j, 1000));
    }
}
