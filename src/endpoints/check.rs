//! PURE. What can be said of Services, sides and pods before a run changes anything: whether each Service would find the
//! listed workloads on either side, and whether what it would find can become a ready endpoint (DESIGN §5).
//!
//! Replicas play no part: a target that stands at zero is scaled up later.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::run::Selector;
use crate::api::step::WorkloadRef;
use crate::api::trigger::{Trigger, Watched};
use crate::plan::{Plan, PlanSide};
use crate::world::{PodView, PortView, ServiceView, TargetPort, WorkloadView, World};

use super::{carries, matches, ready, ready_count, whole_selector};

/// Names shown in one message.
const SHOWN: usize = 3;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Nothing can be switched, or put back, as long as these stand.
    pub refused: Vec<String>,
    /// Pods of the target that wait for a readiness gate and are needed; a controller may be about to set it.
    pub gated: Vec<String>,
    /// The switch is possible, and somebody should know.
    pub warnings: Vec<String>,
}

/// Most pods whose logs, memory or CPU a trigger or step looks at.
pub(crate) const MOST_PODS: usize = 1000;
/// Most pods whose memory is watched for growth: what was seen of each is kept in the run.
pub(crate) const MOST_GROWING: usize = 200;

/// Looks at every Service of a plan with both of its sides.
///
/// # Errors
/// Something is not known yet; in words.
pub fn check(plan: &Plan, world: &World) -> Result<Findings, String> {
    let mut found = Findings::default();
    let target = views(&plan.target, world)?;
    let live = views(&plan.old, world)?;
    let Some(pods) = &world.pods else { return Err("the pods are being looked up".into()) };
    found.refused.extend(of_other_side(&plan.target, &target, &plan.old));
    found.refused.extend(of_other_side(&plan.old, &live, &plan.target));
    found.refused.extend(too_many(plan, &target));
    for name in &plan.services {
        let Some(seen) = world.services.get(name) else { return Err(format!("Service {name} is being looked up")) };
        let Some(service) = &seen.value else {
            found.refused.push(format!("spec.services: Service {name} does not exist"));
            continue;
        };
        if service.selector.is_empty() {
            found.refused.push(without_selector(name, &plan.old.name));
            continue;
        }
        for (side, views) in [(&plan.target, &target), (&plan.old, &live)] {
            let look = WouldBe { name, service, side, views, whole: whole_selector(&service.selector, &side.selector) };
            match look.selected() {
                Ok(selected) => found.refused.extend(look.missing_ports(&selected)),
                Err(why) => found.refused.push(why),
            }
            if let Some(why) = look.unlisted(&pods.value) {
                let list = if side.name == plan.target.name { &mut found.refused } else { &mut found.warnings };
                list.push(why);
            }
        }
        let wanted = plan.switch.min_ready.of(world.wanted_of(name, &plan.target).unwrap_or(1));
        let whole = whole_selector(&service.selector, &plan.target.selector);
        if ready_count(&pods.value, &whole, &service.ports) < wanted {
            found.gated.extend(gated(&pods.value, &whole));
        }
        found.warnings.extend(foreign_slices(name, world));
    }
    // Two Services may wait for the same pod.
    found.gated.sort();
    found.gated.dedup();
    Ok(found)
}

/// A Service that selects nothing, in words.
pub(crate) fn without_selector(service: &str, live: &str) -> String {
    format!(
        "spec.services: Service {service} has no selector, so there is nothing to switch; give it one that selects {live}"
    )
}

/// Pods that a selector selects, whose containers are all ready and which wait for a readiness gate.
pub fn gated(pods: &[PodView], whole: &Selector) -> Vec<String> {
    let waits = |p: &&PodView| !p.ready && !p.terminating && !p.gates.is_empty() && matches(&p.labels, whole);
    let words = |p: &PodView| {
        format!(
            "all containers of pod {} are ready, but its readiness gate {} is not set; let the controller behind that \
             gate set it on pods that no Service selects yet, or take the gate out of the pod template",
            p.name,
            p.gates.join(", ")
        )
    };
    pods.iter().filter(waits).map(words).collect()
}

/// The workloads of a side as they are.
type Views<'a> = Vec<(&'a WorkloadRef, &'a WorkloadView)>;

fn views<'a>(side: &'a PlanSide, world: &'a World) -> Result<Views<'a>, String> {
    let mut views = vec![];
    for w in &side.workloads {
        match world.workloads.get(w).map(|seen| &seen.value) {
            None => return Err(format!("{} is being looked up", shown(w))),
            Some(None) => return Err(format!("{} of {} does not exist; apply it", shown(w), side.name)),
            Some(Some(view)) => views.push((w, view)),
        }
    }
    Ok(views)
}

