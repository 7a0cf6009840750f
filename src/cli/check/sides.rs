//! PURE. What stands around a Cutover: its Services, its workloads, its sides.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use super::facts::{Facts, Planned, live};
use super::model::Line;
use super::topics::{ACCEPTED, SERVICE_CLAIMED_TWICE, SERVICES, SIDE_READY, SIDES, SIDES_OVERLAP, WORKLOADS};
use crate::api::condition::types;
use crate::api::cutover::Cutover;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::cli::cluster::Seen;
use crate::endpoints::{check, why};
use crate::plan::{Action, Plan, PlanSide, Stage};
use crate::world::World;

/// Lines shown of what the sides are refused for.
const MOST: usize = 4;

/// Whether the operator takes it.
pub(crate) fn accepted(cutover: &Cutover, planned: Option<&Planned>) -> Line {
    let (name, ns) = (cutover.name_any(), cutover.namespace().unwrap_or_default());
    let edit = format!("kubectl edit cutover {name} -n {ns}");
    let condition = cutover.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == types::ACCEPTED);
    let fresh = condition.filter(|c| c.observed_generation == cutover.metadata.generation);
    match (fresh, planned.map(|p| &p.plan)) {
        (Some(c), _) if c.status == "True" => Line::ok(ACCEPTED, "the operator refuses nothing"),
        (Some(c), _) => Line::failed(ACCEPTED, format!("the operator refuses it: {}", c.message), edit),
        (None, Some(Err(refusals))) => {
            let all: Vec<String> = refusals.iter().take(MOST).map(ToString::to_string).collect();
            Line::failed(ACCEPTED, format!("it would be refused: {}", all.join(" | ")), edit)
        }
        (None, _) => Line::failed(
            ACCEPTED,
            "the operator has not looked at it as it is now",
            "look at the lines about the operator: it does not run, or looks at other namespaces",
        ),
    }
}

/// Whether its Services exist.
pub(crate) fn services(cutover: &Cutover, facts: &Facts) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    if let Seen::Hidden(right) = &facts.services {
        return vec![Line::hidden(SERVICES, "the Services", *right, Some(&ns))];
    }
    let mut lines = vec![];
    for named in &cutover.spec.services {
        let name = &named.name;
        let remedy = format!("kubectl get services -n {ns} (apply it, or correct spec.services)");
        let Some(service) = facts.service(name) else {
            lines.push(Line::failed(SERVICES, format!("Service {name} does not exist"), remedy));
            continue;
        };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            lines.push(Line::failed(
                SERVICES,
                format!("Service {name} is an ExternalName, which selects no pods"),
                remedy,
            ));
        } else if spec.selector.is_none_or(|s| s.is_empty()) {
            let message = format!("Service {name} has no selector, so there is nothing to switch");
            lines.push(Line::failed(SERVICES, message, format!("kubectl cutover init {name} -n {ns}")));
        }
    }
    if lines.is_empty() {
        let names: Vec<&str> = cutover.spec.services.iter().map(|s| s.name.as_str()).collect();
        let (many, verb) = if names.len() == 1 { ("Service", "exists") } else { ("Services", "exist") };
        lines.push(Line::ok(SERVICES, format!("{many} {} {verb}", names.join(", "))));
    }
    lines
}

/// Whether another Cutover of the namespace names one of its Services.
pub(crate) fn claimed(cutover: &Cutover, all: &[Cutover]) -> Vec<Line> {
    let born = |c: &Cutover| (c.creation_timestamp().map(|t| t.0), c.uid().unwrap_or_default());
    let (ns, name) = (cutover.namespace().unwrap_or_default(), cutover.name_any());
    let mut lines = vec![];
    for other in all.iter().filter(|o| o.namespace().as_deref() == Some(&*ns) && o.name_any() != name) {
        let shared = cutover.spec.services.iter().filter(|s| other.spec.services.contains(s));
        for service in shared {
            let (holds, waits) = if born(other) < born(cutover) { (other, cutover) } else { (cutover, other) };
            let message = format!(
                "Service {} stands in Cutovers {} and {}; the older one, {}, holds it",
                service.name,
                name,
                other.name_any(),
                holds.name_any()
            );
            let remedy =
                format!("kubectl edit cutover {} -n {ns} (take the Service out of spec.services)", waits.name_any());
            lines.push(Line::failed(SERVICE_CLAIMED_TWICE, message, remedy));
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(SERVICE_CLAIMED_TWICE, "no other Cutover names its Services"));
    }
    lines
}

