//! PURE. After Completed: follow-ups, the retirement of the old side, checks made again, and what calls them off.
//!
//! Nothing is asked for in between: a run that waits has one wake, at the next due time.

use jiff::Timestamp;

use crate::api::after::{FollowUpRecord, Revalidation};
use crate::api::condition::reasons;
use crate::api::phase::Phase;
use crate::api::run::StepState;
use crate::decide::draft::Draft;
use crate::decide::{close, closing, execution, interrupt, steps};
use crate::journal::transition::{self, StepEvent};
use crate::journal::{self, ACCEPTED, later};
use crate::plan::after::{PlanFollowUp, RETIRE};
use crate::plan::{Execution, PlanStep, Stage, same_release};
pub(crate) use crate::status::go_back_anew;
use crate::status::release_name;
use crate::world::CutoverView;

/// Most revalidations of a run, so that the journal has room for them.
const MAX_REVALIDATIONS: usize = 10;

/// What is left to come, taken further; the run is closed when that is nothing.
pub fn run(d: &mut Draft) {
    let Some(completed) = d.journal.phase_since else { return };
    if journal::is_reopened(&d.journal) {
        return reopened(d);
    }
    if !is_anything_to_come(d) {
        // Pods of the old side that are still to be deleted.
        if !closing::is_under_way(d) {
            close::run(d);
        }
        return;
    }
    if !execution::everything_is_known(d) {
        return;
    }
    if d.journal.after.as_ref().is_some_and(|a| a.called_off.is_some()) {
        interrupted(d);
        if interrupt::settle(d) {
            d.journal.question = None;
            close::run(d);
        }
        return;
    }
    let mut next = None;
    let followed = follow_ups(d, completed, &mut next);
    let retired = retire(d, completed, &mut next);
    let checked = checks(d);
    if let Some((at, what)) = next
        && d.journal.ending.is_none()
    {
        d.out.wake_at(at);
        d.journal.waiting = Some(format!("{what} at {at:.0}"));
    }
    if followed && retired && checked && d.journal.ending.is_none() && !closing::is_under_way(d) {
        close::run(d);
    }
}

/// A closed run that was opened again: its checks, until they are over or room is wanted for another run. The Services
/// may belong to a later state of things by now, so nothing else is looked at and nothing is put back.
fn reopened(d: &mut Draft) {
    if !execution::everything_is_known(d) {
        return;
    }
    let Some(seen) = &d.world.cutover else { return };
    let still_wanted = |view: &CutoverView| {
        !view.deleting && view.activate == d.plan.target.name && same_release(&view.release, &d.plan.release)
    };
    if !seen.value.as_ref().is_some_and(still_wanted) {
        interrupted(d);
    }
    if checks(d) && interrupt::settle(d) {
        close::run(d);
    }
}

/// Whether the plan or a person wants anything of a completed run.
fn is_anything_to_come(d: &Draft) -> bool {
    let asked = d.journal.after.as_ref().is_some_and(|a| a.revalidations.iter().any(|r| r.ended.is_none()));
    asked || !d.plan.follow_up.is_empty() || d.plan.retire.is_some()
}

/// The earliest thing that is due later.
fn note_next(next: &mut Option<(Timestamp, String)>, at: Timestamp, what: String) {
    if next.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
        *next = Some((at, what));
    }
}

/// Takes the follow-ups further, one after another. True when every round is over.
fn follow_ups(d: &mut Draft, completed: Timestamp, next: &mut Option<(Timestamp, String)>) -> bool {
    let plan = d.plan;
    let mut over = true;
    for f in &plan.follow_up {
        if d.journal.ending.is_some() {
            return false;
        }
        let mut record = follow_up(d, &f.name).cloned();
        if record.as_ref().is_none_or(|r| r.state != StepState::Running) {
            let done = record.as_ref().map_or(0, |r| r.round);
            if done >= f.rounds() {
                continue;
            }
            over = false;
            let due = f.due(completed, done + 1);
            if due > d.now() {
                note_next(next, due, format!("follow-up {} is due", f.name));
                continue;
            }
            if d.paused() || busy(d) {
                continue; // it runs once when that is over
            }
            record = Some(begin(d, f, completed, record.as_ref()));
        }
        let Some(record) = record else { continue };
        over &= drive(d, f, record) && round_of(d, &f.name) >= f.rounds();
    }
    over
}

