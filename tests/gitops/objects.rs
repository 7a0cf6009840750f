//! Live objects of every phase. The journal of a run is that of a scenario (`tests/simulate`), where the product's own loop
//! has written it; the Cutover beside it is what the product's own controller writes of such a run (`pilot::cutover`, against
//! the simulated API server of `tests/steer.rs`).

use cutover::api::cutover::Cutover;
use cutover::api::phase::Phase;
use cutover::api::run::{CutoverRun, RunState, RunStatus};
use cutover::pilot::cutover::WatchEvent;
use cutover::plan::Plan;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::api_server::{NAMESPACE, Server};
use crate::process::{Fate, Process};
use crate::sim::files::{load, stage};
use crate::{CUSTOMIZATIONS, expect, names, root};

/// A state of a run: its name, the scenario that goes through it, and by what it is known there (`None`: by the scenario's
/// end).
type State = (&'static str, &'static str, Option<fn(&RunStatus) -> bool>);

/// Whether a condition is True.
fn has(journal: &RunStatus, type_: &str) -> bool {
    journal.conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}

fn rests(journal: &RunStatus) -> bool {
    journal.phase == Phase::Completed && journal.state == RunState::Active && has(journal, "CanRollBack")
}

const STATES: &[State] = &[
    ("pending", "window", Some(|j| j.phase == Phase::Pending && j.waiting.is_some())),
    ("preflight", "good_release", Some(|j| j.phase == Phase::Preflight)),
    ("preparing", "good_release", Some(|j| j.phase == Phase::Preparing)),
    ("verifying", "good_release", Some(|j| j.phase == Phase::Verifying)),
    ("switching", "good_release", Some(|j| j.phase == Phase::Switching)),
    ("confirming", "good_release", Some(|j| j.phase == Phase::Confirming)),
    ("observing", "good_release", Some(|j| j.phase == Phase::Observing && j.observation.is_some())),
    ("finishing", "good_release", Some(|j| j.phase == Phase::Finishing)),
    ("completed", "good_release", None),
    ("completed-follow-ups", "follow_ups", Some(rests)),
    ("rolling-back", "error_rate", Some(|j| j.phase == Phase::RollingBack)),
    ("rolled-back", "error_rate", None),
    ("failed", "job_fails", None),
    ("aborted", "decision_abort", None),
    ("superseded", "superseded", None),
    ("approval", "approval_given", Some(|j| has(j, "AwaitingDecision"))),
    ("asks", "prometheus_down_for_ever", Some(|j| j.question.is_some() && has(j, "AwaitingDecision"))),
    ("outcome-unknown", "job_deleted_unresolved", None),
    ("metrics-inconclusive", "prometheus_down_for_ever", Some(|j| has(j, "MetricsInconclusive"))),
    ("suspended", "suspended_for_ever", None),
    ("suspended-by-field", "suspended_steps", Some(|j| has(j, "Suspended"))),
    ("rollback-blocked", "restore_denied", Some(|j| has(j, "RollbackBlocked"))),
    ("selector-drift", "foreign_selector_before_for_ever", None),
];

/// A cluster with the controller of Cutovers in it.
struct Stage {
    server: Server,
    process: Process,
}

impl Stage {
    fn new() -> Self {
        let server = Server::new();
        let process = Process::start(&server);
        Self { server, process }
    }

    /// The controller does all that it has to do.
    fn settle(&mut self) {
        self.process.watch(&self.server);
        for _ in 0..200 {
            if let Some(key) = self.process.due.first().cloned() {
                self.process.begin(&self.server, &key);
            }
            for key in self.process.ready() {
                self.process.step(&mut self.server, &key, Fate::Served);
                self.process.watch(&self.server);
            }
            if self.process.looks.is_empty() && self.process.due.is_empty() {
                assert!(self.server.broken.is_empty(), "{:#?}", self.server.broken);
                return;
            }
        }
        panic!("the controller does not come to rest");
    }

    /// A Cutover that is idle on blue at 1.0.0.
    fn idle(&mut self, spec: &Value) {
        let mut before = spec.clone();
        (before["activate"], before["release"]) = (json!("blue"), json!({"version": "1.0.0"}));
        for service in spec["services"].as_array().into_iter().flatten() {
            self.server.point(service["name"].as_str().unwrap_or_default(), "blue");
        }
        self.server.apply("web", before);
        self.settle();
    }

    fn cutover(&self) -> &Cutover {
        &self.server.cutovers["web"]
    }
}

/// A state of a run, and the Cutover beside it.
fn play((name, scenario, until): &State) -> (Stage, Value) {
    let scenario = load(scenario);
    let spec = serde_json::to_value(&scenario.cutover).expect("a spec");
    let mut line = stage(&scenario, None);
    line.until = *until;
    line.run();
    let journal = &line.cluster.status;
    assert!(until.is_none_or(|until| until(journal)), "{name}: the scenario never comes there");

    let mut stage = Stage::new();
    stage.server.now = crate::sim::timeline::EPOCH;
    stage.idle(&spec);
    stage.server.apply("web", spec.clone());
    stage.settle();
    let plan: Plan = serde_json::from_value(stage.server.runs["web-1"].spec.plan.clone()).expect("a plan");
    assert_eq!(&plan, &*line.cluster.plan, "{name}: the run of the scenario is another one");
    for service in &plan.services {
        match line.cluster.points_to(service) {
            Some(side) => stage.server.point(service, side),
            None => stage.server.point(service, "red"),
        }
    }
    stage.server.now = line.cluster.now;
    let version = stage.server.next_version();
    let run = stage.server.runs.get_mut("web-1").expect("the run");
    run.status = Some(journal.clone());
    run.metadata.resource_version = Some(version);
    if line.scenario.script.iter().any(|cue| cue.act.suspend == Some(true)) {
        let mut held = spec.clone();
        held["suspend"] = json!(true);
        stage.server.apply("web", held);
    }
    stage.settle();
    (stage, spec)
}

