//! PURE. An old side that cannot serve before something is undone (DESIGN §5.6): the restore waits for it, and the undos
//! for the restore. `rollback.blocked` says who gives way.

use crate::api::condition::reasons;
use crate::api::restore::{BlockedAction, BlockedDefault};
use crate::decide::draft::Draft;
use crate::decide::{closing, execution, interrupt, undo};
use crate::journal::question::Subject;
use crate::journal::{self, later};
use crate::plan::Execution;

/// The step that `Resolve` names to answer whether the undos run first.
pub(crate) const RESTORE: &str = "restore";

/// Runs while the restore is blocked: lets the undos run first where that is decided. The restore is tried all the while.
pub fn run(d: &mut Draft) {
    let Some(ending) = d.journal.ending.clone() else { return };
    let Some(rule) = d.plan.rollback.clone() else { return };
    closing::go_on(d);
    let Some(since) = ending.empty_since else { return };
    let due = undo::due_undos(d);
    if due.is_empty() {
        return;
    }
    // After a stop the old side gets its time anew.
    let from = later(ending.stopped_at.map_or(since, |at| at.max(since)), d.plan.switch.timeout);
    if ending.undo_first.is_none() && d.now() < from {
        d.out.wake_at(from);
        return;
    }
    match (ending.undo_first, rule.blocked) {
        (Some(true), _) => {}
        (Some(false), _) => return,
        (None, BlockedAction::UndoFirst) => decided(d, true, "rollback.blocked.action is UndoFirst"),
        (None, BlockedAction::Wait) => return decided(d, false, "rollback.blocked.action is Wait"),
        (None, BlockedAction::Ask) => {
            let text = question(d, &due);
            return d.ask(&Subject::Restore, &text, Some(rule.within), rule.default == BlockedDefault::UndoFirst);
        }
    }
    if journal::was_completed(&d.journal) {
        // Whoever lets the undos run first has agreed to them.
        d.journal.after.get_or_insert_default().undo = Some(true);
    }
    if execution::everything_is_known(d) && interrupt::settle(d) {
        undo::undo_all(d);
    }
}

/// Whether the restore is blocked in a way that this question is about.
pub fn is_open(d: &Draft) -> bool {
    let restored = d.journal.switch.as_ref().is_none_or(|s| s.restored_at.is_some());
    !restored && d.plan.rollback.is_some() && d.journal.ending.as_ref().is_some_and(|e| e.empty_since.is_some())
}

/// Whether an undo has begun before the restore.
pub(crate) fn has_begun(d: &Draft) -> bool {
    let begun = |name: &str| match name.parse() {
        Ok(Execution::Undo(of)) => d.plan.step(&of).and_then(|s| s.undo.as_ref()),
        _ => None,
    };
    d.journal.steps.iter().any(|r| begun(&r.name).is_some_and(|undo| !undo.before_restore))
}

/// A person has the target stopped, since the old side cannot start beside it.
pub(crate) fn stop_target(d: &mut Draft, why: &str) -> bool {
    if !closing::stop_target(d) {
        return false;
    }
    let (now, target) = (d.now(), d.plan.target.name.clone());
    if let Some(ending) = d.journal.ending.as_mut() {
        ending.stopped_at = Some(now);
    }
    if Subject::Restore.is_of(d.journal.question.as_ref()) {
        d.journal.question = None;
    }
    let subject = Subject::Restore.to_string();
    d.note(true, reasons::DECISION, &subject, format!("{target} is scaled to 0 ({why})"));
    d.out.wake_at(now);
    true
}

/// Takes in what was decided.
pub fn decided(d: &mut Draft, undo_first: bool, why: &str) {
    if Subject::Restore.is_of(d.journal.question.as_ref()) {
        d.journal.question = None;
    }
    let Some(ending) = d.journal.ending.as_mut() else { return };
    ending.undo_first = Some(undo_first);
    let text = if undo_first {
        format!("the undos run before the selectors go back ({why})")
    } else {
        format!("the undos wait until the selectors are back ({why})")
    };
    d.note(true, reasons::DECISION, RESTORE, text);
    let now = d.now();
    d.out.wake_at(now);
}

fn question(d: &Draft, due: &[String]) -> String {
    let blocked = d.journal.switch.iter().flat_map(|s| &s.services).find_map(|s| s.blocked.as_ref());
    let what = blocked.map_or("the old side has no ready endpoint", |b| b.message.as_str());
    format!(
        "{what}. The undos ({}) wait for the restore. Decide Resolve, step restore: outcome UndoFirst runs them now, \
         StopTarget scales {} to 0, Wait goes on trying",
        due.join(", "),
        d.plan.target.name
    )
}
