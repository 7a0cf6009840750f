//! The phases that a run was in, with times.

use jiff::{SignedDuration, Timestamp};

use crate::api::phase::Phase;
use crate::api::run::RunStatus;

/// A phase that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    pub phase: Phase,
    /// When it was entered.
    pub from: Timestamp,
    /// When the next one was.
    pub to: Option<Timestamp>,
    /// Why it was entered; nothing for the first one.
    pub reason: &'a str,
    /// The same in words.
    pub message: &'a str,
}

impl Stretch<'_> {
    /// How long it took, once it has been left.
    pub fn took(&self) -> Option<SignedDuration> {
        Some(self.to?.duration_since(self.from).max(SignedDuration::ZERO))
    }
}

/// The phases of a journal. Pending is entered by the creation, which is no transition.
pub fn of(journal: &RunStatus, created: Option<Timestamp>) -> Vec<Stretch<'_>> {
    let first = journal.timeline.first();
    let begun = created.or(first.map(|m| m.at)).or(journal.phase_since);
    let mut entered: Vec<(Phase, Timestamp, &str, &str)> = vec![];
    // Of a very long timeline the beginning is not kept.
    if let Some(begun) = begun
        && first.is_none_or(|m| m.phase == Phase::Preflight || m.phase.is_over())
    {
        entered.push((Phase::Pending, begun, "", ""));
    }
    entered.extend(journal.timeline.iter().map(|m| (m.phase, m.at, m.reason.as_str(), m.message.as_str())));
    let next = entered.iter().skip(1).map(|(_, at, ..)| Some(*at)).chain([None]).collect::<Vec<_>>();
    let stretches = entered.into_iter().zip(next);
    stretches.map(|((phase, from, reason, message), to)| Stretch { phase, from, to, reason, message }).collect()
}

/// Which of them a time lies in: the last one entered by then.
pub fn at(phases: &[Stretch], time: Timestamp) -> Option<usize> {
    phases.iter().rposition(|p| p.from <= time)
}
