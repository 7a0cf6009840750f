//! `kubectl cutover check` on installations, rights and Cutovers that are in order, and on broken ones.

use anyhow::{Context, Result, ensure};
use cutover::api::Cutover;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::case::secs;
use crate::harness::cluster::{self, OPERATOR, SYSTEM};
use crate::harness::{Case, ROOT, alone, e2e, wait};

/// At rest on blue.
const IDLE: &str = "activate: blue\nphases: {verify: {steps: [{name: go, approval: {roles: [{name: qa}]}}]}}\n";

/// The lines with this id, about this Cutover where one is named.
fn lines<'a>(report: &'a Value, id: &str, cutover: Option<&str>) -> Vec<&'a Value> {
    let all = report["checks"].as_array().into_iter().flatten();
    let of = |l: &&Value| {
        let about = l["cutover"].as_str().and_then(|c| c.split_once('/')).map(|(_, name)| name);
        l["id"] == id && cutover.is_none_or(|c| about == Some(c))
    };
    all.filter(of).collect()
}

/// That one line with this id is in this state, and says these words in message or remedy.
fn has(report: &Value, id: &str, state: &str, words: &[&str]) -> Result<()> {
    let found = lines(report, id, None);
    let says = |l: &&Value| {
        let text = format!("{} {} {}", l["message"], l["remedy"], l["missing"]);
        l["state"] == state && words.iter().all(|w| text.contains(w))
    };
    ensure!(found.iter().any(says), "no line {id} is {state} with {words:?}: {found:#?}");
    let doc = format!("docs/cluster-check.md#{id}");
    ensure!(found.iter().all(|l| l["doc"] == *doc), "{found:#?}");
    Ok(())
}

async fn check(t: &Case, user: Option<&str>, name: &[&str], code: i32) -> Result<Value> {
    let arguments: Vec<&str> = ["check"].into_iter().chain(name.iter().copied()).chain(["-o", "json"]).collect();
    t.plugin(user, &arguments).await?.with(code)?.json()
}

/// The operator as an installation has it, for the namespace of the test alone.
async fn install(t: &Case) -> Result<()> {
    let text = std::fs::read_to_string(std::path::Path::new(ROOT).join("deploy/operator.yaml"))?;
    let text = text.replace("args: [run, ", &format!("args: [run, --namespace={}, ", t.ns));
    let text = text.replace("CUTOVER-IMAGE", "docker.io/cutover/cutover:0.1.0");
    t.apply(&text.replace("replicas: 2", "replicas: 1")).await
}

async fn uninstall(t: &Case) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(t.client.clone(), SYSTEM);
    let foreground = DeleteParams::foreground();
    api.delete(OPERATOR, &foreground).await?;
    wait::poll("the Deployment of the operator is gone", secs(60), async || {
        Ok(api.get_opt(OPERATOR).await?.is_none().then_some(()))
    })
    .await
}

#[test]
fn an_installation_in_order_passes_and_one_that_is_gone_fails() {
    alone("plugin_check_whole", async |t: &Case| {
        t.web().await?;
        let before = t.plugin(None, &["check", "--pre", "-o", "json"]).await?.with(0)?.json()?;
        for id in ["api-version", "admission-api", "selectable-fields", "clock", "install-rights"] {
            has(&before, id, "ok", &[])?;
        }
        has(&before, "other-installation", "warning", &["an installation is there"])?;
        install(t).await?;
        let result = async {
            t.cutover("shop", IDLE).await?;
            let report = check(t, None, &["shop", "--wait", "90s"], 0).await?;
            ensure!(report["ok"] == true && report["failed"] == 0 && report["unknown"] == 0, "{report:#}");
            for id in [
                "crd-version",
                "crd-stored-versions",
                "policies-bound",
                "policies-proven",
                "operator-running",
                "operator-version",
                "operator-lease",
                "operator-rights",
                "account-exists",
                "account-rights",
                "impersonation",
                "accepted",
                "services",
                "service-claimed-twice",
                "workloads",
                "sides",
                "sides-overlap",
                "side-ready",
                "selector-owner",
                "autoscaler",
                "disruption-budget",
                "conditions",
            ] {
                ensure!(lines(&report, id, None).iter().all(|l| l["state"] == "ok"), "{id}: {report:#}");
                has(&report, id, "ok", &[])?;
            }
            has(&report, "your-rights", "ok", &["release", "rollback", "approve as qa"])?;
            let page = t.plugin(None, &["check", "shop"]).await?.with(0)?;
            page.says(&["checks are ok", "Admission policies", "a forged approval, sent as a dry run, is denied"])?;
            Ok(())
        }
        .await;
        uninstall(t).await?;
        result?;
        let report = check(t, None, &["shop"], 1).await?;
        has(&report, "operator-running", "failed", &["no Deployment cutover-operator", "helm install"])?;
        // What waits for it does not wait for ever.
        let told = t.plugin(None, &["check", "--wait", "1s"]).await?.with(4)?;
        told.says(&["✖", "operator-running"])?;
        Ok(())
    });
}

