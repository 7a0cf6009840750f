//! The clock of the observation, and what all modes of triggers have in common.

use serde_json::json;

use super::*;
use crate::actions::fixtures::{Fixture, answer, http, labels, pod, step, switched_service};
use crate::api::cutover::Retire;
use crate::api::observation::Observation;
use crate::api::run::SwitchRecord;
use crate::decide::decide;
use crate::plan::after::RETIRE;
use crate::plan::{Action, Stage};
use crate::world::{AlertsAnswer, HttpAnswer, HttpError, NumbersAnswer, QueryAnswer, Reading};

/// A release that has just been switched to, and is observed for ten minutes.
fn observing() -> Fixture {
    let mut f = Fixture::new();
    let now = f.world.now;
    f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
    f.plan.observe.for_ = Duration::from_mins(10);
    f.plan.observe.every = Duration::from_secs(1);
    f.plan.observe.timeout = Duration::from_mins(60);
    let service = switched_service(now);
    f.journal.switch =
        Some(SwitchRecord { claimed_at: now, converged_at: Some(now), restored_at: None, services: vec![service] });
    f.service("web").selector = labels("green");
    f.journal.phase = Phase::Observing;
    f.journal.phase_since = Some(now);
    f.journal.observation = Some(Observation::begin(now));
    f
}

/// So many seconds; the cluster is read live in each, or in none.
fn seconds(f: &mut Fixture, n: u32, seen: bool) {
    for _ in 0..n {
        f.after(1);
        if seen {
            f.world.refreshed = Some(f.world.now);
        }
        f.journal = decide(&f.plan, &f.journal, &f.world).journal;
    }
}

fn counted(f: &Fixture) -> (u64, ObservationClock) {
    let seen = f.journal.observation.as_ref().expect("an observation");
    (seen.conclusive_ms / 1000, seen.clock)
}

#[test]
fn time_in_which_the_api_server_is_away_is_not_observed() {
    let mut f = observing();
    seconds(&mut f, 20, true);
    assert_eq!(counted(&f), (20, ObservationClock::Counting));
    // Readings are half a minute apart, and one may fail.
    seconds(&mut f, 40, false);
    assert_eq!(counted(&f), (60, ObservationClock::Counting));
    seconds(&mut f, 1, true);
    seconds(&mut f, 600, false);
    assert_eq!(
        counted(&f),
        (61, ObservationClock::Inconclusive),
        "time counted after the last live reading is subtracted"
    );
    seconds(&mut f, 11, true);
    assert_eq!(counted(&f), (71, ObservationClock::Counting));
    assert_eq!((f.journal.phase, f.journal.ending.is_some()), (Phase::Observing, false));
}

/// Triggers of the default rule, and what each has bet on so far: shares of intervals, in per cent.
fn with_default_rules(f: &mut Fixture, triggers: &[(&str, &str, &[u32])]) {
    use crate::evidence::bets::{Evidence, Rule};
    for (name, more, shares) in triggers {
        let text = format!(
            "{{\"name\": \"{name}\", \"every\": \"15s\", {more} \"metric\": {{\"errors\": \"e\", \"total\": \"t\", \"limit\": \
             \"0.05\", \"hiccup\": \"15s\", \"alpha\": \"0.01\"}}}}"
        );
        f.plan.observe.triggers.push(serde_json::from_str(&text).expect("a trigger"));
        let rule = Rule::new(0.05, 0.01, 40).expect("a rule");
        let mut evidence = Evidence::default();
        let mut record = TriggerRecord { name: (*name).into(), armed_at: Some(f.world.now), ..Default::default() };
        for share in *shares {
            let share = f64::from(*share) / 100.0;
            evidence.bet(&rule, share);
            record.evidence = Some(crate::evidence::written(&evidence, &Default::default(), share));
        }
        journal::put_trigger(&mut f.journal, record);
    }
}

/// The trigger that ended the run, and why.
fn ended(triggers: &[(&str, &str, &[u32])]) -> Option<(String, String)> {
    let mut f = observing();
    with_default_rules(&mut f, triggers);
    seconds(&mut f, 1, true);
    let ending = f.journal.ending?;
    Some((ending.trigger.expect("a trigger"), ending.message))
}

