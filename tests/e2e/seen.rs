//! The operator as others see it: metrics in a real Prometheus with rules and dashboard, one trace a run in a collector,
//! log lines that carry run and step, one Event for each transition, whatever happens to the process.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::Moment;
use cutover::meter::Meter;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::case::secs;
use crate::harness::seen::{Collector, Prometheus, free_address, lines};
use crate::harness::{Case, e2e, wait};

const SPEC: &str = r#"
release: {version: "2.0.0"}
phases:
  prepare: {steps: [{name: settle, wait: {for: 1s}, undo: {job: {deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, print, done]}]}}}}}]}
  verify: {steps: [{name: smoke, suite: {steps: [{name: health, http: {path: /health}}]}}]}
observe: {for: 60s, every: 500ms, triggers: [
  {name: down, probe: {http: {path: /health}, failing: 2}},
  {name: errors, metric: {query: 'vector(0.001)', above: '0.01'}}]}
prometheus: {service: {name: prometheus, port: 9090}}
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The queries of the dashboard, with Grafana's own variables filled in.
fn queries() -> anyhow::Result<Vec<String>> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|v| collect(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| collect(v, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(root().join("deploy/monitoring/dashboard.json"))?;
    let mut found = vec![];
    collect(&serde_json::from_str(&text)?, &mut found);
    let filled = |q: String| q.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$job", ".+");
    Ok(found.into_iter().map(filled).collect())
}

/// Every metric is scraped, every query of the dashboard is answered, every rule is evaluated.
async fn look(prometheus: &Prometheus) -> anyhow::Result<()> {
    for family in Meter::new()?.families() {
        let name = if family.kind == "histogram" { format!("{}_count", family.name) } else { family.name.into() };
        wait::poll(&format!("{name} in Prometheus"), secs(15), async || {
            Ok((prometheus.series(&name).await? > 0).then_some(()))
        })
        .await?;
    }
    let queries = queries()?;
    ensure!(queries.len() > 15, "the dashboard was not understood: {queries:?}");
    for query in &queries {
        prometheus.series(query).await.with_context(|| format!("the dashboard asks {query}"))?;
    }
    let rules = wait::poll("rules evaluated", secs(20), async || {
        let answer = prometheus.ask("/api/v1/rules", &[]).await?;
        let rules = answer["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        let known = !rules.is_empty() && rules.iter().all(|r| r["health"] != "unknown");
        Ok(known.then_some(rules))
    })
    .await?;
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{rule}");
        ensure!(rule["state"] != "firing" || rule["labels"]["severity"] != "page", "{rule}");
    }
    println!("{} queries and {} rules", queries.len(), rules.len());
    Ok(())
}

#[test]
fn a_run_that_is_rolled_back_is_seen_whole_from_outside() {
    e2e("seen", async |t: &Case| {
        let collector = Collector::start().await?;
        let listen = free_address().await?;
        t.arguments(&["--listen", &listen, "--otlp-endpoint", &collector.url, "--log-format", "json"]);
        let rules = root().join("deploy/monitoring/rules.yaml");
        let prometheus = Prometheus::start(&t.dir, &listen, &rules).await?;
        t.web().await?;
        // Another one, which the triggers ask.
        t.prometheus().await?;
        t.start().await?;
        t.cutover("shop", SPEC).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        look(&prometheus).await?;
        // Another process goes on with the run, and ends it.
        t.crash()?;
        t.merge::<Deployment>("web-green", json!({"spec": {"replicas": 0}})).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let status = run.status.clone().context("status")?;

        // Metrics of the process that rolled back.
        let query = r#"cutover_restore_duration_seconds_count{cause="trigger"} == 1 and on() cutover_runs_ended_total{phase="RolledBack"} == 1"#;
        wait::poll("the rollback in Prometheus", secs(15), async || {
            Ok((prometheus.series(query).await? == 1).then_some(()))
        })
        .await?;

        // One trace, as the journal has it.
        let spans = collector.spans().await?;
        let ids: std::collections::BTreeSet<&Vec<u8>> = spans.iter().map(|s| &s.trace_id).collect();
        ensure!(ids.len() == 1, "{} traces", ids.len());
        let by_id: BTreeMap<&Vec<u8>, &str> = spans.iter().map(|s| (&s.span_id, s.name.as_str())).collect();
        ensure!(by_id.len() == spans.len(), "a span twice: {by_id:?}");
        let tree: Vec<(&str, &str)> =
            spans.iter().map(|s| (by_id.get(&s.parent_span_id).copied().unwrap_or("-"), s.name.as_str())).collect();
        for pair in [
            ("-", "run"),
            ("run", "Preflight"),
            ("run", "Observing"),
            ("Preparing", "step settle"),
            ("Verifying", "step smoke"),
            ("step smoke", "step health"),
            ("Switching", "switch"),
            ("switch", "switch Service"),
            ("RollingBack", "restore"),
            ("restore", "restore Service"),
            ("RollingBack", "step undo/settle"),
            ("step undo/settle", "job"),
        ] {
            ensure!(tree.contains(&pair), "{pair:?} is not in {tree:?}");
        }
        let nanos = |t: jiff::Timestamp| u64::try_from(t.as_nanosecond()).unwrap_or_default();
        let restore = spans.iter().find(|s| s.name == "restore").context("restore")?;
        let ending = status.ending.as_ref().context("ending")?;
        ensure!(restore.start_time_unix_nano == nanos(ending.at), "{restore:?} but {ending:?}");

        // Log lines of both processes.
        let lines = lines(&t.log)?;
        ensure!(lines.len() > 20, "{} lines", lines.len());
        let name = run.metadata.name.clone().unwrap_or_default();
        for line in &lines {
            let mut names: Vec<&String> = line.0.iter().map(|(n, _)| n).collect();
            names.sort();
            let all = names.len();
            names.dedup();
            ensure!(names.len() == all, "a field stands twice: {:?}", line.0);
            let of_a_run = line.text("target").is_some_and(|t| t.starts_with("cutover::observe"));
            ensure!(!of_a_run || line.text("run") == Some(&name), "no run: {:?}", line.0);
        }
        let fired =
            lines.iter().find(|l| l.text("reason") == Some("TriggerFired")).context("no line of the trigger")?;
        let about = [fired.text("namespace"), fired.text("cutover"), fired.text("run")];
        ensure!(about == [Some(t.ns.as_str()), Some("shop"), Some(name.as_str())], "{:?}", fired.0);

        // One Event for each transition, although two processes told them.
        let counts = wait::poll("Events of all transitions", secs(10), async || {
            let events = t.api::<Event>().list(&ListParams::default()).await?;
            let of = |moment: &Moment| {
                let told = events.iter().filter(|e| {
                    e.regarding.as_ref().is_some_and(|r| r.kind.as_deref() == Some("Cutover"))
                        && e.action.as_deref() == Some(moment.phase.as_str())
                        && e.reason.as_deref() == Some(moment.reason.as_str())
                });
                (moment.phase, told.count())
            };
            let counts: Vec<(Phase, usize)> = status.timeline.iter().map(of).collect();
            Ok(counts.iter().all(|(_, n)| *n > 0).then_some(counts))
        })
        .await?;
        ensure!(counts.len() > 7 && counts.iter().all(|(_, n)| *n == 1), "{counts:?}");
        Ok(())
    });
}
