//! PURE. What the API server checks of an object by its definition: unknown fields, types, bounds, defaults, then the CEL
//! rules. What comes out is the object as the API server would keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::nearest::nearest;
use super::objects::Object;
use super::rules::Rules;
use super::yaml::{Kind, Node, Place};
use super::{Code, Finding, MAX_KEPT, metadata};
use crate::plan::{list_label, select};

/// The definitions of this version (a test sees to it).
const DEFINITIONS: [(&str, &str); 4] = [
    ("Cutover", crate::plan::templates::DEFINITION),
    ("CutoverTemplate", include_str!("../../charts/cutover/files/crds/cutovertemplates.json")),
    ("ClusterCutoverTemplate", include_str!("../../charts/cutover/files/crds/clustercutovertemplates.json")),
    ("CutoverDecision", include_str!("../../charts/cutover/files/crds/cutoverdecisions.json")),
];
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";
/// Longest text that a message repeats.
const SHOWN: usize = 80;

static SCHEMAS: LazyLock<BTreeMap<&'static str, Value>> = LazyLock::new(|| {
    let schema = |text: &str| {
        let definition: Option<Value> = serde_json::from_str(text).ok();
        let schema = definition.and_then(|mut definition| definition.pointer_mut(SCHEMA).map(Value::take));
        let mut schema = schema.unwrap_or_default();
        // What every object has stands in no definition.
        for (field, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            schema["properties"][field] = serde_json::json!({"type": kind});
        }
        schema
    };
    DEFINITIONS.iter().map(|(kind, text)| (*kind, schema(text))).collect()
});

/// An object that was checked by its definition.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// As the API server would keep it: without unknown fields, with defaults.
    pub value: Value,
    /// Nothing is wrong with it so far.
    pub right: bool,
}

/// Checks an object of Cutover's own kinds.
pub(super) fn check(object: &Object, rules: &mut Rules, findings: &mut Vec<Finding>) -> Checked {
    let before = findings.len();
    let mut walk = Walk { object, rules, findings, wrong: 0, lost: 0 };
    metadata::check(object, walk.findings);
    walk.wrong = walk.findings.len() - before;
    let schema = SCHEMAS.get(object.kind.as_str()).unwrap_or(&Value::Null);
    let value = walk.node(&object.node, schema, "");
    Checked { value, right: walk.wrong + walk.lost == 0 }
}

struct Walk<'w> {
    object: &'w Object,
    rules: &'w mut Rules,
    findings: &'w mut Vec<Finding>,
    /// Mistakes so far that leave a rule nothing to look at.
    wrong: usize,
    /// Unknown fields so far, which rules do not see.
    lost: usize,
}

