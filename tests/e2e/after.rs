//! What comes after Completed: follow-ups, the retirement of the old side, and checks made again.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::run::{CutoverRun, RunState, RunStatus, StepState};
use cutover::api::{Phase, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const SWIFT: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
const JOB: &str =
    "template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}";

async fn replicas(t: &Case, name: &str) -> anyhow::Result<i32> {
    Ok(t.api::<Deployment>().get(name).await?.spec.and_then(|s| s.replicas).unwrap_or(1))
}

fn state(status: &RunStatus, name: &str) -> Option<StepState> {
    status.steps.iter().find(|r| r.name == name).map(|r| r.state)
}

/// The journal, once a step in it is over.
async fn over(t: &Case, step: &str, bound: u64) -> anyhow::Result<CutoverRun> {
    t.run_until("shop", &format!("{step} over"), secs(bound), |run| {
        let record = run.status.as_ref().and_then(|s| s.steps.iter().find(|r| r.name == step));
        Ok(record.is_some_and(|r| r.state != StepState::Running).then(|| run.clone()))
    })
    .await
}

#[test]
fn follow_ups_run_then_the_old_side_is_retired_and_the_way_back_scales_it_up() {
    e2e("after_completed", async |t: &Case| {
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        t.start().await?;
        let spec = format!(
            "{SWIFT}phases: {{followUp: {{steps: [{{name: report, job: {{readOnly: true, deadline: 60s, {JOB}}}}}, {{name: page, http: {{path: /health}}}}]}}}}\nfollowUp: [{{name: soon, after: 1s, every: 2s, until: 3s, run: [report, page]}}]\nretire: {{after: 4s, scaleTo: 0}}\n"
        );
        t.cutover("shop", &spec).await?;
        over(t, "report", 60).await?;
        // A crash while follow-ups are under way repeats none.
        t.crash()?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let (first, status) = (run.metadata.uid, run.status.context("status")?);
        for step in ["report", "page", "report@2", "page@2", "cutover-retire"] {
            ensure!(state(&status, step) == Some(StepState::Succeeded), "{step}: {:?}", status.steps);
        }
        ensure!(replicas(t, "web-blue").await? == 0 && replicas(t, "web-green").await? == 2, "not retired");
        let (created, started) = t.jobs()?;
        ensure!((created, started) == (2, 2), "{created} Jobs created, {started} started");
        let why = t.condition("shop", "CanRollBack", false, 10).await?;
        ensure!(why.contains("Retired") && why.contains("set spec.activate to blue"), "{why}");
        // Back: a new run, which begins with scaling blue up to what it had.
        t.merge::<cutover::api::Cutover>(
            "shop",
            json!({"spec": {"activate": "blue", "phases": null, "followUp": null, "retire": null}}),
        )
        .await?;
        t.points_to("web", "blue", 90).await?;
        ensure!(replicas(t, "web-blue").await? == 2, "blue was not scaled up");
        let back = t
            .run_until("shop", "the run back to close", secs(60), |run| {
                let closed = run.status.as_ref().is_some_and(|s| s.state == RunState::Closed);
                Ok((closed && run.metadata.uid != first).then(|| run.clone()))
            })
            .await?;
        let status = back.status.context("status")?;
        ensure!(state(&status, "cutover-scale-up-2") == Some(StepState::Succeeded), "{:?}", status.steps);
        Ok(())
    });
}

#[test]
fn a_failed_follow_up_asks_and_a_person_goes_back() {
    e2e("after_fails", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = format!(
            "{SWIFT}phases: {{followUp: {{steps: [{{name: nothing, http: {{path: /health, expect: ['status == 299']}}}}]}}}}\nfollowUp: [{{name: soon, after: 1s, run: [nothing]}}]\nretire: {{after: 1s}}\n"
        );
        t.cutover("shop", &spec).await?;
        let why = t.condition("shop", "AwaitingDecision", true, 40).await?;
        ensure!(why.contains("nothing"), "{why}");
        ensure!(t.side("web").await? == "green" && replicas(t, "web-blue").await? == 1, "it is held");
        t.resolve("shop", "decision", Resolution::Failed).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn a_new_release_ends_what_was_to_come() {
    e2e("after_superseded", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("{SWIFT}retire: {{after: 1h}}\n")).await?;
        let first = t.phase("shop", Phase::Completed, 40).await?;
        ensure!(first.status.context("status")?.state == RunState::Active, "closed although a retirement is to come");
        let next = json!({"spec": {"activate": "blue", "release": {"version": "9"}, "retire": null}});
        t.merge::<cutover::api::Cutover>("shop", next).await?;
        t.points_to("web", "blue", 60).await?;
        let api = t.api::<CutoverRun>();
        let old = api.get("shop-1").await?.status.context("status")?;
        let why = old.after.and_then(|a| a.called_off).context("it is not recorded")?;
        ensure!(old.state == RunState::Closed && why.contains("9 on blue"), "{why}");
        ensure!(replicas(t, "web-blue").await? == 1);
        Ok(())
    });
}

#[test]
fn the_checks_of_a_completed_run_are_made_again_and_a_side_in_use_elsewhere_is_not_retired() {
    e2e("after_revalidated", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = format!(
            "{SWIFT}phases: {{verify: {{steps: [{{name: look, job: {{readOnly: true, deadline: 60s, {JOB}}}}}, {{name: make, job: {{deadline: 60s, {JOB}}}}}]}}, confirm: {{steps: [{{name: page, retry: {{attempts: 5, every: 1s}}, http: {{path: /health}}}}]}}}}\nretire: {{after: 1h}}\n"
        );
        t.cutover("shop", &spec).await?;
        t.phase("shop", Phase::Completed, 60).await?;
        t.decide("shop", Verb::Revalidate).await?;
        let run = t
            .run_until("shop", "checked again", secs(60), |run| {
                let list = run.status.as_ref().and_then(|s| s.after.as_ref()).map(|a| &a.revalidations);
                Ok(list.is_some_and(|l| l.iter().any(|r| r.ended.is_some())).then(|| run.clone()))
            })
            .await?;
        let status = run.status.context("status")?;
        let done = status.after.as_ref().and_then(|a| a.revalidations.first()).context("a record")?;
        ensure!(
            done.state == StepState::Succeeded && done.message.as_deref() == Some("3 of 3 checks passed"),
            "{done:?}"
        );
        ensure!(state(&status, "look@revalidate-1") == Some(StepState::Succeeded));
        ensure!(state(&status, "make@revalidate-1").is_none(), "a Job that changes something ran again");
        ensure!(t.jobs()? == (3, 3), "{:?}", t.jobs()?);
        Ok(())
    });
}

