//! The new side dies after the switch.

use std::time::Duration;

use anyhow::{Context, Result};
use cutover::api::Phase;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tokio::time::sleep;

use super::{Bench, metric, phase};
use crate::harness::{audit, wait};
use crate::operator::kill_containers;
use crate::report::Figure;
use crate::stage::{Stage, is_ready, millis};
use crate::standin::StandIn;

/// Every process of the new side is killed; the minimal manifest.
pub async fn killed(bench: &mut Bench) -> Result<()> {
    let mut stage = Stage::new(&bench.client, "bench-dead", 2).await?;
    let (mut whole, mut ours) = (vec![], vec![]);
    for rep in 1..=bench.reps {
        // Pods that never died: one that did would start again only after a growing pause.
        if rep > 1 {
            let green = ListParams::default().labels("app=web,side=green");
            stage.api::<Pod>().delete_collection(&DeleteParams::default().grace_period(0), &green).await?;
            stage.available("green").await?;
            stage.ready("green", |ready| ready == 2).await?;
        }
        let from = audit::end();
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        let uids: Vec<String> = stage.pods("green").await?.iter().filter_map(ResourceExt::uid).collect();
        sleep(Duration::from_millis((phase(rep) * 1000.0) as u64)).await;
        let known = dead_in_the_api(&stage);
        let killed = Timestamp::now();
        kill_containers(&uids)?;
        let known = known.await??;
        let run = stage.account(from).await?;
        let restored = run.pointed_to("blue")?;
        whole.push(millis(killed, restored));
        ours.push(millis(known, restored).max(0.0));
        let text = format!(
            "{:.0} ms, {:.0} ms of them after the API server knew",
            millis(killed, restored),
            millis(known, restored)
        );
        bench.progress("all pods killed", rep, &text);
    }
    let never = "never restored (150 s watched)";
    bench.report.figures.push(
        Figure::new(
            "pods-killed",
            "all pods of the new side killed → restored",
            "ms",
            "SIGKILL to every process of both pods, minimal manifest, no Prometheus, observe.every at its default of 15 s.
            From the kill to the acceptance of the selector patch. The kubelet looks at containers once a second and only
            then tells the API server: that part is Kubernetes' own.",
            whole,
        )
        .argo(None, never),
    );
    bench.report.figures.push(
        Figure::new(
            "pods-known-dead",
            "API server knows that no pod is ready → restored",
            "ms",
            "The same repetitions, from the moment at which a watch beside the operator saw no ready pod of the new side.",
            ours,
        )
        .target(None, None, Some(1000.0))
        .argo(None, never),
    );
    stage.remove().await
}

/// The moment at which a watch sees no ready pod of green; the watch begins at once.
fn dead_in_the_api(stage: &Stage) -> tokio::task::JoinHandle<Result<Timestamp>> {
    let api = stage.api::<Pod>();
    tokio::spawn(async move {
        wait::until(api, "green dead", Duration::from_secs(60), |all| {
            let mut green = all.values().filter(|p| p.labels().get("side").is_some_and(|s| s == "green"));
            Ok((!green.any(is_ready)).then(Timestamp::now))
        })
        .await
    })
}

/// The new side is dead already, and then the metric turns bad: what Argo Rollouts was measured with.
pub async fn then_metric(bench: &mut Bench) -> Result<()> {
    let (standin, port) = StandIn::start(&bench.node).await?;
    let mut stage = Stage::new(&bench.client, "bench-dead-metric", 2).await?;
    stage.apply(&metric::service(&bench.node, port)).await?;
    // The built-in triggers would restore before the metric turns bad.
    stage.spec(&metric::spec(&stage.namespace, "1s").replace("observe: {", "observe: {builtIn: Disarmed, "))?;
    let mut values = vec![];
    for rep in 1..=bench.reps {
        standin.set(0.01);
        stage.fault("green", json!({"ready": true})).await?;
        stage.ready("green", |ready| ready == 2).await?;
        stage.available("green").await?;
        let from = audit::end();
        stage.release("green").await?;
        stage.phase(Phase::Observing).await?;
        stage.fault("green", json!({"ready": false})).await?;
        stage.ready("green", |ready| ready == 0).await?;
        sleep(Duration::from_millis((phase(rep) * 1000.0) as u64)).await;
        let visible = standin.set(0.9);
        let run = stage.account(from).await.context("with a dead new side")?;
        values.push(millis(visible, run.pointed_to("blue")?));
        bench.progress("dead, then metric", rep, &format!("{:.0} ms", millis(visible, run.pointed_to("blue")?)));
    }
    bench.report.figures.push(
        Figure::new(
            "dead-then-metric",
            "new side dead, then the metric turns bad → restored",
            "ms",
            "All pods of the new side are unready (only the metric is a trigger, the built-in ones are disarmed), then the stand-in's value turns bad;
            interval 1 s. To the acceptance of the selector patch.",
            values,
        )
        .target(None, Some(1000.0), None)
        .argo(None, "never restored (150 s watched)"),
    );
    stage.remove().await
}
