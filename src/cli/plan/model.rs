//! PURE. What a run would do now, as data.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::one_of::Tagged;
use crate::api::run::CutoverRun;
use crate::api::step::UndoWhen;
use crate::api::trigger::{Severity, Trigger};
use crate::cli::check::model::Line;
use crate::cli::decide::changes;
use crate::evidence::power;
use crate::plan::{Action, Plan, PlanObserve, PlanStep, Refusal};
use crate::view;

/// A run that is not begun.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Foreseen {
    pub namespace: String,
    pub cutover: String,
    pub live: String,
    /// The side that would be activated.
    pub target: String,
    /// Whether the Cutover asks for it; otherwise this is what the other direction would do.
    pub asked_for: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What the operator would refuse; then nothing would be done.
    pub refused: Vec<String>,
    /// What keeps the run from starting, or from an end: the failed lines of `check` about this Cutover.
    pub in_the_way: Vec<Line>,
    pub stages: Vec<Stage>,
    /// Services that are switched together, before `confirm`.
    pub services: Vec<String>,
    pub triggers: Vec<Watch>,
    pub gates: Vec<Gate>,
    /// Steps that change something and have no undo.
    pub cannot_be_undone: Vec<String>,
    /// Writes that were tried with your rights, storing nothing.
    pub dry_runs: Vec<DryRun>,
    /// All time limits together, in seconds: it takes no longer than this up to Completed.
    pub longest_seconds: i64,
    /// What it took before, in seconds: the median of completed runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_seconds: Option<i64>,
    /// What could not be told, and the right that is missing.
    pub hidden: Vec<String>,
}

/// The steps of a phase.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Stage {
    pub name: String,
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub name: String,
    pub kind: String,
    /// It changes something.
    pub changes: bool,
    /// How it is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// CEL: only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    pub attempts: u32,
    pub timeout_seconds: i64,
    /// The median of what it took before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_seconds: Option<i64>,
    /// Parts of a suite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

/// A trigger.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Watch {
    pub name: String,
    pub severity: Severity,
    /// What it watches, such as `metric`.
    pub kind: String,
    /// What is bad, where that is a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Default rule: how soon it would find what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finds: Vec<Finds>,
    /// Default rule: why it could not find ten times its limit, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
}

/// How soon a trigger of the default rule fires, in half of all runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finds {
    pub requests_per_second: f64,
    /// The share of bad requests, from the switch on.
    pub share: f64,
    /// None: not within the observation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// A gate, and who could open it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Gate {
    pub name: String,
    pub roles: Vec<Role>,
}

/// A role of a gate.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Role {
    pub name: String,
    pub wanted: u32,
    /// You could.
    pub you: bool,
    /// Users and groups that could, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Vec<String>>,
}

/// A write that was tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct DryRun {
    pub what: String,
    /// Variables that get their value in the run: it was tried with their names instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// Why it was refused; none where it would be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Foreseen {
    /// What the plan says. Gates, dry runs and what is hidden are added by whoever asked the API server.
    pub(crate) fn of(plan: &Plan, activate: &str, runs: &[CutoverRun]) -> Self {
        let past = Past::of(runs);
        let stages = stages(plan, &past);
        let forward = || plan.steps.iter().filter(|s| !s.stage.is_way_back() && !s.stage.after_completed());
        let limit: i64 = forward().map(|s| s.timeout.signed().as_secs()).sum();
        let longest = limit + plan.switch.timeout.signed().as_secs() + plan.observe.timeout.signed().as_secs();
        let bare = forward().filter(|s| s.undo.is_none() && changes(&s.action));
        Self {
            namespace: plan.namespace.clone(),
            cutover: plan.cutover.clone(),
            live: plan.old.name.clone(),
            target: plan.target.name.clone(),
            asked_for: plan.target.name == activate,
            release: view::release_name(&plan.release).map(str::to_owned),
            refused: vec![],
            in_the_way: vec![],
            stages,
            services: plan.services.clone(),
            triggers: plan.observe.triggers.iter().map(|t| watch(t, &plan.observe)).collect(),
            gates: vec![],
            cannot_be_undone: bare.map(|s| s.name.clone()).collect(),
            dry_runs: vec![],
            longest_seconds: longest,
            likely_seconds: past.whole(),
            hidden: vec![],
        }
    }

    /// A Cutover that the operator would refuse.
    pub(crate) fn refused(namespace: &str, cutover: &str, live: &str, activate: &str, refusals: &[Refusal]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            cutover: cutover.to_owned(),
            live: live.to_owned(),
            target: activate.to_owned(),
            asked_for: true,
            release: None,
            refused: refusals.iter().map(ToString::to_string).collect(),
            in_the_way: vec![],
            stages: vec![],
            services: vec![],
            triggers: vec![],
            gates: vec![],
            cannot_be_undone: vec![],
            dry_runs: vec![],
            longest_seconds: 0,
            likely_seconds: None,
            hidden: vec![],
        }
    }
}

