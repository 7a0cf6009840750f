//! A target that changes under a run, before the switch; and Jobs that others have made ready.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, JobRecord, StepState};
use cutover::journal;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use serde_json::json;

use crate::harness::app::{self, Colour};
use crate::harness::case::secs;
use crate::harness::{Case, e2e};

const SHORT: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

/// Applies the target as another release has it.
async fn next_release(t: &Case) -> anyhow::Result<()> {
    t.apply(&app::deployment("web", &Colour::new("green").env("BUILD", "2"))).await
}

fn state(run: &CutoverRun, step: &str) -> Option<StepState> {
    let steps = run.status.iter().flat_map(|s| &s.steps);
    steps.into_iter().find(|s| s.name == step).map(|s| s.state)
}

/// Waits until a step stands so.
async fn stands(t: &Case, step: &str, wanted: StepState) -> anyhow::Result<CutoverRun> {
    t.run_until("shop", &format!("{step} is {wanted:?}"), secs(30), |run| {
        Ok((state(run, step) == Some(wanted)).then(|| run.clone()))
    })
    .await
}

#[test]
fn a_deployment_that_is_applied_after_its_cutover_starts_preflight_over_and_is_released() {
    e2e("deployment_after_cutover", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let look = "{readOnly: true, from: {side: Target, container: app}, args: [job, sleep, '3000'], deadline: 60s}";
        t.cutover("shop", &format!("phases: {{preflight: {{steps: [{{name: look, job: {look}}}]}}}}\n{SHORT}")).await?;
        stands(t, "look", StepState::Running).await?;
        next_release(t).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        ensure!(t.side("web").await? == "green");
        let status = run.status.context("status")?;
        let times = status.start_over.as_ref().map(|s| s.times);
        ensure!(times.is_some_and(|n| (1..=3).contains(&n)), "preflight started over {times:?} times");
        let look = journal::jobs(&status).filter(|job| job.name.starts_with("look-"));
        // One that was not started yet is deleted, and has no end.
        let over = |job: &JobRecord| job.ended.is_some() || job.started.is_none();
        let looks: Vec<_> = look.map(|job| (&job.name, over(job), job.owned)).collect();
        ensure!(looks.len() >= 2 && looks.iter().all(|(_, ended, owned)| *ended && *owned), "{looks:?}");
        Ok(())
    });
}

#[test]
fn an_image_that_changes_after_a_job_ran_from_it_fails_the_run_and_the_job_is_undone() {
    e2e("changed_after_use", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let job =
            |args: &str| format!("{{from: {{side: Target, container: app}}, args: [job, {args}], deadline: 60s}}");
        let spec = format!(
            "phases: {{prepare: {{steps: [{{name: migrate, job: {}, undo: {{job: {}}}}}, {{name: hold, wait: {{for: 60s}}}}]}}}}\n",
            job("migrate"),
            job("migrate-rollback")
        );
        t.cutover("shop", &spec).await?;
        stands(t, "hold", StepState::Running).await?;
        next_release(t).await?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        ensure!(state(&run, "undo/migrate") == Some(StepState::Succeeded), "{:?}", run.status);
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "TargetChanged"));
        let writes = t.selector_writes("web")?;
        ensure!(writes.is_empty(), "the Service was touched: {writes:?}");
        Ok(())
    });
}

#[test]
fn a_ready_made_job_with_the_names_of_a_step_is_neither_started_nor_deleted() {
    e2e("ready_made_job", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let migrate = "{template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}, deadline: 60s}";
        let hold = "{name: hold, wait: {for: 4s}}";
        t.cutover("shop", &format!("phases: {{prepare: {{steps: [{hold}, {{name: migrate, job: {migrate}}}]}}}}\n"))
            .await?;
        let run = stands(t, "hold", StepState::Running).await?;
        let uid = run.uid().context("a uid")?;
        let name = cutover::plan::job_name(&uid, "migrate", 1);
        let made = t
            .apply_value(&json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": {
                    "name": name,
                    "labels": {"cutover.dev/run": uid, "cutover.dev/step": "migrate", "cutover.dev/cutover": "shop"},
                    "annotations": {"cutover.dev/attempt": "1"},
                },
                "spec": {"suspend": true, "backoffLimit": 0, "template": {"spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "docker.io/cutover/sample:dev", "args": ["job", "sleep", "1"]}],
                }}},
            }))
            .await?;
        let run = t.ends("shop", Phase::Failed, 30).await?;
        let ending = run.status.and_then(|s| s.ending).context("an ending")?;
        ensure!(ending.message.contains(&name) && ending.message.contains("did not create"), "{}", ending.message);
        let job = t.api::<Job>().get(&name).await?;
        let spec = job.spec.as_ref().context("a spec")?;
        ensure!(job.uid() == made.uid() && spec.suspend == Some(true), "{job:?}");
        ensure!(job.metadata.deletion_timestamp.is_none() && job.owner_references().is_empty(), "{job:?}");
        Ok(())
    });
}
