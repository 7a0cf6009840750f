//! PURE. What the default rule has seen so far, as the journal has it, and what that comes to: the bets on the share of bad
//! requests (`bets`), and one chance of a false rollback for all triggers of a run that roll back (DESIGN §6).

use crate::api::run::{EvidenceRecord, RunStatus, TriggerRecord};
use crate::api::trigger::{MetricTrigger, Severity, Trigger, Watched};
use crate::journal;
use crate::plan::PlanObserve;

use bets::{Evidence, Rule};
use ceiling::Ceiling;

pub mod bets;
pub mod ceiling;
pub mod power;
pub mod query;

/// Most wholly bad intervals that are looked ahead.
const AHEAD: u32 = 100;

/// The rule of a trigger with numbers that make sense; none where they do not, or where it has another rule.
pub fn rule(trigger: &Trigger, metric: &MetricTrigger, observe: &PlanObserve) -> Option<Rule> {
    let number = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok();
    let interval = trigger.every?.as_millis().max(1);
    metric.total.as_ref()?;
    Rule::new(number(&metric.limit)?, number(&metric.alpha)?, observe.for_.as_millis() / interval)
}

/// As it stands in the journal, read back bit for bit. What cannot be read, as somebody has changed it, is no evidence.
pub fn of_record(record: &TriggerRecord) -> Option<Evidence> {
    let written = record.evidence.as_ref()?;
    let read = |texts: &[String]| -> Option<[f64; 3]> {
        let numbers: Vec<f64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let fit = numbers.iter().all(|number: &f64| number.is_finite() && *number >= 0.0);
        <[f64; 3]>::try_from(numbers).ok().filter(|_| fit)
    };
    let (from_the_switch, later) = (read(&written.from_the_switch)?, read(&written.later)?);
    Some(Evidence { from_the_switch, later, bets: written.bets, bad: written.bad })
}

/// What has been shown of how low the share is. What cannot be read shows nothing, now or later.
pub fn ceiling_of(record: &TriggerRecord) -> Ceiling {
    let Some(written) = record.evidence.as_ref() else { return Ceiling::default() };
    let numbers: Vec<f64> = written.ceiling.iter().filter_map(|text| text.parse().ok()).collect();
    let fit = numbers.iter().all(|number: &f64| number.is_finite() && *number >= 0.0);
    numbers.try_into().ok().filter(|_| fit).map_or(Ceiling([0.0; 13]), Ceiling)
}

/// How many requests there were in the intervals that were bet on; none where that cannot be read.
pub fn requests_of(record: &TriggerRecord) -> Option<f64> {
    let read = record.evidence.as_ref()?.requests.parse().ok();
    read.filter(|requests: &f64| requests.is_finite() && *requests >= 0.0)
}

/// What the triggers of the default rule have shown of the release by the end of its observation, and what they could not
/// have seen: for the record.
pub fn summary(observe: &PlanObserve, journal: &RunStatus) -> Vec<String> {
    let said = |trigger: &Trigger| {
        let record = journal::trigger(journal, &trigger.name)?;
        let Ok(Watched::Metric(metric)) = trigger.watches.one() else { return None };
        rule(trigger, metric, observe)?;
        let bets = record.evidence.as_ref().map_or(0, |e| e.bets);
        let below = ceiling_of(record).below();
        let below = below
            .map(|share| format!("trigger {}: fewer than {} bad with 99 % confidence", trigger.name, percent(share)));
        let blind = power::blind(trigger, observe, bets, requests_of(record));
        Some(below.into_iter().chain(blind).collect::<Vec<_>>())
    };
    observe.triggers.iter().filter_map(said).flatten().collect()
}

/// The shortest text that is read back as the same number.
pub fn written(evidence: &Evidence, ceiling: &Ceiling, share: f64) -> EvidenceRecord {
    let texts = |numbers: &[f64]| numbers.iter().map(|number| format!("{number:e}")).collect();
    EvidenceRecord {
        ceiling: texts(&ceiling.0),
        from_the_switch: texts(&evidence.from_the_switch),
        later: texts(&evidence.later),
        bets: evidence.bets,
        bad: evidence.bad,
        share: share.to_string(),
        requests: String::new(),
    }
}

/// Why a trigger fires on its own evidence, once it does.
pub fn alone(trigger: &Trigger, metric: &MetricTrigger, rule: &Rule, record: &TriggerRecord) -> Option<String> {
    let evidence = of_record(record).filter(|evidence| evidence.fires(rule))?;
    Some(why(trigger, metric, record, &evidence, 1.0 / rule.alpha()))
}

/// Why a trigger fires: `level` of `bound` wanted.
fn why(trigger: &Trigger, metric: &MetricTrigger, record: &TriggerRecord, evidence: &Evidence, bound: f64) -> String {
    let limit = metric.limit.as_ref().and_then(|text| text.parse().ok()).map(percent).unwrap_or_default();
    let interval = trigger.every.map(|every| every.to_string()).unwrap_or_default();
    let share = record.evidence.as_ref().and_then(|e| e.share.parse().ok()).map(percent).unwrap_or_default();
    format!(
        "{share} of the requests were bad, where {limit} is tolerated; {} of {} intervals of {interval} since {} had bad \
         ones, the last at {}; evidence {} against {}",
        evidence.bad,
        evidence.bets,
        record.armed_at.map(|at| at.strftime("%H:%M:%SZ").to_string()).unwrap_or_default(),
        record.last_at.map(|at| at.strftime("%H:%M:%SZ").to_string()).unwrap_or_default(),
        count(evidence.level().floor()),
        count(bound.ceil()),
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
pub fn standing(
    trigger: &Trigger,
    record: &TriggerRecord,
    observe: &PlanObserve,
    journal: &RunStatus,
) -> Option<Standing> {
    let Ok(Watched::Metric(metric)) = trigger.watches.one() else { return None };
    let rule = rule(trigger, metric, observe)?;
    let evidence = of_record(record)?;
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
        let (evidence, rule) = (of_record(record)?, rule(trigger, metric, observe)?);
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
    let alone = part(observe) * most.evidence.weight(&rule(most.trigger, most.metric, observe)?) >= 1.0;
    let alpha = rule(most.trigger, most.metric, observe)?.alpha();
    let mut text = why(most.trigger, most.metric, most.record, &most.evidence, 1.0 / (alpha * part(observe)));
    if !alone {
        let others: Vec<_> = all.iter().filter(|w| w.trigger.name != most.trigger.name && w.weight > 0.0).collect();
        let others: Vec<_> = others.iter().map(|w| format!("{} ({})", w.trigger.name, percent(w.weight))).collect();
        text = format!("{text}, enough together with {}", others.join(", "));
    }
    Some((&most.trigger.name, text))
}

/// A count: counters of Prometheus need not be whole numbers.
pub fn count(number: f64) -> String {
    if number.fract().abs() < 1e-3 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `2.5 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let text = if percent < 1.0 { format!("{percent:.3}") } else { format!("{percent:.1}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if text.is_empty() { "0" } else { text })
}
