//! A simulated API server for what the controller reads and writes: Cutovers, runs, decisions, Services. It answers the
//! requests of `cutover::pilot::cutover`; people and the driver of a run change the objects directly.
#![allow(dead_code)] // the scenarios and the search use their parts

#[path = "cutover_answers.rs"]
mod answers;
#[path = "cutover_early.rs"]
mod early;

use std::collections::{BTreeMap, BTreeSet};

use cutover::api::cutover::{Cutover, CutoverSpec, Release};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::phase::Phase;
use cutover::api::run::{CutoverRun, RunState, RunStatus, Selector, ServiceSwitch, SwitchRecord, SwitchState};
use cutover::api::template::{Template, TemplateKind};
use cutover::api::{FINALIZER, LABEL_CUTOVER, RUN_FINALIZER};
use cutover::notify::Finding;
use cutover::pilot::cutover::{Class, Failure, Key, Known, Reply, Request};
use cutover::world::{Proof, Proven};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

/// The namespace of everything.
pub const NAMESPACE: &str = "prod";

/// What the API server holds.
#[derive(Clone, Debug)]
pub struct Server {
    pub now: Timestamp,
    pub cutovers: BTreeMap<String, Cutover>,
    pub runs: BTreeMap<String, CutoverRun>,
    pub decisions: BTreeMap<String, CutoverDecision>,
    pub services: BTreeMap<String, Selector>,
    pub templates: BTreeMap<String, (i64, Template)>,
    pub replicas: BTreeMap<String, u64>,
    pub accounts: BTreeSet<String>,
    /// The operator may act as the accounts.
    pub may_act: bool,
    /// What is found of the policies.
    pub proven: Proven,
    pub namespace_goes: bool,
    /// Receivers whose Secrets are of no use.
    pub wrong_receivers: BTreeSet<String>,
    /// Creations of runs: name, and the Cutover's uid.
    pub created: Vec<(String, String)>,
    /// What must never be, and was.
    pub broken: Vec<String>,
    version: u32,
    uids: u32,
}

impl Server {
    /// With one Service that points to blue, and the account of Cutovers.
    pub fn new() -> Self {
        let mut server = Self {
            now: "2026-11-20T22:00:00Z".parse().expect("a time"),
            cutovers: BTreeMap::new(),
            runs: BTreeMap::new(),
            decisions: BTreeMap::new(),
            services: BTreeMap::new(),
            templates: BTreeMap::new(),
            replicas: BTreeMap::new(),
            accounts: ["cutover".to_owned()].into(),
            may_act: true,
            proven: Proven::Holds,
            namespace_goes: false,
            wrong_receivers: BTreeSet::new(),
            created: vec![],
            broken: vec![],
            version: 0,
            uids: 0,
        };
        server.point("web", "blue");
        server
    }

