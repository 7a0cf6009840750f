//! PURE. Variables of a container's environment: set, with what they were kept in an annotation of the same object, and
//! restored from there. The values stand in the object's own template before and after; they go nowhere else (P9).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::edit::{Edit, Now, member};

const ANNOTATIONS: &str = "/metadata/annotations";

/// What the annotation holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    container: String,
    env: Vec<Var>,
}

/// One variable.
#[derive(Debug, Serialize, Deserialize)]
struct Var {
    name: String,
    /// As it was; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<Value>,
    /// As the run set it.
    set: Value,
}

/// A container of a pod template: its place and itself.
///
/// # Errors
/// When there is none of that name; the message names those that there are.
pub fn container<'a>(template: &'a Value, name: Option<&str>) -> Result<(usize, &'a Value), String> {
    let all = template.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = |c: &Value| c.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let found = all.iter().enumerate().find(|(_, c)| name.is_none_or(|n| n == named(c)));
    found.ok_or_else(|| {
        let has: Vec<String> = all.iter().map(named).collect();
        format!("it has no container {:?}; it has {}", name.unwrap_or_default(), has.join(", "))
    })
}

/// The variables of a container, by their name.
pub fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    container.get("env")?.as_array()?.iter().find(|v| v.get("name").and_then(Value::as_str) == Some(name))
}

/// Whether two variables say the same; `valueFrom` is compared without what the API server fills in.
pub fn same(a: &Value, b: &Value) -> bool {
    fn filled(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut map: Map<String, Value> = map
                    .iter()
                    .filter(|(k, v)| !(v.is_null() || *k == "optional" && **v == false || *k == "value" && **v == ""))
                    .map(|(k, v)| (k.clone(), filled(v)))
                    .collect();
                if map.contains_key("fieldPath") {
                    map.remove("apiVersion");
                }
                if map.contains_key("resource") && map.get("divisor").is_some_and(|d| d == "0") {
                    map.remove("divisor");
                }
                Value::Object(map)
            }
            other => other.clone(),
        }
    }
    filled(a) == filled(b)
}

