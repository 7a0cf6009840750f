//! A run as whoever shows it sees it.

use serde_json::{Value, json};

use super::*;
use crate::api::run::CutoverRunSpec;
use crate::plan::{Offered, Stage};

/// A run of a release with a suite, a gate, a trigger, a follow-up and a retirement.
fn run(status: Value) -> CutoverRun {
    let spec = json!({
        "services": [{"name": "web"}], "activate": "green", "release": {"version": "2.4.0"},
        "prometheus": {"url": "https://prometheus.example"},
        "sides": [
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]},
        ],
        "phases": {
            "prepare": {"steps": [{"name": "migrate", "retry": {"attempts": 3},
                "job": {"deadline": "5m", "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
                "undo": {"job": {"deadline": "5m", "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}}}]},
            "verify": {"steps": [
                {"name": "smoke", "suite": {"steps": [{"name": "health", "http": {"path": "/h"}}]}},
                {"name": "go", "approval": {"roles": [{"name": "qa"}], "instructions": "look first"}}]},
            "followUp": {"steps": [{"name": "kpis", "http": {"path": "/k"}}]},
        },
        "observe": {"for": "10m", "triggers": [{"name": "errors", "metric": {"query": "q", "above": "0.05"}}]},
        "followUp": [{"name": "day", "after": "1h", "every": "1h", "until": "3h", "run": ["kpis"]}],
        "retire": {"after": "48h", "scaleTo": 0},
    });
    let spec = serde_json::from_value(spec).expect("a spec");
    let plan = crate::plan::resolve("web", "prod", &spec, "blue", &Offered::default())
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    let plan = serde_json::to_value(&plan).expect("JSON");
    let spec = CutoverRunSpec { cutover: "web".into(), cutover_uid: "c".into(), plan_version: 2, plan };
    let mut run = CutoverRun::new("web-1", spec);
    run.metadata.uid = Some("uid".into());
    run.status = Some(serde_json::from_value(status).expect("a journal"));
    run
}

fn at(minute: u32) -> String {
    format!("2026-01-01T00:{minute:02}:00Z")
}

fn time(minute: u32) -> Timestamp {
    at(minute).parse().expect("a time")
}

fn moment(minute: u32, phase: &str) -> Value {
    json!({"at": at(minute), "phase": phase, "reason": "Progress", "message": "m"})
}

#[test]
fn the_tree_has_what_was_planned_with_what_became_of_it() {
    let run = run(json!({
        "phase": "Verifying", "phaseSince": at(9),
        "timeline": [moment(1, "Preflight"), moment(2, "Preparing"), moment(9, "Verifying")],
        "steps": [
            {"name": "migrate", "state": "Succeeded", "attempt": 2, "started": at(2), "ended": at(8),
             "evidence": {"exitCode": 0}, "formerJobs": [{"name": "j-1"}], "job": {"name": "j-2"},
             "earlier": [{"attempt": 1, "ended": at(4), "state": "Failed", "message": "exit code 1"}]},
            {"name": "smoke", "state": "Running", "attempt": 1, "started": at(9)},
            {"name": "health", "state": "Succeeded", "attempt": 1, "started": at(9), "ended": at(9)},
            {"name": "go", "state": "Running", "attempt": 1, "started": at(9), "message": "qa is awaited",
             "gate": {"token": "t", "until": at(59), "roles": []}},
            {"name": "undo/migrate", "state": "Failed", "attempt": 1, "started": at(10), "ended": at(11)},
        ],
        "decisions": [{"uid": "d", "decision": "Approve", "by": "jane", "at": at(10), "gate": "go", "result": "accepted"}],
    }));
    let plan = plan_of(&run);
    let seen = Run::of(&run, plan.as_ref()).expect("a journal");
    let names = |branch: &Branch| branch.steps.iter().map(|n| n.step.name.to_owned()).collect::<Vec<_>>();
    let stages: Vec<Stage> = seen.stages.iter().map(|b| b.stage).collect();
    let wanted = [Stage::Preflight, Stage::Prepare, Stage::Verify, Stage::FollowUp, Stage::Retire];
    assert!(wanted.iter().all(|stage| stages.contains(stage)), "{stages:?}");
    let branch = |stage: Stage| seen.stages.iter().find(|b| b.stage == stage).expect("the stage");
    let migrate = branch(Stage::Prepare).steps.iter().find(|n| n.step.name == "migrate").expect("the step");
    assert_eq!((migrate.step.attempt, migrate.step.attempts, migrate.step.kind), (2, Some(3), Some("job")));
    assert_eq!(migrate.step.took(), Some(SignedDuration::from_mins(6)));
    assert_eq!(migrate.step.evidence().as_deref(), Some("exitCode=0"));
    assert_eq!(migrate.step.earlier.iter().map(|a| a.message.as_str()).collect::<Vec<_>>(), ["exit code 1"]);
    assert_eq!(migrate.step.jobs.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["j-1", "j-2"]);
    assert_eq!(
        migrate.undo.iter().map(|u| (u.name, u.state)).collect::<Vec<_>>(),
        [("undo/migrate", Some(StepState::Failed))]
    );
    let verify = branch(Stage::Verify);
    assert!(names(verify).ends_with(&["smoke".into(), "go".into()]), "{:?}", names(verify));
    let smoke = verify.steps.iter().find(|n| n.step.name == "smoke").expect("the suite");
    assert!(smoke.step.is_suite() && smoke.parts[0].suite == Some("smoke") && !smoke.parts[0].is_suite());
    let go = seen.execution("go").expect("the gate");
    assert_eq!(go.decided.iter().map(|d| d.by.as_str()).collect::<Vec<_>>(), ["jane"]);
    assert_eq!(go.within.map(|n| seen.phases[n].phase), Some(Phase::Verifying));
    let gate = seen.gate.expect("it is open");
    assert_eq!((gate.name, gate.open.token.as_str(), gate.instructions), ("go", "t", Some("look first")));
    assert!(seen.needs_people());
    assert_eq!(branch(Stage::Retire).steps[0].step.state, None, "not begun");
    assert_eq!(seen.under_way().map(|(s, what)| (s.name, what)), Some(("go", "qa is awaited")));
    let Progress { done, all } = seen.progress.expect("the plan can be read");
    // The suite and the gate are under way; the step that the operator put in, and the one in front, have not begun.
    assert!(done == 1 && all > 3, "{done} of {all}");
}

#[test]
fn phases_follow_each_other_and_the_last_has_no_end() {
    let run = run(json!({
        "phase": "Preparing", "phaseSince": at(2), "timeline": [moment(1, "Preflight"), moment(2, "Preparing")],
    }));
    let seen = Run::of(&run, None).expect("a journal");
    let phases: Vec<_> = seen.phases.iter().map(|p| (p.phase, p.from, p.to)).collect();
    assert_eq!(
        phases,
        [
            (Phase::Pending, time(1), Some(time(1))),
            (Phase::Preflight, time(1), Some(time(2))),
            (Phase::Preparing, time(2), None)
        ]
    );
    assert_eq!(seen.phases[1].took(), Some(SignedDuration::from_mins(1)));
    assert_eq!(seen.took(), Some(SignedDuration::from_mins(1)));
    // Without a plan the journal is shown all the same.
    assert!(seen.stages.is_empty() && seen.progress.is_none() && seen.target.is_none());
}

#[test]
fn a_trigger_says_how_far_its_value_is_from_the_limit() {
    let run = run(json!({
        "phase": "Observing",
        "observation": {"since": at(0), "conclusiveMs": 90000, "countedTo": at(2)},
        "triggers": [
            {"name": "errors", "trials": 3, "last": "Good", "saw": "0.02",
             "history": [{"at": at(1), "verdict": "Bad", "saw": "0.09", "limit": "> 0.05"}]},
            {"name": "ready", "saw": "2 of 2"},
        ],
    }));
    let plan = plan_of(&run);
    let seen = Run::of(&run, plan.as_ref()).expect("a journal");
    let [errors, ready] = seen.triggers.as_slice() else { panic!("{:?}", seen.triggers) };
    assert_eq!((errors.value(), errors.limit.as_ref().map(|l| l.text.as_str())), (Some(0.02), Some("0.05")));
    assert!(errors.distance().is_some_and(|d| (d - 0.03).abs() < 1e-9));
    assert_eq!(errors.history.len(), 1);
    assert_eq!((ready.value(), ready.distance(), ready.severity), (None, None, None), "the operator's own");
    let o = seen.observation.expect("it has begun");
    assert_eq!((o.seen.as_millis(), o.wanted.map(|w| w.to_string())), (90_000, Some("10m".into())));
}

#[test]
fn what_is_to_come_after_completion_has_its_times() {
    let completed = json!({
        "phase": "Completed", "phaseSince": at(0), "oldRelease": "2.3.0", "timeline": [moment(0, "Completed")],
        "steps": [{"name": "kpis", "state": "Succeeded", "attempt": 1, "started": at(58), "ended": at(59)}],
        "after": {"followUps": [{"name": "day", "round": 1, "due": at(30), "state": "Succeeded"}]},
    });
    let first = run(completed.clone());
    let plan = plan_of(&first);
    let seen = Run::of(&first, plan.as_ref()).expect("a journal");
    assert_eq!(seen.release, Releases { old: Some("2.3.0"), new: Some("2.4.0") });
    let [day] = seen.follow_ups.as_slice() else { panic!("{:?}", seen.follow_ups) };
    assert_eq!((day.round, day.rounds, day.state), (1, 3, Some(StepState::Succeeded)));
    assert_eq!(day.next, "2026-01-01T02:00:00Z".parse().ok());
    assert_eq!(day.steps.iter().map(|s| s.name).collect::<Vec<_>>(), ["kpis"]);
    let retirement = seen.retirement.as_ref().expect("it is planned");
    assert_eq!((retirement.due, retirement.step.is_some()), ("2026-01-03T00:00:00Z".parse().ok(), false));
    assert!(!seen.is_retired());
    let mut off = completed;
    off["after"]["calledOff"] = json!("another release");
    let second = run(off);
    let seen = Run::of(&second, plan.as_ref()).expect("a journal");
    assert_eq!((seen.called_off, seen.follow_ups[0].next), (Some("another release"), None));
}

#[test]
fn the_most_pressing_condition_is_raised() {
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "r", "message": "m", "lastTransitionTime": at(0)});
    let run = run(json!({"conditions": [
        condition("Suspended", "True"), condition("AwaitingDecision", "True"), condition("RollbackBlocked", "False"),
    ]}));
    let seen = Run::of(&run, None).expect("a journal");
    assert_eq!(seen.raised().map(|c| c.type_.as_str()), Some("AwaitingDecision"));
}
