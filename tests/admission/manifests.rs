//! Manifests of Cutovers: the good ones are taken, each mistake is refused with its remedy.

use serde_json::{Value, json};

use crate::cluster::{Cluster, named, project};

/// The smallest Cutover.
pub fn minimal() -> Value {
    named(
        json!({"spec": {
            "services": [{"name": "shop"}],
            "sides": [
                {"name": "blue", "selector": {"version": "blue"}, "workloads": [{"kind": "Deployment", "name": "shop-blue"}]},
                {"name": "green", "selector": {"version": "green"}, "workloads": [{"kind": "Deployment", "name": "shop-green"}]},
            ],
            "activate": "green",
        }}),
        "cutovers",
        "shop",
    )
}

/// The smallest Cutover with other fields of its spec.
fn with(fields: Value) -> Value {
    let mut manifest = minimal();
    for (name, value) in fields.as_object().expect("fields are an object") {
        manifest["spec"][name] = value.clone();
    }
    manifest
}

/// With one step in `verify`.
fn step(step: Value) -> Value {
    with(json!({"phases": {"verify": {"steps": [step]}}}))
}

fn side(name: &str, selector: Value) -> Value {
    json!({"name": name, "selector": selector, "workloads": [{"kind": "Deployment", "name": name}]})
}

fn renamed(name: &str) -> Value {
    let mut manifest = minimal();
    manifest["metadata"]["name"] = json!(name);
    manifest
}

fn names(count: usize) -> Vec<Value> {
    (0..count).map(|i| json!({"name": format!("s{i}")})).collect()
}

