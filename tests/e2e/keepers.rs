//! Whoever keeps what a run changes is named before the run changes it, with what to set; and whoever put a Service back
//! is named by the run that takes this as a rollback.

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::api::run::CutoverRun;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::case::step;
use crate::harness::{Case, app, cluster, e2e};

const SHORT: &str = "switch: {timeout: 30s}\nobserve: {for: 1s, every: 500ms}\n";

/// Applies YAML as a tool with this field manager does.
async fn applied_by(t: &Case, manager: &str, yaml: &str) -> Result<()> {
    for object in cluster::documents(yaml)? {
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams::apply(manager).force();
        cluster::api_of(&t.client, &object, &t.ns)?.patch(name, &params, &Patch::Apply(&object)).await?;
    }
    Ok(())
}

/// What the preflight of a run has warned of.
fn warned(run: &CutoverRun) -> Result<Vec<String>> {
    let evidence = step(run, "cutover-permissions")?.evidence.clone().context("evidence")?;
    let all = evidence["warnings"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// One warning says all of these.
fn says(all: &[String], words: &[&str]) -> Result<()> {
    ensure!(all.iter().any(|w| words.iter().all(|word| w.contains(word))), "{words:?}: {all:#?}");
    Ok(())
}

#[test]
fn whoever_keeps_what_a_run_changes_is_named_with_what_to_set() {
    e2e("keepers", async |t: &Case| {
        t.web().await?;
        applied_by(t, "argocd-controller", &app::service("web", "blue")).await?;
        let green = app::Colour::new("green").env("MODE", "slow");
        applied_by(t, "kustomize-controller", &app::deployment("web", &green)).await?;
        t.available("web-green").await?;
        t.apply(&app::deployment("worker", &app::Colour::new("blue"))).await?;
        // As an autoscaler does it.
        let scale = PatchParams { field_manager: Some("kube-controller-manager".into()), ..PatchParams::default() };
        let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
        let _: Scale = t.api::<Deployment>().patch_scale("worker-blue", &scale, &two).await?;
        t.available("worker-blue").await?;
        t.start().await?;
        let steps = "[{name: mode, setEnv: {side: Target, env: [{name: MODE, value: fast}]}}, \
                     {name: more, scale: {side: Target, replicas: 2}}, {name: idle, scale: {workloads: [{kind: Deployment, name: worker-blue}], replicas: 3}}]";
        let spec = format!("{SHORT}phases: {{prepare: {{steps: {steps}}}}}\n");
        let with = |side: &str| format!("activate: {side}\n{spec}");
        t.cutover("shop", &with("blue")).await?;
        t.condition("shop", "Ready", true, 30).await?;
        let check = t.plugin(None, &["check", "shop", "-o", "json"]).await?;
        check.says(&["Argo CD keeps the selector of Service web", "selector-owner"])?;
        t.cutover("shop", &with("green")).await?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        let all = warned(&run)?;
        says(
            &all,
            &["Argo CD keeps the selector of Service web (field manager argocd-controller)", "ignoreDifferences"],
        )?;
        says(&all, &["step more scales Deployment web-green, and Flux keeps its replicas", "spec.ignore"])?;
        says(&all, &["step mode sets MODE of Deployment web-green, and Flux keeps it", "take MODE out of Git"])?;
        says(&all, &["step idle scales Deployment worker-blue, and an autoscaler keeps its replicas"])?;
        ensure!(all.len() == 4, "{all:#?}");
        let events = t.api::<Event>().list(&ListParams::default()).await?.items;
        let told =
            |e: &&Event| e.reason.as_deref() == Some("PreflightWarning") && e.type_.as_deref() == Some("Warning");
        let told: Vec<String> = events.iter().filter(told).filter_map(|e| e.message.clone()).collect();
        says(&told, &["Argo CD keeps the selector of Service web", "RespectIgnoreDifferences=true"])
    });
}

#[test]
fn a_service_whose_selector_git_does_not_hold_is_no_matter_for_a_warning() {
    e2e("keepers_safe", async |t: &Case| {
        t.web().await?;
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop, annotations: {argocd.argoproj.io/tracking-id: x}}\n\
                       spec: {ports: [{name: http, port: 80, targetPort: 8080}]}\n";
        applied_by(t, "argocd-controller", service).await?;
        t.merge::<Service>("shop", json!({"spec": {"selector": {"app": "web", "side": "blue"}}})).await?;
        t.start().await?;
        t.cutover("shop", &format!("services: [{{name: shop}}]\n{SHORT}")).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        ensure!(warned(&run)?.is_empty(), "{:#?}", warned(&run)?);
        // Git again and again, and the selector stays as the run left it.
        applied_by(t, "argocd-controller", service).await?;
        ensure!(t.side("shop").await? == "green", "{}", t.side("shop").await?);
        let check = t.plugin(None, &["check", "shop", "-o", "json"]).await?;
        check.says(&["nobody else keeps the selector of Service shop"]).map(drop)
    });
}

#[test]
fn a_run_that_takes_a_restore_as_its_own_names_who_made_it() {
    e2e("keepers_adopted", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 30s}\nobserve: {for: 60s, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 40).await?;
        applied_by(t, "argocd-controller", &app::service("web", "blue")).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let ending = run.status.and_then(|s| s.ending).context("an ending")?;
        let by = "Service web was put back on blue by argocd-controller (Apply at 20";
        ensure!(ending.reason == "RestoredByOther" && ending.message.contains(by), "{ending:?}");
        let stalled = t.condition("shop", "Stalled", true, 20).await?;
        ensure!(stalled.contains("by argocd-controller"), "{stalled}");
        Ok(())
    });
}
