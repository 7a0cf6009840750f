//! What an executor reads for itself, right before it writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;

use super::Hands;
use super::call::{CallError, call, call_within};
use crate::api::run::Selector;
use crate::world::{PodView, PortView, TargetPort};

/// A reading older than this is no ground for a switch (P5).
pub const FRESH: Duration = Duration::from_secs(1);

/// A Service as an executor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveService {
    pub uid: String,
    pub resource_version: String,
    pub selector: Selector,
    pub ports: Vec<PortView>,
    /// `None`: it has no annotations at all, so that the map must be made.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Hands {
    /// The Service, read live.
    pub(super) async fn service(&self, name: &str) -> Result<LiveService, CallError> {
        let api: Api<Service> = Api::namespaced(self.reader.clone(), &self.namespace);
        call(api.get(name)).await.map(service)
    }

    /// Pods that match a whole selector, read live.
    pub(super) async fn pods(&self, selector: &Selector) -> Result<Vec<PodView>, CallError> {
        let labels: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let api: Api<Pod> = Api::namespaced(self.reader.clone(), &self.namespace);
        let list = call_within(FRESH, api.list(&ListParams::default().labels(&labels.join(",")))).await?;
        Ok(list.items.iter().map(pod).collect())
    }
}

fn service(service: Service) -> LiveService {
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default().into_iter().filter_map(|p| {
        let port = u16::try_from(p.port).ok()?;
        let target = match p.target_port {
            // 0 and nothing mean the port itself.
            None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
            Some(IntOrString::Int(n)) => TargetPort::Number(u16::try_from(n).ok()?),
            Some(IntOrString::String(name)) => TargetPort::Name(name),
        };
        Some(PortView { name: p.name, port, target })
    });
    LiveService {
        uid: service.metadata.uid.unwrap_or_default(),
        resource_version: service.metadata.resource_version.unwrap_or_default(),
        selector: spec.selector.unwrap_or_default(),
        ports: ports.collect(),
        annotations: service.metadata.annotations,
    }
}

fn pod(pod: &Pod) -> PodView {
    let status = pod.status.as_ref();
    let ended = status.and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Succeeded" || p == "Failed");
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let ports = pod
        .spec
        .iter()
        .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| Some((p.name.clone()?, u16::try_from(p.container_port).ok()?)));
    PodView {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ip: status.and_then(|s| s.pod_ip.clone()),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some() || ended,
        ports: ports.collect(),
        containers: vec![],
    }
}
