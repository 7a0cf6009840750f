//! A small world for the tests of actions and triggers: one Service, blue live, green the target.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cx, Out, drive};
use crate::api::cutover::Release;
use crate::api::duration::Duration;
use crate::api::run::{RunStatus, ServiceSwitch, StepRecord, SwitchState};
use crate::api::step::{Http, OnFailure, WorkloadKind, WorkloadRef};
use crate::effect::{EffectKey, Outcome, ReadKey};
use crate::plan::{Action, MinReady, Plan, PlanObserve, PlanRollback, PlanSide, PlanStep, PlanSwitch, Stage};
use crate::world::{
    ContainerView, CutoverView, HttpAnswer, HttpResponse, PodView, PortView, Proof, Proven, Reading, Seen, ServiceView,
    TargetPort, WorkloadView, World,
};

pub(crate) struct Fixture {
    pub plan: Plan,
    pub journal: RunStatus,
    pub world: World,
    pub paused: bool,
}

pub fn labels(version: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "web".into()), ("version".into(), version.into())])
}

pub fn workload(name: &str) -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: name.into() }
}

/// Service web, switched from blue to green at this time.
pub fn switched_service(at: Timestamp) -> ServiceSwitch {
    ServiceSwitch {
        name: "web".into(),
        uid: "s".into(),
        resource_version: "1".into(),
        from: labels("blue"),
        to: labels("green"),
        wanted: 2,
        old_wanted: 2,
        state: SwitchState::Switched,
        unanswered: false,
        adopted: false,
        switched_at: Some(at),
        restored_at: None,
        message: None,
        blocked: None,
    }
}

fn side(name: &str) -> PlanSide {
    PlanSide {
        name: name.into(),
        selector: BTreeMap::from([("version".into(), name.into())]),
        workloads: vec![workload(&format!("web-{name}"))],
    }
}

