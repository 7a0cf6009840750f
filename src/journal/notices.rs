//! PURE. What receivers of notifications are to hear of, as two journals differ, and who has heard it.
//!
//! A notice is written with what it tells of, before it is sent, and leaves once everybody who wants it has received it:
//! at least once, in order for each receiver, across restarts. Its id is the same each time.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::{is_retired, later, short};
use crate::api::condition::types;
use crate::api::duration::Duration;
use crate::api::notices::{Notice, NoticeReceipt, Notices, ReceiverRecord};
use crate::api::notify::NotifyEvent;
use crate::api::phase::Phase;
use crate::api::run::RunStatus;

/// Most notices that wait.
const MAX_PENDING: usize = 32;
/// Longest message, in characters.
const MAX_MESSAGE: usize = 256;
/// What comes and goes is told no more often.
const QUIET: Duration = Duration::from_mins(5);
/// The pause after the first failed try; it doubles with each.
const BACK_OFF: i64 = 5;
/// The longest pause between two tries, in seconds.
const LONGEST_PAUSE: i64 = 300;

/// Conditions that receivers hear of, and under which name. The first four need somebody.
const CONDITIONS: [(&str, NotifyEvent); 7] = [
    (types::ROLLBACK_BLOCKED, NotifyEvent::RollbackBlocked),
    (types::OUTCOME_UNKNOWN, NotifyEvent::OutcomeUnknown),
    (types::AWAITING_DECISION, NotifyEvent::AwaitingDecision),
    (types::SELECTOR_DRIFT, NotifyEvent::SelectorDrift),
    (types::NODE_LOST, NotifyEvent::NodeLost),
    (types::METRICS_INCONCLUSIVE, NotifyEvent::MetricsInconclusive),
    (types::SUSPENDED, NotifyEvent::Suspended),
];

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// What.
    pub event: NotifyEvent,
    /// When.
    pub at: Timestamp,
    /// The phase at that time.
    pub phase: Phase,
    /// What tells it from another one at the same time.
    pub subject: String,
    /// In words.
    pub message: String,
}

/// What has happened between two journals, in order.
pub(crate) fn between(before: &RunStatus, after: &RunStatus, now: Timestamp) -> Vec<Happened> {
    let mut all = vec![];
    let mut add = |event, at, phase, subject: &str, message: &str| {
        let (subject, message) = (subject.to_owned(), short(message, MAX_MESSAGE));
        all.push(Happened { event, at, phase, subject, message });
    };
    let fired = |name: &str| super::trigger(before, name).is_some_and(|t| t.fired_at.is_some());
    for t in after.triggers.iter().filter(|t| !fired(&t.name)) {
        let Some(at) = t.fired_at else { continue };
        let saw = t.saw.as_deref().map(|s| format!(": {s}")).unwrap_or_default();
        add(NotifyEvent::TriggerFired, at, after.phase, &t.name, &format!("trigger {}{saw}", t.name));
    }
    let last = before.timeline.last();
    let from = last.and_then(|last| after.timeline.iter().rposition(|m| m == last)).map_or(0, |at| at + 1);
    for m in after.timeline.iter().skip(from) {
        let Some(event) = of_phase(m.phase) else { continue };
        add(event, m.at, m.phase, m.phase.as_str(), &m.message);
    }
    // What a person has decided comes after what it led to: an incident is opened before somebody has it.
    let known = |uid: &str| before.decisions.iter().any(|d| d.uid == uid);
    for d in after.decisions.iter().filter(|d| !known(&d.uid)) {
        let why = d.comment.as_deref().map(|c| format!(": {c}")).unwrap_or_default();
        let gate = d.gate.as_deref().map(|g| format!(" of {g}")).unwrap_or_default();
        add(NotifyEvent::Decision, d.at, after.phase, &d.uid, &format!("{:?}{gate} by {}{why}", d.decision, d.by));
    }
    for (type_, event) in CONDITIONS {
        let raised = |j: &RunStatus| j.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
        let subject = |j: &RunStatus| (event == NotifyEvent::AwaitingDecision).then(|| asked(j)).flatten();
        let is_new = !raised(before) || subject(before) != subject(after);
        if let Some(c) = after.conditions.iter().find(|c| c.type_ == type_ && c.status == "True").filter(|_| is_new) {
            add(event, now, after.phase, &subject(after).unwrap_or_default(), &c.message);
        }
    }
    if ongoing(before).is_some() && ongoing(after).is_none() && !after.phase.is_over() {
        add(NotifyEvent::Resolved, now, after.phase, "", "it goes on");
    }
    if is_retired(after) && !is_retired(before) {
        add(NotifyEvent::Retired, now, after.phase, "", "the old side has been scaled down");
    }
    all
}

