//! PURE. The default rule: the share of bad requests of one interval after the other, bet on by `bets` (DESIGN §6).
//!
//! An interval is `hiccup` long, and the next one begins where it ends: no request is in two. It is asked for with its time,
//! so that a restart asks again what it has not written. It is bet on once, or skipped; number and bets are one record.
//! All triggers of this rule that roll back share one chance of a false rollback: see [`together`].

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::duration::Duration;
use crate::api::run::{EvidenceRecord, RunStatus, TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, NoData, Severity, Trigger, Watched};
use crate::effect::Read;
use crate::journal::{self, later, trail};
use crate::plan::PlanObserve;
use crate::world::{NumbersAnswer, Reading};

use super::bets::{Evidence, Rule};
use super::share_query::{self, ERRORS, GUARD, SAMPLES, SLOW, TOTAL};
use super::trial::{Trials, key};
use super::{clock, judged};

/// Most queries of a trigger under way at a time.
const WINDOW: u64 = 16;
/// Most intervals that are asked for again after a stop; those before are skipped.
const MOST_BEHIND: u64 = 240;
/// Most wholly bad intervals that are looked ahead.
const AHEAD: u32 = 100;
/// How far errors may be above the total for want of exact numbers.
const ROUNDING: f64 = 1e-6;

/// See [`super::advance`]. A trigger that rolls back does not fire here: see [`together`].
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let trials = Trials::arm(cx, trigger, record).from_a_whole_second();
    let (Some(rule), Some(query)) =
        (rule(metric, trigger, &cx.plan.observe), share_query::query(metric, trials.times(1)))
    else {
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
            && let Some(evidence) = evidence(record).filter(|e| e.fires(&rule))
        {
            return Some(why(trigger, metric, record, &evidence, 1.0 / rule.alpha()));
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
    trials.from_a_whole_second().latest(now).saturating_add(1)
}

/// An interval is asked for so long after its end: what is scraped in its last moments is stored a little later.
fn delay(trials: Trials) -> Duration {
    Duration::from_millis((trials.times(1).as_millis() / 5).min(3000))
}

fn before(at: Timestamp, d: Duration) -> Timestamp {
    at.checked_sub(d.signed()).unwrap_or(Timestamp::MIN)
}

/// The rule of a trigger with numbers that make sense; none where they do not, or where it has another rule.
fn rule(metric: &MetricTrigger, trigger: &Trigger, observe: &PlanObserve) -> Option<Rule> {
    let number = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok();
    let interval = trigger.every?.as_millis().max(1);
    metric.total.as_ref()?;
    Rule::new(number(&metric.limit)?, number(&metric.alpha)?, observe.for_.as_millis() / interval)
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
    let (share, saw) = match seen {
        Seen::Share(share, saw) => (Some(share), saw),
        Seen::Nothing(why) if missing => (Some(1.0), format!("no data, which noData: Rollback takes as bad: {why}")),
        Seen::Nothing(why) | Seen::NoRequests(why) => (None, why),
    };
    let Some(share) = share else { return judged(record, at, TrialVerdict::Inconclusive, &saw) };
    let mut evidence = evidence(record).unwrap_or_default();
    evidence.bet(rule, share);
    record.evidence = Some(written(&evidence, share));
    let verdict = if share > rule.limit() { TrialVerdict::Bad } else { TrialVerdict::Good };
    judged(record, at, verdict, &saw);
    trail::keep_limit(record, at, &format!("> {}", metric.limit.as_deref().unwrap_or_default()));
}

/// What there was in an interval.
#[derive(Debug, PartialEq)]
enum Seen {
    /// So much of it was bad, in [0, 1].
    Share(f64, String),
    /// Nobody asked for anything: neither good nor bad.
    NoRequests(String),
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
        return Seen::Nothing(format!("{name} is {}: a counter grows, and is never below 0", shown(*number)));
    }
    let number = |name: &str| numbers.get(name).map(|number| number.max(0.0));
    if number(GUARD).is_some_and(|series| series > 0.0) {
        return Seen::Nothing("guardQuery is not zero".into());
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
            return Seen::Nothing(format!("{name} ({}) is more than total ({})", shown(bad), shown(total)));
        }
    }
    if total <= 0.0 {
        return Seen::NoRequests(format!("no requests in these {interval}"));
    }
    // A request that fails slowly is one bad request.
    let most = bad.iter().filter_map(|(_, bad)| *bad).fold(0.0, f64::max);
    let share = (most / total).min(1.0);
    let parts: Vec<_> = bad.iter().map(|(name, bad)| format!("{name} {}", shown(bad.unwrap_or_default()))).collect();
    Seen::Share(share, format!("{} of {} requests ({})", percent(share), shown(total), parts.join(", ")))
}

