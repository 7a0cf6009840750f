//! The reference of all fields, `docs/api.md` and a page for each kind: derived from the definitions, so that it says what
//! the API server checks.
//!
//! Every object is a section with a table of its fields. The same object stands in many places (a request
//! in steps, triggers and undos): it is described once, where it has descriptions and its path is shortest,
//! and linked from everywhere else. Pure: schemas in, text out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::condition::{Word, reasons, types};
use super::crd::{CrdError, all};

/// The reference as Markdown: the path of each page below `docs/`, and its text. The first is the list of the others.
///
/// # Errors
/// When the definitions cannot be made.
pub fn pages() -> Result<Vec<(String, String)>, CrdError> {
    let mut list = String::from(HEAD);
    let mut pages = vec![];
    for crd in all()? {
        let crd = serde_json::to_value(&crd).map_err(|e| CrdError::Schema("reference".into(), e))?;
        let names = &crd["spec"]["names"];
        let kind = names["kind"].as_str().unwrap_or_default();
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let short: Vec<&str> = names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut text = String::from(GENERATED);
        let _ = write!(
            text,
            "# {kind}\n\n{}\n\n`apiVersion: {}/{}`, {}; `kubectl get {}`{}.\n",
            description(schema),
            crd["spec"]["group"].as_str().unwrap_or_default(),
            version["name"].as_str().unwrap_or_default(),
            if crd["spec"]["scope"] == "Namespaced" { "namespaced" } else { "of the whole cluster" },
            names["plural"].as_str().unwrap_or_default(),
            short.first().map(|s| format!(", short `{s}`")).unwrap_or_default(),
        );
        columns(&mut text, version);
        Kind::new(kind, schema).write(&mut text, schema);
        let page = format!("api/{}.md", kind.to_lowercase());
        let _ = writeln!(list, "- [{kind}]({page}): {}", description(schema));
        pages.push((page, text));
    }
    pages.insert(0, ("api.md".to_owned(), list));
    pages.push(("conditions.md".to_owned(), conditions()));
    Ok(pages)
}

/// Conditions and reasons, with what they mean and what to do.
fn conditions() -> String {
    let mut text = String::from(GENERATED);
    text.push_str(CONDITIONS);
    for (title, words) in [("Conditions", types::ALL), ("Reasons", reasons::ALL)] {
        let _ = write!(text, "\n## {title}\n| word | what it means | what to do |\n|---|---|---|\n");
        for Word { name, means, remedy } in words {
            let _ = writeln!(text, "| `{name}` | {means} | {remedy} |");
        }
    }
    text
}

const CONDITIONS: &str = "# Conditions and reasons

What `kubectl describe cutover NAME` shows under *Conditions*, and the words that Events and log lines share with it. The
message of a condition says more than the word: which Service, step or trigger, since when, and mostly the next command.
";

const GENERATED: &str = "<!-- Written from the types by `make crds`; changes by hand are overwritten. -->\n";

const HEAD: &str = "<!-- Written from the types by `make crds`; changes by hand are overwritten. -->
Every field of each kind, as the API server checks it. For what a manifest looks like see [manifest.md](manifest.md).

A field with **required** must be given. *Rules* are CEL expressions that the API server evaluates when the object is
written; `self` is the object of the section, or the field where a field is named.

";

/// The objects of one kind, and where each is described.
struct Kind {
    kind: String,
    homes: BTreeMap<String, Home>,
}

#[derive(Clone)]
struct Home {
    path: String,
    descriptions: usize,
}

impl Kind {
    fn new(kind: &str, schema: &Value) -> Self {
        let mut found = Self { kind: kind.to_owned(), homes: BTreeMap::new() };
        found.visit(schema, "");
        found
    }

    /// Finds the best place to describe each object: with most descriptions, then the shortest path.
    fn visit(&mut self, schema: &Value, path: &str) {
        if !path.is_empty() && has_fields(schema) {
            let here = Home { path: path.to_owned(), descriptions: count(schema) };
            let better = |home: &Home| (here.descriptions, home.path.len()) > (home.descriptions, here.path.len());
            match self.homes.get(&shape(schema)) {
                Some(home) if !better(home) => {}
                _ => {
                    self.homes.insert(shape(schema), here);
                }
            }
        }
        for (name, field) in fields(schema) {
            let (inner, suffix) = element(field);
            self.visit(inner, &join(path, name, suffix));
        }
    }

