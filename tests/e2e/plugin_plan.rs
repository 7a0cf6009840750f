//! `kubectl cutover plan` and `diff`: what a run would do, tried against the API server without storing anything.

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::harness::app::PEOPLE;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};
use crate::plugin::{JANE, WATCHING, role};

#[test]
fn a_plan_tells_what_a_run_would_do() {
    e2e("plugin_plan", async |t: &Case| {
        t.web().await?;
        t.apply(&role("qa", PEOPLE[0])).await?;
        let steps = "phases: {prepare: {steps: [{name: migrate, job: {deadline: 60s, template: {spec: {containers: [{name: c, \
                     image: 'docker.io/cutover/sample:dev', args: [job, migrate]}]}}}}, \
                     {name: go, approval: {roles: [{name: qa}, {name: board}]}}]}}\n";
        // No operator runs: a plan needs none.
        t.cutover("shop", &format!("{steps}{WATCHING}")).await?;
        let told = t.plugin(None, &["plan", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["live"] == "blue" && told["target"] == "green" && told["askedFor"] == true, "{told:#}");
        ensure!(told["cannotBeUndone"] == json!(["migrate"]), "{told:#}");
        let tried = json!([
            {"what": "create the Job of step migrate"},
            {"what": "point Service web to green"},
            {"what": "point Service web to blue"},
            {"what": "patch Deployment web-blue"},
        ]);
        ensure!(told["dryRuns"] == tried, "{told:#}");
        let roles = &told["gates"][0]["roles"];
        ensure!(roles[0]["who"] == json!([PEOPLE[0]]) && roles[1]["who"] == json!([]), "{told:#}");
        ensure!(told["hidden"] == json!([]), "{told:#}");
        ensure!(t.side("web").await? == "blue", "a plan moves nothing");
        let told = t.plugin(None, &["plan", "shop"]).await?.with(0)?;
        told.says(&["Service web is switched to green", "no undo", "nobody may approve in this role"])?;
        let told = t.plugin(JANE, &["plan", "shop"]).await?.with(0)?;
        told.says(&["you may not list roles", "since you may not list services: point Service web to green"])?;
        let wrong = "{prepare: {steps: [{name: page, http: {path: /health, expect: ['status ===']}}]}}";
        t.merge::<Cutover>("shop", json!({"spec": {"phases": serde_saphyr::from_str::<serde_json::Value>(wrong).map_err(|e| anyhow::anyhow!("{e}"))?}}))
            .await?;
        t.plugin(None, &["plan", "shop"])
            .await?
            .with(1)?
            .says(&["the operator would refuse it", "spec.phases.prepare.steps"])?;
        t.plugin(None, &["diff", "shop"]).await?.with(1)?.says(&["would refuse the next run"])?;
        Ok(())
    });
}

/// A Job of the sample in a template, with more fields of its container.
fn job(name: &str, more: &str) -> String {
    format!(
        "{{name: {name}, job: {{deadline: 60s, template: {{spec: {{containers: [{{name: c, \
         image: 'docker.io/cutover/sample:dev', args: [job, migrate]{more}}}]}}}}}}}}"
    )
}

/// What was tried, by its words.
fn tried<'a>(told: &'a Value, what: &str) -> Result<&'a Value> {
    let all = told["dryRuns"].as_array().context("dry runs")?;
    all.iter().find(|d| d["what"] == what).with_context(|| format!("{what}: {told:#}"))
}

