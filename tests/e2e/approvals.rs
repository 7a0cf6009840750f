//! Gates that wait for people (P6): who may open one, and what does not.

use anyhow::{Context, ensure};
use cutover::api::decision::{CutoverDecision, CutoverDecisionSpec};
use cutover::api::{Cutover, CutoverRun, Phase, Verb};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::app::PEOPLE;
use crate::harness::case::{newest, secs};
use crate::harness::{Case, cluster, e2e, wait};

const GATE: &str = "phases: {prepare: {steps: [{name: backup, wait: {for: 1s}}, \
                    {name: go, approval: {roles: [{name: qa}, {name: operations}], within: 10m, \
                    instructions: look at the board, checklist: [a call by phone]}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";

/// Jane stands for qa, Omar for operations; both may also stand for the other role, so that only the rule of different
/// people keeps one of them from opening the gate alone.
pub fn roles() -> String {
    let mut all = String::new();
    for role in ["qa", "operations"] {
        all.push_str(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: gate-{role}}}\nrules:\n\
             - {{apiGroups: [cutover.dev], resources: [cutoverdecisions], verbs: [create, update, patch]}}\n\
             - {{apiGroups: [cutover.dev], resources: [cutovers/{role}], verbs: [approve, reject]}}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: gate-{role}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: gate-{role}}}\nsubjects:\n"
        ));
        for person in PEOPLE {
            all.push_str(&format!("- {{kind: User, apiGroup: rbac.authorization.k8s.io, name: {person}}}\n"));
        }
        all.push_str("---\n");
    }
    all
}

/// A decision on the gate of `shop`, once it waits: with its present token, so that it would count.
pub async fn word(t: &Case, verb: Verb, role: &str, by: &str) -> anyhow::Result<CutoverDecisionSpec> {
    let cutover = wait::until(t.api::<Cutover>(), "a gate that waits", secs(30), |all| {
        let found = all.values().find(|c| c.name_any() == "shop");
        Ok(found.filter(|c| c.status.as_ref().is_some_and(|s| s.gate.is_some())).cloned())
    })
    .await?;
    let status = cutover.status.context("status")?;
    let gate = status.gate.context("gate")?;
    Ok(CutoverDecisionSpec {
        cutover: "shop".into(),
        run_uid: status.run.and_then(|r| r.uid).context("the run's uid")?,
        decision: verb,
        gate: Some(gate.name),
        role: Some(role.into()),
        token: Some(gate.token),
        step: None,
        outcome: None,
        comment: Some("the board is green".into()),
        by: by.into(),
    })
}

/// What came of the decisions on a run, in the order of their creation, once so many are answered.
async fn answers(t: &Case, run_uid: &str, count: usize) -> anyhow::Result<Vec<String>> {
    wait::until(t.api::<CutoverDecision>(), "answers on decisions", secs(20), |all| {
        let mut said: Vec<_> = all.values().filter(|d| d.spec.run_uid == run_uid).collect();
        said.sort_by_key(|d| d.creation_timestamp().map(|t| t.0));
        let results: Vec<String> = said.iter().filter_map(|d| d.status.as_ref()?.result.clone()).collect();
        Ok((results.len() >= count).then_some(results))
    })
    .await
}

#[test]
fn a_gate_opens_when_every_role_has_said_yes_by_different_people() {
    e2e("approval_given", async |t: &Case| {
        t.web().await?;
        t.apply(&roles()).await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        let first = t.say(PEOPLE[0], word(t, Verb::Approve, "qa", PEOPLE[0]).await?).await?;
        ensure!(t.answer(&first).await?.result.as_deref() == Some("accepted"));
        // The same person in the other role is no second person.
        let second = t.say(PEOPLE[0], word(t, Verb::Approve, "operations", PEOPLE[0]).await?).await?;
        let result = t.answer(&second).await?.result.unwrap_or_default();
        ensure!(result.contains("another person"), "{result}");
        t.say(PEOPLE[1], word(t, Verb::Approve, "operations", PEOPLE[1]).await?).await?;
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let steps = run.status.context("status")?.steps;
        let go = steps.iter().find(|s| s.name == "go").context("the gate's record")?;
        let people = go.evidence.as_ref().map(|e| e["decisions"].to_string()).unwrap_or_default();
        ensure!(PEOPLE.iter().all(|p| people.contains(p)), "{people}");
        Ok(())
    });
}

