//! `argocd-cm.yaml` is the package as settings of an Argo CD that does not have it built in: generated from the folder.

use serde_json::Value;

use crate::{CUSTOMIZATIONS, expect, names, root};

const HEAD: &str = "\
# Generated from resource_customizations/ beside it (UPDATE_EXPECT=1 with the test `gitops`); changes by hand are overwritten.
# Server-side apply adds these keys to the ConfigMap of Argo CD and leaves all others as they are:
#   kubectl apply --server-side --field-manager=cutover -f argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
";

fn read(path: &str) -> String {
    let path = root(&format!("{CUSTOMIZATIONS}/{path}"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A text as a block of YAML.
fn block(text: &str, indent: usize) -> String {
    let line = |line: &str| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("{}{line}\n", " ".repeat(indent)),
    };
    text.lines().map(line).collect()
}

/// The actions of a Cutover, by name.
fn actions() -> Vec<String> {
    names(&root(&format!("{CUSTOMIZATIONS}/Cutover/actions")))
        .into_iter()
        .filter(|name| root(&format!("{CUSTOMIZATIONS}/Cutover/actions/{name}/action.lua")).exists())
        .collect()
}

#[test]
fn the_settings_of_argo_cd_are_those_of_the_folder() {
    let mut text = HEAD.to_owned();
    for kind in ["Cutover", "CutoverRun"] {
        text += &format!("  resource.customizations.health.cutover.dev_{kind}: |\n");
        text += &block(&read(&format!("{kind}/health.lua")), 4);
    }
    text += "  resource.customizations.actions.cutover.dev_Cutover: |\n    discovery.lua: |\n";
    text += &block(&read("Cutover/actions/discovery.lua"), 6);
    text += "    definitions:\n";
    for action in actions() {
        text += &format!("    - name: {action}\n      action.lua: |\n");
        text += &block(&read(&format!("Cutover/actions/{action}/action.lua")), 8);
    }
    expect(&root("deploy/gitops/argocd/argocd-cm.yaml"), &text);
}

/// Argo CD reports as the user whoever it is to the cluster: an approval through it would be nobody's.
#[test]
fn no_action_approves() {
    assert_eq!(actions(), ["abort", "resume", "rollback", "suspend"]);
    for action in actions() {
        let text = read(&format!("Cutover/actions/{action}/action.lua"));
        let verb = text.lines().find_map(|line| line.trim().strip_prefix("decision = \"")?.strip_suffix("\","));
        let capital: String =
            action.chars().take(1).flat_map(char::to_uppercase).chain(action.chars().skip(1)).collect();
        assert_eq!(verb, Some(capital.as_str()), "{action}");
    }
}

#[test]
fn the_health_of_every_live_object_is_expected() {
    for kind in ["Cutover", "CutoverRun"] {
        let tests: Value = serde_saphyr::from_str(&read(&format!("{kind}/health_test.yaml"))).expect("YAML");
        let of = |test: &Value| test["inputPath"].as_str().unwrap_or_default().to_owned();
        let mut listed: Vec<String> = tests["tests"].as_array().into_iter().flatten().map(of).collect();
        listed.sort();
        let files = names(&root(&format!("{CUSTOMIZATIONS}/{kind}/testdata")));
        let mut files: Vec<String> = files.iter().map(|name| format!("testdata/{name}.yaml")).collect();
        files.sort();
        assert_eq!(listed, files, "{kind}/health_test.yaml");
    }
}
