//! PURE DATA. What is never shown: values on their way into the run's Secret, and texts that take values of Secrets in only
//! when they are sent.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::step::KeyRef;
use crate::api::{LABEL_CUTOVER, LABEL_RUN};

/// Values by the key that each gets in the run's Secret. Printed are the keys alone (P9).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(BTreeMap<String, String>);

impl Hidden {
    /// Adds a value.
    pub fn insert(&mut self, key: String, value: String) {
        self.0.insert(key, value);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, for whoever writes them into the Secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// What this key of a Secret holds, escaped as its place wants.
    Secret(KeyRef),
}

/// Where a sealed text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header of this name.
    Header(String),
    /// The value of the form field that stands here.
    Form(usize),
    /// The content of JSON strings in the body.
    Body,
    /// The whole URL.
    Url,
    /// The cookies of a session, for requests to this place. Each piece is a [`Jar`].
    Cookies(String),
}

/// What an answer has set, as the run's Secret holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jar {
    /// The place that set it.
    pub scope: String,
    /// What was asked for there.
    pub path: String,
    pub at: jiff::Timestamp,
    /// Each `Set-Cookie`.
    pub set: Vec<String>,
}

/// A text of a request that whoever sends it puts together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub place: Place,
    pub text: Vec<Piece>,
}

impl Sealed {
    /// The Secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &KeyRef> {
        self.text.iter().filter_map(|piece| match piece {
            Piece::Secret(key) => Some(key),
            Piece::Text(_) => None,
        })
    }
}

/// The Secret of a run, holding these.
pub fn manifest(name: &str, cutover: &str, run_uid: &str, data: Map<String, Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "labels": {LABEL_CUTOVER: cutover, LABEL_RUN: run_uid}},
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_printed() {
        let mut hidden = Hidden::default();
        hidden.insert("token".into(), "canary".into());
        assert_eq!(format!("{hidden:?}"), r#"{"token"}"#);
    }
}
