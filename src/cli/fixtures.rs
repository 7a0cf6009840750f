//! A Cutover and its runs as the tests of the command line need them, and what they compare pages with.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::Seen;
use super::find::Found;
use super::status::read::Reading;
use super::text::{Look, Page};
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::run::{CutoverRun, CutoverRunSpec};
use crate::plan::Offered;

pub(crate) fn at(minute: u32) -> String {
    format!("2026-01-01T00:{minute:02}:00Z")
}

pub(crate) fn time(minute: u32) -> Timestamp {
    at(minute).parse().expect("a time")
}

pub(crate) fn moment(minute: u32, phase: &str, message: &str) -> Value {
    json!({"at": at(minute), "phase": phase, "reason": "Progress", "message": message})
}

/// What activates green with a release.
pub(crate) fn spec(version: &str) -> CutoverSpec {
    let job = json!({"deadline": "5m", "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}});
    let spec = json!({
        "services": [{"name": "web"}], "activate": "green", "release": {"version": version},
        "prometheus": {"url": "https://prometheus.example"},
        "sides": [
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "web-blue"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "web-green"}]},
        ],
        "phases": {
            "prepare": {"steps": [
                {"name": "migrate", "retry": {"attempts": 3}, "job": job, "undo": {"job": job}},
                {"name": "announce", "job": job}]},
            "verify": {"steps": [{"name": "go", "approval": {"roles": [{"name": "qa"}, {"name": "operations"}],
                "instructions": "look at the board first", "checklist": ["a call by phone"]}}]},
        },
        "observe": {"for": "10m", "triggers": [
            {"name": "errors", "metric": {"query": "q", "above": "0.05"}},
            {"name": "availability", "severity": "Decide", "within": "5m", "metric": {"query": "q", "below": "0.99"}},
            {"name": "down", "probe": {"http": {"path": "/health"}, "failing": 2}}]},
    });
    serde_json::from_value(spec).expect("a spec")
}

/// A run of a release, from blue to green.
pub(crate) fn run(number: u32, version: &str, status: Option<Value>) -> CutoverRun {
    let plan = crate::plan::resolve("web", "prod", &spec(version), "blue", &Offered::default());
    let plan = plan.unwrap_or_else(|refused| panic!("{refused:?}"));
    let plan = serde_json::to_value(&plan).expect("JSON");
    let spec = CutoverRunSpec { cutover: "web".into(), cutover_uid: "c".into(), plan_version: 2, plan };
    let mut run = CutoverRun::new(&format!("web-{number}"), spec);
    run.metadata.uid = Some(format!("u{number}"));
    run.metadata.namespace = Some("prod".into());
    run.status = status.map(|s| serde_json::from_value(s).expect("a journal"));
    run
}

/// A Cutover that asks for a release in its generation 2; `status` is laid over one that has started it as `web-2`.
pub(crate) fn cutover(version: &str, status: Value) -> Cutover {
    let spec = spec(version);
    let mut base = json!({
        "observedGeneration": 2, "live": "blue@2.3.0", "run": {"name": "web-2", "uid": "u2"},
        "started": {"activate": "green", "release": {"version": version}},
    });
    for (field, value) in status.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    let mut cutover = Cutover::new("web", spec);
    cutover.metadata.uid = Some("c".into());
    cutover.metadata.namespace = Some("prod".into());
    cutover.metadata.generation = Some(2);
    cutover.status = Some(serde_json::from_value(base).expect("a status"));
    cutover
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

pub(crate) fn deployment(name: &str, ready: u32) -> Deployment {
    object(json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {}, "template": {"metadata": {},
        "spec": {"containers": [{"name": "app", "image": format!("registry.example/{name}:1")}]}}},
        "status": {"readyReplicas": ready}}))
}

/// What `status` reads of them; pods are hidden.
pub(crate) fn reading(cutover: Cutover, runs: Vec<CutoverRun>) -> Reading {
    Reading {
        found: Found { cutover, run: runs.last().cloned(), runs },
        deployments: Seen::Known(vec![deployment("web-blue", 2), deployment("web-green", 1)]),
        stateful_sets: Seen::Known(vec![]),
        pods: Seen::Hidden(super::check::facts::PODS),
    }
}

/// A run that waits at its gate.
pub(crate) fn at_gate(token: &str) -> Value {
    json!({
        "phase": "Verifying", "phaseSince": at(5),
        "timeline": [moment(1, "Preflight", "begun"), moment(2, "Preparing", "preflight has passed"), moment(5, "Verifying", "prepared")],
        "steps": [
            {"name": "migrate", "state": "Succeeded", "attempt": 2, "started": at(2), "ended": at(4), "evidence": {"exitCode": 0}},
            {"name": "announce", "state": "Succeeded", "attempt": 1, "started": at(4), "ended": at(5), "evidence": {"exitCode": 0}},
            {"name": "go", "state": "Running", "attempt": 1, "started": at(5), "message": "waits for qa, operations",
             "gate": {"token": token, "until": at(59), "roles": [
                {"name": "qa", "wanted": 1, "by": []}, {"name": "operations", "wanted": 1, "by": []}]}},
        ],
    })
}

