//! PURE. A value against a bound: fires when it is bad, has been for `sustained` without a good value between, or was `count`
//! times within a time. Trials are asked with their own time, so that after a restart the missed ones are asked again where the
//! source remembers (`source`). Time without a value counts neither way: `sustained` and `count` are made of bad trials alone.

use crate::actions::{Cx, Out, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, Trigger};
use crate::effect::ReadKey;
use crate::journal::{later, trail};
use crate::plan::bound::Bound;
use crate::world::QueryAnswer;

use super::guard::{self, Guard};
use super::probe::MARGIN;
use super::source::{self, Source};
use super::trial::{Trials, key};
use super::{clock, forget, judged, no_data, times};

/// Most queries of a trigger under way at a time.
const WINDOW: u64 = 16;

/// A trigger while it is looked at.
struct Watch<'a> {
    cx: &'a Cx<'a>,
    trigger: &'a Trigger,
    metric: &'a MetricTrigger,
    source: &'a dyn Source,
    bound: &'a Bound,
    trials: Trials,
}

impl Watch<'_> {
    /// The answer to the trial of this number; none while it is awaited.
    fn answer(&self, n: u64) -> Option<QueryAnswer> {
        match self.cx.world.readings.get(&key(self.trigger, n)) {
            Some(reading) => self.source.worth(reading),
            None => self.ask(n).err().map(QueryAnswer::Inconclusive),
        }
    }

    fn ask(&self, n: u64) -> Result<crate::effect::Read, String> {
        self.source.ask(self.cx, self.trials.due(n), timeout(self.trials))
    }

    /// The time between the last answer and the moment in which the sample of the trial at hand was taken.
    fn gap(&self, record: &TriggerRecord) -> Option<Duration> {
        let took =
            self.cx.world.readings.get(&key(self.trigger, record.trials)).map(|reading| self.source.took(reading));
        let since_last = span(record.last_at?, self.cx.world.now);
        Some(Duration::from_millis(since_last.as_millis().saturating_sub(took.unwrap_or_default().as_millis())))
    }

    fn guard(&self, n: u64) -> Option<Guard> {
        guard::look(self.cx, self.trigger, self.metric, n)
    }
}

/// See [`super::advance`].
pub fn advance(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let trials = Trials::arm(cx, trigger, record);
    let now = cx.world.now;
    let latest = trials.latest(now);
    let known = source::of(metric).ok_or_else(|| "this version does not know the rule".to_owned());
    let known = known.and_then(|source| Ok((source, Bound::of(metric, &cx.journal.captures)?)));
    let (source, bound) = match &known {
        Ok((source, bound)) => (*source, bound),
        Err(why) => {
            // Neither good nor bad, whatever the manifest says of missing data: that is about what is measured.
            record.trials = record.trials.max(latest);
            judged(record, trials.due(record.trials), TrialVerdict::Inconclusive, why);
            out.wake_at(trials.due(latest + 1));
            return None;
        }
    };
    let watch = Watch { cx, trigger, metric, source, bound, trials };
    skip(&watch, latest, record);
    let waits = look_at_the_switch(&watch, record);
    let judged_before = record.trials;
    while record.trials < latest
        && !(waits && looks_back(metric, trials, record.trials + 1))
        && let Some(answer) = watch.answer(record.trials + 1)
        && let Some(guard) = watch.guard(record.trials + 1)
    {
        record.trials += 1;
        if !source.remembers() && watch.gap(record).is_some_and(|gap| gap > trials.times(2)) {
            forget(record);
        }
        if let Some(why) = judge(&watch, &answer, &guard, record) {
            return Some(why);
        }
        if !source.remembers() {
            // One sample for one trial. It is of the time of its answer, so that one that takes long is no gap.
            (record.trials, record.last_at) = (latest, Some(now));
        }
    }
    // Without a value it is asked again with the next trial: the answer that was none is dropped.
    let open = !at_switch_is_known(record) && looks_back(metric, trials, record.trials + 1);
    let mut ask = |n: u64| {
        out.reads.extend(watch.ask(n).ok().map(|read| (key(trigger, n), read)));
        guard::ask(trigger, metric, trials, n, timeout(trials), out);
    };
    if open && (waits || record.trials == judged_before) {
        ask(0);
    }
    let window = if source.remembers() { WINDOW } else { 1 };
    ((record.trials + 1)..=latest.min(record.trials.saturating_add(window))).for_each(ask);
    out.wake_at(trials.due(latest + 1));
    pushed(&watch, record, out)
}

