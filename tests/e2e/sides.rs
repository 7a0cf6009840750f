//! Sides of several workloads, Services that select some of them, and what stands in the way of a switch from the start.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepRecord};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::app::{self, Colour};
use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Place, Proxy};
use crate::harness::{Case, e2e, wait};

const SHORT: &str = "switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";

/// A workload of one pod that answers no request: a worker.
fn worker(kind: &str, name: &str, labels: &Value, command: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "containers": [{
                "name": "worker", "image": "docker.io/cutover/busybox:1", "command": ["sh", "-c", command],
                "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
            }]}
        }}
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("admin");
    }
    object
}

const WORKS: &str = "touch /tmp/ready; trap exit TERM; sleep 600 & wait";

fn listed(side: &str, workloads: &[(&str, &str)]) -> Value {
    let workloads: Vec<Value> =
        workloads.iter().map(|(kind, name)| json!({"kind": kind, "name": format!("{name}-{side}")})).collect();
    json!({"name": side, "selector": {"side": side}, "workloads": workloads})
}

/// Both sides with these workloads, as the `sides` of a Cutover.
fn sides(workloads: &[(&str, &str)]) -> String {
    format!("sides: {}\n", json!([listed("blue", workloads), listed("green", workloads)]))
}

async fn statefulset_ready(t: &Case, name: &str) -> anyhow::Result<()> {
    wait::until(t.api::<StatefulSet>(), &format!("StatefulSet {name} ready"), secs(60), |all| {
        let ready = all.get(name).and_then(|s| s.status.as_ref()?.ready_replicas);
        Ok((ready == Some(1)).then_some(()))
    })
    .await
}

fn record<'a>(run: &'a CutoverRun, step: &str) -> anyhow::Result<&'a StepRecord> {
    let steps = run.status.as_ref().map(|s| s.steps.as_slice()).unwrap_or_default();
    steps.iter().find(|s| s.name == step).with_context(|| format!("no record of {step}"))
}

#[test]
fn three_workloads_behind_two_services_are_switched_and_rolled_back_as_one() {
    e2e("three_workloads", async |t: &Case| {
        t.app("web", Colour::new("blue"), Colour::new("green").replicas(2)).await?;
        t.merge::<Deployment>("web-blue", json!({"spec": {"replicas": 2}})).await?;
        t.apply(&app::service("admin", "blue").replace("targetPort: 8080", "targetPort: 9000")).await?;
        for side in ["blue", "green"] {
            let labels = json!({"app": "admin", "side": side});
            t.apply_value(&worker("StatefulSet", &format!("admin-{side}"), &labels, WORKS)).await?;
            let labels = json!({"app": "queue", "side": side});
            t.apply_value(&worker("Deployment", &format!("queue-{side}"), &labels, WORKS)).await?;
        }
        for side in ["blue", "green"] {
            t.available(&format!("web-{side}")).await?;
            t.available(&format!("queue-{side}")).await?;
            statefulset_ready(t, &format!("admin-{side}")).await?;
        }
        t.start().await?;
        let all = sides(&[("Deployment", "web"), ("StatefulSet", "admin"), ("Deployment", "queue")]);
        let spec = format!(
            "services: [{{name: web}}, {{name: admin}}]\n{all}switch: {{timeout: 20s}}\nobserve: {{for: 60s, every: 500ms}}\n"
        );
        t.cutover("shop", &spec).await?;
        let run = t.phase("shop", Phase::Observing, 60).await?;
        let claims = run.status.as_ref().and_then(|s| s.switch.as_ref()).context("switch")?;
        let wanted: Vec<(&str, u32, u32)> =
            claims.services.iter().map(|s| (s.name.as_str(), s.wanted, s.old_wanted)).collect();
        ensure!(wanted == [("web", 2, 2), ("admin", 1, 1)], "{wanted:?}");
        for name in ["web", "admin"] {
            ensure!(t.side(name).await? == "green", "{name}");
        }
        t.decide("shop", cutover::api::Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        for name in ["web", "admin"] {
            ensure!(t.side(name).await? == "blue", "{name}");
            ensure!(t.selector_writes(name)? == ["green", "blue"], "{name}: {:?}", t.selector_writes(name)?);
        }
        Ok(())
    });
}

#[test]
fn a_worker_without_the_sides_labels_is_waited_for_and_watched() {
    e2e("worker_without_labels", async |t: &Case| {
        t.web().await?;
        // Ready after a while; some time later it ends, again and again.
        let green = "sleep 6; touch /tmp/ready; sleep 8; exit 1";
        t.apply_value(&worker("Deployment", "queue-blue", &json!({"queue": "old"}), WORKS)).await?;
        t.available("queue-blue").await?;
        t.start().await?;
        t.apply_value(&worker("Deployment", "queue-green", &json!({"queue": "new"}), green)).await?;
        let all = sides(&[("Deployment", "web"), ("Deployment", "queue")]);
        let observe = "observe: {for: 120s, every: 500ms, triggers: [{name: crashes, pods: {restarts: {moreThan: 0, within: 5m}}}]}\n";
        t.cutover("shop", &format!("{all}switch: {{timeout: 20s}}\n{observe}")).await?;
        t.run_until("shop", "the wait for the worker", secs(30), |run| {
            let message = record(run, "cutover-target-rollout").ok().and_then(|r| r.message.clone());
            Ok(message.filter(|m| m.contains("Deployment queue-green")).map(|_| ()))
        })
        .await?;
        ensure!(t.side("web").await? == "blue");
        t.phase("shop", Phase::Observing, 40).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("crashes") && ending.message.contains("restart"), "{ending:?}");
        Ok(())
    });
}

