//! Releases that go well.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::StepState;
use serde_json::json;

use crate::harness::app::Colour;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

#[test]
fn a_manifest_of_services_sides_and_activate_alone_is_enough() {
    e2e("a_minimal_manifest_is_enough", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        // The safe defaults watch for five minutes; the way there is what is looked at here.
        t.cutover("shop", "{}").await?;
        t.phase("shop", Phase::Observing, 40).await?;
        ensure!(t.side("web").await? == "green");
        // The triggers begin with the first journal after the one that begins to observe.
        t.run_until("shop", "the default triggers", secs(20), |run| {
            Ok(run.status.as_ref().filter(|s| !s.triggers.is_empty()).map(|_| ()))
        })
        .await?;
        ensure!(t.selector_writes("web")? == ["green"], "one switch, nothing else");
        let message = t.condition("shop", "CanRollBack", true, 10).await?;
        ensure!(message.contains("blue"), "{message}");
        Ok(())
    });
}

const GOOD: &str = r#"
release: {version: "2.0.0", revision: "9902729", podLabel: version}
prometheus: {service: {name: prometheus, port: 9090}}
phases:
  preflight:
    steps:
    - name: settings
      config:
        secret: settings
        keys: [{name: DATABASE_URL}, {name: STRIPE_KEY, matches: "^sk_live_"}, {name: DEBUG, optional: true, notEquals: "true"}]
    - name: environment
      config: {from: {side: Target, container: app}, keys: [{name: COLOUR, equals: green}]}
    - name: readable
      job:
        readOnly: true
        template: {spec: {containers: [{name: look, image: "docker.io/cutover/sample:dev", args: [job, print, "schema is at 41"]}]}}
        expectLog: ["^schema is at 41$"]
    - name: baseline
      metric: {query: 'vector(0.001)', expect: "value < 0.01", captureAs: baselineErrors}
  prepare:
    steps:
    - name: backup
      job:
        template: {spec: {containers: [{name: backup, image: "docker.io/cutover/sample:dev", args: [job, --env, backup]}]}}
        deadline: 60s
        expectLog: ["^backup bytes=[1-9][0-9]{6,}", "^env CUTOVER_STEP=backup$"]
        expect: ["exitCode == 0", "json.bytes > 1000"]
        capture: [{name: backupFile, path: $.file, record: true}]
    - name: migrate
      job: {from: {side: Target, container: app}, args: [job, migrate], deadline: 60s, expectLog: ["^migration 42 applied"]}
      undo: {job: {from: {side: Target, container: app}, args: [job, migrate-rollback], deadline: 60s}}
    - name: green-ready
      rollout: {side: Target}
  verify:
    steps:
    - name: smoke
      suite:
        passRate: 100
        maxCriticalFailures: 0
        steps:
        - name: health
          http: {path: /api/health, pods: All, expect: ["status == 200", "json.status == 'ok'", "json.colour == 'green'", "latency < duration('2s')"]}
        - name: pack
          http:
            method: POST
            path: /api/v1/audit/packs/generate
            headersFrom: [{name: Authorization, prefix: "Bearer ", secret: {name: settings, key: QA_TOKEN}}]
            body: '{"limit":10000}'
            capture: [{name: packId, path: $.pack_id, record: true}]
        - name: pack-valid
          after: [pack]
          http: {method: POST, path: "/api/v1/audit/packs/${packId}/verify", idempotent: true, expect: ["json.valid == true"]}
        - name: headers
          http: {path: /, expect: ["headers['x-frame-options'] == 'DENY'"]}
  confirm:
    steps:
    - name: live-is-green
      http: {path: /health, expect: ["json.colour == 'green'"]}
      retry: {attempts: 3, every: 1s}
switch: {minReady: 100%, drain: 1s, timeout: 30s}
observe:
  for: 4s
  every: 1s
  triggers:
  - {name: errors, metric: {query: 'sum(rate(http_requests_total{colour="green",code="500"}[5s]))', above: "1", sustained: 3s}}
  - {name: crashes, pods: {restarts: {moreThan: 0, within: 1m}, readyBelow: "1"}}
  - {name: down, probe: {http: {path: /health}, failing: 3}}
"#;

