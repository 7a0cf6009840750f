//! What pods use, as the metrics API would tell it.
//!
//! The test cluster has no metrics-server. In its place stands a custom resource of the same group, kind and form, into
//! which the tests write what the kubelet measures. Where a cluster has a metrics API, that is used and nothing written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::case::{Case, secs};
use super::{cluster, wait};

const STAND_IN: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: pods.metrics.k8s.io
  annotations: {api-approved.kubernetes.io: "unapproved, a stand-in of the tests of Cutover"}
spec:
  group: metrics.k8s.io
  scope: Namespaced
  names: {plural: pods, kind: PodMetrics, listKind: PodMetricsList}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

/// A time and a value.
type Sample = (Timestamp, f64);

/// Writes what the kubelet measures.
pub struct Usage<'t> {
    case: &'t Case,
    stand_in: bool,
    /// The last CPU seconds and their rate, by container.
    cpu: BTreeMap<(String, String), (Sample, Option<f64>)>,
}

impl<'t> Usage<'t> {
    /// Sees to it that there is a metrics API.
    pub async fn new(case: &'t Case) -> Result<Self> {
        let client = &case.client;
        let stand_in = match client.list_api_group_resources("metrics.k8s.io/v1beta1").await {
            Err(_) => true,
            Ok(_) => {
                Api::<CustomResourceDefinition>::all(client.clone()).get_opt("pods.metrics.k8s.io").await?.is_some()
            }
        };
        if stand_in {
            for object in cluster::documents(STAND_IN)? {
                cluster::apply(client, &object, "").await.context("the stand-in for the metrics API")?;
            }
            wait::poll("the stand-in is served", secs(20), async || {
                Ok(client.list_api_group_resources("metrics.k8s.io/v1beta1").await.ok().map(|_| ()))
            })
            .await?;
        }
        Ok(Self { case, stand_in, cpu: BTreeMap::new() })
    }

    /// Whether the tests themselves tell what pods use.
    pub fn is_stand_in(&self) -> bool {
        self.stand_in
    }

    /// Tells what pods use until something is there.
    pub async fn until<T>(&mut self, what: &str, mut test: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        // The kubelet measures every ten seconds or so; sustained times of tests are short.
        let end = tokio::time::Instant::now() + secs(100);
        let mut every = tokio::time::interval(Duration::from_secs(1));
        while tokio::time::Instant::now() < end {
            self.case.alive()?;
            if let Some(found) = test().await? {
                return Ok(found);
            }
            if self.stand_in {
                self.tell().await?;
            }
            every.tick().await;
        }
        bail!("{what}: not within 100 s")
    }

    async fn tell(&mut self) -> Result<()> {
        let mut pods: BTreeMap<String, Vec<(String, Sample, f64)>> = BTreeMap::new();
        let mut unknown: Vec<String> = vec![];
        for line in measured(&self.case.client).await?.lines() {
            let Some((name, labels, sample)) = parse(line) else { continue };
            if labels.get("namespace") != Some(&self.case.ns) {
                continue;
            }
            let (Some(pod), Some(container)) = (labels.get("pod"), labels.get("container")) else { continue };
            let key = (pod.clone(), container.clone());
            match name {
                "container_cpu_usage_seconds_total" => {
                    let entry = self.cpu.entry(key).or_insert((sample, None));
                    let seconds = sample.0.duration_since(entry.0.0).as_secs_f64();
                    if seconds > 0.0 {
                        *entry = (sample, Some((sample.1 - entry.0.1) / seconds));
                    }
                }
                "container_memory_working_set_bytes" => {
                    pods.entry(pod.clone()).or_default().push((container.clone(), sample, 0.0));
                }
                _ => {}
            }
        }
        for (pod, containers) in &mut pods {
            for (container, _, rate) in containers {
                match self.cpu.get(&(pod.clone(), container.clone())) {
                    Some((_, Some(found))) => *rate = *found,
                    // As metrics-server does: no sample before there are two.
                    _ => unknown.push(pod.clone()),
                }
            }
        }
        for (pod, containers) in pods.iter().filter(|(pod, _)| !unknown.contains(pod)) {
            self.write(pod, containers).await?;
        }
        Ok(())
    }

    async fn write(&self, pod: &str, containers: &[(String, Sample, f64)]) -> Result<()> {
        let all = self.case.api::<k8s_openapi::api::core::v1::Pod>();
        let Some(labels) = all.get_opt(pod).await?.map(|p| p.metadata.labels.unwrap_or_default()) else {
            return Ok(());
        };
        let at = containers.iter().map(|(_, (at, _), _)| *at).min().context("a pod without containers")?;
        let containers: Vec<_> = containers
            .iter()
            .map(|(name, (_, bytes), cores)| {
                let usage = json!({"cpu": format!("{}n", (cores * 1e9) as u64), "memory": format!("{}Ki", *bytes as u64 / 1024)});
                json!({"name": name, "usage": usage})
            })
            .collect();
        let object = json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": {"name": pod, "labels": labels},
            "timestamp": format!("{at:.0}"), "window": "10s", "containers": containers,
        });
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let kind = ApiResource::from_gvk_with_plural(&kind, "pods");
        let api: Api<DynamicObject> = Api::namespaced_with(self.case.client.clone(), &self.case.ns, &kind);
        api.patch(pod, &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await?;
        Ok(())
    }
}

/// What the kubelets measure, in the text form of Prometheus.
async fn measured(client: &Client) -> Result<String> {
    let mut all = String::new();
    for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await? {
        let path = format!("/api/v1/nodes/{}/proxy/metrics/resource", node.name_any());
        all.push_str(&client.request_text(http::Request::get(path).body(vec![])?).await?);
    }
    Ok(all)
}

/// `name{a="b",c="d"} value milliseconds`.
fn parse(line: &str) -> Option<(&str, BTreeMap<String, String>, Sample)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, rest) = rest.split_once('}')?;
    let labels = labels.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    });
    let mut words = rest.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let at = Timestamp::from_millisecond(words.next()?.parse().ok()?).ok()?;
    Some((name, labels.collect(), (at, value)))
}
