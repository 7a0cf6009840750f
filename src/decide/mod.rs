//! PURE, TOTAL. Plan + journal + world → what to write down, what to look at, what to do.
//!
//! No clock (time is `world.now`), no I/O, no `async`. Failures of the domain are values here, never `Err`.
//! [`decide`] reads as the lifecycle: people first, then the table of changes, then triggers, then the phase.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::phase::Phase;
use crate::api::run::{RunState, RunStatus, StepState};
use crate::effect::{Effect, EffectKey, Read, ReadKey};
use crate::journal;
use crate::plan::{Plan, Stage};
use crate::world::{Said, World};

mod after;
mod answers;
mod blocked;
mod changes;
mod close;
mod draft;
mod interrupt;
mod nodes;
mod observe;
mod people;
mod restore;
mod rollback;
mod steps;
mod switch;

use draft::Draft;

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
    pub consumed: Vec<EffectKey>,
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

/// Decides.
pub fn decide(plan: &Plan, journal: &RunStatus, world: &World) -> Decision {
    let mut d = Draft::new(plan, journal, world);
    if journal.state == RunState::Closed {
        return d.finish();
    }
    d.journal.phase_since.get_or_insert(world.now);
    // 1. What people and the world have changed; a rollback is decided before anything else.
    people::take_in(&mut d);
    changes::apply(&mut d);
    if d.journal.state == RunState::Closed {
        return d.finish();
    }
    observe::watch_triggers(&mut d);
    people::answer_question(&mut d);
    d.journal.waiting = None;
    // 2. The phase. A phase that ends hands over to the next in the same decision, so that one write carries both.
    for _ in 0..8 {
        let before = (d.journal.phase, d.journal.ending.clone());
        if d.journal.ending.is_some() && !d.journal.phase.is_over() {
            after::interrupted(&mut d);
            rollback::run(&mut d);
        } else {
            run_phase(&mut d);
        }
        if (d.journal.phase, d.journal.ending.clone()) == before {
            break;
        }
    }
    answers::write(&mut d);
    crate::status::conditions(plan, &mut d.journal, world);
    d.finish()
}

fn run_phase(d: &mut Draft) {
    match d.journal.phase {
        Phase::Idle | Phase::Pending => steps::pending(d),
        Phase::Preflight => steps::stage(d, Stage::Preflight, Phase::Preparing),
        Phase::Preparing => steps::stage(d, Stage::Prepare, Phase::Verifying),
        Phase::Verifying => steps::stage(d, Stage::Verify, Phase::Switching),
        Phase::Switching => switch::run(d),
        Phase::Confirming => steps::stage(d, Stage::Confirm, Phase::Observing),
        Phase::Observing => observe::run(d),
        Phase::Finishing => steps::stage(d, Stage::Finish, Phase::Completed),
        Phase::RollingBack => rollback::run(d),
        Phase::Completed => after::run(d),
        Phase::RolledBack | Phase::Failed | Phase::Aborted | Phase::Superseded => close::run(d),
    }
}

/// How urgent the difference between two journals is.
fn urgency(before: &RunStatus, after: &RunStatus) -> Write {
    if before == after {
        Write::No
    } else if journal::durable(before) == journal::durable(after) {
        Write::Soon
    } else {
        Write::Now
    }
}
