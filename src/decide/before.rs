//! PURE. What comes before a restore (DESIGN §5.6, §5.8), each with its bound: the steps of `beforeRestore`, then the undos
//! that say `before: Restore`. Whatever comes of them, the restore follows.

use jiff::{SignedDuration, Timestamp};

use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::run::{Before, Ending, StepRecord, StepState};
use crate::decide::draft::Draft;
use crate::decide::execution::{drive_back, everything_is_known, is_over};
use crate::decide::{restore, undo};
use crate::effect::{Attempt, EffectKey};
use crate::journal::transition::{self, StepEvent};
use crate::journal::{self, later};
use crate::plan::{PlanStep, Stage};

/// A run whose end cannot be written down waits no longer than this beyond the time of the steps.
const UNRECORDED: Duration = Duration::from_secs(2);

/// Takes it further. True when the selectors may go back.
pub fn run(d: &mut Draft) -> bool {
    let Some(ending) = d.journal.ending.clone() else { return true };
    if !comes_first(d, &ending) {
        leave(d);
        return true;
    }
    // What is begun again and again, since the journal cannot be written, is not waited for either.
    let late = d.now() >= longest(d, &ending);
    if !steps(d, &ending, late) || !undos(d, &ending, late) {
        return false;
    }
    let now = d.now();
    if let Some(ending) = d.journal.ending.as_mut() {
        ending.prepared_at = Some(now);
    }
    true
}

/// Whether anything comes before this restore: once, and only where this run takes users back from the target.
fn comes_first(d: &Draft, ending: &Ending) -> bool {
    if ending.prepared_at.is_some() || ending.reason == reasons::ADOPTED || d.plan.rollback.is_none() {
        return false;
    }
    let Some(switch) = &d.journal.switch else { return false };
    let open = || switch.services.iter().filter(|s| journal::may_be_switched(s));
    if open().all(|s| restore::adopted(d, s)) {
        return false;
    }
    d.plan.stage(Stage::BeforeRestore).next().is_some() || !undo::before_restore(d).is_empty()
}

/// When all of it must be over: the time of the steps, of a stop, and of each undo. Where not even the run's end could be
/// written down since this process wanted it, none of them can begin, and a restore needs no record.
fn longest(d: &Draft, ending: &Ending) -> Timestamp {
    let stops = d.plan.stage(Stage::BeforeRestore).filter(|step| d.plan.stops_target(step)).map(|step| step.timeout);
    let undos = undo::before_restore(d).into_iter().map(|undo| undo.timeout);
    let all = stops.chain(undos).fold(deadline(d, ending), later);
    d.world.unrecorded.map_or(all, |since| all.min(later(since, UNRECORDED)))
}

/// Until when the steps have time. What stops the target is awaited beside it.
fn deadline(d: &Draft, ending: &Ending) -> Timestamp {
    let within = d.plan.rollback.as_ref().map(|r| r.before).unwrap_or_default();
    let stops = d.plan.stage(Stage::BeforeRestore).filter(|step| d.plan.stops_target(step));
    let took = stops.filter_map(|step| {
        let record = journal::record(&d.journal, &step.name)?;
        Some(record.ended.unwrap_or(d.now()).duration_since(record.started?).max(SignedDuration::ZERO))
    });
    let stopped = took.fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    later(ending.at, within).checked_add(stopped).unwrap_or(Timestamp::MAX)
}

fn steps(d: &mut Draft, ending: &Ending, late: bool) -> bool {
    let plan = d.plan;
    // Nobody has to be kept from a side on which nobody is served; a writer that is not ready may still write.
    let nobody = plan.services.iter().all(|s| d.world.ready_on(s, &plan.target) == Some(0));
    for step in plan.stage(Stage::BeforeRestore) {
        let (stop, until) = (plan.stops_target(step), deadline(d, ending));
        let state = journal::record(&d.journal, &step.name).map(|r| r.state);
        if state.is_some_and(is_over) {
            continue;
        }
        if late || (!stop && d.now() >= until) {
            cut(d, step, state);
            continue;
        }
        if !stop && state.is_none() && nobody {
            let why = format!("left out: {} has no ready endpoint", plan.target.name);
            journal::put(&mut d.journal, transition::left_out(&step.name, d.world.now, &why));
            continue;
        }
        if !drive_back(d, step) {
            if !stop {
                d.out.wake_at(until);
            }
            d.journal.waiting = Some(format!("step {} comes before the restore", step.name));
            return false;
        }
    }
    true
}

/// Nothing comes before the restore any more, as where somebody else has put the Services back.
fn leave(d: &mut Draft) {
    let plan = d.plan;
    for step in plan.stage(Stage::BeforeRestore) {
        if journal::record(&d.journal, &step.name).is_some_and(|r| r.state == StepState::Running) {
            stop(d, step, "no restore comes after it any more");
        }
    }
}