#[test]
fn triggers_of_the_default_rule_share_one_chance_of_a_false_rollback() {
    // Three wholly bad intervals are enough for one trigger alone, and not for one of three.
    let bad: &[u32] = &[100, 100, 100];
    let (name, why) = ended(&[("errors", "", bad)]).expect("an end");
    assert_eq!(name, "errors");
    assert!(why.contains("5 % is tolerated") && why.contains("3 of 3 intervals"), "{why}");
    let (first, second) = (("errors", "", bad), ("slow", "", &[0_u32, 0, 0] as &[u32]));
    let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].iter().map(|n| (*n, "", second.2)).collect();
    let nine: Vec<_> = std::iter::once(first).chain(many[..8].iter().copied()).collect();
    let thirty: Vec<_> = std::iter::once(first).chain(many.iter().copied().cycle().take(19)).collect();
    assert!(ended(&nine[..2]).is_some());
    assert_eq!(ended(&thirty), None, "a twentieth of the chance wants twenty times the evidence");
    // Two that each have not enough alone; the larger part is named.
    let half: &[u32] = &[100, 50, 40];
    let less: &[u32] = &[100, 50, 30];
    let little: &[u32] = &[100, 30, 20];
    assert_eq!(ended(&[("errors", "", half), ("slow", "", second.2)]), None);
    let both = ended(&[("errors", "", less), ("slow", "", half)]);
    assert!(
        both.as_ref().is_some_and(|(name, why)| name == "slow" && why.contains("together with errors (")),
        "{both:?}"
    );
    // One that warns takes no part, and adds nothing.
    let warns = "\"severity\": \"Warn\",";
    assert_eq!(ended(&[("errors", "", little), ("slow", warns, half)]), None);
    assert!(ended(&[("errors", "", bad), ("slow", warns, second.2)]).is_some());
    // Two intervals with errors are no evidence, whatever they are worth.
    assert_eq!(ended(&[("errors", "", &[100, 100])]), None);
}

#[test]
fn evidence_of_what_is_armed_no_more_or_was_dismissed_ends_no_run() {
    let mut f = observing();
    with_default_rules(&mut f, &[("errors", "", &[100, 100, 100])]);
    f.journal.triggers[0].dismissed = true;
    seconds(&mut f, 1, true);
    assert!(f.journal.ending.is_none());
    for (until, ends) in [("", false), ("\"until\": \"Retired\",", true)] {
        let mut f = observing();
        with_default_rules(&mut f, &[("errors", until, &[100, 100, 100])]);
        f.journal.phase = Phase::Completed;
        seconds(&mut f, 1, true);
        assert_eq!(f.journal.ending.is_some(), ends, "{until}");
    }
}

#[test]
fn the_record_says_how_low_the_share_was_and_what_could_not_have_been_seen() {
    let mut f = observing();
    f.plan.observe.for_ = Duration::from_mins(1);
    with_default_rules(&mut f, &[("errors", "", &[0, 0])]);
    let mut ceiling = crate::evidence::ceiling::Ceiling::default();
    (0..120).for_each(|_| ceiling.bet(0.0));
    let record = f.journal.triggers[0].evidence.as_mut().expect("evidence");
    record.ceiling = ceiling.0.iter().map(|n| format!("{n:e}")).collect();
    f.journal.triggers[0].last = Some(TrialVerdict::Good);
    seconds(&mut f, 70, true);
    assert!(f.journal.phase > Phase::Observing, "{:?}", f.journal.observation);
    let said = f.journal.timeline.iter().map(|m| m.message.as_str()).collect::<Vec<_>>().join(" ");
    assert!(said.contains("errors: fewer than 5 % bad with 99 % confidence"), "{said}");
    assert!(said.contains("errors cannot find 50 % bad requests in 2 intervals of 15s"), "{said}");
    // Enough intervals, and too few requests in them.
    for (requests, blind) in [("3", true), ("3000", false)] {
        let mut f = observing();
        f.plan.observe.for_ = Duration::from_mins(1);
        with_default_rules(&mut f, &[("errors", "", &[0, 0, 0, 0])]);
        f.journal.triggers[0].evidence.as_mut().expect("evidence").requests = requests.to_owned();
        f.journal.triggers[0].last = Some(TrialVerdict::Good);
        seconds(&mut f, 70, true);
        let said = f.journal.timeline.iter().map(|m| m.message.as_str()).collect::<Vec<_>>().join(" ");
        let words = "cannot find 50 % bad requests in 4 intervals of 15s at 0.05 requests/s";
        assert_eq!(said.contains(words), blind, "{requests}: {said}");
        assert_eq!(said.contains("cannot find"), blind, "{requests}: {said}");
    }
}

