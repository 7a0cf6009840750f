//! Deleting a Cutover or its namespace at any time leaves one valid side and nothing stuck.

use anyhow::{Context, ensure};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// A run that stays in one phase for a long time, and where its Service stands once the Cutover is deleted then.
fn held(phase: Phase) -> (String, &'static str) {
    let wait = "{steps: [{name: hold, wait: {for: 60s}}]}";
    let opens = jiff::Timestamp::now() + secs(300);
    let closes = jiff::Timestamp::now() + secs(600);
    let quick = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
    match phase {
        Phase::Pending => (format!("window: {{start: '{opens:.0}', end: '{closes:.0}'}}\n{quick}"), "blue"),
        Phase::Preflight => (format!("phases: {{preflight: {wait}}}\n{quick}"), "blue"),
        Phase::Preparing => (format!("phases: {{prepare: {wait}}}\n{quick}"), "blue"),
        Phase::Verifying => (format!("phases: {{verify: {wait}}}\n{quick}"), "blue"),
        Phase::Switching => ("switch: {timeout: 20s, drain: 60s}\n".into(), "blue"),
        Phase::Confirming => (format!("phases: {{confirm: {wait}}}\n{quick}"), "blue"),
        Phase::Observing => ("switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n".into(), "blue"),
        Phase::Finishing => (format!("phases: {{finish: {wait}}}\n{quick}"), "blue"),
        _ => (quick.into(), "green"),
    }
}

#[test]
fn a_cutover_deleted_in_any_phase_leaves_one_valid_side() {
    e2e("deleted_in_each_phase", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let phases = [
            Phase::Pending,
            Phase::Preflight,
            Phase::Preparing,
            Phase::Verifying,
            Phase::Switching,
            Phase::Confirming,
            Phase::Observing,
            Phase::Finishing,
            Phase::Completed,
        ];
        for phase in phases {
            let (spec, side) = held(phase);
            let name = format!("del-{}", phase.as_str().to_lowercase());
            t.cutover(&name, &spec).await?;
            t.phase(&name, phase, 30).await.with_context(|| format!("deletion in {phase}"))?;
            t.api::<Cutover>().delete(&name, &DeleteParams::default()).await?;
            gone(t, &name, 20).await.with_context(|| format!("deletion in {phase}"))?;
            ensure!(t.side("web").await? == side, "deleted in {phase}: the Service is on {}", t.side("web").await?);
            t.merge::<Service>("web", json!({"spec": {"selector": {"side": "blue"}}})).await?;
        }
        Ok(())
    });
}

async fn gone(t: &Case, name: &str, bound: u64) -> anyhow::Result<()> {
    let what = format!("Cutover {name} gone");
    wait::until(t.api::<Cutover>(), &what, secs(bound), |all| {
        t.alive()?;
        Ok((!all.contains_key(name)).then_some(()))
    })
    .await?;
    wait::until(t.api::<CutoverRun>(), "its runs gone", secs(20), |all| {
        Ok(all.values().all(|r| r.spec.cutover != name).then_some(()))
    })
    .await
}

#[test]
fn a_cutover_deleted_during_its_rollback_still_ends_on_the_old_side() {
    e2e("deleted_rolling_back", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = "phases: {prepare: {steps: [{name: one, wait: {for: 100ms}, undo: {wait: {for: 3s}}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.decide("shop", cutover::api::Verb::Rollback).await?;
        t.phase("shop", Phase::RollingBack, 10).await?;
        // In the foreground, as a GitOps tool may do it: the journal must outlive it.
        t.api::<Cutover>().delete("shop", &DeleteParams::foreground()).await?;
        gone(t, "shop", 20).await?;
        ensure!(t.side("web").await? == "blue");
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_namespace_deleted_in_the_middle_of_a_run_does_not_hang() {
    e2e("namespace_deleted", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let job = "{deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, sleep, '30000']}]}}}";
        t.cutover("shop", &format!("phases: {{prepare: {{steps: [{{name: slow, job: {job}}}]}}}}\n")).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        Api::<Namespace>::all(t.client.clone()).delete(&t.ns, &DeleteParams::default()).await?;
        // The cluster waits some seconds by itself before it begins.
        gone(t, "shop", 60).await
    });
}