fn stages(plan: &Plan, past: &Past) -> Vec<Stage> {
    let mut stages: Vec<Stage> = vec![];
    for planned in &plan.steps {
        let name = planned.stage.field();
        let step = step(planned, past);
        match stages.last_mut().filter(|s| s.name == name) {
            Some(stage) => stage.steps.push(step),
            None => stages.push(Stage { name: name.to_owned(), steps: vec![step] }),
        }
    }
    stages
}

fn step(planned: &PlanStep, past: &Past) -> Step {
    let undo = planned.undo.as_ref().map(|undo| {
        let when = match undo.when {
            UndoWhen::Attempted => "once begun",
            UndoWhen::Succeeded => "once it succeeded",
        };
        let asks = if undo.approval.is_some() { ", with an approval" } else { "" };
        let first = if undo.before_restore { ", before the selectors go back" } else { "" };
        format!("{} {when}{asks}{first}", undo.action.kind())
    });
    let parts = match &planned.action {
        Action::Suite(_) => planned.parts().iter().map(|p| p.name.clone()).collect(),
        _ => vec![],
    };
    Step {
        name: planned.name.clone(),
        kind: planned.action.kind().to_owned(),
        changes: changes(&planned.action),
        undo,
        when: planned.when.clone(),
        attempts: planned.attempts,
        timeout_seconds: planned.timeout.signed().as_secs(),
        likely_seconds: past.step(&planned.name),
        parts,
    }
}

fn watch(t: &Trigger, observe: &PlanObserve) -> Watch {
    let limit = view::Limit::of(t, &BTreeMap::new()).map(|l| l.shown());
    let kind = t.watches.one().map(|w| w.key().to_owned()).unwrap_or_default();
    let mut finds = vec![];
    if let Some(found) = power::of(t, observe) {
        for (requests_per_second, row) in power::RATES.into_iter().zip(&found.found) {
            finds.extend(found.shares.iter().zip(row).map(|(share, time)| {
                let seconds = time.map(|time| time.as_secs_ceil());
                Finds { requests_per_second, share: *share, seconds }
            }));
        }
    }
    let blind = power::blind_window(t, observe, None);
    Watch { name: t.name.clone(), severity: t.severity.unwrap_or_default(), kind, limit, finds, blind }
}

/// What runs took before.
struct Past {
    whole: Vec<SignedDuration>,
    steps: BTreeMap<String, Vec<SignedDuration>>,
}

impl Past {
    fn of(runs: &[CutoverRun]) -> Self {
        let mut past = Self { whole: vec![], steps: BTreeMap::new() };
        for run in runs {
            let plan = view::plan_of(run);
            let Some(seen) = view::Run::of(run, plan.as_ref()) else { continue };
            let done = seen.phases.iter().find(|p| p.phase == crate::api::phase::Phase::Completed);
            past.whole.extend(done.and_then(|p| Some(p.from.duration_since(seen.created?))));
            for s in &seen.executions {
                if s.state == Some(crate::api::run::StepState::Succeeded)
                    && let Some(took) = s.took()
                {
                    past.steps.entry(s.name.to_owned()).or_default().push(took);
                }
            }
        }
        past
    }

    fn whole(&self) -> Option<i64> {
        median(&self.whole)
    }

    fn step(&self, name: &str) -> Option<i64> {
        median(self.steps.get(name)?)
    }
}

/// The median in whole seconds, rounded up.
fn median(times: &[SignedDuration]) -> Option<i64> {
    let mut sorted = times.to_vec();
    sorted.sort();
    let middle = sorted.get(sorted.len() / 2)?;
    Some(middle.as_secs() + i64::from(middle.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_rounded_up() {
        let of = |ms: &[i64]| median(&ms.iter().map(|m| SignedDuration::from_millis(*m)).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5200]), Some(6));
        assert_eq!(of(&[9000, 1000, 3000]), Some(3));
    }
}
