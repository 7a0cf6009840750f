//! PURE. `metric` against a bound: fires when it is bad, or has been bad for `sustained` without a good value between.
//! Trials are numbered by time and asked with that time, so that a restart asks the missed ones again.

use jiff::Timestamp;

use super::{inconclusive, settle};
use crate::actions::{Cx, Out};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, NoData, Trigger};
use crate::effect::Read;
use crate::journal::later;
use crate::world::{QueryAnswer, Reading};

/// Moves the trigger on by at most one trial.
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let now = cx.world.now;
    let every = trigger.every.unwrap_or(cx.plan.observe.every);
    let armed = *record.armed_at.get_or_insert(now);
    skip_far_past(metric, record, armed, every, now);
    let due = later(armed, Duration::from_millis(every.as_millis().saturating_mul(record.trials)));
    if due > now {
        out.wake_at(due);
        return None;
    }
    let Some(query) = &metric.query else { return None };
    let key = format!("{}@{}", trigger.name, record.trials);
    let Some(Reading::Query(answer)) = cx.world.readings.get(&key) else {
        let timeout = Duration::from_millis((every.as_millis() * 2).clamp(1000, 10_000));
        out.reads.insert(key, Read::Query { query: query.clone(), at: Some(due), timeout });
        return None;
    };
    record.trials += 1;
    record.last_at = Some(due);
    // The next trial is asked for by the next decision, since each asks for one.
    out.wake_at(later(armed, Duration::from_millis(every.as_millis().saturating_mul(record.trials))).max(now));
    let value = match answer {
        QueryAnswer::Value(v) => *v,
        QueryAnswer::Inconclusive(why) | QueryAnswer::Invalid(why) => {
            inconclusive(record, due, why);
            let bad = trigger.no_data.unwrap_or_default() == NoData::Rollback;
            return bad.then(|| format!("no data, which noData: Rollback takes as bad: {why}"));
        }
    };
    let (bad, bound) = exceeds(metric, value);
    record.saw = Some(format!("{value}"));
    settle(record, due, if bad { TrialVerdict::Bad } else { TrialVerdict::Good });
    let since = record.bad_since?;
    match metric.sustained {
        None => Some(format!("{value} {bound}")),
        Some(sustained) if due.duration_since(since) >= sustained.signed() => {
            Some(format!("{value} {bound} since {since:.0} ({sustained})"))
        }
        Some(_) => None,
    }
}

/// After a long stop only the trials that `sustained` can still need are asked again.
fn skip_far_past(
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    armed: Timestamp,
    every: Duration,
    now: Timestamp,
) {
    let due_now = u64::try_from(now.duration_since(armed).as_millis()).unwrap_or(0) / every.as_millis().max(1);
    let keep = metric.sustained.map_or(0, Duration::as_millis) / every.as_millis().max(1) + 2;
    let first = due_now.saturating_sub(keep);
    if record.trials < first {
        record.trials = first;
        // What was not seen is not known to be bad throughout.
        record.bad_since = None;
        record.bad_in_a_row = 0;
    }
}

fn exceeds(metric: &MetricTrigger, value: f64) -> (bool, String) {
    let bound = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<f64>().ok());
    if let Some(limit) = bound(&metric.above) {
        return (value > limit, format!("> {limit}"));
    }
    match bound(&metric.below) {
        Some(limit) => (value < limit, format!("< {limit}")),
        None => (false, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(yaml: &str) -> MetricTrigger {
        serde_saphyr::from_str(yaml).expect("metric")
    }

    #[test]
    fn the_bound_itself_is_good() {
        let above = metric("{query: x, above: '0.05'}");
        assert!(!exceeds(&above, 0.05).0 && exceeds(&above, 0.0501).0 && !exceeds(&above, 0.0).0);
        let below = metric("{query: x, below: '10'}");
        assert!(!exceeds(&below, 10.0).0 && exceeds(&below, 9.9).0);
    }

    #[test]
    fn a_long_stop_never_hastens_a_verdict() {
        let m = metric("{query: x, above: '1', sustained: 10s}");
        let armed = Timestamp::UNIX_EPOCH;
        let mut record =
            TriggerRecord { trials: 3, bad_since: Some(armed), bad_in_a_row: 3, ..TriggerRecord::default() };
        let now = later(armed, Duration::from_secs(100));
        skip_far_past(&m, &mut record, armed, Duration::from_secs(1), now);
        assert_eq!((record.trials, record.bad_since, record.bad_in_a_row), (88, None, 0));
    }
}
