//! What the cluster holds, as the API server shows it, and what a write made of it. Requests are carried out by
//! [`super::apiserver`] alone.

use serde_json::{Map, Value, json};

use cutover::api::run::{ObjectKind, ObjectRef};
use cutover::api::step::{WorkloadKind, WorkloadRef};
use cutover::api::{ANNOTATION_ATTEMPT, ANNOTATION_FENCE, ANNOTATION_TEMPLATE, LABEL_RUN, LABEL_STEP};
use cutover::effect::protocol::{Answer, LiveAnswer, LiveRead, Object, Write};
use cutover::effect::{Attempt, CallError};
use cutover::endpoints::matches;
use cutover::world::{JobResult, JobView, PortView, TargetPort};

use super::apiserver::{ApiServer, Refused};
use super::cluster::{Cluster, Job, Service, Who, Wrote, metadata};
use super::jobs::pod_of;

/// The plural of a kind of workload.
pub fn plural(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "deployments",
        WorkloadKind::StatefulSet => "statefulsets",
    }
}

/// What a refusal means, in the words of the product.
fn meaning(refused: Refused) -> CallError {
    CallError::from(kube::Error::Api(refused))
}

fn workload_named(resource: &str, name: &str) -> Option<WorkloadRef> {
    let kinds = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];
    let kind = kinds.into_iter().find(|kind| plural(*kind) == resource)?;
    Some(WorkloadRef { kind, name: name.to_owned() })
}

fn service(name: &str, Service { view, fence }: &Service) -> Value {
    let port = |port: &PortView| {
        let target = match &port.target {
            TargetPort::Number(n) => json!(n),
            TargetPort::Name(name) => json!(name),
        };
        json!({"name": port.name, "port": port.port, "targetPort": target})
    };
    let mut meta = json!({"name": name, "uid": view.uid, "resourceVersion": view.resource_version});
    if let Some(fence) = fence {
        meta["annotations"] = json!({ANNOTATION_FENCE: fence});
    }
    if let Some(writer) = &view.writer {
        meta["managedFields"] = json!([{"manager": writer}]);
    }
    let ports: Vec<Value> = view.ports.iter().map(port).collect();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta,
        "spec": {"selector": view.selector, "ports": ports, "clusterIP": view.cluster_ip},
    })
}

fn job(name: &str, view: &JobView, run_uid: &str) -> Value {
    let mut meta = json!({"name": name, "uid": view.uid, "resourceVersion": view.resource_version});
    if let Some(run) = &view.run {
        meta["labels"][LABEL_RUN] = run.as_str().into();
    }
    if let Some(attempt) = &view.step {
        meta["labels"][LABEL_STEP] = attempt.execution.as_str().into();
        meta["annotations"][ANNOTATION_ATTEMPT] = attempt.number.to_string().into();
    }
    if let Some(claim) = &view.claim {
        meta["annotations"][ANNOTATION_TEMPLATE] = claim.as_str().into();
    }
    if view.owned {
        meta["ownerReferences"] = json!([{"kind": "CutoverRun", "uid": run_uid}]);
    }
    let template = view.template.as_deref().cloned().unwrap_or_default();
    json!({"metadata": meta, "spec": {"suspend": view.suspended, "template": template}})
}

impl Cluster {
    /// An object, as the API server shows it.
    fn shown(&self, resource: &str, name: &str) -> Option<Value> {
        if let Some(w) = workload_named(resource, name) {
            let view = self.workloads.get(&w)?;
            let mut meta = json!({"name": name, "uid": view.uid, "resourceVersion": view.resource_version});
            if let Some(annotations) = self.annotations.get(&w) {
                meta["annotations"] = json!(annotations);
            }
            return Some(json!({"metadata": meta, "spec": {"replicas": view.wanted, "template": view.template}}));
        }
        match resource {
            "services" => self.services.get(name).map(|found| service(name, found)),
            "jobs" => self.jobs.get(name).map(|found| job(name, &found.view, &self.run.1)),
            "pods" => self.pods.get(name).map(|(_, pod)| {
                let mut meta = json!({"name": name, "uid": pod.uid, "resourceVersion": "1", "labels": pod.labels});
                if let Some(by) = pod.gone_by {
                    meta["deletionTimestamp"] = by.to_string().into();
                }
                json!({"metadata": meta})
            }),
            "secrets" => self.secrets.get(name).cloned(),
            "cronjobs" => self.cron_jobs.get(name).map(|found| {
                let version = self.versions.get(&format!("cronjobs/{name}")).copied().unwrap_or(0).to_string();
                let meta = json!({"name": name, "uid": found.uid, "resourceVersion": version});
                json!({"metadata": meta, "spec": {"suspend": found.suspended}})
            }),
            "cutoverdecisions" => self.decisions.iter().find(|d| d.name == name).map(|found| {
                let mut meta = json!({"name": name, "uid": found.uid, "resourceVersion": found.resource_version});
                if self.owned.contains(&found.uid) {
                    let (kind, (name, uid)) = ("CutoverRun", &self.run);
                    meta["ownerReferences"] =
                        json!([{"apiVersion": "cutover.dev/v1alpha1", "kind": kind, "name": name, "uid": uid}]);
                }
                match self.answers.get(&found.uid) {
                    Some(result) => json!({"metadata": meta, "status": {"state": "Answered", "result": result}}),
                    None => json!({"metadata": meta}),
                }
            }),
            "cutovers" if name == self.plan.cutover => self.cutover.as_ref().map(|found| {
                let services: Vec<Value> = self.plan.services.iter().map(|name| json!({"name": name})).collect();
                let sides = [&self.plan.old, &self.plan.target]
                    .map(|side| json!({"name": side.name, "selector": side.selector, "workloads": side.workloads}));
                let meta = json!({"name": name, "uid": found.uid, "resourceVersion": "1"});
                json!({"metadata": meta, "spec": {"services": services, "sides": sides}})
            }),
            "cutoverruns" if name == self.run.0 => {
                let meta = json!({"name": name, "uid": self.run.1, "resourceVersion": self.status_version.to_string()});
                let target = json!({"workloads": self.plan.target.workloads});
                Some(json!({"metadata": meta, "spec": {"plan": {"target": target}}, "status": self.status}))
            }
            _ => None,
        }
    }

