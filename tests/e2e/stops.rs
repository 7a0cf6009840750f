//! An operator that is told to stop while its journal cannot be written. What it had not written it had not claimed: the
//! next one does it, once, and nobody is asked what became of it.

use anyhow::{Context, Result, ensure};
use cutover::api::run::StepState;
use cutover::api::{Phase, Verb};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e, wait};

const POST: &str = "http: {method: POST, path: /api/echo, body: '{}'}";

/// A run whose requests may each be sent once.
fn spec() -> String {
    format!(
        "phases: {{verify: {{steps: [{{name: hold, wait: {{for: 3s}}}}, {{name: post, {POST}, undo: {{{POST}}}}}]}}}}\n\
         switch: {{timeout: 20s}}\nobserve: {{for: 10m, every: 500ms}}\n"
    )
}

/// From now on no journal is written.
fn refuse_journals(proxy: &Proxy) {
    proxy.fail(|method, path| {
        (*method == http::Method::PUT && path.contains("/cutoverruns/")).then_some(Fault::Refuse(503))
    });
}

/// The operator is told to stop in the pause after a write that was refused; its last one is not.
async fn stopped_between_two_tries(t: &Case, proxy: &Proxy) -> Result<()> {
    let (goal, mut last) = (proxy.refused() + 6, 0);
    wait::poll("the journal is refused again and again", secs(30), async || {
        let now = proxy.refused();
        let just_now = std::mem::replace(&mut last, now) < now;
        Ok((now >= goal && just_now).then_some(()))
    })
    .await?;
    proxy.heal();
    t.stop().await?;
    t.restart_as_before()
}

/// How many requests the target has answered.
async fn answered(t: &Case) -> Result<u64> {
    let pod = t.pods("web", "green").await?.into_iter().next().context("a pod of green")?;
    let ip = pod.status.and_then(|s| s.pod_ip).context("its address")?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let text = http.get(format!("http://{ip}:8080/metrics")).send().await?.error_for_status()?.text().await?;
    let counts = text.lines().filter(|l| l.starts_with("http_requests_total{"));
    Ok(counts.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

async fn succeeded(t: &Case, step: &str) -> Result<()> {
    t.run_until("shop", step, secs(40), |run| {
        let record = run.status.iter().flat_map(|s| &s.steps).find(|s| s.name == step);
        let state = record.map(|r| r.state);
        ensure!(!matches!(state, Some(StepState::Unknown | StepState::Failed)), "{record:?}");
        Ok((state == Some(StepState::Succeeded)).then_some(()))
    })
    .await
}

#[test]
fn a_request_whose_claim_was_not_written_is_sent_by_the_next_operator() {
    e2e("stop_before_claim", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", &spec()).await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        refuse_journals(&proxy);
        stopped_between_two_tries(t, &proxy).await?;
        succeeded(t, "post").await?;
        ensure!(answered(t).await? == 1, "sent {} times", answered(t).await?);
        t.phase("shop", Phase::Observing, 30).await.map(drop)
    });
}

#[test]
fn an_undo_whose_claim_was_not_written_is_made_by_the_next_operator() {
    e2e("stop_before_undo", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", &spec()).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        refuse_journals(&proxy);
        t.decide("shop", Verb::Rollback).await?;
        // The restore does not wait for its record.
        t.points_to("web", "blue", 15).await?;
        stopped_between_two_tries(t, &proxy).await?;
        succeeded(t, "undo/post").await?;
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        let ending = run.status.and_then(|s| s.ending).context("ending")?;
        ensure!(!ending.incomplete, "{}", json!(ending));
        ensure!(answered(t).await? == 2, "step and undo were sent {} times", answered(t).await?);
        Ok(())
    });
}
