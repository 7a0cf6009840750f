//! PURE. What a retirement took from a side stands in the Cutover's status, so that the next run to that side gives it back
//! first, also when the run that retired it has been pruned.

use std::collections::BTreeMap;

use super::order::{Reply, Request};
use super::replay::{Replay, Stop, another_kind};
use crate::api::cutover::Cutover;
use crate::api::phase::Phase;
use crate::api::run::{RunStatus, StepState};
use crate::api::step::WorkloadRef;
use crate::endpoints::way_back;
use crate::journal;
use crate::plan::after::RETIRE;
use crate::plan::{Plan, Stage, undo_name};

/// Replicas by workload (`Kind/name`), by side.
pub type Retired = BTreeMap<String, BTreeMap<String, u32>>;

fn key(w: &WorkloadRef) -> String {
    format!("{:?}/{}", w.kind, w.name)
}

/// Takes in what a run's journal says of its old side, and of the side it made live.
pub fn remember(retired: &mut Retired, plan: &Plan, journal: &RunStatus, live: Option<&str>) {
    if live == Some(plan.target.name.as_str()) && journal.phase == Phase::Completed {
        retired.remove(&plan.target.name);
    }
    // A run that went back took its own scaling up back with it.
    for (step, workload, count) in plan.scaled_up() {
        if journal::record(journal, &undo_name(step)).is_some_and(|r| r.state == StepState::Succeeded) {
            retired.entry(plan.target.name.clone()).or_default().insert(key(workload), count);
        }
    }
    // The end of the target's connections, and what stopped it before the restore.
    let ended = journal.closings.iter().filter(|c| c.side == plan.target.name).flat_map(|c| &c.workloads);
    let ended = ended.filter(|w| w.done).map(|w| (&w.workload, w.remembered));
    let stops = plan.stage(Stage::BeforeRestore).filter(|step| plan.stops_target(step));
    let stopped = stops.filter_map(|step| journal::record(journal, &step.name)).flat_map(|r| &r.before);
    let stopped = stopped
        .filter(|b| b.done)
        .filter_map(|b| Some((&b.object, way_back::before_run(plan, journal, &b.object).or(b.replicas)?)));
    for (object, count) in ended.chain(stopped).filter(|(_, count)| *count > 0) {
        let key = format!("{:?}/{}", object.kind, object.name);
        retired.entry(plan.target.name.clone()).or_default().insert(key, count);
    }
    let undone = journal::record(journal, &undo_name(RETIRE)).is_some_and(|r| r.state == StepState::Succeeded);
    if undone {
        retired.remove(&plan.old.name);
    } else if let Some(record) = journal::record(journal, RETIRE).filter(|r| !r.before.is_empty()) {
        let counts = record.before.iter().filter_map(|b| {
            let key = format!("{:?}/{}", b.object.kind, b.object.name);
            // A step of the run may have stopped the old side long before it was retired.
            let had = journal.replicas.get(&key).copied().unwrap_or(0);
            Some((key, had.max(b.replicas?)))
        });
        let counts = counts.collect();
        retired.insert(plan.old.name.clone(), counts);
    }
}

