//! PURE. What the API server checks of an object's metadata.

use super::nearest::nearest;
use super::objects::Object;
use super::schema::quoted;
use super::yaml::{Kind, Node};
use super::{Code, Finding, MAX_KEPT};
use crate::plan::{is_label_key, is_label_value};

/// The fields of metadata.
const FIELDS: [&str; 16] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "clusterName",
];
/// Longest name of an object, of a namespace, and all annotations together.
const MAX_NAME: usize = 253;
const MAX_NAMESPACE: usize = 63;
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Checks the metadata of an object.
pub(super) fn check(object: &Object, findings: &mut Vec<Finding>) {
    if findings.len() >= MAX_KEPT {
        return;
    }
    let mut add = |field: &str, message: String, remedy: &str| {
        findings.push(object.finding(Code::Metadata, field, message, remedy));
    };
    let Some(metadata) = object.node.get("metadata") else {
        return add("metadata.name", "the object has no name".into(), "add metadata.name");
    };
    if !matches!(metadata.kind, Kind::Object(_)) {
        return; // told by the definition
    }
    for (key, _) in metadata.fields().iter().filter(|(key, _)| !FIELDS.contains(&key.text.as_str())) {
        let near = nearest(&key.text, FIELDS).map_or_else(|| "leave it out".to_owned(), |near| format!("write {near}"));
        let field = format!("metadata.{}", key.text);
        findings.push(object.finding(
            Code::UnknownField,
            &field,
            format!("there is no field {:?} here", key.text),
            near,
        ));
    }
    let mut add = |field: &str, message: String, remedy: &str| {
        findings.push(object.finding(Code::Metadata, field, message, remedy));
    };
    let text = |key: &str| metadata.get(key).filter(|node| node.kind != Kind::Null);
    match (text("name"), text("generateName")) {
        (Some(Node { kind: Kind::Text(name), .. }), _) => {
            if !is_subdomain(name) {
                let message = format!("{} cannot be the name of an object", quoted(name));
                add("metadata.name", message, "use lower-case letters, digits, dashes and dots");
            }
        }
        (None, Some(Node { kind: Kind::Text(_), .. })) => {}
        (None, None) => add("metadata.name", "the object has no name".into(), "add metadata.name"),
        (Some(_), _) => add("metadata.name", "the name is no text".into(), "write it with quotes"),
        (None, Some(_)) => add("metadata.generateName", "this is no text".into(), "write it with quotes"),
    }
    match text("namespace").map(|node| &node.kind) {
        None => {}
        Some(Kind::Text(name))
            if name.is_empty() || name.len() <= MAX_NAMESPACE && is_subdomain(name) && !name.contains('.') => {}
        Some(Kind::Text(name)) => {
            let message = format!("{} cannot be the name of a namespace", quoted(name));
            add("metadata.namespace", message, "use lower-case letters, digits and dashes");
        }
        Some(_) => add("metadata.namespace", "this is no text".into(), "write it with quotes"),
    }
    for map in ["labels", "annotations"] {
        let Some(node) = text(map) else { continue };
        let at = format!("metadata.{map}");
        if !matches!(node.kind, Kind::Object(_)) {
            add(&at, format!("{map} are no mapping"), "write key: value");
            continue;
        }
        let mut size = 0;
        for (key, value) in node.fields() {
            let field = format!("{at}.{}", key.text);
            let known = if map == "labels" { key.text.clone() } else { key.text.to_lowercase() };
            if !is_label_key(&known) {
                add(
                    &field,
                    format!("{} cannot be a key here", quoted(&key.text)),
                    "use letters, digits, - _ . and one /",
                );
            }
            let Some(text) = value.text() else {
                if value.kind != Kind::Null {
                    let written = value.written.as_deref().unwrap_or("this");
                    add(&field, format!("{} is no text", quoted(written)), "write it with quotes");
                }
                continue;
            };
            size += key.text.len() + text.len();
            if map == "labels" && !is_label_value(text) {
                add(
                    &field,
                    format!("{} cannot be the value of a label", quoted(text)),
                    "use at most 63 letters, digits, - _ and .",
                );
            }
        }
        if map == "annotations" && size > MAX_ANNOTATIONS {
            add(&at, format!("the annotations have {size} bytes"), "stay below 256 KiB");
        }
    }
}

fn is_subdomain(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(part.chars().next())
            && edge(part.chars().last())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= MAX_NAME && name.split('.').all(part)
}
