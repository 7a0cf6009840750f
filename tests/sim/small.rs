//! Small plans made by hand, for the exhaustive search and the crash tests: one or two Services, a step with an undo, one
//! trigger, and short times so that few of them tell states apart.

use std::collections::BTreeMap;

use cutover::api::Duration;
use cutover::api::cutover::{DriftPolicy, Release, Retire, Window};
use cutover::api::http::Http;
use cutover::api::restore::{BlockedAction, BlockedDefault, Connections};
use cutover::api::step::{
    Approval, ApprovalRole, FromContainer, Job, Method, OnFailure, Rollout, Scale, SideRef, UndoWhen,
};
use cutover::api::trigger::{DecideDefault, MetricTrigger, NoData, Severity, Trigger, Until, Watched};
use cutover::plan::after::{PlanFollowUp, RETIRE};
use cutover::plan::{
    Action, MinReady, Plan, PlanObserve, PlanRollback, PlanSide, PlanStep, PlanSwitch, PlanUndo, Stage,
};

use super::cluster::deployment;
use super::timeline::EPOCH;

fn side(name: &str) -> PlanSide {
    PlanSide {
        name: name.into(),
        selector: BTreeMap::from([("version".into(), name.into())]),
        workloads: vec![deployment(&format!("web-{name}"))],
    }
}

/// A step with these times: 8 s in all, one attempt.
pub fn step(name: &str, stage: Stage, action: Action) -> PlanStep {
    PlanStep {
        name: name.into(),
        stage,
        critical: true,
        when: None,
        timeout: Duration::from_secs(8),
        attempts: 1,
        every: Duration::from_secs(1),
        needs: vec![],
        after: vec![],
        session: None,
        on_failure: OnFailure::Fail,
        action,
        undo: None,
    }
}

/// A Job of one container.
pub fn job(command: &str) -> Action {
    Action::Job(Job {
        template: Some(serde_json::json!({
            "spec": {"containers": [{"name": "main", "image": "registry.invalid/tool:1", "command": [command]}]}
        })),
        deadline: Some(Duration::from_secs(4)),
        ..Job::default()
    })
}

/// A Job step with an undo.
pub fn undoable(name: &str) -> PlanStep {
    let undo = PlanUndo {
        when: UndoWhen::Attempted,
        timeout: Duration::from_secs(8),
        approval: None,
        before_restore: false,
        action: job("undo"),
    };
    PlanStep { undo: Some(undo), ..step(name, Stage::Prepare, job(name)) }
}

/// A metric above a bound, once.
pub fn errors(severity: Severity) -> Trigger {
    Trigger {
        name: "errors".into(),
        every: Some(Duration::from_secs(1)),
        severity: Some(severity),
        within: Some(Duration::from_secs(4)),
        default: Some(DecideDefault::Rollback),
        no_data: Some(NoData::Hold),
        until: Some(Until::Completed),
        watches: Watched::Metric(MetricTrigger {
            query: Some("errors".into()),
            above: Some("0.5".into()),
            ..MetricTrigger::default()
        })
        .into(),
    }
}

/// The default rule with intervals of a second. Three bad ones are enough, so the plan is to observe for longer.
pub fn share(severity: Severity) -> Trigger {
    Trigger {
        watches: Watched::Metric(MetricTrigger {
            errors: Some("errors".into()),
            total: Some("total".into()),
            limit: Some("0.05".into()),
            hiccup: Some(Duration::from_secs(1)),
            alpha: Some("0.01".into()),
            ..MetricTrigger::default()
        })
        .into(),
        ..errors(severity)
    }
}

/// The same plan, observed for so many seconds, or three times as many.
pub fn observed_for(seconds: u64, plan: Plan) -> Plan {
    let (for_, timeout) = (Duration::from_secs(seconds), Duration::from_secs(3 * seconds));
    Plan { observe: PlanObserve { for_, timeout, ..plan.observe }, ..plan }
}

/// The same, bad twice within three seconds.
pub fn often(severity: Severity) -> Trigger {
    let metric = MetricTrigger {
        query: Some("errors".into()),
        above: Some("0.5".into()),
        count: Some(2),
        within: Some(Duration::from_secs(3)),
        ..MetricTrigger::default()
    };
    Trigger { watches: Watched::Metric(metric).into(), ..errors(severity) }
}

/// A plan of these Services and steps.
pub fn plan(services: &[&str], steps: Vec<PlanStep>, triggers: Vec<Trigger>) -> Plan {
    Plan {
        cutover: "web".into(),
        namespace: "prod".into(),
        release: Release { version: Some("2.0.0".into()), ..Release::default() },
        service_account: "cutover".into(),
        job_accounts: Some(vec![]),
        prometheus: Some(cutover::api::prometheus::Prometheus {
            url: Some("http://prometheus.invalid:9090".into()),
            ..Default::default()
        }),
        services: services.iter().map(|s| (*s).to_owned()).collect(),
        target: side("green"),
        old: side("blue"),
        steps,
        switch: PlanSwitch {
            min_ready: MinReady::Percent(100),
            drain: Duration::from_secs(0),
            timeout: Duration::from_secs(2),
            connections: Default::default(),
        },
        rollback: Some(PlanRollback {
            min_ready: MinReady::Percent(50),
            blocked: BlockedAction::UndoFirst,
            within: Duration::from_secs(4),
            default: BlockedDefault::Wait,
            connections: Default::default(),
            before: Duration::from_secs(5),
        }),
        observe: PlanObserve {
            for_: Duration::from_secs(2),
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(6),
            triggers,
            built_in: vec![],
        },
        window: None,
        drift_policy: DriftPolicy::Report,
        templates: vec![],
        kept: BTreeMap::new(),
        follow_up: vec![],
        retire: None,
    }
}

