//! PURE. A decision while it is being made: the journal as it will be, and what has been asked for so far.

use jiff::Timestamp;

use crate::actions::{self, Cx, Out};
use crate::api::condition::reasons;
use crate::api::duration::Duration;
use crate::api::phase::Phase;
use crate::api::run::{Ending, Question, RunState, RunStatus, ServiceSwitch};
use crate::decide::decision::{Decision, Note, urgency};
use crate::effect::change::Kind;
use crate::effect::{Effect, EffectKey, Outcome};
use crate::journal::question::Subject;
use crate::journal::transition::{self, IllegalEvent, SwitchEvent};
use crate::journal::{self, later};
use crate::plan::Plan;
use crate::world::{Said, World};

/// A decision in the making.
pub(crate) struct Draft<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    /// The journal as it was written last.
    pub before: &'a RunStatus,
    /// The journal as it will be.
    pub journal: RunStatus,
    pub out: Out,
    /// What people have been told that stands in no journal.
    pub said: Said,
    pub notes: Vec<Note>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(plan: &'a Plan, journal: &'a RunStatus, world: &'a World) -> Self {
        Self {
            plan,
            world,
            before: journal,
            journal: journal.clone(),
            out: Out::default(),
            said: world.said.clone(),
            notes: vec![],
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Whether steps, observation and clocks of approvals stand still: suspended, or a Service has a foreign selector.
    /// Never on the way back.
    pub(crate) fn paused(&self) -> bool {
        if self.journal.ending.is_some() {
            return false;
        }
        self.suspended() || !self.drifted().is_empty()
    }

    /// Suspended by the field or by a person's decision.
    pub(crate) fn suspended(&self) -> bool {
        let by_field = self.world.cutover.as_ref().and_then(|c| c.value.as_ref()).is_some_and(|c| c.suspend);
        by_field || self.journal.suspended.is_some()
    }

    /// Services whose selector is neither side's, by name.
    pub(crate) fn drifted(&self) -> Vec<String> {
        crate::status::drifted(self.plan, self.world)
    }

    /// Whether a change of replicas by this step is under way.
    pub(crate) fn scaling(&self, step: &str) -> bool {
        let scales = |key: &EffectKey| matches!(key, EffectKey::Change { change: Kind::Scale, why, .. } if why == step);
        self.world.in_flight.iter().any(scales)
    }

    pub(crate) fn cx<'b>(&'b self) -> Cx<'b>
    where
        'a: 'b,
    {
        Cx { plan: self.plan, journal: &self.journal, world: self.world, paused: self.paused() }
    }

    pub(crate) fn note(&mut self, warning: bool, reason: &str, subject: &str, message: impl Into<String>) {
        self.notes.push(Note { warning, reason: reason.into(), subject: subject.into(), message: message.into() });
    }

    /// Enters a phase. An illegal transition would be a defect of this module: it is told and nothing changes.
    pub(crate) fn enter(&mut self, to: Phase, reason: &str, message: &str) {
        let now = self.now();
        match journal::enter(&mut self.journal, to, reason, message, now) {
            Ok(()) => {
                let warning = to == Phase::RollingBack || to.is_over();
                self.note(warning, reason, to.as_str(), message);
            }
            Err(e) => self.note(true, reasons::DEFECT, to.as_str(), e.to_string()),
        }
    }

    /// Whether a change of the journal was legal. One that is not is a defect of this module: it is told, and nothing has
    /// changed.
    pub(crate) fn legal(&mut self, change: Result<(), IllegalEvent>) -> bool {
        match change {
            Ok(()) => true,
            Err(e) => {
                self.note(true, reasons::DEFECT, &e.what, e.to_string());
                false
            }
        }
    }

    /// Lets an event happen to the switch of a Service.
    pub(crate) fn switch_event(&mut self, service: &mut ServiceSwitch, event: SwitchEvent) {
        let change = transition::switch(service, event);
        self.legal(change);
    }

    /// Ends the run: rollback when users may be on the target, else undo and `before_switch`.
    pub(crate) fn end(&mut self, before_switch: Phase, reason: &str, message: &str, trigger: Option<&str>) {
        if self.journal.ending.is_some() || self.journal.phase.is_over() {
            return;
        }
        let switched = self.journal.switch.is_some();
        let phase = if switched { Phase::RolledBack } else { before_switch };
        self.journal.ending = Some(Ending {
            phase,
            reason: reason.into(),
            message: journal::short(message, 512),
            at: self.now(),
            trigger: trigger.map(str::to_owned),
            incomplete: false,
            scaled_at: None,
            empty_since: None,
            undo_first: None,
            stopped_at: None,
            prepared_at: None,
        });
        self.journal.question = None;
        // What this decision wanted on the way forward is not sent any more.
        self.out.effects.clear();
        // What stood in the way of the switch does not stand in the way of the restore.
        for s in self.journal.switch.iter_mut().flat_map(|s| &mut s.services).filter(|s| journal::may_be_switched(s)) {
            s.message = None;
        }
        if switched {
            self.enter(Phase::RollingBack, reason, message);
        } else {
            self.note(true, reason, self.journal.phase.as_str(), format!("{message}; undoing what was done"));
        }
    }

    /// Asks people, unless they are being asked something already.
    pub(crate) fn ask(&mut self, subject: &Subject, text: &str, within: Option<Duration>, default_rollback: bool) {
        if self.journal.question.is_some() {
            return;
        }
        let now = self.now();
        self.journal.question = Some(Question {
            subject: subject.to_string(),
            text: journal::short(text, 512),
            at: now,
            until: within.map(|w| later(now, w)),
            default_rollback,
        });
        self.note(true, crate::api::condition::types::AWAITING_DECISION, &subject.to_string(), text);
    }

    /// The result of an effect, if there is one not yet taken in. Taking it consumes it.
    pub(crate) fn outcome(&mut self, key: &EffectKey) -> Option<(Timestamp, Outcome)> {
        let mut out = std::mem::take(&mut self.out);
        let outcome = out.outcome(&self.cx(), key);
        self.out = out;
        outcome
    }

    /// Wants an effect, unless it is under way, its result is still to be taken in, or its last try was less than `pace` ago.
    pub(crate) fn want(&mut self, effect: Effect, pace: Duration) {
        let mut out = std::mem::take(&mut self.out);
        actions::want(&self.cx(), effect, pace, &mut out);
        self.out = out;
    }

    /// Drops a reason that stands once already.
    pub(crate) fn tell_once(&mut self, type_: &str, reason: &str, subject: &str, message: &str) {
        let known = self.journal.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
        if !known {
            self.note(true, reason, subject, message);
        }
    }

    pub(crate) fn finish(mut self) -> Decision {
        if self.journal.state == RunState::Closed {
            // What was not taken up in time is left to whoever looks at decisions on closed runs.
            self.out.effects.retain(|e| !matches!(e, Effect::TakeUp { .. }));
        }
        let write = urgency(self.before, &self.journal);
        Decision {
            write,
            journal: self.journal,
            effects: self.out.effects,
            reads: self.out.reads,
            consumed: self.out.consumed,
            said: self.said,
            notes: self.notes,
            wake: self.out.wake,
        }
    }
}
