//! `init`: from a Service and the one or two workloads behind it, what a first Cutover needs. Prints it, or applies it.

use clap::Args;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::ListParams;

use super::check::operator::Place;
use super::check::policies;
use super::cluster::Cluster;
use super::exit::{Exit, Failure};
use super::global::Global;
use super::output;
use super::rights::{OURS, Right};
use super::session::Session;
use super::text::Page;
use crate::api::cutover::Cutover;

mod apply;
mod found;
mod manifest;
pub(crate) mod model;
mod second;
#[cfg(test)]
mod tests;

/// What `init` may ask; the patches with `--apply` alone.
pub(crate) const RIGHTS: [Right; 17] = [
    Right::need("get", "", "services"),
    Right::need("list", "", "services"),
    Right::need("list", "", "pods"),
    Right::need("list", "apps", "deployments"),
    Right::need("list", "apps", "statefulsets"),
    Right::wish("list", OURS, "cutovers"),
    policies::POLICIES,
    policies::BINDINGS,
    Right::wish("get", "apps", "deployments"),
    Right::wish("get", "apps", "statefulsets"),
    Right::wish("patch", "", "serviceaccounts"),
    Right::wish("patch", "rbac.authorization.k8s.io", "roles"),
    Right::wish("patch", "rbac.authorization.k8s.io", "rolebindings"),
    Right::wish("patch", "apps", "deployments"),
    Right::wish("patch", "apps", "statefulsets"),
    Right::wish("patch", "", "services"),
    Right::wish("patch", OURS, "cutovers"),
];

/// What is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct Init {
    /// The Service that releases are to switch; without one, the only one of the namespace that selects pods.
    service: Option<String>,
    /// The name of the Cutover; that of the Service by default.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The label that tells the sides apart, where there is none yet; `side` by default.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// The one or two workloads that are meant, where the Service could have more.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    workloads: Vec<String>,
    /// The workload that stays live, where the Service sends requests to both.
    #[arg(long, value_name = "NAME")]
    live: Option<String>,
    /// Apply it step by step, after a question.
    #[arg(long)]
    apply: bool,
    /// Do not ask.
    #[arg(long, requires = "apply")]
    yes: bool,
}

impl Init {
    pub(crate) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let session = Session::open(global, &RIGHTS).await?;
        let cluster = &session.cluster;
        let ns = session.namespace().to_owned();
        let service = self.service(cluster, &ns).await?;
        let name = service.name_any();
        let cutover = self.name.clone().unwrap_or_else(|| name.clone());
        is_new(cluster, &ns, &name, &cutover).await?;
        let deployments: Vec<Deployment> = cluster.list(Some(&ns), &ListParams::default()).await?;
        let sets: Vec<StatefulSet> = cluster.list(Some(&ns), &ListParams::default()).await?;
        let pods: Vec<Pod> = cluster.list(Some(&ns), &ListParams::default()).await?;
        let said =
            found::Said { label: self.label.clone(), workloads: self.workloads.clone(), live: self.live.clone() };
        let situation = found::find(&service, &found::works(&deployments, &sets), &pods, &said)?;
        let operator = Place::of(policies::operator(&policies::read(cluster).await?).as_deref());
        let value =
            serde_json::to_value(&service).map_err(|e| Failure::new(format!("Service {name} cannot be read: {e}")))?;
        let made = model::make(&situation, &value, &ns, &cutover, &operator)?;
        if self.apply {
            apply::confirm(&made, self.yes)?;
            apply::carry_out(cluster, &situation, &made).await?;
            eprintln!("next: kubectl cutover check {cutover}{}", session.flags());
            if global.output.is_none() {
                return Ok(Exit::Done);
            }
        }
        if global.output.is_none() {
            output::write(&made.text())?;
        } else {
            let names: Vec<String> = made.objects.iter().map(object_name).collect();
            output::print(global.output, session.look, &made, &names, Page::new)?;
        }
        Ok(Exit::Done)
    }

    /// The Service that is meant.
    async fn service(&self, cluster: &Cluster, ns: &str) -> Result<Service, Failure> {
        if let Some(name) = &self.service {
            let name = name.strip_prefix("service/").or_else(|| name.strip_prefix("svc/")).unwrap_or(name);
            if let Some(service) = cluster.get::<Service>(ns, name).await? {
                return Ok(service);
            }
        }
        let all: Vec<Service> = cluster.list(Some(ns), &ListParams::default()).await?;
        only(all, self.service.as_deref(), ns)
    }
}

/// Refuses where a Cutover has the Service already, or the name: applying one anew could start a run.
async fn is_new(cluster: &Cluster, ns: &str, service: &str, name: &str) -> Result<(), Failure> {
    // Without the right, or without the definitions, there is nothing to see; `--apply` will tell.
    let all: Vec<Cutover> = cluster.list(Some(ns), &ListParams::default()).await.unwrap_or_default();
    let status = |name: &str| format!("kubectl cutover status {name} -n {ns}{}", cluster.context_flag());
    let holds = |c: &&Cutover| c.spec.services.iter().any(|s| s.name == service);
    if let Some(holder) = all.iter().find(holds).map(ResourceExt::name_any) {
        return Err(
            Failure::new(format!("Service {service} is switched by Cutover {holder} already")).next(status(&holder))
        );
    }
    if all.iter().any(|c| c.name_any() == name) {
        return Err(Failure::new(format!("Cutover {name} is there already, for other Services"))
            .next(format!("kubectl cutover init {service} -n {ns} --name OTHER")));
    }
    Ok(())
}

/// The one Service that selects pods, where none was named.
fn only(all: Vec<Service>, named: Option<&str>, ns: &str) -> Result<Service, Failure> {
    let selects = |s: &Service| s.spec.as_ref().and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty());
    let mut some: Vec<Service> = all.into_iter().filter(selects).collect();
    let names: Vec<String> = some.iter().map(ResourceExt::name_any).collect();
    let list = || match names.is_empty() {
        true => format!("kubectl get services -n {ns}"),
        false => format!("name one of {}", names.join(", ")),
    };
    match (named, some.len()) {
        (Some(name), _) => Err(Failure::new(format!("namespace {ns} has no Service {name}")).next(list())),
        (None, 1) => some.pop().ok_or_else(|| Failure::new("no Service")),
        (None, 0) => Err(Failure::new(format!("namespace {ns} has no Service that selects pods")).next(list())),
        (None, n) => Err(Failure::new(format!("namespace {ns} has {n} Services that select pods")).next(list())),
    }
}

/// `deployment.apps/web-green`, as `kubectl -o name` has it.
fn object_name(object: &serde_json::Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|(g, _)| format!(".{g}"));
    format!("{kind}{}/{}", group.unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default())
}
