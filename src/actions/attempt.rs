//! PURE. What all executions share: attempts, pauses between them, the time limit, `when` and `needs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Cx, Out, Verdict, advance};
use crate::api::duration::Duration;
use crate::api::run::{StepRecord, StepState};
use crate::effect::Effect;
use crate::journal::{later, short};
use crate::plan::expr::{self, Var};
use crate::plan::{Action, PlanStep};

/// Most bytes of evidence kept for an execution.
const MAX_EVIDENCE: usize = 1024;

/// Drives an execution one move further and returns its record. A record that is not `Running` comes back as it is.
pub fn drive(cx: &Cx, step: &PlanStep, record: Option<&StepRecord>, out: &mut Out) -> StepRecord {
    let now = cx.world.now;
    let mut record = match record {
        Some(r) if r.state != StepState::Running => return r.clone(),
        Some(r) => r.clone(),
        None => match begin(cx, step) {
            Ok(record) => record,
            Err(over) => return over,
        },
    };
    let began = record.attempt_at.unwrap_or(now);
    if began > now {
        out.wake_at(began);
        return record;
    }
    let deadline = later(record.started.unwrap_or(now), step.timeout);
    let verdict = advance(cx, step, &mut record, out);
    match verdict {
        Some(verdict) => conclude(cx, step, &mut record, verdict, out),
        None if now >= deadline => time_out(step, &mut record, out, now),
        None => out.wake_at(deadline),
    }
    record
}

/// The first record of an execution; `Err` when it is over before it began.
fn begin(cx: &Cx, step: &PlanStep) -> Result<StepRecord, StepRecord> {
    let now = cx.world.now;
    let fresh = StepRecord {
        name: step.name.clone(),
        state: StepState::Running,
        attempt: 1,
        started: Some(now),
        attempt_at: Some(now),
        ..StepRecord::default()
    };
    let over = |state: StepState, why: String| StepRecord {
        state,
        attempt: 0,
        ended: Some(now),
        message: Some(why),
        ..fresh.clone()
    };
    let skipped = |name: &&String| cx.journal.steps.iter().any(|r| &r.name == *name && r.state == StepState::Skipped);
    if let Some(name) = step.needs.iter().find(skipped) {
        return Err(over(StepState::Skipped, format!("skipped: it needs {name}, which was skipped")));
    }
    if let Some(when) = &step.when {
        match expr::eval_bool(when, &common_vars(cx)) {
            Ok(true) => {}
            Ok(false) => return Err(over(StepState::Skipped, format!("skipped: {when} is false"))),
            Err(why) => return Err(over(StepState::Failed, format!("when: {why}"))),
        }
    }
    Ok(fresh)
}

/// The variables every expression has: `captures`, `release`, `now`, `steps`.
pub fn common_vars(cx: &Cx) -> BTreeMap<String, Var> {
    let captures: serde_json::Map<String, Value> = cx.journal.captures.clone().into_iter().collect();
    let outcome = |s: StepState| match s {
        StepState::Running => "Running",
        StepState::Succeeded => "Succeeded",
        StepState::Failed => "Failed",
        StepState::Skipped => "Skipped",
        StepState::Unknown => "Unknown",
    };
    let steps: serde_json::Map<String, Value> =
        cx.journal.steps.iter().map(|r| (r.name.clone(), json!({"outcome": outcome(r.state)}))).collect();
    let release = &cx.plan.release;
    let release = json!({
        "version": release.version.as_deref().unwrap_or(""),
        "revision": release.revision.as_deref().unwrap_or(""),
        "tag": release.tag.as_deref().unwrap_or(""),
    });
    BTreeMap::from([
        ("captures".into(), Var::Json(Value::Object(captures))),
        ("release".into(), Var::Json(release)),
        ("now".into(), Var::Time(cx.world.now)),
        ("steps".into(), Var::Json(Value::Object(steps))),
    ])
}

fn conclude(cx: &Cx, step: &PlanStep, record: &mut StepRecord, verdict: Verdict, out: &mut Out) {
    let now = cx.world.now;
    match verdict {
        Verdict::Pass { evidence, captures } => {
            record.state = StepState::Succeeded;
            record.ended = Some(now);
            record.message = None;
            record.evidence = evidence.map(bounded);
            out.captures.extend(captures);
        }
        Verdict::Unknown { message } => {
            record.state = StepState::Unknown;
            record.ended = Some(now);
            record.message = Some(short(&message, 512));
        }
        Verdict::Fail { message, evidence } => {
            record.message = Some(short(&message, 512));
            record.evidence = evidence.map(bounded);
            let next = later(now, step.every);
            let in_time = next < later(record.started.unwrap_or(now), step.timeout);
            if record.attempt < step.attempts && in_time {
                record.attempt += 1;
                record.attempt_at = Some(next);
                record.job = None;
                record.sent = None;
                out.wake_at(next);
            } else {
                record.state = StepState::Failed;
                record.ended = Some(now);
            }
        }
    }
}

/// The time limit is over: a Job is deleted first, a request under way has an outcome nobody knows.
fn time_out(step: &PlanStep, record: &mut StepRecord, out: &mut Out, now: jiff::Timestamp) {
    let why = match &record.message {
        Some(message) => format!("timed out after {}: {message}", step.timeout),
        None => format!("timed out after {}", step.timeout),
    };
    if matches!(step.action, Action::Job(_))
        && let Some(job) = record.job.as_mut()
        && let Some(uid) = job.uid.clone()
        && !job.killed
    {
        job.killed = true;
        record.message = Some(short(&why, 512));
        out.effects.push(Effect::DeleteJob { name: job.name.clone(), uid, resource_version: None });
        out.wake_at(later(now, Duration::from_secs(1)));
        return;
    }
    if record.job.as_ref().is_some_and(|j| j.killed) {
        out.wake_at(later(now, Duration::from_secs(1)));
        return; // `job` says when it is gone
    }
    record.state = if record.sent.is_some() { StepState::Unknown } else { StepState::Failed };
    record.ended = Some(now);
    record.message = Some(short(&why, 512));
}

/// Evidence within its bound; what is too large is said to be.
fn bounded(evidence: Value) -> Value {
    let size = evidence.to_string().len();
    if size <= MAX_EVIDENCE { evidence } else { json!({"omitted": format!("{size} bytes, more than {MAX_EVIDENCE}")}) }
}
