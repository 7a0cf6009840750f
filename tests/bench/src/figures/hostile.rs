//! A tenant that floods the operator, and how long the restore of another one takes beside it (P15).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::{Bench, metric};
use crate::harness::{app, cluster};
use crate::operator::Operator;
use crate::report::{Figure, Summary};
use crate::stage::{self, Stage};
use crate::standin::StandIn;

const QUIET: &str = "bench-quiet";
const LOUD: &str = "bench-loud";
/// The hostile tenant's Cutovers.
const CUTOVERS: usize = 20;
/// What it sends, each so often: no faster than an API server lets a tenant.
const PACE: Duration = Duration::from_millis(10);
/// Connections that say nothing.
const CONNECTIONS: usize = 500;
/// Until a flood has risen.
const RISE: Duration = Duration::from_secs(3);
/// A quiet tenant's restore is delayed by less, at the 95th percentile.
const DELAY: f64 = 100.0;

/// Quiet, and beside each flood.
pub async fn hostile(bench: &mut Bench, running: &Option<Operator>) -> Result<()> {
    let operator = running.as_ref().context("no operator")?;
    let health: SocketAddr = operator.health.trim_start_matches("http://").parse()?;
    let (standin, port) = StandIn::start(&bench.node).await?;
    let mut quiet = Stage::new(&bench.client, QUIET, 1).await?;
    quiet.apply(&metric::service(&bench.node, port)).await?;
    quiet.spec(&metric::spec(QUIET, "250ms"))?;
    let mut loud = Stage::new(&bench.client, LOUD, 2).await?;
    loud.spec("{observe: {for: 12h}}")?;
    loud.release("green").await?;
    loud.phase(Phase::Observing).await?;
    let mut base = None;
    for flood in ["nothing", "decisions", "Cutovers", "expressions", "connections"] {
        let mut tasks = begin(&bench.client, flood, health).await?;
        sleep(RISE).await;
        let mut values = vec![];
        for rep in 1..=bench.reps {
            let (_, read) = metric::once(&mut quiet, &standin, 250.0 * super::phase(rep)).await?;
            bench.progress(&format!("beside {flood}"), rep, &format!("{read:.0} ms"));
            values.push(read);
        }
        tasks.shutdown().await;
        let summary = Summary::of(&values);
        let method = "From the answer that carried the bad value to the acceptance of the selector patch, of a run of one
            namespace, while another one floods the operator with this. The target is the 95th percentile beside nothing,
            and 100 ms.";
        let mut figure = Figure::new(
            &format!("restored-beside-{}", flood.to_lowercase()),
            &format!("deciding sample read → restored, beside a flood of {flood}"),
            "ms",
            method,
            values,
        );
        match base {
            None => base = Some(summary.p95),
            Some(p95) => figure = figure.target(None, Some(p95 + DELAY), None),
        }
        bench.report.figures.push(figure);
    }
    quiet.remove().await?;
    loud.remove().await
}

/// Begins a flood, which goes on until its tasks are ended.
async fn begin(client: &Client, flood: &str, health: SocketAddr) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    match flood {
        "decisions" => {
            let runs: Api<CutoverRun> = Api::namespaced(client.clone(), LOUD);
            let run = runs.list(&ListParams::default()).await?.items.pop().context("the hostile tenant has no run")?;
            let person = app::PEOPLE[0];
            let api: Api<CutoverDecision> = Api::namespaced(cluster::client(Some(person)).await?, LOUD);
            tasks.spawn(async move {
                let mut pace = interval(PACE);
                loop {
                    pace.tick().await;
                    // What is refused is no matter.
                    let _ = api.create(&PostParams::default(), &decision(&run, person)).await;
                }
            });
        }
        "Cutovers" | "expressions" => {
            // An expression over a body as large as one may be, again and again.
            let fields = match flood {
                "Cutovers" => "{}",
                _ => {
                    r#"{observe: {for: 12h, every: 100ms, triggers: [{name: slow, probe: {failing: 1000, http: {
                    path: "/big?bytes=60000", expect: ["!body.matches('(.*,)*(.*;)*(.*!)*[a-z]{20}Z')"]}}}]}}"#
                }
            };
            let api: Api<Cutover> = Api::namespaced(client.clone(), LOUD);
            for n in 0..CUTOVERS {
                let (service, cutover) = (format!("loud-{n}"), format!("loud-{n}"));
                let mut object = app::cutover(&cutover, "web", fields)?;
                object["spec"]["services"] = json!([{"name": service}]);
                object["spec"]["activate"] = json!("blue");
                let selected = app::service("web", "blue").replace("name: web}", &format!("name: {service}}}"));
                for object in cluster::documents(&selected)?.into_iter().chain([object]) {
                    cluster::apply(client, &object, LOUD).await.context("a hostile tenant's objects")?;
                }
            }
            let changes = flood == "Cutovers";
            if !changes {
                sleep(RISE).await;
                for n in 0..CUTOVERS {
                    let patch = Patch::Merge(json!({"spec": {"activate": "green"}}));
                    api.patch(&format!("loud-{n}"), &PatchParams::default(), &patch).await?;
                }
                sleep(RISE).await;
            }
            tasks.spawn(async move {
                if !changes {
                    return;
                }
                let mut pace = interval(PACE);
                let mut number = 0;
                loop {
                    pace.tick().await;
                    number += 1;
                    let patch = Patch::Merge(json!({"spec": {"release": {"version": number.to_string()}}}));
                    let _ = api.patch(&format!("loud-{}", number % CUTOVERS), &PatchParams::default(), &patch).await;
                }
            });
        }
        "connections" => {
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
        _ => {}
    }
    Ok(tasks)
}

fn decision(run: &CutoverRun, person: &str) -> CutoverDecision {
    let spec = CutoverDecisionSpec::about(stage::NAME, &run.uid().unwrap_or_default(), Verb::Resume, person);
    let mut decision = CutoverDecision::new("", spec);
    decision.metadata = ObjectMeta { generate_name: Some("flood-".into()), ..ObjectMeta::default() };
    decision
}
