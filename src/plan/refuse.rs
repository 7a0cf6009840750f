//! PURE. Refusals: what is wrong with a Cutover, where, and what to write instead. And what this version does not do yet.

use std::fmt;

use serde_json::Value;

pub(super) use crate::api::unbuilt::Of;
use crate::api::unbuilt::UNBUILT;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where, such as `spec.phases.prepare.steps[ready].http.expect[0]`.
    pub field: String,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.message, self.remedy)
    }
}

/// All refusals of a Cutover, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Refusal { field: field.into(), message: message.into(), remedy: remedy.into() });
    }

    /// Adds one unless `ok`.
    pub(crate) fn require(
        &mut self,
        ok: bool,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !ok {
            self.add(field, message, remedy);
        }
    }
}

/// How an entry of a list is shown in a field path: by its name, or by its place where it has none.
pub(super) fn label(name: &str, place: usize) -> String {
    if name.is_empty() { place.to_string() } else { name.to_owned() }
}

/// The same for an entry that is not read yet, of the list at `at`: only steps, triggers and follow-ups are shown by name.
pub(super) fn entry_label(entry: &Value, place: usize, at: &str) -> String {
    list_label(entry["name"].as_str().unwrap_or_default(), place, at)
}

/// The same, by the name that the entry has.
pub(crate) fn list_label(name: &str, place: usize, at: &str) -> String {
    let named = ["steps", "triggers", "followUp"].iter().any(|list| at.ends_with(&format!(".{list}")));
    label(if named { name } else { "" }, place)
}

/// Refuses what `object`, found at `at`, uses of the fields that are not built yet.
pub(super) fn not_yet(of: Of, object: &Value, at: &str, refusals: &mut Refusals) {
    for (_, path, remedy) in UNBUILT.iter().filter(|(kind, ..)| *kind == of) {
        let (path, wanted) = path.split_once('=').map_or((*path, None), |(p, w)| (p, Some(w)));
        for (field, value) in lookup(object, path, at) {
            let used = match (value, wanted) {
                (value, Some(wanted)) => value == wanted,
                (Value::Null | Value::Bool(false), None) => false,
                (Value::Array(list), None) => !list.is_empty(),
                _ => true,
            };
            if used {
                let what = wanted.map_or_else(String::new, |w| format!(" {w}"));
                let name = path.rsplit('.').next().unwrap_or(path);
                refusals.add(field, format!("this version does not do {name}{what} yet"), *remedy);
            }
        }
    }
}

/// Every value that a dotted path leads to, with the path to it.
fn lookup<'v>(object: &'v Value, path: &str, at: &str) -> Vec<(String, &'v Value)> {
    let mut found = vec![(at.to_owned(), object)];
    for key in path.split('.') {
        let (key, each) = key.strip_suffix("[]").map_or((key, false), |k| (k, true));
        let mut next = vec![];
        for (field, value) in found {
            let Some(value) = value.get(key) else { continue };
            let field = format!("{field}.{key}");
            match value.as_array() {
                Some(list) if each => next.extend(list.iter().enumerate().map(|(i, v)| (format!("{field}[{i}]"), v))),
                _ => next.push((field, value)),
            }
        }
        found = next;
    }
    found
}

/// The rows of [`UNBUILT`] that none of `found` came from.
#[cfg(test)]
pub(super) fn unseen(found: &[Refusal]) -> Vec<&'static str> {
    let hit = |path: &str, remedy: &str| {
        let end = path.split_once('=').map_or(path, |(p, _)| p);
        let last = end.rsplit("[]").next().unwrap_or(end);
        found
            .iter()
            .any(|r| r.remedy == remedy && r.field.ends_with(last) && r.message.starts_with("this version does not do"))
    };
    UNBUILT.iter().filter(|(_, path, remedy)| !hit(path, remedy)).map(|(_, path, _)| *path).collect()
}