#[test]
fn a_rejected_gate_fails_the_run_with_the_reason() {
    e2e("approval_rejected", async |t: &Case| {
        t.web().await?;
        t.apply(&roles()).await?;
        t.start().await?;
        t.cutover("shop", GATE).await?;
        let mut no = word(t, Verb::Reject, "qa", PEOPLE[0]).await?;
        no.comment = Some("not on a Friday".into());
        t.say(PEOPLE[0], no).await?;
        let run = t.ends("shop", Phase::Failed, 30).await?;
        let why = run.status.and_then(|s| s.ending).map(|e| e.message).unwrap_or_default();
        ensure!(why.contains("not on a Friday") && why.contains(PEOPLE[0]), "{why}");
        ensure!(t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn nothing_but_a_valid_word_on_this_gate_opens_it() {
    e2e("approval_forged", async |t: &Case| {
        t.web().await?;
        t.apply(&roles()).await?;
        t.start().await?;
        // A first run, whose approval must not serve the second.
        t.cutover("shop", GATE).await?;
        let old = word(t, Verb::Approve, "operations", PEOPLE[1]).await?;
        t.decide("shop", Verb::Abort).await?;
        t.ends("shop", Phase::Aborted, 30).await?;
        t.decide("shop", Verb::Retry).await?;
        t.run_until("shop", "a second run", secs(20), |run| {
            Ok((run.uid().as_deref() != Some(old.run_uid.as_str())).then_some(()))
        })
        .await?;
        let good = word(t, Verb::Approve, "operations", PEOPLE[1]).await?;
        ensure!(good.run_uid != old.run_uid && good.token != old.token);

        // Denied at admission.
        let denied = async |user: &str, spec: CutoverDecisionSpec| match t.say(user, spec).await {
            Ok(_) => anyhow::bail!("a decision by {user} was admitted"),
            Err(e) => Ok(format!("{e:#}")),
        };
        let text = denied(PEOPLE[0], good.clone()).await?;
        ensure!(text.contains("spec.by"), "another's name: {text}");
        let by = "ann@example.com";
        let text = denied(by, CutoverDecisionSpec { by: by.into(), ..good.clone() }).await?;
        ensure!(text.contains("forbidden") || text.contains("needs the verb"), "nobody's role: {text}");
        // A status written by hand, even by somebody whom RBAC lets write everything in this namespace.
        t.apply(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: all}\nrules:\n\
             - {apiGroups: [cutover.dev], resources: [cutoverruns, cutoverruns/status, cutovers/status], verbs: ['*']}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: all}\n\
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: all}\n\
             subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: jane@example.com}]\n",
        )
        .await?;
        let runs = t.api::<CutoverRun>().list(&ListParams::default()).await?;
        let run = newest(runs.items.iter(), "shop").context("a run")?.name_any();
        let by_hand: Api<CutoverRun> = Api::namespaced(cluster::client(Some(PEOPLE[0])).await?, &t.ns);
        let forged = json!({"status": {"steps": [{"name": "go", "state": "Succeeded", "attempt": 1}]}});
        let answer = by_hand.patch_status(&run, &PatchParams::default(), &Patch::Merge(&forged)).await;
        ensure!(answer.is_err(), "a forged status was admitted");

        // Each attempt stands in the API server's audit log, with the name of who made it.
        let denied = t.audit()?.into_iter().filter(|l| l.is_write() && !l.done());
        let denied: Vec<_> = denied.map(|l| (l.user, l.verb, l.resource)).collect();
        for (user, verb, resource) in [
            (PEOPLE[0], "create", "cutoverdecisions"),
            (by, "create", "cutoverdecisions"),
            (PEOPLE[0], "patch", "cutoverruns/status"),
        ] {
            let attempt = (user.to_owned(), verb.to_owned(), resource.to_owned());
            ensure!(denied.contains(&attempt), "{attempt:?} is in no line of the audit log: {denied:?}");
        }

        // Admitted, and worth nothing.
        t.say(PEOPLE[1], CutoverDecisionSpec { token: old.token.clone(), ..good.clone() }).await?;
        t.say(PEOPLE[1], CutoverDecisionSpec { gate: Some("backup".into()), ..good.clone() }).await?;
        let late = t.say(PEOPLE[1], old).await?;
        let result = t.answer(&late).await?.result.unwrap_or_default();
        ensure!(result.contains("is over"), "{result}");
        t.say(PEOPLE[0], word(t, Verb::Approve, "qa", PEOPLE[0]).await?).await?;
        let said = answers(t, &good.run_uid, 3).await?;
        ensure!(said.iter().filter(|r| *r == "accepted").count() == 1, "{said:?}");
        ensure!(said.iter().any(|r| r.contains("other evidence")), "{said:?}");
        let runs = t.api::<CutoverRun>().list(&ListParams::default()).await?;
        let phase = newest(runs.items.iter(), "shop").and_then(|r| r.status.as_ref()).map(|s| s.phase);
        ensure!(phase == Some(Phase::Preparing), "{phase:?}");
        // The one that was missing.
        t.say(PEOPLE[1], good).await?;
        t.ends("shop", Phase::Completed, 60).await?;
        Ok(())
    });
}
