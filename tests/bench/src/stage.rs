//! A namespace with the application in two colours, and the Cutover that is released again and again in it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover::api::run::{Closing, CutoverRun, RunState};
use cutover::api::{Cutover, Phase};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::harness::app::{self, Colour};
use crate::harness::audit::{self, Line};
use crate::harness::{cluster, wait};
use crate::paper;

/// The Cutover, its Service and its application.
pub const NAME: &str = "web";
/// Bound of every wait for a run.
const LONGEST: Duration = Duration::from_secs(60);

/// One namespace of the bench.
pub struct Stage {
    /// The administrator.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    spec: Value,
    release: u32,
}

/// What the API server was asked in the namespace during one run from blue to green and back.
pub struct Run {
    /// Every request, whoever sent it.
    pub lines: Vec<Line>,
}

impl Stage {
    /// Makes the namespace with so many pods of each colour; an earlier one of the name is taken away.
    pub async fn new(client: &Client, namespace: &str, replicas: u32) -> Result<Self> {
        let mut stage = Self::bare(client, namespace).await?;
        for colour in ["blue", "green"] {
            stage.apply(&app::deployment(NAME, &Colour::new(colour).replicas(replicas))).await?;
        }
        stage.available("green").await?;
        stage.available("blue").await?;
        stage.spec("{}")?;
        Ok(stage)
    }

    /// The namespace with its rights and the Service, without pods.
    async fn bare(client: &Client, namespace: &str) -> Result<Self> {
        remove(client, namespace).await?;
        let api: Api<Namespace> = Api::all(client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        api.patch(namespace, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await?;
        let stage = Self { client: client.clone(), namespace: namespace.into(), spec: json!({}), release: 0 };
        stage.apply(&app::tenant(namespace)?).await?;
        stage.apply(&app::service(NAME, "blue")).await?;
        Ok(stage)
    }

    /// The same, with pods on a node of paper, which may take a while to be made.
    pub async fn on_paper(client: &Client, namespace: &str, replicas: u32, within: Duration) -> Result<Self> {
        let mut stage = Self::bare(client, namespace).await?;
        for colour in ["blue", "green"] {
            let object = paper::deployment(NAME, colour, replicas)?;
            cluster::apply(client, &object, namespace).await.context("a side on paper")?;
        }
        for colour in ["blue", "green"] {
            stage.available_within(colour, within).await?;
        }
        stage.spec("{}")?;
        Ok(stage)
    }

    /// The Cutover's spec: the minimal one, with these fields over it.
    pub fn spec(&mut self, fields: &str) -> Result<()> {
        self.spec = app::cutover(NAME, NAME, fields)?["spec"].clone();
        Ok(())
    }

    /// A namespaced API.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies YAML documents.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for object in cluster::documents(yaml)? {
            let (kind, name) = (object["kind"].clone(), object["metadata"]["name"].clone());
            cluster::apply(&self.client, &object, &self.namespace)
                .await
                .with_context(|| format!("applying {kind} {name}"))?;
        }
        Ok(())
    }

    /// Waits until all pods of a colour are available.
    pub async fn available(&self, colour: &str) -> Result<()> {
        self.available_within(colour, LONGEST).await
    }

    async fn available_within(&self, colour: &str, within: Duration) -> Result<()> {
        let name = format!("{NAME}-{colour}");
        wait::until(self.api::<Deployment>(), &format!("Deployment {name} available"), within, |all| {
            Ok(all.get(&name).and_then(|d| {
                let (spec, status) = (d.spec.as_ref()?, d.status.as_ref()?);
                let wanted = spec.replicas.unwrap_or(1);
                let seen = status.observed_generation == d.metadata.generation;
                let ready = status.available_replicas.unwrap_or(0) == wanted && status.replicas == Some(wanted);
                (seen && ready && status.unavailable_replicas.unwrap_or(0) == 0).then_some(())
            }))
        })
        .await
    }

    /// The address of a Service.
    pub async fn address(&self, service: &str) -> Result<String> {
        let service = self.api::<Service>().get(service).await?;
        service.spec.and_then(|s| s.cluster_ip).context("the Service has no address")
    }

