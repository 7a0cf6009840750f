//! Which accounts an author may give to Jobs: those that he may use himself.

use serde_json::{Value, json};

use crate::cluster::{Cluster, kubectl, named};
use crate::corpus::with;

fn refused(answer: Result<Value, String>, expected: &str) {
    let text = answer.expect_err("this must be refused");
    assert!(text.contains(expected), "expected {expected:?}, got {text}");
}

/// More accounts than a Cutover may list.
const NINE: [&str; 9] = ["backup", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"];

/// A Role that lets its holder write Cutovers and use these accounts; all of them where none is named.
fn role(cluster: &Cluster, name: &str, accounts: &[&str]) {
    let mut use_ = json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["use"]});
    if !accounts.is_empty() {
        use_["resourceNames"] = json!(accounts);
    }
    let manifest = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "rules": [use_, {"apiGroups": ["cutover.dev"], "resources": ["cutovers", "cutovertemplates"],
            "verbs": ["get", "create", "update", "patch"]}],
    });
    kubectl(&["apply", "-f", "-"], Some(&manifest.to_string()));
}

fn lists(accounts: Value) -> Value {
    with(json!({ "jobServiceAccounts": accounts }))
}

#[tokio::test]
async fn each_account_of_jobs_is_one_that_the_author_may_use() {
    let Some(cluster) = Cluster::open("job-accounts").await else { return };
    role(&cluster, "author", &[&["cutover"], &NINE[..]].concat());
    cluster.bind("jane", "author");
    cluster.bind_to("group", "developers", "author");
    cluster.bind_to("serviceaccount", "ci", "author");
    let pipeline = cluster.account("ci");
    let as_jane = async |accounts: Value| cluster.dry_create(Some("jane"), "cutovers", &lists(accounts)).await;
    let of_a_group =
        async |accounts: Value| cluster.dry_create_in_group(("omar", "developers"), "cutovers", &lists(accounts)).await;
    let as_pipeline = async |accounts: Value| cluster.dry_create(Some(&pipeline), "cutovers", &lists(accounts)).await;
    let text = cluster.refused_soon("another's account", || as_jane(json!(["backup", "admin", "root"]))).await;
    assert!(text.contains("`use` on serviceaccounts/admin in namespace"), "{text}");
    // Whatever its place, up to the last.
    for place in 0..8 {
        let listed: Vec<&str> = (0..8).map(|i| if i == place { "admin" } else { NINE[i] }).collect();
        refused(as_jane(json!(listed)).await, "`use` on serviceaccounts/admin in namespace");
    }
    as_jane(json!(NINE[..8])).await.expect("eight of hers");
    for listed in [json!(["admin"]), json!(["default"])] {
        refused(as_jane(listed.clone()).await, "jane needs the verb `use`");
        refused(of_a_group(listed.clone()).await, "omar needs the verb `use`");
        refused(as_pipeline(listed).await, &format!("{pipeline} needs the verb `use`"));
    }
    for listed in [json!(["backup"]), json!([]), json!(["cutover"])] {
        as_jane(listed.clone()).await.expect("hers to use");
        of_a_group(listed.clone()).await.expect("the group's to use");
        as_pipeline(listed).await.expect("the pipeline's to use");
    }
    refused(as_jane(json!(["a", "a"])).await, "Duplicate value");
    refused(as_jane(json!(NINE)).await, "at most 8 items");
    // One that was listed by somebody else is asked for with the next change of the spec.
    let body = lists(json!(["admin"]));
    cluster.create(None, "cutovers", &body).await.expect("the administrator may");
    let change = json!({"spec": {"activate": "blue"}});
    refused(cluster.merge(Some("jane"), "cutovers/shop", &change).await, "serviceaccounts/admin");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    cluster.merge(Some("jane"), "cutovers/shop", &label).await.expect("a label is free");
    cluster.close();
}

#[tokio::test]
async fn whoever_writes_a_template_may_use_all_accounts_that_its_jobs_could_run_as() {
    let Some(cluster) = Cluster::open("template-authors").await else { return };
    role(&cluster, "one", &["cutover"]);
    role(&cluster, "all", &[]);
    cluster.bind("jane", "one");
    cluster.bind("omar", "all");
    cluster.bind("tess", "cutover-templates");
    let spec = json!({"phases": {"verify": {"steps": [{"name": "a", "wait": {"for": "1s"}}]}}});
    let template = |name: &str, kind: &str| named(json!({ "spec": spec }), kind, name);
    let body = template("checks", "cutovertemplates");
    let try_as = async |user: &str| cluster.dry_create(Some(user), "cutovertemplates", &body).await;
    let text = cluster.refused_soon("a template", || try_as("jane")).await;
    assert!(text.contains("jane needs the verb `use` on all serviceaccounts in namespace"), "{text}");
    for user in ["omar", "tess"] {
        try_as(user).await.expect(user);
    }
    cluster.create(Some("omar"), "cutovertemplates", &body).await.expect("omar may");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    cluster.merge(Some("jane"), "cutovertemplates/checks", &label).await.expect("a label is free");
    let other = json!({"spec": {"phases": {"verify": {"steps": [{"name": "b", "wait": {"for": "1s"}}]}}}});
    refused(cluster.merge(Some("jane"), "cutovertemplates/checks", &other).await, "needs the verb `use`");

    // In no namespace: the accounts of all of them.
    let wide = format!("templates-{}", cluster.namespace);
    let uses = format!("use-{}", cluster.namespace);
    let rules = |name: &str, group: &str, resource: &str, verb: &str, users: &[&str]| {
        let people: Vec<Value> = users
            .iter()
            .map(|name| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}))
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                "rules": [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": people},
        ]})
        .to_string()
    };
    let writes = rules(&wide, "cutover.dev", "clustercutovertemplates", "create", &["omar", "wanda"]);
    kubectl(&["apply", "-f", "-"], Some(&writes));
    kubectl(&["apply", "-f", "-"], Some(&rules(&uses, "", "serviceaccounts", "use", &["wanda"])));
    let body = template(&wide, "clustercutovertemplates");
    let try_as = async |user: &str| cluster.dry_create_wide(user, "clustercutovertemplates", &body).await;
    refused(try_as("omar").await, "omar needs the verb `use` on all serviceaccounts of the cluster");
    try_as("wanda").await.expect("wanda may use all accounts");
    for (kind, name) in
        [("clusterrole", &wide), ("clusterrole", &uses), ("clusterrolebinding", &wide), ("clusterrolebinding", &uses)]
    {
        kubectl(&["delete", kind, name], None);
    }
    cluster.close();
}
