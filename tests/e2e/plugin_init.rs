//! `kubectl cutover init`: from a Service to a release forwards and back, with nothing but what it printed.

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::case::secs;
use crate::harness::{Case, cluster, e2e, wait};

/// Takes away what other tests begin with: whatever is needed comes from `init`.
async fn bare(t: &Case) -> Result<()> {
    let params = DeleteParams::default();
    for name in ["cutover", "cutover-impersonate"] {
        t.api::<RoleBinding>().delete(name, &params).await?;
        t.api::<Role>().delete(name, &params).await?;
    }
    t.api::<ServiceAccount>().delete("cutover", &params).await?;
    Ok(())
}

/// One Deployment behind a Service, as an application begins.
fn plain(replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: {replicas}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      automountServiceAccountToken: false
      containers: [{{
        name: app, image: docker.io/cutover/sample:dev, imagePullPolicy: IfNotPresent,
        env: [{{name: VERSION, value: 1.0.0}}, {{name: APP, value: web}}, {{name: DRAIN_MS, value: "2000"}}],
        ports: [{{name: http, containerPort: 8080}}],
        readinessProbe: {{httpGet: {{path: /ready, port: http}}, periodSeconds: 1, failureThreshold: 1}}
      }}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"#
    )
}

/// Whether the API server would take every document as it is printed.
async fn would_be_applied(t: &Case, text: &str) -> Result<Vec<Value>> {
    let objects = cluster::documents(text)?;
    for object in &objects {
        let api = cluster::api_of(&t.client, object, &t.ns)?;
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply("somebody").validation_strict() };
        api.patch(name, &params, &Patch::Apply(object)).await.with_context(|| format!("{object:#}"))?;
    }
    Ok(objects)
}

/// Watches for seconds, not minutes; all else is as it was printed.
async fn hurry(t: &Case, name: &str) -> Result<()> {
    let observe = json!({"for": "3s", "every": "500ms"});
    let spec = json!({"observe": observe, "rollback": {"connections": "Keep"}, "retire": {"after": "1s"}});
    t.merge::<Cutover>(name, json!({ "spec": spec })).await
}

/// Releases to a side, and waits until it is done.
async fn released(t: &Case, name: &str, side: &str, version: &str) -> Result<()> {
    let before = t.newest(name).await?.and_then(|r| r.metadata.name);
    t.merge::<Cutover>(name, json!({"spec": {"activate": side, "release": {"version": version}}})).await?;
    t.run_until(name, "a new run", secs(30), |run| Ok((run.metadata.name != before).then_some(()))).await?;
    t.phase(name, Phase::Completed, 90).await?;
    t.closed(name, 30).await?;
    t.points_to("web", side, 5).await
}

#[test]
fn one_deployment_becomes_two_sides_under_load_and_is_released_forwards_and_back() {
    e2e("plugin_init_one", async |t: &Case| {
        bare(t).await?;
        t.apply(&plain(2)).await?;
        t.available("web").await?;
        t.plugin(None, &["init", "nothing"]).await?.with(5)?.says(&["has no Service nothing", "name one of web"])?;
        let printed = t.plugin(None, &["init"]).await?.with(0)?;
        let objects = would_be_applied(t, &printed.out).await?;
        let second = objects.iter().find(|o| o["kind"] == "Deployment").context("no second Deployment")?;
        ensure!(second["metadata"]["name"] == "web-green" && second["spec"]["replicas"] == 0, "{second:#}");
        let told = printed.says(&["1. label the live side", "this writes the selector of the live Service"])?;
        ensure!(told.out.contains("kubectl patch service web"), "{told:?}");
        // Nobody is asked without a terminal, and nothing is done.
        t.plugin(None, &["init", "--apply"]).await?.with(64)?.says(&["--yes"])?;
        ensure!(t.api::<ServiceAccount>().get_opt("cutover").await?.is_none());
        let load = t.load("web", 20.0, 10.0).await?;
        t.plugin(None, &["init", "web", "--apply", "--yes"])
            .await?
            .with(0)?
            .says(&["6. done", "kubectl cutover check web"])?;
        let selector = t.api::<Service>().get("web").await?.spec.and_then(|s| s.selector).context("a selector")?;
        ensure!(selector == [("app".into(), "web".into()), ("side".into(), "blue".into())].into(), "{selector:?}");
        t.available("web-green").await?;
        // Once more changes nothing.
        let generation = |d: Deployment| d.metadata.generation;
        let before = generation(t.api::<Deployment>().get("web").await?);
        let again = t.plugin(None, &["init", "web", "--apply", "--yes"]).await?.with(5)?;
        again.says(&["switched by Cutover web already", "kubectl cutover status web"])?;
        ensure!(generation(t.api::<Deployment>().get("web").await?) == before);
        t.start().await?;
        t.condition("web", "Accepted", true, 30).await?;
        let report = t.plugin(None, &["check", "web", "-o", "json"]).await?.json()?;
        let bad = report["checks"].as_array().into_iter().flatten();
        let bad: Vec<&Value> = bad.filter(|l| l["state"] == "failed" && l["cutover"].is_string()).collect();
        ensure!(bad.is_empty(), "{bad:#?}");
        hurry(t, "web").await?;
        released(t, "web", "green", "2.0.0").await?;
        released(t, "web", "blue", "2.1.0").await?;
        let report = load.stop().await;
        ensure!(report.lost == 0, "requests were lost: {report:#?}");
        Ok(())
    });
}

