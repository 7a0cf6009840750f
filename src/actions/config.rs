//! PURE. Keys of a Secret, a ConfigMap or a container's environment. Values are compared here and appear nowhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::duration::Duration;
use crate::api::run::StepRecord;
use crate::api::step::{Config, ConfigKey};
use crate::effect::Read;
use crate::plan::{PlanStep, select};
use crate::world::{KeysAnswer, Reading};

use super::request::NoRequest;
use super::{Cx, Out, Verdict, manifest, read_key, span};

/// See [`super::advance`].
pub fn advance(cx: &Cx, step: &PlanStep, config: &Config, record: &mut StepRecord, out: &mut Out) -> Option<Verdict> {
    let key = read_key(step, record);
    if let Some(Reading::Keys(answer)) = cx.world.readings.get(&key) {
        return Some(judge(cx, config, answer));
    }
    let container = match config.from.as_ref().map(|from| manifest::find_container(cx, from)) {
        None => None,
        Some(Ok((_, container))) => Some(container),
        Some(Err(NoRequest::Wait(why) | NoRequest::Nobody(why))) => {
            record.message = Some(why);
            return None;
        }
        Some(Err(NoRequest::Fail(why))) => return Some(Verdict::fail(format!("config.{why}"))),
    };
    record.message = Some(format!("reading {}", source(config)));
    out.reads.insert(key, Read::Keys { config: config.clone(), container });
    None
}

fn source(config: &Config) -> String {
    match (&config.secret, &config.config_map, &config.from) {
        (Some(name), _, _) => format!("Secret {name}"),
        (None, Some(name), _) => format!("ConfigMap {name}"),
        (None, None, Some(from)) => {
            let container = from.container.as_ref().map(|c| format!(" of container {c}")).unwrap_or_default();
            format!("the environment{container} of {:?}", from.side)
        }
        (None, None, None) => "nothing".into(),
    }
}

fn judge(cx: &Cx, config: &Config, answer: &KeysAnswer) -> Verdict {
    let of = source(config);
    let (values, rotated) = match answer {
        KeysAnswer::Found { values, rotated } => (values, rotated),
        KeysAnswer::NotFound => return Verdict::fail(format!("{of} does not exist")),
        KeysAnswer::Refused(why) => return Verdict::fail(format!("{of} cannot be read: {why}")),
    };
    let mut evidence = Map::new();
    let mut failed = vec![];
    for key in &config.keys {
        let verdict = match judge_key(key, values.get(&key.name)) {
            Ok(_) if !values.contains_key(&key.name) => Ok("absent, optional".to_owned()),
            Ok(fine) => match config.rotated_within {
                Some(within) => rotation(key, within, rotated, cx.world.now).map(|()| fine.to_owned()),
                None => Ok(fine.to_owned()),
            },
            Err(why) => Err(why),
        };
        if let Err(why) = &verdict {
            failed.push(format!("key {}: {why}", key.name));
        }
        evidence.insert(key.name.clone(), Value::String(verdict.unwrap_or_else(|why| why)));
    }
    let evidence = Some(json!({"of": of, "keys": evidence}));
    if failed.is_empty() {
        Verdict::Pass { evidence, captures: BTreeMap::new(), hidden: Default::default() }
    } else {
        Verdict::Fail { message: format!("{of}: {}", failed.join("; ")), evidence }
    }
}

fn judge_key(key: &ConfigKey, value: Option<&String>) -> Result<&'static str, String> {
    let Some(value) = value else {
        return if key.optional { Ok("absent") } else { Err("missing".into()) };
    };
    if key.equals.as_ref().is_some_and(|wanted| wanted != value) {
        return Err("is not the wanted value".into());
    }
    if key.not_equals.as_ref() == Some(value) {
        return Err("has the value it must not have".into());
    }
    match key.matches.as_ref().map(|pattern| (pattern, select::matches(pattern, value))) {
        None | Some((_, Ok(true))) => {}
        Some((pattern, Ok(false))) => return Err(format!("does not match {pattern}")),
        Some((_, Err(why))) => return Err(format!("matches: {why}")),
    }
    if value.is_empty() && !key.optional && key.equals.is_none() && key.matches.is_none() {
        return Err("is empty".into());
    }
    let checked = key.equals.is_some() || key.not_equals.is_some() || key.matches.is_some();
    Ok(if checked { "as wanted" } else { "present" })
}

