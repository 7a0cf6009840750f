//! The chart with its default values and the plain manifests are the same objects.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::tools::{kubectl, objects, project, template, text, tools};

/// What Helm adds, or what only one of the two can have.
const HELMS_LABELS: [&str; 3] = ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"];

fn by_name(yaml: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for mut object in objects(yaml) {
        let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
        let meta = &object["metadata"];
        let key = format!("{} {} {}", word(&object["kind"]), word(&meta["namespace"]), word(&meta["name"]));
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            HELMS_LABELS.iter().for_each(|label| drop(labels.remove(*label)));
        }
        let keeps = object["metadata"]["annotations"].as_object_mut().and_then(|a| a.remove("helm.sh/resource-policy"));
        let defines = object["kind"] == "CustomResourceDefinition";
        assert_eq!(keeps.is_some(), defines && meta_is_helms(yaml), "{key}: definitions are kept, and nothing else");
        if object["metadata"]["annotations"].as_object().is_some_and(|a| a.is_empty()) {
            object["metadata"].as_object_mut().map(|m| m.remove("annotations"));
        }
        assert!(all.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    all
}

fn meta_is_helms(yaml: &str) -> bool {
    yaml.contains("\n# Source: cutover/templates/")
}

/// The first place at which two values differ.
fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            keys.into_iter().find_map(|k| {
                let absent = Value::Null;
                difference(&format!("{path}/{k}"), x.get(k).unwrap_or(&absent), y.get(k).unwrap_or(&absent))
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| difference(&format!("{path}/{i}"), x, y))
        }
        _ if a == b => None,
        _ => Some(format!("{path}: the chart has {a}, deploy/ has {b}")),
    }
}

#[test]
fn chart_and_plain_manifests_are_the_same_objects() {
    if !tools("drift of the chart") {
        return;
    }
    let chart = by_name(&template(&[]).expect("the chart renders"));
    let mut plain = by_name(&kubectl(&["kustomize", "deploy"]));
    // Helm makes the namespace of a release itself; docs/install.md labels it.
    plain.remove("Namespace - cutover-system").expect("deploy/ makes the namespace");
    // The chart was told an image; deploy/ has none until kustomize is told one.
    let deployment = plain.values_mut().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    let image = &mut deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, "CUTOVER-IMAGE", "a name that no registry serves");
    *image = format!("docker.io/cutover/cutover:{}", env!("CARGO_PKG_VERSION")).into();
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&plain), "the chart (left) and deploy/ (right) have different objects");
    let differ: Vec<String> = chart.iter().filter_map(|(key, object)| difference(key, object, &plain[key])).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(chart.len() >= 18, "only {} objects", chart.len());
}

#[test]
fn kustomize_says_where_the_image_is() {
    if !tools("the image of the plain manifests") {
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overlay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    // A base is named relative to its overlay.
    let up = "../".repeat(folder.components().count() - 1);
    let base = project("deploy").display().to_string();
    let page = text("docs/install.md");
    let images =
        page.lines().find(|line| line.starts_with("images: [{name: CUTOVER-IMAGE")).expect("the page says how");
    let overlay = format!("resources: [{up}{}]\n{images}\n", base.trim_start_matches('/'));
    std::fs::write(folder.join("kustomization.yaml"), overlay).expect("written");
    let rendered = kubectl(&["kustomize", &folder.display().to_string()]);
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(
        rendered.contains("image: registry.example.com/team/cutover:0.1.0\n") && !rendered.contains("CUTOVER-IMAGE")
    );
}

#[test]
fn chart_and_manifests_have_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart: Value = serde_saphyr::from_str(&text("charts/cutover/Chart.yaml")).expect("Chart.yaml is YAML");
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    let image = format!("docker.io/cutover/cutover:{version}");
    assert!(text("tests/run").contains(&image), "tests/run does not name {image}");
}

#[test]
fn the_charts_alerts_are_those_of_deploy() {
    let plain = text("deploy/monitoring/rules.yaml");
    let copy = "charts/cutover/files/alerts.yaml";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(project(copy), &plain).unwrap_or_else(|e| panic!("{copy}: {e}"));
    }
    let again = "UPDATE_EXPECT=1 cargo test --test install alerts";
    assert!(text(copy) == plain, "{copy} is not deploy/monitoring/rules.yaml: run {again}");
}
