//! Each trigger fires on real trouble and puts the selector back; what was done before the switch is undone.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState, TrialVerdict};
use serde_json::json;

use crate::harness::app::{self, Colour};
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// A run that is watched by one trigger for as long as the test takes.
pub fn watched(trigger: &str) -> String {
    format!(
        "prometheus: {{service: {{name: prometheus, port: 9090}}}}\n\
         switch: {{minReady: '1', timeout: 20s}}\n\
         observe: {{for: 60s, every: 500ms, builtIn: Disarmed, triggers: [{{name: bad, {trigger}}}]}}\n"
    )
}

/// The run was ended by the trigger, with one switch and one restore.
fn fired(t: &Case, run: &CutoverRun) -> anyhow::Result<()> {
    let ending = run.status.as_ref().and_then(|s| s.ending.clone()).context("the run has no ending")?;
    ensure!(ending.reason == "TriggerFired" && ending.trigger.as_deref() == Some("bad"), "{ending:?}");
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    Ok(())
}

pub async fn rolls_back(t: &Case) -> anyhow::Result<()> {
    let run = t.ends("shop", Phase::RolledBack, 45).await?;
    ensure!(t.side("web").await? == "blue");
    fired(t, &run)?;
    t.condition("shop", "Stalled", true, 10).await.map(|_| ())
}

pub const RATIO: &str = r#"sum(rate(http_requests_total{colour="green",code="500"}[4s])) / sum(rate(http_requests_total{colour="green"}[4s]))"#;

pub async fn errors_after_the_switch(t: &Case, trigger: &str) -> anyhow::Result<()> {
    errors_with(t, &watched(trigger)).await
}

/// A fifth of all requests fail after the switch, which takes the release of this spec back.
pub async fn errors_with(t: &Case, spec: &str) -> anyhow::Result<()> {
    t.prometheus().await?;
    let green = Colour::new("green").env("FAULT_ERROR_RATE", "0.2").env("FAULT_ONLY_AFTER_LIVE", "1");
    t.app("web", Colour::new("blue"), green).await?;
    let load = t.load("web", 100.0, 0.0).await?;
    t.start().await?;
    t.cutover("shop", spec).await?;
    rolls_back(t).await?;
    let report = load.stop().await;
    ensure!(report.lost == 0, "healthy pods lost {} requests", report.lost);
    ensure!(report.app_errors > 0, "the fault was not seen");
    Ok(())
}

#[test]
fn a_metric_above_its_threshold_rolls_back() {
    e2e("metric_threshold", async |t: &Case| {
        errors_after_the_switch(t, &format!("metric: {{query: '{RATIO}', above: '0.05'}}")).await
    });
}

#[test]
fn a_metric_that_stays_bad_rolls_back_after_the_sustained_time() {
    e2e("metric_sustained", async |t: &Case| {
        errors_after_the_switch(t, &format!("metric: {{query: '{RATIO}', above: '0.05', sustained: 3s}}")).await?;
        let runs = t.api::<CutoverRun>().list(&kube::api::ListParams::default()).await?;
        let status = runs.items.first().and_then(|r| r.status.clone()).context("a run")?;
        let trigger = status.triggers.iter().find(|x| x.name == "bad").context("the trigger")?;
        let (bad, fired) = (trigger.bad_since.context("badSince")?, trigger.fired_at.context("firedAt")?);
        ensure!(fired.duration_since(bad).as_secs() >= 3, "fired {fired} although bad only since {bad}");
        Ok(())
    });
}

/// Of whichever side is live; each value looks 15 s back.
const LIVE_RATIO: &str = r#"sum(rate(http_requests_total{code="500"}[15s])) / sum(rate(http_requests_total[15s]))"#;

#[test]
fn a_release_that_cures_an_outage_is_not_rolled_back_for_what_was_before_it() {
    e2e("cured_outage", async |t: &Case| {
        t.prometheus().await?;
        t.web().await?;
        let load = t.load("web", 100.0, 0.0).await?;
        t.fault("web", "blue", json!({"error_rate": 0.5})).await?;
        t.start().await?;
        let seen = format!(
            "{{name: outage, retry: {{attempts: 20, every: 1s}}, metric: {{query: '{LIVE_RATIO}', expect: 'value > 0.1'}}}}"
        );
        let spec = format!(
            "prometheus: {{service: {{name: prometheus, port: 9090}}}}\nswitch: {{minReady: '1', timeout: 20s}}\n\
             phases: {{prepare: {{steps: [{seen}]}}}}\n\
             observe: {{for: 4s, every: 500ms, triggers: [{{name: bad, metric: {{query: '{LIVE_RATIO}', above: '0.05'}}}}]}}\n"
        );
        t.cutover("shop", &spec).await?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        load.stop().await;
        ensure!(t.selector_writes("web")? == ["green"]);
        let status = run.status.context("status")?;
        let trigger = status.triggers.iter().find(|x| x.name == "bad").context("the trigger")?;
        ensure!(trigger.at_switch == Some(TrialVerdict::Bad), "{trigger:?}");
        let observed = status.observation.context("the observation")?;
        let (since, until) = (observed.since, observed.counted_to);
        ensure!(until.duration_since(since).as_secs() >= 15, "good from {since} on, although samples looked back");
        Ok(())
    });
}

#[test]
fn a_probe_that_keeps_failing_rolls_back() {
    e2e("probe_failing", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &watched("probe: {http: {path: /health}, failing: 3}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        rolls_back(t).await
    });
}

#[test]
fn a_restarted_container_rolls_back() {
    e2e("pods_restarts", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", &watched("pods: {restarts: {moreThan: 0, within: 5m}}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.control("web", "green", "/exit?code=1", json!({})).await?;
        rolls_back(t).await
    });
}

