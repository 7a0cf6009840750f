//! The default rule in a run: what is asked, what an answer is worth, and that a stop changes nothing.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::fixtures::{armed, judge, read, trigger};
use super::*;
use crate::actions::fixtures::Fixture;
use crate::api::trigger::Watched;
use crate::evidence::standing;

/// As the plan has it.
fn of(more: serde_json::Value) -> Trigger {
    let mut metric =
        json!({"errors": "x{code=\"500\"}", "total": "x", "limit": "0.05", "hiccup": "15s", "alpha": "0.01"});
    for (field, value) in more.as_object().expect("fields") {
        metric[field] = value.clone();
    }
    trigger(json!({"name": "t", "every": "15s", "severity": "Warn", "metric": metric}))
}

fn found(numbers: &[(&str, f64)]) -> NumbersAnswer {
    NumbersAnswer::Found(numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect())
}

/// So many requests, and so many bad ones.
fn requests(total: f64, errors: f64) -> NumbersAnswer {
    found(&[(SAMPLES, 2.0), (TOTAL, total), (ERRORS, errors)])
}

/// Lets time pass until an interval is asked for, and answers it.
fn interval(f: &mut Fixture, t: &Trigger, record: &mut TriggerRecord, answer: &NumbersAnswer) -> Option<String> {
    let wanted = read(&format!("t@{}", record.trials + 1));
    for _ in 0..20 {
        f.after(1);
        let (fired, out) = judge(f, t, record);
        assert_eq!(fired, None);
        if out.reads.contains_key(&wanted) {
            f.world.readings.insert(wanted.clone(), Reading::Numbers(answer.clone()));
            let fired = judge(f, t, record).0;
            f.world.readings.remove(&wanted);
            return fired;
        }
    }
    panic!("never asked for");
}

#[test]
fn each_interval_is_asked_for_once_with_the_time_of_its_end() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    let mut record = armed(&f);
    // Armed between two seconds: the first interval begins with the next one, so that nothing before the switch counts.
    record.armed_at = "2026-01-01T00:00:00.250Z".parse().ok();
    f.after(18);
    let (_, out) = judge(&f, &t, &mut record);
    assert!(out.reads.is_empty(), "{:?}", out.reads);
    assert_eq!(out.wake, "2026-01-01T00:00:19Z".parse().ok(), "what is scraped last is stored a little later");
    f.after(1);
    let (_, out) = judge(&f, &t, &mut record);
    let Some(Read::Numbers { at, query, .. }) = out.reads.get(&read("t@1")) else { panic!("{:?}", out.reads) };
    assert_eq!((at.to_string().as_str(), out.reads.len()), ("2026-01-01T00:00:16Z", 1));
    assert!(query.contains("x[15s]") && query.contains("offset 15s"), "{query}");
    f.world.readings.insert(read("t@1"), Reading::Numbers(requests(100.0, 0.0)));
    let (_, out) = judge(&f, &t, &mut record);
    assert_eq!((record.trials, record.last, out.reads.len()), (1, Some(TrialVerdict::Good), 0));
    assert_eq!(record.evidence.as_ref().map(|e| e.requests.as_str()), Some("100"));
    // The same answer is not taken twice.
    let before = record.clone();
    judge(&f, &t, &mut record);
    assert_eq!(record, before);
}

