//! A tenant that floods the operator, and how long the restore of another one takes beside it (P15).

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::{Bench, metric};
use crate::harness::{app, cluster, wait};
use crate::operator::Operator;
use crate::report::{Figure, Summary};
use crate::stage::{self, Stage};
use crate::standin::StandIn;

const QUIET: &str = "bench-quiet";
const LOUD: &str = "bench-loud";
/// The hostile tenant's Cutovers.
const CUTOVERS: usize = 20;
/// About the size of one, in bytes.
const CUTOVER: usize = 2000;
/// What it sends, each so often: no faster than an API server lets a tenant.
const PACE: Duration = Duration::from_millis(10);
/// Connections that say nothing.
const CONNECTIONS: usize = 500;
/// Until a flood has risen.
const RISE: Duration = Duration::from_secs(3);
/// Until all runs of a flood are observed, or are gone again.
const RUNS: Duration = Duration::from_secs(90);
/// For one flood, each repetition in addition.
const LONGEST: Duration = Duration::from_secs(240);
const REPETITION: Duration = Duration::from_secs(20);
/// A quiet tenant's restore is delayed by less, at the 95th percentile.
const DELAY: f64 = 100.0;
/// Logged ten times a second by the hostile tenant's pods, once they have users.
const LOGGED: usize = 32 * 1024;

/// What the hostile tenant does.
#[derive(Clone, Copy)]
enum Flood {
    Nothing,
    /// Decisions that are refused.
    Decisions,
    /// Changes of its ConfigMaps, of which the operator knows nothing: what such a flood costs on this machine without it.
    ConfigMaps,
    /// Changes of its Cutovers.
    Changes,
    /// Runs with such a trigger.
    Triggers(fn() -> String),
    /// Connections to the operator's own port.
    Connections,
}

/// By their names in the table.
const FLOODS: [(&str, Flood); 9] = [
    ("nothing", Flood::Nothing),
    ("ConfigMaps", Flood::ConfigMaps),
    ("decisions", Flood::Decisions),
    ("Cutovers", Flood::Changes),
    ("expressions", Flood::Triggers(expressions)),
    ("patterns", Flood::Triggers(pattern)),
    ("bodies", Flood::Triggers(body)),
    ("logs", Flood::Triggers(log)),
    ("connections", Flood::Connections),
];