fn follow_up<'a>(d: &'a Draft, name: &str) -> Option<&'a FollowUpRecord> {
    d.journal.after.as_ref()?.follow_ups.iter().find(|r| r.name == name)
}

fn round_of(d: &Draft, name: &str) -> u32 {
    follow_up(d, name).map_or(0, |r| r.round)
}

fn put(d: &mut Draft, record: FollowUpRecord) {
    let list = &mut d.journal.after.get_or_insert_default().follow_ups;
    match list.iter_mut().find(|r| r.name == record.name) {
        Some(slot) => *slot = record,
        None => list.push(record),
    }
}

/// Whether a step of a follow-up is under way: they run one after another.
fn busy(d: &Draft) -> bool {
    let follow_up = |name: &str| d.plan.step(name).is_some_and(|s| s.stage == Stage::FollowUp);
    d.journal.steps.iter().any(|r| r.state == StepState::Running && follow_up(&r.name))
}

/// Begins the newest round that is due. Earlier ones that were not run in time are not made up for, but told.
fn begin(d: &mut Draft, f: &PlanFollowUp, completed: Timestamp, former: Option<&FollowUpRecord>) -> FollowUpRecord {
    let done = former.map_or(0, |r| r.round);
    let round = f.due_by(completed, d.now()).max(done + 1);
    let missed = round - done - 1;
    let mut text = format!("follow-up {} begins", f.name);
    if f.rounds() > 1 {
        text.push_str(&format!(", round {round} of {}", f.rounds()));
    }
    if missed > 0 {
        let (from, to) = (f.due(completed, done + 1), f.due(completed, round - 1));
        text.push_str(&format!("; missed {missed}, due from {from:.0} to {to:.0}"));
    }
    d.note(missed > 0, reasons::PROGRESS, &f.name, text);
    let record = FollowUpRecord {
        name: f.name.clone(),
        round,
        due: f.due(completed, round),
        state: StepState::Running,
        missed: former.map_or(0, |r| r.missed) + missed,
        ended: None,
    };
    put(d, record.clone());
    record
}

/// Takes a round further. True when it is over.
fn drive(d: &mut Draft, f: &PlanFollowUp, mut record: FollowUpRecord) -> bool {
    let steps = d.plan.round(f, record.round);
    if !steps.iter().all(|step| steps::run_one(d, step)) {
        return false;
    }
    let failed = |s: &PlanStep| {
        // What a person went on after is Skipped, with an attempt behind it.
        journal::record(&d.journal, &s.name)
            .is_some_and(|r| r.state == StepState::Failed || (r.state == StepState::Skipped && r.attempt > 0))
    };
    let bad = steps.iter().any(failed);
    let end = transition::round(&mut record.state, &f.name, if bad { StepEvent::Failed } else { StepEvent::Passed });
    d.legal(end);
    record.ended = Some(d.now());
    let what = if bad { "ended with failures" } else { "passed" };
    let text = format!("follow-up {} {what}", f.name);
    d.note(bad, reasons::PROGRESS, &f.name, text);
    // The next round, or the retirement, follows from a journal in which this one is over.
    let now = d.now();
    d.out.wake_at(now);
    put(d, record);
    true
}