/// Listed under one side, with pods that the other side's selector takes.
fn of_other_side(side: &PlanSide, views: &Views, other: &PlanSide) -> Vec<String> {
    let wrong = views.iter().filter(|(_, view)| carries(&view.pod_labels, &other.selector));
    let words = |w: &WorkloadRef| {
        format!(
            "spec.sides: {} is listed under {}, but its pods have {}, which selects {}; list it under {}, or correct the \
             labels in its pod template",
            shown(w),
            side.name,
            pairs(&other.selector),
            other.name,
            other.name
        )
    };
    wrong.map(|(w, _)| words(w)).collect()
}

/// Triggers that cannot look at so many pods as the target will have.
fn too_many(plan: &Plan, target: &Views) -> Vec<String> {
    let pods: usize = target.iter().map(|(_, view)| usize::try_from(view.wanted).unwrap_or(usize::MAX)).sum();
    let most = |trigger: &Trigger| match trigger.watches.one() {
        Ok(Watched::Logs(_)) => Some((MOST_PODS, "logs")),
        Ok(Watched::Pods(p)) if p.memory_growing.is_some() => Some((MOST_GROWING, "pods.memoryGrowing")),
        Ok(Watched::Pods(p)) if p.memory.is_some() || p.cpu.is_some() => Some((MOST_PODS, "pods")),
        _ => None,
    };
    let words = |trigger: &Trigger| {
        let (most, field) = most(trigger).filter(|(most, _)| pods > *most)?;
        Some(format!(
            "spec.observe.triggers[{}].{field}: {} wants {pods} pods, and at most {most} are looked at; use a metric trigger",
            trigger.name, plan.target.name
        ))
    };
    plan.observe.triggers.iter().filter_map(words).collect()
}

fn foreign_slices(service: &str, world: &World) -> Vec<String> {
    let mut slices = BTreeMap::<&str, usize>::new();
    for e in world.endpoints.get(service).iter().flat_map(|seen| &seen.value).filter(|e| e.foreign && e.ready) {
        *slices.entry(e.slice.as_str()).or_default() += 1;
    }
    let words = |(slice, count): (&str, usize)| {
        format!(
            "EndpointSlice {slice} of Service {service} was not made from its selector: requests go to the {count} ready \
             endpoints in it whichever side is live; delete it if that is not meant"
        )
    };
    slices.into_iter().map(words).collect()
}

/// One Service as if it pointed to one side.
struct WouldBe<'a> {
    name: &'a str,
    service: &'a ServiceView,
    side: &'a PlanSide,
    views: &'a Views<'a>,
    whole: Selector,
}

impl<'a> WouldBe<'a> {
    /// The workloads that the Service would select, at least one.
    fn selected(&self) -> Result<Views<'a>, String> {
        let selected: Views = self.views.iter().filter(|(_, v)| matches(&v.pod_labels, &self.whole)).copied().collect();
        if !selected.is_empty() {
            return Ok(selected);
        }
        let differs = |(w, v): &(&WorkloadRef, &WorkloadView)| format!("{} {}", shown(w), differs(v, &self.whole));
        let all: Vec<String> = self.views.iter().map(differs).collect();
        Err(format!(
            "spec.sides: Service {} would select {} on {}, and no workload listed there has such pods: {}; list the \
             workload behind this Service, or correct the labels in its pod template",
            self.name,
            pairs(&self.whole),
            self.side.name,
            some(&all, "; ")
        ))
    }

    /// Named ports that the pods of a selected workload do not have.
    fn missing_ports(&self, selected: &Views) -> Vec<String> {
        let mut missing = vec![];
        for port in &self.service.ports {
            let TargetPort::Name(name) = &port.target else { continue };
            let without = selected.iter().filter(|(_, v)| !port_names(&v.template).contains(name.as_str()));
            let without: Vec<String> = without.map(|(w, _)| shown(w)).collect();
            if !without.is_empty() {
                missing.push(format!(
                    "Service {}: {} has targetPort {name}, and no container of {} has a port of that name; name it in the \
                     pod template, or give the Service the port's number",
                    self.name,
                    port_words(port),
                    some(&without, ", ")
                ));
            }
        }
        missing
    }

    /// Ready pods that the Service would send users to and that belong to no listed workload.
    fn unlisted(&self, pods: &[PodView]) -> Option<String> {
        let listed = |p: &PodView| p.workload.as_ref().is_some_and(|w| self.side.workloads.contains(w));
        let stray: Vec<&PodView> = ready(pods, &self.whole, &self.service.ports).filter(|p| !listed(p)).collect();
        let names: Vec<String> = stray.iter().map(|p| p.name.clone()).collect();
        let owners: BTreeSet<String> = stray.iter().filter_map(|p| p.workload.as_ref().map(shown)).collect();
        let owners = owners.into_iter().collect::<Vec<_>>();
        let of = if owners.is_empty() { String::new() } else { format!(" of {}", some(&owners, ", ")) };
        (!stray.is_empty()).then(|| {
            format!(
                "spec.sides: Service {} would select {} on {}, and so it would send users to the ready pods {}{of}, which \
                 belong to no workload listed there; list their workload, or change the pods' labels",
                self.name,
                pairs(&self.whole),
                self.side.name,
                some(&names, ", ")
            )
        })
    }
}

