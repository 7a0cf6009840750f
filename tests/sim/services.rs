//! Services of the simulated cluster: made, deleted, and pointed somewhere.

use cutover::api::ANNOTATION_FENCE;
use cutover::api::run::Selector;
use cutover::endpoints::{carries, whole_selector};
use cutover::plan::PlanSide;
use cutover::world::{PortView, ServiceView};

use super::cluster::{Cluster, Service, Who, Wrote};

impl Cluster {
    /// Creates a Service that points to `side`.
    pub fn create_service(&mut self, name: &str, side: &PlanSide) {
        let base = self.base_of(name);
        let uids = self.versions.entry(format!("uids/{name}")).or_insert(0);
        *uids += 1;
        let uid = format!("{name}-uid-{uids}");
        let view = ServiceView {
            uid,
            resource_version: self.bump(&format!("services/{name}")),
            selector: whole_selector(&base, &side.selector),
            ports: vec![PortView { name: Some("http".into()), port: 80, target: self.target_port(name) }],
            cluster_ip: Some("10.96.0.10".into()),
            external_name: false,
            deleting: false,
            writer: None,
            marks: Default::default(),
            kept: Default::default(),
        };
        self.services.insert(name.to_owned(), Service { view, fence: None });
        self.converge(name);
        self.wrote(Who::Others, Wrote::ServiceCreated { service: name.to_owned() });
    }

    /// Deletes a Service.
    pub fn delete_service(&mut self, name: &str) {
        self.services.remove(name);
        self.endpoints.insert(name.to_owned(), vec![]);
        self.wrote(Who::Others, Wrote::ServiceGone { service: name.to_owned() });
    }

    /// Somebody else writes a selector.
    pub fn write_selector(&mut self, name: &str, to: Selector) {
        let version = self.bump(&format!("services/{name}"));
        self.selector_written(name, to, None, version, Who::Others);
    }

    /// A Service was written: its selector, or its fence alone.
    pub(super) fn selector_written(
        &mut self,
        name: &str,
        to: Selector,
        fence: Option<String>,
        version: String,
        who: Who,
    ) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.view.resource_version = version;
        let from = std::mem::replace(&mut service.view.selector, to.clone());
        let uid = service.view.uid.clone();
        if let Some(fence) = fence {
            service.view.marks.insert(ANNOTATION_FENCE.into(), fence.clone());
            service.fence = Some(fence);
        }
        if from == to {
            self.wrote(who, Wrote::Fence { service: name.to_owned() });
        } else {
            self.wrote(who, Wrote::Selector { service: name.to_owned(), uid, from, to });
        }
    }

    /// Somebody else points a Service to a side.
    pub fn point_by_others(&mut self, name: &str, side: &str) {
        let fragment = self.side(side).selector.clone();
        if let Some(service) = self.services.get(name) {
            let to = whole_selector(&service.view.selector.clone(), &fragment);
            self.write_selector(name, to);
        }
    }

    /// Somebody writes something of a Service that no promise is about.
    pub fn annotate(&mut self, name: &str, by: &str) {
        let version = self.bump(&format!("services/{name}"));
        let Some(service) = self.services.get_mut(name) else { return };
        service.view.resource_version = version;
        service.view.writer = Some(by.to_owned());
        self.wrote(Who::Others, Wrote::Annotated { service: name.to_owned() });
    }

    /// The side a Service points to.
    pub fn points_to(&self, name: &str) -> Option<&str> {
        let selector = &self.services.get(name)?.view.selector;
        [&self.plan.old, &self.plan.target]
            .into_iter()
            .find(|s| carries(selector, &s.selector))
            .map(|s| s.name.as_str())
    }
}
