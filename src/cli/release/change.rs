//! PURE. What a release changes: images and labels of the idle side, then the Cutover.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::cutover::{self, Cutover};
use crate::api::phase::Phase;
use crate::api::run::{CutoverRun, RunState};
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::cli::exit::{Exit, Failure};
use crate::endpoints::carries;

/// What is released.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub version: Option<String>,
    pub revision: Option<String>,
    pub tag: Option<String>,
    pub images: Vec<Image>,
    /// The user name of whoever asks for it.
    pub by: String,
}

/// `WORKLOAD/CONTAINER=IMAGE`, `CONTAINER=IMAGE` or `IMAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    workload: Option<String>,
    container: Option<String>,
    image: String,
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, image) = match text.split_once('=') {
            Some((place, image)) => (Some(place), image),
            None => (None, text),
        };
        if image.is_empty() || place == Some("") {
            return Err(format!("{text:?} is not CONTAINER=IMAGE"));
        }
        let (workload, container) = match place.map(|p| p.split_once('/').map_or((None, p), |(w, c)| (Some(w), c))) {
            Some((workload, container)) => (workload.map(str::to_owned), Some(container.to_owned())),
            None => (None, None),
        };
        Ok(Self { workload, container, image: image.to_owned() })
    }
}

/// What was read of the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub services: Vec<Service>,
    pub deployments: Vec<Deployment>,
    pub stateful_sets: Vec<StatefulSet>,
}

/// Everything that the release changes.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub cutover: String,
    /// The side that users are on.
    pub live: String,
    /// The side to be activated.
    pub target: String,
    pub workloads: Vec<WorkloadChange>,
    release: BTreeMap<&'static str, String>,
    pub warnings: Vec<String>,
}

/// What changes of a workload.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WorkloadChange {
    pub workload: WorkloadRef,
    /// Container, the image that it has, the image that it gets.
    pub images: Vec<ImageChange>,
    /// Labels that its pods get.
    pub labels: BTreeMap<String, String>,
}

/// The image of a container.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ImageChange {
    pub container: String,
    pub from: String,
    pub to: String,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Model<'a> {
    cutover: &'a str,
    live: &'a str,
    target: &'a str,
    workloads: &'a [WorkloadChange],
    release: &'a BTreeMap<&'static str, String>,
    warnings: &'a [String],
}

impl Changes {
    pub(crate) fn model(&self) -> Model<'_> {
        let Self { cutover, live, target, workloads, release, warnings } = self;
        Model { cutover, live, target, workloads, release, warnings }
    }

    /// The merge patch of the Cutover. What of the release is not said again is taken away: it was the last one's.
    pub(crate) fn cutover_patch(&self, version: Option<String>) -> Value {
        let field = |name: &str| self.release.get(name).map_or(Value::Null, |v| json!(v));
        let fields: BTreeMap<&str, Value> =
            ["version", "revision", "tag", "requestedBy"].iter().map(|n| (*n, field(n))).collect();
        let mut patch = json!({"spec": {"activate": self.target, "release": fields}});
        if let Some(version) = version {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        patch
    }
}

impl WorkloadChange {
    pub(crate) fn changes_something(&self) -> bool {
        !self.images.is_empty() || !self.labels.is_empty()
    }

    /// The strategic merge patch.
    pub(crate) fn patch(&self) -> Value {
        let containers: Vec<Value> = self.images.iter().map(|i| json!({"name": i.container, "image": i.to})).collect();
        let mut template = json!({});
        if !containers.is_empty() {
            template["spec"] = json!({"containers": containers});
        }
        if !self.labels.is_empty() {
            template["metadata"] = json!({"labels": self.labels});
        }
        json!({"spec": {"template": template}})
    }

    /// The change in words.
    pub(crate) fn words(&self) -> String {
        let images = self.images.iter().map(|i| format!("{} from {} to {}", i.container, i.from, i.to));
        let labels = self.labels.iter().map(|(k, v)| format!("label {k}={v}"));
        images.chain(labels).collect::<Vec<_>>().join(", ")
    }
}

