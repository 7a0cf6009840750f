//! PURE, TOTAL. Plan + journal + world → what to write down, what to look at, what to do.
//!
//! No clock (time is `world.now`), no I/O, no `async`. Failures of the domain are values here, never `Err`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::run::RunStatus;
use crate::effect::{Effect, EffectKey, Read, ReadKey};
use crate::plan::Plan;
use crate::world::World;

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
    /// Why: each becomes one Event and one log line, after the journal is written.
    pub notes: Vec<Note>,
    /// Decide again at this time, even if nothing is heard.
    pub wake: Option<Timestamp>,
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
    let _ = (plan, world);
    Decision {
        journal: journal.clone(),
        write: Write::No,
        effects: vec![],
        reads: BTreeMap::new(),
        consumed: vec![],
        notes: vec![],
        wake: None,
    }
}