    fn metadata(&mut self, name: &str) -> ObjectMeta {
        self.uids += 1;
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            uid: Some(format!("uid{}", self.uids)),
            resource_version: Some(self.next_version()),
            generation: Some(1),
            creation_timestamp: Some(Time(self.now)),
            ..ObjectMeta::default()
        }
    }

    /// The next resourceVersion.
    pub fn next_version(&mut self) -> String {
        self.version += 1;
        format!("rv{}", self.version)
    }

    // What people do.

    /// Points a Service to a side, or elsewhere.
    pub fn point(&mut self, service: &str, side: &str) {
        self.services.insert(service.into(), [("version".to_owned(), side.to_owned())].into());
    }

    /// Applies a Cutover, or changes one.
    pub fn apply(&mut self, name: &str, spec: Value) {
        let spec: CutoverSpec = serde_json::from_value(spec).expect("a spec");
        let version = self.next_version();
        if let Some(old) = self.cutovers.get_mut(name) {
            if serde_json::to_value(&old.spec).ok() != serde_json::to_value(&spec).ok() {
                old.spec = spec;
                old.metadata.generation = old.metadata.generation.map(|g| g + 1);
                old.metadata.resource_version = Some(version);
            }
            return;
        }
        let mut new = Cutover::new(name, spec);
        new.metadata = self.metadata(name);
        self.cutovers.insert(name.into(), new);
    }

    /// Changes what a Cutover wants.
    pub fn want(&mut self, name: &str, activate: &str, version: &str) {
        let Some(cutover) = self.cutovers.get(name) else { return };
        let mut spec = cutover.spec.clone();
        spec.activate = activate.into();
        spec.release = Some(Release { version: Some(version.into()), ..Release::default() });
        self.apply(name, serde_json::to_value(spec).expect("a spec"));
    }

    /// Writes an annotation of a Cutover: only its resourceVersion matters.
    pub fn annotate(&mut self, name: &str) {
        let version = self.next_version();
        if let Some(cutover) = self.cutovers.get_mut(name) {
            cutover.metadata.resource_version = Some(version);
        }
    }

    /// A person decides about the run in the status of a Cutover, or about another one.
    pub fn decide(&mut self, name: &str, cutover: &str, run_uid: Option<&str>, verb: &str) {
        let seen = self.cutovers.get(cutover).and_then(|c| c.status.as_ref()?.run.as_ref()?.uid.clone());
        let run = run_uid.map(str::to_owned).or(seen).unwrap_or_default();
        let spec = json!({"cutover": cutover, "runUID": run, "decision": verb, "by": "sre"});
        let spec: CutoverDecisionSpec = serde_json::from_value(spec).expect("a decision");
        let mut decision = CutoverDecision::new(name, spec);
        decision.metadata = self.metadata(name);
        self.decisions.insert(name.into(), decision);
    }

    /// Deletes a Cutover, as kubectl does.
    pub fn delete(&mut self, name: &str) {
        let (now, version) = (self.now, self.next_version());
        let Some(cutover) = self.cutovers.get_mut(name) else { return };
        if cutover.metadata.deletion_timestamp.is_none() {
            cutover.metadata.deletion_timestamp = Some(Time(now));
            cutover.metadata.resource_version = Some(version);
        }
        self.collect(name);
    }

    /// Deletes a run.
    pub fn delete_run(&mut self, name: &str) {
        let (now, version) = (self.now, self.next_version());
        let Some(run) = self.runs.get_mut(name) else { return };
        if run.finalizers().is_empty() {
            self.runs.remove(name);
        } else if run.metadata.deletion_timestamp.is_none() {
            run.metadata.deletion_timestamp = Some(Time(now));
            run.metadata.resource_version = Some(version);
        }
    }

    /// Somebody takes the finalizer of a run away and deletes it: its journal is gone.
    pub fn destroy_run(&mut self, name: &str) {
        self.runs.remove(name);
    }

    // What the driver of a run does.

    /// The run is under way.
    pub fn drive(&mut self, name: &str, phase: Phase) {
        self.journal(name, |journal, now| {
            journal.phase = phase;
            journal.phase_since = Some(now);
        });
    }

    /// The run ends and is closed. A completed one has switched its Services. Decisions about it are answered before.
    pub fn close(&mut self, name: &str, phase: Phase) {
        let Some(run) = self.runs.get(name) else { return };
        let uid = run.uid();
        let services: Vec<String> = serde_json::from_value(run.spec.plan["services"].clone()).unwrap_or_default();
        let side = |which: &str| run.spec.plan[which]["name"].as_str().unwrap_or_default().to_owned();
        let (old, target) = (side("old"), side("target"));
        let open: Vec<String> = self.decisions.values().filter(|d| d.is_open()).map(ResourceExt::name_any).collect();
        for decision in open {
            let about = self.decisions.get(&decision).map(|d| d.spec.run_uid.clone());
            if about == uid {
                self.answered(&decision, "refused: the run is under way", None);
            }
        }
        let completed = phase == Phase::Completed;
        if completed {
            services.iter().for_each(|service| self.point(service, &target));
        }
        let service = |name: &String| ServiceSwitch {
            name: name.clone(),
            uid: "s".into(),
            resource_version: "1".into(),
            from: [("version".to_owned(), old.clone())].into(),
            to: [("version".to_owned(), target.clone())].into(),
            wanted: 1,
            old_wanted: 1,
            unanswered: false,
            adopted: false,
            state: if completed { SwitchState::Switched } else { SwitchState::Restored },
            switched_at: None,
            restored_at: None,
            message: None,
            blocked: None,
        };
        let services = services.iter().map(service).collect();
        self.journal(name, |journal, now| {
            journal.phase = phase;
            journal.phase_since = Some(now);
            journal.state = RunState::Closed;
            let (converged_at, restored_at) = (None, None);
            journal.switch = Some(SwitchRecord { claimed_at: now, converged_at, restored_at, services });
        });
    }

    /// The driver has taken a decision in that the run was opened for, and closes it again.
    pub fn revalidated(&mut self, run: &str, decision: &str) {
        self.answered(decision, "accepted", Some(run.into()));
        self.journal(run, |journal, _| journal.state = RunState::Closed);
    }

    fn journal(&mut self, name: &str, change: impl FnOnce(&mut RunStatus, Timestamp)) {
        let (now, version) = (self.now, self.next_version());
        if let Some(run) = self.runs.get_mut(name) {
            change(run.status.get_or_insert_default(), now);
            run.metadata.resource_version = Some(version);
        }
    }

    // What the operator asks for.

    /// Carries a request out.
    pub fn serve(&mut self, key: &Key, known: &Known, request: &Request) -> Result<Reply, Failure> {
        let name = key.name.as_str();
        let of = |run: &&CutoverRun| run.labels().get(LABEL_CUTOVER).is_some_and(|l| l == name);
        let closed = |run: &&CutoverRun| run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        let runs = self.runs.values();
        Ok(match request {
            Request::Cutover => self.cutover(name)?,
            Request::Run(run) => Reply::Run(Box::new(found(self.runs.get(run), run)?.clone())),
            Request::Runs => Reply::Runs(runs.filter(of).cloned().collect()),
            Request::ClosedRuns => {
                Reply::Metadata(runs.filter(|r| of(r) && closed(r)).map(|r| r.metadata.clone()).collect())
            }
            Request::ActiveRuns => Reply::Runs(runs.filter(|r| !closed(r)).cloned().collect()),
            Request::AllRuns => Reply::Metadata(runs.map(|r| r.metadata.clone()).collect()),
            Request::Decisions(_) => {
                let open = self.decisions.values().filter(|d| d.is_open() && d.spec.cutover == name);
                Reply::Decisions(open.cloned().collect())
            }
            Request::Service(service) => Reply::Selector(found(self.services.get(service), service)?.clone()),
            Request::Namespace => Reply::Namespace { going: self.namespace_goes },
            Request::Template(TemplateKind::CutoverTemplate, template) => {
                let (generation, says) = found(self.templates.get(template), template)?;
                Reply::Template { uid: template.clone(), generation: *generation, template: Box::new(says.clone()) }
            }
            Request::Template(TemplateKind::ClusterCutoverTemplate, template) => found(None, template)?,
            Request::Replicas(workload) => Reply::Replicas(*found(self.replicas.get(&workload.name), &workload.name)?),
            Request::Account(account) => {
                found(self.accounts.get(account), account)?;
                Reply::Done
            }
            Request::ActAs(_) if !self.may_act => return Err(Failure::new(Class::Forbidden, "no impersonation")),
            Request::Proof => {
                Reply::Proof(Proof { verdict: self.proven.clone(), since: Timestamp::MIN, policies: None })
            }
            Request::Receivers(_, receivers) => {
                let wrong = receivers.iter().filter(|r| self.wrong_receivers.contains(&r.name));
                let field = |name: &str| format!("spec.notify[{name}]");
                let finding = wrong.map(|r| Finding { field: field(&r.name), why: "its Secret is empty".into() });
                Reply::Receivers { findings: finding.collect(), unknown: false }
            }
            Request::ActAs(_) | Request::Turn => Reply::Done,
            Request::OlderHolder(cutover) => Reply::Holder(known.older_holder(key, cutover)),
            Request::PatchCutover(patch) => {
                let version = self.next_version();
                let cutover = found_mut(self.cutovers.get_mut(name), name)?;
                patched(&mut cutover.metadata, patch, version)?;
                let after = cutover.clone();
                self.collect(name);
                Reply::Cutover(Box::new(after))
            }
            Request::PatchRun(run, patch) => {
                let version = self.next_version();
                let object = found_mut(self.runs.get_mut(run), run)?;
                patched(&mut object.metadata, patch, version)?;
                let after = object.clone();
                if after.metadata.deletion_timestamp.is_some() && after.finalizers().is_empty() {
                    self.runs.remove(run);
                }
                Reply::Run(Box::new(after))
            }
            Request::WriteStatus(wanted) => {
                let version = self.next_version();
                let cutover = found_mut(self.cutovers.get_mut(name), name)?;
                same(&cutover.metadata, &wanted.metadata)?;
                if cutover.status != wanted.status {
                    cutover.status.clone_from(&wanted.status);
                    cutover.metadata.resource_version = Some(version);
                }
                self.cutover(name)?
            }
            Request::ReopenRun(wanted) => {
                let version = self.next_version();
                let run = found_mut(self.runs.get_mut(&wanted.name_any()), &wanted.name_any())?;
                same(&run.metadata, &wanted.metadata)?;
                run.status.clone_from(&wanted.status);
                run.metadata.resource_version = Some(version);
                Reply::Run(Box::new(run.clone()))
            }
            Request::CreateRun(wanted) => self.create(wanted)?,
            Request::DeleteRun { name, uid } => {
                if found(self.runs.get(name), name)?.uid() != *uid {
                    return Err(Failure::new(Class::Conflict, "another uid"));
                }
                self.delete_run(name);
                Reply::Done
            }
            Request::Answer(answers) => Reply::Answers(answers.iter().map(|answer| self.answer(answer)).collect()),
            Request::TakeUp(wanted) => Reply::Answers(vec![self.take_up(wanted)]),
        })
    }

    fn cutover(&self, name: &str) -> Result<Reply, Failure> {
        Ok(Reply::Cutover(Box::new(found(self.cutovers.get(name), name)?.clone())))
    }

    fn create(&mut self, wanted: &CutoverRun) -> Result<Reply, Failure> {
        let name = wanted.name_any();
        if self.runs.contains_key(&name) {
            return Err(Failure::new(Class::Conflict, format!("{name} already exists")));
        }
        let mut run = wanted.clone();
        run.metadata = ObjectMeta {
            labels: wanted.metadata.labels.clone(),
            finalizers: wanted.metadata.finalizers.clone(),
            owner_references: wanted.metadata.owner_references.clone(),
            ..self.metadata(&name)
        };
        run.status = None;
        self.created.push((name.clone(), run.spec.cutover_uid.clone()));
        self.runs.insert(name, run.clone());
        Ok(Reply::Run(Box::new(run)))
    }

    /// What nobody holds any more goes, and with a Cutover its runs.
    fn collect(&mut self, name: &str) {
        let gone = |c: &Cutover| c.metadata.deletion_timestamp.is_some() && c.finalizers().is_empty();
        if !self.cutovers.get(name).is_some_and(gone) {
            return;
        }
        let uid = self.cutovers.remove(name).and_then(|c| c.uid()).unwrap_or_default();
        let runs: Vec<CutoverRun> = self.runs.values().filter(|r| r.spec.cutover_uid == uid).cloned().collect();
        for run in runs {
            if is_active(&run) && !self.namespace_goes {
                self.broken.push(format!("Cutover {name} is gone, and its run {} is active", run.name_any()));
            }
            self.delete_run(&run.name_any());
        }
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let mut wrong = vec![];
        for cutover in self.cutovers.values() {
            let (name, uid) = (cutover.name_any(), cutover.uid().unwrap_or_default());
            let active: Vec<&CutoverRun> =
                self.runs.values().filter(|r| r.spec.cutover_uid == uid && is_active(r)).collect();
            if active.len() > 1 {
                wrong.push(format!("Cutover {name} has {} active runs", active.len()));
            }
            if !active.is_empty() && !cutover.finalizers().iter().any(|f| f == FINALIZER) && !self.namespace_goes {
                wrong.push(format!("Cutover {name} is not held, and a run of it is active"));
            }
            wrong.extend(early::done_too_early(cutover, &active));
            let shown = cutover.status.as_ref().and_then(|s| s.run.as_ref());
            if let Some(run) = shown.and_then(|r| self.runs.values().find(|known| known.uid() == r.uid))
                && run.spec.cutover_uid != uid
            {
                wrong.push(format!("status.run of Cutover {name} names a run of another Cutover"));
            }
            let retries = cutover.status.iter().flat_map(|s| &s.retries);
            let mut started = BTreeSet::new();
            for retry in retries {
                if !started.insert(&retry.decision) {
                    wrong.push(format!("decision {} has started two runs", retry.decision));
                }
            }
        }
        wrong.extend(self.refused_and_counted());
        for run in self.runs.values().filter(|r| is_active(r)) {
            if !run.finalizers().iter().any(|f| f == RUN_FINALIZER) {
                wrong.push(format!("run {} is active and not held", run.name_any()));
            }
        }
        let mut names = BTreeSet::new();
        for name in &self.created {
            if !names.insert(name) {
                wrong.push(format!("run {} was created twice", name.0));
            }
        }
        self.broken.extend(wrong);
    }
}

