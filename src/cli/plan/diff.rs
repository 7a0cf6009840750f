//! PURE. What differs between two plans, field by field; steps and triggers are told apart by their names.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Difference {
    /// Such as `steps[migrate].timeout`.
    pub field: String,
    /// None: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// None: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

/// All differences, in the order of the fields.
pub(crate) fn differences(before: &Value, now: &Value) -> Vec<Difference> {
    let mut all = vec![];
    compare("", Some(before), Some(now), &mut all);
    all
}

fn compare(field: &str, before: Option<&Value>, now: Option<&Value>, all: &mut Vec<Difference>) {
    if before == now {
        return;
    }
    match (before, now) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let inner = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                compare(&inner, a.get(key), b.get(key), all);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => match (named(a), named(b)) {
            (Some(a), Some(b)) => {
                let order = a.iter().chain(b.iter().filter(|(name, _)| !a.iter().any(|(n, _)| n == name)));
                for (name, _) in order {
                    let of =
                        |items: &[(&str, &Value)]| items.iter().find(|(n, _)| n == name).map(|(_, v)| (*v).clone());
                    compare(&format!("{field}[{name}]"), of(&a).as_ref(), of(&b).as_ref(), all);
                }
            }
            _ => all.push(difference(field, before, now)),
        },
        _ => all.push(difference(field, before, now)),
    }
}

fn difference(field: &str, before: Option<&Value>, now: Option<&Value>) -> Difference {
    Difference { field: field.to_owned(), before: before.cloned(), now: now.cloned() }
}

/// The items with their names, where all of them have one and no two the same.
fn named(items: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named: Option<Vec<(&str, &Value)>> = items.iter().map(|i| Some((i.get("name")?.as_str()?, i))).collect();
    let named = named?;
    let names: BTreeSet<&str> = named.iter().map(|(name, _)| *name).collect();
    (names.len() == named.len()).then_some(named)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_compared_by_their_names() {
        let before =
            json!({"release": {"version": "1"}, "steps": [{"name": "a", "timeout": "1m"}, {"name": "b", "x": [1]}]});
        let now = json!({"release": {"version": "2"}, "steps": [{"name": "c"}, {"name": "a", "timeout": "2m"}]});
        let found: Vec<(String, bool, bool)> =
            differences(&before, &now).into_iter().map(|d| (d.field, d.before.is_some(), d.now.is_some())).collect();
        let wanted = [
            ("release.version", true, true),
            ("steps[a].timeout", true, true),
            ("steps[b]", true, false),
            ("steps[c]", false, true),
        ];
        assert_eq!(found, wanted.map(|(f, a, b)| (f.to_owned(), a, b)));
        assert_eq!(differences(&before, &before), []);
    }
}
