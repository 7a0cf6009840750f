//! Steps that change objects: CronJobs, environments, restarts, revisions. Each is made once, as the account, and what
//! was there before comes back by itself.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};

use crate::harness::case::secs;
use crate::harness::{Case, app, e2e, wait};

const SHORT: &str = "switch: {timeout: 30s}\nobserve: {for: 2s, every: 500ms}\n";
/// A step that fails: nothing on the target answers there.
const FAILS: &str = "{name: fails, http: {path: /nowhere, expect: ['status == 200']}}";

fn cron_job(name: &str, schedule: &str, suspended: bool) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: {name}}}\nspec:\n  schedule: '{schedule}'\n  suspend: {suspended}\n  \
         jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: \
         'docker.io/cutover/sample:dev', args: [job, sleep, '1000']}}]}}}}}}}}\n"
    )
}

fn record(run: &CutoverRun, step: &str) -> anyhow::Result<cutover::api::run::StepRecord> {
    let status = run.status.as_ref().context("status")?;
    status.steps.iter().find(|s| s.name == step).cloned().with_context(|| format!("no record of {step}"))
}

async fn suspended(t: &Case, name: &str) -> anyhow::Result<bool> {
    Ok(t.api::<CronJob>().get(name).await?.spec.suspend.unwrap_or(false))
}

/// Patches of an object by the account that were carried out.
fn patches(t: &Case, resource: &str, name: &str) -> anyhow::Result<usize> {
    let account = format!("system:serviceaccount:{}:{}", t.ns, app::ACCOUNT);
    let ours = |l: &crate::harness::audit::Line| {
        l.resource == resource && l.name == name && l.verb == "patch" && l.done() && !l.dry_run && l.user == account
    };
    Ok(t.audit()?.into_iter().filter(ours).count())
}

#[test]
fn cron_jobs_stand_still_and_come_back() {
    e2e("cron_jobs", async |t: &Case| {
        t.web().await?;
        t.apply(&cron_job("daily", "0 3 * * *", false)).await?;
        t.apply(&cron_job("nightly", "0 3 * * *", true)).await?;
        t.start().await?;
        let pause = "{name: pause, cronJobs: {suspend: [daily, nightly]}}";
        t.cutover(
            "shop",
            &format!(
                "phases: {{prepare: {{steps: [{pause}, {{name: hold, wait: {{for: 2s}}}}]}}, verify: {{steps: [{FAILS}]}}}}\n"
            ),
        )
        .await?;
        let found = wait::until(t.api::<CronJob>(), "daily suspended", secs(30), |all| {
            Ok(all.get("daily").and_then(|j| j.spec.suspend).filter(|s| *s))
        });
        found.await?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        ensure!(!suspended(t, "daily").await? && suspended(t, "nightly").await?, "not as before");
        let evidence = record(&run, "pause")?.evidence.context("evidence")?;
        ensure!(evidence["CronJob nightly"]["is"] == "was suspended already", "{evidence}");
        ensure!(record(&run, "undo/pause")?.state == StepState::Succeeded);
        ensure!(patches(t, "cronjobs", "daily")? == 2 && patches(t, "cronjobs", "nightly")? == 0);
        Ok(())
    });
}

#[test]
fn a_cron_job_that_is_not_there_is_named_before_anything_is_done() {
    e2e("cron_job_missing", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "phases: {prepare: {steps: [{name: pause, cronJobs: {suspend: [nobody]}}]}}\n").await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let message = run.status.and_then(|s| s.ending).map(|e| e.message).unwrap_or_default();
        ensure!(message.contains("CronJob nobody does not exist"), "{message}");
        Ok(())
    });
}

fn env(deployment: &Deployment) -> anyhow::Result<Value> {
    let spec = deployment.spec.as_ref().context("spec")?;
    let pod = spec.template.spec.as_ref().context("a pod template")?;
    Ok(serde_json::to_value(&pod.containers.first().context("a container")?.env)?)
}