#[test]
fn what_is_broken_around_a_cutover_is_named_with_its_remedy() {
    e2e("plugin_check_broken", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        t.cutover("shop", IDLE).await?;
        t.condition("shop", "Accepted", true, 30).await?;
        t.cutover("other", "activate: blue\n").await?;
        t.condition("other", "Accepted", true, 30).await?;
        t.apply(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {minReplicas: 1, \
             maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web-blue}}\n---\n\
             apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {maxUnavailable: 0, selector: \
             {matchLabels: {app: web}}}\n",
        )
        .await?;
        let report = check(t, None, &[], 1).await?;
        // Of two of the same second the uid says which one is the older.
        let mut born = vec![];
        for name in ["shop", "other"] {
            let meta = t.api::<Cutover>().get(name).await?.metadata;
            born.push((meta.creation_timestamp.map(|at| at.0), meta.uid, name));
        }
        let younger = born.into_iter().max().map_or("", |(.., name)| name);
        for cutover in ["shop", "other"] {
            let twice = lines(&report, "service-claimed-twice", Some(cutover));
            ensure!(twice.len() == 1 && twice[0]["state"] == "failed", "{twice:#?}");
            let remedy = format!("edit cutover {younger} ");
            ensure!(twice[0]["remedy"].as_str().is_some_and(|r| r.contains(&remedy)), "{twice:#?}");
        }
        has(&report, "accepted", "ok", &[])?;
        has(&report, "autoscaler", "warning", &["HorizontalPodAutoscaler web", "green by none", "kubectl autoscale"])?;
        has(&report, "disruption-budget", "warning", &["no pod of blue and green", "kubectl patch pdb web"])?;
        has(&report, "disruption-budget", "warning", &["counts both sides as one"])?;
        // Rights of the account, one by one.
        let mut role = t.api::<Role>().get("cutover").await?;
        for rule in role.rules.iter_mut().flatten() {
            if rule.resources.as_ref().is_some_and(|r| r.iter().any(|r| r == "services")) {
                rule.verbs = vec!["get".into()];
            }
        }
        t.merge::<Role>("cutover", json!({"rules": role.rules})).await?;
        t.api::<RoleBinding>().delete("cutover-impersonate", &DeleteParams::default()).await?;
        wait::poll("the authorizer knows", secs(15), async || {
            let report = check(t, None, &["shop"], 1).await?;
            let right =
                has(&report, "account-rights", "failed", &["may not patch services web", "kubectl create role"]);
            let acts = has(&report, "impersonation", "failed", &["--verb=impersonate", OPERATOR]);
            Ok(right.and(acts).ok())
        })
        .await?;
        t.api::<ServiceAccount>().delete("cutover", &DeleteParams::default()).await?;
        let report = check(t, None, &["shop"], 1).await?;
        has(&report, "account-exists", "failed", &["kubectl create serviceaccount cutover -n"])?;
        t.plugin(None, &["check", "nothing"])
            .await?
            .with(5)?
            .says(&["no Cutover nothing", "name one of other, shop"])?;
        Ok(())
    });
}

