//! The plan of a run: everything resolved, nothing left to defaults. Stored in the CutoverRun, immutable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::cutover::{DriftPolicy, Release, Retire, Window};
use crate::api::duration::Duration;
use crate::api::restore::{BlockedAction, BlockedDefault, Connections};
use crate::api::step::{Approval, OnFailure, SideRef, To, UndoWhen, WorkloadRef};
use crate::api::trigger::Trigger;

use super::actions::Action;
use super::after::PlanFollowUp;
use super::execution::{Execution, approval_name, undo_name};
use super::triggers::BuiltInTrigger;

/// The form of plan this operator writes and knows.
pub const PLAN_VERSION: u32 = 2;

/// What people are told of a run whose plan is of another form.
pub(crate) fn unknown_form() -> String {
    format!(
        "the plan is of a form that this operator (form {PLAN_VERSION}) does not know: its steps wait for the operator \
         that wrote it; a restore is still made, when it is due or when the decision Rollback asks for it"
    )
}

/// A fully resolved run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The Cutover's name.
    pub cutover: String,
    pub namespace: String,
    /// The release.
    #[serde(default)]
    pub release: Release,
    /// The account that everything is done as, as long as the run lasts.
    pub service_account: String,
    /// Other accounts that Jobs may run as. Plans of older versions have no such list, and their Jobs any account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_accounts: Option<Vec<String>>,
    /// Where metrics come from, as long as the run lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<crate::api::prometheus::Prometheus>,
    /// Services, switched together.
    pub services: Vec<String>,
    /// The side being activated.
    pub target: PlanSide,
    /// The side that was live when the run began.
    pub old: PlanSide,
    /// Every step of every phase, in order.
    pub steps: Vec<PlanStep>,
    pub switch: PlanSwitch,
    /// The way back; absent in plans of operators that measured it by `switch.minReady` and never undid first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<PlanRollback>,
    pub observe: PlanObserve,
    /// When the switch may happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What a foreign selector leads to.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// The templates that steps and triggers came from, as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<PlanTemplate>,
    /// Steps whose recorded success in an earlier run is kept, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Kept>,
    /// Checks after completion, by the time at which each is first due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_up: Vec<PlanFollowUp>,
    /// What becomes of the old side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retire>,
}

/// A template that the plan was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTemplate {
    /// `CutoverTemplate` or `ClusterCutoverTemplate`.
    pub kind: String,
    pub name: String,
    pub uid: String,
    /// Its generation when the run began.
    pub generation: i64,
}

/// The success of a step in an earlier run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The run in which the step was carried out.
    pub run: String,
    /// What it saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
    /// What it captured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub captures: BTreeMap<String, serde_json::Value>,
}

/// A side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSide {
    pub name: String,
    /// The part of the selector that names it.
    pub selector: BTreeMap<String, String>,
    pub workloads: Vec<WorkloadRef>,
}

/// The switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSwitch {
    /// Ready endpoints wanted.
    pub min_ready: MinReady,
    /// Pause after convergence.
    pub drain: Duration,
    /// Longest switch.
    pub timeout: Duration,
    /// What becomes of connections to the old side; plans of older versions keep them.
    #[serde(default)]
    pub connections: Connections,
}

/// The way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRollback {
    /// Ready endpoints of the old side with which it is restored at once.
    pub min_ready: MinReady,
    /// What happens where the old side cannot serve before something is undone.
    pub blocked: BlockedAction,
    /// How long people have to answer.
    pub within: Duration,
    /// What is done when nobody answers.
    pub default: BlockedDefault,
    /// What becomes of connections to the target after a restore; plans of older versions keep them.
    #[serde(default)]
    pub connections: Connections,
    /// The time of all steps that come before the restore.
    #[serde(default)]
    pub before: Duration,
}

/// Ready endpoints wanted: a number, or per cent of the side's wanted replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MinReady {
    Count(u32),
    /// Per cent.
    Percent(u32),
}

impl MinReady {
    /// How many of `wanted`; never fewer than one.
    pub fn of(self, wanted: u32) -> u32 {
        match self {
            Self::Count(n) => n.max(1),
            Self::Percent(p) => (u64::from(wanted) * u64::from(p)).div_ceil(100).max(1) as u32,
        }
    }
}

/// The observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanObserve {
    /// Conclusive time wanted.
    #[serde(rename = "for")]
    pub for_: Duration,
    /// How often triggers are looked at.
    pub every: Duration,
    /// After this people decide.
    pub timeout: Duration,
    /// Triggers; `every`, `severity`, `within`, `default`, `noData`, `until` are filled in.
    pub triggers: Vec<Trigger>,
    /// The operator's own triggers, which are looked at after them. Plans of older versions name none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "builtIn")]
    pub built_in: Vec<BuiltInTrigger>,
}

