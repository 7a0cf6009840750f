//! A Cutover and its runs, as the tests of `watch` need them.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::store::{Heard, Part, Store, Told};
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::run::{CutoverRun, CutoverRunSpec};
use crate::plan::Offered;

mod choose;
mod keys;
mod pictures;
mod pipeline;
mod screen;

pub(super) fn at(minute: u32) -> String {
    format!("2026-01-01T00:{minute:02}:00Z")
}

pub(super) fn time(minute: u32) -> Timestamp {
    at(minute).parse().expect("a time")
}

pub(super) fn moment(minute: u32, phase: &str, message: &str) -> Value {
    json!({"at": at(minute), "phase": phase, "reason": "Progress", "message": message})
}

/// What activates green with a release.
pub(super) fn spec(version: &str) -> CutoverSpec {
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
pub(super) fn run(number: u32, version: &str, status: Option<Value>) -> CutoverRun {
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
pub(super) fn cutover(version: &str, status: Value) -> Cutover {
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

pub(super) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// Tells a store all objects of a kind.
pub(super) fn list<K>(store: &mut Store, told: fn(watcher::Event<K>) -> Told, objects: Vec<K>) {
    let events = [watcher::Event::Init].into_iter().chain(objects.into_iter().map(watcher::Event::InitApply));
    for event in events.chain([watcher::Event::InitDone]) {
        store.hear(Heard::Told(Box::new(told(event))), time(0));
    }
}

/// What is known of a Cutover and its runs.
pub(super) fn store(cutover: Cutover, runs: Vec<CutoverRun>) -> Store {
    let mut store = Store::default();
    list(&mut store, Told::Cutover, vec![cutover]);
    list(&mut store, Told::Run, runs);
    store
}

/// The same with what runs on both sides, and Events.
pub(super) fn whole(cutover: Cutover, runs: Vec<CutoverRun>) -> Store {
    let mut store = store(cutover, runs);
    let deployment = |name: &str, ready: u32| -> Deployment {
        object(json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {}, "template": {"metadata": {},
            "spec": {"containers": [{"name": "app", "image": format!("registry.example/{name}:1")}]}}},
            "status": {"readyReplicas": ready}}))
    };
    list(&mut store, Told::Deployment, vec![deployment("web-blue", 2), deployment("web-green", 1)]);
    list(&mut store, Told::StatefulSet, vec![]);
    let pods: Vec<Pod> = vec![];
    list(&mut store, Told::Pod, pods);
    let event = |name: &str, minute: u32, type_: &str, message: &str| -> Event {
        object(json!({"metadata": {"name": name}, "eventTime": format!("2026-01-01T00:{minute:02}:00.000000Z"),
            "type": type_, "reason": "Progress", "message": message, "related": {"name": "web-2"},
            "involvedObject": {"kind": "Cutover", "name": "web"}}))
    };
    list(
        &mut store,
        Told::Event,
        vec![event("a", 3, "Normal", "step migrate has succeeded"), event("b", 9, "Warning", "trigger errors is bad")],
    );
    store
}

pub(super) const ALL: [Part; 6] =
    [Part::Cutover, Part::Runs, Part::Deployments, Part::StatefulSets, Part::Pods, Part::Events];

/// A run that waits at its gate.
pub(super) fn at_gate(token: &str) -> Value {
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

/// A run that observes, one trigger of which is bad.
pub(super) fn observing() -> Value {
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
            {"name": "errors", "trials": 5, "lastAt": at(9), "last": "Bad", "saw": "0.08", "badSince": at(9), "history": [
                trial(7, "Good", "0"), trial(8, "Good", "0.045"), trial(9, "Bad", "0.08")]},
            {"name": "availability", "trials": 3, "lastAt": at(9), "last": "Good", "saw": "0.999"},
            {"name": "down", "trials": 3, "lastAt": at(9), "last": "Good", "saw": "HTTP 200"},
        ],
        "decisions": [{"uid": "d", "decision": "Approve", "by": "jane@example.com", "at": at(6), "gate": "go", "role": "qa",
            "comment": "the board is green", "result": "accepted"}],
        "oldRelease": "2.3.0",
    })
}

/// A run that is over.
pub(super) fn over(phase: &str) -> Value {
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
