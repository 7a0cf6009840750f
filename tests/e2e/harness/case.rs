//! One test: its namespace, its operator, and what tests do with them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cutover::api::run::{CutoverRun, RunState, StepRecord};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::app::{self, Colour};
use super::audit::{self, Line};
use super::cluster;
use super::operator::Operator;
use super::wait;

/// The user's right to everything that a test needs is the administrator's; the operator's is its own account's.
pub struct Case {
    /// The test.
    pub name: String,
    /// Its namespace.
    pub ns: String,
    /// The administrator.
    pub client: Client,
    /// The operator's log.
    pub log: PathBuf,
    /// Where the audit log stood at the start.
    pub audit_from: u64,
    /// Its folder.
    pub dir: PathBuf,
    operator: Mutex<Option<Operator>>,
    arguments: Mutex<Vec<String>>,
    environment: Mutex<Vec<(String, String)>>,
    secrets: Mutex<BTreeSet<String>>,
}

/// Seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Case {
    /// A new namespace with the tenant's rights in it. Only `e2e` makes one: it checks the promises when the test is over.
    pub(super) async fn new(name: &str) -> Result<Self> {
        let client = cluster::client(None).await?;
        cluster::install(&client).await.context("installing the operator's kinds and rights")?;
        let short: String = name.replace('_', "-").chars().take(40).collect();
        let unique = format!("{:x}", jiff::Timestamp::now().as_millisecond());
        let ns = format!("e2e-{}-{unique}", short.trim_matches('-'));
        let meta = ObjectMeta {
            name: Some(ns.clone()),
            labels: Some([("cutover.dev/e2e".to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let audit_from = audit::end();
        namespaces.create(&PostParams::default(), &Namespace { metadata: meta, ..Namespace::default() }).await?;
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&ns);
        std::fs::create_dir_all(&dir)?;
        let log = dir.join("operator.log");
        let name = name.to_owned();
        let (operator, arguments, environment) = (Mutex::default(), Mutex::default(), Mutex::default());
        let secrets = Mutex::default();
        let case = Self { name, ns, client, log, audit_from, dir, operator, arguments, environment, secrets };
        case.apply(&app::tenant(&case.ns)?).await?;
        Ok(case)
    }

    /// A namespaced API.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    /// Applies YAML documents.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for object in cluster::documents(yaml)? {
            self.apply_value(&object).await?;
        }
        Ok(())
    }

    /// Applies one object.
    pub async fn apply_value(&self, object: &Value) -> Result<DynamicObject> {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        if kind == "Secret" {
            let values = object["stringData"].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str());
            self.secrets.lock().unwrap_or_else(PoisonError::into_inner).extend(values.map(str::to_owned));
        }
        cluster::apply(&self.client, object, &self.ns).await.with_context(|| format!("applying {kind} {name}"))
    }

    /// Applies the application: both colours, and the Service on blue; waits until both are available.
    pub async fn app(&self, app: &str, blue: Colour, green: Colour) -> Result<()> {
        self.apply(&app::service(app, "blue")).await?;
        for colour in [&blue, &green] {
            self.apply(&app::deployment(app, colour)).await?;
        }
        for colour in [&blue, &green] {
            self.available(&format!("{app}-{}", colour.name)).await?;
        }
        Ok(())
    }

    /// The application `web` with one healthy pod of each colour.
    pub async fn web(&self) -> Result<()> {
        self.app("web", Colour::new("blue"), Colour::new("green")).await
    }

    /// Applies a Prometheus and waits until its Service answers.
    pub async fn prometheus(&self) -> Result<()> {
        self.apply(&app::prometheus(&self.ns)).await?;
        self.available("prometheus").await?;
        self.answers("prometheus", "9090/-/ready").await.map(|_| ())
    }

    /// Waits until a Service answers, and gives its address. The cluster's proxy needs a moment to follow endpoints.
    pub async fn answers(&self, service: &str, path: &str) -> Result<String> {
        let service = self.api::<Service>().get(service).await?;
        let ip = service.spec.and_then(|s| s.cluster_ip).context("the Service has no address")?;
        let url = format!("http://{ip}:{path}");
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        let mut answered = 0;
        wait::poll(&format!("{url} answers"), secs(30), async || {
            let ok = http.get(&url).send().await.is_ok_and(|a| a.status().as_u16() < 500);
            answered = if ok { answered + 1 } else { 0 };
            Ok((answered == 5).then_some(()))
        })
        .await?;
        Ok(url)
    }

    /// Waits until a Deployment is available as it is now wanted.
    pub async fn available(&self, name: &str) -> Result<()> {
        wait::until(self.api::<Deployment>(), &format!("Deployment {name} available"), secs(60), |all| {
            Ok(all.get(name).and_then(|d| {
                let (spec, status) = (d.spec.as_ref()?, d.status.as_ref()?);
                let seen = status.observed_generation == d.metadata.generation;
                (seen && status.available_replicas.unwrap_or(0) >= spec.replicas.unwrap_or(1)).then_some(())
            }))
        })
        .await
    }

    /// Applies the Cutover `NAME` of the application `web`; `spec` is merged over its spec.
    pub async fn cutover(&self, name: &str, spec: &str) -> Result<()> {
        self.apply_value(&app::cutover(name, "web", spec)?).await.map(|_| ())
    }

    /// Values of the Secrets that the test applied, also of those that are gone.
    pub(super) fn secrets(&self) -> BTreeSet<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the test's own operator runs.
    pub(super) fn runs(&self) -> bool {
        self.operator().is_some()
    }

    fn operator(&self) -> MutexGuard<'_, Option<Operator>> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the operator.
    pub async fn start(&self) -> Result<()> {
        self.start_through(None).await
    }

    /// Starts the operator with another address of the API server.
    pub async fn start_through(&self, server: Option<&str>) -> Result<()> {
        let path = self.dir.join("kubeconfig");
        std::fs::write(&path, cluster::operator_kubeconfig(&self.client, server).await?)?;
        self.restart_as_before()
    }

    /// Starts the operator (again) with the kubeconfig it had.
    pub fn restart_as_before(&self) -> Result<()> {
        let arguments = self.given();
        let environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kubeconfig = self.dir.join("kubeconfig");
        let started = Operator::start(&self.ns, &kubeconfig, &self.log, &arguments, &environment)?;
        *self.operator() = Some(started);
        Ok(())
    }

    /// Arguments for every operator that is started from now on.
    pub fn arguments(&self, arguments: &[&str]) {
        *self.arguments.lock().unwrap_or_else(PoisonError::into_inner) =
            arguments.iter().map(|a| (*a).to_owned()).collect();
    }

    /// The arguments that an operator is started with.
    pub(super) fn given(&self) -> Vec<String> {
        self.arguments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A variable for every operator that is started from now on.
    pub fn environment(&self, name: &str, value: &str) {
        let pair = (name.to_owned(), value.to_owned());
        self.environment.lock().unwrap_or_else(PoisonError::into_inner).push(pair);
    }

    /// Starts a second operator beside the first; it ends when it is dropped.
    pub fn another(&self) -> Result<Operator> {
        Operator::start(&self.ns, &self.dir.join("kubeconfig"), &self.dir.join("second.log"), &[], &[])
    }

    /// Kills the operator with SIGKILL.
    pub fn kill(&self) {
        if let Some(operator) = self.operator().as_mut() {
            operator.kill();
        }
        *self.operator() = None;
    }

    /// Kills the operator and starts it again.
    pub fn crash(&self) -> Result<()> {
        self.kill();
        self.restart_as_before()
    }

    /// Tells the operator to end, and waits until it has.
    pub async fn stop(&self) -> Result<()> {
        if let Some(operator) = self.operator().as_ref() {
            operator.signal("TERM")?;
        }
        wait::poll("the operator ends", secs(15), async || {
            Ok(self.operator().as_mut().is_none_or(|o| o.exited().is_some()).then_some(()))
        })
        .await?;
        *self.operator() = None;
        Ok(())
    }

    /// What the operator holds in memory now and at most, in KiB.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let id = self.operator().as_ref().map(Operator::id).context("no operator runs")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).context("no number")
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// Fails when the operator has ended by itself.
    pub fn alive(&self) -> Result<()> {
        match self.operator().as_mut().and_then(Operator::exited) {
            Some(how) => bail!("the operator ended by itself: {how}"),
            None => Ok(()),
        }
    }

    /// Waits until the newest run of a Cutover passes a test.
    pub async fn run_until<T>(
        &self,
        cutover: &str,
        what: &str,
        bound: Duration,
        mut test: impl FnMut(&CutoverRun) -> Result<Option<T>>,
    ) -> Result<T> {
        let what = format!("run of {cutover}: {what}");
        wait::until(self.api::<CutoverRun>(), &what, bound, |all| {
            self.alive()?;
            match newest(all.values(), cutover) {
                Some(run) => test(run),
                None => Ok(None),
            }
        })
        .await
    }

    /// Waits until the newest run of a Cutover is in a phase; a run that is over in another one fails at once.
    pub async fn phase(&self, cutover: &str, phase: Phase, bound: u64) -> Result<CutoverRun> {
        self.run_until(cutover, phase.as_str(), secs(bound), |run| {
            let Some(status) = &run.status else { return Ok(None) };
            if status.phase == phase {
                return Ok(Some(run.clone()));
            }
            let lost = status.phase.is_over() || (status.phase == Phase::Completed && phase != Phase::RolledBack);
            ensure!(!lost, "the run is {} instead of {phase}: {:?}", status.phase, status.ending);
            Ok(None)
        })
        .await
    }

    /// The newest run of a Cutover.
    pub async fn newest(&self, cutover: &str) -> Result<Option<CutoverRun>> {
        let runs = self.api::<CutoverRun>().list(&ListParams::default()).await?;
        Ok(newest(runs.items.iter(), cutover).cloned())
    }

    /// Waits until the newest run is over or completed, and closed; says what it is.
    pub async fn closed(&self, cutover: &str, bound: u64) -> Result<CutoverRun> {
        self.run_until(cutover, "closed", secs(bound), |run| {
            Ok(run.status.as_ref().filter(|s| s.state == RunState::Closed).map(|_| run.clone()))
        })
        .await
    }

    /// Waits until the newest run ends so, and is closed.
    pub async fn ends(&self, cutover: &str, phase: Phase, bound: u64) -> Result<CutoverRun> {
        self.phase(cutover, phase, bound).await?;
        let run = self.closed(cutover, 20).await?;
        let ended = run.status.as_ref().map(|s| s.phase);
        ensure!(ended == Some(phase), "the run ended {ended:?} instead of {phase}");
        // Its finalizer goes after the answer to its last write, which the audit log has by then.
        self.run_until(cutover, "its release", secs(20), |newest| {
            let held = newest.metadata.uid == run.metadata.uid && newest.metadata.finalizers.is_some();
            Ok((!held).then_some(()))
        })
        .await?;
        Ok(run)
    }

    /// Waits until a Cutover has a condition with this status whose reason and message pass a test.
    pub async fn condition(&self, cutover: &str, type_: &str, status: bool, bound: u64) -> Result<String> {
        let wanted = if status { "True" } else { "False" };
        wait::until(self.api::<Cutover>(), &format!("{cutover}: {type_}={wanted}"), secs(bound), |all| {
            self.alive()?;
            let conditions = all.get(cutover).and_then(|c| c.status.as_ref()).map(|s| &s.conditions);
            let found = conditions.and_then(|list| list.iter().find(|c| c.type_ == type_ && c.status == wanted));
            Ok(found.map(|c| format!("{}: {}", c.reason, c.message)))
        })
        .await
    }

    /// Waits until a Service points to a side.
    pub async fn points_to(&self, service: &str, side: &str, bound: u64) -> Result<()> {
        wait::until(self.api::<Service>(), &format!("Service {service} on {side}"), secs(bound), |all| {
            Ok(all.get(service).and_then(side_of).filter(|s| s == side).map(|_| ()))
        })
        .await
    }

    /// The side that a Service points to now.
    pub async fn side(&self, service: &str) -> Result<String> {
        let service = self.api::<Service>().get(service).await?;
        side_of(&service).context("the Service has no selector with a side")
    }

    /// Merges a patch into an object by the administrator.
    pub async fn merge<K>(&self, name: &str, patch: Value) -> Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// The pods of a side.
    pub async fn pods(&self, app: &str, side: &str) -> Result<Vec<Pod>> {
        let params = ListParams::default().labels(&format!("app={app},side={side}"));
        Ok(self.api::<Pod>().list(&params).await?.items)
    }

    /// Sends a request to the control port of every pod of a side.
    pub async fn control(&self, app: &str, side: &str, path: &str, body: Value) -> Result<()> {
        for pod in self.pods(app, side).await? {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).context("a pod has no address")?;
            let port = if path.starts_with("/api") { 8080 } else { 8081 };
            let url = format!("http://{ip}:{port}{path}");
            let answer = reqwest::Client::builder().no_proxy().build()?.post(&url).json(&body).send().await?;
            ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        }
        Ok(())
    }

    /// Sets faults of every pod of a side.
    pub async fn fault(&self, app: &str, side: &str, fault: Value) -> Result<()> {
        self.control(app, side, "/fault", fault).await
    }

    /// Starts load on a Service: so many fresh connections and kept-alive requests a second.
    pub async fn load(&self, service: &str, fresh: f64, keepalive: f64) -> Result<sample::load::LoadHandle> {
        let url = self.answers(service, "80/").await?;
        let mut config = sample::load::LoadConfig::new(&url)?;
        config.fresh_rate = fresh;
        config.keepalive_rate = keepalive;
        config.max_duration = secs(120);
        Ok(sample::load::Load::start(config))
    }

    /// The same with clients of every protocol that never close their connection by themselves, and connect when told to.
    pub async fn load_that_lasts(&self, service: &str, fresh: f64, each: usize) -> Result<sample::load::LoadHandle> {
        let mut config = sample::load::LoadConfig::new(&self.answers(service, "80/").await?)?;
        config.fresh_rate = fresh;
        (config.lasting, config.lasting_later) = (each, true);
        config.max_duration = secs(180);
        Ok(sample::load::Load::start(config))
    }

    /// What the API server was asked in this namespace.
    pub fn audit(&self) -> Result<Vec<Line>> {
        audit::read(&self.ns, self.audit_from)
    }

    /// Selector writes of the operator that the API server carried out on a Service, by the side they set.
    ///
    /// One whose sender died under way may count or not: it does unless the same version was patched again.
    pub fn selector_writes(&self, service: &str) -> Result<Vec<String>> {
        let lines = self.audit()?;
        let ours = lines.iter().filter(|l| l.resource == "services" && l.name == service && l.is_write());
        let ours = ours.filter(|l| l.perhaps() && (l.user.ends_with(":cutover") || l.user == cluster::operator_user()));
        let mut versions = vec![];
        let mut sides = vec![];
        for line in ours {
            let Some(selector) = line.selector() else { continue };
            // One without a side is a write like any other.
            let side = selector["side"].as_str().map_or_else(|| selector.to_string(), str::to_owned);
            let version = line.tested("/metadata/resourceVersion").context("a patch that tests no version")?;
            if !versions.contains(&version) {
                versions.push(version);
                sides.push(side);
            }
        }
        Ok(sides)
    }

    /// How many Jobs were created, and how many started.
    pub fn jobs(&self) -> Result<(usize, usize)> {
        let lines = self.audit()?;
        let names = |verb: &str, what: &dyn Fn(&Line) -> bool| {
            let of = |l: &&Line| l.resource == "jobs" && l.is_write() && l.verb == verb && l.perhaps() && what(l);
            lines.iter().filter(of).map(|l| l.name.as_str()).collect::<BTreeSet<_>>().len()
        };
        Ok((names("create", &|_| true), names("patch", &|l| l.body.to_string().contains("suspend"))))
    }

    /// Deletes the namespace. The operator releases its finalizers; without one the administrator does.
    pub async fn remove(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.ns, &DeleteParams::default()).await?;
        let gone = async {
            // The namespace controller deletes the pods first and looks again after as long as their grace periods allow.
            wait::until(self.api::<CutoverRun>(), "runs gone", secs(180), |all| Ok(all.is_empty().then_some(())))
                .await?;
            wait::until(self.api::<Cutover>(), "Cutovers gone", secs(30), |all| Ok(all.is_empty().then_some(()))).await
        };
        let running = self.operator().is_some();
        let released = if running { gone.await } else { Ok(()) };
        if !running || released.is_err() {
            // In the operator's name, since a policy leaves its finalizers to it alone.
            let client = cluster::client(Some(&cluster::operator_user())).await?;
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let runs: Api<CutoverRun> = Api::namespaced(client.clone(), &self.ns);
            for run in runs.list(&ListParams::default()).await? {
                let _ = runs.patch(&run.name_any(), &PatchParams::default(), &none).await;
            }
            let cutovers: Api<Cutover> = Api::namespaced(client, &self.ns);
            for cutover in cutovers.list(&ListParams::default()).await? {
                let _ = cutovers.patch(&cutover.name_any(), &PatchParams::default(), &none).await;
            }
        }
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
        released.context("the namespace hangs")
    }
}

/// The record of a step.
pub fn step<'a>(run: &'a CutoverRun, name: &str) -> Result<&'a StepRecord> {
    let steps = run.status.as_ref().map(|s| s.steps.as_slice()).unwrap_or_default();
    steps.iter().find(|s| s.name == name).with_context(|| format!("{name} did not run"))
}

/// The newest run of a Cutover.
pub fn newest<'a>(runs: impl Iterator<Item = &'a CutoverRun>, cutover: &str) -> Option<&'a CutoverRun> {
    let number = |r: &CutoverRun| r.name_any().rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    runs.filter(|r| r.spec.cutover == cutover)
        .max_by_key(|r| (r.metadata.creation_timestamp.as_ref().map(|t| t.0), number(r)))
}

fn side_of(service: &Service) -> Option<String> {
    service.spec.as_ref()?.selector.as_ref()?.get("side").cloned()
}
