//! PURE. A PromQL value against a bound: fires when it is bad, has been for `sustained` without a good value between, or
//! was `count` times within a time. Trials are asked with their own time, so that after a restart the missed ones are asked
//! again. Time without a value counts neither way: `sustained` and `count` are made of bad trials alone.

use crate::actions::{Cx, Out, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, Trigger};
use crate::effect::{Read, ReadKey};
use crate::journal::{later, trail};
use crate::plan::bound::Bound;
use crate::world::{QueryAnswer, Reading};

use super::guard::{self, Guard};
use super::trial::{Trials, key};
use super::{clock, forget, judged, no_data, times};

/// Most queries of a trigger under way at a time.
const WINDOW: u64 = 16;

/// See [`super::advance`].
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let trials = Trials::arm(cx, trigger, record);
    let latest = trials.latest(cx.world.now);
    let known = metric.query.as_ref().ok_or_else(|| "this version does not know the rule".to_owned());
    let known = known.and_then(|query| Ok((query, Bound::of(metric, &cx.journal.captures)?)));
    let (query, bound) = match known {
        Ok(known) => known,
        Err(why) => {
            // Neither good nor bad, whatever the manifest says of missing data: that is about what is measured.
            record.trials = record.trials.max(latest);
            judged(record, trials.due(record.trials), TrialVerdict::Inconclusive, &why);
            out.wake_at(trials.due(latest + 1));
            return None;
        }
    };
    skip(metric, trials, latest, record);
    let waits = look_at_the_switch(cx, trigger, metric, &bound, trials, record);
    let judged_before = record.trials;
    while record.trials < latest
        && !(waits && looks_back(metric, trials, record.trials + 1))
        && let Some(Reading::Query(answer)) = cx.world.readings.get(&key(trigger, record.trials + 1))
        && let Some(guard) = guard::look(cx, trigger, metric, record.trials + 1)
    {
        record.trials += 1;
        if let Some(why) = judge(&Watch { trigger, metric, bound: &bound, trials }, answer, &guard, record) {
            return Some(why);
        }
    }
    // Without a value it is asked again with the next trial: the answer that was none is dropped.
    let open = !at_switch_is_known(record) && looks_back(metric, trials, record.trials + 1);
    let mut ask = |n: u64| {
        let read = Read::Query { query: query.clone(), at: Some(trials.due(n)), timeout: timeout(trials) };
        out.reads.insert(key(trigger, n), read);
        guard::ask(trigger, metric, trials, n, timeout(trials), out);
    };
    if open && (waits || record.trials == judged_before) {
        ask(0);
    }
    ((record.trials + 1)..=latest.min(record.trials.saturating_add(WINDOW))).for_each(ask);
    out.wake_at(trials.due(latest + 1));
    pushed(cx, trigger, metric, &bound, trials, record, out)
}

/// Asks the query between two trials because of a push. It counts only where one bad sample is enough, and never for good:
/// how long something must last is not for whoever pushes to shorten. What is guarded waits for its trial.
fn pushed(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    bound: &Bound,
    trials: Trials,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let one_is_enough = metric.sustained.is_none() && metric.count.is_none() && metric.guard_query.is_none();
    let query = metric.query.as_ref().filter(|_| one_is_enough)?;
    // Nothing of the time before the switch is in it, and no trial has looked since.
    let from = later(trials.armed(), metric.reach.unwrap_or_default());
    let at = cx.world.pushed.filter(|at| *at > from && record.last_at.is_none_or(|last| last < *at))?;
    if at > cx.world.now {
        out.wake_at(at);
        return None;
    }
    let key = ReadKey::Pushed(trigger.name.clone(), at.as_millisecond());
    match cx.world.readings.get(&key) {
        Some(Reading::Query(QueryAnswer::Value(value))) if bound.exceeded(*value) => {
            judged(record, at, TrialVerdict::Bad, &value.to_string());
            record.last_at = Some(at);
            Some(format!("{} at {}, asked because of a push", bound.compared(*value), clock(at)))
        }
        _ => {
            out.reads.insert(key, Read::Query { query: query.clone(), at: Some(at), timeout: timeout(trials) });
            None
        }
    }
}

/// Whether the sample of a trial is made of what was before the switch, too: such a one is never good, and bad only if the
/// same query at the time of the switch is known not to have been (DESIGN §6).
fn looks_back(metric: &MetricTrigger, trials: Trials, n: u64) -> bool {
    metric.reach.is_some_and(|reach| trials.times(n) < reach)
}

