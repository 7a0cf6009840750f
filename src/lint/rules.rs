//! PURE. The CEL rules of the definitions, evaluated as the API server does: `x-kubernetes-validations` of a schema over the
//! value that it describes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value};

use crate::plan::pattern::Pattern;

/// What of a schema says how a value looks to a rule.
const SHAPE: [&str; 4] = ["type", "format", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"];
const VALIDATIONS: &str = "x-kubernetes-validations";

/// Rules that were compiled: many fields have the same ones, and most manifests use few.
#[derive(Default)]
pub(super) struct Rules {
    validator: Validator,
    compiled: HashMap<String, CompiledSchema>,
    patterns: HashMap<String, Option<Pattern>>,
}

/// A rule that does not hold.
pub(super) struct Broken {
    /// Below the value; empty where it is about the value itself.
    pub field: String,
    pub message: String,
}

impl Rules {
    /// The rules of this schema, not those of schemas in it, that do not hold for `value`.
    pub fn broken(&mut self, value: &Value, schema: &Value) -> Vec<Broken> {
        let Some(rules) = schema.get(VALIDATIONS) else { return vec![] };
        let mut alone = shape(schema);
        if let Value::Object(alone) = &mut alone {
            alone.insert(VALIDATIONS.into(), rules.clone());
        }
        let compiled = match self.compiled.entry(alone.to_string()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(compile_schema(&alone)),
        };
        let broken = self.validator.validate_compiled(compiled, value, None).err();
        let broken = broken.into_iter().flat_map(kube::core::cel::ValidationErrors::into_vec);
        broken
            .map(|error| Broken { field: field(rules, &error.message, error.field_path), message: error.message })
            .collect()
    }
}

impl Rules {
    /// Whether a text is of the form that a definition wants.
    pub fn matches(&mut self, pattern: &str, text: &str) -> bool {
        let known = self.patterns.contains_key(pattern);
        if !known {
            self.patterns.insert(pattern.to_owned(), Pattern::new(pattern).ok());
        }
        self.patterns.get(pattern).and_then(Option::as_ref).is_some_and(|p| p.is_match(text).unwrap_or(false))
    }
}

/// The rule's own `fieldPath`, where the validator does not give it.
fn field(rules: &Value, message: &str, told: String) -> String {
    let of = rules.as_array().into_iter().flatten().find(|rule| rule["message"].as_str() == Some(message));
    let own = of.and_then(|rule| rule["fieldPath"].as_str()).map(|path| path.trim_start_matches('.').to_owned());
    own.unwrap_or(told)
}

/// A schema without descriptions, bounds and rules.
fn shape(schema: &Value) -> Value {
    let mut out = Map::new();
    for key in SHAPE {
        if let Some(value) = schema.get(key) {
            out.insert(key.into(), value.clone());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            out.insert(key.into(), if inner.is_object() { shape(inner) } else { inner.clone() });
        }
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        out.insert(
            "properties".into(),
            properties.iter().map(|(k, v)| (k.clone(), shape(v))).collect::<Map<_, _>>().into(),
        );
    }
    Value::Object(out)
}
