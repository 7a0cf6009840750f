//! Several Services: switched together, restored together, whatever becomes of one of them.

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::SwitchState;
use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;

use crate::harness::app;
use crate::harness::{Case, e2e};

async fn three(t: &Case) -> anyhow::Result<()> {
    t.web().await?;
    for name in ["api", "admin"] {
        t.apply(&app::service("web", "blue").replace("name: web}", &format!("name: {name}}}"))).await?;
    }
    t.start().await
}

const THREE: &str = "services: [{name: web}, {name: api}, {name: admin}]\nswitch: {timeout: 20s}\n";

#[test]
fn several_services_are_switched_together_and_restored_together() {
    e2e("three_services", async |t: &Case| {
        three(t).await?;
        t.cutover("shop", &format!("{THREE}observe: {{for: 60s, every: 500ms}}\n")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        for name in ["web", "api", "admin"] {
            ensure!(t.side(name).await? == "green", "{name}");
        }
        t.decide("shop", cutover::api::Verb::Rollback).await?;
        t.ends("shop", Phase::RolledBack, 20).await?;
        for name in ["web", "api", "admin"] {
            ensure!(t.side(name).await? == "blue", "{name}");
            ensure!(t.selector_writes(name)? == ["green", "blue"], "{name}: {:?}", t.selector_writes(name)?);
        }
        Ok(())
    });
}

#[test]
fn when_one_of_several_services_vanishes_after_the_switch_the_others_are_restored() {
    e2e("one_service_gone", async |t: &Case| {
        three(t).await?;
        t.cutover("shop", &format!("{THREE}observe: {{for: 60s, every: 500ms}}\n")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.api::<Service>().delete("api", &DeleteParams::default()).await?;
        let run = t.ends("shop", Phase::RolledBack, 45).await?;
        for name in ["web", "admin"] {
            ensure!(t.side(name).await? == "blue", "{name}");
        }
        let status = run.status.context("status")?;
        let gone = status.switch.iter().flat_map(|s| &s.services).find(|s| s.name == "api").context("api")?;
        ensure!(gone.state == SwitchState::Gone, "{gone:?}");
        ensure!(status.ending.is_some_and(|e| e.reason == "ServiceReplaced"));
        Ok(())
    });
}

#[test]
fn a_service_deleted_before_the_switch_fails_the_run_and_switches_none() {
    e2e("service_gone_before", async |t: &Case| {
        three(t).await?;
        t.cutover("shop", &format!("{THREE}phases: {{verify: {{steps: [{{name: hold, wait: {{for: 4s}}}}]}}}}\n"))
            .await?;
        t.phase("shop", Phase::Verifying, 30).await?;
        t.api::<Service>().delete("api", &DeleteParams::default()).await?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        ensure!(run.status.and_then(|s| s.ending).is_some_and(|e| e.reason == "ServiceReplaced"));
        for name in ["web", "admin"] {
            ensure!(t.side(name).await? == "blue" && t.selector_writes(name)?.is_empty(), "{name}");
        }
        Ok(())
    });
}
