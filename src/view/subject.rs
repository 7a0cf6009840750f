//! What an Event is about, for whoever publishes it.

use jiff::Timestamp;

use crate::api::run::RunStatus;
use crate::journal;
use crate::plan::Plan;

/// What words about a run are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The step, its undo, or a further execution of it.
    pub step: Option<&'a str>,
    /// When the run entered the phase, where they tell a transition: it has one Event, whoever tells it.
    pub transition: Option<Timestamp>,
}

/// What these words are about, by the journal that is written.
pub fn subject<'a>(journal: &RunStatus, plan: &Plan, subject: &'a str, reason: &str, message: &str) -> Subject<'a> {
    Subject {
        step: plan.action(subject).map(|_| subject),
        transition: journal::moment(journal, subject, reason, message).map(|m| m.at),
    }
}
