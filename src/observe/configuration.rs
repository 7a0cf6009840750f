//! Answers [`Read::Keys`](crate::effect::Read::Keys): a Secret, a ConfigMap, or the environment of a container as its
//! pods would get it. Read as the ServiceAccount; values stay in the answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Observer, RunScope};
use crate::api::step::Config;
use crate::net::keys::{self, Data, Source, Unread};
use crate::world::KeysAnswer;

/// On a Secret or ConfigMap: when all of it was changed; with `.KEY` after it, when that key was.
const ROTATED: &str = "cutover.dev/rotated-at";

type Objects = BTreeMap<Source, Result<Data, Unread>>;

pub(super) async fn read(
    observer: &Observer,
    scope: &RunScope,
    config: &Config,
    container: Option<&Value>,
) -> KeysAnswer {
    let account = observer.account(scope);
    let source = match (&config.secret, &config.config_map, &config.from) {
        (Some(name), _, _) => Source::Secret(name.clone()),
        (None, Some(name), _) => Source::ConfigMap(name.clone()),
        (None, None, Some(_)) => {
            let container = container.map(|c| serde_json::from_value::<Container>(c.clone()));
            let Some(Ok(container)) = container else {
                return KeysAnswer::Refused("config.from: the container is not in the workload's template".into());
            };
            let objects = keys::read_all(&account, &scope.namespace, sources(&container)).await;
            return environment(&container, &objects);
        }
        (None, None, None) => return KeysAnswer::Refused("config names neither secret, configMap nor from".into()),
    };
    match keys::read(&account, &scope.namespace, &source).await {
        Ok(data) => KeysAnswer::Found { rotated: rotated(&data.metadata, &data.values), values: texts(data.values) },
        Err(Unread::NotFound(_)) => KeysAnswer::NotFound,
        Err(Unread::Refused(why) | Unread::Transient(why)) => KeysAnswer::Refused(why),
    }
}

fn texts(values: BTreeMap<String, Bytes>) -> BTreeMap<String, String> {
    values.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned())).collect()
}

/// When each key was last changed, where that is known: an annotation for it, one for the whole object, or an entry of
/// the managed fields that covers this key and nothing else.
fn rotated(meta: &ObjectMeta, values: &BTreeMap<String, Bytes>) -> BTreeMap<String, Timestamp> {
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name));
    let alone: BTreeMap<String, Timestamp> = meta
        .managed_fields
        .iter()
        .flatten()
        .filter_map(|entry| Some((sole_key(&entry.fields_v1.as_ref()?.0)?, entry.time.as_ref()?.0)))
        .fold(BTreeMap::new(), |mut all, (key, at)| {
            all.entry(key).and_modify(|t: &mut Timestamp| *t = (*t).max(at)).or_insert(at);
            all
        });
    let when = |key: &String| {
        // An annotation that is no time is a mistake of its author: nothing else is believed in its place.
        match annotation(&format!("{ROTATED}.{key}")).or_else(|| annotation(ROTATED)) {
            Some(text) => text.parse().ok(),
            None => alone.get(key).copied(),
        }
    };
    values.keys().filter_map(|key| Some((key.clone(), when(key)?))).collect()
}

/// The one data key that an entry of the managed fields covers, if it covers nothing else that could have moved its time.
fn sole_key(fields: &Value) -> Option<String> {
    let mut data = None;
    for (field, inner) in fields.as_object()? {
        match field.as_str() {
            "f:data" | "f:stringData" | "f:binaryData" if data.is_none() => data = inner.as_object(),
            // never changes after creation
            "f:type" => {}
            _ => return None,
        }
    }
    let mut keys = data?.keys().filter_map(|k| k.strip_prefix("f:"));
    let key = keys.next()?;
    keys.next().is_none().then(|| key.to_owned())
}

/// Secrets and ConfigMaps that a container's environment comes from.
fn sources(container: &Container) -> Vec<Source> {
    let mut all = vec![];
    for from in container.env_from.iter().flatten() {
        all.extend(from.secret_ref.iter().map(|r| Source::Secret(r.name.clone())));
        all.extend(from.config_map_ref.iter().map(|r| Source::ConfigMap(r.name.clone())));
    }
    for from in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        all.extend(from.secret_key_ref.iter().map(|r| Source::Secret(r.name.clone())));
        all.extend(from.config_map_key_ref.iter().map(|r| Source::ConfigMap(r.name.clone())));
    }
    all
}

