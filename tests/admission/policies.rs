//! The admission policies: whose word counts, and what only the operator may write.

use serde_json::{Value, json};

use crate::cluster::{Cluster, named};
use crate::corpus::minimal;

/// Refused with this text.
fn refused(answer: Result<Value, String>, expected: &str) {
    let text = answer.expect_err("this must be refused");
    assert!(text.contains(expected), "expected {expected:?}, got {text}");
}

const OWNERS: &str = "the owners of a run and of a decision belong to the operator";

fn owner(kind: &str, uid: &str) -> Value {
    let version = if kind == "ConfigMap" { "v1" } else { "cutover.dev/v1alpha1" };
    json!({"apiVersion": version, "kind": kind, "name": "x", "uid": uid})
}

fn run(cutover: &str) -> Value {
    let spec = json!({"cutover": cutover, "cutoverUID": "u", "planVersion": 1, "plan": {"a": {"b": 1}}});
    let mut run = named(json!({ "spec": spec }), "cutoverruns", &format!("{cutover}-1"));
    run["metadata"]["finalizers"] = json!(["cutover.dev/run"]);
    run["metadata"]["labels"] = json!({"cutover.dev/cutover": cutover});
    run
}

fn decision(by: &str, fields: Value) -> Value {
    let mut decision = json!({"spec": {"cutover": "shop", "runUID": "u", "by": by}});
    for (name, value) in fields.as_object().expect("fields are an object") {
        decision["spec"][name] = value.clone();
    }
    named(decision, "cutoverdecisions", &format!("by-{}", by.replace(':', "-")))
}

fn approval(by: &str, role: &str) -> Value {
    decision(by, json!({"decision": "Approve", "gate": "go", "role": role, "token": "t"}))
}

#[tokio::test]
async fn whoever_writes_a_cutover_must_be_allowed_to_use_its_account() {
    let Some(cluster) = Cluster::open("account").await else { return };
    cluster.bind("jane", "cutover-release");
    cluster.give_all_writes("mallory");
    let needed = "needs the verb `use` on serviceaccounts/cutover in namespace";
    refused(cluster.create(Some("mallory"), "cutovers", &minimal()).await, needed);
    cluster.create(Some("jane"), "cutovers", &minimal()).await.expect("jane may use the account");

    refused(cluster.merge(Some("mallory"), "cutovers/shop", &json!({"spec": {"activate": "blue"}})).await, needed);
    // Finalizers and labels are free, or garbage collection would need the verb as well.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    cluster.merge(Some("mallory"), "cutovers/shop", &label).await.expect("a label is free");
    let other = json!({"spec": {"serviceAccountName": "default"}});
    refused(cluster.merge(Some("jane"), "cutovers/shop", &other).await, "serviceaccounts/default");
    cluster.delete(Some("mallory"), "cutovers/shop").await.expect("deletion is a matter of RBAC alone");
    cluster.close();
}

#[tokio::test]
async fn runs_and_status_are_the_operators() {
    let Some(cluster) = Cluster::open("journal").await else { return };
    cluster.give_all_writes("mallory");
    let mallory = Some("mallory");
    cluster.create(None, "cutovers", &minimal()).await.expect("the administrator may");
    refused(cluster.create(mallory, "cutoverruns", &run("shop")).await, "created by the operator alone");
    cluster.create(None, "cutoverruns", &run("shop")).await.expect("the operator may");

    let forged = json!({"status": {"phase": "Completed"}});
    for object in ["cutovers/shop/status", "cutoverruns/shop-1/status"] {
        refused(cluster.merge(mallory, object, &forged).await, "status is written by the operator alone");
        cluster.merge(None, object, &forged).await.expect("the operator may");
        cluster.merge(mallory, object, &forged).await.expect("a write that changes nothing is free");
    }
    // A status in a write of the object itself has no effect.
    let sly = cluster.merge(mallory, "cutoverruns/shop-1", &json!({"status": {"phase": "Failed"}})).await;
    assert_eq!(sly.expect("it is dropped")["status"]["phase"], "Completed");

    let plan = json!({"spec": {"plan": {"a": {"b": 2}}}});
    refused(cluster.merge(mallory, "cutoverruns/shop-1", &plan).await, "never changes");
    refused(cluster.merge(None, "cutoverruns/shop-1", &plan).await, "never changes");
    for theirs in [json!({"finalizers": []}), json!({"labels": {"cutover.dev/cutover": "other"}})] {
        let answer = cluster.merge(mallory, "cutoverruns/shop-1", &json!({ "metadata": theirs })).await;
        refused(answer, "labels and the finalizer of a run belong to the operator");
    }
    let owner = json!({"metadata": {"ownerReferences": [owner("ConfigMap", "x")]}});
    refused(cluster.merge(mallory, "cutoverruns/shop-1", &owner).await, OWNERS);
    let note = json!({"metadata": {"annotations": {"note": "seen"}}});
    cluster.merge(mallory, "cutoverruns/shop-1", &note).await.expect("an annotation is free");

    cluster.delete(mallory, "cutoverruns/shop-1").await.expect("deletion is a matter of RBAC alone");
    assert!(cluster.exists("cutoverruns/shop-1").await, "the finalizer holds a run until it is closed");
    let release = json!({"metadata": {"finalizers": null}});
    cluster.merge(None, "cutoverruns/shop-1", &release).await.expect("the operator may");
    cluster.await_gone("cutoverruns/shop-1").await;
    cluster.close();
}

