//! PURE. Objects of the API → views. Total: what is missing in an object is missing in its view.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, ResourceRequirements, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::api::decision::Verb;
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::api::{
    ANNOTATION_ATTEMPT, ANNOTATION_PUSHED, ANNOTATION_TEMPLATE, Cutover, CutoverDecision, GROUP, LABEL_RUN, LABEL_STEP,
};
use crate::effect::{Attempt, hash};
use crate::plan::quantity;
use crate::world::{
    ContainerEnd, ContainerView, CutoverView, DecisionView, EndpointView, JobEnd, JobView, Kept, PodView, PortView,
    ServiceView, TargetPort, WorkloadView, owners,
};

fn uid(meta: &ObjectMeta) -> String {
    meta.uid.clone().unwrap_or_default()
}

fn version(meta: &ObjectMeta) -> String {
    meta.resource_version.clone().unwrap_or_default()
}

fn count(n: Option<i32>) -> u32 {
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The Cutover; whether its namespace is going is somebody else's reading.
pub fn cutover(cutover: &Cutover, namespace_going: bool) -> CutoverView {
    let spec = &cutover.spec;
    CutoverView {
        uid: uid(&cutover.metadata),
        deleting: cutover.metadata.deletion_timestamp.is_some(),
        namespace_going,
        activate: spec.activate.clone(),
        release: spec.release.clone().unwrap_or_default(),
        suspend: spec.suspend,
        notify: spec.notify.clone(),
        releases: cutover.status.as_ref().map(|s| s.releases.clone()).unwrap_or_default(),
        pushed: cutover.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_PUSHED).cloned()),
    }
}

/// A person's decision.
pub fn decision(decision: &CutoverDecision) -> DecisionView {
    let created = decision.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    DecisionView {
        name: decision.name_any(),
        uid: uid(&decision.metadata),
        resource_version: version(&decision.metadata),
        created,
        spec: decision.spec.clone(),
    }
}

/// Open decisions that are looked at together; the rest follows as these are answered.
const MOST_OPEN: usize = 500;

/// In the order in which they are taken in: those that lead back first, then in the order of their creation; the uid
/// decides between those of one second, so that the order never changes. No more than a driver looks at together.
pub fn order(decisions: &mut Vec<DecisionView>) {
    let late = |d: &DecisionView| !matches!(d.spec.decision, Verb::Rollback | Verb::Abort);
    decisions.sort_by(|a, b| (late(a), a.created, &a.uid).cmp(&(late(b), b.created, &b.uid)));
    decisions.truncate(MOST_OPEN);
}

/// A Service.
pub fn service(service: &Service) -> ServiceView {
    let spec = service.spec.as_ref();
    let ports = spec.into_iter().flat_map(|s| s.ports.iter().flatten()).filter_map(|p| {
        let port = u16::try_from(p.port).ok()?;
        let target = match &p.target_port {
            // 0 and nothing mean the port itself
            None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
            Some(IntOrString::Int(n)) => TargetPort::Number(u16::try_from(*n).ok()?),
            Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
        };
        Some(PortView { name: p.name.clone(), port, target })
    });
    ServiceView {
        uid: uid(&service.metadata),
        resource_version: version(&service.metadata),
        selector: spec.and_then(|s| s.selector.clone()).unwrap_or_default(),
        ports: ports.collect(),
        cluster_ip: spec.and_then(|s| s.cluster_ip.clone()).filter(|ip| !ip.is_empty() && ip != "None"),
        external_name: spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName"),
        deleting: service.metadata.deletion_timestamp.is_some(),
        writer: writer(&service.metadata),
        marks: marks(&service.metadata),
        kept: Kept::of(&service.metadata, owners::OF_SERVICE),
    }
}