pub fn view(version: &str, replicas: u32) -> WorkloadView {
    WorkloadView {
        uid: format!("uid-{version}"),
        resource_version: "1".into(),
        generation: 1,
        observed_generation: 1,
        wanted: replicas,
        updated: replicas,
        available: replicas,
        replicas,
        template_hash: "h".into(),
        pod_labels: labels(version),
        template: json!({
            "metadata": {"labels": {"app": "web", "version": version}},
            "spec": {
                "serviceAccountName": "web",
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [{"name": "config", "configMap": {"name": "web"}}],
                "initContainers": [{"name": "init", "image": "init:1"}],
                "containers": [
                    {"name": "api", "image": "web:2", "command": ["serve"], "env": [{"name": "DB", "value": "${x}"}],
                     "envFrom": [{"secretRef": {"name": "web"}}], "ports": [{"containerPort": 8080}],
                     "livenessProbe": {}, "readinessProbe": {}, "startupProbe": {}, "lifecycle": {},
                     "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}]},
                    {"name": "proxy", "image": "proxy:1"},
                ],
            },
        }),
        stuck: None,
        kept: Default::default(),
        refused: None,
    }
}

pub fn pod(name: &str, version: &str) -> PodView {
    PodView {
        name: name.into(),
        uid: format!("uid-{name}"),
        labels: labels(version),
        ip: Some("10.0.0.1".into()),
        ready: true,
        terminating: false,
        workload: Some(workload(&format!("web-{version}"))),
        containers: vec![ContainerView { name: "api".into(), ready: true, ..ContainerView::default() }],
        ..PodView::default()
    }
}

pub fn step(name: &str, stage: Stage, action: Action) -> PlanStep {
    PlanStep {
        name: name.into(),
        stage,
        critical: true,
        when: None,
        timeout: Duration::from_mins(10),
        attempts: 1,
        every: Duration::from_secs(5),
        needs: vec![],
        after: vec![],
        session: None,
        on_failure: OnFailure::Fail,
        action,
        undo: None,
    }
}

pub fn http(value: Value) -> Http {
    serde_json::from_value(value).expect("an http action")
}

/// The key of a read.
pub fn read(text: &str) -> ReadKey {
    text.parse().expect("the key of a read")
}

/// The key of an effect.
pub fn effect(text: &str) -> EffectKey {
    text.parse().expect("the key of an effect")
}

pub fn answer(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer {
        from: "green-a".into(),
        result: Ok(HttpResponse { status, body: body.into(), latency_ms: 12, ..HttpResponse::default() }),
    }
}

/// A proof with this verdict. The policies are older than every decision.
pub fn proof(verdict: Proven) -> Proof {
    Proof { verdict, since: Timestamp::MIN, policies: Some("decision 1".into()) }
}

impl Fixture {
    /// The Cutover is known: it is as the plan has it, and tells nobody.
    pub fn cutover(&mut self) {
        let view = CutoverView {
            uid: "c".into(),
            deleting: false,
            namespace_going: false,
            activate: self.plan.target.name.clone(),
            release: self.plan.release.clone(),
            suspend: false,
            notify: vec![],
            releases: BTreeMap::new(),
            pushed: None,
        };
        self.world.cutover = Some(Seen { at: self.world.now, value: Some(view) });
    }

    pub fn new() -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut world = World::new(now, "run-1");
        let service = ServiceView {
            uid: "s".into(),
            resource_version: "1".into(),
            selector: labels("blue"),
            ports: vec![PortView { name: Some("http".into()), port: 80, target: TargetPort::Number(8080) }],
            cluster_ip: Some("10.96.0.1".into()),
            external_name: false,
            deleting: false,
            writer: None,
            marks: Default::default(),
            kept: Default::default(),
        };
        world.services.insert("web".into(), Seen { at: now, value: Some(service) });
        for version in ["blue", "green"] {
            let seen = Seen { at: now, value: Some(view(version, 2)) };
            world.workloads.insert(workload(&format!("web-{version}")), seen);
        }
        let plan = Plan {
            cutover: "web".into(),
            namespace: "prod".into(),
            release: Release { version: Some("2.4.0".into()), ..Release::default() },
            service_account: "cutover".into(),
            job_accounts: Some(vec!["web".into()]),
            prometheus: None,
            services: vec!["web".into()],
            target: side("green"),
            old: side("blue"),
            steps: vec![],
            switch: PlanSwitch {
                min_ready: MinReady::Percent(100),
                drain: Duration::default(),
                timeout: Duration::from_secs(60),
                connections: Default::default(),
            },
            rollback: Some(PlanRollback {
                min_ready: MinReady::Percent(50),
                blocked: Default::default(),
                within: Duration::from_mins(15),
                default: Default::default(),
                connections: Default::default(),
                before: Duration::from_secs(5),
            }),
            observe: PlanObserve {
                for_: Duration::from_mins(5),
                every: Duration::from_secs(15),
                timeout: Duration::from_mins(15),
                triggers: vec![],
                built_in: vec![],
            },
            window: None,
            drift_policy: Default::default(),
            templates: vec![],
            kept: BTreeMap::new(),
            follow_up: vec![],
            retire: None,
        };
        let mut fixture = Self { plan, journal: RunStatus::default(), world, paused: false };
        fixture.finds(proof(Proven::Holds));
        fixture
    }

    /// What is found of the policies from now on.
    pub fn finds(&mut self, proof: Proof) {
        self.world.readings.retain(|key, _| !matches!(key, ReadKey::Proof(_)));
        let slot = self.world.now.as_second().div_euclid(5);
        self.world.readings.insert(ReadKey::Proof(slot), Reading::Proof(proof));
    }

    pub fn cx(&self) -> Cx<'_> {
        Cx { plan: &self.plan, journal: &self.journal, world: &self.world, paused: self.paused }
    }

    pub fn drive(&self, step: &PlanStep, record: Option<&StepRecord>) -> (StepRecord, Out) {
        let mut out = Out::default();
        let record = drive(&self.cx(), step, record, &mut out);
        (record, out)
    }

    pub fn after(&mut self, seconds: i64) {
        self.world.now += jiff::SignedDuration::from_secs(seconds);
        let found = self.world.readings.values().find_map(|reading| match reading {
            Reading::Proof(proof) => Some(proof.clone()),
            _ => None,
        });
        found.into_iter().for_each(|proof| self.finds(proof));
    }

    pub fn outcome(&mut self, key: &str, value: Outcome) {
        self.world.outcomes.insert(effect(key), Seen { at: self.world.now, value });
    }

    pub fn pods(&mut self, pods: Vec<PodView>) {
        self.world.pods = Some(Seen { at: self.world.now, value: pods });
    }

    pub fn service(&mut self, name: &str) -> &mut ServiceView {
        self.world.services.get_mut(name).and_then(|s| s.value.as_mut()).expect("a Service")
    }

    pub fn workload(&mut self, version: &str) -> &mut WorkloadView {
        let name = workload(&format!("web-{version}"));
        self.world.workloads.get_mut(&name).and_then(|s| s.value.as_mut()).expect("a workload")
    }
}
