//! Whose a decision is (DESIGN §7): what is said while forged decisions may be admitted counts for nothing, then or later.
//! The policies belong to all tests, so they stand; the operator is shown that one of them is missing.

use std::sync::Arc;

use anyhow::{Context, ensure};
use cutover::api::{CutoverRun, Phase, Verb};
use serde_json::json;

use crate::approvals::{roles, word};
use crate::harness::app::PEOPLE;
use crate::harness::case::{secs, step};
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e};

const GATE: &str = "phases: {prepare: {steps: [{name: go, approval: {roles: [{name: qa}], within: 10m}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 120s, every: 500ms}\n";

/// Shows the operator an API server that has no policy of decisions.
fn hide_the_policy(proxy: &Proxy) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "not found"});
    let gone: Arc<str> = status.to_string().into();
    proxy.fail(move |_, path| {
        path.contains("/validatingadmissionpolicies/cutover-decision").then(|| Fault::Answer(404, gone.clone()))
    });
}

/// Waits until the gate's message says, or does not say any more, that it stays shut.
async fn shut(t: &Case, is: bool) -> anyhow::Result<()> {
    t.run_until("shop", "what the gate says of the policies", secs(90), |run: &CutoverRun| {
        let record = step(run, "go").ok().filter(|r| r.gate.is_some());
        let says = record.and_then(|r| r.message.as_ref()).map(|m| m.contains("the gate stays shut"));
        Ok((says == Some(is)).then_some(()))
    })
    .await
    .map(drop)
}

#[test]
fn what_is_said_while_forgeries_may_be_admitted_counts_neither_then_nor_later() {
    e2e("unproven", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.apply(&roles()).await?;
        let _a = t.candidate("a", Some(&proxy.url)).await?;
        t.leads("a", 20).await?;
        t.cutover("shop", GATE).await?;
        shut(t, false).await?;
        let approval = word(t, Verb::Approve, "qa", PEOPLE[0]).await?;
        hide_the_policy(&proxy);
        shut(t, true).await?;
        let early = t.say(PEOPLE[0], approval.clone()).await?;
        let said = t.answer(&early).await?.result.unwrap_or_default();
        ensure!(
            said.starts_with("refused: identity not proven: admission policy cutover-decision is missing"),
            "{said}"
        );
        proxy.heal();
        // The gate is open again for what is said from now on.
        shut(t, false).await?;
        let run = t.phase("shop", Phase::Preparing, 5).await?;
        ensure!(step(&run, "go")?.gate.as_ref().is_some_and(|g| g.roles[0].by.is_empty()), "the refused one counts");
        let again = t.say(PEOPLE[0], word(t, Verb::Approve, "qa", PEOPLE[0]).await?).await?;
        ensure!(t.answer(&again).await?.result.as_deref() == Some("accepted"));
        // Who leads users back is heard at any rate.
        t.phase("shop", Phase::Observing, 40).await?;
        hide_the_policy(&proxy);
        // What was found before the policy was hidden is believed for a while.
        let suspended = wait_for_refusal(t).await?;
        ensure!(suspended.contains("identity not proven"), "{suspended}");
        let back = t.decide_as(PEOPLE[0], PEOPLE[0], "shop", Verb::Rollback, None).await?;
        t.points_to("web", "blue", 10).await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let why = run.status.and_then(|s| s.ending).context("ending")?.message;
        ensure!(why.contains(PEOPLE[0]) && why.contains("identity not proven"), "{why}");
        let said = t.answer(&back).await?.result.unwrap_or_default();
        ensure!(said.starts_with("accepted: identity not proven"), "{said}");
        ensure!(t.selector_writes("web")? == ["green", "blue"]);
        Ok(())
    });
}

/// Suspends and resumes, at a pace that one person may keep up, until that is refused; why.
async fn wait_for_refusal(t: &Case) -> anyhow::Result<String> {
    let mut pace = tokio::time::interval(secs(2));
    for n in 0..40 {
        pace.tick().await;
        let verb = if n % 2 == 0 { Verb::Suspend } else { Verb::Resume };
        let word = t.decide_as(PEOPLE[0], PEOPLE[0], "shop", verb, None).await?;
        let said = t.answer(&word).await?.result.unwrap_or_default();
        if said.starts_with("refused") {
            return Ok(said);
        }
    }
    anyhow::bail!("40 words were accepted while a policy was missing")
}
