//! PURE. A PromQL value against a bound: fires when it is bad, or has been for `sustained` without a good value between.
//! Trials are asked with their own time, so that after a restart the missed ones are asked again. Time without a value
//! counts neither way: `sustained` is made of bad trials alone.

use crate::actions::{Cx, Out, span};
use crate::api::duration::Duration;
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{MetricTrigger, Trigger};
use crate::effect::{Read, ReadKey};
use crate::journal::{later, trail};
use crate::world::{QueryAnswer, Reading};

use super::trial::{Trials, key};
use super::{clock, forget, judged, no_data};

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
    let (Some(query), Some(bound)) = (&metric.query, Bound::of(metric)) else {
        judged(record, cx.world.now, TrialVerdict::Inconclusive, "this version does not know the rule");
        return None;
    };
    skip(metric, trials, latest, record);
    let waits = look_at_the_switch(cx, trigger, metric, &bound, trials, record);
    let judged_before = record.trials;
    while record.trials < latest
        && !(waits && looks_back(metric, trials, record.trials + 1))
        && let Some(Reading::Query(answer)) = cx.world.readings.get(&key(trigger, record.trials + 1))
    {
        record.trials += 1;
        if let Some(why) = judge(trigger, metric, &bound, trials, answer, record) {
            return Some(why);
        }
    }
    // Without a value it is asked again with the next trial: the answer that was none is dropped.
    let open = !at_switch_is_known(record) && looks_back(metric, trials, record.trials + 1);
    if open && (waits || record.trials == judged_before) {
        let read = Read::Query { query: query.clone(), at: Some(trials.due(0)), timeout: timeout(trials) };
        out.reads.insert(key(trigger, 0), read);
    }
    for n in (record.trials + 1)..=latest.min(record.trials.saturating_add(WINDOW)) {
        let read = Read::Query { query: query.clone(), at: Some(trials.due(n)), timeout: timeout(trials) };
        out.reads.insert(key(trigger, n), read);
    }
    out.wake_at(trials.due(latest + 1));
    pushed(cx, trigger, metric, &bound, trials, record, out)
}

