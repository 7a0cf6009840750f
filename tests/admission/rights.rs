//! What RBAC gives the operator and a tenant's account, and what it does not.

use serde_json::{Value, json};

use crate::cluster::{Cluster, OPERATOR, project};

#[tokio::test]
async fn the_operator_reads_much_and_writes_little() {
    let Some(cluster) = Cluster::open("rights").await else { return };
    let here = cluster.namespace.as_str();
    let ask = async |user: &str, verb: &str, group: &str, resource: &str, sub: &str, name: &str, namespace: &str| {
        let attributes = json!({"verb": verb, "group": group, "resource": resource, "subresource": sub, "name": name,
            "namespace": namespace});
        cluster.allowed(user, attributes).await
    };
    for (verb, group, resource, sub) in [
        ("list", "", "pods", ""),
        ("watch", "", "services", ""),
        ("watch", "discovery.k8s.io", "endpointslices", ""),
        ("get", "apps", "statefulsets", ""),
        ("get", "batch", "jobs", ""),
        ("get", "", "pods", "log"),
        ("create", "cutover.dev", "cutoverruns", ""),
        ("update", "cutover.dev", "cutoverruns", "status"),
        ("update", "cutover.dev", "cutoverdecisions", "status"),
        ("patch", "cutover.dev", "cutoverdecisions", ""),
        ("delete", "cutover.dev", "cutoverdecisions", ""),
        ("create", "events.k8s.io", "events", ""),
    ] {
        assert!(ask(OPERATOR, verb, group, resource, sub, "", here).await, "must be allowed: {verb} {resource}/{sub}");
    }
    for (verb, group, resource) in [
        ("get", "", "secrets"),
        ("list", "", "secrets"),
        ("get", "", "configmaps"),
        ("patch", "", "services"),
        ("patch", "apps", "deployments"),
        ("create", "batch", "jobs"),
        ("delete", "batch", "jobs"),
        ("create", "", "pods"),
        ("impersonate", "", "users"),
        ("update", "cutover.dev", "cutoverdecisions"),
    ] {
        assert!(!ask(OPERATOR, verb, group, resource, "", "", here).await, "must not be allowed: {verb} {resource}");
    }
    // Impersonation is granted by a namespace, for one account.
    assert!(ask(OPERATOR, "impersonate", "", "serviceaccounts", "", "cutover", here).await);
    assert!(!ask(OPERATOR, "impersonate", "", "serviceaccounts", "", "default", here).await);
    assert!(!ask(OPERATOR, "impersonate", "", "serviceaccounts", "", "cutover", "default").await);

    let account = format!("system:serviceaccount:{here}:cutover");
    for (verb, group, resource) in [
        ("patch", "", "services"),
        ("patch", "apps", "deployments"),
        ("create", "batch", "jobs"),
        ("delete", "batch", "jobs"),
        ("delete", "", "pods"),
        ("get", "", "secrets"),
    ] {
        assert!(ask(&account, verb, group, resource, "", "", here).await, "the account needs {verb} {resource}");
        assert!(!ask(&account, verb, group, resource, "", "", "default").await, "and only at home: {verb} {resource}");
    }
    assert!(!ask(&account, "list", "", "secrets", "", "", here).await);
    cluster.close();
}

#[tokio::test]
async fn the_operators_pod_is_admitted_under_the_restricted_level() {
    let Some(cluster) = Cluster::open("pod").await else { return };
    let text = std::fs::read_to_string(project("deploy/operator.yaml")).expect("the manifest is there");
    let deployment: Value = serde_saphyr::from_str(&text).expect("the manifest is YAML");
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("operator");
    let path = "/api/v1/namespaces/cutover-system/pods";
    cluster.dry_create_at(path, &pod).await.expect("the pod is admitted");
    // The namespace does enforce: the same pod with one right too many is refused.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let text = cluster.dry_create_at(path, &pod).await.expect_err("the level is enforced");
    assert!(text.contains("restricted"), "{text}");
    cluster.close();
}
