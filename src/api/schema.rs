//! Schemas that no Rust type can derive: bounded names, free-form objects, maps and lists.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A name of at most 40 characters, as for Cutovers and steps. A pattern that wants a character needs no shortest length beside
/// it, here and below: the definitions are large.
pub fn name40(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 40, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

/// The name of an object of the namespace.
pub fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"})
}

/// The same where `${target}` and `${old}` may stand for the names of the sides.
pub fn named_by_side(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 253, "pattern": r"^([a-z0-9.-]|\$\{(target|old)\})+$"})
}

/// The name of a source of metrics in the operator's configuration.
pub fn source_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "maxLength": 253,
        "pattern": "^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$",
    })
}

/// The name of a capture: an identifier, since CEL uses it.
pub fn ident(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 40, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
}

/// An object kept as it is (a pod template, a resolved plan).
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// At most eight objects kept as they are.
pub fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 8,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// A selector fragment or label map of at most eight entries.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "minProperties": 1, "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// Labels of a Job's pod, at most sixteen.
pub fn pod_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// A decimal number written as text, since the API holds no floats.
pub fn decimal(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 32, "pattern": r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$"})
}

/// A whole number or a percentage (`100%`).
pub fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 8, "pattern": r"^([0-9]{1,5}|([0-9]|[1-9][0-9]|100)%)$"})
}