fn of_phase(phase: Phase) -> Option<NotifyEvent> {
    Some(match phase {
        Phase::Idle | Phase::Pending => return None,
        Phase::Preflight => NotifyEvent::Preflight,
        Phase::Preparing => NotifyEvent::Preparing,
        Phase::Verifying => NotifyEvent::Verifying,
        Phase::Switching => NotifyEvent::Switching,
        Phase::Confirming => NotifyEvent::Confirming,
        Phase::Observing => NotifyEvent::Observing,
        Phase::Finishing => NotifyEvent::Finishing,
        Phase::Completed => NotifyEvent::Completed,
        Phase::RollingBack => NotifyEvent::RollingBack,
        Phase::RolledBack => NotifyEvent::RolledBack,
        Phase::Failed => NotifyEvent::Failed,
        Phase::Aborted => NotifyEvent::Aborted,
        Phase::Superseded => NotifyEvent::Superseded,
    })
}

/// What people are asked: the subject of the question, or the gate.
fn asked(journal: &RunStatus) -> Option<String> {
    let gate = || {
        let waits = journal.steps.iter().find(|r| r.ended.is_none() && r.gate.is_some());
        waits.map(|r| format!("gate/{}/{}", r.name, r.attempt))
    };
    journal.question.as_ref().map(|q| q.subject.clone()).or_else(gate)
}

/// What lasts and needs somebody, or is a rollback under way: the worst of it, and in words.
pub(crate) fn ongoing(journal: &RunStatus) -> Option<(NotifyEvent, &str)> {
    let raised = |type_: &str| journal.conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let needs = CONDITIONS.iter().take(4).find_map(|(type_, event)| Some((*event, raised(type_)?.message.as_str())));
    let rolls_back = || {
        let ending = journal.ending.as_ref().filter(|_| journal.phase == Phase::RollingBack)?;
        Some((NotifyEvent::RollingBack, ending.message.as_str()))
    };
    needs.or_else(rolls_back)
}

/// Whether it comes and goes: told again only after a while.
fn comes_and_goes(event: NotifyEvent) -> bool {
    use NotifyEvent::{MetricsInconclusive, NodeLost, Resolved, SelectorDrift, Suspended, TriggerFired};
    matches!(event, MetricsInconclusive | NodeLost | Resolved | SelectorDrift | Suspended | TriggerFired)
}

/// Adds what has happened, unless it is there already, nobody wants it, or it was told a moment ago. `to`: who wants it;
/// none where that is not known.
pub(crate) fn add(notices: &mut Notices, run_uid: &str, happened: Happened, to: Option<Vec<String>>) {
    let id = id(run_uid, happened.event, &happened.subject, happened.at);
    let wanted = to.as_ref().is_none_or(|to| !to.is_empty());
    if !wanted || notices.pending.iter().any(|n| n.id == id) {
        return;
    }
    if comes_and_goes(happened.event) {
        let last = notices.told.get(&happened.event);
        if last.is_some_and(|at| later(*at, QUIET) > happened.at) {
            return;
        }
        notices.told.insert(happened.event, happened.at);
    }
    let Happened { event, at, phase, subject: _, message } = happened;
    push(notices, Notice { id, at, event, phase, message, again: false, to });
}