/// Scales the old side down once it is time and every follow-up due by then is over. True when nothing is left of it.
fn retire(d: &mut Draft, completed: Timestamp, next: &mut Option<(Timestamp, String)>) -> bool {
    let (Some(retire), Some(step)) = (&d.plan.retire, d.plan.step(RETIRE)) else { return true };
    if d.journal.ending.is_some() {
        return false;
    }
    let due = later(completed, retire.after);
    let begun = journal::record(&d.journal, RETIRE).is_some();
    let over = |d: &Draft| journal::record(&d.journal, RETIRE).is_some_and(|r| r.ended.is_some());
    if !begun {
        if due > d.now() {
            note_next(next, due, format!("{} is retired", d.plan.old.name));
            return false;
        }
        let open = d.plan.follow_up.iter().any(|f| {
            follow_up(d, &f.name).is_some_and(|r| r.state == StepState::Running)
                || round_of(d, &f.name) < f.due_by(completed, due)
        });
        if open || d.journal.question.is_some() {
            return false;
        }
    }
    let was_over = over(d);
    let done = steps::run_one(d, step);
    if done && !was_over && journal::is_retired(&d.journal) {
        let text = format!("{} is scaled to {}; {}", d.plan.old.name, retire.scale_to, go_back_anew(d.plan));
        d.note(false, reasons::RETIRED, &d.plan.old.name, text);
    }
    done
}

/// The Cutover as it is now wanted. The release and side of this run: nothing. The old side with the release that was
/// there, or with this one: a rollback, as long as there is something to roll back to. Anything else: the next run, for
/// which this one makes room.
pub(crate) fn new_intent(d: &mut Draft, view: &CutoverView) {
    let same_side = view.activate == d.plan.target.name;
    if journal::is_reopened(&d.journal)
        || !is_anything_to_come(d)
        || d.journal.ending.is_some()
        || (same_side && same_release(&view.release, &d.plan.release))
    {
        return;
    }
    let known = view.releases.get(&d.plan.old.name).map(String::as_str);
    let old = same_release(&view.release, &d.plan.release) || (known.is_some() && release_name(&view.release) == known);
    if !same_side && old && !journal::is_retired(&d.journal) {
        let message = format!("spec.activate went back to {}", view.activate);
        return d.end(Phase::RolledBack, reasons::REVERTED, &message, None);
    }
    let version = release_name(&view.release).unwrap_or("another release");
    call_off(d, reasons::SUPERSEDED, &format!("{version} on {} is wanted", view.activate));
}

/// Nothing more comes: follow-ups and retirement end, and that is recorded.
pub(crate) fn call_off(d: &mut Draft, reason: &str, why: &str) {
    let known = d.journal.after.as_ref().is_some_and(|a| a.called_off.is_some());
    if known || d.journal.ending.is_some() || journal::is_reopened(&d.journal) || !is_anything_to_come(d) {
        return;
    }
    let text = format!("{why}; follow-ups and retirement that were still to come are called off");
    d.journal.after.get_or_insert_default().called_off = Some(text.clone());
    let target = d.plan.target.name.clone();
    d.note(false, reason, &target, text);
}

/// A person wants the checks made again.
pub fn revalidate(d: &mut Draft, by: &str) -> String {
    if d.journal.phase != Phase::Completed || d.journal.ending.is_some() {
        return "refused: the run is not completed".into();
    }
    let at = d.now();
    let list = &mut d.journal.after.get_or_insert_default().revalidations;
    if list.iter().any(|r| r.ended.is_none()) {
        return "refused: the checks are being made again already".into();
    }
    if list.len() >= MAX_REVALIDATIONS {
        return format!("refused: the checks were made again {MAX_REVALIDATIONS} times, which is all a run keeps");
    }
    if d.plan.checks(1).is_empty() {
        return "refused: no step of verify and confirm only reads, so there is nothing to check again".into();
    }
    list.push(Revalidation {
        by: by.to_owned(),
        at,
        state: StepState::Running,
        ended: None,
        message: None,
        captures: Default::default(),
    });
    ACCEPTED.into()
}

