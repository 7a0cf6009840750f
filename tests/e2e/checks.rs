//! Requests, configuration and Jobs in the forms that runbooks need, against the real application.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState};
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::step;
use crate::harness::{Case, e2e};

/// The step failed, and says this.
fn failed(run: &CutoverRun, name: &str, text: &str) -> anyhow::Result<()> {
    let record = step(run, name)?;
    let message = record.message.clone().unwrap_or_default();
    ensure!(record.state == StepState::Failed && message.contains(text), "{name}: {record:?}");
    Ok(())
}

const QUICK: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

#[test]
fn requests_carry_forms_files_and_secret_bodies_and_redirects_are_answers() {
    e2e("http_forms", async |t: &Case| {
        t.apply_value(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data"},
            "data": {"rows": "id;amount\n7;12.50\n"}}))
            .await?;
        t.apply_value(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
            "stringData": {"token": "canary-1f2e", "payload": "{\"kind\":\"canary-9a8b\"}"}}))
            .await?;
        t.app("web", Colour::new("blue"), Colour::new("green").replicas(2)).await?;
        // One of the two pods answers errors; the other one is asked where one suffices.
        let mut pods = t.pods("web", "green").await?;
        pods.sort_by_key(|p| p.metadata.name.clone());
        let broken = pods.last().context("a pod")?;
        let ip = broken.status.as_ref().and_then(|s| s.pod_ip.clone()).context("an address")?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        http.post(format!("http://{ip}:8081/fault"))
            .json(&json!({"error_rate": 1.0}))
            .send()
            .await?
            .error_for_status()?;
        t.start().await?;
        let spec = r#"
phases:
  verify:
    steps:
    - name: form
      http:
        method: POST
        path: /api/echo
        idempotent: true
        form: [{name: user, value: "a b&c"}, {name: side, value: "${target}"}]
        expect: ["json.body == 'user=a+b%26c&side=green'", "json.headers['content-type'] == 'application/x-www-form-urlencoded'"]
    - name: files
      http:
        method: POST
        path: /api/echo
        idempotent: true
        form: [{name: note, value: import}]
        files:
        - {name: file, filename: rows.csv, contentType: text/csv, configMap: {name: data, key: rows}}
        - {name: key, filename: key.txt, secret: {name: keys, key: token}}
        expect:
        - "json.headers['content-type'].startsWith('multipart/form-data; boundary=')"
        - "json.body.contains('rows.csv') && json.body.contains('text/csv') && json.body.contains('7;12.50')"
        - "json.body.contains('key.txt') && json.body.matches('canar[y]-[0-9a-f]{4}')"
        - "json.body.contains('import')"
    - name: body-from
      http:
        method: POST
        path: /api/echo
        idempotent: true
        bodyFrom: {secret: {name: keys, key: payload}}
        expect: ["json.json.kind.startsWith('canary')"]
    - {name: no-such-key, critical: false, http: {method: POST, path: /api/echo, bodyFrom: {secret: {name: keys, key: none}}}}
    - {name: redirect, http: {path: /redirect, expect: ["status == 302", "headers['location'] == '/health'"]}}
    - {name: not-followed, critical: false, http: {path: /redirect}}
    - {name: head, http: {method: HEAD, path: /health, expect: ["status == 200", "body == ''", "headers['x-colour'] == 'green'"]}}
    - {name: any, http: {path: /health, expect: ["status == 200"]}}
    - {name: all, critical: false, http: {path: /health, pods: All, expect: ["status == 200"]}}
"#;
        t.cutover("shop", &format!("{spec}{QUICK}")).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        failed(&run, "no-such-key", "Secret keys has no key none")?;
        failed(&run, "not-followed", "status 302")?;
        failed(&run, "all", broken.metadata.name.as_deref().unwrap_or("?"))?;
        for name in ["form", "files", "body-from", "redirect", "head", "any"] {
            ensure!(step(&run, name)?.state == StepState::Succeeded, "{:?}", step(&run, name));
        }
        Ok(())
    });
}

#[test]
fn environments_and_secrets_are_checked_by_key_and_never_shown() {
    e2e("config_checks", async |t: &Case| {
        let hour_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        t.apply_value(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
            "data": {"MODE": "production", "LEGACY": "off"}}))
            .await?;
        t.apply_value(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "annotations": {
                "cutover.dev/rotated-at": hour_ago.to_string(), "cutover.dev/rotated-at.OLD": "2020-01-01T00:00:00Z"}},
            "stringData": {"TOKEN": "canary-77aa", "OLD": "canary-00aa"}}))
            .await?;
        // Its one key is all that whoever applied it has ever written, so that the API server knows when.
        t.apply_value(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "single"},
            "data": {"KEY": "Y2FuYXJ5LTEyMzQ="}}))
            .await?;
        let beside = r#"{name: worker, image: "docker.io/cutover/busybox:1", command: [sh, -c, "trap exit TERM; sleep 600 & wait"],
            envFrom: [{configMapRef: {name: settings}}, {prefix: S_, secretRef: {name: keys}}, {secretRef: {name: nowhere, optional: true}}],
            env: [{name: DERIVED, value: "mode=$(MODE)"}, {name: MODE, value: staging}]}"#;
        t.app("web", Colour::new("blue"), Colour::new("green").beside(beside)).await?;
        t.start().await?;
        let spec = r#"
