//! PURE. What a Job that has ended left behind, and whether that is what was expected.

use serde_json::{Map, Value, json};

use crate::api::duration::Duration;
use crate::api::run::{JobRecord, StepRecord};
use crate::api::step::Job;
use crate::effect::Read;
use crate::endpoints::why;
use crate::plan::PlanStep;
use crate::plan::expr::Var;
use crate::plan::select;
use crate::world::{JobResult, JobView, Reading};

use super::expect::Captured;
use super::{Cx, Out, Verdict, attempt_of, expect, job_start, manifest, span};
use crate::journal::later;

/// How long pods may take to end after their Job has.
pub(super) const PODS_END: Duration = Duration::from_secs(60);
/// A result that cannot be read is asked for again after this long.
const AGAIN: Duration = Duration::from_secs(10);
/// So many times.
const TRIES: u64 = 3;

/// The Job's reason when its time was up.
const OF_DEADLINE: &str = "DeadlineExceeded";
/// The Job's reason when its container failed, which the exit code says better.
const OF_CONTAINER: &str = "BackoffLimitExceeded";

/// From the recorded end to the verdict.
pub fn advance(
    cx: &Cx,
    step: &PlanStep,
    job: &Job,
    claim: &JobRecord,
    record: &mut StepRecord,
    out: &mut Out,
) -> Option<Verdict> {
    let ended = claim.ended.unwrap_or(cx.world.now);
    let view = cx.world.jobs.get(&claim.name).and_then(|s| s.value.as_ref());
    let view = view.filter(|v| claim.uid.as_deref() == Some(v.uid.as_str()));
    if view.is_some_and(|v| v.pods_left > 0) {
        let due = later(ended, PODS_END);
        if cx.world.now >= due {
            return Some(Verdict::unknown(format!(
                "Job {} has ended and its pods have not, {PODS_END} later: what they still do is not known",
                claim.name
            )));
        }
        record.message = Some(format!("Job {} has ended; its pods are ending", claim.name));
        out.wake_at(due);
        return None;
    }
    record.message = Some(format!("the result of Job {} is being read", claim.name));
    let (claim, unasked) = &with_cause(cx, step, claim, view, record, out);
    let tries = (span(ended, cx.world.now).as_millis() / AGAIN.as_millis()).min(TRIES);
    let key = attempt_of(step, record).part(format!("result@{tries}"));
    let uid = claim.uid.clone().unwrap_or_default();
    let read = Read::JobResult { job: claim.name.clone(), uid, log: wants_log(job) };
    if let Some(Reading::Job(result)) = cx.world.readings.get(&key) {
        let whole = result.problem.is_none() || enough(job, claim, result);
        if (whole && !(*unasked && result.exit_code.is_none())) || tries == TRIES {
            let verdict = judge(cx, job, claim, result);
            if verdict.hides() {
                out.reads.insert(key, read);
            }
            return Some(verdict);
        }
    }
    if tries < TRIES {
        out.wake_at(later(ended, Duration::from_millis(AGAIN.as_millis() * (tries + 1))));
    }
    out.reads.insert(key, read);
    None
}

/// The claim with the reason for which its pod never started, where the deadline ended that wait and the reason is not
/// known yet; whether Events are still to be read.
fn with_cause(
    cx: &Cx,
    step: &PlanStep,
    claim: &JobRecord,
    view: Option<&JobView>,
    record: &StepRecord,
    out: &mut Out,
) -> (JobRecord, bool) {
    let late = claim.failure.as_deref().is_some_and(|why| why.starts_with(OF_DEADLINE));
    let begun = view.and_then(|v| v.pod.as_ref()).is_some_and(why::has_begun);
    let (Some(view), true, None) = (view, late && !begun, &claim.not_started) else { return (claim.clone(), false) };
    let key = attempt_of(step, record).part("events@end");
    match job_start::events(cx, view, view.pod.as_ref(), key, out) {
        Some(answer) => {
            let cause = answer.ok().flatten().map(|cause| cause.text);
            (JobRecord { not_started: cause, ..claim.clone() }, false)
        }
        None => (claim.clone(), true),
    }
}

fn wants_log(job: &Job) -> bool {
    !job.expect_log.is_empty() || job.keep_log.unwrap_or(0) > 0
}

fn wants_message(job: &Job) -> bool {
    !job.expect.is_empty() || !job.capture.is_empty()
}

/// Whether all that is asked for could be read, in spite of a problem. A Job whose own reason says enough, such as its
/// deadline, may have left nothing to read.
fn enough(job: &Job, claim: &JobRecord, result: &JobResult) -> bool {
    match &claim.failure {
        Some(why) => result.exit_code.is_some() || claim.pod_end.is_some() || !why.starts_with(OF_CONTAINER),
        None => {
            result.exit_code.is_some()
                && (job.expect_log.is_empty() || result.log.is_some())
                && (!wants_message(job) || result.message.is_some())
        }
    }
}