/// Whether its workloads exist.
pub(crate) fn workloads(cutover: &Cutover, facts: &Facts) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    let mut lines: Vec<Line> = vec![];
    let mut count = 0;
    for (side, named) in cutover.spec.sides.iter().flat_map(|s| s.workloads.iter().map(move |w| (s, w))) {
        let shown = shown(named);
        count += 1;
        if let Some(right) = facts.hides(named.kind) {
            let line = Line::hidden(WORKLOADS, "the workloads", right, Some(&ns));
            if !lines.contains(&line) {
                lines.push(line);
            }
        } else if facts.workload(named).is_none() {
            lines.push(Line::failed(
                WORKLOADS,
                format!("{shown} of {} does not exist", side.name),
                format!(
                    "apply it, or correct spec.sides; it is the workload of the other side under its own name, with {} in \
                     spec.selector and in the labels of its pods",
                    side.selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
                ),
            ));
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(WORKLOADS, format!("all {count} workloads of both sides exist")));
    }
    lines
}

/// What the checks at the start of a run would say of Services, sides and pods.
pub(crate) fn sides(cutover: &Cutover, planned: Option<&Planned>, facts: &Facts, now: Timestamp) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    let Some(plan) = planned.and_then(|p| p.plan.as_ref().ok()) else { return vec![] };
    let world = match facts.world(plan, now) {
        Ok(world) => world,
        Err(right) => return vec![Line::hidden(SIDES, "the sides", right, Some(&ns))],
    };
    let mut lines = match check::check(plan, &world) {
        // A workload that does not exist has its own line.
        Err(_) => vec![],
        Ok(found) => {
            let refused = found.refused.iter().chain(&found.gated).map(|why| split(why, Line::failed));
            let warned = found.warnings.iter().map(|why| split(why, Line::warning));
            let lines: Vec<Line> = refused.chain(warned).collect();
            match lines.is_empty() {
                true => vec![Line::ok(SIDES, "each Service would find the listed workloads on either side")],
                false => lines,
            }
        }
    };
    lines.extend(ready(cutover, plan, &world, facts));
    lines
}

/// What is wrong, then what to do: such texts have the remedy behind the last semicolon.
fn split(text: &str, make: fn(super::topics::Topic, String, String) -> Line) -> Line {
    match text.rsplit_once("; ") {
        Some((what, remedy)) => make(SIDES, what.to_owned(), remedy.to_owned()),
        None => make(SIDES, text.to_owned(), "correct spec.sides, or the labels in the pod templates".to_owned()),
    }
}

/// Whether both sides have the pods that they want, for each Service.
fn ready(cutover: &Cutover, plan: &Plan, world: &World, facts: &Facts) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    let live = live(cutover, facts);
    let mut lines = vec![];
    for service in &plan.services {
        for side in [&plan.old, &plan.target] {
            let (Some(ready), Some(wanted)) = (world.ready_on(service, side), world.wanted_of(service, side)) else {
                continue;
            };
            let is_live = side.name == live;
            let idle = !is_live && world.wanted(side) == Some(0);
            let what = format!(
                "{} ({}) has {ready} of {wanted} ready endpoints for Service {service}",
                side.name,
                if is_live { "live" } else { "the other side" }
            );
            let remedy = || format!("kubectl get pods -n {ns} -l {}", pairs(side));
            lines.push(match (ready >= wanted, is_live, ready) {
                (true, ..) => Line::ok(SIDE_READY, what),
                _ if idle => Line::ok(SIDE_READY, format!("{} stands at 0 replicas", side.name)),
                (false, true, 0) => Line::failed(SIDE_READY, what + &cause(world, side), remedy()),
                (false, ..) => Line::warning(SIDE_READY, what + &cause(world, side), remedy()),
            });
        }
    }
    lines
}

