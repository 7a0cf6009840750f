//! The fields of a schema, told one after another while its text is read: a schema of half a megabyte is never held.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Who is told: kind and path.
type Tell<'t> = &'t mut dyn FnMut(&str, &str);

/// Where the reading stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the document of a group version: `components.schemas`.
    Document,
    Components,
    Schemas,
    /// In a definition: `spec.versions[].schema.openAPIV3Schema`.
    Definition,
    DefinitionSpec,
    Version,
    Validation,
    /// In a schema, and in its map of fields.
    Schema,
    Properties,
    /// In an entry of the list of selectable fields.
    Selectable,
}

struct Walk<'a, 't> {
    at: At,
    kind: &'a str,
    path: &'a str,
    tell: Tell<'t>,
}

/// Tells the fields of each schema of an API server's document, with the kind.
///
/// # Errors
/// When the text is no JSON.
pub(crate) fn of_document(text: &str, tell: &mut dyn FnMut(&str, &str)) -> Result<(), serde_json::Error> {
    Walk { at: At::Document, kind: "", path: "", tell }.deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// Tells the fields of a CustomResourceDefinition.
///
/// # Errors
/// When the text is no JSON.
pub(crate) fn of_definition(text: &str, tell: &mut dyn FnMut(&str)) -> Result<(), serde_json::Error> {
    let mut plain = |_: &str, path: &str| tell(path);
    let walk = Walk { at: At::Definition, kind: "", path: "", tell: &mut plain };
    walk.deserialize(&mut serde_json::Deserializer::from_str(text))
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a schema")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let (kind, path) = (self.kind, self.path);
            let next = |at, path| Some((at, path));
            let below = match (self.at, key.as_str()) {
                (At::Document, "components") => next(At::Components, String::new()),
                (At::Components, "schemas") => next(At::Schemas, String::new()),
                (At::Schemas, _) => {
                    let kind = key.rsplit('.').next().unwrap_or_default();
                    map.next_value_seed(Walk { at: At::Schema, kind, path: "", tell: &mut *self.tell })?;
                    continue;
                }
                (At::Definition, "spec") => next(At::DefinitionSpec, String::new()),
                (At::DefinitionSpec, "versions") => next(At::Version, String::new()),
                (At::Version, "schema") => next(At::Validation, String::new()),
                (At::Validation, "openAPIV3Schema") => next(At::Schema, String::new()),
                (At::Version, "selectableFields") | (At::Schema, "x-kubernetes-selectable-fields") => {
                    next(At::Selectable, String::new())
                }
                (At::Selectable, "jsonPath" | "fieldPath") => {
                    let field: String = map.next_value()?;
                    (self.tell)(kind, &format!("selectable:{}", field.trim_start_matches('.')));
                    continue;
                }
                (At::Schema, "properties") => next(At::Properties, path.to_owned()),
                (At::Schema, "items") => next(At::Schema, format!("{path}[]")),
                (At::Schema, "additionalProperties") => next(At::Schema, format!("{path}[*]")),
                // Of another place in the document.
                (At::Properties, "metadata") if path.is_empty() => None,
                (At::Properties, name) => {
                    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    (self.tell)(kind, &path);
                    next(At::Schema, path)
                }
                _ => None,
            };
            match below {
                Some((at, path)) => map.next_value_seed(Walk { at, kind, path: &path, tell: &mut *self.tell })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { at, kind, path, tell } = self;
        while list.next_element_seed(Walk { at, kind, path, tell: &mut *tell })?.is_some() {}
        Ok(())
    }

    // Where a schema may be a word: `additionalProperties: true`.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_with_their_paths() {
        let text = r#"{"components": {"schemas": {"dev.x.v1.Thing": {
            "properties": {
                "metadata": {"allOf": [{"properties": {"no": {}}}]},
                "spec": {"properties": {"list": {"items": {"properties": {"a": {"type": "string"}}}},
                    "map": {"additionalProperties": {"properties": {"b": {"additionalProperties": true}}}}}}},
            "x-kubernetes-selectable-fields": [{"fieldPath": "spec.list"}]}}}, "paths": [1, null, {"properties": {}}]}"#;
        let mut told = vec![];
        of_document(text, &mut |kind, path| told.push(format!("{kind} {path}"))).expect("read");
        let fields = ["spec", "spec.list", "spec.list[].a", "spec.map", "spec.map[*].b", "selectable:spec.list"];
        assert_eq!(told, fields.map(|f| format!("Thing {f}")));
    }
}
