//! PURE. The pod templates that a run stands on (DESIGN §4). Those of a side are journaled when the first step uses or
//! checks it; what another changes after that begins Preflight anew, ends the run, or is for people to decide about.
//!
//! A step that waits for a rollout is about the template that it finds in the end: what changes while it waits is waited
//! for, too. What only the operator's own dry runs have looked at may still change after Preflight.

use crate::api::condition::reasons;
use crate::api::phase::Phase;
use crate::api::run::{Before, ObjectRef, RunStatus, StepRecord, StepState};
use crate::api::step::SideRef;
use crate::decide::draft::Draft;
use crate::decide::interrupt;
use crate::effect::{Read, ReadKey};
use crate::journal;
use crate::journal::question::Subject;
use crate::plan::{Action, PlanSide, PlanStep, Stage};
use crate::world::World;

/// How often Preflight starts over.
const TIMES: u32 = 3;
/// How long people have to decide about a target that changed after the switch.
const DECIDE_WITHIN: crate::api::Duration = crate::api::Duration::from_mins(15);

/// Rows of the table of changes: the target's or the old side's pod template changed.
pub fn changed(d: &mut Draft) {
    let pending = d.journal.start_over.as_ref().is_some_and(|s| s.pending);
    if d.journal.templates.is_empty() || d.journal.ending.is_some() || d.journal.phase == Phase::Completed || pending {
        return;
    }
    let (target, live) = (d.plan.target.name.clone(), d.plan.old.name.clone());
    if by_others(&d.journal, d.world, &d.plan.target) {
        let times = d.journal.start_over.as_ref().map_or(0, |s| s.times);
        let text = format!("the pod template of {target}, the side being activated, changed during the run");
        match d.journal.phase {
            Phase::Preflight if times < TIMES => start_over(d, times + 1),
            Phase::Preflight => {
                let text =
                    format!("{text}, in preflight for the {}th time; release again once it is settled", TIMES + 1);
                d.end(Phase::Failed, reasons::TARGET_CHANGED, &text, None);
            }
            _ if d.journal.switch.is_none() => d.end(Phase::Failed, reasons::TARGET_CHANGED, &text, None),
            _ => d.ask(&Subject::Template, &text, Some(DECIDE_WITHIN), true),
        }
    }
    if by_others(&d.journal, d.world, &d.plan.old) {
        let switched = d.journal.switch.is_some();
        let text = match switched {
            true => format!("the pod template of {live} changed: a rollback would go to another version"),
            false => {
                format!("the pod template of {live} changed before the switch: a rollback would go to the new one")
            }
        };
        d.note(switched, reasons::ROLLBACK_TARGET_CHANGED, &live, text);
        // Noted once; a restore still goes there.
        if let Some(hash) = d.world.template(&d.plan.old) {
            d.journal.templates.insert(live, hash);
        }
    }
}

/// Whether somebody else has changed a pod template of a side since the templates were journaled. The run's own changes
/// are told apart by the hashes that stand in their records; one that is being made is not judged before its hash is known.
fn by_others(journal: &RunStatus, world: &World, side: &PlanSide) -> bool {
    let Some(journaled) = journal.templates.get(&side.name) else { return false };
    let mut journaled = journaled.split('+');
    side.workloads.iter().any(|w| {
        let (Some(was), Some(view)) = (journaled.next(), world.workloads.get(w).and_then(|s| s.value.as_ref())) else {
            return false;
        };
        let object = ObjectRef::from(w);
        let own =
            || journal.steps.iter().flat_map(|r| r.before.iter().filter(|b| b.object == object).map(move |b| (r, b)));
        let under_way =
            |(r, b): (&StepRecord, &Before)| r.state == StepState::Running && !b.done && b.template.is_some();
        if own().any(under_way) {
            return false;
        }
        // Back from the present hash through the run's own changes, each of which counts once.
        let mut hash = view.template_hash.as_str();
        for _ in 0..=own().count() {
            if hash == was {
                return false;
            }
            let made = own()
                .filter_map(|(_, b)| b.template.as_ref())
                .find(|t| t.to.as_deref() == Some(hash) && t.from != hash);
            match made {
                Some(change) => hash = &change.from,
                None => return true,
            }
        }
        true
    })
}

