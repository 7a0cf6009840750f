//! The CustomResourceDefinitions as they are installed: derived from the types, then made small.
//!
//! What Kubernetes does not understand or need is dropped. Pure: text in, text out; nothing is installed from here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::unbuilt;
use super::{ClusterCutoverTemplate, Cutover, CutoverDecision, CutoverRun, CutoverTemplate};

/// Formats that Kubernetes knows; others only cause warnings.
const FORMATS: [&str; 5] = ["int32", "int64", "date-time", "double", "byte"];

/// Why a definition could not be made: a mistake in the types, found by the first test that runs.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The changed document is no CustomResourceDefinition any more.
    #[error("the schema of {0} is not valid after it was made small: {1}")]
    Schema(String, serde_json::Error),
    /// The definition has no schema where every one has it.
    #[error("the definition has nothing at {0}")]
    Place(String),
    /// The text could not be written.
    #[error("writing YAML failed: {0}")]
    Yaml(String),
}

/// The definitions of all kinds.
pub fn all() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    documents()?
        .into_iter()
        .map(|(name, doc)| serde_json::from_value(doc).map_err(|e| CrdError::Schema(name.into(), e)))
        .collect()
}

/// File name and text of each definition, as under `crds/`.
pub fn yaml() -> Result<Vec<(String, String)>, CrdError> {
    documents()?
        .into_iter()
        .map(|(name, doc)| {
            let text = serde_saphyr::to_string(&doc).map_err(|e| CrdError::Yaml(e.to_string()))?;
            Ok((format!("{name}.yaml"), text))
        })
        .collect()
}

fn documents() -> Result<Vec<(&'static str, Value)>, CrdError> {
    let all = [
        ("cutovers", Cutover::crd()),
        ("cutoverruns", CutoverRun::crd()),
        ("cutoverdecisions", CutoverDecision::crd()),
        ("cutovertemplates", CutoverTemplate::crd()),
        ("clustercutovertemplates", ClusterCutoverTemplate::crd()),
    ];
    all.into_iter()
        .map(|(name, crd)| {
            let mut doc = serde_json::to_value(crd).map_err(|e| CrdError::Schema(name.into(), e))?;
            let schema = "/spec/versions/0/schema/openAPIV3Schema";
            let root = doc.pointer_mut(schema).ok_or_else(|| CrdError::Place(schema.into()))?;
            tidy(root);
            if let Some(text) = root.pointer("/properties/spec/description").cloned() {
                root["description"] = text;
            }
            if name == "cutovers" {
                // A Cutover that the operator has not seen yet is not Current to kstatus.
                root["properties"]["status"]["default"] = json!({"observedGeneration": -1});
                unbuilt::mark(&mut root["properties"]["spec"]).map_err(|field| CrdError::Place(field.into()))?;
            }
            // Descriptions speak of `${…}`, which Flux would take for its own variables.
            doc["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/substitute": "disabled"});
            Ok((name, doc))
        })
        .collect()
}

/// Drops what only costs room: `nullable` (the API server then drops nulls, as for its own kinds) and formats it
/// does not know.
fn tidy(schema: &mut Value) {
    each(schema, &mut |node| {
        node.remove("nullable");
        if let Some(Value::Array(values)) = node.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if node.get("format").and_then(Value::as_str).is_some_and(|f| !FORMATS.contains(&f)) {
            node.remove("format");
        }
    });
}

/// Calls `change` on every schema in `schema`, itself first. Names of properties are not mistaken for keywords.
fn each(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(node) = schema else { return };
    change(node);
    for key in ["items", "additionalProperties", "not"] {
        if let Some(inner) = node.get_mut(key) {
            each(inner, change);
        }
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        properties.values_mut().for_each(|inner| each(inner, change));
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(Value::Array(list)) = node.get_mut(key) {
            list.iter_mut().for_each(|inner| each(inner, change));
        }
    }
}
