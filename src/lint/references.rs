//! PURE. What the objects of the input say of each other: what contradicts a Cutover, and with `--require-references` what it
//! refers to and nobody brings.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::Value;

use super::actions::{self, Found};
use super::objects::{Object, Objects};
use super::resolving::Whole;
use super::yaml::Node;
use super::{Code, Finding, Options};
use crate::api::cutover::{CutoverSpec, Side};
use crate::api::http::Http;
use crate::api::step::{Action, FromContainer, KeyRef, SideRef, WorkloadKind, WorkloadRef};
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

    fn actions(&mut self) {
        for (field, found) in actions::all(self.spec()) {
            match found {
                Found::Action(action) => self.action(action, &field),
                Found::Http(http) => self.http(http, &field),
                Found::Logs(logs) => {
                    self.workload(logs.workload.as_ref(), &format!("{field}.workload.name"));
                    let side = logs.side.or(logs.workload.is_none().then_some(SideRef::Target));
                    self.container(side, logs.workload.as_slice(), logs.container.as_deref(), &field);
                }
                Found::Resource(resource) => {
                    self.named(&resource.kind, &resource.name, &format!("{field}.name"));
                }
                Found::UndoRollout(undo) => {
                    self.named("Deployment", &undo.deployment, &format!("{field}.deployment"));
                }
            }
        }
    }

    fn action(&mut self, action: &Action, field: &str) {
        match action {
            Action::Job(job) => {
                self.from(job.from.as_ref(), field);
                let account = job.template.as_ref().and_then(|t| t["spec"]["serviceAccountName"].as_str());
                if let Some(account) = account {
                    self.named("ServiceAccount", account, &format!("{field}.template.spec.serviceAccountName"));
                }
                for (i, env) in job.env.iter().enumerate() {
                    self.value_from(env.value_from.as_ref(), &format!("{field}.env[{i}].valueFrom"));
                }
            }
            Action::Http(http) => self.http(http, field),
            Action::Tls(tls) => {
                if tls.to.is_some() {
                    self.port(tls.service.as_deref(), tls.port.as_deref(), &format!("{field}.port"));
                }
            }
            Action::Config(config) => {
                self.from(config.from.as_ref(), field);
                for (kind, name) in [("Secret", &config.secret), ("ConfigMap", &config.config_map)] {
                    let Some(name) = name else { continue };
                    let at = format!("{field}.{}", if kind == "Secret" { "secret" } else { "configMap" });
                    let Some(object) = self.named(kind, name, &at) else { continue };
                    for (i, key) in config.keys.iter().enumerate().filter(|(_, key)| !key.optional) {
                        self.key(object, &key.name, &format!("{field}.keys[{i}].name"));
                    }
                }
            }
            Action::Rollout(x) => self.all_workloads(&x.workloads, field),
            Action::Resource(x) => {
                self.named(&x.kind, &x.name, &format!("{field}.name"));
            }
            Action::Logs(x) => {
                self.workload(x.workload.as_ref(), &format!("{field}.workload.name"));
                self.container(x.side, x.workload.as_slice(), x.container.as_deref(), field);
            }
            Action::Scale(x) => self.all_workloads(&x.workloads, field),
            Action::SetEnv(x) => {
                self.all_workloads(&x.workloads, field);
                self.container(x.side, &x.workloads, x.container.as_deref(), field);
                for (i, env) in x.env.iter().enumerate() {
                    self.value_from(env.value_from.as_ref(), &format!("{field}.env[{i}].valueFrom"));
                }
            }
            Action::Restart(x) => self.all_workloads(&x.workloads, field),
            Action::CronJobs(x) => {
                for (list, names) in [("resume", &x.resume), ("suspend", &x.suspend)] {
                    for (i, name) in names.iter().enumerate() {
                        self.named("CronJob", name, &format!("{field}.{list}[{i}]"));
                    }
                }
            }
            Action::Metric(_) | Action::Wait(_) => {}
        }
    }

    fn http(&mut self, http: &Http, field: &str) {
        if http.path.is_some() {
            self.port(http.service.as_deref(), http.port.as_deref(), &format!("{field}.port"));
        }
        for (i, header) in http.headers_from.iter().enumerate() {
            self.secret(&header.secret, &format!("{field}.headersFrom[{i}].secret"));
        }
        if let Some(body) = &http.body_from {
            self.secret(&body.secret, &format!("{field}.bodyFrom.secret"));
        }
        for (i, file) in http.files.iter().enumerate() {
            if let Some(secret) = &file.secret {
                self.secret(secret, &format!("{field}.files[{i}].secret"));
            }
            if let Some(map) = &file.config_map {
                self.key_of("ConfigMap", map, &format!("{field}.files[{i}].configMap"));
            }
        }
    }

    fn secret(&mut self, key: &KeyRef, field: &str) {
        self.key_of("Secret", key, field);
    }

    fn key_of(&mut self, kind: &str, key: &KeyRef, field: &str) {
        if let Some(object) = self.named(kind, &key.name, &format!("{field}.name")) {
            self.key(object, &key.key, &format!("{field}.key"));
        }
    }

    fn value_from(&mut self, from: Option<&Value>, field: &str) {
        let Some(from) = from else { return };
        for (kind, place) in [("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")] {
            let reference = &from[place];
            if reference["optional"] == true {
                continue;
            }
            if let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) {
                let key = KeyRef { name: name.to_owned(), key: key.to_owned() };
                self.key_of(kind, &key, &format!("{field}.{place}"));
            }
        }
    }

    /// A key of a Secret or a ConfigMap of the input. One without any may be filled by others.
    fn key(&mut self, object: &Object, key: &str, field: &str) {
        let places = ["data", "stringData", "binaryData"];
        let keys: BTreeSet<&str> = places
            .iter()
            .filter_map(|place| object.node.get(place))
            .flat_map(|node| node.fields().iter().map(|(key, _)| key.text.as_str()))
            .collect();
        if !keys.is_empty() && !keys.contains(key) {
            let list: Vec<&str> = keys.into_iter().collect();
            let message = format!("{} {} ({}) has no key {key}", object.kind, object.name, at(object));
            self.add(Code::Key, field, message, &format!("it has {}", list.join(", ")));
        }
    }

    fn workload(&mut self, workload: Option<&WorkloadRef>, field: &str) {
        if let Some(workload) = workload {
            self.named(kind(workload.kind), &workload.name, field);
        }
    }

    fn all_workloads(&mut self, workloads: &[WorkloadRef], field: &str) {
        for (i, workload) in workloads.iter().enumerate() {
            self.workload(Some(workload), &format!("{field}.workloads[{i}].name"));
        }
    }

    fn from(&mut self, from: Option<&FromContainer>, field: &str) {
        if let Some(from) = from {
            self.container(Some(from.side), &[], from.container.as_deref(), &format!("{field}.from"));
        }
    }

    /// A container that a field names: of a workload of either side, since the sides change places.
    fn container(&mut self, side: Option<SideRef>, workloads: &[WorkloadRef], container: Option<&str>, field: &str) {
        let Some(container) = container else { return };
        let mut groups: Vec<(String, Vec<&Object>, bool)> = vec![];
        if side.is_some() {
            for side in &self.spec().sides {
                let (found, all) = self.pods(side);
                groups.push((format!("side {}", side.name), found.into_iter().map(|(_, o, _)| o).collect(), all));
            }
        }
        for workload in workloads.iter().filter(|w| !w.name.contains("${")) {
            let found = self.objects.get(kind(workload.kind), &workload.name, self.whole.object);
            let name = format!("{} {}", kind(workload.kind), workload.name);
            groups.push((name, found.into_iter().collect(), found.is_some()));
        }
        for (name, objects, all) in groups {
            let specs: Vec<Rc<Value>> = objects.iter().map(|object| self.spec_of(object)).collect();
            let names: BTreeSet<&str> = specs
                .iter()
                .flat_map(|spec| containers(&spec["template"]))
                .filter_map(|c| c["name"].as_str())
                .collect();
            if all && !objects.is_empty() && !names.contains(container) {
                let list: Vec<&str> = names.into_iter().collect();
                let message = format!("no container of {name} is named {container}");
                let remedy = format!("name one of {}", list.join(", "));
                self.add(Code::Container, format!("{field}.container"), message, &remedy);
            }
        }
    }

    /// A port of the Services that are switched.
    fn port(&mut self, service: Option<&str>, port: Option<&str>, field: &str) {
        let Some(port) = port else { return };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for name in self.spec().services.iter().map(|s| s.name.as_str()).filter(|n| service.is_none_or(|s| s == *n)) {
            let Some(object) = self.objects.get("Service", name, self.whole.object) else { return };
            for entry in self.spec_of(object)["ports"].as_array().into_iter().flatten() {
                known.extend(entry["port"].as_u64().map(|n| n.to_string()));
                known.extend(entry["name"].as_str().map(str::to_owned));
            }
        }
        if !known.contains(port) && !known.is_empty() {
            let of = service.map_or_else(|| "none of the Services".to_owned(), |s| format!("Service {s} not"));
            let message = format!("{of} has a port {port}").replace("not has a port", "has no port");
            let list: Vec<String> = known.into_iter().collect();
            self.add(Code::Port, field, message, &format!("write one of {}", list.join(", ")));
        }
    }

    /// What the spec itself refers to.
    fn spec_references(&mut self) {
        let spec = self.spec();
        self.named("ServiceAccount", &spec.service_account_name, "spec.serviceAccountName");
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