/// What is wrong, the manifest, and what the answer must say.
fn bad() -> Vec<(&'static str, Value, &'static str)> {
    let wait = |name: &str| json!({"name": name, "wait": {"for": "1s"}});
    let job = json!({"template": {"spec": {}}});
    vec![
        ("unknown field", with(json!({"activte": "green"})), "unknown field \"spec.activte\""),
        ("unknown action", step(json!({"name": "a", "teleport": {}})), "unknown field"),
        (
            "unknown field of an action",
            step(json!({"name": "a", "http": {"path": "/", "verb": "GET"}})),
            "unknown field",
        ),
        ("two actions", step(json!({"name": "a", "wait": {"for": "1s"}, "http": {"path": "/"}})), "exactly one action"),
        ("no action", step(json!({"name": "a"})), "exactly one action"),
        ("null for an action", step(json!({"name": "a", "wait": null})), "exactly one action"),
        (
            "two actions in a suite",
            step(
                json!({"name": "a", "suite": {"steps": [{"name": "b", "wait": {"for": "1s"}, "http": {"path": "/"}}]}}),
            ),
            "a step of a suite has exactly one action",
        ),
        ("empty undo", step(json!({"name": "a", "job": job, "undo": {}})), "an undo has exactly one action"),
        (
            "suite in a suite",
            step(json!({"name": "a", "suite": {"steps": [{"name": "b", "suite": {"steps": []}}]}})),
            "unknown field",
        ),
        ("job from nothing", step(json!({"name": "a", "job": {}})), "either template or from"),
        (
            "job from both",
            step(json!({"name": "a", "job": {"template": {}, "from": {"side": "Target"}}})),
            "either template or from",
        ),
        (
            "path and url",
            step(json!({"name": "a", "http": {"path": "/", "url": "http://a"}})),
            "either path (with to) or url",
        ),
        (
            "two bodies",
            step(json!({"name": "a", "http": {"path": "/", "body": "x", "form": [{"name": "a", "value": "b"}]}})),
            "one of body",
        ),
        ("unknown side", with(json!({"activate": "red"})), "activate must be the name of one of the two sides"),
        ("one side", with(json!({"sides": [side("green", json!({"v": "g"}))]})), "spec.sides"),
        (
            "equal sides",
            with(json!({"sides": [side("blue", json!({"v": "x"})), side("green", json!({"v": "x"}))]})),
            "selectors are equal",
        ),
        (
            "different keys",
            with(json!({"sides": [side("blue", json!({"v": "x"})), side("green", json!({"w": "y"}))]})),
            "same selector keys",
        ),
        (
            "empty selector",
            with(json!({"sides": [side("blue", json!({})), side("green", json!({"w": "y"}))]})),
            "selector",
        ),
        (
            "sides of one name",
            with(json!({"sides": [side("green", json!({"v": "x"})), side("green", json!({"v": "y"}))]})),
            "Duplicate value",
        ),
        ("no service", with(json!({"services": []})), "spec.services"),
        ("9 services", with(json!({"services": names(9)})), "must have at most 8 items"),
        ("a service twice", with(json!({"services": [{"name": "a"}, {"name": "a"}]})), "Duplicate value"),
        (
            "41 steps",
            with(json!({"phases": {"verify": {"steps": (0..41).map(|i| wait(&format!("w{i}"))).collect::<Vec<_>>()}}})),
            "at most 40 items",
        ),
        ("an unknown phase", with(json!({"phases": {"prepair": {"steps": []}}})), "the phases are preflight, prepare"),
        ("a step twice", with(json!({"phases": {"verify": {"steps": [wait("a"), wait("a")]}}})), "Duplicate value"),
        ("name of 41 characters", renamed(&"a".repeat(41)), "at most 40 characters"),
        ("step name of 41 characters", step(wait(&"a".repeat(41))), "Too long"),
        ("step name with capitals", step(wait("Smoke")), "should match"),
        ("negative duration", with(json!({"observe": {"for": "-5m"}})), "spec.observe.for"),
        ("duration without unit", with(json!({"observe": {"for": "5"}})), "spec.observe.for"),
        ("duration in days", with(json!({"observe": {"for": "5d"}})), "spec.observe.for"),
        ("number for a duration", with(json!({"observe": {"for": 5}})), "spec.observe.for"),
        ("absurd duration", with(json!({"observe": {"for": "99999h"}})), "longest duration accepted"),
        (
            "absurd duration in a step",
            step(json!({"name": "a", "wait": {"for": "2161h"}})),
            "longest duration accepted",
        ),
        ("too often", with(json!({"observe": {"every": "99ms"}})), "at least 100ms"),
        (
            "trigger too often",
            with(json!({"observe": {"triggers": [{"name": "a", "every": "1ms", "pods": {"crashLoop": true}}]}})),
            "at least 100ms",
        ),
        (
            "trigger without a watch",
            with(json!({"observe": {"triggers": [{"name": "a"}]}})),
            "a trigger watches exactly one",
        ),
        (
            "metric without a bound",
            with(json!({"observe": {"triggers": [{"name": "a", "metric": {"query": "up"}}]}})),
            "needs above, below or relativeTo",
        ),
        (
            "bound that is no number",
            with(json!({"observe": {"triggers": [{"name": "a", "metric": {"query": "up", "above": "much"}}]}})),
            "above",
        ),
        (
            "empty pods trigger",
            with(json!({"observe": {"triggers": [{"name": "a", "pods": {}}]}})),
            "at least one of restarts",
        ),
        ("over 100 per cent", with(json!({"switch": {"minReady": "101%"}})), "minReady"),
        (
            "prometheus twice",
            with(json!({"prometheus": {"url": "http://p", "service": {"name": "p", "port": 9090}}})),
            "exactly one of service, url or name",
        ),
        ("prometheus nowhere", with(json!({"prometheus": {"tenant": "a"}})), "exactly one of service, url or name"),
        (
            "options beside the name of a source",
            with(json!({"prometheus": {"name": "monitoring/prometheus", "tenant": "a"}})),
            "belong to the operator's configuration",
        ),
        (
            "scheme beside a URL",
            with(json!({"prometheus": {"url": "https://p", "scheme": "https"}})),
            "scheme goes with service",
        ),
        (
            "two places of authorities",
            with(json!({"prometheus": {"url": "https://p", "caFrom": {
                "secret": {"name": "a", "key": "b"}, "configMap": {"name": "a", "key": "b"}}}})),
            "either configMap or secret",
        ),
        ("notify nobody", with(json!({"notify": [{"events": ["Failed"]}]})), "exactly one of slack"),
        (
            "window that ends before it starts",
            with(json!({"window": {"start": "2026-11-21T02:00:00Z", "end": "2026-11-20T22:00:00Z"}})),
            "before its end",
        ),
        (
            "follow-up repeated for ever",
            with(json!({"followUp": [{"name": "a", "after": "1h", "every": "1h", "run": ["b"]}]})),
            "both every and until",
        ),
        (
            "unknown kind of workload",
            with(json!({"sides": [
                {"name": "blue", "selector": {"v": "b"}, "workloads": [{"kind": "DaemonSet", "name": "x"}]},
                side("green", json!({"v": "g"})),
            ]})),
            "Unsupported value",
        ),
    ]
}

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