/// Whether an annotation still keeps an environment.
fn keeps(deployment: &Deployment) -> bool {
    deployment.metadata.annotations.iter().flatten().any(|(k, _)| k.starts_with("cutover.dev/env-before-"))
}

const SECRET: &str = "hunter2-hunter2";

#[test]
fn an_environment_goes_back_and_its_former_values_stay_in_the_deployment() {
    e2e("set_env_undone", async |t: &Case| {
        t.app("web", app::Colour::new("blue"), app::Colour::new("green").env("TOKEN", SECRET)).await?;
        t.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {token: new-token-value}\n")
            .await?;
        let before = t.api::<Deployment>().get("web-green").await?;
        t.start().await?;
        let token = "{name: TOKEN, valueFrom: {secretKeyRef: {name: token, key: token}}}";
        let set = format!(
            "{{name: mode, setEnv: {{side: Target, env: [{token}, {{name: MODE, value: 'v${{release.version}}'}}]}}}}"
        );
        let spec = format!(
            "release: {{version: '2'}}\nphases: {{prepare: {{steps: [{set}]}}, verify: {{steps: [{FAILS}]}}}}\n"
        );
        t.cutover("shop", &spec).await?;
        let changed = wait::until(t.api::<Deployment>(), "MODE is set", secs(40), |all| {
            Ok(all
                .get("web-green")
                .filter(|d| env(d).is_ok_and(|e| e.to_string().contains("\"MODE\",\"value\":\"v2\"")))
                .cloned())
        });
        let changed = changed.await?;
        ensure!(keeps(&changed) && !env(&changed)?.to_string().contains(SECRET), "{:?}", changed.metadata.annotations);
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let after = t.api::<Deployment>().get("web-green").await?;
        ensure!(env(&after)? == env(&before)? && !keeps(&after), "{:?}", env(&after));
        let told = record(&run, "mode")?.evidence.context("evidence")?;
        ensure!(told["Deployment web-green"]["TOKEN"] == "a value -> secretKeyRef token/token", "{told}");
        ensure!(patches(t, "deployments", "web-green")? == 2, "set and taken back once each");
        let journal = serde_json::to_string(&run)?;
        ensure!(!journal.contains(SECRET), "a value stands in the journal");
        let log = std::fs::read_to_string(&t.log)?;
        ensure!(!log.contains(SECRET), "a value stands in the log");
        Ok(())
    });
}

#[test]
fn the_runs_own_changes_of_templates_are_nobody_elses() {
    e2e("own_template_changes", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = format!(
            "phases: {{prepare: {{steps: [{{name: again, restart: {{side: Target}}}}]}}, \
             confirm: {{steps: [{{name: flag, setEnv: {{side: Target, env: [{{name: FLAG, value: 'on'}}]}}}}, {{name: fresh, restart: {{side: Target}}}}]}}}}\n{SHORT}"
        );
        let generation = t.api::<Deployment>().get("web-green").await?.metadata.generation.context("generation")?;
        t.cutover("shop", &spec).await?;
        // A stop between the two must restart nothing twice.
        t.phase("shop", Phase::Confirming, 60).await?;
        t.crash()?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        let status = run.status.as_ref().context("status")?;
        ensure!(status.question.is_none() && status.ending.is_none(), "{status:?}");
        let after = t.api::<Deployment>().get("web-green").await?;
        ensure!(env(&after)?.to_string().contains("FLAG") && !keeps(&after), "{:?}", after.metadata.annotations);
        // Two restarts, one environment, and the annotation that is dropped at the end: a change of it counts, too.
        ensure!(
            after.metadata.generation == Some(generation + 4),
            "{generation}, then {:?}",
            after.metadata.generation
        );
        // A patch whose sender was killed may have been made and be
        // logged as one that was given up.
        let patches = patches(t, "deployments", "web-green")?;
        ensure!(matches!(patches, 3 | 4), "{patches}");
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let template = after.spec.context("spec")?.template.metadata.and_then(|m| m.annotations).unwrap_or_default();
        ensure!(template.get("cutover.dev/restarted-by") == Some(&format!("{uid}/fresh#1")), "{template:?}");
        Ok(())
    });
}