/// Asks the query between two trials because of a push. It counts only where one bad sample is enough, and never for good:
/// how long something must last is not for whoever pushes to shorten.
fn pushed(
    cx: &Cx,
    trigger: &Trigger,
    metric: &MetricTrigger,
    bound: &Bound,
    trials: Trials,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    let query = metric.query.as_ref().filter(|_| metric.sustained.is_none())?;
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
    record.at_switch = Some(match answer {
        QueryAnswer::Value(value) if bound.exceeded(*value) => TrialVerdict::Bad,
        QueryAnswer::Value(_) => TrialVerdict::Good,
        // Whatever is to become of trials without a value: nobody knows what was there before.
        QueryAnswer::Inconclusive(_) | QueryAnswer::Invalid(_) => TrialVerdict::Inconclusive,
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

/// After a long stop only the trials that `sustained` can still need are asked again, and what was bad before is
/// forgotten, since what lies between was not seen.
fn skip(metric: &MetricTrigger, trials: Trials, latest: u64, record: &mut TriggerRecord) {
    let keep = trials.within(metric.sustained.unwrap_or_default()).saturating_add(2);
    let patience = trials.within(timeout(trials)).saturating_add(1);
    if latest.saturating_sub(record.trials) > keep.saturating_add(patience) {
        record.trials = latest - keep;
        forget(record);
        let at = trials.due(record.trials);
        judged(record, at, TrialVerdict::Inconclusive, "not looked at for a while");
    }
}

struct Bound<'a> {
    text: &'a str,
    value: f64,
    above: bool,
}

impl<'a> Bound<'a> {
    fn of(metric: &'a MetricTrigger) -> Option<Self> {
        let (text, above) = match (&metric.above, &metric.below) {
            (Some(text), _) => (text, true),
            (None, Some(text)) => (text, false),
            (None, None) => return None,
        };
        Some(Self { text, value: text.parse().ok()?, above })
    }

    fn exceeded(&self, value: f64) -> bool {
        if self.above { value > self.value } else { value < self.value }
    }

    /// How a value stands to it.
    fn compared(&self, value: f64) -> String {
        format!("{value} {} {}", if self.above { '>' } else { '<' }, self.text)
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

fn judge(
    trigger: &Trigger,
    metric: &MetricTrigger,
    bound: &Bound,
    trials: Trials,
    answer: &QueryAnswer,
    record: &mut TriggerRecord,
) -> Option<String> {
    let at = trials.due(record.trials);
    record.last_at = Some(at);
    let (mut saw, what) = match answer {
        QueryAnswer::Value(value) => (value.to_string(), bound.compared(*value)),
        QueryAnswer::Inconclusive(why) => (why.clone(), format!("no data, which noData: Rollback takes as bad: {why}")),
        QueryAnswer::Invalid(why) => {
            let why = format!("the query is not valid: {why}");
            (why.clone(), format!("no data, which noData: Rollback takes as bad: {why}"))
        }
    };
    let mut verdict = verdict(trigger, bound, answer);
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
    trail::keep_limit(record, at, &format!("{} {}", if bound.above { '>' } else { '<' }, bound.text));
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
mod tests {
    use serde_json::json;

    use super::super::fixtures::{armed, judge, read, trigger};
    use super::*;
    use crate::actions::fixtures::Fixture;
    use crate::api::trigger::Watched;

    fn errors(sustained: Option<&str>) -> Trigger {
        let mut metric = json!({"query": "errors", "above": "0.05"});
        if let Some(s) = sustained {
            metric["sustained"] = json!(s);
        }
        trigger(json!({"name": "errors", "every": "1s", "metric": metric}))
    }

    #[test]
    fn a_push_asks_at_once_where_one_bad_sample_is_enough() {
        let ask = |t: &Trigger, value: f64| {
            let mut f = Fixture::new();
            let mut record = armed(&f);
            f.after(10);
            f.world.readings.insert(read("errors@10"), Reading::Query(QueryAnswer::Value(0.0)));
            (1..10).for_each(|n| {
                f.world.readings.insert(read(&format!("errors@{n}")), Reading::Query(QueryAnswer::Value(0.0)));
            });
            let (_, quiet) = judge(&f, t, &mut record);
            assert!(quiet.reads.is_empty(), "{:?}", quiet.reads);
            f.world.now = later(f.world.now, Duration::from_millis(300));
            f.world.pushed = Some(f.world.now);
            let (_, asked) = judge(&f, t, &mut record);
            for key in asked.reads.keys() {
                f.world.readings.insert(key.clone(), Reading::Query(QueryAnswer::Value(value)));
            }
            (asked.reads, judge(&f, t, &mut record).0, record)
        };
        let (asked, fired, record) = ask(&errors(None), 0.101);
        let key = asked.keys().next().expect("a query");
        assert!(matches!(key, ReadKey::Pushed(trigger, _) if trigger == "errors"), "{key}");
        let now = record.last_at.expect("a time");
        assert!(matches!(&asked[key], Read::Query { at, .. } if *at == Some(now)));
        assert_eq!(fired.as_deref(), Some("0.101 > 0.05 at 00:00:10Z, asked because of a push"));
        // What is good says nothing, and leaves the trials as they are.
        let (asked, fired, record) = ask(&errors(None), 0.0);
        assert_eq!((asked.len(), fired, record.trials), (1, None, 10));
        assert!(record.last_at < Some(now));
        // How long it must last is for the runbook to say.
        assert!(ask(&errors(Some("30s")), 0.101).0.is_empty());
        // Samples that look back over the switch are for the trials to judge.
        let metric = json!({"query": "errors", "above": "0.05", "reach": "1m"});
        let t = trigger(json!({"name": "errors", "every": "1s", "metric": metric}));
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(30);
        f.world.pushed = Some(f.world.now);
        assert!(!judge(&f, &t, &mut record).1.reads.keys().any(|key| matches!(key, ReadKey::Pushed(..))));
    }

    /// Plays one answer a second: `b`ad, `g`ood, `i`nconclusive. The second in which the trigger fires, and why.
    fn play(t: &Trigger, answers: &str) -> Option<(usize, String)> {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        for (i, c) in answers.chars().enumerate() {
            f.after(1);
            let (_, out) = judge(&f, t, &mut record);
            for key in out.reads.keys() {
                let answer = match c {
                    'b' => QueryAnswer::Value(0.101),
                    'g' => QueryAnswer::Value(0.05),
                    _ => QueryAnswer::Inconclusive("no series".into()),
                };
                f.world.readings.insert(key.clone(), Reading::Query(answer));
            }
            if let (Some(why), _) = judge(&f, t, &mut record) {
                return Some((i + 1, why));
            }
        }
        None
    }

    #[test]
    fn fires_with_value_bound_and_time() {
        assert_eq!(play(&errors(None), "ggb"), Some((3, "0.101 > 0.05 at 00:00:03Z".into())));
        assert_eq!(play(&errors(Some("3s")), "gbbbb"), Some((5, "0.101 > 0.05 since 00:00:02Z (3s)".into())));
        let below = trigger(json!({"name": "t", "every": "1s", "metric": {"query": "q", "below": "0.2"}}));
        assert_eq!(play(&below, "b"), Some((1, "0.101 < 0.2 at 00:00:01Z".into())));
    }

    fn looking_back(t: &Trigger, reach: u64) -> Trigger {
        let Ok(Watched::Metric(metric)) = t.watches.one() else { panic!("a metric") };
        let metric = MetricTrigger { reach: Some(Duration::from_secs(reach)), ..metric.clone() };
        Trigger { watches: Watched::Metric(metric).into(), ..t.clone() }
    }

    #[test]
    fn the_time_of_the_switch_is_asked_about_until_there_is_a_value() {
        let (value, none) = (QueryAnswer::Value, || QueryAnswer::Inconclusive("timed out".into()));
        for (later, fires) in [(value(0.01), true), (value(0.2), false), (none(), false)] {
            let (mut f, t) = (Fixture::new(), looking_back(&errors(None), 4));
            let mut record = armed(&f);
            let at_switch = read("errors@0");
            let asked = |out: &Out| out.reads.contains_key(&at_switch);
            assert!(asked(&judge(&f, &t, &mut record).1));
            f.world.readings.insert(at_switch.clone(), Reading::Query(none()));
            assert!(asked(&judge(&f, &t, &mut record).1), "its answer is kept until the next trial");
            f.after(1);
            f.world.readings.insert(read("errors@1"), Reading::Query(value(0.2)));
            let (fired, out) = judge(&f, &t, &mut record);
            assert_eq!((fired, record.trials, record.last), (None, 1, Some(TrialVerdict::Inconclusive)));
            assert!(record.saw.as_ref().is_some_and(|saw| saw.contains("is not known")), "{record:?}");
            // The pilot drops what is not asked for.
            assert!(!asked(&out) && f.world.readings.remove(&at_switch).is_some());
            f.after(1);
            f.world.readings.insert(read("errors@2"), Reading::Query(value(0.2)));
            let (fired, out) = judge(&f, &t, &mut record);
            assert!(fired.is_none() && record.trials == 1 && asked(&out), "awaited: {record:?}");
            f.world.readings.insert(at_switch.clone(), Reading::Query(later.clone()));
            let (fired, _) = judge(&f, &t, &mut record);
            assert_eq!((fired.is_some(), record.trials), (fires, 2), "{later:?}");
            // Trial 4 looks back no more.
            f.after(2);
            let (_, out) = judge(&f, &t, &mut record);
            assert_eq!(asked(&out), matches!(later, QueryAnswer::Inconclusive(_)), "{later:?}");
            f.world.readings.extend([3, 4].map(|n| (read(&format!("errors@{n}")), Reading::Query(value(0.2)))));
            f.world.readings.insert(at_switch.clone(), Reading::Query(none()));
            let (fired, out) = judge(&f, &t, &mut record);
            assert!(fired.is_some() && !asked(&out), "found all the same: {record:?}");
        }
    }

    #[test]
    fn a_sample_that_looks_back_over_the_switch_is_bad_only_if_the_switch_made_it_so() {
        let t = looking_back(&errors(None), 3);
        // The first answer is that at the time of the switch; trials 1 and 2 look back over it.
        for (answers, fires) in [
            ("bbb", None),
            ("bbbb", Some(3)),
            ("bbbg", None),
            ("gb", Some(1)),
            ("gggb", Some(3)),
            // What is not known is not good.
            ("ib", None),
            ("ibbb", Some(3)),
            ("bg", None),
        ] {
            let mut f = Fixture::new();
            let mut record = armed(&f);
            let mut at = None;
            for (n, c) in answers.chars().enumerate() {
                if n > 0 {
                    f.after(1);
                }
                judge(&f, &t, &mut record);
                let answer = match c {
                    'b' => QueryAnswer::Value(0.101),
                    'g' => QueryAnswer::Value(0.05),
                    _ => QueryAnswer::Inconclusive("no series".into()),
                };
                f.world.readings.insert(read(&format!("errors@{n}")), Reading::Query(answer));
                if judge(&f, &t, &mut record).0.is_some() {
                    at = Some(n);
                    break;
                }
                if n > 0 && n < 3 && c == 'g' {
                    assert_eq!(record.last, Some(TrialVerdict::Inconclusive), "never good");
                }
            }
            assert_eq!(at, fires, "{answers}");
        }
    }

    #[test]
    fn sustained_is_made_of_bad_trials_alone() {
        let table = [
            ("bbbg", None),
            ("bbgbbg", None),
            ("bbbb", Some(4)),
            // Silence neither ends a bad time nor adds to it.
            ("biiiiib", None),
            ("biiiiibbb", Some(9)),
            ("iiiiiiii", None),
            ("bbibgb", None),
        ];
        for (answers, fires) in table {
            assert_eq!(play(&errors(Some("3s")), answers).map(|f| f.0), fires, "{answers}");
        }
    }

    #[test]
    fn missing_data_is_bad_only_where_the_manifest_says_so() {
        for (no_data, fires) in [("Hold", false), ("Ignore", false), ("Rollback", true)] {
            let mut t = errors(None);
            t.no_data = serde_json::from_value(json!(no_data)).ok();
            assert_eq!(play(&t, "i").is_some(), fires, "{no_data}");
        }
    }

    #[test]
    fn the_first_trial_comes_one_interval_after_the_switch() {
        let mut f = Fixture::new();
        let mut record = armed(&f);
        let (_, out) = judge(&f, &errors(None), &mut record);
        assert!(out.reads.is_empty() && out.wake == "2026-01-01T00:00:01Z".parse().ok());
        f.after(1);
        let (_, out) = judge(&f, &errors(None), &mut record);
        let Some(Read::Query { at: Some(at), timeout, .. }) = out.reads.get(&read("errors@1")) else {
            panic!("{out:?}")
        };
        assert_eq!((at.to_string(), *timeout), ("2026-01-01T00:00:01Z".into(), Duration::from_secs(2)));
    }

    #[test]
    fn a_restart_asks_the_missed_trials_again_each_with_its_time() {
        let mut f = Fixture::new();
        let t = errors(Some("3s"));
        let mut record = armed(&f);
        record.trials = 2;
        f.after(6);
        let (_, out) = judge(&f, &t, &mut record);
        assert_eq!(
            out.reads.keys().cloned().collect::<Vec<_>>(),
            [3, 4, 5, 6].map(|n| ReadKey::Trial("errors".into(), n))
        );
        // Answers may come in any order; they are judged in theirs.
        f.world.readings.insert(read("errors@4"), Reading::Query(QueryAnswer::Value(1.0)));
        assert_eq!((judge(&f, &t, &mut record).0, record.trials), (None, 2));
        for n in [3, 5, 6] {
            f.world.readings.insert(read(&format!("errors@{n}")), Reading::Query(QueryAnswer::Value(1.0)));
        }
        assert!(judge(&f, &t, &mut record).0.is_some_and(|why| why.contains("since 00:00:03Z (3s)")));
    }

    #[test]
    fn a_long_stop_forgets_what_was_bad_and_goes_back_no_further_than_needed() {
        let mut f = Fixture::new();
        let t = errors(Some("3s"));
        let mut record = armed(&f);
        record.trials = 2;
        record.bad_in_a_row = 2;
        record.bad_since = record.armed_at;
        f.after(100);
        let (fired, out) = judge(&f, &t, &mut record);
        assert!(fired.is_none() && record.bad_in_a_row == 0 && record.bad_since.is_none());
        assert_eq!(out.reads.keys().next_back(), Some(&read("errors@100")));
        assert_eq!((out.reads.len(), record.last), (5, Some(TrialVerdict::Inconclusive)));
    }

    #[test]
    fn a_query_that_hangs_is_waited_for_and_not_dropped() {
        let mut f = Fixture::new();
        let t = trigger(json!({"name": "t", "every": "100ms", "metric": {"query": "q", "above": "1"}}));
        let mut record = armed(&f);
        f.world.now += jiff::SignedDuration::from_millis(100);
        judge(&f, &t, &mut record);
        f.world.now += jiff::SignedDuration::from_millis(1000);
        let (_, out) = judge(&f, &t, &mut record);
        assert!(out.reads.contains_key(&read("t@1")) && out.reads.len() == 11, "{:?}", out.reads.keys());
    }
}
