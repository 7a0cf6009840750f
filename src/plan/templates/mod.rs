//! PURE. Templates: a Cutover and the templates it uses → one Cutover that uses none, or every refusal.
//!
//! In each phase the steps of templates with `place: Before` come first, in the order of `spec.templates`, then the
//! Cutover's own, then those of templates with `place: After`. Parameters are put into texts only, after the template was
//! read and before anything is checked: a value can never add a field or a step. A template names no Service, side or
//! namespace, and its Jobs run as the Cutover's own account or one that the Cutover lists ([`super::accounts`]): whoever uses
//! one needs, and gets, no other right than theirs. A policy asks whoever writes one for the verb `use` on all of them.

mod parameters;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use schema::DEFINITION;
use serde_json::{Map, Value};

use crate::api::cutover::CutoverSpec;
use crate::api::phases::PHASES;
use crate::api::template::{Template, TemplateKind, TemplateParameter, TemplatePlace, TemplateUse};

use super::refuse::{Refusals, label};
use super::{PlanTemplate, Refusal};

/// A template that `spec.templates` names, as it was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundTemplate {
    pub uid: String,
    /// Its generation: it changes with every change of what the template says.
    pub generation: i64,
    pub template: Template,
}

/// Where lists of steps, triggers and follow-ups stand, in a spec and in a template alike.
fn lists() -> impl Iterator<Item = String> {
    let phases = PHASES.iter().map(|phase| format!("phases.{phase}.steps"));
    phases.chain(["observe.triggers".to_owned(), "followUp".to_owned()])
}

/// A Cutover in which nothing is left of templates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expanded {
    /// With the steps and triggers of all templates.
    pub spec: CutoverSpec,
    /// What was used, for the plan.
    pub used: Vec<PlanTemplate>,
    /// Of each list, in its order: an entry's label in field paths, and where the entry came from.
    origins: Vec<(String, Vec<(String, String)>)>,
}

impl Expanded {
    /// A refusal of the expanded spec, with the field that its author wrote.
    pub fn explain(&self, refusal: Refusal) -> Refusal {
        for (list, origins) in &self.origins {
            let Some(rest) = refusal.field.strip_prefix(list.as_str()).and_then(|r| r.strip_prefix('[')) else {
                continue;
            };
            let Some((label, rest)) = rest.split_once(']') else { continue };
            // Of two entries of one name, what is refused is the second.
            if let Some((_, origin)) = origins.iter().rev().find(|(known, _)| known == label) {
                return Refusal { field: format!("{origin}{rest}"), ..refusal };
            }
        }
        refusal
    }
}

/// What is wrong with a template whatever values its parameters get: phases that do not exist, what it cannot say, and
/// parameters that it does not declare.
pub(crate) fn alone(kind: TemplateKind, name: &str, template: &Template) -> Vec<Refusal> {
    let mut refusals = Refusals::default();
    let typical = |parameter: &TemplateParameter| TemplateParameter {
        default: Some(parameter.type_.unwrap_or_default().typical().to_owned()),
        pattern: None,
        ..parameter.clone()
    };
    let template = Template { parameters: template.parameters.iter().map(typical).collect(), ..template.clone() };
    let usage = TemplateUse { kind: Some(kind), name: name.to_owned(), ..TemplateUse::default() };
    let _ = parameters::fill(&template, &usage, "spec", "spec", &mut refusals);
    refusals.0
}

/// Expands `spec`; `found` has an entry for each of `spec.templates`, `None` where the template does not exist.
pub(crate) fn expand(
    namespace: &str,
    spec: &CutoverSpec,
    found: &[Option<FoundTemplate>],
) -> Result<Expanded, Vec<Refusal>> {
    if spec.templates.is_empty() {
        return Ok(Expanded { spec: spec.clone(), used: vec![], origins: vec![] });
    }
    let mut refusals = Refusals::default();
    let mut bodies = vec![];
    let mut used = vec![];
    for (i, usage) in spec.templates.iter().enumerate() {
        let kind = usage.kind.unwrap_or_default();
        let at = format!("spec.templates[{i}]");
        let Some(found) = found.get(i).and_then(Option::as_ref) else {
            let place = match kind {
                TemplateKind::CutoverTemplate => format!(" in namespace {namespace}"),
                TemplateKind::ClusterCutoverTemplate => String::new(),
            };
            refusals.add(
                format!("{at}.name"),
                format!("there is no {} {}{place}", kind.as_str(), usage.name),
                "create it, or correct kind and name",
            );
            continue;
        };
        let origin = format!("{at} ({} {})", kind.as_str(), usage.name);
        if let Some(body) = parameters::fill(&found.template, usage, &at, &origin, &mut refusals) {
            bodies.push((usage.place.unwrap_or_default(), origin, body));
        }
        used.push(PlanTemplate {
            kind: kind.as_str().to_owned(),
            name: usage.name.clone(),
            uid: found.uid.clone(),
            generation: found.generation,
        });
    }
    let own = CutoverSpec { templates: vec![], ..spec.clone() };
    let mut whole = match serde_json::to_value(&own) {
        Ok(whole) => whole,
        Err(why) => {
            refusals.add("spec", format!("the spec cannot be read: {why}"), "write it anew");
            return Err(refusals.0);
        }
    };
    let mut origins = vec![];
    for path in lists() {
        let path = path.as_str();
        let mut all: Vec<Value> = vec![];
        let mut from: Vec<(String, String)> = vec![];
        let mut add = |list: Option<&Value>, prefix: &str| {
            for (i, entry) in list.and_then(Value::as_array).into_iter().flatten().enumerate() {
                let name = entry["name"].as_str().unwrap_or_default();
                from.push((label(name, all.len()), format!("{prefix}.{path}[{}]", label(name, i))));
                all.push(entry.clone());
            }
        };
        let of = |place: TemplatePlace| bodies.iter().filter(move |(p, ..)| *p == place);
        of(TemplatePlace::Before).for_each(|(_, origin, body)| add(lookup(body, path), origin));
        add(lookup(&whole, path), "spec");
        of(TemplatePlace::After).for_each(|(_, origin, body)| add(lookup(body, path), origin));
        if !all.is_empty() {
            put(&mut whole, path, Value::Array(all));
            origins.push((format!("spec.{path}"), from));
        }
    }
    let explain = |refusal: Refusal, origins: Vec<(String, Vec<(String, String)>)>| {
        Expanded { spec: own.clone(), used: vec![], origins }.explain(refusal)
    };
    // What the API server checks of a Cutover it cannot check of a template.
    let mut wrong = Refusals::default();
    schema::check(&whole, &mut wrong);
    refusals.0.extend(wrong.0.into_iter().map(|r| explain(r, origins.clone())));
    if !refusals.0.is_empty() {
        return Err(refusals.0);
    }
    match serde_json::from_value(whole) {
        Ok(spec) => Ok(Expanded { spec, used, origins }),
        Err(why) => {
            let message = format!("with its templates, the Cutover cannot be read: {why}");
            Err(vec![Refusal { field: "spec.templates".into(), message, remedy: "correct the template".into() }])
        }
    }
}

/// The value at a dotted path.
fn lookup<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}

/// Puts a value at a dotted path; objects on the way are made.
fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}
