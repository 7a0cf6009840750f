//! Fields that shape single phases: `window`, `finish`, `rollback.verify`, `onAbort`.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::run::StepState;
use cutover::api::{Phase, Verb};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;

use crate::harness::case::secs;
use crate::harness::{Case, e2e};

const QUICK: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

#[test]
fn a_run_that_misses_its_window_waits_and_switches_nothing() {
    e2e("window_missed", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let (opens, closes) = (jiff::Timestamp::now(), jiff::Timestamp::now() + secs(4));
        let window = format!("window: {{start: \"{opens:.0}\", end: \"{closes:.0}\"}}\n");
        t.cutover(
            "shop",
            &format!("{QUICK}{window}phases: {{prepare: {{steps: [{{name: long, wait: {{for: 5s}}}}]}}}}\n"),
        )
        .await?;
        t.run_until("shop", "waits before Switching", secs(40), |run| {
            let Some(status) = &run.status else { return Ok(None) };
            let says = status.waiting.as_ref().is_some_and(|w| w.contains("spec.window is over"));
            Ok((status.phase == Phase::Switching && says).then_some(()))
        })
        .await?;
        t.decide("shop", Verb::Abort).await?;
        t.ends("shop", Phase::Aborted, 20).await?;
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn a_failing_step_of_finish_asks_people() {
    e2e("finish_fails", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover(
            "shop",
            &format!("{QUICK}phases: {{finish: {{steps: [{{name: flags, http: {{path: /nowhere}}}}]}}}}\n"),
        )
        .await?;
        let why = t.condition("shop", "AwaitingDecision", true, 60).await?;
        ensure!(why.contains("flags") && why.contains("404"), "{why}");
        t.resolve("shop", "decision", Resolution::Succeeded).await?;
        t.ends("shop", Phase::Completed, 20).await?;
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}

#[test]
fn the_checks_of_a_rollback_are_told_when_they_fail() {
    e2e("rollback_verify", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let verify = r#"
switch: {timeout: 20s, drain: 1s}
observe: {for: 60s, every: 500ms}
phases:
  rollbackVerify:
    steps:
    - {name: old-colour, http: {path: /health, expect: ["json.colour == 'blue'"]}}
    - {name: old-page, http: {path: /nowhere}}
"#;
        t.cutover("shop", verify).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.decide("shop", Verb::Rollback).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let status = run.status.context("status")?;
        let state = |name: &str| status.steps.iter().find(|s| s.name == name).map(|s| s.state);
        ensure!(state("old-colour") == Some(StepState::Succeeded) && state("old-page") == Some(StepState::Failed));
        ensure!(status.ending.is_some_and(|e| e.incomplete), "a failed check leaves something open");
        Ok(())
    });
}

#[test]
fn a_running_job_is_awaited_or_killed_when_the_run_is_called_off() {
    e2e("on_abort", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = |ms: u64, on_abort: &str| {
            let job = format!(
                "{{deadline: 120s, onAbort: {on_abort}, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, sleep, '{ms}']}}]}}}}}}"
            );
            format!("{QUICK}phases: {{prepare: {{steps: [{{name: work, job: {job}}}]}}}}\n")
        };
        for (name, ms, on_abort, ended) in [("waits", 6000, "Wait", true), ("kills", 100_000, "Kill", false)] {
            t.cutover(name, &spec(ms, on_abort)).await?;
            t.run_until(name, "its Job runs", secs(40), |run| {
                let job = run.status.iter().flat_map(|s| &s.steps).find_map(|s| s.job.as_ref());
                Ok(job.and_then(|j| j.started).map(|_| ()))
            })
            .await?;
            t.decide(name, Verb::Abort).await?;
            let run = t.ends(name, Phase::Aborted, 40).await?;
            let status = run.status.context("status")?;
            let record = status.steps.iter().find(|s| s.name == "work").context("the record")?;
            let job = record.job.clone().context("the Job")?;
            ensure!((record.state == StepState::Succeeded) == ended && job.killed != ended, "{on_abort}: {record:?}");
            let left = t.api::<Job>().list(&ListParams::default()).await?;
            let there = left
                .items
                .iter()
                .any(|j| j.metadata.name.as_ref() == Some(&job.name) && j.metadata.deletion_timestamp.is_none());
            ensure!(there == ended, "{on_abort}: the Job is there: {there}");
            t.api::<cutover::api::Cutover>().delete(name, &Default::default()).await?;
            crate::harness::wait::until(
                t.api::<cutover::api::Cutover>(),
                &format!("{name} is gone"),
                secs(20),
                |all| Ok((!all.contains_key(name)).then_some(())),
            )
            .await?;
        }
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}
