//! What an operator says at its start about a cluster that does not fit, and that running Cutovers come to no harm by it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::cluster::OPERATOR;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, e2e};

const INDEX: &str = "/openapi/v3";
const DOCUMENT: &str = "/openapi/v3/apis/cutover.dev/v1alpha1";
const PROBED: &str = "switch: {minReady: '1', timeout: 20s}\nobserve: {for: 60s, every: 500ms, triggers: [{name: down, probe: {http: {path: /health}, failing: 2}}]}\n";

async fn get(t: &Case, path: &str) -> Result<Value> {
    Ok(t.client.request(http::Request::get(path).body(vec![])?).await?)
}

/// What an API server with definitions of an older version would publish: no record of the switch in a run's journal.
async fn older(t: &Case) -> Result<(Arc<str>, Arc<str>)> {
    let mut index = get(t, INDEX).await?;
    let place = &mut index["paths"]["apis/cutover.dev/v1alpha1"]["serverRelativeURL"];
    ensure!(place.is_string(), "the index has no document of ours");
    *place = json!(format!("{DOCUMENT}?hash=OLDER"));
    let mut document = get(t, DOCUMENT).await?;
    let status = "/components/schemas/dev.cutover.v1alpha1.CutoverRun/properties/status/properties";
    let fields = document.pointer_mut(status).and_then(Value::as_object_mut).context("the status of a run")?;
    ensure!(fields.remove("switch").is_some(), "a run's journal has no switch");
    Ok((index.to_string().into(), document.to_string().into()))
}

#[test]
fn with_older_definitions_nothing_is_begun_and_a_due_restore_is_made() {
    e2e("older_definitions", async |t: &Case| {
        let proxy = Proxy::start().await?;
        t.web().await?;
        t.start().await?;
        t.cutover("shop", PROBED).await?;
        t.phase("shop", Phase::Observing, 40).await?;
        t.kill();
        let (index, document) = older(t).await?;
        proxy.fail(move |_, path| match path {
            INDEX => Some(Fault::Answer(200, index.clone())),
            _ if path.starts_with(DOCUMENT) => Some(Fault::Answer(200, document.clone())),
            _ => None,
        });
        let _a = t.candidate("a", Some(&proxy.url)).await?;
        t.not_ready("a", &["cutoverruns.cutover.dev", "status.switch", "cutover crd | kubectl apply"]).await?;
        t.leads("a", 20).await?;
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        t.points_to("web", "blue", 30).await?;
        let writes = t.writes_of("a")?;
        ensure!(writes.iter().all(|l| l.resource == "services" || l.dry_run), "an unfit operator wrote {writes:?}");
        proxy.heal();
        t.ready("a").await?;
        t.ends("shop", Phase::RolledBack, 60).await?;
        ensure!(t.selector_writes("web")? == ["green", "blue"], "{:?}", t.selector_writes("web")?);
        ensure!(t.log_of("a")?.contains("fixed: "), "that it is fixed is not told");
        Ok(())
    });
}

#[test]
fn an_old_cluster_and_a_missing_policy_are_told_with_their_remedy() {
    e2e("old_cluster", async |t: &Case| {
        let proxy = Proxy::start().await?;
        let version = get(t, "/version").await?;
        let old: Arc<str> = {
            let mut old = version.clone();
            old["minor"] = json!("32");
            old.to_string().into()
        };
        let gone: Arc<str> = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
            "code": 404, "message": "not found"})
        .to_string()
        .into();
        proxy.fail(move |_, path| match path {
            "/version" => Some(Fault::Answer(200, old.clone())),
            _ if path.contains("/validatingadmissionpolicies/cutover-decision") => {
                Some(Fault::Answer(404, gone.clone()))
            }
            _ => None,
        });
        let _a = t.candidate("a", Some(&proxy.url)).await?;
        let says = ["Kubernetes 1.32", "1.33", "admission policy cutover-decision is missing", "deploy/admission"];
        t.not_ready("a", &says).await?;
        proxy.heal();
        t.ready("a").await
    });
}

#[test]
fn missing_rights_are_named() {
    e2e("missing_rights", async |t: &Case| {
        t.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: weak}\n").await?;
        let _a = t.operator_as("weak", "weak").await?;
        let lease = format!("may not update leases.coordination.k8s.io cutover-operator in namespace {}", t.ns);
        let says =
            ["list pods in namespace", "update cutoverruns/status.cutover.dev", &lease, "deploy/access/rbac.yaml"];
        t.not_ready("weak", &says).await
    });
}

#[test]
fn a_second_installation_finds_itself_out_and_harms_nothing() {
    e2e("second_installation", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: second}\n").await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": t.ns},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR},
            "subjects": [
                {"kind": "ServiceAccount", "name": "second", "namespace": t.ns},
            ],
        });
        t.apply_value(&binding).await?;
        let lease = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: second}\n\
                     rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch]}]\n\
                     ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: second}\n\
                     roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: second}\n\
                     subjects: [{kind: ServiceAccount, name: second}]\n";
        t.apply(lease).await?;
        let result = beside(t).await;
        Api::<ClusterRoleBinding>::all(t.client.clone()).delete(&t.ns, &DeleteParams::default()).await?;
        result
    });
}

async fn beside(t: &Case) -> Result<()> {
    let second = t.operator_as("second", "second").await?;
    t.leads("second", 20).await?;
    t.not_ready("second", &["another installation owns this cluster", "cutover-system:cutover-operator"]).await?;
    t.start().await?;
    t.cutover("shop", "switch: {timeout: 20s}\nobserve: {for: 3s, every: 500ms}\n").await?;
    t.ends("shop", Phase::Completed, 60).await?;
    let writes = t.writes_of("second")?;
    ensure!(writes.iter().all(|l| l.dry_run), "the second installation wrote {writes:?}");
    drop(second);
    Ok(())
}
