//! PURE. Suspends and resumes CronJobs, and reverses that. Whether each was suspended is journaled first. Jobs that a
//! CronJob has already started are not awaited and not touched: the evidence names them.

use serde_json::{Map, Value, json};

use crate::api::run::{Before, ObjectKind, ObjectRef, StepRecord};
use crate::api::step::CronJobs;
use crate::effect::change::said;
use crate::effect::{Change, Read};
use crate::plan::{Action, PlanStep};
use crate::world::{CronJobView, Reading};

use super::change::{self, Made, WantedChange, shown};
use super::{Cx, Out, Verdict, attempt_of};

/// Every CronJob of a step, and whether it is to be suspended.
pub fn wanted(jobs: &CronJobs) -> impl Iterator<Item = (ObjectRef, bool)> {
    let all = |list: &'_ [String], suspend: bool| {
        let object = |name: &String| (ObjectRef { kind: ObjectKind::CronJob, name: name.clone() }, suspend);
        list.iter().map(object).collect::<Vec<_>>()
    };
    all(&jobs.suspend, true).into_iter().chain(all(&jobs.resume, false))
}

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, jobs: &CronJobs, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let mut open = false;
    for (object, suspend) in wanted(jobs) {
        let known = record.before.iter().position(|b| b.object == object);
        let (i, seen) = match known {
            Some(i) => (i, None),
            None => match read(cx, step, record, out, &object, "before") {
                None => {
                    open = true;
                    continue;
                }
                Some(None) => return Some(Verdict::fail(format!("{} does not exist", shown(&object)))),
                Some(Some(view)) => {
                    let was = |b: &mut Before| b.suspended = Some(view.suspended);
                    (change::journaled(record, object.clone(), &view.uid, was), Some(view))
                }
            },
        };
        let Some(before) = record.before.get(i).cloned() else { continue };
        let from = before.suspended.unwrap_or(!suspend);
        if from == suspend || before.done {
            continue;
        }
        let change = Change::Suspend { from, to: suspend };
        let seen = seen.map(|view| change.on(&json!({"spec": {"suspend": view.suspended}})));
        match (WantedChange { why: &step.name, before: &before, change, unless_live: vec![], seen }).make(cx, out) {
            Made::Done(_) => record.before.iter_mut().skip(i).take(1).for_each(|b| b.done = true),
            Made::NotYet(why) => {
                open = true;
                record.message = Some(why);
            }
            Made::Conflict(why) | Made::Gone(why) | Made::Never(why) => {
                return Some(change::never(why, Value::Object(evidence(jobs, record))));
            }
        }
    }
    if open {
        return None;
    }
    let mut told = evidence(jobs, record);
    // Only now: what had been started until the suspension runs on.
    for (object, _) in wanted(jobs).filter(|(_, suspend)| *suspend) {
        let Some(view) = read(cx, step, record, out, &object, "after") else {
            open = true;
            continue;
        };
        let running = view.map(|v| v.active).unwrap_or_default();
        if let (false, Some(Value::Object(of))) = (running.is_empty(), told.get_mut(&shown(&object))) {
            of.insert("stillRunning".into(), json!(running));
        }
    }
    if open { None } else { Some(Verdict::pass(Value::Object(told))) }
}

/// Back to what was journaled, where it is still as the run left it.
pub fn undo(cx: &Cx, step: &PlanStep, of: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(Action::CronJobs(jobs)) = cx.plan.step(of).map(|s| &s.action) else {
        return Some(Verdict::fail(format!("{of} is not a step that suspends or resumes CronJobs")));
    };
    let left = |own: &Before| wanted(jobs).find(|(object, _)| *object == own.object).map(|(_, suspend)| suspend);
    let wanted = |own: &Before| {
        let (from, to) = (left(own)?, own.suspended?);
        (from != to).then_some(Change::Suspend { from, to })
    };
    let back = match change::take_back(cx, step, of, record, out, wanted)? {
        Ok(back) => back,
        Err(why) => return Some(Verdict::fail(why)),
    };
    let told = |b: &Before| json!(format!("{} again", said(b.suspended.unwrap_or_default())));
    let all: Map<String, Value> = back.iter().map(|b| (shown(&b.object), change::left_or(b, told))).collect();
    Some(Verdict::pass(Value::Object(all)))
}

/// A CronJob as it is read now; `Some(None)`: there is none.
fn read(
    cx: &Cx,
    step: &PlanStep,
    record: &mut StepRecord,
    out: &mut Out,
    object: &ObjectRef,
    when: &str,
) -> Option<Option<CronJobView>> {
    let what = format!("{}/{when}", object.name);
    let key = (&attempt_of(step, record), what.as_str());
    let known = |r: &Reading| match r {
        Reading::CronJob(Err(why)) => Err(format!("{}: {why}", shown(object))),
        _ => Ok(()),
    };
    match change::answer(cx, record, out, key, &Read::CronJob(object.name.clone()), known)? {
        Reading::CronJob(Ok(view)) => Some(view.clone()),
        _ => None,
    }
}