#[test]
fn what_is_no_share_is_inconclusive_by_field() {
    let both = json!({"slow": "y"});
    for (more, answer, words) in [
        (json!({}), NumbersAnswer::Inconclusive("Prometheus: 503".into()), "Prometheus: 503"),
        (json!({}), NumbersAnswer::Invalid("parse error".into()), "one of errors, slow and total is not valid"),
        (json!({}), found(&[]), "no sample of total in these 15s"),
        (json!({}), found(&[(SAMPLES, 1.0)]), "total has no value"),
        (json!({}), found(&[(SAMPLES, 1.0), (TOTAL, f64::NAN)]), "total is NaN"),
        (json!({}), found(&[(SAMPLES, 1.0), (TOTAL, 1.0), (ERRORS, f64::INFINITY)]), "errors is inf"),
        (json!({}), requests(-3.0, 0.0), "total is -3: a counter grows"),
        (json!({}), requests(3.0, -1.0), "errors is -1: a counter grows"),
        (json!({}), requests(10.0, 12.0), "errors (12) is more than total (10)"),
        (json!({}), requests(0.0, 1.0), "errors (1) is more than total (0)"),
        (json!({}), requests(0.0, 0.0), "no requests in these 15s"),
        (both, found(&[(SAMPLES, 1.0), (TOTAL, 4.0), (SLOW, 5.0)]), "slow (5) is more than total (4)"),
        (json!({"guardQuery": "g"}), found(&[(SAMPLES, 1.0), (TOTAL, 4.0), (GUARD, 1.0)]), "guardQuery is not zero"),
        (json!({"guardQuery": "g"}), found(&[(SAMPLES, 1.0), (TOTAL, 4.0)]), "guardQuery has no value"),
        (json!({"guardQuery": "g"}), found(&[(SAMPLES, 1.0), (TOTAL, 4.0), (GUARDED, 0.0)]), "guardQuery has no value"),
    ] {
        let (mut f, t) = (Fixture::new(), of(more));
        let mut record = armed(&f);
        assert_eq!(interval(&mut f, &t, &mut record, &answer), None);
        assert_eq!((record.last, record.trials), (Some(TrialVerdict::Inconclusive), 1));
        assert!(record.saw.as_ref().is_some_and(|saw| saw.contains(words)), "{answer:?}: {:?}", record.saw);
        assert_eq!(record.evidence, None, "not bet on");
    }
}

#[test]
fn a_bad_request_counts_once_and_no_errors_beside_a_total_are_none() {
    let t = of(json!({"slow": "y"}));
    let share = |answer: NumbersAnswer| {
        let (mut f, mut record) = (Fixture::new(), armed(&Fixture::new()));
        interval(&mut f, &t, &mut record, &answer);
        (record.evidence.expect("a bet").share, record.saw.expect("words"))
    };
    let (seen, words) = share(found(&[(SAMPLES, 1.0), (TOTAL, 8.0), (ERRORS, 2.0), (SLOW, 4.0)]));
    assert_eq!((seen.as_str(), words.as_str()), ("0.5", "50 % of 8 requests (errors 2, slow 4)"));
    assert_eq!(share(found(&[(SAMPLES, 1.0), (TOTAL, 8.0)])).0, "0");
    // Counters of Prometheus are floating-point numbers.
    assert_eq!(share(found(&[(SAMPLES, 1.0), (TOTAL, 8.0), (SLOW, 8.000_000_01)])).0, "1");
    assert_eq!(share(found(&[(SAMPLES, 1.0), (TOTAL, 8.0), (SLOW, -1e-9)])).0, "0");
}

#[test]
fn missing_data_is_bad_only_where_the_manifest_says_so_and_no_requests_never() {
    let guarded = found(&[(SAMPLES, 1.0), (TOTAL, 4.0), (ERRORS, 4.0), (GUARD, 1.0)]);
    let idle = found(&[(SAMPLES, 1.0), (TOTAL, 0.0), (GUARDED, 1.0)]);
    let unguarded = found(&[(SAMPLES, 1.0), (TOTAL, 4.0), (ERRORS, 0.0)]);
    for (answer, bad) in [(found(&[]), true), (idle, false), (guarded, false), (unguarded, true)] {
        let (mut f, mut t) = (Fixture::new(), of(json!({"guardQuery": "g"})));
        t.no_data = Some(NoData::Rollback);
        let mut record = armed(&f);
        interval(&mut f, &t, &mut record, &answer);
        assert_eq!(record.last == Some(TrialVerdict::Bad), bad, "{answer:?}");
    }
}

