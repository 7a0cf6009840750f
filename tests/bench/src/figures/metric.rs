//! A metric turns bad after the switch: how long until the selector is back.

use std::time::Duration;

use anyhow::{Context, Result};
use cutover::api::Phase;
use jiff::Timestamp;
use sample::load::{Load, LoadConfig};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Bench, phase};
use crate::harness::{app, audit, wait};
use crate::report::Figure;
use crate::stage::{self, Stage, millis};
use crate::standin::StandIn;

/// Namespaces of stages that ask the stand-in.
pub const NAMESPACES: [&str; 4] = ["bench-metric", "bench-dead-metric", "bench-start", "bench-quiet"];

/// The operator's configuration: a source for each of these namespaces. A Service that leads out of its namespace, as that of
/// the stand-in does, is asked only where the configuration names it.
pub fn configuration() -> String {
    let source = |namespace: &&str| {
        json!({
            "name": format!("{namespace}/metrics"),
            "service": {"namespace": namespace, "name": "metrics", "port": 9090},
        })
    };
    json!({"prometheus": {"sources": NAMESPACES.iter().map(source).collect::<Vec<_>>()}}).to_string()
}

/// A Service whose only endpoint is the stand-in.
pub fn service(node: &str, port: u16) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: metrics}}
spec: {{ports: [{{name: http, port: 9090, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: metrics-standin, labels: {{kubernetes.io/service-name: metrics}}}}
addressType: IPv4
endpoints: [{{addresses: ["{node}"], conditions: {{ready: true}}}}]
ports: [{{name: http, port: {port}}}]
"#
    )
}

/// Fields of a Cutover that is rolled back by the first bad sample of the stand-in.
pub fn spec(namespace: &str, every: &str) -> String {
    format!(
        r#"{{prometheus: {{name: {namespace}/metrics}}, observe: {{for: 12h, every: {every}, triggers: [
        {{name: errors, metric: {{query: errors, above: "0.05"}}}}]}}}}"#
    )
}