/// Lets the plan begin Preparing with scaling its target up to what it had, where it has less now.
pub(crate) fn scale_up(look: &mut Replay<'_>, cutover: &Cutover, plan: &mut Plan) -> Result<(), Stop> {
    let status = cutover.status.as_ref();
    let Some(counts) = status.and_then(|s| s.retired.get(&plan.target.name)) else { return Ok(()) };
    let mut missing = vec![];
    for workload in &plan.target.workloads {
        let Some(&wanted) = counts.get(&key(workload)) else { continue };
        let now = match look.ask_opt(Request::Replicas(workload.clone()))? {
            Some(Reply::Replicas(now)) => *now,
            // The run itself says what is missing.
            None => continue,
            Some(_) => return Err(another_kind()),
        };
        if now < u64::from(wanted) {
            missing.push((workload.clone(), wanted));
        }
    }
    plan.scale_up(&missing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, workload};
    use crate::api::run::{Before, ObjectRef, StepRecord};

    #[test]
    fn counts_are_kept_until_the_side_is_live_again() {
        let mut f = Fixture::new();
        let mut retired = Retired::new();
        let before = ObjectRef::from(&workload("web-blue"));
        let before = vec![Before { replicas: Some(3), done: true, ..Before::of(before, "u") }];
        let record = StepRecord { name: RETIRE.into(), before, ..StepRecord::default() };
        f.journal.steps.push(record);
        remember(&mut retired, &f.plan, &f.journal, Some("green"));
        assert_eq!(retired["blue"]["Deployment/web-blue"], 3);
        // The next run goes to blue.
        std::mem::swap(&mut f.plan.old, &mut f.plan.target);
        remember(&mut retired, &f.plan, &RunStatus::default(), Some("green"));
        assert!(retired.contains_key("blue"), "until it is live");
        let mut next = RunStatus { phase: Phase::Observing, ..RunStatus::default() };
        remember(&mut retired, &f.plan, &next, Some("blue"));
        assert!(retired.contains_key("blue"), "it may still go back");
        next.phase = Phase::Completed;
        remember(&mut retired, &f.plan, &next, Some("blue"));
        assert!(retired.is_empty());
        // Undone with the run.
        f.plan.steps.clear();
        f.plan.scale_up(&[(workload("web-blue"), 3)]);
        let name = undo_name("cutover-scale-up-3");
        next.steps.push(StepRecord { name, state: StepState::Succeeded, ..StepRecord::default() });
        next.phase = Phase::RolledBack;
        remember(&mut retired, &f.plan, &next, Some("green"));
        assert_eq!(retired["blue"]["Deployment/web-blue"], 3);
    }

    #[test]
    fn a_target_whose_connections_were_ended_is_remembered_as_well() {
        let mut f = Fixture::new();
        let green = ObjectRef::from(&workload("web-green"));
        let closed = |remembered: u32, done: bool| crate::api::run::ClosedWorkload {
            workload: green.clone(),
            uid: "u".into(),
            from: 4,
            remembered,
            done,
            left: None,
        };
        let closing = |workloads| crate::api::run::Closing {
            side: "green".into(),
            at: f.world.now,
            stop: false,
            had: 4,
            endpoints: BTreeMap::new(),
            workloads,
            pods: vec![],
            gone: 0,
            moved_at: None,
            ended: None,
            left: None,
        };
        for (remembered, done, wanted) in [(3, true, Some(3)), (3, false, None), (0, true, None)] {
            let mut retired = Retired::new();
            f.journal.closings = vec![closing(vec![closed(remembered, done)])];
            remember(&mut retired, &f.plan, &f.journal, Some("blue"));
            assert_eq!(retired.get("green").map(|counts| counts["Deployment/web-green"]), wanted);
        }
        // Stopped before the restore.
        f.journal.closings.clear();
        let stop = serde_json::json!({"side": "Target", "replicas": 0, "allowDowntime": true});
        let stop = serde_json::from_value(stop).expect("a scale");
        let stop = crate::actions::fixtures::step("stop", Stage::BeforeRestore, crate::plan::Action::Scale(stop));
        f.plan.steps = vec![stop];
        let before = vec![Before { replicas: Some(2), done: true, ..Before::of(green.clone(), "u") }];
        f.journal.steps = vec![StepRecord { name: "stop".into(), before, ..StepRecord::default() }];
        let mut retired = Retired::new();
        remember(&mut retired, &f.plan, &f.journal, Some("blue"));
        assert_eq!(retired["green"]["Deployment/web-green"], 2);
    }

    #[test]
    fn a_side_that_a_step_had_stopped_is_remembered_as_it_was_before_the_run() {
        let mut f = Fixture::new();
        let before = ObjectRef::from(&workload("web-blue"));
        let before = vec![Before { replicas: Some(0), ..Before::of(before, "u") }];
        f.journal.steps.push(StepRecord { name: RETIRE.into(), before, ..StepRecord::default() });
        f.journal.replicas.insert("Deployment/web-blue".into(), 2);
        let mut retired = Retired::new();
        remember(&mut retired, &f.plan, &f.journal, Some("green"));
        assert_eq!(retired["blue"]["Deployment/web-blue"], 2);
    }

    #[test]
    fn a_target_is_scaled_up_first_in_prepare() {
        let mut f = Fixture::new();
        let stages = |plan: &Plan| plan.steps.iter().map(|s| (s.name.clone(), s.stage)).collect::<Vec<_>>();
        f.plan.steps.clear();
        f.plan.scale_up(&[]);
        assert!(stages(&f.plan).is_empty());
        f.plan.scale_up(&[(workload("a"), 3), (workload("b"), 2), (workload("c"), 3)]);
        let names: Vec<_> = stages(&f.plan).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cutover-scale-up-2", "cutover-scale-up-3"]);
        assert!(f.plan.steps.iter().all(|s| s.undo.is_some()));
        // What asks its pods before that would wait for them in vain.
        let own = |name: &str, action: serde_json::Value| {
            let action = serde_json::from_value(action).expect("an action");
            crate::actions::fixtures::step(name, Stage::Preflight, action)
        };
        let mut go = own("go", serde_json::json!({"approval": {"roles": [{"name": "qa"}]}}));
        go.needs = vec!["there".into()];
        f.plan.steps = vec![
            own("answers", serde_json::json!({"http": {"path": "/", "to": "Target"}})),
            own("old-answers", serde_json::json!({"http": {"path": "/", "to": "Live"}})),
            own("there", serde_json::json!({"rollout": {"side": "Target"}})),
            go,
        ];
        f.plan.scale_up(&[(f.plan.target.workloads[0].clone(), 2)]);
        let (before, after): (Vec<_>, Vec<_>) =
            stages(&f.plan).into_iter().partition(|(_, stage)| *stage == Stage::Preflight);
        let names = |all: Vec<(String, Stage)>| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(before), ["old-answers"]);
        assert_eq!(names(after), ["cutover-scale-up-2", "answers", "there", "go"]);
    }
}
