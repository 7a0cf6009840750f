//! What a bundle holds. Each kind is read by itself: one that may not be read is listed as missing, and the rest is there.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use kube::core::Resource;
use serde::Serialize;

use super::{File, redact};
use crate::api::decision::CutoverDecision;
use crate::cli::cluster::{Cluster, Kind};
use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::rights::{OURS, Right};
use crate::cli::status::read::Reading;

/// What `bundle` may ask.
pub(crate) const RIGHTS: [Right; 17] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
    Right::wish("list", OURS, "cutoverdecisions"),
    Right::wish("list", "", "services"),
    Right::wish("list", "discovery.k8s.io", "endpointslices"),
    Right::wish("list", "apps", "deployments"),
    Right::wish("list", "apps", "statefulsets"),
    Right::wish("list", "", "pods"),
    Right::wish("get", "", "pods/log"),
    Right::wish("list", "batch", "jobs"),
    Right::wish("list", "", "events"),
    Right::wish("list", "autoscaling", "horizontalpodautoscalers"),
    Right::wish("list", "policy", "poddisruptionbudgets"),
    Right::wish("list", "coordination.k8s.io", "leases"),
    Right::wish("get", "", "pods/proxy"),
];

/// Longest text of one file, in bytes.
const MOST: usize = 8 * 1024 * 1024;

/// What was collected.
#[derive(Default)]
pub(super) struct Collected {
    pub files: Vec<File>,
    pub missing: Vec<String>,
}

impl Collected {
    fn add<T: Serialize>(&mut self, name: &str, value: &T) {
        let redacted = serde_json::to_value(value).map_err(|e| Failure::new(e.to_string())).and_then(|mut value| {
            redact::object(&mut value);
            output::yaml(&value)
        });
        match redacted {
            Ok(text) => self.file(name, text),
            Err(e) => self.missing.push(format!("{name}: {}", e.says)),
        }
    }

    fn file(&mut self, name: &str, mut text: String) {
        if text.len() > MOST {
            let cut = (0..=MOST).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            text.truncate(cut);
            self.missing.push(format!("{name}: what follows its first {MOST} bytes"));
        }
        self.files.push(File { name: name.to_owned(), text });
    }

    async fn list<K>(&mut self, cluster: &Cluster, namespace: &str, name: &str) -> Vec<K>
    where
        K: Kind + Resource<Scope = NamespaceResourceScope> + Serialize,
    {
        match cluster.list::<K>(Some(namespace), &ListParams::default()).await {
            Ok(all) => {
                if !all.is_empty() {
                    self.add(name, &all);
                }
                all
            }
            Err(failure) => {
                self.missing.push(format!("{name}: {}", failure.says));
                vec![]
            }
        }
    }
}

/// Collects everything.
pub(super) async fn all(cluster: &Cluster, reading: &Reading, operator: &str, tail: i64) -> Collected {
    let mut out = Collected::default();
    let (namespace, found) = (cluster.namespace.as_str(), &reading.found);
    out.add("cutover.yaml", &found.cutover);
    for run in &found.runs {
        out.add(&format!("runs/{}.yaml", run.name_any()), run);
    }
    out.list::<CutoverDecision>(cluster, namespace, "decisions.yaml").await;
    out.list::<Service>(cluster, namespace, "services.yaml").await;
    out.list::<EndpointSlice>(cluster, namespace, "endpointslices.yaml").await;
    out.list::<Deployment>(cluster, namespace, "deployments.yaml").await;
    out.list::<StatefulSet>(cluster, namespace, "statefulsets.yaml").await;
    out.list::<Job>(cluster, namespace, "jobs.yaml").await;
    out.list::<HorizontalPodAutoscaler>(cluster, namespace, "autoscalers.yaml").await;
    out.list::<PodDisruptionBudget>(cluster, namespace, "disruptionbudgets.yaml").await;
    out.list::<Event>(cluster, namespace, "events.yaml").await;
    let pods = out.list::<Pod>(cluster, namespace, "pods.yaml").await;
    let ours: BTreeMap<String, Pod> =
        pods.into_iter().map(|p| (p.name_any(), p)).filter(|(_, p)| is_of(reading, p)).collect();
    for pod in ours.values() {
        logs(&mut out, cluster, namespace, pod, "logs", tail).await;
    }
    out.list::<Lease>(cluster, operator, "operator/leases.yaml").await;
    out.list::<Deployment>(cluster, operator, "operator/deployments.yaml").await;
    out.list::<Event>(cluster, operator, "operator/events.yaml").await;
    for pod in out.list::<Pod>(cluster, operator, "operator/pods.yaml").await {
        if pod.labels().get("app.kubernetes.io/name").is_some_and(|name| name.starts_with("cutover")) {
            logs(&mut out, cluster, operator, &pod, "operator/logs", tail).await;
            metrics(&mut out, cluster, operator, &pod).await;
        }
    }
    out
}

