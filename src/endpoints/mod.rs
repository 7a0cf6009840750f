//! PURE. Which pods would receive traffic: the one definition of *ready endpoint* that deciding, switching and
//! restoring share (DESIGN §5).

use std::collections::BTreeMap;

use crate::api::run::Selector;
use crate::api::step::WorkloadRef;
use crate::plan::{Plan, PlanSide};
use crate::world::{PodView, PortView, ServiceView, TargetPort, World};

mod lost;
pub mod way_back;

pub use lost::{Loss, loss};
pub(crate) use lost::{lost_nodes, returning};
pub mod check;
pub mod keepers;
pub mod why;

/// The Service's whole selector if it pointed to `side`.
pub fn whole_selector(current: &Selector, side: &BTreeMap<String, String>) -> Selector {
    let mut whole = current.clone();
    whole.extend(side.iter().map(|(k, v)| (k.clone(), v.clone())));
    whole
}

/// Whether a selector carries all of a side's values.
pub fn carries(selector: &Selector, side: &BTreeMap<String, String>) -> bool {
    side.iter().all(|(k, v)| selector.get(k) == Some(v))
}

/// Whether labels match a selector; an empty selector matches nothing, as for Services.
pub fn matches(labels: &BTreeMap<String, String>, selector: &Selector) -> bool {
    !selector.is_empty() && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// The pods' port for a Service port; `None` when a named port is not the pod's.
pub(crate) fn pod_port(pod: &PodView, port: &PortView) -> Option<u16> {
    match &port.target {
        TargetPort::Number(n) => Some(*n),
        TargetPort::Name(name) => pod.ports.get(name).copied(),
    }
}

/// Ready, non-terminating pods that match the whole selector and have every target port of the Service.
pub fn ready<'a>(
    pods: &'a [PodView],
    selector: &'a Selector,
    ports: &'a [PortView],
) -> impl Iterator<Item = &'a PodView> {
    pods.iter().filter(move |p| {
        p.ready
            && !p.terminating
            && matches(&p.labels, selector)
            && ports.iter().all(|port| pod_port(p, port).is_some())
    })
}

/// How many ready endpoints a Service would have under `selector`.
pub fn ready_count(pods: &[PodView], selector: &Selector, ports: &[PortView]) -> u32 {
    u32::try_from(ready(pods, selector, ports).count()).unwrap_or(u32::MAX)
}

impl World {
    /// A Service that is known to exist.
    pub fn service(&self, name: &str) -> Option<&ServiceView> {
        self.services.get(name)?.value.as_ref()
    }

    /// Ready endpoints that a Service would have if it pointed to `side`; `None` while Service or pods are not known.
    pub(crate) fn ready_on(&self, service: &str, side: &PlanSide) -> Option<u32> {
        let view = self.service(service)?;
        let pods = self.pods.as_ref()?;
        Some(ready_count(&pods.value, &whole_selector(&view.selector, &side.selector), &view.ports))
    }

    /// Wanted replicas of a whole side, whichever Service selects them; `None` while one of its workloads is not known or does not exist.
    pub fn wanted(&self, side: &PlanSide) -> Option<u32> {
        side.workloads.iter().map(|w| Some(self.workloads.get(w)?.value.as_ref()?.wanted)).sum()
    }

    /// The workloads of a side that a Service would send users to if it pointed there: those whose pod template matches
    /// its would-be whole selector (DESIGN §5). `None` while the Service or a workload is not known.
    pub fn selected<'a>(&self, service: &str, side: &'a PlanSide) -> Option<Vec<&'a WorkloadRef>> {
        let whole = whole_selector(&self.service(service)?.selector, &side.selector);
        let mut selected = vec![];
        for w in &side.workloads {
            // One that does not exist has no pods.
            if let Some(view) = &self.workloads.get(w)?.value
                && matches(&view.pod_labels, &whole)
            {
                selected.push(w);
            }
        }
        Some(selected)
    }

    /// How many ready endpoints of a side a Service wants: the replicas of the workloads that it would select, never
    /// below 1 (DESIGN §5, *wanted of a Service*). `None` while something of it is not known.
    pub(crate) fn wanted_of(&self, service: &str, side: &PlanSide) -> Option<u32> {
        let selected = self.selected(service, side)?;
        let counts = selected.into_iter().filter_map(|w| Some(self.workloads.get(w)?.value.as_ref()?.wanted));
        Some(counts.sum::<u32>().max(1))
    }

    /// Whether the traffic of a Service has followed its selector: the slices that the cluster makes name no ready pod of
    /// another side, and at least `min_ready` ready ones of this one (DESIGN §5, *converged*). Slices that others keep do
    /// not follow a selector at all, so they prevent nothing and count for nothing.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn converged(&self, service: &str, selector: &Selector, min_ready: u32) -> Result<(), String> {
        let (Some(endpoints), Some(pods)) = (self.endpoints.get(service), &self.pods) else {
            return Err(format!("the endpoints of Service {service} are not known"));
        };
        let mut ready = 0;
        // An endpoint that is not ready takes no traffic.
        for e in endpoints.value.iter().filter(|e| e.ready && !e.foreign) {
            let pod = e.pod.as_ref().and_then(|name| pods.value.iter().find(|p| &p.name == name));
            if !pod.is_some_and(|p| matches(&p.labels, selector)) {
                let what = e.pod.as_ref().map_or("an address without a pod".into(), |pod| format!("pod {pod}"));
                return Err(format!(
                    "EndpointSlice {} of Service {service} still sends traffic to {what}, which is not of this side",
                    e.slice
                ));
            }
            ready += 1;
        }
        if ready < min_ready {
            return Err(format!("Service {service} has {ready} ready endpoints in its slices, wanted {min_ready}"));
        }
        Ok(())
    }

    /// The hashes of the pod templates of a side; `None` while a workload is not known or does not exist.
    pub fn template(&self, side: &PlanSide) -> Option<String> {
        let hash = |w| Some(self.workloads.get(w)?.value.as_ref()?.template_hash.as_str());
        let hashes: Option<Vec<&str>> = side.workloads.iter().map(hash).collect();
        Some(hashes?.join("+"))
    }

    /// Those of both sides, by side.
    pub fn templates(&self, plan: &Plan) -> Option<BTreeMap<String, String>> {
        [&plan.target, &plan.old].into_iter().map(|side| Some((side.name.clone(), self.template(side)?))).collect()
    }
}
