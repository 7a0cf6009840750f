//! PURE. Sets variables of workloads' environments and waits for the rollout, and reverses that. What a variable was
//! is journaled without its value: that is kept in an annotation of the workload itself, written with the change, and
//! leaves the workload never (P9).

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::api::run::{Before, ObjectRef, StepRecord, StepState};
use crate::api::step::{SetEnv, WorkloadRef};
use crate::effect::change::Now;
use crate::effect::{Change, Effect, env};
use crate::journal;
use crate::plan::vars::{Escape, VarError, Vars};
use crate::plan::{Action, Plan, PlanStep, Stage, undo_name};

use super::change::{self, Made, WantedChange, WorkloadState, look, shown};
use super::{Cx, Out, Verdict, rollout};

/// The workloads whose environment a step sets.
pub fn workloads(cx: &Cx, set: &SetEnv) -> Vec<WorkloadRef> {
    change::workloads(cx, set.side, &set.workloads)
}

/// The annotation in which a step of a run keeps what was there.
fn keep(run_uid: &str, step: &str) -> String {
    let hash = Sha256::digest(format!("{run_uid}\n{step}"));
    let hash: String = hash.iter().take(5).map(|b| format!("{b:02x}")).collect();
    format!("cutover.dev/env-before-{hash}")
}

/// The variables with `${…}` expanded. `trial`: those without a value yet stay as they are written.
fn variables(cx: &Cx, set: &SetEnv, trial: bool) -> Result<Vec<Value>, String> {
    let vars = Vars::new(cx.plan, &cx.journal.captures);
    let mut all = vec![];
    for var in &set.env {
        let mut one = Map::from_iter([("name".to_owned(), json!(var.name))]);
        if let Some(text) = &var.value {
            let value = match vars.expand(text, Escape::Env) {
                Ok(value) => value,
                Err(VarError::Missing(_)) if trial => text.clone(),
                Err(why) => return Err(format!("setEnv.env {}: {why}", var.name)),
            };
            one.insert("value".into(), value.into());
        }
        if let Some(from) = &var.value_from {
            one.insert("valueFrom".into(), from.clone());
        }
        all.push(Value::Object(one));
    }
    Ok(all)
}

/// The change as the API server is asked to try it in preflight.
pub fn trial(cx: &Cx, step: &str, set: &SetEnv) -> Option<Change> {
    let env = variables(cx, set, true).ok()?;
    Some(Change::SetEnv { container: set.container.clone(), env, keep: keep(&cx.world.run_uid, step) })
}

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, set: &SetEnv, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let env = match variables(cx, set, false) {
        Ok(env) => env,
        Err(why) => return Some(Verdict::fail(why)),
    };
    let workloads = workloads(cx, set);
    let keep = keep(&cx.world.run_uid, &step.name);
    let mut changing = false;
    for workload in &workloads {
        let view = match look(cx, workload, record) {
            WorkloadState::Known(view) => view,
            WorkloadState::Wait => return None,
            WorkloadState::Missing(why) => return Some(Verdict::fail(why)),
        };
        let change = Change::SetEnv { container: set.container.clone(), env: env.clone(), keep: keep.clone() };
        let seen = change.on(&change::seen(view));
        let container = match env::container(&view.template, set.container.as_deref()) {
            Ok((_, container)) => container,
            Err(why) => return Some(Verdict::fail(format!("setEnv.container: {}: {why}", shown(&workload.into())))),
        };
        let known = change::known(record, workload, view, |b| {
            let was = |v: &crate::api::step::EnvVar| (v.name.clone(), env::shown(env::variable(container, &v.name)));
            b.env = set.env.iter().map(was).collect();
            b.template = change::template_of(view);
            // Not by this run, so not to be undone either.
            b.left = (seen == Now::Done).then(|| "was so already".to_owned());
            b.done = b.left.is_some();
        });
        let (i, before) = match known {
            Ok(known) => known,
            Err(why) => return Some(Verdict::fail(why)),
        };
        if before.done {
            continue;
        }
        let unless_live = cx.plan.services.clone();
        let made =
            WantedChange { why: &step.name, before: &before, change, unless_live, seen: Some(seen) }.make(cx, out);
        match made {
            Made::Done(hash) => {
                record.before.iter_mut().skip(i).take(1).for_each(|b| {
                    change::template_changed(b, hash.clone(), Some(view));
                });
            }
            Made::NotYet(why) => {
                changing = true;
                record.message = Some(why);
            }
            Made::Conflict(why) | Made::Gone(why) | Made::Never(why) => {
                return Some(change::never(why, evidence(record, set)));
            }
        }
    }
    if !changing && step.stage == Stage::BeforeRestore {
        return Some(Verdict::pass(evidence(record, set)));
    }
    if changing {
        return None;
    }
    match rollout::after_change(cx, &workloads, record)? {
        Verdict::Pass { .. } => Some(Verdict::pass(evidence(record, set))),
        other => Some(other),
    }
}

