//! The clock of the observation.

use super::*;
use crate::actions::fixtures::{Fixture, labels, pod, switched_service};
use crate::api::observation::Observation;
use crate::api::run::SwitchRecord;
use crate::decide::decide;

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
            record.evidence = Some(crate::evidence::written(&evidence, share));
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
    assert!(both.as_ref().is_some_and(|(name, why)| name == "slow" && why.contains("together with errors (")), "{both:?}");
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