/// How trials of a mode are answered: the same in whatever time and part.
type Answers = fn(&ReadKey, &Read, Kind) -> Reading;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Good,
    Bad,
    Missing,
}

fn number(key: &ReadKey, _: &Read, kind: Kind) -> Reading {
    let guard = matches!(key, ReadKey::PartOfTrial(..));
    Reading::Query(match kind {
        Kind::Missing => QueryAnswer::Inconclusive("no data".into()),
        _ if guard => QueryAnswer::Value(0.0),
        Kind::Good => QueryAnswer::Value(0.0),
        Kind::Bad => QueryAnswer::Value(1.0),
    })
}

fn alerts(_: &ReadKey, _: &Read, kind: Kind) -> Reading {
    Reading::Alerts(match kind {
        Kind::Good => AlertsAnswer::Found { count: 0, first: None },
        Kind::Bad => AlertsAnswer::Found { count: 1, first: Some(("Errors".into(), None)) },
        Kind::Missing => AlertsAnswer::Inconclusive("Alertmanager: no answer".into()),
    })
}

fn requests(_: &ReadKey, _: &Read, kind: Kind) -> Reading {
    Reading::Http(match kind {
        Kind::Good => vec![answer(200, "")],
        Kind::Bad => vec![answer(503, "")],
        Kind::Missing => vec![HttpAnswer { from: "web".into(), result: Err(HttpError::Unread("away".into())) }],
    })
}

fn length(_: &ReadKey, _: &Read, kind: Kind) -> Reading {
    Reading::Http(vec![match kind {
        Kind::Good => answer(200, "{\"length\": 0}"),
        Kind::Bad => answer(200, "{\"length\": 1}"),
        Kind::Missing => answer(200, "{\"length\": \"1\"}"),
    }])
}

fn shares(_: &ReadKey, _: &Read, kind: Kind) -> Reading {
    let bad = match kind {
        Kind::Good => 0.0,
        Kind::Bad => 100.0,
        Kind::Missing => return Reading::Numbers(NumbersAnswer::Inconclusive("no data".into())),
    };
    let numbers = [("samples", 2.0), ("total", 100.0), ("errors", bad), ("guarded", 1.0)];
    Reading::Numbers(NumbersAnswer::Found(numbers.map(|(name, number)| (name.to_owned(), number)).into()))
}

/// Every mode, with what answers it.
fn modes() -> Vec<(serde_json::Value, Answers)> {
    let metric = |more: serde_json::Value| {
        let mut metric = json!({"query": "q"});
        for (key, value) in more.as_object().into_iter().flatten() {
            metric[key] = value.clone();
        }
        json!({"metric": metric})
    };
    vec![
        (metric(json!({"above": "0.5"})), number),
        (metric(json!({"above": "0.5", "sustained": "3s"})), number),
        (metric(json!({"above": "0.5", "count": 3, "within": "5s"})), number),
        (metric(json!({"relativeTo": "base", "factor": "2"})), number),
        (metric(json!({"relativeTo": "base", "factor": "2", "count": 2, "within": "4s"})), number),
        (metric(json!({"above": "0.5", "guardQuery": "down"})), number),
        (json!({"metric": {"http": {"url": "https://a.example", "value": "$.length"}, "above": "0.5"}}), length),
        (
            json!({"metric": {"http": {"path": "/", "value": "$.length"}, "relativeTo": "base", "factor": "2",
                "count": 2, "within": "4s"}}),
            length,
        ),
        (
            json!({"metric": {"errors": "e", "total": "t", "limit": "0.05", "hiccup": "1s", "alpha": "0.01",
                "guardQuery": "down"}}),
            shares,
        ),
        (json!({"alert": {"matchers": {"team": "web"}}}), alerts),
        (
            json!({"suite": {"steps": [{"name": "a", "http": {"path": "/"}}, {"name": "b", "http": {"path": "/"}}]}}),
            requests,
        ),
        (json!({"probe": {"http": {"path": "/"}}}), requests),
    ]
}