/// Works out what is to be changed.
///
/// # Errors
/// A run is under way, the live side is not known, or the images do not fit the workloads.
pub(crate) fn changes(
    cutover: &Cutover,
    run: Option<&CutoverRun>,
    seen: &Cluster,
    wanted: &Wanted,
) -> Result<Changes, Failure> {
    let name = cutover.name_any();
    under_way(&name, cutover, run)?;
    let live = live_side(cutover, &seen.services)?;
    let target = cutover.spec.sides.iter().find(|s| s.name != live);
    let target = target.ok_or_else(|| Failure::new(format!("Cutover {name} has no second side")))?;
    let release = [("version", &wanted.version), ("revision", &wanted.revision), ("tag", &wanted.tag)];
    let mut release: BTreeMap<&str, String> = release.into_iter().filter_map(|(k, v)| Some((k, v.clone()?))).collect();
    if release.is_empty() {
        return Err(Failure::new("a release needs a name")
            .next("give --version, --tag or --revision")
            .exit(Exit::Usage));
    }
    // Gates may exclude whoever has asked, and a policy compares it with whoever writes.
    release.insert("requestedBy", wanted.by.clone());
    let mut used = vec![false; wanted.images.len()];
    let label = cutover.spec.release.as_ref().and_then(|r| r.pod_label.as_ref());
    let shown = wanted.version.as_ref().or(wanted.tag.as_ref()).or(wanted.revision.as_ref());
    let mut warnings = vec![];
    let mut workloads = vec![];
    for w in &target.workloads {
        let (template, fields) = template(seen, w).ok_or_else(|| {
            Failure::new(format!("{:?} {} of side {} does not exist", w.kind, w.name, target.name))
                .next(format!("kubectl cutover check {name}"))
        })?;
        let images = images(w, template, target.workloads.len(), &wanted.images, &mut used)?;
        let has = template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
        let labels = label.zip(shown).filter(|(k, v)| has.get(*k) != Some(*v));
        let labels: BTreeMap<String, String> = labels.into_iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        if (!images.is_empty() || !labels.is_empty())
            && let Some(manager) = git(fields)
        {
            warnings.push(format!(
                "{:?}/{} is applied by {manager}, which will put it back: use --dry-run -o patch, and commit that",
                w.kind, w.name
            ));
        }
        workloads.push(WorkloadChange { workload: w.clone(), images, labels });
    }
    if let Some(i) = used.iter().position(|used| !used) {
        let all: Vec<String> = target.workloads.iter().flat_map(|w| containers(seen, w)).collect();
        return Err(Failure::new(format!(
            "no container of side {} fits --image {}",
            target.name,
            shown_image(&wanted.images[i])
        ))
        .next(format!("name one of {}", all.join(", ")))
        .exit(Exit::Usage));
    }
    if let Some(manager) = git(cutover.metadata.managed_fields.as_deref().unwrap_or_default()) {
        warnings.push(format!(
            "Cutover/{name} is applied by {manager}, which will put it back: use --dry-run -o patch, and commit that"
        ));
    }
    Ok(Changes { cutover: name, live, target: target.name.clone(), workloads, release, warnings })
}

fn shown_image(i: &Image) -> String {
    let place = [i.workload.clone(), i.container.clone()].into_iter().flatten().collect::<Vec<_>>().join("/");
    if place.is_empty() { i.image.clone() } else { format!("{place}={}", i.image) }
}

