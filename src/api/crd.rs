//! The CustomResourceDefinitions as they are installed: derived from the types, then made small.
//!
//! The schema of a step stands in eight phases, each with a suite and an undo inside. Left as derived it is 1.5 MB,
//! more than etcd takes. Here descriptions of steps are kept in `prepare` alone, and what Kubernetes does not
//! understand or need is dropped. Pure: text in, text out; nothing is installed from here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{ClusterCutoverTemplate, Cutover, CutoverDecision, CutoverRun, CutoverTemplate};

/// Where the step schema stands beside `prepare.steps`, which keeps the descriptions.
const REPEATED: [&str; 8] = [
    "/preflight/properties/steps",
    "/verify/properties/steps",
    "/confirm/properties/steps",
    "/finish/properties/steps",
    "/followUp/items/properties/steps",
    "/rollback/properties/steps",
    "/rollback/properties/verify/properties/steps",
    "/observe/properties/triggers/items/properties/suite/properties/steps",
];

/// Formats that Kubernetes knows; others only cause warnings.
const FORMATS: [&str; 5] = ["int32", "int64", "date-time", "double", "byte"];

/// Why a definition could not be made: a mistake in the types, found by the first test that runs.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The changed document is no CustomResourceDefinition any more.
    #[error("the schema of {0} is not valid after it was made small: {1}")]
    Schema(String, serde_json::Error),
    /// A place of `REPEATED` does not exist: the types have changed.
    #[error("the schema has no field at {0}: update the list of places with steps")]
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
                shorten(root)?;
            }
            Ok((name, doc))
        })
        .collect()
}

/// Keeps the descriptions of steps in one place.
fn shorten(root: &mut Value) -> Result<(), CrdError> {
    for place in REPEATED {
        let path = format!("/properties/spec/properties{place}");
        let steps = root.pointer_mut(&path).ok_or(CrdError::Place(path))?;
        strip_descriptions(steps);
        if let Value::Object(steps) = steps {
            steps.insert("description".into(), "Steps; for their fields see `prepare.steps`.".into());
        }
    }
    Ok(())
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

fn strip_descriptions(schema: &mut Value) {
    each(schema, &mut |node| {
        node.remove("description");
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
