//! PURE. What the operator does when a Cutover is applied, with the templates of the input: the same functions, whichever
//! side is live.

use std::collections::BTreeSet;

use super::objects::{Object, Objects};
use super::schema::Checked;
use super::{Code, Finding, Options, references, warnings};
use crate::api::cutover::{Cutover, CutoverSpec};
use crate::api::template::{ClusterCutoverTemplate, CutoverTemplate, Template, TemplateKind};
use crate::plan::templates::{Expanded, FoundTemplate, alone, expand};
use crate::plan::{Offered, Receivers, Refusal, resolve};

/// Stands for the source of metrics that the operator's configuration may name as its default.
const SOME_SOURCE: &str = "default";

/// An object with what its definition says of it.
pub(super) type Read<'o> = (&'o Object, Checked);

/// A Cutover with the templates that it uses, and how its fields are found again.
pub(super) struct Whole<'o> {
    pub object: &'o Object,
    /// Without templates, as the operator runs it.
    pub expanded: Expanded,
    /// The templates that it names, in their order.
    templates: Vec<Option<&'o Object>>,
}

impl Whole<'_> {
    /// The spec.
    pub fn spec(&self) -> &CutoverSpec {
        &self.expanded.spec
    }

    /// A finding in a field of the expanded spec, where its author wrote that.
    pub fn finding(&self, code: Code, refusal: Refusal) -> Finding {
        place(self.object, &self.templates, code, self.expanded.explain(refusal))
    }

    /// Whether the author wrote this field.
    pub fn wrote(&self, field: &str, below: &[&str]) -> bool {
        let told =
            self.expanded.explain(Refusal { field: field.into(), message: String::new(), remedy: String::new() });
        let (object, field) = home(self.object, &self.templates, &told.field);
        let (_, node) = object.node.find(&field);
        below.iter().try_fold(node, |node, key| node.get(key)).is_some()
    }
}

