//! PURE. The record of a run, from the run alone: what the sheets show, and what `--output json` and `--attest` hold.
//! What the run does not say is absent, and named in `notRecorded`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::parts;
use crate::api::decision::Verb;
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, Question, RunStatus, Selector, StepState, SwitchState, TrialVerdict};
use crate::api::trigger::Severity;
use crate::plan::PLAN_VERSION;
use crate::view;

/// The record of a run.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub run: String,
    pub uid: String,
    pub namespace: String,
    pub cutover: String,
    /// The account that everything was done as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub phase: Phase,
    /// Nothing more is written to it.
    pub closed: bool,
    pub verdict: Verdict,
    pub release: Release,
    /// The target first.
    pub sides: Vec<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The latest time that the run names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_word: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<f64>,
    pub phases: Vec<Stretch>,
    /// What was begun in the order of the starts, then what was planned and never begun.
    pub steps: Vec<Step>,
    pub approvals: Vec<Gate>,
    /// Every decision that was taken in, also one that was refused.
    pub decisions: Vec<Said>,
    /// The question that is still open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    pub measurements: Vec<Measurement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    pub losses: Losses,
    pub checks: Vec<Check>,
    /// What this sheet cannot say, as the run does not have it.
    pub not_recorded: Vec<String>,
}

/// Whether the release went live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) enum Word {
    #[serde(rename = "GO")]
    Go,
    #[serde(rename = "NO-GO")]
    NoGo,
    /// The run is not over.
    #[default]
    #[serde(rename = "open")]
    Open,
}

/// GO or NO-GO.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub decision: Word,
    /// Whose decision it was: people, else what decided.
    pub owners: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What it rests on, in the run's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was released.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Release {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// What was live before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// A side.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Side {
    pub name: String,
    /// `target`, or `old`: live when the run began.
    pub part: &'static str,
    pub workloads: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    pub images: Vec<Image>,
}

/// What a container ran.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    pub workload: String,
    pub container: String,
    pub image: String,
    /// What it was when the switch was claimed, else when the side was checked; two where pods differed.
    pub ids: Vec<String>,
    /// Those of them that are digests, without the name before them.
    pub digests: Vec<String>,
}

/// A phase.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Stretch {
    pub phase: Phase,
    pub from: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    pub reason: String,
    pub message: String,
}

/// An execution of a step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The suite that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// None: never begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    /// Its command, request or query, without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In a phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// All of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Value>,
    /// Attempts before the last one; the oldest of more than five are not kept.
    pub earlier: Vec<Earlier>,
    pub jobs: Vec<Job>,
    /// The run whose success was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
}

/// An attempt after which another one came.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Earlier {
    pub attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    pub ended: Timestamp,
    pub state: StepState,
    pub message: String,
}

/// A Job.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_end: Option<String>,
}

/// A gate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Gate {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    pub roles: Vec<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What the people were to have looked at: the run does not say who ticked what.
    pub checklist: Vec<String>,
    pub said: Vec<Said>,
}

/// A role of a gate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Role {
    pub name: String,
    pub wanted: u32,
    /// Whose approval was accepted. Those given for evidence or templates that changed later are among them.
    pub by: Vec<String>,
}

/// What a person said.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Said {
    pub decision: Verb,
    pub by: String,
    pub at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The gate or the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub result: String,
}

/// The switch.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Switch {
    pub claimed: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converged: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Timestamp>,
    pub services: Vec<Service>,
}

/// The switch of a Service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Service {
    pub name: String,
    pub from: Selector,
    pub to: Selector,
    pub state: SwitchState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Timestamp>,
    /// Somebody else put it back.
    pub by_others: bool,
}

/// The observation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Observation {
    pub since: Timestamp,
    pub seen_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_seconds: Option<f64>,
}

/// What a trigger measured.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measurement {
    pub trigger: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// In words, such as `> 0.05`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    pub trials: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub armed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// The run went on in spite of it.
    pub dismissed: bool,
    /// The trials that the run keeps: those that were bad or judged otherwise than the one before, the latest twelve, and the
    /// last one of all.
    pub samples: Vec<Sample>,
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Sample {
    pub at: Timestamp,
    pub verdict: TrialVerdict,
    pub saw: String,
    /// Where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// The way back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollback {
    pub phase: Phase,
    pub reason: String,
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The first bad trial of the time in which the trigger fired, where it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<Timestamp>,
    pub decided: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_from_bad: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_from_decision: Option<f64>,
    /// An undo or a step of the rollback failed.
    pub incomplete: bool,
}

/// What users may have lost, as far as the run tells.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Losses {
    /// How long users were on the target before they went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_target_seconds: Option<f64>,
    /// Connections of a side that was left.
    pub connections: Vec<Closed>,
}

/// Connections of a side that were ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Closed {
    pub side: String,
    pub at: Timestamp,
    /// Pods that the side had then.
    pub pods: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why some were left open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// Checks after completion.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// The follow-up, or `revalidation`.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    /// Rounds made, and rounds in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<String>,
}

impl Report {
    /// The record of a run, whatever state it is in.
    pub(crate) fn of(run: &CutoverRun) -> Self {
        let plan = view::plan_of(run);
        let none = RunStatus::default();
        let seen = view::Run::with(run, run.status.as_ref().unwrap_or(&none), plan.as_ref());
        let mut report = parts::of(&seen);
        if run.status.is_none() {
            report.not_recorded.push("the journal: this run has none, so nothing is known of what it did".to_owned());
        }
        match plan {
            None => report.not_recorded.push(format!(
                "the plan: its form {} cannot be read here (form {PLAN_VERSION} can), so sides, limits, commands and steps that \
                 were never begun are missing",
                run.spec.plan_version
            )),
            Some(_) if run.spec.plan_version != PLAN_VERSION => report.not_recorded.push(format!(
                "what only form {} of a plan says: it was read as form {PLAN_VERSION}",
                run.spec.plan_version
            )),
            Some(_) => {}
        }
        report
    }
}
