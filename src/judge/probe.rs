//! PURE. `probe`: a request that must succeed; fires after so many failures in a row, or after failing for a time.
//! A gap in which nothing was asked is inconclusive: it never counts as failing.

use super::{inconclusive, settle};
use crate::actions::{Cx, Out, Verdict, http};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::step::To;
use crate::api::trigger::{NoData, ProbeTrigger, Trigger};
use crate::effect::Read;
use crate::journal::{later, short};
use crate::world::{HttpError, Reading};

/// Moves the trigger on by at most one trial.
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    probe: &ProbeTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let now = cx.world.now;
    let every = trigger.every.unwrap_or(cx.plan.observe.every);
    let armed = *record.armed_at.get_or_insert(now);
    // Probes cannot be asked again for a past time: after a gap the count begins anew with the trial due now.
    let due_now = u64::try_from(now.duration_since(armed).as_millis()).unwrap_or(0) / every.as_millis().max(1);
    if due_now > record.trials.saturating_add(2) {
        record.trials = due_now;
        record.bad_since = None;
        record.bad_in_a_row = 0;
    }
    let due = later(armed, Duration::from_millis(every.as_millis().saturating_mul(record.trials)));
    if due > now {
        out.wake_at(due);
        return None;
    }
    let key = format!("{}@{}", trigger.name, record.trials);
    let verdict = match cx.world.readings.get(&key) {
        Some(Reading::Http(answers)) => {
            let unreachable = answers.iter().any(|a| matches!(&a.result, Err(HttpError::NotSent(_))));
            (http::judge(cx, &probe.http, answers, false), unreachable)
        }
        _ => match http::request(cx, &probe.http, To::Live) {
            Ok(mut request) => {
                request.timeout = Duration::from_millis(every.as_millis().clamp(1000, 10_000));
                out.reads.insert(key, Read::Http(request));
                return None;
            }
            // Nobody there to ask is what the probe is there to find.
            Err(why) => (Verdict::fail(why), true),
        },
    };
    record.trials += 1;
    record.last_at = Some(due);
    out.wake_at(later(armed, Duration::from_millis(every.as_millis().saturating_mul(record.trials))).max(now));
    let why = match verdict.0 {
        Verdict::Pass { .. } => {
            record.saw = Some("ok".into());
            settle(record, due, TrialVerdict::Good);
            return None;
        }
        Verdict::Fail { message, .. } => message,
        Verdict::Unknown { message } => {
            inconclusive(record, due, &message);
            let bad = trigger.no_data.unwrap_or_default() == NoData::Rollback;
            return bad.then_some(message);
        }
    };
    record.saw = Some(short(&why, 200));
    settle(record, due, TrialVerdict::Bad);
    let since = record.bad_since.unwrap_or(due);
    match probe.failing_for {
        Some(limit) if due.duration_since(since) >= limit.signed() => {
            Some(format!("failing since {since:.0} ({limit}): {why}"))
        }
        Some(_) => None,
        None => {
            let limit = probe.failing.unwrap_or(3);
            (record.bad_in_a_row >= limit).then(|| format!("failed {} times in a row: {why}", record.bad_in_a_row))
        }
    }
}