#[test]
fn a_closed_run_is_opened_again_for_its_checks_and_for_nothing_else() {
    e2e("after_reopened", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover(
            "shop",
            &format!("{SWIFT}phases: {{confirm: {{steps: [{{name: page, retry: {{attempts: 5, every: 1s}}, http: {{path: /health}}}}]}}}}\n"),
        )
        .await?;
        t.ends("shop", Phase::Completed, 60).await?;
        let checked = async |n: usize| {
            t.run_until("shop", "checked again and closed", secs(60), |run| {
                let status = run.status.as_ref();
                let list = status.and_then(|s| s.after.as_ref()).map(|a| &a.revalidations);
                let ended = list.is_some_and(|l| l.get(n - 1).is_some_and(|r| r.ended.is_some()));
                let closed = status.is_some_and(|s| s.state == RunState::Closed);
                Ok((ended && closed && run.metadata.finalizers.is_none()).then(|| run.clone()))
            })
            .await
        };
        t.decide("shop", Verb::Revalidate).await?;
        let status = checked(1).await?.status.context("status")?;
        ensure!(state(&status, "page@revalidate-1") == Some(StepState::Succeeded));
        // A closed run takes nothing else in, opened again or not.
        let result = t.told("shop", Verb::Rollback).await?;
        ensure!(result.contains("has completed and is closed"), "{result}");
        let result = t.told("shop", Verb::Revalidate).await?;
        ensure!(result == "accepted", "{result}");
        let status = checked(2).await?.status.context("status")?;
        ensure!(status.phase == Phase::Completed && status.ending.is_none());
        t.points_to("web", "green", 5).await?;
        // The next release begins as after any run.
        t.merge::<cutover::api::Cutover>("shop", json!({"spec": {"activate": "blue", "release": {"version": "9"}}}))
            .await?;
        t.points_to("web", "blue", 60).await
    });
}

/// Another Cutover's Service selects the old side: the retirement leaves it alone and asks.
#[test]
fn a_side_that_another_cutover_serves_is_not_retired() {
    e2e("after_claimed", async |t: &Case| {
        t.web().await?;
        t.apply(&crate::harness::app::service("web", "blue").replacen("name: web", "name: web-inside", 1)).await?;
        t.start().await?;
        let mut other = crate::harness::app::cutover("inside", "web", "activate: blue\n")?;
        other["spec"]["services"] = json!([{"name": "web-inside"}]);
        t.apply_value(&other).await?;
        t.cutover("shop", &format!("{SWIFT}retire: {{after: 1s}}\n")).await?;
        let why = t.condition("shop", "AwaitingDecision", true, 90).await?;
        ensure!(why.contains("not shrunk") && why.contains("web-inside"), "{why}");
        ensure!(replicas(t, "web-blue").await? == 1, "it was shrunk");
        t.resolve("shop", "decision", Resolution::Succeeded).await?;
        t.ends("shop", Phase::Completed, 30).await?;
        wait::until(t.api::<Deployment>(), "blue as it was", secs(5), |all| {
            let blue = all.get("web-blue").and_then(|d| d.spec.as_ref()).and_then(|s| s.replicas);
            Ok((blue == Some(1)).then_some(()))
        })
        .await
    });
}
