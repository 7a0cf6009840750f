//! PURE. The run's memory: which transitions are legal, how records are kept, what must be written at once.
//!
//! The data itself is [`RunStatus`], as it stands on the wire. Nothing here looks at a clock or a cluster.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{
    Closing, FormerStep, JobRecord, Moment, ObservationClock, RunState, RunStatus, ServiceSwitch, StepRecord,
    StepState, SwitchState, TriggerRecord,
};
use crate::api::trigger::Until;

pub(crate) mod notices;
pub(crate) mod outbox;
pub(crate) mod question;
pub mod trail;
pub mod transition;
pub mod words;

pub use trail::{fit, without_record};
pub use words::ACCEPTED;

/// Most transitions kept in the timeline.
const MAX_MOMENTS: usize = 64;
/// Longest message of a transition, in characters.
const MOMENT_MESSAGE: usize = 256;

/// A transition that the lifecycle does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run cannot go from {from} to {to}")]
pub(crate) struct IllegalTransition {
    /// From.
    pub from: Phase,
    /// To.
    pub to: Phase,
}

/// Whether the lifecycle (DESIGN §4) has this transition. Total.
pub(crate) fn legal(from: Phase, to: Phase) -> bool {
    use Phase::*;
    match from {
        // A run never rests in Idle, and what is over stays over.
        Idle | RolledBack | Failed | Aborted | Superseded => false,
        Pending => matches!(to, Preflight | Failed | Aborted | Superseded),
        // Where the target changed meanwhile, it starts over.
        Preflight => matches!(to, Preflight | Preparing | Failed | Aborted | Superseded),
        Preparing => matches!(to, Verifying | Failed | Aborted | Superseded),
        Verifying => matches!(to, Switching | Failed | Aborted | Superseded),
        // Until the first claim a switch can still be called off without anything to restore.
        Switching => matches!(to, Confirming | RollingBack | Failed | Aborted | Superseded),
        Confirming => matches!(to, Observing | RollingBack),
        Observing => matches!(to, Finishing | RollingBack),
        Finishing => matches!(to, Completed | RollingBack),
        Completed => matches!(to, RollingBack),
        // Failed: every patch of the switch was refused, so nothing was ever switched.
        RollingBack => matches!(to, RolledBack | Failed),
    }
}

/// Enters a phase.
///
/// # Errors
/// When the lifecycle has no such transition; the journal is then unchanged.
pub(crate) fn enter(
    journal: &mut RunStatus,
    to: Phase,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<(), IllegalTransition> {
    if !legal(journal.phase, to) {
        return Err(IllegalTransition { from: journal.phase, to });
    }
    journal.phase = to;
    journal.phase_since = Some(now);
    journal.timeline.push(Moment {
        at: now,
        phase: to,
        reason: reason.into(),
        message: short(message, MOMENT_MESSAGE),
    });
    if journal.timeline.len() > MAX_MOMENTS {
        journal.timeline.remove(0);
    }
    Ok(())
}

/// `at` + `d`; the end of time where that is past it.
pub fn later(at: Timestamp, d: Duration) -> Timestamp {
    at.checked_add(d.signed()).unwrap_or(Timestamp::MAX)
}

/// At most `max` characters.
pub fn short(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// The record of an execution.
pub fn record<'a>(journal: &'a RunStatus, name: &str) -> Option<&'a StepRecord> {
    journal.steps.iter().find(|r| r.name == name)
}

/// The executions that have begun and are not over.
pub(crate) fn under_way(journal: &RunStatus) -> BTreeSet<String> {
    journal.steps.iter().filter(|r| r.state == StepState::Running).map(|r| r.name.clone()).collect()
}

/// Puts a record in its place; a new one goes to the end, so that the order is that of the starts.
pub fn put(journal: &mut RunStatus, record: StepRecord) {
    match journal.steps.iter_mut().find(|r| r.name == record.name) {
        Some(slot) => *slot = record,
        None => journal.steps.push(record),
    }
}

/// Takes the record of an execution out of the journal, so that it can begin again. What names its attempts stays.
pub(crate) fn put_aside(journal: &mut RunStatus, name: &str, at: Timestamp) {
    let Some(place) = journal.steps.iter().position(|r| r.name == name) else { return };
    let mut record = journal.steps.remove(place);
    if record.attempt == 0 && record.former_jobs.is_empty() {
        return;
    }
    let why = record.message.take().map(|m| format!(": {m}")).unwrap_or_default();
    let (ended, state) = (record.ended.unwrap_or(at), record.state);
    trail::keep_attempt(&mut record, ended, state, &format!("before preflight started over{why}"));
    let jobs = record.former_jobs.into_iter().chain(record.job).collect();
    let former = FormerStep { name: record.name, attempt: record.attempt, jobs, earlier: record.earlier };
    begun_again(journal, name);
    journal.start_over.get_or_insert_default().steps.push(former);
}

/// What an execution did before it began again.
pub(crate) fn former<'a>(journal: &'a RunStatus, name: &str) -> Option<&'a FormerStep> {
    journal.start_over.as_ref()?.steps.iter().find(|f| f.name == name)
}

/// An execution has begun again: its record says from now on what it did before.
pub(crate) fn begun_again(journal: &mut RunStatus, name: &str) {
    if let Some(over) = journal.start_over.as_mut() {
        over.steps.retain(|former| former.name != name);
    }
}

/// Every Job that the run has claimed.
pub fn jobs(journal: &RunStatus) -> impl Iterator<Item = &JobRecord> {
    let steps = journal.steps.iter().flat_map(|r| r.job.iter().chain(&r.former_jobs));
    steps.chain(journal.start_over.iter().flat_map(|over| &over.steps).flat_map(|former| &former.jobs))
}