/// Waits for the target.
pub fn rollout() -> PlanStep {
    let rollout = Rollout { side: Some(SideRef::Target), workloads: vec![], replicas: None };
    step("green-ready", Stage::Prepare, Action::Rollout(rollout))
}

/// A request that changes something, with one that undoes it.
pub fn request(name: &str) -> PlanStep {
    let post =
        |path: &str| Action::Http(Http { method: Some(Method::Post), path: Some(path.into()), ..Http::default() });
    let undo = PlanUndo {
        when: UndoWhen::Attempted,
        timeout: Duration::from_secs(8),
        approval: None,
        before_restore: false,
        action: post("/undo"),
    };
    PlanStep { undo: Some(undo), ..step(name, Stage::Prepare, post("/do")) }
}

/// A workload of the target that is scaled up, and down again.
pub fn scale(name: &str) -> PlanStep {
    let scale = Scale { side: Some(SideRef::Target), workloads: vec![], replicas: 3, allow_downtime: false };
    let undo = Action::Unscale { step: name.into() };
    let undo = PlanUndo {
        when: UndoWhen::default(),
        timeout: Duration::from_secs(8),
        approval: None,
        before_restore: false,
        action: undo,
    };
    PlanStep { undo: Some(undo), ..step(name, Stage::Prepare, Action::Scale(scale)) }
}

/// An approval by one person of the role `operations`.
pub fn approval(name: &str) -> PlanStep {
    let approval = Approval {
        roles: vec![ApprovalRole { name: "operations".into(), count: None }],
        distinct: true,
        exclude_requester: false,
        within: Some(Duration::from_secs(4)),
        instructions: None,
        checklist: vec![],
    };
    step(name, Stage::Verify, Action::Approval(approval))
}

/// A Job of preflight in a container of the target.
pub fn look(name: &str) -> PlanStep {
    let from = FromContainer { side: SideRef::Target, container: None };
    let job = Job {
        from: Some(from),
        command: vec!["look".into()],
        read_only: true,
        deadline: Some(Duration::from_secs(4)),
        ..Job::default()
    };
    step(name, Stage::Preflight, Action::Job(job))
}

/// A request that reads only.
pub fn check(name: &str, stage: Stage) -> PlanStep {
    step(name, stage, Action::Http(Http { path: Some("/health".into()), ..Http::default() }))
}

/// Two checks of the target, both of which must pass.
pub fn suite(name: &str) -> PlanStep {
    let steps = vec![check("one", Stage::Verify), check("other", Stage::Verify)];
    let suite = serde_json::json!({"passRate": 100, "maxCriticalFailures": 0, "steps": steps});
    step(name, Stage::Verify, Action::Suite(serde_json::from_value(suite).expect("a suite")))
}

/// The plan with a check that is made twice after Completed, and a retirement of the old side.
pub fn with_an_afterwards(mut plan: Plan) -> Plan {
    let scale = Scale { side: Some(SideRef::Old), workloads: vec![], replicas: 0, allow_downtime: false };
    let undo = Action::Unscale { step: RETIRE.into() };
    let (when, timeout) = (UndoWhen::Attempted, Duration::from_secs(8));
    let undo = PlanUndo { when, timeout, approval: None, before_restore: false, action: undo };
    let retire = step(RETIRE, Stage::Retire, Action::Scale(scale));
    plan.steps.push(check("healthy", Stage::FollowUp));
    plan.steps.push(PlanStep { attempts: 3, on_failure: OnFailure::Decide, undo: Some(undo), ..retire });
    let (every, until) = (Some(Duration::from_secs(3)), Some(Duration::from_secs(5)));
    let (name, run) = ("soon".into(), vec!["healthy".into()]);
    plan.follow_up = vec![PlanFollowUp { name, after: Duration::from_secs(2), every, until, run }];
    plan.retire = Some(Retire { after: Duration::from_secs(6), scale_to: 0 });
    plan
}

/// The plan with a window that opens soon, and not for long.
pub fn within_a_window(plan: Plan) -> Plan {
    let at = |seconds| EPOCH + jiff::SignedDuration::from_secs(seconds);
    Plan { window: Some(Window { start: at(2), end: at(4), missed: None }), ..plan }
}

/// The same plan, whose target's connections are ended after a rollback.
pub fn closing(mut plan: Plan) -> Plan {
    plan.rollback.iter_mut().for_each(|rollback| rollback.connections = Connections::Close);
    plan
}

/// The target is stopped before the selectors go back.
pub fn stop(name: &str) -> PlanStep {
    let scale = Scale { side: Some(SideRef::Target), workloads: vec![], replicas: 0, allow_downtime: true };
    let timeout = Duration::from_secs(6);
    PlanStep { undo: None, timeout, ..step(name, Stage::BeforeRestore, Action::Scale(scale)) }
}
