//! Jobs and the pods around them: what a Job's pod joins, why it does not start, in which container an undo runs, and
//! pods that take their time to end.

use anyhow::{Context, Result, ensure};
use cutover::api::run::CutoverRun;
use cutover::api::{Phase, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::{Case, app, e2e, wait};

const SHORT: &str = "switch: {timeout: 30s}\nobserve: {for: 2s, every: 500ms}\n";
const WATCHING: &str = "switch: {timeout: 30s}\nobserve: {for: 120s, every: 500ms}\n";
const IMAGE: &str = "docker.io/cutover/sample:dev";

/// A Job from the target's container.
fn from(args: &str, more: &str) -> String {
    format!("{{deadline: 60s, from: {{side: Target, container: app}}, args: [job, {args}]{more}}}")
}

/// A Job from a template.
fn template(image: &str, deadline: &str) -> String {
    let container = format!("{{name: m, image: '{image}', args: [job, migrate]}}");
    format!("{{deadline: {deadline}, template: {{spec: {{containers: [{container}]}}}}}}")
}

fn prepare(steps: &[String]) -> String {
    format!("phases: {{prepare: {{steps: [{}]}}}}\n", steps.join(", "))
}

/// The pod of a step's Job, once it runs.
pub(crate) async fn running_pod(t: &Case, step: &str) -> Result<Pod> {
    wait::until(t.api::<Pod>(), &format!("the pod of {step} runs"), secs(40), |all| {
        let of =
            |p: &&Pod| p.metadata.labels.as_ref().and_then(|l| l.get("cutover.dev/step")).is_some_and(|s| s == step);
        let runs = |p: &&Pod| {
            let containers = p.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            containers.into_iter().any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
        };
        Ok(all.values().filter(of).find(runs).cloned())
    })
    .await
}

/// The image that the Job of a step runs, once it is there.
async fn image_of(t: &Case, step: &str) -> Result<String> {
    wait::until(t.api::<Job>(), &format!("the Job of {step}"), secs(60), |all| {
        let of =
            |j: &&Job| j.metadata.labels.as_ref().and_then(|l| l.get("cutover.dev/step")).is_some_and(|s| s == step);
        Ok(all
            .values()
            .find(of)
            .and_then(|j| j.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.clone()))
    })
    .await
}

fn ending(run: &CutoverRun) -> String {
    run.status.as_ref().and_then(|s| s.ending.as_ref()).map(|e| e.message.clone()).unwrap_or_default()
}

#[test]
fn the_pod_of_a_job_joins_nothing_and_is_sent_nothing() {
    e2e("job_joins_nothing", async |t: &Case| {
        t.web().await?;
        let other = "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec:\n  publishNotReadyAddresses: false\n  \
                     selector: {team: shop}\n  ports: [{port: 80, targetPort: 8080}]\n";
        t.apply(other).await?;
        t.apply("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: keep}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}\n")
            .await?;
        t.start().await?;
        let steps = [
            format!("{{name: plain, job: {}}}", from("sleep, '4000'", "")),
            format!("{{name: labelled, job: {}}}", from("sleep, '6000'", ", labels: {team: shop}")),
        ];
        t.cutover("shop", &format!("{}{SHORT}", prepare(&steps))).await?;
        let plain = running_pod(t, "plain").await?;
        let labels = plain.metadata.labels.clone().unwrap_or_default();
        ensure!(!labels.contains_key("app") && !labels.contains_key("version"), "{labels:?}");
        // Its container runs, and still it is ready for nobody.
        let pod = running_pod(t, "labelled").await?.metadata.name.context("a name")?;
        let seen = wait::until(t.api::<EndpointSlice>(), "the labelled pod in the slices of other", secs(20), |all| {
            let of_other = |s: &&EndpointSlice| {
                s.metadata
                    .labels
                    .as_ref()
                    .and_then(|l| l.get("kubernetes.io/service-name"))
                    .is_some_and(|n| n == "other")
            };
            let endpoints = all.values().filter(of_other).flat_map(|s| s.endpoints.iter().flatten());
            let own = endpoints.into_iter().find(|e| e.target_ref.as_ref().and_then(|r| r.name.as_ref()) == Some(&pod));
            Ok(own.map(|e| e.conditions.as_ref().and_then(|c| c.ready)))
        });
        ensure!(seen.await? == Some(false), "traffic would be sent to the pod of a Job");
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let steps = run.status.context("status")?.steps;
        let checked = steps.iter().find(|s| s.name == "cutover-permissions").context("no preflight")?;
        let warnings = checked.evidence.clone().context("evidence")?["warnings"].to_string();
        ensure!(warnings.contains("labelled") && warnings.contains("Service other"), "{warnings}");
        ensure!(!warnings.contains("keep"), "no label of the Job is that of the budget: {warnings}");
        Ok(())
    });
}

#[test]
fn labels_that_a_claimed_service_selects_are_refused_before_anything_runs() {
    e2e("job_labels_refused", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let job = from("migrate", ", labels: {app: web, side: green}");
        t.cutover("shop", &format!("{}{SHORT}", prepare(&[format!("{{name: migrate, job: {job}}}")]))).await?;
        let message = ending(&t.ends("shop", Phase::Failed, 40).await?);
        ensure!(
            message.contains("job.labels") && message.contains("Service web") && message.contains("remove"),
            "{message}"
        );
        ensure!(t.api::<Job>().list(&ListParams::default()).await?.items.is_empty(), "a Job was created");
        Ok(())
    });
}