/// Cutovers beside those of [`STATES`].
fn others() -> Vec<(&'static str, Cutover)> {
    let state = |name: &str| STATES.iter().find(|state| state.0 == name).expect("a state");
    let mut all = vec![];
    // Argo CD reaches this cluster as another account.
    let (mut stage, _) = play(state("observing"));
    let account =
        ("cutover.dev/argocd-account".to_owned(), "system:serviceaccount:kube-system:argocd-manager".to_owned());
    let cutover = stage.server.cutovers.get_mut("web").expect("the Cutover");
    cutover.metadata.annotations = Some([account].into());
    all.push(("other-account", cutover.clone()));

    let (mut stage, spec) = play(state("completed"));
    // Somebody else points the Service back.
    stage.server.point("web", "blue");
    stage.server.now += jiff::SignedDuration::from_secs(60);
    let selector = stage.server.services.get("web").cloned();
    stage.process.apply(WatchEvent::Service(NAMESPACE.into(), "web".into(), selector));
    stage.settle();
    all.push(("drifted-at-rest", stage.cutover().clone()));

    // A new release stands there, and the operator has not seen it.
    let (mut stage, _) = play(state("completed"));
    stage.server.want("web", "blue", "3.0.0");
    all.push(("next-release-not-seen", stage.cutover().clone()));
    // It has been seen, and the run of the one before has its follow-ups to end first.
    let (mut stage, _) = play(state("completed-follow-ups"));
    stage.server.want("web", "blue", "3.0.0");
    stage.settle();
    all.push(("next-release-seen", stage.cutover().clone()));
    // The release changed on the side that is live.
    let (mut stage, _) = play(state("completed"));
    stage.server.want("web", "green", "3.0.0");
    stage.settle();
    all.push(("target-is-live", stage.cutover().clone()));

    let mut stage = Stage::new();
    stage.idle(&spec);
    all.push(("idle", stage.cutover().clone()));
    // The run is created, and its driver has not begun.
    stage.server.apply("web", spec.clone());
    stage.settle();
    all.push(("just-started", stage.cutover().clone()));

    let mut stage = Stage::new();
    let mut wrong = spec.clone();
    wrong["phases"]["verify"]["steps"][0]["http"]["expect"] = json!(["status = 200"]);
    stage.idle(&wrong);
    all.push(("not-accepted", stage.cutover().clone()));

    let mut stage = Stage::new();
    stage.server.apply("web", spec);
    all.push(("never-seen", stage.cutover().clone()));
    all
}

/// Uids and resourceVersions in the form of an API server.
fn identified(value: &mut Value) {
    match value {
        Value::Object(all) => all.values_mut().for_each(identified),
        Value::Array(all) => all.iter_mut().for_each(identified),
        Value::String(text) => {
            let number = |prefix: &str| text.strip_prefix(prefix)?.parse::<u32>().ok();
            if let Some(number) = number("uid") {
                *text = format!("5e6d0c1a-7b52-4f0e-9c3d-{number:012}");
            } else if let Some(number) = number("rv") {
                *text = format!("{}", 4000 + number);
            }
        }
        _ => {}
    }
}

/// An object as the API server shows it.
fn shown<T: serde::Serialize>(object: &T) -> String {
    let mut value = serde_json::to_value(object).expect("an object");
    if value["kind"] == "Cutover" && value.get("status").is_none_or(Value::is_null) {
        // The default of the definition.
        value["status"] = json!({"observedGeneration": -1});
    }
    identified(&mut value);
    serde_saphyr::to_string(&value).expect("YAML")
}

#[test]
fn the_live_objects_are_those_of_this_version() {
    let folder = |kind: &str| root(&format!("{CUSTOMIZATIONS}/{kind}/testdata"));
    let (cutovers, runs) = (folder("Cutover"), folder("CutoverRun"));
    let (mut of_cutovers, mut of_runs) = (vec![], vec![]);
    for state in STATES {
        let (stage, _) = play(state);
        let mut run: CutoverRun = stage.server.runs["web-1"].clone();
        // The journal says when it began.
        run.metadata.creation_timestamp = Some(Time(crate::sim::timeline::EPOCH));
        expect(&cutovers.join(format!("{}.yaml", state.0)), &shown(stage.cutover()));
        expect(&runs.join(format!("{}.yaml", state.0)), &shown(&run));
        of_cutovers.push(state.0.to_owned());
        of_runs.push(state.0.to_owned());
    }
    for (name, cutover) in others() {
        expect(&cutovers.join(format!("{name}.yaml")), &shown(&cutover));
        of_cutovers.push(name.to_owned());
    }
    let phases: std::collections::BTreeSet<String> = of_cutovers
        .iter()
        .map(|name| {
            let text = std::fs::read_to_string(cutovers.join(format!("{name}.yaml"))).expect("it was written");
            let value: Value = serde_saphyr::from_str(&text).expect("YAML");
            value["status"]["phase"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let missing: Vec<&str> =
        Phase::ALL.iter().map(|phase| phase.as_str()).filter(|phase| !phases.contains(*phase)).collect();
    assert!(missing.is_empty(), "no Cutover is {missing:?}");
    for (folder, mut known) in [(cutovers, of_cutovers), (runs, of_runs)] {
        known.sort();
        assert_eq!(names(&folder), known, "{}: files of other states", folder.display());
    }
}
