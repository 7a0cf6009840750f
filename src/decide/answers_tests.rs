//! Answers: what is written on decisions, when, and what waits for it.

use super::*;
use crate::actions::fixtures::Fixture;
use crate::api::decision::CutoverDecisionSpec;
use crate::api::phase::Phase;
use crate::decide::{Decision, decide};
use crate::world::{DecisionView, Seen};

fn say(f: &mut Fixture, verb: Verb, by: &str) -> String {
    let uid = format!("d{}", f.world.decisions.len() + f.journal.decisions.len() * 1000);
    let spec = CutoverDecisionSpec::about("web", "run-1", verb, by);
    let created = f.world.now;
    let view = DecisionView { name: uid.clone(), uid: uid.clone(), resource_version: "1".into(), created, spec };
    f.world.decisions.push(view);
    uid
}

/// Decides, and takes into memory what a driver does.
fn pass(f: &mut Fixture) -> Decision {
    let decision = decide(&f.plan, &f.journal, &f.world);
    f.journal = decision.journal.clone();
    f.world.said = decision.said.clone();
    decision.consumed.iter().for_each(|key| drop(f.world.outcomes.remove(key)));
    decision
}

fn answers(decision: &Decision) -> Vec<(String, String)> {
    let all = decision.effects.iter().filter_map(|e| match e {
        Effect::Answer { uid, result, .. } => Some((uid.clone(), result.clone())),
        _ => None,
    });
    all.collect()
}

fn switched(f: &mut Fixture) {
    f.journal.phase = Phase::Observing;
    let switch = serde_json::json!({"claimedAt": f.world.now, "services": []});
    f.journal.switch = Some(serde_json::from_value(switch).expect("a switch"));
}

#[test]
fn a_word_that_was_refused_stays_refused_until_that_stands_on_it() {
    let mut f = Fixture::new();
    let uid = say(&mut f, Verb::Rollback, "jane");
    let first = answers(&pass(&mut f));
    assert_eq!(first.len(), 1);
    assert!(first[0].1.starts_with("refused: nothing has been switched"), "{first:?}");
    // By now it would count.
    switched(&mut f);
    f.world.outcomes.insert(EffectKey::answer(&uid), Seen { at: f.world.now, value: Outcome::Transient("503".into()) });
    f.after(10);
    assert_eq!(answers(&pass(&mut f)), first);
    assert!(f.journal.decisions.is_empty() && f.journal.ending.is_none());
    f.world.outcomes.insert(EffectKey::answer(&uid), Seen { at: f.world.now, value: Outcome::Done });
    assert_eq!(answers(&pass(&mut f)), [], "written once");
    f.world.decisions.clear();
    assert_eq!(pass(&mut f).consumed, [EffectKey::answer(&uid)], "forgotten once the watch does not show it");
    assert!(f.world.said.refused.is_empty());
}

#[test]
fn what_counts_is_answered_from_the_journal_after_a_restart_and_counts_once() {
    let mut f = Fixture::new();
    let uid = say(&mut f, Verb::Suspend, "jane");
    let first = answers(&pass(&mut f));
    assert_eq!(first, [(uid.clone(), "accepted".into())]);
    f.world.said = Default::default();
    assert_eq!(answers(&pass(&mut f)), first, "another operator");
    assert_eq!(f.journal.decisions.len(), 1);
}

#[test]
fn a_rollback_is_taken_in_before_a_thousand_others_and_answered_first() {
    let mut f = Fixture::new();
    switched(&mut f);
    for _ in 0..1000 {
        say(&mut f, Verb::Approve, "qa");
    }
    let uid = say(&mut f, Verb::Rollback, "jane");
    let decision = pass(&mut f);
    assert_eq!(decision.journal.ending.as_ref().map(|e| e.phase), Some(Phase::RolledBack));
    assert_eq!(decision.journal.decisions.len(), 1, "refused ones are not in the journal");
    let told: Vec<&str> = decision.notes.iter().filter(|n| n.reason == "Decision").map(|n| &*n.subject).collect();
    assert_eq!(told.iter().filter(|s| **s == "Approve").count(), 1, "{told:?}");
    let written = answers(&decision);
    assert_eq!((written.len(), &written[0].0), (AT_ONCE, &uid));
    f.world.in_flight.extend(written.iter().map(|(uid, _)| EffectKey::answer(uid)));
    assert_eq!(answers(&pass(&mut f)), [], "no more at a time");
}