/// What a variable is, without its value: `absent`, `a value`, or where the value comes from.
pub fn shown(variable: Option<&Value>) -> String {
    let Some(variable) = variable else { return "absent".into() };
    let Some(from) = variable.get("valueFrom").and_then(Value::as_object) else { return "a value".into() };
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
    let parts = from.iter().map(|(kind, of)| {
        let named = text(of, "name").or_else(|| text(of, "fieldPath")).or_else(|| text(of, "resource"));
        let key = text(of, "key").map(|k| format!("/{k}")).unwrap_or_default();
        format!("{kind} {}{key}", named.unwrap_or_default())
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What the API server said, without a value of an environment that it may have repeated (P9).
pub(crate) fn without_values(text: &str, edits: &[Edit]) -> String {
    fn values<'v>(of: &'v Value, all: &mut Vec<&'v str>) {
        match of {
            Value::Object(map) => {
                all.extend(map.get("value").and_then(Value::as_str));
                map.values().for_each(|v| values(v, all));
            }
            Value::Array(list) => list.iter().for_each(|v| values(v, all)),
            _ => {}
        }
    }
    let mut found = vec![];
    edits.iter().for_each(|e| values(&e.value, &mut found));
    // The longest first, so that none is left in part; very short ones are words of the message itself.
    found.sort_by_key(|v| std::cmp::Reverse(v.len()));
    found.iter().filter(|v| v.len() >= 4).fold(text.to_owned(), |text, v| text.replace(v, "[a value]"))
}

/// See [`super::Change::SetEnv`].
pub(super) fn set(object: &Value, name: Option<&str>, env: &[Value], keep: &str) -> Now {
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    let (at, found) = match container(template, name) {
        Ok(found) => found,
        Err(why) => return Now::Conflict(why),
    };
    let label = |v: &Value| v.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if env.iter().all(|v| variable(found, &label(v)).is_some_and(|has| same(has, v))) {
        return Now::Done;
    }
    let mut annotations = object.pointer(ANNOTATIONS).and_then(Value::as_object).cloned().unwrap_or_default();
    if annotations.contains_key(keep) {
        return Now::Conflict("its environment has changed since the run set it".into());
    }
    let mut list = found.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut kept = Kept { container: label(found), env: vec![] };
    for new in env {
        let was = variable(found, &label(new)).cloned();
        match list.iter_mut().find(|v| label(v) == label(new)) {
            Some(slot) => *slot = new.clone(),
            None => list.push(new.clone()),
        }
        kept.env.push(Var { name: label(new), was, set: new.clone() });
    }
    let Ok(text) = serde_json::to_string(&kept) else {
        return Now::Conflict("its environment cannot be kept".into());
    };
    annotations.insert(keep.to_owned(), text.into());
    Now::Edit(vec![
        Edit { path: format!("/spec/template/spec/containers/{at}/env"), test: None, value: list.into() },
        member(object, ANNOTATIONS, annotations),
    ])
}

/// See [`super::Change::UnsetEnv`].
pub(super) fn unset(object: &Value, keep: &str) -> Now {
    let mut annotations = object.pointer(ANNOTATIONS).and_then(Value::as_object).cloned().unwrap_or_default();
    let Some(text) = annotations.remove(keep) else { return Now::Done };
    let mut edits = vec![member(object, ANNOTATIONS, annotations)];
    let kept = text.as_str().and_then(|t| serde_json::from_str::<Kept>(t).ok());
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    // An annotation that somebody has spoilt, or a container that is gone: there is nothing to restore.
    if let Some(kept) = kept
        && let Ok((at, found)) = container(template, Some(&kept.container))
    {
        let before = found.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut list = before.clone();
        for var in &kept.env {
            let Some(i) = list.iter().position(|v| v.get("name").and_then(Value::as_str) == Some(&var.name)) else {
                continue;
            };
            if !list.get(i).is_some_and(|has| same(has, &var.set)) {
                continue; // somebody else's by now
            }
            match &var.was {
                Some(was) => list.iter_mut().skip(i).take(1).for_each(|slot| slot.clone_from(was)),
                None => drop(list.remove(i)),
            }
        }
        if list != before {
            let path = format!("/spec/template/spec/containers/{at}/env");
            edits.push(Edit { path, test: None, value: list.into() });
        }
    }
    Now::Edit(edits)
}

/// See [`super::Change::ForgetEnv`].
pub(super) fn forget(object: &Value, keep: &str) -> Now {
    let mut annotations = object.pointer(ANNOTATIONS).and_then(Value::as_object).cloned().unwrap_or_default();
    match annotations.remove(keep) {
        Some(_) => Now::Edit(vec![member(object, ANNOTATIONS, annotations)]),
        None => Now::Done,
    }
}

/// The variables that [`super::Change::UnsetEnv`] would leave as they are, since they are somebody else's by now.
pub fn others(object: &Value, container_name: Option<&str>, env: &[Value]) -> Vec<String> {
    let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
    let Ok((_, found)) = container(template, container_name) else { return vec![] };
    let name = |v: &Value| v.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let theirs = env.iter().filter(|v| variable(found, &name(v)).is_none_or(|has| !same(has, v)));
    theirs.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;
    use serde_json::json;

    fn object(env: Value) -> Value {
        json!({
            "metadata": {"annotations": {"theirs": "x"}},
            "spec": {"template": {"spec": {"containers": [{"name": "api", "env": env}, {"name": "proxy"}]}}},
        })
    }

    fn apply(object: &mut Value, change: &Change) {
        let Now::Edit(edits) = change.on(object) else { panic!("nothing to write") };
        for edit in edits {
            let (parent, key) = edit.path.rsplit_once('/').expect("a path");
            object.pointer_mut(parent).expect("its parent")[key] = edit.value;
        }
    }

    fn change() -> Change {
        let env = vec![
            json!({"name": "MODE", "value": "new"}),
            json!({"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}}),
        ];
        Change::SetEnv { container: Some("api".into()), env, keep: "cutover.dev/before-1".into() }
    }

    #[test]
    fn what_was_there_is_kept_in_the_object_and_put_back_in_its_place() {
        let before = object(json!([{"name": "DB", "value": "secret"}, {"name": "LAST", "value": "$(DB)"}]));
        let mut now = before.clone();
        let change = change();
        apply(&mut now, &change);
        let env = &now["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!((&env[0]["valueFrom"]["secretKeyRef"]["key"], &env[2]["value"]), (&json!("url"), &json!("new")));
        assert_eq!(change.on(&now), Now::Done, "once");
        let undo = Change::UnsetEnv { keep: "cutover.dev/before-1".into() };
        apply(&mut now, &undo);
        assert_eq!(now, before);
        assert_eq!(undo.on(&now), Now::Done, "once");
    }

    #[test]
    fn what_somebody_else_has_set_since_is_left_alone() {
        let mut now = object(json!([{"name": "DB", "value": "old"}]));
        let change = change();
        apply(&mut now, &change);
        now["spec"]["template"]["spec"]["containers"][0]["env"][0] = json!({"name": "DB", "value": "theirs"});
        assert!(matches!(change.on(&now), Now::Conflict(why) if !why.contains("theirs")));
        let env = vec![json!({"name": "DB", "value": "ours"}), json!({"name": "MODE", "value": "new"})];
        assert_eq!(others(&now, Some("api"), &env), ["DB"]);
        apply(&mut now, &Change::UnsetEnv { keep: "cutover.dev/before-1".into() });
        assert_eq!(now, object(json!([{"name": "DB", "value": "theirs"}])), "MODE is gone, DB is theirs");
    }

    #[test]
    fn a_container_that_is_not_there_is_named() {
        let mut change = change();
        if let Change::SetEnv { container, .. } = &mut change {
            *container = Some("web".into());
        }
        assert_eq!(
            change.on(&object(json!([]))),
            Now::Conflict("it has no container \"web\"; it has api, proxy".into())
        );
    }

    #[test]
    fn what_the_api_server_fills_in_makes_no_difference() {
        let ours = json!({"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
        let stored =
            json!({"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}});
        assert!(same(&ours, &stored));
        assert!(same(&json!({"name": "A", "value": ""}), &json!({"name": "A"})));
        assert!(!same(&json!({"name": "A", "value": "1"}), &json!({"name": "A"})));
    }

    #[test]
    fn no_value_is_shown() {
        assert_eq!(shown(None), "absent");
        assert_eq!(shown(Some(&json!({"name": "A", "value": "secret"}))), "a value");
        let from = json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}});
        assert_eq!(shown(Some(&from)), "secretKeyRef db/url");
    }

    #[test]
    fn a_refusal_repeats_no_value() {
        let env = json!([{"name": "PASSWORD", "value": "hunter2"}, {"name": "A", "value": "in"}]);
        let edits = [Edit { path: "/spec/template/spec/containers/0/env".into(), test: None, value: env }];
        let said = r#"Invalid value: "hunter2": must be in the list"#;
        assert_eq!(without_values(said, &edits), r#"Invalid value: "[a value]": must be in the list"#);
    }
}