/// The time is up: what runs is left to itself, and what has not begun is left out.
fn cut(d: &mut Draft, step: &PlanStep, state: Option<StepState>) {
    let within = d.plan.rollback.as_ref().map(|r| r.before).unwrap_or_default();
    let why = format!("not over within {within}: the restore does not wait longer");
    match state {
        None => {
            journal::put(&mut d.journal, transition::left_out(&step.name, d.world.now, &why));
            d.note(true, reasons::STEP_FAILED, &step.name, format!("{} is left out: {why}", step.name));
        }
        Some(StepState::Running) => stop(d, step, &why),
        Some(StepState::Succeeded | StepState::Failed | StepState::Skipped | StepState::Unknown) => {}
    }
}

/// Ends a step that is under way. One of which this process has sent nothing, since the journal that claims it is not
/// written, has not begun for anybody else.
fn stop(d: &mut Draft, step: &PlanStep, why: &str) {
    let Some(mut record) = journal::record(&d.journal, &step.name).cloned() else { return };
    let begun = step.action.only_reads() || may_have_begun(d, &record);
    let event = match begun {
        false => StepEvent::LeftOut,
        true if record.sent.is_some() => StepEvent::Lost,
        true => StepEvent::Interrupted,
    };
    let ended = transition::step(&mut record, event, d.world.now);
    if d.legal(ended) {
        record.message = Some(why.to_owned());
    }
    if !begun {
        (record.sent, record.before) = (None, vec![]);
        journal::put(&mut d.journal, record);
        d.note(true, reasons::STEP_FAILED, &step.name, format!("{} is left out: {why}", step.name));
        return;
    }
    journal::put(&mut d.journal, record);
    if let Some(ending) = d.journal.ending.as_mut() {
        ending.incomplete = true;
    }
    d.note(true, reasons::STEP_FAILED, &step.name, format!("{} failed: {why}", step.name));
}

/// Whether anything of a step may have been done: a request or a change of it that is not known to be held back.
fn may_have_begun(d: &Draft, record: &StepRecord) -> bool {
    // What another process had begun it may have done as well.
    if d.world.begun_before.contains(&record.name) {
        return true;
    }
    let held = &d.world.not_begun;
    let sent = record.sent.is_some() && !held.contains(&EffectKey::Send(Attempt::of(&record.name, record.attempt)));
    let changed =
        |b: &Before| b.done || b.left.is_some() || !held.iter().any(|key| key.changes(&record.name, &b.object));
    sent || record.attempt > 1 || record.before.iter().any(changed)
}

/// The undos before the restore, the last step's first. One that is late goes on beside the restore.
fn undos(d: &mut Draft, ending: &Ending, late: bool) -> bool {
    for undo in undo::before_restore(d) {
        let record = journal::record(&d.journal, &undo.name);
        if record.is_some_and(|r| is_over(r.state)) {
            continue;
        }
        let begun = record.and_then(|r| r.started);
        let until = later(begun.unwrap_or_else(|| last_end(d, ending)), undo.timeout);
        if late || d.now() >= until {
            let text = format!("{} is not over after {}: the restore does not wait longer", undo.name, undo.timeout);
            d.note(true, reasons::STEP_FAILED, &undo.name, text);
            continue;
        }
        if !everything_is_known(d) || !drive_back(d, &undo) {
            d.out.wake_at(until);
            d.journal.waiting = Some(format!("{} comes before the restore", undo.name));
            return false;
        }
    }
    true
}