/// Asks between two trials because of a push. It counts only where one bad sample is enough, and never for good:
/// how long something must last is not for whoever pushes to shorten. What is guarded waits for its trial.
fn pushed(watch: &Watch, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let Watch { cx, trigger, metric, source, bound, trials } = *watch;
    if metric.sustained.is_some() || metric.count.is_some() || metric.guard_query.is_some() {
        return None;
    }
    // Nothing of the time before the switch is in it, and no trial has looked since.
    let from = later(trials.armed(), metric.reach.unwrap_or_default());
    let at = cx.world.pushed.filter(|at| *at > from && record.last_at.is_none_or(|last| last < *at))?;
    if at > cx.world.now {
        out.wake_at(at);
        return None;
    }
    let key = ReadKey::Pushed(trigger.name.clone(), at.as_millisecond());
    match cx.world.readings.get(&key).and_then(|reading| source.worth(reading)) {
        Some(QueryAnswer::Value(value)) if bound.exceeded(value) => {
            judged(record, at, TrialVerdict::Bad, &value.to_string());
            record.last_at = Some(at);
            Some(format!("{} at {}, asked because of a push", bound.compared(value), clock(at)))
        }
        _ => {
            out.reads.extend(source.ask(cx, at, timeout(trials)).ok().map(|read| (key, read)));
            None
        }
    }
}

/// Whether the sample of a trial is made of what was before the switch, too: such a one is never good, and bad only if the
/// same query at the time of the switch is known not to have been (DESIGN §6).
fn looks_back(metric: &MetricTrigger, trials: Trials, n: u64) -> bool {
    metric.reach.is_some_and(|reach| trials.times(n) < reach)
}

/// Takes in what was there at the time of the switch, where samples look back over it. Whether that is awaited.
fn look_at_the_switch(watch: &Watch, record: &mut TriggerRecord) -> bool {
    if at_switch_is_known(record) || !looks_back(watch.metric, watch.trials, record.trials + 1) {
        return false;
    }
    let (Some(answer), Some(guard)) = (watch.answer(0), watch.guard(0)) else { return true };
    record.at_switch = Some(match answer {
        // Whatever is to become of trials without a value: nobody knows what was there before.
        _ if guard != Guard::Open => TrialVerdict::Inconclusive,
        QueryAnswer::Inconclusive(_) | QueryAnswer::Invalid(_) => TrialVerdict::Inconclusive,
        QueryAnswer::Value(value) if watch.bound.exceeded(value) => TrialVerdict::Bad,
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
/// forgotten, since what lies between was not seen. A source that does not remember is asked with the next trial.
fn skip(watch: &Watch, latest: u64, record: &mut TriggerRecord) {
    let Watch { cx, trigger, metric, source, trials, .. } = *watch;
    if !source.remembers() {
        let n = record.trials + 1;
        let nobody_waits = later(later(trials.due(n), timeout(trials)), MARGIN);
        if nobody_waits < cx.world.now && !cx.world.readings.contains_key(&key(trigger, n)) {
            record.trials = latest;
            judged(record, trials.due(n), TrialVerdict::Inconclusive, "not looked at for a while");
        }
        return;
    }
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

fn judge(watch: &Watch, answer: &QueryAnswer, guard: &Guard, record: &mut TriggerRecord) -> Option<String> {
    let Watch { trigger, metric, bound, trials, .. } = *watch;
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
