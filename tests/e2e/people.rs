//! Decisions of people, and who may make them.

use anyhow::{Context, ensure};
use cutover::api::decision::Resolution;
use cutover::api::{Phase, Verb};
use serde_json::json;

use crate::harness::app::PEOPLE;
use crate::harness::case::{newest, secs};
use crate::harness::{Case, e2e, wait};

const HELD: &str = "phases: {prepare: {steps: [{name: hold, wait: {for: 30s}}]}}\nswitch: {timeout: 20s}\n";
const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n";

#[test]
fn a_person_aborts_before_the_switch() {
    e2e("decision_abort", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        t.decide("shop", Verb::Abort).await?;
        let run = t.ends("shop", Phase::Aborted, 20).await?;
        let taken = run.status.context("status")?.decisions;
        ensure!(taken.len() == 1 && taken[0].by == PEOPLE[0] && taken[0].result == "accepted", "{taken:?}");
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn a_person_rolls_back_and_retries() {
    e2e("decision_rollback_retry", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.decide("shop", Verb::Rollback).await?;
        let first = t.ends("shop", Phase::RolledBack, 20).await?;
        ensure!(t.side("web").await? == "blue");
        t.decide("shop", Verb::Retry).await?;
        t.run_until("shop", "a second run that observes", secs(40), |run| {
            let again = run.metadata.uid != first.metadata.uid;
            Ok((again && run.status.as_ref().is_some_and(|s| s.phase == Phase::Observing)).then_some(()))
        })
        .await?;
        ensure!(t.selector_writes("web")? == ["green", "blue", "green"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_suspended_run_stands_still_but_still_rolls_back() {
    e2e("decision_suspend", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "phases: {prepare: {steps: [{name: hold, wait: {for: 3s}}]}}\nswitch: {timeout: 20s}\nobserve: {for: 3s, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n").await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        t.decide("shop", Verb::Suspend).await?;
        t.condition("shop", "Suspended", true, 10).await?;
        t.decide("shop", Verb::Resume).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.decide("shop", Verb::Suspend).await?;
        t.condition("shop", "Suspended", true, 10).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        ensure!(t.side("web").await? == "blue");
        Ok(())
    });
}

#[test]
fn an_open_question_is_answered_by_a_person() {
    e2e("decision_question", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 4s, every: 500ms, triggers: [{name: slow, severity: Decide, within: 60s, probe: {http: {path: /health}, failing: 2}}]}\n").await?;
        t.phase("shop", Phase::Observing, 30).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        let message = t.condition("shop", "AwaitingDecision", true, 20).await?;
        ensure!(message.contains("slow"), "{message}");
        ensure!(t.side("web").await? == "green", "a question must not roll back by itself before its time");
        t.resolve("shop", "decision", Resolution::Succeeded).await?;
        t.ends("shop", Phase::Completed, 30).await.map(|_| ())
    });
}

#[test]
fn forged_and_unauthorised_decisions_are_denied() {
    e2e("decision_forged", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let forged = t.decide_as(PEOPLE[0], PEOPLE[1], "shop", Verb::Rollback, None).await;
        let text = format!("{:#}", forged.err().context("a forged `by` was admitted")?);
        ensure!(text.contains("by"), "the refusal does not name the field: {text}");
        let stranger = t.decide_as("mallory", "mallory", "shop", Verb::Rollback, None).await;
        ensure!(stranger.is_err(), "a person without any right decided");
        // May create decisions, but has not the verb of this one.
        t.apply(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: aborter}\nrules:\n\
             - {apiGroups: [cutover.dev], resources: [cutoverdecisions], verbs: [create]}\n\
             - {apiGroups: [cutover.dev], resources: [cutovers/run], verbs: [abort]}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: aborter}\n\
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: aborter}\n\
             subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: ann@example.com}]\n",
        )
        .await?;
        let without = t.decide_as("ann@example.com", "ann@example.com", "shop", Verb::Rollback, None).await;
        let text = format!("{:#}", without.err().context("a person without the verb decided")?);
        ensure!(text.contains("rollback"), "the refusal does not name the verb: {text}");
        // Nothing of that moved the run.
        let runs = t.api::<cutover::api::CutoverRun>().list(&kube::api::ListParams::default()).await?;
        let phase = newest(runs.items.iter(), "shop").and_then(|r| r.status.as_ref()).map(|s| s.phase);
        ensure!(phase == Some(Phase::Observing), "{phase:?}");
        Ok(())
    });
}

#[test]
fn a_decision_about_a_run_that_is_over_is_not_carried_out() {
    e2e("decision_late", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", HELD).await?;
        t.phase("shop", Phase::Preparing, 30).await?;
        t.decide("shop", Verb::Abort).await?;
        let run = t.ends("shop", Phase::Aborted, 20).await?;
        t.decide("shop", Verb::Rollback).await?;
        // What follows in the same namespace shows that the decision has been seen and left alone.
        t.decide("shop", Verb::Retry).await?;
        t.run_until("shop", "a second run", secs(20), |again| {
            Ok((again.metadata.uid != run.metadata.uid).then_some(()))
        })
        .await?;
        ensure!(t.selector_writes("web")?.is_empty());
        let first = wait::until(t.api::<cutover::api::CutoverRun>(), "the first run", secs(5), |all| {
            Ok(all.values().find(|r| r.metadata.uid == run.metadata.uid).cloned())
        })
        .await?;
        ensure!(first.status.map(|s| s.phase) == Some(Phase::Aborted));
        Ok(())
    });
}
