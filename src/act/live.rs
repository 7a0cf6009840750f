//! What an executor reads for itself, right before it writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;

use super::Hands;
use super::call::{CallError, call, call_within};
use crate::api::run::Selector;
use crate::observe::convert;
use crate::world::{PodView, PortView};

/// A reading older than this is no ground for a switch (P5).
pub const FRESH: Duration = Duration::from_secs(1);

/// A Service as an executor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveService {
    pub uid: String,
    pub resource_version: String,
    pub selector: Selector,
    pub ports: Vec<PortView>,
    /// Who wrote it last.
    pub writer: Option<String>,
    /// `None`: it has no annotations at all, so that the map must be made.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Hands {
    /// The Service, read live.
    pub(super) async fn service(&self, name: &str) -> Result<LiveService, CallError> {
        let api: Api<Service> = Api::namespaced(self.reader.clone(), &self.namespace);
        call(api.get(name)).await.map(|found| service(&found))
    }

    /// Pods that match a whole selector, read live.
    pub(super) async fn pods(&self, selector: &Selector) -> Result<Vec<PodView>, CallError> {
        let labels: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let api: Api<Pod> = Api::namespaced(self.reader.clone(), &self.namespace);
        let list = call_within(FRESH, api.list(&ListParams::default().labels(&labels.join(",")))).await?;
        Ok(list.items.iter().map(convert::pod).collect())
    }
}

fn service(service: &Service) -> LiveService {
    let view = convert::service(service);
    LiveService {
        uid: view.uid,
        resource_version: view.resource_version,
        selector: view.selector,
        ports: view.ports,
        writer: view.writer,
        annotations: service.metadata.annotations.clone(),
    }
}
