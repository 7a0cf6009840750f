//! What the actions of Argo CD make, said to a real API server with the operator's admission policies, by the account and with
//! the Role of `examples/gitops/argocd`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::flux::{apply, kubectl};
use crate::{CUSTOMIZATIONS, root};

const SERVER: &str = "system:serviceaccount:argocd:argocd-server";
const NAMESPACE: &str = "shop-argocd";

/// What an action makes, for a Cutover of the namespace.
fn decision(file: &str, cutover: &str) -> Value {
    let path = root(&format!("{CUSTOMIZATIONS}/Cutover/actions/testdata/{file}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let made: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut object = made[0]["unstructuredObj"].clone();
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object["spec"]["cutover"] = json!(cutover);
    object
}

/// Creates it as a dry run, as Argo CD does first; what the API server says against it.
fn said(object: &Value, account: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gitops-decision.json");
    std::fs::write(&file, object.to_string()).expect("a file");
    let mut command = Command::new("kubectl");
    command.args(["create", "--dry-run=server", "--as", account, "-f"]).arg(&file);
    let output = command.output().expect("kubectl runs");
    match output.status.success() {
        true => String::new(),
        false => String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
#[ignore = "needs the cluster with the operator's chart: make night PARTS=gitops"]
fn argo_cd_may_say_what_its_actions_say_and_no_more() {
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string());
    for file in ["abort", "rollback", "suspend", "resume"] {
        let refused = said(&decision(file, "shop"), SERVER);
        assert!(refused.contains("needs the verb") || refused.contains("cannot create resource"), "{file}: {refused}");
    }
    let rights = std::fs::read_to_string(root("examples/gitops/argocd/actions.yaml")).expect("the example");
    apply(&rights.replace("namespace: shop}", &format!("namespace: {NAMESPACE}}}")));
    for file in ["abort", "rollback", "suspend", "resume"] {
        let refused = said(&decision(file, "shop"), SERVER);
        assert!(refused.is_empty(), "{file}: {refused}");
    }
    let refused = said(&decision("rollback-other-account", "shop"), SERVER);
    assert!(refused.contains(&format!("spec.by must be your own user name, {SERVER}")), "{refused}");
    let refused = said(&decision("rollback", "another"), SERVER);
    assert!(refused.contains("needs the verb `rollback` on cutovers/run for Cutover another"), "{refused}");
    let mut approval = decision("rollback", "shop");
    let spec = &mut approval["spec"];
    (spec["decision"], spec["gate"], spec["role"], spec["token"]) =
        (json!("Approve"), json!("go"), json!("qa"), json!("t"));
    let refused = said(&approval, SERVER);
    assert!(refused.contains("gates are for people"), "{refused}");
    kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
}