/// The stand-in at three intervals.
pub async fn standin(bench: &mut Bench) -> Result<()> {
    let (standin, port) = StandIn::start(&bench.node).await?;
    let mut stage = Stage::new(&bench.client, "bench-metric", 1).await?;
    stage.apply(&service(&bench.node, port)).await?;
    let mut after = vec![];
    for (every, interval) in [("1s", 1000.0), ("250ms", 250.0), ("100ms", 100.0)] {
        stage.spec(&spec(&stage.namespace, every))?;
        let mut values = vec![];
        for rep in 1..=bench.reps {
            let (visible, read) = once(&mut stage, &standin, interval * phase(rep)).await?;
            bench.progress(
                &format!("bad sample at {every}"),
                rep,
                &format!("{visible:.0} ms, {read:.0} ms after it was read"),
            );
            values.push(visible);
            after.push(read);
        }
        let mut figure = Figure::new(
            &format!("bad-sample-{every}"),
            &format!("bad sample visible → restored, every {every}"),
            "ms",
            "From the instant at which the metrics answerer's value turns bad to the API server's acceptance of the
            selector patch (audit log). A stand-in that answers Prometheus' query API is asked, so that the instant is
            known to the microsecond and no scrape hides it; the instant falls on another part of the interval in each
            repetition.",
            values,
        );
        if interval >= 1000.0 {
            figure = figure.argo(Some(570.0), "median 570, 260-1030 (1 s, its floor)");
        }
        bench.report.figures.push(figure);
    }
    bench.report.figures.push(
        Figure::new(
            "after-deciding-sample",
            "deciding sample read → restored",
            "ms",
            "From the answer that carried the first bad value to the API server's acceptance of the selector patch: the
            decision, its claim (a write of the run's status), a live read of Service and pods, and the patch. All
            repetitions of the three intervals.",
            after,
        )
        .target(Some(30.0), Some(100.0), None),
    );
    stage.remove().await
}

/// One release whose metric turns bad `pause` ms after it is observed: (visible → restored, read → restored) in ms.
pub(super) async fn once(stage: &mut Stage, standin: &StandIn, pause: f64) -> Result<(f64, f64)> {
    standin.set(0.01);
    let from = audit::end();
    stage.release("green").await?;
    stage.phase(Phase::Observing).await?;
    sleep(Duration::from_micros((pause * 1000.0) as u64)).await;
    let visible = standin.set(0.9);
    let run = stage.account(from).await?;
    let restored = run.pointed_to("blue")?;
    let read = standin.first_answer().context("the bad value was never asked for")?;
    Ok((millis(visible, restored), millis(read, restored)))
}

const QUERY: &str = r#"sum(rate(http_requests_total{colour="green",code="500"}[3s])) / sum(rate(http_requests_total{colour="green"}[3s]))"#;

/// A real Prometheus that scrapes each second, and real errors of the new side's pods under load.
pub async fn prometheus(bench: &mut Bench) -> Result<()> {
    let mut stage = Stage::new(&bench.client, "bench-prometheus", 1).await?;
    stage.apply(&app::prometheus(&stage.namespace)).await?;
    stage.spec(&format!(
        r#"{{prometheus: {{service: {{name: prometheus, port: 9090}}}}, observe: {{for: 12h, every: 1s, triggers: [
        {{name: errors, metric: {{query: {}, above: "0.05"}}}}]}}}}"#,
        json!(QUERY)
    ))?;
    let mut config = LoadConfig::new(&format!("http://{}:80/", stage.address(stage::NAME).await?))?;
    config.fresh_rate = 50.0;
    let asked = format!("http://{}:9090/api/v1/query", stage.address("prometheus").await?);
    let load = Load::start(config);
    let result = with_load(bench, &mut stage, &asked).await;
    load.stop().await;
    let (seen, whole) = result?;
    bench.report.figures.push(
        Figure::new(
            "bad-sample-prometheus",
            "bad sample in Prometheus → restored, every 1 s",
            "ms",
            "A real Prometheus that scrapes each second, 50 requests a second, and pods that begin to answer 500. From the
            moment at which Prometheus itself answers a value over the bound (asked every 10 ms beside the operator) to
            the acceptance of the selector patch.",
            seen,
        )
        .argo(Some(570.0), "median 570, 260-1030 (1 s, its floor)"),
    );
    bench.report.figures.push(Figure::new(
        "first-error-prometheus",
        "pods begin to fail → restored, Prometheus every 1 s",
        "ms",
        "The same repetitions, from the moment at which the pods are told to fail: with load, scrape and query interval.",
        whole,
    ));
    stage.remove().await
}

async fn with_load(bench: &Bench, stage: &mut Stage, url: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut seen, mut whole) = (vec![], vec![]);
    for rep in 1..=bench.reps {
        stage.fault("green", json!({"error_rate": 0.0})).await?;
        // What the last repetition left in the rates is over.
        wait::poll("Prometheus sees no errors", Duration::from_secs(60), async || {
            Ok(value(url).await.is_none_or(|v| v < 0.01).then_some(()))
        })
        .await?;
        let from = audit::end();
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        wait::poll("Prometheus sees the load on green", Duration::from_secs(60), async || {
            Ok(value(url).await.is_some_and(|v| v < 0.01).then_some(()))
        })
        .await?;
        sleep(Duration::from_millis((phase(rep) * 1000.0) as u64)).await;
        let failing = Timestamp::now();
        stage.fault("green", json!({"error_rate": 0.5})).await?;
        let visible = until_bad(url).await?;
        let run = stage.account(from).await?;
        let restored = run.pointed_to("blue")?;
        // The operator's own query may have met the value a moment before ours.
        seen.push(millis(visible, restored).max(0.0));
        whole.push(millis(failing, restored));
        bench.progress("bad sample, Prometheus", rep, &format!("{:.0} ms", millis(visible, restored)));
    }
    Ok((seen, whole))
}

/// Asks every 10 ms until the value is over the bound; the time at which that answer was asked for.
async fn until_bad(url: &str) -> Result<Timestamp> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let asked = Timestamp::now();
        if value(url).await.is_some_and(|v| v > 0.05) {
            return Ok(asked);
        }
        sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("Prometheus never saw the errors")
}

async fn value(url: &str) -> Option<f64> {
    let url = reqwest::Url::parse_with_params(url, [("query", QUERY)]).ok()?;
    let answer = stage::http().ok()?.get(url).send().await.ok()?;
    let answer: serde_json::Value = answer.json().await.ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok().filter(|v: &f64| v.is_finite())
}
