//! Values against a bound: when they are bad, for how long and how often.

use serde_json::json;

use super::super::fixtures::{armed, judge, read, trigger};
use super::*;
use crate::actions::fixtures::Fixture;
use crate::api::trigger::Watched;
use crate::effect::Read;
use crate::world::Reading;

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
    let Some(Read::Query { at: Some(at), timeout, .. }) = out.reads.get(&read("errors@1")) else { panic!("{out:?}") };
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
    assert_eq!(out.reads.keys().cloned().collect::<Vec<_>>(), [3, 4, 5, 6].map(|n| ReadKey::Trial("errors".into(), n)));
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

fn counting(count: u32, within: &str) -> Trigger {
    let metric = json!({"query": "errors", "above": "0.05", "count": count, "within": within});
    trigger(json!({"name": "errors", "every": "1s", "metric": metric}))
}

#[test]
fn so_many_times_within_a_time() {
    let table = [
        ("bgbgb", 3, "5s", Some(5)),
        // The first is out of the time by the third.
        ("bgbggb", 3, "5s", None),
        ("bgbggb", 3, "6s", Some(6)),
        ("bgggbb", 3, "6s", Some(6)),
        ("gbbbb", 3, "3s", Some(4)),
        // Silence takes nothing away and adds nothing.
        ("biiib", 2, "5s", Some(5)),
        ("biiiib", 2, "5s", None),
        ("b", 1, "5s", Some(1)),
    ];
    for (answers, count, within, fires) in table {
        assert_eq!(play(&counting(count, within), answers).map(|f| f.0), fires, "{answers} {count} {within}");
    }
    let why = play(&counting(3, "5s"), "bgbgb").map(|f| f.1);
    assert_eq!(why.as_deref(), Some("0.101 > 0.05 for the 3rd time within 5s (since 00:00:01Z)"));
    let why = play(&counting(1, "5s"), "b").map(|f| f.1);
    assert_eq!(why.as_deref(), Some("0.101 > 0.05 at 00:00:01Z"));
    let mut t = counting(2, "5s");
    t.no_data = serde_json::from_value(json!("Rollback")).ok();
    assert_eq!(play(&t, "igi").map(|f| f.0), Some(3), "missing data is bad where the manifest says so");
}

/// Plays these answers with an operator that ends after the seconds of `ends` with what it wrote `unwritten` trials before, and
/// is away for `away` seconds.
fn with_a_restart(t: &Trigger, answers: &str, ends: usize, unwritten: usize, away: usize) -> Option<String> {
    let answer = |n: u64| match answers.as_bytes().get(usize::try_from(n).ok()?.checked_sub(1)?)? {
        b'b' => Some(QueryAnswer::Value(0.101)),
        b'g' => Some(QueryAnswer::Value(0.05)),
        _ => Some(QueryAnswer::Inconclusive("no series".into())),
    };
    let mut f = Fixture::new();
    let mut record = armed(&f);
    let mut written = vec![record.clone()];
    for second in 1..=answers.len() {
        f.after(1);
        if second > ends && second <= ends + away {
            record = written[written.len().saturating_sub(1 + unwritten)].clone();
            f.world.readings.clear();
            continue;
        }
        for _ in 0..3 {
            let (fired, out) = judge(&f, t, &mut record);
            if fired.is_some() {
                return fired;
            }
            f.world.readings.retain(|key, _| out.reads.contains_key(key));
            for key in out.reads.keys() {
                if let ReadKey::Trial(_, n) = key
                    && let Some(answer) = answer(*n)
                {
                    f.world.readings.insert(key.clone(), Reading::Query(answer));
                }
            }
        }
        written.push(record.clone());
    }
    None
}

#[test]
fn a_restart_counts_the_same_trials_once() {
    for t in [counting(3, "6s"), counting(4, "8s"), counting(2, "10s")] {
        for answers in ["bgbgbgggggggg", "bgggbgggbgggb", "ggbbggbbggggg", "gbbbbgggggggg", "bibibigiggggg"] {
            let whole = with_a_restart(&t, answers, 100, 0, 0);
            for ends in 1..8 {
                for (unwritten, away) in [(0, 1), (1, 1), (3, 2), (5, 4)] {
                    let found = with_a_restart(&t, answers, ends, unwritten, away);
                    assert_eq!(found, whole, "{answers}: ends after {ends}, {unwritten} unwritten, away for {away}");
                }
            }
        }
    }
}

#[test]
fn what_is_counted_is_bounded_and_is_evidence() {
    let t = counting(3, "1m");
    let mut f = Fixture::new();
    let mut record = armed(&f);
    for n in 1..=40 {
        f.after(1);
        let value = if n == 1 || n == 30 { 0.101 } else { 0.0 };
        f.world.readings.insert(read(&format!("errors@{n}")), Reading::Query(QueryAnswer::Value(value)));
        assert_eq!(judge(&f, &t, &mut record).0, None);
    }
    assert_eq!(record.bad_trials, [1, 30]);
    super::super::excuse(&f.cx(), Some(&t), &mut record, "a node is lost");
    assert!(record.bad_trials.is_empty(), "what was bad while the node was being lost");
}