impl Walk<'_> {
    fn add(&mut self, code: Code, place: Place, at: &str, message: String, remedy: String) {
        if code == Code::UnknownField {
            self.lost += 1;
        } else {
            self.wrong += 1;
        }
        if self.full() {
            return;
        }
        self.findings.push(Finding {
            code,
            file: self.object.file.clone(),
            place,
            object: self.object.title(),
            field: at.to_owned(),
            message,
            remedy,
        });
    }

    /// Whether so much is wrong that no more is looked for.
    fn full(&self) -> bool {
        self.findings.len() >= MAX_KEPT
    }

    fn require(&mut self, kept: bool, place: Place, at: &str, message: impl Fn() -> (String, String)) {
        if !kept {
            let (message, remedy) = message();
            self.add(Code::Value, place, at, message, remedy);
        }
    }

    /// Checks a value; what the API server would keep of it.
    fn node(&mut self, node: &Node, schema: &Value, at: &str) -> Value {
        let wrong = self.wrong;
        let wanted = schema["type"].as_str();
        let either = schema["x-kubernetes-int-or-string"] == true;
        let value = match (wanted, &node.kind) {
            (Some("object"), Kind::Object(_)) => self.object(node, schema, at),
            (Some("array"), Kind::List(list)) => self.list(node, list, schema, at),
            (Some("string"), Kind::Text(text)) => {
                self.text(node, text, schema, at);
                Value::String(text.clone())
            }
            (Some("integer"), Kind::Number(number)) if whole(number).is_some() => {
                self.number(node, number, schema, at);
                Value::Number(number.clone())
            }
            (Some("number"), Kind::Number(number)) => {
                self.number(node, number, schema, at);
                Value::Number(number.clone())
            }
            (Some("boolean"), Kind::Bool(_)) => node.to_json(),
            (_, Kind::Number(_) | Kind::Text(_)) if either => node.to_json(),
            (None, _) => node.to_json(),
            (Some(wanted), _) => {
                let (message, remedy) = another_type(node, wanted);
                self.add(Code::Value, node.place, at, message, remedy);
                return node.to_json();
            }
        };
        // A rule speaks of what is otherwise right.
        if self.wrong == wrong {
            for broken in self.rules.broken(&value, schema) {
                let field = [at, &broken.field].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(".");
                let field = if field.is_empty() { of_root(&broken.message) } else { field };
                let (place, _) = node.find(if at.is_empty() { &field } else { &broken.field });
                self.add(Code::Rule, place, &field, broken.message, "correct it".into());
            }
        }
        value
    }

    fn object(&mut self, node: &Node, schema: &Value, at: &str) -> Value {
        let mut out = Map::new();
        let (none, keep) = (Map::new(), schema["x-kubernetes-preserve-unknown-fields"] == true);
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let free = schema.get("additionalProperties");
        for (key, value) in node.fields() {
            let below = if at.is_empty() { key.text.clone() } else { format!("{at}.{}", key.text) };
            let known = properties.get(&key.text).or(free.filter(|free| free.is_object()));
            match known {
                // As if it were not there, as the API server takes it; a default takes its place.
                Some(_) if value.kind == Kind::Null => {}
                Some(inner) if at.is_empty() && key.text == "metadata" => {
                    out.insert(key.text.clone(), self.metadata(value, inner));
                }
                Some(inner) => {
                    out.insert(key.text.clone(), self.node(value, inner, &below));
                }
                None if keep || free == Some(&Value::Bool(true)) || properties.is_empty() && free.is_none() => {
                    out.insert(key.text.clone(), value.to_json());
                }
                None if self.full() => self.lost += 1,
                None => {
                    let near = nearest(&key.text, properties.keys().map(String::as_str));
                    let remedy = near.map_or_else(
                        || match properties.len() {
                            0..=12 => format!("it has {}", properties.keys().cloned().collect::<Vec<_>>().join(", ")),
                            _ => "docs/api.md lists all fields".to_owned(),
                        },
                        |near| format!("write {near}"),
                    );
                    self.add(
                        Code::UnknownField,
                        key.place,
                        &below,
                        format!("there is no field {:?} here", key.text),
                        remedy,
                    );
                }
            }
        }
        for (key, inner) in properties {
            if let (false, Some(default)) = (out.contains_key(key), inner.get("default")) {
                out.insert(key.clone(), default.clone());
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let below = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
            self.require(out.contains_key(key), node.place, &below, || {
                (format!("{key} is required"), "add it".to_owned())
            });
        }
        let count = node.fields().len() as f64;
        self.bounds(node.place, at, count, schema, ["minProperties", "maxProperties"], "entries");
        Value::Object(out)
    }

    /// What a rule sees of the metadata, the generated name included; the rest is checked elsewhere.
    fn metadata(&mut self, node: &Node, schema: &Value) -> Value {
        if !matches!(node.kind, Kind::Object(_)) {
            return self.node(node, schema, "metadata");
        }
        let mut value = node.to_json();
        if let (None, Some(prefix)) = (node.text_at(&["name"]), node.text_at(&["generateName"])) {
            value["name"] = Value::String(format!("{prefix}xxxxx"));
        }
        value
    }

    fn list(&mut self, node: &Node, list: &[Node], schema: &Value, at: &str) -> Value {
        self.bounds(node.place, at, list.len() as f64, schema, ["minItems", "maxItems"], "entries");
        let most = schema["maxItems"].as_u64().map_or(list.len(), |most| usize::try_from(most).unwrap_or(list.len()));
        let mut out = vec![];
        let mut names: BTreeSet<Vec<String>> = BTreeSet::new();
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        // What is beyond the bound is one mistake.
        for (i, entry) in list.iter().enumerate().take(most) {
            let label = list_label(entry.text_at(&["name"]).unwrap_or_default(), i, at);
            let below = format!("{at}[{label}]");
            let value = self.node(entry, &schema["items"], &below);
            let name: Vec<String> = keys.iter().map(|key| value[*key].to_string()).collect();
            if !keys.is_empty() && value.is_object() && !names.insert(name) {
                let place = entry.find(keys.first().copied().unwrap_or_default()).0;
                let message = format!("{} is given twice", keys.join(" and "));
                self.add(Code::Value, place, &below, message, "give each entry its own".into());
            }
            out.push(value);
        }
        Value::Array(out)
    }

    fn bounds(&mut self, place: Place, at: &str, count: f64, schema: &Value, keys: [&str; 2], what: &str) {
        let [least, most] = keys.map(|key| schema[key].as_f64());
        let fits = least.is_none_or(|least| count >= least) && most.is_none_or(|most| count <= most);
        self.require(fits, place, at, || {
            let limit = match (least, most) {
                (Some(least), Some(most)) if least == most => format!("exactly {least}"),
                (Some(least), Some(most)) => format!("{least} to {most}"),
                (Some(least), None) => format!("at least {least}"),
                (None, most) => format!("at most {}", most.unwrap_or_default()),
            };
            (format!("there are {count} {what}"), format!("give {limit}"))
        });
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Value, at: &str) {
        if let Some(allowed) = schema["enum"].as_array() {
            let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            self.require(words.contains(&text), node.place, at, || {
                let near = nearest(text, words.iter().copied());
                let remedy =
                    near.map_or_else(|| format!("write one of {}", words.join(", ")), |w| format!("write {w}"));
                (format!("{} is not known here; known are {}", quoted(text), words.join(", ")), remedy)
            });
            return;
        }
        let before = self.wrong;
        let long = text.chars().count() as f64;
        self.bounds(node.place, at, long, schema, ["minLength", "maxLength"], "characters");
        if self.wrong > before {
            return;
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let matches = self.rules.matches(pattern, text);
            self.require(matches, node.place, at, || {
                (format!("{} is not of the form wanted", quoted(text)), format!("it must match {pattern}"))
            });
        }
        if schema["format"] == "date-time" {
            self.require(is_moment(text), node.place, at, || {
                let remedy = "write for example 2026-11-20T22:00:00Z".to_owned();
                (format!("{} is no time of RFC 3339", quoted(text)), remedy)
            });
        }
    }

    fn number(&mut self, node: &Node, number: &serde_json::Number, schema: &Value, at: &str) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        let (low, high) = match schema["format"].as_str() {
            Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
            _ => (f64::MIN, f64::MAX),
        };
        let least = schema["minimum"].as_f64().unwrap_or(low);
        let most = schema["maximum"].as_f64().unwrap_or(high);
        self.require(value >= least, node.place, at, || {
            (format!("{number} is too small"), format!("give at least {least}"))
        });
        self.require(value <= most, node.place, at, || {
            (format!("{number} is too large"), format!("give at most {most}"))
        });
    }
}

