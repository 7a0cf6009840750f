//! The fields of the API that this version refuses: one table for the resolver and for the descriptions in the definitions.

use serde_json::Value;

/// What kind of object a row of [`UNBUILT`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// `spec`.
    Spec,
    /// A step, a step of a suite, or an undo.
    Step,
    /// A trigger.
    Trigger,
}

/// The fields of the API that this version refuses, since it would otherwise have to skip them. Whoever builds one deletes
/// its line, and the marks in the definitions go with it. `[]` stands for every entry of a list, `=X` for that value alone; false and empty lists count as absent.
pub const UNBUILT: &[(Of, &str, &str)] = &[(Of::Spec, "rollback.keepPodLogs", "keep logs by the cluster's own means")];

/// Marks each of these fields in the schema of a Cutover's spec, so that `kubectl explain` says it too.
///
/// # Errors
/// The first row whose field the schema does not have.
pub(super) fn mark(spec: &mut Value) -> Result<(), &'static str> {
    for (of, path, remedy) in UNBUILT {
        let keys: Vec<&str> = path.split('.').collect();
        let text = format!(" This version refuses it: {remedy}.");
        let marked = match of {
            Of::Spec => note(spec, &keys, &text),
            Of::Step => everywhere(spec, &["job", "http"], &keys, &text),
            Of::Trigger => everywhere(spec, &["metric", "probe"], &keys, &text),
        };
        if marked == 0 {
            return Err(path);
        }
    }
    Ok(())
}

/// Marks the field in every object that has these fields; how often it did.
fn everywhere(schema: &mut Value, having: &[&str], keys: &[&str], text: &str) -> usize {
    let properties = schema.get("properties").and_then(Value::as_object);
    let here = properties.is_some_and(|fields| having.iter().all(|key| fields.contains_key(*key)));
    let mut marked = if here { note(schema, keys, text) } else { 0 };
    for key in ["items", "additionalProperties"] {
        marked += schema.get_mut(key).map_or(0, |inner| everywhere(inner, having, keys, text));
    }
    let inner = schema.get_mut("properties").and_then(Value::as_object_mut);
    marked + inner.map_or(0, |fields| fields.values_mut().map(|f| everywhere(f, having, keys, text)).sum())
}

/// Adds `text` to the description of the field at `keys`; that of the map where the field is a key of one.
fn note(schema: &mut Value, keys: &[&str], text: &str) -> usize {
    let Some((key, rest)) = keys.split_first() else { return 0 };
    let (name, each) = key.strip_suffix("[]").map_or((*key, false), |name| (name, true));
    let text = match (schema.get("additionalProperties").is_some(), schema.get("description")) {
        (true, Some(Value::String(about))) => {
            let about = format!("{about} `{name}`:{text}");
            schema["description"] = Value::String(about);
            return 1;
        }
        _ => text,
    };
    let Some(mut field) = schema.get_mut("properties").and_then(|fields| fields.get_mut(name)) else { return 0 };
    if rest.is_empty() {
        let about = field["description"].as_str().unwrap_or_default();
        field["description"] = Value::String(format!("{about}{text}"));
        return 1;
    }
    if each {
        match field.get_mut("items") {
            Some(items) => field = items,
            None => return 0,
        }
    }
    note(field, rest, text)
}