/// The environment as the kubelet would make it. Values that only a pod has (`fieldRef`) are there, and empty.
fn environment(container: &Container, objects: &Objects) -> KeysAnswer {
    let mut values = BTreeMap::new();
    let mut times = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let (source, optional) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(r), _) => (Source::Secret(r.name.clone()), r.optional),
            (None, Some(r)) => (Source::ConfigMap(r.name.clone()), r.optional),
            (None, None) => continue,
        };
        let data = match object(objects, &source, optional) {
            Ok(Some(data)) => data,
            Ok(None) => continue,
            Err(why) => return KeysAnswer::Refused(format!("envFrom: {why}")),
        };
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let rotated = rotated(&data.metadata, &data.values);
        for (key, value) in &data.values {
            let name = format!("{prefix}{key}");
            set_time(&mut times, &name, rotated.get(key));
            values.insert(name, String::from_utf8_lossy(value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        let name = &variable.name;
        let Some(from) = &variable.value_from else {
            let value = expand(variable.value.as_deref().unwrap_or_default(), &values);
            times.remove(name);
            values.insert(name.clone(), value);
            continue;
        };
        let (source, key, optional) = match (&from.secret_key_ref, &from.config_map_key_ref) {
            (Some(r), _) => (Source::Secret(r.name.clone()), &r.key, r.optional),
            (None, Some(r)) => (Source::ConfigMap(r.name.clone()), &r.key, r.optional),
            (None, None) => {
                times.remove(name);
                values.insert(name.clone(), String::new());
                continue;
            }
        };
        let data = match object(objects, &source, optional) {
            Ok(Some(data)) => data,
            Ok(None) => continue,
            Err(why) => return KeysAnswer::Refused(format!("env {name}: {why}")),
        };
        match data.values.get(key) {
            Some(value) => {
                set_time(&mut times, name, rotated(&data.metadata, &data.values).get(key));
                values.insert(name.clone(), String::from_utf8_lossy(value).into_owned());
            }
            None if optional == Some(true) => {}
            None => return KeysAnswer::Refused(format!("env {name}: {source} has no key {key}, so no pod can start")),
        }
    }
    KeysAnswer::Found { values, rotated: times }
}

fn set_time(times: &mut BTreeMap<String, Timestamp>, name: &str, at: Option<&Timestamp>) {
    match at {
        Some(at) => times.insert(name.to_owned(), *at),
        None => times.remove(name),
    };
}

/// An object that may be missing only if it is optional.
fn object<'a>(objects: &'a Objects, source: &Source, optional: Option<bool>) -> Result<Option<&'a Data>, String> {
    match objects.get(source) {
        Some(Ok(data)) => Ok(Some(data)),
        Some(Err(Unread::NotFound(_))) if optional == Some(true) => Ok(None),
        Some(Err(Unread::NotFound(why))) => Err(format!("{why}, so no pod can start")),
        Some(Err(why)) => Err(why.clone().text()),
        None => Err(format!("{source} was not read")),
    }
}

