//! The API server, or the road to it, is away while a restore is due or a release is observed. What becomes possible again is
//! done at once; what nobody watched counts neither way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, ObservationClock};
use jiff::Timestamp;
use serde_json::json;

use crate::components::{Away, is_ours};
use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, alone, e2e, wait};

const PROBED: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n";

/// A restore that has become possible is made within this time. The second beyond the promise is what a busy machine needs.
const AT_ONCE: Duration = secs(3);

/// When the API server received the restore that took effect.
async fn restored(t: &Case, bound: u64) -> Result<Timestamp> {
    t.points_to("web", "blue", bound).await?;
    wait::poll("the restore in the audit log", secs(10), async || {
        let lines = t.audit()?;
        let restores = |side: &&serde_json::Value| side["side"] == "blue";
        let line = lines
            .iter()
            .find(|l| l.resource == "services" && l.is_write() && l.done() && l.selector().filter(restores).is_some());
        Ok(line.map(|l| l.received.parse()).transpose()?)
    })
    .await
}

/// How long after `since` the restore was made.
async fn took(t: &Case, what: &str, since: Timestamp) -> Result<Duration> {
    let at = restored(t, 40).await?;
    let took = Duration::try_from(at.duration_since(since)).unwrap_or_default();
    eprintln!("measured: {what}: restored {took:?} after it was over");
    ensure!(took < AT_ONCE, "{what}: the restore came {took:?} after it had become possible");
    t.ends("shop", Phase::RolledBack, 60).await?;
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    Ok(took)
}

/// Every request meets a fault for so long while a restore is due.
///
/// `before`: what becomes of all connections right before the road heals.
async fn cut_off(t: &Case, what: &str, fault: Fault, time: Duration, before: impl Fn(&Proxy)) -> Result<()> {
    let proxy = Proxy::start().await?;
    t.web().await?;
    t.start_through(Some(&proxy.url)).await?;
    t.cutover("shop", PROBED).await?;
    t.phase("shop", Phase::Observing, 40).await?;
    let began = Instant::now();
    proxy.fail(move |_, _| Some(fault.clone()));
    t.fault("web", "green", json!({"error_rate": 1.0})).await?;
    let met = proxy.refused();
    wait::poll("requests that meet the fault", secs(30), async || Ok((proxy.refused() > met + 8).then_some(())))
        .await?;
    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
    ensure!(t.side("web").await? == "green");
    before(&proxy);
    proxy.heal();
    took(t, what, Timestamp::now()).await?;
    // A watch on a dead connection is left after 65 s; the end of the test does not wait for that.
    proxy.road().reset();
    Ok(())
}

#[test]
fn a_due_restore_is_made_at_once_when_a_black_hole_is_over() {
    e2e("black_hole_over", async |t: &Case| cut_off(t, "black hole", Fault::BlackHole, secs(6), |_| {}).await);
}

#[test]
fn a_due_restore_takes_new_connections_when_all_old_ones_are_dead() {
    e2e("connections_dead", async |t: &Case| {
        cut_off(t, "black hole that leaves dead connections", Fault::BlackHole, secs(6), |p| p.road().forget()).await
    });
}

#[test]
fn a_due_restore_is_made_at_once_when_connections_are_not_reset_any_more() {
    e2e("resets_over", async |t: &Case| cut_off(t, "resets", Fault::Break, secs(6), |p| p.road().reset()).await);
}

#[test]
#[ignore = "night: three minutes of 429"]
fn after_three_minutes_of_429_a_due_restore_is_made_at_once() {
    e2e("throttled_long", async |t: &Case| cut_off(t, "429 for 3 min", Fault::Refuse(429), secs(180), |_| {}).await);
}

#[test]
#[ignore = "night: three minutes of 503"]
fn after_three_minutes_of_503_a_due_restore_is_made_at_once() {
    e2e("unavailable_long", async |t: &Case| cut_off(t, "503 for 3 min", Fault::Refuse(503), secs(180), |_| {}).await);
}

#[test]
#[ignore = "night: three minutes without an answer"]
fn after_three_minutes_in_a_black_hole_a_due_restore_is_made_at_once() {
    e2e("black_hole_long", async |t: &Case| {
        cut_off(t, "black hole for 3 min", Fault::BlackHole, secs(180), |p| p.road().forget()).await
    });
}

/// Writes of the Service hang, nothing else does: a restore has long ones under way by the time they pass again.
#[test]
fn a_restore_is_tried_beside_one_that_hangs() {
    e2e("restore_hangs", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        t.cutover("shop", PROBED).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        proxy.fail(|method, path| {
            let restore = *method == http::Method::PATCH && path.contains("/services/") && !path.contains("dryRun");
            restore.then_some(Fault::BlackHole)
        });
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        // 2 s, then 4 s, then 8 s: the third long one has begun.
        let before = proxy.refused();
        wait::poll("restores that hang", secs(30), async || Ok((proxy.refused() >= before + 9).then_some(()))).await?;
        proxy.heal();
        took(t, "writes of the Service that hang", Timestamp::now()).await.map(drop)
    });
}