    /// The API server, holding this object as far as it is there.
    fn server(&mut self, resource: &str, name: &str) -> ApiServer {
        let mut server = ApiServer::after(std::mem::take(&mut *self.versions));
        if let Some(object) = self.shown(resource, name) {
            server.hold(resource, object);
        }
        server
    }

    /// A live reading.
    pub fn look(&self, look: &LiveRead) -> Answer {
        let mut server = ApiServer::default();
        match look {
            LiveRead::Object(Object { resource, name }) => {
                if let Some(object) = self.shown(&resource.plural, name) {
                    server.hold(&resource.plural, object);
                }
                server.get(resource, name).cloned().map(LiveAnswer::Object).map_err(meaning)
            }
            LiveRead::Pods(selector) => {
                let pods = self.pods.values().map(|(_, pod)| pod).filter(|pod| matches(&pod.labels, selector));
                Ok(LiveAnswer::Pods(pods.cloned().collect()))
            }
            LiveRead::List { resource, fields } => {
                let names: Vec<&str> = match resource.plural.as_str() {
                    "cutovers" => vec![&self.plan.cutover],
                    "cutoverruns" => vec![&self.run.0],
                    "pods" => self.pods.keys().map(String::as_str).collect(),
                    "cutoverdecisions" => self.decisions.iter().map(|d| d.name.as_str()).collect(),
                    _ => vec![],
                };
                let objects = names.into_iter().filter_map(|name| self.shown(&resource.plural, name));
                objects.for_each(|object| server.hold(&resource.plural, object));
                server.list(resource, fields).map(LiveAnswer::List).map_err(meaning)
            }
        }
    }

    /// Carries a write of ours out.
    pub fn send(&mut self, write: &Write) -> Result<Value, CallError> {
        let Object { resource, name } = match write {
            Write::Create(object, _) | Write::Patch(object, _) | Write::ReplaceStatus(object, _) => object,
            Write::Delete { object, .. } => object,
        };
        let mut server = self.server(&resource.plural, name);
        let before = server.get(resource, name).ok().cloned();
        let answer = server.send(write);
        server.controllers();
        let after = server.get(resource, name).ok().cloned();
        *self.versions = std::mem::take(&mut server.versions);
        if before != after {
            self.written(&resource.plural, name, after.as_ref(), &server);
        }
        answer.map_err(meaning)
    }

