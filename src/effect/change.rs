//! PURE. What a change does to an object: whether the object has it already, what stands in its way, or what is to be
//! written. The executor asks it about the object as read live, an action about the object as last seen, so that both
//! judge alike.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::env;
use super::protocol::JsonPatch;

/// On a pod template: which attempt of which step restarted it last.
pub(crate) const RESTARTED_BY: &str = "cutover.dev/restarted-by";

/// A change of one object. Each is made at most once, whoever carries it out and how often: the object itself shows
/// whether it has been made.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A workload's replicas.
    Scale {
        /// The count it must have.
        from: u32,
        /// New value.
        to: u32,
    },
    /// Whether a CronJob is suspended.
    Suspend {
        /// What it must be.
        from: bool,
        /// New value.
        to: bool,
    },
    /// Variables of a container's environment. What they were is kept in an annotation of the same object, written by
    /// the same patch, so that no value leaves the object and none is lost.
    SetEnv {
        /// The container; the first where none is named.
        container: Option<String>,
        /// As in a container: `name` and `value` or `valueFrom`.
        env: Vec<Value>,
        keep: String,
    },
    /// Takes [`Change::SetEnv`] back: each variable that is still the run's, and the annotation.
    UnsetEnv { keep: String },
    /// Drops the annotation of [`Change::SetEnv`] and leaves the environment as it is.
    ForgetEnv { keep: String },
    /// New pods of the same template, by an annotation on it.
    Restart {
        /// `run/step#attempt`.
        stamp: String,
    },
    /// A whole pod template.
    Template {
        /// Hash of the template it must have.
        from: String,
        /// Hash of the new one.
        to: String,
        template: Value,
    },
}

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
    pub value: Value,
}

impl Change {
    /// What kind of change it is, in keys, logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Scale { .. } => "scale",
            Self::Suspend { .. } => "suspend",
            Self::SetEnv { .. } => "set_env",
            Self::UnsetEnv { .. } => "unset_env",
            Self::ForgetEnv { .. } => "forget_env",
            Self::Restart { .. } => "restart",
            Self::Template { .. } => "template",
        }
    }

    /// Whether it changes the pod template, so that new pods replace the old ones.
    pub(crate) const fn rolls_out(&self) -> bool {
        match self {
            Self::Scale { .. } | Self::Suspend { .. } | Self::ForgetEnv { .. } => false,
            Self::SetEnv { .. } | Self::UnsetEnv { .. } | Self::Restart { .. } | Self::Template { .. } => true,
        }
    }

    /// Whether it takes pods away before new ones are there (P13): fewer replicas, or a new template where the strategy
    /// is `Recreate`.
    pub(crate) fn takes_away(&self, object: &Value) -> bool {
        match self {
            Self::Scale { from, to } => to < from,
            _ => self.rolls_out() && object.pointer("/spec/strategy/type").is_some_and(|s| s == "Recreate"),
        }
    }

    /// What the object, whose uid is known to be the right one, says about it.
    pub fn on(&self, object: &Value) -> Now {
        match self {
            Self::Scale { from, to } => {
                let has = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
                let text = || format!("it has {has} replicas, {from} were expected");
                tested("/spec/replicas", &json!(has), &json!(from), &json!(to), text)
            }
            Self::Suspend { from, to } => {
                let has = object.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
                let text = || format!("it is {}, it was expected not to be", said(has));
                tested("/spec/suspend", &json!(has), &json!(from), &json!(to), text)
            }
            Self::SetEnv { container, env, keep } => env::set(object, container.as_deref(), env, keep),
            Self::UnsetEnv { keep } => env::unset(object, keep),
            Self::ForgetEnv { keep } => env::forget(object, keep),
            Self::Restart { stamp } => {
                let path = "/spec/template/metadata/annotations";
                let mut all = object.pointer(path).and_then(Value::as_object).cloned().unwrap_or_default();
                if all.get(RESTARTED_BY).and_then(Value::as_str) == Some(stamp) {
                    return Now::Done;
                }
                all.insert(RESTARTED_BY.into(), stamp.as_str().into());
                Now::Edit(vec![member(object, path, all)])
            }
            Self::Template { from, to, template } => {
                let has = hash(object.pointer("/spec/template").unwrap_or(&Value::Null));
                if has == *to {
                    return Now::Done;
                }
                if has != *from {
                    return Now::Conflict("its pod template has changed since it was looked at".into());
                }
                Now::Edit(vec![Edit { path: "/spec/template".into(), test: None, value: template.clone() }])
            }
        }
    }
}

/// An object of the API as a change looks at it.
pub fn seen(data: &Value, annotations: Option<&BTreeMap<String, String>>) -> Value {
    let mut object = data.clone();
    if let Some(map) = object.as_object_mut() {
        map.insert("metadata".into(), json!({"annotations": annotations}));
    }
    object
}

/// `suspended` or not.
pub fn said(suspended: bool) -> &'static str {
    if suspended { "suspended" } else { "not suspended" }
}