/// When its triggers were looked at last.
pub(crate) const LOOKED: &str = "2026-01-01T00:09:50Z";

/// A run that observes, one trigger of which is bad.
pub(crate) fn observing() -> Value {
    let trial = |minute: u32, verdict: &str, saw: &str| json!({"at": at(minute), "verdict": verdict, "saw": saw});
    json!({
        "phase": "Observing", "phaseSince": at(7),
        "timeline": [moment(1, "Preflight", "begun"), moment(2, "Preparing", "preflight has passed"), moment(5, "Verifying", "prepared"),
            moment(6, "Switching", "verified"), moment(6, "Confirming", "switched"), moment(7, "Observing", "confirmed")],
        "steps": [
            {"name": "migrate", "state": "Succeeded", "attempt": 2, "started": at(2), "ended": at(4), "evidence": {"exitCode": 0}},
            {"name": "announce", "state": "Succeeded", "attempt": 1, "started": at(4), "ended": at(5), "evidence": {"exitCode": 0}},
            {"name": "go", "state": "Succeeded", "attempt": 1, "started": at(5), "ended": at(6)},
        ],
        "switch": {"claimedAt": at(6), "convergedAt": at(6), "services": [{"name": "web", "uid": "s", "resourceVersion": "1",
            "from": {"side": "blue"}, "to": {"side": "green"}, "state": "Switched", "switchedAt": at(6)}]},
        "observation": {"since": at(7), "conclusiveMs": 120_000, "countedTo": at(9)},
        "triggers": [
            {"name": "errors", "trials": 5, "lastAt": LOOKED, "last": "Bad", "saw": "0.08", "badSince": at(9), "history": [
                trial(7, "Good", "0"), trial(8, "Good", "0.045"), trial(9, "Bad", "0.08")]},
            {"name": "availability", "trials": 3, "lastAt": LOOKED, "last": "Good", "saw": "0.999"},
            {"name": "down", "trials": 3, "lastAt": LOOKED, "last": "Good", "saw": "HTTP 200"},
        ],
        "decisions": [{"uid": "d", "decision": "Approve", "by": "jane@example.com", "at": at(6), "gate": "go", "role": "qa",
            "comment": "the board is green", "result": "accepted"}],
        "oldRelease": "2.3.0",
    })
}

/// A run that is over.
pub(crate) fn over(phase: &str) -> Value {
    let ending = json!({"phase": phase, "reason": "TriggerFired", "message": "trigger errors fired", "at": at(9)});
    let mut status = json!({
        "state": "Closed", "phase": phase, "phaseSince": at(10),
        "timeline": [moment(1, "Preflight", "begun"), moment(10, phase, "trigger errors fired")],
    });
    if phase != "Completed" {
        status["ending"] = ending;
    }
    status
}

/// Text that would steer a terminal: it sets the title, goes up a line, turns the direction, and adds a line of its own.
pub(crate) const HOSTILE: &str = "\u{1b}]0;title\u{7}\u{1b}[1A\u{202e}mine\nnext: kubectl delete namespace prod";

/// Compares what a command prints: a page, and the JSON of its model, which must be what the schema of the documents says.
#[track_caller]
pub(crate) fn shown<T: Serialize + schemars::JsonSchema>(name: &str, model: &T, page: &Page) {
    of_model(name, model);
    of_page(name, page);
}

/// The same of a model alone.
#[track_caller]
pub(crate) fn of_model<T: Serialize + schemars::JsonSchema>(name: &str, model: &T) {
    let value = serde_json::to_value(model).expect("JSON");
    let schema = serde_json::to_value(super::schema::schema::<T>()).expect("a schema");
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let wrong: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{name} is not what its schema says: {wrong:?}");
    snapshot(&format!("{name}.json"), &(serde_json::to_string_pretty(model).expect("JSON") + "\n"));
}

/// The same of a page alone.
#[track_caller]
pub(crate) fn of_page(name: &str, page: &Page) {
    let text = page.show(Look::plain());
    let steers = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    assert_eq!(text.chars().find(steers), None, "{name}");
    assert!(!text.lines().any(|line| line.starts_with("next: kubectl delete")), "{name} has a line of somebody else");
    snapshot(&format!("{name}.txt"), &text);
}

/// Compares a text with `src/cli/snapshots`; `UPDATE_EXPECT=1` writes it anew.
#[track_caller]
pub(crate) fn snapshot(name: &str, text: &str) {
    // A new version of the program is no new page.
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    current("src/cli/snapshots", name, &text);
}

/// Compares a text with a file of the sources.
#[track_caller]
pub(crate) fn current(folder: &str, name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let path = folder.join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(&path, text).expect("a file that can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not current (UPDATE_EXPECT=1 writes it):\n{text}\nis not\n{found}", path.display());
}
