//! PURE. `Cutover` → [`Plan`]: every default filled in, or every reason why this version cannot run it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::cutover::{CutoverSpec, FollowUp, Side};
use crate::api::duration::Duration;
use crate::api::phases;
use crate::api::restore::{BlockedAction, Connections};
use crate::api::step::{OnFailure, Rollout, SideRef, Step, StepAction};

use super::actions::rollout;
use super::metrics::{self, Offered};
use super::refuse::{Of, Refusal, Refusals, not_yet};
use super::resolving::Cx;
use super::scope::Scope;
use super::steps;
use super::triggers::{self, count_or_percent};
use super::{Action, MinReady, Plan, PlanRollback, PlanSide, PlanStep, PlanSwitch, Stage};
use super::{after, names};

/// Most steps of a Cutover, those of suites included.
pub(crate) const MAX_STEPS: usize = 200;
/// Largest spec.
pub(crate) const MAX_SPEC: usize = 256 * 1024;
/// Largest plan: the run that holds it has room for its journal beside it.
const MAX_PLAN: usize = 320 * 1024;
/// Longest name of a Cutover.
const MAX_NAME: usize = 40;
/// The time of the steps before the restore, unless it is said, and the most.
const BEFORE: Duration = Duration::from_secs(5);
const MAX_BEFORE: Duration = Duration::from_secs(30);
/// The account where none is named.
const ACCOUNT: &str = "cutover";

/// Resolves the Cutover `name`, whose Services point to the side named `live`. `offered`: the
/// what the operator's configuration offers. All refusals are returned, not the first alone.
pub fn resolve(
    name: &str,
    namespace: &str,
    spec: &CutoverSpec,
    live: &str,
    offered: &Offered,
) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    too_large(name, spec, &mut refusals);
    if !refusals.0.is_empty() {
        return Err(refusals.0); // looking closer at something this large would cost too much
    }
    match serde_json::to_value(spec) {
        Ok(value) => not_yet(Of::Spec, &value, "spec", &mut refusals),
        Err(why) => refusals.add("spec", format!("the spec cannot be read: {why}"), "write it anew"),
    }
    services(spec, &mut refusals);
    sides(&spec.sides, &mut refusals);
    rest(spec, &mut refusals);
    super::notify::check(&spec.notify, &offered.receivers.of(namespace), &mut refusals);
    let Some((target, old)) = target_and_old(spec, live, &mut refusals) else { return Err(refusals.0) };
    let sides = names::Sides { target: &target.name, old: &old.name };
    let spec = &names::written_out(spec, sides, &mut refusals);
    let release = spec.release.clone().unwrap_or_default();
    let scope = Scope::new(&release);
    let prometheus = metrics::resolve(spec.prometheus.as_ref(), namespace, offered, &mut refusals);
    let has_prometheus = prometheus.is_some();
    let account = match spec.service_account_name.trim() {
        "" => ACCOUNT,
        name => name,
    };
    let mut cx = Cx {
        refusals: &mut refusals,
        account,
        job_accounts: &spec.job_service_accounts,
        requested: release.requested_by.is_some(),
        scope,
        target: &target.workloads,
        old: &old.workloads,
        services: &spec.services,
        changed: BTreeSet::new(),
        before_switch: BTreeSet::new(),
        namespace,
        offered,
        has_prometheus,
    };
    let mut plan_steps = vec![permissions()];
    let phase = |cx: &mut Cx, stage: Stage| {
        let steps = spec.phases.get(stage.field()).map(|p| p.steps.as_slice()).unwrap_or_default();
        steps::stage(cx, stage, steps, &format!("spec.phases.{}.steps", stage.field()))
    };
    plan_steps.extend(phase(&mut cx, Stage::Preflight));
    plan_steps.extend(phase(&mut cx, Stage::Prepare));
    let verify = phase(&mut cx, Stage::Verify);
    if !plan_steps.iter().chain(&verify).any(|s| waits_for_target(s, &target)) {
        plan_steps.push(target_rollout());
    }
    plan_steps.extend(verify);
    cx.before_switch = cx.scope.captures.clone();
    plan_steps.extend(phase(&mut cx, Stage::Confirm));
    // Triggers are armed during Confirming and Observing: they see what was captured up to there.
    let observe = triggers::resolve(&mut cx, spec.observe.as_ref());
    plan_steps.extend(phase(&mut cx, Stage::Finish));
    // What comes after Completed sees nothing of the way back.
    let forward = (cx.scope.captures.clone(), cx.scope.steps.clone());
    plan_steps.extend(phase(&mut cx, Stage::BeforeRestore));
    plan_steps.extend(phase(&mut cx, Stage::Rollback));
    plan_steps.extend(phase(&mut cx, Stage::RollbackVerify));
    (cx.scope.captures, cx.scope.steps) = forward;
    let follow_ups = phase(&mut cx, Stage::FollowUp);
    let follow_up = after::follow_ups(&mut cx, spec, &follow_ups);
    plan_steps.extend(follow_ups);
    plan_steps.extend(after::retirement(&mut cx, spec));
    let switch = switch(spec, &mut refusals);
    let rollback = rollback(spec, &mut refusals);
    let plan = Plan {
        cutover: name.to_owned(),
        namespace: namespace.to_owned(),
        release,
        service_account: account.to_owned(),
        job_accounts: Some(spec.job_service_accounts.clone()),
        prometheus,
        services: spec.services.iter().map(|s| s.name.clone()).collect(),
        target,
        old,
        steps: plan_steps,
        switch,
        rollback: Some(rollback),
        observe,
        window: spec.window.clone(),
        drift_policy: spec.drift_policy.unwrap_or_default(),
        templates: vec![],
        kept: BTreeMap::new(),
        follow_up,
        retire: spec.retire.clone(),
    };
    let size = serde_json::to_vec(&plan).map_or(usize::MAX, |v| v.len());
    refusals.require(
        size <= MAX_PLAN,
        "spec",
        format!("the resolved plan has {} KiB, more than {} KiB", size / 1024, MAX_PLAN / 1024),
        "use fewer or shorter steps",
    );
    if refusals.0.is_empty() { Ok(plan) } else { Err(refusals.0) }
}

