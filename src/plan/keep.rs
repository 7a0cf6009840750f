//! PURE. `keepOnRetry`: which successes of an earlier run stand for a new one of the same release. A step is kept if its
//! definition and all the steps before it are as they were, and the run went from and to the same sides.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::cutover::CutoverSpec;
use crate::api::run::{RunStatus, StepRecord, StepState};
use crate::api::step::Step;

use super::{Kept, Plan, PlanStep, same_but_for_attempt};

/// The names of the steps that a retry keeps.
pub(crate) fn keepers(spec: &CutoverSpec) -> BTreeSet<&str> {
    spec.phases.values().flat_map(|p| &p.steps).filter(|s: &&Step| s.keep_on_retry).map(|s| s.name.as_str()).collect()
}

/// What the new plan keeps of the run `name` of the plan `former`.
pub fn kept(
    plan: &Plan,
    keepers: &BTreeSet<&str>,
    name: &str,
    former: &Plan,
    journal: &RunStatus,
) -> BTreeMap<String, Kept> {
    let same = same_but_for_attempt(&plan.release, &former.release)
        && plan.target == former.target
        && plan.old == former.old
        && journal.phase.is_over();
    let mut all = BTreeMap::new();
    if !same {
        return all;
    }
    for (step, was) in plan.steps.iter().zip(&former.steps) {
        if step != was {
            break; // nothing behind it is kept
        }
        let record = journal.steps.iter().find(|r| r.name == step.name && r.state == StepState::Succeeded);
        if let Some(record) = record.filter(|_| is_kept(plan, keepers, step)) {
            all.insert(step.name.clone(), of(name, step, record, journal));
        }
    }
    all
}

/// Whether the step is one to be kept, or the dry run before one.
fn is_kept(plan: &Plan, keepers: &BTreeSet<&str>, step: &PlanStep) -> bool {
    let dry_run = |of: &PlanStep| step.name.ends_with(super::steps::DRY_RUN) && of.needs.contains(&step.name);
    keepers.contains(step.name.as_str())
        || plan.steps.iter().any(|of| keepers.contains(of.name.as_str()) && dry_run(of))
}

fn of(run: &str, step: &PlanStep, record: &StepRecord, journal: &RunStatus) -> Kept {
    let value = |name: String| journal.captures.get(&name).cloned().map(|v| (name, v));
    Kept {
        // The one that carried it out, where that one kept it itself.
        run: record.kept_from.clone().unwrap_or_else(|| run.to_owned()),
        evidence: record.evidence.clone(),
        captures: step.action.captured().into_iter().filter_map(value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::phase::Phase;
    use crate::plan::resolve;

    fn spec(backup: &str) -> CutoverSpec {
        let side = |name: &str| json!({"name": name, "selector": {"version": name}, "workloads": [{"kind": "Deployment", "name": format!("web-{name}")}]});
        let job = |command: &str| {
            json!({"template": {"spec": {"containers": [{"name": "c", "image": "i:1", "command": [command]}]}},
            "capture": [{"name": "size", "path": "$.size"}]})
        };
        let other = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}});
        serde_json::from_value(json!({
            "release": {"version": "2", "attempt": 1},
            "services": [{"name": "web"}], "sides": [side("blue"), side("green")], "activate": "green",
            "phases": {"prepare": {"steps": [
                {"name": "first", "job": other},
                {"name": "backup", "keepOnRetry": true, "job": job(backup)},
            ]}},
        }))
        .expect("a spec")
    }

    fn plan(spec: &CutoverSpec) -> Plan {
        resolve("web", "prod", spec, "blue", &crate::plan::Offered::default()).expect("a plan")
    }

    fn journal(state: StepState) -> RunStatus {
        let record = |name: &str| StepRecord {
            name: name.into(),
            state,
            evidence: Some(json!({"exitCode": 0})),
            ..StepRecord::default()
        };
        RunStatus {
            phase: Phase::Failed,
            steps: vec![record("first"), record("backup")],
            captures: [("size".to_owned(), json!(7)), ("other".to_owned(), json!(1))].into(),
            ..RunStatus::default()
        }
    }

    fn names(kept: &BTreeMap<String, Kept>) -> Vec<&str> {
        kept.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_success_is_kept_with_what_it_captured() {
        let spec = spec("dump");
        let mut again = spec.clone();
        again.release.as_mut().expect("a release").attempt = Some(2);
        let kept = kept(&plan(&again), &keepers(&again), "web-1", &plan(&spec), &journal(StepState::Succeeded));
        let wanted = Kept {
            run: "web-1".into(),
            evidence: Some(json!({"exitCode": 0})),
            captures: [("size".to_owned(), json!(7))].into(),
        };
        assert_eq!(kept, [("backup".to_owned(), wanted)].into(), "first is not marked");
    }

    #[test]
    fn what_failed_or_changed_is_repeated_with_all_behind_it() {
        let old = spec("dump");
        let check = |spec: &CutoverSpec, journal: &RunStatus| {
            names(&kept(&plan(spec), &keepers(spec), "web-1", &plan(&old), journal)).len()
        };
        let good = journal(StepState::Succeeded);
        assert_eq!(check(&old, &good), 1);
        assert_eq!(check(&old, &journal(StepState::Failed)), 0);
        assert_eq!(check(&old, &RunStatus { phase: Phase::Preparing, ..good.clone() }), 0, "not over");
        assert_eq!(check(&spec("other"), &good), 0, "its definition");
        let mut before = old.clone();
        if let Some(s) = before.phases.get_mut("prepare").and_then(|p| p.steps.first_mut()) {
            s.name = "zeroth".into();
        }
        assert_eq!(check(&before, &good), 0, "a step before it");
        let mut release = old.clone();
        release.release.as_mut().expect("a release").version = Some("3".into());
        assert_eq!(check(&release, &good), 0, "another release");
    }

    #[test]
    fn the_run_that_carried_it_out_is_named() {
        let spec = spec("dump");
        let mut journal = journal(StepState::Succeeded);
        journal.steps[1].kept_from = Some("web-1".into());
        let kept = kept(&plan(&spec), &keepers(&spec), "web-2", &plan(&spec), &journal);
        assert_eq!(kept["backup"].run, "web-1");
    }
}