/// Where a step stands in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    Preflight,
    Prepare,
    Verify,
    Confirm,
    Finish,
    BeforeRestore,
    Rollback,
    RollbackVerify,
    FollowUp,
    Retire,
}

impl Stage {
    /// The side a request goes to when it does not say.
    pub(crate) const fn default_side(self) -> crate::api::step::To {
        match self {
            Self::Preflight | Self::Prepare | Self::Verify => crate::api::step::To::Target,
            Self::Confirm
            | Self::Finish
            | Self::BeforeRestore
            | Self::Rollback
            | Self::RollbackVerify
            | Self::FollowUp
            | Self::Retire => crate::api::step::To::Live,
        }
    }
    /// Whether it comes before the switch.
    pub(crate) const fn before_switch(self) -> bool {
        matches!(self, Self::Preflight | Self::Prepare | Self::Verify)
    }
    /// Whether it comes after Completed.
    pub const fn after_completed(self) -> bool {
        matches!(self, Self::FollowUp | Self::Retire)
    }
    /// Whether it belongs to the way back.
    pub const fn is_way_back(self) -> bool {
        matches!(self, Self::BeforeRestore | Self::Rollback | Self::RollbackVerify)
    }
    /// The phase it comes from, as in `spec.phases`; `retire` for the retirement.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Prepare => "prepare",
            Self::Verify => "verify",
            Self::Confirm => "confirm",
            Self::Finish => "finish",
            Self::BeforeRestore => "beforeRestore",
            Self::Rollback => "rollback",
            Self::RollbackVerify => "rollbackVerify",
            Self::FollowUp => "followUp",
            Self::Retire => "retire",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// Unique; `undo/NAME` for an undo (built by [`Plan::undo_of`]).
    pub name: String,
    pub stage: Stage,
    /// Counts against a suite's `maxCriticalFailures`.
    pub critical: bool,
    /// CEL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Bounds all attempts together.
    pub timeout: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// Pause between two.
    pub every: Duration,
    /// Skipped when one of these was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// In a suite: after these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// In a suite that keeps cookies: those that the answer sets are kept, and those of these steps are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Vec<String>>,
    /// What a failure leads to.
    pub on_failure: OnFailure,
    pub action: Action,
    /// What reverses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<PlanUndo>,
}

impl PlanStep {
    /// A step of the operator's own.
    pub(super) fn inserted(name: &str, stage: Stage, attempts: u32, action: Action) -> Self {
        let every = Duration::from_secs(5);
        Self {
            name: name.to_owned(),
            stage,
            critical: true,
            when: None,
            timeout: action.time(attempts, every),
            attempts,
            every,
            needs: vec![],
            after: vec![],
            session: None,
            on_failure: OnFailure::Fail,
            action,
            undo: None,
        }
    }

    /// The steps of which each has an action of its own: those of a suite, else the step itself.
    pub fn parts(&self) -> &[Self] {
        if let Action::Suite(suite) = &self.action { &suite.steps } else { std::slice::from_ref(self) }
    }
}

/// What reverses a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanUndo {
    /// When it is due.
    pub when: UndoWhen,
    /// Bounds it.
    pub timeout: Duration,
    /// Who must agree first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// It runs before the selectors go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before_restore: bool,
    pub action: Action,
}

/// Why a stored plan cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Written by another version of the operator: steps stop, a restore never does.
    #[error("the plan has form {0}, and this operator knows form {PLAN_VERSION}: run the operator that wrote it")]
    UnknownVersion(u32),
    /// Not a plan at all.
    #[error("the plan cannot be read: {0}")]
    Malformed(String),
}

impl Plan {
    /// Reads a plan that a run holds.
    pub fn from_value(version: u32, value: &serde_json::Value) -> Result<Self, PlanError> {
        if version != PLAN_VERSION {
            return Err(PlanError::UnknownVersion(version));
        }
        Self::deserialize(value).map_err(|e| PlanError::Malformed(e.to_string()))
    }

    /// The steps of a stage, in order.
    pub fn stage(&self, stage: Stage) -> impl DoubleEndedIterator<Item = &PlanStep> {
        self.steps.iter().filter(move |s| s.stage == stage)
    }

    /// A step by name, those of suites included; of a further execution of it (`STEP@ROUND`), the step.
    pub fn step(&self, name: &str) -> Option<&PlanStep> {
        let execution: Execution = name.parse().ok().filter(Execution::is_of_step)?;
        self.named_step(execution.step())
    }

    fn named_step(&self, name: &str) -> Option<&PlanStep> {
        self.steps.iter().find_map(|s| if s.name == name { Some(s) } else { s.parts().iter().find(|x| x.name == name) })
    }

