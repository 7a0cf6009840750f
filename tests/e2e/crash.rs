//! The operator is killed with SIGKILL and started again in every phase: same end, same writes.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// Something to do in every phase, long enough to be killed in.
fn phased(observe: &str) -> String {
    let opens = jiff::Timestamp::now() + secs(5);
    let closes = jiff::Timestamp::now() + secs(600);
    let job = |args: &str| {
        format!(
            "{{deadline: 60s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, {args}]}}]}}}}}}"
        )
    };
    format!(
        r#"
window: {{start: "{opens:.0}", end: "{closes:.0}"}}
phases:
  preflight: {{steps: [{{name: look, job: {{readOnly: true, deadline: 60s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, sleep, '2000']}}]}}}}}}}}]}}
  prepare: {{steps: [{{name: migrate, job: {sleep}, undo: {{job: {sleep}}}}}, {{name: second, job: {print}, undo: {{job: {print}}}}}]}}
  verify: {{steps: [{{name: smoke, http: {{path: "/slow?ms=2000", idempotent: true}}, timeout: 20s, retry: {{attempts: 3, every: 1s}}}}]}}
  confirm: {{steps: [{{name: settle, wait: {{for: 2s}}}}]}}
switch: {{timeout: 30s, drain: 2s}}
observe: {observe}
"#,
        sleep = job("sleep, '2000'"),
        print = job("print, done"),
    )
}

/// Kills the operator as soon as the run is in each of these phases, and starts it again. Each lasts for two seconds at
/// least: the journal must still be in it once the operator is dead.
async fn crash_in(t: &Case, phases: &[Phase]) -> anyhow::Result<()> {
    for phase in phases {
        t.run_until("shop", phase.as_str(), secs(40), |run| {
            let now = run.status.as_ref().map(|s| s.phase).unwrap_or_default();
            ensure!(now <= *phase, "the run is {now}: nobody saw it in {phase}");
            Ok((now == *phase).then_some(()))
        })
        .await?;
        t.kill();
        let run = t.newest("shop").await?.context("a run")?;
        let now = run.status.map(|s| s.phase).unwrap_or_default();
        ensure!(now == *phase, "the operator was killed in {now}, not in {phase}");
        t.restart_as_before()?;
    }
    Ok(())
}

#[test]
fn killed_in_every_phase_forward_a_run_completes_with_the_same_writes() {
    e2e("crash_forward", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &phased("{for: 4s, every: 500ms}")).await?;
        let phases = [
            Phase::Pending,
            Phase::Preflight,
            Phase::Preparing,
            Phase::Verifying,
            Phase::Switching,
            Phase::Confirming,
            Phase::Observing,
            Phase::Completed,
        ];
        crash_in(t, &phases).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (3, 3), "three Jobs, but {:?} were created and started", t.jobs()?);
        let steps = run.status.context("status")?.steps;
        ensure!(steps.iter().all(|s| s.state == StepState::Succeeded), "{steps:?}");
        Ok(())
    });
}

#[test]
fn killed_in_every_phase_of_a_rollback_the_old_side_is_live_and_undos_run_once() {
    e2e("crash_rollback", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let observe = "{for: 60s, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}";
        t.cutover("shop", &phased(observe)).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        // At the first sign of the rollback, then in the middle of each undo.
        crash_in(t, &[Phase::RollingBack]).await?;
        for undo in ["undo/second", "undo/migrate"] {
            t.run_until("shop", undo, secs(40), |run| {
                Ok(run.status.as_ref().and_then(|s| s.steps.iter().find(|x| x.name == undo)).map(|_| ()))
            })
            .await?;
            t.crash()?;
        }
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (5, 5), "five Jobs, but {:?} were created and started", t.jobs()?);
        let steps = run.status.context("status")?.steps;
        let undone = steps.iter().filter(|s| s.name.starts_with("undo/")).all(|s| s.state == StepState::Succeeded);
        ensure!(undone, "{steps:?}");
        Ok(())
    });
}

#[test]
fn trouble_while_the_operator_is_down_is_seen_when_it_is_back() {
    e2e("crash_while_failing", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.kill();
        t.fault("web", "green", json!({"ready": false})).await?;
        let api = t.api::<k8s_openapi::api::core::v1::Pod>();
        wait::until(api, "green not ready", secs(20), |all| {
            let ready = |p: &&k8s_openapi::api::core::v1::Pod| {
                let green = p.metadata.labels.as_ref().is_some_and(|l| l.get("side").is_some_and(|s| s == "green"));
                let conditions = p.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
                green && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
            };
            Ok(all.values().find(ready).is_none().then_some(()))
        })
        .await?;
        t.restart_as_before()?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn two_operators_on_one_run_switch_once() {
    e2e("two_operators", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let second = t.another()?;
        t.cutover("shop", &phased("{for: 2s, every: 500ms}")).await?;
        let run = t.ends("shop", Phase::Completed, 120).await?;
        drop(second);
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        ensure!(t.jobs()? == (3, 3), "three Jobs, but {:?} were created and started", t.jobs()?);
        let runs = t.api::<CutoverRun>().list(&kube::api::ListParams::default()).await?;
        ensure!(runs.items.len() == 1, "{} runs for one release", runs.items.len());
        ensure!(run.status.is_some());
        Ok(())
    });
}