/// Ten seconds under this trigger, all of whose reads are answered so.
fn under(watches: &serde_json::Value, more: serde_json::Value, answers: Answers, kind: Kind, phase: Phase) -> Fixture {
    let mut f = observing();
    f.journal.phase = phase;
    // A completed run stays open until then.
    f.plan.retire = Some(Retire { after: Duration::from_mins(120), scale_to: 0 });
    f.plan.steps.push(step(RETIRE, Stage::Retire, Action::Http(http(json!({"path": "/"})))));
    f.journal.captures.insert("base".into(), json!(0.1));
    let mut trigger = watches.clone();
    trigger["name"] = json!("t");
    trigger["every"] = json!("1s");
    for (key, value) in more.as_object().into_iter().flatten() {
        trigger[key] = value.clone();
    }
    f.plan.observe.triggers = vec![serde_json::from_value(trigger).expect("a trigger")];
    for _ in 0..10 {
        f.after(1);
        for _ in 0..2 {
            f.world.refreshed = Some(f.world.now);
            let decision = decide(&f.plan, &f.journal, &f.world);
            f.journal = decision.journal;
            if f.journal.ending.is_some() {
                return f;
            }
            let own = |key: &&ReadKey| matches!(key, ReadKey::Trial(..) | ReadKey::PartOfTrial(..));
            for (key, read) in decision.reads.iter().filter(|(key, _)| own(key)) {
                f.world.readings.insert(key.clone(), answers(key, read, kind));
            }
        }
    }
    f
}

#[test]
fn severity_and_missing_data_are_the_same_for_every_mode() {
    for (watches, answers) in modes() {
        let play = |more: serde_json::Value, kind, phase| under(&watches, more, answers, kind, phase);
        let now = Phase::Observing;
        let ended = |f: &Fixture| f.journal.ending.as_ref().and_then(|e| e.trigger.clone());
        let record = |f: &Fixture| journal::trigger(&f.journal, "t").cloned().unwrap_or_default();

        let f = play(json!({}), Kind::Good, now);
        assert_eq!((ended(&f), counted(&f).1), (None, ObservationClock::Counting), "{watches}");
        let f = play(json!({}), Kind::Bad, now);
        assert_eq!(ended(&f).as_deref(), Some("t"), "{watches}");
        let f = play(json!({"severity": "Decide"}), Kind::Bad, now);
        assert!(ended(&f).is_none() && f.journal.question.is_some(), "{watches}");
        let f = play(json!({"severity": "Warn"}), Kind::Bad, now);
        assert!(ended(&f).is_none() && f.journal.question.is_none() && record(&f).dismissed, "{watches}");

        let f = play(json!({"noData": "Hold"}), Kind::Missing, now);
        assert_eq!((ended(&f), counted(&f).1), (None, ObservationClock::Inconclusive), "{watches}");
        let f = play(json!({"noData": "Ignore"}), Kind::Missing, now);
        assert_eq!((ended(&f), counted(&f).1), (None, ObservationClock::Counting), "{watches}");
        let f = play(json!({"noData": "Rollback"}), Kind::Missing, now);
        assert_eq!(ended(&f).as_deref(), Some("t"), "{watches}");
    }
}

#[test]
fn every_mode_is_looked_at_after_completion_until_the_old_side_is_retired_where_the_manifest_says_so() {
    for (watches, answers) in modes() {
        let play = |more: serde_json::Value, kind| under(&watches, more, answers, kind, Phase::Completed);
        let trials = |f: &Fixture| journal::trigger(&f.journal, "t").map_or(0, |record| record.trials);

        let f = play(json!({}), Kind::Bad);
        assert!(f.journal.ending.is_none() && trials(&f) == 0, "{watches}");
        let f = play(json!({"until": "Retired"}), Kind::Good);
        assert!(f.journal.ending.is_none() && trials(&f) >= 8, "{watches}: {}", trials(&f));
        let f = play(json!({"until": "Retired"}), Kind::Bad);
        assert_eq!(f.journal.ending.as_ref().and_then(|e| e.trigger.as_deref()), Some("t"), "{watches}");
        let f = play(json!({"until": "Retired", "severity": "Decide"}), Kind::Bad);
        assert!(f.journal.ending.is_none() && f.journal.question.is_some(), "{watches}");
        let f = play(json!({"until": "Retired", "severity": "Warn"}), Kind::Bad);
        assert!(f.journal.ending.is_none() && f.journal.question.is_none(), "{watches}");
    }
}