fn probe(bytes: usize, expect: &[String]) -> String {
    let expect = json!(expect);
    format!(r#"probe: {{failing: 1000, http: {{path: "/big?bytes={bytes}", expect: {expect}}}}}"#)
}

/// As much as an expression may do, several times over a body that is as large as one may be.
fn expressions() -> String {
    let zeros = |n: usize| format!("[{}]", vec!["0"; n].join(","));
    let dear = format!("{}.all(a, {}.all(b, !body.contains('xxxy')))", zeros(18), zeros(18));
    probe(60_000, &vec![dear; 8])
}

/// One that takes long, and is given up.
fn pattern() -> String {
    probe(60_000, &["!body.matches('(?:x{1,53}){1,53}y')".into()])
}

fn body() -> String {
    probe(1 << 20, &["status == 200".into()])
}

fn log() -> String {
    "logs: {matches: '(?:x{1,9}y){2,9}z', within: 1h, moreThan: 100000}".into()
}

/// Quiet, and beside each flood.
pub async fn hostile(bench: &mut Bench, running: &Option<Operator>) -> Result<()> {
    let operator = running.as_ref().context("no operator")?;
    let health: SocketAddr = operator.health.trim_start_matches("http://").parse()?;
    let (standin, port) = StandIn::start(&bench.node).await?;
    let mut quiet = Stage::new(&bench.client, QUIET, 1).await?;
    quiet.apply(&metric::service(&bench.node, port)).await?;
    quiet.spec(&metric::spec(QUIET, "250ms"))?;
    let mut loud = Stage::new(&bench.client, LOUD, 2).await?;
    for colour in ["blue", "green"] {
        let pods = app::Colour::new(colour).replicas(2).env("FAULT_LOG", &"x".repeat(LOGGED));
        loud.apply(&app::deployment(stage::NAME, &pods)).await?;
        loud.available(colour).await?;
    }
    loud.spec("{observe: {for: 12h}}")?;
    loud.release("green").await?;
    loud.phase(Phase::Observing).await?;
    let mut nothing = None;
    for (name, flood) in FLOODS {
        let longest = LONGEST + REPETITION * u32::try_from(bench.reps).unwrap_or(u32::MAX);
        let beside = beside(bench, &loud, &mut quiet, &standin, (name, flood), health);
        let values = timeout(longest, beside).await.with_context(|| format!("not over after {longest:?}"));
        // One that cannot be measured is no reason not to measure the others.
        let values = match values.and_then(|values| values) {
            Ok(values) => values,
            Err(error) => {
                eprintln!("  beside {name}: {error:#}");
                bench.report.failures.push(format!("hostile, {name}: {error:#}"));
                end(&loud).await?;
                continue;
            }
        };
        let summary = Summary::of(&values);
        let later = nothing.map_or(String::new(), |(median, p95)| {
            format!(" (p50 {:+.0} ms, p95 {:+.0} ms)", summary.median - median, summary.p95 - p95)
        });
        eprintln!("  beside {name}: p50 {:.0} ms, p95 {:.0} ms{later}", summary.median, summary.p95);
        let method =
            "From the answer that carried the bad value to the acceptance of the selector patch, of a run of one
            namespace, while another one floods the operator with this. In brackets: how much later than beside nothing.
            The target is the 95th percentile beside nothing, and 100 ms.";
        let mut figure = Figure::new(
            &format!("restored-beside-{}", name.to_lowercase()),
            &format!("deciding sample read → restored, beside a flood of {name}{later}"),
            "ms",
            method,
            values,
        );
        match nothing {
            None => nothing = Some((summary.median, summary.p95)),
            Some((_, p95)) => figure = figure.target(None, Some(p95 + DELAY), None),
        }
        bench.report.figures.push(figure);
    }
    quiet.remove().await?;
    loud.remove().await
}

/// The restores of the quiet tenant while the other one does this.
async fn beside(
    bench: &Bench,
    loud: &Stage,
    quiet: &mut Stage,
    standin: &StandIn,
    (name, flood): (&str, Flood),
    health: SocketAddr,
) -> Result<Vec<f64>> {
    let sent = Arc::new(AtomicUsize::new(0));
    let mut tasks = begin(loud, name, flood, health, sent.clone()).await?;
    sleep(RISE).await;
    let (from, before) = (Instant::now(), sent.load(Ordering::Relaxed));
    let mut values = vec![];
    for rep in 1..=bench.reps {
        let (_, read) = metric::once(quiet, standin, 250.0 * super::phase(rep)).await?;
        bench.progress(&format!("beside {name}"), rep, &format!("{read:.0} ms"));
        values.push(read);
    }
    let sent = sent.load(Ordering::Relaxed) - before;
    if sent > 0 {
        eprintln!("  the flood of {name}: {:.0} writes a second", sent as f64 / from.elapsed().as_secs_f64());
    }
    tasks.shutdown().await;
    end(loud).await?;
    Ok(values)
}

/// Begins a flood, which goes on until its tasks are ended and its Cutovers are gone.
async fn begin(
    loud: &Stage,
    name: &str,
    flood: Flood,
    health: SocketAddr,
    sent: Arc<AtomicUsize>,
) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    match flood {
        Flood::Nothing => {}
        Flood::Decisions => {
            let runs: Api<CutoverRun> = loud.api();
            let run = runs.list(&ListParams::default()).await?.items.pop().context("the hostile tenant has no run")?;
            let person = app::PEOPLE[0];
            let api: Api<CutoverDecision> = Api::namespaced(cluster::client(Some(person)).await?, LOUD);
            tasks.spawn(async move {
                let mut pace = interval(PACE);
                loop {
                    pace.tick().await;
                    sent.fetch_add(1, Ordering::Relaxed);
                    // What is refused is no matter.
                    let _ = api.create(&PostParams::default(), &decision(&run, person)).await;
                }
            });
        }
        Flood::ConfigMaps => {
            let api = loud.api::<ConfigMap>();
            for n in 0..CUTOVERS {
                let name = format!("{}-{n}", name.to_lowercase());
                let data = json!({"number": "0", "text": "x".repeat(CUTOVER)});
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
                cluster::apply(&loud.client, &object, LOUD).await.with_context(|| format!("ConfigMap {name}"))?;
            }
            tasks.spawn(changes(api, name.to_lowercase(), sent, |number| json!({"data": {"number": number}})));
        }
        Flood::Changes => {
            apply(&loud.client, name, "{}", "blue").await?;
            let version = |number| json!({"spec": {"release": {"version": number}}});
            tasks.spawn(changes(loud.api::<Cutover>(), name.to_lowercase(), sent, version));
        }
        Flood::Triggers(trigger) => {
            let users = format!("http://{}/", loud.address(stage::NAME).await?);
            stage::http()?.get(users).send().await.context("a user of the hostile tenant")?;
            let fields = format!("{{observe: {{for: 12h, every: 100ms, triggers: [{{name: dear, {}}}]}}}}", trigger());
            apply(&loud.client, name, &fields, "blue").await?;
            apply(&loud.client, name, &fields, "green").await?;
            let name = name.to_lowercase();
            runs(loud, "the flood's runs are observed", |all| {
                let of = |run: &&CutoverRun| run.spec.cutover.starts_with(&name);
                let observed =
                    |run: &&CutoverRun| run.status.as_ref().is_some_and(|status| status.phase == Phase::Observing);
                all.iter().filter(of).filter(observed).count() >= CUTOVERS
            })
            .await?;
        }
        Flood::Connections => {
            for _ in 0..CONNECTIONS {
                tasks.spawn(async move {
                    while let Ok(mut tcp) = TcpStream::connect(health).await {
                        if tcp.write_all(b"GET /metrics HTTP/1.1\r\nx-slow: ").await.is_ok() {
                            // Until the other side has had enough.
                            tcp.readable().await.ok();
                        }
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
    }
    Ok(tasks)
}

/// Patches one object after the other, each with another number.
async fn changes<K>(api: Api<K>, name: String, sent: Arc<AtomicUsize>, patch: fn(String) -> Value)
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut pace = interval(PACE);
    loop {
        pace.tick().await;
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let patch = Patch::Merge(patch(number.to_string()));
        // The flood goes on whatever the answer is.
        let _ = api.patch(&format!("{name}-{}", number % CUTOVERS), &PatchParams::default(), &patch).await;
    }
}

/// The flood's Cutovers, each with a Service of its own.
async fn apply(client: &Client, flood: &str, fields: &str, side: &str) -> Result<()> {
    for n in 0..CUTOVERS {
        let name = format!("{}-{n}", flood.to_lowercase());
        let mut object = app::cutover(&name, stage::NAME, fields)?;
        object["spec"]["services"] = json!([{"name": name}]);
        object["spec"]["activate"] = json!(side);
        let service = app::service(stage::NAME, "blue").replace("name: web}", &format!("name: {name}}}"));
        // What is switched is not applied again.
        let service = if side == "blue" { cluster::documents(&service)? } else { vec![] };
        for object in service.into_iter().chain([object]) {
            cluster::apply(client, &object, LOUD).await.with_context(|| format!("the hostile tenant's {name}"))?;
        }
    }
    Ok(())
}

/// Takes the flood's Cutovers away.
async fn end(loud: &Stage) -> Result<()> {
    let api: Api<Cutover> = loud.api();
    for cutover in api.list_metadata(&ListParams::default()).await?.items {
        let name = cutover.name_any();
        if name != stage::NAME {
            api.delete(&name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
        }
    }
    runs(loud, "the flood's runs are gone", |all| all.iter().all(|run| run.spec.cutover == stage::NAME)).await
}

/// Waits for something of the hostile tenant's runs that are not closed.
async fn runs(loud: &Stage, what: &str, test: impl Fn(&[CutoverRun]) -> bool) -> Result<()> {
    let api: Api<CutoverRun> = loud.api();
    let active = ListParams::default().fields("status.state!=Closed");
    let found = wait::poll(what, RUNS, async || Ok(test(&api.list(&active).await?.items).then_some(()))).await;
    if let Err(error) = found {
        let all = api.list(&active).await?.items;
        let shown: Vec<String> =
            all.iter().filter_map(|run| Some(format!("{} {}", run.spec.cutover, run.status.as_ref()?.phase))).collect();
        ensure!(false, "{error:#}; there are: {}", shown.join(", "));
    }
    Ok(())
}

fn decision(run: &CutoverRun, person: &str) -> CutoverDecision {
    let spec = CutoverDecisionSpec::about(stage::NAME, &run.uid().unwrap_or_default(), Verb::Resume, person);
    let mut decision = CutoverDecision::new("", spec);
    decision.metadata = ObjectMeta { generate_name: Some("flood-".into()), ..ObjectMeta::default() };
    decision
}