/// A run that may still switch, or whose rollback is not over, would meet a side that changes under it.
fn under_way(name: &str, cutover: &Cutover, run: Option<&CutoverRun>) -> Result<(), Failure> {
    let busy = |what: String| Err(Failure::new(what).next(format!("kubectl cutover status {name}")).exit(Exit::Failed));
    if let Some((run, status)) = run.and_then(|r| Some((r.name_any(), r.status.as_ref()?))) {
        if !status.phase.is_over() && status.phase != Phase::Completed {
            return busy(format!("run {run} is under way ({}): nothing is released meanwhile", status.phase.as_str()));
        }
        if status.phase.is_over() && status.state != RunState::Closed {
            return busy(format!("run {run} is not closed yet"));
        }
    }
    let seen = cutover.status.as_ref().and_then(|s| s.observed_generation);
    if seen.is_some() && seen != cutover.metadata.generation {
        return busy(format!("Cutover {name} was changed a moment ago, and the operator has not looked at that yet"));
    }
    Ok(())
}

/// The side that every Service points to.
fn live_side(cutover: &Cutover, services: &[Service]) -> Result<String, Failure> {
    let mut live: Option<&cutover::Side> = None;
    for named in &cutover.spec.services {
        let service = services.iter().find(|s| s.name_any() == named.name);
        let service = service.ok_or_else(|| Failure::new(format!("Service {} does not exist", named.name)))?;
        let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        let of = cutover.spec.sides.iter().find(|side| carries(&selector, &side.selector));
        match (of, live) {
            (None, _) => {
                return Err(Failure::new(format!("Service {} points to neither side", named.name)).exit(Exit::Failed));
            }
            (Some(a), Some(b)) if a.name != b.name => {
                return Err(Failure::new("the Services point to different sides").exit(Exit::Failed));
            }
            (Some(side), _) => live = Some(side),
        }
    }
    live.map(|s| s.name.clone()).ok_or_else(|| Failure::new("the Cutover names no Service"))
}

fn template<'a>(seen: &'a Cluster, w: &WorkloadRef) -> Option<(&'a PodTemplateSpec, &'a [ManagedFieldsEntry])> {
    match w.kind {
        WorkloadKind::Deployment => {
            let found = seen.deployments.iter().find(|d| d.name_any() == w.name)?;
            Some((&found.spec.as_ref()?.template, found.metadata.managed_fields.as_deref().unwrap_or_default()))
        }
        WorkloadKind::StatefulSet => {
            let found = seen.stateful_sets.iter().find(|d| d.name_any() == w.name)?;
            Some((&found.spec.as_ref()?.template, found.metadata.managed_fields.as_deref().unwrap_or_default()))
        }
    }
}

fn containers(seen: &Cluster, w: &WorkloadRef) -> Vec<String> {
    let spec = template(seen, w).and_then(|(t, _)| t.spec.as_ref());
    spec.map(|s| s.containers.iter().map(|c| format!("{}/{}", w.name, c.name)).collect()).unwrap_or_default()
}

fn images(
    w: &WorkloadRef,
    template: &PodTemplateSpec,
    workloads: usize,
    wanted: &[Image],
    used: &mut [bool],
) -> Result<Vec<ImageChange>, Failure> {
    let containers = template.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    let mut changes = vec![];
    for (image, used) in wanted.iter().zip(used) {
        if image.workload.as_ref().is_some_and(|name| *name != w.name) {
            continue;
        }
        let found = match &image.container {
            Some(name) => containers.iter().find(|c| c.name == *name),
            None if containers.len() == 1 && workloads == 1 => containers.first(),
            None => {
                return Err(Failure::new(format!("--image {} does not say of which container", image.image))
                    .next("give it as CONTAINER=IMAGE")
                    .exit(Exit::Usage));
            }
        };
        let Some(container) = found else { continue };
        *used = true;
        let from = container.image.clone().unwrap_or_default();
        if from != image.image {
            changes.push(ImageChange { container: container.name.clone(), from, to: image.image.clone() });
        }
    }
    Ok(changes)
}

/// Whether a GitOps tool or Helm applies an object, and would put a change back.
fn git(fields: &[ManagedFieldsEntry]) -> Option<String> {
    let known = ["argocd", "kustomize-controller", "helm-controller", "helm"];
    let managers = fields.iter().filter_map(|f| f.manager.clone());
    managers.into_iter().find(|m| known.iter().any(|k| m.starts_with(k)))
}