#[test]
fn three_wholly_bad_intervals_fire_a_trigger_that_warns_with_everything_that_counts() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    let mut record = armed(&f);
    let answers = [requests(10.0, 10.0), requests(0.0, 0.0), requests(10.0, 10.0), requests(20.0, 20.0)];
    let fired: Vec<_> = answers.iter().map(|answer| interval(&mut f, &t, &mut record, answer)).collect();
    assert_eq!(fired.iter().filter(|why| why.is_some()).count(), 1);
    let why = fired[3].as_ref().expect("fired");
    for words in
        ["100 % of the requests were bad", "5 % is tolerated", "3 of 3 intervals of 15s since 00:00:00Z", "against 100"]
    {
        assert!(why.contains(words), "{words}: {why}");
    }
}

/// Shares of all kinds, with intervals that are not bet on, and so many requests as in life.
fn history(seed: u64) -> Vec<NumbersAnswer> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let answers = (0..60).map(|_| match next() {
        p if p < 0.1 => NumbersAnswer::Inconclusive("down".into()),
        p if p < 0.2 => requests(0.0, 0.0),
        p if p < 0.25 => found(&[]),
        _ => {
            let total = (next() * 1000.0).ceil();
            requests(total, (total * next() * next() * 0.2).floor())
        }
    });
    answers.collect()
}

/// As an API server gives it back that writes numbers anew.
fn reloaded(record: &TriggerRecord) -> TriggerRecord {
    let text = serde_json::to_string(record).expect("JSON");
    let mut value: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("an object");
    for number in value.values_mut().filter(|v| v.is_number()) {
        *number = serde_json::Value::from(number.as_f64().expect("a number") as u64);
    }
    serde_json::from_value(json!(value)).expect("a record")
}

#[test]
fn a_stop_after_any_interval_changes_no_bit_of_the_evidence() {
    for seed in 0..20 {
        let t = of(json!({}));
        let answers = history(seed);
        let (mut f, mut record) = (Fixture::new(), armed(&Fixture::new()));
        let mut all = vec![record.clone()];
        let mut fired_at = None;
        for (n, answer) in answers.iter().enumerate() {
            if interval(&mut f, &t, &mut record, answer).is_some() {
                fired_at = Some(n);
                break;
            }
            all.push(record.clone());
        }
        // One that stops after every interval.
        let (mut f, mut stopped) = (Fixture::new(), armed(&Fixture::new()));
        let mut stopped_at = None;
        for (n, answer) in answers.iter().enumerate() {
            stopped = reloaded(&stopped);
            if interval(&mut f, &t, &mut stopped, answer).is_some() {
                stopped_at = Some(n);
                break;
            }
            assert_eq!(stopped.evidence, all[n + 1].evidence, "interval {n} of {seed}");
        }
        assert_eq!((stopped_at, &stopped.evidence), (fired_at, &record.evidence), "{seed}");
        // One that stopped for long, and had written any of them last: it asks again for all that is not written.
        for (written, from) in all.iter().enumerate().step_by(7) {
            let mut f = Fixture::new();
            f.after(i64::try_from(15 * answers.len() + 10).expect("seconds"));
            let mut late = reloaded(from);
            let mut late_at = None;
            while late_at.is_none() && late.trials < answers.len() as u64 {
                let (fired, out) = judge(&f, &t, &mut late);
                late_at = fired.map(|_| late.trials as usize - 1);
                assert!(out.reads.len() <= WINDOW as usize);
                for (key, wanted) in &out.reads {
                    let Read::Numbers { at, .. } = wanted else { panic!("{wanted:?}") };
                    let n = at.duration_since(from.armed_at.expect("armed")).as_secs() / 15;
                    let answer = answers[usize::try_from(n - 1).expect("a number")].clone();
                    f.world.readings.insert(key.clone(), Reading::Numbers(answer));
                }
            }
            assert_eq!((late_at, &late.evidence), (fired_at, &record.evidence), "{seed} from {written}");
        }
    }
}

