//! PURE. Changes the replicas of workloads and waits for them, and reverses that. What was there before is journaled
//! first; a live side is never shrunk unless the step says `allowDowntime` (P13).

use serde_json::{Map, Value, json};

use crate::api::run::{Before, ObjectRef, StepRecord};
use crate::api::step::{Scale, WorkloadRef};
use crate::effect::Change;
use crate::plan::{Action, PlanStep, Stage};
use crate::world::WorkloadView;

use super::change::{self, Made, WantedChange, WorkloadState, look, shown};
use super::{Cx, Out, Verdict, rollout};

/// The workloads that a step scales.
pub fn workloads(cx: &Cx, scale: &Scale) -> Vec<WorkloadRef> {
    change::workloads(cx, scale.side, &scale.workloads)
}

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, scale: &Scale, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let workloads = workloads(cx, scale);
    let mut changing = false;
    for workload in &workloads {
        let view = match look(cx, workload, record) {
            WorkloadState::Known(view) => view,
            WorkloadState::Wait => return None,
            WorkloadState::Missing(why) => return Some(Verdict::fail(why)),
        };
        let (i, before) = match change::known(record, workload, view, |b| b.replicas = Some(view.wanted)) {
            Ok(known) => known,
            Err(why) => return Some(Verdict::fail(why)),
        };
        let from = before.replicas.unwrap_or(view.wanted);
        if from == scale.replicas || before.done {
            continue;
        }
        let change = Change::Scale { from, to: scale.replicas };
        let unless_live = if scale.allow_downtime { vec![] } else { cx.plan.services.clone() };
        let seen = Some(change.on(&change::seen(view)));
        match (WantedChange { why: &step.name, before: &before, change, unless_live, seen }).make(cx, out) {
            Made::Done(_) => record.before.iter_mut().skip(i).take(1).for_each(|b| b.done = true),
            Made::NotYet(why) => {
                changing = true;
                record.message = Some(why);
            }
            Made::Conflict(why) | Made::Gone(why) | Made::Never(why) => {
                return Some(change::never(why, evidence(record, scale)));
            }
        }
    }
    if changing {
        return None;
    }
    // Users wait for the restore: a change counts when it is written, but for a writer that must be gone.
    if step.stage == Stage::BeforeRestore && !cx.plan.stops_target(step) {
        return Some(Verdict::pass(evidence(record, scale)));
    }
    if let Some(why) = change::unsettled(cx, &workloads, |_, view| other_count(view, scale.replicas)) {
        record.message = Some(why);
        return None;
    }
    let verdict = rollout::judge(cx, &workloads, None, false, record)?;
    let less = |w: &WorkloadRef| before_of(&record.before, w).is_some_and(|before| before > scale.replicas);
    let shrunk: Vec<WorkloadRef> = workloads.into_iter().filter(less).collect();
    if let (Verdict::Pass { .. }, Some(why)) = (&verdict, gone(cx, &shrunk, |_| Some(scale.replicas))) {
        record.message = Some(why);
        return None;
    }
    match verdict {
        Verdict::Pass { .. } => Some(Verdict::pass(evidence(record, scale))),
        other => Some(other),
    }
}

/// How many there were before the run changed that.
fn before_of(all: &[Before], workload: &WorkloadRef) -> Option<u32> {
    let object = ObjectRef::from(workload);
    all.iter().find(|b| b.object == object)?.replicas
}

/// The pods that are not gone yet of workloads that were made smaller: a consumer that ends still consumes.
fn gone(cx: &Cx, shrunk: &[WorkloadRef], count: impl Fn(&WorkloadRef) -> Option<u32>) -> Option<String> {
    if shrunk.is_empty() { None } else { change::leaving(cx, shrunk, count) }
}

/// Back to what was journaled, where the present count is still the one the run set.
pub fn undo(cx: &Cx, step: &PlanStep, of: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(Action::Scale(scale)) = cx.plan.step(of).map(|s| &s.action) else {
        return Some(Verdict::fail(format!("{of} is not a step that scales")));
    };
    let wanted = |own: &Before| {
        let to = own.replicas.unwrap_or(scale.replicas);
        // Scaled to 0 since; the next run gives it back what it had before this step.
        if cx.journal.closings.iter().flat_map(|c| &c.workloads).any(|w| w.workload == own.object && w.done) {
            return None;
        }
        (to != scale.replicas).then_some(Change::Scale { from: scale.replicas, to })
    };
    let back = match change::take_back(cx, step, of, record, out, wanted)? {
        Ok(back) => back,
        Err(why) => return Some(Verdict::fail(why)),
    };
    let workloads = change::standing(&workloads(cx, scale), &back);
    let count = |w: &WorkloadRef| before_of(&back, w);
    if let Some(why) = change::unsettled(cx, &workloads, |w, view| other_count(view, count(w)?)) {
        record.message = Some(why);
        return None;
    }
    let verdict = rollout::judge(cx, &workloads, None, false, record)?;
    let less = |w: &WorkloadRef| count(w).is_some_and(|to| to < scale.replicas);
    let shrunk: Vec<WorkloadRef> = workloads.into_iter().filter(less).collect();
    if let (Verdict::Pass { .. }, Some(why)) = (&verdict, gone(cx, &shrunk, count)) {
        record.message = Some(why);
        return None;
    }
    match verdict {
        Verdict::Pass { .. } => {
            let told = |b: &Before| json!({"from": scale.replicas, "to": b.replicas});
            let all: Map<String, Value> = back.iter().map(|b| (shown(&b.object), change::left_or(b, told))).collect();
            Some(Verdict::pass(Value::Object(all)))
        }
        other => Some(other),
    }
}