fn judge(cx: &Cx, job: &Job, claim: &JobRecord, result: &JobResult) -> Verdict {
    let mut evidence = Map::from_iter([("job".to_owned(), json!(claim.name))]);
    if let Some(code) = result.exit_code {
        evidence.insert("exitCode".into(), code.into());
    }
    let verdict = verdict(cx, job, claim, result, &mut evidence);
    if let (Some(lines), Some(log)) = (job.keep_log.filter(|n| *n > 0), &result.log) {
        let all: Vec<&str> = log.lines().collect();
        let from = all.len().saturating_sub(usize::try_from(lines).unwrap_or(0));
        evidence.insert("log".into(), json!(all.get(from..).unwrap_or_default()));
    }
    match verdict {
        Ok(Captured { values, recorded: _, hidden }) => {
            Verdict::Pass { evidence: Some(Value::Object(evidence)), captures: values, hidden }
        }
        Err(why) => Verdict::Fail { message: format!("Job {}: {why}", claim.name), evidence: Some(evidence.into()) },
    }
}

fn verdict(
    cx: &Cx,
    job: &Job,
    claim: &JobRecord,
    result: &JobResult,
    evidence: &mut Map<String, Value>,
) -> Result<Captured, String> {
    let cut = claim.pod_end.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    match (&claim.failure, result.exit_code) {
        (Some(why), _) if why.starts_with(OF_DEADLINE) && claim.not_started.is_some() => {
            let cause = claim.not_started.clone().unwrap_or_default();
            return Err(format!("it could not start within its deadline of {}: {cause}", manifest::deadline(job)));
        }
        // A container's own failure is said by its code; the Job's reason is then only that it was not run again.
        (Some(why), Some(code)) if code != 0 && why.starts_with(OF_CONTAINER) => {
            return Err(format!("exit code {code}{cut}"));
        }
        (Some(why), Some(code)) => return Err(format!("{why} (exit code {code}){cut}")),
        (Some(why), None) => return Err(format!("{why}{cut}")),
        (None, Some(code)) if code != 0 => return Err(format!("exit code {code}")),
        (None, _) => {}
    }
    let unread = |what: &str| {
        let why = result.problem.as_deref().unwrap_or("there is none");
        format!("{what} could not be read: {why}")
    };
    let mut missed = None;
    let mut lines = Map::new();
    for (i, pattern) in job.expect_log.iter().enumerate() {
        let log = result.log.as_deref().ok_or_else(|| unread("the log"))?;
        let found = select::matches_line(pattern, log).map_err(|why| format!("expectLog[{i}]: {why}"))?;
        lines.insert(pattern.clone(), found.into());
        if !found && missed.is_none() {
            missed = Some(format!("expectLog[{i}]: no line matches {pattern}"));
        }
    }
    if !lines.is_empty() {
        evidence.insert("expectLog".into(), Value::Object(lines));
    }
    if let Some(why) = missed {
        return Err(why);
    }
    if !wants_message(job) {
        return Ok(Default::default());
    }
    if result.message.is_none() && result.problem.is_some() {
        return Err(unread("the termination message"));
    }
    let message = result.message.as_deref().and_then(|m| serde_json::from_str::<Value>(m).ok());
    let mut vars = expect::vars(cx);
    vars.insert("exitCode".into(), Var::Json(result.exit_code.unwrap_or(0).into()));
    vars.insert("json".into(), Var::Json(message.clone().unwrap_or(Value::Null)));
    if let Some(why) = expect::first_failing(&job.expect, &vars) {
        let hint = if message.is_none() { " (the termination message is not JSON)" } else { "" };
        evidence.insert("failed".into(), Value::String(why.clone()));
        return Err(format!("{why}{hint}"));
    }
    let captured = expect::capture(&job.capture, expect::Source { json: message.as_ref(), response: None })?;
    if !captured.recorded.is_empty() {
        evidence.insert("captures".into(), Value::Object(captured.recorded.clone()));
    }
    Ok(captured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::Fixture;

    #[test]
    fn a_pod_that_was_taken_away_says_why_and_its_exit_code_is_not_waited_for() {
        let f = Fixture::new();
        let job: Job = serde_json::from_value(json!({"deadline": "60s"})).expect("a job");
        let failure = Some(format!("{OF_CONTAINER}: Job has reached the limit"));
        let plain = JobRecord { failure, ..JobRecord::default() };
        let evicted = JobRecord { pod_end: Some("pod p was taken away: evicted".into()), ..plain.clone() };
        let nothing = JobResult { problem: Some("no pod".into()), ..JobResult::default() };
        let killed = JobResult { exit_code: Some(143), ..JobResult::default() };
        assert!(enough(&job, &evicted, &nothing) && !enough(&job, &plain, &nothing));
        let said = |claim, result| verdict(&f.cx(), &job, claim, result, &mut Map::new()).expect_err("it failed");
        assert_eq!(said(&evicted, &killed), "exit code 143; pod p was taken away: evicted");
        assert!(said(&evicted, &nothing).ends_with("limit; pod p was taken away: evicted"));
        assert_eq!(said(&plain, &killed), "exit code 143");
    }
}
