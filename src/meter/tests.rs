//! Metrics have bounded labels: whatever happens, no series appears that was not there from the start.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::api::condition::set;
use crate::effect::{Attempt, Change, RestoreGuard};
use jiff::Timestamp;
use serde_json::json;

/// Names and labels of all series but those of watches and triggers, which come and go.
fn series(meter: &Meter) -> BTreeSet<String> {
    let text = meter.text().expect("text");
    let names = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
    names
        .map(|(name, _)| name.to_owned())
        .filter(|n| !n.starts_with("cutover_watch_age") && !n.starts_with("cutover_trigger"))
        .collect()
}

fn all_effects() -> Vec<Effect> {
    let (name, uid) = (String::from("n"), String::from("u"));
    let request = crate::effect::Request::default();
    let workload = crate::api::step::WorkloadRef { kind: crate::api::step::WorkloadKind::Deployment, name: "d".into() };
    let mut all = vec![
        Effect::CreateJob { name: name.clone(), manifest: serde_json::Value::Null },
        Effect::StartJob { name: name.clone(), uid: uid.clone() },
        Effect::DeleteJob { name: name.clone(), uid: uid.clone(), resource_version: None },
        Effect::OwnJob { name: name.clone(), uid: uid.clone() },
        Effect::DeletePod { name: name.clone(), uid: uid.clone(), workload: (&workload).into(), unless_live: vec![] },
        Effect::Answer {
            decision: name.clone(),
            uid: uid.clone(),
            resource_version: "1".into(),
            result: "accepted".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            accepted: true,
        },
        Effect::TakeUp {
            decision: name.clone(),
            uid: uid.clone(),
            resource_version: "1".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
        },
        Effect::Send { key: Attempt::of("a", 1), request },
        Effect::Switch {
            route: crate::route::Route::service(&name),
            uid: uid.clone(),
            resource_version: "1".into(),
            from: [].into(),
            to: [].into(),
            min_ready: 1,
        },
        Effect::Restore {
            route: crate::route::Route::service(&name),
            from: [].into(),
            to: [].into(),
            guard: RestoreGuard { min_ready: 1, any: false },
            limit: crate::api::Duration::from_secs(2),
            beside: false,
            fence: "f".into(),
        },
    ];
    all.extend(changes().into_iter().map(|change| Effect::Change {
        why: "step".into(),
        object: (&workload).into(),
        uid: uid.clone(),
        change,
        unless_live: vec![],
    }));
    all
}

fn changes() -> Vec<Change> {
    let keep = || String::from("k");
    vec![
        Change::Scale { from: 1, to: 2 },
        Change::Suspend { from: false, to: true },
        Change::SetEnv { container: None, env: vec![], keep: keep() },
        Change::UnsetEnv { keep: keep() },
        Change::ForgetEnv { keep: keep() },
        Change::Restart { stamp: "s".into() },
        Change::Template { from: "a".into(), to: "b".into(), template: serde_json::Value::Null },
    ]
}

fn all_outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Created { uid: "u".into() },
        Outcome::NameCollision("x".into()),
        Outcome::Done,
        Outcome::Changed { template: "h".into() },
        Outcome::Answered(vec![]),
        Outcome::NotFound,
        Outcome::Conflict("x".into()),
        Outcome::Refused { why: "x".into(), forbidden: true },
        Outcome::Guarded { ready: 0, other: None, foreign: None },
        Outcome::Transient("x".into()),
    ]
}

#[test]
fn whatever_happens_no_series_is_added() {
    let meter = Meter::new().expect("names are unique");
    let before = series(&meter);
    assert!(before.len() < 1500, "{} series are too many", before.len());
    for effect in all_effects() {
        for outcome in all_outcomes() {
            meter.effect(&effect, &outcome);
        }
    }
    for phase in Phase::ALL {
        meter.measured(Measure::Phase(phase, 1.0));
        meter.measured(Measure::Ended(phase));
    }
    for status in 100..600 {
        for method in ["GET", "WATCH", "POST", "PUT", "PATCH", "DELETE", "HEAD", "BREW"] {
            meter.request(method, labels::result_of(status), Some(Duration::from_millis(3)));
        }
    }
    let mut conditions = vec![];
    for type_ in labels::TROUBLES.into_iter().chain([types::READY, types::CAN_ROLL_BACK, "MadeUp"]) {
        set(&mut conditions, type_, type_ != types::CAN_ROLL_BACK, "Any", "any", Timestamp::UNIX_EPOCH);
    }
    assert_eq!(troubles(&conditions), labels::TROUBLES);
    for list in [&labels::SWITCH_UNTIL, &labels::CAUSES] {
        list.iter().for_each(|v| assert!(!v.is_empty()));
    }
    assert_eq!(series(&meter), before);
}

#[test]
fn every_series_is_one_of_the_reference() {
    let meter = Meter::new().expect("names are unique");
    for resource in labels::WATCHED {
        std::mem::forget(meter.watches().want(&format!("/api/v1/{resource}"), None, None, resource, false));
    }
    watch(&meter, json!({"name": "errors", "lastAt": "2026-01-01T00:00:30Z", "saw": "1"}));
    let text = meter.text().expect("text");
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, given) = series.split_once('{').unwrap_or((series, "}"));
        let of = |f: &&Family| {
            f.name == name
                || f.kind == "histogram"
                    && ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(f.name))
        };
        let family = meter.families().iter().find(of).unwrap_or_else(|| panic!("{name} is not in the reference"));
        seen.insert(family.name);
        for pair in given.trim_end_matches('}').split(',').filter(|p| !p.is_empty()) {
            let (label, value) = pair.split_once('=').expect("label=value");
            let value = value.trim_matches('"');
            let values = family.labels.iter().find(|(l, _)| *l == label).map(|(_, v)| v);
            // Triggers alone are shown by name.
            let bound =
                label == "le" || values == Some(&labels::NAME.to_vec()) || values.is_some_and(|v| v.contains(&value));
            assert!(bound, "{name}: {label}={value} is not one of {values:?}");
        }
    }
    let all: BTreeSet<&str> = meter.families().iter().map(|f| f.name).collect();
    assert_eq!(seen, all, "each metric is there from the start");
}

