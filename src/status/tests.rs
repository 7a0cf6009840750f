//! What kstatus sees of a Cutover.

use serde_json::json;

use super::*;
use crate::api::cutover::{Cutover, CutoverStatus};
use crate::api::run::{CutoverRun, RunState};
use crate::plan::PLAN_VERSION;

fn cutover(conditions: &[Condition]) -> Cutover {
    let mut cutover: Cutover = serde_json::from_value(json!({
        "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover",
        "metadata": {"name": "web", "namespace": "a", "generation": 2},
        "spec": {"services": [], "sides": [], "activate": "green"},
    }))
    .expect("a Cutover");
    cutover.status = Some(CutoverStatus { conditions: conditions.to_vec(), ..CutoverStatus::default() });
    cutover
}

fn run(plan_version: u32, phase: Phase) -> CutoverRun {
    let spec = json!({"cutover": "web", "cutoverUID": "u", "planVersion": plan_version, "plan": {}});
    let mut run = CutoverRun::new("web-1", serde_json::from_value(spec).expect("a spec"));
    run.status = Some(RunStatus { phase, ..RunStatus::default() });
    run
}

/// Ready, Reconciling and Stalled, and the message of the last.
fn kstatus(cutover: &Cutover, run: Option<&CutoverRun>) -> (String, String) {
    let status = project(cutover, run, &Facts::default(), Timestamp::UNIX_EPOCH);
    let of = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_).expect("the condition");
    let all = [types::READY, types::RECONCILING, types::STALLED].map(|type_| of(type_).status.clone());
    (all.join(" "), of(types::STALLED).message.clone())
}

#[test]
fn what_is_not_accepted_is_stalled_with_and_without_a_run() {
    let mut list = vec![];
    set(&mut list, types::ACCEPTED, false, reasons::INVALID_SPEC, "spec.x: wrong", Timestamp::UNIX_EPOCH);
    let refused = cutover(&list);
    let wrong = "spec.x: wrong".to_owned();
    assert_eq!(kstatus(&refused, None), ("False False True".into(), wrong.clone()));
    let open = run(PLAN_VERSION, Phase::Observing);
    assert_eq!(kstatus(&refused, Some(&open)), ("False True True".into(), wrong));
    set(&mut list, types::ACCEPTED, true, reasons::ACCEPTED, "", Timestamp::UNIX_EPOCH);
    assert_eq!(kstatus(&cutover(&list), None).0, "True False False");
    assert_eq!(kstatus(&cutover(&list), Some(&open)).0, "False True False");
}

#[test]
fn a_run_of_another_form_of_plan_is_stalled_until_it_is_closed() {
    let plain = cutover(&[]);
    for version in [PLAN_VERSION - 1, PLAN_VERSION + 1] {
        let mut other = run(version, Phase::Preparing);
        let (all, message) = kstatus(&plain, Some(&other));
        assert!(all == "False True True" && message.contains("a restore is still made"), "{all}: {message}");
        if let Some(status) = &mut other.status {
            (status.state, status.phase) = (RunState::Closed, Phase::Completed);
        }
        assert_eq!(kstatus(&plain, Some(&other)).0, "True False False");
    }
}
