//! Many runs at once, and one side with many pods. The pods are on a node of paper ([`crate::paper`]).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;

use super::Bench;
use crate::harness::audit::{self, Line};
use crate::harness::{app, cluster, wait};
use crate::operator::Operator;
use crate::paper::{self, Paper};
use crate::report::Figure;
use crate::stage::{self, Stage, is_ready, millis};

/// How long the controllers of the cluster may take to make thousands of objects.
const MAKING: Duration = Duration::from_secs(900);
/// Bound of every other wait.
const LONGEST: Duration = Duration::from_secs(120);
/// Requests of the bench under way at the same time.
const AT_ONCE: usize = 16;
/// Until what a change has caused is over.
const SETTLE: Duration = Duration::from_secs(10);
/// The share of the runs that is begun at once.
const BATCHES: usize = 2;

/// One Cutover of the crowd.
#[derive(Clone, Debug)]
struct One {
    namespace: String,
    name: String,
}

/// Two hundred active runs in twenty namespaces, begun a hundred at once.
pub async fn crowd(bench: &mut Bench, running: &mut Option<Operator>) -> Result<()> {
    let (namespaces, each) = if bench.quick { (4, 5) } else { (20, 10) };
    let paper = Paper::start(&bench.client).await?;
    let names: Vec<String> = (0..namespaces).map(|n| format!("bench-crowd-{n}")).collect();
    let all: Vec<One> = (0..each)
        .flat_map(|n| names.iter().map(move |ns| One { namespace: ns.clone(), name: format!("web-{n}") }))
        .collect();
    *running = None;
    eprintln!("  {} Cutovers are made in {namespaces} namespaces", all.len());
    let client = &bench.client;
    stream::iter(&names).map(Ok).try_for_each_concurrent(AT_ONCE, |ns| async move { tenant(client, ns).await }).await?;
    stream::iter(&all).map(Ok).try_for_each_concurrent(AT_ONCE, |one| async move { make(client, one).await }).await?;
    ready(client, "bench-crowd-", all.len() * 2).await?;
    *running = Some(bench.launcher.start()?);
    let api: Api<Cutover> = Api::all(client.clone());
    let idle = |c: &Cutover| c.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Idle));
    count(&api, all.len(), "Cutovers are idle", idle).await?;
    let result = measure(bench, running.as_ref().context("no operator")?, &all, namespaces).await;
    // What is left of it must not be in the way of other figures.
    for ns in &names {
        stage::remove(&bench.client, ns).await?;
    }
    paper.remove().await?;
    result
}

async fn measure(bench: &mut Bench, operator: &Operator, all: &[One], namespaces: usize) -> Result<()> {
    let batch = all.len().div_ceil(BATCHES);
    let mut begun = 0;
    let mut times = vec![];
    for part in all.chunks(batch) {
        let from = audit::end();
        stream::iter(part)
            .map(|one| change(&bench.client, one, "green"))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        begun += part.len();
        let observed = |c: &Cutover| c.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Observing));
        count(&Api::all(bench.client.clone()), begun, "runs are observed", observed).await?;
        let lines = audit::lines(from, |text| text.contains("bench-crowd-"))?;
        let first = lines.iter().filter(|l| l.resource == "cutovers" && l.verb == "patch").map(|l| &l.received).min();
        let first = stage::time(first.context("the audit log has no change of a Cutover")?)?;
        let switched: Vec<Timestamp> = moved(&lines, "green")?.into_iter().map(|(_, at)| at).collect();
        ensure!(switched.len() == part.len(), "{} of {} Services were switched", switched.len(), part.len());
        let last = switched.iter().max().context("nothing was switched")?;
        times.push(millis(first, *last) / 1000.0);
        bench.progress(
            &format!("{batch} changed at once"),
            times.len(),
            &format!("{:.1} s", millis(first, *last) / 1000.0),
        );
    }
    sleep(SETTLE).await;
    let (mut connections, mut memory) = (vec![], vec![]);
    for _ in 0..20 {
        connections.push(operator.connections()? as f64);
        memory.push(operator.usage()?.resident);
        sleep(Duration::from_millis(500)).await;
    }
    let runs = all.len();
    bench.report.figures.push(
        Figure::new(
            "changed-at-once",
            &format!("{batch} Cutovers changed at once → all switched"),
            "s",
            "From the arrival of the first change at the API server to its acceptance of the last selector patch (audit log).
            Minimal manifests, ten Services in each of twenty namespaces; pods on a node of paper. The second value is taken
            beside the runs of the first, which are observed.",
            times,
        )
        .target(None, None, Some(15.0)),
    );
    bench.report.figures.push(
        Figure::new(
            "connections-active",
            &format!("connections of the operator, {runs} active runs in {namespaces} namespaces"),
            "connections",
            "Established TCP connections of the process (/proc), every 500 ms for 10 s, while all runs are observed.",
            connections,
        )
        .target(None, None, Some(200.0)),
    );
    bench.report.figures.push(Figure::new(
        "memory-active",
        &format!("resident memory, {runs} active runs in {namespaces} namespaces"),
        "MiB",
        "VmRSS of the same process at the same times.",
        memory,
    ));
    let mut restored = vec![];
    for (rep, one) in all.iter().take(bench.reps).enumerate() {
        let from = audit::end();
        change(&bench.client, one, "blue").await?;
        let lines = wait::poll("the Service is back", LONGEST, async || {
            let lines = audit::lines(from, |text| text.contains(&format!("\"{}\"", one.namespace)))?;
            Ok((!moved(&lines, "blue")?.is_empty()).then_some(lines))
        })
        .await?;
        let change = lines.iter().find(|l| l.resource == "cutovers" && l.verb == "patch").context("no change")?;
        let (_, back) = moved(&lines, "blue")?.pop().context("no restore")?;
        restored.push(millis(stage::time(&change.received)?, back));
        bench.progress("restored in the crowd", rep + 1, &format!("{:.0} ms", restored.last().unwrap_or(&0.0)));
    }
    bench.report.figures.push(Figure::new(
        "revert-restored-crowd",
        &format!("spec.activate reverted → restored, beside {runs} active runs"),
        "ms",
        "From the arrival of the change to the acceptance of the selector patch, one run after the other.",
        restored,
    ));
    Ok(())
}

