//! A field of many of which exactly one is given: on the wire a field for each, in Rust an enum.
//!
//! The table of a macro call is the only list. It gives the enum, the fields with their descriptions, their names and the
//! rule that the API server checks.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// An enum that is written as a field named after the variant. Implemented by [`one_of!`] alone.
pub trait Tagged: Sized {
    /// The wire: a field for each variant, of which any number may be given.
    type Fields: DeserializeOwned + JsonSchema + Into<Vec<Self>>;

    /// The names of all fields, in the order of the table.
    fn keys() -> Vec<&'static str>;

    /// The name of the field.
    fn key(&self) -> &'static str;

    /// Writes the field.
    ///
    /// # Errors
    /// Those of the serializer.
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// What was given: one, where the API server has checked its rule. None or several are kept as well, since an object that
/// cannot be decoded would end the watch of all objects of its kind; the resolver refuses it.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOf<T>(Vec<T>);

impl<T> OneOf<T> {
    /// The one that is given.
    ///
    /// # Errors
    /// How many are given, where that is not one.
    pub fn one(&self) -> Result<&T, usize> {
        match self.0.as_slice() {
            [one] => Ok(one),
            others => Err(others.len()),
        }
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// How many are given, where that is not one.
    pub fn one_mut(&mut self) -> Result<&mut T, usize> {
        match self.0.as_mut_slice() {
            [one] => Ok(one),
            others => Err(others.len()),
        }
    }

    /// All that are given.
    pub fn all(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for OneOf<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> From<T> for OneOf<T> {
    fn from(one: T) -> Self {
        Self(vec![one])
    }
}

impl<T: Tagged> OneOf<T> {
    /// The rule for the object that holds the fields. `what` is its message, which the names of the fields complete.
    pub fn rule(what: &str) -> Value {
        let keys = T::keys();
        let given: Vec<String> = keys.iter().map(|key| format!("has(self.{key})")).collect();
        let names = match keys.as_slice() {
            [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
            all => all.concat(),
        };
        json!({
            "rule": format!("[{}].filter(x, x).size() == 1", given.join(", ")),
            "message": format!("{what} {names}"),
        })
    }
}

impl<T: Tagged> Serialize for OneOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for one in &self.0 {
            one.write(&mut map)?;
        }
        map.end()
    }
}

impl<'de, T: Tagged> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not as an `Option` of the enum, which in `flatten` would take an action with a mistake for none.
        T::Fields::deserialize(deserializer).map(|fields| Self(fields.into()))
    }
}

impl<T: Tagged> JsonSchema for OneOf<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::Fields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::Fields::json_schema(generator)
    }
}

/// Makes a [`Tagged`] enum and its fields of a table with a line for each: description, name on the wire, variant, type.
/// `or X` adds the fields of `X`, another such enum, as the variant `Shared`.
macro_rules! one_of {
    (
        $(#[$about:meta])*
        $Enum:ident, $Fields:ident $(, or $Shared:ident)? {
            $( $(#[$doc:meta])* $key:literal $Variant:ident($Type:ty), )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "a Cutover has some hundred at most")]
        pub enum $Enum {
            $(
                /// One of those that may stand in other places too.
                Shared($Shared),
            )?
            $( $(#[$doc])* $Variant($Type), )+
        }

        #[doc = concat!("The fields of [`", stringify!($Enum), "`].")]
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        #[allow(non_snake_case)]
        pub struct $Fields {
            $(
                #[serde(flatten)]
                shared: $crate::api::one_of::OneOf<$Shared>,
            )?
            $( $(#[$doc])* #[serde(default, rename = $key)] $Variant: Option<$Type>, )+
        }

        impl From<$Fields> for Vec<$Enum> {
            fn from(fields: $Fields) -> Self {
                let mut given = vec![];
                $( given.extend(fields.shared.into_iter().map(|x: $Shared| $Enum::Shared(x))); )?
                $( given.extend(fields.$Variant.map($Enum::$Variant)); )+
                given
            }
        }

        impl $crate::api::one_of::Tagged for $Enum {
            type Fields = $Fields;

            fn keys() -> Vec<&'static str> {
                let mut keys = vec![];
                $( keys.extend(<$Shared as $crate::api::one_of::Tagged>::keys()); )?
                keys.extend([$( $key ),+]);
                keys
            }

            fn key(&self) -> &'static str {
                match self {
                    $( Self::Shared(x) => <$Shared as $crate::api::one_of::Tagged>::key(x), )?
                    $( Self::$Variant(_) => $key, )+
                }
            }

            fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $( Self::Shared(x) => <$Shared as $crate::api::one_of::Tagged>::write(x, map), )?
                    $( Self::$Variant(x) => map.serialize_entry($key, x), )+
                }
            }
        }
    };
}

pub(super) use one_of;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::step::{Action, Step, StepAction};
    use crate::api::trigger::{Trigger, Watched};

    fn step(fields: Value) -> serde_json::Result<Step> {
        let mut step = json!({"name": "a"});
        step.as_object_mut().into_iter().for_each(|s| s.extend(fields.as_object().cloned().unwrap_or_default()));
        serde_json::from_value(step)
    }

    #[test]
    fn one_is_told_from_none_and_from_several() {
        let wait = json!({"wait": {"for": "1s"}});
        let one = step(wait.clone()).expect("a step");
        assert!(matches!(one.action.one(), Ok(StepAction::Shared(Action::Wait(_)))));
        assert!(matches!(step(json!({})).expect("a step").action.one(), Err(0)));
        assert!(matches!(step(json!({"wait": null})).expect("a step").action.one(), Err(0)));
        let two = json!({"wait": {"for": "1s"}, "approval": {"roles": [{"name": "qa"}]}});
        let two = step(two).expect("a step");
        assert!(matches!(two.action.one(), Err(2)));
        assert_eq!(serde_json::to_value(&one).ok(), Some(json!({"name": "a", "wait": {"for": "1s"}})));
    }

    #[test]
    fn a_mistake_in_an_action_is_an_error_and_not_no_action() {
        let why = step(json!({"wait": {"for": 7}})).map_err(|e| e.to_string());
        assert!(why.is_err(), "{why:?}");
        let why = step(json!({"suite": {"steps": [{"name": "b", "scale": {"replicas": "many"}}]}}));
        assert!(why.is_err(), "{why:?}");
    }

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let suite = json!({"name": "a", "needs": ["b"], "suite": {"steps": [
            {"name": "c", "setEnv": {"side": "Target", "env": [{"name": "X", "value": "1"}]}},
            {"name": "d", "job": {"template": {"spec": {"a": [1, 2.5, null]}}}},
        ]}, "undo": {"when": "Attempted", "undoes": 1, "restart": {"side": "Target"}}});
        let mut wanted = suite.clone();
        wanted["undo"].as_object_mut().expect("an undo").remove("undoes");
        let read: Step = serde_json::from_value(suite).expect("a step");
        assert_eq!(serde_json::to_value(&read).ok(), Some(wanted));
        let trigger = json!({"name": "t", "logs": {"matches": "x", "moreThan": 2}});
        let read: Trigger = serde_json::from_value(trigger.clone()).expect("a trigger");
        assert!(matches!(read.watches.one(), Ok(Watched::Logs(_))));
        assert_eq!(serde_json::to_value(&read).ok(), Some(trigger));
    }

    #[test]
    fn a_suite_offers_no_suite() {
        let keys = <Action as Tagged>::keys();
        assert!(!keys.contains(&"suite") && <StepAction as Tagged>::keys().len() == keys.len() + 3);
    }
}
