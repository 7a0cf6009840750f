//! PURE. `${param.NAME}` in the texts of a template.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::phases::{self, PHASES};
use crate::api::template::{ParameterType, Template, TemplateParameter, TemplateUse};

use crate::plan::refuse::{Refusals, entry_label};
use crate::plan::select;

/// What a template may say.
const BODY: [&str; 3] = ["phases", "observe", "followUp"];

/// Deepest nesting of a template.
const MAX_DEPTH: usize = 40;

/// The phases of a template with the values that `usage` gives; `None` when something was refused.
pub fn fill(
    template: &Template,
    usage: &TemplateUse,
    at: &str,
    origin: &str,
    refusals: &mut Refusals,
) -> Option<Value> {
    let before = refusals.0.len();
    let values = values(template, usage, at, refusals);
    let mut body = match serde_json::to_value(template) {
        Ok(Value::Object(body)) => body,
        Ok(_) | Err(_) => {
            refusals.add(origin, "the template cannot be read", "write it anew");
            return None;
        }
    };
    body.retain(|key, _| BODY.contains(&key.as_str()));
    let observe = body.get("observe").map(|observe| (format!("{origin}.observe"), "observe", "triggers", observe));
    let phases = body.get("phases").and_then(Value::as_object).into_iter().flatten();
    for (name, _) in phases.clone().filter(|(name, _)| !PHASES.contains(&name.as_str())) {
        refusals.add(format!("{origin}.phases.{name}"), phases::unknown(), "move its steps to one of them");
    }
    let phases = phases.map(|(name, phase)| (format!("{origin}.phases.{name}"), name.as_str(), "steps", phase));
    for (at, place, known, object) in phases.chain(observe) {
        for unknown in object.as_object().into_iter().flat_map(Map::keys).filter(|key| *key != known) {
            refusals.add(
                format!("{at}.{unknown}"),
                "a template cannot say this",
                format!("a template has only {known} in {place}; say it in the Cutover"),
            );
        }
    }
    if refusals.0.len() > before {
        return None; // a missing value would be reported again wherever it is used
    }
    let mut body = Value::Object(body);
    put(&mut body, &values, origin, 0, refusals);
    (refusals.0.len() == before).then_some(body)
}

/// The value of each parameter that has one.
fn values(template: &Template, usage: &TemplateUse, at: &str, refusals: &mut Refusals) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (i, given) in usage.parameters.iter().enumerate() {
        let known = template.parameters.iter().any(|p| p.name == given.name);
        let names: Vec<&str> = template.parameters.iter().map(|p| p.name.as_str()).collect();
        refusals.require(
            known,
            format!("{at}.parameters[{i}].name"),
            format!("template {} has no parameter {}", usage.name, given.name),
            if names.is_empty() {
                "leave it out: it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            },
        );
    }
    for parameter in &template.parameters {
        let given = usage.parameters.iter().position(|g| g.name == parameter.name);
        let (field, text) = match (given.and_then(|i| usage.parameters.get(i).map(|g| (i, g))), &parameter.default) {
            (Some((i, given)), _) => (format!("{at}.parameters[{i}].value"), given.value.as_str()),
            (None, Some(default)) => (format!("{at} (default of {})", parameter.name), default.as_str()),
            (None, None) => {
                refusals.add(
                    format!("{at}.parameters"),
                    format!(
                        "parameter {} of template {} has neither a value nor a default",
                        parameter.name, usage.name
                    ),
                    format!("add {{name: {}, value: …}}", parameter.name),
                );
                continue;
            }
        };
        match typed(parameter, text) {
            Ok(value) => drop(values.insert(parameter.name.clone(), value)),
            Err((message, remedy)) => refusals.add(field, format!("parameter {}: {message}", parameter.name), remedy),
        }
    }
    values
}

fn typed(parameter: &TemplateParameter, text: &str) -> Result<Value, (String, String)> {
    let value = match parameter.type_.unwrap_or_default() {
        ParameterType::String => Value::String(text.to_owned()),
        ParameterType::Integer => {
            let number =
                text.parse::<i64>().map_err(|_| ("this is no whole number".to_owned(), "write digits".to_owned()))?;
            Value::from(number)
        }
        ParameterType::Boolean => {
            let wrong = |_| ("this is neither true nor false".to_owned(), "write true or false".to_owned());
            Value::from(text.parse::<bool>().map_err(wrong)?)
        }
    };
    if let Some(pattern) = &parameter.pattern {
        let matches = select::matches(&format!("^(?:{pattern})$"), text).map_err(|why| {
            (format!("its pattern is no regular expression: {why}"), "correct the template".to_owned())
        })?;
        if !matches {
            return Err(("the value does not match the template's pattern".into(), format!("it must match {pattern}")));
        }
    }
    Ok(value)
}

/// Puts the values into all texts below.
fn put(place: &mut Value, values: &BTreeMap<String, Value>, at: &str, depth: usize, refusals: &mut Refusals) {
    if depth > MAX_DEPTH {
        refusals.add(at, format!("nested more than {MAX_DEPTH} deep"), "make it flatter");
        return;
    }
    match place {
        Value::String(text) => match fill_text(text, values) {
            Ok(Some(value)) => *place = value,
            Ok(None) => {}
            Err(name) => refusals.add(
                at,
                format!("${{param.{name}}} is not among the template's parameters"),
                "declare it in the template's spec.parameters",
            ),
        },
        Value::Array(list) => {
            for (i, inner) in list.iter_mut().enumerate() {
                let at = format!("{at}[{}]", entry_label(inner, i, at));
                put(inner, values, &at, depth + 1, refusals);
            }
        }
        Value::Object(fields) => {
            for (key, inner) in fields {
                put(inner, values, &format!("{at}.{key}"), depth + 1, refusals);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text with its parameters, `None` where it has none. One that is a parameter and nothing else becomes its value, of the
/// parameter's type. `$${` stays what it is: a literal `${` for what is expanded during the run.
fn fill_text(text: &str, values: &BTreeMap<String, Value>) -> Result<Option<Value>, String> {
    const OPEN: &str = "${param.";
    let (mut out, mut rest, mut any) = (String::new(), text, false);
    while let Some(at) = rest.find(OPEN) {
        let (before, tail) = rest.split_at(at);
        let (name, after) =
            tail[OPEN.len()..].split_once('}').ok_or_else(|| tail.chars().take(40).collect::<String>())?;
        if before.ends_with('$') {
            out.push_str(before);
            out.push_str(OPEN);
            rest = &tail[OPEN.len()..];
            continue;
        }
        let value = values.get(name).ok_or_else(|| name.chars().take(40).collect::<String>())?;
        if before.is_empty() && out.is_empty() && after.is_empty() {
            return Ok(Some(value.clone()));
        }
        out.push_str(before);
        match value {
            Value::String(s) => out.push_str(s),
            other => out.push_str(&other.to_string()),
        }
        any = true;
        rest = after;
    }
    out.push_str(rest);
    Ok(any.then_some(Value::String(out)))
}