#[test]
fn what_is_scaled_down_is_over_when_its_pods_are_gone() {
    e2e("scale_waits_for_pods", async |t: &Case| {
        t.web().await?;
        let consumer = app::deployment("consumer", &app::Colour::new("x"))
            .replace("{name: DRAIN_MS, value: \"1000\"}", "{name: DRAIN_MS, value: \"8000\"}")
            .replace("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: 30");
        ensure!(consumer.contains("8000"), "the application ends at once");
        t.apply(&consumer).await?;
        t.available("consumer-x").await?;
        t.start().await?;
        let stop = "{name: stop, scale: {workloads: [{kind: Deployment, name: consumer-x}], replicas: 0, allowDowntime: true}}";
        let steps = [stop.to_owned(), format!("{{name: migrate, job: {}}}", template(IMAGE, "30s"))];
        t.cutover("shop", &format!("{}{SHORT}", prepare(&steps))).await?;
        image_of(t, "migrate").await?;
        let left = t.api::<Pod>().list(&ListParams::default().labels("app=consumer")).await?.items;
        ensure!(
            left.is_empty(),
            "the Job was created beside {:?}",
            left.iter().map(|p| &p.metadata.name).collect::<Vec<_>>()
        );
        t.ends("shop", Phase::Completed, 60).await.map(|_| ())
    });
}

/// A run that is in Observing, whose step has an undo from the target's container.
async fn with_undo(t: &Case) -> Result<()> {
    t.web().await?;
    t.start().await?;
    let (up, down) = (from("migrate", ""), from("migrate-rollback", ""));
    let steps = [format!("{{name: migrate, job: {up}, undo: {{job: {down}}}}}")];
    t.cutover("shop", &format!("{}{WATCHING}", prepare(&steps))).await?;
    t.phase("shop", Phase::Observing, 60).await.map(|_| ())
}

#[test]
fn an_undo_runs_the_image_that_its_step_ran() {
    e2e("undo_image", async |t: &Case| {
        with_undo(t).await?;
        let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "127.0.0.1:1/none/none:3"}]}}}});
        t.api::<Deployment>().patch("web-green", &PatchParams::default(), &Patch::Strategic(&image)).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(image_of(t, "undo-migrate").await? == IMAGE);
        Ok(())
    });
}

