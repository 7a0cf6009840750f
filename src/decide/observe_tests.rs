//! The clock of the observation, and what all modes of triggers have in common.

use serde_json::json;

use super::*;
use crate::actions::fixtures::{Fixture, answer, labels, pod, switched_service};
use crate::api::observation::Observation;
use crate::api::run::SwitchRecord;
use crate::decide::decide;
use crate::world::{AlertsAnswer, HttpAnswer, HttpError, QueryAnswer, Reading};

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