#[tokio::test]
async fn garbage_collection_is_not_hindered() {
    let Some(cluster) = Cluster::open("garbage").await else { return };
    let owner = cluster.create(None, "cutovers", &minimal()).await.expect("the administrator may");
    for name in ["shop-1", "shop-2"] {
        let mut owned = run("shop");
        owned["metadata"]["name"] = json!(name);
        owned["metadata"]["finalizers"] = json!([]);
        owned["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover", "name": "shop",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
        }]);
        cluster.create(None, "cutoverruns", &owned).await.expect("the operator may");
    }
    // Foreground deletion makes the collector delete the runs and then update the Cutover.
    cluster.delete(None, "cutovers/shop").await.expect("it may be deleted");
    for object in ["cutoverruns/shop-1", "cutoverruns/shop-2", "cutovers/shop"] {
        cluster.await_gone(object).await;
    }
    // A namespace that goes away takes everything with it.
    cluster.create(None, "cutovers", &minimal()).await.expect("the administrator may");
    cluster.bind("oncall", "cutover-on-call");
    let abort = decision("oncall", json!({"decision": "Abort"}));
    cluster.create(Some("oncall"), "cutoverdecisions", &abort).await.expect("oncall may");
    cluster.close_and_wait();
}

#[tokio::test]
async fn a_decision_is_ones_own_and_needs_its_verb() {
    let Some(cluster) = Cluster::open("decision").await else { return };
    cluster.bind("oncall", "cutover-on-call");
    cluster.bind("quinn", "cutover-approve-qa");
    cluster.give_all_writes("mallory");
    let try_as = async |user: &str, body: Value| cluster.dry_create(Some(user), "cutoverdecisions", &body).await;

    for verb in ["Abort", "Rollback", "Retry", "Suspend", "Resume", "Revalidate"] {
        try_as("oncall", decision("oncall", json!({"decision": verb}))).await.expect(verb);
        let needed = format!("needs the verb `{}` on cutovers/run for Cutover shop", verb.to_lowercase());
        refused(try_as("mallory", decision("mallory", json!({"decision": verb}))).await, &needed);
        refused(try_as("quinn", decision("quinn", json!({"decision": verb}))).await, &needed);
    }
    let resolve = json!({"decision": "Resolve", "step": "migrate", "outcome": "Succeeded"});
    try_as("oncall", decision("oncall", resolve)).await.expect("Resolve");
    refused(try_as("oncall", decision("oncall", json!({"decision": "Resolve"}))).await, "step and outcome");

    try_as("quinn", approval("quinn", "qa")).await.expect("quinn stands for qa");
    refused(try_as("quinn", approval("quinn", "operations")).await, "`approve` on cutovers/operations");
    refused(try_as("oncall", approval("oncall", "qa")).await, "`approve` on cutovers/qa");
    refused(try_as("oncall", approval("oncall", "run")).await, "`approve` on cutovers/run");
    refused(try_as("quinn", approval("oncall", "qa")).await, "spec.by must be your own user name, quinn");
    for missing in ["gate", "role", "token"] {
        let mut body = approval("quinn", "qa");
        body["spec"].as_object_mut().expect("a spec").remove(missing);
        refused(try_as("quinn", body).await, "need gate, role and token");
    }
    refused(try_as("oncall", decision("oncall", json!({"decision": "Explode"}))).await, "Unsupported value");
    cluster.close();
}