fn marks(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let own = |key: &str| key.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP);
    meta.annotations.iter().flatten().filter(|(k, _)| own(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Who wrote an object last: the manager of the youngest managed-fields entry of the object itself.
pub fn writer(meta: &ObjectMeta) -> Option<String> {
    let entries = meta.managed_fields.iter().flatten().filter(|e| e.subresource.as_deref().unwrap_or("").is_empty());
    entries.max_by_key(|e| e.time.as_ref().map(|t| t.0))?.manager.clone()
}

/// A Deployment or StatefulSet, read untyped so that its template is whole.
pub fn workload(object: &DynamicObject) -> WorkloadView {
    let at = |path: &str| object.data.pointer(path);
    let number = |path: &str| at(path).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let template = at("/spec/template").cloned().unwrap_or_default();
    let labels = template.pointer("/metadata/labels").and_then(Value::as_object);
    let stuck = at("/status/conditions").and_then(Value::as_array).into_iter().flatten().find_map(|c| {
        let text = |key: &str| c.get(key).and_then(Value::as_str);
        let no_progress = text("type") == Some("Progressing") && text("status") == Some("False");
        no_progress.then(|| format!("{}: {}", text("reason").unwrap_or("?"), text("message").unwrap_or("")))
    });
    let refused = at("/status/conditions").and_then(Value::as_array).into_iter().flatten().find_map(|c| {
        let text = |key: &str| c.get(key).and_then(Value::as_str);
        let refused = text("type") == Some("ReplicaFailure") && text("status") == Some("True");
        refused.then(|| text("message").or(text("reason")).unwrap_or_default().to_owned())
    });
    WorkloadView {
        uid: uid(&object.metadata),
        resource_version: version(&object.metadata),
        generation: object.metadata.generation.unwrap_or(0),
        observed_generation: at("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(0),
        wanted: number("/spec/replicas").unwrap_or(1),
        updated: number("/status/updatedReplicas").unwrap_or(0),
        available: number("/status/availableReplicas").unwrap_or(0),
        replicas: number("/status/replicas").unwrap_or(0),
        template_hash: hash(&template),
        pod_labels: labels
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect(),
        template,
        kept: Kept::of(&object.metadata, owners::OF_WORKLOAD),
        stuck,
        refused,
    }
}

/// A pod.
pub fn pod(pod: &Pod) -> PodView {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let ports = spec
        .into_iter()
        .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| Some((p.name.clone()?, u16::try_from(p.container_port).ok()?)));
    let containers = status
        .into_iter()
        .flat_map(|s| s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten()))
        .map(container);
    let holds = |type_: &str| {
        let conditions = status.and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|list| list.iter().any(|c| c.type_ == type_ && c.status == "True"))
    };
    let gates = spec.into_iter().flat_map(|s| s.readiness_gates.iter().flatten()).map(|g| g.condition_type.clone());
    let unschedulable = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten().find_map(|c| {
        let refused = c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable");
        refused.then(|| c.message.clone().unwrap_or_default())
    });
    PodView {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: uid(&pod.metadata),
        workload: owner(&pod.metadata),
        node: spec.and_then(|s| s.node_name.clone()),
        gates: gates.filter(|gate| holds("ContainersReady") && !holds(gate)).collect(),
        unschedulable,
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ip: status.and_then(|s| s.pod_ip.clone()).filter(|ip| !ip.is_empty()),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some() || ended(pod),
        ended: ended(pod),
        gone_by: pod.metadata.deletion_timestamp.as_ref().map(|t| t.0),
        taken: taken(pod),
        ports: ports.collect(),
        memory_limit: spec.and_then(memory_limit),
        containers: containers.collect(),
    }
}

/// How much memory a pod may use, in bytes. Containers that only start it are over when it serves.
fn memory_limit(spec: &PodSpec) -> Option<u64> {
    let of = |resources: Option<&ResourceRequirements>| {
        let nanos = quantity::nanos(&resources?.limits.as_ref()?.get("memory")?.0)?;
        u64::try_from(nanos / quantity::NANO).ok()
    };
    let beside = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut each = spec.containers.iter().chain(beside).map(|c| of(c.resources.as_ref()));
    let together = each.try_fold(0_u64, |sum, limit| sum.checked_add(limit?));
    of(spec.resources.as_ref()).or(together).filter(|limit| *limit > 0)
}

/// The workload that a pod belongs to: the StatefulSet that owns it, or the Deployment of the ReplicaSet that does. A
/// Deployment names its ReplicaSets after itself and the hash of the template, which is a label of each pod.
fn owner(meta: &ObjectMeta) -> Option<WorkloadRef> {
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    match owner.kind.as_str() {
        "StatefulSet" => Some(WorkloadRef { kind: WorkloadKind::StatefulSet, name: owner.name.clone() }),
        "ReplicaSet" => {
            let hash = meta.labels.as_ref()?.get("pod-template-hash")?;
            let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            Some(WorkloadRef { kind: WorkloadKind::Deployment, name: name.to_owned() })
        }
        _ => None,
    }
}

/// What the condition that every disruption sets says, or what the kubelet says of its own eviction.
fn taken(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let disrupted = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    let (reason, message) = match disrupted {
        Some(condition) => (condition.reason.as_deref(), condition.message.as_deref()),
        None => (status.reason.as_deref().filter(|reason| *reason == "Evicted"), status.message.as_deref()),
    };
    Some(match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{}: {message}", reason?),
        None => reason?.to_owned(),
    })
}

