//! What changes under a run: Jobs and Services that go away, selectors of others, reverts and new releases.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::run::{CutoverRun, StepState};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use serde_json::json;

use crate::harness::app;
use crate::harness::case::secs;
use crate::harness::proxy::{Place, Proxy};
use crate::harness::{Case, e2e, wait};

const JOB: &str =
    "template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev', args: [job, ARGS]}]}}";

fn job(args: &str) -> String {
    format!("{{deadline: 60s, {}}}", JOB.replace("ARGS", args))
}

/// A run that stays in Preparing for a while, with an undo.
fn slow_prepare(ms: u32) -> String {
    format!(
        "phases: {{prepare: {{steps: [{{name: slow, job: {}, undo: {{job: {}}}}}]}}}}\n\
         switch: {{timeout: 20s}}\nobserve: {{for: 1s, every: 500ms}}\n",
        job(&format!("sleep, '{ms}'")),
        job("migrate-rollback")
    )
}

/// A run that stays in Observing.
const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n";

async fn running_job(t: &Case) -> anyhow::Result<String> {
    // The Job's own count of ready pods stays 0: its pods have a readiness gate that nobody sets.
    wait::until(t.api::<Pod>(), "a running Job", secs(30), |all| {
        let running = |p: &&Pod| p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"));
        let job = |p: &Pod| p.metadata.labels.as_ref()?.get("batch.kubernetes.io/job-name").cloned();
        Ok(all.values().filter(running).find_map(job))
    })
    .await
}

fn untouched(t: &Case) -> anyhow::Result<()> {
    let writes = t.selector_writes("web")?;
    ensure!(writes.is_empty(), "the Service was touched: {writes:?}");
    Ok(())
}

#[test]
fn a_failed_job_fails_the_run_and_leaves_the_service_alone() {
    e2e("failed_job", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = format!(
            "phases: {{prepare: {{steps: [{{name: first, job: {}, undo: {{job: {}}}}}, {{name: migrate, job: {}, undo: {{when: Succeeded, job: {}}}}}, {{name: never, wait: {{for: 1s}}}}]}}}}\n",
            job("migrate"),
            job("migrate-rollback"),
            job("fail, --code, '3'"),
            job("migrate-rollback")
        );
        t.cutover("shop", &spec).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        untouched(t)?;
        let status = run.status.context("status")?;
        let state = |name: &str| status.steps.iter().find(|s| s.name == name).map(|s| s.state);
        ensure!(state("migrate") == Some(StepState::Failed) && state("never").is_none(), "{:?}", status.steps);
        ensure!(state("undo/first") == Some(StepState::Succeeded), "the step before was not undone");
        ensure!(state("undo/migrate").is_none(), "an undo for success ran after a failure");
        let message = t.condition("shop", "Stalled", true, 10).await?;
        ensure!(message.contains("migrate"), "{message}");
        Ok(())
    });
}

/// A run that does not know whether its Job `slow` did its work.
pub(crate) async fn job_deleted_by_hand(t: &Case) -> anyhow::Result<()> {
    t.web().await?;
    t.start().await?;
    t.cutover("shop", &slow_prepare(30_000)).await?;
    let name = running_job(t).await?;
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    t.api::<Job>().delete(&name, &params).await?;
    let message = t.condition("shop", "OutcomeUnknown", true, 30).await?;
    ensure!(message.contains("slow") && message.contains("Resolve"), "{message}");
    untouched(t)
}

#[test]
fn a_job_deleted_by_hand_waits_for_a_person_who_says_that_it_succeeded() {
    e2e("job_deleted_succeeded", async |t: &Case| {
        job_deleted_by_hand(t).await?;
        t.resolve("shop", "slow", Resolution::Succeeded).await?;
        let run = t.ends("shop", Phase::Completed, 40).await?;
        let jobs: Vec<_> = t
            .audit()?
            .into_iter()
            .filter(|l| l.resource == "jobs" && l.verb == "create" && l.done() && !l.dry_run)
            .collect();
        ensure!(jobs.len() == 1, "the Job was created {} times", jobs.len());
        ensure!(run.status.context("status")?.decisions.len() == 1);
        Ok(())
    });
}

