//! PURE. What the API server checks of the phases of a Cutover, checked here of one whose steps come from templates: by the
//! same definition, with its bounds and its CEL rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::plan::expr::{self, Var};
use crate::plan::refuse::{Refusals, entry_label};
use crate::plan::select;

/// The definition of a Cutover of this version (a test sees to it).
pub(crate) const DEFINITION: &str = include_str!("../../../charts/cutover/files/crds/cutovers.json");
const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
/// What templates can say.
const FIELDS: [&str; 3] = ["phases", "observe", "followUp"];

/// Checks the phases of `spec`.
pub fn check(spec: &Value, refusals: &mut Refusals) {
    let definition: Value = match serde_json::from_str(DEFINITION) {
        Ok(definition) => definition,
        Err(why) => {
            return refusals.add("spec", format!("a defect: the definition cannot be read: {why}"), "report it");
        }
    };
    for field in FIELDS {
        let schema = definition.pointer(SPEC).and_then(|s| s.get(field));
        match (spec.get(field), schema) {
            (Some(value), Some(schema)) => node(value, schema, &format!("spec.{field}"), refusals),
            (None, _) => {}
            (Some(_), None) => refusals.add(format!("spec.{field}"), "a defect: not in the definition", "report it"),
        }
    }
}

fn node(value: &Value, schema: &Value, at: &str, refusals: &mut Refusals) {
    // Derived definitions write bounds as 20 or as 20.0.
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let right = match (schema["type"].as_str(), value) {
        (Some("string"), Value::String(text)) => {
            string(text, schema, at, refusals);
            true
        }
        (Some("integer"), Value::Number(n)) if n.is_i64() || n.is_u64() => {
            let n = n.as_f64().unwrap_or(f64::MAX);
            bound(number("minimum").is_none_or(|min| n >= min), at, "less than", &schema["minimum"], refusals);
            bound(number("maximum").is_none_or(|max| n <= max), at, "more than", &schema["maximum"], refusals);
            true
        }
        (Some("boolean"), Value::Bool(_)) => true,
        (Some("array"), Value::Array(list)) => {
            let long = list.len() as f64;
            bound(
                number("minItems").is_none_or(|min| long >= min),
                at,
                "fewer entries than",
                &schema["minItems"],
                refusals,
            );
            bound(
                number("maxItems").is_none_or(|max| long <= max),
                at,
                "more entries than",
                &schema["maxItems"],
                refusals,
            );
            unique(list, schema, at, refusals);
            for (i, entry) in list.iter().enumerate() {
                node(entry, &schema["items"], &format!("{at}[{}]", entry_label(entry, i, at)), refusals);
            }
            true
        }
        (Some("object"), Value::Object(fields)) => {
            object(fields, schema, at, refusals);
            true
        }
        (None, _) => true,
        (Some(_), _) => false,
    };
    if !right {
        let wanted = schema["type"].as_str().unwrap_or_default();
        refusals.add(at, format!("this is no {wanted}"), format!("write a {wanted}"));
        return;
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        self::rule(value, rule, at, refusals);
    }
}

fn bound(kept: bool, at: &str, what: &str, limit: &Value, refusals: &mut Refusals) {
    refusals.require(kept, at, format!("{what} {limit}"), "stay within that");
}

fn string(text: &str, schema: &Value, at: &str, refusals: &mut Refusals) {
    let long = text.chars().count() as f64;
    let shorter = schema["minLength"].as_f64().is_some_and(|min| long < min);
    bound(!shorter, at, "fewer characters than", &schema["minLength"], refusals);
    let longer = schema["maxLength"].as_f64().is_some_and(|max| long > max);
    bound(!longer, at, "more characters than", &schema["maxLength"], refusals);
    if let Some(allowed) = schema["enum"].as_array() {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        refusals.require(
            words.contains(&text),
            at,
            format!("{text:?} is not known"),
            format!("write {}", words.join(", ")),
        );
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|_| !longer && !shorter) {
        let matches = select::matches(pattern, text).unwrap_or(false);
        refusals.require(
            matches,
            at,
            format!("{text:?} is not of the form wanted"),
            format!("it must match {pattern}"),
        );
    }
}

fn object(fields: &Map<String, Value>, schema: &Value, at: &str, refusals: &mut Refusals) {
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        refusals.require(fields.contains_key(required), format!("{at}.{required}"), "this is required", "add it");
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    let long = fields.len() as f64;
    let more = schema["maxProperties"].as_f64().is_some_and(|max| long > max);
    bound(!more, at, "more entries than", &schema["maxProperties"], refusals);
    let fewer = schema["minProperties"].as_f64().is_some_and(|min| long < min);
    bound(!fewer, at, "fewer entries than", &schema["minProperties"], refusals);
    for (key, value) in fields {
        let at = format!("{at}.{key}");
        match (schema["properties"].get(key), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => node(value, schema, &at, refusals),
            (None, None) => {
                refusals.add(at, "there is no such field", "correct its name; docs/api.md lists all fields")
            }
        }
    }
}

/// Entries of a list that is a map must differ in its key.
fn unique(list: &[Value], schema: &Value, at: &str, refusals: &mut Refusals) {
    for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut seen = BTreeSet::new();
        for (i, entry) in list.iter().enumerate() {
            let Some(name) = entry.get(key).and_then(Value::as_str) else { continue };
            refusals.require(
                seen.insert(name),
                format!("{at}[{}].{key}", entry_label(entry, i, at)),
                format!("{name} is there twice, once from a template perhaps"),
                "give them different names, for example by a parameter",
            );
        }
    }
}

fn rule(value: &Value, rule: &Value, at: &str, refusals: &mut Refusals) {
    let text = rule["rule"].as_str().unwrap_or_default();
    let vars = BTreeMap::from([("self".to_owned(), Var::Json(value.clone()))]);
    match expr::eval_bool(text, &vars) {
        Ok(true) => {}
        Ok(false) => refusals.add(at, rule["message"].as_str().unwrap_or(text), "correct it"),
        Err(why) => refusals.add(at, format!("the rule {text} cannot be checked: {why}"), "correct it"),
    }
}