/// Whether a run is not closed.
pub fn is_active(run: &CutoverRun) -> bool {
    run.status.as_ref().is_none_or(|s| s.state != RunState::Closed)
}

fn found<T>(object: Option<T>, name: &str) -> Result<T, Failure> {
    object.ok_or_else(|| Failure::new(Class::NotFound, format!("{name} not found")))
}

fn found_mut<'a, T>(object: Option<&'a mut T>, name: &str) -> Result<&'a mut T, Failure> {
    found(object, name)
}

/// The compare-and-swap of a write.
fn same(stored: &ObjectMeta, wanted: &ObjectMeta) -> Result<(), Failure> {
    if stored.uid != wanted.uid || stored.resource_version != wanted.resource_version {
        return Err(Failure::new(Class::Conflict, "the object has been modified"));
    }
    Ok(())
}

/// A JSON Patch of the finalizers, with its tests.
fn patched(meta: &mut ObjectMeta, patch: &Value, version: String) -> Result<(), Failure> {
    let refused = |why: &str| Failure::new(Class::Invalid, why.to_owned());
    let mut object = json!({"metadata": serde_json::to_value(&*meta).unwrap_or_default()});
    for operation in patch.as_array().into_iter().flatten() {
        let path = operation["path"].as_str().unwrap_or_default();
        let (parent, last) = path.rsplit_once('/').unwrap_or_default();
        match operation["op"].as_str() {
            Some("test") if object.pointer(path) == Some(&operation["value"]) => {}
            Some("test") => return Err(refused("the test of the patch failed")),
            Some("add") if last == "-" => match object.pointer_mut(parent).and_then(Value::as_array_mut) {
                Some(list) => list.push(operation["value"].clone()),
                None => return Err(refused("there is no list")),
            },
            Some("add") => object[parent.trim_start_matches('/')][last] = operation["value"].clone(),
            Some("remove") => {
                let at = last.parse::<usize>().unwrap_or(usize::MAX);
                match object.pointer_mut(parent).and_then(Value::as_array_mut) {
                    Some(list) if at < list.len() => drop(list.remove(at)),
                    _ => return Err(refused("there is nothing to remove")),
                }
            }
            other => return Err(refused(&format!("{other:?} is not simulated"))),
        }
    }
    let next: ObjectMeta = serde_json::from_value(object["metadata"].clone()).map_err(|e| refused(&e.to_string()))?;
    let added = next.finalizers.iter().flatten().any(|f| !meta.finalizers.iter().flatten().any(|had| had == f));
    if added && meta.deletion_timestamp.is_some() {
        return Err(refused("no finalizer can be added to what is being deleted"));
    }
    meta.finalizers = next.finalizers.filter(|list| !list.is_empty());
    meta.resource_version = Some(version);
    Ok(())
}

/// A spec with two sides.
pub fn spec(activate: &str, version: &str) -> Value {
    let side = |name: &str| json!({"name": name, "selector": {"version": name}, "workloads": [{"kind": "Deployment", "name": format!("web-{name}")}]});
    json!({
        "release": {"version": version}, "serviceAccountName": "cutover", "services": [{"name": "web"}],
        "sides": [side("blue"), side("green")], "activate": activate,
    })
}
