//! What is read of a namespace for the lines about its Cutovers.

use futures::future::{join, join5};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde::Serialize;

use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, TemplateKind};
use crate::cli::cluster::{Cluster, Seen};
use crate::cli::exit::Failure;
use crate::cli::rights::{OURS, Right};
use crate::endpoints::carries;
use crate::plan::templates::{FoundTemplate, expand};
use crate::plan::{Offered, Plan, Receivers, Refusal, resolve};
use crate::status::without_version;
use crate::world::{Seen as SeenAt, WorkloadView, World, convert};

pub(crate) const SERVICES: Right = Right::wish("list", "", "services");
pub(crate) const DEPLOYMENTS: Right = Right::wish("list", "apps", "deployments");
pub(crate) const STATEFUL_SETS: Right = Right::wish("list", "apps", "statefulsets");
pub(crate) const PODS: Right = super::operator::PODS;
pub(crate) const SLICES: Right = Right::wish("list", "discovery.k8s.io", "endpointslices");
pub(crate) const AUTOSCALERS: Right = Right::wish("list", "autoscaling", "horizontalpodautoscalers");
pub(crate) const BUDGETS: Right = Right::wish("list", "policy", "poddisruptionbudgets");
pub(crate) const TEMPLATES: Right = Right::wish("get", OURS, "cutovertemplates");
pub(crate) const CLUSTER_TEMPLATES: Right = Right::wish("get", OURS, "clustercutovertemplates");

/// What stands in a namespace.
pub(crate) struct Facts {
    pub services: Seen<Vec<Service>>,
    pub deployments: Seen<Vec<Deployment>>,
    pub stateful_sets: Seen<Vec<StatefulSet>>,
    pub pods: Seen<Vec<Pod>>,
    pub slices: Seen<Vec<EndpointSlice>>,
    pub autoscalers: Seen<Vec<HorizontalPodAutoscaler>>,
    pub budgets: Seen<Vec<PodDisruptionBudget>>,
}

impl Facts {
    /// Reads a namespace.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn read(cluster: &Cluster, namespace: &str) -> Result<Self, Failure> {
        let (ns, all) = (Some(namespace), ListParams::default());
        let ((services, deployments, stateful_sets, pods, slices), (autoscalers, budgets)) = join(
            join5(
                cluster.list(ns, &all),
                cluster.list(ns, &all),
                cluster.list(ns, &all),
                cluster.list(ns, &all),
                cluster.list(ns, &all),
            ),
            join(cluster.list(ns, &all), cluster.list(ns, &all)),
        )
        .await;
        Ok(Self {
            services: cluster.wish(services, SERVICES)?,
            deployments: cluster.wish(deployments, DEPLOYMENTS)?,
            stateful_sets: cluster.wish(stateful_sets, STATEFUL_SETS)?,
            pods: cluster.wish(pods, PODS)?,
            slices: cluster.wish(slices, SLICES)?,
            autoscalers: cluster.wish(autoscalers, AUTOSCALERS)?,
            budgets: cluster.wish(budgets, BUDGETS)?,
        })
    }

    /// The right that is missing to know a workload of this kind, if one is.
    pub(crate) fn hides(&self, kind: WorkloadKind) -> Option<Right> {
        let hidden = |right: &Right| *right;
        match kind {
            WorkloadKind::Deployment => match &self.deployments {
                Seen::Hidden(right) => Some(hidden(right)),
                Seen::Known(_) => None,
            },
            WorkloadKind::StatefulSet => match &self.stateful_sets {
                Seen::Hidden(right) => Some(hidden(right)),
                Seen::Known(_) => None,
            },
        }
    }

    /// A workload as the operator sees it.
    pub(crate) fn workload(&self, named: &WorkloadRef) -> Option<WorkloadView> {
        match named.kind {
            WorkloadKind::Deployment => view(self.deployments.known()?.iter().find(|d| d.name_any() == named.name)?),
            WorkloadKind::StatefulSet => view(self.stateful_sets.known()?.iter().find(|d| d.name_any() == named.name)?),
        }
    }

    /// A Service.
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.known()?.iter().find(|s| s.name_any() == name)
    }

    /// The world that the operator's own checks look at.
    ///
    /// # Errors
    /// The right that is missing.
    pub(crate) fn world(&self, plan: &Plan, now: Timestamp) -> Result<World, Right> {
        if let Seen::Hidden(right) = &self.services {
            return Err(*right);
        }
        if let Seen::Hidden(right) = &self.pods {
            return Err(*right);
        }
        let mut workloads = plan.target.workloads.iter().chain(&plan.old.workloads);
        match workloads.find_map(|named| self.hides(named.kind)) {
            Some(right) => Err(right),
            None => Ok(self.seen(plan, now)),
        }
    }

    /// The same with whatever may be read: what is hidden is not known there.
    pub(crate) fn seen(&self, plan: &Plan, now: Timestamp) -> World {
        let at = now;
        let mut world = World::new(now, "");
        if let Seen::Known(services) = &self.services {
            for name in &plan.services {
                let value = services.iter().find(|s| s.name_any() == *name).map(convert::service);
                world.services.insert(name.clone(), SeenAt { at, value });
                let of = |s: &&EndpointSlice| s.labels().get("kubernetes.io/service-name") == Some(name);
                let slices = self.slices.known().map(Vec::as_slice).unwrap_or_default();
                let value = convert::endpoints(slices.iter().filter(of));
                world.endpoints.insert(name.clone(), SeenAt { at, value });
            }
        }
        if let Seen::Known(pods) = &self.pods {
            let value = pods.iter().map(convert::pod).filter(|p| !p.ended).collect();
            world.pods = Some(SeenAt { at, value });
        }
        for named in plan.target.workloads.iter().chain(&plan.old.workloads) {
            if self.hides(named.kind).is_none() {
                world.workloads.insert(named.clone(), SeenAt { at, value: self.workload(named) });
            }
        }
        world
    }
}

