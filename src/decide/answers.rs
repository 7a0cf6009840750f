//! PURE. What came of each decision is written on it, in batches beside everything else. What counts stands in the journal
//! before its answer is written; what was refused stands in the memory of the driver until it stands on the decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::condition::reasons;
use crate::api::decision::Verb;
use crate::api::duration::Duration;
use crate::api::run::RunState;
use crate::decide::draft::Draft;
use crate::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use crate::journal::{later, words};
use crate::world::{DecisionView, TakenUp};

/// Answers under way at the same time.
const AT_ONCE: usize = 8;
/// Pause before an answer that did not arrive is written again.
const PACE: Duration = Duration::from_secs(5);
/// The same where the API server would not have it: a right or a definition is missing.
const PACE_MUTE: Duration = Duration::from_mins(10);
/// Refusals are told with one Event in this time.
const TELL: Duration = Duration::from_mins(1);
/// A run that is about to close waits this long for its answers, and a word for an operator before this one.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that leads back waits no longer than this.
const PATIENCE_BACK: Duration = Duration::from_secs(2);
/// Pause before a decision is tried to be taken up again.
const PACE_TAKE_UP: Duration = Duration::from_millis(250);

/// Tells of decisions that were just refused: at most one Event a minute; all others stand on their decisions alone.
pub fn tell(d: &mut Draft, refused: Vec<(Verb, String)>) {
    let count = refused.len();
    let Some((verb, text)) = refused.into_iter().next() else { return };
    if d.said.told.is_some_and(|at| later(at, TELL) > d.now()) {
        d.said.untold += count;
        return;
    }
    let more = d.said.untold + count - 1;
    d.said.told = Some(d.now());
    d.said.untold = 0;
    let text = match more {
        0 => text,
        _ => format!("{text}; {more} more did not count: kubectl get cutoverdecisions says why"),
    };
    d.note(false, reasons::DECISION, &format!("{verb:?}"), text);
}

/// Whether a decision that was there before this process may be judged. An operator before it may have refused it, and that
/// answer may still arrive: it is made to fail first, or read (P14). Where that cannot be written, a word counts all the same
/// after a while; one that leads back very soon.
pub fn is_taken_up(d: &mut Draft, view: &DecisionView) -> bool {
    let now = d.now();
    let key = EffectKey::TakeUp(view.uid.clone());
    let known = d.said.taken_up.get(&view.uid).cloned();
    let mut state = known.unwrap_or(TakenUp { since: now, tested: String::new(), done: false });
    if state.done {
        return true;
    }
    match d.outcome(&key).map(|(_, outcome)| outcome) {
        // The watch may have shown it before.
        Some(Outcome::Done) => state.done = true,
        // Its status cannot be written, so that nobody's answer can be.
        Some(Outcome::Refused { .. }) => (state.done, state.tested) = (true, String::new()),
        Some(Outcome::Conflict(_)) => {
            d.out.reads.insert(ReadKey::After(key), Read::Refresh);
            return false;
        }
        _ if !d.world.in_flight.contains(&key) => state.tested.clone_from(&view.resource_version),
        _ => {}
    }
    let patience = if words::is_way_back(view.spec.decision) { PATIENCE_BACK } else { PATIENCE };
    let due = later(state.since, patience);
    let taken_up = state.done || now >= due;
    d.said.taken_up.insert(view.uid.clone(), state);
    if !taken_up {
        let effect = Effect::TakeUp {
            decision: view.name.clone(),
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
            at: now,
        };
        d.want(effect, PACE_TAKE_UP);
        d.out.wake_at(due);
    }
    taken_up
}

/// Writes answers on decisions that have none.
pub fn write(d: &mut Draft) {
    take_in(d);
    // A run that closes now writes nothing more (P7): what it could not answer in time stays without an answer of its.
    if d.journal.state == RunState::Closed {
        return;
    }
    let world = d.world;
    // One that was taken up has another version by now, which is not seen yet.
    let seen = |effect: &Effect| match effect {
        Effect::Answer { uid, resource_version, .. } => {
            d.said.taken_up.get(uid).is_none_or(|t| !t.done || t.tested != *resource_version)
        }
        _ => true,
    };
    let (due, unseen): (Vec<Effect>, Vec<Effect>) = due(d).into_iter().partition(seen);
    for effect in &unseen {
        // A live reading that began before may have hidden it from the watch's word.
        if let Effect::Answer { uid, .. } = effect {
            d.out.reads.insert(ReadKey::After(EffectKey::TakeUp(uid.clone())), Read::Refresh);
        }
    }
    let mut room = AT_ONCE.saturating_sub(world.in_flight.iter().filter(|key| is_answer(key)).count());
    let pace = if d.said.mute.is_some() { PACE_MUTE } else { PACE };
    for effect in due {
        let wanted = d.out.effects.len();
        if room == 0 {
            break;
        }
        d.want(effect, pace);
        room -= d.out.effects.len() - wanted;
    }
}

