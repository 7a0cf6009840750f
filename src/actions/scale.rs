//! PURE. Changes the replicas of workloads and waits for them, and takes that back. What was there before is journaled
//! first; a live side is never shrunk unless the step says `allowDowntime` (P13).

use serde_json::{Map, Value, json};

use crate::api::run::{Before, StepRecord};
use crate::api::step::{Scale, WorkloadRef};
use crate::effect::{Effect, Outcome};
use crate::journal;
use crate::plan::{Action, PlanStep};
use crate::world::WorkloadView;

use super::permissions::remedy;
use super::{Cx, Out, Verdict, rollout};

/// The workloads that a step scales.
pub fn workloads(cx: &Cx, scale: &Scale) -> Vec<WorkloadRef> {
    match scale.side {
        Some(side) => cx.plan.side(side).workloads.clone(),
        None => scale.workloads.clone(),
    }
}

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, scale: &Scale, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let workloads = workloads(cx, scale);
    let mut changing = false;
    for workload in &workloads {
        let view = match look(cx, workload, record) {
            Look::Known(view) => view,
            Look::Wait => return None,
            Look::Missing(verdict) => return Some(verdict),
        };
        let known = record.before.iter().position(|b| b.workload == *workload);
        let i = known.unwrap_or_else(|| {
            record.before.push(Before {
                workload: workload.clone(),
                uid: view.uid.clone(),
                replicas: view.wanted,
                done: false,
            });
            record.before.len() - 1
        });
        let Some(before) = record.before.get(i).cloned() else { continue };
        if before.uid != view.uid {
            return Some(Verdict::fail(format!("{} was replaced by another of that name", shown(workload))));
        }
        if before.replicas == scale.replicas || before.done {
            continue;
        }
        let change = Change {
            why: &step.name,
            workload,
            uid: &before.uid,
            from: before.replicas,
            to: scale.replicas,
            allow_downtime: scale.allow_downtime,
        };
        match change.make(cx, view, out) {
            Made::Done => {
                if let Some(b) = record.before.get_mut(i) {
                    b.done = true;
                }
            }
            Made::NotYet(why) => {
                changing = true;
                record.message = Some(why);
            }
            Made::Never(why) => return Some(Verdict::Fail { message: why, evidence: Some(evidence(record, scale)) }),
        }
    }
    if changing || !settled(cx, &workloads, |_| Some(scale.replicas), record) {
        return None;
    }
    match rollout::judge(cx, &workloads, None, false, record)? {
        Verdict::Pass { .. } => Some(Verdict::pass(evidence(record, scale))),
        other => Some(other),
    }
}

/// Back to what was journaled, where the present count is still the one the run set.
pub fn undo(cx: &Cx, step: &PlanStep, of: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(Action::Scale(scale)) = cx.plan.step(of).map(|s| &s.action) else {
        return Some(Verdict::fail(format!("{of} is not a step that scales")));
    };
    let before = journal::record(cx.journal, of).map(|r| r.before.clone()).unwrap_or_default();
    let mut changing = false;
    let mut back = vec![];
    let mut left = Map::new();
    for b in before.iter().filter(|b| b.replicas != scale.replicas) {
        let view = match look(cx, &b.workload, record) {
            Look::Known(view) => view,
            Look::Wait => return None,
            Look::Missing(_) => {
                left.insert(shown(&b.workload), "does not exist".into());
                continue;
            }
        };
        // Ours where it still has the run's count; or where this undo has set it already.
        let done = record.before.iter().any(|own| own.workload == b.workload);
        if view.uid != b.uid || (view.wanted != scale.replicas && !done) {
            left.insert(shown(&b.workload), format!("left at {}: changed by somebody else", view.wanted).into());
            continue;
        }
        if !done {
            record.before.push(Before { replicas: scale.replicas, done: false, ..b.clone() });
        }
        back.push(b.clone());
        let taken = record.before.iter().any(|own| own.workload == b.workload && own.done);
        if taken {
            continue;
        }
        let change = Change {
            why: &step.name,
            workload: &b.workload,
            uid: &b.uid,
            from: scale.replicas,
            to: b.replicas,
            allow_downtime: false,
        };
        match change.make(cx, view, out) {
            Made::Done => {
                for own in record.before.iter_mut().filter(|own| own.workload == b.workload) {
                    own.done = true;
                }
            }
            Made::NotYet(why) => {
                changing = true;
                record.message = Some(why);
            }
            Made::Never(why) => return Some(Verdict::fail(why)),
        }
    }
    let wanted = |w: &WorkloadRef| back.iter().find(|b| b.workload == *w).map(|b| b.replicas);
    let names: Vec<_> = back.iter().map(|b| b.workload.clone()).collect();
    if changing || !settled(cx, &names, wanted, record) {
        return None;
    }
    match rollout::judge(cx, &names, None, false, record)? {
        Verdict::Pass { .. } => {
            let mut shown_counts: Map<String, Value> =
                back.iter().map(|b| (shown(&b.workload), json!({"from": scale.replicas, "to": b.replicas}))).collect();
            shown_counts.extend(left);
            Some(Verdict::pass(Value::Object(shown_counts)))
        }
        other => Some(other),
    }
}

