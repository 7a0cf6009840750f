//! PURE. One file per step action: what it needs to see, how that is judged, which effect it wants.
//!
//! A new action is one file here, one API type, one variant of [`crate::plan::Action`] and one line in [`advance`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::run::{RunStatus, StepRecord};
use crate::effect::{Effect, EffectKey, Outcome, Read, ReadKey};
use crate::journal::later;
use crate::plan::{Action, Plan, PlanStep};
use crate::world::World;

mod attempt;
mod config;
pub mod http;
mod job;
mod job_manifest;
mod metric;
mod permissions;
mod rollout;
mod scale;
mod suite;
pub mod targets;
mod wait;

pub use attempt::{common_vars, drive};

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

impl Verdict {
    /// It did what it should, and captured nothing.
    pub fn pass(evidence: Option<Value>) -> Self {
        Self::Pass { evidence, captures: BTreeMap::new() }
    }
    /// It did not, for this reason.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::Fail { message: message.into(), evidence: None }
    }
}

/// Takes the attempt `record.attempt` of `step` one move further. `None`: still under way, with `record.message` saying why.
/// Called again and again with the same record until it returns a verdict; must ask for the same reads and effects until then.
pub fn advance(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    match &step.action {
        Action::Permissions {} => permissions::advance(cx, record, out),
        Action::Job(x) => job::advance(cx, x, record, out),
        Action::Http(x) => http::advance(cx, x, step.stage.default_side(), record, out),
        Action::Suite(x) => suite::advance(cx, x, record, out),
        Action::Config(x) => config::advance(cx, x, record, out),
        Action::Rollout(x) => rollout::advance(cx, x, record, out),
        Action::Metric(x) => metric::advance(cx, x, record, out),
        Action::Scale(x) => scale::advance(cx, x, record, out),
        Action::Unscale { step } => scale::undo(cx, step, record, out),
        Action::Wait(x) => wait::advance(cx, x, record, out),
    }
}

/// The result of an effect, if there is one not yet taken in. Taking it consumes it.
fn take(cx: &Cx, key: &str, out: &mut Out) -> Option<Outcome> {
    if out.consumed.iter().any(|k| k == key) {
        return None;
    }
    let seen = cx.world.outcomes.get(key)?;
    out.consumed.push(key.to_owned());
    Some(seen.value.clone())
}

/// Wants an effect, unless it is under way, its result is still to be taken in, or its last try was less than `pace` ago.
pub fn want(cx: &Cx, effect: Effect, pace: Duration, out: &mut Out) {
    let key = effect.key();
    let answered = cx.world.outcomes.contains_key(&key) && !out.consumed.contains(&key);
    if answered || cx.world.in_flight.contains(&key) {
        return;
    }
    if let Some(tried) = cx.world.tried.get(&key) {
        let due = later(*tried, pace);
        if due > cx.world.now {
            out.wake_at(due);
            return;
        }
    }
    out.effects.push(effect);
}