/// Whether a decision has an answer that is not known to stand on it: the run does not close before it does.
pub(crate) fn is_awaited(d: &Draft) -> bool {
    let late = d.journal.closing_since.is_some_and(|since| later(since, PATIENCE) <= d.now());
    !late
        && d.said.mute.is_none()
        && (!due(d).is_empty() || d.world.decisions.iter().any(|view| is_being_judged(d, view)))
}

/// Whether a decision is not judged yet: an operator before this one may have answered it, or it is being proven whose it is.
fn is_being_judged(d: &Draft, view: &DecisionView) -> bool {
    let uid = &view.uid;
    let judged = d.journal.decisions.iter().any(|r| r.uid == *uid) || d.said.refused.contains_key(uid);
    !judged && (d.said.unproven.contains_key(uid) || d.said.taken_up.get(uid).is_some_and(|t| !t.done))
}

/// Whether a Rollback that stands open, or may stand open unseen, is still to be judged: one that a person has said while no
/// operator was there, and carried out by hand (`kubectl cutover rollback --without-operator`).
pub(crate) fn way_back_is_to_be_heard(d: &Draft) -> bool {
    // A live reading that fails is not waited for.
    let unseen = d.world.refreshed.is_none() && d.world.unread.is_none();
    let said = |view: &&DecisionView| view.spec.decision == Verb::Rollback;
    unseen || d.world.decisions.iter().filter(said).any(|view| is_being_judged(d, view))
}

/// Answers that are to be written: first those of decisions that count, then of those that another would take for open.
fn due(d: &Draft) -> Vec<Effect> {
    let records: BTreeMap<&str, _> = d.journal.decisions.iter().map(|r| (r.uid.as_str(), r)).collect();
    let mut due = vec![];
    for view in &d.world.decisions {
        let (at, result, accepted) = match (records.get(view.uid.as_str()), d.said.refused.get(&view.uid)) {
            (Some(record), _) => (record.at, &record.result, true),
            (None, Some((at, result))) => (*at, result, false),
            (None, None) => continue,
        };
        if matches!(
            d.world.outcomes.get(&EffectKey::answer(&view.uid)).map(|s| &s.value),
            Some(Outcome::Done | Outcome::NotFound)
        ) {
            continue;
        }
        let rank = if accepted { 0 } else { 1 + u8::from(view.spec.decision != Verb::Retry) };
        due.push((
            rank,
            Effect::Answer {
                decision: view.name.clone(),
                uid: view.uid.clone(),
                resource_version: view.resource_version.clone(),
                result: result.clone(),
                at,
                accepted,
            },
        ));
    }
    due.sort_by_key(|(rank, _)| *rank);
    due.into_iter().map(|(_, effect)| effect).collect()
}

fn is_answer(key: &EffectKey) -> bool {
    matches!(key, EffectKey::Answer(_))
}

/// Takes in what came of answers. One that is written is remembered until the watch does not show the decision any more.
fn take_in(d: &mut Draft) {
    let world = d.world;
    let open: BTreeSet<EffectKey> = world.decisions.iter().map(|v| EffectKey::answer(&v.uid)).collect();
    for (key, seen) in world.outcomes.iter().filter(|(key, _)| is_answer(key)) {
        match &seen.value {
            Outcome::Done => d.said.mute = None,
            Outcome::Refused { why, .. } if d.said.mute.is_none() => {
                d.said.mute = Some(why.clone());
                let text = format!(
                    "what comes of decisions cannot be written on them, they count all the same: {why}; apply the \
                     definitions of this version and grant the operator update on cutoverdecisions/status"
                );
                d.note(true, reasons::PERMISSION_MISSING, "decisions", text);
            }
            _ => {}
        }
        if !(open.contains(key) && matches!(seen.value, Outcome::Done | Outcome::NotFound)) {
            d.outcome(key);
        }
    }
}

#[cfg(test)]
mod tests {
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
        f.world
            .outcomes
            .insert(EffectKey::answer(&uid), Seen { at: f.world.now, value: Outcome::Transient("503".into()) });
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
            let ending =
                serde_json::json!({"phase": "Aborted", "reason": "Decision", "message": "", "at": f.world.now});
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
        // What never comes does not hold it for ever.
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
}