#[test]
fn a_plan_names_what_the_api_server_would_refuse_and_stores_nothing() {
    e2e("plugin_plan_tried", async |t: &Case| {
        t.web().await?;
        let wrong = job("wrong", ", volumeMounts: [{name: none, mountPath: /x}]");
        let seed = job("seed", ", env: [{name: ID, value: '${id}'}]");
        let capture = "{name: number, http: {path: /health, capture: [{name: id, path: $.id}]}}";
        let set = "{name: flag, setEnv: {side: Target, env: [{name: FLAG, value: 'on'}]}}";
        let gone = "{name: gone, job: {deadline: 60s, from: {side: Target, container: none}, command: [x]}}";
        let steps = [job("fine", "").as_str(), &wrong, gone, capture, &seed, set].join(", ");
        t.cutover("shop", &format!("phases: {{prepare: {{steps: [{steps}]}}}}\n{WATCHING}")).await?;
        let told = t.plugin(None, &["plan", "shop", "-o", "json"]).await?.with(1)?.json()?;
        let refused = |what: &str| -> Result<String> {
            Ok(tried(&told, what)?["refused"].as_str().unwrap_or_default().to_owned())
        };
        ensure!(refused("create the Job of step fine")?.is_empty(), "{told:#}");
        ensure!(refused("create the Job of step wrong")?.contains("volumeMounts"), "{told:#}");
        ensure!(refused("create the Job of step gone")?.contains("has no container \"none\""), "{told:#}");
        ensure!(
            tried(&told, "create the Job of step seed")?
                == &json!({"what": "create the Job of step seed", "unset": ["id"]})
        );
        ensure!(refused("set the environment of Deployment web-green for step flag")?.is_empty(), "{told:#}");
        ensure!(told["hidden"] == json!([]), "{told:#}");
        t.plugin(None, &["plan", "shop"])
            .await?
            .with(1)?
            .says(&["✖ create the Job of step wrong", "without the value of ${id}, which the run gives"])?;
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"},
            "spec": {"hard": {"count/jobs.batch": "0"}}});
        t.apply_value(&quota).await?;
        wait::until(t.api::<ResourceQuota>(), "the quota is counted", secs(30), |all| {
            let counted = |q: &ResourceQuota| q.status.as_ref().is_some_and(|s| s.used.is_some());
            Ok(all.get("few").is_some_and(counted).then_some(()))
        })
        .await?;
        let told = wait::poll("the quota holds", secs(20), async || {
            let told = t.plugin(None, &["plan", "shop", "-o", "json"]).await?.with(1)?.json()?;
            Ok(tried(&told, "create the Job of step fine")?["refused"].is_string().then_some(told))
        })
        .await?;
        let why = tried(&told, "create the Job of step fine")?["refused"].as_str().unwrap_or_default();
        ensure!(why.contains("exceeded quota: few"), "{told:#}");
        ensure!(t.api::<Job>().list(&ListParams::default()).await?.items.is_empty(), "a Job was stored");
        ensure!(t.selector_writes("web")?.is_empty() && t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn a_user_without_rights_is_told_what_was_not_tried() {
    e2e("plugin_plan_rights", async |t: &Case| {
        t.web().await?;
        t.apply(&crate::plugin::may_look(&t.ns)).await?;
        t.cutover("shop", &format!("phases: {{prepare: {{steps: [{}]}}}}\n{WATCHING}", job("migrate", ""))).await?;
        wait::poll("the right to look", secs(20), async || {
            let told = t.plugin(JANE, &["plan", "shop", "-o", "json"]).await?.with(0)?.json()?;
            Ok((!told["hidden"].to_string().contains("list services")).then_some(()))
        })
        .await?;
        let told = t.plugin(JANE, &["plan", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["dryRuns"] == json!([]), "{told:#}");
        let hidden = json!([
            "not tried, since you may not create jobs.batch: create the Job of step migrate",
            "not tried, since you may not patch services: point Service web to green, point Service web to blue",
            "not tried, since you may not patch deployments.apps: patch Deployment web-blue",
        ]);
        ensure!(told["hidden"] == hidden, "{told:#}");
        Ok(())
    });
}

#[test]
fn a_run_is_compared_with_the_one_before_and_with_what_would_be_done_now() {
    e2e("plugin_diff", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = |version: &str, attempts: u32, more: &str| {
            format!(
                "release: {{version: {version}}}\nswitch: {{timeout: 20s}}\nobserve: {{for: 1s, every: 500ms}}\n\
                 phases: {{verify: {{steps: [{{name: page, retry: {{attempts: {attempts}, every: 1s}}, http: {{path: /health}}}}{more}]}}}}\n"
            )
        };
        t.cutover("shop", &spec("2.0.0", 5, "")).await?;
        t.ends("shop", Phase::Completed, 60).await?;
        t.plugin(JANE, &["diff", "run/shop-1"]).await?.with(5)?.says(&["no run before shop-1 is kept"])?;
        t.cutover("shop", &format!("activate: blue\n{}", spec("3.0.0", 7, ", {name: more, wait: {for: 1s}}"))).await?;
        t.run_until("shop", "the second run", secs(30), |run| {
            Ok((run.metadata.name.as_deref() == Some("shop-2")).then_some(()))
        })
        .await?;
        t.ends("shop", Phase::Completed, 60).await?;
        let told = t.plugin(JANE, &["diff", "run/shop-2", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["before"] == "shop-1" && told["now"] == "shop-2", "{told:#}");
        let field = |name: &str| told["differences"].as_array().into_iter().flatten().find(|d| d["field"] == name);
        let version = json!({"field": "release.version", "before": "2.0.0", "now": "3.0.0"});
        ensure!(field("release.version") == Some(&version), "{told:#}");
        ensure!(
            field("steps[page].attempts") == Some(&json!({"field": "steps[page].attempts", "before": 5, "now": 7}))
        );
        ensure!(field("steps[more]").is_some_and(|d| d["before"].is_null() && d["now"].is_object()), "{told:#}");
        ensure!(field("target.name") == Some(&json!({"field": "target.name", "before": "green", "now": "blue"})));
        // The other way round, and two that are named.
        let told = t.plugin(JANE, &["diff", "run/shop-1", "shop-2"]).await?.with(0)?;
        told.says(&["shop-2 → shop-1", "~ release.version: 3.0.0 now 2.0.0", "- steps[more]"])?;
        // What would be done now goes back to green.
        let told = t.plugin(None, &["diff", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["before"] == "shop-2" && told["now"] == "now", "{told:#}");
        let back = json!({"field": "target.name", "before": "blue", "now": "green"});
        ensure!(told["differences"].as_array().is_some_and(|all| all.contains(&back)), "{told:#}");
        Ok(())
    });
}