/// Whether the cluster shows the counts that were set.
fn settled(
    cx: &Cx,
    workloads: &[WorkloadRef],
    wanted: impl Fn(&WorkloadRef) -> Option<u32>,
    record: &mut StepRecord,
) -> bool {
    for workload in workloads {
        let now = cx.world.workloads.get(workload).and_then(|s| s.value.as_ref()).map(|v| v.wanted);
        if let (Some(now), Some(wanted)) = (now, wanted(workload))
            && now != wanted
        {
            record.message = Some(format!("{} has {now} replicas, {wanted} were set", shown(workload)));
            return false;
        }
    }
    true
}

enum Look<'a> {
    Known(&'a WorkloadView),
    Wait,
    Missing(Verdict),
}

fn look<'a>(cx: &Cx<'a>, workload: &WorkloadRef, record: &mut StepRecord) -> Look<'a> {
    match cx.world.workloads.get(workload).map(|seen| &seen.value) {
        Some(Some(view)) => Look::Known(view),
        Some(None) => Look::Missing(Verdict::fail(format!("{} does not exist", shown(workload)))),
        None => {
            record.message = Some(format!("{} is being looked up", shown(workload)));
            Look::Wait
        }
    }
}

fn shown(workload: &WorkloadRef) -> String {
    format!("{:?} {}", workload.kind, workload.name)
}

fn evidence(record: &StepRecord, scale: &Scale) -> Value {
    record.before.iter().map(|b| (shown(&b.workload), json!({"from": b.replicas, "to": scale.replicas}))).collect()
}

struct Change<'a> {
    why: &'a str,
    workload: &'a WorkloadRef,
    uid: &'a str,
    from: u32,
    to: u32,
    allow_downtime: bool,
}

enum Made {
    Done,
    NotYet(String),
    Never(String),
}

