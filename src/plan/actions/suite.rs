//! PURE. Suites: parallel steps, ordered only where one uses what another captured.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{OnFailure, Suite, SuiteStep, WorkloadRef};
use crate::plan::refuse::{Of, Refusals, label, not_yet};
use crate::plan::resolving::{Cx, attempts, timeout_is_some_time};
use crate::plan::scope::{Captured, Scope, Usage, refers_to};
use crate::plan::{Plan, PlanStep, Stage};

use super::{Action, ActionPlace, Given, Part, Planned, SLOW, anywhere};

/// Parallel steps with a pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSuite {
    /// Per cent that must pass.
    pub pass_rate: u32,
    /// Failures of critical steps that are tolerated.
    pub max_critical_failures: u32,
    pub steps: Vec<PlanStep>,
}

impl Given for Suite {
    // Those of its steps are checked one by one, since each step has its own scope.
    fn texts(&self, _at: &str) -> Vec<Usage> {
        vec![]
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        if let Part::Step(step) = place.part {
            cx.refusals.require(
                step.retry.as_ref().is_none_or(|retry| retry.attempts <= 1),
                format!("{}.retry", place.field),
                "a suite is not retried as a whole",
                "give the steps of the suite a retry",
            );
        }
        Action::Suite(resolve(cx, place.stage, self, at))
    }
}

impl Planned for PlanSuite {
    fn only_reads(&self) -> bool {
        self.steps.iter().all(|step| step.action.only_reads())
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        self.steps.iter().flat_map(|step| step.action.workloads()).collect()
    }

    fn changes(&self, plan: &Plan) -> Vec<ObjectRef> {
        self.steps.iter().flat_map(|step| step.action.changes(plan)).collect()
    }

    fn time(&self, _attempts: u32, _every: Duration) -> Duration {
        longest_path(self).max(SLOW)
    }

    fn captured(&self) -> Vec<String> {
        self.steps.iter().flat_map(|step| step.action.captured()).collect()
    }

    fn sensitive(&self) -> Vec<String> {
        self.steps.iter().flat_map(|step| step.action.sensitive()).collect()
    }
}

/// The suite with its defaults and its order filled in.
fn resolve(cx: &mut Cx, stage: Stage, suite: &Suite, at: &str) -> PlanSuite {
    cx.refusals.require(!suite.steps.is_empty(), format!("{at}.steps"), "the suite has no steps", "give at least one");
    cx.refusals.require(
        suite.pass_rate.is_none_or(|p| p <= 100),
        format!("{at}.passRate"),
        "more than 100 per cent cannot pass",
        "give 0 to 100",
    );
    let at = format!("{at}.steps");
    for (i, step) in suite.steps.iter().enumerate() {
        cx.scope.take_name(&step.name, &format!("{at}[{}].name", label(&step.name, i)), cx.refusals);
    }
    let order = order(cx, &suite.steps, &at);
    let before = cx.scope.clone();
    let mut out = vec![];
    for (i, step) in suite.steps.iter().enumerate() {
        let at = format!("{at}[{}]", label(&step.name, i));
        let after = order.get(i).cloned().unwrap_or_default();
        let mut scope = before.clone();
        for earlier in suite.steps.iter().filter(|s| after.contains(&s.name)) {
            scope.steps.insert(earlier.name.clone());
            scope.know(captures(earlier, &at));
        }
        out.extend(one(cx, stage, step, &scope, after, &at));
    }
    if suite.cookies.is_some() {
        keep_cookies(&mut out, &at, cx.refusals);
    }
    for (i, step) in suite.steps.iter().enumerate() {
        cx.scope.take_captures(captures(step, &format!("{at}[{}]", label(&step.name, i))), cx.refusals);
        cx.scope.steps.insert(step.name.clone());
    }
    PlanSuite {
        pass_rate: suite.pass_rate.unwrap_or(100),
        max_critical_failures: suite.max_critical_failures.unwrap_or(0),
        steps: out,
    }
}

/// Each request keeps its cookies, and sends those of the steps that it comes after, directly or not.
fn keep_cookies(steps: &mut [PlanStep], at: &str, refusals: &mut Refusals) {
    let after: BTreeMap<String, Vec<String>> = steps.iter().map(|s| (s.name.clone(), s.after.clone())).collect();
    for step in steps {
        let Action::Http(http) = &step.action else { continue };
        let own = http.headers.iter().map(|h| &h.name).chain(http.headers_from.iter().map(|h| &h.name));
        refusals.require(
            !own.into_iter().any(|name| name.eq_ignore_ascii_case("cookie")),
            format!("{at}[{}].http.headers", step.name),
            "the suite sends the cookies of its session",
            "leave the header Cookie out, or cookies: Keep",
        );
        let mut before = vec![];
        earlier(&step.name, &after, &mut BTreeSet::new(), &mut before);
        before.retain(|name| *name != step.name);
        step.session = Some(before);
    }
}

