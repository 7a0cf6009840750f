//! `kubectl cutover` as a person at night uses it: sees, says, goes back without the operator.

use anyhow::{Context, ensure};
use cutover::api::{Cutover, Phase};
use serde_json::json;

use crate::harness::app::PEOPLE;
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

const JANE: Option<&str> = Some(PEOPLE[0]);
const WATCHING: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 3}}]}\n";

/// What a person needs to look at pods and workloads beside the run.
fn may_look(ns: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: look, namespace: {ns}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {}}}]\n",
        PEOPLE[0]
    )
}

#[test]
fn a_person_looks_and_rolls_back() {
    e2e("plugin_rollback", async |t: &Case| {
        t.web().await?;
        t.apply(&may_look(&t.ns)).await?;
        t.start().await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(5)?;
        told.says(&["has no Cutover", "next: "])?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        wait::poll("what the status of a run observed tells", secs(20), async || {
            let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
            let all = ["Observing", "green is live", "live: green", "Triggers", "down", "web-blue", "1 of 1 ready"];
            Ok(told.says(&all).ok().map(|_| ()))
        })
        .await?;
        let told = t.plugin(JANE, &["status", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(told["phase"] == "Observing" && told["live"] == "green", "{told:#}");
        ensure!(told["sides"][0]["workloads"][0]["pods"][0]["ready"] == true, "{told:#}");
        ensure!(told["hidden"] == json!([]), "{told:#}");
        let named = t.plugin(JANE, &["status", "shop", "-o", "name"]).await?.with(0)?;
        ensure!(named.out == "cutover.cutover.dev/shop\ncutoverrun.cutover.dev/shop-1\n", "{named:?}");
        // Nobody is asked without a terminal, and nothing is done.
        t.plugin(JANE, &["rollback", "shop"]).await?.with(64)?.says(&["Service web", "--yes"])?;
        ensure!(t.side("web").await? == "green");
        let told = t.plugin(JANE, &["rollback", "shop", "--yes", "-m", "carts are empty"]).await?.with(0)?;
        told.says(&["Service web: its users go back from green to blue", "accepted"])?;
        t.ends("shop", Phase::RolledBack, 30).await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
        told.says(&["rolled back to blue", "carts are empty", "Rollback by jane@example.com"])?;
        // What is refused says so, by its exit code, too.
        t.plugin(JANE, &["suspend", "shop"]).await?.with(1)?.says(&["refused"])?;
        t.plugin(JANE, &["retry", "shop", "--yes"]).await?.with(0)?.says(&["accepted"])?;
        t.run_until("shop", "the second run", secs(30), |run| {
            Ok((run.metadata.name.as_deref() == Some("shop-2")).then_some(()))
        })
        .await?;
        t.phase("shop", Phase::Observing, 40).await?;
        let told = t.plugin(JANE, &["status", "shop-1"]).await?.with(0)?;
        told.says(&["rolled back to blue"])?;
        t.plugin(JANE, &["rollback", "run/shop-1", "--yes"]).await?.with(1)?.says(&["refused"])?;
        Ok(())
    });
}

/// The gate needs two people; the role `qa` is Jane's alone.
const GATE: &str = "phases: {prepare: {steps: [{name: go, approval: {roles: [{name: qa}, {name: operations}], within: 10m, \
                    instructions: look at the board, checklist: [a call by phone]}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";

fn role(role: &str, person: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: gate-{role}}}\nrules:\n\
         - {{apiGroups: [cutover.dev], resources: [cutovers/{role}], verbs: [approve, reject]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: gate-{role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: gate-{role}}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {person}}}]\n---\n"
    )
}

