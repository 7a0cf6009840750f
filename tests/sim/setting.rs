//! What stands in the simulated cluster when a run begins: by default a Service for each that the plan names and one
//! Deployment a side, or several workloads with labels of their own, Services that select some of them, and strangers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use cutover::api::notify::Notify;
use cutover::api::run::Selector;
use cutover::api::step::WorkloadRef;
use cutover::effect::hash;
use cutover::plan::PlanSide;
use cutover::world::{EndpointView, PodView, TargetPort, WorkloadView};

use super::cluster::{Cluster, deployment};

/// What differs from the default, by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Setting {
    pub services: BTreeMap<String, ServiceSetting>,
    pub workloads: BTreeMap<String, WorkloadSetting>,
    /// Ready pods that belong to no workload, with their labels.
    pub pods: BTreeMap<String, BTreeMap<String, String>>,
    /// EndpointSlices made by hand, by Service: each holds one ready address.
    pub slices: BTreeMap<String, Vec<String>>,
    /// Who is told of what, as a Cutover names them.
    pub notify: Vec<Notify>,
    /// Nodes that the pods of a side are put on, by turns.
    #[serde(skip)]
    pub places: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceSetting {
    /// What it selects beside the side's labels; `app` and the Cutover's name where it is not given.
    pub select: Option<Selector>,
    /// A named target port.
    pub target_port: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadSetting {
    /// All labels of its pods; the side's and `app` where they are not given.
    pub labels: Option<BTreeMap<String, String>>,
    pub replicas: Option<u32>,
    /// Readiness gates that nobody has set yet.
    pub gates: Vec<String>,
}

impl Cluster {
    /// Puts a workload of a side and its pods in place, all of them ready.
    pub(super) fn add_workload(&mut self, w: &WorkloadRef, side: &PlanSide, replicas: u32) {
        let given = self.setting.workloads.get(&w.name).cloned().unwrap_or_default();
        let replicas = given.replicas.unwrap_or(replicas);
        let mut labels = given.labels.unwrap_or_else(|| {
            let app = ("app".to_owned(), self.plan.cutover.clone());
            side.selector.clone().into_iter().chain([app]).collect()
        });
        if let (Some(label), Some(version)) = (&self.plan.release.pod_label, &self.plan.release.version) {
            let live = side.name == self.plan.old.name;
            labels.insert(label.clone(), if live { "0.9.0".into() } else { version.clone() });
        }
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "api", "image": "registry.invalid/app:1", "env": [],
                "ports": [{"name": "http", "containerPort": 8080}]
            }]}
        });
        let view = WorkloadView {
            uid: format!("{}-uid", w.name),
            resource_version: self.bump(&format!("{}/{}", super::objects::plural(w.kind), w.name)),
            generation: 1,
            observed_generation: 1,
            wanted: replicas,
            updated: replicas,
            available: replicas,
            replicas,
            template_hash: hash(&template),
            pod_labels: labels,
            template,
            stuck: None,
            kept: Default::default(),
            refused: None,
        };
        self.workloads.insert(w.clone(), view);
        self.make_pods(w);
        let names: Vec<String> = self.pods.iter().filter(|(_, (o, _))| o == w).map(|(n, _)| n.clone()).collect();
        for name in names {
            self.pod_ready(&name);
        }
    }

    /// Puts the pods of nobody in place.
    pub(super) fn add_strangers(&mut self) {
        for (name, labels) in self.setting.pods.clone() {
            let pod = PodView {
                name: name.clone(),
                uid: format!("{name}-uid"),
                labels,
                ip: Some("10.1.0.1".into()),
                ready: true,
                ports: BTreeMap::from([("http".into(), 8080)]),
                ..PodView::default()
            };
            self.pods.insert(name, (deployment(""), pod));
        }
    }

    /// What a Service selects beside a side's labels.
    pub(super) fn base_of(&self, service: &str) -> Selector {
        let given = self.setting.services.get(service).and_then(|s| s.select.clone());
        given.unwrap_or_else(|| BTreeMap::from([("app".to_owned(), self.plan.cutover.clone())]))
    }

    pub(super) fn target_port(&self, service: &str) -> TargetPort {
        let given = self.setting.services.get(service).and_then(|s| s.target_port.clone());
        given.map_or(TargetPort::Number(8080), TargetPort::Name)
    }

    /// Endpoints that follow no selector.
    pub(super) fn slices_by_hand(&self, service: &str) -> impl Iterator<Item = EndpointView> {
        let slices = self.setting.slices.get(service).into_iter().flatten();
        slices.map(|slice| EndpointView { slice: slice.clone(), foreign: true, pod: None, ready: true })
    }

    /// A controller sets the readiness gates of all pods.
    pub fn set_gates(&mut self) {
        self.setting.workloads.values_mut().for_each(|w| w.gates.clear());
        for name in self.pods.keys().cloned().collect::<Vec<_>>() {
            if let Some((_, pod)) = self.pods.get_mut(&name) {
                pod.gates.clear();
            }
            self.pod_ready(&name);
        }
    }
}