/// When what came before an undo was over.
fn last_end(d: &Draft, ending: &Ending) -> Timestamp {
    let ends = d.journal.steps.iter().filter_map(|r| r.ended);
    ends.chain([ending.at]).max().unwrap_or(ending.at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actions::fixtures::{Fixture, step};
    use crate::api::phase::Phase;
    use crate::api::run::{ObjectKind, ObjectRef};
    use crate::effect::change::Kind;
    use crate::plan::Action;

    fn ending(f: &Fixture) -> Ending {
        Ending {
            phase: Phase::RolledBack,
            reason: reasons::DECISION.into(),
            message: String::new(),
            at: f.world.now,
            trigger: None,
            incomplete: false,
            scaled_at: None,
            empty_since: None,
            undo_first: None,
            stopped_at: None,
            prepared_at: None,
        }
    }

    fn scale(name: &str, replicas: u32) -> PlanStep {
        let scale = json!({"side": "Target", "replicas": replicas, "allowDowntime": true});
        step(name, Stage::BeforeRestore, Action::Scale(serde_json::from_value(scale).expect("a scale")))
    }

    #[test]
    fn what_only_reads_and_is_not_over_in_its_time_has_failed() {
        let mut f = Fixture::new();
        let page = json!({"http": {"path": "/maintenance"}});
        f.plan.steps = vec![step("page", Stage::BeforeRestore, serde_json::from_value(page).expect("an action"))];
        f.journal.ending = Some(ending(&f));
        f.journal.steps = vec![StepRecord { name: "page".into(), ..running() }];
        let mut d = Draft::new(&f.plan, &f.journal, &f.world);
        cut(&mut d, &f.plan.steps[0], Some(StepState::Running));
        assert_eq!(d.journal.steps[0].state, StepState::Failed);
        assert!(d.journal.ending.is_some_and(|e| e.incomplete));
    }

    #[test]
    fn a_stop_takes_none_of_the_time_of_the_steps() {
        let mut f = Fixture::new();
        f.plan.steps = vec![scale("stop", 0), scale("grow", 3)];
        let ending = ending(&f);
        let within = |f: &Fixture| {
            let d = Draft::new(&f.plan, &f.journal, &f.world);
            deadline(&d, &ending).duration_since(ending.at).as_secs()
        };
        assert_eq!(within(&f), 5);
        let began = f.world.now;
        f.journal.steps = vec![StepRecord { name: "stop".into(), started: Some(began), ..StepRecord::default() }];
        f.after(40);
        assert_eq!(within(&f), 45, "it is under way");
        f.journal.steps[0].ended = Some(f.world.now);
        f.after(100);
        assert_eq!(within(&f), 45, "and over");
        f.journal.steps[0].name = "grow".into();
        assert_eq!(within(&f), 5, "another change counts when it is written");
    }

    #[test]
    fn all_of_it_has_a_bound_and_one_that_cannot_be_recorded_a_short_one() {
        let mut f = Fixture::new();
        f.plan.steps = vec![scale("stop", 0)];
        let ending = ending(&f);
        let all = |f: &Fixture| {
            let d = Draft::new(&f.plan, &f.journal, &f.world);
            longest(&d, &ending).duration_since(ending.at).as_secs()
        };
        assert_eq!(all(&f), 605, "its own time-out, and that of the steps");
        f.world.unrecorded = Some(f.world.now);
        assert_eq!(all(&f), 2);
    }

    #[test]
    fn what_was_never_sent_has_not_begun_and_what_may_have_been_is_interrupted() {
        let object = ObjectRef { kind: ObjectKind::Deployment, name: "web-green".into() };
        let change = EffectKey::Change { change: Kind::Scale, why: "stop".into(), object: object.clone() };
        let request = EffectKey::Send(Attempt::of("stop", 1));
        let changing =
            |done| StepRecord { before: vec![Before { done, ..Before::of(object.clone(), "u") }], ..running() };
        let sending = StepRecord { sent: Some(Timestamp::UNIX_EPOCH), ..running() };
        for (record, held, state) in [
            (
                StepRecord { message: Some("by another process".into()), ..changing(false) },
                Some(&change),
                StepState::Failed,
            ),
            (running(), None, StepState::Skipped),
            (changing(false), Some(&change), StepState::Skipped),
            (changing(false), None, StepState::Failed),
            (changing(true), Some(&change), StepState::Failed),
            (sending.clone(), Some(&request), StepState::Skipped),
            (sending, None, StepState::Unknown),
        ] {
            for ended_by in ["others", "time"] {
                let mut f = Fixture::new();
                f.plan.steps = vec![scale("stop", 0)];
                f.journal.ending = Some(Ending { reason: reasons::ADOPTED.into(), ..ending(&f) });
                f.journal.steps = vec![record.clone()];
                f.world.not_begun.extend(held.cloned());
                f.world.begun_before.extend(record.message.as_ref().map(|_| record.name.clone()));
                let mut d = Draft::new(&f.plan, &f.journal, &f.world);
                match ended_by {
                    "others" => assert!(run(&mut d), "nothing is waited for"),
                    _ => cut(&mut d, &f.plan.steps[0], Some(StepState::Running)),
                }
                assert_eq!(d.journal.steps[0].state, state, "{ended_by}: {record:?}, held back: {held:?}");
                assert_eq!(d.journal.steps[0].before.is_empty(), state != StepState::Failed, "{ended_by}");
                assert_eq!(d.journal.ending.is_some_and(|e| e.incomplete), state != StepState::Skipped, "{ended_by}");
            }
        }
    }

    fn running() -> StepRecord {
        StepRecord { name: "stop".into(), attempt: 1, started: Some(Timestamp::UNIX_EPOCH), ..StepRecord::default() }
    }
}