#[test]
fn a_job_deleted_by_hand_that_failed_is_undone() {
    e2e("job_deleted_failed", async |t: &Case| {
        job_deleted_by_hand(t).await?;
        // A crash while a person is awaited changes nothing.
        t.crash()?;
        t.resolve("shop", "slow", Resolution::Failed).await?;
        t.ends("shop", Phase::Failed, 40).await?;
        untouched(t)
    });
}

async fn recreate(t: &Case, side: &str) -> anyhow::Result<()> {
    t.api::<Service>().delete("web", &DeleteParams::default()).await?;
    t.apply(&app::service("web", side)).await
}

#[test]
fn a_service_recreated_before_anything_is_claimed_is_switched_under_its_new_uid() {
    e2e("service_recreated_before", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &slow_prepare(3000)).await?;
        running_job(t).await?;
        // Seen as one change: a run that sees its Service vanish ends at once (`service_gone_before`).
        t.kill();
        recreate(t, "blue").await?;
        t.restart_as_before()?;
        t.ends("shop", Phase::Completed, 60).await?;
        ensure!(t.side("web").await? == "green" && t.selector_writes("web")? == ["green"]);
        Ok(())
    });
}

#[test]
fn a_service_recreated_between_claim_and_switch_is_not_switched_by_the_old_claim() {
    e2e("service_recreated_claimed", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let switch = |method: &http::Method, path: &str, _: &[u8]| {
            *method == http::Method::PATCH && path.contains("/services/web") && !path.contains("dryRun")
        };
        let mut held = proxy.hold(Place::OnTheWay, switch);
        t.cutover("shop", WATCHING).await?;
        held.come(secs(40)).await?;
        recreate(t, "blue").await?;
        held.release();
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.reason == "ServiceReplaced", "{ending:?}");
        ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn a_service_recreated_on_the_target_after_the_switch_is_restored_under_its_new_uid() {
    e2e("service_recreated_after", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        // Seen as one change: a run whose Service is gone ends at once, and would be over before it is there again.
        t.kill();
        recreate(t, "green").await?;
        t.restart_as_before()?;
        let run = t.phase("shop", Phase::RolledBack, 40).await?;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "ServiceReplaced"));
        t.points_to("web", "blue", 10).await
    });
}

#[test]
fn a_foreign_selector_before_the_switch_is_waited_for() {
    e2e("foreign_selector_before", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "maintenance"}}})).await?;
        t.cutover("shop", "observe: {for: 1s, every: 500ms}\nswitch: {timeout: 20s}\n").await?;
        let message = t.condition("shop", "SelectorDrift", true, 20).await?;
        ensure!(message.contains("web") && message.contains("blue"), "{message}");
        untouched(t)?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "blue"}}})).await?;
        t.ends("shop", Phase::Completed, 40).await.map(|_| ())
    });
}

#[test]
fn a_foreign_selector_after_the_switch_is_reported_and_never_fought() {
    e2e("foreign_selector_after", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 6s, every: 500ms}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "maintenance"}}})).await?;
        let message = t.condition("shop", "SelectorDrift", true, 10).await?;
        ensure!(message.contains("web"), "{message}");
        ensure!(t.selector_writes("web")? == ["green"], "the drift was fought");
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "green"}}})).await?;
        t.ends("shop", Phase::Completed, 40).await?;
        ensure!(t.selector_writes("web")? == ["green"], "the drift was fought");
        Ok(())
    });
}

#[test]
fn a_service_that_is_moved_while_its_cutover_is_at_rest_is_noticed() {
    e2e("drift_at_rest", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let moved = async |side: &str| t.merge::<Service>("web", json!({"spec": {"selector": {"side": side}}})).await;
        // One that has never had a run, and then one whose run is over and closed.
        t.cutover("shop", "activate: blue\nobserve: {for: 1s, every: 500ms}\n").await?;
        for (live, other) in [("blue", "green"), ("green", "blue")] {
            if live == "green" {
                t.merge::<Cutover>("shop", json!({"spec": {"activate": "green"}})).await?;
                t.ends("shop", Phase::Completed, 40).await?;
            }
            t.condition("shop", "Ready", true, 20).await?;
            for elsewhere in ["maintenance", other] {
                moved(elsewhere).await?;
                let told = t.condition("shop", "SelectorDrift", true, 15).await?;
                ensure!(told.contains("web"), "{told}");
                t.condition("shop", "Ready", false, 15).await?;
                moved(live).await?;
                t.condition("shop", "Ready", true, 15).await?;
            }
        }
        // While the operator was away, too.
        t.kill();
        moved("maintenance").await?;
        t.restart_as_before()?;
        t.condition("shop", "SelectorDrift", true, 30).await?;
        ensure!(t.selector_writes("web")? == ["green"], "the drift was fought");
        Ok(())
    });
}

