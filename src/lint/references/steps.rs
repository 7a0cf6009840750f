//! PURE. What steps and triggers refer to: containers, ports, keys and objects by name.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::{Cx, at, containers, kind};
use crate::api::http::Http;
use crate::api::step::{Action, FromContainer, KeyRef, SideRef, WorkloadRef};
use crate::lint::Code;
use crate::lint::actions::{self, Found};
use crate::lint::objects::Object;
use crate::plan::accounts;

impl Cx<'_> {
    /// All of them.
    pub(super) fn actions(&mut self) {
        for (field, found) in actions::all(self.spec()) {
            match found {
                Found::Action(action) => self.action(action, &field),
                Found::Http(http) => self.http(&http, &field),
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
                self.accounts(job.from.as_ref(), field);
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
        if let Some(url) = &http.url_from {
            self.secret(&url.secret, &format!("{field}.urlFrom.secret"));
        }
        for (i, part) in http.form.iter().enumerate() {
            if let Some(secret) = &part.secret {
                self.secret(secret, &format!("{field}.form[{i}].secret"));
            }
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

    pub(super) fn secret(&mut self, key: &KeyRef, field: &str) {
        self.key_of("Secret", key, field);
    }

    pub(super) fn key_of(&mut self, kind: &str, key: &KeyRef, field: &str) {
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

    /// As which account a Job from a side's container runs: that of the first workload of either side which has it, since
    /// the sides change places.
    fn accounts(&mut self, from: Option<&FromContainer>, field: &str) {
        let Some(from) = from else { return };
        let spec = self.spec();
        let own = spec.service_account_name.trim();
        for side in &spec.sides {
            let has = |template: &Value| {
                let wanted = from.container.as_deref();
                wanted.is_none_or(|name| containers(template).iter().any(|c| c["name"] == name))
            };
            let (found, _) = self.pods(side);
            let Some((workload, object, pod)) = found.into_iter().find(|(.., spec)| has(&spec["template"])) else {
                continue;
            };
            for unlisted in accounts::check(own, &spec.job_service_accounts, &pod["template"]["spec"]) {
                let message = format!(
                    "{} {} ({}) has {}: {}",
                    kind(workload.kind),
                    workload.name,
                    at(object),
                    unlisted.field,
                    unlisted.message
                );
                self.add(Code::Refused, format!("{field}.from"), message, &unlisted.remedy);
            }
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
}
