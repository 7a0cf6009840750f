//! PURE. What the objects of the input say of each other: what contradicts a Cutover, and with `--require-references` what it
//! refers to and nobody brings.

mod steps;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::Value;

use super::objects::{Object, Objects};
use super::resolving::Whole;
use super::yaml::Node;
use super::{Code, Finding, Options};
use crate::api::cutover::{CutoverSpec, Side};
use crate::api::step::{WorkloadKind, WorkloadRef};
use crate::plan::Refusal;

/// Checks the Cutovers of the input against its other objects.
pub(super) fn check(objects: &Objects, wholes: &[Whole<'_>], options: &Options, findings: &mut Vec<Finding>) {
    for whole in wholes {
        let mut cx = Cx { objects, whole, require: options.require_references, findings, specs: RefCell::default() };
        cx.services();
        cx.workloads();
        cx.release();
        cx.actions();
        cx.spec_references();
    }
    claimed_twice(wholes, findings);
}

/// A Service of two Cutovers would be switched by both.
fn claimed_twice(wholes: &[Whole<'_>], findings: &mut Vec<Finding>) {
    for (n, whole) in wholes.iter().enumerate() {
        for (i, service) in whole.spec().services.iter().enumerate() {
            let first = wholes.iter().take(n).find(|other| {
                other.object.name != whole.object.name
                    && other.object.namespace == whole.object.namespace
                    && other.spec().services.contains(service)
            });
            if let Some(first) = first {
                findings.push(whole.finding(
                    Code::Claimed,
                    Refusal {
                        field: format!("spec.services[{i}].name"),
                        message: format!("Service {} is switched by {} too", service.name, first.object.title()),
                        remedy: "leave it to one of them".into(),
                    },
                ));
            }
        }
    }
}

/// A workload, its object, and the spec of that.
type Pods<'c> = (&'c WorkloadRef, &'c Object, Rc<Value>);

struct Cx<'c> {
    objects: &'c Objects,
    whole: &'c Whole<'c>,
    require: bool,
    findings: &'c mut Vec<Finding>,
    /// The specs of objects that were looked at.
    specs: RefCell<HashMap<*const Object, Rc<Value>>>,
}

impl<'c> Cx<'c> {
    fn spec(&self) -> &'c CutoverSpec {
        self.whole.spec()
    }

    /// The spec of an object; made once, since many steps name the same workloads.
    fn spec_of(&self, object: &Object) -> Rc<Value> {
        let mut specs = self.specs.borrow_mut();
        let spec = || object.node.get("spec").map(Node::to_json).unwrap_or_default();
        Rc::clone(specs.entry(std::ptr::from_ref(object)).or_insert_with(|| Rc::new(spec())))
    }

    fn add(&mut self, code: Code, field: impl Into<String>, message: String, remedy: &str) {
        let refusal = Refusal { field: field.into(), message, remedy: remedy.to_owned() };
        self.findings.push(self.whole.finding(code, refusal));
    }

    /// An object that a field names. One that nobody brings is told where references are required.
    fn named(&mut self, kind: &str, name: &str, field: &str) -> Option<&'c Object> {
        let found = self.objects.get(kind, name, self.whole.object);
        if found.is_none() && self.require && !name.contains("${") && !self.brought(kind, name) {
            let remedy = "add it to the input, or correct the name";
            self.add(Code::Missing, field, format!("{kind} {name} is not in the input"), remedy);
        }
        found
    }

    /// Whether another object of the input makes this one.
    fn brought(&self, kind: &str, name: &str) -> bool {
        let from = |maker: &str| self.objects.get(maker, name, self.whole.object).is_some();
        kind == "Secret" && (from("SealedSecret") || from("ExternalSecret"))
    }

    fn services(&mut self) {
        let sides = &self.spec().sides;
        let mut pointing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (i, service) in self.spec().services.iter().enumerate() {
            let field = format!("spec.services[{i}].name");
            let Some(object) = self.named("Service", &service.name, &field) else { continue };
            let selector = labels(&self.spec_of(object)["selector"]);
            match sides.iter().find(|side| within(&side.selector, &selector)) {
                Some(side) => pointing.entry(&side.name).or_default().push(&service.name),
                None => {
                    let wanted: Vec<String> = sides.iter().map(|side| shown(&side.selector)).collect();
                    let message = format!(
                        "Service {} ({}) selects {}, which is neither side's: {}",
                        service.name,
                        at(object),
                        shown(&selector),
                        wanted.join(" or ")
                    );
                    self.add(Code::Selector, field, message, "give its selector the labels of the side that is live");
                }
            }
        }
        if pointing.len() > 1 {
            let list: Vec<String> =
                pointing.iter().map(|(side, names)| format!("{} to {side}", names.join(", "))).collect();
            let message = format!("the Services point to different sides: {}", list.join("; "));
            self.add(Code::Selector, "spec.services", message, "point all of them to the side that is live");
        }
    }

    /// The workloads of a side that are in the input, with what their pods are, and whether all are.
    fn pods(&self, side: &Side) -> (Vec<Pods<'c>>, bool) {
        let spec = self.spec();
        let Some(side) = spec.sides.iter().find(|known| known.name == side.name) else { return (vec![], false) };
        let found: Vec<_> = side
            .workloads
            .iter()
            .filter_map(|workload| {
                let object = self.objects.get(kind(workload.kind), &workload.name, self.whole.object)?;
                Some((workload, object, self.spec_of(object)))
            })
            .collect();
        let all = found.len() == side.workloads.len();
        (found, all)
    }

    fn workloads(&mut self) {
        for (s, side) in self.spec().sides.iter().enumerate() {
            for (i, workload) in side.workloads.iter().enumerate() {
                self.named(kind(workload.kind), &workload.name, &format!("spec.sides[{s}].workloads[{i}].name"));
            }
            let (found, all) = self.pods(side);
            let mut carried = false;
            for (workload, object, spec) in &found {
                let labels = labels(&spec["template"]["metadata"]["labels"]);
                carried |= within(&side.selector, &labels);
                let other: Vec<String> = side
                    .selector
                    .iter()
                    .filter_map(|(key, value)| {
                        labels.get(key).filter(|has| *has != value).map(|has| format!("{key}={has}"))
                    })
                    .collect();
                if !other.is_empty() {
                    let i = side.workloads.iter().position(|w| w == *workload).unwrap_or_default();
                    let message = format!(
                        "the pods of {} {} ({}) carry {} and not {}",
                        kind(workload.kind),
                        workload.name,
                        at(object),
                        other.join(", "),
                        shown(&side.selector)
                    );
                    let remedy = "correct spec.template.metadata.labels, or move the workload to the other side";
                    self.add(Code::Labels, format!("spec.sides[{s}].workloads[{i}].name"), message, remedy);
                    carried = true; // told once
                }
            }
            if all && !found.is_empty() && !carried {
                let message = format!("no workload of side {} has pods with {}", side.name, shown(&side.selector));
                let remedy = "give the pod template of what serves users these labels";
                self.add(Code::Labels, format!("spec.sides[{s}].selector"), message, remedy);
                continue;
            }
            self.selected(s, side, &found, all && carried);
        }
    }

    /// Each Service finds pods of the side once its selector is switched.
    fn selected(&mut self, s: usize, side: &Side, found: &[Pods<'_>], known: bool) {
        if !known {
            return;
        }
        for service in &self.spec().services {
            let Some(object) = self.objects.get("Service", &service.name, self.whole.object) else { continue };
            let mut selector = labels(&self.spec_of(object)["selector"]);
            if !self.spec().sides.iter().any(|side| within(&side.selector, &selector)) {
                continue; // told already
            }
            selector.extend(side.selector.clone());
            let selects = |spec: &Value| within(&selector, &labels(&spec["template"]["metadata"]["labels"]));
            let told = found.iter().any(|(_, _, spec)| {
                let labels = labels(&spec["template"]["metadata"]["labels"]);
                side.selector.iter().any(|(key, value)| labels.get(key).is_some_and(|has| has != value))
            });
            if !told && !found.iter().any(|(_, _, spec)| selects(spec)) {
                let message = format!(
                    "Service {} ({}) would select {}, which no pod of side {} carries",
                    service.name,
                    at(object),
                    shown(&selector),
                    side.name
                );
                let remedy = "give the pod template these labels, or correct the Service's selector";
                self.add(Code::Labels, format!("spec.sides[{s}].workloads"), message, remedy);
            }
        }
    }

    /// The target of the input runs what the release says.
    fn release(&mut self) {
        let spec = self.spec();
        let Some(release) = &spec.release else { return };
        let Some(target) = spec.sides.iter().find(|side| side.name == spec.activate) else { return };
        let (found, all) = self.pods(target);
        if let (Some(label), Some(version)) = (&release.pod_label, &release.version) {
            for (workload, object, spec) in &found {
                let labels = labels(&spec["template"]["metadata"]["labels"]);
                if labels.get(label) != Some(version) {
                    let has = labels.get(label).map_or_else(|| "no such label".to_owned(), |has| format!("{has:?}"));
                    let message = format!(
                        "the pods of {} {} ({}) have {has} for {label}, and the release is {version:?}",
                        kind(workload.kind),
                        workload.name,
                        at(object)
                    );
                    self.add(Code::Release, "spec.release.version", message, "change both in one commit");
                }
            }
        }
        if !all {
            return;
        }
        let images: BTreeSet<&str> =
            found.iter().flat_map(|(_, _, spec)| containers(&spec["template"])).filter_map(image).collect();
        for (i, image) in release.images.iter().enumerate().filter(|(_, image)| !images.contains(image.as_str())) {
            let message = format!("no container of side {} runs {image:?} in the input", target.name);
            self.add(Code::Release, format!("spec.release.images[{i}]"), message, "change both in one commit");
        }
    }

    /// What the spec itself refers to.
    fn spec_references(&mut self) {
        let spec = self.spec();
        self.named("ServiceAccount", &spec.service_account_name, "spec.serviceAccountName");
        for (i, account) in spec.job_service_accounts.iter().enumerate() {
            self.named("ServiceAccount", account, &format!("spec.jobServiceAccounts[{i}]"));
        }
        let Some(prometheus) = &spec.prometheus else { return };
        if let Some(service) = &prometheus.service {
            self.named("Service", &service.name, "spec.prometheus.service.name");
        }
        if let Some(from) = &prometheus.ca_from {
            if let Some(secret) = &from.secret {
                self.secret(secret, "spec.prometheus.caFrom.secret");
            }
            if let Some(map) = &from.config_map {
                self.key_of("ConfigMap", map, "spec.prometheus.caFrom.configMap");
            }
        }
        for (i, header) in prometheus.headers_from.iter().enumerate() {
            self.secret(&header.secret, &format!("spec.prometheus.headersFrom[{i}].secret"));
        }
    }
}

fn kind(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    }
}

fn at(object: &Object) -> String {
    format!("{}:{}", object.file, object.node.place.line)
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn within(part: &BTreeMap<String, String>, whole: &BTreeMap<String, String>) -> bool {
    part.iter().all(|(key, value)| whole.get(key) == Some(value))
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "nothing".to_owned();
    }
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The containers of a pod template, those that run first included.
fn containers(template: &Value) -> Vec<&Value> {
    let lists = ["containers", "initContainers"];
    lists.iter().filter_map(|list| template["spec"][*list].as_array()).flatten().collect()
}

fn image(container: &Value) -> Option<&str> {
    container["image"].as_str()
}