/// Refuses by name what is too large to look at.
fn too_large(name: &str, spec: &CutoverSpec, refusals: &mut Refusals) {
    refusals.require(
        name.len() <= MAX_NAME,
        "metadata.name",
        format!("the name has {} characters, more than {MAX_NAME}", name.len()),
        "choose a shorter one: Jobs and runs are named after it",
    );
    let size = serde_json::to_vec(spec).map_or(usize::MAX, |v| v.len());
    refusals.require(
        size <= MAX_SPEC,
        "spec",
        format!("the spec has {} KiB, more than {} KiB", size / 1024, MAX_SPEC / 1024),
        "move templates and bodies out of it, for example into images and Secrets",
    );
    let in_suite = |a: &StepAction| if let StepAction::Suite(suite) = a { suite.steps.len() } else { 0 };
    let with_suite = |s: &Step| 1 + s.action.all().iter().map(in_suite).sum::<usize>();
    let phases = spec.phases.iter().filter(|(name, _)| *name != Stage::FollowUp.field());
    let once: usize = phases.flat_map(|(_, p)| &p.steps).map(with_suite).sum();
    // Every round of a follow-up is recorded.
    let follow_ups = spec.phases.get(Stage::FollowUp.field()).map(|p| p.steps.as_slice()).unwrap_or_default();
    let size_of = |name: &String| follow_ups.iter().find(|s| s.name == *name).map_or(0, with_suite);
    let later = |f: &FollowUp| f.run.iter().map(size_of).sum::<usize>().saturating_mul(after::rounds(f));
    let count = spec.follow_up.iter().map(later).fold(once, usize::saturating_add);
    refusals.require(
        count <= MAX_STEPS,
        "spec",
        format!("there are {count} steps, more than {MAX_STEPS}"),
        "put several checks into one Job, or repeat a follow-up less often",
    );
}

fn services(spec: &CutoverSpec, refusals: &mut Refusals) {
    refusals.require(!spec.services.is_empty(), "spec.services", "no Service is named", "name the Services to switch");
    refusals.require(
        spec.services.len() <= 8,
        "spec.services",
        "more than 8 Services are named",
        "use several Cutovers",
    );
    let mut seen = BTreeSet::new();
    for (i, service) in spec.services.iter().enumerate() {
        let field = format!("spec.services[{i}].name");
        refusals.require(!service.name.is_empty(), &field, "the Service has no name", "name it");
        refusals.require(seen.insert(&service.name), field, format!("{} is named twice", service.name), "name it once");
    }
}

