//! Who is kept apart from whom (DESIGN §7): whoever asked for a release from who approves it, accounts from gates, and Jobs
//! from accounts that nobody gave them.

use anyhow::ensure;
use cutover::api::decision::CutoverDecisionSpec;
use cutover::api::{Cutover, CutoverRun, Phase, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::approvals::word;
use crate::harness::app::PEOPLE;
use crate::harness::case::newest;
use crate::harness::{Case, cluster, e2e};
use crate::jobs::running_pod;

fn bound(role: &str, subject: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: apart-{role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\nsubjects: [{subject}]\n"
    )
}

fn users() -> String {
    PEOPLE.map(|p| format!("{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {p}}}")).join(", ")
}

#[test]
fn whoever_asked_for_a_release_does_not_approve_it() {
    e2e("apart_requester", async |t: &Case| {
        t.web().await?;
        t.apply(&format!("{}---\n{}", bound("cutover-approve-qa", &users()), bound("cutover-release", &users())))
            .await?;
        t.start().await?;
        let [jane, omar] = PEOPLE;
        let spec = "phases: {prepare: {steps: [{name: go, approval: {roles: [{name: qa}], excludeRequester: true}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 2s, every: 500ms}\n";
        t.cutover("shop", spec).await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(why.contains("approval.excludeRequester") && why.contains("requestedBy"), "{why}");
        let as_jane: Api<Cutover> = Api::namespaced(cluster::client(Some(jane)).await?, &t.ns);
        let asked = async |name: &str| {
            let patch = json!({"spec": {"release": {"version": "2", "requestedBy": name}}});
            as_jane.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await
        };
        let forged = asked(omar).await.err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(forged.contains("must be your own user name"), "{forged}");
        asked(jane).await?;

        // The command says so before it asks; a decision that is made all the same is refused.
        let approval = word(t, Verb::Approve, "qa", jane).await?;
        let told = t.plugin(Some(jane), &["approve", "shop", "--yes"]).await?.with(1)?;
        told.says(&["you have asked for this release", "approval of somebody else"])?;
        let status = t.plugin(Some(jane), &["status", "shop", "-o", "json"]).await?.with(0)?.json()?;
        ensure!(status["gate"]["excluded"] == json!(jane), "{}", status["gate"]);
        let own = t.say(jane, approval).await?;
        let result = t.answer(&own).await?.result.unwrap_or_default();
        ensure!(result.contains("has asked for this release"), "{result}");
        // Another name alone starts nothing, and takes nothing from the run that is under way.
        let as_omar: Api<Cutover> = Api::namespaced(cluster::client(Some(omar)).await?, &t.ns);
        let patch = json!({"spec": {"release": {"requestedBy": omar}}});
        as_omar.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let approval = word(t, Verb::Approve, "qa", omar).await?;
        ensure!(t.answer(&t.say(omar, approval).await?).await?.result.as_deref() == Some("accepted"));
        t.ends("shop", Phase::Completed, 60).await?;
        let runs = t.api::<CutoverRun>().list(&ListParams::default()).await?;
        ensure!(runs.items.len() == 1, "{} runs", runs.items.len());
        let plan = newest(runs.items.iter(), "shop").map(|r| r.spec.plan.clone()).unwrap_or_default();
        ensure!(plan["release"]["requestedBy"] == json!(jane), "{}", plan["release"]);
        Ok(())
    });
}

#[test]
fn a_pipelines_account_rolls_back_and_approves_nothing() {
    e2e("apart_pipeline", async |t: &Case| {
        t.web().await?;
        let account = format!("{{kind: ServiceAccount, name: ci, namespace: {}}}", t.ns);
        t.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: ci}}\n---\n{}---\n{}",
            bound("cutover-on-call", &account),
            bound("cutover-approve-qa", &format!("{account}, {}", users()))
        ))
        .await?;
        t.start().await?;
        let spec = "phases: {prepare: {steps: [{name: go, approval: {roles: [{name: qa}]}}]}}\n\
                    switch: {timeout: 20s}\nobserve: {for: 10m, every: 500ms}\n";
        t.cutover("shop", spec).await?;
        let pipeline = format!("system:serviceaccount:{}:ci", t.ns);
        let approval = word(t, Verb::Approve, "qa", &pipeline).await?;
        let denied = t.say(&pipeline, approval).await.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(denied.contains("gates are for people"), "{denied}");
        let approval = word(t, Verb::Approve, "qa", PEOPLE[0]).await?;
        let back = CutoverDecisionSpec {
            decision: Verb::Rollback,
            gate: None,
            role: None,
            token: None,
            by: pipeline.clone(),
            ..approval.clone()
        };
        t.say(PEOPLE[0], approval).await?;
        t.points_to("web", "green", 60).await?;
        let said = t.say(&pipeline, back).await?;
        ensure!(t.answer(&said).await?.result.as_deref() == Some("accepted"));
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let by: Vec<String> = run.status.iter().flat_map(|s| &s.decisions).map(|d| d.by.clone()).collect();
        ensure!(by.contains(&pipeline), "{by:?}");
        Ok(())
    });
}