/// Whether the templates that a step is about are known, so that it may begin. One that does not exist is the step's own
/// affair.
pub fn are_known(d: &mut Draft, step: &PlanStep) -> bool {
    if !step.stage.before_switch() {
        return true;
    }
    let plan = d.plan;
    let unknown = |side: SideRef| {
        let side = plan.side(side);
        !d.journal.templates.contains_key(&side.name)
            && side.workloads.iter().any(|w| !d.world.workloads.contains_key(w))
    };
    let wait = plan.sides_of(step).into_iter().any(unknown);
    if wait {
        d.out.reads.insert(ReadKey::Refresh, Read::Refresh);
    }
    !wait
}

/// Journals the templates of the sides that a step is about, once it has begun; of one that waits for a rollout, once it
/// has passed.
pub fn bind(d: &mut Draft, step: &PlanStep) {
    if !step.stage.before_switch() {
        return;
    }
    let plan = d.plan;
    let Some(record) = journal::record(&d.journal, &step.name) else { return };
    let carried_out = match record.state {
        StepState::Skipped => false,
        StepState::Succeeded => record.kept_from.is_none(),
        StepState::Running | StepState::Failed | StepState::Unknown => !plan.awaits_rollout(step),
    };
    if !carried_out {
        return;
    }
    for side in plan.sides_of(step) {
        let side = plan.side(side);
        if let Some(hash) = d.world.template(side) {
            d.journal.templates.entry(side.name.clone()).or_insert(hash);
        }
    }
}

/// Journals what no step has used before Verifying checks it. A target whose rollout is the first thing that Verifying
/// awaits is journaled when that has passed. True once that is done.
pub fn bind_all(d: &mut Draft) -> bool {
    let plan = d.plan;
    let over = |step: &&PlanStep| journal::record(&d.journal, &step.name).is_some_and(|r| journal::is_done(r.state));
    let next = plan.stage(Stage::Verify).find(|step| !over(step));
    let awaited = next.filter(|step| plan.awaits_rollout(step)).map(|step| plan.sides_of(step)).unwrap_or_default();
    for side in [SideRef::Old, SideRef::Target] {
        let bound = d.journal.templates.contains_key(&plan.side(side).name);
        if bound || (side == SideRef::Target && awaited.contains(&side)) {
            continue;
        }
        let side = plan.side(side);
        let Some(hash) = d.world.template(side) else {
            let gone = side.workloads.iter().find(|w| d.world.workloads.get(w).is_some_and(|s| s.value.is_none()));
            d.journal.waiting =
                gone.map(|w| format!("spec.sides: {:?} {} of {} does not exist; apply it", w.kind, w.name, side.name));
            d.out.reads.insert(ReadKey::Refresh, Read::Refresh);
            return false;
        };
        d.journal.templates.insert(side.name.clone(), hash);
    }
    true
}

/// Takes leave of Preflight: what only the operator's own dry runs have looked at is bound by the first step that uses it.
pub fn leave_preflight(d: &mut Draft) {
    let plan = d.plan;
    let looked = |step: &&PlanStep| {
        let record = journal::record(&d.journal, &step.name);
        !matches!(step.action, Action::Permissions {})
            && record.is_some_and(|r| r.state != StepState::Skipped && r.kept_from.is_none())
    };
    let used: Vec<SideRef> = plan.stage(Stage::Preflight).filter(looked).flat_map(|step| plan.sides_of(step)).collect();
    for side in [SideRef::Target, SideRef::Old] {
        if !used.contains(&side) {
            d.journal.templates.remove(&plan.side(side).name);
        }
    }
}

/// Begins Preflight anew: first what is under way is brought to its end.
fn start_over(d: &mut Draft, times: u32) {
    let state = d.journal.start_over.get_or_insert_default();
    (state.times, state.pending) = (times, true);
    d.journal.question = None;
    let text = format!(
        "the pod template of {}, the side being activated, changed; preflight starts over, time {times} of {TIMES}",
        d.plan.target.name
    );
    d.enter(Phase::Preflight, reasons::TARGET_CHANGED, &text);
}