/// Takes in what the query said of the time of the switch, where samples look back over it. Whether that is awaited.
fn look_at_the_switch(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    bound: &Bound,
    trials: Trials,
    record: &mut TriggerRecord,
) -> bool {
    if at_switch_is_known(record) || !looks_back(metric, trials, record.trials + 1) {
        return false;
    }
    let Some(Reading::Query(answer)) = cx.world.readings.get(&key(trigger, 0)) else { return true };
    let Some(guard) = guard::look(cx, trigger, metric, 0) else { return true };
    record.at_switch = Some(match answer {
        // Whatever is to become of trials without a value: nobody knows what was there before.
        _ if guard != Guard::Open => TrialVerdict::Inconclusive,
        QueryAnswer::Inconclusive(_) | QueryAnswer::Invalid(_) => TrialVerdict::Inconclusive,
        QueryAnswer::Value(value) if bound.exceeded(*value) => TrialVerdict::Bad,
        QueryAnswer::Value(_) => TrialVerdict::Good,
    });
    false
}

/// Whether the query had a value at the time of the switch.
fn at_switch_is_known(record: &TriggerRecord) -> bool {
    matches!(record.at_switch, Some(TrialVerdict::Good | TrialVerdict::Bad))
}

/// How long Prometheus may take for a trial.
fn timeout(trials: Trials) -> Duration {
    Duration::from_millis(trials.times(2).as_millis().clamp(1000, 10_000))
}

/// After a long stop only the trials that `sustained` or `count` can still need are asked again, and what was bad before is
/// forgotten, since what lies between was not seen.
fn skip(metric: &MetricTrigger, trials: Trials, latest: u64, record: &mut TriggerRecord) {
    let window = times::Times::of(metric).map(|times| times.within);
    let keep = trials.within(window.or(metric.sustained).unwrap_or_default()).saturating_add(2);
    let patience = trials.within(timeout(trials)).saturating_add(1);
    if latest.saturating_sub(record.trials) > keep.saturating_add(patience) {
        record.trials = latest - keep;
        forget(record);
        let at = trials.due(record.trials);
        judged(record, at, TrialVerdict::Inconclusive, "not looked at for a while");
    }
}

/// What an answer says by itself.
fn verdict(trigger: &Trigger, bound: &Bound, answer: &QueryAnswer) -> TrialVerdict {
    match answer {
        QueryAnswer::Value(value) if bound.exceeded(*value) => TrialVerdict::Bad,
        QueryAnswer::Value(_) => TrialVerdict::Good,
        QueryAnswer::Inconclusive(_) | QueryAnswer::Invalid(_) => no_data::verdict(trigger),
    }
}

/// A trigger while its trials are judged.
struct Watch<'a> {
    trigger: &'a Trigger,
    metric: &'a MetricTrigger,
    bound: &'a Bound,
    trials: Trials,
}

fn judge(watch: &Watch, answer: &QueryAnswer, guard: &Guard, record: &mut TriggerRecord) -> Option<String> {
    let Watch { trigger, metric, bound, trials } = *watch;
    let at = trials.due(record.trials);
    record.last_at = Some(at);
    let missing = |why: &str| format!("no data, which noData: Rollback takes as bad: {why}");
    let (mut saw, mut what) = match answer {
        QueryAnswer::Value(value) => (value.to_string(), bound.compared(*value)),
        QueryAnswer::Inconclusive(why) => (why.clone(), missing(why)),
        QueryAnswer::Invalid(why) => {
            let why = format!("the query is not valid: {why}");
            (why.clone(), missing(&why))
        }
    };
    let mut verdict = verdict(trigger, bound, answer);
    if let Some((instead, why)) = guard.instead(trigger) {
        (verdict, what) = (instead, missing(why));
        saw = format!("{saw}, and {why}");
    }
    if looks_back(metric, trials, record.trials) {
        match (verdict, record.at_switch) {
            (TrialVerdict::Good, _) => saw.push_str(", which looks back over the switch"),
            (TrialVerdict::Bad, Some(TrialVerdict::Bad)) => saw.push_str(", as it was at the switch"),
            (TrialVerdict::Bad, Some(TrialVerdict::Inconclusive) | None) => {
                saw.push_str(", and what it was at the switch is not known");
            }
            (TrialVerdict::Bad, Some(TrialVerdict::Good)) | (TrialVerdict::Inconclusive, _) => {}
        }
        if verdict == TrialVerdict::Good || record.at_switch != Some(TrialVerdict::Good) {
            verdict = TrialVerdict::Inconclusive;
        }
    }
    judged(record, at, verdict, &saw);
    trail::keep_limit(record, at, &bound.shown());
    if let Some(times) = times::Times::of(metric) {
        return times.take(trials, verdict, record).map(|often| format!("{what} {often}"));
    }
    if verdict != TrialVerdict::Bad {
        return None;
    }
    let since = record.bad_since.unwrap_or(at);
    match metric.sustained {
        None => Some(format!("{what} at {}", clock(at))),
        Some(sustained) => {
            let bad = trials.times(u64::from(record.bad_in_a_row.saturating_sub(1)));
            (bad >= sustained).then(|| format!("{what} since {} ({})", clock(since), span(since, at)))
        }
    }
}

#[cfg(test)]
#[path = "threshold_tests.rs"]
mod tests;