impl Change<'_> {
    fn make(&self, cx: &Cx, view: &WorkloadView, out: &mut Out) -> Made {
        let name = shown(self.workload);
        let shrinks = self.to < self.from;
        let effect = Effect::Scale {
            why: self.why.to_owned(),
            workload: self.workload.clone(),
            uid: self.uid.to_owned(),
            from: self.from,
            to: self.to,
            unless_live: if shrinks && !self.allow_downtime { cx.plan.services.clone() } else { vec![] },
        };
        let key = effect.key();
        let waiting = format!("{name} is being scaled from {} to {}", self.from, self.to);
        match out.outcome(cx, &key).map(|(_, outcome)| outcome) {
            Some(Outcome::Done) => return Made::Done,
            Some(Outcome::NotFound) => return Made::Never(format!("{name} does not exist any more")),
            Some(Outcome::Conflict(why)) => return Made::Never(format!("changed by somebody else: {why}")),
            Some(Outcome::Refused { why, forbidden }) => {
                let resource = match self.workload.kind {
                    crate::api::step::WorkloadKind::Deployment => "deployments.apps",
                    crate::api::step::WorkloadKind::StatefulSet => "statefulsets.apps",
                };
                let remedy = if forbidden { format!("; {}", remedy(cx, "patch", resource)) } else { String::new() };
                return Made::Never(format!("{name} cannot be scaled: {why}{remedy}"));
            }
            Some(Outcome::Transient(why)) => {
                out.want(cx, effect);
                return Made::NotYet(format!("{waiting}: {why}"));
            }
            Some(other) => {
                out.want(cx, effect);
                return Made::NotYet(format!("{waiting}: {other:?}"));
            }
            None => {}
        }
        if cx.world.in_flight.contains(&key) {
            return Made::NotYet(waiting);
        }
        if view.wanted == self.to {
            return Made::Done; // by a process that did not live to record it
        }
        if view.wanted != self.from {
            return Made::Never(format!(
                "{name} has {} replicas, {} were expected: changed by somebody else",
                view.wanted, self.from
            ));
        }
        out.want(cx, effect);
        Made::NotYet(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, step, workload};
    use crate::api::run::StepState;
    use crate::plan::{Stage, undo_name};

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
        assert_eq!((r.before[0].replicas, r.before[0].uid.as_str(), r.before[0].done), (2, "uid-green", false));
        assert_eq!(
            out.effects,
            [Effect::Scale {
                why: "size".into(),
                workload: workload("web-green"),
                uid: "uid-green".into(),
                from: 2,
                to: 5,
                unless_live: vec![]
            }]
        );
        f.outcome(KEY, Outcome::Done);
        let (r, out) = f.drive(&s, Some(&r));
        assert!(r.before[0].done && out.consumed == [KEY] && r.state == StepState::Running, "not rolled out yet");
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
            let (_, out) = f.drive(&to("Live", 0, downtime), None);
            let Some(Effect::Scale { unless_live, .. }) = out.effects.first() else { panic!("no effect") };
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
        assert!(done.state == StepState::Succeeded && out.effects.is_empty() && done.before[0].replicas == 2);
        // A second attempt does not take the changed count for the original.
        f.outcome(KEY, Outcome::Refused { why: "quota".into(), forbidden: false });
        set(&mut f, 2);
        let (r, _) = f.drive(&s, Some(&r));
        assert!(r.between && r.before[0].replicas == 2);
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

    fn undone(f: &Fixture, record: Option<&StepRecord>) -> (StepRecord, Out) {
        let undo = step(&undo_name("size"), Stage::Prepare, Action::Unscale { step: "size".into() });
        f.drive(&undo, record)
    }

    fn scaled() -> Fixture {
        let mut f = Fixture::new();
        f.plan.steps = vec![to("Target", 5, false)];
        let (r, _) = f.drive(&f.plan.steps[0].clone(), None);
        f.journal.steps = vec![r];
        set(&mut f, 5);
        f
    }

    #[test]
    fn undo_goes_back_where_the_count_is_still_the_runs() {
        let mut f = scaled();
        let (r, out) = undone(&f, None);
        let Some(Effect::Scale { from: 5, to: 2, unless_live, .. }) = out.effects.first() else { panic!("{out:?}") };
        assert_eq!(unless_live.len(), 1, "never shrinks what is live by then");
        set(&mut f, 2);
        let (r, out) = undone(&f, Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
    }

    #[test]
    fn undo_leaves_what_others_have_changed() {
        let mut f = scaled();
        set(&mut f, 7);
        let (r, out) = undone(&f, None);
        assert!(r.state == StepState::Succeeded && out.effects.is_empty());
        assert_eq!(r.evidence, Some(json!({"Deployment web-green": "left at 7: changed by somebody else"})));
        f.journal.steps.clear();
        assert_eq!(undone(&f, None).0.state, StepState::Succeeded, "nothing was changed, nothing to undo");
    }
}
