//! Rollback when everything else is broken: the new side dead, Prometheus down, the API server throttling, no old side.

use anyhow::{Context, ensure};
use cutover::api::{Phase, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

const PROBED: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 60s, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n";

#[test]
fn with_prometheus_down_and_the_new_side_dead_the_selector_comes_back() {
    e2e("prometheus_down", async |t: &Case| {
        t.prometheus().await?;
        let green = Colour::new("green").env("FAULT_DIE_AFTER_LIVE_MS", "300");
        t.app("web", Colour::new("blue"), green).await?;
        t.start().await?;
        t.cutover(
            "shop",
            "prometheus: {service: {name: prometheus, port: 9090}}\nswitch: {timeout: 20s}\n\
             observe: {for: 60s, every: 500ms, triggers: [\
             {name: errors, metric: {query: 'vector(0)', above: '0.05', sustained: 2s}},\
             {name: pods, pods: {readyBelow: '1'}}]}\n",
        )
        .await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.api::<Deployment>().delete("prometheus", &DeleteParams::default()).await?;
        let message = t.condition("shop", "MetricsInconclusive", true, 30).await?;
        ensure!(message.contains("errors"), "{message}");
        ensure!(t.side("web").await? == "green", "missing data is no verdict");
        let load = t.load("web", 20.0, 0.0).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        load.stop().await;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.trigger.as_deref() == Some("pods")));
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

async fn throttled(t: &Case, status: u16) -> anyhow::Result<()> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    t.start_through(Some(&proxy.url)).await?;
    t.cutover("shop", PROBED).await?;
    t.phase("shop", Phase::Observing, 40).await?;
    // All new requests are refused, and the answer asks to come back in half a minute.
    proxy.fail(move |_, _| Some(Fault::Refuse(status)));
    t.fault("web", "green", json!({"error_rate": 1.0})).await?;
    let before = proxy.refused();
    wait::poll("refused requests", secs(20), async || Ok((proxy.refused() > before + 5).then_some(()))).await?;
    ensure!(t.side("web").await? == "green");
    let healed = std::time::Instant::now();
    proxy.heal();
    t.points_to("web", "blue", 15).await?;
    let took = healed.elapsed();
    ensure!(took < secs(2), "the restore came {took:?} after the API server had healed");
    t.ends("shop", Phase::RolledBack, 30).await?;
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    Ok(())
}

#[test]
fn while_the_api_server_answers_429_the_restore_is_tried_on_and_made_when_it_heals() {
    e2e("api_server_429", async |t: &Case| throttled(t, 429).await);
}

#[test]
fn while_the_api_server_answers_503_the_restore_is_tried_on_and_made_when_it_heals() {
    e2e("api_server_503", async |t: &Case| throttled(t, 503).await);
}

#[test]
fn writes_whose_answers_are_lost_are_not_made_twice() {
    e2e("lost_answers", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        // The first answer to each write of a user's object is lost, after it was carried out.
        let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
        proxy.fail(move |method, path| {
            let write = matches!(*method, http::Method::POST | http::Method::PATCH) && !path.contains("dryRun");
            let theirs = ["/services/", "/jobs", "/deployments/"].iter().any(|kind| path.contains(kind));
            let first =
                write && theirs && seen.lock().is_ok_and(|mut seen| seen.insert((method.clone(), path.to_owned())));
            first.then_some(Fault::Lose(504))
        });
        t.start_through(Some(&proxy.url)).await?;
        let job = "{deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}";
        let spec = format!(
            "phases: {{prepare: {{steps: [{{name: migrate, job: {job}, undo: {{job: {job}}}}}, {{name: more, scale: {{side: Target, replicas: 2}}}}]}}}}\n{PROBED}"
        );
        t.cutover("shop", &spec).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(proxy.refused() >= 5, "only {} answers were lost", proxy.refused());
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        let made =
            |l: &&crate::harness::audit::Line| l.resource == "jobs" && l.verb == "create" && l.done() && !l.dry_run;
        let jobs = t.audit()?.iter().filter(made).count();
        ensure!(jobs == 2, "two Jobs were created {jobs} times");
        Ok(())
    });
}

async fn scale(t: &Case, name: &str, replicas: u32) -> anyhow::Result<()> {
    t.merge::<Deployment>(name, json!({"spec": {"replicas": replicas}})).await
}

/// Waits until a side has no pod at all.
async fn empty(t: &Case, side: &str) -> anyhow::Result<()> {
    wait::until(t.api::<k8s_openapi::api::core::v1::Pod>(), &format!("{side} empty"), secs(30), |all| {
        let of = |p: &&k8s_openapi::api::core::v1::Pod| {
            p.metadata.labels.as_ref().is_some_and(|l| l.get("side").is_some_and(|s| s == side))
        };
        Ok(all.values().find(of).is_none().then_some(()))
    })
    .await
}

#[test]
fn an_old_side_that_was_scaled_away_is_scaled_up_before_the_selector_goes_back() {
    e2e("old_side_empty", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        scale(t, "web-blue", 0).await?;
        empty(t, "blue").await?;
        t.condition("shop", "CanRollBack", false, 20).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 40).await?;
        ensure!(t.side("web").await? == "blue");
        let blue = t.pods("web", "blue").await?;
        ensure!(!blue.is_empty(), "the selector went back to an empty side");
        Ok(())
    });
}

#[test]
fn with_both_sides_empty_the_rollback_is_blocked_loudly_and_goes_on_by_itself() {
    e2e("both_sides_empty", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        // A blue side that can be scaled but whose pods never become ready.
        let broken = json!({"spec": {"replicas": 0, "template": {"spec": {"containers": [
            {"name": "app", "readinessProbe": {"httpGet": {"path": "/no-such-path", "port": 8080}}}]}}}});
        use kube::api::{Patch, PatchParams};
        t.api::<Deployment>().patch("web-blue", &PatchParams::default(), &Patch::Strategic(&broken)).await?;
        empty(t, "blue").await?;
        scale(t, "web-green", 0).await?;
        empty(t, "green").await?;
        let message = t.condition("shop", "RollbackBlocked", true, 30).await?;
        ensure!(message.contains("blue"), "{message}");
        ensure!(t.side("web").await? == "green", "onto an empty side");
        let mended = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "app", "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}]}}}});
        t.api::<Deployment>().patch("web-blue", &PatchParams::default(), &Patch::Strategic(&mended)).await?;
        t.points_to("web", "blue", 40).await?;
        t.ends("shop", Phase::RolledBack, 30).await.map(|_| ())
    });
}

#[test]
fn a_target_without_enough_ready_pods_is_never_switched_to() {
    e2e("target_not_ready", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        // The rollout is good; readiness is lost between the last check and the switch.
        t.cutover("shop", "phases: {verify: {steps: [{name: hold, wait: {for: 4s}}]}}\nswitch: {timeout: 4s}\n")
            .await?;
        t.run_until("shop", "the last check", secs(30), |run| {
            let hold = run.status.as_ref().and_then(|s| s.steps.iter().find(|s| s.name == "hold"));
            Ok(hold.map(|_| ()))
        })
        .await?;
        t.fault("web", "green", json!({"ready": false})).await?;
        let run = t.ends("shop", Phase::Failed, 90).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.message.contains("green") || ending.message.contains("ready"), "{ending:?}");
        ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}