#[test]
fn a_crash_loop_rolls_back() {
    e2e("pods_crash_loop", async |t: &Case| {
        t.app("web", Colour::new("blue"), Colour::new("green").env("FAULT_DIE_AFTER_LIVE_MS", "500")).await?;
        t.start().await?;
        t.cutover("shop", &watched("pods: {crashLoop: true}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let load = t.load("web", 10.0, 0.0).await?;
        let result = rolls_back(t).await;
        load.stop().await;
        result
    });
}

#[test]
fn a_container_killed_for_its_memory_rolls_back() {
    e2e("pods_oom", async |t: &Case| {
        // The application is well; the container beside it eats its memory once it is told to.
        let eater = r#"{name: eater, image: "docker.io/cutover/busybox:1", resources: {limits: {memory: 24Mi}},
            command: [sh, -c, "until wget -qO- http://127.0.0.1:8080/ | grep -q 'disabled\":true'; do sleep 0.2; done; tail /dev/zero"]}"#;
        t.app("web", Colour::new("blue"), Colour::new("green").beside(eater)).await?;
        t.start().await?;
        t.cutover("shop", &watched("pods: {oomKilled: true}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.control("web", "green", "/api/feature-flags/emergency-disable", json!({})).await?;
        rolls_back(t).await
    });
}

#[test]
fn too_few_ready_pods_roll_back() {
    e2e("pods_ready_below", async |t: &Case| {
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        t.start().await?;
        t.cutover("shop", &watched("pods: {readyBelow: '2'}")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.fault("web", "green", json!({"ready": false})).await?;
        rolls_back(t).await
    });
}

#[test]
fn when_all_pods_of_the_new_side_die_the_old_side_is_live_again_at_once() {
    e2e("all_pods_dead", async |t: &Case| {
        let green = Colour::new("green").replicas(2).env("FAULT_DIE_AFTER_LIVE_MS", "300");
        t.app("web", Colour::new("blue").replicas(2), green).await?;
        t.start().await?;
        // No Prometheus and no trigger of its own: the defaults of the minimal manifest see dead pods.
        t.cutover("shop", "switch: {timeout: 20s}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let load = t.load("web", 50.0, 0.0).await?;
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        // Once the cluster's proxy has followed the selector, everybody is answered by the old side.
        load.mark("restored");
        wait::poll("an answer of blue", secs(10), async || {
            Ok(load.snapshot().mark("restored").filter(|m| m.colours.contains_key("blue")).map(|_| ()))
        })
        .await?;
        load.mark("settled");
        wait::poll("answers of blue", secs(10), async || {
            Ok(load.snapshot().mark("settled").filter(|m| m.ok > 20).map(|_| ()))
        })
        .await?;
        let report = load.stop().await;
        let after = report.mark("settled").context("mark")?;
        ensure!(after.lost == 0 && !after.colours.contains_key("green"), "{after:?}");
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(ending.reason == "TriggerFired", "{ending:?}");
        Ok(())
    });
}

#[test]
fn undos_run_in_reverse_order_after_the_selector_is_back() {
    e2e("undo_in_reverse", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let job = |args: &str| {
            format!(
                "{{deadline: 30s, template: {{spec: {{containers: [{{name: c, image: 'docker.io/cutover/sample:dev', args: [job, {args}]}}]}}}}}}"
            )
        };
        let spec = format!(
            r#"
phases:
  prepare:
    steps:
    - {{name: one, job: {one}, undo: {{job: {undo}}}}}
    - {{name: two, job: {one}, undo: {{when: Succeeded, job: {fail}}}}}
    - {{name: three, scale: {{workloads: [{{kind: Deployment, name: aside}}], replicas: 1}}}}
  confirm:
    steps:
    - {{name: four, job: {one}, undo: {{job: {undo}}}}}
  rollback:
    steps:
    - {{name: tell, job: {one}}}
  rollbackVerify: {{steps: [{{name: blue-answers, http: {{to: Live, path: /health, expect: ["json.colour == 'blue'"]}}, retry: {{attempts: 5, every: 1s}}}}]}}
switch: {{timeout: 20s}}
observe: {{for: 60s, every: 500ms, triggers: [{{name: bad, probe: {{http: {{path: /health}}, failing: 2}}}}]}}
"#,
            one = job("print, done"),
            undo = job("migrate-rollback"),
            fail = job("fail"),
        );
        t.apply(&app::deployment("other", &Colour::new("aside").replicas(0)).replace("other-aside", "aside")).await?;
        t.cutover("shop", &spec).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let status = run.status.context("status")?;
        let restored = status.switch.as_ref().and_then(|s| s.restored_at).context("restoredAt")?;
        let way_back = ["undo/four", "undo/three", "undo/two", "undo/one", "tell", "blue-answers"];
        let mut before = restored;
        for name in way_back {
            let record = status.steps.iter().find(|s| s.name == name).with_context(|| format!("{name} did not run"))?;
            let started = record.started.context("started")?;
            ensure!(started >= before, "{name} began before what comes before it");
            before = record.ended.context("ended")?;
            let wanted = if name == "undo/two" { StepState::Failed } else { StepState::Succeeded };
            ensure!(record.state == wanted, "{name}: {:?} {:?}", record.state, record.message);
        }
        // One undo failed: the ones after it ran all the same, and the run says so.
        ensure!(status.ending.is_some_and(|e| e.incomplete), "the failed undo is not told");
        let aside = t.api::<k8s_openapi::api::apps::v1::Deployment>().get("aside").await?;
        ensure!(aside.spec.and_then(|s| s.replicas) == Some(0), "the scaled workload was not scaled back");
        Ok(())
    });
}
