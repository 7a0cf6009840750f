//! PURE. What becomes of steps that are under way when the run begins to end: a running Job is awaited or killed,
//! one never started is deleted, everything else is recorded as interrupted.

use jiff::Timestamp;

use crate::actions;
use crate::actions::job;
use crate::actions::rights::remedy;
use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::run::{Before, StepRecord, StepState};
use crate::api::step::OnAbort;
use crate::decide::draft::Draft;
use crate::decide::execution;
use crate::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use crate::journal::transition::{self, StepEvent};
use crate::journal::{self, later};
use crate::plan::{Action, PlanStep};

/// How long the end of a run tries to delete a Job that it may not delete.
const GIVE_UP: Duration = Duration::from_secs(300);

/// True when no step of the way forward is under way any more.
pub fn settle(d: &mut Draft) -> bool {
    let plan = d.plan;
    let mut settled = true;
    let forward = plan.steps.iter().filter(|s| !s.stage.is_way_back());
    for step in forward {
        if let Action::Suite(suite) = &step.action {
            for sub in &suite.steps {
                settled &= settle_one(d, sub);
            }
        }
        settled &= settle_one(d, step);
    }
    // Further executions: later rounds of follow-ups, and revalidations.
    let further: Vec<PlanStep> = d.journal.steps.iter().filter_map(|r| plan.execution(&r.name)).collect();
    for step in &further {
        settled &= settle_one(d, step);
    }
    settled
}

fn settle_one(d: &mut Draft, step: &PlanStep) -> bool {
    let Some(record) = journal::record(&d.journal, &step.name).cloned() else { return true };
    if record.state != StepState::Running {
        return true;
    }
    // A change that is being made would be made behind its own undo.
    let under_way = |b: &Before| d.world.in_flight.iter().any(|key| key.changes(&step.name, &b.object));
    let settled = match (&step.action, &record.job) {
        _ if record.before.iter().any(under_way) => false,
        (Action::Job(job), Some(_)) => settle_job(d, step, record, job.on_abort.unwrap_or_default()),
        _ if record.sent.is_some() => settle_sent(d, step, record),
        // A change under way may still land: what is done about it must find it done or not done.
        _ if d.scaling(&step.name) => false,
        _ => {
            let ending = d.journal.ending.is_some();
            let why = if ending { "interrupted: the run is ending" } else { "interrupted: preflight starts over" };
            interrupted(d, record, why);
            true
        }
    };
    if !settled {
        d.out.wake_at(later(d.now(), Duration::from_secs(5)));
    }
    settled
}

fn interrupted(d: &mut Draft, mut record: StepRecord, why: &str) {
    let interrupted = transition::step(&mut record, StepEvent::Interrupted, d.now());
    if d.legal(interrupted) {
        record.message = Some(why.into());
    }
    journal::put(&mut d.journal, record);
}

/// A request that may have changed something: its answer is awaited as long as it is under way.
fn settle_sent(d: &mut Draft, step: &PlanStep, record: StepRecord) -> bool {
    let key = EffectKey::Send(actions::attempt_of(step, &record));
    if d.world.in_flight.contains(&key) {
        return false;
    }
    if d.world.outcomes.contains_key(&key) {
        return drive_once(d, step);
    }
    if d.world.not_begun.contains(&key) {
        interrupted(d, record, "interrupted before its request was sent");
        return true;
    }
    let mut record = record;
    let lost = transition::step(&mut record, StepEvent::Lost, d.now());
    d.legal(lost);
    record.message = Some("the run began to end before the answer was recorded".into());
    journal::put(&mut d.journal, record);
    true
}

