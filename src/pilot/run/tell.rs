//! What people are told, and what is measured: after the write that it is about.

use std::any::Any;
use std::collections::BTreeSet;

use super::Pilot;
use super::orders::{Delivery, Ground, Order, Progress, Telling};
use crate::api::run::RunState;
use crate::api::trail::OutboxEntry;
use crate::decide::Note;
use crate::journal;
use crate::journal::outbox::{self, Sink};
use crate::view;

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl Pilot {
    /// What a process before this one has written and perhaps not told.
    pub(super) fn tell_what_stands_open(&mut self) {
        let mut orders = vec![];
        self.tell_again(&mut orders);
        self.outgoing.append(&mut orders);
        // What stands in the run's way stood there before this process, too.
        self.outgoing.push(self.progress(self.measured.clone(), false));
    }

    /// Tells what the outbox still holds and nobody is telling.
    fn tell_again(&mut self, orders: &mut Vec<Order>) {
        let waits = |sink| outbox::pending(&self.measured, sink).map(move |entry| (sink, entry));
        for (sink, entry) in Sink::ALL.into_iter().flat_map(waits) {
            let delivery = Delivery { sink, entry: entry.id.clone() };
            if !self.told.insert(delivery.clone()) {
                continue;
            }
            let note = Note {
                warning: entry.warning,
                reason: entry.reason.clone(),
                subject: entry.subject.clone(),
                message: entry.message.clone(),
            };
            let step = view::step_of(&self.plan, &note.subject).map(str::to_owned);
            orders.push(Order::Tell(Telling { note, step, delivery: Some(delivery), again: true }));
        }
    }

    fn progress(&self, after: crate::api::run::RunStatus, closed: bool) -> Order {
        let before = self.measured.clone();
        Order::Measure(Box::new(Progress { plan: self.plan.clone(), before, after, closed }))
    }

    /// What follows a write: everything up to it is told and done with.
    pub(super) fn tell(&mut self, ground: Ground, orders: &mut Vec<Order>) {
        let ahead = self.ahead();
        self.measure(orders);
        for note in std::mem::take(&mut self.notes) {
            let says = |e: &&OutboxEntry| outbox::tells(e, &note.subject, &note.reason, &note.message);
            let first = |sink| {
                let mut open = outbox::pending(&self.measured, sink).filter(says);
                let deliveries = open.by_ref().map(|e| Delivery { sink, entry: e.id.clone() });
                deliveries.into_iter().find(|delivery| !self.told.contains(delivery))
            };
            let mut deliveries: Vec<Option<Delivery>> = Sink::ALL.into_iter().filter_map(first).map(Some).collect();
            self.told.extend(deliveries.iter().flatten().cloned());
            if deliveries.is_empty() {
                deliveries.push(None);
            }
            let step = view::step_of(&self.plan, &note.subject).map(str::to_owned);
            for (n, delivery) in deliveries.into_iter().enumerate() {
                let (note, step) = (note.clone(), step.clone());
                orders.push(Order::Tell(Telling { note, step, delivery, again: n > 0 }));
            }
        }
        if ground == Ground::Written {
            // What could not be told is tried again with each write: no loop of its own while the API server is away.
            self.tell_again(orders);
            let kept: BTreeSet<&String> = self.measured.outbox.entries.iter().map(|e| &e.id).collect();
            self.told.retain(|delivery| kept.contains(&delivery.entry));
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
            self.outgoing.push(Order::Tell(Telling { note, step: None, delivery: None, again: false }));
        }
    }
}
