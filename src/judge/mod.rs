//! PURE. One file per rule: how a trial of a trigger is judged, and when the trigger fires.
//!
//! Missing data is inconclusive: never good, never bad (DESIGN §6). A new rule is one file and one line in [`advance`]; what
//! it shares with others, the loop over its trials, is in `trial`.

use jiff::Timestamp;

use crate::actions::{Cx, Out};
use crate::api::run::{TrialVerdict, TriggerRecord};
use crate::api::trigger::{Trigger, Watched};
use crate::journal::{short, trail};
use crate::plan::BuiltInTrigger;

use trial::Trials;

mod alert;
mod growth;
mod guard;
mod logs;
mod no_data;
mod pods;
mod probe;
mod ready;
mod resource;
mod share;
mod source;
mod suite;
mod threshold;
mod times;
mod trial;
mod usage;

/// Longest text of what a trial saw.
const MAX_SAW: usize = 200;

/// Takes a trigger one move further: asks for the reads of the trial that is due, judges its answer, and returns why it
/// fires, once it does. Trials are numbered from `record.armed_at`; a restart may delay a verdict, never hasten it.
pub fn advance(cx: &Cx, trigger: &Trigger, record: &mut TriggerRecord, out: &mut Out) -> Option<String> {
    match trigger.watches.one() {
        Ok(Watched::Metric(metric)) if metric.total.is_some() => share::advance(cx, trigger, metric, record, out),
        Ok(Watched::Metric(metric)) => threshold::advance(cx, trigger, metric, record, out),
        Ok(Watched::Probe(probe)) => trial::advance(cx, trigger, probe, record, out),
        Ok(Watched::Pods(pods)) => match usage::Usage::of(pods) {
            Some(used) => trial::advance(cx, trigger, &used, record, out),
            None => pods::advance(cx, pods, record, out),
        },
        Ok(Watched::Resource(of)) => trial::advance(cx, trigger, of, record, out),
        Ok(Watched::Logs(lines)) => trial::advance(cx, trigger, lines, record, out),
        // `plan` refuses the triggers that are not built; one from a newer plan holds the observation, visibly.
        Ok(Watched::Alert(alert)) => trial::advance(cx, trigger, alert, record, out),
        Ok(Watched::Suite(probes)) => suite::advance(cx, trigger, probes, record, out),
        Err(_) => {
            judged(record, cx.world.now, TrialVerdict::Inconclusive, "this version does not know the trigger");
            None
        }
    }
}

/// The same for a trigger of the operator's own.
pub(crate) fn advance_built_in(
    cx: &Cx,
    trigger: BuiltInTrigger,
    record: &mut TriggerRecord,
    out: &mut Out,
) -> Option<String> {
    match trigger {
        BuiltInTrigger::CrashLoop => pods::crash_loop(cx, record),
        BuiltInTrigger::Ready => pods::no_endpoint(cx, record, out),
    }
}

/// Takes a trigger past everything that is due by now, without a verdict: what is seen meanwhile counts neither way, then
/// or later.
pub(crate) fn excuse(cx: &Cx, trigger: Option<&Trigger>, record: &mut TriggerRecord, why: &str) {
    let now = cx.world.now;
    if let Some(trigger) = trigger.filter(|t| in_trials(t)) {
        let trials = Trials::arm(cx, trigger, record);
        let over = match trigger.watches.one() {
            Ok(Watched::Metric(metric)) if metric.total.is_some() => share::under_way(trials, now),
            _ => trials.latest(now),
        };
        record.trials = record.trials.max(over);
    }
    record.growth.clear();
    record.unconfirmed_since = None;
    pods::excuse_restarts(cx, record);
    forget(record);
    judged(record, now, TrialVerdict::Inconclusive, why);
}

/// Whether the trigger is looked at trial by trial; states of pods are watched all the time.
fn in_trials(trigger: &Trigger) -> bool {
    !matches!(trigger.watches.one(), Ok(Watched::Pods(pods)) if usage::Usage::of(pods).is_none())
}

/// Takes a verdict into the record. An inconclusive one neither ends a bad time nor adds to it.
fn judged(record: &mut TriggerRecord, at: Timestamp, verdict: TrialVerdict, saw: &str) {
    trail::keep_trial(record, at, verdict, saw);
    record.last = Some(verdict);
    record.saw = Some(short(saw, MAX_SAW));
    match verdict {
        TrialVerdict::Good => {
            record.bad_since = None;
            record.bad_in_a_row = 0;
            record.inconclusive_since = None;
        }
        TrialVerdict::Bad => {
            record.bad_since.get_or_insert(at);
            record.bad_in_a_row = record.bad_in_a_row.saturating_add(1);
            record.inconclusive_since = None;
        }
        TrialVerdict::Inconclusive => {
            record.inconclusive_since.get_or_insert(at);
        }
    }
}

/// What was bad before a gap in which nothing was seen is not known to have stayed so.
fn forget(record: &mut TriggerRecord) {
    record.bad_since = None;
    record.bad_in_a_row = 0;
    record.bad_trials.clear();
}

/// `01:02:03Z`.
fn clock(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%H:%M:%SZ")
}

#[cfg(test)]
mod fixtures {
    use serde_json::Value;

    use super::*;
    pub use crate::actions::fixtures::read;
    use crate::actions::fixtures::{Fixture, labels};
    use crate::api::run::{ServiceSwitch, SwitchRecord, SwitchState};

    pub fn trigger(value: Value) -> Trigger {
        serde_json::from_value(value).expect("a trigger")
    }

    /// One decision.
    pub fn judge(f: &Fixture, trigger: &Trigger, record: &mut TriggerRecord) -> (Option<String>, Out) {
        let mut out = Out::default();
        let fired = advance(&f.cx(), trigger, record, &mut out);
        (fired, out)
    }

    /// The Service has been switched now, with this many pods wanted.
    pub fn switched(f: &mut Fixture, wanted: u32) {
        let now = f.world.now;
        let service = ServiceSwitch {
            name: "web".into(),
            uid: "s".into(),
            resource_version: "1".into(),
            from: labels("blue"),
            to: labels("green"),
            wanted,
            old_wanted: wanted,
            unanswered: false,
            adopted: false,
            state: SwitchState::Switched,
            switched_at: Some(now),
            restored_at: None,
            message: None,
            blocked: None,
        };
        f.journal.switch =
            Some(SwitchRecord { claimed_at: now, converged_at: None, restored_at: None, services: vec![service] });
    }

    /// A record armed now.
    pub fn armed(f: &Fixture) -> TriggerRecord {
        TriggerRecord { name: "t".into(), armed_at: Some(f.world.now), ..TriggerRecord::default() }
    }
}