fn settle_job(d: &mut Draft, step: &PlanStep, mut record: StepRecord, on_abort: OnAbort) -> bool {
    let Some(claim) = record.job.clone() else { return true };
    let create = EffectKey::CreateJob(claim.name.clone());
    if d.world.in_flight.contains(&create) {
        return false;
    }
    let uid = match (&claim.uid, d.outcome(&create)) {
        (Some(uid), _) => uid.clone(),
        (None, Some((_, Outcome::Created { uid }))) => uid,
        (None, Some((_, Outcome::Refused { .. } | Outcome::NameCollision(_) | Outcome::NotFound))) => {
            interrupted(d, record, "interrupted before its Job was created");
            return true;
        }
        // A create without an answer may have made it all the same, and so may one of a process that did not live to record
        // it: looked for once more after that, and adopted only to be deleted. One that runs is not ours.
        (None, _) => match d.world.jobs.get(&claim.name).map(|s| s.value.clone()) {
            Some(Some(view)) if job::is_claimed(&view, &claim, &d.world.run_uid) => view.uid,
            _ if !looked_since(d, d.world.tried.get(&create).copied()) => return false,
            _ => {
                interrupted(d, record, "interrupted before its Job was created");
                return true;
            }
        },
    };
    if claim.uid.is_none() {
        record.job = Some(crate::api::run::JobRecord { uid: Some(uid.clone()), ..claim.clone() });
        journal::put(&mut d.journal, record.clone());
    }
    if d.world.in_flight.contains(&EffectKey::StartJob(claim.name.clone())) {
        return false;
    }
    let view = d.world.jobs.get(&claim.name).and_then(|s| s.value.clone());
    if claim.killed {
        let delete = Effect::DeleteJob { name: claim.name.clone(), uid: uid.clone(), resource_version: None };
        match d.outcome(&delete.key()) {
            Some((_, Outcome::Done | Outcome::NotFound)) => {
                interrupted(d, record, "interrupted: its Job was deleted");
                return true;
            }
            Some((_, Outcome::Conflict(_))) | None if view.is_none() => {
                interrupted(d, record, "interrupted: its Job is gone");
                return true;
            }
            Some((_, Outcome::Refused { why, .. })) => {
                return cannot_be_deleted(d, record, &claim.name, &why, "it runs on");
            }
            _ => {}
        }
        d.want(delete, Duration::from_secs(1));
        return false;
    }
    match view {
        // Never started: deleted under the very version that was seen suspended, so that a start still in flight fails,
        // or the deletion does.
        Some(v) if v.suspended => {
            let delete =
                Effect::DeleteJob { name: claim.name.clone(), uid, resource_version: Some(v.resource_version.clone()) };
            match d.outcome(&delete.key()) {
                Some((_, Outcome::Done | Outcome::NotFound)) => {
                    interrupted(d, record, "interrupted before its Job was started");
                    return true;
                }
                Some((_, Outcome::Conflict(_))) => {
                    d.out.reads.insert(ReadKey::After(delete.key()), Read::Refresh);
                }
                Some((_, Outcome::Refused { why, .. })) => {
                    return cannot_be_deleted(d, record, &claim.name, &why, "it stays suspended and never runs");
                }
                _ => {}
            }
            d.want(delete, Duration::from_secs(1));
            false
        }
        Some(v) if v.end.is_none() && on_abort == OnAbort::Kill => {
            record.job = Some(crate::api::run::JobRecord { uid: Some(uid), killed: true, ..claim });
            journal::put(&mut d.journal, record);
            false
        }
        _ => drive_once(d, step),
    }
}

/// Whether everything has been read live since the run began to end, and since this moment. Asks for it if not.
fn looked_since(d: &mut Draft, moment: Option<Timestamp>) -> bool {
    let since = d.journal.ending.as_ref().map(|e| e.at).max(moment);
    if d.world.refreshed.is_some_and(|at| since.is_none_or(|since| at >= since)) {
        return true;
    }
    if d.world.readings.contains_key(&ReadKey::BeforeEnd) {
        // An answer from before that moment is dropped, so that the next one can be asked for.
        d.out.wake_at(d.now());
    } else {
        d.out.reads.insert(ReadKey::BeforeEnd, Read::Refresh);
    }
    false
}

/// A Job that has to go, and may not be deleted: said with the remedy, tried again for a while, and then left as it is.
fn cannot_be_deleted(d: &mut Draft, mut record: StepRecord, job: &str, why: &str, left: &str) -> bool {
    let why = format!("Job {job} cannot be deleted: {why}; {}", remedy(&d.cx(), "delete", "jobs"));
    let since = d.journal.ending.as_ref().map(|e| e.at).or(d.journal.phase_since).unwrap_or(d.now());
    if d.now() >= later(since, GIVE_UP) {
        d.note(true, reasons::PERMISSION_MISSING, &record.name.clone(), format!("{why}; {left}"));
        interrupted(d, record, &format!("interrupted; {left}: {why}"));
        return true;
    }
    if record.message.as_ref() != Some(&why) {
        d.note(true, reasons::PERMISSION_MISSING, &record.name.clone(), why.clone());
        record.message = Some(why.clone());
        journal::put(&mut d.journal, record);
    }
    d.journal.waiting = Some(why);
    d.out.wake_at(later(d.now(), Duration::from_secs(1)));
    false
}

/// Judges the attempt under way, and no further one.
fn drive_once(d: &mut Draft, step: &PlanStep) -> bool {
    execution::drive(d, &PlanStep { attempts: 1, ..step.clone() });
    journal::record(&d.journal, &step.name).is_none_or(|r| r.state != StepState::Running)
}
