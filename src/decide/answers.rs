//! PURE. What came of each decision is written on it, in batches beside everything else. What counts stands in the journal
//! before its answer is written; what was refused stands in the memory of the driver until it stands on the decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::condition::reasons;
use crate::api::decision::Verb;
use crate::api::duration::Duration;
use crate::decide::draft::Draft;
use crate::effect::{Effect, EffectKey, Outcome, answer_key};
use crate::journal::later;

/// Answers under way at the same time.
const AT_ONCE: usize = 8;
/// Pause before an answer that did not arrive is written again.
const PACE: Duration = Duration::from_secs(5);
/// The same where the API server would not have it: a right or a definition is missing.
const PACE_MUTE: Duration = Duration::from_mins(10);
/// Refusals are told with one Event in this time.
const TELL: Duration = Duration::from_mins(1);
/// A run that is about to close waits this long for its answers.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Writes answers on decisions that have none.
pub fn write(d: &mut Draft) {
    take_in(d);
    let world = d.world;
    let due = due(d);
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
pub fn is_awaited(d: &Draft) -> bool {
    let late = d.journal.closing_since.is_some_and(|since| later(since, PATIENCE) <= d.now());
    !late && d.said.mute.is_none() && !due(d).is_empty()
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
        if matches!(d.world.outcomes.get(&answer_key(&view.uid)).map(|s| &s.value), Some(Outcome::Done | Outcome::NotFound)) {
            continue;
        }
        let rank = if accepted { 0 } else { 1 + u8::from(view.spec.decision != Verb::Retry) };
        due.push((rank, Effect::Answer {
            decision: view.name.clone(),
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
            result: result.clone(),
            at,
            accepted,
        }));
    }
    due.sort_by_key(|(rank, _)| *rank);
    due.into_iter().map(|(_, effect)| effect).collect()
}

fn is_answer(key: &EffectKey) -> bool {
    key.starts_with("answer/")
}

/// Takes in what came of answers. One that is written is remembered until the watch does not show the decision any more.
fn take_in(d: &mut Draft) {
    let world = d.world;
    let open: BTreeSet<EffectKey> = world.decisions.iter().map(|v| answer_key(&v.uid)).collect();
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
