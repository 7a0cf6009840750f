//! PURE. One file per rule: how a trial of a trigger is judged, and when the trigger fires.

use crate::actions::{Cx, Out};
use crate::api::run::TriggerRecord;
use crate::api::trigger::Trigger;

/// Takes a trigger one move further: asks for the reads of the trial that is due, judges its answer, and returns why it
/// fires, once it does. Trials are numbered from `record.armed_at`; a restart may delay a verdict, never hasten it.
pub fn advance(cx: &Cx, trigger: &Trigger, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    let _ = (cx, trigger, record, out);
    None
}
