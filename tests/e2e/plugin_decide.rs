//! Words on gates, lost outcomes and completed runs, said through `kubectl cutover`: the operator's answer is printed.

use anyhow::{Context, ensure};
use cutover::api::{Cutover, Phase};

use crate::changes::job_deleted_by_hand;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};
use crate::plugin::{GATE, JANE, role};

#[test]
fn a_lost_outcome_is_told_by_a_person() {
    e2e("plugin_resolve", async |t: &Case| {
        job_deleted_by_hand(t).await?;
        t.plugin(JANE, &["status", "--waiting"]).await?.with(0)?.says(&["shop"])?;
        t.plugin(JANE, &["resolve", "shop", "none", "succeeded", "--yes"])
            .await?
            .with(1)?
            .says(&["refused", "step none has not been started"])?;
        t.plugin(JANE, &["resolve", "shop", "slow", "succeeded"]).await?.with(64)?.says(&["--yes"])?;
        let told = t
            .plugin(JANE, &["resolve", "shop", "slow", "succeeded", "--yes", "-m", "rows are there"])
            .await?
            .with(0)?;
        told.says(&["Resolve of run shop-1: accepted", "kubectl cutover watch shop"])?;
        let run = t.ends("shop", Phase::Completed, 40).await?;
        let said = run.status.context("a status")?.decisions;
        ensure!(said.len() == 1 && said[0].comment.as_deref() == Some("rows are there"), "{said:?}");
        Ok(())
    });
}

#[test]
fn a_completed_run_is_checked_again() {
    e2e("plugin_revalidate", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let page = "{name: page, retry: {attempts: 5, every: 1s}, http: {path: /health}}";
        let quick = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";
        t.cutover("shop", &format!("phases: {{confirm: {{steps: [{page}]}}}}\n{quick}")).await?;
        t.ends("shop", Phase::Completed, 60).await?;
        let told = t.plugin(JANE, &["revalidate", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["answer"] == "accepted" && told["verb"] == "Revalidate" && told["run"] == "shop-1", "{told:#}");
        t.run_until("shop", "checked again", secs(60), |run| {
            let list = run.status.as_ref().and_then(|s| s.after.as_ref()).map(|a| &a.revalidations);
            Ok(list.is_some_and(|l| l.iter().any(|r| r.ended.is_some())).then_some(()))
        })
        .await?;
        t.plugin(JANE, &["status", "shop"]).await?.with(0)?.says(&["page@revalidate-1"])?;
        Ok(())
    });
}

#[test]
fn a_gate_is_rejected_with_its_reason() {
    e2e("plugin_reject", async |t: &Case| {
        t.web().await?;
        t.apply(&role("qa", JANE.context("a name")?)).await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        wait::until(t.api::<Cutover>(), "a gate that waits", secs(30), |all| {
            Ok(all.values().any(|c| c.status.as_ref().is_some_and(|s| s.gate.is_some())).then_some(()))
        })
        .await?;
        t.plugin(JANE, &["reject", "shop", "--yes", "--token", "stale"]).await?.with(1)?.says(&["look again"])?;
        let told = t.plugin(JANE, &["reject", "shop", "--yes", "-m", "the board is red"]).await?.with(0)?;
        told.says(&["look at the board", "Reject of run shop-1: accepted"])?;
        let run = t.ends("shop", Phase::Failed, 40).await?;
        let ending = run.status.and_then(|s| s.ending).context("an ending")?;
        ensure!(ending.message.contains("the board is red"), "{ending:?}");
        ensure!(t.side("web").await? == "blue");
        t.plugin(JANE, &["history", "shop"]).await?.with(0)?.says(&["jane@example.com (Reject)"])?;
        Ok(())
    });
}
