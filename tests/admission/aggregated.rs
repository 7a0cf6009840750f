//! What the built-in roles of a namespace give of Cutover (`deploy/access/roles.yaml`): nobody becomes an approver by
//! them, and nobody may use an account.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, kubectl, named};
use crate::corpus::minimal;

/// Gives a user a built-in role in the namespace, and waits until what is aggregated to it counts.
async fn give(cluster: &Cluster, user: &str, role: &str) {
    let role = format!("--clusterrole={role}");
    let user_is = format!("--user={user}");
    kubectl(&["create", "rolebinding", user, &role, &user_is, "-n", &cluster.namespace], None);
    let limit = Instant::now() + Duration::from_secs(30);
    while !may(cluster, user, "list", "cutovers", "").await {
        assert!(Instant::now() < limit, "{user} has no rights yet");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn may(cluster: &Cluster, user: &str, verb: &str, resource: &str, subresource: &str) -> bool {
    let asked = json!({
        "group": "cutover.dev", "resource": resource, "subresource": subresource, "verb": verb, "name": "shop",
        "namespace": cluster.namespace,
    });
    cluster.allowed(user, asked).await
}

fn decision(by: &str, verb: &str) -> Value {
    let gate = if verb == "Approve" { json!({"gate": "go", "role": "qa", "token": "t"}) } else { json!({}) };
    let mut spec = json!({"cutover": "shop", "runUID": "u", "decision": verb, "by": by});
    spec.as_object_mut().expect("an object").extend(gate.as_object().expect("an object").clone());
    named(json!({ "spec": spec }), "cutoverdecisions", &format!("{by}-{}", verb.to_lowercase()))
}

#[tokio::test]
async fn built_in_roles_give_what_they_say_and_no_approval() {
    let Some(cluster) = Cluster::open("aggregated").await else { return };
    for role in ["view", "edit", "admin"] {
        give(&cluster, &format!("{role}er"), role).await;
    }
    for user in ["viewer", "editer", "adminer"] {
        for resource in ["cutovers", "cutoverruns", "cutoverdecisions", "cutovertemplates"] {
            assert!(may(&cluster, user, "watch", resource, "").await, "{user} watches {resource}");
        }
        for (verb, resource, subresource) in [
            ("approve", "cutovers", "qa"),
            ("reject", "cutovers", "qa"),
            ("resolve", "cutovers", "run"),
            ("retry", "cutovers", "run"),
            ("update", "cutovers", "status"),
            ("create", "cutoverruns", ""),
            ("update", "cutoverruns", "status"),
            ("update", "cutoverdecisions", "status"),
            ("create", "clustercutovertemplates", ""),
        ] {
            assert!(
                !may(&cluster, user, verb, resource, subresource).await,
                "{user} may {verb} {resource}/{subresource}"
            );
        }
    }
    for (user, writes, steers) in [("viewer", false, false), ("editer", true, false), ("adminer", true, true)] {
        for verb in ["create", "update", "patch", "delete"] {
            assert_eq!(may(&cluster, user, verb, "cutovers", "").await, writes, "{user} {verb}");
        }
        for verb in ["abort", "rollback", "suspend", "resume"] {
            assert_eq!(may(&cluster, user, verb, "cutovers", "run").await, steers, "{user} {verb}");
        }
        // Roles alone are not enough for the first release: the account is a matter of its own.
        let refused = cluster.dry_create(Some(user), "cutovers", &minimal()).await.expect_err("no account was given");
        let why = if writes { "needs the verb `use`" } else { "cannot create" };
        assert!(refused.contains(why), "{user}: {refused}");
        let rollback = cluster.dry_create(Some(user), "cutoverdecisions", &decision(user, "Rollback")).await;
        assert_eq!(rollback.is_ok(), steers, "{user}: {rollback:?}");
        cluster.dry_create(Some(user), "cutoverdecisions", &decision(user, "Approve")).await.expect_err("no approver");
    }
    cluster.close();
}