/// `$(NAME)` of variables defined before; `$$(NAME)` is a literal; what is not known stays as it is.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let after = from.strip_prefix('$').unwrap_or_default();
        if let Some(literal) = after.strip_prefix('$') {
            out.push('$');
            rest = literal;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(value: Value) -> Data {
        let metadata = serde_json::from_value(value["metadata"].clone()).unwrap_or_default();
        let values = value["data"].as_object().unwrap().iter();
        Data {
            values: values.map(|(k, v)| (k.clone(), Bytes::from(v.as_str().unwrap().to_owned()))).collect(),
            metadata,
        }
    }

    #[test]
    fn rotation_is_read_from_annotations_then_from_fields_that_cover_one_key_alone() {
        let object = data(json!({
            "metadata": {
                "annotations": {
                    "cutover.dev/rotated-at.A": "2026-11-01T00:00:00Z",
                    "cutover.dev/rotated-at.B": "yesterday"
                },
                "managedFields": [
                    {"time": "2026-11-02T00:00:00Z", "fieldsV1": {"f:data": {"f:A": {}}}},
                    {"time": "2026-11-03T00:00:00Z", "fieldsV1": {"f:data": {"f:B": {}}}},
                    {"time": "2026-11-04T00:00:00Z", "fieldsV1": {"f:data": {".": {}, "f:C": {}}, "f:type": {}}},
                    {"time": "2026-11-05T00:00:00Z", "fieldsV1": {"f:data": {"f:D": {}, "f:E": {}}}},
                    {"time": "2026-11-06T00:00:00Z", "fieldsV1": {"f:data": {"f:E": {}}, "f:metadata": {}}}
                ]
            },
            "data": {"A": "1", "B": "2", "C": "3", "D": "4", "E": "5"}
        }));
        let times = rotated(&object.metadata, &object.values);
        let day = |key: &str| times.get(key).map(ToString::to_string);
        assert_eq!(day("A").as_deref(), Some("2026-11-01T00:00:00Z"), "its annotation wins");
        assert_eq!(day("B"), None, "an annotation that is no time is not passed over");
        assert_eq!(day("C").as_deref(), Some("2026-11-04T00:00:00Z"));
        assert_eq!(day("D"), None, "two keys share the entry");
        assert_eq!(day("E"), None, "an annotation may have moved the time");

        let whole = data(json!({
            "metadata": {"annotations": {"cutover.dev/rotated-at": "2026-11-07T00:00:00Z"}},
            "data": {"A": "1"}
        }));
        assert_eq!(rotated(&whole.metadata, &whole.values)["A"].to_string(), "2026-11-07T00:00:00Z");
    }

    fn objects() -> Objects {
        let secret = data(json!({
            "metadata": {"annotations": {"cutover.dev/rotated-at.URL": "2026-11-01T00:00:00Z"}},
            "data": {"URL": "postgres://db", "KEY": "k1"}
        }));
        let map = data(json!({"metadata": {}, "data": {"KEY": "from-map", "MODE": "live"}}));
        BTreeMap::from([
            (Source::Secret("s".into()), Ok(secret)),
            (Source::ConfigMap("m".into()), Ok(map)),
            (Source::Secret("gone".into()), Err(Unread::NotFound("Secret gone is not there".into()))),
        ])
    }

    fn resolve(container: Value) -> KeysAnswer {
        environment(&serde_json::from_value(container).unwrap(), &objects())
    }

    #[test]
    fn an_environment_is_what_the_kubelet_would_make_of_it() {
        let answer = resolve(json!({
            "name": "api",
            "envFrom": [
                {"secretRef": {"name": "s"}},
                {"configMapRef": {"name": "m"}},
                {"prefix": "P_", "configMapRef": {"name": "m"}},
                {"secretRef": {"name": "gone", "optional": true}}
            ],
            "env": [
                {"name": "MODE", "value": "dry"},
                {"name": "FULL", "value": "$(URL)/x?$$(MODE)=$(MODE)&$(NOPE)$"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "KEY"}}},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "NOPE", "optional": true}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
            ]
        }));
        let KeysAnswer::Found { values, rotated } = answer else { panic!("{answer:?}") };
        let got: Vec<(&str, &str)> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            got,
            [
                ("FULL", "postgres://db/x?$(MODE)=dry&$(NOPE)$"),
                ("KEY", "from-map"),
                ("MODE", "dry"),
                ("POD", ""),
                ("P_KEY", "from-map"),
                ("P_MODE", "live"),
                ("TOKEN", "k1"),
                ("URL", "postgres://db"),
            ]
        );
        assert_eq!(rotated.keys().collect::<Vec<_>>(), ["URL"]);
    }

    #[test]
    fn what_no_pod_could_start_with_is_refused_by_name() {
        for (container, words) in [
            (json!({"name": "c", "envFrom": [{"secretRef": {"name": "gone"}}]}), "envFrom: Secret gone"),
            (
                json!({"name": "c", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "X"}}}]}),
                "env T: Secret s has no key X",
            ),
        ] {
            let answer = resolve(container);
            assert!(matches!(&answer, KeysAnswer::Refused(why) if why.contains(words)), "{answer:?}");
        }
    }
}
