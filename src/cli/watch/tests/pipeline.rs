//! What a pipeline is told, look by look.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::cli::exit::{Exit, Failure};
use crate::cli::rights::{OURS, Right};
use crate::cli::text::Look;
use crate::cli::watch::args::Goal;
use crate::cli::watch::choose::Pick;
use crate::cli::watch::teller::Teller;
use crate::cli::watch::until::Until;

fn teller(pick: Pick, goal: Goal) -> Teller {
    Teller::new("web", "prod", pick, Until { goal, when_waiting: false }, " -n prod".into())
}

/// The lines of a look, and how the wait ends.
fn look(teller: &mut Teller, store: &Store, now: Timestamp) -> (Vec<String>, Option<Result<Exit, Failure>>) {
    let said = teller.look(store, now);
    (said.changes.iter().map(|c| c.line().show(Look::plain())).collect(), said.end)
}

fn after(minute: u32, seconds: i64) -> Timestamp {
    time(minute) + SignedDuration::from_secs(seconds)
}

#[test]
fn a_run_is_told_from_its_claim_to_its_end() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({"observedGeneration": 1})), vec![]);
    let (lines, end) = look(&mut teller, &store, time(0));
    assert_eq!(
        lines,
        ["2026-01-01T00:00:00Z web waiting: the operator has not looked at the last change of the Cutover yet"]
    );
    assert!(end.is_none());
    assert_eq!(look(&mut teller, &store, time(0)).0.len(), 0, "told once");
    list(&mut store, Told::Cutover, vec![cutover("2.4.0", json!({}))]);
    let (lines, _) = look(&mut teller, &store, time(0));
    assert_eq!(lines, ["2026-01-01T00:00:00Z web waiting: run web-2 is being created"]);
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(json!({"phase": "Pending"})))]);
    assert_eq!(look(&mut teller, &store, time(0)).0, Vec::<String>::new());
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(at_gate("t")))]);
    let (lines, end) = look(&mut teller, &store, time(6));
    assert_eq!(
        lines,
        [
            "2026-01-01T00:01:00Z web-2 Pending",
            "2026-01-01T00:01:00Z web-2 Preflight: begun",
            "2026-01-01T00:02:00Z web-2 Preparing: preflight has passed",
            "2026-01-01T00:04:00Z web-2 step migrate: succeeded in 2m, attempt 2 of 3: exitCode=0",
            "2026-01-01T00:05:00Z web-2 Verifying: prepared",
            "2026-01-01T00:05:00Z web-2 step announce: succeeded in 1m: exitCode=0",
            "2026-01-01T00:05:00Z web-2 step go: begun",
            "2026-01-01T00:06:00Z web-2 gate go: waits for qa, operations until 2026-01-01T00:59:00Z; next: \
         kubectl cutover approve web --role qa -n prod  or  kubectl cutover approve web --role operations -n prod",
        ]
    );
    assert!(end.is_none(), "a gate is waited at");
    // Other evidence is another gate.
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(at_gate("other")))]);
    let (lines, _) = look(&mut teller, &store, time(6));
    assert!(lines.len() == 1 && lines[0].contains("the evidence has changed; waits for qa"), "{lines:?}");
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(observing()))]);
    let (lines, end) = look(&mut teller, &store, time(9));
    assert_eq!(
        lines,
        [
            "2026-01-01T00:06:00Z web-2 Switching: verified",
            "2026-01-01T00:06:00Z web-2 Confirming: switched",
            "2026-01-01T00:06:00Z web-2 step go: succeeded in 1m",
            "2026-01-01T00:06:00Z web-2 decision: Approve by jane@example.com (the board is green): accepted",
            "2026-01-01T00:07:00Z web-2 Observing: confirmed",
            "2026-01-01T00:09:00Z web-2 trigger errors: bad: 0.08, above 0.05 is bad",
        ]
    );
    assert!(end.is_none());
}

#[test]
fn a_watch_that_comes_late_tells_where_the_run_stands() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(observing()))]);
    let (lines, _) = look(&mut teller, &store, time(9));
    assert_eq!(lines[1], "2026-01-01T00:09:00Z web-2 trigger errors: bad: 0.08, above 0.05 is bad");
    assert_eq!(lines[0], "2026-01-01T00:09:00Z web-2 Observing: since 2m");
}

