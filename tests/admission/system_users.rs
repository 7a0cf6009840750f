//! Users of the system and ServiceAccounts: barred from gates by default, and from nothing else.

use serde_json::{Value, json};

use crate::cluster::{Cluster, kubectl, named, project};

fn decision(by: &str, fields: Value) -> Value {
    let mut decision = json!({"spec": {"cutover": "shop", "runUID": "u", "by": by}});
    for (name, value) in fields.as_object().expect("fields are an object") {
        decision["spec"][name] = value.clone();
    }
    named(decision, "cutoverdecisions", "word")
}

#[tokio::test]
async fn a_pipeline_rolls_back_and_aborts_and_approves_only_where_that_is_said() {
    let Some(cluster) = Cluster::open("system").await else { return };
    for role in ["cutover-on-call", "cutover-approve-qa"] {
        cluster.bind_to("serviceaccount", "ci", role);
    }
    cluster.bind_to("group", "sre", "cutover-on-call");
    let pipeline = cluster.account("ci");
    let try_as = async |user: &str, fields: Value| {
        cluster.dry_create(Some(user), "cutoverdecisions", &decision(user, fields)).await
    };
    let gate = |verb: &str| json!({"decision": verb, "gate": "go", "role": "qa", "token": "t"});
    // In this cluster `systemApprovers` is true.
    for verb in ["Approve", "Reject"] {
        try_as(&pipeline, gate(verb)).await.expect(verb);
    }
    // The policy as it is shipped, for this namespace.
    let text = std::fs::read_to_string(project("deploy/admission/decision.yaml")).expect("the policy is there");
    let own = format!("cutover-decision-{}", cluster.namespace);
    let text = text.replace("name: cutover-decision\n", &format!("name: {own}\n"));
    let text = text.replace("policyName: cutover-decision\n", &format!("policyName: {own}\n"));
    let bound = format!(
        "{text}  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}}}\n",
        cluster.namespace
    );
    kubectl(&["apply", "-f", "-"], Some(&bound));
    let text = cluster.refused_soon("an approval by an account", || try_as(&pipeline, gate("Approve"))).await;
    assert!(text.contains("gates are for people"), "{text}");
    let text = try_as(&pipeline, gate("Reject")).await.expect_err("a word on a gate, too");
    assert!(text.contains("gates are for people"), "{text}");
    for verb in ["Rollback", "Abort", "Suspend", "Retry"] {
        try_as(&pipeline, json!({"decision": verb})).await.expect(verb);
        try_as("system:admin", json!({"decision": verb})).await.expect_err("RBAC knows no such user");
        let body = decision("omar", json!({"decision": verb}));
        cluster.dry_create_in_group(("omar", "sre"), "cutoverdecisions", &body).await.expect("by the group's role");
        let body = decision("system:admin", json!({"decision": verb}));
        let masters = cluster.dry_create_in_group(("system:admin", "system:masters"), "cutoverdecisions", &body).await;
        masters.expect("the administrator of the cluster");
    }
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        kubectl(&["delete", kind, &own, "--wait=false"], None);
    }
    cluster.close();
}