#[test]
fn two_deployments_get_a_cutover_that_is_released_forwards_and_back() {
    e2e("plugin_init_two", async |t: &Case| {
        t.web().await?;
        bare(t).await?;
        let printed = t.plugin(None, &["init", "web", "--name", "shop"]).await?.with(0)?;
        let objects = would_be_applied(t, &printed.out).await?;
        ensure!(!objects.iter().any(|o| o["kind"] == "Deployment" || o["kind"] == "Service"), "{objects:#?}");
        let json = t.plugin(None, &["init", "web", "--name", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(json["live"] == "Deployment web-blue" && json["other"] == "Deployment web-green", "{json:#}");
        let named = t.plugin(None, &["init", "web", "--name", "shop", "-o", "name"]).await?.with(0)?;
        ensure!(
            named.out.contains("cutover.cutover.dev/shop\n") && named.out.contains("serviceaccount/cutover\n"),
            "{named:?}"
        );
        for object in &objects {
            t.apply_value(object).await?;
        }
        t.start().await?;
        t.condition("shop", "Accepted", true, 30).await?;
        let told = t.plugin(None, &["init", "web"]).await?.with(5)?;
        told.says(&["switched by Cutover shop already", "kubectl cutover status shop"])?;
        hurry(t, "shop").await?;
        wait::poll("the authorizer knows of the rights", secs(15), async || {
            let report = t.plugin(None, &["check", "shop", "-o", "json"]).await?.json()?;
            let of = |id: &str| {
                report["checks"].as_array().into_iter().flatten().any(|l| l["id"] == id && l["state"] == "ok")
            };
            Ok((of("account-rights") && of("impersonation")).then_some(()))
        })
        .await?;
        released(t, "shop", "green", "2.0.0").await?;
        released(t, "shop", "blue", "2.1.0").await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

/// The same application as a StatefulSet.
fn plain_set(replicas: u32) -> String {
    let set = plain(replicas).replace("kind: Deployment", "kind: StatefulSet");
    set.replace("  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n", "  serviceName: web\n")
}

/// Waits until each pod of a StatefulSet is that of its template, and ready.
async fn settled(t: &Case, name: &str) -> Result<()> {
    wait::until(t.api::<StatefulSet>(), &format!("StatefulSet {name} is settled"), secs(90), |all| {
        Ok(all.get(name).and_then(|d| {
            let (spec, status) = (d.spec.as_ref()?, d.status.as_ref()?);
            let wanted = spec.replicas.unwrap_or(1);
            let seen = status.observed_generation == d.metadata.generation;
            let new =
                status.updated_replicas.unwrap_or(0) == wanted && status.current_revision == status.update_revision;
            (seen && new && status.ready_replicas.unwrap_or(0) == wanted).then_some(())
        }))
    })
    .await
}

#[test]
fn one_stateful_set_becomes_two_sides_and_is_released() {
    e2e("plugin_init_set", async |t: &Case| {
        bare(t).await?;
        t.apply(&plain_set(2)).await?;
        settled(t, "web").await?;
        let printed = t.plugin(None, &["init", "web"]).await?.with(0)?;
        let objects = would_be_applied(t, &printed.out).await?;
        let second = objects.iter().find(|o| o["kind"] == "StatefulSet").context("no second StatefulSet")?;
        ensure!(second["metadata"]["name"] == "web-green" && second["spec"]["replicas"] == 0, "{second:#}");
        printed.says(&["StatefulSet web", "kubectl patch statefulset"])?;
        // Without surge one pod after another is away, and the other one answers.
        let load = t.load("web", 20.0, 10.0).await?;
        t.plugin(None, &["init", "web", "--apply", "--yes"]).await?.with(0)?.says(&["6. done"])?;
        settled(t, "web-green").await?;
        t.start().await?;
        t.condition("web", "Accepted", true, 30).await?;
        hurry(t, "web").await?;
        released(t, "web", "green", "2.0.0").await?;
        let report = load.stop().await;
        ensure!(report.lost == 0, "requests were lost: {report:#?}");
        Ok(())
    });
}