fn ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn waiting(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn container(status: &ContainerStatus) -> ContainerView {
    let now = status.state.as_ref().and_then(|s| s.terminated.as_ref());
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let terminated = now.or(last).map(|t| ContainerEnd {
        reason: t.reason.clone().unwrap_or_else(|| format!("exit code {}", t.exit_code)),
        // A kubelet that has lost the container knows no id; the moment tells two ends of one container apart, too.
        id: t.container_id.clone().or(t.finished_at.as_ref().map(|at| at.0.to_string())).unwrap_or_default(),
    });
    ContainerView {
        name: status.name.clone(),
        image: status.image.clone(),
        image_id: Some(status.image_id.clone()).filter(|id| !id.is_empty()),
        running: status.state.as_ref().is_some_and(|s| s.running.is_some()),
        ready: status.ready,
        restarts: count(Some(status.restart_count)),
        waiting: waiting(status).map(str::to_owned),
        waiting_message: status.state.as_ref().and_then(|s| s.waiting.as_ref()).and_then(|w| w.message.clone()),
        terminated,
    }
}

/// The endpoints in all slices of a Service. A pod that two slices name (one for each family of addresses) counts
/// once, and as ready only if both say so.
pub fn endpoints<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Vec<EndpointView> {
    let mut by_pod = BTreeMap::<(bool, String), EndpointView>::new();
    let mut nameless = vec![];
    for slice in slices {
        let by = slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY));
        let foreign = by.map(String::as_str) != Some(SLICE_CONTROLLER);
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            // A condition that is not there: ready, and not terminating.
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true)
                && !conditions.and_then(|c| c.terminating).unwrap_or(false);
            let target = endpoint.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"));
            let pod = target.and_then(|t| t.name.clone());
            let slice = slice.metadata.name.clone().unwrap_or_default();
            let view = EndpointView { slice, foreign, pod: pod.clone(), ready };
            match pod {
                Some(pod) => {
                    by_pod.entry((foreign, pod)).and_modify(|e| e.ready &= ready).or_insert(view);
                }
                None => nameless.push(view),
            }
        }
    }
    by_pod.into_values().chain(nameless).collect()
}

/// The label that says who keeps an EndpointSlice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The cluster's own controller, which follows Services and pods.
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// Reasons for which a container waits and that do not go away by waiting a little.
const CANNOT_START: [&str; 9] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Whether a pod of a Job cannot start.
pub fn cannot_start(pod: &Pod) -> bool {
    let Some(status) = pod.status.as_ref() else { return false };
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.filter_map(waiting).any(|reason| CANNOT_START.contains(&reason))
}

/// Whether a pod belongs to this Job and not to another of the same name.
pub(crate) fn is_of(pod: &Pod, job: &ObjectMeta) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    job.uid.as_ref().is_some_and(|uid| owners.clone().any(|o| o.uid == *uid))
}

/// A Job with its pods. `since` says when a pod (by its uid) was first seen unable to start.
pub fn job<'a>(
    job: &Job,
    pods: impl IntoIterator<Item = &'a Pod>,
    mut since: impl FnMut(&str) -> Timestamp,
) -> JobView {
    let meta = &job.metadata;
    let label = |key: &str| meta.labels.as_ref().and_then(|l| l.get(key)).cloned();
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key));
    let attempt = annotation(ANNOTATION_ATTEMPT);
    let run = label(LABEL_RUN);
    let status = job.status.as_ref();
    let own: Vec<&Pod> = pods.into_iter().filter(|p| is_of(p, meta)).collect();
    let left = u32::try_from(own.iter().filter(|p| !ended(p)).count()).unwrap_or(u32::MAX);
    let last = own.into_iter().max_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
    let stuck = last.filter(|pod| cannot_start(pod) && !ended(pod));
    let template = job.spec.as_ref().and_then(|spec| serde_json::to_value(&spec.template).ok());
    let counted = status.map_or(0, |s| count(s.active) + count(s.terminating));
    JobView {
        uid: uid(meta),
        resource_version: version(meta),
        owned: meta.owner_references.iter().flatten().any(|o| o.kind == "CutoverRun" && Some(&o.uid) == run.as_ref()),
        run,
        step: label(LABEL_STEP).zip(attempt).and_then(|(step, n)| Some(Attempt::of(&step, n.parse().ok()?))),
        claim: annotation(ANNOTATION_TEMPLATE).cloned(),
        suspended: job.spec.as_ref().and_then(|s| s.suspend).unwrap_or(false),
        started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
        end: job_end(job),
        pods_left: counted.max(left),
        pod: last.map(self::pod),
        stuck_since: stuck.map(|pod| since(pod.metadata.uid.as_deref().unwrap_or_default())),
        template: template.map(Arc::new),
        deleting: meta.deletion_timestamp.is_some(),
    }
}

fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    if holds("Complete").is_some() {
        return Some(JobEnd::Complete);
    }
    // FailureTarget comes first, and is what decides; Failed only once the pods are gone.
    let failed = holds("Failed").or_else(|| holds("FailureTarget"))?;
    Some(JobEnd::Failed {
        reason: failed.reason.clone().unwrap_or_default(),
        message: failed.message.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