/// The steps before one, each behind those that it comes after itself.
fn earlier(name: &str, after: &BTreeMap<String, Vec<String>>, seen: &mut BTreeSet<String>, found: &mut Vec<String>) {
    if seen.insert(name.to_owned()) {
        after.get(name).into_iter().flatten().for_each(|before| earlier(before, after, seen, found));
        found.push(name.to_owned());
    }
}

fn captures(step: &SuiteStep, at: &str) -> Vec<Captured> {
    super::captures(&step.action, anywhere, at)
}

fn usages(step: &SuiteStep, at: &str) -> impl Iterator<Item = Usage> {
    let texts = super::texts(&step.action, anywhere, at);
    Usage::condition(step.when.as_deref(), at).into_iter().chain(texts)
}

fn one(
    cx: &mut Cx,
    stage: Stage,
    step: &SuiteStep,
    scope: &Scope,
    after: BTreeSet<String>,
    at: &str,
) -> Option<PlanStep> {
    match serde_json::to_value(step) {
        Ok(value) => not_yet(Of::Step, &value, at, cx.refusals),
        Err(why) => cx.refusals.add(at, format!("the step cannot be read: {why}"), "write it anew"),
    }
    if let Err(named) = step.action.one() {
        let message = format!("a step of a suite has exactly one action, this one has {named}");
        cx.refusals.add(at, message, "split or complete it");
    }
    for usage in usages(step, at) {
        scope.check(&usage, cx.refusals);
    }
    timeout_is_some_time(step.timeout, at, cx.refusals);
    let (attempts, every) = attempts(step.retry.as_ref(), at, cx.refusals);
    let place = ActionPlace { stage, part: Part::Suite, timeout: step.timeout, field: at };
    let action = super::resolved(cx, &step.action, anywhere, &place)?;
    Some(PlanStep {
        name: step.name.clone(),
        stage,
        critical: step.critical,
        when: step.when.clone(),
        timeout: step.timeout.unwrap_or_else(|| action.time(attempts, every)),
        attempts,
        every,
        needs: vec![],
        after: after.into_iter().collect(),
        session: None,
        // The suite as a whole passes or fails by its pass rate.
        on_failure: OnFailure::Continue,
        action,
        undo: None,
    })
}

/// For each step the ones it waits for: those it names, and those whose captures or outcomes it uses.
fn order(cx: &mut Cx, steps: &[SuiteStep], at: &str) -> Vec<BTreeSet<String>> {
    let names: BTreeSet<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    let mut captured_by: BTreeMap<String, &str> = BTreeMap::new();
    for step in steps {
        for captured in captures(step, at) {
            captured_by.entry(captured.name).or_insert(&step.name);
        }
    }
    let mut out = vec![];
    for (i, step) in steps.iter().enumerate() {
        let at = format!("{at}[{}]", label(&step.name, i));
        let mut after = BTreeSet::new();
        for (j, name) in step.after.iter().enumerate() {
            let known = names.contains(name.as_str()) && *name != step.name;
            cx.refusals.require(
                known,
                format!("{at}.after[{j}]"),
                format!("{name:?} is not another step of this suite"),
                "name one, or leave it out",
            );
            if known {
                after.insert(name.clone());
            }
        }
        for usage in usages(step, &at) {
            let (captures, outcomes) = refers_to(&usage);
            let makers = captures.iter().filter_map(|c| captured_by.get(c).copied());
            let named = outcomes.iter().map(String::as_str).filter(|s| names.contains(s));
            after.extend(makers.chain(named).filter(|s| *s != step.name).map(str::to_owned));
        }
        out.push(after);
    }
    refuse_cycles(cx, steps, &out, at);
    out
}

/// Takes away steps that wait for nothing until none is left; what remains waits for itself.
fn refuse_cycles(cx: &mut Cx, steps: &[SuiteStep], order: &[BTreeSet<String>], at: &str) {
    let mut left: BTreeMap<&str, &BTreeSet<String>> = steps.iter().map(|s| s.name.as_str()).zip(order).collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, after)| !after.iter().any(|a| left.contains_key(a.as_str())))
            .map(|(n, _)| *n)
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.into_keys().collect();
        cx.refusals.add(
            at,
            format!("these steps wait for one another: {}", names.join(", ")),
            "remove an after, or a use of a capture, from one of them",
        );
    }
}

/// The time of the longest chain of steps that wait for one another.
fn longest_path(suite: &PlanSuite) -> Duration {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    // Each round settles at least one more link of every chain; a cycle (refused) ends with the rounds.
    for _ in 0..suite.steps.len() {
        for step in &suite.steps {
            let start = step.after.iter().filter_map(|a| ends.get(a.as_str())).max().copied().unwrap_or(0);
            ends.insert(&step.name, start.saturating_add(step.timeout.as_millis()));
        }
    }
    Duration::from_millis(ends.into_values().max().unwrap_or(0))
}
