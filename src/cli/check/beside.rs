//! PURE. What works beside a Cutover, or against it: who owns the selector, autoscalers, disruption budgets, and what its
//! conditions ask for.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::facts::{Facts, Planned};
use super::model::Line;
use super::sides::takes;
use super::topics::{AUTOSCALER, CLOCK, CONDITIONS, DISRUPTION_BUDGET, SELECTOR_OWNER, WORKLOAD_OWNER};
use crate::api::condition::{reasons, types};
use crate::api::cutover::Cutover;
use crate::api::step::WorkloadRef;
use crate::cli::cluster::Seen;
use crate::endpoints::keepers;
use crate::plan::Action;
use crate::world::convert;

/// Who writes the selectors of the Services.
pub(crate) fn selector_owner(cutover: &Cutover, facts: &Facts) -> Vec<Line> {
    let keys = keepers::keys(cutover.spec.sides.iter().map(|s| &s.selector));
    let named = cutover.spec.services.iter().filter_map(|s| facts.service(&s.name));
    let line = |service: &Service| {
        let name = service.name_any();
        match keepers::selector(&name, &convert::service(service), &keys) {
            Some(kept) => Line::warning(SELECTOR_OWNER, kept.message, kept.remedy),
            None => Line::ok(SELECTOR_OWNER, format!("nobody else keeps the selector of Service {name}")),
        }
    };
    named.map(line).collect()
}

/// Who keeps the replicas and variables that steps set.
pub(crate) fn workload_owner(planned: Option<&Planned>, facts: &Facts, now: Timestamp) -> Vec<Line> {
    let Some(plan) = planned.and_then(|p| p.plan.as_ref().ok()) else { return vec![] };
    let kept = keepers::of_steps(plan, &facts.seen(plan, now));
    match kept.is_empty() {
        true => vec![Line::ok(WORKLOAD_OWNER, "nobody else keeps what steps set on workloads")],
        false => kept.into_iter().map(|k| Line::warning(WORKLOAD_OWNER, k.message, k.remedy)).collect(),
    }
}

/// Autoscalers of the workloads.
pub(crate) fn autoscalers(cutover: &Cutover, planned: Option<&Planned>, facts: &Facts) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    let all = match &facts.autoscalers {
        Seen::Known(all) => all,
        Seen::Hidden(right) => return vec![Line::hidden(AUTOSCALER, "autoscalers", *right, Some(&ns))],
    };
    let of = |w: &WorkloadRef| {
        all.iter().find(|h| {
            let target = &h.spec.scale_target_ref;
            target.kind == format!("{:?}", w.kind) && target.name == w.name
        })
    };
    let mut lines = vec![];
    let plan = planned.and_then(|p| p.plan.as_ref().ok());
    for step in plan.iter().flat_map(|p| &p.steps) {
        let (Action::Scale(scale), Some(plan)) = (&step.action, plan) else { continue };
        let replicas = i64::from(scale.replicas);
        for object in step.action.changes(plan) {
            let found = all.iter().find(|h| {
                let target = &h.spec.scale_target_ref;
                target.kind == format!("{:?}", object.kind) && target.name == object.name
            });
            let Some(spec) = found.map(|h| &h.spec) else { continue };
            let (least, most) = (i64::from(spec.min_replicas.unwrap_or(1)), i64::from(spec.max_replicas));
            // At 0 an autoscaler rests.
            if replicas != 0 && !(least..=most).contains(&replicas) {
                let hpa = found.map(ResourceExt::name_any).unwrap_or_default();
                lines.push(Line::warning(
                    AUTOSCALER,
                    format!(
                        "step {} scales {:?} {} to {replicas}, and HorizontalPodAutoscaler {hpa} keeps it at {least} to {most}",
                        step.name, object.kind, object.name
                    ),
                    format!("kubectl edit hpa {hpa} -n {ns} (or give the step a number between {least} and {most})"),
                ));
            }
        }
    }
    let scaled = |side: &crate::api::cutover::Side| side.workloads.iter().any(|w| of(w).is_some());
    if let [a, b] = cutover.spec.sides.as_slice()
        && scaled(a) != scaled(b)
    {
        let (with, without) = if scaled(a) { (a, b) } else { (b, a) };
        let hpa = with.workloads.iter().find_map(of).map(ResourceExt::name_any).unwrap_or_default();
        let other = without.workloads.first().map(|w| w.name.clone()).unwrap_or_default();
        lines.push(Line::warning(
            AUTOSCALER,
            format!(
                "{} is scaled by HorizontalPodAutoscaler {hpa}, and {} by none: it would go live with its fixed number of pods",
                with.name, without.name
            ),
            format!("kubectl autoscale deployment {other} -n {ns} (with the numbers of {hpa})"),
        ));
    }
    if lines.is_empty() {
        lines.push(Line::ok(AUTOSCALER, "no autoscaler works against a run"));
    }
    lines
}

