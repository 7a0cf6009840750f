//! PURE. Evidence within its bound: at most 1 KiB a step (DESIGN: conventions).

use serde_json::{Map, Value};

/// Most bytes of a step's evidence.
pub const MAX: usize = 1024;

/// The evidence, shortened until it fits: first its texts, then its later fields.
pub fn fit(value: Value) -> Value {
    if size(&value) <= MAX {
        return value;
    }
    for limit in [256, 128, 64, 32] {
        let shorter = shorten(&value, limit);
        if size(&shorter) <= MAX {
            return shorter;
        }
    }
    let mut kept = Map::from_iter([("truncated".to_owned(), Value::Bool(true))]);
    if let Value::Object(fields) = shorten(&value, 32) {
        for (key, field) in fields {
            kept.insert(key.clone(), field);
            if size(&Value::Object(kept.clone())) > MAX {
                kept.remove(&key);
            }
        }
    }
    Value::Object(kept)
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

fn shorten(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(s) => Value::String(crate::journal::short(s, limit)),
        Value::Array(list) => Value::Array(list.iter().map(|v| shorten(v, limit)).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), shorten(v, limit))).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_shortened_before_fields_are_dropped() {
        let small = json!({"exitCode": 0});
        assert_eq!(fit(small.clone()), small);
        let long = fit(json!({"exitCode": 1, "log": ["x".repeat(2000), "y"]}));
        assert!(size(&long) <= MAX && long["exitCode"] == 1 && long["log"][1] == "y", "{long}");
        let many: Value = (0..400).map(|i| (format!("check-{i:03}"), json!("Succeeded"))).collect::<Map<_, _>>().into();
        let cut = fit(many);
        assert!(size(&cut) <= MAX && cut["truncated"] == true && cut["check-000"] == "Succeeded", "{cut}");
    }
}