/// Services whose selector was accepted to lead to a colour, and when.
fn moved(lines: &[Line], colour: &str) -> Result<Vec<(String, Timestamp)>> {
    let mut seen = BTreeSet::new();
    let patches = lines.iter().filter(|l| l.resource == "services" && l.is_write() && l.done());
    patches
        .filter(|l| l.selector().is_some_and(|s| s["side"] == colour))
        .filter(|l| seen.insert((l.namespace.clone(), l.name.clone())))
        .map(|l| Ok((l.name.clone(), stage::time(&l.at)?)))
        .collect()
}

async fn tenant(client: &Client, namespace: &str) -> Result<()> {
    stage::remove(client, namespace).await?;
    let api: Api<Namespace> = Api::all(client.clone());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    api.patch(namespace, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await?;
    for object in cluster::documents(&app::tenant(namespace)?)? {
        cluster::apply(client, &object, namespace).await.context("a tenant's rights")?;
    }
    Ok(())
}

async fn make(client: &Client, one: &One) -> Result<()> {
    let mut objects = cluster::documents(&app::service(&one.name, "blue"))?;
    for colour in ["blue", "green"] {
        objects.push(paper::deployment(&one.name, colour, 1)?);
    }
    let mut cutover = app::cutover(&one.name, &one.name, "{observe: {for: 12h}}")?;
    cutover["spec"]["activate"] = json!("blue");
    objects.push(cutover);
    for object in objects {
        cluster::apply(client, &object, &one.namespace).await.with_context(|| format!("{one:?}"))?;
    }
    Ok(())
}

async fn change(client: &Client, one: &One, side: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"activate": side}}));
    let api: Api<Cutover> = Api::namespaced(client.clone(), &one.namespace);
    api.patch(&one.name, &PatchParams::default(), &patch).await.with_context(|| format!("{one:?}"))?;
    Ok(())
}

/// Waits until so many pods are ready in the namespaces whose names begin so.
async fn ready(client: &Client, namespaces: &str, wanted: usize) -> Result<()> {
    let api: Api<Pod> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={}", paper::NODE));
    wait::poll(&format!("{wanted} pods are ready"), MAKING, async || {
        let pods = api.list(&params).await?.items;
        let here = pods.iter().filter(|p| p.metadata.namespace.as_ref().is_some_and(|ns| ns.starts_with(namespaces)));
        let ready = here.filter(|p| is_ready(p)).count();
        sleep(Duration::from_secs(1)).await;
        Ok((ready >= wanted).then_some(()))
    })
    .await
}

/// Waits until so many Cutovers of the crowd are like this.
async fn count(api: &Api<Cutover>, wanted: usize, what: &str, test: impl Fn(&Cutover) -> bool) -> Result<()> {
    wait::poll(&format!("{wanted} {what}"), LONGEST, async || {
        let all = api.list(&ListParams::default()).await?.items;
        let here =
            all.iter().filter(|c| c.metadata.namespace.as_ref().is_some_and(|ns| ns.starts_with("bench-crowd-")));
        let found = here.filter(|c| test(c)).count();
        sleep(Duration::from_millis(200)).await;
        Ok((found >= wanted).then_some(()))
    })
    .await
}

/// Sides of a thousand pods each.
pub async fn large(bench: &mut Bench, running: &mut Option<Operator>) -> Result<()> {
    let pods: u32 = if bench.quick { 100 } else { 1000 };
    let paper = Paper::start(&bench.client).await?;
    *running = None;
    eprintln!("  two sides of {pods} pods are made");
    let mut stage = Stage::on_paper(&bench.client, "bench-large", pods, MAKING).await?;
    *running = Some(bench.launcher.start()?);
    let (mut switched, mut restored) = (vec![], vec![]);
    for rep in 1..=bench.reps.min(10) {
        let from = audit::end();
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        let reverted = audit::end();
        stage.revert("blue").await?;
        let mut run = stage.account(from).await?;
        switched.push(millis(run.applied()?, run.pointed_to("green")?));
        run.lines = audit::read(&stage.namespace, reverted)?;
        restored.push(millis(run.applied()?, run.pointed_to("blue")?));
        let text =
            format!("{:.0} ms, back in {:.0} ms", switched.last().unwrap_or(&0.0), restored.last().unwrap_or(&0.0));
        bench.progress(&format!("{pods} pods"), rep, &text);
    }
    let usage = running.as_ref().context("no operator")?.usage()?;
    bench.report.figures.push(Figure::new(
        "apply-switched-large",
        &format!("apply → switched, sides of {pods} pods"),
        "ms",
        "As apply → switched, with so many ready pods on each side, on a node of paper.",
        switched,
    ));
    bench.report.figures.push(Figure::new(
        "revert-restored-large",
        &format!("spec.activate reverted → restored, sides of {pods} pods"),
        "ms",
        "As reverted → restored: all pods of the old side are read live before the patch.",
        restored,
    ));
    bench.report.figures.push(Figure::new(
        "memory-large",
        &format!("most memory since the start, sides of {pods} pods"),
        "MiB",
        "VmHWM of the process that did it.",
        vec![usage.peak],
    ));
    stage.remove().await?;
    paper.remove().await
}
