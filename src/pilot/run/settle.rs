//! The journal is written where it must be written now, and what came of it.

use super::orders::{Now, Order, Put, Reread, Then};
use super::rescue::{self, AfterRescue};
use super::{End, Flow, Ground, Pilot, Stage, is_restore};
use crate::api::condition::reasons;
use crate::api::run::{RunState, RunStatus};
use crate::decide::Decision;
use crate::effect::hash;
use crate::journal;
use crate::journal::outbox;

/// Pause before a finalizer is tried again.
const RELEASE_AGAIN: std::time::Duration = std::time::Duration::from_millis(200);
/// So many writes without an answer are known again: those of some ten minutes.
const MOST_UNANSWERED: usize = 512;

impl Pilot {
    pub(super) fn ahead(&self) -> bool {
        self.record.as_ref() != Some(&self.journal)
    }

    pub(super) fn closed(&self) -> bool {
        self.record.as_ref().is_some_and(|s| s.state == RunState::Closed)
    }

    /// Whether the journal must be written now.
    pub(super) fn settle(&mut self, decision: Box<Decision>, now: Now) -> Flow {
        let acts = decision.effects.iter().any(|e| !is_restore(e)) || !self.consumed.is_empty();
        if !(self.urgent || self.ahead() && (acts || self.wake.soon_is_due(now.ticks))) {
            // A run to which nothing has happened yet stands as it was created.
            let standing = self.record.as_ref().map(journal::durable).unwrap_or_default();
            if standing == journal::durable(&self.journal) {
                return Flow::Go(Stage::Proven(decision, Ground::Standing));
            }
            self.urgent = true;
        }
        if decision.effects.iter().any(is_restore) {
            let since = *self.restore_wanted.get_or_insert(now.ticks);
            // A restore that was claimed by an earlier write does not wait for this one.
            if rescue::is_due(since, now.ticks) || rescue::is_claimed(self.record.as_ref()) {
                return self.rescue(decision, AfterRescue::Write, now);
            }
        }
        Flow::Go(Stage::Writing(decision))
    }

    pub(super) fn write(&mut self, decision: Box<Decision>, now: Now, orders: &mut Vec<Order>) -> Flow {
        if !self.wake.may_write(now.ticks) {
            return Flow::Go(Stage::Waiting(decision));
        }
        for (delivery, at) in &self.receipts {
            match at {
                Some(at) => outbox::received(&mut self.journal, delivery.sink, &delivery.entry, *at),
                None => outbox::not_received(&mut self.journal, &delivery.entry),
            }
        }
        // A try is counted once, however often the journal is written; a receipt counts until it is known to be written.
        self.receipts.retain(|(_, at)| at.is_some());
        if journal::fit(&mut self.journal, self.spec_size) {
            orders.push(Order::Cut);
        }
        let restores = decision.effects.iter().any(is_restore);
        let within = self.restore_wanted.filter(|_| restores).map(|since| rescue::time_to_write(since, now.ticks));
        let journal = Box::new(self.journal.clone());
        Flow::Stop(Stage::AwaitsPut(decision), Then::Put { journal, within })
    }

    /// What came of a write.
    pub(super) fn put(&mut self, put: Put, now: Now) {
        let decision = match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::AwaitsPut(decision) => Some(decision),
            Stage::AwaitsLastPut => None,
            other => {
                self.stage = other;
                return;
            }
        };
        if put == Put::Written {
            self.record = Some(self.journal.clone());
            self.unanswered.clear();
            self.receipts.clear();
        }
        self.stage = match (decision, put) {
            (None, Put::Written) => Stage::LastWritten,
            (None, Put::Conflict | Put::Gone | Put::Failed { .. }) => Stage::Over(End::Stopped),
            (Some(decision), Put::Written) => Stage::Proven(decision, Ground::Written),
            (Some(decision), Put::Conflict) => Stage::Rereading(decision),
            (Some(_), Put::Gone) => Stage::Over(End::Gone),
            (Some(decision), Put::Failed { why, unanswered }) => {
                if unanswered {
                    self.not_answered();
                }
                self.complain(reasons::JOURNAL_NOT_WRITTEN, &format!("the journal cannot be written: {why}"));
                self.wake.retry(now.ticks);
                Stage::Waiting(decision)
            }
        };
    }

    /// After a conflict the record decides. What was decided on the old one is dropped, its outcomes are not.
    pub(super) fn read_again(&mut self, read: Reread, now: Now) {
        let decision = match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::AwaitsRead(decision) => decision,
            other => {
                self.stage = other;
                return;
            }
        };
        self.stage = match (read, decision) {
            (Reread::Gone, Some(_)) => Stage::Over(End::Gone),
            (Reread::Gone, None) => Stage::Over(End::Closed),
            (Reread::Failed(_), Some(decision)) => {
                self.wake.retry(now.ticks);
                Stage::Waiting(decision)
            }
            (Reread::Failed(_), None) => {
                self.wake.retry(now.ticks);
                Stage::Pausing
            }
            (Reread::Found { journal, same }, decision) => {
                let tried = std::mem::take(&mut self.unanswered);
                let ours = !tried.is_empty() && on_the_wire(&journal).is_some_and(|found| tried.contains(&found));
                self.record = Some(*journal);
                if decision.is_none() {
                    self.wake.retry_after(now.ticks, RELEASE_AGAIN);
                    Stage::Pausing
                } else {
                    // One of our own writes, whose answer was lost, or only metadata changed: what was decided still stands.
                    if !(same || ours) {
                        self.begin_anew();
                    }
                    Stage::Resting
                }
            }
        };
    }

    /// It is not known whether the journal was written: an API server that hangs may apply an early try long after others
    /// have been made.
    fn not_answered(&mut self) {
        let Some(tried) = on_the_wire(&self.journal).filter(|tried| !self.unanswered.contains(tried)) else { return };
        if self.unanswered.len() == MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(tried);
    }

    /// Somebody else has written the journal.
    pub(super) fn begin_anew(&mut self) {
        self.world.outcomes.extend(self.consumed.drain(..));
        self.notes.clear();
        self.world.not_begun.clear();
        self.world.said.refused.clear();
        self.journal = self.record.clone().unwrap_or_default();
        self.world.begun_before = journal::under_way(&self.journal);
        // Measured by whoever wrote it.
        self.measured = self.journal.clone();
        self.urgent = false;
        // The pause between writes stays as long as it is: whoever wrote may do so again and again.
    }
}

/// What a journal is known by as the API server shows it.
fn on_the_wire(journal: &RunStatus) -> Option<String> {
    serde_json::to_value(journal).ok().map(|journal| hash(&journal))
}
