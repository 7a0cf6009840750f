//! PURE. The default rule: the share of bad requests of one interval after the other, bet on by `bets` (DESIGN §6).
//!
//! An interval is `hiccup` long, and the next one begins where it ends: no request is in two. It is asked for with its time,
//! so that a restart asks again what it has not written. It is bet on once, or skipped; number and bets are one record.
//! Triggers that roll back fire on what all of them have seen: see [`crate::evidence`].

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::duration::Duration;
use crate::api::run::{EvidenceRecord, TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, NoData, Severity, Trigger};
use crate::effect::Read;
use crate::evidence::bets::Rule;
use crate::evidence::query::{ERRORS, GUARD, GUARDED, SAMPLES, SLOW, TOTAL, query};
use crate::evidence::{alone, ceiling_of, count, of_record, percent, requests_of, rule, written};
use crate::journal::{later, trail};
use crate::world::{NumbersAnswer, Reading};

use super::judged;
use super::trial::{Trials, key};

/// Most queries of a trigger under way at a time.
const WINDOW: u64 = 16;
/// Most intervals that are asked for again after a stop; those before are skipped.
const MOST_BEHIND: u64 = 240;
/// How far errors may be above the total for want of exact numbers.
const ROUNDING: f64 = 1e-6;

/// See [`super::advance`]. A trigger that rolls back does not fire here: see [`crate::evidence::together`].
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let trials = Trials::arm(cx, trigger, record).on_whole_seconds();
    let (Some(rule), Some(query)) = (rule(trigger, metric, &cx.plan.observe), query(metric, trials.times(1))) else {
        judged(record, cx.world.now, TrialVerdict::Inconclusive, "this version does not know the rule");
        return None;
    };
    let latest = trials.latest(before(cx.world.now, delay(trials)));
    if latest.saturating_sub(record.trials) > MOST_BEHIND {
        record.trials = latest - MOST_BEHIND;
        judged(record, trials.due(record.trials), TrialVerdict::Inconclusive, "not looked at for a while");
    }
    while record.trials < latest
        && let Some(Reading::Numbers(answer)) = cx.world.readings.get(&key(trigger, record.trials + 1))
    {
        record.trials += 1;
        judge(trigger, metric, &rule, trials, answer, record);
        if trigger.severity.unwrap_or_default() != Severity::Rollback
            && let Some(why) = alone(trigger, metric, &rule, record)
        {
            return Some(why);
        }
    }
    let timeout = Duration::from_millis(trials.times(2).as_millis().clamp(1000, 10_000));
    for n in (record.trials + 1)..=latest.min(record.trials.saturating_add(WINDOW)) {
        out.reads.insert(key(trigger, n), Read::Numbers { query: query.clone(), at: trials.due(n), timeout });
    }
    out.wake_at(later(trials.due(latest + 1), delay(trials)));
    None
}

/// The interval that is under way at a time, and those before it that ended.
pub(super) fn under_way(trials: Trials, now: Timestamp) -> u64 {
    trials.on_whole_seconds().latest(now).saturating_add(1)
}

/// An interval is asked for so long after its end: what is scraped in its last moments is stored a little later.
fn delay(trials: Trials) -> Duration {
    Duration::from_millis((trials.times(1).as_millis() / 5).min(3000))
}

fn before(at: Timestamp, d: Duration) -> Timestamp {
    at.checked_sub(d.signed()).unwrap_or(Timestamp::MIN)
}

