//! PURE. One file per step action: what it needs to see, how that is judged, which effect it wants.
//!
//! A new action is one file here, one API type, one variant of [`crate::plan::Action`] and one line in [`advance`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::run::{RunStatus, StepRecord};
use crate::effect::{Effect, EffectKey, Read, ReadKey};
use crate::plan::{Plan, PlanStep};
use crate::world::World;

/// What an action may look at.
pub struct Cx<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The journal as it stands before this step's own changes.
    pub journal: &'a RunStatus,
    /// What was seen.
    pub world: &'a World,
    /// No new attempt begins.
    pub paused: bool,
}

/// What an action wants, collected over all actions of one decision.
#[derive(Debug, Default)]
pub struct Out {
    /// Effects.
    pub effects: Vec<Effect>,
    /// Reads.
    pub reads: BTreeMap<ReadKey, Read>,
    /// Outcomes taken in.
    pub consumed: Vec<EffectKey>,
    /// The earliest time somebody wants to be woken.
    pub wake: Option<Timestamp>,
    /// Records of sub-steps.
    pub records: Vec<StepRecord>,
    /// Values captured.
    pub captures: BTreeMap<String, Value>,
}

impl Out {
    /// Wake at `at` at the latest.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

/// How an attempt of an action ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It did what it should.
    Pass {
        /// What it saw.
        evidence: Option<Value>,
        /// What it captured.
        captures: BTreeMap<String, Value>,
    },
    /// It did not; another attempt may be made.
    Fail {
        /// Why, naming the expectation or field.
        message: String,
        /// What it saw.
        evidence: Option<Value>,
    },
    /// It was started and what it did is not known: never tried again by itself.
    Unknown {
        /// Why.
        message: String,
    },
}

/// Takes the attempt `record.attempt` of `step` one move further. `None`: still under way, with `record.message` saying why.
/// Called again and again with the same record until it returns a verdict; must ask for the same reads and effects until then.
pub fn advance(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let _ = (cx, step, record, out);
    None
}

/// Drives an execution.
pub fn drive(cx: &Cx, step: &PlanStep, record: Option<&StepRecord>, out: &mut Out) -> StepRecord {
    let _ = (cx, step, out);
    record.cloned().unwrap_or_default()
}