/// Takes the checks that are made again further, one after another, whatever the ones before came to. True when none are
/// under way.
fn checks(d: &mut Draft) -> bool {
    let Some((i, mut current)) = under_way(d) else { return true };
    if d.journal.ending.is_some() {
        return false;
    }
    let steps = d.plan.checks(i + 1);
    for step in &steps {
        let state = journal::record(&d.journal, &step.name).map(|r| r.state);
        if state.is_some_and(|s| s != StepState::Running) {
            continue;
        }
        if state.is_none() && d.paused() {
            return false;
        }
        // The captures of the run are for its undos and its rollback: these checks see and make their own.
        let own = d.journal.captures.clone();
        d.journal.captures.extend(current.captures.clone());
        execution::drive(d, step);
        let seen = std::mem::replace(&mut d.journal.captures, own);
        current.captures = seen.into_iter().filter(|(k, v)| d.journal.captures.get(k) != Some(v)).collect();
        store(d, i, current.clone());
        // A check that only reads and whose answer was lost has not passed: there is nothing that a person could resolve.
        let now = d.now();
        for r in d.journal.steps.iter_mut().filter(|r| r.name == step.name && r.state == StepState::Unknown) {
            // Legal, since its state is the one that the event is for.
            let _ = transition::step(r, StepEvent::NothingToFind, now);
        }
        if journal::record(&d.journal, &step.name).is_some_and(|r| r.state == StepState::Running) {
            return false;
        }
    }
    let records: Vec<_> = steps.iter().filter_map(|s| journal::record(&d.journal, &s.name)).collect();
    let bad: Vec<String> = records
        .iter()
        .filter(|r| r.state == StepState::Failed)
        .map(|r| {
            let step = r.name.parse().map_or_else(|_| r.name.clone(), |of: Execution| of.step().to_owned());
            format!("{step}: {}", r.message.as_deref().unwrap_or("failed"))
        })
        .collect();
    let counted = records.iter().filter(|r| r.state != StepState::Skipped).count();
    let mut text = format!("{} of {counted} checks passed", counted.saturating_sub(bad.len()));
    if let Some(first) = bad.first() {
        text.push_str(&format!("; {first}"));
    }
    let end = if bad.is_empty() { StepEvent::Passed } else { StepEvent::Failed };
    finish(d, i, current, end, &text);
    true
}

fn under_way(d: &Draft) -> Option<(usize, Revalidation)> {
    let list = &d.journal.after.as_ref()?.revalidations;
    list.iter().enumerate().find(|(_, r)| r.ended.is_none()).map(|(i, r)| (i, r.clone()))
}

fn store(d: &mut Draft, i: usize, revalidation: Revalidation) {
    if let Some(slot) = d.journal.after.as_mut().and_then(|a| a.revalidations.get_mut(i)) {
        *slot = revalidation;
    }
}

fn finish(d: &mut Draft, i: usize, mut revalidation: Revalidation, end: StepEvent, text: &str) {
    let end = transition::round(&mut revalidation.state, "revalidate", end);
    d.legal(end);
    let text = journal::short(text, 512);
    let passed = revalidation.state == StepState::Succeeded;
    revalidation.ended = Some(d.now());
    revalidation.captures.clear();
    revalidation.message = Some(text.clone());
    let by = revalidation.by.clone();
    store(d, i, revalidation);
    d.note(!passed, reasons::REVALIDATED, "revalidate", format!("checked again for {by}: {text}"));
}

/// The run ends, or makes room, while a follow-up is under way or checks are made again.
pub fn interrupted(d: &mut Draft) {
    let now = d.now();
    let rounds = d.journal.after.iter_mut().flat_map(|a| &mut a.follow_ups);
    for round in rounds.filter(|r| r.state == StepState::Running) {
        // Legal, since it runs.
        let _ = transition::round(&mut round.state, &round.name, StepEvent::Interrupted);
        round.ended = Some(now);
    }
    if let Some((i, current)) = under_way(d) {
        finish(d, i, current, StepEvent::Interrupted, "interrupted: the run is ending");
    }
}
