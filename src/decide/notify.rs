//! PURE. Who is told what, besides the Events: each receiver of the Cutover hears of what it wants in order, at least once. The
//! notice is written with what it tells of and sent afterwards, beside everything else; nothing but the end of the run ever
//! waits for it, and that for an hour at most.

use crate::api::Verb;
use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::notify::{Notify, NotifyEvent};
use crate::api::phase::Phase;
use crate::api::run::RunState;
use crate::decide::draft::Draft;
use crate::effect::letter::Told;
use crate::effect::{Effect, EffectKey, Outcome};
use crate::journal::notices::{self, Happened};
use crate::journal::{later, short};
use crate::notify;
use crate::plan::notify::SHORTEST_REMINDER;
use crate::plan::same_release;
use crate::world::CutoverView;

/// A notice that a receiver has not taken by then is given up.
const PATIENCE: Duration = Duration::from_mins(60);
/// The same where somebody waits for the end of the run.
const HURRY: Duration = Duration::from_mins(1);

/// Puts down what has happened since the journal was last written, for whoever wants to hear of it.
pub(super) fn put_down(d: &mut Draft) {
    let receivers = receivers(d);
    if receivers.as_ref().is_some_and(|list| list.is_empty()) && d.journal.notices.pending.is_empty() {
        return;
    }
    let run_uid = d.world.run_uid.clone();
    for happened in notices::between(d.before, &d.journal, d.now()) {
        let to = receivers.as_ref().map(|list| wanted_by(list, happened.event));
        notices::add(&mut d.journal.notices, &run_uid, happened, to);
    }
}

/// Takes in what came of what was sent, and gives up what is too old. Before the phase, whose end may wait for it.
pub(super) fn take_in(d: &mut Draft) {
    for receiver in receivers(d).unwrap_or_default() {
        outcome(d, &receiver.name);
        give_up(d, &receiver.name);
    }
}

/// Has everything sent that is due.
pub(super) fn tell(d: &mut Draft) {
    put_down(d);
    if d.journal.state == RunState::Closed {
        return;
    }
    let Some(receivers) = receivers(d) else { return };
    if receivers.is_empty() && d.journal.notices.is_empty() {
        return;
    }
    let there: Vec<String> = receivers.iter().map(|r| r.name.clone()).collect();
    notices::address(&mut d.journal.notices, |event| wanted_by(&receivers, event), &there);
    for receiver in &receivers {
        remind(d, receiver);
        send(d, receiver);
    }
}

/// Whether somebody is still to hear of something, so that the run cannot close.
pub(super) fn is_awaited(d: &mut Draft) -> bool {
    put_down(d);
    // Nobody knows where to send it: the Cutover is gone.
    let gone = d.world.cutover.as_ref().is_some_and(|seen| seen.value.is_none());
    let (now, pending) = (d.now(), &d.journal.notices.pending);
    // What is addressed to nobody yet is given up by nobody, either.
    let open = pending.iter().filter(|n| n.to.is_some() || later(n.at, PATIENCE) > now).map(|n| later(n.at, PATIENCE));
    let Some(last) = open.max().filter(|_| !gone) else { return false };
    d.out.wake_at(last);
    true
}

/// The receivers as the Cutover names them now; none where it is not known.
fn receivers(d: &Draft) -> Option<Vec<Notify>> {
    let seen = d.world.cutover.as_ref()?;
    Some(seen.value.as_ref().map(|view| view.notify.clone()).unwrap_or_default())
}

fn wanted_by(receivers: &[Notify], event: NotifyEvent) -> Vec<String> {
    receivers.iter().filter(|r| notify::wants(r, event)).map(|r| r.name.clone()).collect()
}

fn key(receiver: &str, notice: &str) -> EffectKey {
    EffectKey::Notify { receiver: receiver.to_owned(), notice: notice.to_owned() }
}

