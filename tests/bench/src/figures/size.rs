//! What thousands of idle Cutovers cost: memory, processor time, requests, and the time until a new process can decide a
//! rollback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Bench, metric, operator_requests};
use crate::harness::{ROOT, audit, cluster, wait};
use crate::operator::Operator;
use crate::report::{Figure, Requests};
use crate::stage::{self, Stage, millis};
use crate::standin::StandIn;

/// The namespace of the idle ones.
const CROWD: &str = "bench-idle";
/// Creates under way at the same time.
const AT_ONCE: usize = 24;
/// How long a process is watched while nothing happens. With the largest crowd it is longer than anything that the operator
/// does by the clock.
const WINDOW: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(65));
/// A process that has listed everything has handed back what it needed for that by now.
const SETTLE: Duration = Duration::from_secs(2);

/// All sizes, one after another, each with `reps` starts of the operator; starts in the middle of a run with none and with
/// all of them. `running` holds the operator that the stages of other figures need.
pub async fn size(bench: &mut Bench, running: &mut Option<Operator>) -> Result<()> {
    let (standin, port) = StandIn::start(&bench.node).await?;
    let mut stage = Stage::new(&bench.client, "bench-start", 1).await?;
    stage.apply(&metric::service(&bench.node, port)).await?;
    stage.spec(&metric::spec(&stage.namespace, "100ms"))?;
    stage::remove(&bench.client, CROWD).await?;
    let model = model(&bench.client).await?;
    let crowds = bench.crowds.clone();
    let most = crowds.iter().copied().max().unwrap_or(0);
    let mut there = 0;
    for crowd in crowds {
        *running = None;
        seed(&bench.client, &model, there..crowd).await?;
        there = there.max(crowd);
        idle(bench, crowd).await?;
        if crowd == 0 || crowd == most {
            cold(bench, running, &mut stage, &standin, crowd).await?;
        }
    }
    *running = Some(bench.launcher.start()?);
    stage.remove().await?;
    eprintln!("  {there} idle Cutovers are taken away");
    stage::remove(&bench.client, CROWD).await
}

/// A Cutover of the size that people write, and its status as the operator left it.
async fn model(client: &Client) -> Result<Cutover> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CROWD}});
    namespaces.patch(CROWD, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await?;
    let path = format!("{ROOT}/examples/demo/cutover.yaml");
    let text = std::fs::read_to_string(&path).context(path)?;
    let mut object = cluster::documents(&text)?.pop().context("the example is empty")?;
    object["metadata"]["name"] = json!("model");
    let service: Value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "creditai-service"},
        "spec": {"selector": {"app": "creditai", "version": "green"}, "ports": [{"port": 80}]}});
    cluster::apply(client, &service, CROWD).await?;
    cluster::apply(client, &object, CROWD).await.context("the model of an idle Cutover")?;
    let api: Api<Cutover> = Api::namespaced(client.clone(), CROWD);
    wait::until(api, "the model is idle", Duration::from_secs(30), |all| {
        let idle = |c: &&Cutover| c.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Idle));
        Ok(all.get("model").filter(idle).cloned())
    })
    .await
}

/// Creates idle Cutovers. Their status is written in the operator's name, as it would write it.
async fn seed(client: &Client, model: &Cutover, numbers: std::ops::Range<usize>) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    eprintln!("  {} idle Cutovers are made", numbers.len());
    let ours: Api<Cutover> = Api::namespaced(client.clone(), CROWD);
    let theirs: Api<Cutover> = Api::namespaced(cluster::client(Some(&cluster::operator_user())).await?, CROWD);
    let one = async |number: usize| -> Result<()> {
        let mut object = Cutover::new(&format!("app-{number}"), model.spec.clone());
        for service in &mut object.spec.services {
            service.name = format!("service-{number}");
        }
        let params = PostParams::default();
        let mut made = ours.create(&params, &object).await.with_context(|| object.name_any())?;
        made.status = model.status.clone();
        if let Some(status) = &mut made.status {
            status.observed_generation = made.metadata.generation;
        }
        theirs.replace_status(&made.name_any(), &params, &made).await.with_context(|| made.name_any())?;
        Ok(())
    };
    stream::iter(numbers).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// The operator with so many idle Cutovers and nothing else: memory at start, then memory, time and requests at rest.
