//! PURE. What comes after Completed: follow-ups and the retirement of the old side; and further executions of a step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::cutover::{CutoverSpec, FollowUp};
use crate::api::duration::Duration;
use crate::api::step::{OnFailure, Scale, SideRef, Step, StepAction, SuiteStep, UndoWhen, WorkloadRef};
use crate::api::trigger::Until;

use super::actions;
use super::execution::{Execution, Round};
use super::refuse::label;
use super::resolving::Cx;
use super::scope::{Usage, refers_to};
use super::{Action, Plan, PlanStep, PlanSuite, PlanUndo, Stage};

/// The step that scales the old side down.
pub const RETIRE: &str = "cutover-retire";
/// Why a side is scaled down so that its connections end; no step may have this name.
pub const CLOSE: &str = "cutover-close";
/// Begin of the names of the steps that scale a retired target up.
const SCALE_UP: &str = "cutover-scale-up-";
/// How often scaling down is tried before people are asked.
const RETIRE_ATTEMPTS: u32 = 3;

/// When steps of `phases.followUp` run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFollowUp {
    pub name: String,
    /// First due this long after Completed.
    pub after: Duration,
    /// Due again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// No round is due later than this after Completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
    /// The names of the steps that it runs, in this order.
    pub run: Vec<String>,
}

impl PlanFollowUp {
    /// How many rounds there are.
    pub fn rounds(&self) -> u32 {
        u32::try_from(count(self.after, self.every, self.until)).unwrap_or(u32::MAX)
    }

    /// When a round, counted from 1, is due.
    pub fn due(&self, completed: Timestamp, round: u32) -> Timestamp {
        let every = self.every.map_or(0, Duration::as_millis);
        let ms = every.saturating_mul(u64::from(round.saturating_sub(1)));
        later(later(completed, self.after), Duration::from_millis(ms))
    }

    /// How many rounds are due by then.
    pub(crate) fn due_by(&self, completed: Timestamp, at: Timestamp) -> u32 {
        let since = later(completed, self.after);
        if at < since {
            return 0;
        }
        let passed = u64::try_from(at.duration_since(since).as_millis()).unwrap_or(0);
        let full = self.every.map_or(0, |every| passed.checked_div(every.as_millis()).unwrap_or(0));
        u32::try_from(full).unwrap_or(u32::MAX).saturating_add(1).min(self.rounds())
    }
}

fn later(at: Timestamp, d: Duration) -> Timestamp {
    at.checked_add(d.signed()).unwrap_or(Timestamp::MAX)
}

fn count(after: Duration, every: Option<Duration>, until: Option<Duration>) -> u64 {
    let (Some(every), Some(until)) = (every, until) else { return 1 };
    let span = until.as_millis().saturating_sub(after.as_millis());
    span.checked_div(every.as_millis()).unwrap_or(0).saturating_add(1)
}

/// How many rounds a follow-up has, as it is written.
pub(super) fn rounds(f: &FollowUp) -> usize {
    usize::try_from(count(f.after, f.every, f.until)).unwrap_or(usize::MAX).min(1_000_000)
}

/// When the resolved steps of `phases.followUp` run, by the time at which each follow-up is first due.
pub(super) fn follow_ups(cx: &mut Cx, spec: &CutoverSpec, steps: &[PlanStep]) -> Vec<PlanFollowUp> {
    let mut order: Vec<(usize, &FollowUp)> = spec.follow_up.iter().enumerate().collect();
    // One that is due later may use what an earlier one captured.
    order.sort_by_key(|(_, f)| f.after);
    let mut ran: BTreeSet<&str> = BTreeSet::new();
    let mut out = vec![];
    for (i, f) in order {
        let at = format!("spec.followUp[{}]", label(&f.name, i));
        cx.scope.take_name(&f.name, &format!("{at}.name"), cx.refusals);
        check(cx, f, &at);
        let mut run = vec![];
        for (j, name) in f.run.iter().enumerate() {
            let field = format!("{at}.run[{j}]");
            let Some(step) = steps.iter().find(|s| s.name == *name) else {
                let known: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
                let remedy = if known.is_empty() {
                    "give it there; it must only read".to_owned()
                } else {
                    format!("name one of {}", known.join(", "))
                };
                cx.refusals.add(field, format!("{name:?} is not the name of a step of phases.followUp"), remedy);
                continue;
            };
            let twice = f.run.iter().take(j).any(|before| before == name);
            cx.refusals.require(!twice, &field, format!("{name:?} is named twice"), "name it once");
            // The dry run of a Job is a step before it, which nobody names.
            for dry_run in steps.iter().filter(|s| step.needs.contains(&s.name) && !is_written(spec, &s.name)) {
                ran.insert(&dry_run.name);
                run.push(dry_run.name.clone());
            }
            run.push(name.clone());
            for needed in uses(spec, steps, step).filter(|needed| !ran.contains(needed.as_str())) {
                cx.refusals.add(
                    &field,
                    format!("{name:?} uses what {needed:?} does, which has not run by then"),
                    format!("name {needed} before it, here or in a follow-up that is due earlier"),
                );
            }
            ran.insert(&step.name);
        }
        out.push(PlanFollowUp { name: f.name.clone(), after: f.after, every: f.every, until: f.until, run });
    }
    for step in spec.phases.get(Stage::FollowUp.field()).iter().flat_map(|p| &p.steps) {
        cx.refusals.require(
            spec.follow_up.iter().any(|f| f.run.contains(&step.name)),
            format!("spec.phases.followUp.steps[{}]", step.name),
            "no follow-up runs this step",
            "name it in run of an entry of spec.followUp, which says when it runs",
        );
    }
    out
}