#[test]
fn a_gate_is_approved_with_the_token_of_what_was_shown() {
    e2e("plugin_gate", async |t: &Case| {
        t.web().await?;
        t.apply(&role("qa", PEOPLE[0])).await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        wait::until(t.api::<Cutover>(), "a gate that waits", secs(30), |all| {
            Ok(all.values().any(|c| c.status.as_ref().is_some_and(|s| s.gate.is_some())).then_some(()))
        })
        .await?;
        let told = t.plugin(JANE, &["status", "shop"]).await?.with(0)?;
        let command = format!("kubectl cutover approve shop --role qa -n {}", t.ns);
        told.says(&[
            "gate go waits for qa, operations",
            "look at the board",
            "a call by phone",
            &command,
            "you may not list pods",
        ])?;
        t.plugin(JANE, &["status", "--waiting"]).await?.with(0)?.says(&["shop", "AwaitingDecision"])?;
        t.plugin(JANE, &["approve", "shop", "--yes", "--token", "stale"]).await?.with(1)?.says(&["look again"])?;
        t.plugin(JANE, &["approve", "shop", "--yes", "--role", "board"])
            .await?
            .with(5)?
            .says(&["no role board", "qa"])?;
        // Omar may act in no role yet.
        let omar = Some(PEOPLE[1]);
        let told = t.plugin(omar, &["approve", "shop", "--yes"]).await?.with(5)?;
        told.says(&["you may not approve in any role that is missing", "cutovers.cutover.dev/qa"])?;
        t.plugin(omar, &["approve", "shop", "--yes", "--role", "qa"])
            .await?
            .with(1)?
            .says(&["refused by a policy", "approve"])?;
        t.plugin(JANE, &["approve", "shop", "--yes"]).await?.with(0)?.says(&["look at the board", "accepted"])?;
        t.apply(&role("operations", PEOPLE[1])).await?;
        wait::poll("the role is Omar's", secs(20), async || {
            let told = t.plugin(omar, &["approve", "shop", "--yes"]).await?;
            Ok((told.code == 0).then_some(()))
        })
        .await?;
        t.ends("shop", Phase::Completed, 40).await?;
        let told = t.plugin(JANE, &["approve", "shop", "--yes"]).await?.with(1)?;
        told.says(&["no gate of shop waits", "green is live"])?;
        Ok(())
    });
}

#[test]
fn a_person_goes_back_while_the_operator_is_away() {
    e2e("plugin_break_glass", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.kill();
        let told = t.plugin(JANE, &["rollback", "shop", "--yes", "--without-operator"]).await?.with(1)?;
        told.says(&["services \"web\" is forbidden"])?;
        ensure!(t.side("web").await? == "green");
        let told = t.plugin(None, &["rollback", "shop", "--yes", "--without-operator", "-o", "json"]).await?.with(0)?;
        ensure!(told.json()?[0]["restored"] == true, "{told:?}");
        ensure!(t.side("web").await? == "blue");
        // Said twice, it changes nothing.
        t.plugin(None, &["rollback", "shop", "--yes", "--without-operator"]).await?.with(0)?;
        t.restart_as_before()?;
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        let status = run.status.context("a status")?;
        let switch = status.switch.context("a switch")?;
        ensure!(switch.services[0].adopted, "{switch:?}");
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}

#[test]
fn a_restore_by_hand_leaves_users_where_the_old_side_is_empty() {
    e2e("plugin_break_glass_empty", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 20m, builtIn: Disarmed}\n").await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.kill();
        t.merge::<k8s_openapi::api::apps::v1::Deployment>("web-blue", json!({"spec": {"replicas": 0}})).await?;
        wait::poll("no pod of blue", secs(60), async || Ok(t.pods("web", "blue").await?.is_empty().then_some(())))
            .await?;
        let told = t.plugin(None, &["rollback", "shop", "--yes", "--without-operator"]).await?.with(1)?;
        told.says(&["the old side has 0 ready endpoints", "scale it up"])?;
        ensure!(t.side("web").await? == "green");
        Ok(())
    });
}

#[test]
fn what_cannot_be_done_is_one_sentence_with_the_next_command() {
    e2e("plugin_bad_input", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let nobody = Some("nobody@example.com");
        let told = t.plugin(nobody, &["status", "shop"]).await?.with(5)?;
        let told = told.says(&["you may not get cutovers.cutover.dev in namespace", "kubectl create role"])?;
        ensure!(told.err.lines().count() == 1 && told.out.is_empty(), "{told:?}");
        let told = t.plugin(None, &["status", "--context", "elsewhere"]).await?.with(5)?;
        told.says(&["no cluster", "--context"])?;
        t.plugin(None, &["status", "service/web"])
            .await?
            .with(5)?
            .says(&["neither a Cutover nor a run", "run/NAME"])?;
        t.plugin(None, &["status", "shop", "--older-than", "1h"]).await?.with(64)?;
        t.plugin(None, &["approve", "shop", "--wait", "soon"]).await?.with(64)?.says(&["--wait"])?;
        t.cutover("shop", "phases: {preflight: {steps: [{name: odd, wait: {for: 1s}}]}}\nswitch: {timeout: 20s}\n")
            .await?;
        t.cutover("shop-1", "switch: {timeout: 20s}\n").await?;
        t.plugin(None, &["status"]).await?.with(0)?.says(&["CUTOVER", "shop-1"])?;
        t.plugin(None, &["abort"]).await?.with(5)?.says(&["has 2 Cutovers", "shop, shop-1"])?;
        Ok(())
    });
}
