//! What words about a run are about, for whoever tells them.

use crate::plan::Plan;

/// The step, its undo, or a further execution of it that a subject names; none where it is about something else.
pub fn step_of<'a>(plan: &Plan, subject: &'a str) -> Option<&'a str> {
    plan.action(subject).map(|_| subject)
}
