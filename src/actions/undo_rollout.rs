//! PURE. A Deployment back to its previous revision, at most once, as `kubectl rollout undo` does: the template of the
//! ReplicaSet with the highest revision below the present one.

use serde_json::{Value, json};

use crate::api::run::{Before, ObjectKind, ObjectRef, RevisionChange, StepRecord, TemplateChange};
use crate::api::step::{UndoRollout, WorkloadKind, WorkloadRef};
use crate::effect::{Change, Read, hash};
use crate::plan::PlanStep;
use crate::world::{Reading, RevisionsView, WorkloadView};

use super::change::{self, Made, WantedChange, WorkloadState, look, shown};
use super::{Cx, Out, Verdict, attempt_of, rollout};

/// The Deployment of a step.
pub fn workload(undo: &UndoRollout) -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: undo.deployment.clone() }
}

/// See [`super::advance`].
pub fn advance(
    cx: &Cx,
    step: &PlanStep,
    undo: &UndoRollout,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let workload = workload(undo);
    let object = ObjectRef { kind: ObjectKind::Deployment, name: undo.deployment.clone() };
    let name = shown(&object);
    let view = match look(cx, &workload, record) {
        WorkloadState::Known(view) => view,
        WorkloadState::Wait => return None,
        WorkloadState::Missing(why) => return Some(Verdict::fail(why)),
    };
    if record.before.is_empty() {
        let revisions = read(cx, step, record, out, undo)?;
        match back_to(&revisions, view) {
            Ok((revision, template)) => {
                let mut before = Before::of(object, &view.uid);
                before.revision = Some(revision);
                before.template = Some(template);
                record.before.push(before);
            }
            Err(why) => return Some(Verdict::fail(format!("{name} {why}"))),
        }
    }
    let before = record.before.first().cloned()?;
    let (Some(revision), Some(TemplateChange { from, to: Some(to) })) = (before.revision, before.template.clone())
    else {
        return Some(Verdict::fail(format!("{name}: the journal does not say what it goes back to")));
    };
    if before.uid != view.uid {
        return Some(Verdict::fail(format!("{name} was replaced by another of that name")));
    }
    // Where it is so already, a process that did not live to record it has done it.
    if !before.done && view.template_hash == to {
        record.before.iter_mut().for_each(|b| b.done = true);
    } else if !before.done {
        let revisions = read(cx, step, record, out, undo)?;
        let Some(template) = revisions.all.iter().map(|r| &r.template).find(|t| hash(t) == to).cloned() else {
            return Some(Verdict::fail(format!("{name}: revision {} is gone", revision.to)));
        };
        let change = Change::Template { from, to, template };
        let unless_live = cx.plan.services.clone();
        match (WantedChange { why: &step.name, before: &before, change, unless_live, seen: None }).make(cx, out) {
            Made::Done(hash) => record.before.iter_mut().for_each(|b| change::template_changed(b, hash.clone(), None)),
            Made::NotYet(why) => {
                record.message = Some(why);
                return None;
            }
            Made::Conflict(why) | Made::Gone(why) | Made::Never(why) => return Some(Verdict::fail(why)),
        }
    }
    match rollout::after_change(cx, &[workload], record)? {
        Verdict::Pass { .. } => Some(Verdict::pass(evidence(&name, revision))),
        other => Some(other),
    }
}

fn evidence(name: &str, revision: RevisionChange) -> Value {
    json!({name: {"fromRevision": revision.from, "toRevision": revision.to}})
}

/// The revision before the present one.
fn back_to(revisions: &RevisionsView, view: &WorkloadView) -> Result<(RevisionChange, TemplateChange), String> {
    if revisions.paused {
        return Err("is paused, so that no revision would be rolled out; resume it".into());
    }
    let former = revisions.all.iter().filter(|r| r.number < revisions.current).max_by_key(|r| r.number);
    let Some(former) = former else {
        return Err("has no earlier revision; keep some (spec.revisionHistoryLimit)".into());
    };
    let template = TemplateChange { from: view.template_hash.clone(), to: Some(hash(&former.template)) };
    Ok((RevisionChange { from: revisions.current, to: former.number }, template))
}

fn read(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out, undo: &UndoRollout) -> Option<RevisionsView> {
    let key = (&attempt_of(step, record), "revisions");
    let known = |r: &Reading| match r {
        Reading::Revisions(Err(why)) => Err(why.clone()),
        _ => Ok(()),
    };
    match change::answer(cx, record, out, key, &Read::Revisions(undo.deployment.clone()), known)? {
        Reading::Revisions(Ok(view)) => Some(view.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, read, step};
    use crate::api::run::StepState;
    use crate::effect::{Effect, Outcome};
    use crate::plan::{Action, Stage};
    use crate::world::Revision;

    fn back() -> PlanStep {
        step("back", Stage::Rollback, Action::UndoRollout(UndoRollout { deployment: "web-green".into() }))
    }

    fn template(image: &str) -> Value {
        json!({"spec": {"containers": [{"name": "api", "image": image}]}})
    }

    fn fixture(numbers: &[i64], current: i64, paused: bool) -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let all = numbers.iter().map(|n| Revision { number: *n, template: template(&format!("web:{n}")) }).collect();
        let view = RevisionsView { current, paused, all };
        f.world.readings.insert(read("back#1/revisions/0"), Reading::Revisions(Ok(view)));
        f
    }

    #[test]
    fn it_goes_back_once_to_the_revision_before() {
        let mut f = fixture(&[1, 4, 7], 7, false);
        let (r, out) = f.drive(&back(), None);
        let to = hash(&template("web:4"));
        let Some(Effect::Change { change, .. }) = out.effects.first() else { panic!("{out:?}") };
        assert_eq!(*change, Change::Template { from: "h".into(), to: to.clone(), template: template("web:4") });
        assert_eq!(r.before[0].revision, Some(RevisionChange { from: 7, to: 4 }));
        f.outcome("template/back/Deployment/web-green", Outcome::Changed { template: to.clone() });
        let (r, _) = f.drive(&back(), Some(&r));
        assert!(r.state == StepState::Running && r.before[0].done);
        f.world.outcomes.clear();
        f.world.readings.clear();
        f.workload("green").template_hash = to;
        let (r, out) = f.drive(&back(), Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty() && out.reads.is_empty(), "{r:?}");
        let wanted = json!({"Deployment web-green": {"fromRevision": 7, "toRevision": 4}});
        assert_eq!(r.evidence, Some(wanted));
    }

    #[test]
    fn a_crash_finds_it_done() {
        let mut f = fixture(&[1, 2], 2, false);
        let (r, _) = f.drive(&back(), None);
        f.world.readings.clear();
        f.workload("green").template_hash = hash(&template("web:1"));
        let (r, out) = f.drive(&back(), Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
    }

    #[test]
    fn without_an_earlier_revision_it_fails() {
        for (numbers, current, paused, text) in
            [(vec![3], 3, false, "has no earlier revision"), (vec![1, 2], 2, true, "is paused")]
        {
            let (r, out) = fixture(&numbers, current, paused).drive(&back(), None);
            assert!(r.state == StepState::Failed && out.effects.is_empty());
            assert!(r.message.as_ref().is_some_and(|m| m.contains(text)), "{r:?}");
        }
    }
}
