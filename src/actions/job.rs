//! PURE. `job` (P1): at most one start for each run, step and attempt, for ever. The name is claimed, the Job created
//! suspended, its uid recorded, then it is started by a patch that tests the uid. Recorded and gone is *unknown*: a
//! person says what it did; it is never created again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Cx, Out, Verdict, common_vars};
use crate::api::duration::Duration;
use crate::api::run::{JobRecord, StepRecord};
use crate::api::step::Job;
use crate::effect::{Effect, Outcome, Read};
use crate::journal::later;
use crate::plan::expr::{Var, eval_bool};
use crate::plan::select;
use crate::world::{JobEnd, JobResult, JobView, Reading};

pub use super::job_manifest::{Missing, manifest};

/// Pause between two tries of a write whose result is not known.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a pod may wait for its image before the attempt fails.
const IMAGE_GRACE: Duration = Duration::from_secs(20);
/// How long after its end or deadline a Job's pods may still be there.
const TERMINATION_GRACE: Duration = Duration::from_secs(60);

/// Takes the attempt one move further.
pub fn advance(cx: &Cx, spec: &Job, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let Some(job) = record.job.clone() else { return claim(cx, spec, record, out) };
    let Some(uid) = job.uid.clone() else { return created(cx, spec, record, &job.name, out) };
    // The uid may only have been taken into the journal by this very decision: it is started by the next one.
    let written = cx.journal.steps.iter().any(|r| {
        r.name == record.name && r.job.as_ref().is_some_and(|j| j.name == job.name && j.uid.as_deref() == Some(&uid))
    });
    if job.killed {
        return killed(cx, record, &job.name, &uid, out);
    }
    let start = Effect::StartJob { name: job.name.clone(), uid: uid.clone() };
    let started = take(cx, &start.key(), out);
    match &started {
        Some(Outcome::NotFound | Outcome::Conflict(_)) => return Some(gone(&job.name)),
        Some(Outcome::Refused { why, .. }) => {
            return Some(Verdict::fail(format!("Job {} cannot be started: {why}", job.name)));
        }
        _ => {}
    }
    let Some(seen) = cx.world.jobs.get(&job.name) else {
        if written {
            want(cx, start, out);
        }
        out.reads.insert(format!("{}#{}-refresh", record.name, record.attempt), Read::Refresh);
        return None;
    };
    let Some(view) = seen.value.clone() else {
        return Some(gone(&job.name));
    };
    if view.uid != uid {
        return Some(Verdict::Unknown {
            message: format!("Job {} was deleted and another one of that name created", job.name),
        });
    }
    if view.suspended && view.end.is_none() {
        if written {
            want(cx, start, out);
        }
        record.message = Some(format!("Job {} is being started", job.name));
        return None;
    }
    if let Some(j) = record.job.as_mut()
        && j.started.is_none()
    {
        j.started = view.started.or(Some(cx.world.now));
    }
    running(cx, spec, record, &view, out)
}

fn gone(name: &str) -> Verdict {
    Verdict::Unknown { message: format!("Job {name} was deleted before its result was recorded") }
}

/// Claims the name and wants the Job created.
fn claim(cx: &Cx, spec: &Job, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let body = match manifest(cx, &record.name, spec, record.attempt, Missing::Fail) {
        Ok(body) => body,
        Err(why) => return Some(Verdict::fail(why)),
    };
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    record.job = Some(JobRecord { name: name.clone(), ..JobRecord::default() });
    record.message = Some(format!("Job {name} is being created"));
    out.effects.push(Effect::CreateJob { name, manifest: body });
    None
}

/// Takes in what came of the creation; after a crash it is tried again, and finds its own Job.
fn created(cx: &Cx, spec: &Job, record: &mut StepRecord, name: &str, out: &mut Out) -> Option<Verdict> {
    match take(cx, &format!("create/{name}"), out) {
        Some(Outcome::Created { uid }) => {
            record.job = Some(JobRecord { name: name.into(), uid: Some(uid), ..JobRecord::default() });
            record.message = Some(format!("Job {name} is created"));
            // Starting waits for the record: the next decision does it.
            out.wake_at(cx.world.now);
            return None;
        }
        Some(Outcome::NameCollision(why)) => return Some(Verdict::fail(format!("Job {name}: {why}"))),
        Some(Outcome::Refused { why, forbidden }) => {
            let account = &cx.plan.service_account;
            let remedy = if forbidden {
                format!("; grant ServiceAccount {account} the verbs create, get, patch and delete on jobs.batch")
            } else {
                String::new()
            };
            return Some(Verdict::fail(format!("Job {name} is refused: {why}{remedy}")));
        }
        Some(Outcome::Transient(why)) => record.message = Some(format!("Job {name} cannot be created yet: {why}")),
        Some(_) | None => {}
    }
    match manifest(cx, &record.name, spec, record.attempt, Missing::Fail) {
        Ok(manifest) => want(cx, Effect::CreateJob { name: name.into(), manifest }, out),
        Err(why) => return Some(Verdict::fail(why)),
    }
    None
}

