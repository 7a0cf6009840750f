//! What people are told, and what is measured: after the write that it is about.

use std::any::Any;
use std::time::Duration;

use super::Pilot;
use super::orders::{Now, Order, Progress, Telling};
use crate::api::phase::Phase;
use crate::api::run::RunState;
use crate::decide::Note;
use crate::journal;

/// A transition older than this has been told, or is of no interest any more: Events are kept for an hour.
const RECENT: Duration = Duration::from_secs(600);

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl Pilot {
    /// A process that ended between writing a transition and telling it leaves that to the next one. The Event's name is
    /// the transition's, so one that was told already is not told twice.
    pub(super) fn tell_the_last_again(&mut self, now: Now) {
        let last = self.journal.timeline.last().map(|m| m.at);
        let recent = |at| now.wall.duration_since(at).as_secs() <= RECENT.as_secs().cast_signed();
        let moments = self.journal.timeline.iter().filter(|m| Some(m.at) == last && recent(m.at));
        self.outgoing.extend(moments.map(|moment| {
            let note = Note {
                warning: moment.phase == Phase::RollingBack || moment.phase.is_over(),
                reason: moment.reason.clone(),
                subject: moment.phase.as_str().into(),
                message: moment.message.clone(),
            };
            Order::Tell(Telling { note, step: None, transition: Some(moment.at), again: true })
        }));
        // What stands in the run's way stood there before this process, too.
        self.outgoing.push(self.progress(self.measured.clone(), false));
    }

    fn progress(&self, after: crate::api::run::RunStatus, closed: bool) -> Order {
        let before = self.measured.clone();
        Order::Measure(Box::new(Progress { plan: self.plan.clone(), before, after, closed }))
    }

    /// What follows a write: everything up to it is told and done with.
    pub(super) fn tell(&mut self, orders: &mut Vec<Order>) {
        let ahead = self.ahead();
        self.measure(orders);
        for note in std::mem::take(&mut self.notes) {
            let moment = journal::moment(&self.measured, &note.subject, &note.reason, &note.message);
            let transition = moment.map(|m| m.at);
            let step = self.plan.action(&note.subject).map(|_| note.subject.clone());
            orders.push(Order::Tell(Telling { note, step, transition, again: false }));
        }
        if !ahead {
            self.consumed.clear();
            self.urgent = false;
            self.complaint = None;
            self.wake.written();
        }
        self.restore_wanted = None;
    }

    /// Measures what the last write has added to the journal.
    fn measure(&mut self, orders: &mut Vec<Order>) {
        let Some(written) = self.record.clone().filter(|s| *s != self.measured) else { return };
        let ended = self.measured.state == RunState::Active && written.state == RunState::Closed;
        orders.push(self.progress(written.clone(), ended && !journal::is_reopened(&written)));
        self.measured = written;
    }

    /// Tells a trouble of the driver itself, once until it is over.
    pub(super) fn complain(&mut self, reason: &str, message: &str) {
        if self.complaint.as_deref() != Some(message) {
            self.complaint = Some(message.to_owned());
            let note =
                Note { warning: true, reason: reason.into(), subject: "journal".into(), message: message.to_owned() };
            self.outgoing.push(Order::Tell(Telling { note, step: None, transition: None, again: false }));
        }
    }
}