#[test]
fn an_undo_runs_though_the_deployment_is_gone() {
    e2e("undo_without_deployment", async |t: &Case| {
        with_undo(t).await?;
        t.api::<Deployment>().delete("web-green", &DeleteParams::default()).await?;
        t.decide("shop", Verb::Rollback).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let incomplete = run.status.as_ref().and_then(|s| s.ending.as_ref()).is_some_and(|e| e.incomplete);
        ensure!(!incomplete, "the undo did not run: {:?}", run.status.map(|s| s.steps));
        ensure!(image_of(t, "undo-migrate").await? == IMAGE);
        Ok(())
    });
}

/// Runs one Job that cannot start; the message of the failure.
async fn cannot_start(t: &Case, image: &str, deadline: &str) -> Result<String> {
    t.start().await?;
    let job = format!("{{name: migrate, job: {}}}", template(image, deadline));
    t.cutover("shop", &format!("{}{SHORT}", prepare(&[job]))).await?;
    Ok(ending(&t.ends("shop", Phase::Failed, 60).await?))
}

#[test]
fn a_pod_that_admission_denies_fails_its_step_long_before_the_deadline() {
    e2e("job_denied", async |t: &Case| {
        t.web().await?;
        let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        Api::<Namespace>::all(t.client.clone())
            .patch(&t.ns, &PatchParams::default(), &Patch::Merge(&restricted))
            .await?;
        // The bound on the end is far below this.
        let message = cannot_start(t, IMAGE, "20m").await?;
        ensure!(message.contains("violates PodSecurity") && message.contains("restricted"), "{message}");
        ensure!(message.contains("not admitted"), "{message}");
        Ok(())
    });
}

#[test]
fn a_name_that_is_no_image_fails_its_step_long_before_the_deadline() {
    e2e("job_invalid_image", async |t: &Case| {
        t.web().await?;
        let message = cannot_start(t, "NONE//x", "20m").await?;
        ensure!(message.contains("InvalidImageName NONE//x") && message.contains("container m"), "{message}");
        Ok(())
    });
}

#[test]
fn an_image_that_cannot_be_fetched_is_named_at_the_deadline() {
    e2e("job_image_unreachable", async |t: &Case| {
        t.web().await?;
        let message = cannot_start(t, "127.0.0.1:1/none/none:1", "30s").await?;
        ensure!(message.contains("could not start within its deadline of 30s"), "{message}");
        ensure!(
            message.contains("ErrImagePull of 127.0.0.1:1/none/none:1") && message.contains("refused"),
            "{message}"
        );
        Ok(())
    });
}

#[test]
fn a_quota_is_named_at_the_deadline() {
    e2e("job_quota", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: {pods: '0'}}\n").await?;
        let message = cannot_start(t, IMAGE, "15s").await?;
        ensure!(message.contains("could not start within its deadline of 15s"), "{message}");
        ensure!(message.contains("exceeded quota: few"), "{message}");
        Ok(())
    });
}

#[test]
fn a_rollout_names_pod_container_and_image_that_stand_in_its_way() {
    e2e("rollout_names_image", async |t: &Case| {
        t.web().await?;
        let bad = app::deployment("web", &app::Colour::new("green")).replace(IMAGE, "127.0.0.1:1/none/none:2");
        t.apply(&bad).await?;
        t.start().await?;
        let steps = ["{name: green-ready, timeout: 20s, rollout: {side: Target}}".to_owned()];
        t.cutover("shop", &format!("{}{SHORT}", prepare(&steps))).await?;
        let message = ending(&t.ends("shop", Phase::Failed, 60).await?);
        for part in
            ["Deployment web-green", "pod web-green-", "container app", "ErrImagePull of 127.0.0.1:1/none/none:2"]
        {
            ensure!(message.contains(part), "{part} is missing: {message}");
        }
        Ok(())
    });
}