#[test]
fn intervals_of_a_very_long_stop_are_skipped_without_a_bet() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    let mut record = armed(&f);
    interval(&mut f, &t, &mut record, &requests(10.0, 10.0));
    let evidence = record.evidence.clone();
    f.after(2 * 24 * 3600);
    let (_, out) = judge(&f, &t, &mut record);
    let latest = out.reads.len() as u64 + record.trials + MOST_BEHIND - WINDOW;
    assert_eq!((record.evidence.clone(), record.last), (evidence, Some(TrialVerdict::Inconclusive)));
    assert!(latest > 11_000 && record.trials > 11_000, "{record:?}");
}

#[test]
fn what_is_seen_while_a_node_is_lost_is_never_bet_on() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    let mut record = armed(&f);
    interval(&mut f, &t, &mut record, &requests(10.0, 0.0));
    let evidence = record.evidence.clone();
    f.after(20);
    super::super::excuse(&f.cx(), Some(&t), &mut record, "node lost");
    // The interval that was under way is over at 00:00:45, and the next one at 00:01:00.
    assert_eq!((record.trials, &record.evidence), (3, &evidence));
    f.after(25);
    let (_, out) = judge(&f, &t, &mut record);
    assert_eq!(out.reads.keys().collect::<Vec<_>>(), [&read("t@4")]);
}

#[test]
fn evidence_that_somebody_has_changed_is_none() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    for broken in ["NaN", "inf", "-1", "x", ""] {
        let mut record = armed(&f);
        interval(&mut f, &t, &mut record, &requests(10.0, 10.0));
        record.evidence.as_mut().expect("a bet").later[1] = broken.into();
        assert_eq!(of_record(&record), None, "{broken}");
    }
}

#[test]
fn how_a_trigger_stands_is_shown_with_how_many_bad_intervals_it_takes() {
    let (mut f, t) = (Fixture::new(), of(json!({})));
    let mut record = armed(&f);
    f.plan.observe.triggers = vec![t.clone()];
    let of = |f: &Fixture, record: &TriggerRecord| standing(&t, record, &f.plan.observe, &f.journal);
    assert_eq!(of(&f, &record), None);
    interval(&mut f, &t, &mut record, &requests(100.0, 2.0));
    let first = of(&f, &record).expect("a standing");
    assert_eq!((first.share, first.limit, first.weight, first.more), (0.02, 0.05, 0.0, Some(3)));
    interval(&mut f, &t, &mut record, &requests(100.0, 100.0));
    assert_eq!(of(&f, &record).expect("a standing").more, Some(2));
}

#[test]
fn the_query_gives_one_number_for_each_and_keeps_texts_apart() {
    let query = |more: serde_json::Value| {
        let Ok(Watched::Metric(metric)) = of(more).watches.one().cloned() else { panic!("a metric") };
        crate::evidence::query::query(&metric, Duration::from_secs(15)).expect("a query")
    };
    let plain = query(json!({}));
    assert_eq!(plain.matches("label_replace(").count(), 3);
    assert!(plain.contains("sum((last_over_time(x[15s]) - last_over_time(x[1h] offset 15s) > "), "{plain}");
    // A comment at the end of an expression does not swallow what follows.
    let expression = query(json!({"slow": "a - b # all", "guardQuery": "g"}));
    assert!(expression.contains("((a - b # all\n)[15s:1s])") && expression.contains("abs(g\n)"), "{expression}");
    assert_eq!(expression.matches("label_replace(").count(), 6);
}

#[test]
fn evidence_is_read_back_bit_for_bit() {
    use crate::evidence::bets::Evidence;
    use crate::evidence::ceiling::Ceiling;
    let mut record = armed(&Fixture::new());
    let from_the_switch = [1.0 / 3.0, 1e-300, 1e18];
    let evidence = Evidence { from_the_switch, later: [f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2], bets: 7, bad: 3 };
    let mut ceiling = Ceiling::default();
    [0.0, 0.1, 1.0 / 3.0].into_iter().for_each(|share| ceiling.bet(share));
    record.evidence = Some(written(&evidence, &ceiling, 0.1));
    let read = reloaded(&record);
    assert_eq!((of_record(&read), ceiling_of(&read)), (Some(evidence), ceiling));
}