fn rotation(
    key: &ConfigKey,
    within: Duration,
    rotated: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Result<(), String> {
    let Some(at) = rotated.get(&key.name) else {
        return Err(format!(
            "inconclusive: when it was changed is not known; set the annotation cutover.dev/rotated-at.{} or \
             cutover.dev/rotated-at to the time, such as {now:.0}",
            key.name
        ));
    };
    if span(*at, now) > within {
        return Err(format!("was changed at {at:.0}, longer ago than {within}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::fixtures::{Fixture, read, step};
    use crate::api::run::StepState;
    use crate::plan::{Action, Stage};

    fn config(value: Value) -> PlanStep {
        step("secrets", Stage::Preflight, Action::Config(serde_json::from_value(value).expect("a config")))
    }

    fn found() -> KeysAnswer {
        let values = [("LIVE", "sk_live_1"), ("TEST", "sk_test_1"), ("EMPTY", "")];
        KeysAnswer::Found {
            values: values.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            rotated: [("LIVE".to_owned(), "2025-12-31T00:00:00Z".parse().expect("a time"))].into(),
        }
    }

    #[test]
    fn verdicts_name_keys_and_never_values() {
        let keys = |k: Value| json!({"secret": "s", "keys": [k]});
        let table = [
            (keys(json!({"name": "LIVE"})), true, "present"),
            (keys(json!({"name": "LIVE", "matches": "^sk_live_"})), true, "as wanted"),
            (keys(json!({"name": "TEST", "matches": "^sk_live_"})), false, "key TEST: does not match ^sk_live_"),
            (keys(json!({"name": "TEST", "equals": "other"})), false, "key TEST: is not the wanted value"),
            (keys(json!({"name": "TEST", "notEquals": "sk_test_1"})), false, "has the value it must not have"),
            (keys(json!({"name": "EMPTY"})), false, "key EMPTY: is empty"),
            (keys(json!({"name": "NONE"})), false, "Secret s: key NONE: missing"),
            (keys(json!({"name": "NONE", "optional": true})), true, "absent, optional"),
            (json!({"secret": "s", "keys": [{"name": "LIVE"}], "rotatedWithin": "48h"}), true, "present"),
            (json!({"secret": "s", "keys": [{"name": "LIVE"}], "rotatedWithin": "12h"}), false, "2025-12-31T00:00:00Z"),
            (
                json!({"secret": "s", "keys": [{"name": "TEST"}], "rotatedWithin": "48h"}),
                false,
                "inconclusive: when it was changed is not known; set the annotation cutover.dev/rotated-at.TEST",
            ),
        ];
        for (manifest, passes, text) in table {
            let mut f = Fixture::new();
            f.world.readings.insert(read("secrets#1"), Reading::Keys(found()));
            let (r, _) = f.drive(&config(manifest.clone()), None);
            let said = format!("{} {}", r.message.clone().unwrap_or_default(), r.evidence.clone().unwrap_or_default());
            assert_eq!(r.state == StepState::Succeeded, passes, "{manifest} {said}");
            assert!(said.contains(text), "{said}");
            let secret = said.replace("^sk_live_", "").contains("sk_");
            assert!(!secret, "{said}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refused = KeysAnswer::Refused("secrets is forbidden".into());
        for (answer, text) in [(KeysAnswer::NotFound, "Secret s does not exist"), (refused, "cannot be read")] {
            let mut f = Fixture::new();
            f.world.readings.insert(read("secrets#1"), Reading::Keys(answer));
            let (r, _) = f.drive(&config(json!({"secret": "s", "keys": [{"name": "A"}]})), None);
            assert!(r.state == StepState::Failed && r.message.is_some_and(|m| m.contains(text)));
        }
    }

    #[test]
    fn an_environment_is_that_of_the_named_container() {
        let mut f = Fixture::new();
        let from = |c: &str| config(json!({"from": {"side": "Target", "container": c}, "keys": [{"name": "A"}]}));
        let (_, out) = f.drive(&from("proxy"), None);
        let Some(Read::Keys { container: Some(container), .. }) = out.reads.get(&read("secrets#1")) else {
            panic!("no read")
        };
        assert_eq!(container["name"], "proxy");
        let (r, _) = f.drive(&from("nope"), None);
        assert!(r.message.is_some_and(|m| m.starts_with("config.from.container: green has no container")));
        f.world.workloads.clear();
        let (r, out) = f.drive(&from("proxy"), None);
        assert!(r.state == StepState::Running && out.reads.is_empty());
    }
}
