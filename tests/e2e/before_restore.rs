//! What comes before a restore: steps with a bound, undos that say so, and the way back of a single writer.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::run::{CutoverRun, RunStatus, StepRecord, StepState};
use cutover::api::{Phase, Verb};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const WATCHING: &str = "switch: {timeout: 5s}\nobserve: {for: 10m, every: 500ms}\n";

fn status(run: CutoverRun) -> anyhow::Result<RunStatus> {
    run.status.context("status")
}

fn record(status: &RunStatus, step: &str) -> anyhow::Result<StepRecord> {
    status.steps.iter().find(|s| s.name == step).cloned().with_context(|| format!("no record of {step}"))
}

/// When the rollback was decided, and when users were back.
fn times(status: &RunStatus) -> anyhow::Result<(Timestamp, Timestamp)> {
    let decided = status.ending.as_ref().context("ending")?.at;
    Ok((decided, status.switch.as_ref().and_then(|s| s.restored_at).context("restored")?))
}

#[test]
fn a_page_and_a_scheduler_come_before_the_restore_and_are_taken_back_after_it() {
    e2e("before_restore", async |t: &Case| {
        t.web().await?;
        t.apply(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: daily}\nspec:\n  schedule: '0 3 * * *'\n  jobTemplate: \
             {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'docker.io/cutover/sample:dev', \
             args: [job, print, done]}]}}}}\n",
        )
        .await?;
        t.start().await?;
        let before = "{name: page-on, http: {method: POST, path: /health, expect: ['status < 500']}}, \
                      {name: still, cronJobs: {suspend: [daily]}}";
        let after = "{name: again, cronJobs: {resume: [daily]}}";
        t.cutover(
            "shop",
            &format!("phases: {{beforeRestore: {{steps: [{before}]}}, rollback: {{steps: [{after}]}}}}\n{WATCHING}"),
        )
        .await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.decide("shop", Verb::Rollback).await?;
        let status = status(t.ends("shop", Phase::RolledBack, 60).await?)?;
        let (_, restored) = times(&status)?;
        for step in ["page-on", "still"] {
            let record = record(&status, step)?;
            ensure!(
                record.state == StepState::Succeeded && record.ended.is_some_and(|at| at <= restored),
                "{record:?}"
            );
        }
        ensure!(record(&status, "again")?.started.is_some_and(|at| at >= restored));
        ensure!(t.api::<CronJob>().get("daily").await?.spec.suspend != Some(true));
        Ok(())
    });
}

#[test]
fn what_is_not_over_within_its_time_is_cut_and_users_go_back() {
    e2e("before_restore_cut", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        // Never answered in this time.
        let slow = "{name: page-on, timeout: 60s, http: {path: '/slow?ms=20000'}}, {name: next, http: {path: /health}}";
        t.cutover("shop", &format!("phases: {{beforeRestore: {{within: 2s, steps: [{slow}]}}}}\n{WATCHING}")).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.decide("shop", Verb::Rollback).await?;
        let status = status(t.ends("shop", Phase::RolledBack, 60).await?)?;
        let (decided, restored) = times(&status)?;
        let took = restored.duration_since(decided);
        // Far from the 20 s of the answer and the 60 s of the step; how fast beyond the 2 s is the machine's matter.
        ensure!((2000..15_000).contains(&took.as_millis()), "restored after {took}");
        let cut = record(&status, "page-on")?;
        ensure!(cut.message.as_ref().is_some_and(|m| m.contains("within 2s")), "{cut:?}");
        ensure!(record(&status, "next")?.state == StepState::Skipped);
        ensure!(status.ending.context("ending")?.incomplete);
        Ok(())
    });
}

