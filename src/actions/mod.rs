//! PURE. One file per step action: what it needs to see, how that is judged, which effect it wants.
//!
//! Where a new action is to be added: `src/ARCHITECTURE.md`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::run::{RunStatus, StepRecord};
use crate::effect::sealed::Hidden;
use crate::effect::{Attempt, Effect, EffectKey, Outcome, Read, ReadKey};
use crate::journal::later;
use crate::journal::transition::IllegalEvent;
use crate::plan::{Action, Plan, PlanStep};
use crate::world::World;

mod approval;
mod attempt;
mod change;
mod closing_rights;
mod config;
mod cron_jobs;
mod evidence;
pub mod expect;
pub mod http;
pub mod job;
mod job_account;
#[cfg(test)]
mod job_account_tests;
#[cfg(test)]
mod job_claim_tests;
mod job_labels;
mod job_result;
mod job_start;
#[cfg(test)]
mod job_start_tests;
#[cfg(test)]
mod job_tests;
mod keeping;
pub mod logs;
pub mod manifest;
mod metric;
pub mod permissions;
mod ports;
pub(crate) mod proof;
pub mod request;
pub mod resource;
mod restart;
pub(crate) mod rights;
mod rollout;
mod scale;
mod session;
pub mod set_env;
mod suite;
mod tls;
pub mod trials;
mod undo_job;
mod undo_rollout;
mod wait;

#[cfg(test)]
pub(crate) mod fixtures;

pub use attempt::drive;

/// Pause before an effect of which nothing is known is tried again.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// What an action may look at.
pub(crate) struct Cx<'a> {
    pub plan: &'a Plan,
    /// The journal as it stands before this step's own changes.
    pub journal: &'a RunStatus,
    pub world: &'a World,
    /// No new attempt begins.
    pub paused: bool,
}

impl Cx<'_> {
    /// Whether no new attempt may begin. A run on its way back is never held up (DESIGN §4).
    pub fn holds(&self) -> bool {
        self.paused && self.journal.ending.is_none()
    }

    /// The account that everything is done as, as long as the run lasts.
    pub fn account(&self) -> &str {
        &self.plan.service_account
    }
}

/// What an action wants, collected over all actions of one decision.
#[derive(Debug, Default)]
pub struct Out {
    /// Effects.
    pub effects: Vec<Effect>,
    /// Reads.
    pub reads: BTreeMap<ReadKey, Read>,
    /// Outcomes taken in.
    pub(crate) consumed: Vec<EffectKey>,
    /// The earliest time somebody wants to be woken.
    pub wake: Option<Timestamp>,
    /// Records of sub-steps.
    pub records: Vec<StepRecord>,
    /// Values captured.
    pub captures: BTreeMap<String, Value>,
    /// What people should know though it fails nothing: given once, with the verdict.
    pub warnings: Vec<String>,
    /// Changes of a record that there are not: nothing came of them, and they are told.
    pub(crate) defects: Vec<IllegalEvent>,
}

impl Out {
    /// Wake at `at` at the latest.
    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    /// The result of an effect and when it came, if there is one not yet taken in. Taking it consumes it.
    pub fn outcome(&mut self, cx: &Cx, key: &EffectKey) -> Option<(Timestamp, Outcome)> {
        if self.consumed.contains(key) {
            return None;
        }
        let seen = cx.world.outcomes.get(key)?;
        self.consumed.push(key.clone());
        Some((seen.at, seen.value.clone()))
    }

    /// Wants an effect at the usual pace; see [`want`].
    pub fn want(&mut self, cx: &Cx, effect: Effect) {
        want(cx, effect, PACE, self);
    }
}

/// Wants an effect, unless it is under way, its result is still to be taken in, or its last try was less than `pace` ago.
pub fn want(cx: &Cx, effect: Effect, pace: Duration, out: &mut Out) {
    let key = effect.key();
    let answered = cx.world.outcomes.get(&key);
    // Wanted twice by one decision is wanted once.
    if out.effects.iter().any(|wanted| wanted.key() == key) {
        return;
    }
    if cx.world.in_flight.contains(&key) || (answered.is_some() && !out.consumed.contains(&key)) {
        return;
    }
    // A result that this very decision has taken in is a try that has just ended.
    let last = answered.map(|seen| seen.at).max(cx.world.tried.get(&key).copied());
    if let Some(due) = last.map(|at| later(at, pace))
        && due > cx.world.now
    {
        out.wake_at(due);
        return;
    }
    out.effects.push(effect);
}

