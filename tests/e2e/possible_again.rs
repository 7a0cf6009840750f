//! What stands in the way of a restore and goes away again, as real webhooks, rights and pods do: what it is is told
//! meanwhile, and within two seconds of its going the restore is made.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover::api::{Phase, Verb};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::webhook::{Does, Kind, Webhook};
use crate::harness::{Case, e2e, wait};

const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\n";

/// A run in Observing, whose restore nothing prevents yet.
async fn observing(t: &Case) -> Result<()> {
    t.web().await?;
    t.start().await?;
    t.cutover("shop", WATCHING).await?;
    t.phase("shop", Phase::Observing, 30).await.map(drop)
}

/// Waits until the Service points to blue again, and checks how long that took.
pub async fn restored_within(t: &Case, what: &str, since: Instant, bound: Duration) -> Result<()> {
    t.points_to("web", "blue", 30).await?;
    let took = since.elapsed();
    println!("{what}: restored {} ms after it was possible", took.as_millis());
    ensure!(took < bound, "{what}: the restore came {took:?} after it was possible");
    let run = t.ends("shop", Phase::RolledBack, 40).await?;
    ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
    let conditions = run.status.context("status")?.conditions;
    let blocked = conditions.iter().find(|c| c.type_ == "RollbackBlocked");
    ensure!(blocked.is_none_or(|c| c.status == "False"), "{blocked:?}");
    Ok(())
}

/// Waits until `RollbackBlocked` says all of this.
async fn told(t: &Case, words: &[&str], bound: u64) -> Result<()> {
    let mut last = String::new();
    let told = wait::until(t.api::<cutover::api::Cutover>(), "RollbackBlocked", secs(bound), |all| {
        t.alive()?;
        let conditions = all.get("shop").and_then(|c| c.status.as_ref()).map(|s| s.conditions.as_slice());
        let found = conditions.unwrap_or_default().iter().find(|c| c.type_ == "RollbackBlocked" && c.status == "True");
        last = found.map(|c| format!("{}: {}", c.reason, c.message)).unwrap_or_default();
        Ok(words.iter().all(|w| last.contains(w)).then_some(()))
    })
    .await;
    told.with_context(|| format!("of {words:?} it says: {last}"))
}

#[test]
fn a_webhook_that_denies_fails_or_is_down_is_named_and_once_it_admits_the_restore_is_made() {
    e2e("webhook_heals", async |t: &Case| {
        observing(t).await?;
        let webhook = Webhook::start(t, Kind::Validating, 10, Does::Denies).await?;
        webhook
            .during(async |webhook| {
                t.decide("shop", Verb::Rollback).await?;
                for (does, says) in [
                    (Does::Denies, "frozen by the test"),
                    (Does::Fails, "failed calling webhook"),
                    (Does::IsDown, "EOF"),
                ] {
                    webhook.now(does);
                    told(t, &["AdmissionDenied", &webhook.name, says], 20).await?;
                }
                ensure!(t.side("web").await? == "green");
                let healed = Instant::now();
                webhook.now(Does::Admits);
                restored_within(t, "a webhook that was down", healed, secs(2)).await
            })
            .await
    });
}

#[test]
fn a_slow_webhook_takes_its_own_time_of_a_restore() {
    e2e("webhook_slow", async |t: &Case| {
        observing(t).await?;
        let webhook = Webhook::start(t, Kind::Mutating, 10, Does::AdmitsAfter(secs(5))).await?;
        webhook
            .during(async |_| {
                let began = Instant::now();
                t.decide("shop", Verb::Rollback).await?;
                // Writes of 2 and 4 s are not enough; the one of 8 s is.
                told(t, &["webhook"], 15).await?;
                restored_within(t, "a webhook that takes 5 s", began, secs(2 + 4 + 5 + 3)).await
            })
            .await
    });
}

#[test]
fn a_restore_does_not_wait_for_the_answer_that_a_hanging_webhook_owes() {
    e2e("webhook_hangs", async |t: &Case| {
        observing(t).await?;
        let webhook = Webhook::start(t, Kind::Validating, 30, Does::Hangs).await?;
        webhook
            .during(async |webhook| {
                t.decide("shop", Verb::Rollback).await?;
                // A write that may take 8 s is under way, as it follows two that were given up.
                t.run_until("shop", "two writes were given up", secs(20), |run| {
                    let services = run.status.iter().flat_map(|s| &s.switch).flat_map(|s| &s.services);
                    let slow = services.filter_map(|s| s.blocked.as_ref()).any(|b| b.slow >= 2);
                    Ok(slow.then_some(()))
                })
                .await?;
                webhook.asked_again(1, 10).await?;
                let healed = Instant::now();
                webhook.now(Does::Admits);
                restored_within(t, "a webhook that hung", healed, secs(2)).await
            })
            .await
    });
}

#[test]
fn an_old_side_that_becomes_ready_is_restored_at_once() {
    e2e("old_side_ready_again", async |t: &Case| {
        observing(t).await?;
        t.fault("web", "blue", json!({"ready": false})).await?;
        t.condition("shop", "CanRollBack", false, 20).await?;
        t.decide("shop", Verb::Rollback).await?;
        told(t, &["OldSideEmpty", "blue has 0 of 1"], 20).await?;
        t.fault("web", "blue", json!({"ready": true})).await?;
        wait::until(t.api::<Pod>(), "a ready pod of blue", secs(20), |all| {
            let of = |p: &&Pod| p.metadata.labels.as_ref().is_some_and(|l| l.get("side").is_some_and(|s| s == "blue"));
            let ready = |p: &Pod| {
                let conditions = p.status.as_ref().and_then(|s| s.conditions.as_ref());
                conditions.is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
            };
            Ok(all.values().filter(of).any(ready).then_some(()))
        })
        .await?;
        restored_within(t, "an old side without a ready pod", Instant::now(), secs(2)).await
    });
}