/// Whether a step of `phases.followUp` stands in the manifest.
fn is_written(spec: &CutoverSpec, name: &str) -> bool {
    spec.phases.get(Stage::FollowUp.field()).is_some_and(|p| p.steps.iter().any(|s| s.name == name))
}

/// The other steps of `phases.followUp` whose captures or outcomes a step of it uses.
fn uses<'a>(spec: &'a CutoverSpec, steps: &'a [PlanStep], step: &'a PlanStep) -> impl Iterator<Item = String> + use<> {
    let written = spec.phases.get(Stage::FollowUp.field()).map(|p| p.steps.as_slice()).unwrap_or_default();
    let mut found: BTreeSet<String> = step.needs.iter().cloned().collect();
    if let Some(step) = written.iter().find(|s| s.name == step.name) {
        for usage in usages_of(step) {
            let (captures, outcomes) = refers_to(&usage);
            found.extend(outcomes);
            let makers = written.iter().filter(|other| captured_by(other).iter().any(|c| captures.contains(c)));
            found.extend(makers.map(|other| other.name.clone()));
        }
    }
    let others: BTreeSet<String> = steps.iter().map(|s| s.name.clone()).filter(|n| *n != step.name).collect();
    found.into_iter().filter(move |name| others.contains(name))
}

fn usages_of(step: &Step) -> Vec<Usage> {
    let mut all: Vec<Usage> = Usage::condition(step.when.as_deref(), "").into_iter().collect();
    all.extend(actions::texts(&step.action, actions::of_step, ""));
    for inner in suite_of(step) {
        all.extend(Usage::condition(inner.when.as_deref(), ""));
        all.extend(actions::texts(&inner.action, actions::anywhere, ""));
    }
    all
}

fn captured_by(step: &Step) -> Vec<String> {
    let inner = suite_of(step).flat_map(|s| actions::captures(&s.action, actions::anywhere, ""));
    actions::captures(&step.action, actions::of_step, "").into_iter().chain(inner).map(|c| c.name).collect()
}

fn suite_of(step: &Step) -> impl Iterator<Item = &SuiteStep> {
    step.action.all().iter().flat_map(|action| match action {
        StepAction::Suite(suite) => suite.steps.iter(),
        StepAction::Shared(_) | StepAction::Approval(_) | StepAction::UndoRollout(_) => [].iter(),
    })
}

/// The retirement of the old side, where one is wanted.
pub(super) fn retirement(cx: &mut Cx, spec: &CutoverSpec) -> Option<PlanStep> {
    let triggers = spec.observe.iter().flat_map(|o| &o.triggers).enumerate();
    for (i, t) in triggers.filter(|(_, t)| t.until == Some(Until::Retired) && spec.retire.is_none()) {
        cx.refusals.add(
            format!("spec.observe.triggers[{}].until", label(&t.name, i)),
            "nothing is ever retired without spec.retire",
            "give spec.retire, or leave until out",
        );
    }
    spec.retire.as_ref().map(|r| retire(r.scale_to))
}

fn check(cx: &mut Cx, f: &FollowUp, at: &str) {
    cx.refusals.require(
        !f.run.is_empty(),
        format!("{at}.run"),
        "a follow-up that runs no step checks nothing",
        "name at least one step of phases.followUp",
    );
    cx.refusals.require(
        f.every.is_some() == f.until.is_some(),
        at,
        "a repeated follow-up needs both every and until",
        "give both, or neither",
    );
    cx.refusals.require(
        f.every.is_none_or(|e| e.as_millis() >= 1000),
        format!("{at}.every"),
        "a follow-up is repeated once a second at most",
        "give at least 1s",
    );
    cx.refusals.require(
        f.until.is_none_or(|u| u >= f.after),
        format!("{at}.until"),
        format!("it ends {} after Completed, before it is first due", f.until.unwrap_or_default()),
        format!("give {} or more: until counts from Completed, as after does", f.after),
    );
}