/// Checks all Cutovers and templates.
pub(super) fn check(objects: &Objects, read: &[Read<'_>], options: &Options, findings: &mut Vec<Finding>) {
    let mut used: BTreeSet<*const Object> = BTreeSet::new();
    let mut wholes = vec![];
    for (object, checked) in read.iter().filter(|(object, _)| object.kind == "Cutover") {
        let Some(cutover) = cutover(object, checked, findings) else { continue };
        let mut missing = false;
        let mut templates = vec![];
        let mut found = vec![];
        for (i, usage) in cutover.spec.templates.iter().enumerate() {
            let kind = usage.kind.unwrap_or_default();
            let template = objects.template(kind.as_str(), &usage.name, object);
            let content = template.and_then(|template| content(template, read));
            if let Some(template) = template {
                used.insert(std::ptr::from_ref(template));
                missing |= content.is_none(); // what is wrong with it was told
            } else {
                missing = true;
                let message = format!("{} {} is not in the input", kind.as_str(), usage.name);
                let (code, remedy) = if options.require_references {
                    (Code::Missing, "add it to the input, or correct kind and name")
                } else {
                    (
                        Code::Unchecked,
                        "add it to the input: without it neither its steps nor what refers to them is checked",
                    )
                };
                findings.push(object.finding(code, &format!("spec.templates[{i}].name"), message, remedy));
            }
            templates.push(template);
            found.push(content);
        }
        if missing {
            continue; // what refers to its steps would be refused without cause
        }
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        match expand(&namespace, &cutover.spec, &found) {
            Err(refusals) => {
                for refusal in refusals {
                    add(place(object, &templates, Code::Refused, refusal), options, findings);
                }
            }
            Ok(expanded) => {
                let whole = Whole { object, expanded, templates };
                refuse(&whole, &namespace, options, findings);
                warnings::check(&whole, options, findings);
                wholes.push(whole);
            }
        }
    }
    references::check(objects, &wholes, options, findings);
    for (object, checked) in read.iter().filter(|(object, _)| object.kind.ends_with("Template")) {
        template(object, checked, used.contains(&std::ptr::from_ref(*object)), findings);
    }
}

/// The Cutover, where it can be read at all.
fn cutover(object: &Object, checked: &Checked, findings: &mut Vec<Finding>) -> Option<Cutover> {
    match serde_json::from_value(checked.value.clone()) {
        Ok(cutover) => Some(cutover),
        Err(why) => {
            // Otherwise the definition has told it.
            if checked.right {
                findings.push(object.finding(Code::Refused, "spec", format!("it cannot be read: {why}"), "correct it"));
            }
            None
        }
    }
}

/// What the operator refuses, as long as the definition has not told it.
fn refuse(whole: &Whole<'_>, namespace: &str, options: &Options, findings: &mut Vec<Finding>) {
    let spec = whole.spec();
    let refusals = |activate: &str| {
        let other = spec.sides.iter().find(|side| side.name != activate).map(|side| side.name.clone());
        let spec = CutoverSpec { activate: activate.to_owned(), ..spec.clone() };
        let offered = options.offered.clone().unwrap_or_else(|| anything(&spec));
        let offered = Offered { receivers: receivers(&spec), ..offered };
        resolve(&whole.object.name, namespace, &spec, &other.unwrap_or_default(), &offered).err().unwrap_or_default()
    };
    let now = refusals(&spec.activate);
    for refusal in &now {
        add(whole.finding(Code::Refused, refusal.clone()), options, findings);
    }
    let Some(back) = spec.sides.iter().find(|side| side.name != spec.activate) else { return };
    for refusal in refusals(&back.name).into_iter().filter(|refusal| !now.contains(refusal)) {
        let message = format!("when {} is activated next: {}", back.name, refusal.message);
        add(whole.finding(Code::WayBack, Refusal { message, ..refusal }), options, findings);
    }
}

/// Offers whatever is named, since the operator's configuration is not known.
fn anything(spec: &CutoverSpec) -> Offered {
    let named = spec.prometheus.as_ref().and_then(|prometheus| prometheus.name.clone());
    Offered { names: named.into_iter().collect(), default: Some(SOME_SOURCE.to_owned()), ..Offered::default() }
}

/// Offers whichever receivers are named.
fn receivers(spec: &CutoverSpec) -> Receivers {
    let named = spec.notify.iter().filter_map(|receiver| receiver.offered.clone());
    Receivers { names: named.collect(), ..Receivers::default() }
}

/// Adds a finding unless an error in the same field, or around it, is told already.
fn add(finding: Finding, options: &Options, findings: &mut Vec<Finding>) {
    let around = |outer: &str, inner: &str| {
        !outer.is_empty()
            && inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let told = |known: &&Finding| {
        matches!(known.code, Code::UnknownField | Code::Value | Code::Rule | Code::Metadata)
            && !options.ignore.contains(&known.code)
            && known.object == finding.object
            && known.file == finding.file
            && around(&known.field, &finding.field)
    };
    if !findings.iter().any(|known| told(&known)) {
        findings.push(finding);
    }
}

/// Where the author wrote a field: of the Cutover, or of a template that the field names.
fn home<'o>(object: &'o Object, templates: &[Option<&'o Object>], field: &str) -> (&'o Object, String) {
    let of_template = || {
        let (i, rest) = field.strip_prefix("spec.templates[")?.split_once(']')?;
        let template = templates.get(i.parse::<usize>().ok()?).copied().flatten()?;
        let (_, rest) = rest.strip_prefix(" (")?.split_once(").")?;
        Some((template, format!("spec.{rest}")))
    };
    of_template().unwrap_or_else(|| (object, field.to_owned()))
}

fn place(object: &Object, templates: &[Option<&Object>], code: Code, refusal: Refusal) -> Finding {
    let (written, field) = home(object, templates, &refusal.field);
    let finding = written.finding(code, &field, refusal.message, refusal.remedy);
    if std::ptr::eq(written, object) {
        return finding;
    }
    Finding { message: format!("as {} uses it: {}", object.title(), finding.message), ..finding }
}

/// What a template of the input says, where it can be read.
fn content(template: &Object, read: &[Read<'_>]) -> Option<FoundTemplate> {
    let (_, checked) = read.iter().find(|(object, _)| std::ptr::eq(*object, template))?;
    let value = checked.value.clone();
    let template: Template = match kind(template) {
        TemplateKind::CutoverTemplate => serde_json::from_value::<CutoverTemplate>(value).ok()?.spec.template,
        TemplateKind::ClusterCutoverTemplate => {
            serde_json::from_value::<ClusterCutoverTemplate>(value).ok()?.spec.template
        }
    };
    Some(FoundTemplate { uid: String::new(), generation: 0, template })
}

fn kind(template: &Object) -> TemplateKind {
    match template.kind.as_str() {
        "ClusterCutoverTemplate" => TemplateKind::ClusterCutoverTemplate,
        _ => TemplateKind::CutoverTemplate,
    }
}

/// A template by itself: what is wrong whoever uses it.
fn template(object: &Object, checked: &Checked, used: bool, findings: &mut Vec<Finding>) {
    let read = [(object, checked.clone())];
    let Some(content) = content(object, &read) else {
        if checked.right {
            findings.push(object.finding(
                Code::Template,
                "spec",
                "it cannot be read",
                "docs/templates.md shows the form",
            ));
        }
        return;
    };
    for refusal in alone(kind(object), &object.name, &content.template) {
        let finding = object.finding(Code::Template, &refusal.field, refusal.message, refusal.remedy);
        let told = findings.iter().any(|known| known.place == finding.place && known.file == finding.file);
        if !(used && told) {
            findings.push(finding);
        }
    }
    // With values for all of its parameters, its steps can be checked by the definition too.
    if used || !checked.right || content.template.parameters.iter().any(|parameter| parameter.default.is_none()) {
        return;
    }
    let Some(spec) = around(object) else { return };
    if let Err(refusals) = expand("default", &spec, &[Some(content)]) {
        for refusal in refusals {
            let finding = place(object, &[Some(object)], Code::Template, refusal);
            if !findings.iter().any(|known| known.place == finding.place && known.file == finding.file) {
                findings.push(finding);
            }
        }
    }
}

/// A Cutover that uses this template and says nothing else.
fn around(template: &Object) -> Option<CutoverSpec> {
    let side = |name: &str| serde_json::json!({"name": name, "selector": {"side": name}, "workloads": [{"kind": "Deployment", "name": name}]});
    serde_json::from_value(serde_json::json!({
        "services": [{"name": "web"}], "sides": [side("blue"), side("green")], "activate": "green",
        "templates": [{"kind": template.kind, "name": template.name}],
    }))
    .ok()
}
