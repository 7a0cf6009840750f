//! Decisions as anybody may write them who has the right to create one: a list of specs, made of JSON. `TOKEN` in them is the
//! token of the gate that is open. None that is malformed, of another run, gate, role or token, or of a person who may not,
//! counts as an approval, and the gate opens when and only when those that count are enough.

use std::collections::BTreeSet;

use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec, Verb};
use cutover::api::phase::Phase;
use cutover::api::run::{DecisionRecord, RunStatus, StepState};
use cutover::decide::{Decision, decide};
use cutover::effect::Effect;
use cutover::journal::{self, ACCEPTED};
use cutover::plan::Plan;
use cutover::world::{Proven, Sighting, World, convert};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::setting::{self, NOW};
use crate::oracle;

const RUN: &str = "u2";
const GATE: &str = "go";
/// Who asked for the release, and may not approve it.
const REQUESTER: &str = "ada";

/// See [`crate::TARGETS`].
///
/// # Panics
/// Something does not hold.
pub fn run(input: &[u8]) {
    let plan = setting::plan();
    let (journal, world) = at_gate(&plan);
    let gate = journal::record(&journal, GATE).and_then(|record| record.gate.as_ref());
    let token = gate.unwrap_or_else(|| panic!("the gate does not open: {journal:?}")).token.clone();
    let text = String::from_utf8_lossy(input).replace("TOKEN", &token);
    let Ok(Value::Array(list)) = serde_json::from_str(&text) else { return };
    for verdict in [Proven::Holds, Proven::Open("anybody may forge them".into())] {
        judge(&plan, &journal, world.clone(), &list, &token, &verdict);
    }
}

/// A run whose first gate waits.
fn at_gate(plan: &Plan) -> (RunStatus, World) {
    let mut world = setting::world(plan, RUN, &plan.old, NOW);
    let since = NOW - SignedDuration::from_secs(60);
    let mut journal = RunStatus { phase: Phase::Verifying, phase_since: Some(since), ..RunStatus::default() };
    for _ in 0..4 {
        let decision = decide(plan, &journal, &world);
        setting::prove(&mut world, &decision, &Proven::Holds);
        world.said = decision.said;
        journal = decision.journal;
    }
    let gate = journal::record(&journal, GATE).map(|r| r.state);
    assert_eq!(gate, Some(StepState::Running), "the gate does not open: {journal:?}");
    (journal, world)
}

/// Whether the API server takes it, by the lengths of the definition. What it says in CEL is left out: what comes past that is
/// to be refused all the same.
fn is_admitted(spec: &CutoverDecisionSpec) -> bool {
    let fits = |text: &str, most: usize| text.chars().count() <= most;
    let may = |text: &Option<String>, most: usize| text.as_ref().is_none_or(|text| fits(text, most));
    (fits(&spec.by, 256) && !spec.by.is_empty())
        && (fits(&spec.run_uid, 64) && !spec.run_uid.is_empty())
        && fits(&spec.cutover, 40)
        && may(&spec.gate, 56)
        && may(&spec.role, 40)
        && may(&spec.token, 64)
        && may(&spec.step, 56)
        && may(&spec.comment, 1024)
}

fn judge(plan: &Plan, before: &RunStatus, mut world: World, list: &[Value], token: &str, verdict: &Proven) {
    let said = |(n, value): (usize, &Value)| {
        let spec = serde_json::from_value::<CutoverDecisionSpec>(value.clone()).ok().filter(is_admitted)?;
        let mut decision = CutoverDecision::new(&format!("d{n}"), spec);
        decision.metadata.uid = Some(format!("d{n}"));
        decision.metadata.resource_version = Some("1".into());
        decision.metadata.creation_timestamp = Some(Time(NOW));
        Some(convert::decision(&decision))
    };
    let mut views: Vec<_> = list.iter().enumerate().filter_map(said).collect();
    convert::order(&mut views);
    let specs: Vec<(String, CutoverDecisionSpec)> = views.iter().map(|v| (v.uid.clone(), v.spec.clone())).collect();
    world.take_in(NOW, Sighting::Decisions(views));
    world.readings.clear();
    let mut journal = before.clone();
    for round in 0..6 {
        world.now = NOW + SignedDuration::from_secs(3 * round);
        let decision = decide(plan, &journal, &world);
        check(&journal, &decision, &specs, token, verdict);
        setting::prove(&mut world, &decision, verdict);
        world.said = decision.said;
        journal = decision.journal;
    }
    opens(&journal, verdict);
}

