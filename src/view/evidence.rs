//! Evidence in a phrase.

use serde_json::Value;

/// Fields that are in the record but say little on a line.
const LONG: [&str; 4] = ["query", "at", "matrix", "templates"];

/// What a step saw, in a phrase: `exitCode=0, bytes=73400320`.
pub fn phrase(evidence: &Value) -> String {
    match evidence {
        Value::Object(fields) => match (fields.get("passed"), fields.get("of")) {
            (Some(passed), Some(of)) => format!("{passed} of {of} passed"),
            _ => {
                let shown = fields.iter().filter(|(name, _)| !LONG.contains(&name.as_str()));
                let field = |(name, value): (&String, &Value)| match value {
                    Value::Object(_) => phrase(value),
                    _ => format!("{name}={}", phrase(value)),
                };
                shown.map(field).collect::<Vec<_>>().join(", ")
            }
        },
        Value::Array(items) if items.len() > 4 => format!("[{} items]", items.len()),
        Value::Array(items) => format!("[{}]", items.iter().map(phrase).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_is_shortened_to_what_tells() {
        assert_eq!(phrase(&json!({"matrix": {"a": "passed"}, "of": 9, "passed": 8})), "8 of 9 passed");
        assert_eq!(phrase(&json!({"query": "up", "value": 0.5})), "value=0.5");
        assert_eq!(phrase(&json!({"captures": {"id": "x"}, "exitCode": 0})), "id=x, exitCode=0");
    }
}