/// The field of a rule about the whole object, whose message begins with it.
fn of_root(message: &str) -> String {
    message
        .split_once(": ")
        .map(|(field, _)| field)
        .filter(|field| field.starts_with("metadata"))
        .unwrap_or_default()
        .to_owned()
}

/// The number, where it is a whole one.
fn whole(number: &serde_json::Number) -> Option<f64> {
    number.as_f64().filter(|value| value.fract() == 0.0)
}

/// What is found where another type is wanted, and what to write instead.
fn another_type(node: &Node, wanted: &str) -> (String, String) {
    let article =
        |kind: &str| if kind.starts_with(['a', 'i', 'o']) { format!("an {kind}") } else { format!("a {kind}") };
    let found = match &node.kind {
        Kind::Null => "null",
        Kind::Bool(_) => "a boolean",
        Kind::Number(_) => "a number",
        Kind::Text(_) => "a string",
        Kind::List(_) => "an array",
        Kind::Object(_) => "an object",
    };
    match &node.written {
        Some(written) if wanted == "string" && !written.is_empty() => (
            format!("this is {found} and no string: YAML reads {} without quotes so", quoted(written)),
            format!("write {written:?} with quotes"),
        ),
        _ => (format!("this is {found} and no {wanted}"), format!("write {}", article(wanted))),
    }
}

/// A text as messages show it.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A moment as the API server takes it.
fn is_moment(text: &str) -> bool {
    let form = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$";
    select::matches(form, text).unwrap_or(false) && text.parse::<jiff::Timestamp>().is_ok()
}
