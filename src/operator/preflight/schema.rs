//! Whether the API server serves the definitions that this version needs: those of an older version would drop fields of a
//! journal in silence. Read from its OpenAPI document, for which every user has the right. A newer version's have more
//! fields, which does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Finding, Weight};
use crate::act::call::{CallError, Class, call_within};
use crate::api::{GROUP, VERSION};

/// The definitions of this version, as `cutover crd` prints them (a test sees to it).
const OURS: [&str; 3] = [
    include_str!("../../../crds/cutovers.yaml"),
    include_str!("../../../crds/cutoverruns.yaml"),
    include_str!("../../../crds/cutoverdecisions.yaml"),
];
const REMEDY: &str = "apply this version's: cutover crd | kubectl apply --server-side -f - (or upgrade the chart)";
/// The document is some hundred KiB.
const LIMIT: Duration = Duration::from_secs(5);
/// Fields named in a message.
const NAMED: usize = 3;

/// Fields, and nothing else of a schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Schema {
    properties: BTreeMap<String, Schema>,
    items: Option<Box<Schema>>,
    #[serde(rename = "additionalProperties")]
    values: Option<Values>,
    #[serde(rename = "x-kubernetes-selectable-fields")]
    selectable: Vec<Selectable>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    Are(Box<Schema>),
    May(#[allow(dead_code)] bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selectable {
    #[serde(alias = "jsonPath")]
    field_path: String,
}

#[derive(Deserialize)]
struct Definition {
    spec: DefinitionSpec,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    names: Names,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    schema: Validation,
    #[serde(default)]
    selectable_fields: Vec<Selectable>,
}

#[derive(Deserialize)]
struct Validation {
    #[serde(rename = "openAPIV3Schema")]
    root: Schema,
}

