//! PURE. Files → objects: Cutover's own, which are checked, and others, which they refer to.

use std::collections::BTreeMap;

use super::nearest::nearest;
use super::yaml::{self, Key, Kind, Node, Place, ProblemKind};
use super::{Code, File, Finding, MAX_ALL, MAX_FILE};
use crate::api::{GROUP, VERSION};

/// Kinds that people apply.
pub(super) const OWN: [&str; 4] = ["Cutover", "CutoverTemplate", "ClusterCutoverTemplate", "CutoverDecision"];
/// Kinds of which more than the name is looked at.
const READ: [&str; 6] = ["Deployment", "StatefulSet", "Service", "Secret", "ConfigMap", "ExternalSecret"];
/// Most values that are kept of all files together.
const MAX_KEPT: usize = 2 * yaml::MAX_VALUES;

/// An object of a file.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub file: String,
    pub kind: String,
    pub name: String,
    pub namespace: Option<String>,
    /// All of it; only where it begins for kinds that are not looked at.
    pub node: Node,
}

impl Object {
    /// As findings name it.
    pub fn title(&self) -> String {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }

    /// A finding in one of its fields.
    pub fn finding(&self, code: Code, field: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (place, _) = self.node.find(field);
        Finding {
            code,
            file: self.file.clone(),
            place,
            object: self.title(),
            field: field.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Whether both can be of one namespace: one that names none goes wherever it is applied.
    pub fn beside(&self, other: &Self) -> bool {
        self.namespace.is_none() || other.namespace.is_none() || self.namespace == other.namespace
    }
}

/// The objects of the input.
#[derive(Debug, Default)]
pub(super) struct Objects {
    own: Vec<Object>,
    others: BTreeMap<(String, String), Vec<Object>>,
    kept: usize,
}

impl Objects {
    /// Those of Cutover's own kinds.
    pub fn own(&self) -> impl Iterator<Item = &Object> {
        self.own.iter()
    }

    /// How many there are beside them.
    pub fn others(&self) -> usize {
        self.others.values().map(Vec::len).sum()
    }

    /// Of another kind, by its name, where it can be of the same namespace as `near`.
    pub fn get(&self, kind: &str, name: &str, near: &Object) -> Option<&Object> {
        let found = self.others.get(&(kind.to_owned(), name.to_owned()));
        found.into_iter().flatten().find(|object| object.beside(near))
    }

    /// A template, by its kind and name.
    pub fn template(&self, kind: &str, name: &str, near: &Object) -> Option<&Object> {
        let cluster = kind == "ClusterCutoverTemplate";
        self.own.iter().find(|o| o.kind == kind && o.name == name && (cluster || o.beside(near)))
    }
}

/// Reads files; what is wrong with them is added to `findings`.
pub(super) fn of(files: Vec<File>, findings: &mut Vec<Finding>) -> Objects {
    let mut objects = Objects::default();
    let mut all = 0_usize;
    for file in files {
        all = all.saturating_add(file.bytes.len());
        let limit = if file.bytes.len() > MAX_FILE {
            Some(format!("the file has more than {} MiB", MAX_FILE / 1024 / 1024))
        } else if all > MAX_ALL {
            Some(format!("all files together have more than {} MiB", MAX_ALL / 1024 / 1024))
        } else {
            None
        };
        if let Some(message) = limit {
            let place = Place { line: 1, column: 1 };
            findings.push(of_file(Code::Limit, &file.name, place, message, "check fewer or smaller files at once"));
            continue;
        }
        match std::str::from_utf8(&file.bytes) {
            Ok(text) => read(&file.name, text, &mut objects, findings),
            Err(why) => {
                let before = file.bytes.get(..why.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|b| **b == b'\n').count();
                let place = Place { line, column: 1 };
                let message = format!("byte {} is not UTF-8", why.valid_up_to());
                findings.push(of_file(Code::Unreadable, &file.name, place, message, "save it as UTF-8"));
            }
        }
    }
    twice(&objects, findings);
    objects
}

fn of_file(code: Code, file: &str, place: Place, message: String, remedy: &str) -> Finding {
    let (object, field, remedy) = (String::new(), String::new(), remedy.to_owned());
    Finding { code, file: file.to_owned(), place, object, field, message, remedy }
}

fn read(name: &str, text: &str, objects: &mut Objects, findings: &mut Vec<Finding>) {
    let contents = yaml::read(text);
    for Key { text, place } in contents.twice {
        let message = format!("the key {text:?} is given twice in one mapping, and the last one counts");
        findings.push(of_file(Code::KeyTwice, name, place, message, "keep one of them"));
    }
    let mut stack: Vec<Node> = contents.documents.into_iter().rev().collect();
    while let Some(node) = stack.pop() {
        let is_list = node.text_at(&["kind"]).is_some_and(|kind| kind.ends_with("List"));
        if is_list && matches!(node.get("items").map(|items| &items.kind), Some(Kind::List(_))) {
            let items = node.fields().iter().find(|(key, _)| key.text == "items").map(|(_, n)| n.entries().to_vec());
            stack.extend(items.unwrap_or_default().into_iter().rev());
            continue;
        }
        take(name, node, objects, findings);
    }
    if let Some(problem) = contents.problem {
        let (code, message) = match problem.kind {
            ProblemKind::Syntax(why) => (Code::NotYaml, why),
            ProblemKind::Limit(why) => (Code::Limit, why),
        };
        let remedy = match code {
            Code::Limit => "divide the file, or write out what aliases repeat",
            _ if text.contains("{{") => {
                "check what a chart renders and not its templates: helm template … | kubectl cutover lint -f -"
            }
            _ => "correct it; what follows in this file is not checked",
        };
        findings.push(of_file(code, name, problem.place, message, remedy));
    }
}

/// Takes in one object of a file.
fn take(file: &str, node: Node, objects: &mut Objects, findings: &mut Vec<Finding>) {
    if !matches!(node.kind, Kind::Object(_)) {
        return;
    }
    let text = |path: &[&str]| node.text_at(path).map(str::to_owned);
    let (api, kind) = (text(&["apiVersion"]).unwrap_or_default(), text(&["kind"]).unwrap_or_default());
    let name = text(&["metadata", "name"]).unwrap_or_default();
    let namespace = text(&["metadata", "namespace"]).filter(|n| !n.is_empty() && kind != "ClusterCutoverTemplate");
    let group = api.split('/').next().unwrap_or_default();
    let mut object = Object { file: file.to_owned(), kind, name, namespace, node };
    let known = OWN.contains(&object.kind.as_str());
    if group == GROUP && object.kind == "CutoverRun" {
        findings.push(object.finding(
            Code::NotApplied,
            "kind",
            "runs are created by the operator alone",
            "leave it out; change spec.release or spec.activate of the Cutover to start one",
        ));
        return;
    }
    if group == GROUP && !known {
        let near = nearest(&object.kind, OWN).map_or_else(String::new, |near| format!(", such as {near}"));
        let message = format!("{GROUP} has no kind {:?}", object.kind);
        findings.push(object.finding(Code::UnknownKind, "kind", message, format!("write one of its kinds{near}")));
        return;
    }
    let ours = known && (group == GROUP || api.is_empty() || group.contains("cutover"));
    if ours && api != format!("{GROUP}/{VERSION}") {
        let message = format!("{:?} is not the apiVersion of a {}", api, object.kind);
        findings.push(object.finding(
            Code::UnknownKind,
            "apiVersion",
            message,
            format!("write apiVersion: {GROUP}/{VERSION}"),
        ));
        return;
    }
    let shaped = ["sides", "activate"].iter().all(|key| object.node.get("spec").is_some_and(|s| s.get(key).is_some()));
    if object.kind.is_empty() && shaped {
        let message = "this has the fields of a Cutover, but no apiVersion and kind";
        let remedy = format!("write apiVersion: {GROUP}/{VERSION} and kind: Cutover");
        findings.push(object.finding(Code::UnknownKind, "", message, remedy));
        return;
    }
    if object.kind.is_empty() {
        return; // values of charts, patches, settings of other tools
    }
    if !ours && !READ.contains(&object.kind.as_str()) {
        object.node = Node { kind: Kind::Null, size: 1, depth: 0, ..object.node };
    }
    objects.kept = objects.kept.saturating_add(object.node.size);
    if objects.kept > MAX_KEPT {
        let message = format!("more than {MAX_KEPT} values in all files together");
        findings.push(of_file(Code::Limit, file, object.node.place, message, "check fewer files at once"));
        return;
    }
    if ours {
        objects.own.push(object);
    } else {
        objects.others.entry((object.kind.clone(), object.name.clone())).or_default().push(object);
    }
}

fn twice(objects: &Objects, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<(&str, &str, Option<&str>), &Object> = BTreeMap::new();
    for object in objects.own().filter(|object| !object.name.is_empty()) {
        let key = (object.kind.as_str(), object.name.as_str(), object.namespace.as_deref());
        let Some(first) = seen.insert(key, object) else { continue };
        let message = format!("it is in {} too, line {}", first.file, first.node.place.line);
        let remedy = "keep one; check what kustomize builds, and not a base beside its overlays";
        findings.push(object.finding(Code::ObjectTwice, "metadata.name", message, remedy));
    }
}
