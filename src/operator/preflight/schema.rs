//! Whether the API server serves the definitions that this version needs: those of an older version would drop fields of a
//! journal in silence. Read from its OpenAPI document, for which every user has the right. A newer version's have more
//! fields, which does no harm.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kube::Client;
use serde::Deserialize;

use super::{Finding, Weight, fields};
use crate::act::call::{CallError, call_within};
use crate::api::{GROUP, VERSION};

/// The definitions of this version, as `cutover crd` prints them (a test sees to it). The chart's copy: it is half as long,
/// and JSON is read without being held.
const OURS: [(&str, &str); 5] = [
    ("Cutover", include_str!("../../../charts/cutover/files/crds/cutovers.json")),
    ("CutoverRun", include_str!("../../../charts/cutover/files/crds/cutoverruns.json")),
    ("CutoverDecision", include_str!("../../../charts/cutover/files/crds/cutoverdecisions.json")),
    ("CutoverTemplate", include_str!("../../../charts/cutover/files/crds/cutovertemplates.json")),
    ("ClusterCutoverTemplate", include_str!("../../../charts/cutover/files/crds/clustercutovertemplates.json")),
];
const REMEDY: &str = "apply this version's: cutover crd | kubectl apply --server-side -f - (or upgrade the chart)";
/// The document is some hundred KiB.
const LIMIT: Duration = Duration::from_secs(5);
/// Fields named in a message.
const NAMED: usize = 3;

/// The list of documents.
#[derive(Deserialize)]
struct Index {
    paths: BTreeMap<String, Document>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// Holds a hash of the document.
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

/// The check; the document is read again only when it has changed.
#[derive(Default)]
pub(crate) struct Check {
    seen: Option<(String, Vec<Finding>)>,
}

impl Check {
    /// Looks at what is served.
    pub async fn look(&mut self, client: &Client) -> Result<Vec<Finding>, CallError> {
        let index = text(client, "/openapi/v3").await?;
        let index: Index =
            serde_json::from_str(&index).map_err(|e| CallError::invalid(format!("the list of schemas: {e}")))?;
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
        let document = text(client, &place.url).await?;
        let found = compare(&document).map_err(|e| CallError::invalid(format!("schemas: {e}")))?;
        self.seen = Some((place.url.clone(), found.clone()));
        Ok(found)
    }
}

async fn text(client: &Client, path: &str) -> Result<String, CallError> {
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, "application/json")
        .body(vec![])
        .map_err(|e| CallError::invalid(format!("{path}: {e}")))?;
    call_within(LIMIT, client.request_text(request)).await
}

/// What is served, by kind: a hash of each field's path.
fn compare(document: &str) -> Result<Vec<Finding>, serde_json::Error> {
    let mut served: HashMap<String, HashSet<u64>> = HashMap::new();
    fields::of_document(document, &mut |kind, path| {
        served.entry(kind.to_owned()).or_default().insert(hash(path));
    })?;
    let mut found = vec![];
    for (kind, text) in OURS {
        let name = format!("{}s.{GROUP}", kind.to_lowercase());
        let Some(served) = served.get(kind) else {
            let text = format!("CustomResourceDefinition {name} is missing: {REMEDY}");
            found.push(Finding::new(Weight::MayNotWrite, text));
            continue;
        };
        let mut lacks: Vec<String> = vec![];
        fields::of_definition(text, &mut |path| {
            // What stands below one that is missing is not listed again.
            let below =
                lacks.last().is_some_and(|l| path.strip_prefix(l.as_str()).is_some_and(|p| p.starts_with(['.', '['])));
            if !below && !served.contains(&hash(path)) {
                lacks.push(path.to_owned());
            }
        })?;
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

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What the API server makes of our definitions.
    fn served() -> Value {
        let mut schemas = serde_json::Map::new();
        for (_, text) in OURS {
            let crd: Value = serde_json::from_str(text).expect("a definition");
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
        compare(&document.to_string()).expect("compared")
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
        assert!(list[0].text.contains("selectable:status.state"), "{list:?}");
        let list = without("/components/schemas", "dev.cutover.v1alpha1.CutoverDecision");
        assert!(list[0].text.contains("cutoverdecisions.cutover.dev is missing"), "{list:?}");
    }
}
