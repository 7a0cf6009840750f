//! Fields that shape single phases: `window`, `finish`, `rollback.verify`, `onAbort`.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::run::StepState;
use cutover::api::{Phase, Verb};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::ListParams;
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::{Case, e2e};

const DAILY: &str = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: daily}\nspec:\n  schedule: '0 3 * * *'\n  jobTemplate: \
     {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'docker.io/cutover/sample:dev', \
     args: [job, print, done]}]}}}}\n";
const QUICK: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

/// A window that is open now and for a few seconds.
fn short_window(more: &str) -> String {
    let (opens, closes) = (jiff::Timestamp::now(), jiff::Timestamp::now() + secs(6));
    format!("window: {{start: \"{opens:.0}\", end: \"{closes:.0}\"{more}}}\n")
}

#[test]
fn a_run_that_misses_its_window_ends_and_undoes_what_it_did() {
    e2e("window_missed", async |t: &Case| {
        t.web().await?;
        t.apply(DAILY).await?;
        t.start().await?;
        let steps = "[{name: quiet, cronJobs: {suspend: [daily]}}, {name: long, wait: {for: 10m}}]";
        let window = short_window("");
        t.cutover("shop", &format!("{QUICK}{window}phases: {{prepare: {{steps: {steps}}}}}\n")).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let status = run.status.context("status")?;
        ensure!(status.ending.as_ref().is_some_and(|e| e.reason == "WindowMissed"), "{:?}", status.ending);
        let daily = t.api::<CronJob>().get("daily").await?;
        ensure!(daily.spec.suspend != Some(true), "the scheduler runs again");
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn people_may_have_it_switched_although_the_window_is_missed() {
    e2e("window_missed_asks", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let window = short_window(", missed: Ask");
        let steps = "[{name: long, wait: {for: 8s}}]";
        t.cutover("shop", &format!("{QUICK}{window}phases: {{prepare: {{steps: {steps}}}}}\n")).await?;
        let why = t.condition("shop", "AwaitingDecision", true, 60).await?;
        ensure!(why.contains("spec.window ended at"), "{why}");
        ensure!(t.selector_writes("web")?.is_empty());
        t.resolve("shop", "decision", Resolution::Succeeded).await?;
        t.ends("shop", Phase::Completed, 40).await?;
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}

#[test]
fn a_job_that_may_not_be_deleted_holds_the_end_of_a_run_and_says_so() {
    e2e("delete_forbidden", async |t: &Case| {
        t.web().await?;
        let role = |verbs: &[&str]| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "cutover"},
                "rules": [
                    {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "patch"]},
                    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
                    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs},
                ],
            })
        };
        t.apply_value(&role(&["get", "create", "patch"])).await?;
        t.start().await?;
        let container = "{name: c, image: 'docker.io/cutover/sample:dev', args: [job, sleep, '600000']}";
        let job = format!("{{deadline: 10m, onAbort: Kill, template: {{spec: {{containers: [{container}]}}}}}}");
        t.cutover("shop", &format!("{QUICK}phases: {{prepare: {{steps: [{{name: work, job: {job}}}]}}}}\n")).await?;
        t.run_until("shop", "its Job runs", secs(40), |run| {
            let job = run.status.iter().flat_map(|s| &s.steps).find_map(|s| s.job.as_ref());
            Ok(job.and_then(|j| j.started).map(|_| ()))
        })
        .await?;
        t.decide("shop", Verb::Abort).await?;
        let why = t
            .run_until("shop", "says that the Job cannot be deleted", secs(20), |run| {
                let waits = run.status.as_ref().and_then(|s| s.waiting.clone());
                Ok(waits.filter(|w| w.contains("cannot be deleted")))
            })
            .await?;
        ensure!(why.contains("--verb=delete --resource=jobs"), "{why}");
        t.apply_value(&role(&["get", "create", "patch", "delete"])).await?;
        t.ends("shop", Phase::Aborted, 40).await?;
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