/// The API server is away while a restore becomes due.
async fn away(t: &Case, how: &'static str) -> Result<()> {
    if !is_ours(how) {
        return Ok(());
    }
    t.web().await?;
    // The cluster's proxy needs a moment where the API server has been away before.
    t.answers("web", "80/").await?;
    t.start().await?;
    // Three seconds from the fault to the verdict: time enough to take the API server away in between. Writes of the journal
    // hang meanwhile, and an early one of them is applied late: the bad trials since then still count.
    t.cutover("shop", &PROBED.replace("failing: 2", "failing: 8")).await?;
    t.phase("shop", Phase::Observing, 60).await?;
    t.fault("web", "green", json!({"error_rate": 1.0})).await?;
    let away = Away::take(how, "apiserver")?;
    tokio::time::sleep(secs(9)).await;
    let before = Timestamp::now();
    away.bring()?;
    // `start` waits until it is ready, and a restore may be made before that.
    let back = if how == "pause-component" { before } else { Timestamp::now() };
    took(t, &format!("API server, {how}"), back).await.map(drop)
}

#[test]
fn a_restore_that_is_due_while_the_api_server_is_frozen_is_made_when_it_thaws() {
    alone("restore_frozen", async |t: &Case| away(t, "pause-component").await);
}

#[test]
fn a_restore_that_is_due_while_the_api_server_is_stopped_is_made_when_it_is_back() {
    alone("restore_stopped", async |t: &Case| away(t, "stop").await);
}

#[test]
fn a_restore_that_is_due_while_the_api_server_is_dead_is_made_when_it_is_back() {
    alone("restore_killed", async |t: &Case| away(t, "kill").await);
}

fn conclusive(run: &CutoverRun) -> Result<u64> {
    Ok(run.status.as_ref().and_then(|s| s.observation.as_ref()).context("no observation")?.conclusive_ms)
}

#[test]
#[ignore = "night: ten minutes without an API server"]
fn an_api_server_that_is_away_for_ten_minutes_is_no_observed_time_and_no_reason_to_go_back() {
    alone("api_server_gone", async |t: &Case| {
        if !is_ours("api_server_gone") {
            return Ok(());
        }
        t.web().await?;
        t.answers("web", "80/").await?;
        t.start().await?;
        let spec = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 150s, every: 500ms, timeout: 30m, triggers: [{name: down, probe: {http: {path: /health}, failing: 3}}]}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.run_until("shop", "some of the window", secs(90), |run| Ok((conclusive(run)? > 30_000).then_some(())))
            .await?;
        let away = Away::take("kill", "apiserver")?;
        let (gone, began) = (Timestamp::now(), Instant::now());
        wait::poll("not ready", secs(30), async || {
            Ok(t.readiness("operator").await?.filter(|(code, _)| *code == 503).map(|_| ()))
        })
        .await?;
        tokio::time::sleep(secs(600).saturating_sub(began.elapsed())).await;
        let (code, why) = t.health("operator", "livez").await?.context("no health")?;
        ensure!(code == 200, "a new process would do no better: {why}");
        away.bring()?;
        let (back, returned) = (Timestamp::now(), Instant::now());
        // Whatever the journal says first after the gap, the gap has not been counted.
        let (counted, clock) = t
            .run_until("shop", "a write after the gap", secs(60), |run| {
                let seen = run.status.as_ref().and_then(|s| s.observation.clone()).context("no observation")?;
                Ok((seen.counted_to > back).then_some((seen.conclusive_ms, seen.clock)))
            })
            .await?;
        eprintln!("measured: API server away for 10 min: {counted} ms of 150 s counted when it was back ({clock:?})");
        ensure!(counted < 100_000, "the gap was counted: {counted} ms");
        ensure!(clock != ObservationClock::Stopped);
        t.ready("operator").await?;
        eprintln!("measured: API server back: ready after {:?}", returned.elapsed());
        let run = t.ends("shop", Phase::Completed, 300).await?;
        let status = run.status.context("status")?;
        let seen = status.observation.context("observation")?;
        ensure!(seen.conclusive_ms >= 150_000, "{seen:?}");
        ensure!(seen.since < gone, "the observation began anew");
        ensure!(returned.elapsed() > secs(45), "{:?} after the gap the window was over", returned.elapsed());
        ensure!(t.selector_writes("web")? == ["green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}