    fn write(&self, text: &mut String, schema: &Value) {
        for part in ["spec", "status"] {
            if let Some(inner) = schema.pointer(&format!("/properties/{part}")) {
                self.section(text, inner, part);
            }
        }
    }

    /// An object's section, then those of the objects in it that are described here.
    fn section(&self, text: &mut String, schema: &Value, path: &str) {
        let _ = write!(text, "\n## {} `{path}`\n\n", self.kind);
        if !description(schema).is_empty() {
            let _ = write!(text, "{}\n\n", description(schema));
        }
        rules(text, schema);
        text.push_str("| field | type | default and bounds | meaning |\n|---|---|---|---|\n");
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut below = vec![];
        for (name, field) in fields(schema) {
            let (inner, suffix) = element(field);
            let own = join(path, name, suffix);
            let home = has_fields(inner).then(|| self.homes.get(&shape(inner))).flatten();
            let link = home.map(|home| format!("[`{}`](#{})", home.path, self.anchor(&home.path)));
            if home.is_some_and(|home| home.path == own) {
                below.push((inner, own));
            }
            let must = if required.contains(&name.as_str()) { "**required**" } else { "" };
            let cells = [
                format!("`{name}`"),
                kind_of(field, link.as_deref()),
                [must.to_owned(), bounds(field)].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("; "),
                meaning(field, inner),
            ];
            let _ = writeln!(text, "| {} |", cells.map(|c| cell(&c)).join(" | "));
        }
        for (inner, path) in below {
            self.section(text, inner, &path);
        }
    }

    /// The anchor that GitHub and others give to the section's heading.
    fn anchor(&self, path: &str) -> String {
        let heading = format!("{} {path}", self.kind).to_lowercase();
        heading.chars().filter_map(|c| if c == ' ' { Some('-') } else { c.is_alphanumeric().then_some(c) }).collect()
    }
}

fn columns(text: &mut String, version: &Value) {
    let columns: Vec<String> = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            let wide = if c["priority"].as_i64().unwrap_or(0) > 0 { " (wide)" } else { "" };
            format!("{} `{}`{wide}", c["name"].as_str().unwrap_or_default(), c["jsonPath"].as_str().unwrap_or_default())
        })
        .collect();
    if !columns.is_empty() {
        let _ = write!(text, "\nColumns: {}.\n", columns.join(", "));
    }
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn has_fields(schema: &Value) -> bool {
    fields(schema).next().is_some()
}

/// What a list or map holds, and how its path is written.
fn element(field: &Value) -> (&Value, &'static str) {
    if let Some(items) = field.get("items") {
        return (items, "[]");
    }
    match field.get("additionalProperties") {
        Some(inner) if inner.is_object() => (inner, "{}"),
        _ => (field, ""),
    }
}

fn join(path: &str, name: &str, suffix: &str) -> String {
    if path.is_empty() { format!("{name}{suffix}") } else { format!("{path}.{name}{suffix}") }
}

/// A schema without its descriptions: two that are alike so are the same object.
fn shape(schema: &Value) -> String {
    fn bare(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                // A field may be called `description`; then it is a schema, not a text.
                let kept = map.iter().filter(|(k, v)| *k != "description" || !v.is_string());
                Value::Object(kept.map(|(k, v)| (k.clone(), bare(v))).collect::<Map<_, _>>())
            }
            Value::Array(list) => Value::Array(list.iter().map(bare).collect()),
            other => other.clone(),
        }
    }
    bare(schema).to_string()
}

/// How many texts a schema has.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(map) => {
            map.iter().map(|(k, v)| if k == "description" && v.is_string() { 1 } else { count(v) }).sum()
        }
        Value::Array(list) => list.iter().map(count).sum(),
        _ => 0,
    }
}

fn kind_of(field: &Value, link: Option<&str>) -> String {
    let name = field.get("type").and_then(Value::as_str).unwrap_or("any");
    let format = field.get("format").and_then(Value::as_str);
    let free = field.get("x-kubernetes-preserve-unknown-fields").is_some();
    if field.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".into();
    }
    match (name, field.get("items"), field.get("additionalProperties")) {
        ("array", Some(items), _) => format!("list of {}", kind_of(items, link)),
        ("object", _, Some(inner)) if inner.is_object() => format!("map to {}", kind_of(inner, link)),
        ("object", ..) if free && link.is_none() => "object, any fields".into(),
        ("object", ..) => link.map_or_else(|| "object".into(), |l| format!("object {l}")),
        (name, ..) => format.map_or_else(|| name.to_owned(), |f| format!("{name} ({f})")),
    }
}