#[test]
fn with_drift_policy_rollback_a_foreign_selector_ends_the_run_without_being_fought() {
    e2e("drift_policy_rollback", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("driftPolicy: Rollback\n{WATCHING}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "maintenance"}}})).await?;
        let message = t.condition("shop", "RollbackBlocked", true, 20).await?;
        ensure!(message.contains("neither side"), "{message}");
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "green"}}})).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn a_person_who_patches_the_selector_back_has_rolled_back() {
    e2e("restored_by_hand", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"side": "blue"}}})).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "RestoredByOther"));
        ensure!(t.selector_writes("web")? == ["green"], "the selector was right already");
        Ok(())
    });
}

#[test]
fn activate_reverted_before_the_switch_aborts_and_undoes() {
    e2e("activate_reverted_before", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &slow_prepare(3000)).await?;
        running_job(t).await?;
        t.merge::<Cutover>("shop", json!({"spec": {"activate": "blue"}})).await?;
        let run = t.ends("shop", Phase::Aborted, 40).await?;
        let undone = run
            .status
            .context("status")?
            .steps
            .iter()
            .any(|s| s.name == "undo/slow" && s.state == StepState::Succeeded);
        ensure!(undone, "the Job that ran was not undone");
        untouched(t)
    });
}

#[test]
fn activate_reverted_after_the_switch_rolls_back() {
    e2e("activate_reverted_after", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.merge::<Cutover>("shop", json!({"spec": {"activate": "blue"}})).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "Reverted"));
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn a_new_release_before_the_switch_supersedes_the_run_and_starts_its_own() {
    e2e("superseded", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = |version: &str| format!("release: {{version: '{version}'}}\n{}", slow_prepare(2000));
        t.cutover("shop", &spec("2.0.0")).await?;
        running_job(t).await?;
        t.cutover("shop", &spec("2.0.1")).await?;
        wait::until(t.api::<CutoverRun>(), "Superseded, then Completed", secs(60), |all| {
            let has = |phase: Phase| all.values().any(|r| r.status.as_ref().is_some_and(|s| s.phase == phase));
            Ok((has(Phase::Superseded) && has(Phase::Completed)).then_some(()))
        })
        .await?;
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_changed_pod_template_of_the_target_fails_the_run_before_the_switch() {
    e2e("target_changed", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "phases: {verify: {steps: [{name: look, wait: {for: 20s}}]}}\n").await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"build": "other"}}}}});
        t.merge::<k8s_openapi::api::apps::v1::Deployment>("web-green", patch).await?;
        let run = t.ends("shop", Phase::Failed, 30).await?;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "TargetChanged"));
        untouched(t)
    });
}

#[test]
fn two_cutovers_that_claim_one_service_conflict_and_the_first_goes_on() {
    e2e("service_conflict", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let held = "phases: {prepare: {steps: [{name: hold, wait: {for: 5s}}]}}\nswitch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
        t.cutover("shop", held).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        t.cutover("other", "{}").await?;
        let message = t.condition("other", "ServiceConflict", true, 20).await?;
        ensure!(message.contains("web") && message.contains("shop"), "{message}");
        t.ends("shop", Phase::Completed, 40).await?;
        let runs = t.api::<CutoverRun>().list(&ListParams::default()).await?;
        let began = runs
            .items
            .iter()
            .any(|r| r.spec.cutover == "other" && r.status.as_ref().is_some_and(|s| s.switch.is_some()));
        ensure!(!began, "the second Cutover switched a claimed Service");
        Ok(())
    });
}
