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
/// Refusals written in a second: who says a thousand things that do not count must not keep the API server busy for others.
const REFUSALS: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
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
    let seen = |answer: &Answer| match &answer.effect {
        Effect::Answer { uid, resource_version, .. } => {
            d.said.taken_up.get(uid).is_none_or(|t| !t.done || t.tested != *resource_version)
        }
        _ => true,
    };
    let (due, unseen): (Vec<Answer>, Vec<Answer>) = due(d).into_iter().partition(seen);
    for answer in &unseen {
        // A live reading that began before may have hidden it from the watch's word.
        if let Effect::Answer { uid, .. } = &answer.effect {
            d.out.reads.insert(ReadKey::After(EffectKey::TakeUp(uid.clone())), Read::Refresh);
        }
    }
    let mut room = AT_ONCE.saturating_sub(world.in_flight.iter().filter(|key| is_answer(key)).count());
    let pace = if d.said.mute.is_some() { PACE_MUTE } else { PACE };
    let closing = d.journal.closing_since.is_some();
    for answer in due {
        let wanted = d.out.effects.len();
        if room == 0 {
            break;
        }
        // A run that is about to close waits for these.
        let paced = match answer.rank {
            Rank::Counts => false,
            Rank::CountsLater => !closing,
            Rank::Void => true,
        };
        if paced && !may_refuse(d) {
            continue;
        }
        d.want(answer.effect, pace);
        let sent = d.out.effects.len() - wanted;
        room -= sent;
        if let Some((_, count)) = d.said.refusing.as_mut().filter(|_| paced) {
            *count += sent;
        }
    }
}

/// Whether one more refusal may be written in this second.
fn may_refuse(d: &mut Draft) -> bool {
    let now = d.now();
    let (since, count) = d.said.refusing.filter(|(since, _)| later(*since, SECOND) > now).unwrap_or((now, 0));
    d.said.refusing = Some((since, count));
    if count >= REFUSALS {
        d.out.wake_at(later(since, SECOND));
    }
    count < REFUSALS
}

/// Whether an answer that matters is not known to stand on its decision: the run does not close before it does. A refusal
/// that nobody can turn into anything else is not waited for.
pub(crate) fn is_awaited(d: &Draft) -> bool {
    let late = d.journal.closing_since.is_some_and(|since| later(since, PATIENCE) <= d.now());
    !late
        && d.said.mute.is_none()
        && (due(d).iter().any(|answer| answer.rank != Rank::Void)
            || d.world.decisions.iter().any(|view| is_being_judged(d, view)))
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

/// How much depends on an answer; the first are written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The decision counts.
    Counts,
    /// It was refused, and whoever finds it without an answer once the run is over may carry it out.
    CountsLater,
    /// It was refused, and would be by everybody.
    Void,
}

/// An answer that is to be written.
struct Answer {
    rank: Rank,
    effect: Effect,
}

/// Answers that are to be written, the most important first.
fn due(d: &Draft) -> Vec<Answer> {
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
        let rank = match accepted {
            true => Rank::Counts,
            false if words::may_count_later(view.spec.decision) => Rank::CountsLater,
            false => Rank::Void,
        };
        let effect = Effect::Answer {
            decision: view.name.clone(),
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
            result: result.clone(),
            at,
            accepted,
        };
        due.push(Answer { rank, effect });
    }
    due.sort_by_key(|answer| answer.rank);
    due
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
#[path = "answers_tests.rs"]
mod tests;