/// Takes the variables back that are still the run's.
pub fn undo(cx: &Cx, step: &PlanStep, of: &str, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(Action::SetEnv(set)) = cx.plan.step(of).map(|s| &s.action) else {
        return Some(Verdict::fail(format!("{of} is not a step that sets an environment")));
    };
    let keep = keep(&cx.world.run_uid, of);
    let known = record.before.len();
    let wanted = |own: &Before| own.left.is_none().then(|| Change::UnsetEnv { keep: keep.clone() });
    let back = change::take_back(cx, step, of, record, out, wanted);
    let own = journal::record(cx.journal, of).map(|r| r.before.clone()).unwrap_or_default();
    let theirs = variables(cx, set, false).unwrap_or_default();
    for b in record.before.iter_mut().skip(known) {
        let own = own.iter().find(|o| o.object == b.object);
        tell(b, set, own.and_then(|own| others(cx, set, own, &theirs)).unwrap_or_default());
    }
    if let Err(why) = back? {
        return Some(Verdict::fail(why));
    }
    let workloads = change::standing(&workloads(cx, set), &record.before);
    match rollout::after_change(cx, &workloads, record)? {
        Verdict::Pass { .. } => {
            let told = |b: &Before| json!(b.env);
            let all = record.before.iter().map(|b| (shown(&b.object), change::left_or(b, told)));
            Some(Verdict::pass(Value::Object(all.collect())))
        }
        other => Some(other),
    }
}

/// What the undo will make of each variable.
fn tell(before: &mut Before, set: &SetEnv, others: Vec<String>) {
    for var in &set.env {
        let Some(was) = before.env.get_mut(&var.name) else { continue };
        *was = match others.contains(&var.name) {
            true => "left as it is: changed by somebody else".into(),
            false => format!("{was} again"),
        };
    }
}

/// The variables that are somebody else's by now, where the template is not the one that the run left.
fn others(cx: &Cx, set: &SetEnv, own: &Before, env: &[Value]) -> Option<Vec<String>> {
    let left = own.template.as_ref()?.to.as_ref().filter(|_| own.done)?;
    let (_, seen) = cx.world.workloads.iter().find(|(w, _)| ObjectRef::from(*w) == own.object)?;
    let view = seen.value.as_ref().filter(|v| v.template_hash != *left)?;
    Some(env::others(&change::seen(view), set.container.as_deref(), env))
}

/// What each variable was and is, without values.
fn evidence(record: &StepRecord, set: &SetEnv) -> Value {
    let is = |name: &str| {
        let var = set.env.iter().find(|v| v.name == name);
        env::shown(Some(&var.map(|v| json!({"valueFrom": v.value_from})).unwrap_or_default()))
    };
    let told = |b: &Before| {
        let all: Map<String, Value> =
            b.env.iter().map(|(name, was)| (name.clone(), json!(format!("{was} -> {}", is(name))))).collect();
        Value::Object(all)
    };
    record.before.iter().map(|b| (shown(&b.object), change::left_or(b, told))).collect()
}