fn tested(path: &str, has: &Value, from: &Value, to: &Value, text: impl Fn() -> String) -> Now {
    if has == to {
        Now::Done
    } else if has != from {
        Now::Conflict(text())
    } else {
        Now::Edit(vec![Edit { path: path.into(), test: Some(from.clone()), value: to.clone() }])
    }
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

/// The patch that makes the edits on the object as it was read.
pub fn patch(uid: &str, version: Option<&str>, edits: &[Edit]) -> JsonPatch {
    let mut patch = JsonPatch::of(uid);
    if edits.iter().any(|e| e.test.is_none()) {
        patch = patch.version(version.unwrap_or_default());
    }
    for edit in edits {
        if let Some(test) = &edit.test {
            patch = patch.test(&edit.path, test.clone());
        }
        patch = patch.add(&edit.path, edit.value.clone());
    }
    patch
}

/// A short hash of a value that does not depend on the order of keys or on members that say nothing (`null`): what a
/// pod template is known by.
pub fn hash(value: &Value) -> String {
    fn write(value: &Value, to: &mut Sha256) {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<&String, &Value> = map.iter().filter(|(_, v)| !v.is_null()).collect();
                to.update(b"{");
                for (key, value) in sorted {
                    to.update(Value::String(key.clone()).to_string());
                    to.update(b":");
                    write(value, to);
                    to.update(b",");
                }
                to.update(b"}");
            }
            Value::Array(list) => {
                to.update(b"[");
                for value in list {
                    write(value, to);
                    to.update(b",");
                }
                to.update(b"]");
            }
            simple => to.update(simple.to_string()),
        }
    }
    let mut hasher = Sha256::new();
    write(value, &mut hasher);
    hasher.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}})
    }

    #[test]
    fn a_count_that_somebody_else_set_is_left_alone() {
        let scale = Change::Scale { from: 3, to: 0 };
        let with = |n: u32| json!({"spec": {"replicas": n}});
        assert!(matches!(scale.on(&with(3)), Now::Edit(e) if e[0].test == Some(json!(3)) && e[0].value == json!(0)));
        assert_eq!(scale.on(&with(0)), Now::Done);
        assert!(matches!(scale.on(&with(5)), Now::Conflict(why) if why == "it has 5 replicas, 3 were expected"));
        assert_eq!(Change::Scale { from: 2, to: 1 }.on(&json!({})), Now::Done, "one where nothing is said");
    }

    #[test]
    fn a_template_is_stamped_once() {
        let restart = Change::Restart { stamp: "run/step#1".into() };
        let mut object = deployment();
        let Now::Edit(edits) = restart.on(&object) else { panic!("not to be written") };
        assert!(edits[0].test.is_none(), "nothing else may have changed");
        object["spec"]["template"]["metadata"]["annotations"] = edits[0].value.clone();
        assert_eq!(restart.on(&object), Now::Done);
        assert!(matches!(Change::Restart { stamp: "run/step#2".into() }.on(&object), Now::Edit(_)));
        let bare = json!({"spec": {"template": {"spec": {}}}});
        let Now::Edit(edits) = restart.on(&bare) else { panic!("not to be written") };
        assert_eq!(
            (edits[0].path.as_str(), &edits[0].value["annotations"]),
            ("/spec/template/metadata", &json!({RESTARTED_BY: "run/step#1"}))
        );
    }

    #[test]
    fn a_template_goes_back_only_from_the_one_that_was_seen() {
        let object = deployment();
        let (has, other) = (hash(&object["spec"]["template"]), json!({"spec": {"x": 1}}));
        let back = |from: &str| Change::Template { from: from.into(), to: hash(&other), template: other.clone() };
        assert!(matches!(back(&has).on(&object), Now::Edit(_)));
        assert!(matches!(back("another").on(&object), Now::Conflict(_)));
        assert_eq!(back(&has).on(&json!({"spec": {"template": other}})), Now::Done);
    }

    #[test]
    fn what_takes_pods_away_is_known() {
        let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
        let restart = Change::Restart { stamp: "x".into() };
        assert!(restart.takes_away(&recreate) && !restart.takes_away(&deployment()));
        assert!(Change::Scale { from: 2, to: 1 }.takes_away(&deployment()));
        assert!(!Change::Scale { from: 1, to: 2 }.takes_away(&recreate));
    }

    #[test]
    fn every_patch_tests_what_it_stands_on() {
        let edits = [Edit { path: "/spec/replicas".into(), test: Some(json!(3)), value: json!(0) }];
        let ops = patch("u", Some("7"), &edits).operations();
        assert_eq!(ops.as_array().map(Vec::len), Some(3), "{ops}");
        let edits = [Edit { path: "/spec/template".into(), test: None, value: json!({}) }];
        let ops = patch("u", Some("7"), &edits).operations();
        assert_eq!(ops[1], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
    }
}
