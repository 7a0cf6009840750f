//! What a metric may be measured by beside a bound, and alerts: against a real Prometheus and a real Alertmanager.

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, TriggerRecord};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::receivers::Alertmanager;
use crate::harness::{Case, e2e, wait};
use crate::notify::{ADDRESS, Receivers};
use crate::triggers::{RATIO, errors_after_the_switch, rolls_back, watched};

async fn record(t: &Case) -> Result<TriggerRecord> {
    let run: CutoverRun = t.newest("shop").await?.context("a run")?;
    let status = run.status.context("status")?;
    status.triggers.into_iter().find(|x| x.name == "bad").context("the trigger")
}

#[test]
fn a_metric_that_is_bad_often_enough_rolls_back() {
    e2e("metric_count", async |t: &Case| {
        errors_after_the_switch(t, &format!("metric: {{query: '{RATIO}', above: '0.05', count: 4, within: 6s}}"))
            .await?;
        let record = record(t).await?;
        ensure!(record.bad_trials.len() == 4, "{record:?}");
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.contains("for the 4th time within 6s")), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_number_of_a_json_endpoint_rolls_back() {
    e2e("metric_endpoint", async |t: &Case| {
        errors_after_the_switch(
            t,
            "metric: {http: {path: '/slow?ms=50', value: $.slept_ms}, above: '40', sustained: 2s}",
        )
        .await?;
        let record = record(t).await?;
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.contains("50 > 40 since")), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_metric_above_its_baseline_rolls_back() {
    e2e("metric_baseline", async |t: &Case| {
        let metric =
            format!("metric: {{query: '{RATIO}', relativeTo: base, factor: '2', above: '0.01', sustained: 2s}}");
        let capture = "{name: capture, metric: {query: 'vector(0.02)', captureAs: base}}";
        let spec = watched(&metric) + &format!("phases: {{preflight: {{steps: [{capture}]}}}}\n");
        crate::triggers::errors_with(t, &spec).await?;
        let record = record(t).await?;
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.contains("> 0.04 (2 × base 0.02) since")), "{record:?}");
        Ok(())
    });
}

#[test]
fn while_its_guard_is_not_zero_a_metric_is_not_judged() {
    e2e("metric_guard", async |t: &Case| {
        let until = jiff::Timestamp::now().as_second() + 40;
        let guard = format!("vector(time() < bool {until})");
        errors_after_the_switch(t, &format!("metric: {{query: '{RATIO}', above: '0.05', guardQuery: '{guard}'}}"))
            .await?;
        let record = record(t).await?;
        let fired = record.fired_at.context("firedAt")?.as_second();
        ensure!(fired >= until, "fired {fired}, and the guard opened {until}");
        let guarded = record.history.iter().any(|trial| trial.saw.contains("guardQuery is 1"));
        ensure!(guarded, "{record:?}");
        Ok(())
    });
}

#[test]
fn an_alert_that_begins_after_the_switch_rolls_back() {
    e2e("alert_prometheus", async |t: &Case| {
        // One more of the team's fires all the time.
        errors_after_the_switch(t, "alert: {matchers: {team: web}}").await?;
        let record = record(t).await?;
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.starts_with("alert Errors fires")), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_healthy_release_is_completed_under_all_of_them() {
    e2e("modes_quiet", async |t: &Case| {
        t.prometheus().await?;
        t.web().await?;
        let load = t.load("web", 50.0, 0.0).await?;
        t.start().await?;
        let capture = "{name: capture, metric: {query: 'vector(0.02)', captureAs: base}}";
        // Without an error there is no series of errors.
        let ratio = format!("({RATIO}) or vector(0)");
        let spec = format!(
            "prometheus: {{service: {{name: prometheus, port: 9090}}}}\nswitch: {{minReady: '1', timeout: 20s}}\n\
             phases: {{preflight: {{steps: [{capture}]}}}}\n\
             observe:\n  for: 5s\n  every: 500ms\n  triggers:\n\
             \x20 - {{name: often, metric: {{query: '{ratio}', above: '0.05', count: 4, within: 6s}}}}\n\
             \x20 - {{name: baseline, metric: {{query: '{ratio}', relativeTo: base, factor: '2'}}}}\n\
             \x20 - {{name: guarded, metric: {{query: '{ratio}', above: '0.05', guardQuery: 'vector(0)'}}}}\n\
             \x20 - {{name: endpoint, metric: {{http: {{path: '/slow?ms=5', value: $.slept_ms}}, above: '40'}}}}\n\
             \x20 - {{name: alerts, alert: {{matchers: {{team: web}}}}}}\n\
             \x20 - {{name: gate, suite: {{steps: [{{name: a, http: {{path: /}}}}, {{name: b, http: {{path: /health}}}}]}}}}\n"
        );
        t.cutover("shop", &spec).await?;
        t.ends("shop", Phase::Completed, 90).await?;
        load.stop().await;
        ensure!(t.selector_writes("web")? == ["green"]);
        Ok(())
    });
}

#[test]
fn an_alertmanager_tells_of_alerts_but_not_of_those_that_are_silenced() {
    e2e("alert_manager", async |t: &Case| {
        let (_all, at) = Receivers::start().await?;
        let mut alerts = Alertmanager::start(&t.dir, ADDRESS, &format!("http://{at}/hook")).await?;
        alerts.fire("Before", "web").await?;
        t.arguments(&["--allow-private", &format!("{ADDRESS}/32")]);
        t.web().await?;
        t.start().await?;
        let url = format!("http://{}", alerts.at);
        t.cutover("shop", &watched(&format!("alert: {{matchers: {{team: web}}, alertmanager: {{url: '{url}'}}}}")))
            .await?;
        t.phase("shop", Phase::Observing, 30).await?;
        // What fired before, what is silenced, and what is another team's.
        alerts.silence("Hidden").await?;
        alerts.fire("Hidden", "web").await?;
        alerts.fire("Others", "db").await?;
        let judged = async |what: &str, wanted: &str| {
            let before = record(t).await.map(|r| r.trials).unwrap_or_default();
            wait::poll(what, secs(30), async || {
                let record = record(t).await?;
                let seen = record.saw.as_deref().is_some_and(|saw| saw.contains(wanted));
                Ok((record.trials > before + 3 && seen).then_some(()))
            })
            .await
        };
        judged("nothing to be seen", "no alert").await?;
        alerts.down();
        judged("nobody to be asked", "Alertmanager: ").await?;
        alerts.up().await?;
        judged("it is back", "no alert").await?;
        alerts.fire("Errors", "web").await?;
        rolls_back(t).await?;
        let record = record(t).await?;
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.starts_with("alert Errors fires since")), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_suite_that_is_not_green_rolls_back() {
    e2e("suite_gate", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let steps = "[{name: a, http: {path: /}}, {name: b, http: {path: /health}}]";
        t.cutover("shop", &watched(&format!("suite: {{failing: 3, steps: {steps}}}"))).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        rolls_back(t).await?;
        let record = record(t).await?;
        ensure!(record.saw.as_deref().is_some_and(|saw| saw.starts_with("failed 3 rounds in a row")), "{record:?}");
        Ok(())
    });
}
