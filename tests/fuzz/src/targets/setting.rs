//! The Cutover, the plan and the cluster around what is fed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cutover::api::cutover::{Cutover, CutoverSpec};
use cutover::api::notify::Notify;
use cutover::decide::Decision;
use cutover::effect::Read;
use cutover::plan::{Offered, Plan, PlanSide, resolve};
use cutover::world::{
    CutoverView, EndpointView, PodView, PortView, Proof, Proven, Reading, ServiceView, Sighting, TargetPort,
    WorkloadView, World,
};
use jiff::Timestamp;
use serde_json::json;

/// When everything is looked at.
pub const NOW: Timestamp = Timestamp::constant(1_795_000_600, 0);

/// Two gates before the switch, one of which wants two people, and a trigger.
fn manifest() -> CutoverSpec {
    let spec = json!({
        "services": [{"name": "web"}], "activate": "green", "release": {"version": "2.4.0", "requestedBy": "ada"},
        "prometheus": {"url": "https://prometheus.example"},
        "sides": [
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "web-blue"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "web-green"}]},
        ],
        "phases": {"verify": {"steps": [
            {"name": "go", "approval": {"roles": [{"name": "qa"}, {"name": "operations"}], "distinct": true,
                "excludeRequester": true}},
            {"name": "sure", "approval": {"roles": [{"name": "owner"}]}}]}},
        "observe": {"for": "10m", "triggers": [{"name": "errors", "metric": {"query": "q", "above": "0.05"}}]},
    });
    serde_json::from_value(spec).expect("a spec")
}

static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
    let plan = resolve("web", "prod", &manifest(), "blue", &Offered::default());
    Arc::new(plan.unwrap_or_else(|refusals| panic!("{refusals:?}")))
});

/// The plan of a run of [`cutover`].
pub fn plan() -> Arc<Plan> {
    PLAN.clone()
}

/// The Cutover.
pub fn cutover() -> Cutover {
    let mut cutover = Cutover::new("web", manifest());
    cutover.metadata.uid = Some("c".into());
    cutover.metadata.namespace = Some("prod".into());
    cutover.metadata.generation = Some(2);
    let status = json!({"observedGeneration": 2, "live": "blue@2.3.0", "run": {"name": "web-2", "uid": "u2"}});
    cutover.status = Some(serde_json::from_value(status).expect("a status"));
    cutover
}

/// Who is told of what: a person and a program.
fn receivers() -> Vec<Notify> {
    let all = json!([
        {"name": "ops", "slack": {"secret": {"name": "slack", "key": "url"}}, "remindEvery": "15m"},
        {"name": "audit", "webhook": {"secret": {"name": "audit", "key": "url"}}, "events": ["Decision", "RolledBack"]},
    ]);
    serde_json::from_value(all).expect("receivers")
}

/// A cluster in which all is well; the Services point to this side.
pub fn world(plan: &Plan, run_uid: &str, live: &PlanSide, now: Timestamp) -> World {
    let mut world = World::new(now, run_uid);
    let mut seen = vec![Sighting::Cutover(Some(CutoverView {
        uid: "c".into(),
        deleting: false,
        namespace_going: false,
        activate: plan.target.name.clone(),
        release: plan.release.clone(),
        suspend: false,
        notify: receivers(),
        releases: BTreeMap::new(),
        pushed: None,
    }))];
    let sides = [&plan.old, &plan.target];
    for service in &plan.services {
        let selector = live.selector.clone();
        let port = PortView { name: None, port: 80, target: TargetPort::Number(8080) };
        seen.push(Sighting::Service(
            service.clone(),
            Some(ServiceView {
                uid: format!("{service}-uid"),
                resource_version: "7".into(),
                selector,
                ports: vec![port],
                cluster_ip: Some("10.96.0.7".into()),
                external_name: false,
                deleting: false,
                writer: None,
                marks: BTreeMap::new(),
                kept: Default::default(),
            }),
        ));
        let endpoints = (0..2).map(|n| EndpointView {
            slice: format!("{service}-a"),
            foreign: false,
            pod: Some(format!("{}-{n}", live.name)),
            ready: true,
        });
        seen.push(Sighting::Endpoints(service.clone(), endpoints.collect()));
    }
    let mut pods = vec![];
    for side in sides {
        for workload in &side.workloads {
            let view = WorkloadView {
                uid: format!("{}-uid", workload.name),
                resource_version: "7".into(),
                generation: 1,
                observed_generation: 1,
                wanted: 2,
                updated: 2,
                available: 2,
                replicas: 2,
                template_hash: format!("{}-hash", workload.name),
                pod_labels: side.selector.clone(),
                template: json!({"spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]}}),
                stuck: None,
                kept: Default::default(),
                refused: None,
            };
            seen.push(Sighting::Workload(workload.clone(), Some(view)));
        }
        pods.extend((0..2).map(|n| PodView {
            name: format!("{}-{n}", side.name),
            uid: format!("{}-{n}-uid", side.name),
            labels: side.selector.clone(),
            workload: side.workloads.first().cloned(),
            ip: Some(format!("10.0.0.{n}")),
            ready: true,
            ..PodView::default()
        }));
    }
    seen.push(Sighting::Pods(pods));
    seen.push(Sighting::Refreshed(now));
    for sighting in seen {
        world.take_in(now, sighting);
    }
    world
}

/// What a decision asks of the policies is answered: nobody can forge a decision.
pub fn prove(world: &mut World, decision: &Decision, verdict: &Proven) {
    for (key, read) in &decision.reads {
        let reading = match read {
            Read::Proof => {
                let proof =
                    Proof { verdict: verdict.clone(), since: Timestamp::UNIX_EPOCH, policies: Some("1".into()) };
                Reading::Proof(proof)
            }
            Read::DryRun { .. } => Reading::DryRun(vec![]),
            Read::Refresh => Reading::Refreshed,
            _ => continue,
        };
        world.readings.insert(key.clone(), reading);
    }
}