/// A workload, read untyped as the operator reads it.
pub(crate) fn view(object: &impl Serialize) -> Option<WorkloadView> {
    let object: DynamicObject = serde_json::from_value(serde_json::to_value(object).ok()?).ok()?;
    Some(convert::workload(&object))
}

/// A Cutover as its next run would take it.
pub(crate) struct Planned {
    /// With its templates.
    pub spec: CutoverSpec,
    /// From the live side to the other one; or what is refused.
    pub plan: Result<Plan, Vec<Refusal>>,
}

/// Resolves a Cutover with its templates.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn planned(cluster: &Cluster, cutover: &Cutover, facts: &Facts) -> Result<Seen<Planned>, Failure> {
    let namespace = cutover.namespace().unwrap_or_default();
    let mut found = vec![];
    for usage in &cutover.spec.templates {
        let read = match usage.kind.unwrap_or_default() {
            TemplateKind::CutoverTemplate => {
                let read = cluster.get::<CutoverTemplate>(&namespace, &usage.name).await;
                cluster.wish(read.map(|t| t.map(|t| (t.metadata, t.spec.template))), TEMPLATES)?
            }
            TemplateKind::ClusterCutoverTemplate => {
                let read = cluster.get_global::<ClusterCutoverTemplate>(&usage.name).await;
                cluster.wish(read.map(|t| t.map(|t| (t.metadata, t.spec.template))), CLUSTER_TEMPLATES)?
            }
        };
        match read {
            Seen::Hidden(right) => return Ok(Seen::Hidden(right)),
            Seen::Known(template) => found.push(template.map(|(meta, template)| FoundTemplate {
                uid: meta.uid.unwrap_or_default(),
                generation: meta.generation.unwrap_or(0),
                template,
            })),
        }
    }
    let expanded = match expand(&namespace, &cutover.spec, &found) {
        Ok(expanded) => expanded,
        Err(refusals) => return Ok(Seen::Known(Planned { spec: cutover.spec.clone(), plan: Err(refusals) })),
    };
    let live = live(cutover, facts);
    let plan = next(&cutover.name_any(), &namespace, &expanded.spec, &live);
    let plan = plan.map_err(|list| list.into_iter().map(|r| expanded.explain(r)).collect());
    Ok(Seen::Known(Planned { spec: expanded.spec, plan }))
}

/// The plan from the live side to the other one, whichever `activate` names.
pub(crate) fn next(name: &str, namespace: &str, spec: &CutoverSpec, live: &str) -> Result<Plan, Vec<Refusal>> {
    let mut spec = spec.clone();
    if let Some(other) = spec.sides.iter().find(|s| s.name != live) {
        spec.activate = other.name.clone();
    }
    // What the operator's configuration offers is known to the operator alone; its condition says what it refuses.
    let names = spec.prometheus.iter().filter_map(|p| p.name.clone()).collect();
    let receivers = spec.notify.iter().filter_map(|r| r.offered.clone()).collect();
    let receivers = Receivers { names: receivers, ..Receivers::default() };
    let offered = Offered { names, default: Some("default".to_owned()), receivers, ..Offered::default() };
    resolve(name, namespace, &spec, live, &offered)
}

/// The side that the Services point to.
pub(crate) fn live(cutover: &Cutover, facts: &Facts) -> String {
    let spec = &cutover.spec;
    let said = cutover.status.as_ref().and_then(|s| s.live.as_deref()).map(without_version);
    let selected = || {
        let service = facts.service(&spec.services.first()?.name)?;
        let selector = service.spec.as_ref()?.selector.as_ref()?;
        spec.sides.iter().find(|side| carries(selector, &side.selector)).map(|side| side.name.as_str())
    };
    let other = || spec.sides.iter().find(|s| s.name != spec.activate).map(|s| s.name.as_str());
    said.filter(|l| spec.sides.iter().any(|s| s.name == *l))
        .or_else(selected)
        .or_else(other)
        .unwrap_or_default()
        .to_owned()
}