/// What came of the last try.
fn outcome(d: &mut Draft, receiver: &str) {
    let Some(id) = notices::next(&d.journal.notices, receiver).map(|n| n.id.clone()) else { return };
    let Some((at, outcome)) = d.outcome(&key(receiver, &id)) else { return };
    let notices = &mut d.journal.notices;
    match outcome {
        Outcome::Told(Told::Received { answer, thread }) => {
            notices::received(notices, receiver, &id, at, &answer, thread)
        }
        Outcome::Told(Told::Not { why, pause }) => notices::failed(notices, receiver, at, &why, pause),
        Outcome::Transient(why) | Outcome::Refused { why, .. } => notices::failed(notices, receiver, at, &why, None),
        _ => notices::failed(notices, receiver, at, "its answer makes no sense", None),
    }
}

/// What lasts is told again when it is time.
fn remind(d: &mut Draft, receiver: &Notify) {
    let Some((event, message)) = notices::ongoing(&d.journal).filter(|(event, _)| notify::wants(receiver, *event))
    else {
        return;
    };
    let Some(every) = notify::remind_every(receiver, event, &d.journal) else { return };
    let every = every.max(SHORTEST_REMINDER);
    let message = short(message, 256);
    let record = d.journal.notices.receivers.get(&receiver.name);
    // Nothing has been received yet: what is to be told first still waits.
    let Some(last) = record.and_then(|r| r.last.as_ref()).map(|last| last.at) else { return };
    let due = later(last, every);
    if due > d.now() {
        d.out.wake_at(due);
        return;
    }
    let (at, phase, run_uid) = (d.now(), d.journal.phase, d.world.run_uid.clone());
    let happened = Happened { event, at, phase, subject: String::new(), message };
    notices::again(&mut d.journal.notices, &run_uid, happened, &receiver.name);
}

/// Gives up what is too old, and says so once until something is received again.
fn give_up(d: &mut Draft, receiver: &str) {
    let patience = if is_in_the_way(d) { HURRY } else { PATIENCE };
    while let Some(notice) = notices::next(&d.journal.notices, receiver).cloned() {
        let due = later(notice.at, patience);
        let record = d.journal.notices.receivers.get(receiver).cloned().unwrap_or_default();
        if due > d.now() {
            d.out.wake_at(due);
            return;
        }
        // One that has waited for so long because nobody was there to send it is tried once.
        if record.failed == 0 || d.world.in_flight.contains(&key(receiver, &notice.id)) {
            return;
        }
        notices::give_up(&mut d.journal.notices, receiver, &notice.id);
        let why = record.why.unwrap_or_else(|| "it was not tried".into());
        let text = format!("{receiver} was not told of {:?}: {why}", notice.event);
        d.note(true, reasons::NOT_DELIVERED, receiver, text);
    }
}

/// Whether somebody waits for the end of a run that is over.
fn is_in_the_way(d: &Draft) -> bool {
    let other = |view: &CutoverView| {
        let (side, release) = (&d.plan.target.name, &d.plan.release);
        view.deleting || view.activate != *side || !same_release(&view.release, release)
    };
    let over = d.journal.phase.is_over() || d.journal.phase == Phase::Completed;
    let intent = d.world.cutover.as_ref().and_then(|c| c.value.as_ref()).is_some_and(other);
    let asked = || d.world.decisions.iter().any(|v| matches!(v.spec.decision, Verb::Retry | Verb::Revalidate));
    over && (intent || asked())
}

/// Sends the next one, if its receiver may be tried now.
fn send(d: &mut Draft, receiver: &Notify) {
    let Some(notice) = notices::next(&d.journal.notices, &receiver.name).cloned() else { return };
    let record = d.journal.notices.receivers.get(&receiver.name);
    if let Some(at) = record.and_then(|r| r.not_before).filter(|at| *at > d.now()) {
        d.out.wake_at(at);
        return;
    }
    let thread = record.and_then(|r| r.thread.clone());
    let letter = Box::new(notify::letter(d.plan, &d.journal, &notice));
    d.want(Effect::Notify { receiver: Box::new(receiver.clone()), letter, thread }, Duration::from_millis(0));
}
