//! Plays an example on a cluster: puts it on stage, releases as its scenarios say, and follows each run by its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cutover::api::run::RunState;
use cutover::api::{Cutover, CutoverDecision, CutoverRun, Phase, RunStatus};
use cutover::plan::expr::{Var, eval_bool};
use demo::cluster::{Cluster, wait};
use demo::scene::Scenery;
use k8s_openapi::api::core::v1::{Event, Secret, Service};
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::path::Path;
use tokio::time::{Instant, sleep};

use crate::example::Example;
use crate::oracle::{audit, promises};
use crate::people::{People, Told, plugin};
use crate::report::{Row, judge};
use crate::scenario::Scenario;

const POLL: Duration = Duration::from_millis(200);
/// Longest time until everything of an application is ready.
const READY: Duration = Duration::from_secs(120);
/// Longest time of one release, follow-ups included.
const ONE_RELEASE: Duration = Duration::from_secs(180);
/// Longest time until the team has read how a release ended.
const NOTIFIED: Duration = Duration::from_secs(30);
/// A value of a Secret that is shorter stands elsewhere by accident.
const SHORTEST_SECRET: usize = 8;
/// The pod that makes the load.
const LOAD: &str = "load";

/// An example on a cluster.
pub struct Stage<'e> {
    /// The cluster, and the example's namespace.
    pub cluster: Cluster,
    example: &'e Example,
    scenery: Scenery,
    /// Certificate and key of the application, as PEM.
    certificate: (String, String),
    /// Where the audit log stood at the start.
    audit_from: u64,
}