#[test]
fn of_a_run_that_was_waited_for_everything_is_told_however_fast_it_was() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({})), vec![]);
    let (lines, _) = look(&mut teller, &store, time(1));
    assert!(lines[0].contains("waiting"), "{lines:?}");
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(observing()))]);
    let (lines, _) = look(&mut teller, &store, time(9));
    let told = |phase: &str| lines.iter().any(|line| line.contains(&format!("web-2 {phase}: ")));
    assert!(["Preparing", "Switching", "Observing"].into_iter().all(told), "{lines:?}");
}

#[test]
fn a_run_that_is_over_ends_it_with_its_reason() {
    let mut teller = teller(Pick::Wanted, Goal::Switched);
    let store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(over("RolledBack")))]);
    let (lines, end) = look(&mut teller, &store, time(10));
    assert_eq!(lines, ["2026-01-01T00:10:00Z web-2 RolledBack: since 0s: trigger errors fired"]);
    assert_eq!(end, Some(Ok(Exit::RolledBack)));
}

#[test]
fn a_newer_run_does_not_take_the_place_of_the_one_that_is_followed() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(at_gate("t")))]);
    look(&mut teller, &store, time(6));
    let newer = json!({"run": {"name": "web-3", "uid": "u3"}});
    list(&mut store, Told::Cutover, vec![cutover("2.5.0", newer)]);
    let done = run(3, "2.5.0", Some(over("Completed")));
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(over("Superseded"))), done.clone()]);
    assert_eq!(look(&mut teller, &store, time(11)).1, Some(Ok(Exit::Failed)));
    list(&mut store, Told::Run, vec![done]);
    let (_, end) = look(&mut teller, &store, time(11));
    assert!(matches!(end, Some(Err(f)) if f.says == "run web-2 has been deleted" && f.exit == Exit::NotKnown));
}

#[test]
fn what_cannot_be_found_out_is_a_failure_of_its_own() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({})), vec![]);
    look(&mut teller, &store, time(0));
    let gone = |store: &mut Store, cutovers| list(store, Told::Cutover, cutovers);
    gone(&mut store, vec![]);
    let says = |end: Option<Result<Exit, Failure>>| end.and_then(Result::err).map(|f| (f.exit, f.says));
    let deleted = Some((Exit::NotKnown, "Cutover web has been deleted".to_owned()));
    assert_eq!(says(look(&mut teller, &store, time(0)).1), deleted);
    // One of the same name is another one.
    let mut again = cutover("2.4.0", json!({}));
    again.metadata.uid = Some("another".into());
    gone(&mut store, vec![again]);
    assert_eq!(says(look(&mut teller, &store, time(0)).1), deleted);
    let right = Right::need("watch", OURS, "cutoverruns");
    store.hear(Heard::Denied(Part::Runs, right), time(0));
    let (exit, says) = says(look(&mut teller, &store, time(0)).1).expect("a failure");
    assert_eq!((exit, says.as_str()), (Exit::NotKnown, "you may not watch cutoverruns.cutover.dev in namespace prod"));
}

#[test]
fn a_lost_connection_is_told_once_it_lasts_and_when_it_is_back() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(at_gate("t")))]);
    look(&mut teller, &store, time(6));
    store.hear(Heard::Lost(Part::Runs, "connection reset".into()), time(7));
    assert_eq!(look(&mut teller, &store, after(7, 2)).0, Vec::<String>::new());
    store.hear(Heard::Lost(Part::Runs, "connection refused".into()), after(7, 2));
    let (lines, end) = look(&mut teller, &store, after(7, 4));
    assert_eq!(
        lines,
        ["2026-01-01T00:07:04Z web-2 connection: lost since 00:07:00Z: connection refused; trying again"]
    );
    assert!(end.is_none() && look(&mut teller, &store, after(7, 5)).0.is_empty());
    let late = teller.too_late(&store, Duration::from_secs(90), after(7, 9));
    assert_eq!(late.exit, Exit::NotKnown, "what came of it is not known: {late}");
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(at_gate("t")))]);
    assert_eq!(look(&mut teller, &store, after(7, 9)).0, ["2026-01-01T00:07:09Z web-2 connection: back"]);
    let late = teller.too_late(&store, Duration::from_secs(90), after(7, 9));
    assert_eq!((late.exit, late.says.as_str()), (Exit::TimedOut, "not completed within 1m30s: run web-2 is not over"));
}

