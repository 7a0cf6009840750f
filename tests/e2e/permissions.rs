//! Rights that are missing, or are taken away when they are needed most. RBAC is real: the operator has its own account.

use anyhow::{Context, ensure};
use cutover::api::run::CutoverRun;
use cutover::api::{Phase, Verb};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};
use crate::harness::{app, cluster};
use crate::possible_again::restored_within;

const WATCHING: &str = "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms}\n";

/// Takes rights on Services away from the account (all but reading), or gives them back.
async fn may_patch_services(t: &Case, may: bool) -> anyhow::Result<()> {
    let mut role = t.api::<Role>().get("cutover").await?;
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.as_ref().is_some_and(|r| r.iter().any(|r| r == "services")) {
            rule.verbs = if may { vec!["get".into(), "patch".into()] } else { vec!["get".into()] };
        }
    }
    t.merge::<Role>("cutover", json!({"rules": role.rules})).await
}

/// Waits until the API server's authorizer knows of a change; it watches roles like everybody else.
async fn authorizer_says(t: &Case, allowed: bool) -> anyhow::Result<()> {
    use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
    let api = t.api::<LocalSubjectAccessReview>();
    wait::poll("the authorizer", secs(10), async || {
        let review = LocalSubjectAccessReview {
            metadata: kube::api::ObjectMeta { namespace: Some(t.ns.clone()), ..Default::default() },
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{}:{}", t.ns, app::ACCOUNT)),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(t.ns.clone()),
                    verb: Some("patch".into()),
                    resource: Some("services".into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            status: None,
        };
        let answer = api.create(&kube::api::PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|s| s.allowed == allowed).then_some(()))
    })
    .await
}

/// Any condition of the Cutover that names the remedy.
async fn says(t: &Case, words: &[&str]) -> anyhow::Result<String> {
    wait::until(t.api::<cutover::api::Cutover>(), &format!("a condition with {words:?}"), secs(30), |all| {
        t.alive()?;
        let status = all.get("shop").and_then(|c| c.status.as_ref());
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let text = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            words.iter().all(|w| c.message.contains(w) || c.reason.contains(w))
        };
        Ok(conditions.iter().find(text).map(|c| format!("{} {}: {}", c.type_, c.reason, c.message)))
    })
    .await
}

#[test]
fn without_the_right_to_patch_services_nothing_begins_and_the_remedy_is_named() {
    e2e("no_patch_services", async |t: &Case| {
        t.web().await?;
        may_patch_services(t, false).await?;
        authorizer_says(t, false).await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        let message = says(t, &["services", "patch"]).await?;
        ensure!(message.contains(app::ACCOUNT), "the account is not named: {message}");
        ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn without_the_right_to_act_as_the_account_the_remedy_is_named() {
    e2e("no_impersonation", async |t: &Case| {
        t.web().await?;
        t.api::<RoleBinding>().delete("cutover-impersonate", &DeleteParams::default()).await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        let message = says(t, &["impersonate"]).await?;
        ensure!(message.contains(app::ACCOUNT), "the account is not named: {message}");
        ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty());
        Ok(())
    });
}

#[test]
fn a_right_revoked_before_a_rollback_blocks_it_loudly_until_it_is_given_back() {
    e2e("right_revoked", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", WATCHING).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        may_patch_services(t, false).await?;
        authorizer_says(t, false).await?;
        t.decide("shop", Verb::Rollback).await?;
        let message = t.condition("shop", "RollbackBlocked", true, 15).await?;
        ensure!(message.contains("services") || message.contains("web"), "{message}");
        ensure!(t.side("web").await? == "green");
        may_patch_services(t, true).await?;
        authorizer_says(t, true).await?;
        restored_within(t, "a right that was missing", std::time::Instant::now(), secs(2)).await
    });
}

#[test]
fn of_two_services_one_that_may_not_be_patched_takes_the_other_back() {
    e2e("two_services_one_refused", async |t: &Case| {
        t.web().await?;
        t.apply(&app::service("web", "blue").replace("name: web}", "name: api}")).await?;
        // Dry runs pass, the real patch is refused: as a policy does that was tightened in between.
        let policy = format!("e2e-refuse-{}", t.ns);
        t.apply(&format!(
            r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {policy}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [services], resourceNames: [web]}}]
  validations:
  - {{expression: "(has(request.dryRun) && request.dryRun) || !has(object.spec.selector) || object.spec.selector['side'] != 'green'", message: "frozen by the test"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {policy}}}
spec: {{policyName: {policy}, validationActions: [Deny]}}
"#,
            ns = t.ns
        ))
        .await?;
        let result = async {
            policy_works(t).await?;
            t.start().await?;
            let spec = format!("services: [{{name: api}}, {{name: web}}]\n{WATCHING}");
            t.cutover("shop", &spec).await?;
            let run = t.closed("shop", 60).await?;
            let status = run.status.context("status")?;
            ensure!(status.phase == Phase::RolledBack || status.phase == Phase::Failed, "{}", status.phase);
            let ending = status.ending.context("ending")?;
            ensure!(ending.message.contains("web") && ending.message.contains("frozen by the test"), "{ending:?}");
            ensure!(t.side("web").await? == "blue" && t.side("api").await? == "blue");
            let api = t.selector_writes("api")?;
            ensure!(api.is_empty() || api == ["green", "blue"], "{api:?}");
            ensure!(t.selector_writes("web")?.is_empty(), "a refused Service was written");
            Ok(())
        }
        .await;
        remove_policy(t, &policy).await?;
        result
    });
}