/// The same, to be changed.
pub(crate) fn jobs_mut(journal: &mut RunStatus) -> impl Iterator<Item = &mut JobRecord> {
    let steps = journal.steps.iter_mut().flat_map(|r| r.job.iter_mut().chain(&mut r.former_jobs));
    steps.chain(journal.start_over.iter_mut().flat_map(|over| &mut over.steps).flat_map(|former| &mut former.jobs))
}

/// Whether the run has been Completed, even if it is rolled back now.
pub(crate) fn was_completed(journal: &RunStatus) -> bool {
    journal.phase == Phase::Completed || journal.timeline.iter().any(|m| m.phase == Phase::Completed)
}

/// The end of a side's connections, if it was claimed.
pub fn closing<'a>(journal: &'a RunStatus, side: &str) -> Option<&'a Closing> {
    journal.closings.iter().find(|c| c.side == side)
}

/// Whether the old side has been scaled down for good: a rollback of this run is no longer possible.
pub fn is_retired(journal: &RunStatus) -> bool {
    record(journal, crate::plan::after::RETIRE).is_some_and(|r| r.state == StepState::Succeeded)
}

/// Whether the run was closed and has been opened again for its checks: nothing else of it goes on.
pub(crate) fn is_reopened(journal: &RunStatus) -> bool {
    journal.after.as_ref().is_some_and(|a| a.reopened)
}

/// Opens a closed run again, so that its checks can be made again.
pub(crate) fn reopen(journal: &mut RunStatus) {
    journal.state = RunState::Active;
    journal.closing_since = None;
    journal.after.get_or_insert_default().reopened = true;
}

/// Whether a trigger that stays armed for so long is looked at in this phase: from the switch until the run is Completed,
/// or until the old side is retired.
pub(crate) fn is_armed(journal: &RunStatus, until: Until) -> bool {
    match journal.phase {
        Phase::Switching | Phase::Confirming | Phase::Observing | Phase::Finishing => true,
        Phase::Completed => {
            let called_off = journal.after.as_ref().is_some_and(|a| a.called_off.is_some());
            let retires = record(journal, crate::plan::after::RETIRE).is_some();
            until == Until::Retired && !called_off && !retires && !is_reopened(journal)
        }
        _ => false,
    }
}

/// The record of a trigger.
pub fn trigger<'a>(journal: &'a RunStatus, name: &str) -> Option<&'a TriggerRecord> {
    journal.triggers.iter().find(|t| t.name == name)
}

/// Puts a trigger's record in its place.
pub(crate) fn put_trigger(journal: &mut RunStatus, record: TriggerRecord) {
    match journal.triggers.iter_mut().find(|t| t.name == record.name) {
        Some(slot) => *slot = record,
        None => journal.triggers.push(record),
    }
}

/// Whether an execution is over, one way or another. `Unknown` is not: a person must say.
pub(crate) fn is_done(state: StepState) -> bool {
    matches!(state, StepState::Succeeded | StepState::Failed | StepState::Skipped)
}

/// Whether users may be on the target: a claim exists that is neither refused nor restored.
pub(crate) fn may_be_switched(service: &ServiceSwitch) -> bool {
    matches!(service.state, SwitchState::Claimed | SwitchState::Switched)
}

/// Seconds between two trials of the restore (DESIGN §5.5). A run that has switched is looked at as often at least.
pub(crate) const REHEARSE_EVERY: i64 = 60;

/// The journal without what may be lost in a crash at no cost but time: the state of trials and what conditions say.
/// Two journals that differ only there may be written later (DESIGN §6: at most every 10 s).
pub(crate) fn durable(journal: &RunStatus) -> RunStatus {
    let mut d = journal.clone();
    for t in &mut d.triggers {
        t.trials = 0;
        t.last_at = None;
        t.last = None;
        t.saw = None;
        t.bad_in_a_row = 0;
        t.growth.clear();
        t.most.clear();
        t.unconfirmed_since = None;
        t.history.clear();
    }
    if let Some(o) = &mut d.observation {
        o.conclusive_ms = 0;
        o.stopped_ms = 0;
        o.counted_to = o.since;
        if o.clock == ObservationClock::Inconclusive {
            o.clock = ObservationClock::Counting;
        }
    }
    if let Some(lost) = &mut d.nodes_lost {
        lost.message.clear();
    }
    for c in &mut d.conditions {
        c.message.clear();
        c.reason.clear();
    }
    d.waiting = None;
    // Entries come with what they tell of; a receipt that is lost is asked for once more.
    d.outbox = Default::default();
    d.notices = Default::default();
    for s in &mut d.steps {
        if s.state == StepState::Running {
            s.message = None;
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 15] = Phase::ALL;

    #[test]
    fn what_is_over_stays_over() {
        for from in ALL.into_iter().filter(|p| p.is_over()) {
            assert!(ALL.into_iter().all(|to| !legal(from, to)), "{from}");
        }
    }

    #[test]
    fn whoever_may_be_on_the_target_can_only_go_on_or_back() {
        for from in [Phase::Confirming, Phase::Observing, Phase::Finishing, Phase::Completed] {
            assert!(legal(from, Phase::RollingBack), "{from}");
            assert!(ALL.into_iter().filter(|p| p.is_over()).all(|to| !legal(from, to)), "{from}");
        }
    }

    #[test]
    fn an_illegal_transition_changes_nothing() {
        let mut journal = RunStatus { phase: Phase::Completed, ..RunStatus::default() };
        let before = journal.clone();
        assert!(enter(&mut journal, Phase::Preparing, "x", "x", Timestamp::UNIX_EPOCH).is_err());
        assert_eq!(journal, before);
    }
}
