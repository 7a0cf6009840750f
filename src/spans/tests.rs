//! The tree of a run's trace: who is part of whom, when, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::run::{CutoverRunSpec, Ending, JobRecord, ServiceSwitch, StepRecord, SwitchRecord};
use crate::journal::enter;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).expect("a time")
}

/// A run that is rolled back: a suite, a Job with two attempts, a switch of two Services, an undo.
fn rolled_back() -> (CutoverRun, Plan, RunStatus) {
    let spec = json!({
        "services": [{"name": "web"}, {"name": "api"}], "activate": "green",
        "release": {"version": "2.0.0"},
        "sides": [
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]},
        ],
        "phases": {"prepare": {"steps": [{"name": "migrate", "retry": {"attempts": 2},
            "job": {"deadline": "5m", "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "undo": {"job": {"deadline": "5m", "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}}}]},
            "verify": {"steps": [{"name": "smoke", "suite": {"steps": [{"name": "health", "http": {"path": "/h"}}]}}]}},
    });
    let spec = serde_json::from_value(spec).expect("a spec");
    let plan = crate::plan::resolve("shop", "prod", &spec, "blue", &crate::plan::Offered::default()).expect("a plan");
    let value = serde_json::to_value(&plan).expect("JSON");
    let spec = CutoverRunSpec { cutover: "shop".into(), cutover_uid: "c".into(), plan_version: 1, plan: value };
    let mut run = CutoverRun::new("shop-1", spec);
    run.metadata.uid = Some("uid-of-the-run".into());
    run.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    let mut j = RunStatus { phase_since: Some(at(1)), ..RunStatus::default() };
    for (phase, when) in [
        (Phase::Preflight, 2),
        (Phase::Preparing, 3),
        (Phase::Verifying, 20),
        (Phase::Switching, 30),
        (Phase::Confirming, 36),
        (Phase::Observing, 36),
        (Phase::RollingBack, 50),
        (Phase::RolledBack, 60),
    ] {
        enter(&mut j, phase, "Progress", "", at(when)).expect("legal");
    }
    let job = |name: &str, from, to, failure: Option<&str>| JobRecord {
        name: name.into(),
        uid: Some(format!("uid-{name}")),
        created: Some(at(from)),
        started: Some(at(from)),
        ended: Some(at(to)),
        failure: failure.map(str::to_owned),
        ..JobRecord::default()
    };
    let record = |name: &str, state, from, to| StepRecord {
        name: name.into(),
        state,
        attempt: 1,
        started: Some(at(from)),
        ended: Some(at(to)),
        attempt_at: Some(at(from)),
        evidence: Some(json!({"secret": "hunter2"})),
        ..StepRecord::default()
    };
    j.steps = vec![
        StepRecord {
            attempt: 2,
            former_jobs: vec![job("migrate-a", 3, 8, Some("exit code 1"))],
            job: Some(job("migrate-b", 10, 19, None)),
            ..record("migrate", StepState::Succeeded, 3, 19)
        },
        record("smoke", StepState::Succeeded, 20, 25),
        record("health", StepState::Succeeded, 21, 22),
        StepRecord { message: Some("exit code 2".into()), ..record("undo/migrate", StepState::Failed, 52, 58) },
    ];
    j.captures.insert("token".into(), json!("hunter2"));
    let service = |name: &str, restored| ServiceSwitch {
        name: name.into(),
        uid: "u".into(),
        resource_version: "1".into(),
        from: [].into(),
        to: [].into(),
        wanted: 0,
        old_wanted: 0,
        unanswered: false,
        adopted: false,
        state: SwitchState::Restored,
        switched_at: Some(at(31)),
        restored_at: Some(at(restored)),
        message: None,
        blocked: None,
    };
    j.switch = Some(SwitchRecord {
        claimed_at: at(30),
        converged_at: Some(at(34)),
        restored_at: Some(at(51)),
        services: vec![service("web", 51), service("api", 51)],
    });
    j.ending = Some(Ending {
        phase: Phase::RolledBack,
        reason: "TriggerFired".into(),
        message: "trigger errors fired".into(),
        at: at(50),
        trigger: Some("errors".into()),
        incomplete: true,
        scaled_at: None,
        empty_since: None,
        undo_first: None,
        stopped_at: None,
        prepared_at: None,
    });
    j.triggers =
        vec![crate::api::run::TriggerRecord { name: "errors".into(), fired_at: Some(at(50)), ..Default::default() }];
    (run, plan, j)
}