#[test]
fn a_rollback_takes_a_deployment_back_to_its_former_revision_once() {
    e2e("undo_rollout", async |t: &Case| {
        t.web().await?;
        let first = t.api::<Deployment>().get("web-green").await?;
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"build": "bad"}}}}});
        t.merge::<Deployment>("web-green", patch).await?;
        t.available("web-green").await?;
        t.start().await?;
        let spec = format!(
            "phases: {{confirm: {{steps: [{FAILS}]}}, rollback: {{steps: [{{name: back, undoRollout: {{deployment: web-green}}}}]}}}}\n{SHORT}"
        );
        t.cutover("shop", &spec).await?;
        let run = t.ends("shop", Phase::RolledBack, 90).await?;
        let back = record(&run, "back")?;
        ensure!(back.state == StepState::Succeeded, "{back:?}");
        let wanted = json!({"Deployment web-green": {"fromRevision": 2, "toRevision": 1}});
        ensure!(back.evidence == Some(wanted), "{:?}", back.evidence);
        let after = t.api::<Deployment>().get("web-green").await?;
        let template = |d: &Deployment| d.spec.as_ref().map(|s| s.template.clone());
        ensure!(template(&after) == template(&first), "another template");
        ensure!(patches(t, "deployments", "web-green")? == 1);
        Ok(())
    });
}

#[test]
fn without_an_earlier_revision_the_rollback_says_so_and_goes_on() {
    e2e("undo_rollout_first", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = format!(
            "phases: {{confirm: {{steps: [{FAILS}]}}, rollback: {{steps: [{{name: back, undoRollout: {{deployment: web-green}}}}]}}}}\n{SHORT}"
        );
        t.cutover("shop", &spec).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let back = record(&run, "back")?;
        ensure!(back.message.as_ref().is_some_and(|m| m.contains("has no earlier revision")), "{back:?}");
        ensure!(patches(t, "deployments", "web-green")? == 0);
        Ok(())
    });
}

#[test]
fn a_step_that_fails_is_undone_alone_and_a_retry_keeps_what_succeeded() {
    e2e("undo_step_keep", async |t: &Case| {
        t.web().await?;
        t.apply(&cron_job("daily", "0 3 * * *", false)).await?;
        t.start().await?;
        let job = |args: &str| {
            format!(
                "job: {{deadline: 60s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, {args}]}}]}}}}}}"
            )
        };
        let spec = |verify: &str| {
            let backup = format!("{{name: backup, keepOnRetry: true, {}}}", job("migrate"));
            let warm = format!(
                "{{name: warm, onFailure: UndoStep, {}, undo: {{cronJobs: {{suspend: [daily]}}}}}}",
                job("fail, --code, '3'")
            );
            format!("phases: {{prepare: {{steps: [{backup}, {warm}]}}, verify: {{steps: [{verify}]}}}}\n{SHORT}")
        };
        t.cutover("shop", &spec(FAILS)).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        ensure!(
            record(&run, "warm")?.state == StepState::Failed
                && record(&run, "undo/warm")?.state == StepState::Succeeded
        );
        ensure!(suspended(t, "daily").await?, "the undo was a cronJobs action");
        t.cutover("shop", &spec("{name: passes, wait: {for: 1s}}")).await?;
        t.decide("shop", cutover::api::Verb::Retry).await?;
        let second = t.run_until("shop", "the second run over", secs(90), |run| {
            let status = run.status.as_ref().filter(|s| s.state == cutover::api::run::RunState::Closed);
            Ok(status.filter(|_| run.metadata.name.as_deref() == Some("shop-2")).map(|_| run.clone()))
        });
        let second = second.await?;
        let backup = record(&second, "backup")?;
        ensure!(backup.kept_from.as_deref() == Some("shop-1") && backup.job.is_none(), "{backup:?}");
        ensure!(second.status.as_ref().is_some_and(|s| s.phase == Phase::Completed), "{:?}", second.status);
        Ok(())
    });
}