#[test]
fn an_operator_that_does_nothing_is_told_of_once() {
    let mut teller = teller(Pick::Wanted, Goal::Completed);
    let mut store = store(cutover("2.4.0", json!({"observedGeneration": 1})), vec![]);
    look(&mut teller, &store, time(0));
    assert!(look(&mut teller, &store, after(0, 14)).0.is_empty());
    let (lines, _) = look(&mut teller, &store, after(0, 16));
    assert!(lines.len() == 1 && lines[0].contains("for 16s now; next: kubectl cutover check -n prod"), "{lines:?}");
    assert!(look(&mut teller, &store, after(0, 30)).0.is_empty());
    // What it may wait for with reason is no sign of that.
    let waits = json!({"started": null, "message": "another Cutover's run"});
    list(&mut store, Told::Cutover, vec![cutover("2.4.0", waits)]);
    look(&mut teller, &store, time(1));
    assert!(look(&mut teller, &store, time(9)).0.is_empty());
    // A gate whose time is over is.
    list(&mut store, Told::Cutover, vec![cutover("2.4.0", json!({}))]);
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(at_gate("t")))]);
    assert!(look(&mut teller, &store, time(58)).0.iter().all(|l| !l.contains("away")));
    let (lines, _) = look(&mut teller, &store, after(59, 20));
    assert!(lines.len() == 1 && lines[0].contains("away: the time of gate go is over, for 20s now"), "{lines:?}");
}

#[test]
fn a_change_is_one_object_a_line_for_programs() {
    let mut teller = teller(Pick::Wanted, Goal::Waiting);
    let mut status = at_gate("t");
    status["steps"][0]["evidence"] = json!({"log": "\u{1b}[2J\nevil"});
    let store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(json!({"phase": "Pending"})))]);
    look(&mut teller, &store, time(0));
    let mut store = store;
    list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(status))]);
    let said = teller.look(&store, time(6));
    assert_eq!(said.end, Some(Ok(Exit::Waits)));
    let lines: Vec<String> = said.changes.iter().map(|c| serde_json::to_string(c).expect("JSON")).collect();
    assert!(lines.iter().all(|l| l.chars().all(|c| !c.is_control())), "{lines:?}");
    let gate: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!(gate["about"], "gate");
    assert_eq!((&gate["name"], &gate["state"], &gate["run"]), (&json!("go"), &json!("open"), &json!("web-2")));
    assert_eq!(gate["next"][0], "kubectl cutover approve web --role qa -n prod");
    let shown = said.changes.iter().map(|c| c.line().show(Look::plain())).collect::<String>();
    assert!(!shown.contains('\u{1b}') && shown.contains("\\u{1b}[2J evil"), "{shown}");
}

#[test]
fn a_suspended_run_waits_for_whoever_resumes_it() {
    let conditions = json!([{"type": "Suspended", "status": "True", "reason": "Suspended", "message": "it stands still",
        "lastTransitionTime": at(9)}]);
    for (by_person, next) in
        [(true, "kubectl cutover resume web -n prod"), (false, "set spec.suspend of the Cutover to false")]
    {
        let mut held = observing();
        held["conditions"] = conditions.clone();
        if by_person {
            held["suspended"] = json!(at(9));
        }
        let mut store = store(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(observing()))]);
        let mut teller = teller(Pick::Wanted, Goal::Waiting);
        assert_eq!(look(&mut teller, &store, time(9)).1, None);
        list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(held.clone()))]);
        let (lines, end) = look(&mut teller, &store, time(9));
        assert_eq!(lines, [format!("2026-01-01T00:09:00Z web-2 Suspended: it stands still; next: {next}")]);
        assert_eq!(end, Some(Ok(Exit::Waits)));
        // On the way back nothing stands still.
        held["ending"] = json!({"phase": "RolledBack", "reason": "Decision", "message": "m", "at": at(9)});
        list(&mut store, Told::Run, vec![run(2, "2.4.0", Some(held))]);
        assert_eq!(look(&mut teller, &store, time(9)).1, None);
    }
}