    /// What the execution of this name does: a step, or a step's undo (`undo/NAME`).
    pub fn action(&self, name: &str) -> Option<&Action> {
        match name.parse().ok()? {
            Execution::Undo(step) => self.named_step(&step)?.undo.as_ref().map(|u| &u.action),
            Execution::First(step) | Execution::Again(step, _) => self.named_step(&step).map(|s| &s.action),
            Execution::Approval(_) => None,
        }
    }

    /// The undo of a step, as a step named `undo/NAME`.
    pub(crate) fn undo_of(&self, step: &PlanStep) -> Option<PlanStep> {
        let undo = step.undo.as_ref()?;
        Some(PlanStep {
            name: undo_name(&step.name),
            stage: step.stage,
            critical: true,
            when: None,
            timeout: undo.timeout,
            attempts: 1,
            every: Duration::from_secs(5),
            needs: vec![],
            after: vec![],
            session: None,
            on_failure: OnFailure::Continue,
            action: undo.action.clone(),
            undo: None,
        })
    }

    /// The gate before the undo of a step, as a step named `approve/NAME`.
    pub(crate) fn approval_of(&self, step: &PlanStep) -> Option<PlanStep> {
        let approval = step.undo.as_ref()?.approval.clone()?;
        let timeout = approval_limit(&approval);
        let undo = self.undo_of(step)?;
        Some(PlanStep { name: approval_name(&step.name), timeout, action: Action::Approval(approval), ..undo })
    }

    /// The approval that a gate of this name waits for.
    pub fn gate(&self, name: &str) -> Option<&Approval> {
        match name.parse().ok()? {
            Execution::Approval(step) => self.named_step(&step)?.undo.as_ref()?.approval.as_ref(),
            Execution::First(step) | Execution::Again(step, _) => match &self.named_step(&step)?.action {
                Action::Approval(approval) => Some(approval),
                _ => None,
            },
            Execution::Undo(_) => None,
        }
    }

    /// Whether a step stops the target, so that a single writer is gone before the old side starts: a step of `beforeRestore`
    /// that scales it to 0. It is awaited outside the time of that phase.
    pub fn stops_target(&self, step: &PlanStep) -> bool {
        let Action::Scale(scale) = &step.action else { return false };
        let of_target = self.named(scale.side, &scale.workloads).iter().any(|w| self.target.workloads.contains(w));
        step.stage == Stage::BeforeRestore && scale.replicas == 0 && of_target
    }

    /// Whether an undo works on the target as it runs, so that it does not wait for the end of the target's connections.
    pub fn uses_target(&self, undo: &Action) -> bool {
        let of_target = |side: Option<SideRef>, workloads: &[WorkloadRef]| {
            self.named(side, workloads).iter().any(|w| self.target.workloads.contains(w))
        };
        match undo {
            Action::Job(job) => job.from.as_ref().is_some_and(|from| from.side == SideRef::Target),
            Action::Http(http) => http.to == Some(To::Target),
            Action::Tls(tls) => tls.to == Some(To::Target),
            Action::Config(config) => config.from.as_ref().is_some_and(|from| from.side == SideRef::Target),
            Action::Rollout(of) => of_target(of.side, &of.workloads),
            Action::Scale(of) => of_target(of.side, &of.workloads),
            Action::SetEnv(of) => of_target(of.side, &of.workloads),
            Action::Restart(of) => of_target(of.side, &of.workloads),
            Action::Logs(of) => of.side == Some(SideRef::Target),
            // What a former run had scaled down is scaled down by the end of the connections.
            Action::Unscale { step } if self.scaled_up().any(|(name, ..)| name == step) => false,
            Action::Unscale { step } | Action::UndoSetEnv { step } => {
                self.step(step).is_some_and(|step| self.uses_target(&step.action))
            }
            Action::Metric(_)
            | Action::Resource(_)
            | Action::CronJobs(_)
            | Action::Wait(_)
            | Action::Suite(_)
            | Action::Approval(_)
            | Action::UndoRollout(_)
            | Action::Permissions {}
            | Action::UndoCronJobs { .. } => false,
        }
    }

    /// With how many ready endpoints, of so many that it had, the old side is restored at once.
    pub(crate) fn restore_min_ready(&self, wanted: u32) -> u32 {
        self.rollback.as_ref().map_or(self.switch.min_ready, |r| r.min_ready).of(wanted)
    }

    /// A side by its part in the run.
    pub fn side(&self, side: SideRef) -> &PlanSide {
        match side {
            SideRef::Target => &self.target,
            SideRef::Old => &self.old,
        }
    }
}

/// How long an approval may take: `within`, else a day.
pub(crate) fn approval_limit(approval: &Approval) -> Duration {
    approval.within.unwrap_or(Duration::from_mins(24 * 60))
}