/// The journal of a run with triggers `errors` and `probe` is written.
fn watch(meter: &Meter, record: serde_json::Value) {
    let spec = json!({
        "services": [{"name": "web"}], "activate": "green",
        "sides": [
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]},
        ],
        "prometheus": {"url": "http://prometheus.example"},
        "observe": {"for": "5m", "triggers": [
            {"name": "errors", "metric": {"query": "errors", "above": "0.01", "sustained": "60s"}},
            {"name": "spikes", "metric": {"query": "queue", "above": "1000", "count": 4, "within": "10m"}},
            {"name": "probe", "probe": {"http": {"path": "/"}, "failing": 4}},
        ]},
    });
    let spec = serde_json::from_value(spec).expect("a spec");
    let plan = crate::plan::resolve("web", "a", &spec, "blue", &crate::plan::Offered::default()).expect("a plan");
    let journal = |phase: &str, triggers| {
        serde_json::from_value(json!({"phase": phase, "triggers": triggers})).expect("a journal")
    };
    let whose = Whose { namespace: "prod", cutover: "shop" };
    let phase = record["phase"].as_str().unwrap_or("Observing").to_owned();
    let after: RunStatus = journal(&phase, json!([record]));
    meter.journal("u", whose, &plan, &journal("Observing", json!([])), &after);
}

#[test]
fn triggers_of_active_runs_are_shown_with_how_near_they_are_to_firing() {
    let meter = Meter::new().expect("names are unique");
    let shown = |record| {
        watch(&meter, record);
        let text = meter.text().expect("text");
        let lines = text.lines().filter_map(|l| l.strip_prefix("cutover_trigger_"));
        lines.map(|l| l.replace("cutover=\"shop\",namespace=\"prod\",", "")).collect::<Vec<_>>()
    };
    let bad = json!({
        "name": "errors", "last": "Bad", "saw": "0.04", "badSince": "2026-01-01T00:00:00Z",
        "lastAt": "2026-01-01T00:00:45Z", "badInARow": 10,
    });
    assert_eq!(
        shown(bad),
        [r#"evidence{trigger="errors"} 0.75"#, r#"limit{trigger="errors"} 0.01"#, r#"value{trigger="errors"} 0.04"#]
    );
    let counted = json!({"name": "spikes", "last": "Good", "saw": "3", "badTrials": [2, 9, 11]});
    assert_eq!(
        shown(counted),
        [r#"evidence{trigger="spikes"} 0.75"#, r#"limit{trigger="spikes"} 1000"#, r#"value{trigger="spikes"} 3"#]
    );
    assert_eq!(shown(json!({"name": "probe", "last": "Bad", "badInARow": 1})), [r#"evidence{trigger="probe"} 0.25"#]);
    assert_eq!(shown(json!({"name": "probe", "last": "Good"})), [r#"evidence{trigger="probe"} 0"#]);
    let fired = json!({"name": "probe", "last": "Bad", "firedAt": "2026-01-01T00:00:45Z"});
    assert_eq!(shown(fired), [r#"evidence{trigger="probe"} 1"#]);
    assert_eq!(shown(json!({"name": "probe", "phase": "RolledBack"})), [""; 0], "the run is over");
    watch(&meter, json!({"name": "probe"}));
    meter.left("u");
    assert!(!meter.text().expect("text").contains("cutover_trigger_evidence{"));
}

#[test]
fn what_happens_is_shown() {
    let meter = Meter::new().expect("names are unique");
    meter.measured(Measure::Ended(Phase::RolledBack));
    meter.measured(Measure::Restore("trigger", 0.042));
    meter.measured(Measure::Step { action: "http", result: "failed", seconds: 3.0 });
    meter.effect(&Effect::StartJob { name: "n".into(), uid: "u".into() }, &Outcome::Done);
    meter.claim("written");
    meter.request("PATCH", labels::result_of(429), None);
    meter.active(3);
    let mut status = RunStatus::default();
    set(&mut status.conditions, types::CAN_ROLL_BACK, false, "OldSide", "", Timestamp::UNIX_EPOCH);
    meter
        .standing
        .lock()
        .expect("one thread")
        .insert("u".into(), Standing { troubles: troubles(&status.conditions), ..Standing::default() });
    let text = meter.text().expect("text");
    for line in [
        r#"cutover_runs_ended_total{phase="RolledBack"} 1"#,
        r#"cutover_effects_total{effect="start_job",outcome="done"} 1"#,
        r#"cutover_restore_duration_seconds_bucket{cause="trigger",le="0.03"} 0"#,
        r#"cutover_restore_duration_seconds_bucket{cause="trigger",le="0.05"} 1"#,
        r#"cutover_step_duration_seconds_count{action="http",result="failed"} 1"#,
        r#"cutover_api_requests_total{method="PATCH",result="throttled"} 1"#,
        r#"cutover_runs_troubled{condition="CannotRollBack"} 1"#,
        "cutover_runs_active 3",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    set(&mut status.conditions, types::CAN_ROLL_BACK, false, reasons::RETIRED, "", Timestamp::UNIX_EPOCH);
    assert!(troubles(&status.conditions).is_empty(), "a side retired on purpose pages nobody");
    meter.left("u");
    assert!(meter.text().expect("text").contains(r#"cutover_runs_troubled{condition="CannotRollBack"} 0"#));
}
