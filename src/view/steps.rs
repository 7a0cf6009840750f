//! The executions of a run, and the tree of what was planned.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::phases::{self, Stretch};
use super::{Progress, does, evidence};
use crate::api::action::Approval;
use crate::api::run::{DecisionRecord, GateRecord, JobRecord, RunStatus, StepRecord, StepState};
use crate::api::trail::AttemptRecord;
use crate::journal;
use crate::plan::{Action, Execution, Plan, PlanStep, Stage};

/// A step, its undo, the gate before that, or a further execution of a step.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The name of the execution: a step's, `undo/STEP`, `approve/STEP` or `STEP@ROUND`.
    pub name: &'a str,
    /// What it does, such as `job`; none where the plan does not know it.
    pub kind: Option<&'static str>,
    /// Its command or request, as planned, where it has one.
    pub does: Option<String>,
    /// What people are asked at it, where it is a gate.
    pub approval: Option<&'a Approval>,
    /// Where the plan has it.
    pub stage: Option<Stage>,
    /// The suite that it is part of.
    pub suite: Option<&'a str>,
    /// Where it stands; none before it begins.
    pub state: Option<StepState>,
    /// The attempt under way or last made, from 1; 0 where none was.
    pub attempt: u32,
    /// Attempts that it has in all.
    pub attempts: Option<u32>,
    /// When the first attempt began.
    pub started: Option<Timestamp>,
    /// When the last attempt began, or the next one may.
    pub attempt_at: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What is going on, or went wrong.
    pub message: Option<&'a str>,
    pub earlier: &'a [AttemptRecord],
    /// Its Jobs, the newest last.
    pub jobs: Vec<&'a JobRecord>,
    /// The Job of this attempt.
    pub job: Option<&'a JobRecord>,
    /// The gate that it holds shut.
    pub gate: Option<&'a GateRecord>,
    /// What people decided about it.
    pub decided: Vec<&'a DecisionRecord>,
    /// The run whose success is kept.
    pub kept_from: Option<&'a str>,
    /// The phase in which it began: its place in [`super::Run::phases`].
    pub within: Option<usize>,
    evidence: Option<&'a Value>,
}

/// What was planned for a stage.
#[derive(Clone, Debug)]
pub struct Branch<'a> {
    pub stage: Stage,
    /// Its steps, in order.
    pub steps: Vec<Node<'a>>,
}

/// A planned step with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub step: Step<'a>,
    /// Those of a suite.
    pub parts: Vec<Step<'a>>,
    /// Its undo, once begun, after the gate before it.
    pub undo: Vec<Step<'a>>,
    /// Further executions: later rounds of follow-ups, and checks made again.
    pub again: Vec<Step<'a>>,
}

impl<'a> Step<'a> {
    fn of(record: &'a StepRecord, journal: &'a RunStatus, plan: Option<&'a Plan>, phases: &[Stretch]) -> Self {
        let planned = plan.and_then(|p| p.step(execution(&record.name)?.step()));
        let about = |d: &&DecisionRecord| [&d.gate, &d.step].into_iter().any(|of| of.as_ref() == Some(&record.name));
        Self {
            state: Some(record.state),
            attempt: record.attempt,
            started: record.started,
            attempt_at: record.attempt_at,
            ended: record.ended,
            message: record.message.as_deref(),
            earlier: &record.earlier,
            jobs: record.former_jobs.iter().chain(&record.job).collect(),
            job: record.job.as_ref(),
            gate: record.gate.as_ref(),
            decided: journal.decisions.iter().filter(about).collect(),
            kept_from: record.kept_from.as_deref(),
            within: record.started.and_then(|at| phases::at(phases, at)),
            evidence: record.evidence.as_ref(),
            ..Self::planned(&record.name, planned, plan)
        }
    }

