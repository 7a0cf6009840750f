//! PURE. The second workload, made from the first.

use serde_json::{Map, Value, json};

use super::found::Situation;

/// What the API server fills in, and what does not belong to a copy.
const DEFAULTS: [(&str, &str); 12] = [
    ("terminationMessagePath", "\"/dev/termination-log\""),
    ("terminationMessagePolicy", "\"File\""),
    ("dnsPolicy", "\"ClusterFirst\""),
    ("restartPolicy", "\"Always\""),
    ("schedulerName", "\"default-scheduler\""),
    ("securityContext", "{}"),
    ("resources", "{}"),
    ("progressDeadlineSeconds", "600"),
    ("revisionHistoryLimit", "10"),
    ("successThreshold", "1"),
    ("protocol", "\"TCP\""),
    ("creationTimestamp", "null"),
];
/// Marks of tools that keep an object: the copy is not theirs.
const TOOLS: [&str; 7] = [
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
];

/// The workload of the other side, with so many pods.
pub(crate) fn workload(situation: &Situation, namespace: &str, replicas: u32) -> Value {
    let from = &situation.live.object;
    let named = situation.other_ref();
    let (key, value) = (&situation.key, &situation.other_value);
    let mut spec = from["spec"].clone();
    spec["replicas"] = json!(replicas);
    spec["selector"]["matchLabels"][key.as_str()] = json!(value);
    spec["template"]["metadata"]["labels"][key.as_str()] = json!(value);
    if let Some(annotations) = spec["template"]["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|k, _| !of_a_tool(k));
    }
    tidy(&mut spec);
    let mut labels: Map<String, Value> = from["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.retain(|k, _| !of_a_tool(k) && k != "app.kubernetes.io/managed-by");
    if labels.contains_key(key) {
        labels.insert(key.clone(), json!(value));
    }
    let mut metadata = json!({"name": named.name, "namespace": namespace});
    if !labels.is_empty() {
        metadata["labels"] = Value::Object(labels);
    }
    json!({"apiVersion": "apps/v1", "kind": format!("{:?}", named.kind), "metadata": metadata, "spec": spec})
}

fn of_a_tool(key: &str) -> bool {
    TOOLS.iter().any(|tool| key.starts_with(tool))
}

/// Takes out what the API server fills in by itself.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                let default = DEFAULTS.iter().any(|(k, v)| k == key && value.to_string() == *v);
                let empty = key == "annotations" && value.as_object().is_some_and(Map::is_empty);
                !default && !empty && !value.is_null()
            });
            fields.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
