//! PURE. One file per rule: how a trial of a trigger is judged, and when the trigger fires.
//!
//! Missing data is inconclusive: never good, never bad (DESIGN §6). A new rule is one file and one line in [`advance`].

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::Trigger;
use crate::journal::short;

mod pods;
mod probe;
mod threshold;

/// Takes a trigger one move further: asks for the reads of the trial that is due, judges its answer, and returns why it
/// fires, once it does. Trials are numbered from `record.armed_at`; a restart may delay a verdict, never hasten it.
pub fn advance(cx: &Cx, trigger: &Trigger, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    if let Some(metric) = &trigger.metric {
        threshold::advance(cx, trigger, metric, record, out)
    } else if let Some(probe) = &trigger.probe {
        probe::advance(cx, trigger, probe, record, out)
    } else if let Some(pods) = &trigger.pods {
        pods::advance(cx, trigger, pods, record, out)
    } else {
        // `plan` refuses the triggers that are not built, so none is ever left unwatched in silence.
        inconclusive(record, cx.world.now, "this version does not know the trigger");
        None
    }
}

/// Records a verdict.
fn settle(record: &mut TriggerRecord, at: Timestamp, verdict: TrialVerdict) {
    record.last = Some(verdict);
    // Time without a verdict is never bad: it does not count towards `sustained` or `failingFor`.
    if let (Some(silent), Some(bad)) = (record.inconclusive_since.take(), record.bad_since) {
        record.bad_since = bad.checked_add(at.duration_since(silent)).ok().or(Some(at));
    }
    match verdict {
        TrialVerdict::Good => {
            record.bad_since = None;
            record.bad_in_a_row = 0;
        }
        TrialVerdict::Bad => {
            record.bad_since.get_or_insert(at);
            record.bad_in_a_row = record.bad_in_a_row.saturating_add(1);
        }
        TrialVerdict::Inconclusive => {}
    }
}

/// Records that a trial gave no verdict.
fn inconclusive(record: &mut TriggerRecord, at: Timestamp, why: &str) {
    record.last = Some(TrialVerdict::Inconclusive);
    record.inconclusive_since.get_or_insert(at);
    record.saw = Some(short(why, 200));
}