/// Says again what still lasts, to one receiver, unless that waits already.
pub(crate) fn again(notices: &mut Notices, run_uid: &str, happened: Happened, receiver: &str) {
    let waits = |n: &Notice| n.again && n.to.as_ref().is_some_and(|to| to.iter().any(|t| t == receiver));
    if notices.pending.iter().any(waits) {
        return;
    }
    let subject = format!("{receiver}/again");
    let Happened { event, at, phase, subject: _, message } = happened;
    let id = id(run_uid, event, &subject, at);
    push(notices, Notice { id, at, event, phase, message, again: true, to: Some(vec![receiver.to_owned()]) });
}

/// Where there is no room the oldest that is only said again leaves, or else the oldest.
fn push(notices: &mut Notices, notice: Notice) {
    while notices.pending.len() >= MAX_PENDING {
        let leaves = notices.pending.iter().position(|n| n.again).unwrap_or_default();
        notices.pending.remove(leaves);
        notices.dropped = notices.dropped.saturating_add(1);
    }
    notices.pending.push(notice);
}

/// What a receiver is to be sent next.
pub(crate) fn next<'a>(notices: &'a Notices, receiver: &str) -> Option<&'a Notice> {
    notices.pending.iter().find(|n| n.to.as_ref().is_some_and(|to| to.iter().any(|t| t == receiver)))
}

/// Puts down who wants the notices of which that was not known, and forgets receivers that are not there any more.
pub(crate) fn address(notices: &mut Notices, wants: impl Fn(NotifyEvent) -> Vec<String>, there: &[String]) {
    for notice in &mut notices.pending {
        let to = notice.to.get_or_insert_with(|| wants(notice.event));
        to.retain(|t| there.contains(t));
    }
    notices.pending.retain(|n| n.to.as_ref().is_none_or(|to| !to.is_empty()));
    notices.receivers.retain(|name, _| there.contains(name));
}

/// A receiver has received a notice.
pub(crate) fn received(
    notices: &mut Notices,
    receiver: &str,
    id: &str,
    at: Timestamp,
    answer: &str,
    thread: Option<String>,
) {
    leave(notices, receiver, id);
    let record = notices.receivers.entry(receiver.to_owned()).or_default();
    let attempt = record.failed.saturating_add(1);
    let last = Some(NoticeReceipt { id: id.to_owned(), at, answer: short(answer, 80), attempt });
    let thread = thread.map(|t| short(&t, 128)).or_else(|| record.thread.take());
    let (received, given_up) = (record.received.saturating_add(1), record.given_up);
    *record = ReceiverRecord { received, given_up, last, thread, ..ReceiverRecord::default() };
}

/// A try has failed. The next one comes after a pause that doubles, or after the one that the receiver asks for.
pub(crate) fn failed(notices: &mut Notices, receiver: &str, at: Timestamp, why: &str, pause: Option<Duration>) {
    let record = notices.receivers.entry(receiver.to_owned()).or_default();
    let doubled = BACK_OFF.saturating_mul(1_i64.checked_shl(record.failed.min(20)).unwrap_or(i64::MAX));
    let asked = pause.map_or(0, |p| p.signed().as_secs());
    let wait = doubled.max(asked).min(LONGEST_PAUSE);
    record.failed = record.failed.saturating_add(1);
    record.not_before = at.checked_add(SignedDuration::from_secs(wait)).ok();
    record.why = Some(short(why, MAX_MESSAGE));
}

/// Gives a notice up for a receiver.
pub(crate) fn give_up(notices: &mut Notices, receiver: &str, id: &str) {
    leave(notices, receiver, id);
    let record = notices.receivers.entry(receiver.to_owned()).or_default();
    record.given_up = record.given_up.saturating_add(1);
}

fn leave(notices: &mut Notices, receiver: &str, id: &str) {
    for notice in notices.pending.iter_mut().filter(|n| n.id == id) {
        notice.to.iter_mut().for_each(|to| to.retain(|t| t != receiver));
    }
    notices.pending.retain(|n| n.to.as_ref().is_none_or(|to| !to.is_empty()));
}

/// The id of something that happened to a run at a time.
fn id(run_uid: &str, event: NotifyEvent, subject: &str, at: Timestamp) -> String {
    let digest = Sha256::digest(format!("{run_uid}/{event:?}/{subject}/{at}").as_bytes());
    digest.iter().take(10).map(|b| format!("{b:02x}")).collect()
}