/// Scales the old side down.
fn retire(replicas: u32) -> PlanStep {
    let scale = Scale { side: Some(SideRef::Old), workloads: vec![], replicas, allow_downtime: false };
    PlanStep { on_failure: OnFailure::Decide, ..scaling(RETIRE, Stage::Retire, RETIRE_ATTEMPTS, scale) }
}

/// A step that scales, with the undo that every such step has.
fn scaling(name: &str, stage: Stage, attempts: u32, scale: Scale) -> PlanStep {
    let step = PlanStep::inserted(name, stage, attempts, Action::Scale(scale));
    let undo = PlanUndo {
        when: UndoWhen::Attempted,
        timeout: step.timeout,
        approval: None,
        before_restore: false,
        action: Action::Unscale { step: name.to_owned() },
    };
    PlanStep { undo: Some(undo), ..step }
}

impl Plan {
    /// Begins Preparing with scaling these workloads of the target, which a former run retired: one step for each count.
    /// What of Preflight asks pods of the target comes after that, since it has none before.
    pub(crate) fn scale_up(&mut self, counts: &[(WorkloadRef, u32)]) {
        let mut groups: BTreeMap<u32, Vec<WorkloadRef>> = BTreeMap::new();
        for (workload, count) in counts {
            groups.entry(*count).or_default().push(workload.clone());
        }
        let steps: Vec<PlanStep> = groups
            .into_iter()
            .map(|(replicas, workloads)| {
                let scale = Scale { side: None, workloads, replicas, allow_downtime: false };
                scaling(&format!("{SCALE_UP}{replicas}"), Stage::Prepare, 1, scale)
            })
            .collect();
        let put_off = if steps.is_empty() { vec![] } else { self.take_what_asks_the_target() };
        let at = self.steps.iter().take_while(|s| s.stage == Stage::Preflight).count();
        self.steps.splice(at..at, steps.into_iter().chain(put_off));
    }

    /// Takes out of Preflight what asks pods of the target, and what needs that, and makes it steps of Preparing.
    fn take_what_asks_the_target(&mut self) -> Vec<PlanStep> {
        let mut taken: Vec<PlanStep> = vec![];
        let mut kept = vec![];
        for mut step in std::mem::take(&mut self.steps) {
            let needs_one = step.needs.iter().any(|name| taken.iter().any(|t| t.name == *name));
            if step.stage != Stage::Preflight || !(needs_one || self.asks_pods(&step, SideRef::Target)) {
                kept.push(step);
                continue;
            }
            step.stage = Stage::Prepare;
            if let Action::Suite(suite) = &mut step.action {
                suite.steps.iter_mut().for_each(|part| part.stage = Stage::Prepare);
            }
            taken.push(step);
        }
        self.steps = kept;
        taken
    }

    /// Whether a step is answered by pods of this side, or waits for them.
    fn asks_pods(&self, step: &PlanStep, side: SideRef) -> bool {
        let by_pods =
            |action: &Action| matches!(action, Action::Rollout(_) | Action::Http(_) | Action::Tls(_) | Action::Logs(_));
        self.sides_of(step).contains(&side) && step.parts().iter().any(|part| by_pods(&part.action))
    }

    /// What [`Plan::scale_up`] had put in: the step, the workload, and the count it was given.
    pub(crate) fn scaled_up(&self) -> impl Iterator<Item = (&str, &WorkloadRef, u32)> {
        self.steps.iter().filter(|s| s.name.starts_with(SCALE_UP)).flat_map(|s| {
            let scale = if let Action::Scale(scale) = &s.action { Some(scale) } else { None };
            scale.into_iter().flat_map(move |x| x.workloads.iter().map(move |w| (s.name.as_str(), w, x.replicas)))
        })
    }

    /// The steps of a round of a follow-up, as they are executed in it. The first execution of a step has its plain name;
    /// where several follow-ups run it, those of all but the first are named after the follow-up too.
    pub fn round(&self, f: &PlanFollowUp, round: u32) -> Vec<PlanStep> {
        let steps: Vec<&PlanStep> = f.run.iter().filter_map(|name| self.step(name)).collect();
        let first = |step: &str| self.follow_up.iter().find(|g| g.run.iter().any(|n| n == step)).map(|g| &g.name);
        executions(&steps, |step| match (first(step) == Some(&f.name), round) {
            (true, 0 | 1) => None,
            (true, n) => Some(Round::Nth(n)),
            (false, n) => Some(Round::Of(f.name.clone(), n)),
        })
    }

