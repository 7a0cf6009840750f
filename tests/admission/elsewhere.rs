//! No field of a Cutover leads to another namespace: neither a name with a slash, nor a field that names one.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::corpus::{minimal, step, with};

/// A field, and what it is where it leads to another namespace.
type Reference = (&'static str, Box<dyn Fn(Value) -> Value>);

/// What is referred to, and the smallest Cutover with that reference: by the name of the object, with one more field.
fn references() -> Vec<Reference> {
    let beside = |mut reference: Value, more: Value| {
        for (name, value) in more.as_object().into_iter().flatten() {
            reference[name] = value.clone();
        }
        reference
    };
    let http = |part: Value| {
        let mut http = json!({"path": "/"});
        http.as_object_mut().into_iter().for_each(|http| http.extend(part.as_object().cloned().unwrap_or_default()));
        step(json!({"name": "a", "http": http}))
    };
    vec![
        ("a Service", Box::new(move |more| with(json!({"services": [beside(json!({"name": "shop"}), more)]})))),
        (
            "a workload",
            Box::new(move |more| {
                let mut manifest = minimal();
                let workload = beside(json!({"kind": "Deployment", "name": "shop-blue"}), more);
                manifest["spec"]["sides"][0]["workloads"][0] = workload;
                manifest
            }),
        ),
        (
            "a Prometheus",
            Box::new(move |more| {
                with(json!({"prometheus": {"service": beside(json!({"name": "prometheus", "port": 9090}), more)}}))
            }),
        ),
        (
            "a Secret",
            Box::new(move |more| {
                let secret = beside(json!({"name": "token", "key": "k"}), more);
                http(json!({"headersFrom": [{"name": "Authorization", "secret": secret}]}))
            }),
        ),
        (
            "an object",
            Box::new(move |more| {
                let object = beside(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}), more);
                step(json!({"name": "a", "resource": beside(object, json!({"expect": ["true"]}))}))
            }),
        ),
        (
            "a template",
            Box::new(move |more| {
                let template = beside(json!({"kind": "CutoverTemplate", "name": "checks"}), more);
                with(json!({"templates": [template]}))
            }),
        ),
    ]
}

#[tokio::test]
async fn no_reference_leads_to_another_namespace() {
    let Some(cluster) = Cluster::open("elsewhere").await else { return };
    let create = async |manifest: &Value| cluster.dry_create(None, "cutovers", manifest).await;
    for (what, refer) in references() {
        create(&refer(json!({}))).await.unwrap_or_else(|e| panic!("{what} of the namespace: {e}"));
        let text = create(&refer(json!({"namespace": "kube-system"}))).await.expect_err(what);
        assert!(text.contains("unknown field") && text.contains("namespace"), "{what}: {text}");
        let text = create(&refer(json!({"name": "kube-system/shop"}))).await.expect_err(what);
        assert!(text.contains("should match") && text.contains("name"), "{what}: {text}");
    }
    for accounts in [
        json!({"serviceAccountName": "kube-system/default"}),
        json!({"jobServiceAccounts": ["kube-system/default"]}),
        json!({"serviceAccountName": "system:serviceaccount:kube-system:default"}),
    ] {
        let text = create(&with(accounts)).await.expect_err("an account of another namespace");
        assert!(text.contains("should match") && text.contains("erviceAccount"), "{text}");
    }
    cluster.close();
}
