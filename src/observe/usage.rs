//! Answers [`Read::Usage`](crate::effect::Read::Usage): what the metrics API (`metrics.k8s.io`) says that pods use.

use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::api::run::Selector;
use crate::net::call::answered;
use crate::net::keys::brief;
use crate::plan::quantity;
use crate::world::{PodUsage, UsageAnswer};

pub(super) async fn read(client: &Client, namespace: &str, selectors: &[Selector]) -> UsageAnswer {
    let kind = ApiResource {
        group: "metrics.k8s.io".into(),
        version: "v1beta1".into(),
        api_version: "metrics.k8s.io/v1beta1".into(),
        kind: "PodMetrics".into(),
        plural: "pods".into(),
    };
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
    let mut found: Vec<PodUsage> = vec![];
    for selector in selectors {
        let selector = selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        let list = match answered(api.list(&ListParams::default().labels(&selector))).await {
            Ok(list) => list.items,
            Err(error) if error.code() == Some(404) => {
                let why = "the cluster has no metrics API (metrics.k8s.io): install metrics-server";
                return UsageAnswer::Inconclusive(why.into());
            }
            Err(error) => {
                return UsageAnswer::Inconclusive(format!("the metrics API: {}", brief(&error.to_string())));
            }
        };
        for object in list {
            match usage(&object) {
                Some(one) if found.iter().all(|f| f.pod != one.pod) => found.push(one),
                Some(_) => {}
                None => {
                    let name = object.name_any();
                    return UsageAnswer::Inconclusive(format!("the metrics of pod {name} cannot be understood"));
                }
            }
        }
    }
    UsageAnswer::Found(found)
}

/// What all containers of a pod use together; `None` where a part of it is missing, since a sum without it is too small.
fn usage(object: &DynamicObject) -> Option<PodUsage> {
    let at: Timestamp = object.data["timestamp"].as_str()?.parse().ok()?;
    let containers = object.data["containers"].as_array()?;
    let sum = |resource: &str| {
        let one = |c: &Value| quantity::nanos(c["usage"][resource].as_str()?);
        containers.iter().map(one).sum::<Option<i128>>()
    };
    let (cpu, memory) = (sum("cpu")?, sum("memory")?);
    if containers.is_empty() {
        return None;
    }
    Some(PodUsage {
        pod: object.name_any(),
        at,
        nanocores: u64::try_from(cpu).ok()?,
        bytes: u64::try_from(memory / quantity::NANO).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_uses_what_all_its_containers_use() {
        let pod = |containers: Value| -> DynamicObject {
            serde_json::from_value(json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                "metadata": {"name": "web-1"}, "timestamp": "2026-01-01T00:00:10Z", "window": "15.02s",
                "containers": containers}))
            .expect("an object")
        };
        let two = pod(json!([{"name": "a", "usage": {"cpu": "1500n", "memory": "2Ki"}},
                             {"name": "b", "usage": {"cpu": "2m", "memory": "1Mi"}}]));
        let wanted = PodUsage {
            pod: "web-1".into(),
            at: "2026-01-01T00:00:10Z".parse().expect("a time"),
            nanocores: 2_001_500,
            bytes: 2048 + 1024 * 1024,
        };
        assert_eq!(usage(&two), Some(wanted));
        for broken in [
            json!([]),
            json!([{"name": "a", "usage": {"cpu": "1"}}]),
            json!([{"name": "a", "usage": {"cpu": "x", "memory": "1"}}]),
        ] {
            assert_eq!(usage(&pod(broken.clone())), None, "{broken}");
        }
    }
}