/// What a run that is over still keeps in annotations and needs no more: the name of the step, what was journaled, and
/// the effect that drops it. Where an undo failed the annotation stays: a person may want what it holds.
pub fn kept(plan: &Plan, run_uid: &str, steps: &[StepRecord]) -> Vec<(String, ObjectRef, Effect)> {
    let undone = |name: &str| steps.iter().any(|r| r.name == undo_name(name) && r.state != StepState::Skipped);
    let automatic = |name: &str| matches!(plan.action(&undo_name(name)), Some(Action::UndoSetEnv { .. }));
    let mut all = vec![];
    for record in steps.iter().filter(|r| matches!(plan.action(&r.name), Some(Action::SetEnv(_)))) {
        if undone(&record.name) && automatic(&record.name) {
            continue;
        }
        for b in record.before.iter().filter(|b| b.done && b.left.is_none() && !b.forgotten) {
            let effect = Effect::Change {
                why: record.name.clone(),
                object: b.object.clone(),
                uid: b.uid.clone(),
                change: Change::ForgetEnv { keep: keep(run_uid, &record.name) },
                unless_live: vec![],
            };
            all.push((record.name.clone(), b.object.clone(), effect));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::effect::Outcome;
    use crate::plan::Stage;

    fn mode() -> PlanStep {
        let env = json!([
            {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
            {"name": "MODE", "value": "v${release.version}"},
        ]);
        let set = json!({"side": "Target", "container": "api", "env": env});
        step("mode", Stage::Prepare, Action::SetEnv(serde_json::from_value(set).expect("setEnv")))
    }

    const KEY: &str = "set_env/mode/Deployment/web-green";

    /// As the API server would have written it.
    fn write(f: &mut Fixture, change: &Change, hash: &str) {
        let view = f.workload("green");
        let mut object = change::seen(view);
        let Now::Edit(edits) = change.on(&object) else { return };
        for edit in edits.iter().filter(|e| e.path.starts_with("/spec")) {
            let (parent, key) = edit.path.rsplit_once('/').expect("a path");
            object.pointer_mut(parent).expect("its parent")[key] = edit.value.clone();
        }
        view.template = object["spec"]["template"].clone();
        view.template_hash = hash.into();
    }

    fn done() -> (Fixture, StepRecord) {
        let mut f = Fixture::new();
        f.pods(vec![]);
        f.plan.steps = vec![mode()];
        let (r, out) = f.drive(&mode(), None);
        let Some(Effect::Change { change, .. }) = out.effects.first().cloned() else { panic!("{out:?}") };
        let Change::SetEnv { env, .. } = &change else { panic!("{change:?}") };
        assert_eq!(env[1], json!({"name": "MODE", "value": "v2.4.0"}));
        f.outcome(KEY, Outcome::Changed { template: "h2".into() });
        let (r, _) = f.drive(&mode(), Some(&r));
        assert_eq!(r.state, StepState::Running, "not seen yet");
        f.world.outcomes.clear();
        write(&mut f, &change, "h2");
        let (r, out) = f.drive(&mode(), Some(&r));
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        (f, r)
    }

    #[test]
    fn what_was_there_is_journaled_without_its_value() {
        let (_, r) = done();
        let text = serde_json::to_string(&r).unwrap_or_default();
        assert!(!text.contains("${x}") && !text.contains("v2.4.0"), "{text}");
        let wanted = json!({"DB": "a value -> secretKeyRef db/url", "MODE": "absent -> a value"});
        assert_eq!(r.evidence, Some(json!({"Deployment web-green": wanted})));
    }

    #[test]
    fn one_that_has_it_already_is_neither_changed_nor_undone() {
        let (mut f, _) = done();
        let (r, out) = f.drive(&mode(), None);
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
        assert_eq!(r.evidence, Some(json!({"Deployment web-green": "was so already"})));
        f.journal.steps = vec![r];
        let undo = step(&undo_name("mode"), Stage::Prepare, Action::UndoSetEnv { step: "mode".into() });
        let (r, out) = f.drive(&undo, None);
        assert!(r.state == StepState::Succeeded && out.effects.is_empty(), "{r:?}");
    }

    #[test]
    fn undo_takes_back_what_is_still_the_runs() {
        for theirs in [false, true] {
            let (mut f, r) = done();
            f.journal.steps = vec![r];
            if theirs {
                let view = f.workload("green");
                view.template["spec"]["containers"][0]["env"][0] = json!({"name": "DB", "value": "theirs"});
                view.template_hash = "h3".into();
            }
            let undo = step(&undo_name("mode"), Stage::Prepare, Action::UndoSetEnv { step: "mode".into() });
            let (r, out) = f.drive(&undo, None);
            assert!(matches!(&out.effects[..], [Effect::Change { change: Change::UnsetEnv { .. }, .. }]), "{out:?}");
            f.outcome("unset_env/undo/mode/Deployment/web-green", Outcome::Changed { template: "h4".into() });
            f.workload("green").template_hash = "h4".into();
            let (r, _) = f.drive(&undo, Some(&r));
            let db = if theirs { "left as it is: changed by somebody else" } else { "a value again" };
            let wanted = json!({"Deployment web-green": {"DB": db, "MODE": "absent again"}});
            assert_eq!((r.state, r.evidence), (StepState::Succeeded, Some(wanted)), "{:?}", r.message);
        }
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let mut f = Fixture::new();
        f.pods(vec![]);
        let mut s = mode();
        let Action::SetEnv(set) = &mut s.action else { return };
        set.container = Some("web".into());
        let (r, _) = f.drive(&s, None);
        let why = "setEnv.container: Deployment web-green: it has no container \"web\"; it has api, proxy";
        assert_eq!(r.message.as_deref(), Some(why));
        f.plan.release.version = None;
        let (r, _) = f.drive(&mode(), None);
        assert!(r.message.as_ref().is_some_and(|m| m.starts_with("setEnv.env MODE: ${release.version}")), "{r:?}");
    }

    #[test]
    fn what_is_kept_is_dropped_at_the_end_unless_an_undo_took_it_back() {
        let (mut f, r) = done();
        let own = Action::UndoSetEnv { step: "mode".into() };
        let undo = crate::plan::PlanUndo {
            when: Default::default(),
            timeout: mode().timeout,
            approval: None,
            before_restore: false,
            action: own,
        };
        f.plan.steps = vec![PlanStep { undo: Some(undo), ..mode() }];
        assert_eq!(kept(&f.plan, "run-1", std::slice::from_ref(&r)).len(), 1);
        let undone = StepRecord { name: "undo/mode".into(), state: StepState::Failed, ..StepRecord::default() };
        assert!(kept(&f.plan, "run-1", &[r.clone(), undone]).is_empty(), "a person may want it");
        let mut gone = r;
        gone.before[0].forgotten = true;
        assert!(kept(&f.plan, "run-1", &[gone]).is_empty());
    }
}