/// Releases `version`, and waits until its run has failed in its first step; gives what it says.
async fn refused(t: &Case, version: u32, spec: &str) -> anyhow::Result<String> {
    let job = "{deadline: 30s, template: {spec: {containers: [{name: c, image: 'docker.io/cutover/busybox:1', command: ['true']}]}}}";
    let prepare =
        format!("phases: {{prepare: {{steps: [{{name: migrate, job: {job}}}]}}}}\nrelease: {{version: '{version}'}}\n");
    t.cutover("shop", &format!("{spec}{prepare}{SHORT}")).await?;
    let message = t
        .run_until("shop", "refused", secs(60), |run| {
            let of_this = run.spec.plan["release"]["version"] == json!(version.to_string());
            let Some(status) = run.status.as_ref().filter(|s| of_this && s.phase.is_over()) else { return Ok(None) };
            ensure!(status.phase == Phase::Failed, "release {version}: {:?}", status.ending);
            let begun: Vec<&str> = status.steps.iter().map(|s| s.name.as_str()).collect();
            ensure!(begun == ["cutover-permissions"], "release {version}: {begun:?} were begun");
            Ok(status.ending.as_ref().map(|e| e.message.clone()))
        })
        .await?;
    ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
    ensure!(t.jobs()?.0 == 0, "release {version}: a Job was created");
    Ok(message)
}