#[test]
fn one_person_has_a_bound_and_the_way_back_has_none() {
    let mut f = Fixture::new();
    switched(&mut f);
    for n in 0..60 {
        let verb = if n % 2 == 0 { Verb::Suspend } else { Verb::Resume };
        say(&mut f, verb, "joe");
        pass(&mut f);
        f.world.decisions.clear();
    }
    assert_eq!(f.journal.decisions.len(), 50);
    let uid = say(&mut f, Verb::Suspend, "joe");
    pass(&mut f);
    assert!(f.world.said.refused[&uid].1.starts_with("refused: joe has made 50 decisions on this run"));
    say(&mut f, Verb::Suspend, "jane");
    pass(&mut f);
    assert_eq!(f.journal.decisions.len(), 51, "somebody else's counts");
    say(&mut f, Verb::Rollback, "joe");
    pass(&mut f);
    assert!(f.journal.ending.is_some());
}

#[test]
fn a_retry_is_refused_while_the_run_is_under_way_and_left_alone_once_it_is_over() {
    let mut f = Fixture::new();
    switched(&mut f);
    let uid = say(&mut f, Verb::Retry, "joe");
    assert!(answers(&pass(&mut f))[0].1.starts_with("refused: the run is not over"));
    // It does not close before that stands on it, or the controller would find it open.
    let over = |f: &mut Fixture| {
        f.journal.phase = Phase::Aborted;
        f.journal.switch = None;
        let ending = serde_json::json!({"phase": "Aborted", "reason": "Decision", "message": "", "at": f.world.now});
        f.journal.ending = Some(serde_json::from_value(ending).expect("an ending"));
    };
    over(&mut f);
    assert_eq!(pass(&mut f).journal.state, RunState::Active);
    f.world.outcomes.insert(EffectKey::answer(&uid), Seen { at: f.world.now, value: Outcome::Done });
    f.world.in_flight.clear();
    assert_eq!(pass(&mut f).journal.state, RunState::Closed);
    let mut f = Fixture::new();
    over(&mut f);
    say(&mut f, Verb::Retry, "joe");
    assert_eq!(answers(&pass(&mut f)), [], "the controller's");
    assert!(f.world.said.refused.is_empty());
}

#[test]
fn a_run_that_was_opened_for_a_word_does_not_close_before_it_is_proven_whose_it_is() {
    let mut f = Fixture::new();
    f.journal.phase = Phase::Aborted;
    let ending = serde_json::json!({"phase": "Aborted", "reason": "Decision", "message": "", "at": f.world.now});
    f.journal.ending = Some(serde_json::from_value(ending).expect("an ending"));
    f.world.readings.clear();
    say(&mut f, Verb::Suspend, "jane");
    let waits = pass(&mut f);
    assert_eq!(waits.journal.state, RunState::Active);
    assert!(waits.reads.values().any(|read| *read == Read::Proof) && answers(&waits).is_empty());
    // What never comes does not hold it forever.
    f.after(30);
    pass(&mut f);
    assert_eq!(pass(&mut f).journal.state, RunState::Closed);
}