/// The list of documents.
#[derive(Deserialize)]
struct Index {
    paths: BTreeMap<String, Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    /// Holds a hash of the document.
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Components {
    #[serde(default)]
    schemas: BTreeMap<String, Schema>,
}

/// The check; the document is read again only when it has changed.
#[derive(Default)]
pub struct Check {
    seen: Option<(String, Vec<Finding>)>,
}

impl Check {
    /// Looks at what is served.
    pub async fn look(&mut self, client: &Client) -> Result<Vec<Finding>, CallError> {
        let index: Index = get(client, "/openapi/v3").await?;
        let Some(place) = index.paths.get(&format!("apis/{GROUP}/{VERSION}")) else {
            self.seen = None;
            let text = format!(
                "the cluster does not serve {GROUP}/{VERSION}, its CustomResourceDefinitions are missing: {REMEDY}"
            );
            return Ok(vec![Finding::new(Weight::MayNotWrite, text)]);
        };
        if let Some((_, found)) = self.seen.as_ref().filter(|(url, _)| *url == place.url) {
            return Ok(found.clone());
        }
        let document: Document = get(client, &place.url).await?;
        let found = compare(&document)?;
        self.seen = Some((place.url.clone(), found.clone()));
        Ok(found)
    }
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, CallError> {
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, "application/json")
        .body(vec![])
        .map_err(|e| CallError { class: Class::Invalid, text: format!("{path}: {e}") })?;
    call_within(LIMIT, client.request(request)).await
}

fn compare(document: &Document) -> Result<Vec<Finding>, CallError> {
    let mut found = vec![];
    for text in OURS {
        let ours: Definition = serde_saphyr::from_str(text)
            .map_err(|e| CallError { class: Class::Invalid, text: format!("the program's own definitions: {e}") })?;
        let DefinitionSpec { names, versions } = ours.spec;
        let name = format!("{}.{GROUP}", names.plural);
        let served = document.components.schemas.iter().find(|(key, _)| key.ends_with(&format!(".{}", names.kind)));
        let Some((_, served)) = served else {
            let text = format!("CustomResourceDefinition {name} is missing: {REMEDY}");
            found.push(Finding::new(Weight::MayNotWrite, text));
            continue;
        };
        let mut lacks = vec![];
        for version in &versions {
            missing(&version.schema.root, served, "", &mut lacks);
            for field in &version.selectable_fields {
                let path = field.field_path.trim_start_matches('.');
                if !served.selectable.iter().any(|s| s.field_path == path) {
                    lacks.push(format!("the selectable field {path}"));
                }
            }
        }
        if !lacks.is_empty() {
            let more = lacks.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            lacks.truncate(NAMED);
            let text = format!(
                "CustomResourceDefinition {name} is of an older version, it lacks {}{more}: {REMEDY}",
                lacks.join(", ")
            );
            found.push(Finding::new(Weight::MayNotWrite, text));
        }
    }
    Ok(found)
}

/// Fields of ours that are not served; what stands below one that is missing is not listed again.
fn missing(ours: &Schema, served: &Schema, path: &str, out: &mut Vec<String>) {
    for (name, schema) in &ours.properties {
        // Its own place in the document.
        if path.is_empty() && name == "metadata" {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match served.properties.get(name) {
            Some(served) => missing(schema, served, &path, out),
            None => out.push(path),
        }
    }
    if let (Some(ours), Some(served)) = (&ours.items, &served.items) {
        missing(ours, served, &format!("{path}[]"), out);
    }
    if let (Some(Values::Are(ours)), Some(Values::Are(served))) = (&ours.values, &served.values) {
        missing(ours, served, &format!("{path}[*]"), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What the API server makes of our definitions.
    fn served() -> Value {
        let mut schemas = serde_json::Map::new();
        for text in OURS {
            let crd: Value = serde_saphyr::from_str(text).expect("a definition");
            let version = &crd["spec"]["versions"][0];
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            let fields = version["selectableFields"].as_array().cloned().unwrap_or_default();
            let paths = fields.iter().map(|f| json!({"fieldPath": f["jsonPath"].as_str().map(|p| &p[1..])}));
            schema["x-kubernetes-selectable-fields"] = paths.collect();
            schema["properties"]["metadata"] = json!({"allOf": [{"$ref": "#/x"}]});
            schemas.insert(
                format!("dev.cutover.v1alpha1.{}", crd["spec"]["names"]["kind"].as_str().expect("kind")),
                schema,
            );
        }
        json!({"components": {"schemas": schemas}})
    }

    fn found(document: Value) -> Vec<Finding> {
        compare(&serde_json::from_value(document).expect("a document")).expect("compared")
    }

    fn without(pointer: &str, key: &str) -> Vec<Finding> {
        let mut document = served();
        let map = document.pointer_mut(pointer).and_then(Value::as_object_mut).expect("there");
        assert!(map.remove(key).is_some(), "{key} is not in {pointer}");
        found(document)
    }

    #[test]
    fn our_own_definitions_and_newer_ones_pass() {
        assert_eq!(found(served()), vec![]);
        let mut newer = served();
        newer["components"]["schemas"]["dev.cutover.v1alpha1.CutoverRun"]["properties"]["status"]["properties"]["later"] =
            json!({"type": "string"});
        assert_eq!(found(newer), vec![]);
    }

    #[test]
    fn an_older_definition_is_named_with_what_it_lacks() {
        let run = "/components/schemas/dev.cutover.v1alpha1.CutoverRun";
        let list = without(&format!("{run}/properties/status/properties/steps/items/properties"), "job");
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].weight, Weight::MayNotWrite);
        let text = &list[0].text;
        assert!(text.contains("cutoverruns.cutover.dev") && text.contains("status.steps[].job:"), "{text}");
        assert!(text.contains("cutover crd | kubectl apply --server-side -f -"), "{text}");
        let list = without(run, "x-kubernetes-selectable-fields");
        assert!(list[0].text.contains("the selectable field status.state"), "{list:?}");
        let list = without("/components/schemas", "dev.cutover.v1alpha1.CutoverDecision");
        assert!(list[0].text.contains("cutoverdecisions.cutover.dev is missing"), "{list:?}");
    }
}