/// Whether the kubelet puts the token of its account into a pod.
fn has_token(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let sources = volumes.flat_map(|v| v.projected.iter().flat_map(|p| p.sources.iter().flatten()));
    sources.into_iter().any(|s| s.service_account_token.is_some())
}

#[test]
fn a_job_runs_as_an_account_that_is_listed_and_without_one_has_no_token() {
    e2e("apart_accounts", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: powerful}\n").await?;
        let account = json!({"spec": {"template": {"spec": {"serviceAccountName": "powerful"}}}});
        t.api::<Deployment>().patch("web-green", &PatchParams::default(), &Patch::Strategic(&account)).await?;
        t.start().await?;
        let job = |more: &str| {
            format!(
                "{{deadline: 60s, template: {{spec: {{{more}containers: [{{name: m, \
                 image: 'docker.io/cutover/sample:dev', args: [job, sleep, '3000']}}]}}}}}}"
            )
        };
        let from = "{deadline: 60s, from: {side: Target, container: app}, args: [job, sleep, '3000']}".to_owned();
        let spec = |attempt: u32, more: &str, job: &str| {
            format!(
                "release: {{attempt: {attempt}}}\n{more}phases: {{prepare: {{steps: [{{name: migrate, job: {job}}}]}}}}\n\
                 switch: {{timeout: 30s}}\nobserve: {{for: 2s, every: 500ms}}\n"
            )
        };
        // Named in the manifest: refused before a run.
        t.cutover("shop", &spec(1, "", &job("serviceAccountName: powerful, "))).await?;
        let why = t.condition("shop", "Accepted", false, 20).await?;
        ensure!(
            why.contains("job.template.spec.serviceAccountName") && why.contains("spec.jobServiceAccounts"),
            "{why}"
        );
        // That of the side: refused in preflight, before anything is done.
        t.cutover("shop", &spec(2, "", &from)).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let why = run.status.and_then(|s| s.ending).map(|e| e.message).unwrap_or_default();
        ensure!(why.contains("ServiceAccount powerful") && why.contains("spec.jobServiceAccounts"), "{why}");
        ensure!(t.jobs()?.0 == 0, "a Job was created");
        // Listed: that of the side, and one that the manifest names.
        let named = job("serviceAccountName: powerful, ");
        let both = format!("{from}}}, {{name: named, job: {named}");
        t.cutover("shop", &spec(3, "jobServiceAccounts: [powerful]\n", &both)).await?;
        let pod = running_pod(t, "migrate").await?;
        let name = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
        ensure!(name == Some("powerful"), "{name:?}");
        let pod = running_pod(t, "named").await?;
        let name = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
        ensure!(name == Some("powerful") && has_token(&pod), "{name:?}");
        t.ends("shop", Phase::Completed, 60).await?;
        // None named: that of the namespace, without its token. Back to blue, which names none either.
        t.cutover("shop", &format!("{}activate: blue\n", spec(4, "", &job("")))).await?;
        let pod = running_pod(t, "migrate").await?;
        let name = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref());
        ensure!(name == Some("default") && !has_token(&pod), "{name:?}");
        t.ends("shop", Phase::Completed, 60).await?;
        Ok(())
    });
}