    /// One that has not begun.
    fn planned(name: &'a str, planned: Option<&'a PlanStep>, plan: Option<&'a Plan>) -> Self {
        // A part of a suite has the suite's name above it; an undo or a gate has not.
        let own = |p: &&PlanStep| matches!(&p.action, Action::Suite(s) if s.steps.iter().any(|x| x.name == name));
        Self {
            name,
            kind: plan.and_then(|p| p.action(name)).map(Action::kind),
            does: plan.and_then(|p| p.action(name)).and_then(does::does),
            approval: plan.and_then(|p| p.gate(name)),
            stage: planned.map(|p| p.stage),
            suite: plan.and_then(|p| p.steps.iter().find(own)).map(|p| p.name.as_str()),
            state: None,
            attempt: 0,
            attempts: planned.filter(|_| execution(name).is_some_and(|e| e.is_of_step())).map(|p| p.attempts),
            started: None,
            attempt_at: None,
            ended: None,
            message: None,
            earlier: &[],
            jobs: vec![],
            job: None,
            gate: None,
            decided: vec![],
            kept_from: None,
            within: None,
            evidence: None,
        }
    }

    /// Whether it is under way.
    pub fn is_running(&self) -> bool {
        self.state == Some(StepState::Running)
    }

    /// Whether it is under way, or waits for a person to find out what it did.
    pub fn is_open(&self) -> bool {
        matches!(self.state, Some(StepState::Running | StepState::Unknown))
    }

    /// How long it took, once it has ended.
    pub fn took(&self) -> Option<SignedDuration> {
        Some(self.ended?.duration_since(self.started?).max(SignedDuration::ZERO))
    }

    /// What it saw, in a phrase.
    pub fn evidence(&self) -> Option<String> {
        self.evidence.map(evidence::phrase)
    }

    /// What it saw, as it was recorded.
    pub fn saw(&self) -> Option<&'a Value> {
        self.evidence
    }

    /// Whether it stands for steps side by side.
    pub fn is_suite(&self) -> bool {
        self.kind == Some("suite") || self.evidence.is_some_and(|saw| saw["of"].is_number())
    }
}

/// Everything that was begun.
pub fn executions<'a>(journal: &'a RunStatus, plan: Option<&'a Plan>, phases: &[Stretch]) -> Vec<Step<'a>> {
    journal.steps.iter().map(|record| Step::of(record, journal, plan, phases)).collect()
}

/// The planned steps with what has become of them.
pub fn tree<'a>(plan: &'a Plan, executions: &[Step<'a>]) -> Vec<Branch<'a>> {
    let mut branches: Vec<Branch> = vec![];
    let begun = |name: &str| executions.iter().find(|s| s.name == name).cloned();
    let of = |p: &'a PlanStep| begun(&p.name).unwrap_or_else(|| Step::planned(&p.name, Some(p), Some(plan)));
    for planned in &plan.steps {
        let parts = match &planned.action {
            Action::Suite(suite) => suite.steps.iter().map(of).collect(),
            _ => vec![],
        };
        let of_step = |what: fn(&Execution) -> bool| {
            let found = executions.iter().filter(|s| {
                execution(s.name).is_some_and(|execution| execution.step() == planned.name && what(&execution))
            });
            found.cloned().collect()
        };
        let node = Node {
            step: of(planned),
            parts,
            undo: of_step(|execution| !execution.is_of_step()),
            again: of_step(|execution| matches!(execution, Execution::Again(..))),
        };
        match branches.last_mut().filter(|b| b.stage == planned.stage) {
            Some(branch) => branch.steps.push(node),
            None => branches.push(Branch { stage: planned.stage, steps: vec![node] }),
        }
    }
    branches
}

/// How far the way to Completed is: what comes after it, and the way back, do not count.
pub fn progress(plan: &Plan, journal: &RunStatus) -> Progress {
    let forward = |s: &&PlanStep| !s.stage.is_way_back() && !s.stage.after_completed();
    let is_done = |s: &&PlanStep| journal::record(journal, &s.name).is_some_and(|r| journal::is_done(r.state));
    let all = plan.steps.iter().filter(forward);
    Progress { done: all.clone().filter(is_done).count(), all: all.count() }
}

/// What a record is about; none where another version of the operator has named it.
fn execution(name: &str) -> Option<Execution> {
    name.parse().ok()
}