fn sides(sides: &[Side], refusals: &mut Refusals) {
    refusals.require(sides.len() == 2, "spec.sides", format!("there are {} sides", sides.len()), "give exactly two");
    for (i, side) in sides.iter().enumerate() {
        let at = format!("spec.sides[{i}]");
        refusals.require(!side.name.is_empty(), format!("{at}.name"), "the side has no name", "name it, such as blue");
        refusals.require(
            !side.selector.is_empty(),
            format!("{at}.selector"),
            "the selector is empty",
            "give the labels that only this side's pods have",
        );
        for (key, value) in &side.selector {
            refusals.require(
                is_label_key(key) && is_label_value(value),
                format!("{at}.selector"),
                format!("{key}={value} is not a label"),
                "use a label of the side's pods",
            );
        }
        refusals.require(
            !side.workloads.is_empty(),
            format!("{at}.workloads"),
            "no workload is named",
            "name what runs the side",
        );
        let unique: BTreeSet<_> = side.workloads.iter().collect();
        refusals.require(
            unique.len() == side.workloads.len(),
            format!("{at}.workloads"),
            "a workload is named twice",
            "name it once",
        );
    }
    let [a, b] = sides else { return };
    refusals.require(a.name != b.name, "spec.sides[1].name", "both sides have the same name", "give them two names");
    let within = |x: &BTreeMap<_, _>, y: &BTreeMap<_, _>| x.iter().all(|(k, v)| y.get(k) == Some(v));
    if within(&a.selector, &b.selector) || within(&b.selector, &a.selector) {
        refusals.add(
            "spec.sides",
            "the sides overlap: pods of one side match the selector of the other",
            "give both sides the same keys, at least one of them with different values",
        );
    } else {
        refusals.require(
            a.selector.keys().eq(b.selector.keys()),
            "spec.sides",
            "the selectors of the two sides have different keys",
            "give both sides the same keys",
        );
    }
    for shared in a.workloads.iter().filter(|w| b.workloads.contains(w)) {
        refusals.add(
            "spec.sides",
            format!("{:?} {} is a workload of both sides", shared.kind, shared.name),
            "every workload belongs to one side",
        );
    }
}

fn rest(spec: &CutoverSpec, refusals: &mut Refusals) {
    for name in spec.phases.keys().filter(|name| !phases::PHASES.contains(&name.as_str())) {
        refusals.add(format!("spec.phases.{name}"), phases::unknown(), "move its steps to one of them");
    }
    for (name, _) in spec.phases.iter().filter(|(name, phase)| *name != "beforeRestore" && phase.within.is_some()) {
        refusals.add(
            format!("spec.phases.{name}.within"),
            "only beforeRestore has a time for all its steps together",
            "leave it out, and give the steps a timeout",
        );
    }
    if let Some(window) = &spec.window {
        refusals.require(
            window.start < window.end,
            "spec.window",
            "the window ends before it begins",
            "swap or correct start and end",
        );
    }
    if let Some(release) = &spec.release
        && let Some(label) = &release.pod_label
    {
        refusals.require(
            is_label_key(label),
            "spec.release.podLabel",
            format!("{label:?} is not the key of a label"),
            "name a label of the target's pods",
        );
        let version = release.version.as_deref();
        refusals.require(
            version.is_some_and(is_label_value),
            "spec.release.version",
            "with podLabel, version must be set and be the value of a label",
            "set version to what the target's pods carry, or leave podLabel out",
        );
    }
}

fn target_and_old(spec: &CutoverSpec, live: &str, refusals: &mut Refusals) -> Option<(PlanSide, PlanSide)> {
    let side = |name: &str| {
        spec.sides.iter().find(|s| s.name == name).map(|s| PlanSide {
            name: s.name.clone(),
            selector: s.selector.clone(),
            workloads: s.workloads.clone(),
        })
    };
    let (target, from) = (side(&spec.activate), side(live));
    let names: Vec<_> = spec.sides.iter().map(|s| s.name.as_str()).collect();
    refusals.require(
        target.is_some(),
        "spec.activate",
        format!("{:?} is not the name of a side", spec.activate),
        format!("name one of {}", names.join(", ")),
    );
    refusals.require(
        from.is_some(),
        "spec.sides",
        format!("the Services point to {live:?}, which is not the name of a side"),
        "name the side that is live as it was named before",
    );
    refusals.require(
        spec.activate != live,
        "spec.activate",
        format!("{live} is live already"),
        "name the other side to start a run",
    );
    target.zip(from)
}

