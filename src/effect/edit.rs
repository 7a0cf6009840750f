//! PURE DATA. What is to be written of an object, member by member, for a change to be made.

use serde_json::{Map, Value, json};

/// What a reading of the object says about a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Now {
    /// The object has it.
    Done,
    /// It can never be made: somebody else changed the object.
    Conflict(String),
    /// To be written.
    Edit(Vec<Edit>),
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// JSON pointer.
    pub path: String,
    /// What must stand there; `None`: nothing else of the object may have changed since it was read.
    pub test: Option<Value>,
    /// The new value.
    pub value: Value,
}

/// A map of an object anew, or `metadata` around it where that is missing too.
pub(super) fn member(object: &Value, path: &str, map: Map<String, Value>) -> Edit {
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
    let value = Value::Object(map);
    if object.pointer(parent).is_some() {
        return Edit { path: path.into(), test: None, value };
    }
    Edit { path: parent.into(), test: None, value: json!({ key: value }) }
}