fn other_count(view: &WorkloadView, wanted: u32) -> Option<String> {
    (view.wanted != wanted).then(|| format!("has {} replicas, {wanted} were set", view.wanted))
}

fn evidence(record: &StepRecord, scale: &Scale) -> Value {
    record.before.iter().map(|b| (shown(&b.object), json!({"from": b.replicas, "to": scale.replicas}))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, effect, pod, step, workload};
    use crate::api::run::StepState;
    use crate::effect::{Effect, Outcome};
    use crate::plan::{Stage, undo_name};
    use crate::world::PodView;

    fn to(side: &str, replicas: u32, downtime: bool) -> PlanStep {
        let scale = json!({"side": side, "replicas": replicas, "allowDowntime": downtime});
        step("size", Stage::Prepare, Action::Scale(serde_json::from_value(scale).expect("a scale")))
    }

    const KEY: &str = "scale/size/Deployment/web-green";

    fn set(f: &mut Fixture, n: u32) {
        let v = f.workload("green");
        (v.wanted, v.updated, v.available, v.replicas) = (n, n, n, n);
    }

    #[test]
    fn what_was_there_is_claimed_with_the_change() {
        let mut f = Fixture::new();
        let s = to("Target", 5, false);
        let (r, out) = f.drive(&s, None);
        assert_eq!((r.before[0].replicas, r.before[0].uid.as_str(), r.before[0].done), (Some(2), "uid-green", false));
        assert_eq!(
            out.effects,
            [Effect::Change {
                why: "size".into(),
                object: (&workload("web-green")).into(),
                uid: "uid-green".into(),
                change: Change::Scale { from: 2, to: 5 },
                unless_live: vec!["web".into()]
            }]
        );
        f.outcome(KEY, Outcome::Done);
        let (r, out) = f.drive(&s, Some(&r));
        assert!(
            r.before[0].done && out.consumed == [effect(KEY)] && r.state == StepState::Running,
            "not rolled out yet"
        );
        f.world.outcomes.clear();
        set(&mut f, 5);
        let (r, _) = f.drive(&s, Some(&r));
        assert_eq!(
            (r.state, r.evidence),
            (StepState::Succeeded, Some(json!({"Deployment web-green": {"from": 2, "to": 5}})))
        );
    }

    #[test]
    fn only_a_step_that_allows_downtime_may_shrink_what_is_live() {
        for (downtime, services) in [(false, vec!["web".to_owned()]), (true, vec![])] {
            let f = Fixture::new();
            let (_, out) = f.drive(&to("Old", 0, downtime), None);
            let Some(Effect::Change { unless_live, .. }) = out.effects.first() else { panic!("no effect") };
            assert_eq!(*unless_live, services);
        }
    }

    #[test]
    fn a_restart_finds_the_change_made_and_keeps_what_was_before() {
        let mut f = Fixture::new();
        let s = PlanStep { attempts: 2, ..to("Target", 5, false) };
        let (r, _) = f.drive(&s, None);
        set(&mut f, 5);
        let (done, out) = f.drive(&s, Some(&r));
        assert!(done.state == StepState::Succeeded && out.effects.is_empty() && done.before[0].replicas == Some(2));
        // A second attempt does not take the changed count for the original.
        f.outcome(KEY, Outcome::Refused { why: "quota".into(), forbidden: false });
        set(&mut f, 2);
        let (r, _) = f.drive(&s, Some(&r));
        assert!(r.between && r.before[0].replicas == Some(2));
    }

    #[test]
    fn refusals_and_changes_by_others_fail() {
        let table = [
            (Outcome::Refused { why: "x".into(), forbidden: true }, "--verb=patch --resource=deployments.apps"),
            (Outcome::Conflict("has 7".into()), "changed by somebody else"),
            (Outcome::NotFound, "does not exist any more"),
        ];
        for (outcome, text) in table {
            let mut f = Fixture::new();
            let (r, _) = f.drive(&to("Target", 5, false), None);
            f.outcome(KEY, outcome);
            let (r, _) = f.drive(&to("Target", 5, false), Some(&r));
            assert!(r.state == StepState::Failed && r.message.as_ref().is_some_and(|m| m.contains(text)), "{r:?}");
        }
        let mut f = Fixture::new();
        let (r, _) = f.drive(&to("Target", 5, false), None);
        f.outcome(KEY, Outcome::Transient("503".into()));
        let (r, out) = f.drive(&to("Target", 5, false), Some(&r));
        assert!(r.state == StepState::Running && out.effects.is_empty() && out.wake.is_some(), "paced");
    }

    fn pods(f: &mut Fixture, all: Vec<PodView>) {
        let own = |p: PodView| PodView { workload: Some(workload("web-green")), ..p };
        f.pods(all.into_iter().map(own).collect());
    }

    #[test]
    fn it_is_over_when_the_pods_are_gone() {
        let mut f = Fixture::new();
        let s = to("Target", 0, false);
        let (r, _) = f.drive(&s, None);
        f.outcome(KEY, Outcome::Done);
        set(&mut f, 0);
        let (r, _) = f.drive(&s, Some(&r));
        f.world.outcomes.clear();
        let said = |f: &Fixture| f.drive(&s, Some(&r)).0.message.unwrap_or_default();
        assert_eq!(said(&f), "the pods are being looked up");
        // The watch of pods is behind that of the workload.
        pods(&mut f, vec![pod("a", "green"), pod("b", "green")]);
        assert_eq!(said(&f), "Deployment web-green: 2 of its pods are still to end, such as b; 0 are to stay");
        let by = |s| Some(f.world.now + jiff::SignedDuration::from_secs(s));
        let ends = |name: &str, s| PodView { gone_by: by(s), terminating: true, ..pod(name, "green") };
        let evicted = PodView { ended: true, terminating: true, ..pod("c", "green") };
        let (a, b) = (PodView { ended: true, ..ends("a", 10) }, ends("b", 30));
        pods(&mut f, vec![a.clone(), b, evicted.clone()]);
        let told = "Deployment web-green: 2 pods still end; pod b should be gone by 2026-01-01T00:00:30Z";
        assert_eq!(said(&f), told);
        pods(&mut f, vec![a, evicted.clone()]);
        f.after(20);
        let told = "Deployment web-green: 1 pod still ends; pod a should be gone since 2026-01-01T00:00:10Z";
        assert_eq!(said(&f), told);
        f.after(600);
        let (late, _) = f.drive(&s, Some(&StepRecord { message: Some(told.into()), ..r.clone() }));
        assert!(late.state == StepState::Failed && late.message.as_ref().is_some_and(|m| m.contains(told)), "{late:?}");
        f.after(-600);
        pods(&mut f, vec![evicted]);
        assert_eq!(f.drive(&s, Some(&r)).0.state, StepState::Succeeded, "an evicted pod may stay forever");
    }

    #[test]
    fn an_undo_that_shrinks_waits_for_them_too() {
        let mut f = scaled();
        let (r, _) = undone(&f, None);
        f.outcome(BACK, Outcome::Done);
        set(&mut f, 2);
        let all = ["a", "b", "c"].map(|name| pod(name, "green"));
        pods(&mut f, all.to_vec());
        let (r, _) = undone(&f, Some(&r));
        assert!(
            r.state == StepState::Running && r.message.as_ref().is_some_and(|m| m.contains("2 are to stay")),
            "{r:?}"
        );
        f.world.outcomes.clear();
        pods(&mut f, all[..2].to_vec());
        assert_eq!(undone(&f, Some(&r)).0.state, StepState::Succeeded);
    }

    fn undone(f: &Fixture, record: Option<&StepRecord>) -> (StepRecord, Out) {
        let undo = step(&undo_name("size"), Stage::Prepare, Action::Unscale { step: "size".into() });
        f.drive(&undo, record)
    }

    fn scaled() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![]);
        f.plan.steps = vec![to("Target", 5, false)];
        let (r, _) = f.drive(&f.plan.steps[0].clone(), None);
        f.journal.steps = vec![r];
        set(&mut f, 5);
        f
    }

    const BACK: &str = "scale/undo/size/Deployment/web-green";

    #[test]
    fn undo_goes_back_where_the_count_is_still_the_runs() {
        let mut f = scaled();
        let (r, out) = undone(&f, None);
        let Some(Effect::Change { change, unless_live, .. }) = out.effects.first() else { panic!("{out:?}") };
        assert_eq!(*change, Change::Scale { from: 5, to: 2 });
        assert_eq!(unless_live.len(), 1, "never shrinks what is live by then");
        f.outcome(BACK, Outcome::Done);
        let (r, out) = undone(&f, Some(&r));
        assert!(r.state == StepState::Running && out.effects.is_empty(), "not seen yet: {r:?}");
        set(&mut f, 2);
        f.world.outcomes.clear();
        let (r, out) = undone(&f, Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        assert_eq!(r.evidence, Some(json!({"Deployment web-green": {"from": 5, "to": 2}})));
    }

    #[test]
    fn undo_leaves_what_others_have_changed() {
        let mut f = scaled();
        let (r, _) = undone(&f, None);
        set(&mut f, 7);
        f.outcome(BACK, Outcome::Conflict("it has 7 replicas, 5 were expected".into()));
        let (r, out) = undone(&f, Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        let why = "left as it is: changed by somebody else: it has 7 replicas, 5 were expected";
        assert_eq!(r.evidence, Some(json!({"Deployment web-green": why})));
        f.journal.steps.clear();
        assert_eq!(undone(&f, None).0.state, StepState::Succeeded, "nothing was changed, nothing to undo");
    }
}