/// A count: counters of Prometheus need not be whole numbers.
fn shown(number: f64) -> String {
    if number.fract().abs() < 1e-3 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `2.5 %`.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let text = if percent < 1.0 { format!("{percent:.3}") } else { format!("{percent:.1}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if text.is_empty() { "0" } else { text })
}

/// As it stands in the journal, read back bit for bit. What cannot be read, as somebody has changed it, is no evidence.
fn evidence(record: &TriggerRecord) -> Option<Evidence> {
    let written = record.evidence.as_ref()?;
    let read = |texts: &[String]| -> Option<[f64; 3]> {
        let numbers: Vec<f64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let fit = numbers.iter().all(|number: &f64| number.is_finite() && *number >= 0.0);
        <[f64; 3]>::try_from(numbers).ok().filter(|_| fit)
    };
    let (from_the_switch, later) = (read(&written.from_the_switch)?, read(&written.later)?);
    Some(Evidence { from_the_switch, later, bets: written.bets, bad: written.bad })
}

/// The shortest text that is read back as the same number.
fn written(evidence: &Evidence, share: f64) -> EvidenceRecord {
    let texts = |numbers: &[f64; 3]| numbers.iter().map(|number| format!("{number:e}")).collect();
    EvidenceRecord {
        from_the_switch: texts(&evidence.from_the_switch),
        later: texts(&evidence.later),
        bets: evidence.bets,
        bad: evidence.bad,
        share: share.to_string(),
    }
}

/// Why a trigger fires: `level` of `bound` wanted.
fn why(
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &TriggerRecord,
    evidence: &Evidence,
    bound: f64,
) -> String {
    let limit = metric.limit.as_ref().and_then(|text| text.parse().ok()).map(percent).unwrap_or_default();
    let interval = trigger.every.map(|every| every.to_string()).unwrap_or_default();
    let share = record.evidence.as_ref().and_then(|e| e.share.parse().ok()).map(percent).unwrap_or_default();
    format!(
        "{share} of the requests were bad, where {limit} is tolerated; {} of {} intervals of {interval} since {} had bad \
         ones, the last at {}; evidence {} against {}",
        evidence.bad,
        evidence.bets,
        record.armed_at.map(|at| clock(at).to_string()).unwrap_or_default(),
        record.last_at.map(|at| clock(at).to_string()).unwrap_or_default(),
        shown(evidence.level().floor()),
        shown(bound.ceil()),
    )
}

/// How a trigger of the default rule stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The share of bad requests in the last interval that was bet on.
    pub share: f64,
    /// What is tolerated.
    pub limit: f64,
    /// How much its own evidence is of what it takes: 1 is enough.
    pub weight: f64,
    /// How many more intervals with only bad requests it takes; none where they would be more than a hundred.
    pub more: Option<u32>,
}

/// How a trigger stands; none where it has another rule, or has bet on nothing yet.
pub fn standing(trigger: &Trigger, record: &TriggerRecord, observe: &PlanObserve, journal: &RunStatus) -> Option<Standing> {
    let Ok(Watched::Metric(metric)) = trigger.watches.one() else { return None };
    let rule = rule(metric, trigger, observe)?;
    let evidence = evidence(record)?;
    let share = record.evidence.as_ref()?.share.parse().ok()?;
    let (part, others) = match trigger.severity.unwrap_or_default() {
        Severity::Rollback => {
            let all = weights(observe, journal);
            let others = all.iter().filter(|w| w.trigger.name != trigger.name).map(|w| w.weight).sum();
            (part(observe), others)
        }
        Severity::Decide | Severity::Warn => (1.0, 0.0),
    };
    let weight = (part * evidence.weight(&rule)).min(1.0);
    Some(Standing { share, limit: rule.limit(), weight, more: evidence.more(&rule, part, others, AHEAD) })
}

/// What a trigger that rolls back has of the evidence of all of them.
struct Weight<'a> {
    trigger: &'a Trigger,
    metric: &'a MetricTrigger,
    record: &'a TriggerRecord,
    evidence: Evidence,
    weight: f64,
}

/// The triggers of the default rule that roll back.
fn sharing(observe: &PlanObserve) -> impl Iterator<Item = (&Trigger, &MetricTrigger)> {
    observe.triggers.iter().filter_map(|t| match t.watches.one() {
        Ok(Watched::Metric(metric)) if t.severity.unwrap_or_default() == Severity::Rollback => {
            metric.total.is_some().then_some((t, metric))
        }
        _ => None,
    })
}

/// The part of the chance of a false rollback that each of them has.
fn part(observe: &PlanObserve) -> f64 {
    1.0 / (sharing(observe).count().max(1) as f64)
}

/// Those that are armed, and count.
fn weights<'a>(observe: &'a PlanObserve, journal: &'a RunStatus) -> Vec<Weight<'a>> {
    let part = part(observe);
    let weight = |(trigger, metric): (&'a Trigger, &'a MetricTrigger)| {
        let armed = journal::is_armed(journal, trigger.until.unwrap_or_default());
        let record = journal::trigger(journal, &trigger.name).filter(|record| armed && !record.dismissed)?;
        let (evidence, rule) = (evidence(record)?, rule(metric, trigger, observe)?);
        Some(Weight { trigger, metric, record, evidence, weight: part * evidence.weight(&rule) })
    };
    sharing(observe).filter_map(weight).collect()
}

/// The trigger that fires on the evidence of all that roll back, and why: the one with the largest part of it. Each has
/// its share of one chance of a false rollback, however many there are, and whatever they have to do with each other: the
/// mean of fair games is a fair game.
pub fn together<'a>(observe: &'a PlanObserve, journal: &'a RunStatus) -> Option<(&'a str, String)> {
    let all = weights(observe, journal);
    if all.iter().map(|w| w.weight).sum::<f64>() < 1.0 {
        return None;
    }
    let most = all.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
    let alone = part(observe) * most.evidence.weight(&rule(most.metric, most.trigger, observe)?) >= 1.0;
    let alpha = rule(most.metric, most.trigger, observe)?.alpha();
    let mut text = why(most.trigger, most.metric, most.record, &most.evidence, 1.0 / (alpha * part(observe)));
    if !alone {
        let others: Vec<_> = all.iter().filter(|w| w.trigger.name != most.trigger.name && w.weight > 0.0).collect();
        let others: Vec<_> = others.iter().map(|w| format!("{} ({})", w.trigger.name, percent(w.weight))).collect();
        text = format!("{text}, enough together with {}", others.join(", "));
    }
    Some((&most.trigger.name, text))
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