/// Waits until the API server enforces the policy.
async fn policy_works(t: &Case) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::Service;
    use kube::api::{Patch, PatchParams};
    wait::poll("the policy is enforced", secs(15), async || {
        let patch = Patch::Merge(json!({"spec": {"selector": {"side": "green"}}}));
        match t.api::<Service>().patch("web", &PatchParams::default(), &patch).await {
            Ok(_) => {
                t.merge::<Service>("web", json!({"spec": {"selector": {"side": "blue"}}})).await?;
                Ok(None)
            }
            Err(_) => Ok(Some(())),
        }
    })
    .await
}

async fn remove_policy(t: &Case, name: &str) -> anyhow::Result<()> {
    use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
    use kube::api::Api;
    let params = DeleteParams::default();
    Api::<ValidatingAdmissionPolicyBinding>::all(t.client.clone()).delete(name, &params).await?;
    Api::<ValidatingAdmissionPolicy>::all(t.client.clone()).delete(name, &params).await?;
    Ok(())
}

#[test]
fn a_rollback_whose_record_cannot_be_written_restores_first_and_records_later() {
    e2e("status_unwritable", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let spec = "switch: {timeout: 20s}\nobserve: {for: 60s, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n";
        t.cutover("shop", spec).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let policy = format!("e2e-status-{}", t.ns);
        t.apply(&format!(
            r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {policy}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}
    resourceRules: [{{apiGroups: [cutover.dev], apiVersions: [v1alpha1], operations: [UPDATE], resources: [cutoverruns/status]}}]
  validations: [{{expression: "false", message: "status is frozen by the test"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {policy}}}
spec: {{policyName: {policy}, validationActions: [Deny]}}
"#,
            ns = t.ns
        ))
        .await?;
        let restored = async {
            wait::poll("status is frozen", secs(15), async || {
                let operator = cluster::client(Some(&cluster::operator_user())).await?;
                let runs: kube::api::Api<CutoverRun> = kube::api::Api::namespaced(operator, &t.ns);
                let run = runs.list(&kube::api::ListParams::default()).await?.items.pop().context("a run")?;
                let name = run.metadata.name.clone().unwrap_or_default();
                // As the operator writes it: it has no right to patch status.
                let params = kube::api::PostParams { dry_run: true, ..Default::default() };
                let refused = runs.replace_status(&name, &params, &run).await.err();
                Ok(refused.filter(|e| e.to_string().contains("frozen")).map(|_| ()))
            })
            .await?;
            t.fault("web", "green", json!({"error_rate": 1.0})).await?;
            t.points_to("web", "blue", 15).await
        }
        .await;
        remove_policy(t, &policy).await?;
        restored?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        // §5.1: the restore comes first once its own record is not written within 2 s; a second for the calls themselves.
        let triggers = run.status.context("status")?.triggers;
        let fired = triggers.iter().find(|r| r.name == "down").and_then(|r| r.fired_at).context("fired")?;
        let lines = t.audit()?;
        let sent = lines.iter().rfind(|l| l.resource == "services" && l.done() && l.selector().is_some());
        let sent: jiff::Timestamp = sent.context("a restore")?.received.parse()?;
        let took = sent.duration_since(fired);
        ensure!(took <= jiff::SignedDuration::from_secs(3), "the restore was sent {took:#} after the trigger");
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        Ok(())
    });
}