/// Takes in what there was in an interval.
fn judge(
    trigger: &Trigger,
    metric: &MetricTrigger,
    rule: &Rule,
    trials: Trials,
    answer: &NumbersAnswer,
    record: &mut TriggerRecord,
) {
    let at = trials.due(record.trials);
    record.last_at = Some(at);
    let seen = seen(metric, trials.times(1), answer);
    let missing = matches!(seen, Seen::Nothing(_)) && trigger.no_data == Some(NoData::Rollback);
    let (share, requests, saw) = match seen {
        Seen::Share { share, requests, saw } => (share, requests, saw),
        Seen::Nothing(why) if missing => (1.0, 0.0, format!("no data, which noData: Rollback takes as bad: {why}")),
        Seen::Nothing(why) | Seen::Skipped(why) => return judged(record, at, TrialVerdict::Inconclusive, &why),
    };
    let requests = requests_of(record).unwrap_or_default() + requests;
    let mut evidence = of_record(record).unwrap_or_default();
    evidence.bet(rule, share);
    let mut ceiling = ceiling_of(record);
    ceiling.bet(share);
    record.evidence = Some(EvidenceRecord { requests: requests.to_string(), ..written(&evidence, &ceiling, share) });
    let verdict = if share > rule.limit() { TrialVerdict::Bad } else { TrialVerdict::Good };
    judged(record, at, verdict, &saw);
    trail::keep_limit(record, at, &format!("> {}", metric.limit.as_deref().unwrap_or_default()));
}

/// What there was in an interval.
#[derive(Debug, PartialEq)]
enum Seen {
    /// So much of it was bad, in [0, 1].
    Share { share: f64, requests: f64, saw: String },
    /// Nobody asked for anything, or the guard says that it is not the release's fault: neither good nor bad.
    Skipped(String),
    /// It is not known.
    Nothing(String),
}

fn seen(metric: &MetricTrigger, interval: Duration, answer: &NumbersAnswer) -> Seen {
    let numbers = match answer {
        NumbersAnswer::Found(numbers) => numbers,
        NumbersAnswer::Inconclusive(why) => return Seen::Nothing(why.clone()),
        NumbersAnswer::Invalid(why) => {
            return Seen::Nothing(format!("one of errors, slow and total is not valid: {why}"));
        }
    };
    if let Some((name, number)) = numbers.iter().find(|(_, number)| !number.is_finite()) {
        return Seen::Nothing(format!("{name} is {number}"));
    }
    if let Some((name, number)) = numbers.iter().find(|(_, number)| **number < -ROUNDING) {
        return Seen::Nothing(format!("{name} is {}: a counter grows, and is never below 0", count(*number)));
    }
    let number = |name: &str| numbers.get(name).map(|number| number.max(0.0));
    if number(GUARD).is_some_and(|series| series > 0.0) {
        return Seen::Skipped("guardQuery is not zero".into());
    }
    if metric.guard_query.is_some() && number(GUARDED).is_none_or(|series| series <= 0.0) {
        return Seen::Nothing("guardQuery has no value; one that is empty while all is well needs `bool`".into());
    }
    if number(SAMPLES).is_none_or(|samples| samples <= 0.0) {
        return Seen::Nothing(format!(
            "no sample of total in these {interval}; hiccup must be at least the scrape interval"
        ));
    }
    let Some(total) = number(TOTAL) else { return Seen::Nothing("total has no value".into()) };
    let bad = [(ERRORS, &metric.errors), (SLOW, &metric.slow)];
    let bad: Vec<_> = bad.iter().filter(|(_, asked)| asked.is_some()).map(|(n, _)| (*n, number(n))).collect();
    for (name, bad) in &bad {
        let bad = bad.unwrap_or_default();
        if bad > total * (1.0 + ROUNDING) {
            return Seen::Nothing(format!("{name} ({}) is more than total ({})", count(bad), count(total)));
        }
    }
    if total <= 0.0 {
        return Seen::Skipped(format!("no requests in these {interval}"));
    }
    // A request that fails slowly is one bad request.
    let most = bad.iter().filter_map(|(_, bad)| *bad).fold(0.0, f64::max);
    let share = (most / total).min(1.0);
    let parts: Vec<_> = bad.iter().map(|(name, bad)| format!("{name} {}", count(bad.unwrap_or_default()))).collect();
    let saw = format!("{} of {} requests ({})", percent(share), count(total), parts.join(", "));
    Seen::Share { share, requests: total, saw }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