/// Default and bounds, those of what a list holds included.
fn bounds(field: &Value) -> String {
    let mut found = vec![];
    if let Some(default) = field.get("default") {
        found.push(format!("default `{default}`"));
    }
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        let values: Vec<String> =
            values.iter().map(|v| format!("`{}`", v.as_str().unwrap_or(&v.to_string()))).collect();
        found.push(format!("one of {}", values.join(", ")));
    }
    for (least, most, what) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " entries"),
        ("minProperties", "maxProperties", " entries"),
    ] {
        let number = |key: &str| field.get(key).and_then(Value::as_f64);
        match (number(least), number(most)) {
            (Some(a), Some(b)) => found.push(format!("{a} to {b}{what}")),
            (Some(a), None) => found.push(format!("at least {a}{what}")),
            (None, Some(b)) => found.push(format!("at most {b}{what}")),
            (None, None) => {}
        }
    }
    if let Some(pattern) = field.get("pattern").and_then(Value::as_str) {
        found.push(format!("matches `{pattern}`"));
    }
    if let Some(keys) = field.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
        found.push(format!("unique by `{}`", keys.join("`, `")));
    }
    if field.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set") {
        found.push("no entry twice".into());
    }
    let (inner, suffix) = element(field);
    if !suffix.is_empty() && !has_fields(inner) {
        let each = bounds(inner);
        if !each.is_empty() {
            found.push(format!("each {each}"));
        }
    }
    found.join("; ")
}

/// The description and the rules of a field that has no section of its own.
fn meaning(field: &Value, inner: &Value) -> String {
    let mut text = description(field).to_owned();
    let own = std::iter::once(field).chain((!std::ptr::eq(field, inner) && !has_fields(inner)).then_some(inner));
    // An object's own rules stand in its section.
    for schema in own.filter(|s| !has_fields(s)) {
        for (rule, message) in each_rule(schema) {
            let _ = write!(text, " *Rule:* `{rule}`{}.", message.map(|m| format!(" ({m})")).unwrap_or_default());
        }
    }
    text.trim().to_owned()
}

fn each_rule(schema: &Value) -> impl Iterator<Item = (&str, Option<&str>)> {
    let list = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|r| Some((r["rule"].as_str()?, r["message"].as_str())))
}

fn rules(text: &mut String, schema: &Value) {
    let mut any = false;
    for (rule, message) in each_rule(schema) {
        any = true;
        let _ = writeln!(text, "- *Rule:* `{rule}`{}", message.map(|m| format!(": {m}")).unwrap_or_default());
    }
    if any {
        text.push('\n');
    }
}

/// A table cell: one line, its bars escaped, code included.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_that_stands_in_two_places_is_described_once() {
        let step = |text: Option<&str>| {
            let mut name = json!({"type": "string", "maxLength": 40});
            if let Some(text) = text {
                name["description"] = json!(text);
            }
            json!({"type": "array", "maxItems": 3, "items": {"type": "object", "required": ["name"], "properties": {"name": name},
                "x-kubernetes-validations": [{"rule": "self.name != 'a|b'", "message": "no"}]}})
        };
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "object", "properties": {"steps": step(None)}},
            "prepare": {"type": "object", "properties": {"steps": step(Some("Its name."))}},
        }}}});
        let mut text = String::new();
        Kind::new("Thing", &schema).write(&mut text, &schema);
        assert_eq!(text.matches("Its name.").count(), 1);
        assert_eq!(text.matches("## Thing `spec.prepare.steps[]`").count(), 1, "{text}");
        assert!(!text.contains("## Thing `spec.a.steps[]`"));
        assert!(
            text.contains("list of object [`spec.prepare.steps[]`](#thing-specpreparesteps) | at most 3 entries"),
            "{text}"
        );
        assert!(text.contains("| `name` | string | **required**; at most 40 characters | Its name. |"), "{text}");
        assert!(text.contains("- *Rule:* `self.name != 'a|b'`: no"));
    }
}