/// Whether Preflight may go on: where it starts over, nothing of its former pass is under way any more, and its steps are
/// as if they had not begun. Their attempts are counted on.
pub fn is_begun_anew(d: &mut Draft) -> bool {
    if !d.journal.start_over.as_ref().is_some_and(|s| s.pending) {
        return true;
    }
    if !interrupt::settle(d) {
        d.journal.waiting = Some("preflight starts over once its steps under way have ended".into());
        return false;
    }
    let plan = d.plan;
    for step in plan.stage(Stage::Preflight).flat_map(|step| std::iter::once(step).chain(step.parts())) {
        step.action.captured().iter().for_each(|name| drop(d.journal.captures.remove(name)));
        journal::put_aside(&mut d.journal, &step.name, d.world.now);
    }
    d.journal.templates.clear();
    if let Some(state) = d.journal.start_over.as_mut() {
        state.pending = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::api::run::{JobRecord, StartOver};

    fn acting(name: &str, stage: Stage, action: serde_json::Value) -> PlanStep {
        step(name, stage, serde_json::from_value(action).expect("an action"))
    }

    fn uses_target(stage: Stage) -> PlanStep {
        acting("use", stage, json!({"job": {"from": {"side": "Target"}, "command": ["x"]}}))
    }

    fn awaits_target(stage: Stage) -> PlanStep {
        acting("ready", stage, json!({"rollout": {"side": "Target"}}))
    }

    /// The templates that are journaled once a step stands so.
    fn bound(f: &Fixture, step: &PlanStep, state: StepState, kept: bool) -> Vec<String> {
        let mut d = Draft::new(&f.plan, &f.journal, &f.world);
        let kept_from = kept.then(|| "before".to_owned());
        d.journal.steps = vec![StepRecord { name: step.name.clone(), state, kept_from, ..StepRecord::default() }];
        bind(&mut d, step);
        d.journal.templates.into_keys().collect()
    }

    #[test]
    fn a_side_is_bound_by_the_first_step_that_is_about_it() {
        let f = Fixture::new();
        use StepState::{Failed, Running, Skipped, Succeeded};
        let (job, rollout) = (uses_target(Stage::Prepare), awaits_target(Stage::Prepare));
        let other = acting("wait", Stage::Prepare, json!({"wait": {"for": "1s"}}));
        for (step, state, kept, sides) in [
            (&job, Running, false, vec!["green"]),
            (&job, Skipped, false, vec![]),
            (&job, Succeeded, true, vec![]),
            // What changes while it waits is waited for as well.
            (&rollout, Running, false, vec![]),
            (&rollout, Failed, false, vec![]),
            (&rollout, Succeeded, false, vec!["green"]),
            (&other, Running, false, vec![]),
            (&uses_target(Stage::Confirm), Running, false, vec![]),
        ] {
            assert_eq!(bound(&f, step, state, kept), sides, "{} {state:?} {kept}", step.name);
        }
    }

    #[test]
    fn what_comes_first_stays_until_preflight_is_left_and_only_where_a_step_used_it() {
        let mut f = Fixture::new();
        let tries = acting("cutover-permissions", Stage::Preflight, json!({"permissions": {}}));
        let checks = acting("check", Stage::Preflight, json!({"http": {"path": "/"}}));
        f.plan.steps = vec![tries.clone(), checks];
        for (second, left) in
            [(None, vec![]), (Some(StepState::Skipped), vec![]), (Some(StepState::Failed), vec!["green"])]
        {
            let mut d = Draft::new(&f.plan, &f.journal, &f.world);
            let record = |name: &str, state| StepRecord { name: name.into(), state, ..StepRecord::default() };
            d.journal.steps = vec![record("cutover-permissions", StepState::Succeeded)];
            d.journal.steps.extend(second.map(|state| record("check", state)));
            bind(&mut d, &tries);
            assert_eq!(d.journal.templates.keys().collect::<Vec<_>>(), ["blue", "green"]);
            leave_preflight(&mut d);
            assert_eq!(d.journal.templates.into_keys().collect::<Vec<_>>(), left, "{second:?}");
        }
    }

    #[test]
    fn verifying_binds_both_sides_but_a_target_that_it_awaits_first() {
        let mut f = Fixture::new();
        let look = acting("look", Stage::Verify, json!({"wait": {"for": "1s"}}));
        for (steps, over, sides) in [
            (vec![look.clone()], false, vec!["blue", "green"]),
            (vec![awaits_target(Stage::Verify), look.clone()], false, vec!["blue"]),
            (vec![awaits_target(Stage::Verify), look], true, vec!["blue", "green"]),
        ] {
            f.plan.steps = steps;
            let mut d = Draft::new(&f.plan, &f.journal, &f.world);
            let state = if over { StepState::Succeeded } else { StepState::Running };
            d.journal.steps = vec![StepRecord { name: "ready".into(), state, ..StepRecord::default() }];
            assert!(bind_all(&mut d));
            assert_eq!(d.journal.templates.into_keys().collect::<Vec<_>>(), sides);
        }
        let green = f.plan.target.workloads[0].clone();
        f.world.workloads.get_mut(&green).expect("green").value = None;
        f.plan.steps.clear();
        let mut d = Draft::new(&f.plan, &f.journal, &f.world);
        assert!(
            !bind_all(&mut d) && d.journal.waiting.is_some_and(|why| why.contains("web-green of green does not exist"))
        );
    }

    #[test]
    fn a_changed_target_starts_preflight_over_three_times_and_fails_what_comes_after() {
        let mut f = Fixture::new();
        f.plan.steps = vec![acting("check", Stage::Preflight, json!({"http": {"path": "/"}}))];
        f.journal.templates = [("green".to_owned(), "former".to_owned())].into();
        for (phase, times, over, fails) in [
            (Phase::Preflight, 0, Some(1), false),
            (Phase::Preflight, 2, Some(3), false),
            (Phase::Preflight, 3, Some(3), true),
            (Phase::Preparing, 0, None, true),
            (Phase::Preparing, 1, Some(1), true),
            (Phase::Verifying, 0, None, true),
        ] {
            f.journal.phase = phase;
            f.journal.start_over = (times > 0).then(|| StartOver { times, ..StartOver::default() });
            let mut d = Draft::new(&f.plan, &f.journal, &f.world);
            changed(&mut d);
            let ending = d.journal.ending.map(|e| (e.phase, e.reason));
            let failed = fails.then(|| (Phase::Failed, reasons::TARGET_CHANGED.to_owned()));
            assert_eq!((ending, d.journal.start_over.map(|s| s.times)), (failed, over), "{phase} {times}");
        }
    }

    #[test]
    fn preflight_begins_anew_and_counts_its_attempts_on() {
        let mut f = Fixture::new();
        let look =
            json!({"job": {"readOnly": true, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        f.plan.steps = vec![PlanStep { attempts: 2, ..acting("look", Stage::Preflight, look) }];
        f.journal.phase = Phase::Preflight;
        f.journal.templates = [("green".to_owned(), "former".to_owned())].into();
        f.journal.start_over = Some(StartOver { times: 1, pending: true, steps: vec![] });
        let job = |n: u32| JobRecord { name: format!("look-{n}"), uid: Some(format!("u{n}")), ..JobRecord::default() };
        f.journal.steps = vec![StepRecord {
            name: "look".into(),
            state: StepState::Succeeded,
            attempt: 2,
            former_jobs: vec![job(1)],
            job: Some(job(2)),
            ..StepRecord::default()
        }];
        let mut d = Draft::new(&f.plan, &f.journal, &f.world);
        assert!(is_begun_anew(&mut d) && d.journal.steps.is_empty() && d.journal.templates.is_empty());
        let known = |d: &Draft| journal::jobs(&d.journal).map(|j| j.name.clone()).collect::<Vec<_>>();
        assert_eq!(known(&d), ["look-1", "look-2"], "they are still handed over in the end");
        crate::decide::execution::drive(&mut d, &f.plan.steps[0]);
        let record = &d.journal.steps[0];
        assert_eq!((record.attempt, record.attempts_before, record.former_jobs.len()), (3, 2, 2));
        assert_eq!(
            record.job.as_ref().map(|j| j.name.clone()),
            Some(crate::actions::manifest::name("run-1", "look", 3))
        );
        assert!(record.earlier.iter().all(|e| e.state == StepState::Succeeded), "{record:?}");
        assert_eq!(known(&d).len(), 3);
        assert!(d.journal.start_over.is_some_and(|over| over.steps.is_empty() && !over.pending));
    }
}