#[tokio::test]
async fn a_decision_never_changes() {
    let Some(cluster) = Cluster::open("unchanged").await else { return };
    cluster.bind("oncall", "cutover-on-call");
    cluster.give_all_writes("oncall");
    let abort = named(decision("oncall", json!({"decision": "Abort"})), "cutoverdecisions", "word");
    cluster.create(Some("oncall"), "cutoverdecisions", &abort).await.expect("oncall may");
    for change in [json!({"decision": "Rollback"}), json!({"comment": "later"}), json!({"runUID": "other"})] {
        let answer = cluster.merge(Some("oncall"), "cutoverdecisions/word", &json!({ "spec": change })).await;
        refused(answer, "a decision never changes");
        let answer = cluster.merge(None, "cutoverdecisions/word", &json!({ "spec": change })).await;
        refused(answer, "a decision never changes");
    }
    cluster.close();
}

#[tokio::test]
async fn the_run_that_a_decision_goes_with_is_the_operators_to_say() {
    let Some(cluster) = Cluster::open("owner").await else { return };
    cluster.bind("oncall", "cutover-on-call");
    cluster.give_all_writes("oncall");
    let with = |owners: Value| {
        let mut word = named(decision("oncall", json!({"decision": "Abort"})), "cutoverdecisions", "word");
        word["metadata"]["ownerReferences"] = owners;
        word
    };
    let (mine, other) = (json!([owner("ConfigMap", "x")]), json!([owner("CutoverRun", "y")]));
    for forged in [&mine, &other] {
        refused(cluster.create(Some("oncall"), "cutoverdecisions", &with(forged.clone())).await, OWNERS);
    }
    cluster.create(Some("oncall"), "cutoverdecisions", &with(json!([]))).await.expect("oncall may");
    let made = cluster.create(None, "cutoverruns", &run("shop")).await.expect("the operator may");
    let mut of_run = owner("CutoverRun", made["metadata"]["uid"].as_str().expect("a uid"));
    of_run["name"] = json!("shop-1");
    let object = "cutoverdecisions/word";
    let owners = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
    refused(cluster.merge(Some("oncall"), object, &owners(mine.clone())).await, OWNERS);
    cluster.merge(None, object, &owners(json!([of_run.clone()]))).await.expect("the operator may");
    // Neither taken away, nor changed, nor joined by another one, which would keep it when the run goes.
    let joined = json!([of_run, owner("ConfigMap", "x")]);
    for forged in [json!(null), json!([]), mine, other, joined] {
        refused(cluster.merge(Some("oncall"), object, &owners(forged)).await, OWNERS);
    }
    let note = json!({"metadata": {"labels": {"note": "seen"}}});
    cluster.merge(Some("oncall"), object, &note).await.expect("the rest is free");
    // It goes with the run, by the collector's hand.
    let release = json!({"metadata": {"finalizers": null}});
    cluster.merge(None, "cutoverruns/shop-1", &release).await.expect("the operator may");
    cluster.delete(Some("oncall"), "cutoverruns/shop-1").await.expect("a matter of RBAC alone");
    cluster.await_gone(object).await;
    cluster.close();
}

#[tokio::test]
async fn what_came_of_a_decision_is_the_operators_to_say() {
    let Some(cluster) = Cluster::open("answer").await else { return };
    cluster.bind("oncall", "cutover-on-call");
    cluster.give_all_writes("oncall");
    let mut retry = named(decision("oncall", json!({"decision": "Retry"})), "cutoverdecisions", "word");
    let forged = json!({"state": "Answered", "result": "accepted", "at": "2026-11-20T22:00:00Z", "run": "shop-2"});
    retry["status"] = forged.clone();
    let made = cluster.create(Some("oncall"), "cutoverdecisions", &retry).await.expect("oncall may");
    assert_eq!(made["status"], Value::Null, "a status that comes with the decision is dropped");
    let written = cluster.merge(Some("oncall"), "cutoverdecisions/word/status", &json!({ "status": forged })).await;
    refused(written, "status is written by the operator alone");
    cluster.merge(None, "cutoverdecisions/word/status", &json!({ "status": forged })).await.expect("the operator may");
    let open = json!({"status": {"state": "Open"}});
    refused(cluster.merge(Some("oncall"), "cutoverdecisions/word/status", &open).await, "by the operator alone");
    cluster.close();
}