async fn idle(bench: &mut Bench, crowd: usize) -> Result<()> {
    let (mut peaks, mut rests, mut ready) = (vec![], vec![], vec![]);
    let mut last = None;
    for rep in 1..=bench.reps {
        drop(last.take());
        let mut operator = bench.launcher.start()?;
        until_ready(&operator).await?;
        ready.push(millis(operator.started, Timestamp::now()) / 1000.0);
        sleep(SETTLE).await;
        operator.alive()?;
        let usage = operator.usage()?;
        peaks.push(usage.peak);
        rests.push(usage.resident);
        bench.progress(&format!("{crowd} idle"), rep, &format!("{:.1} MiB, {:.1} at most", usage.resident, usage.peak));
        last = Some(operator);
    }
    let operator = last.context("no repetition")?;
    let most = bench.crowds.iter().all(|other| *other <= crowd);
    let window = if most { WINDOW.1 } else { WINDOW.0 };
    let from = audit::end();
    let before = operator.usage()?;
    sleep(window).await;
    let after = operator.usage()?;
    let requests = operator_requests(from)?;
    let about: Vec<String> = requests
        .iter()
        .filter(|l| {
            l.verb != "watch"
                && (l.resource.starts_with("cutover") || !l.namespace.is_empty())
                && l.resource != "leases"
        })
        // Once a minute, whatever there is: the addresses of the API server, which no request may reach.
        .filter(|l| !(l.namespace == "default" && ["endpointslices", "services"].contains(&l.resource.as_str())))
        .map(|l| format!("{} {} {}/{}", l.verb, l.resource, l.namespace, l.name))
        .collect();
    ensure!(about.is_empty(), "idle Cutovers cost requests (P7): {about:?}");
    let (bound, argo) = match crowd {
        0 => (Some(20.0), Some(99.0)),
        1000 => (Some(30.0), Some(160.0)),
        3000 => (Some(60.0), Some(255.0)),
        10_000 => (Some(128.0), None),
        _ => (None, None),
    };
    let mut figure = Figure::new(
        &format!("memory-{crowd}"),
        &format!("resident memory, {crowd} idle Cutovers"),
        "MiB",
        "VmRSS of the operator 2 s after it is ready (/proc). Each repetition is a new process. The idle Cutovers have the
        spec of examples/demo (5 KiB of JSON) and the status that the operator gave one of them.",
        rests,
    );
    if bound.is_some() {
        figure = figure.target(None, None, bound);
    }
    if let Some(argo) = argo {
        figure = figure.argo(Some(argo), &format!("{argo:.0}{}", if crowd == 0 { " (one rollout)" } else { "" }));
    }
    bench.report.figures.push(figure);
    let mut peak = Figure::new(
        &format!("memory-peak-{crowd}"),
        &format!("most memory since the start, {crowd} idle"),
        "MiB",
        "VmHWM of the same processes: the most that was ever resident, while everything was listed.",
        peaks,
    );
    if bound.is_some() {
        peak = peak.target(None, None, bound);
    }
    bench.report.figures.push(peak);
    bench.report.figures.push(Figure::new(
        &format!("ready-{crowd}"),
        &format!("process start → ready, {crowd} idle"),
        "s",
        "From the start of the process to /readyz answering 200: all lists are complete (asked every 100 ms).",
        ready,
    ));
    bench.report.figures.push(Figure::new(
        &format!("cpu-{crowd}"),
        &format!("processor time at rest, {crowd} idle"),
        "% of a core",
        &format!("User and system time of the process over {} s in which nothing happens (/proc).", window.as_secs()),
        vec![(after.cpu - before.cpu) / window.as_secs_f64() * 100.0],
    ));
    let mut rows: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
    for line in &requests {
        *rows.entry(format!("{} {}", line.verb, line.resource)).or_default() += 1.0;
    }
    bench.report.requests.push(Requests {
        title: format!(
            "Requests in {} s at rest with {crowd} idle Cutovers (none is about one of them)",
            window.as_secs()
        ),
        rows: rows.into_iter().collect(),
    });
    Ok(())
}

async fn until_ready(operator: &Operator) -> Result<()> {
    let url = format!("{}/readyz", operator.health);
    let client = stage::http()?;
    wait::poll("the operator is ready", Duration::from_secs(120), async || {
        Ok(client.get(&url).send().await.is_ok_and(|a| a.status().is_success()).then_some(()))
    })
    .await
}

/// From the start of a process to its first decision on a run that is switched and observed.
async fn cold(
    bench: &mut Bench,
    running: &mut Option<Operator>,
    stage: &mut Stage,
    standin: &StandIn,
    crowd: usize,
) -> Result<()> {
    standin.set(0.01);
    *running = Some(bench.launcher.start()?);
    stage.release("green").await?;
    stage.phase(Phase::Observing).await?;
    let mut values = vec![];
    for rep in 1..=bench.reps {
        *running = None;
        standin.set(0.01);
        let operator = bench.launcher.start()?;
        let started = operator.started;
        *running = Some(operator);
        let first = wait::poll("the first query of a new operator", Duration::from_secs(120), async || {
            Ok(standin.first_answer())
        })
        .await?;
        values.push(millis(started, first) / 1000.0);
        bench.progress(&format!("cold start, {crowd} idle"), rep, &format!("{:.0} ms", millis(started, first)));
    }
    bench.report.figures.push(Figure::new(
        &format!("cold-start-{crowd}"),
        &format!("process start → a rollback can be decided, {crowd} idle"),
        "s",
        "The operator was killed while a run was observed. From the start of the new process to its first query for that
        run's trigger, which only a decision on the run asks for; a bad answer rolls back.",
        values,
    ));
    stage.revert("blue").await?;
    stage.rolled_back().await?;
    *running = None;
    Ok(())
}