/// The tree as lines: depth, name, from and to in seconds after the creation, what went wrong.
fn tree(trace: &Trace) -> String {
    let names: BTreeMap<[u8; 8], &Span> = trace.spans.iter().map(|s| (s.id, s)).collect();
    let mut text = String::new();
    for span in &trace.spans {
        let (mut depth, mut up) = (0, span.parent);
        while let Some(parent) = up {
            depth += 1;
            up = names[&parent].parent;
        }
        let parent = span.parent.map_or("", |p| names[&p].name.as_str());
        let (from, to) = (span.start.as_second() - 1_000_000, span.end.as_second() - 1_000_000);
        let error = span.error.as_ref().map(|e| format!(" ! {e}")).unwrap_or_default();
        text.push_str(&format!("{depth} {} {from}..{to} in [{parent}]{error}\n", span.name));
    }
    text
}

#[test]
fn the_tree_shows_phases_steps_jobs_switch_and_restore() {
    let (run, plan, journal) = rolled_back();
    let trace = of(&run, &plan, &journal);
    let wanted = "\
0 run 0..60 in [] ! trigger errors fired
1 Pending 0..2 in [run]
1 Preflight 2..3 in [run]
1 Preparing 3..20 in [run]
1 Verifying 20..30 in [run]
1 Switching 30..36 in [run]
1 Confirming 36..36 in [run]
1 Observing 36..50 in [run]
1 RollingBack 50..60 in [run]
2 step migrate 3..19 in [Preparing]
3 job 3..8 in [step migrate] ! exit code 1
3 job 10..19 in [step migrate]
2 step smoke 20..25 in [Verifying]
3 step health 21..22 in [step smoke]
2 step undo/migrate 52..58 in [RollingBack] ! exit code 2
2 switch 30..34 in [Switching]
3 switch Service 30..31 in [switch]
3 switch Service 30..31 in [switch]
2 restore 50..51 in [RollingBack]
3 restore Service 50..51 in [restore]
3 restore Service 50..51 in [restore]
";
    assert_eq!(tree(&trace), wanted);
    let root = &trace.spans[0];
    assert!(root.attributes.contains(&("cutover.outcome", json!("RolledBack"))));
    assert!(root.attributes.contains(&("cutover.release", json!("2.0.0"))));
    assert_eq!(root.events[0].1, "trigger fired");
    let migrate = trace.spans.iter().find(|s| s.name == "step migrate").expect("the step");
    assert!(migrate.attributes.contains(&("cutover.action", json!("job"))));
    assert!(migrate.attributes.contains(&("cutover.attempts", json!(2))));
}

#[test]
fn ids_are_unique_and_follow_from_the_run_alone() {
    let (mut run, plan, journal) = rolled_back();
    let trace = of(&run, &plan, &journal);
    let ids: BTreeSet<_> = trace.spans.iter().map(|s| s.id).collect();
    assert_eq!(ids.len(), trace.spans.len());
    assert_eq!(of(&run, &plan, &journal), trace, "another operator makes the same");
    run.metadata.uid = Some("another".into());
    let other = of(&run, &plan, &journal);
    assert_ne!(other.id, trace.id);
    assert!(other.spans.iter().all(|s| !ids.contains(&s.id)));
}

#[test]
fn nothing_that_a_step_saw_is_in_it() {
    let (run, plan, journal) = rolled_back();
    assert!(serde_json::to_string(&journal).expect("JSON").contains("hunter2"));
    assert!(!format!("{:?}", of(&run, &plan, &journal)).contains("hunter2"));
}

#[test]
fn a_journal_with_nothing_in_it_has_a_trace_too() {
    let (run, plan, _) = rolled_back();
    let trace = of(&run, &plan, &RunStatus::default());
    assert_eq!(tree(&trace), "0 run 0..0 in []\n1 Pending 0..0 in [run]\n");
}