/// Whether a pod belongs to a side or to a Job of a run.
fn is_of(reading: &Reading, pod: &Pod) -> bool {
    let view = crate::world::convert::pod(pod);
    let sides = reading.found.cutover.spec.sides.iter().flat_map(|s| &s.workloads);
    let of_a_side = view.workload.as_ref().is_some_and(|w| sides.into_iter().any(|of| of == w));
    let job = pod.labels().get("batch.kubernetes.io/job-name");
    let jobs = reading.found.runs.iter().filter_map(|r| r.status.as_ref()).flat_map(|s| &s.steps);
    let of_a_job = jobs.flat_map(|s| s.former_jobs.iter().chain(&s.job)).any(|j| job == Some(&j.name));
    of_a_side || of_a_job
}

async fn logs(out: &mut Collected, cluster: &Cluster, namespace: &str, pod: &Pod, folder: &str, tail: i64) {
    let name = pod.name_any();
    let containers = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    for container in containers.map(|c| c.name.clone()).collect::<Vec<_>>() {
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        let restarted = statuses.filter(|s| s.name == container).any(|s| s.restart_count > 0);
        for previous in [false, true].into_iter().filter(|p| !p || restarted) {
            let file = format!("{folder}/{name}.{container}{}.log", if previous { ".previous" } else { "" });
            let params = LogParams {
                container: Some(container.clone()),
                previous,
                tail_lines: Some(tail),
                timestamps: true,
                ..LogParams::default()
            };
            let read = async {
                let (api, right) = cluster.api::<Pod>("get", Some("log"), namespace)?;
                cluster.call(api.logs(&name, &params), right, Some(namespace)).await
            };
            match read.await {
                Ok(text) => out.file(&file, redact::text(&text)),
                Err(failure) => out.missing.push(format!("{file}: {}", failure.says)),
            }
        }
    }
}

/// The operator's metrics, as it shows them.
async fn metrics(out: &mut Collected, cluster: &Cluster, namespace: &str, pod: &Pod) {
    let name = pod.name_any();
    let ports = pod.spec.iter().flat_map(|s| &s.containers).flat_map(|c| c.ports.iter().flatten());
    let Some(port) = ports.filter(|p| p.name.as_deref() == Some("http")).map(|p| p.container_port).next() else {
        return;
    };
    let file = format!("operator/metrics/{name}.txt");
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
    let read = async {
        let (_, right) = cluster.api::<Pod>("get", Some("proxy"), namespace)?;
        let request = http::Request::get(path).body(vec![]).map_err(|e| Failure::new(e.to_string()))?;
        let client = cluster.client();
        cluster.call(client.request_text(request), right, Some(namespace)).await
    };
    match read.await {
        Ok(text) => out.file(&file, text),
        Err(failure) => out.missing.push(format!("{file}: {}", failure.says)),
    }
}
