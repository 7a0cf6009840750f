//! Deleting a Cutover or its namespace at any time leaves one valid side and nothing stuck.

use anyhow::{Context, ensure};
use cutover::api::run::{CutoverRun, RunState};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PropagationPolicy};
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

/// Long enough for a garbage collector to hear of kinds that were installed a moment ago.
const GONE: u64 = 60;

const PHASES: [Phase; 9] = [
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

/// Deletes a Cutover in a phase of its run, with what it owns in one of the three ways.
async fn deleted_in(t: &Case, phase: Phase, policy: PropagationPolicy) -> anyhow::Result<()> {
    let (spec, side) = held(phase);
    let name = format!("del-{}", phase.as_str().to_lowercase());
    let orphan = matches!(policy, PropagationPolicy::Orphan);
    t.cutover(&name, &spec).await?;
    t.phase(&name, phase, 30).await?;
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    t.api::<Cutover>().delete(&name, &params).await?;
    if orphan {
        cutover_gone(t, &name, GONE).await?;
        let run = t.newest(&name).await?.context("a run that is orphaned stays")?;
        let closed = run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
        let free = run.metadata.finalizers.is_none() && run.metadata.owner_references.is_none();
        ensure!(closed && free, "closed: {closed}, {:?}", run.metadata);
        t.api::<CutoverRun>().delete(&run.name_any(), &DeleteParams::default()).await?;
    }
    gone(t, &name, GONE).await?;
    ensure!(t.side("web").await? == side, "the Service is on {}", t.side("web").await?);
    t.merge::<Service>("web", json!({"spec": {"selector": {"side": "blue"}}})).await
}

#[test]
fn a_cutover_deleted_in_any_phase_leaves_one_valid_side() {
    e2e("deleted_in_each_phase", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        for phase in PHASES {
            let deleted = deleted_in(t, phase, PropagationPolicy::Background).await;
            deleted.with_context(|| format!("deletion in {phase}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_cutover_deleted_in_the_foreground_or_as_an_orphan_leaves_one_valid_side() {
    e2e("deleted_foreground_orphan", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        for (phase, policy) in [
            (Phase::Preparing, PropagationPolicy::Foreground),
            (Phase::Switching, PropagationPolicy::Orphan),
            (Phase::Observing, PropagationPolicy::Foreground),
            (Phase::Observing, PropagationPolicy::Orphan),
        ] {
            let what = format!("deletion in {phase}, {policy:?}");
            deleted_in(t, phase, policy).await.context(what)?;
        }
        Ok(())
    });
}

#[test]
#[ignore = "night: every phase in the foreground and as an orphan"]
fn a_cutover_deleted_in_any_phase_and_any_way_leaves_one_valid_side() {
    e2e("deleted_every_way", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        for phase in PHASES {
            for policy in [PropagationPolicy::Foreground, PropagationPolicy::Orphan] {
                let what = format!("deletion in {phase}, {policy:?}");
                deleted_in(t, phase, policy).await.context(what)?;
            }
        }
        Ok(())
    });
}

async fn cutover_gone(t: &Case, name: &str, bound: u64) -> anyhow::Result<()> {
    wait::until(t.api::<Cutover>(), &format!("Cutover {name} gone"), secs(bound), |all| {
        t.alive()?;
        Ok((!all.contains_key(name)).then_some(()))
    })
    .await
}

pub(crate) async fn gone(t: &Case, name: &str, bound: u64) -> anyhow::Result<()> {
    cutover_gone(t, name, bound).await?;
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
