//! The way back when something stands in it: a webhook, an old side with few pods or none, a migration that must be undone
//! first.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::{Phase, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\n";

/// Waits until this many pods of a side are ready.
async fn ready(t: &Case, side: &str, count: usize) -> anyhow::Result<()> {
    wait::until(t.api::<Pod>(), &format!("{count} ready pods of {side}"), secs(30), |all| {
        let of = |p: &&Pod| p.metadata.labels.as_ref().is_some_and(|l| l.get("side").is_some_and(|s| s == side));
        let is_ready = |p: &&Pod| {
            let conditions = p.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        };
        Ok((all.values().filter(of).filter(is_ready).count() == count).then_some(()))
    })
    .await
}

/// A webhook that must admit each update of a Service of the case's namespace.
fn webhook(t: &Case, client: Value, name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": format!("{name}.example.com"), "sideEffects": "NoneOnDryRun", "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": t.ns}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"]}],
            "clientConfig": client,
        }],
    })
}

fn webhooks(t: &Case) -> Api<DynamicObject> {
    let kind = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
    ));
    Api::all_with(t.client.clone(), &kind)
}

#[test]
fn a_webhook_that_denies_the_restore_is_named_and_the_restore_is_made_once_it_is_gone() {
    e2e("webhook_denies", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        // The Service that it names does not exist: each update is denied at once, as by one that says no.
        let client = json!({"service": {"name": "gone", "namespace": t.ns, "port": 443}});
        let hook: DynamicObject = serde_json::from_value(webhook(t, client, &t.ns))?;
        webhooks(t).create(&PostParams::default(), &hook).await?;
        // The API server takes a moment to ask it.
        wait::poll("the webhook is asked", secs(20), async || {
            let touched =
                t.merge::<k8s_openapi::api::core::v1::Service>("web", json!({"metadata": {"labels": {"a": "b"}}}));
            Ok(touched.await.is_err().then_some(()))
        })
        .await?;
        t.decide("shop", Verb::Rollback).await?;
        let told = t.condition("shop", "RollbackBlocked", true, 20).await;
        webhooks(t).delete(&t.ns, &DeleteParams::default()).await?;
        let message = told?;
        ensure!(
            message.starts_with("AdmissionDenied") && message.contains(&format!("{}.example.com", t.ns)),
            "{message}"
        );
        t.points_to("web", "blue", 20).await?;
        t.ends("shop", Phase::RolledBack, 30).await.map(|_| ())
    });
}

#[test]
fn with_half_of_the_old_pods_ready_the_restore_is_made_at_once() {
    e2e("restore_half", async |t: &Case| {
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        t.start().await?;
        // Were the old side to have all of its pods, or as many as the new one, the restore would wait for the minute.
        t.cutover("shop", "switch: {timeout: 60s}\nobserve: {for: 10m, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let pod = t.pods("web", "blue").await?.into_iter().next().context("a pod of blue")?;
        let ip = pod.status.and_then(|s| s.pod_ip).context("its address")?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        http.post(format!("http://{ip}:8081/fault")).json(&json!({"ready": false})).send().await?.error_for_status()?;
        ready(t, "blue", 1).await?;
        t.decide("shop", Verb::Rollback).await?;
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        let status = run.status.context("status")?;
        let decided = status.ending.context("ending")?.at;
        let restored = status.switch.and_then(|s| s.restored_at).context("restored")?;
        // By the journal's own times: the five seconds that too few pods have were not taken.
        ensure!(restored.duration_since(decided).as_secs() < 5, "restored {restored}, decided {decided}");
        Ok(())
    });
}

/// A Cutover with a migration after which blue does not start. The test sets the readiness of blue's pods, as the
/// application itself would.
const MIGRATES: &str = "phases: {prepare: {steps: [{name: migrate, job: {deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}, \
    undo: {job: {deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}}}]}}\n\
    switch: {timeout: 5s}\nobserve: {for: 10m, every: 500ms}\n";

async fn undone(t: &Case) -> anyhow::Result<()> {
    t.run_until("shop", "the undo has run", secs(60), |run| {
        let undo = run.status.as_ref().and_then(|s| s.steps.iter().find(|s| s.name == "undo/migrate"));
        Ok(undo.filter(|r| r.ended.is_some()).map(|_| ()))
    })
    .await
}

#[test]
fn where_the_old_side_needs_the_undo_people_are_asked_and_their_answer_counts() {
    e2e("undo_first_asked", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", MIGRATES).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "blue", json!({"ready": false})).await?;
        ready(t, "blue", 0).await?;
        let lost = t.condition("shop", "CanRollBack", false, 20).await?;
        ensure!(lost.starts_with("OldSideEmpty"), "{lost}");
        t.decide("shop", Verb::Rollback).await?;
        let blocked = t.condition("shop", "RollbackBlocked", true, 20).await?;
        ensure!(blocked.starts_with("OldSideEmpty") && blocked.contains("green has 1"), "{blocked}");
        let asked = t.condition("shop", "AwaitingDecision", true, 30).await?;
        ensure!(asked.contains("UndoFirst") && asked.contains("undo/migrate"), "{asked}");
        // An answer that is none leaves the question open.
        t.resolve("shop", "decision", Resolution::Failed).await?;
        t.resolve("shop", "restore", Resolution::UndoFirst).await?;
        undone(t).await?;
        ensure!(t.side("web").await? == "green", "users stay where pods answer");
        t.fault("web", "blue", json!({"ready": true})).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(t.side("web").await? == "blue");
        let undos = run.status.context("status")?.steps.iter().filter(|s| s.name == "undo/migrate").count();
        ensure!(undos == 1);
        Ok(())
    });
}

#[test]
fn the_manifest_can_say_that_undos_run_first() {
    e2e("undo_first_by_manifest", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("{MIGRATES}rollback: {{blocked: {{action: UndoFirst}}}}\n")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "blue", json!({"ready": false})).await?;
        ready(t, "blue", 0).await?;
        t.decide("shop", Verb::Rollback).await?;
        undone(t).await?;
        t.fault("web", "blue", json!({"ready": true})).await?;
        t.ends("shop", Phase::RolledBack, 60).await.map(|_| ())
    });
}

#[test]
fn an_old_side_that_an_autoscaler_has_halved_is_restored_at_once() {
    e2e("restore_autoscaled", async |t: &Case| {
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.merge::<Deployment>("web-blue", json!({"spec": {"replicas": 1}})).await?;
        ready(t, "blue", 1).await?;
        t.condition("shop", "CanRollBack", true, 20).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 40).await?;
        let blue = t.api::<Deployment>().get("web-blue").await?;
        ensure!(blue.spec.and_then(|s| s.replicas) == Some(1), "what an autoscaler set was left alone");
        Ok(())
    });
}

#[test]
fn an_old_system_that_a_step_stopped_calls_nobody_and_is_scaled_up_before_the_selector() {
    e2e("stopped_by_step", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let stop =
            "phases: {prepare: {steps: [{name: stop-old, scale: {side: Old, replicas: 0, allowDowntime: true}}]}}\n";
        t.cutover("shop", &format!("{stop}{WATCHING}")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        let can = t.condition("shop", "CanRollBack", true, 20).await?;
        ensure!(can.starts_with("ScaledUpFirst") && can.contains("stop-old"), "{can}");
        t.decide("shop", Verb::Rollback).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let conditions = run.status.context("status")?.conditions;
        ensure!(conditions.iter().all(|c| c.type_ != "RollbackBlocked"), "{conditions:?}");
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}
