//! PURE. `wait`: a pause.

use super::{Cx, Out, Verdict};
use crate::api::run::StepRecord;
use crate::api::step::Wait;
use crate::journal::later;

/// Passes when the time is over.
pub fn advance(cx: &Cx, wait: &Wait, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let over = later(record.attempt_at.unwrap_or(cx.world.now), wait.for_);
    if cx.world.now >= over {
        return Some(Verdict::pass(None));
    }
    record.message = Some(format!("until {over:.0}"));
    out.wake_at(over);
    None
}
