//! PURE. `config`: keys that must be there, and what their values must be. Values appear nowhere: not in messages, not
//! in evidence.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Cx, Out, Verdict};
use crate::api::run::StepRecord;
use crate::api::step::{Config, ConfigKey};
use crate::effect::Read;
use crate::plan::select;
use crate::world::{KeysAnswer, Reading};

/// Reads once an attempt and judges every key.
pub fn advance(cx: &Cx, config: &Config, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = format!("{}#{}", record.name, record.attempt);
    let Some(Reading::Keys(answer)) = cx.world.readings.get(&key) else {
        let container = match container(cx, config) {
            Ok(container) => container,
            Err(why) => return Some(Verdict::fail(why)),
        };
        out.reads.insert(key, Read::Keys { config: config.clone(), container });
        return None;
    };
    let what = source(config);
    Some(match answer {
        KeysAnswer::NotFound => Verdict::fail(format!("{what} does not exist; create it")),
        KeysAnswer::Refused(why) => Verdict::fail(format!("{what} cannot be read: {why}")),
        KeysAnswer::Found { values, rotated } => judge(cx.world.now, config, &what, values, rotated),
    })
}

fn source(config: &Config) -> String {
    match (&config.secret, &config.config_map, &config.from) {
        (Some(name), _, _) => format!("Secret {name}"),
        (_, Some(name), _) => format!("ConfigMap {name}"),
        _ => "the container's environment".into(),
    }
}

fn container(cx: &Cx, config: &Config) -> Result<Option<Value>, String> {
    let Some(from) = &config.from else { return Ok(None) };
    let side = cx.plan.side(from.side);
    let found = side
        .workloads
        .iter()
        .filter_map(|w| cx.world.workloads.get(w)?.value.as_ref())
        .filter_map(|view| view.template.pointer("/spec/containers")?.as_array())
        .flatten()
        .find(|c| from.container.as_ref().is_none_or(|n| c["name"].as_str() == Some(n)));
    found
        .cloned()
        .map(Some)
        .ok_or_else(|| format!("from.container: no such container in the workloads of {}", side.name))
}

fn judge(
    now: Timestamp,
    config: &Config,
    what: &str,
    values: &BTreeMap<String, String>,
    rotated: &BTreeMap<String, Timestamp>,
) -> Verdict {
    let mut verdicts = Map::new();
    let mut wrong = vec![];
    for key in &config.keys {
        let verdict = judge_key(key, values.get(&key.name)).and_then(|said| match config.rotated_within {
            Some(within) if values.contains_key(&key.name) => {
                let at = rotated.get(&key.name).or_else(|| rotated.get("")).ok_or_else(|| {
                    format!(
                        "inconclusive: when it was rotated is not known; set the annotation cutover.dev/rotated-at.{} \
                         to an RFC 3339 time",
                        key.name
                    )
                })?;
                if now.duration_since(*at) <= within.signed() {
                    Ok("rotated")
                } else {
                    Err(format!("rotated at {at:.0}, wanted within {within}"))
                }
            }
            _ => Ok(said),
        });
        match verdict {
            Ok(said) => verdicts.insert(key.name.clone(), json!(said)),
            Err(why) => {
                wrong.push(format!("{}: {why}", key.name));
                verdicts.insert(key.name.clone(), json!("wrong"))
            }
        };
    }
    let evidence = Some(Value::Object(verdicts));
    if wrong.is_empty() {
        return Verdict::pass(evidence);
    }
    Verdict::Fail { message: format!("{what}: {}", wrong.join("; ")), evidence }
}

fn judge_key(key: &ConfigKey, value: Option<&String>) -> Result<&'static str, String> {
    let Some(value) = value else {
        return if key.optional { Ok("absent, optional") } else { Err("the key is missing; set it".into()) };
    };
    if value.is_empty() && key.equals.is_none() && key.matches.is_none() && !key.optional {
        return Err("the value is empty; set it".into());
    }
    if key.equals.as_ref().is_some_and(|wanted| wanted != value) {
        return Err("the value is not the one wanted (equals)".into());
    }
    if key.not_equals.as_ref().is_some_and(|bad| bad == value) {
        return Err("the value is one it must not be (notEquals)".into());
    }
    if let Some(pattern) = &key.matches {
        match select::matches(pattern, value) {
            Ok(true) => {}
            Ok(false) => return Err(format!("the value does not match {pattern}")),
            Err(why) => return Err(format!("matches: {why}")),
        }
    }
    Ok("present")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_appear_in_no_verdict() {
        let config: Config = serde_saphyr::from_str(
            "{secret: s, keys: [{name: A, equals: x}, {name: B, matches: '^sk_'}, {name: C}, {name: D, notEquals: hunter2}]}",
        )
        .expect("config");
        let secret = "hunter2".to_owned();
        let values = ["A", "B", "C", "D"].map(|k| (k.to_owned(), secret.clone())).into();
        let verdict = judge(Timestamp::UNIX_EPOCH, &config, "Secret s", &values, &BTreeMap::new());
        let Verdict::Fail { message, evidence } = verdict else { panic!("{verdict:?}") };
        assert!(message.contains("A:") && message.contains("B:") && message.contains("D:"), "{message}");
        assert!(!message.contains(&secret) && !evidence.map(|e| e.to_string()).unwrap_or_default().contains(&secret));
    }

    #[test]
    fn a_missing_key_is_named_and_an_optional_one_is_not_missed() {
        let config: Config =
            serde_saphyr::from_str("{secret: s, keys: [{name: A}, {name: B, optional: true}]}").expect("config");
        let verdict = judge(Timestamp::UNIX_EPOCH, &config, "Secret s", &BTreeMap::new(), &BTreeMap::new());
        let Verdict::Fail { message, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(message, "Secret s: A: the key is missing; set it");
    }
}