#[test]
fn a_baseline_is_a_bound_and_without_it_nothing_is_judged() {
    let metric = json!({"query": "errors", "relativeTo": "base", "factor": "2"});
    let t = trigger(json!({"name": "errors", "every": "1s", "noData": "Rollback", "metric": metric}));
    let table = [
        (Some(json!(0.04)), "0.101 > 0.08 (2 × base 0.04) at 00:00:01Z", TrialVerdict::Bad),
        (Some(json!(0.06)), "", TrialVerdict::Good),
        (Some(json!(0)), "the baseline base is 0", TrialVerdict::Inconclusive),
        (Some(json!("none")), "the baseline base is no number", TrialVerdict::Inconclusive),
        (None, "the baseline base is not there", TrialVerdict::Inconclusive),
    ];
    for (baseline, why, verdict) in table {
        let mut f = Fixture::new();
        f.journal.captures.extend(baseline.clone().map(|b| ("base".to_owned(), b)));
        let mut record = armed(&f);
        f.after(1);
        f.world.readings.insert(read("errors@1"), Reading::Query(QueryAnswer::Value(0.101)));
        let (fired, out) = judge(&f, &t, &mut record);
        assert_eq!((fired.is_some(), record.last), (verdict == TrialVerdict::Bad, Some(verdict)), "{baseline:?}");
        let said = fired.or_else(|| record.saw.clone()).unwrap_or_default();
        assert!(said.contains(why), "{baseline:?}: {said}");
        assert!((verdict == TrialVerdict::Bad || out.wake.is_some()) && record.trials == 1, "{baseline:?}: {record:?}");
    }
}

#[test]
fn a_guard_that_is_not_zero_or_not_known_makes_a_trial_inconclusive() {
    let metric = json!({"query": "errors", "above": "0.05", "guardQuery": "down"});
    let mut t = trigger(json!({"name": "errors", "every": "1s", "metric": metric}));
    let (value, none) = (QueryAnswer::Value, || QueryAnswer::Inconclusive("no data".into()));
    let table = [
        (value(0.0), "Hold", Some(TrialVerdict::Bad), "0.101 > 0.05"),
        (value(1.0), "Hold", Some(TrialVerdict::Inconclusive), "0.101, and guardQuery is 1"),
        (value(-1.0), "Hold", Some(TrialVerdict::Inconclusive), "0.101, and guardQuery is -1"),
        // What says that a dependency is down is no missing data.
        (value(1.0), "Rollback", Some(TrialVerdict::Inconclusive), "guardQuery is 1"),
        (none(), "Hold", Some(TrialVerdict::Inconclusive), "guardQuery has no value: no data"),
        (none(), "Rollback", Some(TrialVerdict::Bad), "takes as bad: guardQuery has no value"),
        (QueryAnswer::Invalid("parse error".into()), "Ignore", Some(TrialVerdict::Inconclusive), "is not valid"),
    ];
    for (guard, no_data, verdict, said) in table {
        t.no_data = serde_json::from_value(json!(no_data)).ok();
        let mut f = Fixture::new();
        let mut record = armed(&f);
        f.after(1);
        let (_, out) = judge(&f, &t, &mut record);
        let at = |key: &str| match out.reads.get(&read(key)) {
            Some(Read::Query { at, query, .. }) => Some((query.clone(), *at)),
            _ => None,
        };
        let now = Some(f.world.now);
        assert_eq!(at("errors@1"), Some(("errors".into(), now)), "{:?}", out.reads);
        assert_eq!(at("errors@1/guard"), Some(("down".into(), now)), "for the same time");
        f.world.readings.insert(read("errors@1"), Reading::Query(value(0.101)));
        assert_eq!((judge(&f, &t, &mut record).0, record.trials), (None, 0), "both are awaited");
        f.world.readings.insert(read("errors@1/guard"), Reading::Query(guard.clone()));
        let (fired, _) = judge(&f, &t, &mut record);
        assert_eq!((record.last, fired.is_some()), (verdict, verdict == Some(TrialVerdict::Bad)), "{guard:?}");
        let text = fired.or(record.saw).unwrap_or_default();
        assert!(text.contains(said), "{guard:?} {no_data}: {text}");
    }
}

#[test]
fn a_guard_closed_at_the_switch_leaves_unknown_what_was_before() {
    for (guard, fires) in [(0.0, true), (1.0, false)] {
        let metric = json!({"query": "errors", "above": "0.05", "guardQuery": "down", "reach": "4s"});
        let t = trigger(json!({"name": "errors", "every": "1s", "metric": metric}));
        let mut f = Fixture::new();
        let mut record = armed(&f);
        let (_, out) = judge(&f, &t, &mut record);
        assert!(out.reads.contains_key(&read("errors@0")) && out.reads.contains_key(&read("errors@0/guard")));
        f.world.readings.insert(read("errors@0"), Reading::Query(QueryAnswer::Value(0.0)));
        judge(&f, &t, &mut record);
        assert_eq!(record.at_switch, None, "both are awaited");
        f.world.readings.insert(read("errors@0/guard"), Reading::Query(QueryAnswer::Value(guard)));
        f.after(1);
        f.world.readings.insert(read("errors@1"), Reading::Query(QueryAnswer::Value(0.2)));
        f.world.readings.insert(read("errors@1/guard"), Reading::Query(QueryAnswer::Value(0.0)));
        assert_eq!(judge(&f, &t, &mut record).0.is_some(), fires, "{guard}: {record:?}");
    }
    // A push does not get past a guard.
    let metric = json!({"query": "errors", "above": "0.05", "guardQuery": "down"});
    let t = trigger(json!({"name": "errors", "every": "10s", "metric": metric}));
    let mut f = Fixture::new();
    let mut record = armed(&f);
    f.after(3);
    f.world.pushed = Some(f.world.now);
    assert!(judge(&f, &t, &mut record).1.reads.is_empty());
}