    /// Takes over what a write of ours made of an object; `None`: it is gone.
    fn written(&mut self, resource: &str, name: &str, after: Option<&Value>, server: &ApiServer) {
        let version =
            after.and_then(|o| o.pointer("/metadata/resourceVersion")?.as_str()).unwrap_or_default().to_owned();
        if let Some(w) = workload_named(resource, name) {
            return self.workload_written(&w, after, version);
        }
        match (resource, after) {
            ("services", Some(object)) => {
                let to = serde_json::from_value(object["spec"]["selector"].clone()).unwrap_or_default();
                let fence = object["metadata"]["annotations"][ANNOTATION_FENCE].as_str().map(str::to_owned);
                self.selector_written(name, to, fence, version, Who::Us);
            }
            ("pods", None) => self.pod_deleted(name),
            ("jobs", None) => self.remove_job(name, Who::Us),
            ("jobs", Some(object)) if self.jobs.contains_key(name) => self.job_written(name, object, version, server),
            ("jobs", Some(object)) => self.job_created(name, object, version),
            ("secrets", Some(object)) => {
                let owned = !object["metadata"]["ownerReferences"].is_null();
                self.secrets.insert(name.to_owned(), object.clone());
                self.wrote(Who::Us, Wrote::Secret { name: name.to_owned(), owned });
            }
            ("cronjobs", Some(object)) => {
                if let Some(found) = self.cron_jobs.get_mut(name) {
                    found.suspended = object["spec"]["suspend"].as_bool().unwrap_or(false);
                }
                let object = ObjectRef { kind: ObjectKind::CronJob, name: name.to_owned() };
                self.wrote(Who::Us, Wrote::Changed { object, change: "suspend".into() });
            }
            ("cutoverdecisions", Some(object)) => {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                if let Some(found) = self.decisions.iter_mut().find(|d| d.uid == uid) {
                    found.resource_version = version;
                }
                let owners = object["metadata"]["ownerReferences"].as_array();
                let owner = owners.and_then(|all| all.first()).and_then(|o| o["uid"].as_str());
                if owner.is_some() && self.owned.insert(uid.clone()) {
                    if !self.answers.contains_key(&uid) || owner != Some(&self.run.1) {
                        self.broken.push(format!("decision {name} goes with {owner:?}"));
                    }
                } else if object["status"]["state"] == "Answered" {
                    let result = object["status"]["result"].as_str().unwrap_or_default().to_owned();
                    self.answers.insert(uid.clone(), result);
                    self.wrote(Who::Us, Wrote::Answered { decision: uid });
                }
            }
            _ => self.broken.push(format!("a write of {resource}/{name} is not understood here")),
        }
    }

    fn job_created(&mut self, name: &str, object: &Value, version: String) {
        let suspended = object["spec"]["suspend"].as_bool().unwrap_or(false);
        if !suspended {
            self.broken.push(format!("P1: Job {name} is not created suspended"));
        }
        let step = metadata(object, "labels", LABEL_STEP)
            .zip(metadata(object, "annotations", ANNOTATION_ATTEMPT))
            .and_then(|(step, attempt)| Some(Attempt::of(step, attempt.parse().ok()?)));
        let view = JobView {
            uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            resource_version: version,
            run: metadata(object, "labels", LABEL_RUN).map(str::to_owned),
            step,
            claim: metadata(object, "annotations", ANNOTATION_TEMPLATE).map(str::to_owned),
            suspended,
            template: object.pointer("/spec/template").cloned().map(std::sync::Arc::new),
            ..JobView::default()
        };
        let deadline = object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_u64);
        self.jobs.insert(name.to_owned(), Job { view, result: JobResult::default(), deadline });
        self.wrote(Who::Us, Wrote::JobCreated { job: name.to_owned() });
    }

    fn job_written(&mut self, name: &str, object: &Value, version: String, server: &ApiServer) {
        let now = self.now;
        let Some(Job { view, .. }) = self.jobs.get_mut(name) else { return };
        view.resource_version = version;
        let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owned = owners.into_iter().any(|o| o["uid"] == self.run.1.as_str());
        let handed_over = owned && !std::mem::replace(&mut view.owned, owned);
        let suspended = object["spec"]["suspend"].as_bool().unwrap_or(false);
        if std::mem::replace(&mut view.suspended, suspended) && !suspended {
            view.started = Some(now);
            view.pods_left = u32::try_from(server.pods_of(name)).unwrap_or(u32::MAX);
            view.pod = (view.pods_left > 0).then(|| pod_of(name, view));
            let step = view.step.as_ref().map(|attempt| attempt.execution.clone());
            self.wrote(Who::Us, Wrote::JobStarted { job: name.to_owned(), step });
        }
        if handed_over {
            self.wrote(Who::Us, Wrote::JobOwned { job: name.to_owned() });
        }
    }

    fn workload_written(&mut self, w: &WorkloadRef, after: Option<&Value>, version: String) {
        let (Some(object), Some(before)) = (after, self.workloads.get(w).cloned()) else { return };
        let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let annotations = object["metadata"].get("annotations").cloned().unwrap_or(Value::Object(Map::new()));
        let annotations = serde_json::from_value(annotations).unwrap_or_default();
        let annotated = self.annotations.get(w).cloned().unwrap_or_default() != annotations;
        self.annotations.insert(w.clone(), annotations);
        if object["spec"]["template"] != before.template {
            self.set_template(w, object["spec"]["template"].clone());
        }
        if replicas != Some(before.wanted) {
            self.set_wanted(w, replicas.unwrap_or(1), Who::Us);
        }
        if annotated || object["spec"]["template"] != before.template {
            let change = if object["spec"]["template"] == before.template { "annotations" } else { "template" };
            self.wrote(Who::Us, Wrote::Changed { object: w.into(), change: change.into() });
        }
        if let Some(view) = self.workloads.get_mut(w) {
            view.resource_version = version;
        }
    }
}