#[test]
fn what_can_never_be_switched_is_refused_by_name_before_anything_is_done() {
    e2e("refusals", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let says = |message: String, parts: &[&str]| {
            ensure!(parts.iter().all(|part| message.contains(part)), "{parts:?} in {message}");
            anyhow::Ok(())
        };
        // A workload of the target that runs pods of the old side.
        t.apply_value(&worker("Deployment", "odd", &json!({"app": "web", "side": "blue", "odd": "1"}), WORKS)).await?;
        t.available("odd").await?;
        let green = json!({"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "Deployment", "name": "odd"}]});
        let odd = format!("sides: {}\n", json!([listed("blue", &[("Deployment", "web")]), green]));
        says(refused(t, 1, &odd).await?, &["Deployment odd", "side=blue"])?;
        t.api::<Deployment>().delete("odd", &DeleteParams::default()).await?;
        // A label that the Service selects and the target's pods lack.
        t.merge::<Service>("web", json!({"spec": {"selector": {"track": "stable"}}})).await?;
        says(refused(t, 2, "").await?, &["Service web", "Deployment web-green has no label track"])?;
        t.merge::<Service>("web", json!({"spec": {"selector": {"track": null}}})).await?;
        // A port by a name that no container has.
        let ports = |target: Value| json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": target}]}});
        t.merge::<Service>("web", ports(json!("grpc"))).await?;
        says(refused(t, 3, "").await?, &["Service web", "targetPort grpc", "Deployment web-green"])?;
        t.merge::<Service>("web", ports(json!(8080))).await?;
        // Ready pods of a workload that nobody listed.
        t.apply_value(&worker("Deployment", "stray", &json!({"app": "web", "side": "green", "stray": "1"}), WORKS))
            .await?;
        t.available("stray").await?;
        says(refused(t, 4, "").await?, &["the ready pods stray-", "Deployment stray"])?;
        t.api::<Deployment>().delete("stray", &DeleteParams::default()).await?;
        // A readiness gate that nobody sets.
        t.api::<Deployment>().delete("web-green", &DeleteParams::default()).await?;
        let gated = app::deployment("web", &Colour::new("green")).replace(
            "automountServiceAccountToken",
            "readinessGates: [{conditionType: example.com/lb}]\n      automountServiceAccountToken",
        );
        wait::until(t.api::<Pod>(), "green and stray gone", secs(60), |all| {
            let gone = !all.keys().any(|name| name.starts_with("web-green-") || name.starts_with("stray-"));
            Ok(gone.then_some(()))
        })
        .await?;
        t.apply(&gated).await?;
        wait::until(t.api::<Pod>(), "a pod of green that waits for its gate", secs(60), |all| {
            let waits = |p: &Pod| {
                let conditions = p.status.as_ref().and_then(|s| s.conditions.as_ref());
                conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "ContainersReady" && c.status == "True"))
            };
            Ok(all.iter().any(|(name, p)| name.starts_with("web-green-") && waits(p)).then_some(()))
        })
        .await?;
        says(refused(t, 5, "").await?, &["pod web-green-", "readiness gate example.com/lb"])
    });
}

fn is_switch(method: &http::Method, path: &str) -> bool {
    *method == http::Method::PATCH && path.contains("/services/web") && !path.contains("dryRun")
}

async fn annotate(t: &Case, n: usize) -> anyhow::Result<()> {
    t.merge::<Service>("web", json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}})).await
}

#[test]
fn annotations_of_others_between_claim_and_patch_do_not_end_the_switch() {
    e2e("annotated_in_switch", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let mut held = proxy.hold(Place::OnTheWay, |method, path, _| is_switch(method, path));
        t.cutover("shop", SHORT).await?;
        for n in 1..=3 {
            held.come(secs(40)).await?;
            annotate(t, n).await?;
            let next = proxy.hold(Place::OnTheWay, |method, path, _| is_switch(method, path));
            std::mem::replace(&mut held, next).release();
        }
        held.come(secs(20)).await?;
        held.release();
        t.ends("shop", Phase::Completed, 40).await?;
        ensure!(t.side("web").await? == "green" && t.selector_writes("web")? == ["green"]);
        Ok(())
    });
}

#[test]
fn after_an_unanswered_patch_an_annotation_ends_the_switch_and_names_its_writer() {
    e2e("annotated_unanswered", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        proxy.fail(|method, path| is_switch(method, path).then_some(Fault::Refuse(503)));
        t.cutover("shop", SHORT).await?;
        wait::poll("an unanswered patch", secs(40), async || Ok((proxy.refused() > 0).then_some(()))).await?;
        annotate(t, 1).await?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        proxy.heal();
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.reason == "SwitchFailed" && ending.message.contains("not answered"), "{ending:?}");
        ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn a_slice_made_by_hand_is_told_beforehand_and_prevents_nothing() {
    e2e("slice_by_hand", async |t: &Case| {
        t.web().await?;
        t.apply_value(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]
        }))
        .await?;
        t.start().await?;
        t.cutover("shop", SHORT).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let evidence = record(&run, "cutover-permissions")?.evidence.clone().context("evidence")?.to_string();
        ensure!(evidence.contains("EndpointSlice by-hand of Service web"), "{evidence}");
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}