impl<'e> Stage<'e> {
    /// A stage in the namespace `cutover-example-NAME`, with nothing on it yet.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn new(client: &Client, example: &'e Example, mut scenery: Scenery) -> Result<Self> {
        scenery.namespace = format!("cutover-example-{}", example.name);
        let cluster = Cluster { client: client.clone(), namespace: scenery.namespace.clone() };
        let certificate = certificate(&[format!("app.{}.example", example.name), format!("{}.example", example.name)])?;
        Ok(Self { cluster, example, scenery, certificate, audit_from: audit::end() })
    }

    /// Puts the application there, with Prometheus, load and the rights of its team, whatever was there before.
    ///
    /// # Errors
    /// What cannot be made, or does not get ready.
    pub async fn set(&self, tenant: &Path) -> Result<()> {
        self.cluster.delete_namespace(Duration::from_secs(90)).await?;
        self.cluster.make_namespace().await?;
        self.cluster.apply_folder(tenant).await.context("the team's ServiceAccount and rights")?;
        self.apply(&self.example.application).await?;
        self.cluster.apply_all(&self.scenery.prometheus_of(&self.example.name)?).await?;
        self.ready(&self.example.application).await?;
        self.cluster.wait_deployment("prometheus", READY).await?;
        let address = self.cluster.service_address(self.example.service()?).await?;
        let mut load = self.scenery.load(LOAD, &address)?;
        slow_down(&mut load, self.example.scenarios.load);
        self.cluster.apply(&load).await?;
        self.cluster.wait_pod(LOAD, READY).await
    }

    /// Takes everything away.
    ///
    /// # Errors
    /// The namespace stays.
    pub async fn clear(&self) -> Result<()> {
        self.cluster.delete_namespace(Duration::from_secs(90)).await.map(drop)
    }

    async fn apply(&self, objects: &[Value]) -> Result<()> {
        // Through text, as images differ from cluster to cluster, and secrets have been rotated just now.
        let text = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
        let text = text.replace("\"ROTATED\"", &format!("\"{}\"", jiff::Timestamp::now()));
        let text = text.replace(".NAMESPACE.svc", &format!(".{}.svc", self.cluster.namespace));
        let mut objects = self.scenery.documents(&text)?;
        for object in objects.iter_mut().filter(|object| object["stringData"]["TLS_CERT"] == "CERTIFICATE") {
            object["stringData"] = json!({"TLS_CERT": self.certificate.0, "TLS_KEY": self.certificate.1});
        }
        self.cluster.apply_all(&objects).await
    }

    /// Waits for the Deployments that want pods.
    async fn ready(&self, objects: &[Value]) -> Result<()> {
        let wanted = objects.iter().filter(|object| object["kind"] == "Deployment");
        for name in wanted.filter_map(|object| object["metadata"]["name"].as_str()) {
            self.cluster.wait_deployment(name, READY).await?;
        }
        Ok(())
    }

    /// Plays one release to its end.
    ///
    /// # Errors
    /// What keeps it from being played; a wrong end is a problem of the row instead.
    pub async fn play(&self, scenario: &Scenario) -> Result<(Row, CutoverRun)> {
        let started = Instant::now();
        let eve = self.example.eve(scenario)?;
        self.apply(&eve).await?;
        self.remove_finished_pods().await?;
        self.ready(&eve).await?;
        let people = People::new(&self.cluster.namespace, &self.example.scenarios, scenario);
        let mut before = None;
        let mut released = None;
        if !scenario.images.is_empty() {
            self.releasable().await?;
            released = Some(self.release(scenario));
        } else if scenario.retry {
            before = self.run(scenario).await?.and_then(|run| run.metadata.uid);
            ensure!(before.is_some(), "a retry needs the scenario before it");
            people.retry(&self.api::<Cutover>().get(&self.example.name).await?).await?;
        } else {
            let cutover = self.example.cutover_for(scenario)?;
            let text = self.scenery.documents(&cutover.to_string())?;
            self.cluster.apply_all(&text).await?;
        }
        let (run, released) = match released {
            // People speak while the command waits.
            Some(command) => tokio::try_join!(self.follow(scenario, people, before), self.plugin_releases(command))?,
            None => (self.follow(scenario, people, before).await?, None),
        };
        let journal = run.status.clone().unwrap_or_default();
        let live = self.live().await?;
        let mut row = judge(self.example, scenario, &journal, live.as_deref(), started.elapsed());
        row.problems.extend(self.objects(scenario).await?);
        row.problems.extend(self.told(&run, released).await?);
        row.problems.extend(self.notified(&run).await?);
        row.problems.extend(self.promises().await.err().map(|broken| format!("{broken:#}")));
        Ok((row, run))
    }

    /// Applies the Cutover as it stands before its first release, unless it is there, and waits until it can be released: the
    /// operator has seen the newest one, and has nothing left to do for the release before.
    async fn releasable(&self) -> Result<()> {
        let cutovers: Api<Cutover> = self.api();
        if cutovers.get_opt(&self.example.name).await?.is_none() {
            let cutover = self.scenery.documents(&self.example.cutover_before()?.to_string())?;
            self.cluster.apply_all(&cutover).await?;
        }
        let seen = wait(READY, || async {
            let cutover = cutovers.get(&self.example.name).await?;
            let seen = cutover.status.as_ref().and_then(|status| status.observed_generation);
            let runs = self.api::<CutoverRun>().list(&ListParams::default()).await?;
            let over = |s: &RunStatus| s.state == RunState::Closed || s.phase == Phase::Completed;
            let over = runs.iter().all(|run| run.status.as_ref().is_some_and(over));
            Ok((over && seen.is_some() && seen == cutover.metadata.generation).then_some(()))
        });
        seen.await?.context("the operator does not look at the Cutover, or does not close its last run")
    }

    /// `kubectl cutover release`, which ends when its run does.
    fn release(&self, scenario: &Scenario) -> Vec<String> {
        let mut words = vec!["release".to_owned(), self.example.name.clone()];
        words.extend(["--version".to_owned(), scenario.version.clone()]);
        // What the manifest says of the release beside its version, which the runbook may refer to.
        for field in ["revision", "tag"] {
            let said = self.example.cutover["spec"]["release"][field].as_str();
            words.extend(said.into_iter().flat_map(|value| [format!("--{field}"), value.to_owned()]));
        }
        words.push(format!("--wait={}s", ONE_RELEASE.as_secs()));
        for (container, image) in &scenario.images {
            let image = self.scenery.images(image);
            words.extend(["--image".to_owned(), format!("{container}={image}")]);
        }
        words
    }

    async fn plugin_releases(&self, words: Vec<String>) -> Result<Option<Told>> {
        let told = plugin(&self.cluster.namespace, &words).await?;
        ensure!(matches!(told.code, 0..=2), "{words:?}: {told:?}");
        Ok(Some(told))
    }

    /// What a pipeline and a person would not be told rightly of this run.
    async fn told(&self, run: &CutoverRun, released: Option<Told>) -> Result<Vec<String>> {
        let phase = run.status.as_ref().map(|s| s.phase).unwrap_or_default();
        let code = match phase {
            Phase::Completed => 0,
            Phase::RolledBack => 2,
            _ => 1,
        };
        let name = format!("run/{}", run.name_any());
        let watch = ["watch", &name, "--until", "completed", "--timeout", "30s"].map(str::to_owned);
        let watched = plugin(&self.cluster.namespace, &watch).await?;
        let status = plugin(&self.cluster.namespace, &["status".to_owned(), name]).await?;
        let mut problems = vec![];
        if let Some(told) = released.filter(|told| told.code != code) {
            problems.push(format!("release ends with {} and not with {code}: {}", told.code, told.text));
        }
        if watched.code != code {
            problems.push(format!("watch ends with {} and not with {code}: {}", watched.code, watched.text));
        }
        if status.code != 0 || !status.text.contains(phase.as_str()) {
            problems.push(format!("status does not say {phase}: {}", status.text));
        }
        Ok(problems)
    }

    /// What the receiver of notifications was not told rightly of this run.
    async fn notified(&self, run: &CutoverRun) -> Result<Vec<String>> {
        if self.example.cutover["spec"]["notify"].as_array().is_none_or(Vec::is_empty) {
            return Ok(vec![]);
        }
        let phase = run.status.as_ref().map(|s| s.phase).unwrap_or_default();
        let heard = wait(NOTIFIED, || async {
            let all: Vec<Value> =
                serde_json::from_str(&self.cluster.proxy_get("services/notices:80", "/notices").await?)?;
            let of_run = all.into_iter().filter(|notice| notice["run"]["name"] == run.name_any().as_str());
            let of_run: Vec<Value> = of_run.collect();
            Ok(of_run.iter().any(|notice| notice["event"] == phase.as_str()).then_some(of_run))
        });
        let Some(heard) = heard.await? else { return Ok(vec![format!("nobody was told of {phase}")]) };
        let events: Vec<&str> = heard.iter().filter_map(|notice| notice["event"].as_str()).collect();
        let mut problems = vec![];
        if events.first() != Some(&"Preflight") {
            problems.push(format!("the first notification is no announcement: {events:?}"));
        }
        let keys: BTreeSet<&str> = heard.iter().filter_map(|notice| notice["idempotencyKey"].as_str()).collect();
        if keys.len() != heard.len() {
            problems.push(format!("something was told twice although nothing was restarted: {events:?}"));
        }
        let unsigned =
            heard.iter().filter(|notice| !notice["signature"].as_str().is_some_and(|s| s.starts_with("v0=")));
        problems.extend(unsigned.map(|notice| format!("{} is not signed", notice["event"])));
        Ok(problems)
    }

    /// The promises that are seen from outside, over everything that happened in the namespace so far: what the audit log
    /// shows, and that no value of a Secret stands anywhere.
    ///
    /// # Errors
    /// The promise that is broken.
    async fn promises(&self) -> Result<()> {
        let lines = if has_audit_log() { audit::read(&self.cluster.namespace, self.audit_from)? } else { vec![] };
        promises::check(&lines)?;
        let all = ListParams::default();
        let manifests = format!("{} {}", self.example.cutover, json!(self.not_secret()));
        let mut secrets = BTreeSet::new();
        for secret in self.api::<Secret>().list(&all).await? {
            secrets.extend(secret.data.into_iter().flatten().filter_map(|(_, value)| String::from_utf8(value.0).ok()));
        }
        // What a manifest says beside the Secret is none.
        secrets.retain(|value| value.len() >= SHORTEST_SECRET && !manifests.contains(value.as_str()));
        let texts = [
            ("the Cutovers", json!(self.api::<Cutover>().list(&all).await?.items)),
            ("the CutoverRuns", json!(self.api::<CutoverRun>().list(&all).await?.items)),
            ("the CutoverDecisions", json!(self.api::<CutoverDecision>().list(&all).await?.items)),
            ("the Events", json!(self.api::<Event>().list(&all).await?.items)),
        ];
        let mut texts: Vec<_> = texts.iter().map(|(place, text)| ((*place).to_owned(), text.to_string())).collect();
        for line in lines.iter().filter(|l| l.sender == promises::OPERATOR && !l.body.is_null()) {
            texts
                .push((format!("{} {} {} at {}", line.verb, line.resource, line.name, line.at), line.body.to_string()));
        }
        let leak = promises::leak(&texts, &secrets);
        ensure!(leak.is_none(), "P9: the value of a Secret is in {}", leak.unwrap_or_default());
        Ok(())
    }

    fn not_secret(&self) -> Vec<&Value> {
        self.example.application.iter().filter(|object| object["kind"] != "Secret").collect()
    }

    /// What is not as the scenario expects it of objects.
    async fn objects(&self, scenario: &Scenario) -> Result<Vec<String>> {
        let mut problems = vec![];
        for (name, conditions) in &scenario.expect.objects {
            let object = self.cluster.get(self.example.object(name)?).await?;
            let known = BTreeMap::from([("object".to_owned(), Var::Json(object))]);
            for condition in conditions {
                match eval_bool(condition, &known) {
                    Ok(true) => {}
                    Ok(false) => problems.push(format!("{name}: it is not so that {condition}")),
                    Err(why) => problems.push(format!("{name}: {condition}: {why}")),
                }
            }
        }
        Ok(problems)
    }

    /// Pods that a fault has ended for good would otherwise keep their Deployment from getting ready.
    async fn remove_finished_pods(&self) -> Result<()> {
        let api: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        for phase in ["Failed"] {
            let list = ListParams::default().fields(&format!("status.phase={phase}"));
            api.delete_collection(&DeleteParams::default(), &list).await?;
        }
        Ok(())
    }

    /// Follows the run of a release, another one than `before`; people speak when they are asked.
    async fn follow(&self, scenario: &Scenario, mut people: People<'_>, before: Option<String>) -> Result<CutoverRun> {
        let cutovers: Api<Cutover> = self.api();
        let end = Instant::now() + ONE_RELEASE;
        let mut last = "no run".to_owned();
        loop {
            if Instant::now() > end {
                bail!("{} is not over after {ONE_RELEASE:?}: {last}", scenario.name);
            }
            let cutover = cutovers.get(&self.example.name).await.context("the Cutover is gone")?;
            match self.run(scenario).await?.filter(|run| before.is_none() || run.metadata.uid != before) {
                None => {
                    if let Some(why) = demo::follow::refusal(&cutover) {
                        bail!("{}: no run starts: {why}", scenario.name);
                    }
                }
                Some(run) => {
                    let journal = run.status.clone().unwrap_or_default();
                    if is_over(&journal, scenario) {
                        return Ok(run);
                    }
                    last = where_it_stands(&journal);
                    let of_this_run = cutover.status.as_ref().and_then(|s| s.run.as_ref()?.uid.clone());
                    if of_this_run == run.metadata.uid {
                        people.speak(&cutover, &journal).await?;
                    }
                }
            }
            sleep(POLL).await;
        }
    }

    /// The run of a release, once there is one.
    async fn run(&self, scenario: &Scenario) -> Result<Option<CutoverRun>> {
        let all = self.api::<CutoverRun>().list(&ListParams::default()).await?;
        let of_release = |run: &CutoverRun| {
            run.spec.cutover == self.example.name && run.spec.plan["release"]["version"] == scenario.version.as_str()
        };
        Ok(all.items.into_iter().filter(of_release).max_by_key(|run| run.creation_timestamp().map(|time| time.0)))
    }

    /// The side to which every Service of the Cutover points; none while they differ.
    async fn live(&self) -> Result<Option<String>> {
        let spec = &self.example.cutover["spec"];
        let services: Api<Service> = self.api();
        let mut sides = vec![];
        for service in spec["services"].as_array().into_iter().flatten() {
            let service = services.get(service["name"].as_str().unwrap_or_default()).await?;
            let selector = json!(service.spec.and_then(|spec| spec.selector).unwrap_or_default());
            let points_to = |side: &&Value| {
                side["selector"].as_object().is_some_and(|wanted| wanted.iter().all(|(k, v)| selector[k] == *v))
            };
            sides.push(spec["sides"].as_array().into_iter().flatten().find(points_to).map(|side| side["name"].clone()));
        }
        sides.dedup();
        Ok(if let [Some(side)] = &sides[..] { side.as_str().map(str::to_owned) } else { None })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Waits until Prometheus has rates of the load.
    ///
    /// # Errors
    /// It has none.
    pub async fn wait_metrics(&self) -> Result<()> {
        let query = "/api/v1/query?query=sum(rate(http_requests_total%7Bcode%3D%22200%22%7D%5B5s%5D))%20%3E%205";
        let asked = wait(Duration::from_secs(60), || async {
            // Not ready yet, or a pod that is just going away: asked again.
            let to = "services/prometheus:9090";
            let answer = self.cluster.proxy_get(to, query).await.unwrap_or_default();
            Ok(answer.contains("\"value\"").then_some(()))
        });
        asked.await?.context("Prometheus does not see the load on the application")
    }
}

