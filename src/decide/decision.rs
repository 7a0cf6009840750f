//! PURE DATA. What a decision is: the journal to write, how urgently, and what is then to be done, read and told.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::phase::Phase;
use crate::api::run::{RunState, RunStatus, StepState};
use crate::effect::{Effect, EffectKey, Read, ReadKey};
use crate::journal;
use crate::world::Said;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The journal as it must be written before any of `effects` is acted on.
    pub journal: RunStatus,
    /// How urgent writing it is.
    pub write: Write,
    /// To be acted on once the journal is written. They commute. Those under way are not repeated.
    pub effects: Vec<Effect>,
    /// To be looked at. A read under way or answered under the same key is not repeated; one not named any more is dropped.
    pub reads: BTreeMap<ReadKey, Read>,
    /// Results of effects that this decision has taken into the journal.
    pub(crate) consumed: Vec<EffectKey>,
    /// What people have been told that stands in no journal.
    pub said: Said,
    /// Why: each becomes one Event and one log line, after the journal is written.
    pub notes: Vec<Note>,
    /// Decide again at this time, even if nothing is heard.
    pub wake: Option<Timestamp>,
}

impl Decision {
    /// Whether nothing is under way: a completed run that only waits for what is to come.
    pub fn rests(&self) -> bool {
        let running = self.journal.steps.iter().any(|r| r.state == StepState::Running);
        self.journal.phase == Phase::Completed
            && self.journal.state == RunState::Active
            && self.effects.is_empty()
            && self.reads.is_empty()
            && !running
    }
}

/// How urgent writing the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    /// Nothing changed.
    No,
    /// Only the state of trials changed: within 10 s (DESIGN §6).
    Soon,
    /// Before anything else happens.
    Now,
}

/// A reason, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A warning, or normal.
    pub warning: bool,
    /// One of `condition::reasons`.
    pub reason: String,
    /// What it is about, such as a step.
    pub subject: String,
    /// In words.
    pub message: String,
}

/// How urgent the difference between two journals is.
pub(crate) fn urgency(before: &RunStatus, after: &RunStatus) -> Write {
    if before == after {
        Write::No
    } else if journal::durable(before) == journal::durable(after) {
        Write::Soon
    } else {
        Write::Now
    }
}