/// What was taken in now was said, by whom it is recorded for, and counts.
fn check(
    before: &RunStatus,
    decision: &Decision,
    specs: &[(String, CutoverDecisionSpec)],
    token: &str,
    verdict: &Proven,
) {
    let after = &decision.journal;
    let kept = after.decisions.get(..before.decisions.len());
    assert_eq!(kept, Some(before.decisions.as_slice()), "decisions are lost");
    for record in &after.decisions[before.decisions.len()..] {
        let (_, spec) = specs.iter().find(|(uid, _)| *uid == record.uid).expect("somebody said it");
        assert_eq!((&record.by, record.decision, &record.comment), (&spec.by, spec.decision, &spec.comment));
        assert_eq!((spec.run_uid.as_str(), spec.cutover.as_str()), (RUN, "web"), "of another run: {record:?}");
        if is_approval(record) {
            assert_eq!(*verdict, Proven::Holds, "a decision that anybody may forge counts: {record:?}");
            // A later gate of the plan opens once this one has been passed, with a token of its own.
            if spec.gate.as_deref() == Some(GATE) {
                assert_eq!(spec.token.as_deref(), Some(token), "of another token: {record:?}");
                assert!(["qa", "operations"].map(Some).contains(&spec.role.as_deref()), "of no role: {record:?}");
                assert_ne!(spec.by, REQUESTER, "who asked for it approves it");
            } else {
                assert_eq!(spec.gate.as_deref(), Some("sure"), "of no gate: {record:?}");
            }
        }
    }
    // As many as there may be, and no more answers than people have spoken.
    assert!(after.decisions.len() <= 200 + specs.len());
    for effect in &decision.effects {
        if let Effect::Answer { uid, result, .. } = effect {
            assert!(specs.iter().any(|(said, _)| said == uid), "an answer to nobody: {effect:?}");
            oracle::bounded("an answer", result, 1024 + 300 * 4);
        }
    }
    for note in &decision.notes {
        oracle::bounded("a note", &note.message, 64 * 1024);
    }
}

fn is_approval(record: &DecisionRecord) -> bool {
    record.decision == Verb::Approve && record.result == ACCEPTED
}

/// The gate is passed when each role has its person, and they are two: counted here again.
fn opens(journal: &RunStatus, verdict: &Proven) {
    let of = |role: &str| -> BTreeSet<&str> {
        let counts =
            |r: &&DecisionRecord| is_approval(r) && r.gate.as_deref() == Some(GATE) && r.role.as_deref() == Some(role);
        journal.decisions.iter().filter(counts).map(|r| r.by.as_str()).collect()
    };
    let (qa, operations) = (of("qa"), of("operations"));
    let two = qa.iter().any(|a| operations.iter().any(|b| a != b));
    let state = journal::record(journal, GATE).map(|r| r.state);
    if state == Some(StepState::Succeeded) {
        assert!(two && *verdict == Proven::Holds, "the gate opens by {qa:?} and {operations:?}");
    }
    let stopped = journal.ending.is_some() || journal.suspended.is_some();
    let no = journal.decisions.iter().any(|r| r.decision == Verb::Reject && r.result == ACCEPTED);
    if two && *verdict == Proven::Holds && !stopped && !no {
        assert_eq!(state, Some(StepState::Succeeded), "the gate stays shut for {qa:?} and {operations:?}");
    }
    let passed = !matches!(journal.phase, Phase::Verifying | Phase::Aborted | Phase::Failed | Phase::Superseded);
    assert!(
        !passed || state == Some(StepState::Succeeded),
        "{} is reached past a gate that is {state:?}",
        journal.phase
    );
}