    /// The pods of a colour.
    pub async fn pods(&self, colour: &str) -> Result<Vec<Pod>> {
        let params = ListParams::default().labels(&format!("app={NAME},side={colour}"));
        Ok(self.api::<Pod>().list(&params).await?.items)
    }

    /// Sets faults of every pod of a colour, by its control port.
    pub async fn fault(&self, colour: &str, fault: Value) -> Result<()> {
        for pod in self.pods(colour).await? {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).context("a pod has no address")?;
            let url = format!("http://{ip}:8081/fault");
            let answer = http()?.post(&url).json(&fault).send().await?;
            ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        }
        Ok(())
    }

    /// Waits until so many pods of a colour are ready.
    pub async fn ready(&self, colour: &str, wanted: impl Fn(usize) -> bool) -> Result<()> {
        wait::until(self.api::<Pod>(), &format!("readiness of {colour}"), LONGEST, |all| {
            let of = all.values().filter(|p| p.labels().get("side").is_some_and(|s| s == colour));
            Ok(wanted(of.filter(|p| is_ready(p)).count()).then_some(()))
        })
        .await
    }

    /// Applies the Cutover as a person does; a side, and a release that was never there.
    pub async fn release(&mut self, side: &str) -> Result<()> {
        self.release += 1;
        let mut spec = self.spec.clone();
        spec["activate"] = json!(side);
        spec["release"] = json!({"version": format!("1.0.{}", self.release)});
        self.put(spec).await
    }

    /// Wants another side with nothing else changed: after the switch that is a rollback.
    pub async fn revert(&self, side: &str) -> Result<()> {
        let patch = json!({"spec": {"activate": side}});
        self.api::<Cutover>().patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    async fn put(&self, spec: Value) -> Result<()> {
        let object =
            json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover", "metadata": {"name": NAME}, "spec": spec});
        cluster::apply(&self.client, &object, &self.namespace).await.context("applying the Cutover")?;
        Ok(())
    }

    /// Waits until the newest run is in this phase.
    pub async fn phase(&self, phase: Phase) -> Result<()> {
        let run = self.newest_run(phase.as_str(), |run| run.status.as_ref().is_some_and(|s| s.phase == phase)).await;
        run.map(drop)
    }

    /// Waits until the newest run is closed; one that did not roll back is an error.
    pub async fn rolled_back(&self) -> Result<()> {
        let closed = |run: &CutoverRun| run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        let run = self.newest_run("closed", closed).await?;
        let status = run.status.clone().unwrap_or_default();
        let why = status.ending.as_ref().map(|e| e.message.clone()).unwrap_or_default();
        ensure!(status.phase == Phase::RolledBack, "the run ended {}: {why}", status.phase);
        // The Cutover shows it, too: the next release finds nothing under way.
        wait::until(self.api::<Cutover>(), "the Cutover shows the end", LONGEST, |all| {
            let phase = all.get(NAME).and_then(|c| c.status.as_ref()).and_then(|s| s.phase);
            // Idle follows at once where the intent went back, too.
            Ok(matches!(phase, Some(Phase::RolledBack | Phase::Idle)).then_some(()))
        })
        .await
    }

    /// Waits until the newest run has ended the connections of a side; says how.
    pub async fn closed(&self, side: &str) -> Result<Closing> {
        let of = |run: &CutoverRun| {
            let all = run.status.as_ref().map(|s| s.closings.as_slice()).unwrap_or_default();
            all.iter().find(|c| c.side == side && c.ended.is_some()).cloned()
        };
        let run = self.newest_run("with ended connections", |run| of(run).is_some()).await?;
        of(&run).context("the run has ended no connections")
    }

    async fn newest_run(&self, what: &str, test: impl Fn(&CutoverRun) -> bool) -> Result<CutoverRun> {
        let version = format!("1.0.{}", self.release);
        let (what, mut shown) = (format!("run {what}"), String::new());
        let found = wait::until(self.api::<CutoverRun>(), &what, LONGEST, |all| {
            let run = all.values().find(|r| r.spec.plan["release"]["version"] == version.as_str());
            shown =
                run.and_then(|r| r.status.as_ref()).map(|s| format!("{} {:?}", s.phase, s.waiting)).unwrap_or_default();
            Ok(run.filter(|r| test(r)).cloned())
        });
        let found = found.await;
        found.with_context(|| format!("{}: the run of {version} is {shown}", self.namespace))
    }

    /// The run of this release, which ends in a rollback, with all requests in the namespace since `from`.
    pub async fn account(&self, from: u64) -> Result<Run> {
        self.rolled_back().await?;
        Ok(Run { lines: audit::read(&self.namespace, from)? })
    }

    /// Takes the namespace away; the operator has to run, since it holds finalizers.
    pub async fn remove(self) -> Result<()> {
        remove(&self.client, &self.namespace).await
    }
}

