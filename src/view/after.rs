//! What comes after Completed: follow-ups, checks made again, the retirement of the old side.

use jiff::Timestamp;

use super::steps::Step;
use crate::api::after::{FollowUpRecord, Revalidation};
use crate::api::phase::Phase;
use crate::api::run::{RunStatus, StepState};
use crate::journal::later;
use crate::plan::after::{PlanFollowUp, RETIRE};
use crate::plan::{Execution, Plan, Round};

/// A follow-up.
#[derive(Clone, Debug)]
pub struct FollowUp<'a> {
    pub name: &'a str,
    /// The round under way or last made, from 1; 0 before the first.
    pub round: u32,
    /// How many there are.
    pub rounds: u32,
    /// Where that round stands; none before the first.
    pub state: Option<StepState>,
    /// Rounds that were never run.
    pub missed: u32,
    /// When the next one is due; none after the last, or while the run is not completed.
    pub next: Option<Timestamp>,
    /// The steps of the last round.
    pub steps: Vec<Step<'a>>,
}

/// Checks made again by a person's decision.
#[derive(Clone, Debug)]
pub struct Checks<'a> {
    /// By whom, when, and what came of it.
    pub record: &'a Revalidation,
    pub steps: Vec<Step<'a>>,
}

/// What becomes of the old side.
#[derive(Clone, Debug)]
pub struct Retirement<'a> {
    /// When it is due; none while the run is not completed.
    pub due: Option<Timestamp>,
    /// Its wanted replicas after that.
    pub scale_to: u32,
    /// The execution, once begun.
    pub step: Option<Step<'a>>,
}

/// When the run completed.
fn completed(journal: &RunStatus) -> Option<Timestamp> {
    let moment = journal.timeline.iter().rev().find(|m| m.phase == Phase::Completed);
    moment.map(|m| m.at).or(journal.phase_since.filter(|_| journal.phase == Phase::Completed))
}

/// The follow-ups of a plan.
pub fn follow_ups<'a>(journal: &'a RunStatus, plan: Option<&'a Plan>, executions: &[Step<'a>]) -> Vec<FollowUp<'a>> {
    let Some(plan) = plan else { return vec![] };
    let records = journal.after.as_ref().map(|a| a.follow_ups.as_slice()).unwrap_or_default();
    let called_off = journal.after.as_ref().is_some_and(|a| a.called_off.is_some());
    let completed = completed(journal).filter(|_| journal.phase == Phase::Completed && !called_off);
    let of = |f: &'a PlanFollowUp| {
        let record: Option<&FollowUpRecord> = records.iter().find(|r| r.name == f.name);
        let round = record.map_or(0, |r| r.round);
        let names: Vec<String> = plan.round(f, round).into_iter().map(|s| s.name).collect();
        let steps = executions.iter().filter(|s| round > 0 && names.iter().any(|name| name == s.name));
        FollowUp {
            name: &f.name,
            round,
            rounds: f.rounds(),
            state: record.map(|r| r.state),
            missed: record.map_or(0, |r| r.missed),
            next: completed.filter(|_| round < f.rounds()).map(|at| f.due(at, round + 1)),
            steps: steps.cloned().collect(),
        }
    };
    plan.follow_up.iter().map(of).collect()
}

/// The checks that were made again.
pub fn checks<'a>(journal: &'a RunStatus, executions: &[Step<'a>]) -> Vec<Checks<'a>> {
    let records = journal.after.iter().flat_map(|a| &a.revalidations);
    let of = |(n, record): (usize, &'a Revalidation)| {
        let round = Round::Revalidation(n + 1);
        let steps = executions.iter().filter(|s| matches!(s.name.parse(), Ok(Execution::Again(_, r)) if r == round));
        Checks { record, steps: steps.cloned().collect() }
    };
    records.enumerate().map(of).collect()
}

/// The retirement, where there is one.
pub fn retirement<'a>(journal: &'a RunStatus, plan: &'a Plan, executions: &[Step<'a>]) -> Option<Retirement<'a>> {
    let retire = plan.retire.as_ref()?;
    Some(Retirement {
        due: completed(journal).map(|at| later(at, retire.after)),
        scale_to: retire.scale_to,
        step: executions.iter().find(|s| s.name == RETIRE).cloned(),
    })
}
