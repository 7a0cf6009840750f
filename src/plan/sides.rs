//! PURE. Which sides a step uses or checks, by what its action names: from the first such step on their pod templates must
//! stay as they are (DESIGN §4).

use std::collections::BTreeSet;

use crate::api::run::ObjectRef;
use crate::api::step::{SideRef, To, WorkloadRef};

use super::{Action, Plan, PlanStep};

const BOTH: [SideRef; 2] = [SideRef::Target, SideRef::Old];

impl Plan {
    /// The sides that a step uses or checks.
    pub(crate) fn sides_of(&self, step: &PlanStep) -> BTreeSet<SideRef> {
        step.parts().iter().flat_map(|part| self.sides_of_part(part)).collect()
    }

    fn sides_of_part(&self, step: &PlanStep) -> BTreeSet<SideRef> {
        let target = |to: Option<To>| (to == Some(To::Target)).then_some(SideRef::Target);
        match &step.action {
            // Tries the Jobs of both, and checks what Services want of them.
            Action::Permissions {} => BOTH.into(),
            Action::Job(job) => job.from.iter().map(|from| from.side).collect(),
            Action::Config(config) => config.from.iter().map(|from| from.side).collect(),
            Action::Http(http) if http.path.is_none() => BTreeSet::new(),
            Action::Http(http) => target(http.to.or(Some(step.stage.default_side()))).into_iter().collect(),
            Action::Tls(tls) => target(tls.to).into_iter().collect(),
            Action::Rollout(of) => self.sides_with(&self.named(of.side, &of.workloads)),
            Action::Scale(of) => self.sides_with(&self.named(of.side, &of.workloads)),
            Action::SetEnv(of) => self.sides_with(&self.named(of.side, &of.workloads)),
            Action::Restart(of) => self.sides_with(&self.named(of.side, &of.workloads)),
            Action::Logs(of) => {
                let one: Vec<WorkloadRef> = of.workload.iter().cloned().collect();
                self.sides_with(&self.named(of.side, &one))
            }
            Action::UndoRollout(_) | Action::Unscale { .. } | Action::UndoSetEnv { .. } => {
                let changed = step.action.changes(self);
                BOTH.into_iter().filter(|side| self.has_one(*side, |w| changed.contains(&ObjectRef::from(w)))).collect()
            }
            // The steps of a suite are its parts.
            Action::Suite(_)
            | Action::Metric(_)
            | Action::Resource(_)
            | Action::CronJobs(_)
            | Action::Wait(_)
            | Action::Approval(_)
            | Action::UndoCronJobs { .. } => BTreeSet::new(),
        }
    }

    /// Whether a step waits for workloads as they are by then, so that it is about the template that it finds in the end.
    pub(crate) fn awaits_rollout(&self, step: &PlanStep) -> bool {
        matches!(step.action, Action::Rollout(_) | Action::Scale(_))
    }

    fn sides_with(&self, workloads: &[WorkloadRef]) -> BTreeSet<SideRef> {
        BOTH.into_iter().filter(|side| self.has_one(*side, |w| workloads.contains(w))).collect()
    }

    fn has_one(&self, side: SideRef, wanted: impl Fn(&WorkloadRef) -> bool) -> bool {
        self.side(side).workloads.iter().any(wanted)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::plan::{PlanSuite, Stage};

    #[test]
    fn sides_are_those_that_an_action_names() {
        let f = Fixture::new();
        let of = |stage: Stage, action: serde_json::Value| {
            let action: Action = serde_json::from_value(action.clone()).unwrap_or_else(|e| panic!("{e}: {action}"));
            f.plan.sides_of(&step("s", stage, action)).into_iter().collect::<Vec<_>>()
        };
        let green = json!([{"kind": "Deployment", "name": "web-green"}]);
        let (target, old) = (vec![SideRef::Target], vec![SideRef::Old]);
        for (action, sides) in [
            (json!({"permissions": {}}), vec![SideRef::Target, SideRef::Old]),
            (json!({"job": {"template": {"spec": {}}}}), vec![]),
            (json!({"job": {"from": {"side": "Old"}, "command": ["x"]}}), old.clone()),
            (json!({"config": {"secret": "s", "keys": []}}), vec![]),
            (json!({"config": {"from": {"side": "Target"}, "keys": []}}), target.clone()),
            (json!({"http": {"path": "/"}}), target.clone()),
            (json!({"http": {"to": "Live", "path": "/"}}), vec![]),
            (json!({"http": {"url": "https://shop.example.com"}}), vec![]),
            (json!({"tls": {"to": "Target", "serverName": "x"}}), target.clone()),
            (json!({"rollout": {"side": "Old"}}), old.clone()),
            (json!({"scale": {"workloads": green, "replicas": 3}}), target.clone()),
            (json!({"restart": {"workloads": [{"kind": "Deployment", "name": "worker"}]}}), vec![]),
            (json!({"logs": {"side": "Target", "matches": "x"}}), target.clone()),
            (json!({"logs": {"workload": green[0], "matches": "x"}}), target.clone()),
            (json!({"wait": {"for": "1s"}}), vec![]),
        ] {
            assert_eq!(of(Stage::Prepare, action.clone()), sides, "{action}");
        }
        assert_eq!(of(Stage::Confirm, json!({"http": {"path": "/"}})), vec![], "users' way by then");
        let rollout = |side: &str| {
            let rollout = serde_json::from_value(json!({"rollout": {"side": side}})).expect("an action");
            step(side, Stage::Verify, rollout)
        };
        let suite =
            PlanSuite { pass_rate: 100, max_critical_failures: 0, steps: vec![rollout("Old"), rollout("Target")] };
        let all = f.plan.sides_of(&step("s", Stage::Verify, Action::Suite(suite)));
        assert_eq!(all, BOTH.into(), "those of its steps");
    }
}