phases:
  preflight:
    steps:
    - name: environment
      config:
        from: {side: Target, container: worker}
        keys:
        - {name: DERIVED, equals: mode=production}
        - {name: MODE, equals: staging}
        - {name: LEGACY, notEquals: "on"}
        - {name: S_TOKEN, matches: "^canar[y]-[0-9a-f]{4}$"}
        - {name: NONE, optional: true, equals: x}
    - {name: unwanted, critical: false, config: {from: {side: Target, container: worker}, keys: [{name: LEGACY, notEquals: "off"}]}}
    - {name: missing, critical: false, config: {from: {side: Target, container: worker}, keys: [{name: NONE}]}}
    - {name: no-container, critical: false, config: {from: {side: Target, container: none}, keys: [{name: MODE}]}}
    - {name: settings, config: {configMap: settings, keys: [{name: MODE, equals: production}]}}
    - {name: fresh, config: {secret: keys, keys: [{name: TOKEN}], rotatedWithin: 24h}}
    - {name: stale, critical: false, config: {secret: keys, keys: [{name: OLD}], rotatedWithin: 24h}}
    - {name: managed, config: {secret: single, keys: [{name: KEY}], rotatedWithin: 1h}}
    - {name: unknown, critical: false, config: {configMap: settings, keys: [{name: MODE}], rotatedWithin: 24h}}
    - {name: nowhere, critical: false, config: {secret: nowhere, keys: [{name: X}]}}
"#;
        t.cutover("shop", &format!("{spec}{QUICK}")).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        for name in ["environment", "settings", "fresh", "managed"] {
            ensure!(step(&run, name)?.state == StepState::Succeeded, "{:?}", step(&run, name));
        }
        let evidence = step(&run, "environment")?.evidence.clone().context("evidence")?;
        ensure!(
            evidence["keys"]["S_TOKEN"] == "as wanted" && evidence["keys"]["NONE"] == "absent, optional",
            "{evidence}"
        );
        failed(&run, "unwanted", "key LEGACY: has the value it must not have")?;
        failed(&run, "missing", "key NONE: missing")?;
        failed(&run, "no-container", "none")?;
        failed(&run, "stale", "key OLD: was changed at 2020-01-01")?;
        failed(&run, "unknown", "set the annotation cutover.dev/rotated-at.MODE")?;
        failed(&run, "nowhere", "Secret nowhere does not exist")?;
        Ok(())
    });
}

/// A Job that says something, and before it its rehearsal.
fn rehearsed(rehearsal: &str) -> String {
    format!(
        r#"
phases:
  prepare:
    steps:
    - name: migrate
      job:
        template: {{spec: {{containers: [{{name: c, image: "docker.io/cutover/busybox:1", command: [sh, -c, "echo applied; echo '{{\"rows\": 3}}' > /dev/termination-log"]}}]}}}}
        dryRun: {{command: [sh, -c, "{rehearsal}"]}}
        deadline: 60s
        keepLog: 2
        expectLog: ["^applied$"]
        expect: ["json.rows == 3", "exitCode == 0"]
        capture: [{{name: rows, path: $.rows, record: true}}]
"#
    )
}

#[test]
fn a_job_runs_after_its_dry_run_and_its_last_words_are_checked() {
    e2e("job_dry_run", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &format!("{}{QUICK}", rehearsed("echo would apply 3 rows"))).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let (first, second) = (step(&run, "migrate-dry-run")?, step(&run, "migrate")?);
        ensure!(first.evidence.as_ref().is_some_and(|e| e.to_string().contains("would apply 3 rows")), "{first:?}");
        let evidence = second.evidence.clone().context("evidence")?.to_string();
        ensure!(evidence.contains("applied") && evidence.contains("rows"), "{evidence}");
        ensure!(first.ended <= second.started, "{first:?} {second:?}");
        let captured = run.status.as_ref().and_then(|s| s.captures.get("rows")).cloned();
        ensure!(captured == Some(json!(3)), "{captured:?}");
        Ok(())
    });
}

#[test]
fn after_a_dry_run_that_failed_nothing_is_applied() {
    e2e("job_dry_run_fails", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &rehearsed("echo conflict in row 2; exit 3")).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        failed(&run, "migrate-dry-run", "3")?;
        let real = step(&run, "migrate");
        ensure!(real.is_err() || real.is_ok_and(|r| r.state == StepState::Skipped), "the Job ran all the same");
        let (_, started) = t.jobs()?;
        ensure!(started == 1, "{started} Jobs were started");
        Ok(())
    });
}