#[test]
fn a_good_release_completes_and_loses_no_request() {
    e2e("a_good_release_completes", async |t: &Case| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "settings"},
            "stringData": {"DATABASE_URL": "postgres://canary-5f1d", "STRIPE_KEY": "sk_live_canary-77aa", "QA_TOKEN": "canary-0c3e"},
        });
        t.apply_value(&secret).await?;
        t.prometheus().await?;
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        let load = t.load("web", 150.0, 50.0).await?;
        t.start().await?;
        t.cutover("shop", GOOD).await?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        let report = load.stop().await;
        let fresh = report.pools.get("fresh").context("no pool of fresh connections")?;
        ensure!(fresh.lost == 0, "{} fresh connections were lost: {:?}", fresh.lost, fresh.losses);
        ensure!(report.app_errors == 0, "{} answers were errors", report.app_errors);
        ensure!(fresh.colours.contains_key("blue") && fresh.colours.contains_key("green"), "{:?}", fresh.colours);

        let status = run.status.context("status")?;
        ensure!(status.steps.iter().all(|s| s.state == StepState::Succeeded), "{:?}", status.steps);
        let order: Vec<&str> = status.steps.iter().map(|s| s.name.as_str()).filter(|n| !n.contains('/')).collect();
        let at = |name: &str| order.iter().position(|n| *n == name);
        ensure!(at("backup") < at("migrate") && at("migrate") < at("live-is-green"), "{order:?}");
        ensure!(status.captures.get("backupFile") == Some(&json!("/backups/sample.dump")), "{:?}", status.captures);
        ensure!(t.selector_writes("web")? == ["green"], "one switch, nothing else");
        t.condition("shop", "Ready", true, 10).await?;
        // A release that was run is not run again by itself; the next one is.
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}

#[test]
fn the_next_release_goes_back_to_the_first_side() {
    e2e("the_next_release_goes_back", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let quick = "observe: {for: 1s, every: 500ms}\nswitch: {timeout: 20s}\n";
        t.cutover("shop", &format!("release: {{version: '2.0.0'}}\n{quick}")).await?;
        t.ends("shop", Phase::Completed, 40).await?;
        t.cutover("shop", &format!("activate: blue\nrelease: {{version: '3.0.0'}}\n{quick}")).await?;
        t.points_to("web", "blue", 30).await?;
        let api = t.api::<cutover::api::CutoverRun>();
        wait::until(api, "two completed runs", secs(30), |all| {
            let done = |r: &&cutover::api::CutoverRun| r.status.as_ref().is_some_and(|s| s.phase == Phase::Completed);
            Ok((all.values().filter(done).count() == 2).then_some(()))
        })
        .await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_release_changed_while_its_side_is_live_starts_nothing_and_says_so() {
    e2e("target_is_live", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = |version: &str| {
            format!("release: {{version: '{version}'}}\nobserve: {{for: 4s, every: 500ms}}\nswitch: {{timeout: 20s}}\n")
        };
        t.cutover("shop", &spec("2.0.0")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        // In the middle of the run: it goes on to its end, and only then is the new release looked at.
        t.cutover("shop", &spec("2.0.1")).await?;
        t.ends("shop", Phase::Completed, 30).await?;
        let message = t.condition("shop", "Stalled", true, 15).await?;
        ensure!(message.contains("TargetIsLive") && message.contains("green"), "{message}");
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn an_idle_cutover_costs_no_request() {
    e2e("idle_is_quiet", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "observe: {for: 1s, every: 500ms}\nswitch: {timeout: 20s}\n").await?;
        t.ends("shop", Phase::Completed, 30).await?;
        t.condition("shop", "Ready", true, 10).await?;
        // The controller's last look ends with the finalizer's removal.
        wait::until(t.api::<cutover::api::Cutover>(), "no finalizer", secs(10), |all| {
            let none = |c: &cutover::api::Cutover| c.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
            Ok(all.get("shop").filter(|c| none(c)).map(|_| ()))
        })
        .await?;
        let before = t.audit()?.len();
        // An observation, not a synchronisation: five seconds in which nothing may be asked.
        tokio::time::sleep(secs(5)).await;
        let lines = t.audit()?;
        let asked = |l: &&crate::harness::audit::Line| l.user.contains("cutover") && l.verb != "watch";
        // A request that ended just now may have been begun before.
        let late: Vec<_> = lines.iter().skip(before + 2).filter(asked).collect();
        ensure!(late.is_empty(), "P7: {late:?}");
        Ok(())
    });
}
