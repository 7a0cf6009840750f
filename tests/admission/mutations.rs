//! A manifest with one thing changed, again and again.

use serde_json::{Value, json};

/// The manifest with one field after the other taken out, or replaced by something else.
pub fn mutations(whole: &Value) -> Vec<(String, Value)> {
    let mut paths = vec![];
    walk(whole, "", &mut paths);
    let others = [json!(null), json!(5), json!("x"), json!([]), json!({"a": 1}), json!("A b")];
    let mut all = vec![];
    for path in paths.iter().filter(|path| path.starts_with("/spec")) {
        let (parent, key) = path.rsplit_once('/').unwrap_or_default();
        let mut without = whole.clone();
        match without.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(key)),
            Some(Value::Array(list)) => drop(list.remove(key.parse().unwrap_or_default())),
            _ => continue,
        }
        all.push((format!("{path} is left out"), without));
        for other in &others {
            let mut changed = whole.clone();
            if let Some(place) = changed.pointer_mut(path) {
                *place = other.clone();
            }
            all.push((format!("{path} = {other}"), changed));
        }
        let mut more = whole.clone();
        if let Some(Value::Object(fields)) = more.pointer_mut(path) {
            fields.insert("unheardOf".into(), json!(1));
            all.push((format!("{path} has one more"), more));
        }
    }
    all
}

fn walk(value: &Value, at: &str, paths: &mut Vec<String>) {
    paths.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .filter(|(key, _)| !key.contains('/'))
                .for_each(|(key, v)| walk(v, &format!("{at}/{key}"), paths));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| walk(v, &format!("{at}/{i}"), paths)),
        _ => {}
    }
}