fn switch(spec: &CutoverSpec, refusals: &mut Refusals) -> PlanSwitch {
    let given = spec.switch.clone().unwrap_or_default();
    let min_ready = min_ready(given.min_ready.as_deref(), MinReady::Percent(100), "spec.switch.minReady", refusals);
    let timeout = given.timeout.unwrap_or(Duration::from_secs(60));
    refusals.require(
        !timeout.is_zero(),
        "spec.switch.timeout",
        "a timeout of 0s leaves no time",
        "give some time, such as 60s",
    );
    let connections = given.connections.unwrap_or_default();
    PlanSwitch { min_ready, drain: given.drain.unwrap_or_default(), timeout, connections }
}

/// How selectors go back.
fn rollback(spec: &CutoverSpec, refusals: &mut Refusals) -> PlanRollback {
    let given = spec.rollback.as_ref();
    let blocked = given.and_then(|r| r.blocked.clone()).unwrap_or_default();
    let asks = blocked.action.unwrap_or_default() == BlockedAction::Ask;
    refusals.require(
        asks || (blocked.within.is_none() && blocked.default.is_none()),
        "spec.rollback.blocked",
        "within and default say what happens when people are asked, and action asks nobody",
        "leave them out, or set action: Ask",
    );
    refusals.require(
        blocked.within.is_none_or(|within| !within.is_zero()),
        "spec.rollback.blocked.within",
        "people would have no time",
        "give some time, such as 15m",
    );
    let text = given.and_then(|r| r.min_ready.as_deref());
    PlanRollback {
        min_ready: min_ready(text, MinReady::Percent(50), "spec.rollback.minReady", refusals),
        blocked: blocked.action.unwrap_or_default(),
        within: blocked.within.unwrap_or(Duration::from_mins(15)),
        default: blocked.default.unwrap_or_default(),
        connections: given.and_then(|r| r.connections).unwrap_or(Connections::Close),
        before: before_restore(spec, refusals),
    }
}

/// The time that the steps before the restore have together.
fn before_restore(spec: &CutoverSpec, refusals: &mut Refusals) -> Duration {
    let within = spec.phases.get(Stage::BeforeRestore.field()).and_then(|phase| phase.within);
    refusals.require(
        within.is_none_or(|within| !within.is_zero() && within <= MAX_BEFORE),
        "spec.phases.beforeRestore.within",
        format!("{} is not possible: users are on the target meanwhile", within.unwrap_or_default()),
        format!("give some time up to {MAX_BEFORE}"),
    );
    within.unwrap_or(BEFORE)
}

/// Ready endpoints wanted, as a field gives them.
fn min_ready(text: Option<&str>, default: MinReady, field: &str, refusals: &mut Refusals) -> MinReady {
    let given = text.map_or(Some(default), count_or_percent);
    refusals.require(
        given.is_some_and(|m| !matches!(m, MinReady::Count(0) | MinReady::Percent(0))),
        field,
        "this is not a number or per cent above 0",
        "write for example \"100%\" or \"2\"",
    );
    given.unwrap_or(default)
}

/// Dry runs of everything the run will write, before anything is written.
fn permissions() -> PlanStep {
    let action = Action::Permissions {};
    PlanStep::inserted("cutover-permissions", Stage::Preflight, 10, action)
}

/// The wait for the target that every run has, whether or not it is written.
fn target_rollout() -> PlanStep {
    let rollout = Rollout { side: Some(SideRef::Target), workloads: vec![], replicas: None };
    PlanStep::inserted("cutover-target-rollout", Stage::Verify, 1, Action::Rollout(rollout))
}

/// Whether a step makes the run wait for the whole target in any case.
fn waits_for_target(step: &PlanStep, target: &PlanSide) -> bool {
    let Action::Rollout(of) = &step.action else { return false };
    step.stage != Stage::Preflight
        && step.when.is_none()
        && step.needs.is_empty()
        && step.on_failure != OnFailure::Continue
        && rollout::covers(of, &target.workloads)
}

/// Whether it can be the key of a label.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    let dns = |p: &str| {
        !p.is_empty()
            && p.len() <= 253
            && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(dns)
}

/// Whether it can be the value of a label.
pub(crate) fn is_label_value(value: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && ends(value.chars().next())
        && ends(value.chars().last())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests;