#[test]
fn a_user_without_rights_sees_what_is_missing() {
    e2e("plugin_check_rights", async |t: &Case| {
        t.web().await?;
        t.cutover("shop", IDLE).await?;
        let nobody = Some("nobody@example.com");
        let report = check(t, nobody, &[], 0).await?;
        has(&report, "api-version", "ok", &[])?;
        has(&report, "crd-version", "ok", &[])?;
        for (id, right) in [
            ("crd-stored-versions", "get customresourcedefinitions.apiextensions.k8s.io"),
            ("policies-bound", "get validatingadmissionpolicies.admissionregistration.k8s.io"),
            ("policies-proven", "create cutoverdecisions.cutover.dev"),
            ("operator-running", "get deployments.apps"),
            ("operator-lease", "get leases.coordination.k8s.io"),
            ("operator-rights", "create subjectaccessreviews.authorization.k8s.io"),
            ("cutovers", "list cutovers.cutover.dev"),
        ] {
            has(&report, id, "unknown", &[right])?;
            ensure!(lines(&report, id, None).iter().any(|l| l["missing"] == right), "{id}: {report:#}");
        }
        let before = check(t, nobody, &["--pre"], 1).await?;
        has(&before, "install-rights", "failed", &["clusterroles", "validatingadmissionpolicies"])?;
        // On call: sees the Cutover, and not what stands around it.
        let jane = Some(crate::harness::app::PEOPLE[0]);
        let report = check(t, jane, &["shop"], 1).await?;
        has(&report, "policies-proven", "ok", &[])?;
        has(&report, "your-rights", "ok", &["you may abort, rollback", "you may not release, approve as qa"])?;
        has(&report, "account-rights", "unknown", &["localsubjectaccessreviews"])?;
        has(&report, "sides", "unknown", &["list services"])?;
        has(&report, "workloads", "unknown", &["list deployments.apps"])?;
        has(&report, "accepted", "failed", &["has not looked at it"])?;
        Ok(())
    });
}

#[test]
fn a_policy_that_is_not_bound_lets_forgeries_through_and_fails() {
    alone("plugin_check_policy", async |t: &Case| {
        let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(t.client.clone());
        api.delete("cutover-decision", &DeleteParams::default()).await?;
        let unbound = wait::poll("a forgery is admitted", secs(30), async || {
            let report = check(t, None, &[], 1).await?;
            let bound = has(&report, "policies-bound", "failed", &["cutover-decision", "deploy/admission"]);
            let proven = has(&report, "policies-proven", "failed", &["would be admitted", "deploy/admission"]);
            Ok(bound.and(proven).ok())
        })
        .await;
        let text = std::fs::read_to_string(std::path::Path::new(ROOT).join("deploy/admission/decision.yaml"))?;
        for object in cluster::documents(&text)? {
            cluster::apply(&t.client, &object, SYSTEM).await.context("the policy again")?;
        }
        let again = wait::poll("forgeries are denied again", secs(30), async || {
            let report = check(t, None, &[], 1).await?;
            Ok(has(&report, "policies-proven", "ok", &[]).ok())
        })
        .await;
        unbound.and(again)
    });
}

#[test]
fn a_prometheus_is_asked_through_the_api_server() {
    e2e("plugin_check_metrics", async |t: &Case| {
        t.web().await?;
        t.prometheus().await?;
        t.cutover("shop", &format!("{IDLE}prometheus: {{service: {{name: prometheus, port: 9090}}}}\n")).await?;
        let report = check(t, None, &["shop"], 1).await?;
        has(&report, "prometheus", "ok", &["Prometheus prometheus:9090", "answers"])?;
        let jane = Some(crate::harness::app::PEOPLE[0]);
        let report = check(t, jane, &["shop"], 1).await?;
        has(&report, "prometheus", "unknown", &["get services/proxy"])?;
        t.merge::<Deployment>("prometheus", json!({"spec": {"replicas": 0}})).await?;
        wait::poll("it is gone", secs(30), async || {
            let report = check(t, None, &["shop"], 1).await?;
            Ok(has(&report, "prometheus", "failed", &["does not answer", "endpointslices"]).ok())
        })
        .await
    });
}