fn evidence(jobs: &CronJobs, record: &StepRecord) -> Map<String, Value> {
    let mut told = Map::new();
    for (object, suspend) in wanted(jobs) {
        let Some(before) = record.before.iter().find(|b| b.object == object) else { continue };
        let was = before.suspended == Some(suspend);
        let now = if was { format!("was {} already", said(suspend)) } else { said(suspend).to_owned() };
        told.insert(shown(&object), json!({ "is": now }));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, effect, read as key, step};
    use crate::api::run::StepState;
    use crate::effect::{Effect, Outcome};
    use crate::plan::{Stage, undo_name};

    fn pause() -> PlanStep {
        let jobs = json!({"suspend": ["daily"], "resume": ["hourly"]});
        step("pause", Stage::Prepare, Action::CronJobs(serde_json::from_value(jobs).expect("cronJobs")))
    }

    fn view(suspended: bool, active: &[&str]) -> Reading {
        let active = active.iter().map(|n| (*n).to_owned()).collect();
        Reading::CronJob(Ok(Some(CronJobView { uid: "u".into(), suspended, active })))
    }

    fn seen(f: &mut Fixture, name: &str, when: &str, reading: Reading) {
        f.world.readings.insert(key(&format!("pause#1/{name}/{when}/0")), reading);
    }

    const DAILY: &str = "suspend/pause/CronJob/daily";
    const HOURLY: &str = "suspend/pause/CronJob/hourly";

    /// A step that has suspended `daily`, which was running, and resumed `hourly`, which was suspended.
    fn done() -> (Fixture, StepRecord) {
        let mut f = Fixture::new();
        f.plan.steps = vec![pause()];
        let (r, out) = f.drive(&pause(), None);
        assert!(out.reads.len() == 2 && out.effects.is_empty(), "{out:?}");
        seen(&mut f, "daily", "before", view(false, &[]));
        seen(&mut f, "hourly", "before", view(true, &[]));
        let (r, out) = f.drive(&pause(), Some(&r));
        assert_eq!(r.before.iter().map(|b| b.suspended).collect::<Vec<_>>(), [Some(false), Some(true)]);
        assert_eq!(out.effects.iter().map(Effect::key).collect::<Vec<_>>(), [effect(DAILY), effect(HOURLY)]);
        f.outcome(DAILY, Outcome::Done);
        f.outcome(HOURLY, Outcome::Done);
        let (r, _) = f.drive(&pause(), Some(&r));
        assert!(r.before.iter().all(|b| b.done) && r.state == StepState::Running);
        f.world.outcomes.clear();
        (f, r)
    }

    #[test]
    fn what_was_there_is_journaled_with_the_claim_and_running_jobs_are_told() {
        let (mut f, r) = done();
        seen(&mut f, "daily", "after", view(true, &["daily-1"]));
        let (r, out) = f.drive(&pause(), Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        let wanted = json!({
            "CronJob daily": {"is": "suspended", "stillRunning": ["daily-1"]},
            "CronJob hourly": {"is": "not suspended"},
        });
        assert_eq!(r.evidence, Some(wanted));
    }

    #[test]
    fn one_that_is_so_already_is_said_and_not_undone() {
        let mut f = Fixture::new();
        f.plan.steps = vec![pause()];
        for (name, suspended) in [("daily", true), ("hourly", false)] {
            seen(&mut f, name, "before", view(suspended, &[]));
            seen(&mut f, name, "after", view(suspended, &[]));
        }
        let (r, out) = f.drive(&pause(), None);
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        let is = |n: &str| r.evidence.as_ref().map(|e| e[n]["is"].clone());
        assert_eq!(is("CronJob daily"), Some(json!("was suspended already")));
        f.journal.steps = vec![r];
        let undo = step(&undo_name("pause"), Stage::Prepare, Action::UndoCronJobs { step: "pause".into() });
        let (r, out) = f.drive(&undo, None);
        assert!(r.state == StepState::Succeeded && out.effects.is_empty() && r.evidence == Some(json!({})), "{r:?}");
    }

    #[test]
    fn one_that_is_missing_or_refused_fails_and_one_that_cannot_be_read_is_read_again() {
        let mut f = Fixture::new();
        seen(&mut f, "hourly", "before", view(true, &[]));
        seen(&mut f, "daily", "before", Reading::CronJob(Ok(None)));
        let (r, _) = f.drive(&pause(), None);
        assert_eq!(r.message.as_deref(), Some("CronJob daily does not exist"));
        seen(&mut f, "daily", "before", Reading::CronJob(Err("503".into())));
        let (r, out) = f.drive(&pause(), None);
        assert!(r.state == StepState::Running && out.wake.is_some(), "{r:?}");
        f.after(2);
        let (_, out) = f.drive(&pause(), Some(&r));
        assert!(out.reads.contains_key(&key("pause#1/daily/before/1")), "{:?}", out.reads.keys());
        let mut f = Fixture::new();
        seen(&mut f, "daily", "before", view(false, &[]));
        seen(&mut f, "hourly", "before", view(true, &[]));
        let (r, _) = f.drive(&pause(), None);
        f.outcome(DAILY, Outcome::Refused { why: "no".into(), forbidden: true });
        let (r, _) = f.drive(&pause(), Some(&r));
        assert!(r.message.as_ref().is_some_and(|m| m.contains("--verb=patch --resource=cronjobs.batch")), "{r:?}");
    }

    #[test]
    fn undo_goes_back_and_leaves_what_others_have_changed() {
        let (mut f, r) = done();
        f.journal.steps = vec![r];
        let undo = step(&undo_name("pause"), Stage::Prepare, Action::UndoCronJobs { step: "pause".into() });
        let (r, out) = f.drive(&undo, None);
        let changes: Vec<_> = out
            .effects
            .iter()
            .filter_map(|e| match e {
                Effect::Change { change, .. } => Some(change.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(changes, [Change::Suspend { from: true, to: false }, Change::Suspend { from: false, to: true }]);
        f.outcome("suspend/undo/pause/CronJob/daily", Outcome::Done);
        f.outcome("suspend/undo/pause/CronJob/hourly", Outcome::Conflict("it was replaced".into()));
        let (r, _) = f.drive(&undo, Some(&r));
        let wanted = json!({
            "CronJob daily": "not suspended again",
            "CronJob hourly": "left as it is: changed by somebody else: it was replaced",
        });
        assert_eq!((r.state, r.evidence), (StepState::Succeeded, Some(wanted)));
    }
}
