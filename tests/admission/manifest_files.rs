//! Manifests of the project's files: those that pages and examples show, and the table of what the operator refuses.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
}

/// Every text with objects of Cutover in pages and examples, with where it is from.
pub fn all() -> Vec<(String, String)> {
    let mut found = vec![];
    let mut pages = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut pages);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            found.push((page.display().to_string(), block.to_owned()));
        }
    }
    let mut manifests = vec![];
    files(&root().join("examples"), "yaml", &mut manifests);
    for path in manifests {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        found.push((path.display().to_string(), text));
    }
    found.retain(|(_, text)| text.contains("apiVersion: cutover.dev/") && text.contains("\nkind: Cutover"));
    found
}

/// The beginning of a refusal, and a manifest that the operator refuses with it.
pub fn refused() -> Vec<(String, Value)> {
    let table = include_str!("../../src/plan/resolve/refusals.txt");
    let cases = table.split("\n\n").filter(|case| !case.trim().is_empty() && !case.starts_with('#'));
    cases
        .map(|case| {
            let mut lines = case.lines().filter(|line| !line.starts_with('#'));
            let want = lines.next().unwrap_or_default().to_owned();
            let fields = lines.collect::<Vec<_>>().join("\n");
            let fields: Value = serde_saphyr::from_str(&fields).unwrap_or_else(|e| panic!("{want}: {e}"));
            (want, manifest(&fields))
        })
        .collect()
}

/// The Cutover of the resolver's tests with other fields of its spec.
fn manifest(fields: &Value) -> Value {
    let side = |name: &str| {
        let workload = json!({"kind": "Deployment", "name": format!("web-{name}")});
        json!({"name": name, "selector": {"version": name}, "workloads": [workload]})
    };
    let mut spec = json!({"services": [{"name": "web"}], "sides": [side("blue"), side("green")], "activate": "green"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    json!({"apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover", "metadata": {"name": "web"}, "spec": spec})
}