fn running(cx: &Cx, spec: &Job, record: &mut StepRecord, view: &JobView, out: &mut Out) -> Option<Verdict> {
    let now = cx.world.now;
    let name = record.job.as_ref().map(|j| j.name.clone()).unwrap_or_default();
    let Some(end) = &view.end else {
        if view.deleting && view.pods_left == 0 {
            return Some(gone(&name));
        }
        if let Some((reason, since)) = &view.waiting {
            let limit = later(*since, IMAGE_GRACE);
            record.message = Some(format!("its pod cannot start: {reason}"));
            if now >= limit {
                if let Some(j) = record.job.as_mut() {
                    j.killed = true;
                }
                out.wake_at(now);
                return None;
            }
            out.wake_at(limit);
        } else {
            record.message = Some(format!("Job {name} is running"));
        }
        let deadline = spec.deadline.unwrap_or(Duration::from_mins(10));
        let overdue = later(later(view.started.unwrap_or(now), deadline), TERMINATION_GRACE);
        if now >= overdue {
            return Some(Verdict::Unknown { message: format!("Job {name} has not ended 60s after its deadline") });
        }
        out.wake_at(overdue);
        return None;
    };
    if view.pods_left > 0 {
        let ended = record.ended.get_or_insert(now);
        let limit = later(*ended, TERMINATION_GRACE);
        if now >= limit {
            record.ended = None;
            return Some(Verdict::Unknown { message: format!("pods of Job {name} are still there 60s after its end") });
        }
        out.wake_at(limit);
        record.message = Some(format!("Job {name} has ended; its pods are terminating"));
        return None;
    }
    let key = format!("{}#{}-result", record.name, record.attempt);
    let Some(Reading::Job(result)) = cx.world.readings.get(&key) else {
        let log = !spec.expect_log.is_empty() || spec.keep_log.unwrap_or(0) > 0;
        out.reads.insert(key, Read::JobResult { job: name, uid: view.uid.clone(), log });
        return None;
    };
    record.ended = None;
    Some(judge(cx, spec, &name, end, result))
}

/// A Job deleted by us: it is over once nothing of it is left.
fn killed(cx: &Cx, record: &mut StepRecord, name: &str, uid: &str, out: &mut Out) -> Option<Verdict> {
    let why = record.message.clone().unwrap_or_else(|| "it was deleted".into());
    let delete = Effect::DeleteJob { name: name.into(), uid: uid.into(), resource_version: None };
    match take(cx, &delete.key(), out) {
        Some(Outcome::Done | Outcome::NotFound) => return Some(Verdict::fail(why)),
        Some(Outcome::Refused { why: refusal, .. }) => {
            return Some(Verdict::Unknown { message: format!("{why}; its Job {name} cannot be deleted: {refusal}") });
        }
        _ => {}
    }
    if cx.world.jobs.get(name).is_some_and(|s| s.value.as_ref().is_none_or(|v| v.uid != uid)) {
        return Some(Verdict::fail(why));
    }
    want(cx, delete, out);
    None
}

fn judge(cx: &Cx, spec: &Job, name: &str, end: &JobEnd, result: &JobResult) -> Verdict {
    let mut evidence = json!({"job": name, "exitCode": result.exit_code});
    if let (Some(log), Some(n)) = (&result.log, spec.keep_log.filter(|n| *n > 0)) {
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(n as usize);
        let kept: Vec<String> = lines[from..].iter().map(|l| crate::journal::short(l, 80)).collect();
        evidence["log"] = json!(kept);
    }
    let fail = |message: String, evidence: &Value| Verdict::Fail { message, evidence: Some(evidence.clone()) };
    if let JobEnd::Failed { reason, message } = end {
        let code = result.exit_code.map_or_else(|| reason.clone(), |c| format!("exit code {c}"));
        let more = if message.is_empty() { String::new() } else { format!(" ({reason}: {message})") };
        return fail(format!("Job {name} failed with {code}{more}"), &evidence);
    }
    if !spec.expect_log.is_empty() {
        let Some(log) = &result.log else {
            let why = result.problem.as_deref().unwrap_or("it is gone");
            return fail(format!("expectLog: the log cannot be read: {why}"), &evidence);
        };
        for pattern in &spec.expect_log {
            match select::matches_line(pattern, log) {
                Ok(true) => {}
                Ok(false) => return fail(format!("expectLog: no line matches {pattern}"), &evidence),
                Err(why) => return fail(format!("expectLog: {why}"), &evidence),
            }
        }
        evidence["expectLog"] = json!("matched");
    }
    let message: Value = result.message.as_deref().and_then(|m| serde_json::from_str(m).ok()).unwrap_or(Value::Null);
    let mut vars = common_vars(cx);
    vars.insert("exitCode".into(), Var::Json(json!(result.exit_code.unwrap_or(0))));
    vars.insert("json".into(), Var::Json(message.clone()));
    for expect in &spec.expect {
        match eval_bool(expect, &vars) {
            Ok(true) => {}
            Ok(false) => return fail(format!("{expect} does not hold"), &evidence),
            Err(why) => return fail(format!("expect {expect}: {why}"), &evidence),
        }
    }
    let mut captures = BTreeMap::new();
    for c in &spec.capture {
        match select::first(&message, &c.path) {
            Ok(value) => {
                if c.record {
                    evidence[&c.name] = value.clone();
                }
                captures.insert(c.name.clone(), value);
            }
            Err(why) => return fail(format!("capture {}: {why}", c.name), &evidence),
        }
    }
    Verdict::Pass { evidence: Some(evidence), captures }
}

/// Takes the result of an effect, once.
fn take(cx: &Cx, key: &str, out: &mut Out) -> Option<Outcome> {
    super::take(cx, key, out)
}

/// Wants an effect unless it is under way, answered, or was tried a moment ago.
fn want(cx: &Cx, effect: Effect, out: &mut Out) {
    super::want(cx, effect, AGAIN, out);
}
