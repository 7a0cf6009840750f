//! PURE. Restarts workloads, once an attempt: an annotation on the pod template names run, step and attempt. There is
//! nothing to undo.

use crate::api::run::StepRecord;
use crate::api::step::{Restart, WorkloadRef};
use crate::effect::Change;
use crate::plan::{PlanStep, Stage};

use super::change::{self, Made, WantedChange, WorkloadState, look};
use super::{Cx, Out, Verdict, attempt_of, rollout};

/// The workloads that a step restarts.
pub fn workloads(cx: &Cx, restart: &Restart) -> Vec<WorkloadRef> {
    change::workloads(cx, restart.side, &restart.workloads)
}

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, restart: &Restart, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let workloads = workloads(cx, restart);
    let stamp = format!("{}/{}", cx.world.run_uid, attempt_of(step, record));
    let mut changing = false;
    for workload in &workloads {
        let view = match look(cx, workload, record) {
            WorkloadState::Known(view) => view,
            WorkloadState::Wait => return None,
            WorkloadState::Missing(why) => return Some(Verdict::fail(why)),
        };
        let template = change::template_of(view);
        let (i, before) = match change::known(record, workload, view, |b| b.template = template) {
            Ok(known) => known,
            Err(why) => return Some(Verdict::fail(why)),
        };
        if before.done {
            continue;
        }
        let change = Change::Restart { stamp: stamp.clone() };
        let seen = Some(change.on(&change::seen(view)));
        let unless_live = cx.plan.services.clone();
        match (WantedChange { why: &step.name, before: &before, change, unless_live, seen }).make(cx, out) {
            Made::Done(hash) => {
                record.before.iter_mut().skip(i).take(1).for_each(|b| {
                    change::template_changed(b, hash.clone(), Some(view));
                });
            }
            Made::NotYet(why) => {
                changing = true;
                record.message = Some(why);
            }
            Made::Conflict(why) | Made::Gone(why) | Made::Never(why) => return Some(Verdict::fail(why)),
        }
    }
    if changing {
        return None;
    }
    if step.stage == Stage::BeforeRestore {
        return Some(Verdict::Pass { evidence: None, captures: Default::default(), hidden: Default::default() });
    }
    rollout::after_change(cx, &workloads, record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::api::run::StepState;
    use crate::effect::change::RESTARTED_BY;
    use crate::effect::{Effect, Outcome};
    use crate::plan::{Action, Stage};
    use serde_json::json;

    fn again() -> PlanStep {
        let restart = json!({"side": "Target"});
        let restart = serde_json::from_value(restart).expect("a restart");
        PlanStep { attempts: 2, ..step("again", Stage::Prepare, Action::Restart(restart)) }
    }

    const KEY: &str = "restart/again/Deployment/web-green";

    fn written(f: &mut Fixture, stamp: &str, hash: &str) {
        let view = f.workload("green");
        view.template["metadata"]["annotations"] = json!({RESTARTED_BY: stamp});
        view.template_hash = hash.into();
    }

    #[test]
    fn it_is_made_once_and_its_rollout_awaited() {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let (r, out) = f.drive(&again(), None);
        let Some(Effect::Change { change, unless_live, .. }) = out.effects.first() else { panic!("{out:?}") };
        assert_eq!(*change, Change::Restart { stamp: "run-1/again#1".into() });
        assert_eq!(unless_live, &["web"], "never all pods of what is live at once");
        f.outcome(KEY, Outcome::Changed { template: "h2".into() });
        let (r, out) = f.drive(&again(), Some(&r));
        assert!(r.state == StepState::Running && out.effects.is_empty(), "what is seen is of the time before: {r:?}");
        f.world.outcomes.clear();
        written(&mut f, "run-1/again#1", "h2");
        f.workload("green").updated = 1;
        let (r, out) = f.drive(&again(), Some(&r));
        assert!(r.state == StepState::Running && out.effects.is_empty());
        f.workload("green").updated = 2;
        assert_eq!(f.drive(&again(), Some(&r)).0.state, StepState::Succeeded);
        let template = r.before[0].template.clone().expect("journaled");
        assert_eq!((template.from.as_str(), template.to.as_deref()), ("h", Some("h2")));
    }

    #[test]
    fn a_crash_restarts_nothing_twice_and_a_second_attempt_does() {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let (r, _) = f.drive(&again(), None);
        written(&mut f, "run-1/again#1", "h2");
        let (done, out) = f.drive(&again(), Some(&r));
        assert!(done.state == StepState::Succeeded && out.effects.is_empty(), "{done:?}");
        f.workload("green").stuck = Some("ProgressDeadlineExceeded".into());
        let (r, _) = f.drive(&again(), Some(&r));
        assert!(r.between && r.attempt == 2, "{r:?}");
        f.after(5);
        f.workload("green").stuck = None;
        let (_, out) = f.drive(&again(), Some(&r));
        let Some(Effect::Change { change, .. }) = out.effects.first() else { panic!("{out:?}") };
        assert_eq!(*change, Change::Restart { stamp: "run-1/again#2".into() });
    }

    #[test]
    fn what_cannot_be_restarted_fails() {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let s = PlanStep { attempts: 1, ..again() };
        let (r, _) = f.drive(&s, None);
        f.outcome(KEY, Outcome::Refused { why: "x".into(), forbidden: true });
        let (r, _) = f.drive(&s, Some(&r));
        assert!(r.message.as_ref().is_some_and(|m| m.contains("--verb=patch --resource=deployments.apps")), "{r:?}");
    }
}
