//! PURE. Takes secrets out of what a bundle holds. A value that may be one is replaced by a short hash, so that two equal
//! values can still be told to be equal.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Members whose texts are values of the user's: of the environment, of a header, of a form, of a Secret or ConfigMap.
const HOLDERS: [&str; 6] = ["env", "headers", "header", "form", "set", "query"];
/// Maps of values.
const MAPS: [&str; 3] = ["data", "stringData", "binaryData"];
/// Members that are no help and long.
const DROPPED: [&str; 2] = ["managedFields", "kubectl.kubernetes.io/last-applied-configuration"];

/// Names of options, variables and members that hold a credential.
static NAMED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)(passw(or)?d|secret|token|api[-_]?key|credential|authorization|cookie)").ok());
/// Credentials within a text: `password=…`, `Bearer …`, `://user:password@`.
static INSIDE: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        r#"(?i)((?:[a-z0-9_-]*)(?:passw(?:or)?d|secret|token|api[-_]?key|credential)[a-z0-9_-]*["']?\s*[=:]\s*["']?)([^\s"',;&]+)"#,
        r"(?i)(bearer\s+|basic\s+)([a-z0-9._~+/=-]{6,})",
        r"(://[^\s/:@]*:)([^\s/@]+)(@)",
    ];
    patterns.iter().filter_map(|p| Regex::new(p).ok()).collect()
});

/// A short hash in place of a value.
pub(crate) fn hashed(value: &str) -> String {
    let hash: String = Sha256::digest(value.as_bytes()).iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("(hidden sha256:{hash})")
}

/// An object without secrets.
pub(crate) fn object(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in DROPPED {
                fields.remove(name);
            }
            for (name, field) in fields.iter_mut() {
                let named = NAMED.as_ref().is_none_or(|r| r.is_match(name));
                match field {
                    Value::String(text) if named || name == "body" => *text = hashed(text),
                    Value::Object(map) if MAPS.contains(&name.as_str()) => map.values_mut().for_each(hide),
                    Value::Array(items) if HOLDERS.contains(&name.as_str()) => items.iter_mut().for_each(held),
                    Value::Object(map) if HOLDERS.contains(&name.as_str()) => map.values_mut().for_each(hide),
                    other => object(other),
                }
            }
        }
        Value::Array(items) => {
            let mut hidden = false;
            for item in items {
                match item {
                    // `--password`, `hunter2`: two words of a command.
                    Value::String(text) if hidden => {
                        *text = hashed(text);
                        hidden = false;
                    }
                    Value::String(text) => {
                        let named = NAMED.as_ref().is_none_or(|r| r.is_match(text));
                        hidden = text.starts_with('-') && !text.contains('=') && named;
                        *text = self::text(text);
                    }
                    other => object(other),
                }
            }
        }
        Value::String(text) => *text = self::text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `{name, value}`: the value is hidden, where it comes from is kept.
fn held(item: &mut Value) {
    match item {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::String(text) if name == "value" => *text = hashed(text),
                    other => object(other),
                }
            }
        }
        other => hide(other),
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *text = hashed(text),
        Value::Null => {}
        other => *other = Value::String(hashed(&other.to_string())),
    }
}

/// A text, such as a line of a log, without what looks like a credential.
pub(crate) fn text(text: &str) -> String {
    INSIDE.iter().fold(text.to_owned(), |text, pattern| {
        let hide = |c: &regex::Captures| {
            let part = |n: usize| c.get(n).map_or("", |m| m.as_str());
            // What was hidden before is not hidden again.
            let shown = if part(2).starts_with("(hidden") { part(2).to_owned() } else { hashed(part(2)) };
            format!("{}{shown}{}", part(1), part(3))
        };
        pattern.replace_all(&text, hide).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_canary_comes_through() {
        let mut all = json!({
            "metadata": {"managedFields": [{"x": "canary-0"}], "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary-1", "note": "plain"}},
            "spec": {
                "containers": [{"env": [{"name": "A", "value": "canary-2"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b"}}}],
                    "args": ["--password", "canary-3", "--token=canary-4", "postgres://joe:canary-5@db/shop", "go"]}],
                "http": {"headers": [{"name": "Authorization", "value": "Bearer canary-6"}], "body": "{\"pin\": \"canary-7\"}"},
                "setEnv": {"set": [{"name": "X", "value": "canary-8"}]},
                "apiToken": "canary-9",
            },
            "data": {"key": "canary-10"},
        });
        object(&mut all);
        let text = all.to_string();
        assert!(!text.contains("canary"), "{text}");
        for kept in ["secretKeyRef", "\"keys\"", "plain", "\"go\"", "@db/shop"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(hashed("a"), hashed("a"));
    }

    #[test]
    fn lines_of_a_log_lose_what_looks_like_a_credential() {
        for line in [
            "DB_PASSWORD=canary",
            "authorization: Bearer canary.canary",
            "GET https://u:canary@host/x",
            "{\"token\": \"canary\"}",
        ] {
            let shown = text(line);
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert_eq!(text("42 rows migrated"), "42 rows migrated");
    }
}