/// Whether the cluster's audit log is at hand: that of the test cluster is.
pub fn has_audit_log() -> bool {
    audit::path().is_ok()
}

/// A certificate of its own for these names, and its key, as PEM: good for the two months after it was made.
fn certificate(names: &[String]) -> Result<(String, String)> {
    let mut params = rcgen::CertificateParams::new(names)?;
    let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(60);
    params.not_after = rcgen::date_time_ymd(end.year().into(), u8::try_from(end.month())?, u8::try_from(end.day())?);
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn is_over(journal: &RunStatus, scenario: &Scenario) -> bool {
    if scenario.expect.closed {
        return journal.state == RunState::Closed;
    }
    journal.phase.is_over() || journal.phase == Phase::Completed
}

fn where_it_stands(journal: &RunStatus) -> String {
    let running = journal.steps.iter().filter(|step| step.ended.is_none());
    let steps = running.map(|step| format!("{}: {}", step.name, step.message.as_deref().unwrap_or("under way")));
    let waiting = journal.waiting.clone().into_iter();
    format!("{}; {}", journal.phase, steps.chain(waiting).collect::<Vec<_>>().join("; "))
}

/// The load of an example instead of the demonstration's, for as long as its scenarios may take.
fn slow_down(pod: &mut Value, rate: u32) {
    let options = [("--rate", rate.to_string()), ("--keepalive-rate", "1".into()), ("--max-duration", "15m".into())];
    let Some(command) = pod["spec"]["containers"][0]["command"].as_array_mut() else { return };
    for (option, value) in options {
        if let Some(at) = command.iter().position(|word| word == option)
            && let Some(word) = command.get_mut(at + 1)
        {
            *word = json!(value);
        }
    }
}
