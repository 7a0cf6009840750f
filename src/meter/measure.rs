//! What two journals of a run differ by, as measurements. All times are the journal's own, so a measurement does not
//! depend on when the operator was restarted; each is made by the operator that wrote the later journal.

use jiff::Timestamp;

use super::labels::step_result;
use crate::api::phase::Phase;
use crate::api::run::{RunState, RunStatus, StepRecord, SwitchState};
use crate::journal;
use crate::plan::Plan;

/// One measurement; times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// A phase was left.
    Phase(Phase, f64),
    /// A step or an undo ended.
    Step {
        /// See [`crate::plan::Action::kind`].
        action: &'static str,
        /// See `labels::STEP_RESULTS`.
        result: &'static str,
        /// From the start of the first attempt to the end of the last.
        seconds: f64,
    },
    /// From the claim of the switch until every selector was written (`patched`), and until the endpoints had followed
    /// (`converged`).
    Switch(&'static str, f64),
    /// From the decision to restore until the last selector was back.
    Restore(&'static str, f64),
    /// The run closed, in this phase.
    Ended(Phase),
}

/// What happened between two journals of a run.
pub fn between(plan: &Plan, before: &RunStatus, after: &RunStatus) -> Vec<Measure> {
    let mut found = vec![];
    let (mut phase, mut since) = (before.phase, before.phase_since);
    for moment in after.timeline.iter().filter(|m| !before.timeline.contains(m)) {
        if let Some(since) = since {
            found.push(Measure::Phase(phase, seconds(since, moment.at)));
        }
        (phase, since) = (moment.phase, Some(moment.at));
    }
    for record in &after.steps {
        let ended_before = before.steps.iter().any(|r| r.name == record.name && r.ended.is_some());
        if let (false, Some(result), Some(action), Some(seconds)) =
            (ended_before, step_result(record.state), action_of(plan, &record.name), taken(record))
        {
            found.push(Measure::Step { action, result, seconds });
        }
    }
    switch(before, after, &mut found);
    // A run ends once, however often its checks are made again.
    if before.state == RunState::Active && after.state == RunState::Closed && !journal::is_reopened(after) {
        found.push(Measure::Ended(after.phase));
    }
    found
}

fn switch(before: &RunStatus, after: &RunStatus, found: &mut Vec<Measure>) {
    let Some(now) = &after.switch else { return };
    let former = before.switch.as_ref();
    let patched = |switch: &crate::api::run::SwitchRecord| {
        let times: Option<Vec<Timestamp>> = switch.services.iter().map(|s| s.switched_at).collect();
        times.and_then(|t| t.into_iter().max())
    };
    if let (Some(at), None) = (patched(now), former.and_then(patched)) {
        found.push(Measure::Switch("patched", seconds(now.claimed_at, at)));
    }
    if let (Some(at), None) = (now.converged_at, former.and_then(|s| s.converged_at)) {
        found.push(Measure::Switch("converged", seconds(now.claimed_at, at)));
    }
    let restored = now.services.iter().filter(|s| s.state == SwitchState::Restored);
    if let (Some(ending), Some(_), None, Some(at)) = (
        &after.ending,
        now.restored_at,
        former.and_then(|s| s.restored_at),
        restored.filter_map(|s| s.restored_at).max(),
    ) {
        let cause = if ending.trigger.is_some() { "trigger" } else { super::labels::OTHER };
        found.push(Measure::Restore(cause, seconds(ending.at, at)));
    }
}

fn taken(record: &StepRecord) -> Option<f64> {
    Some(seconds(record.started?, record.ended?))
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// The kind of action of a step, or of a step's undo (`undo/NAME`). One that the plan does not have is not measured.
fn action_of(plan: &Plan, name: &str) -> Option<&'static str> {
    plan.action(name).map(crate::plan::Action::kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::run::{Ending, ServiceSwitch, StepState, SwitchRecord};
    use crate::journal::enter;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn plan() -> Plan {
        let spec = json!({
            "services": [{"name": "web"}], "activate": "green",
            "sides": [
                {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "b"}]},
                {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "g"}]},
            ],
            "phases": {"prepare": {"steps": [{"name": "pause", "wait": {"for": "5s"}}]}},
        });
        let spec = serde_json::from_value(spec).expect("a spec");
        crate::plan::resolve("web", "a", &spec, "blue", &crate::plan::Offered::default()).expect("a plan")
    }

    fn enters(journal: &RunStatus, to: Phase, seconds: i64) -> RunStatus {
        let mut next = journal.clone();
        enter(&mut next, to, "Progress", "", at(seconds)).expect("legal");
        next
    }

    #[test]
    fn a_phase_is_measured_when_it_is_left_and_only_once() {
        let plan = plan();
        let first = RunStatus { phase_since: Some(at(0)), ..RunStatus::default() };
        // Two phases pass in one write.
        let second = enters(&enters(&first, Phase::Preflight, 3), Phase::Preparing, 3);
        assert_eq!(
            between(&plan, &first, &second),
            [Measure::Phase(Phase::Pending, 3.0), Measure::Phase(Phase::Preflight, 0.0)]
        );
        assert_eq!(between(&plan, &second, &second), []);
        // After a restart the time before it is not lost.
        let third = enters(&second, Phase::Verifying, 103);
        assert_eq!(between(&plan, &second, &third), [Measure::Phase(Phase::Preparing, 100.0)]);
    }

    #[test]
    fn a_step_is_measured_when_it_ends_and_not_when_it_is_skipped() {
        let plan = plan();
        let record = |state, ended| StepRecord {
            name: "pause".into(),
            state,
            started: Some(at(1)),
            ended,
            ..StepRecord::default()
        };
        let with = |r: StepRecord| RunStatus { steps: vec![r], ..RunStatus::default() };
        let running = with(record(StepState::Running, None));
        let done = with(record(StepState::Succeeded, Some(at(6))));
        let wanted = Measure::Step { action: "wait", result: "succeeded", seconds: 5.0 };
        assert_eq!(between(&plan, &running, &done), [wanted]);
        assert_eq!(between(&plan, &done, &done), []);
        assert_eq!(between(&plan, &running, &with(record(StepState::Skipped, Some(at(6))))), []);
    }

    #[test]
    fn switch_and_restore_are_measured_once_all_services_are_there() {
        let plan = plan();
        let service = |name: &str, state, switched: Option<i64>, restored: Option<i64>| ServiceSwitch {
            name: name.into(),
            uid: "u".into(),
            resource_version: "1".into(),
            from: [].into(),
            to: [].into(),
            wanted: 0,
            old_wanted: 0,
            unanswered: false,
            adopted: false,
            state,
            switched_at: switched.map(at),
            restored_at: restored.map(at),
            message: None,
            blocked: None,
        };
        let with = |services, converged: Option<i64>, restored: Option<i64>| RunStatus {
            switch: Some(SwitchRecord {
                claimed_at: at(10),
                converged_at: converged.map(at),
                restored_at: restored.map(at),
                services,
            }),
            ..RunStatus::default()
        };
        let (claimed, switched) = (SwitchState::Claimed, SwitchState::Switched);
        let half = with(vec![service("a", switched, Some(11), None), service("b", claimed, None, None)], None, None);
        assert_eq!(between(&plan, &RunStatus::default(), &half), []);
        let all = vec![service("a", switched, Some(11), None), service("b", switched, Some(12), None)];
        let whole = with(all.clone(), Some(15), None);
        assert_eq!(between(&plan, &half, &whole), [Measure::Switch("patched", 2.0), Measure::Switch("converged", 5.0)]);
        let back = vec![
            service("a", SwitchState::Restored, Some(11), Some(42)),
            service("b", SwitchState::Restored, Some(12), Some(41)),
        ];
        let mut restored = with(back, Some(15), Some(50));
        restored.ending = Some(Ending {
            phase: Phase::RolledBack,
            reason: "TriggerFired".into(),
            message: String::new(),
            at: at(40),
            trigger: Some("errors".into()),
            incomplete: false,
            scaled_at: None,
            empty_since: None,
            undo_first: None,
            stopped_at: None,
            prepared_at: None,
        });
        assert_eq!(between(&plan, &whole, &restored), [Measure::Restore("trigger", 2.0)]);
        restored.state = RunState::Closed;
        assert_eq!(between(&plan, &restored, &restored), []);
    }
}