    /// The checks of the run as they are executed by its `n`th revalidation: what only reads in verify and confirm.
    pub fn checks(&self, n: usize) -> Vec<PlanStep> {
        let kept: Vec<PlanStep> = self
            .steps
            .iter()
            .filter(|s| matches!(s.stage, Stage::Verify | Stage::Confirm))
            .filter_map(only_reading)
            .collect();
        executions(&kept.iter().collect::<Vec<_>>(), |_| Some(Round::Revalidation(n)))
    }

    /// The step as it is executed under this name, if it is a further execution.
    pub(crate) fn execution(&self, name: &str) -> Option<PlanStep> {
        let Execution::Again(step, round) = name.parse().ok()? else { return None };
        executions(&[self.step(&step)?], |_| Some(round.clone())).pop()
    }
}

/// The step, or what is left of a suite, if it changes nothing.
fn only_reading(step: &PlanStep) -> Option<PlanStep> {
    let Action::Suite(suite) = &step.action else {
        return step.action.only_reads().then(|| step.clone());
    };
    let steps: Vec<PlanStep> = suite.steps.iter().filter_map(only_reading).collect();
    let there = |name: &String| steps.iter().any(|s| s.name == *name);
    let steps: Vec<PlanStep> = steps
        .iter()
        .map(|s| PlanStep { after: s.after.iter().filter(|a| there(a)).cloned().collect(), ..s.clone() })
        .collect();
    let empty = steps.is_empty();
    let suite = Action::Suite(PlanSuite { steps, ..suite.clone() });
    (!empty).then(|| PlanStep { action: suite, ..step.clone() })
}

/// These steps under the names of an execution; `round` says which one it is of a step, `None` for the first. What they need
/// of one another is that of the same execution.
fn executions(steps: &[&PlanStep], round: impl Fn(&str) -> Option<Round>) -> Vec<PlanStep> {
    let mut rounds: BTreeMap<&str, Round> = BTreeMap::new();
    for step in steps {
        let Some(round) = round(&step.name) else { continue };
        if let Action::Suite(suite) = &step.action {
            rounds.extend(suite.steps.iter().map(|s| (s.name.as_str(), round.clone())));
        }
        rounds.insert(&step.name, round);
    }
    let named = |name: &String| match rounds.get(name.as_str()) {
        Some(round) => Execution::Again(name.clone(), round.clone()).to_string(),
        None => name.clone(),
    };
    let renamed = |step: &PlanStep| PlanStep {
        name: named(&step.name),
        needs: step.needs.iter().map(named).collect(),
        after: step.after.iter().map(named).collect(),
        ..step.clone()
    };
    let whole = |step: &&PlanStep| {
        let mut step = renamed(step);
        if let Action::Suite(suite) = &mut step.action {
            suite.steps = suite.steps.iter().map(renamed).collect();
        }
        step
    };
    steps.iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated() -> PlanFollowUp {
        let hours = |h: u64| Duration::from_mins(60 * h);
        PlanFollowUp {
            name: "day-1".into(),
            after: hours(2),
            every: Some(hours(2)),
            until: Some(hours(24)),
            run: vec![],
        }
    }

    #[test]
    fn rounds_and_when_they_are_due() {
        let f = repeated();
        let zero = Timestamp::UNIX_EPOCH;
        let at = |h: i64| Timestamp::from_second(h * 3600).expect("a time");
        assert_eq!(f.rounds(), 12);
        assert_eq!((f.due(zero, 1), f.due(zero, 12)), (at(2), at(24)));
        for (h, due) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (23, 11), (24, 12), (1000, 12)] {
            assert_eq!(f.due_by(zero, at(h)), due, "{h}h");
        }
        let once = PlanFollowUp { every: None, until: None, ..f };
        assert_eq!((once.rounds(), once.due_by(zero, at(1)), once.due_by(zero, at(99))), (1, 0, 1));
    }

    #[test]
    fn names_of_executions() {
        let round_of = |name: &str| name.parse::<Execution>().ok().and_then(Execution::into_round_of);
        assert_eq!((round_of("a@3"), round_of("a"), round_of("a@revalidate-1")), (Some("a".into()), None, None));
        assert_eq!(round_of("a@day-1.2"), Some("a".into()), "of a second follow-up that runs it");
        assert_eq!(round_of("a@revalidate-1.1"), Some("a".into()), "a follow-up may have that name");
    }
}