impl Run {
    /// When the API server had accepted the write that points the Service to a colour.
    pub fn pointed_to(&self, colour: &str) -> Result<Timestamp> {
        let line = self.lines.iter().find(|l| {
            let here = l.resource == "services" && l.name == NAME && l.is_write() && l.done();
            here && l.selector().is_some_and(|s| s["side"] == colour)
        });
        time(&line.with_context(|| format!("the audit log has no write that points the Service to {colour}"))?.at)
    }

    /// When the newest change of the Cutover by the administrator arrived.
    pub fn applied(&self) -> Result<Timestamp> {
        let theirs = |l: &&Line| l.resource == "cutovers" && l.name == NAME && l.verb == "patch" && l.done();
        let line = self.lines.iter().filter(theirs).find(|l| !l.sender.contains("cutover-operator"));
        time(&line.context("the audit log has no change of the Cutover")?.received)
    }

    /// Requests of the operator, by verb and resource.
    pub fn requests(&self) -> std::collections::BTreeMap<String, u64> {
        let mut all = std::collections::BTreeMap::new();
        for line in self.lines.iter().filter(|l| l.sender == cluster::operator_user()) {
            let dry = if line.dry_run { " (dry run)" } else { "" };
            *all.entry(format!("{} {}{dry}", line.verb, line.resource)).or_default() += 1;
        }
        all
    }
}

/// A time of the audit log.
pub fn time(text: &str) -> Result<Timestamp> {
    text.parse().with_context(|| format!("a time of the audit log: {text}"))
}

/// So many milliseconds lie between.
pub fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

/// A client that keeps no connection and asks no proxy.
pub fn http() -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(5));
    builder.build().context("an HTTP client")
}

/// Whether a pod takes requests.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Deletes a namespace, if it is there, and waits until it is gone. Finalizers that no operator takes away are taken away
/// in its name.
pub async fn remove(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    if api.get_opt(namespace).await?.is_none() {
        return Ok(());
    }
    let answer = api.delete(namespace, &DeleteParams::default()).await;
    answer.with_context(|| format!("deleting namespace {namespace}"))?;
    let theirs = cluster::client(Some(&cluster::operator_user())).await?;
    // Ten thousand Cutovers take minutes to go on a disk that is waited for.
    wait::poll(&format!("namespace {namespace} gone"), Duration::from_secs(600), async || {
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        // Few are held by a finalizer, and what stays comes to the front as the others go.
        let first = ListParams::default().limit(100);
        // What is listed may be gone meanwhile.
        let runs: Api<CutoverRun> = Api::namespaced(theirs.clone(), namespace);
        for run in runs.list(&first).await?.items.iter().filter(|r| !r.finalizers().is_empty()) {
            runs.patch(&run.name_any(), &PatchParams::default(), &none).await.ok();
        }
        let cutovers: Api<Cutover> = Api::namespaced(theirs.clone(), namespace);
        for cutover in cutovers.list(&first).await?.items.iter().filter(|c| !c.finalizers().is_empty()) {
            cutovers.patch(&cutover.name_any(), &PatchParams::default(), &none).await.ok();
        }
        Ok(api.get_opt(namespace).await?.is_none().then_some(()))
    })
    .await
}
