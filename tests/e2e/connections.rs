//! Connections follow: what becomes of the pods of the side that users have left, after a rollback and after a planned
//! switch, and what the next run makes of it.

use anyhow::{Context, ensure};
use cutover::api::run::Closing;
use cutover::api::{Cutover, Phase, Verb};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::app::{self, Colour};
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\nrollback: {connections: Close}\n";

/// What the journal says of the end of a side's connections, once that is over.
async fn closing(t: &Case, side: &str, bound: u64) -> anyhow::Result<Closing> {
    t.run_until("shop", &format!("connections of {side}"), secs(bound), |run| {
        let all = run.status.as_ref().map(|s| s.closings.as_slice()).unwrap_or_default();
        Ok(all.iter().find(|c| c.side == side && c.ended.is_some()).cloned())
    })
    .await
}

async fn replicas(t: &Case, name: &str) -> anyhow::Result<i32> {
    Ok(t.api::<Deployment>().get(name).await?.spec.and_then(|s| s.replicas).unwrap_or(1))
}

/// Uids of the pods of a side.
async fn uids(t: &Case, side: &str) -> anyhow::Result<Vec<String>> {
    Ok(t.pods("web", side).await?.iter().filter_map(Pod::uid).collect())
}

#[test]
fn a_deployment_goes_to_nothing_half_a_minute_later_and_comes_back_with_the_next_run() {
    e2e("close_deployment", async |t: &Case| {
        t.app("web", Colour::new("blue"), Colour::new("green").replicas(2)).await?;
        t.start().await?;
        t.cutover("shop", &format!("{WATCHING}release: {{version: '2'}}\n")).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 10).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(replicas(t, "web-green").await? == 0 && replicas(t, "web-blue").await? == 1);
        let status = run.status.context("status")?;
        let closed = status.closings.first().context("it is recorded")?;
        ensure!((closed.had, closed.endpoints.get("web")) == (2, Some(&2)), "{closed:?}");
        let restored = status.switch.and_then(|s| s.restored_at).context("restored")?;
        ensure!(closed.at.duration_since(restored).as_secs() >= 30, "restored {restored}, closed {}", closed.at);
        // Once: what somebody scales up again stays.
        let kept = t.api::<Cutover>().get("shop").await?.status.context("status")?.retired;
        ensure!(kept["green"]["Deployment/web-green"] == 2, "{kept:?}");
        t.cutover("shop", &format!("{WATCHING}release: {{version: '3'}}\n")).await?;
        t.run_until("shop", "the next one observes", secs(60), |run| {
            let phase = run.status.as_ref().map(|s| s.phase);
            Ok((phase == Some(Phase::Observing)).then_some(()))
        })
        .await?;
        ensure!(replicas(t, "web-green").await? == 2);
        Ok(())
    });
}

#[test]
fn a_target_that_serves_nobody_is_ended_at_once() {
    e2e("close_at_once", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.fault("web", "green", json!({"ready": false})).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let status = run.status.context("status")?;
        let closed = status.closings.first().context("it is recorded")?.at;
        let restored = status.switch.and_then(|s| s.restored_at).context("restored")?;
        ensure!(closed.duration_since(restored).as_secs() < 20, "restored {restored}, closed {closed}");
        Ok(())
    });
}

#[test]
fn pods_of_a_statefulset_are_deleted_once_and_its_count_stays() {
    e2e("close_statefulset", async |t: &Case| {
        t.apply(&app::service("web", "blue")).await?;
        t.apply(&app::deployment("web", &Colour::new("blue"))).await?;
        let set = app::deployment("web", &Colour::new("green").replicas(2));
        t.apply(
            &set.replace("kind: Deployment", "kind: StatefulSet")
                .replace("spec:\n  replicas", "spec:\n  serviceName: web\n  replicas"),
        )
        .await?;
        t.available("web-blue").await?;
        wait::until(t.api::<StatefulSet>(), "green ready", secs(60), |all| {
            let ready = all.get("web-green").and_then(|s| s.status.as_ref()?.ready_replicas);
            Ok((ready == Some(2)).then_some(()))
        })
        .await?;
        let before = uids(t, "green").await?;
        t.start().await?;
        let sides = json!([
            {"name": "blue", "selector": {"side": "blue"}, "workloads": [{"kind": "Deployment", "name": "web-blue"}]},
            {"name": "green", "selector": {"side": "green"}, "workloads": [{"kind": "StatefulSet", "name": "web-green"}]},
        ]);
        t.cutover("shop", &format!("{WATCHING}sides: {sides}\n")).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        t.decide("shop", Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        let closed = closing(t, "green", 5).await?;
        ensure!((closed.had, closed.gone, closed.left.is_none()) == (2, 2, true), "{closed:?}");
        let fresh = async || {
            let now = uids(t, "green").await?;
            Ok((now.len() == 2 && now.iter().all(|uid| !before.contains(uid))).then_some(()))
        };
        wait::poll("other pods in their place", secs(40), fresh).await?;
        let set = t.api::<StatefulSet>().get("web-green").await?;
        ensure!(set.spec.and_then(|s| s.replicas) == Some(2));
        let deleted =
            |l: &&crate::harness::audit::Line| l.resource == "pods" && l.verb == "delete" && l.done() && !l.dry_run;
        let ours = t.audit()?.iter().filter(deleted).filter(|l| l.user.ends_with(":cutover")).count();
        ensure!(ours == 2, "{ours} deletions");
        Ok(())
    });
}

#[test]
fn without_the_right_connections_are_kept_which_is_said_before_and_after() {
    e2e("close_forbidden", async |t: &Case| {
        t.web().await?;
        // The account may patch everything but green.
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "cutover"},
            "rules": [
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "patch"]},
                {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web-blue"], "verbs": ["get", "patch"]},
            ],
        });
        t.apply_value(&role).await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.decide("shop", Verb::Rollback).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(replicas(t, "web-green").await? == 1);
        let status = run.status.context("status")?;
        let warned = status.steps.iter().find(|s| s.name == "cutover-permissions").and_then(|s| s.evidence.clone());
        ensure!(
            warned.as_ref().is_some_and(|e| e["warnings"].to_string().contains("connections are kept")),
            "{warned:?}"
        );
        let left = status.closings.first().and_then(|c| c.left.clone()).context("why they are kept")?;
        ensure!(left.contains("web-green") && left.contains("--verb=patch"), "{left}");
        ensure!(!status.ending.context("ending")?.incomplete);
        Ok(())
    });
}

#[test]
fn after_a_planned_switch_the_old_pods_go_in_batches_and_a_rollback_stays_possible() {
    e2e("close_switched", async |t: &Case| {
        t.app("web", Colour::new("blue").replicas(2), Colour::new("green").replicas(2)).await?;
        let before = uids(t, "blue").await?;
        let load = t.load("web", 20.0, 5.0).await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s, drain: 2s, connections: Close}\nobserve: {for: 10m, every: 500ms}\n")
            .await?;
        let closed = closing(t, "blue", 90).await?;
        ensure!((closed.had, closed.gone, closed.left.clone()) == (2, 2, None), "{closed:?}");
        let now = uids(t, "blue").await?;
        ensure!(now.iter().all(|uid| !before.contains(uid)), "{now:?}");
        ensure!(replicas(t, "web-blue").await? == 2, "never scaled");
        let pods = t.api::<Pod>().list(&ListParams::default().labels("side=blue")).await?;
        ensure!(!pods.items.is_empty());
        t.decide("shop", Verb::Rollback).await?;
        t.points_to("web", "blue", 5).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        load.stop().await;
        Ok(())
    });
}