#[test]
fn what_was_there_before_this_process_is_taken_up_before_it_is_judged() {
    let begun = |verb| {
        let mut f = Fixture::new();
        switched(&mut f);
        let uid = say(&mut f, verb, "jane");
        f.world.inherited.insert(uid.clone());
        let first = pass(&mut f);
        let taken = |e: &Effect| matches!(e, Effect::TakeUp { uid: of, .. } if *of == uid);
        assert!(first.effects.iter().any(taken) && f.journal.decisions.is_empty() && answers(&first).is_empty());
        (f, uid)
    };
    let come = |f: &mut Fixture, uid: &str, outcome: Outcome| {
        f.world.outcomes.insert(EffectKey::TakeUp(uid.to_owned()), Seen { at: f.world.now, value: outcome });
        pass(f)
    };
    // It counts from then on, and is answered once its new version is seen.
    let (mut f, uid) = begun(Verb::Suspend);
    let done = come(&mut f, &uid, Outcome::Done);
    assert_eq!((f.journal.decisions.len(), answers(&done).len()), (1, 0));
    assert!(done.reads.values().any(|read| *read == Read::Refresh), "its new version is looked for");
    f.world.decisions[0].resource_version = "2".into();
    assert_eq!(answers(&pass(&mut f)), [(uid, "accepted".into())]);
    // The watch may show that version before the answer comes.
    let (mut f, uid) = begun(Verb::Suspend);
    f.world.in_flight.insert(EffectKey::TakeUp(uid.clone()));
    f.world.decisions[0].resource_version = "2".into();
    pass(&mut f);
    f.world.in_flight.clear();
    assert_eq!(answers(&come(&mut f, &uid, Outcome::Done)), [(uid, "accepted".into())]);
    // The answer of the process before was there first.
    let (mut f, uid) = begun(Verb::Suspend);
    let late = come(&mut f, &uid, Outcome::Conflict("answered".into()));
    assert!(f.journal.decisions.is_empty() && !late.reads.is_empty());
    // Where nothing can be written on it, it counts all the same; a way back does not wait for that.
    let no = || Outcome::Refused { why: "no right".into(), forbidden: true };
    let (mut f, uid) = begun(Verb::Rollback);
    come(&mut f, &uid, no());
    assert!(f.journal.ending.is_some());
    for (verb, patience) in [(Verb::Rollback, 2), (Verb::Suspend, 30)] {
        let (mut f, uid) = begun(verb);
        f.after(patience - 1);
        come(&mut f, &uid, Outcome::Transient("503".into()));
        assert!(f.journal.decisions.is_empty(), "{verb:?}");
        f.after(1);
        pass(&mut f);
        assert_eq!(f.journal.decisions.len(), 1, "{verb:?}");
    }
}

/// What is answered in one second, all of it with success.
fn within(f: &mut Fixture) -> Vec<String> {
    let mut said = vec![];
    for _ in 0..10 {
        for (uid, result) in answers(&pass(f)) {
            f.world.outcomes.insert(EffectKey::answer(&uid), Seen { at: f.world.now, value: Outcome::Done });
            said.push(result);
        }
    }
    said
}

#[test]
fn refusals_are_written_at_a_pace_which_holds_up_nothing_that_counts() {
    for verb in [Verb::Retry, Verb::Approve] {
        let mut f = Fixture::new();
        f.world.refreshed = Some(f.world.now);
        (0..60).for_each(|_| drop(say(&mut f, verb, "joe")));
        assert_eq!(within(&mut f).len(), REFUSALS);
        say(&mut f, Verb::Suspend, "jane");
        assert_eq!(within(&mut f), [words::ACCEPTED]);
        f.after(1);
        assert_eq!(within(&mut f).len(), REFUSALS);
    }
}

#[test]
fn a_run_closes_once_refusals_that_may_count_later_are_written_and_waits_for_no_others() {
    let closing = |verb| {
        let mut f = Fixture::new();
        f.cutover();
        f.world.refreshed = Some(f.world.now);
        (0..60).for_each(|_| drop(say(&mut f, verb, "joe")));
        assert_eq!(within(&mut f).len(), REFUSALS);
        f.journal.phase = Phase::Aborted;
        let ending = serde_json::json!({"phase": "Aborted", "reason": "Decision", "message": "", "at": f.world.now});
        f.journal.ending = Some(serde_json::from_value(ending).expect("an ending"));
        pass(&mut f);
        f
    };
    assert_eq!(closing(Verb::Approve).journal.state, RunState::Closed);
    let mut f = closing(Verb::Retry);
    assert_eq!(f.journal.state, RunState::Active);
    f.world.in_flight.clear();
    within(&mut f);
    assert_eq!(f.journal.state, RunState::Closed, "without a pace");
}

#[test]
fn where_answers_cannot_be_written_decisions_count_and_that_is_said_once() {
    let mut f = Fixture::new();
    f.cutover();
    f.world.refreshed = Some(f.world.now);
    for _ in 0..3 {
        say(&mut f, Verb::Abort, "jane");
    }
    let asked = answers(&pass(&mut f));
    let no = Outcome::Refused { why: "no right".into(), forbidden: true };
    for (uid, _) in &asked {
        f.world.outcomes.insert(EffectKey::answer(uid), Seen { at: f.world.now, value: no.clone() });
    }
    let told = pass(&mut f);
    assert_eq!(told.notes.iter().filter(|n| n.message.contains("no right")).count(), 1);
    assert!(answers(&told).is_empty(), "not again and again");
    assert!(f.journal.ending.is_some(), "it counts all the same");
    f.after(11);
    assert_eq!(pass(&mut f).journal.state, RunState::Closed, "and holds nothing up");
}