/// Whether nobody starts pods of the target: it stands at 0, no run remembers how many it had, and no step of the run may
/// scale it up.
pub(crate) fn unstarted(cutover: &Cutover, plan: &Plan, facts: &Facts) -> Option<Line> {
    let (ns, target) = (cutover.namespace().unwrap_or_default(), &plan.target);
    let empty = |w: &WorkloadRef| facts.workload(w).is_some_and(|view| view.wanted == 0);
    if target.workloads.is_empty() || !target.workloads.iter().all(empty) {
        return None;
    }
    let remembered = cutover.status.as_ref().is_some_and(|s| s.retired.contains_key(&target.name));
    let mut first = plan.steps.iter().filter(|s| matches!(s.stage, Stage::Preflight | Stage::Prepare));
    if remembered || first.any(|s| s.parts().iter().any(|p| matches!(p.action, Action::Scale(_) | Action::Job(_)))) {
        return None;
    }
    let scale = |w: &WorkloadRef| {
        format!("kubectl scale {}/{} -n {ns} --replicas=N", format!("{:?}", w.kind).to_lowercase(), w.name)
    };
    let what = format!(
        "{} stands at 0 replicas, and no run remembers how many it had: the run would wait for pods that nobody starts",
        target.name
    );
    Some(Line::failed(SIDE_READY, what, target.workloads.iter().map(scale).collect::<Vec<_>>().join(" && ")))
}

/// Why a pod of the side is not ready.
fn cause(world: &World, side: &PlanSide) -> String {
    let pods = world.pods.iter().flat_map(|seen| &seen.value);
    let of = pods.filter(|p| p.workload.as_ref().is_some_and(|w| side.workloads.contains(w)));
    of.filter_map(why::not_ready).map(|c| format!("; {}", c.text)).next().unwrap_or_default()
}

fn pairs(side: &PlanSide) -> String {
    side.selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

fn shown(w: &WorkloadRef) -> String {
    format!("{:?} {}", w.kind, w.name)
}

/// Whether the selector of a Deployment takes pods of the other side.
pub(crate) fn overlap(cutover: &Cutover, facts: &Facts) -> Vec<Line> {
    let Some(deployments) = facts.deployments.known() else { return vec![] };
    let of = |w: &WorkloadRef| {
        let deployment = deployments.iter().find(|d| w.kind == WorkloadKind::Deployment && d.name_any() == w.name);
        deployment.and_then(|d| d.spec.as_ref())
    };
    let mut lines = vec![];
    let sides = &cutover.spec.sides;
    for side in sides {
        let others = sides.iter().filter(|o| o.name != side.name).flat_map(|o| &o.workloads);
        for named in &side.workloads {
            let Some(spec) = of(named) else { continue };
            for other in others.clone() {
                let labels = of(other).and_then(|s| s.template.metadata.as_ref()?.labels.as_ref());
                if labels.is_some_and(|labels| takes(&spec.selector, labels)) {
                    let missing: Vec<String> = side.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    lines.push(Line::warning(
                        SIDES_OVERLAP,
                        format!(
                            "the selector of {} matches the pods of {}, so autoscalers and disruption budgets count both",
                            shown(named),
                            shown(other)
                        ),
                        format!(
                            "once {} is not live: delete it and create it with {} in spec.selector, which cannot be changed",
                            side.name,
                            missing.join(",")
                        ),
                    ));
                }
            }
        }
    }
    if lines.is_empty() && sides.iter().flat_map(|s| &s.workloads).any(|w| of(w).is_some()) {
        lines.push(Line::ok(SIDES_OVERLAP, "no Deployment selects pods of the other side"));
    }
    lines
}

/// Whether a label selector takes pods with these labels.
pub(crate) fn takes(selector: &LabelSelector, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let expressions = selector.match_expressions.iter().flatten().all(|e| {
        let value = labels.get(&e.key);
        let listed = value.is_some_and(|v| e.values.iter().flatten().any(|w| w == v));
        match e.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && expressions
}
