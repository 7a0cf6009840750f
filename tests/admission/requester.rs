//! Who asked for a release is who writes it, and namespaces that require gates.

use serde_json::{Value, json};

use crate::cluster::{Cluster, kubectl, project};
use crate::corpus::{minimal, with};

fn refused(answer: Result<Value, String>, expected: &str) {
    let text = answer.expect_err("this must be refused");
    assert!(text.contains(expected), "expected {expected:?}, got {text}");
}

fn asked_by(name: &str) -> Value {
    with(json!({"release": {"version": "2", "requestedBy": name}}))
}

/// The policy as it is shipped, for one namespace alone and under a name of its own, changed by `change`.
fn of_namespace(cluster: &Cluster, file: &str, name: &str, change: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(project(file)).expect("the policy is there");
    let own = format!("{name}-{}", cluster.namespace);
    let text = change(text).replace(&format!("name: {name}\n"), &format!("name: {own}\n"));
    let text = text.replace(&format!("policyName: {name}\n"), &format!("policyName: {own}\n"));
    let bound = format!(
        "{text}  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}}}\n",
        cluster.namespace
    );
    kubectl(&["apply", "-f", "-"], Some(&bound));
}

fn remove(cluster: &Cluster, name: &str) {
    let own = format!("{name}-{}", cluster.namespace);
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        kubectl(&["delete", kind, &own, "--wait=false"], None);
    }
}

#[tokio::test]
async fn whoever_writes_a_release_is_named_as_the_one_who_asked_for_it() {
    let Some(cluster) = Cluster::open("requester").await else { return };
    for user in ["jane", "mallory"] {
        cluster.bind(user, "cutover-release");
    }
    cluster.bind_to("group", "developers", "cutover-release");
    cluster.bind_to("serviceaccount", "argocd", "cutover-release");
    let gitops = cluster.account("argocd");
    let mallory = Some("mallory");
    let forged = async || cluster.dry_create(mallory, "cutovers", &asked_by("jane")).await;
    let text = cluster.refused_soon("another's name", forged).await;
    assert!(text.contains("spec.release.requestedBy must be your own user name, mallory, and is jane"), "{text}");
    let of_a_group = cluster.dry_create_in_group(("omar", "developers"), "cutovers", &asked_by("jane")).await;
    refused(of_a_group, "your own user name, omar");
    refused(cluster.dry_create(Some(&gitops), "cutovers", &asked_by("jane")).await, &gitops);
    cluster.dry_create(Some(&gitops), "cutovers", &asked_by(&gitops)).await.expect("its own name");
    cluster.dry_create(mallory, "cutovers", &minimal()).await.expect("nobody is named");

    cluster.create(Some("jane"), "cutovers", &asked_by("jane")).await.expect("jane is jane");
    let spec = |spec: Value| json!({ "spec": spec });
    let change = async |fields: Value| cluster.merge(mallory, "cutovers/shop", &spec(fields)).await;
    // What starts a run, or names another one, is asked for by who writes it.
    for fields in [
        json!({"release": {"version": "3"}}),
        json!({"activate": "blue"}),
        json!({"release": {"attempt": 1}}),
        json!({"release": {"requestedBy": "bob"}}),
    ] {
        refused(change(fields.clone()).await, "your own user name, mallory");
    }
    change(json!({"suspend": true})).await.expect("no release is asked for");
    change(json!({"release": {"requestedBy": "mallory"}})).await.expect("under the own name");
    change(json!({"release": {"version": "3"}})).await.expect("under the own name");
    change(json!({"release": {"requestedBy": null, "version": "4"}})).await.expect("nobody is named");
    cluster.close();
}

#[tokio::test]
async fn a_listed_gitops_account_names_whoever_asked() {
    let Some(cluster) = Cluster::open("gitops").await else { return };
    // The policy of the cluster lists nobody. This one does, and looks at another field, so that it alone decides.
    let account = cluster.account("argocd");
    let listed = format!("expression: '[\"{account}\"]'");
    of_namespace(&cluster, "deploy/admission/requester.yaml", "cutover-requester", |text| {
        assert!(text.contains("expression: '[]'"), "the list is a literal");
        text.replace("expression: '[]'", &listed).replace("requestedBy", "revision")
    });
    cluster.bind_to("serviceaccount", "argocd", "cutover-release");
    cluster.bind("mallory", "cutover-release");
    let named = with(json!({"release": {"version": "2", "revision": "jane"}}));
    let as_mallory = async || cluster.dry_create(Some("mallory"), "cutovers", &named).await;
    let text = cluster.refused_soon("a forged name", as_mallory).await;
    assert!(text.contains("spec.release.revision must be your own user name, mallory"), "{text}");
    cluster.dry_create(Some(&account), "cutovers", &named).await.expect("the list lets it name others");
    remove(&cluster, "cutover-requester");
    cluster.close();
}

#[tokio::test]
async fn a_namespace_may_require_gates() {
    let Some(cluster) = Cluster::open("gates").await else { return };
    kubectl(&["apply", "--server-side", "-f", "deploy/policies/require-gates.yaml"], None);
    cluster.bind("jane", "cutover-release");
    let jane = Some("jane");
    let as_jane = async |body: &Value| cluster.dry_create(jane, "cutovers", body).await;
    as_jane(&minimal()).await.expect("not in this namespace yet");
    kubectl(&["label", "namespace", &cluster.namespace, "cutover.dev/require-gates=true"], None);
    let bare = minimal();
    let text = cluster.refused_soon("a Cutover without a gate", || as_jane(&bare)).await;
    assert!(text.contains("this namespace requires a gate"), "{text}");
    let gated = |phase: &str, more: Value| {
        let mut step = json!({"name": "go", "approval": {"roles": [{"name": "qa"}], "excludeRequester": true}});
        for (key, value) in more.as_object().expect("fields") {
            step[key] = value.clone();
        }
        with(json!({"phases": {phase: {"steps": [step]}}}))
    };
    for phase in ["prepare", "verify"] {
        as_jane(&gated(phase, json!({}))).await.expect(phase);
    }
    refused(as_jane(&gated("confirm", json!({}))).await, "requires a gate");
    for more in [
        json!({"when": "false"}),
        json!({"critical": false}),
        json!({"onFailure": "Continue"}),
        json!({"approval": {"roles": [{"name": "qa"}]}}),
    ] {
        refused(as_jane(&gated("verify", more)).await, "requires a gate");
    }
    let template = with(json!({"templates": [{"kind": "ClusterCutoverTemplate", "name": "any"}]}));
    refused(as_jane(&template).await, "requires a gate");
    cluster.close();
}
