//! Which run is meant, and when the wait for it is over.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::cli::exit::Exit;
use crate::cli::watch::args::Goal;
use crate::cli::watch::choose::{Choice, Pick, choose};
use crate::cli::watch::until::Until;
use crate::view;

fn chosen(cutover: &Cutover, runs: &[CutoverRun], pick: &Pick) -> String {
    match choose(cutover, runs, pick) {
        Choice::Run(run) => run.name_any(),
        Choice::AtRest(why) => format!("at rest: {why}"),
        Choice::Refused(why) => format!("refused: {why}"),
        Choice::Wait(why) => format!("wait: {why}"),
    }
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!([{"type": type_, "status": status, "reason": reason, "message": "because", "lastTransitionTime": at(0)}])
}

#[test]
fn the_run_before_is_not_taken_for_the_new_one() {
    let runs = [run(1, "2.3.0", Some(over("Completed")))];
    let before = json!({
        "observedGeneration": 1, "run": {"name": "web-1", "uid": "u1"}, "started": {"activate": "green", "release": {"version": "2.3.0"}},
    });
    // Just applied: the operator has not looked.
    let wanted = chosen(&cutover("2.4.0", before.clone()), &runs, &Pick::Wanted);
    assert_eq!(wanted, "wait: the operator has not looked at the last change of the Cutover yet");
    // It has looked, and waits for something before it starts.
    let mut looked = before.clone();
    looked["observedGeneration"] = json!(2);
    looked["message"] = json!("another Cutover switches the Service");
    let wanted = chosen(&cutover("2.4.0", looked.clone()), &runs, &Pick::Wanted);
    assert_eq!(wanted, "wait: another Cutover switches the Service");
    // It has said which run it will create.
    let named = json!({"run": {"name": "web-2"}});
    assert_eq!(chosen(&cutover("2.4.0", named.clone()), &runs, &Pick::Wanted), "wait: run web-2 is being created");
    let both = [runs[0].clone(), run(2, "2.4.0", None)];
    assert_eq!(chosen(&cutover("2.4.0", named), &both, &Pick::Wanted), "web-2");
    // The screen shows what there is meanwhile.
    assert_eq!(chosen(&cutover("2.4.0", before), &runs, &Pick::Newest), "web-1");
}

#[test]
fn a_change_that_needs_no_run_leaves_the_one_there_is() {
    let runs = [run(2, "2.4.0", Some(observing()))];
    assert_eq!(chosen(&cutover("2.4.0", json!({})), &runs, &Pick::Wanted), "web-2");
}

#[test]
fn what_the_operator_refuses_for_good_is_not_waited_for() {
    for (conditions, wanted) in [
        (condition("Accepted", "False", "InvalidSpec"), "refused: because"),
        (condition("Stalled", "True", "TargetIsLive"), "refused: because"),
        (condition("Stalled", "True", "RunLost"), "refused: because"),
        (condition("Stalled", "True", "ServiceNotFound"), "wait: no run has been started yet"),
        (condition("ServiceConflict", "True", "ServiceConflict"), "wait: no run has been started yet"),
    ] {
        let status = json!({"conditions": conditions, "started": {"activate": "blue"}});
        assert_eq!(chosen(&cutover("2.4.0", status.clone()), &[], &Pick::Wanted), wanted, "{status}");
    }
}

#[test]
fn what_is_live_already_needs_no_run() {
    let live = json!({"live": "green@2.4.0", "run": null});
    let said = chosen(&cutover("2.4.0", live), &[], &Pick::Wanted);
    assert_eq!(said, "at rest: green@2.4.0 is live, as the Cutover asks: there is nothing to switch");
    // The last run was for the other side: it is not the one that is meant.
    let other = [run(2, "2.3.0", Some(over("RolledBack")))];
    assert!(chosen(&cutover("2.4.0", json!({"live": "green"})), &other, &Pick::Wanted).starts_with("at rest"));
    assert!(chosen(&cutover("2.4.0", json!({})), &other, &Pick::Wanted).starts_with("wait"));
}

#[test]
fn a_release_is_waited_for_until_the_cutover_asks_for_it() {
    let pick = Pick::Release("2.5.0".into());
    let asks = cutover("2.4.0", json!({}));
    let said = chosen(&asks, &[run(2, "2.4.0", Some(over("Completed")))], &pick);
    assert_eq!(said, "wait: the Cutover asks for 2.4.0, not for 2.5.0");
    // One of last week is not the one that is to come.
    let old = [run(1, "2.5.0", Some(over("RolledBack"))), run(2, "2.4.0", Some(over("Completed")))];
    assert_eq!(
        chosen(&asks, &old, &pick),
        "wait: the Cutover asks for 2.4.0, not for 2.5.0; run web-1 of 2.5.0 is over"
    );
    // One under way is, although the Cutover asks for another one by now.
    assert_eq!(chosen(&asks, &[run(2, "2.5.0", Some(observing()))], &pick), "web-2");
    assert_eq!(chosen(&cutover("2.5.0", json!({})), &[run(2, "2.5.0", Some(over("Completed")))], &pick), "web-2");
}

#[test]
fn a_named_run_need_not_be_there_yet() {
    let pick = Pick::Named("web-7".into());
    assert_eq!(chosen(&cutover("2.4.0", json!({})), &[], &pick), "wait: run web-7 is not there yet");
    assert_eq!(chosen(&cutover("2.4.0", json!({})), &[run(7, "2.4.0", None)], &pick), "web-7");
}

fn judged(status: Value, goal: Goal, when_waiting: bool) -> Option<Exit> {
    let run = run(2, "2.4.0", Some(status));
    let plan = view::plan_of(&run);
    let view = view::Run::of(&run, plan.as_ref()).expect("a journal");
    Until { goal, when_waiting }.judge(&view)
}

#[test]
fn the_exit_code_says_where_the_run_is() {
    use Goal::{Completed, Switched, Waiting};
    for goal in [Completed, Switched, Waiting] {
        assert_eq!(judged(over("Completed"), goal, false), Some(Exit::Done));
        assert_eq!(judged(over("RolledBack"), goal, false), Some(Exit::RolledBack));
        for phase in ["Failed", "Aborted", "Superseded"] {
            assert_eq!(judged(over(phase), goal, false), Some(Exit::Failed), "{phase}");
        }
    }
    assert_eq!(judged(observing(), Completed, true), None);
    assert_eq!(judged(observing(), Waiting, false), None);
    assert_eq!(judged(observing(), Switched, false), Some(Exit::Done));
    // A gate is waited at, unless somebody wants to know of it.
    for (goal, when_waiting, wanted) in [
        (Completed, false, None),
        (Switched, false, None),
        (Completed, true, Some(Exit::Waits)),
        (Switched, true, Some(Exit::Waits)),
        (Waiting, false, Some(Exit::Waits)),
    ] {
        assert_eq!(judged(at_gate("t"), goal, when_waiting), wanted, "{goal:?}");
    }
}

#[test]
fn a_switch_that_is_being_taken_back_is_none() {
    let mut back = observing();
    back["ending"] = json!({"phase": "RolledBack", "reason": "Decision", "message": "m", "at": at(9)});
    assert_eq!(judged(back.clone(), Goal::Switched, false), None);
    back["phase"] = json!("RollingBack");
    assert_eq!(judged(back, Goal::Switched, false), None);
    let mut half = observing();
    half["switch"]["convergedAt"] = json!(null);
    half["phase"] = json!("Switching");
    assert_eq!(judged(half, Goal::Switched, false), None);
}
