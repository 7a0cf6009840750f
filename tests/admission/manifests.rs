//! Manifests of Cutovers: the good ones are taken, each mistake is refused with its remedy.

use serde_json::{Value, json};

use crate::cluster::{Cluster, project};
use crate::corpus::{bad, minimal, renamed, step, with};

#[tokio::test]
async fn mistakes_are_refused_with_their_remedy() {
    let Some(cluster) = Cluster::open("bad").await else { return };
    let mut wrong = Vec::new();
    for (what, manifest, expected) in bad() {
        match cluster.dry_create(None, "cutovers", &manifest).await {
            Ok(_) => wrong.push(format!("{what}: accepted")),
            Err(text) if !text.contains(expected) => wrong.push(format!("{what}: expected {expected:?}, got {text}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A client that is not strict loses the field it mistyped; what is left is still refused.
    let lost = step(json!({"name": "a", "teleport": {}}));
    let text = cluster.create(None, "cutovers", &lost).await.expect_err("a step without an action is refused");
    assert!(text.contains("exactly one action"), "{text}");
    cluster.close();
}

#[tokio::test]
async fn good_manifests_are_taken_and_defaults_filled_in() {
    let Some(cluster) = Cluster::open("good").await else { return };
    let taken = cluster.dry_create(None, "cutovers", &minimal()).await.expect("the smallest Cutover is taken");
    assert_eq!(taken["spec"]["serviceAccountName"], "cutover");
    let text = std::fs::read_to_string(project("tests/admission/whole.yaml")).expect("the manifest is there");
    let whole: Value = serde_saphyr::from_str(&text).expect("the manifest is YAML");
    cluster.dry_create(None, "cutovers", &whole).await.expect("the whole manifest is taken");
    cluster.dry_create(None, "cutovers", &renamed(&"a".repeat(40))).await.expect("40 characters are taken");
    let longest = with(json!({"observe": {"for": "2160h", "every": "100ms"}}));
    cluster.dry_create(None, "cutovers", &longest).await.expect("the longest observation is taken");
    cluster.close();
}

#[tokio::test]
async fn the_largest_manifest_is_within_the_cost_limits() {
    let Some(cluster) = Cluster::open("large").await else { return };
    // CEL has a budget at run time too: every phase full, every step a suite, every check with a time.
    let phase = |prefix: &str| {
        let steps: Vec<Value> = (0..40)
            .map(|i| {
                let checks: Vec<Value> = (0..10)
                    .map(|j| {
                        json!({"name": format!("{prefix}{i}-{j}"), "timeout": "1h30m10s",
                            "http": {"path": "/", "expect": ["status == 200"]}})
                    })
                    .collect();
                json!({"name": format!("{prefix}{i}"), "timeout": "1h30m10s", "suite": {"steps": checks}})
            })
            .collect();
        json!({"steps": steps})
    };
    let manifest = with(json!({"phases": {"preflight": phase("p"), "verify": phase("v"), "confirm": phase("c")}}));
    let size = manifest.to_string().len();
    assert!(size > 100_000, "{size} bytes do not prove much");
    cluster.dry_create(None, "cutovers", &manifest).await.expect("a manifest of the largest size is taken");
    cluster.close();
}