/// A single writer: the old one stops before the new one starts, with a migration in between.
const WRITER: &str = "phases: {prepare: {steps: [\
    {name: stop-old, scale: {side: Old, replicas: 0, allowDowntime: true}}, \
    {name: migrate, job: {deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}, \
     undo: {before: Restore, timeout: 60s, job: {deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}}}, \
    {name: start-new, scale: {side: Target, replicas: 1}}]}, \
    beforeRestore: {steps: [{name: stop-new, timeout: 60s, scale: {side: Target, replicas: 0, allowDowntime: true}}]}}\n";

#[test]
fn a_single_writer_goes_back_as_it_came() {
    e2e("single_writer", async |t: &Case| {
        t.app("web", Colour::new("blue"), Colour::new("green").replicas(0)).await?;
        t.start().await?;
        t.cutover("shop", &format!("{WRITER}{WATCHING}rollback: {{connections: Close}}\n")).await?;
        t.phase("shop", Phase::Observing, 90).await?;
        let can = t.condition("shop", "CanRollBack", true, 20).await?;
        ensure!(can.starts_with("ScaledUpFirst") && can.contains("stop-old"), "{can}");
        t.decide("shop", Verb::Rollback).await?;
        // No pod of one side lives beside one of the other, at any moment that is seen.
        let mut both = 0;
        wait::until(t.api::<Pod>(), "users are back", secs(90), |all| {
            let of = |side: &str| {
                let of =
                    |p: &&Pod| p.metadata.labels.as_ref().is_some_and(|l| l.get("side").is_some_and(|s| s == side));
                all.values().filter(of).count()
            };
            both = both.max(of("blue").min(of("green")));
            Ok((of("blue") == 1 && of("green") == 0).then_some(()))
        })
        .await?;
        ensure!(both == 0, "both wrote");
        let status = status(t.ends("shop", Phase::RolledBack, 90).await?)?;
        let (_, restored) = times(&status)?;
        let (stop, undo) = (record(&status, "stop-new")?, record(&status, "undo/migrate")?);
        ensure!(stop.state == StepState::Succeeded && undo.state == StepState::Succeeded, "{stop:?} {undo:?}");
        ensure!(stop.ended <= undo.started && undo.ended.is_some_and(|at| at <= restored), "{stop:?} {undo:?}");
        ensure!(status.conditions.iter().all(|c| c.type_ != "RollbackBlocked"), "{:?}", status.conditions);
        let green = t.api::<Deployment>().get("web-green").await?;
        ensure!(t.side("web").await? == "blue" && green.spec.and_then(|s| s.replicas) == Some(0));
        Ok(())
    });
}

#[test]
fn where_the_old_side_cannot_start_beside_it_people_have_the_target_stopped() {
    e2e("stop_target", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let job = "{deadline: 60s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}";
        let migrates =
            format!("phases: {{prepare: {{steps: [{{name: migrate, job: {job}, undo: {{job: {job}}}}}]}}}}\n");
        t.cutover("shop", &format!("{migrates}{WATCHING}")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "blue", json!({"ready": false})).await?;
        t.condition("shop", "CanRollBack", false, 30).await?;
        t.decide("shop", Verb::Rollback).await?;
        let asked = t.condition("shop", "AwaitingDecision", true, 40).await?;
        ensure!(asked.contains("StopTarget"), "{asked}");
        t.resolve("shop", "restore", Resolution::StopTarget).await?;
        wait::until(t.api::<Deployment>(), "green is stopped", secs(20), |all| {
            let wanted = all.get("web-green").and_then(|d| d.spec.as_ref()?.replicas);
            Ok((wanted == Some(0)).then_some(()))
        })
        .await?;
        ensure!(t.side("web").await? == "green", "nobody serves yet");
        t.fault("web", "blue", json!({"ready": true})).await?;
        let status = status(t.ends("shop", Phase::RolledBack, 60).await?)?;
        ensure!(t.side("web").await? == "blue");
        let closed = status.closings.first().context("it is recorded")?;
        ensure!(closed.stop && closed.workloads.iter().all(|w| w.done && w.remembered == 1), "{closed:?}");
        Ok(())
    });
}