/// How an attempt of an action ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It did what it should.
    Pass {
        evidence: Option<Value>,
        captures: BTreeMap<String, Value>,
        /// What only the run's Secret holds: it is written before the step is done.
        hidden: Hidden,
    },
    /// It did not; another attempt may be made.
    Fail {
        /// Why, naming the expectation or field.
        message: String,
        evidence: Option<Value>,
    },
    /// It could not be made, through no fault of whoever was to be asked: nothing was sent. Made again as long as the step
    /// has time, and not counted.
    NotMade {
        /// What was missing.
        message: String,
    },
    /// It did not, and no further attempt can: what it looks at has to be changed first.
    Refused {
        /// Why, naming field and object.
        message: String,
        evidence: Option<Value>,
    },
    /// It was started and what it did is not known: never tried again by itself.
    Unknown {
        /// Why.
        message: String,
    },
}

impl Verdict {
    /// Passed, with what was seen.
    pub fn pass(evidence: Value) -> Self {
        Self::Pass { evidence: Some(evidence), captures: BTreeMap::new(), hidden: Hidden::default() }
    }

    /// Whether it is only recorded once the run's Secret is written.
    fn hides(&self) -> bool {
        matches!(self, Self::Pass { hidden, .. } if !hidden.is_empty())
    }
    /// Failed before anything was seen.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::Fail { message: message.into(), evidence: None }
    }
    /// Not known.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown { message: message.into() }
    }
}

/// Takes the attempt `record.attempt` of `step` one move further. `None`: still under way, with `record.message` saying why.
/// Called again and again with the same record until it returns a verdict; must ask for the same reads and effects until then.
pub fn advance(cx: &Cx, step: &PlanStep, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    match &step.action {
        Action::Permissions {} => permissions::advance(cx, step, record, out),
        Action::Job(job) => job::advance(cx, step, job, record, out),
        Action::Http(http) => http::advance(cx, step, http, record, out),
        Action::Suite(suite) => suite::advance(cx, step, suite, record, out),
        Action::Config(config) => config::advance(cx, step, config, record, out),
        Action::Rollout(rollout) => rollout::advance(cx, rollout, record),
        Action::Metric(metric) => metric::advance(cx, step, metric, record, out),
        Action::Resource(of) => resource::advance(cx, step, of, record, out),
        Action::Tls(of) => tls::advance(cx, step, of, record, out),
        Action::Logs(of) => logs::advance(cx, step, of, record, out),
        Action::Scale(scale) => scale::advance(cx, step, scale, record, out),
        Action::Unscale { step: of } => scale::undo(cx, step, of, record, out),
        Action::SetEnv(set) => set_env::advance(cx, step, set, record, out),
        Action::UndoSetEnv { step: of } => set_env::undo(cx, step, of, record, out),
        Action::Restart(restart) => restart::advance(cx, step, restart, record, out),
        Action::UndoRollout(undo) => undo_rollout::advance(cx, step, undo, record, out),
        Action::CronJobs(jobs) => cron_jobs::advance(cx, step, jobs, record, out),
        Action::UndoCronJobs { step: of } => cron_jobs::undo(cx, step, of, record, out),
        Action::Approval(approval) => approval::advance(cx, step, approval, record, out),
        Action::Wait(wait) => wait::advance(cx, wait, record, out),
    }
}

/// The attempt that a record is about, after which reads and requests are named.
pub(crate) fn attempt_of(step: &PlanStep, record: &StepRecord) -> Attempt {
    Attempt::of(&step.name, record.attempt)
}

/// The key of the one read that an attempt makes.
pub(crate) fn read_key(step: &PlanStep, record: &StepRecord) -> ReadKey {
    ReadKey::Attempt(attempt_of(step, record))
}

/// From `from` to `to`; nothing when that is negative, as after a step of the clock.
pub fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0))
}

/// Which try it is after this long, and when the next one begins: 2 s apart at first, then ever longer, so that a slow
/// API server gets its time.
pub(crate) fn try_of(elapsed: Duration) -> (u64, Duration) {
    let mut end = 2000;
    let mut n = 0;
    while elapsed.as_millis() >= end {
        n += 1;
        end += end.min(30_000);
    }
    (n, Duration::from_millis(end))
}