/// Disruption budgets over the pods of the sides.
pub(crate) fn budgets(cutover: &Cutover, facts: &Facts) -> Vec<Line> {
    let ns = cutover.namespace().unwrap_or_default();
    let all = match &facts.budgets {
        Seen::Known(all) => all,
        Seen::Hidden(right) => return vec![Line::hidden(DISRUPTION_BUDGET, "disruption budgets", *right, Some(&ns))],
    };
    let mut lines = vec![];
    for budget in all {
        let Some(selector) = budget.spec.as_ref().and_then(|s| s.selector.as_ref()) else { continue };
        let over = |side: &&crate::api::cutover::Side| {
            let labels = side.workloads.iter().filter_map(|w| facts.workload(w)).map(|v| v.pod_labels);
            labels.into_iter().any(|l| takes(selector, &l))
        };
        let sides: Vec<&str> = cutover.spec.sides.iter().filter(over).map(|s| s.name.as_str()).collect();
        if sides.is_empty() {
            continue;
        }
        let name = budget.name_any();
        if forbids(budget) {
            lines.push(Line::warning(
                DISRUPTION_BUDGET,
                format!("PodDisruptionBudget {name} lets no pod of {} be evicted: a node cannot be drained", sides.join(" and ")),
                format!("kubectl patch pdb {name} -n {ns} --type=merge -p '{{\"spec\":{{\"minAvailable\":null,\"maxUnavailable\":1}}}}'"),
            ));
        }
        if sides.len() > 1 {
            let key = cutover.spec.sides.first().and_then(|s| s.selector.keys().next()).cloned().unwrap_or_default();
            lines.push(Line::warning(
                DISRUPTION_BUDGET,
                format!(
                    "PodDisruptionBudget {name} counts both sides as one: pods of the idle side make up for live ones"
                ),
                format!("give each side a budget of its own, with {key} in its selector, and delete {name}"),
            ));
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(DISRUPTION_BUDGET, "no disruption budget stands in the way"));
    }
    lines
}

/// Whether a budget never lets a pod go.
fn forbids(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let is = |value: Option<&IntOrString>, number: i32, text: &str| match value {
        Some(IntOrString::Int(n)) => *n == number,
        Some(IntOrString::String(s)) => s == text,
        None => false,
    };
    let none_away = is(spec.and_then(|s| s.max_unavailable.as_ref()), 0, "0%");
    let all_there = matches!(spec.and_then(|s| s.min_available.as_ref()), Some(IntOrString::String(s)) if s == "100%");
    let status = budget.status.as_ref();
    let needs_all =
        status.is_some_and(|s| s.expected_pods.is_some_and(|n| n > 0) && s.desired_healthy >= s.expected_pods);
    none_away || all_there || needs_all
}

/// Conditions that ask for somebody.
pub(crate) fn conditions(cutover: &Cutover, flags: &str) -> Vec<Line> {
    let next = format!("kubectl cutover status {}{flags}", cutover.name_any());
    let all: Vec<_> = cutover.status.iter().flat_map(|s| &s.conditions).collect();
    let mut lines = vec![];
    for c in &all {
        let message = format!("{} ({}): {}", c.type_, c.reason, c.message);
        let remedy = types::ALL.iter().find(|w| w.name == c.type_).map(|w| format!("{next} ({})", w.remedy));
        let remedy = remedy.unwrap_or_else(|| next.clone());
        match (c.type_.as_str(), c.status.as_str()) {
            (types::ROLLBACK_BLOCKED | types::OUTCOME_UNKNOWN | types::SERVICE_CONFLICT, "True") => {
                lines.push(Line::failed(CONDITIONS, message, remedy));
            }
            (
                types::AWAITING_DECISION
                | types::SELECTOR_DRIFT
                | types::NODE_LOST
                | types::METRICS_INCONCLUSIVE
                | types::SUSPENDED
                | types::NOTIFICATIONS_FAILING,
                "True",
            )
            | (types::CAN_ROLL_BACK, "False") => lines.push(Line::warning(CONDITIONS, message, remedy)),
            _ => {}
        }
    }
    // What is refused has a line of its own, and what waits for people has one above.
    let stalled = all.iter().find(|c| c.type_ == types::STALLED && c.status == "True");
    if let Some(c) = stalled.filter(|c| lines.is_empty() && c.reason != reasons::INVALID_SPEC) {
        lines.push(Line::warning(CONDITIONS, format!("Stalled ({}): {}", c.reason, c.message), next));
    }
    if all.iter().any(|c| c.reason == reasons::CLOCK_JUMPED) {
        let message = format!("the operator's clock was set during a run of {}", cutover.name_any());
        lines.push(Line::warning(CLOCK, message, "look at the time service of the operator's node"));
    }
    if !lines.iter().any(|l| l.id == CONDITIONS.id) {
        lines.push(Line::ok(CONDITIONS, "no condition asks for somebody"));
    }
    lines
}