/// The labels that keep a workload's pods from being selected.
fn differs(view: &WorkloadView, whole: &Selector) -> String {
    let wrong = whole.iter().filter(|(key, value)| view.pod_labels.get(*key) != Some(*value));
    let words = |(key, value): (&String, &String)| match view.pod_labels.get(key) {
        Some(other) => format!("has {key}={other}"),
        None => format!("has no label {key} (wanted {value})"),
    };
    wrong.map(words).collect::<Vec<_>>().join(" and ")
}

/// Names of the ports of a pod template's containers, sidecars included.
fn port_names(template: &Value) -> BTreeSet<&str> {
    let containers = ["/spec/containers", "/spec/initContainers"].into_iter().filter_map(|list| template.pointer(list));
    let ports = containers.filter_map(Value::as_array).flatten().filter_map(|c| c.get("ports")?.as_array());
    ports.flatten().filter_map(|port| port.get("name")?.as_str()).collect()
}

fn port_words(port: &PortView) -> String {
    match &port.name {
        Some(name) => format!("port {} ({name})", port.port),
        None => format!("port {}", port.port),
    }
}

fn shown(w: &WorkloadRef) -> String {
    format!("{:?} {}", w.kind, w.name)
}

fn pairs(selector: &Selector) -> String {
    selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

fn some(all: &[String], between: &str) -> String {
    match all.get(..SHOWN).filter(|_| all.len() > SHOWN) {
        Some(first) => format!("{}{between}and {} more", first.join(between), all.len() - SHOWN),
        None => all.join(between),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, pod, view, workload};
    use crate::world::{EndpointView, Seen};

    fn world() -> Fixture {
        let mut f = Fixture::new();
        f.pods(vec![pod("green-a", "green"), pod("green-b", "green"), pod("blue-a", "blue"), pod("blue-b", "blue")]);
        f
    }

    fn of(f: &Fixture) -> Findings {
        check(&f.plan, &f.world).expect("everything is known")
    }

    #[track_caller]
    fn refused(f: &Fixture, parts: &[&str]) {
        let found = of(f);
        let hit = found.refused.iter().any(|text| parts.iter().all(|part| text.contains(part)));
        assert!(hit, "{parts:?} in {found:#?}");
    }

    #[test]
    fn a_side_with_more_pods_than_a_trigger_looks_at_is_refused_with_the_triggers_name() {
        let of = |rule: serde_json::Value| {
            let mut trigger = serde_json::json!({"name": "grows", "every": "15s"});
            trigger.as_object_mut().expect("an object").extend(rule.as_object().expect("an object").clone());
            serde_json::from_value::<Trigger>(trigger).expect("a trigger")
        };
        let growing = of(serde_json::json!({"pods": {"memoryGrowing": {"for": "5m"}}}));
        let memory = of(serde_json::json!({"pods": {"memory": {"above": "1Gi"}}}));
        for (trigger, wanted, refused) in
            [(&growing, 200, false), (&growing, 201, true), (&memory, 1000, false), (&memory, 1001, true)]
        {
            let mut f = world();
            f.plan.observe.triggers = vec![trigger.clone()];
            let w = f.plan.target.workloads[0].clone();
            if let Some(Some(view)) = f.world.workloads.get_mut(&w).map(|seen| seen.value.as_mut()) {
                view.wanted = wanted;
            }
            let found = check(&f.plan, &f.world).expect("everything is known");
            let named = found.refused.iter().any(|why| why.contains("spec.observe.triggers[grows].pods"));
            assert_eq!(named, refused, "{wanted}: {:?}", found.refused);
        }
    }

    #[test]
    fn sides_in_order_are_not_refused_even_at_zero() {
        let mut f = world();
        assert_eq!(of(&f), Findings::default());
        f.workload("green").wanted = 0;
        f.pods(vec![pod("blue-a", "blue")]);
        assert_eq!(of(&f), Findings::default(), "a retired target is scaled up in Preparing");
    }

    #[test]
    fn a_worker_without_the_sides_labels_is_no_fault() {
        let mut f = world();
        let mut worker = view("green", 1);
        worker.pod_labels = [("app".to_owned(), "worker".to_owned())].into();
        f.plan.target.workloads.push(workload("worker-green"));
        f.world.workloads.insert(workload("worker-green"), Seen { at: f.world.now, value: Some(worker) });
        assert_eq!(of(&f), Findings::default());
    }

    #[test]
    fn what_is_not_known_yet_is_waited_for() {
        let mut f = world();
        f.world.workloads.remove(&workload("web-blue"));
        assert_eq!(check(&f.plan, &f.world), Err("Deployment web-blue is being looked up".into()));
        let mut f = world();
        f.world.pods = None;
        assert!(check(&f.plan, &f.world).is_err());
    }

    #[test]
    fn a_workload_that_no_service_selects_is_named_with_its_label() {
        let mut f = world();
        f.workload("green").pod_labels.remove("version");
        refused(
            &f,
            &["Service web", "app=web,version=green", "Deployment web-green has no label version (wanted green)"],
        );
        let mut f = world();
        f.workload("blue").pod_labels.insert("app".into(), "shop".into());
        refused(&f, &["on blue", "Deployment web-blue has app=shop"]);
    }

    #[test]
    fn a_workload_with_the_other_sides_labels_is_named() {
        let mut f = world();
        f.plan.target.workloads = vec![workload("shop-odd")];
        f.world.workloads.insert(workload("shop-odd"), Seen { at: f.world.now, value: Some(view("blue", 1)) });
        refused(&f, &["Deployment shop-odd is listed under green", "version=blue"]);
        refused(&f, &["Deployment shop-odd has version=blue"]);
        refused(&f, &["green-a, green-b of Deployment web-green", "no workload listed there"]);
    }

    #[test]
    fn pods_of_no_listed_workload_are_refused_for_the_target_and_told_for_the_old_side() {
        let stray = |name: &str, version: &str| PodView { workload: None, ..pod(name, version) };
        let mut f = world();
        f.pods(vec![pod("green-a", "green"), stray("stray-1", "green")]);
        refused(&f, &["stray-1", "version=green"]);
        f.pods(vec![pod("green-a", "green"), PodView { ready: false, ..stray("stray-1", "green") }]);
        assert_eq!(of(&f).refused, Vec::<String>::new(), "one that is not ready gets no traffic");
        f.pods(vec![pod("green-a", "green"), stray("stray-2", "blue")]);
        let found = of(&f);
        assert!(found.refused.is_empty() && found.warnings.iter().any(|w| w.contains("stray-2")), "{found:?}");
    }

    #[test]
    fn a_named_port_that_no_container_has_is_named() {
        let mut f = world();
        f.service("web").ports[0].target = TargetPort::Name("web".into());
        refused(&f, &["Service web", "targetPort web", "Deployment web-green"]);
        for version in ["blue", "green"] {
            f.workload(version).template["spec"]["containers"][1]["ports"] =
                serde_json::json!([{"name": "web", "containerPort": 9000}]);
        }
        assert!(of(&f).refused.is_empty());
    }

    #[test]
    fn a_gate_matters_only_where_the_pod_is_needed() {
        let mut f = world();
        let gate = PodView { ready: false, gates: vec!["example.com/lb".into()], ..pod("green-a", "green") };
        f.pods(vec![gate.clone(), pod("green-b", "green")]);
        let found = of(&f);
        assert!(found.refused.is_empty() && found.gated[0].contains("example.com/lb"), "{found:?}");
        f.plan.switch.min_ready = crate::plan::MinReady::Percent(50);
        assert!(of(&f).gated.is_empty(), "one ready pod is enough");
    }

    #[test]
    fn slices_of_others_are_told_and_a_service_without_a_selector_is_refused() {
        let mut f = world();
        let by_hand = EndpointView { slice: "by-hand".into(), foreign: true, pod: None, ready: true };
        f.world.endpoints.insert("web".into(), Seen { at: f.world.now, value: vec![by_hand] });
        let found = of(&f);
        assert!(found.refused.is_empty() && found.warnings[0].contains("EndpointSlice by-hand"), "{found:?}");
        f.service("web").selector.clear();
        refused(&f, &["Service web has no selector"]);
    }
}
